//! What the answer to steps is worth: pure. A node may answer nonsense; that harms only the steps it is
//! about.

use std::collections::HashSet;

use bytes::Bytes;
use edgeless_proto::v1::{self, step_outcome::Kind};
use edgeless_types::{CodeDigest, STATE_BYTES};

use crate::domain::{Step, StepResult};

/// What is left to be done after an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    /// Indices of what must be done once more.
    pub(super) again: Vec<usize>,
    /// The code that it needs first.
    pub(super) missing: Option<CodeDigest>,
    /// Outcomes that make no sense.
    pub(super) wrong: u64,
}

/// Notes what the open steps came to; `outcomes` are as many. A start whose code is not there is done once
/// more, with whatever follows it in the batch for the same instance; but for code that was `given` before.
pub(super) fn sort_out(
    steps: &[Step],
    open: &[usize],
    outcomes: Vec<v1::StepOutcome>,
    given: &[Bytes],
    results: &mut [Option<StepResult>],
) -> Sorted {
    let mut sorted = Sorted::default();
    let mut not_started = HashSet::new();
    for (&index, outcome) in open.iter().zip(outcomes) {
        let step = &steps[index];
        let physical_id = step.key().physical_id();
        if let Some(Kind::MissingCode(missing)) = &outcome.kind
            && let Step::Start {
                code: Some(code), ..
            } = step
            && missing.digest == code.as_bytes()[..]
            && !given.contains(&missing.digest)
        {
            sorted.missing = Some(*code);
            not_started.insert(physical_id);
            sorted.again.push(index);
            continue;
        }
        if not_started.contains(&physical_id) {
            sorted.again.push(index);
            continue;
        }
        let mut nonsense = |text: &str| {
            sorted.wrong += 1;
            StepResult::Failed(text.to_owned())
        };
        results[index] = Some(match outcome.kind {
            Some(Kind::Done(done)) => match done.state {
                Some(state) if state.len() > STATE_BYTES => {
                    nonsense("the node gave back more state than is kept")
                }
                state => StepResult::Done(state),
            },
            Some(Kind::Failed(text)) => StepResult::Failed(text),
            // Neither done nor to be begun anew: whoever asks again hears more.
            Some(Kind::Working(_)) => continue,
            Some(Kind::MissingCode(_)) => {
                nonsense("the node misses code it was given, or never needed")
            }
            None => nonsense("the node answered without an outcome"),
        });
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{code, patch, start},
        *,
    };

    fn outcome(kind: Kind) -> v1::StepOutcome {
        v1::StepOutcome { kind: Some(kind) }
    }

    fn done(state: Option<Bytes>) -> v1::StepOutcome {
        outcome(Kind::Done(v1::StepDone { state }))
    }

    fn missing(digest: &[u8]) -> v1::StepOutcome {
        let digest = Bytes::copy_from_slice(digest);
        outcome(Kind::MissingCode(v1::MissingCode { digest }))
    }

    #[test]
    fn what_follows_a_start_without_code_is_repeated_with_it() {
        let steps = [start(1), start(2), patch(1), patch(2)];
        let not_here = Kind::Failed("does not run on this node".to_owned());
        let outcomes = vec![
            missing(code().as_bytes()),
            done(None),
            outcome(not_here),
            done(None),
        ];
        let mut results = vec![None; 4];
        let sorted = sort_out(&steps, &[0, 1, 2, 3], outcomes, &[], &mut results);
        assert_eq!(
            (sorted.again.as_slice(), sorted.missing),
            (&[0, 2][..], Some(code()))
        );
        let outcomes = vec![done(None), done(None)];
        let sorted = sort_out(&steps, &sorted.again, outcomes, &[], &mut results);
        assert_eq!(sorted, Sorted::default());
        let mut all = results.iter();
        assert!(all.all(|it| matches!(it, Some(StepResult::Done(None)))));
    }

    #[test]
    fn what_takes_long_stays_open_and_is_not_wrong() {
        let mut results = vec![None; 2];
        let outcomes = vec![outcome(Kind::Working(v1::StepWorking {})), done(None)];
        let sorted = sort_out(&[start(1), start(2)], &[0, 1], outcomes, &[], &mut results);
        assert_eq!(sorted, Sorted::default());
        assert_eq!(results, [None, Some(StepResult::Done(None))]);
    }

    #[test]
    fn an_outcome_that_makes_no_sense_fails_its_step_only() {
        let other = [8; 32];
        let large = Bytes::from(vec![0; STATE_BYTES + 1]);
        for nonsense in [
            v1::StepOutcome { kind: None },
            missing(&other),
            missing(b"x"),
            done(Some(large)),
        ] {
            let mut results = vec![None; 2];
            let outcomes = vec![nonsense, done(None)];
            let sorted = sort_out(&[start(1), start(2)], &[0, 1], outcomes, &[], &mut results);
            assert_eq!((sorted.wrong, sorted.again.len()), (1, 0));
            assert!(
                matches!(results[0], Some(StepResult::Failed(_))),
                "{results:?}"
            );
            assert_eq!(results[1], Some(StepResult::Done(None)));
        }
        // A patch needs no code, and code that was given is not given again.
        let given = [Bytes::copy_from_slice(code().as_bytes())];
        for (step, given) in [(patch(1), &[][..]), (start(1), &given[..])] {
            let mut results = vec![None];
            let outcomes = vec![missing(code().as_bytes())];
            let sorted = sort_out(&[step], &[0], outcomes, given, &mut results);
            assert_eq!((sorted.wrong, sorted.missing), (1, None));
        }
    }
}
