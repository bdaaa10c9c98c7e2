//! What a source may still send under a budget. Pure.

use std::time::Duration;

use edgeless_types::{Timestamp, message::Budget};

/// A budget, and what was spent of it.
#[derive(Debug)]
pub(crate) struct Allowance {
    budget: Budget,
    /// Messages that the rate allows now, in thousand millionths.
    tokens: u64,
    filled: Timestamp,
}

/// When a source that may not send now may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// At this moment.
    Until(Timestamp),
    /// With another budget.
    Budget,
}

/// One message in tokens: a rate per second fills as many of them in a nanosecond.
const MESSAGE: u64 = 1_000_000_000;

impl Allowance {
    pub(crate) fn new(budget: Budget, now: Timestamp) -> Self {
        Self {
            budget,
            tokens: MESSAGE,
            filled: now,
        }
    }

    /// Takes a message of so many bytes, or says when it may be taken. The last message may go over the
    /// bytes.
    pub(crate) fn take(&mut self, bytes: usize, now: Timestamp) -> Result<(), Wait> {
        if self.budget.is_nothing() {
            return Err(Wait::Budget);
        }
        if let Some(rate) = self.budget.rate {
            let nanos = u64::try_from(now.since(self.filled).as_nanos()).unwrap_or(u64::MAX);
            // What is not used within a second is lost.
            let bound = MESSAGE.saturating_mul(u64::from(rate));
            let filled = nanos.saturating_mul(u64::from(rate));
            self.tokens = self.tokens.saturating_add(filled).min(bound);
            self.filled = now;
            if self.tokens < MESSAGE {
                let nanos = (MESSAGE - self.tokens).div_ceil(u64::from(rate));
                return Err(Wait::Until(now + Duration::from_nanos(nanos)));
            }
            self.tokens -= MESSAGE;
        }
        if let Some(messages) = &mut self.budget.messages {
            *messages -= 1;
        }
        if let Some(left) = &mut self.budget.bytes {
            *left = left.saturating_sub(bytes as u64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn messages_and_bytes_run_out_until_the_next_budget() {
        let budget = Budget {
            messages: Some(3),
            bytes: Some(100),
            rate: None,
        };
        let mut allowance = Allowance::new(budget, at(0));
        assert_eq!(allowance.take(60, at(0)), Ok(()));
        assert_eq!(allowance.take(60, at(0)), Ok(()));
        assert_eq!(allowance.take(1, at(0)), Err(Wait::Budget), "bytes");
        let messages = Some(1);
        let mut allowance = Allowance::new(
            Budget {
                messages,
                ..Budget::default()
            },
            at(0),
        );
        assert_eq!(allowance.take(1_000, at(0)), Ok(()));
        assert_eq!(allowance.take(1, at(90)), Err(Wait::Budget), "messages");
        assert_eq!(
            Allowance::new(Budget::NOTHING, at(0)).take(0, at(0)),
            Err(Wait::Budget)
        );
    }

    #[test]
    fn a_rate_says_when_the_next_may_go() {
        let rate = Some(100);
        let budget = Budget {
            rate,
            ..Budget::default()
        };
        let mut allowance = Allowance::new(budget, at(0));
        assert_eq!(allowance.take(1, at(0)), Ok(()));
        assert_eq!(allowance.take(1, at(0)), Err(Wait::Until(at(10))));
        assert_eq!(allowance.take(1, at(10)), Ok(()));
        let sent = (0..1_000).filter(|_| allowance.take(1, at(60_000)).is_ok());
        assert_eq!(sent.count(), 100, "what was not used for long is lost");
    }
}
