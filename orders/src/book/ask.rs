//! What clients want to know of orders, and what they want done with them.

use std::{sync::Arc, time::Duration};

use edgeless_types::{OrderId, Timestamp};

use super::{Again, Ask, Book, Event, memory::Parked};
use crate::{
    body::Body,
    bounds::{client_reason, short},
    fault::Fault,
    record::{Change, Delivered, EndCode, Ended, Paused, Record, What},
};

/// What somebody is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The order is accepted and kept.
    Accepted {
        /// Its id.
        id: OrderId,
        /// It was before: the idempotency key says so.
        again: bool,
    },
    /// How it is.
    Order(Arc<Body>),
    /// How it ended.
    Ended(Arc<Body>),
    /// It is done.
    Done,
    /// It is not.
    Refused(Refusal),
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No such client.
    #[error("there is no client `{0}`; define it with PUT /api/v1/clients/{0}")]
    UnknownClient(String),
    /// Neither order nor contract name tasks.
    #[error("the contract of `{0}` names no tasks; the order has to")]
    NoTasks(String),
    /// The contract does not allow these tasks.
    #[error("{}", outside(client, service.as_deref()))]
    Outside {
        /// Whose contract.
        client: String,
        /// The service that it does not name; none: orders may not bring tasks at all.
        service: Option<String>,
    },
    /// The order is wrong.
    #[error("{}", .0.first().map_or("the order is wrong", |fault| &fault.detail))]
    Invalid(Vec<Fault>),
    /// Too many at once.
    #[error("client `{client}` sends more orders a second than its contract allows")]
    TooMany {
        /// The client.
        client: String,
        /// When there is room again.
        after: Duration,
    },
    /// Too many that have not ended.
    #[error("client `{client}` has {active} active orders, as many as its contract allows")]
    TooManyActive {
        /// The client.
        client: String,
        /// How many.
        active: u64,
    },
    /// The key was used for something else.
    #[error("the idempotency key `{0}` was used with another order; use another key")]
    OtherBody(String),
    /// There is no room to keep it.
    #[error("no order can be kept now: {0}")]
    Full(String),
    /// The store cannot be read, or is far behind.
    #[error(
        "the orders that are kept cannot be read now: {0}; it goes on by itself when that is mended"
    )]
    Away(String),
    /// Active orders may need the service.
    #[error("{0}")]
    InUse(String),
    /// What was recorded is not kept yet, and may never be.
    #[error(
        "it is not known yet what is kept of it: {0}; ask again later, or send it again with the same idempotency key"
    )]
    Unsure(String),
    /// No such order.
    #[error("there is no order {0}")]
    Unknown(OrderId),
    /// It has ended.
    #[error("order {id} has ended: {state}")]
    HasEnded {
        /// The order.
        id: OrderId,
        /// How.
        state: &'static str,
    },
    /// It has not failed.
    #[error("order {id} is {state}; only an order that failed or expired can be tried again")]
    NotFailed {
        /// The order.
        id: OrderId,
        /// How it is.
        state: &'static str,
    },
    /// It was taken up again before.
    #[error("order {id} was taken up again as order {by}, which has not failed")]
    Retried {
        /// The order.
        id: OrderId,
        /// The other one.
        by: OrderId,
    },
    /// Everything ends.
    #[error("ε-CON is ending")]
    Ending,
}

fn outside(client: &str, service: Option<&str>) -> String {
    match service {
        Some(service) => format!("the contract of `{client}` does not allow the task `{service}`"),
        None => format!("the contract of `{client}` does not allow orders with tasks of their own"),
    }
}

impl Book {
    pub(super) fn on_look(&mut self, id: OrderId, ask: Ask) {
        if let Some(body) = self.ending.get(&id) {
            let answer = Answer::Order(Arc::clone(body));
            return self.answer(ask, answer);
        }
        let resident = self.resident_body(id).map(|body| Arc::new(body.clone()));
        match resident {
            Some(body) => self.answer(ask, Answer::Order(body)),
            None => self.park(id, Parked::Event(Event::Look { id, ask })),
        }
    }

    pub(super) fn on_wait(&mut self, id: OrderId, ask: Ask) {
        if let Some(body) = self.ending.get(&id) {
            let answer = Answer::Ended(Arc::clone(body));
            return self.answer(ask, answer);
        }
        match self.index.contains_key(&id) {
            true => self.waiters.entry(id).or_default().push(ask),
            false => self.park(id, Parked::Event(Event::Wait { id, ask })),
        }
    }

