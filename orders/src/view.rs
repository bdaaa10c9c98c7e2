//! An order as clients see it.

use std::sync::Arc;

use edgeless_types::{OrderId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    body::{Body, Step},
    contract::Output,
    json::Json,
    message::Mode,
    record::{EndCode, MissCode, UNDO, id_of, kept, moment},
    stages::{Passage, StageView},
};

/// How an order is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// None of its tasks is done.
    Waiting,
    /// Some are.
    Running,
    /// It is held up.
    Paused,
    /// It cannot be completed; what was done is being taken back.
    Undoing,
    /// All tasks are done.
    Completed,
    /// A task failed for good.
    Failed,
    /// Its client wanted it no more.
    Cancelled,
    /// Its deadline has passed.
    Expired,
}

impl OrderState {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Undoing => "undoing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// An order with its whole trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderView {
    /// Its id.
    pub id: OrderId,
    /// Who sent it.
    pub client: String,
    /// How it is.
    pub state: OrderState,
    /// What it is about.
    pub input: Json,
    /// Its tasks, as given.
    pub tasks: Json,
    /// Which messages its services get.
    pub mode: Mode,
    /// Its result, when it is completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Why it was not completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was accepted, `secs.nsecs`.
    pub accepted: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// When it begins, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// 0 to 9.
    pub priority: u32,
    /// What its client noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// The idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The order whose task gave rise to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<OrderId>,
    /// The failed order that it takes up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<OrderId>,
    /// The order that takes it up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_as: Option<OrderId>,
    /// What it passes: `START`, each task, `END`.
    #[serde(default)]
    pub stages: Vec<StageView>,
    /// Tasks that were begun or left out, in the order of the list, then what was taken back.
    pub trace: Vec<StepView>,
    /// Where its end is told besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputView>,
}

/// A task that was begun or left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Its name in the list, such as `A` or `A#2`.
    pub task: String,
    /// The service.
    pub service: String,
    /// It takes back what that task did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undo: bool,
    /// How far it is.
    pub state: StepState,
    /// What it works on; none: it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// When its turn came; none: it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Timestamp>,
    /// Attempts that are over, the last one with the result if there is one.
    pub attempts: Vec<AttemptView>,
    /// Orders that it gave rise to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderId>,
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It waits for its service, for an answer of it, or for the end of a pause.
    Waiting,
    /// It waits for orders that it gave rise to.
    Joining,
    /// It has its result.
    Done,
    /// It is not tried again.
    Failed,
    /// It was left out: its condition did not hold.
    Skipped,
    /// Its turn has not come, or never will.
    NotBegun,
}

/// An attempt that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Counts from 1.
    pub attempt: u32,
    /// Who had it.
    pub instance: String,
    /// When it was handed out.
    pub handed: Timestamp,
    /// When it was over.
    pub ended: Timestamp,
    /// What went wrong; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When the next one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Timestamp>,
}

/// Where the end of an order is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputView {
    /// Where.
    #[serde(flatten)]
    pub output: Output,
    /// It was told.
    pub delivered: bool,
    /// Why it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Step {
    /// How far it is.
    pub fn state(&self) -> StepState {
        match (&self.done, &self.spawned) {
            (Some(_), _) => StepState::Done,
            (None, _) if self.is_given_up() => StepState::Failed,
            (None, Some(_)) => StepState::Joining,
            (None, None) => StepState::Waiting,
        }
    }
}

impl Body {
    /// How the order is, in one word.
    pub fn state(&self) -> OrderState {
        match &self.end {
            Some(end) if end.at.is_none() => OrderState::Undoing,
            Some(end) => match end.code {
                EndCode::Completed => OrderState::Completed,
                EndCode::Failed => OrderState::Failed,
                EndCode::Cancelled => OrderState::Cancelled,
                EndCode::Expired => OrderState::Expired,
            },
            None if self.paused => OrderState::Paused,
            None if self.steps.iter().any(|step| step.done.is_some()) => OrderState::Running,
            None => OrderState::Waiting,
        }
    }

    /// Its result, when it is completed.
    pub fn result(&self) -> Option<&Json> {
        let end = self.end.as_ref()?;
        (end.code == EndCode::Completed).then_some(&self.value)
    }

