//! Orders that a task gives rise to: they are accepted together with what the task said, and it is done when they have
//! ended. When nobody waits for them any more they are cancelled.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edgeless_types::{OrderId, Timestamp};
use prost::Message;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Book, Entry,
    change::Following,
    flight::Flight,
    memory::{Parked, Unapplied},
};
use crate::{
    body::Body,
    bounds::{RESULT_BYTES, SPAWN_BYTES, SPAWN_ORDERS},
    fault::Fault,
    json::Json,
    message::Mode,
    record::{
        Accepted, Change, Done, EndCode, Ended, Joined, MissCode, Missed, ModeCode, Parent, Record,
        Spawned, UNDO, What, id_bytes, nanos,
    },
    tasks::TaskList,
};

/// How deep orders may give rise to others.
const MAX_DEPTH: usize = 8;
/// What is kept of each besides what is accepted, in bytes; at most.
const EACH_BYTES: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow, alias = "todo")]
    tasks: Option<&'a RawValue>,
    client: Option<String>,
    mode: Option<Mode>,
}

/// An order that was asked for and may be.
struct Coming {
    id: OrderId,
    client: u32,
    list: Arc<TaskList>,
    accepted: Box<Accepted>,
}

/// Why orders that were asked for may not be.
enum Denied {
    /// They may never be.
    Refused(String),
    /// There is no room for them now.
    NoRoom(String),
}

impl From<String> for Denied {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

impl Book {
    pub(super) fn spawn_orders(
        &mut self,
        flight: &Flight,
        entry: Entry,
        done: Done,
        wanted: &[Json],
        now: Timestamp,
    ) {
        let coming = match self.coming(entry, &done, wanted, now) {
            Ok(coming) => coming,
            Err(denied) => {
                let (kind, reason) = match denied {
                    Denied::Refused(reason) => (MissCode::Refused, reason),
                    Denied::NoRoom(reason) => (MissCode::Failed, reason),
                };
                return self.follow_missed(flight, entry, kind, &reason, done.instance, now);
            }
        };
        let counts = &mut self.services[flight.service as usize].counts;
        counts.done(now.since(flight.handed), now);
        let position = done.position;
        let spawned = Spawned {
            done: Some(done),
            orders: coming.iter().map(|coming| id_bytes(coming.id)).collect(),
        };
        let accept =
            |coming: &Coming| Change::new(coming.id, now, What::Accepted(coming.accepted.clone()));
        let children: Vec<Change> = coming.iter().map(accept).collect();
        self.change_with(
            entry.slot,
            What::Spawned(spawned),
            Record { changes: children },
            now,
        );
        for coming in coming {
            let body = crate::body::Body::accept(coming.id, now, coming.accepted, coming.list);
            self.put_order(Box::new(body), coming.client, now, None);
            self.rates.came(now);
            if let Some(slot) = self.index.get(&coming.id).copied() {
                let last = self.next - 1;
                self.unapplied.push_back(Unapplied::active(last, slot));
                self.watch(slot);
                self.settle_alone(slot, now);
            }
            // The end of one of them, or of another task, may be the end of the order above.
            let above = self.orders.get(entry.slot as usize);
            let above = above.filter(|order| order.generation == entry.generation);
            let waits = above.and_then(|order| order.body.as_ref()?.waiting(position, coming.id));
            if waits.is_none() {
                self.end_orphan(coming.id, now);
            }
        }
    }

    /// The orders that are asked for, or why they may not be.
    fn coming(
        &mut self,
        entry: Entry,
        done: &Done,
        wanted: &[Json],
        now: Timestamp,
    ) -> Result<Vec<Coming>, Denied> {
        let template = self.template(entry, done)?;
        if wanted.len() > SPAWN_ORDERS {
            let text = format!("a task may give rise to at most {SPAWN_ORDERS} orders");
            return Err(text.into());
        }
        let mut coming = Vec::with_capacity(wanted.len());
        let mut bytes = 0;
        for (number, text) in wanted.iter().enumerate() {
            let one = self.one_coming(text, &template, now);
            let one = one.map_err(|detail| format!("order {number} that it asks for: {detail}"))?;
            bytes += one.accepted.encoded_len() + EACH_BYTES;
            if bytes > SPAWN_BYTES {
                let text = format!(
                    "the orders that it asks for have more than {SPAWN_BYTES} bytes together with their lists of \
                     tasks; ask for fewer, or put inputs into blobs"
                );
                return Err(text.into());
            }
            coming.push(one);
        }
        self.check_room(&coming)?;
        Ok(coming)
    }

    /// Whether the limits of clients leave room for so many active orders.
    fn check_room(&self, coming: &[Coming]) -> Result<(), Denied> {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        for one in coming {
            *counts.entry(one.client).or_default() += 1;
        }
        for (client, count) in counts {
            let client = &self.clients[client as usize];
            let contract = client.contract.as_ref();
            let most = contract.and_then(|contract| contract.limits.active_orders);
            if let Some(most) = most.filter(|most| client.active + count > *most) {
                let (name, active) = (&client.name, client.active);
                return Err(Denied::NoRoom(format!(
                    "client `{name}` has {active} active orders and may have {most}: there is no room for the \
                     {count} that it asks for"
                )));
            }
        }
        Ok(())
    }

