//! Takes what came of tasks: results, attempts in vain, tasks that nobody heard of again.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use edgeless_types::Timestamp;
use rand::Rng;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Book, Due, Entry, LineId, Outcome, Ticket, Timer, flight::Flight, services::Wanted,
    spawn::too_long,
};
use crate::{
    body::{Body, Step, joined_bytes},
    bounds::{self, RESULT_BYTES, short},
    json::Json,
    message::MAX_VALUE_DEPTH,
    record::{Done, MissCode, Missed, UNDO, What},
    service::{Call, ServiceSpec},
};

/// Attempts whose end nobody knows: after so many the task is held to be what ends its services.
const MAX_LOSSES: u32 = 20;
/// The pause after a task has not reached its service; about.
const UNDELIVERED: Duration = Duration::from_millis(200);

/// What a service said, understood.
#[derive(Debug)]
enum Said {
    Result(Json),
    Orders(Json, Vec<Json>),
    Missed(MissCode, String),
}

impl Book {
    pub(super) fn on_outcome(
        &mut self,
        line: LineId,
        ticket: Ticket,
        outcome: Outcome,
        now: Timestamp,
    ) {
        let Some(flight) = self.land(ticket) else {
            return;
        };
        if let Some(line) = self.lines.get_mut(&line) {
            let took = now.since(flight.handed);
            line.window.on_answer(took, line.in_flight + 1);
        }
        let service = flight.service;
        if let Some(entry) = flight.entry {
            self.come_back(&flight, entry, outcome, now);
        }
        self.dispatch(service, now);
    }

    /// A task was not heard of in time, not even that it was late.
    pub(super) fn on_overdue(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(flight) = self.land(ticket) else {
            return;
        };
        let service = flight.service;
        if let Some(entry) = flight.entry {
            self.come_back(&flight, entry, Outcome::TimedOut, now);
        }
        self.dispatch(service, now);
    }

    /// A line is lost, and what was handed out over it.
    pub(super) fn on_line_closed(&mut self, line: LineId, now: Timestamp) {
        let Some(closed) = self.lines.remove(&line) else {
            return;
        };
        let service = closed.service;
        self.services[service as usize]
            .lines
            .retain(|other| *other != line);
        self.count_off(service);
        let flights = self.flights.iter().map(|(_, flight)| flight);
        let over_it = flights.filter(|flight| flight.line == line);
        let tickets: Vec<Ticket> = over_it.map(|flight| flight.ticket).collect();
        for ticket in tickets {
            let Some(flight) = self.land(ticket) else {
                continue;
            };
            if let Some(entry) = flight.entry {
                let reason = format!("{} is gone", closed.source);
                let said = Said::Missed(MissCode::Lost, reason);
                self.follow_said(&flight, entry, said, closed.source.to_string(), now);
            }
        }
        self.services[service as usize].wanted = Wanted::No;
        self.dispatch(service, now);
    }

    fn come_back(&mut self, flight: &Flight, entry: Entry, outcome: Outcome, now: Timestamp) {
        let source = self.lines.get(&flight.line);
        let source = source.map(|line| Arc::clone(&line.source));
        let source = || source.map_or_else(String::new, |source| String::from(&*source));
        let (said, instance) = match outcome {
            Outcome::Reply { payload, instance } => {
                let said = self.understand(entry, flight.service, payload);
                let instance = instance.map(|instance| String::from(&*instance));
                (said, instance.unwrap_or_else(source))
            }
            Outcome::Failed(reason) => (Said::Missed(MissCode::Failed, reason), source()),
            Outcome::Refused(reason) => (Said::Missed(MissCode::Refused, reason), source()),
            Outcome::TimedOut => {
                let reason = "no answer in time".to_owned();
                (Said::Missed(MissCode::TimedOut, reason), source())
            }
            Outcome::Undelivered(reason) => {
                return self.bring_again(entry, flight.service, &reason, now);
            }
        };
        self.follow_said(flight, entry, said, instance, now);
    }

