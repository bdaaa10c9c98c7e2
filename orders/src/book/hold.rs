//! While the log takes nothing: what would be recorded is refused or waits here, and nobody's time is up meanwhile.
//!
//! No task is handed out, so that what comes back is bounded by what was out before. The payloads that are kept of it
//! are bounded as well: a task whose outcome is one too many is brought again, as one that did not reach its service.

use std::{collections::VecDeque, sync::Arc};

use edgeless_types::{OrderId, Timestamp};

use super::{Again, Answer, Ask, Book, Effect, Event, Gated, Outcome, Refusal};

/// Bytes of outcomes that are kept meanwhile.
const KEPT_BYTES: usize = 16 << 20;

/// What waits until the log takes records again.
#[derive(Debug)]
pub(super) struct Hold {
    why: Arc<str>,
    events: VecDeque<Event>,
    /// Bytes of the outcomes among them.
    bytes: usize,
    /// They are being followed.
    is_over: bool,
}

impl Book {
    /// The log takes nothing for now, or takes everything again.
    pub(super) fn on_hold(&mut self, why: Option<Arc<str>>, now: Timestamp) {
        match (why, self.hold.as_mut()) {
            (Some(why), Some(hold)) => hold.why = why,
            (Some(why), None) => {
                self.hold = Some(Hold {
                    why,
                    events: VecDeque::new(),
                    bytes: 0,
                    is_over: false,
                });
                let mut answers = Vec::new();
                for (sequence, gated) in std::mem::take(&mut self.gated) {
                    match gated {
                        Gated::Effect(Effect::Answer { ask, answer }) => {
                            answers.push((ask, answer));
                        }
                        gated => self.gated.push_back((sequence, gated)),
                    }
                }
                for (ask, answer) in answers {
                    self.answer_held(ask, answer);
                }
            }
            (None, Some(_)) => self.release(now),
            (None, None) => {}
        }
    }

    fn release(&mut self, now: Timestamp) {
        let Some(hold) = &mut self.hold else { return };
        hold.is_over = true;
        // Nothing is handed out before all is followed: a line may be lost.
        for event in std::mem::take(&mut hold.events) {
            self.follow(event, now);
        }
        self.hold = None;
        for slot in 0..self.services.len() {
            let slot = u32::try_from(slot).expect("services have names that are kept in memory");
            self.dispatch(slot, now);
        }
    }

    /// Keeps or answers an event that would be recorded; what is left is to be followed.
    pub(super) fn hold_back(&mut self, event: Event) -> Option<Event> {
        let Some(hold) = self.hold.as_mut().filter(|hold| !hold.is_over) else {
            return Some(event);
        };
        match event {
            Event::Outcome {
                line,
                ticket,
                outcome,
            } => {
                let outcome = hold.bounded(outcome);
                hold.events.push_back(Event::Outcome {
                    line,
                    ticket,
                    outcome,
                });
                None
            }
            Event::LineClosed { .. } => {
                hold.events.push_back(event);
                None
            }
            Event::Cancel { ask, .. }
            | Event::Retry(Again { ask, .. })
            | Event::Pause { ask, .. } => {
                let answer = Answer::Refused(Refusal::Full(hold.why.to_string()));
                self.answer_held(ask, answer);
                None
            }
            Event::Tick => None,
            event => Some(event),
        }
    }

    /// Answers without waiting for the log: with what is kept, or with nothing.
    pub(super) fn answer_held(&mut self, ask: Ask, answer: Answer) {
        let is_kept = match &answer {
            Answer::Refused(_) => true,
            Answer::Accepted { id, .. } => self.is_kept(*id),
            Answer::Order(body) | Answer::Ended(body) => self.is_kept(body.id),
            Answer::Done => false,
        };
        let answer = match &self.hold {
            Some(hold) if !is_kept => Answer::Refused(Refusal::Unsure(hold.why.to_string())),
            Some(_) | None => answer,
        };
        self.out.effects.push(Effect::Answer { ask, answer });
    }

    /// Why the log takes nothing; none: it does.
    pub(super) fn hold_reason(&self) -> Option<&Arc<str>> {
        self.hold.as_ref().map(|hold| &hold.why)
    }

    /// Whether all that was recorded of an order is kept.
    fn is_kept(&self, id: OrderId) -> bool {
        if let Some(slot) = self.index.get(&id) {
            return self.orders[*slot as usize].last <= self.durable;
        }
        let ends = |gated: &Gated| matches!(gated, Gated::End(other, _) if *other == id);
        !self.gated.iter().any(|(_, gated)| ends(gated))
    }
}

impl Hold {
    /// An outcome that there is room for.
    fn bounded(&mut self, outcome: Outcome) -> Outcome {
        let bytes = match &outcome {
            Outcome::Reply { payload, .. } => payload.len(),
            Outcome::Failed(reason) | Outcome::Refused(reason) | Outcome::Undelivered(reason) => {
                reason.len()
            }
            Outcome::TimedOut => 0,
        };
        if self.bytes + bytes > KEPT_BYTES {
            let reason = "its outcome came while nothing could be recorded".to_owned();
            return Outcome::Undelivered(reason);
        }
        self.bytes += bytes;
        outcome
    }
}
