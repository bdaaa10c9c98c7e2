//! All there is to know about one order: what its changes come to, one after the other.
//!
//! The same code follows an order while it is at work, when it is read from the store, and when it is shown. What comes
//! next is decided here: conditions, joins of groups, and which tasks are taken back (`follow`). `messages` has what
//! services get of it, `left` what is still to come.

mod follow;
mod left;
mod messages;

use std::sync::Arc;

use edgeless_types::{OrderId, Timestamp};
use smallvec::SmallVec;

pub use left::joined_bytes;

use crate::{
    book::EndedOrder,
    contract::Output,
    fault::Fault,
    json::Json,
    record::{Accepted, Change, Done, EndCode, MissCode, Missed, UNDO, What, id_of, kept},
    tasks::{Task, TaskList},
};

/// An order with all that has happened to it.
#[derive(Clone, Debug)]
pub struct Body {
    /// Its id.
    pub id: OrderId,
    /// As it was accepted.
    pub accepted: Box<Accepted>,
    /// When.
    pub at: Timestamp,
    /// Its tasks.
    pub list: Arc<TaskList>,
    /// The result so far.
    pub value: Json,
    /// What was begun, in this order; tasks whose condition did not hold are not among them.
    pub steps: Vec<Step>,
    /// Its end, or the end it will have when its tasks are taken back.
    pub end: Option<End>,
    /// It is held up.
    pub paused: bool,
    /// The order that takes it up again, the last one if there were several.
    pub retried_as: Option<OrderId>,
    /// What came of telling its end, by output.
    pub delivered: SmallVec<[(u32, String); 1]>,
    /// The stage at work; as many as there are: none is left.
    stage: usize,
    /// The first step of that stage.
    begun: usize,
}

/// A task that was begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Which task; with [`UNDO`] the one that takes it back.
    pub position: u32,
    /// What it works on.
    pub input: Json,
    /// When it was begun.
    pub begun: Timestamp,
    /// Attempts in vain, with when they ended.
    pub misses: Vec<(Timestamp, Missed)>,
    /// Its result, with when it came.
    pub done: Option<(Timestamp, Done)>,
    /// Orders that it waits for.
    pub children: Vec<Child>,
    /// What it said itself when it gave rise to them, with when.
    pub spawned: Option<(Timestamp, Done)>,
}

/// An order that a task gave rise to.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Its id.
    pub id: OrderId,
    /// How it ended, and its result if it has one.
    pub end: Option<(EndCode, Option<Json>)>,
}

/// The end of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Which.
    pub code: EndCode,
    /// When; none: tasks are being taken back.
    pub at: Option<Timestamp>,
    /// Why; empty when it is completed.
    pub reason: String,
}

/// Changes that make no order.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The first change is not an acceptance.
    #[error("the first change of order {0} is not its acceptance")]
    NotAccepted(OrderId),
    /// The list of tasks cannot be read.
    #[error("the tasks of order {id} cannot be read: {}", fault.detail)]
    Tasks {
        /// The order.
        id: OrderId,
        /// What is wrong with it.
        fault: Fault,
    },
    /// There is no change at all.
    #[error("an order without any change")]
    Empty,
}

impl Step {
    fn new(position: u32, input: Json, begun: Timestamp) -> Self {
        Self {
            position,
            input,
            begun,
            misses: Vec::new(),
            done: None,
            children: Vec::new(),
            spawned: None,
        }
    }

    /// It will not be tried again.
    pub fn is_given_up(&self) -> bool {
        self.done.is_none()
            && self
                .misses
                .last()
                .is_some_and(|(_, missed)| missed.again == 0)
    }

    /// It has to be handed out, now or when its pause is over.
    pub fn is_open(&self) -> bool {
        self.done.is_none() && self.spawned.is_none() && !self.is_given_up()
    }

    /// When it may be handed out again.
    pub fn again(&self) -> Option<Timestamp> {
        let last = self.misses.last()?;
        crate::record::moment(last.1.again)
    }

    /// Attempts so far that count: whoever never got the task made none.
    pub fn attempts(&self) -> u32 {
        let reached = self
            .misses
            .iter()
            .filter(|(_, missed)| !matches!(missed.kind(), MissCode::Undelivered | MissCode::Lost));
        u32::try_from(reached.count()).unwrap_or(u32::MAX)
    }

    /// Attempts whose end nobody knows.
    pub fn losses(&self) -> u32 {
        let lost = self
            .misses
            .iter()
            .filter(|(_, missed)| missed.kind() == MissCode::Lost);
        u32::try_from(lost.count()).unwrap_or(u32::MAX)
    }

    /// The number of the next attempt, from 1.
    pub fn next_attempt(&self) -> u32 {
        self.misses
            .last()
            .map_or(1, |(_, missed)| missed.attempt + 1)
    }

    fn result(&self) -> Json {
        self.done
            .as_ref()
            .map_or_else(Json::null, |(_, done)| kept(&done.result))
    }
}

impl Body {
    /// An order that was just accepted. What needs nothing to be done is complete.
    pub fn accept(
        id: OrderId,
        at: Timestamp,
        accepted: Box<Accepted>,
        list: Arc<TaskList>,
    ) -> Self {
        let value = kept(&accepted.input);
        let carried = accepted.carried.clone();
        let mut body = Self {
            id,
            accepted,
            at,
            list,
            value,
            steps: Vec::new(),
            end: None,
            paused: false,
            retried_as: None,
            delivered: SmallVec::new(),
            stage: 0,
            begun: 0,
        };
        body.begin(at);
        for done in carried {
            body.on_done(at, done);
        }
        body
    }

