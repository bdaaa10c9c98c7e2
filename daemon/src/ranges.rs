//! Checks of single values while a configuration is read, so that errors name line and key.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

/// A whole number in `MIN..=MAX`.
///
/// # Errors
/// It is none, or outside.
pub fn count<'de, D, const MIN: usize, const MAX: usize>(de: D) -> Result<usize, D::Error>
where
    D: Deserializer<'de>,
{
    let number = usize::deserialize(de)?;
    match (MIN..=MAX).contains(&number) {
        true => Ok(number),
        false => Err(D::Error::custom(format!(
            "must lie between {MIN} and {MAX}, not be {number}"
        ))),
    }
}

/// A duration such as `"10s"`, in `MIN..=MAX` milliseconds.
///
/// # Errors
/// It is none, or outside.
pub fn millis<'de, D, const MIN: u64, const MAX: u64>(de: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    let duration: Duration = humantime_serde::deserialize(de)?;
    let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
    match (min..=max).contains(&duration) {
        true => Ok(duration),
        false => Err(D::Error::custom(format!(
            "must lie between {min:?} and {max:?}, not be {duration:?}"
        ))),
    }
}

/// A name: not blank, and without control characters.
///
/// # Errors
/// It is none.
pub fn name<'de, D: Deserializer<'de>>(de: D) -> Result<String, D::Error> {
    let name = String::deserialize(de)?;
    if name.trim().is_empty() {
        return Err(D::Error::custom("must not be empty"));
    }
    match name.chars().any(char::is_control) {
        true => Err(D::Error::custom("must not have control characters")),
        false => Ok(name),
    }
}

/// The path of a folder: not empty.
///
/// # Errors
/// It is.
pub fn folder<'de, D: Deserializer<'de>>(de: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(de)?;
    match path.as_os_str().is_empty() {
        true => Err(D::Error::custom("must not be empty")),
        false => Ok(path),
    }
}
