//! What has to hold of everything that the book tells and hands out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    services::{expected, position},
    world::{Asked, World},
};
use crate::{
    body::Body,
    book::{Answer, Handout, LineId, Refusal},
    record::{EndCode, Record, UNDO, What},
    service::Call,
};

impl World {
    /// Nothing is handed out that does not build on what is kept, or too late, or too early, or too much of.
    pub(super) fn check_handout(&mut self, line: LineId, handout: &Handout) {
        let id = handout.id;
        let all = &self.disk.all[&id];
        let position = position(all, handout);
        let builds_on = match self.may_repeat(all.service(position)) {
            true => Some(all),
            false => self.disk.kept.get(&id),
        };
        let builds_on = builds_on.unwrap_or_else(|| panic!("{id} is handed out and not kept"));
        let step = builds_on
            .step(position)
            .unwrap_or_else(|| panic!("{handout:?} builds on what is not kept"));
        let stopped = self.stopped.contains(&id);
        let now = all.step(position).filter(|_| !stopped).unwrap_or(step);
        assert!(
            step.done.is_none() && now.is_open(),
            "{handout:?} is not to be done"
        );
        assert!(
            (!all.paused || handout.undo) && !all.is_ended() || stopped,
            "{handout:?} is paused or ended"
        );
        assert!(
            now.again().is_none_or(|again| again <= self.now),
            "{handout:?} is too early"
        );
        let not_before = crate::record::moment(all.accepted.not_before);
        assert!(
            not_before.is_none_or(|at| at <= self.now),
            "{handout:?} before its time"
        );
        if !stopped {
            assert_eq!(handout.attempt, now.next_attempt(), "{handout:?}");
        }
        if position & UNDO == 0 {
            let failed = all.failure().is_some() && !stopped;
            assert!(!failed, "{handout:?} of an order that will fail");
            let deadline = crate::record::moment(all.accepted.deadline);
            let deadlines = [deadline, all.task_deadline(now)];
            for deadline in deadlines.into_iter().flatten() {
                assert!(
                    self.now + handout.timeout <= deadline,
                    "{handout:?} ends after {deadline:?}"
                );
            }
            assert!(!handout.timeout.is_zero(), "{handout:?} is too late");
        }
        self.check_line(line, position, handout);
    }

    /// Whether a service may get a task before what it builds on is kept.
    fn may_repeat(&self, service: &str) -> bool {
        let spec = self.specs.get(service).and_then(|spec| spec.as_ref());
        spec.is_some_and(|spec| spec.idempotent)
    }

    /// It goes where it should, with what it builds on, and not too much at a time.
    fn check_line(&self, line: LineId, position: u32, handout: &Handout) {
        let all = &self.disk.all[&handout.id];
        let builds_on = match self.may_repeat(all.service(position)) {
            true => all,
            false => &self.disk.kept[&handout.id],
        };
        let step = builds_on.step(position).expect("it is at work");
        let service = builds_on.service(position);
        assert_eq!(
            self.lines.get(&line),
            Some(service),
            "{handout:?} on a wrong line"
        );
        assert!(!self.paused.contains(service), "{service} is held up");
        let spec = self.specs[service]
            .as_ref()
            .expect("a service that is there");
        if spec.call == Call::Value {
            let payload = handout.payload.to_value();
            let payload = match spec.envelope {
                true => payload["payload"].clone(),
                false => payload,
            };
            assert_eq!(payload, step.input.to_value(), "{handout:?}");
        }
        let line = &self.book.lines[&line];
        assert!(
            line.open && line.copies > 0,
            "nobody is there for {handout:?}"
        );
        assert!(
            line.in_flight <= line.window.size(),
            "too much on one line: {handout:?}"
        );
        assert!(
            spec.concurrency.is_none_or(|most| line.in_flight <= most),
            "too much: {handout:?}"
        );
    }

