//! Half hours of the day, as keys of a file.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A half hour of the day, UTC, counted from midnight: 0 to 47.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HalfHour(u8);

impl HalfHour {
    /// How many a day has.
    pub const NUMBER: usize = 48;

    /// The half hour of that number since the epoch, or since midnight.
    pub fn of(number: u64) -> Self {
        let number = number % Self::NUMBER as u64;
        Self(u8::try_from(number).unwrap_or_default())
    }

    /// Its number since midnight.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for HalfHour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 2, self.0 % 2 * 30)
    }
}

impl Serialize for HalfHour {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HalfHour {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let mut all = (0..Self::NUMBER as u64).map(Self::of);
        all.find(|it| it.to_string() == text).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is no half hour of the day, such as \"08:30\""
            ))
        })
    }
}