    /// A task that did not reach its service is brought again a little later; it was no attempt.
    fn bring_again(&mut self, entry: Entry, service: u32, reason: &str, now: Timestamp) {
        let name = &self.services[service as usize].name;
        tracing::debug!(service = %name, reason, "a task did not reach its service");
        // Another task of its group may have been given up meanwhile.
        self.settle_alone(entry.slot, now);
        if self.order(entry).is_none() {
            return;
        }
        let pause = UNDELIVERED.mul_f64(self.rng.random_range(0.5..=1.5));
        let timer = Timer::Order {
            slot: entry.slot,
            generation: entry.generation,
            what: Due::Again(entry.position),
        };
        self.timers.insert((now + pause, timer));
    }

    fn understand(&self, entry: Entry, service: u32, payload: Bytes) -> Said {
        let body = self.order(entry).and_then(|order| order.body.as_deref());
        let step = body.and_then(|body| body.step(u32::from(entry.position)));
        let (Some(body), Some(step), Some(spec)) =
            (body, step, &self.services[service as usize].spec)
        else {
            return Said::Missed(MissCode::Lost, "its service is there no more".to_owned());
        };
        if payload.len() > RESULT_BYTES {
            let reason =
                format!("the answer is longer than {RESULT_BYTES} bytes; answer with a blob");
            return Said::Missed(MissCode::Nonsense, reason);
        }
        let nonsense = |reason: String| Said::Missed(MissCode::Nonsense, reason);
        let (payload, orders) = match spec.envelope {
            false => (payload, None),
            true => match open_envelope(&payload) {
                Ok(opened) => opened,
                Err(said) => return said,
            },
        };
        let result = match result(spec, body, step, payload) {
            Ok(result) => result,
            Err(reason) => return nonsense(reason),
        };
        let own = result.as_bytes().len();
        let bytes = orders
            .as_ref()
            .map_or(own, |orders| joined_bytes(own, orders.len()));
        if bytes > body.room(step.position) {
            let reason = too_long(body, step.position, orders.is_some());
            return Said::Missed(MissCode::Refused, reason);
        }
        match orders {
            None => Said::Result(result),
            Some(orders) => Said::Orders(result, orders),
        }
    }

    fn follow_said(
        &mut self,
        flight: &Flight,
        entry: Entry,
        said: Said,
        mut instance: String,
        now: Timestamp,
    ) {
        let Some(order) = self.order(entry) else {
            return;
        };
        let Some(step) = order
            .body
            .as_ref()
            .and_then(|body| body.step(u32::from(entry.position)))
        else {
            return;
        };
        let (position, attempt) = (step.position, flight.attempt);
        let handed = flight.handed.as_nanos();
        let done = |result: Json, instance| Done {
            position,
            attempt,
            instance,
            handed,
            result: result.bytes(),
        };
        instance.truncate(bounds::instance(&instance).len());
        match said {
            Said::Result(result) => {
                let counts = &mut self.services[flight.service as usize].counts;
                counts.done(now.since(flight.handed), now);
                let done = done(result, instance);
                self.change(entry.slot, What::Done(done), now);
            }
            Said::Orders(result, orders) => {
                let done = done(result, instance);
                self.spawn_orders(flight, entry, done, &orders, now);
            }
            Said::Missed(kind, reason) => {
                self.follow_missed(flight, entry, kind, &reason, instance, now);
            }
        }
    }

    /// An attempt was in vain.
    pub(super) fn follow_missed(
        &mut self,
        flight: &Flight,
        entry: Entry,
        kind: MissCode,
        reason: &str,
        instance: String,
        now: Timestamp,
    ) {
        self.services[flight.service as usize].counts.missed();
        let again = self.again(entry, flight.service, kind, now);
        let missed = Missed {
            position: u32::from(entry.position),
            attempt: flight.attempt,
            instance,
            handed: flight.handed.as_nanos(),
            kind: kind.into(),
            reason: short(reason).to_owned(),
            again,
        };
        self.change(entry.slot, What::Missed(missed), now);
        if let Some(again) = crate::record::moment(again) {
            self.try_again(entry, again, now);
        }
    }

