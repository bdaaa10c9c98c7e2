//! Messages of the data plane. Payloads are shared with the frame they came in.

use edgeless_types::{
    InstanceId, NodeId, PhysicalId, Timestamp,
    message::{Callers, Envelope, Extra, MAX_CALLERS, Message, MessageId, MessageKind, Ticket},
};
use uuid::Uuid;

use super::ConvertError;
use crate::v1;

impl From<Message> for v1::Event {
    fn from(message: Message) -> Self {
        let (source_node_high, source_node_low) = message.source.node_id.uuid().as_u64_pair();
        let (source_high, source_low) = message.source.physical_id.uuid().as_u64_pair();
        let (target_high, target_low) = message.target.uuid().as_u64_pair();
        let extra = message.envelope.extra.map(|extra| *extra);
        let (headers, callers) = extra.map_or_else(Default::default, |it| (it.headers, it.callers));
        let headers = headers.into_iter();
        let headers = headers.map(|(name, value)| v1::EventHeader {
            name: name.as_ref().to_owned(),
            value,
        });
        Self {
            id_origin: message.id.origin,
            id_sequence: message.id.sequence,
            source_node_high,
            source_node_low,
            source_high,
            source_low,
            target_high,
            target_low,
            kind: v1::EventKind::from(message.kind).into(),
            created_ns: message.envelope.created.as_nanos(),
            deadline_ns: message.envelope.deadline.map_or(0, Timestamp::as_nanos),
            headers: headers.collect(),
            callers: callers.iter().flat_map(halves).collect(),
            payload: message.payload,
            ticket: message.ticket.map_or(0, Ticket::get),
        }
    }
}

fn halves(caller: &InstanceId) -> [u64; 4] {
    let (node_high, node_low) = caller.node_id.uuid().as_u64_pair();
    let (high, low) = caller.physical_id.uuid().as_u64_pair();
    [node_high, node_low, high, low]
}

fn callers(halves: &[u64]) -> Result<Callers, ConvertError> {
    let (callers, rest) = halves.as_chunks();
    if !rest.is_empty() || callers.len() > MAX_CALLERS {
        let problem = format!(
            "{} halves are no list of at most {MAX_CALLERS} ids",
            halves.len()
        );
        return Err(ConvertError::new("callers", problem));
    }
    let caller = |&[node_high, node_low, high, low]: &[u64; 4]| InstanceId {
        node_id: NodeId::new(Uuid::from_u64_pair(node_high, node_low)),
        physical_id: PhysicalId::new(Uuid::from_u64_pair(high, low)),
    };
    Ok(callers.iter().map(caller).collect())
}

impl From<MessageKind> for v1::EventKind {
    fn from(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Cast => Self::Cast,
            MessageKind::Call => Self::Call,
            MessageKind::Reply => Self::Reply,
            MessageKind::NoReply => Self::NoReply,
            MessageKind::Error => Self::Error,
        }
    }
}

impl TryFrom<v1::Event> for Message {
    type Error = ConvertError;

    fn try_from(event: v1::Event) -> Result<Self, Self::Error> {
        let kind = match v1::EventKind::try_from(event.kind) {
            Ok(v1::EventKind::Cast) => MessageKind::Cast,
            Ok(v1::EventKind::Call) => MessageKind::Call,
            Ok(v1::EventKind::Reply) => MessageKind::Reply,
            Ok(v1::EventKind::NoReply) => MessageKind::NoReply,
            Ok(v1::EventKind::Error) => MessageKind::Error,
            Ok(v1::EventKind::Unspecified) | Err(_) => {
                let problem = format!("{} is no kind of event", event.kind);
                return Err(ConvertError::new("kind", problem));
            }
        };
        let node = Uuid::from_u64_pair(event.source_node_high, event.source_node_low);
        let source = Uuid::from_u64_pair(event.source_high, event.source_low);
        let headers = event.headers.into_iter();
        let headers = headers.map(|header| (header.name.into(), header.value));
        let headers: Vec<_> = headers.collect();
        let callers = callers(&event.callers)?;
        let is_plain = headers.is_empty() && callers.is_empty();
        let extra = (!is_plain).then(|| Box::new(Extra { headers, callers }));
        Ok(Self {
            id: MessageId {
                origin: event.id_origin,
                sequence: event.id_sequence,
            },
            source: InstanceId {
                node_id: NodeId::new(node),
                physical_id: PhysicalId::new(source),
            },
            target: PhysicalId::new(Uuid::from_u64_pair(event.target_high, event.target_low)),
            kind,
            ticket: Ticket::new(event.ticket),
            envelope: Envelope {
                created: Timestamp::from_nanos(event.created_ns),
                deadline: (event.deadline_ns != 0)
                    .then(|| Timestamp::from_nanos(event.deadline_ns)),
                extra,
            },
            payload: event.payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(callers: Vec<u64>) -> v1::Event {
        v1::Event {
            kind: v1::EventKind::Call.into(),
            callers,
            ..v1::Event::default()
        }
    }

    #[test]
    fn those_who_wait_for_a_call_travel_with_it() {
        let halves: Vec<u64> = (1..=8).collect();
        let message = Message::try_from(call(halves.clone())).unwrap();
        let extra = message.envelope.extra.as_ref().unwrap();
        assert_eq!(extra.callers.len(), 2);
        assert_eq!(v1::Event::from(message).callers, halves);
    }

    #[test]
    fn lists_of_callers_that_are_torn_or_too_long_are_refused() {
        for halves in [3, 4 * MAX_CALLERS + 4] {
            let error = Message::try_from(call(vec![7; halves])).unwrap_err();
            assert!(error.to_string().contains("callers"), "{error}");
        }
    }
}