    /// What the orders of a task have in common.
    fn template(&self, entry: Entry, done: &Done) -> Result<Accepted, String> {
        let order = self.order(entry).ok_or("the order is gone")?;
        let body = order.body.as_deref().ok_or("the order is gone")?;
        if done.position & UNDO != 0 {
            return Err("a task that takes another one back gives rise to no orders".to_owned());
        }
        let before = body.accepted.parent.iter();
        let mut services: BTreeSet<String> =
            before.flat_map(|parent| parent.services.clone()).collect();
        services.insert(body.service(done.position).to_string());
        if services.len() > MAX_DEPTH {
            return Err(format!(
                "orders give rise to others at most {MAX_DEPTH} deep"
            ));
        }
        let (high, low) = body.id.to_pair();
        Ok(Accepted {
            client: body.accepted.client.clone(),
            deadline: nanos(order.deadline),
            priority: u32::from(order.priority),
            parent: Some(Parent {
                high,
                low,
                position: done.position,
                services: services.into_iter().collect(),
            }),
            ..Accepted::default()
        })
    }

    fn one_coming(
        &mut self,
        text: &Json,
        template: &Accepted,
        now: Timestamp,
    ) -> Result<Coming, String> {
        let wanted: Wanted<'_> =
            serde_json::from_str(text.as_str()).map_err(|error| error.to_string())?;
        let json = |raw: &RawValue| Json::from_raw(raw).map_err(|error| error.to_string());
        let name = wanted.client.unwrap_or_else(|| template.client.clone());
        let client = self.known_client(&name);
        let client = client.ok_or_else(|| format!("there is no client `{name}`"))?;
        let list = match wanted.tasks {
            None => {
                let listed = self.clients[client as usize].list.clone();
                let listed = listed.filter(|list| !list.is_empty());
                listed.ok_or("it names no tasks")?
            }
            Some(raw) => {
                let list = TaskList::parse(&json(raw)?);
                let first = |faults: Vec<Fault>| faults.first().map(Fault::to_string);
                Arc::new(list.map_err(|faults| first(faults).unwrap_or_default())?)
            }
        };
        let known = self.check_services(&list);
        known.map_err(|refusal| refusal.to_string())?;
        let above = template.parent.iter().flat_map(|parent| &parent.services);
        for service in above {
            if list.services().any(|wanted| **wanted == **service) {
                return Err(format!("a cycle: `{service}` is at work on it already"));
            }
        }
        let mode = match wanted.mode.unwrap_or_default() {
            Mode::Slip => ModeCode::Slip,
            Mode::Trace => ModeCode::Trace,
        };
        let input = wanted.input.map_or_else(|| Ok(Json::null()), json)?;
        let accepted = Box::new(Accepted {
            client: name,
            tasks: list.text().bytes(),
            mode: mode.into(),
            input: input.bytes(),
            ..template.clone()
        });
        Ok(Coming {
            id: OrderId::at(now, &mut self.rng),
            client,
            list,
            accepted,
        })
    }

    /// The order that waits for one that has ended is told; the place of that order.
    pub(super) fn join(
        &mut self,
        following: &mut Following,
        body: &Body,
        now: Timestamp,
    ) -> Option<u32> {
        let parent = body.accepted.parent.as_ref()?;
        let id = OrderId::from_pair((parent.high, parent.low));
        let slot = self.index.get(&id).copied()?;
        let above = self.orders.get(slot as usize)?.body.as_deref()?;
        let joined = joined(above, body, parent.position)?;
        self.apply(following, slot, joined, now);
        Some(slot)
    }

    /// An order that another one waits for no more is cancelled, with what it gave rise to itself.
    pub(super) fn end_orphan(&mut self, id: OrderId, now: Timestamp) {
        let Some(slot) = self.index.get(&id).copied() else {
            return;
        };
        let order = self.orders.get(slot as usize);
        let Some(body) = order.and_then(|order| order.body.as_deref()) else {
            return self.park(id, Parked::Orphan);
        };
        let Some(parent) = body.accepted.parent.as_ref().filter(|_| body.end.is_none()) else {
            return;
        };
        let parent = OrderId::from_pair((parent.high, parent.low));
        let ended = Ended {
            end: EndCode::Cancelled.into(),
            reason: format!("order {parent}, which gave rise to it, waits for it no more"),
            undoing: body.has_undo(),
        };
        self.end_order(slot, ended, now);
    }
}

/// What an order is told of one that it waits for and that has ended; none: it does not wait.
pub(super) fn joined(above: &Body, body: &Body, position: u32) -> Option<What> {
    let end = body.end.as_ref()?;
    let step = above.waiting(position, body.id)?;
    let result = match end.code {
        EndCode::Completed => body.value.bytes(),
        EndCode::Failed | EndCode::Cancelled | EndCode::Expired => bytes::Bytes::new(),
    };
    if result.len() > above.room(position) {
        let (_, own) = step.spawned.as_ref()?;
        return Some(What::Missed(Missed {
            position,
            attempt: own.attempt,
            instance: own.instance.clone(),
            handed: own.handed,
            kind: MissCode::Refused.into(),
            reason: too_long(above, position, true),
            again: 0,
        }));
    }
    Some(What::Joined(Joined {
        position,
        order: id_bytes(body.id),
        end: end.code.into(),
        result,
    }))
}

/// Why results are too long together.
pub(super) fn too_long(body: &Body, position: u32, has_orders: bool) -> String {
    let whose = match (has_orders, body.is_grouped(position)) {
        (true, false) => "its result and those of the orders it gave rise to",
        (true, true) => "the results of its group and of the orders it gave rise to",
        (false, _) => "the results of its group",
    };
    format!("{whose} have more than {RESULT_BYTES} bytes together; answer with blobs")
}