    /// When a task is tried again, in nanoseconds since the epoch; 0: never.
    fn again(&mut self, entry: Entry, service: u32, kind: MissCode, now: Timestamp) -> u64 {
        let Some(step) = self
            .orders
            .get(entry.slot as usize)
            .and_then(|order| order.body.as_ref()?.step(u32::from(entry.position)))
        else {
            return 0;
        };
        let (attempts, losses) = (step.attempts() + 1, step.losses() + 1);
        let spec = self.services[service as usize].spec.clone();
        let retries = spec.map(|spec| spec.retries.clone()).unwrap_or_default();
        match kind {
            MissCode::Refused => 0,
            MissCode::Failed | MissCode::TimedOut | MissCode::Nonsense => {
                match attempts >= retries.attempts {
                    true => 0,
                    false => retries.again(attempts, now, &mut self.rng).as_nanos(),
                }
            }
            // Whoever had it is gone: another one gets it at once, unless it has ended many.
            MissCode::Lost if losses >= MAX_LOSSES => 0,
            MissCode::Lost | MissCode::Undelivered => match losses {
                1 => now.as_nanos(),
                more => retries.again(more, now, &mut self.rng).as_nanos(),
            },
        }
    }

    fn try_again(&mut self, entry: Entry, again: Timestamp, now: Timestamp) {
        if self.order(entry).is_none() {
            return;
        }
        if again > now {
            let timer = Timer::Order {
                slot: entry.slot,
                generation: entry.generation,
                what: Due::Again(entry.position),
            };
            self.timers.insert((again, timer));
        } else if let Some(service) = self.enqueue(entry, true, now) {
            self.dispatch(service, now);
        }
    }
}

/// The result of a task in what its service has answered.
fn result(spec: &ServiceSpec, body: &Body, step: &Step, payload: Bytes) -> Result<Json, String> {
    let is_undo = step.position & UNDO != 0;
    let answer = Json::parse(payload).map_err(|error| format!("the answer is no JSON: {error}"))?;
    match spec.call {
        Call::Message if !is_undo => {
            let read = body.answer(step, &answer);
            read.map_err(|nonsense| nonsense.to_string())
        }
        Call::Message | Call::Value if answer.depth() > MAX_VALUE_DEPTH => Err(format!(
            "the answer nests more than {MAX_VALUE_DEPTH} levels deep"
        )),
        Call::Message | Call::Value => Ok(answer),
    }
}

/// What an envelope holds: the answer, and orders that the task gives rise to.
fn open_envelope(payload: &Bytes) -> Result<(Bytes, Option<Vec<Json>>), Said> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Envelope<'a> {
        #[serde(borrow)]
        result: Option<&'a RawValue>,
        error: Option<String>,
        retry: Option<bool>,
        #[serde(borrow)]
        orders: Option<Vec<&'a RawValue>>,
    }
    let read: Result<Envelope<'_>, _> = serde_json::from_slice(payload);
    let envelope = read.map_err(|error| {
        let reason = format!("the answer is no envelope of `result` or `error`: {error}");
        Said::Missed(MissCode::Nonsense, reason)
    })?;
    if let Some(error) = envelope.error {
        let kind = match envelope.retry {
            Some(false) => MissCode::Refused,
            Some(true) | None => MissCode::Failed,
        };
        return Err(Said::Missed(kind, error));
    }
    let within = |raw: &RawValue| {
        let value = Json::within(payload, raw);
        value.map_err(|error| Said::Missed(MissCode::Nonsense, format!("the answer is {error}")))
    };
    let result = envelope.result.map_or_else(|| Ok(Json::null()), within)?;
    let orders = envelope.orders.filter(|orders| !orders.is_empty());
    let orders = orders.map(|orders| orders.into_iter().map(within).collect::<Result<_, _>>());
    Ok((result.bytes(), orders.transpose()?))
}