    pub(super) fn on_cancel(&mut self, id: OrderId, reason: String, ask: Ask, now: Timestamp) {
        let Some(undoing) = self.resident_body(id).map(Body::has_undo) else {
            return self.ask_elsewhere(id, ask, Event::Cancel { id, reason, ask });
        };
        let slot = self.index[&id];
        if self.resident_body(id).is_some_and(Body::is_undoing) {
            let state = "undoing";
            return self.answer(ask, super::Answer::Refused(Refusal::HasEnded { id, state }));
        }
        let ended = Ended {
            end: EndCode::Cancelled.into(),
            reason: client_reason(&reason).to_owned(),
            undoing,
        };
        self.end_order(slot, ended, now);
        self.answer(ask, Answer::Done);
    }

    /// An order comes to an end that no task has brought; what is under way is withdrawn.
    pub(super) fn end_order(&mut self, slot: u32, ended: Ended, now: Timestamp) {
        let generation = self.orders[slot as usize].generation;
        self.withdraw(slot, generation);
        self.change(slot, What::Ended(ended), now);
    }

    pub(super) fn on_deadline(&mut self, slot: u32, now: Timestamp) {
        let order = &self.orders[slot as usize];
        let Some(body) = &order.body else {
            let id = order.id;
            return self.park(id, Parked::Deadline);
        };
        if body.is_undoing() {
            return;
        }
        let ended = Ended {
            end: EndCode::Expired.into(),
            reason: "its deadline has passed".to_owned(),
            undoing: body.has_undo(),
        };
        self.end_order(slot, ended, now);
    }

    pub(super) fn on_pause(&mut self, id: OrderId, paused: bool, ask: Ask, now: Timestamp) {
        if self.resident_body(id).is_none() {
            return self.ask_elsewhere(id, ask, Event::Pause { id, paused, ask });
        }
        let slot = self.index[&id];
        if self.orders[slot as usize].paused != paused {
            self.orders[slot as usize].paused = paused;
            self.change(slot, What::Paused(Paused { paused }), now);
            if !paused {
                self.queue_current(slot, now);
            }
        }
        self.answer(ask, Answer::Done);
    }

    /// An order that is not in memory is asked for; one that has ended is no more to be changed.
    fn ask_elsewhere(&mut self, id: OrderId, ask: Ask, event: Event) {
        match self.ending.get(&id) {
            Some(body) => {
                let state = body.end.as_ref().map_or("ended", |end| end.code.name());
                self.answer(ask, Answer::Refused(Refusal::HasEnded { id, state }));
            }
            None => self.park(id, Parked::Event(event)),
        }
    }

    /// An order is in the store as one that has ended, or not at all.
    pub(super) fn on_ended_loaded(
        &mut self,
        id: OrderId,
        body: Option<&Body>,
        event: Event,
        now: Timestamp,
    ) {
        let state = body
            .and_then(|body| body.end.as_ref())
            .map_or("ended", |end| end.code.name());
        let unknown = Answer::Refused(Refusal::Unknown(id));
        let (ask, answer) = match (event, body) {
            (Event::Retry(again), Some(body)) => {
                return self.retry_ended(body, again, now);
            }
            (Event::Look { ask, .. }, Some(body)) => {
                (ask, Answer::Order(self.with_successor(body)))
            }
            (Event::Wait { ask, .. }, Some(body)) => {
                (ask, Answer::Ended(self.with_successor(body)))
            }
            (Event::Cancel { ask, .. } | Event::Pause { ask, .. }, Some(_)) => {
                (ask, Answer::Refused(Refusal::HasEnded { id, state }))
            }
            (
                Event::Look { ask, .. }
                | Event::Wait { ask, .. }
                | Event::Cancel { ask, .. }
                | Event::Retry(Again { ask, .. })
                | Event::Pause { ask, .. },
                None,
            ) => (ask, unknown),
            // Nothing else is parked.
            _ => return,
        };
        self.answer(ask, answer);
    }

    /// An order as the store has it, and the one that took it up again, which the store may not have yet.
    fn with_successor(&self, body: &Body) -> Arc<Body> {
        let mut body = body.clone();
        body.retried_as = self.retried.get(&body.id).copied().or(body.retried_as);
        Arc::new(body)
    }

    fn resident_body(&self, id: OrderId) -> Option<&Body> {
        let slot = self.index.get(&id)?;
        self.orders.get(*slot as usize)?.body.as_deref()
    }

    /// The end of an order was told, or cannot be.
    pub(super) fn on_delivered(
        &mut self,
        id: OrderId,
        output: u32,
        problem: Option<String>,
        now: Timestamp,
    ) {
        let problem = problem.map_or_else(String::new, |problem| short(&problem).to_owned());
        let change = Change::new(id, now, What::Delivered(Delivered { output, problem }));
        self.record(Record::of(change), None);
    }
}
