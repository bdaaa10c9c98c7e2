//! Moments since the UNIX epoch, written `secs.nsecs` as in the mirror and the datasets.

use std::{
    fmt,
    num::NonZeroU64,
    ops::{Add, Sub},
    str::FromStr,
    time::Duration,
};

use crate::secs::Text;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment: nanoseconds since the UNIX epoch, up to the year 2554.
///
/// Its text is `secs.nsecs`: whole seconds, a dot, and nine digits of nanoseconds.
/// There is no `now()` here: time is an argument; shells read the clock with
/// [`Timestamp::from_unix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(
    /// One more than the nanoseconds, so that an optional moment takes no more room.
    NonZeroU64,
);

impl Default for Timestamp {
    fn default() -> Self {
        Self::EPOCH
    }
}

impl Timestamp {
    /// The UNIX epoch itself.
    pub const EPOCH: Self = Self(NonZeroU64::MIN);

    /// A moment from nanoseconds since the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// A moment from the time passed since the epoch; saturates in the year 2554.
    pub fn from_unix(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs().saturating_mul(1_000_000_000);
        Self::from_nanos(seconds.saturating_add(u64::from(since_epoch.subsec_nanos())))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// Seconds since the epoch as a float, as scores of sorted sets need it. Its resolution is
    /// about 240 ns in this century.
    pub fn as_secs_f64(self) -> f64 {
        Duration::from_nanos(self.as_nanos()).as_secs_f64()
    }

    /// How long after `earlier` this is; zero when it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.as_nanos().saturating_sub(earlier.as_nanos()))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self::from_nanos(self.as_nanos().saturating_sub(nanos))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Text::default().write(self.as_nanos()))
    }
}

/// The text is not `secs.nsecs`.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a timestamp of the form secs.nsecs")]
pub struct ParseTimestampError {
    text: String,
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (secs, nanos) = text.split_once('.').unwrap_or((text, "0"));
            let digits = nanos.len();
            let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            if digits > 9 || !all_digits(secs) || !all_digits(nanos) {
                return None;
            }
            let scale = 10_u64.pow(9 - u32::try_from(digits).ok()?);
            let nanos = nanos.parse::<u64>().ok()?.checked_mul(scale)?;
            secs.parse::<u64>()
                .ok()?
                .checked_mul(1_000_000_000)?
                .checked_add(nanos)
        };
        parse()
            .map(Self::from_nanos)
            .ok_or_else(|| ParseTimestampError {
                text: text.to_owned(),
            })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_seconds_dot_nine_digits_of_nanoseconds() {
        let moment = Timestamp::from_nanos(1_700_000_000_000_000_005);
        assert_eq!(moment.to_string(), "1700000000.000000005");
        assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
    }

    #[test]
    fn short_fractions_are_fractions_and_nonsense_is_refused() {
        assert_eq!(
            "1.5".parse::<Timestamp>().unwrap().as_nanos(),
            1_500_000_000
        );
        for bad in ["", ".", "-1.0", "1.0000000001", "a.b", "99999999999999.0"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}