    /// The order as clients see it.
    pub fn view(&self) -> OrderView {
        let accepted = &self.accepted;
        let text = |bytes: &bytes::Bytes| (!bytes.is_empty()).then(|| kept(bytes));
        let reason = self.end.as_ref().map(|end| end.reason.clone());
        let parent = accepted.parent.as_ref();
        OrderView {
            id: self.id,
            client: accepted.client.clone(),
            state: self.state(),
            input: kept(&accepted.input),
            tasks: self.list.text().clone(),
            mode: self.mode(),
            result: self.result().cloned(),
            reason: reason.filter(|reason| !reason.is_empty()),
            accepted: self.at,
            ended: self.end.as_ref().and_then(|end| end.at),
            deadline: moment(accepted.deadline),
            not_before: moment(accepted.not_before),
            priority: accepted.priority,
            metadata: text(&accepted.metadata),
            idempotency_key: (!accepted.key.is_empty()).then(|| accepted.key.clone()),
            parent: parent.map(|parent| OrderId::from_pair((parent.high, parent.low))),
            retry_of: id_of(&accepted.retry_of),
            retried_as: self.retried_as,
            stages: self.stages(),
            trace: self.trace(),
            outputs: self.output_views(),
        }
    }

    fn trace(&self) -> Vec<StepView> {
        let tasks = self.passages().into_iter();
        let tasks = tasks.filter_map(|(position, passage)| match passage {
            Passage::Begun(step) => Some(self.step_view(step)),
            Passage::Skipped => Some(self.skipped_view(position)),
            Passage::NotBegun => None,
        });
        let undone = self.steps.iter().filter(|step| step.position & UNDO != 0);
        tasks
            .chain(undone.map(|step| self.step_view(step)))
            .collect()
    }

    fn skipped_view(&self, position: u16) -> StepView {
        let task = self.list.task(position);
        StepView {
            task: task.key.to_string(),
            service: task.service.to_string(),
            undo: false,
            state: StepState::Skipped,
            input: None,
            result: None,
            begun: None,
            attempts: Vec::new(),
            orders: Vec::new(),
        }
    }

    fn step_view(&self, step: &Step) -> StepView {
        let misses = step.misses.iter().map(|(at, missed)| AttemptView {
            attempt: missed.attempt,
            instance: missed.instance.clone(),
            handed: Timestamp::from_nanos(missed.handed),
            ended: *at,
            problem: Some(match missed.kind() {
                MissCode::Nonsense => format!("an answer that makes no sense: {}", missed.reason),
                MissCode::Failed
                | MissCode::Refused
                | MissCode::TimedOut
                | MissCode::Lost
                | MissCode::Undelivered => missed.reason.clone(),
            }),
            again: moment(missed.again),
        });
        let done = step.done.as_ref().or(step.spawned.as_ref());
        let last = done.map(|(at, done)| AttemptView {
            attempt: done.attempt,
            instance: done.instance.clone(),
            handed: Timestamp::from_nanos(done.handed),
            ended: *at,
            problem: None,
            again: None,
        });
        StepView {
            task: self.task(step.position).key.to_string(),
            service: self.service(step.position).to_string(),
            undo: step.position & UNDO != 0,
            state: step.state(),
            input: Some(step.input.clone()),
            result: step.done.as_ref().map(|(_, done)| kept(&done.result)),
            begun: Some(step.begun),
            attempts: misses.chain(last).collect(),
            orders: step.children.iter().map(|child| child.id).collect(),
        }
    }

    /// What became of telling its end.
    pub(crate) fn output_views(&self) -> Vec<OutputView> {
        let told = |number: usize| {
            let number = u32::try_from(number).ok()?;
            self.delivered.iter().find(|(output, _)| *output == number)
        };
        let view = |(number, output): (usize, Output)| {
            let problem = told(number).map(|(_, problem)| problem.clone());
            OutputView {
                output,
                delivered: problem.as_ref().is_some_and(String::is_empty),
                problem: problem.filter(|problem| !problem.is_empty()),
            }
        };
        self.outputs().into_iter().enumerate().map(view).collect()
    }
}

/// What the end of an order is told as, wherever it goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndView {
    /// Its id.
    pub id: OrderId,
    /// Who sent it.
    pub client: String,
    /// How it ended.
    pub state: OrderState,
    /// Its result, when it is completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What its client noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
}

impl From<&Arc<Body>> for EndView {
    fn from(body: &Arc<Body>) -> Self {
        let reason = body.end.as_ref().map(|end| end.reason.clone());
        let metadata = &body.accepted.metadata;
        Self {
            id: body.id,
            client: body.accepted.client.clone(),
            state: body.state(),
            result: body.result().cloned(),
            reason: reason.filter(|reason| !reason.is_empty()),
            metadata: (!metadata.is_empty()).then(|| kept(metadata)),
        }
    }
}
