//! Takes failed orders up again, each as another order that begins where it failed.

use std::sync::Arc;

use edgeless_types::{OrderId, Timestamp};

use super::{Answer, Ask, Book, Event, Refusal, memory::Parked};
use crate::{
    body::Body,
    bounds::CARRIED_BYTES,
    fault::Fault,
    record::{EndCode, id_bytes, nanos},
};

impl Book {
    pub(super) fn on_retry(&mut self, id: OrderId, new: OrderId, ask: Ask, now: Timestamp) {
        if let Some(body) = self.ending.get(&id).cloned() {
            return self.retry_ended(&body, new, ask, now);
        }
        if self.index.contains_key(&id) {
            let state = "active";
            return self.answer(ask, Answer::Refused(Refusal::NotFailed { id, state }));
        }
        self.park(id, Parked::Event(Event::Retry { id, new, ask }));
    }

    pub(super) fn retry_ended(&mut self, body: &Body, new: OrderId, ask: Ask, now: Timestamp) {
        let code = body.end.as_ref().map_or(EndCode::Completed, |end| end.code);
        match code {
            EndCode::Failed | EndCode::Expired => self.retry_order(body, new, ask, now),
            EndCode::Completed | EndCode::Cancelled => {
                let (id, state) = (body.id, code.name());
                self.answer(ask, Answer::Refused(Refusal::NotFailed { id, state }));
            }
        }
    }

    /// A failed order is taken up again as another one, with what it had done.
    fn retry_order(&mut self, failed: &Body, new: OrderId, ask: Ask, now: Timestamp) {
        let name: &str = &failed.accepted.client;
        let Some(client) = self.client_for(name) else {
            let name = name.to_owned();
            return self.answer(ask, Answer::Refused(Refusal::UnknownClient(name)));
        };
        let allowed = self.check_services(&failed.list);
        if let Err(refusal) = allowed.and_then(|()| self.admit(client, now)) {
            return self.answer(ask, Answer::Refused(refusal));
        }
        let undone = |position: u32| {
            let undo = position | crate::record::UNDO;
            failed.steps.iter().any(|step| step.position == undo)
        };
        let done = failed
            .steps
            .iter()
            .filter(|step| step.position & crate::record::UNDO == 0 && !undone(step.position));
        let carried: Vec<_> = match failed
            .steps
            .iter()
            .any(|step| step.position & crate::record::UNDO != 0)
        {
            // What was taken back has to be done again, and with it what built on it.
            true => Vec::new(),
            false => done
                .filter_map(|step| step.done.clone().map(|(_, done)| done))
                .collect(),
        };
        let bytes: usize = carried.iter().map(|done| done.result.len()).sum();
        if bytes > CARRIED_BYTES {
            let text = format!(
                "the results of order {} so far have {bytes} bytes, and at most {CARRIED_BYTES} can be taken up \
                 again; send it anew",
                failed.id
            );
            let refusal = Refusal::Invalid(vec![Fault::new("", text)]);
            return self.answer(ask, Answer::Refused(refusal));
        }
        let mut accepted = failed.accepted.clone();
        accepted.key.clear();
        accepted.digest = bytes::Bytes::new();
        accepted.not_before = 0;
        accepted.parent = None;
        accepted.retry_of = id_bytes(failed.id);
        accepted.carried = carried;
        let contract = self.clients[client as usize]
            .contract
            .clone()
            .unwrap_or_default();
        accepted.deadline = nanos(match accepted.deadline {
            0 => None,
            before => {
                let allowed = Timestamp::from_nanos(before).since(failed.at);
                Some(now + contract.deadline.unwrap_or(allowed))
            }
        });
        if let Some(most) = contract.priority {
            accepted.priority = accepted.priority.min(u32::from(most));
        }
        let list = Arc::clone(&failed.list);
        self.begin_order(new, accepted, list, client, now);
        self.answer(
            ask,
            Answer::Accepted {
                id: new,
                again: false,
            },
        );
    }
}
