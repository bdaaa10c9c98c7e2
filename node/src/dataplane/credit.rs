//! Credits of a stream: how many events may be sent before the peer has taken some. Pure.

/// Events that may be under way on one stream.
pub(super) const WINDOW: u64 = 8_192;

/// The sender's side. What it may send comes from the peer's receipts.
#[derive(Debug)]
pub(super) struct Credit {
    allowed: u64,
    sent: u64,
}

impl Credit {
    pub(super) fn new() -> Self {
        Self {
            allowed: WINDOW,
            sent: 0,
        }
    }

    /// The peer allows so many since the stream opened; receipts may come out of order.
    pub(super) fn allow(&mut self, allowed: u64) {
        self.allowed = self.allowed.max(allowed);
    }

    /// How many may be sent now, at most `wanted`; they count as sent.
    pub(super) fn take(&mut self, wanted: usize) -> usize {
        let free = usize::try_from(self.allowed.saturating_sub(self.sent)).unwrap_or(usize::MAX);
        let taken = wanted.min(free);
        self.sent += taken as u64;
        taken
    }

    /// Sent, but the peer has not said that it took them.
    pub(super) fn in_doubt(&self) -> u64 {
        self.sent
            .saturating_sub(self.allowed.saturating_sub(WINDOW))
    }
}

/// The receiver's side: says when a receipt is due.
#[derive(Debug, Default)]
pub(super) struct Grant {
    taken: u64,
    granted: u64,
}

impl Grant {
    /// So many more were taken; the receipt to send now, if any.
    pub(super) fn taken(&mut self, number: u64) -> Option<u64> {
        self.taken += number;
        (self.taken - self.granted >= WINDOW / 4).then(|| {
            self.granted = self.taken;
            self.taken + WINDOW
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_more_than_the_window_is_under_way_and_nothing_gets_stuck(
            wanted in prop::collection::vec(1_usize..5_000, 1..100)
        ) {
            let (mut credit, mut grant) = (Credit::new(), Grant::default());
            let (mut sent, mut taken) = (0_u64, 0_u64);
            for mut rest in wanted {
                while rest > 0 {
                    let now = credit.take(rest);
                    prop_assert!(now > 0, "stuck with {} under way", sent - taken);
                    rest -= now;
                    sent += now as u64;
                    prop_assert!(sent - taken <= WINDOW + WINDOW / 4);
                    if let Some(allowed) = grant.taken(now as u64) {
                        credit.allow(allowed);
                    }
                    taken = sent;
                }
            }
        }
    }
}
