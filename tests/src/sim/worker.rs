//! The worker of ε-ORC for one node, as `orc/src/node_client.rs` has it: steps in order and in batches. Starts that
//! get no answer in time fail, and those behind them fail at once while the node stays silent; stops and patches are
//! tried again until it answers or is gone.

use std::{collections::VecDeque, time::Duration};

use edgeless_orc::{
    domain::{Step, StepKey, StepResult},
    node_client::deadline,
};
use edgeless_types::NodeId;

use super::net::{Call, Context, Place, Request, Timer};

/// Between two tries of stops and patches; doubles up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// Steps in one call.
const BATCH: usize = 256;

/// What steps came to.
pub(super) type Outcomes = Vec<(StepKey, StepResult)>;

pub(super) struct Worker {
    pub(super) node_id: NodeId,
    pub(super) call: Option<Call>,
    /// A newer worker took over, or the node is gone.
    pub(super) is_closed: bool,
    name: u64,
    queue: VecDeque<Step>,
    batch: Vec<Step>,
    silent: bool,
    pause: Duration,
    /// It lets some time pass before it tries again.
    rests: bool,
}

impl Worker {
    pub(super) fn new(name: u64, node_id: NodeId) -> Self {
        Self {
            node_id,
            call: None,
            is_closed: false,
            name,
            queue: VecDeque::new(),
            batch: Vec::new(),
            silent: false,
            pause: PAUSES.0,
            rests: false,
        }
    }

    /// Takes a step; what it came to, if that is known at once.
    pub(super) fn push(&mut self, step: Step) -> Option<(StepKey, StepResult)> {
        let waits = self.call.is_some() || self.rests;
        if self.silent && waits && matches!(step, Step::Start { .. }) {
            return Some(failed(&step));
        }
        self.queue.push_back(step);
        None
    }

    /// Sends what waits, if it is free; false: it has come to its end.
    pub(super) fn work(&mut self, from: Place, to: Place, context: &mut Context) -> bool {
        if self.call.is_some() || self.rests {
            return true;
        }
        let number = BATCH.saturating_sub(self.batch.len());
        let number = number.min(self.queue.len());
        self.batch.extend(self.queue.drain(..number));
        if self.batch.is_empty() {
            return !self.is_closed;
        }
        let request = Request::Apply(self.batch.clone());
        self.call = Some(context.call(from, to, deadline(&self.batch), request));
        true
    }

    /// It has had its pause.
    pub(super) fn on_pause(&mut self) {
        self.rests = false;
    }

    /// A batch has come to something.
    pub(super) fn on_answer(
        &mut self,
        place: Place,
        answer: Option<Vec<StepResult>>,
        context: &mut Context,
    ) -> Outcomes {
        self.call = None;
        let batch = std::mem::take(&mut self.batch);
        self.silent = answer.is_none();
        if let Some(results) = answer {
            self.pause = PAUSES.0;
            return batch.iter().map(Step::key).zip(results).collect();
        }
        let mut done = Vec::new();
        for step in std::mem::take(&mut self.queue) {
            match step {
                Step::Start { .. } => done.push(failed(&step)),
                Step::Stop { .. } | Step::Patch { .. } => self.queue.push_back(step),
            }
        }
        for step in batch {
            match step {
                Step::Start { .. } => done.push(failed(&step)),
                Step::Stop { .. } | Step::Patch { .. } => self.batch.push(step),
            }
        }
        // Nobody tells a worker that has ended to try again.
        if !self.batch.is_empty() && !self.is_closed {
            self.rests = true;
            context.timer(self.pause, place, Timer::Retry(self.name));
            self.pause = (self.pause * 2).min(PAUSES.1);
        } else if self.is_closed {
            self.batch.clear();
            self.queue.clear();
        }
        done
    }
}

fn failed(step: &Step) -> (StepKey, StepResult) {
    let failed = StepResult::Failed("the node does not answer".to_owned());
    (step.key(), failed)
}
