//! Orders that a task gives rise to: they are accepted together with what the task said, and it is done when they have
//! ended.

use std::{collections::BTreeSet, sync::Arc};

use edgeless_types::{OrderId, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Book, Entry, memory::Unapplied};
use crate::{
    fault::Fault,
    json::Json,
    message::Mode,
    record::{
        Accepted, Change, Done, MissCode, Missed, ModeCode, Parent, Record, Spawned, What,
        id_bytes, nanos,
    },
    tasks::TaskList,
};

/// How many orders one task may give rise to.
const MAX_ORDERS: usize = 1_000;
/// How deep orders may give rise to others.
const MAX_DEPTH: usize = 8;

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

impl Book {
    pub(super) fn spawn_orders(
        &mut self,
        entry: Entry,
        done: Done,
        wanted: &[Json],
        now: Timestamp,
    ) {
        let coming = self.coming(entry, &done, wanted, now);
        let coming = match coming {
            Ok(coming) => coming,
            Err(reason) => {
                let missed = Missed {
                    position: done.position,
                    attempt: done.attempt,
                    instance: done.instance,
                    handed: done.handed,
                    kind: MissCode::Refused.into(),
                    reason,
                    again: 0,
                };
                return self.change(entry.slot, What::Missed(missed), now);
            }
        };
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
        }
    }

    /// The orders that are asked for, or why they may not be.
    fn coming(
        &mut self,
        entry: Entry,
        done: &Done,
        wanted: &[Json],
        now: Timestamp,
    ) -> Result<Vec<Coming>, String> {
        let order = self.order(entry).ok_or("the order is gone")?;
        let body = order.body.as_deref().ok_or("the order is gone")?;
        if wanted.len() > MAX_ORDERS {
            return Err(format!(
                "a task may give rise to at most {MAX_ORDERS} orders"
            ));
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
        let template = Accepted {
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
        };
        let mut coming = Vec::with_capacity(wanted.len());
        for (number, text) in wanted.iter().enumerate() {
            let one = self.one_coming(text, &template, now);
            coming
                .push(one.map_err(|detail| format!("order {number} that it asks for: {detail}"))?);
        }
        Ok(coming)
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
}
