//! Signals of the data plane.

use std::time::Duration;

use edgeless_types::{
    InstanceId, NodeId, PhysicalId,
    message::{Budget, MessageId, Refusal, Signal, SignalKind, Ticket, Upward, UpwardKind},
};
use uuid::Uuid;

use super::ConvertError;
use crate::v1;

impl From<Signal> for v1::Signal {
    fn from(signal: Signal) -> Self {
        let (to_high, to_low) = signal.to.physical_id.uuid().as_u64_pair();
        let cancel = signal.kind == SignalKind::Cancel;
        let refusal = match signal.kind {
            SignalKind::Ack | SignalKind::Cancel => None,
            SignalKind::Nack(refusal) => Some(v1::Refusal {
                retry_after_ms: refusal.retry_after.map(millis),
                permanent: refusal.permanent,
                reason: refusal.reason,
            }),
        };
        Self {
            id_origin: signal.id.origin,
            id_sequence: signal.id.sequence,
            to_high,
            to_low,
            ticket: signal.ticket.get(),
            refusal,
            cancel,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a signal that came to the node `here`.
///
/// # Errors
/// It has no ticket, or is a refusal and a cancellation at once.
pub fn signal_from_wire(signal: v1::Signal, here: NodeId) -> Result<Signal, ConvertError> {
    let ticket = Ticket::new(signal.ticket)
        .ok_or_else(|| ConvertError::new("ticket", "must not be 0".to_owned()))?;
    let kind = match (signal.refusal, signal.cancel) {
        (None, false) => SignalKind::Ack,
        (None, true) => SignalKind::Cancel,
        (Some(refusal), false) => SignalKind::Nack(Box::new(Refusal {
            reason: refusal.reason,
            permanent: refusal.permanent,
            retry_after: refusal.retry_after_ms.map(Duration::from_millis),
        })),
        (Some(_), true) => {
            let problem = "what is refused is not cancelled as well".to_owned();
            return Err(ConvertError::new("cancel", problem));
        }
    };
    let to = Uuid::from_u64_pair(signal.to_high, signal.to_low);
    Ok(Signal {
        id: MessageId {
            origin: signal.id_origin,
            sequence: signal.id_sequence,
        },
        ticket,
        to: InstanceId {
            node_id: here,
            physical_id: PhysicalId::new(to),
        },
        kind,
    })
}

impl From<Upward> for v1::Upward {
    fn from(upward: Upward) -> Self {
        let (of_high, of_low) = upward.of.uuid().as_u64_pair();
        let kind = match upward.kind {
            UpwardKind::Budget(budget) => v1::upward::Kind::Budget(v1::Budget {
                messages: budget.messages,
                bytes: budget.bytes,
                rate: budget.rate,
            }),
            UpwardKind::Error(reason) => v1::upward::Kind::Error(reason.into()),
        };
        Self {
            id_origin: upward.id.origin,
            id_sequence: upward.id.sequence,
            of_high,
            of_low,
            hops: upward.hops.into(),
            kind: Some(kind),
        }
    }
}

impl TryFrom<v1::Upward> for Upward {
    type Error = ConvertError;

    fn try_from(upward: v1::Upward) -> Result<Self, Self::Error> {
        let kind = match upward.kind {
            Some(v1::upward::Kind::Budget(budget)) => UpwardKind::Budget(Budget {
                messages: budget.messages,
                bytes: budget.bytes,
                rate: budget.rate,
            }),
            Some(v1::upward::Kind::Error(reason)) => UpwardKind::Error(reason.into()),
            None => return Err(ConvertError::new("kind", "must be there".to_owned())),
        };
        let hops = u8::try_from(upward.hops)
            .map_err(|_| ConvertError::new("hops", format!("{} is more than 255", upward.hops)))?;
        Ok(Self {
            id: MessageId {
                origin: upward.id_origin,
                sequence: upward.id_sequence,
            },
            of: PhysicalId::new(Uuid::from_u64_pair(upward.of_high, upward.of_low)),
            hops,
            kind,
        })
    }
}
