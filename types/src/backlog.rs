//! What waits for instances, and when that is told before the next refresh is due. Pure.

use std::{collections::HashMap, time::Duration};

use crate::PhysicalId;

/// Between two looks at what waits on a node.
pub const BACKLOG_LOOK: Duration = Duration::from_millis(100);
/// What waits for less is not worth a message of its own.
const LONG: Duration = Duration::from_millis(50);

/// What waits in the inbox of an instance, and what it is handling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Whose inbox.
    pub physical_id: PhysicalId,
    /// Messages that wait.
    pub queued: u64,
    /// Messages that are being handled; not 0 as well as `queued`.
    pub in_hand: u64,
    /// How long ago the first of those that wait was sent; 0: none waits.
    pub oldest: Duration,
}

/// Whether a queue has so much more than was told of it that who decides about copies is to know at once: more than twice
/// as much. A queue that is told of has to double again first, so that one that grows and grows is told of a few
/// times only.
pub fn has_doubled(told: u64, now: u64) -> bool {
    now > told.saturating_mul(2)
}

/// Whether the queue of an instance [has doubled](has_doubled) that waits for a while.
pub fn has_grown(told: &[Backlog], now: &[Backlog]) -> bool {
    let mut late = now.iter().filter(|it| it.oldest >= LONG).peekable();
    if late.peek().is_none() {
        return false;
    }
    let told: HashMap<_, _> = told.iter().map(|it| (it.physical_id, it.queued)).collect();
    late.any(|it| {
        let told = told.get(&it.physical_id).copied();
        has_doubled(told.unwrap_or_default(), it.queued)
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn backlog(id: u128, queued: u64, oldest: u64) -> Backlog {
        Backlog {
            physical_id: PhysicalId::new(Uuid::from_u128(id)),
            queued,
            in_hand: 1,
            oldest: Duration::from_millis(oldest),
        }
    }

    #[test]
    fn what_has_doubled_and_waits_for_a_while_is_worth_telling() {
        let told = [backlog(1, 4, 200), backlog(2, 0, 0)];
        for (now, expected) in [
            (vec![], false),
            (vec![backlog(1, 8, 900)], false),
            (vec![backlog(1, 9, 900)], true),
            (vec![backlog(1, 9, 49)], false),
            (vec![backlog(2, 1, 50)], true),
            (vec![backlog(3, 1, 50)], true),
            (vec![backlog(3, 0, 0)], false),
            (vec![backlog(1, 2, 900), backlog(3, 7, 60)], true),
        ] {
            assert_eq!(has_grown(&told, &now), expected, "{now:?}");
        }
    }

    #[test]
    fn a_queue_that_only_grows_is_told_of_a_few_times() {
        let mut told = vec![backlog(1, 0, 0)];
        let mut times = 0;
        for queued in 1..=1_000 {
            let now = [backlog(1, queued, 1_000)];
            if has_grown(&told, &now) {
                told = now.to_vec();
                times += 1;
            }
        }
        assert_eq!(times, 9);
    }
}