    /// Whatever is told is kept, and an end that was told stays.
    pub(super) fn check_told(&mut self, body: &Body) {
        let id = body.id;
        let kept = self.disk.kept.get(&id);
        let kept = kept.unwrap_or_else(|| panic!("{id} is told of and not kept"));
        let done = |body: &Body| -> BTreeSet<(u32, u32)> {
            let done = body.steps.iter().filter_map(|step| step.done.as_ref());
            done.map(|(_, done)| (done.position, done.attempt))
                .collect()
        };
        assert!(
            done(body).is_subset(&done(kept)),
            "{id} is told of before it is kept"
        );
        let Some(end) = &body.end else { return };
        let of = |kept: &Body| kept.end.as_ref().map(|end| end.code);
        assert_eq!(of(kept), Some(end.code), "the end of {id} is not kept");
        if end.at.is_some() {
            self.note_end(body);
        }
    }

    fn note_end(&mut self, body: &Body) {
        let end = body.end.as_ref().expect("it has ended");
        assert!(end.at.is_some(), "{} has not ended", body.id);
        let text = match end.code {
            EndCode::Completed => body.value.as_str().to_owned(),
            EndCode::Failed | EndCode::Cancelled | EndCode::Expired => end.reason.clone(),
        };
        let end = (end.code, text);
        let before = self.ends.entry(body.id).or_insert_with(|| end.clone());
        assert_eq!(*before, end, "the end of {} has changed", body.id);
    }

    pub(super) fn check_answer(&mut self, asked: Asked, answer: Answer) {
        if let Answer::Order(body) | Answer::Ended(body) = &answer {
            self.check_told(body);
        }
        match (asked, answer) {
            (asked, Answer::Refused(refusal)) => self.check_refusal(&asked, refusal),
            (
                Asked::Submit {
                    id: own,
                    key,
                    client,
                },
                Answer::Accepted { id, again },
            ) => {
                assert_eq!(own != id, again, "{id}");
                self.check_accepted(id);
                let accepted = &self.disk.kept[&id].accepted;
                assert_eq!(*accepted.client, *client);
                let (key, digest) = key.unwrap_or_else(|| (String::new(), [0; 32]));
                assert_eq!(accepted.key, key, "{id} has another key");
                assert!(
                    key.is_empty() || accepted.digest == digest[..],
                    "{id} is another order"
                );
            }
            (Asked::Submit { id: own, key, .. }, Answer::Ended(body)) => {
                assert!(body.id == own || key.is_some(), "{own} ends as {}", body.id);
            }
            (Asked::Retry { id, new }, Answer::Accepted { id: told, again }) => {
                assert_eq!((told, again), (new, false));
                self.check_accepted(new);
                let code = self.disk.kept[&id].end.as_ref().map(|end| end.code);
                assert!(matches!(code, Some(EndCode::Failed | EndCode::Expired)));
            }
            (Asked::Look(id), Answer::Order(body)) | (Asked::Wait(id), Answer::Ended(body)) => {
                assert_eq!(body.id, id);
            }
            (Asked::Cancel(id), Answer::Done) => {
                assert!(
                    self.disk.kept[&id].end.is_some(),
                    "{id} was to be cancelled"
                );
            }
            (Asked::Pause(id), Answer::Done) => {
                assert!(self.disk.kept.contains_key(&id));
            }
            (asked, answer) => panic!("{asked:?} is answered {answer:?}"),
        }
    }

    fn check_accepted(&mut self, id: edgeless_types::OrderId) {
        assert!(
            self.disk.kept.contains_key(&id),
            "{id} is accepted and not kept"
        );
        self.accepted.insert(id);
    }

