//! Decisions about the number of copies, by run and function.

use std::collections::BTreeMap;

use edgeless_types::{LogicalId, mirror::ScalingDecision};

use super::MAX_NAMED;

/// Kinds of reasons that are told apart; decisions of further ones are put together.
pub const MAX_KINDS: usize = 64;
/// Characters of a kind.
const LONGEST_KIND: usize = 160;
/// The kind of those for which there was no room.
const OTHERS: &str = "others";

/// Decisions, while rows come.
#[derive(Debug, Default)]
pub(super) struct Scaling {
    pub(super) by_function: BTreeMap<(String, LogicalId), Decided>,
    /// Kinds of reasons; functions name them by their place.
    kinds: Vec<String>,
    pub(super) rows_left_out: u64,
}

/// The decisions about one function in one run.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// The policy that decided last.
    pub(super) policy: String,
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) most: u32,
    kinds: BTreeMap<usize, u64>,
}

impl Scaling {
    pub(super) fn decided(&mut self, run: &str, decision: &ScalingDecision) {
        let key = (run.to_owned(), decision.logical_id);
        if self.by_function.len() >= MAX_NAMED && !self.by_function.contains_key(&key) {
            self.rows_left_out += 1;
            return;
        }
        let kind = self.kind(&decision.reason);
        let decided = self.by_function.entry(key).or_default();
        if decided.policy != decision.policy {
            decided.policy.clone_from(&decision.policy);
        }
        decided.up += u64::from(decision.copies > decision.before);
        decided.down += u64::from(decision.copies < decision.before);
        decided.most = decided.most.max(decision.copies).max(decision.before);
        *decided.kinds.entry(kind).or_default() += 1;
    }

    /// The place of the kind of a reason.
    fn kind(&mut self, reason: &str) -> usize {
        let kind = kind_of(reason);
        let known = self.kinds.iter().position(|it| *it == kind);
        known.unwrap_or_else(|| {
            if self.kinds.len() < MAX_KINDS {
                self.kinds.push(kind);
                return self.kinds.len() - 1;
            }
            usize::MAX
        })
    }

    /// How many decisions about a function had a reason of each kind; the most frequent first.
    pub(super) fn reasons(&self, decided: &Decided) -> Vec<(String, u64)> {
        let name = |place: usize| {
            let kind = self.kinds.get(place);
            kind.map_or_else(|| OTHERS.to_owned(), Clone::clone)
        };
        let kinds = decided.kinds.iter();
        let mut reasons: Vec<_> = kinds.map(|(&place, &count)| (name(place), count)).collect();
        reasons.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        reasons
    }
}

/// A reason without its numbers: `…` stands for each.
fn kind_of(reason: &str) -> String {
    let mut kind = String::new();
    let mut is_number = false;
    for letter in reason.chars().take(LONGEST_KIND) {
        let goes_on = letter.is_ascii_digit() || is_number && letter == '.';
        if goes_on && !is_number {
            // The sign belongs to the number.
            if kind.ends_with('-') {
                kind.pop();
            }
            kind.push('…');
        } else if !goes_on {
            kind.push(letter);
        }
        is_number = goes_on;
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_one_kind_differ_in_their_numbers_only() {
        for (reason, kind) in [
            (
                "12 wait: drained in 0.5 s by those that run, to be drained in 0.2 s",
                "… wait: drained in … s by those that run, to be drained in … s",
            ),
            (
                "work comes every 5.0 s, next in -0.1 s",
                "work comes every … s, next in … s",
            ),
            ("the number is fixed", "the number is fixed"),
            (
                "1 wanted, `max_instances` is 3.",
                "… wanted, `max_instances` is …",
            ),
        ] {
            assert_eq!(kind_of(reason), kind);
        }
    }

    #[test]
    fn kinds_are_bounded() {
        let mut scaling = Scaling::default();
        let letters = ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("{a}{b}")));
        for reason in letters {
            scaling.decided(
                "",
                &ScalingDecision {
                    timestamp: edgeless_types::Timestamp::EPOCH,
                    logical_id: LogicalId::new(Default::default()),
                    policy: "queue".to_owned(),
                    before: 1,
                    copies: 2,
                    reason,
                },
            );
        }
        let decided = scaling.by_function.values().next().unwrap();
        let reasons = scaling.reasons(decided);
        assert_eq!(reasons.len(), MAX_KINDS + 1);
        assert_eq!(reasons[0], (OTHERS.to_owned(), 26 * 26 - MAX_KINDS as u64));
    }
}
