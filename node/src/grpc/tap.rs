//! Shows the messages of an instance to a caller.

use std::pin::Pin;

use edgeless_dataflow::{Direction, TapPlan, Tapped};
use edgeless_proto::{
    convert::{ConvertError, id_bytes, id_from_wire},
    v1,
};
use edgeless_types::{PhysicalId, message::MessageKind};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::Status;

/// What a caller gets.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<v1::Tapped, Status>> + Send>>;

/// Messages a second, where the caller does not say.
const PER_SECOND: u32 = 100;
const MOST_PER_SECOND: u32 = 10_000;
/// Bytes of a payload, where the caller does not say.
const PAYLOAD: u32 = 1_024;
const MOST_PAYLOAD: u32 = 65_536;

pub(super) fn plan(request: v1::TapRequest) -> Result<(PhysicalId, TapPlan), ConvertError> {
    let physical_id = id_from_wire(&request.physical_id, "physical_id")?;
    let number = |field: &str, number: u32, usual: u32, most: u32| match number {
        0 => Ok(usual),
        number if number <= most => Ok(number),
        number => Err(ConvertError::new(
            field,
            format!("{number} is more than {most}"),
        )),
    };
    let per_second = number(
        "per_second",
        request.per_second,
        PER_SECOND,
        MOST_PER_SECOND,
    )?;
    let payload = number(
        "payload_bytes",
        request.payload_bytes,
        PAYLOAD,
        MOST_PAYLOAD,
    )?;
    let plan = TapPlan {
        contains: request.contains,
        per_second,
        payload_bytes: payload as usize,
    };
    Ok((physical_id, plan))
}

pub(super) fn messages(messages: mpsc::Receiver<Tapped>) -> Messages {
    Box::pin(ReceiverStream::new(messages).map(|tapped| Ok(to_wire(tapped))))
}

fn to_wire(tapped: Tapped) -> v1::Tapped {
    let (source, channel) = match tapped.direction {
        Direction::In(source) => (Some(source), None),
        Direction::Out(channel) => (None, Some(channel)),
    };
    v1::Tapped {
        at_ns: tapped.at.as_nanos(),
        source: source.map(|source| v1::InstanceId {
            node_id: id_bytes(&source.node_id),
            physical_id: id_bytes(&source.physical_id),
        }),
        channel,
        kind: match tapped.kind {
            MessageKind::Cast => "cast",
            MessageKind::Call => "call",
            MessageKind::Reply => "reply",
            MessageKind::NoReply => "no-reply",
            MessageKind::Error => "error",
        }
        .to_owned(),
        id_origin: tapped.id.origin,
        id_sequence: tapped.id.sequence,
        payload: tapped.payload,
        payload_bytes: tapped.payload_bytes as u64,
        missed: tapped.missed,
    }
}