    fn check_refusal(&mut self, asked: &Asked, refusal: Refusal) {
        let ended = |id| {
            self.disk
                .all
                .get(&id)
                .and_then(|row| row.end.as_ref())
                .is_some()
        };
        match refusal {
            Refusal::Unknown(id) => assert!(!self.disk.all.contains_key(&id), "{id} is known"),
            Refusal::HasEnded { id, .. } => assert!(ended(id), "{id} has not ended"),
            Refusal::TooMany { client, after } => {
                let held = self.held.get(&*client).copied();
                assert_ne!(held, Some(true), "{client} was told a wrong moment");
                self.hold(client.into(), after);
            }
            Refusal::TooManyActive { client, active } => {
                let contracts = super::acts::contracts();
                let contract = contracts.iter().find(|(name, _)| **name == *client);
                let most = contract.and_then(|(_, contract)| contract.limits.active_orders);
                assert!(
                    most.is_some_and(|most| active >= most),
                    "{client} may send more"
                );
            }
            Refusal::OtherBody(text) => {
                let Asked::Submit {
                    key: Some((key, digest)),
                    client,
                    ..
                } = asked
                else {
                    panic!("{asked:?} has no key");
                };
                assert_eq!(*key, text);
                let mut rows = self.disk.all.values().map(|row| &row.accepted);
                let other = rows.any(|row| {
                    *row.client == **client && row.key == text && row.digest != digest[..]
                });
                assert!(other, "no other order has the key `{text}`");
            }
            Refusal::Invalid(faults) => {
                let text = faults[0].detail.clone();
                assert!(text.contains("there is no service `Z`"), "{text}");
            }
            Refusal::Retried { id, by } => {
                let row = self.disk.all.get(&by).map(|row| &row.accepted.retry_of);
                let of = row.and_then(|of| crate::record::id_of(of));
                assert_eq!(of, Some(id), "{by} takes up another order");
            }
            Refusal::NotFailed { .. }
            | Refusal::Full(_)
            | Refusal::Unsure(_)
            | Refusal::Away(_)
            | Refusal::InUse(_)
            | Refusal::NoTasks(_) => {}
            Refusal::UnknownClient(_) | Refusal::Outside { .. } | Refusal::Ending => {
                panic!("{asked:?} is refused: {refusal}");
            }
        }
    }

    /// Orders of a client never exceed their bound, neither those it sends nor those that tasks give rise to.
    pub(super) fn check_limits(&self, record: &Record) {
        let mut new: BTreeMap<&str, u64> = BTreeMap::new();
        for change in &record.changes {
            let Some(What::Accepted(accepted)) = &change.what else {
                continue;
            };
            let contracts = super::acts::contracts();
            let contract = contracts
                .iter()
                .find(|(name, _)| **name == *accepted.client);
            let most = contract.and_then(|(_, contract)| contract.limits.active_orders);
            let new = new.entry(&accepted.client).or_default();
            *new += 1;
            if let Some(most) = most {
                let rows = self.disk.all.values();
                let active =
                    rows.filter(|row| !row.is_ended() && row.accepted.client == accepted.client);
                assert!(
                    active.count() as u64 + *new <= most,
                    "too many orders of {}",
                    accepted.client
                );
            }
        }
    }

    /// What has to hold when all is done.
    pub(super) fn check_all(&mut self) {
        assert!(self.open.is_empty(), "nobody has answered {:?}", self.open);
        let replayed = self.disk.replayed();
        for (id, (changes, body)) in &replayed {
            let row = &self.disk.all[id];
            let same = (&row.end, &row.value, &row.steps) == (&body.end, &body.value, &body.steps);
            assert!(same, "{id} is not what its records tell");
            assert!(body.is_ended(), "{id} has come to no end");
            let mut done = BTreeSet::new();
            for change in changes {
                let position = match &change.what {
                    Some(What::Done(done)) => Some(done.position),
                    Some(What::Spawned(spawned)) => spawned.done.as_ref().map(|it| it.position),
                    _ => None,
                };
                let first = position.is_none_or(|position| done.insert(position));
                assert!(first, "{id} has two results of {position:?}");
            }
            self.note_end(body);
            let end = body.end.as_ref().map(|end| end.code);
            if end == Some(EndCode::Completed) {
                let expected = expected(body, &self.disk.all);
                assert_eq!(body.value.to_value(), expected, "the result of {id}");
            }
        }
        for id in self.accepted.iter().chain(self.ends.keys()) {
            assert!(replayed.contains_key(id), "{id} is lost");
        }
        self.book.check(&self.disk.all);
        self.book.check_empty();
        let figures = self.book.figures(self.now);
        let active = (
            figures.active_orders,
            figures.active_tasks,
            figures.tasks_to_do,
        );
        assert_eq!(active, (0, 0, 0));
    }
}
