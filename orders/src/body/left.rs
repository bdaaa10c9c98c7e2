//! What is left of an order: tasks that are to be done or taken back, orders that it waits for, and how long their
//! results may be.

use std::sync::Arc;

use edgeless_types::OrderId;
use smallvec::SmallVec;

use super::{Body, Step, index};
use crate::{bounds::RESULT_BYTES, record::UNDO};

/// What a result with those of other orders has around them, and around each of them, in bytes; at most.
const JOINED: usize = 32;
const JOINED_EACH: usize = 80;

impl Step {
    /// It waits for orders that it gave rise to.
    pub fn is_waiting(&self) -> bool {
        self.spawned.is_some() && self.done.is_none() && !self.is_given_up()
    }

    /// Bytes of its result as far as it is there.
    fn held(&self) -> usize {
        if let Some((_, done)) = &self.done {
            return done.result.len();
        }
        let Some((_, own)) = &self.spawned else {
            return 0;
        };
        let ends = self.children.iter().filter_map(|child| child.end.as_ref());
        let results = ends.filter_map(|(_, result)| result.as_ref());
        let results: usize = results.map(|result| result.as_bytes().len()).sum();
        joined_bytes(own.result.len(), self.children.len()) + results
    }
}

/// Bytes of the result of a task that gives rise to so many orders, without theirs; at most.
pub fn joined_bytes(own: usize, orders: usize) -> usize {
    JOINED + own + JOINED_EACH * orders
}

impl Body {
    /// The services of the tasks at work that are not done; those that take something back do not count.
    pub fn open(&self) -> SmallVec<[Arc<str>; 2]> {
        let current = self.current().iter();
        let open = current.filter(|step| step.position & UNDO == 0 && step.done.is_none());
        open.map(|step| Arc::clone(&self.task(step.position).service))
            .collect()
    }

    /// The services of all tasks that are not done, also of those whose turn has not come. Once the end is decided,
    /// those of the tasks that take something back.
    pub fn to_do(&self) -> SmallVec<[Arc<str>; 2]> {
        if let Some(end) = &self.end {
            return match end.at {
                Some(_) => SmallVec::new(),
                None => self.to_take_back(),
            };
        }
        let mut to_do = self.open();
        let rest = self
            .list
            .stages()
            .get(self.stage + 1)
            .map(|stage| usize::from(stage.first));
        let rest = rest.map_or(&[][..], |first| &self.list.tasks()[first..]);
        to_do.extend(rest.iter().map(|task| Arc::clone(&task.service)));
        to_do
    }

    /// The services that are to take something back: the one at work, and those whose turn comes.
    fn to_take_back(&self) -> SmallVec<[Arc<str>; 2]> {
        let mut begun = vec![false; self.list.len()];
        let undo = self.steps.iter().filter(|step| step.position & UNDO != 0);
        for step in undo {
            begun[usize::from(index(step.position))] = true;
        }
        let done = self.steps.iter().filter(|step| {
            step.position & UNDO == 0
                && step.done.is_some()
                && !begun[usize::from(index(step.position))]
        });
        let coming = done.filter_map(|step| self.task(step.position).undo.clone());
        let current = self.current().iter();
        let open = current.filter(|step| step.position & UNDO != 0 && step.is_open());
        open.map(|step| Arc::clone(self.service(step.position)))
            .chain(coming)
            .collect()
    }

    /// The services of tasks that were left out since a stage was at work: their conditions did not hold.
    pub fn left_out_since(&self, stage: usize) -> SmallVec<[Arc<str>; 2]> {
        let mut left_out = SmallVec::new();
        for number in stage + 1..=self.stage {
            let Some(stage) = self.list.stages().get(number) else {
                break;
            };
            for position in stage.first..stage.first + stage.len {
                let begun = |step: &Step| step.position == u32::from(position);
                if number < self.stage || !self.current().iter().any(begun) {
                    left_out.push(Arc::clone(&self.list.task(position).service));
                }
            }
        }
        left_out
    }

    /// Orders that its tasks gave rise to are under way.
    pub fn has_children(&self) -> bool {
        self.end.is_none() && self.current().iter().any(Step::is_waiting)
    }

    /// The orders that it waits for, each with the position of the task that gave rise to it.
    pub fn children(&self) -> impl Iterator<Item = (u32, OrderId)> {
        let current = self.current().iter().filter(|_| self.end.is_none());
        let waiting = current.filter(|step| step.is_waiting());
        waiting.flat_map(|step| {
            let open = step.children.iter().filter(|child| child.end.is_none());
            open.map(|child| (step.position, child.id))
        })
    }

    /// The step that waits for an order that it gave rise to; none: nobody does.
    pub fn waiting(&self, position: u32, child: OrderId) -> Option<&Step> {
        let step = self.step(position).filter(|step| step.is_waiting())?;
        let open = |other: &super::Child| other.id == child && other.end.is_none();
        (self.end.is_none() && step.children.iter().any(open)).then_some(step)
    }

    /// How many more bytes the result of a step at work may have. Those of a group are one result, and so are those of
    /// the orders that a task gives rise to.
    pub fn room(&self, position: u32) -> usize {
        let held = match self.is_grouped(position) {
            true => self.current().iter().fold(JOINED, |sum, step| {
                // With its name, two quotation marks, a colon and a comma.
                sum + self.task(step.position).key.len() + 4 + step.held()
            }),
            false => self.step(position).map_or(0, Step::held),
        };
        RESULT_BYTES.saturating_sub(held)
    }

    /// Whether a step at work is one of a group.
    pub fn is_grouped(&self, position: u32) -> bool {
        let stage = self.list.stages().get(self.stage);
        position & UNDO == 0 && stage.is_some_and(|stage| stage.group)
    }
}
