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

/// The longest name.
const NAME: usize = 63;

/// A name that may stand in paths, addresses and commands: letters, digits, `-`, `_` and `.`, 1 to 63 of them.
///
/// # Errors
/// It is none.
pub fn name<'de, D: Deserializer<'de>>(de: D) -> Result<String, D::Error> {
    let name = String::deserialize(de)?;
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    match (1..=NAME).contains(&name.len()) && name.chars().all(fits) {
        true => Ok(name),
        false => Err(D::Error::custom(format!(
            "must be 1 to {NAME} of the letters a-z and A-Z, digits, `-`, `_` and `.`, not {name:?}"
        ))),
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

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    #[test]
    fn a_name_may_stand_in_a_path() {
        let read = |text: &str| name(StrDeserializer::<Error>::new(text));
        let longest = "x".repeat(NAME);
        for right in ["domain-1", "7", "eu.west_2", &longest] {
            assert_eq!(read(right).unwrap(), right);
        }
        let too_long = "x".repeat(NAME + 1);
        for wrong in ["", " ", "a b/c", "a/b", "a\n", "domäne", &too_long] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.starts_with("must be 1 to 63 of"), "{error}");
        }
    }
}
