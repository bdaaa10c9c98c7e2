//! Takes failed orders up again, each as another order that begins where it failed.

use std::sync::Arc;

use edgeless_types::Timestamp;

use super::{
    Again, Answer, Book, Event, Refusal,
    memory::{Parked, Unapplied},
};
use crate::{
    body::{Body, Step},
    bounds::CARRIED_BYTES,
    fault::Fault,
    record::{Done, EndCode, UNDO, id_bytes, nanos},
};

impl Book {
    pub(super) fn on_retry(&mut self, again: Again, now: Timestamp) {
        let Again { id, ask, .. } = again;
        if let Some(body) = self.ending.get(&id).cloned() {
            return self.retry_ended(&body, again, now);
        }
        if self.index.contains_key(&id) {
            let state = "active";
            return self.answer(ask, Answer::Refused(Refusal::NotFailed { id, state }));
        }
        self.park(id, Parked::Event(Event::Retry(again)));
    }

    pub(super) fn retry_ended(&mut self, body: &Body, again: Again, now: Timestamp) {
        let (id, ask) = (body.id, again.ask);
        let code = body.end.as_ref().map_or(EndCode::Completed, |end| end.code);
        let before = self.retried.get(&id).copied().or(body.retried_as);
        match (code, before) {
            (EndCode::Failed | EndCode::Expired, Some(by)) if again.after != Some(by) => {
                self.answer(ask, Answer::Refused(Refusal::Retried { id, by }));
            }
            (EndCode::Failed | EndCode::Expired, _) => self.retry_order(body, again, now),
            (EndCode::Completed | EndCode::Cancelled, _) => {
                let state = code.name();
                self.answer(ask, Answer::Refused(Refusal::NotFailed { id, state }));
            }
        }
    }

    /// A failed order is taken up again as another one, with what it had done.
    fn retry_order(&mut self, failed: &Body, again: Again, now: Timestamp) {
        let Again { new, ask, .. } = again;
        let name: &str = &failed.accepted.client;
        let Some(client) = self.client_for(name) else {
            let name = name.to_owned();
            return self.answer(ask, Answer::Refused(Refusal::UnknownClient(name)));
        };
        let allowed = self.check_services(&failed.list);
        if let Err(refusal) = allowed.and_then(|()| self.admit(client, now)) {
            return self.answer(ask, Answer::Refused(refusal));
        }
        let carried = carried(failed);
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
        self.retried.insert(failed.id, new);
        let last = self.next - 1;
        self.unapplied
            .push_back(Unapplied::retried(last, failed.id));
        if let Some(body) = self.ending.get_mut(&failed.id) {
            Arc::make_mut(body).retried_as = Some(new);
        }
        self.answer(
            ask,
            Answer::Accepted {
                id: new,
                again: false,
            },
        );
    }
}

/// The results that the new order begins with.
fn carried(failed: &Body) -> Vec<Done> {
    let is_undo = |step: &Step| step.position & UNDO != 0;
    match failed.steps.iter().any(is_undo) {
        // What was taken back has to be done again, and with it what built on it.
        true => Vec::new(),
        false => {
            let done = failed.steps.iter().filter_map(|step| step.done.as_ref());
            done.map(|(_, done)| done.clone()).collect()
        }
    }
}
