//! Takes orders: whose they are, what they are to pass, whether there is room.

use std::{collections::BTreeSet, sync::Arc};

use edgeless_types::{OrderId, Timestamp};
use smallvec::SmallVec;

use super::{Answer, Ask, Book, Due, Effect, Order, Refusal, Timer, memory::Unapplied};
use crate::{
    body::Body,
    contract::{ANYBODY, Contract, PRIORITY},
    fault::Fault,
    message::Mode,
    record::{Accepted, Change, ModeCode, Record, Retried, What, id_bytes, id_of, nanos},
    stages::reserved,
    submission::Submission,
    tasks::TaskList,
};

/// A submission and who is answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: OrderId,
    pub(super) submission: Box<Submission>,
    pub(super) ask: Ask,
    pub(super) wait: bool,
}

impl Book {
    pub(super) fn on_submit(&mut self, asked: Asked, now: Timestamp) {
        let name = asked.submission.client.as_deref().unwrap_or(ANYBODY);
        let Some(client) = self.client_for(name) else {
            let name = name.to_owned();
            return self.answer(asked.ask, Answer::Refused(Refusal::UnknownClient(name)));
        };
        let Some(key) = &asked.submission.key else {
            return self.accept(asked, client, now);
        };
        let place = (client, Box::<str>::from(&*key.text));
        if let Some((id, digest)) = self.keys.get(&place).copied() {
            return self.answer_same(&asked, id, digest);
        }
        if let Some(others) = self.finding.get_mut(&place) {
            return others.push(asked);
        }
        let effect = Effect::Find {
            client: Arc::clone(&self.clients[client as usize].name),
            key: key.text.clone(),
        };
        self.out.effects.push(effect);
        self.finding.insert(place, vec![asked]);
    }

    /// The store says who used a key.
    pub(super) fn on_found(
        &mut self,
        client: &str,
        key: String,
        found: Option<(OrderId, [u8; 32])>,
        now: Timestamp,
    ) {
        let Some(client) = self.client_index.get(client).copied() else {
            return;
        };
        let place = (client, key.into_boxed_str());
        for asked in self.finding.remove(&place).unwrap_or_default() {
            // The first of them may have been accepted just now.
            match found.or_else(|| self.keys.get(&place).copied()) {
                Some((id, digest)) => self.answer_same(&asked, id, digest),
                None => self.accept(asked, client, now),
            }
        }
    }

    /// Nobody can say who used a key: the order is not taken, because it may have been before.
    pub(super) fn on_unfound(&mut self, client: &str, key: String, why: &str) {
        let Some(client) = self.client_index.get(client).copied() else {
            return;
        };
        let place = (client, key.into_boxed_str());
        for asked in self.finding.remove(&place).unwrap_or_default() {
            self.answer(asked.ask, Answer::Refused(Refusal::Away(why.to_owned())));
        }
    }

    /// The key was used before: it is the same order, or a mistake.
    fn answer_same(&mut self, asked: &Asked, id: OrderId, digest: [u8; 32]) {
        let key = asked.submission.key.as_ref();
        if key.is_some_and(|key| key.digest != digest) {
            let text = key.map(|key| key.text.clone()).unwrap_or_default();
            return self.answer(asked.ask, Answer::Refused(Refusal::OtherBody(text)));
        }
        match asked.wait {
            true => self.on_wait(id, asked.ask),
            false => self.answer(asked.ask, Answer::Accepted { id, again: true }),
        }
    }

    /// The place of a client that is defined.
    pub(super) fn known_client(&self, name: &str) -> Option<u32> {
        let known = self.client_index.get(name).copied();
        known.filter(|client| self.clients[*client as usize].contract.is_some())
    }

    pub(super) fn client_for(&mut self, name: &str) -> Option<u32> {
        let known = self.known_client(name);
        if known.is_some() || name != ANYBODY {
            return known;
        }
        let contract = Some(Arc::new(Contract::default()));
        self.on_client(ANYBODY, contract);
        self.client_index.get(ANYBODY).copied()
    }

    fn accept(&mut self, asked: Asked, client: u32, now: Timestamp) {
        let Asked {
            id,
            submission,
            ask,
            wait,
        } = asked;
        let list = match self.list_for(&submission, client) {
            Ok(list) => list,
            Err(refusal) => return self.answer(ask, Answer::Refused(refusal)),
        };
        if let Err(refusal) = self.admit(client, now) {
            return self.answer(ask, Answer::Refused(refusal));
        }
        let accepted = self.accepted(*submission, client, &list, now);
        if wait {
            self.waiters.entry(id).or_default().push(ask);
        }
        self.begin_order(id, accepted, list, client, now);
        if !wait {
            self.answer(ask, Answer::Accepted { id, again: false });
        }
    }

    /// The tasks of an order, if its contract and the services allow them.
    fn list_for(&self, submission: &Submission, client: u32) -> Result<Arc<TaskList>, Refusal> {
        let client = &self.clients[client as usize];
        let (Some(contract), Some(listed)) = (&client.contract, &client.list) else {
            return Err(Refusal::UnknownClient(client.name.to_string()));
        };
        let exceeded = contract.exceeded(&client.name, submission.priority, submission.deadline);
        if !exceeded.is_empty() {
            return Err(Refusal::Invalid(exceeded));
        }
        let list = match &submission.tasks {
            Some(own) => {
                contract
                    .allows(listed, own)
                    .map_err(|service| Refusal::Outside {
                        client: client.name.to_string(),
                        service: service.map(str::to_owned),
                    })?;
                own
            }
            None if listed.is_empty() => return Err(Refusal::NoTasks(client.name.to_string())),
            None => listed,
        };
        self.check_services(list)?;
        Ok(Arc::clone(list))
    }

