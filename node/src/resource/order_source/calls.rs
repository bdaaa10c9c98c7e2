//! The tasks under way on one stream: starts them, gives them up, collects what came of them.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::{Duration, Instant},
};

use edgeless_dataflow::{Answer, Called, FAR_PAYLOAD, Port, PortError};
use edgeless_proto::v1::{self, task_outcome::Result as Outcome};
use edgeless_types::{InstanceId, resource::order_source::TASK};
use futures_util::{
    StreamExt,
    future::{AbortHandle, Abortable, Aborted},
    stream::FuturesUnordered,
};
use rustc_hash::FxHashMap;

use crate::resource::{
    Counters,
    mailbox::{Open, Unfinished},
};

/// The longest reason that is told, in bytes.
const REASON: usize = 1_024;
/// Outcomes in one message.
const MESSAGE_OUTCOMES: usize = 1_024;
/// Bytes of answers in one message, but for one answer that is longer by itself.
const MESSAGE_BYTES: usize = 256 << 10;

type Call = Pin<Box<dyn Future<Output = v1::TaskOutcome> + Send>>;

/// The tasks under way, and outcomes that are not sent yet.
pub(super) struct Calls {
    port: Port,
    counters: Arc<Counters>,
    open: Arc<Open>,
    running: FuturesUnordered<Abortable<Call>>,
    by_ticket: FxHashMap<u64, AbortHandle>,
    outcomes: VecDeque<v1::TaskOutcome>,
    /// While there is something of both.
    unfinished: Option<Unfinished>,
}

impl Calls {
    pub(super) fn new(port: Port, counters: Arc<Counters>, open: Arc<Open>) -> Self {
        Self {
            port,
            counters,
            open,
            running: FuturesUnordered::new(),
            by_ticket: FxHashMap::default(),
            outcomes: VecDeque::new(),
            unfinished: None,
        }
    }

    /// How many tasks are under way.
    pub(super) fn number(&self) -> usize {
        self.by_ticket.len()
    }

    /// Whether there is anything to wait for, given up or not.
    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// How many outcomes are not sent yet.
    pub(super) fn unsent(&self) -> usize {
        self.outcomes.len()
    }

    /// Whether nothing is under way or not sent.
    pub(super) fn is_empty(&self) -> bool {
        self.by_ticket.is_empty() && self.outcomes.is_empty()
    }

    /// Takes a task, or sends it back for that reason.
    pub(super) fn take(&mut self, task: v1::Task, refusal: Option<String>) {
        self.counters.order_tasks.fetch_add(1, Relaxed);
        self.unfinished
            .get_or_insert_with(|| Unfinished::of(&self.open));
        let refusal = refusal.or_else(|| self.refusal(&task));
        if let Some(reason) = refusal {
            return self.outcomes.push_back(v1::TaskOutcome {
                ticket: task.ticket,
                instance: None,
                took_us: 0,
                result: Some(Outcome::Undelivered(reason)),
            });
        }
        let (handle, registration) = AbortHandle::new_pair();
        self.by_ticket.insert(task.ticket, handle);
        let call: Call = Box::pin(call(self.port.clone(), task));
        self.running.push(Abortable::new(call, registration));
    }

    fn refusal(&self, task: &v1::Task) -> Option<String> {
        let size = task.payload.len();
        if size > FAR_PAYLOAD {
            return Some(format!(
                "{size} bytes are more than the {FAR_PAYLOAD} a message may have"
            ));
        }
        let known = self.by_ticket.contains_key(&task.ticket);
        known.then(|| format!("a task with the ticket {} is under way", task.ticket))
    }

    /// Gives a task up; no outcome comes of it.
    pub(super) fn cancel(&mut self, ticket: u64) {
        if let Some(handle) = self.by_ticket.remove(&ticket) {
            handle.abort();
        }
        self.is_finished();
    }

    /// Waits until some tasks are over, and takes note of all that are.
    pub(super) async fn over(&mut self) {
        let over = poll_fn(|context| {
            let mut any = false;
            while let Poll::Ready(Some(outcome)) = self.running.poll_next_unpin(context) {
                any = true;
                let Ok(outcome) = outcome.map_err(|Aborted| ()) else {
                    continue;
                };
                self.by_ticket.remove(&outcome.ticket);
                self.outcomes.push_back(outcome);
            }
            match any {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        over.await;
        self.is_finished();
    }

    /// Takes the outcomes for one message.
    pub(super) fn outcomes(&mut self) -> Vec<v1::TaskOutcome> {
        let (mut number, mut bytes) = (0, 0);
        for outcome in self.outcomes.iter().take(MESSAGE_OUTCOMES) {
            bytes += size(outcome);
            if number > 0 && bytes > MESSAGE_BYTES {
                break;
            }
            number += 1;
        }
        let outcomes: Vec<_> = self.outcomes.drain(..number).collect();
        let failed = outcomes.iter().filter(|it| is_failure(it)).count();
        if failed > 0 {
            let counter = &self.counters.order_tasks_failed;
            counter.fetch_add(failed as u64, Relaxed);
        }
        self.is_finished();
        outcomes
    }

    fn is_finished(&mut self) {
        if self.is_empty() {
            self.unfinished = None;
        }
    }
}

fn size(outcome: &v1::TaskOutcome) -> usize {
    match &outcome.result {
        Some(Outcome::Reply(reply)) => reply.len(),
        Some(Outcome::Failed(text) | Outcome::Undelivered(text)) => text.len(),
        Some(Outcome::NoReply(_) | Outcome::TimedOut(_)) | None => 0,
    }
}

fn is_failure(outcome: &v1::TaskOutcome) -> bool {
    match outcome.result {
        Some(Outcome::Reply(_) | Outcome::NoReply(_)) => false,
        Some(Outcome::Failed(_) | Outcome::Undelivered(_) | Outcome::TimedOut(_)) | None => true,
    }
}

async fn call(port: Port, task: v1::Task) -> v1::TaskOutcome {
    let began = Instant::now();
    let timeout = Duration::from_millis(task.timeout_ms.max(1).into());
    let called = port.ask(TASK, task.payload, timeout).await;
    let took_us = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
    outcome(task.ticket, took_us, called)
}

fn outcome(ticket: u64, took_us: u32, called: Called) -> v1::TaskOutcome {
    let Called { to, answer } = called;
    let result = match answer {
        Ok(Answer::Reply(reply)) if reply.len() > FAR_PAYLOAD => Outcome::Failed(format!(
            "an answer of {} bytes is longer than the {FAR_PAYLOAD} a message may have",
            reply.len()
        )),
        Ok(Answer::Reply(reply)) => Outcome::Reply(reply),
        Ok(Answer::NoReply) => Outcome::NoReply(v1::NoReply {}),
        Ok(Answer::Error(text)) | Err(PortError::Failed(text)) => Outcome::Failed(short(text)),
        Err(PortError::Deadline) => Outcome::TimedOut(v1::TimedOut {}),
        Err(error @ (PortError::Unmapped(_) | PortError::Waiting(_) | PortError::Stopped)) => {
            Outcome::Undelivered(error.to_string())
        }
    };
    v1::TaskOutcome {
        ticket,
        instance: to.map(|to: InstanceId| to.into()),
        took_us,
        result: Some(result),
    }
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON));
    text
}
