//! The messages of an order: what a service gets, and what its answer says.

use smallvec::SmallVec;

use super::{Body, Step, index};
use crate::{
    json::Json,
    message::{self, Mode, trace::Job},
    record::{ModeCode, UNDO, kept},
};

impl Body {
    /// The mode.
    pub fn mode(&self) -> Mode {
        match self.accepted.mode() {
            ModeCode::Slip => Mode::Slip,
            ModeCode::Trace => Mode::Trace,
        }
    }

    /// The message of the order to the service of a step; see [`crate::message`].
    pub fn message(&self, step: &Step) -> Json {
        match self.mode() {
            Mode::Slip => message::slip::request(&step.input, &self.list, &self.done_before(step)),
            Mode::Trace => {
                let input = kept(&self.accepted.input);
                self.with_jobs(step, |jobs| {
                    message::trace::request(&input, &self.list, jobs)
                })
            }
        }
    }

    /// The result of a step in the message that its service has answered with.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn answer(&self, step: &Step, answer: &Json) -> Result<Json, message::Nonsense> {
        let position = index(step.position);
        match self.mode() {
            Mode::Slip => {
                let done = self.done_before(step);
                message::slip::response(&self.list, position, &done, answer)
            }
            Mode::Trace => self.with_jobs(step, |jobs| {
                message::trace::response(&self.list, position, jobs, answer)
            }),
        }
    }

    fn with_jobs<T>(&self, step: &Step, then: impl FnOnce(&[Job<'_>]) -> T) -> T {
        let before = self.before(step);
        let results: SmallVec<[Json; 4]> = before.iter().map(|step| step.result()).collect();
        let done = before.iter().zip(&results).map(|(step, result)| Job {
            position: index(step.position),
            input: &step.input,
            result: Some(result),
        });
        let own = Job {
            position: index(step.position),
            input: &step.input,
            result: None,
        };
        let jobs: SmallVec<[Job<'_>; 4]> = done.chain([own]).collect();
        then(&jobs)
    }

    /// The positions that were done when a step was begun: those of its group do not count.
    fn done_before(&self, step: &Step) -> SmallVec<[u16; 4]> {
        self.before(step)
            .iter()
            .map(|step| index(step.position))
            .collect()
    }

    fn before(&self, step: &Step) -> SmallVec<[&Step; 4]> {
        let is_current = self.current().iter().any(|it| it.position == step.position);
        let until = if is_current {
            self.begun
        } else {
            self.steps.len()
        };
        let before = self.steps[..until].iter();
        before
            .filter(|step| step.position & UNDO == 0 && step.done.is_some())
            .collect()
    }
}