    /// An order from all its changes; `lists` finds or makes the list of tasks of a text.
    ///
    /// # Errors
    /// The changes make no order.
    pub fn of(
        changes: Vec<Change>,
        lists: impl FnOnce(&Json) -> Result<Arc<TaskList>, Vec<Fault>>,
    ) -> Result<Self, BodyError> {
        let mut changes = changes.into_iter();
        let first = changes.next().ok_or(BodyError::Empty)?;
        let (id, at) = (first.id(), first.at());
        let Some(What::Accepted(accepted)) = first.what else {
            return Err(BodyError::NotAccepted(id));
        };
        let list = lists(&kept(&accepted.tasks)).map_err(|mut faults| BodyError::Tasks {
            id,
            fault: faults.pop().unwrap_or_else(|| Fault::new("", "no reason")),
        })?;
        let mut body = Self::accept(id, at, accepted, list);
        for change in changes {
            body.apply(change);
        }
        Ok(body)
    }

    /// Follows one more change. What makes no sense any more changes nothing: an end never changes.
    pub fn apply(&mut self, change: Change) {
        let at = change.at();
        match change.what {
            None | Some(What::Accepted(_)) => {}
            Some(What::Done(done)) => self.on_done(at, done),
            Some(What::Missed(missed)) => self.on_missed(at, missed),
            Some(What::Ended(ended)) => self.on_ended(at, ended),
            Some(What::Paused(paused)) => self.paused = paused.paused,
            Some(What::Spawned(spawned)) => self.on_spawned(at, spawned),
            Some(What::Joined(joined)) => self.on_joined(at, &joined),
            Some(What::Retried(retried)) => self.retried_as = id_of(&retried.order),
            Some(What::Delivered(delivered)) => {
                self.delivered.push((delivered.output, delivered.problem));
            }
        }
    }

    /// It has come to its end.
    pub fn is_ended(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.at.is_some())
    }

    /// It has come to an end that is not a good one.
    pub fn has_failed(&self) -> bool {
        self.is_ended()
            && self
                .end
                .as_ref()
                .is_some_and(|end| end.code != EndCode::Completed)
    }

    /// What the store is told of its end; none: it has not come to one.
    pub fn ended(&self) -> Option<EndedOrder> {
        let end = self.end.as_ref().filter(|end| end.at.is_some())?;
        let told = self.delivered.len();
        let outputs = self.outputs().len().saturating_sub(told);
        Some(EndedOrder {
            id: self.id,
            code: end.code,
            outputs: u32::try_from(outputs).unwrap_or(u32::MAX),
        })
    }

    /// Where its end is told besides.
    pub fn outputs(&self) -> Vec<Output> {
        match self.accepted.outputs.is_empty() {
            true => Vec::new(),
            // Written by this program; a later version may know more kinds.
            false => serde_json::from_slice(&self.accepted.outputs).unwrap_or_default(),
        }
    }

    /// Tasks that were done are being taken back.
    pub fn is_undoing(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.at.is_none())
    }

    /// The steps that are at work: those of this stage, or the one that takes something back.
    pub fn current(&self) -> &[Step] {
        &self.steps[self.begun.min(self.steps.len())..]
    }

    /// The step at a position, if it is at work.
    pub fn step(&self, position: u32) -> Option<&Step> {
        self.current().iter().find(|step| step.position == position)
    }

    fn step_mut(&mut self, position: u32) -> Option<&mut Step> {
        let begun = self.begun;
        let mut current = self.steps.iter_mut().skip(begun);
        current.find(|step| step.position == position)
    }

    /// A step at work that was given up: the order cannot be completed.
    pub fn failure(&self) -> Option<&Step> {
        let mut current = self.current().iter();
        current.find(|step| step.position & UNDO == 0 && step.is_given_up())
    }

    /// The task of a position; of [`UNDO`] the one that is taken back.
    pub fn task(&self, position: u32) -> &Task {
        self.list.task(index(position))
    }

    /// The service that a position calls on.
    pub fn service(&self, position: u32) -> &Arc<str> {
        let task = self.task(position);
        match (position & UNDO != 0, &task.undo) {
            (true, Some(undo)) => undo,
            (true, None) | (false, _) => &task.service,
        }
    }

    /// Whether anything would have to be taken back.
    pub fn has_undo(&self) -> bool {
        self.next_undo().is_some()
    }

    /// The first of the steps at work; grows whenever others are begun.
    pub fn begun(&self) -> usize {
        self.begun
    }

    /// The stage at work; as many as there are: none is left.
    pub fn stage(&self) -> usize {
        self.stage
    }

    /// When a step must be done.
    pub fn task_deadline(&self, step: &Step) -> Option<Timestamp> {
        let deadline = self
            .task(step.position)
            .deadline
            .filter(|_| step.position & UNDO == 0)?;
        // A delay is not counted.
        let not_before = Timestamp::from_nanos(self.accepted.not_before);
        Some(step.begun.max(not_before) + deadline)
    }
}

/// The index of a task, whether it is to be done or taken back.
pub fn index(position: u32) -> u16 {
    u16::try_from(position & (UNDO - 1)).unwrap_or(u16::MAX)
}

impl EndCode {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}