    /// Whether all services of a list are there.
    pub(super) fn check_services(&self, list: &TaskList) -> Result<(), Refusal> {
        let unknown: BTreeSet<&str> = list
            .services()
            .filter(|name| self.service(name).is_none())
            .map(|name| &**name)
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let fault = |name: &&str| {
            let none = || format!("there is no service `{name}`");
            Fault::new("/tasks", reserved(name).unwrap_or_else(none))
        };
        Err(Refusal::Invalid(unknown.iter().map(fault).collect()))
    }

    /// Whether a client may send one more order now.
    pub(super) fn admit(&mut self, client: u32, now: Timestamp) -> Result<(), Refusal> {
        if let Some(reason) = self.hold_reason().or(self.full.as_ref()) {
            return Err(Refusal::Full(reason.to_string()));
        }
        let client = &mut self.clients[client as usize];
        let Some(contract) = &client.contract else {
            return Err(Refusal::UnknownClient(client.name.to_string()));
        };
        if contract
            .limits
            .active_orders
            .is_some_and(|most| client.active >= most)
        {
            return Err(Refusal::TooManyActive {
                client: client.name.to_string(),
                active: client.active,
            });
        }
        let taken = client.bucket.take(&contract.limits, now);
        taken.map_err(|after| Refusal::TooMany {
            client: client.name.to_string(),
            after,
        })
    }

    fn accepted(
        &self,
        submission: Submission,
        client: u32,
        list: &TaskList,
        now: Timestamp,
    ) -> Box<Accepted> {
        let client = &self.clients[client as usize];
        let contract = client.contract.clone().unwrap_or_default();
        let begins = submission.delay.map(|delay| now + delay);
        let deadline = submission
            .deadline
            .or(contract.deadline)
            .map(|after| now + after);
        let outputs: Vec<_> = contract
            .outputs
            .iter()
            .chain(&submission.callback)
            .collect();
        let outputs = match outputs.is_empty() {
            true => bytes::Bytes::new(),
            false => serde_json::to_vec(&outputs)
                .expect("outputs are plain")
                .into(),
        };
        let mode = match submission.mode.unwrap_or(contract.mode) {
            Mode::Slip => ModeCode::Slip,
            Mode::Trace => ModeCode::Trace,
        };
        let (key, digest) = match submission.key {
            Some(key) => (key.text, bytes::Bytes::copy_from_slice(&key.digest)),
            None => Default::default(),
        };
        Box::new(Accepted {
            client: client.name.to_string(),
            tasks: list.text().bytes(),
            mode: mode.into(),
            input: submission.input.bytes(),
            metadata: submission.metadata.map(|it| it.bytes()).unwrap_or_default(),
            key,
            digest,
            deadline: nanos(deadline),
            not_before: nanos(begins),
            priority: u32::from(
                submission
                    .priority
                    .or(contract.priority)
                    .unwrap_or(PRIORITY),
            ),
            outputs,
            parent: None,
            retry_of: bytes::Bytes::new(),
            carried: Vec::new(),
        })
    }

    /// An order is accepted: it is recorded, and its first tasks wait for that.
    pub(super) fn begin_order(
        &mut self,
        id: OrderId,
        accepted: Box<Accepted>,
        list: Arc<TaskList>,
        client: u32,
        now: Timestamp,
    ) {
        let change = Change::new(id, now, What::Accepted(accepted.clone()));
        let mut record = Record::of(change);
        if let Some(failed) = id_of(&accepted.retry_of) {
            let order = id_bytes(id);
            let retried = Change::new(failed, now, What::Retried(Retried { order }));
            record.changes.push(retried);
        }
        if !accepted.key.is_empty()
            && let Ok(digest) = <[u8; 32]>::try_from(&*accepted.digest)
        {
            let place = (client, accepted.key.clone().into_boxed_str());
            self.keys.insert(place, (id, digest));
        }
        let key = accepted.key.clone();
        let body = Box::new(Body::accept(id, now, accepted, list));
        self.put_order(body, client, now, Some(record));
        if !key.is_empty() {
            let last = self.next - 1;
            self.unapplied
                .push_back(Unapplied::key(last, client, key.into()));
        }
    }

    /// Puts an order into the book that has just been accepted or was kept; with the record that says so.
    pub(super) fn put_order(
        &mut self,
        body: Box<Body>,
        client: u32,
        now: Timestamp,
        record: Option<Record>,
    ) {
        self.generations = self.generations.wrapping_add(1);
        let (id, generation) = (body.id, self.generations);
        let deadline = crate::record::moment(body.accepted.deadline);
        self.clients[client as usize].active += 1;
        self.count_tasks(&body, 1);
        let weight = super::memory::bytes(&body);
        self.resident += weight;
        let ended = body.is_ended();
        let has_children = body.has_children();
        let order = Order {
            id,
            accepted: body.at,
            deadline,
            last: self.next - 1,
            weight,
            client,
            generation,
            priority: u8::try_from(body.accepted.priority).unwrap_or(9).min(9),
            paused: body.paused,
            has_children,
            body: Some(body),
            out: SmallVec::new(),
        };
        let slot =
            u32::try_from(self.orders.insert(order)).expect("fewer orders than 2^32 fit in memory");
        self.index.insert(id, slot);
        let is_new = record.is_some();
        if is_new {
            self.rates.came(now);
        }
        if let Some(record) = record {
            match ended {
                true => self.record_end(record, slot, now),
                false => self.record(record, Some(slot)),
            }
            if ended {
                return;
            }
        }
        let timer = |what| Timer::Order {
            slot,
            generation,
            what,
        };
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, timer(Due::Deadline)));
        }
        self.queue_current(slot, now);
        if is_new {
            self.watch(slot);
        }
    }
}
