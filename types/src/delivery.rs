//! How what a function sends is delivered, as its annotations say.

use std::{collections::BTreeMap, time::Duration};

pub use crate::workflow::{AT_LEAST_ONCE, at_least_once};

/// The annotation that says when a message that others came of, on the channels of [`AT_LEAST_ONCE`],
/// counts as handled: `all` (the default), `any` or `primary`, see [`AckPolicy`].
pub const ACK: &str = "ack";

/// The annotation with the milliseconds, from 1 to [`LONGEST_DEADLINE_MS`], after which what a function
/// sends, and all that comes of it, is of no use any more.
pub const DEADLINE_MS: &str = "deadline_ms";

/// The longest deadline: a day.
pub const LONGEST_DEADLINE_MS: u64 = 86_400_000;

/// When a message that others came of counts as handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckPolicy {
    /// When all of them are acknowledged.
    #[default]
    All,
    /// When one of them is; the others are cancelled.
    Any,
    /// When those on the first channel that is delivered at least once are; the others go on by
    /// themselves.
    Primary,
}

/// The policy of a function.
///
/// # Errors
/// What is wrong with the annotation, and what to write.
pub fn ack_policy(annotations: &BTreeMap<String, String>) -> Result<AckPolicy, String> {
    match annotations.get(ACK).map(|text| text.trim()) {
        None | Some("all") => Ok(AckPolicy::All),
        Some("any") => Ok(AckPolicy::Any),
        Some("primary") => Ok(AckPolicy::Primary),
        Some(other) => Err(format!(
            "`{other}` is no policy: write `all`, `any` or `primary`"
        )),
    }
}

/// The deadline of what a function sends, if it has one.
///
/// # Errors
/// What is wrong with the annotation, and what to write.
pub fn deadline(annotations: &BTreeMap<String, String>) -> Result<Option<Duration>, String> {
    let Some(text) = annotations.get(DEADLINE_MS) else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(millis @ 1..=LONGEST_DEADLINE_MS) => Ok(Some(Duration::from_millis(millis))),
        Ok(_) | Err(_) => Err(format!(
            "`{text}` is no number of milliseconds from 1 to {LONGEST_DEADLINE_MS}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn annotations_say_how_messages_are_delivered() {
        assert_eq!(ack_policy(&BTreeMap::new()), Ok(AckPolicy::All));
        assert_eq!(ack_policy(&annotations(ACK, " any ")), Ok(AckPolicy::Any));
        assert!(ack_policy(&annotations(ACK, "most")).is_err());
        let second = Ok(Some(Duration::from_secs(1)));
        assert_eq!(deadline(&annotations(DEADLINE_MS, "1000")), second);
        assert_eq!(deadline(&BTreeMap::new()), Ok(None));
        for wrong in ["0", "-1", "1s", "", "86400001"] {
            assert!(
                deadline(&annotations(DEADLINE_MS, wrong)).is_err(),
                "{wrong}"
            );
        }
    }
}
