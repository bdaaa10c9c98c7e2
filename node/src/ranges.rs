//! Checks of single values while a configuration is read, so that errors name line and key.

use std::time::Duration;

use edgeless_daemon::net::Listen;
use serde::{Deserialize, Deserializer, de::Error};

/// A whole number in `MIN..=MAX`.
pub(crate) fn count<'de, D, const MIN: usize, const MAX: usize>(de: D) -> Result<usize, D::Error>
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
pub(crate) fn millis<'de, D, const MIN: u64, const MAX: u64>(de: D) -> Result<Duration, D::Error>
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

/// The address of a peer: its port is not 0.
pub(crate) fn peer<'de, D: Deserializer<'de>>(de: D) -> Result<Listen, D::Error> {
    let listen = Listen::deserialize(de)?;
    match listen.port() {
        0 => Err(D::Error::custom("port 0 is no port at which a peer can be")),
        _ => Ok(listen),
    }
}

/// An address at which others reach this node: not all interfaces.
pub(crate) fn reachable<'de, D: Deserializer<'de>>(de: D) -> Result<Option<Listen>, D::Error> {
    let listen = Listen::deserialize(de)?;
    match listen.host() {
        "0.0.0.0" | "::" => Err(D::Error::custom(
            "must name an address at which others reach this node, not all interfaces",
        )),
        _ => Ok(Some(listen)),
    }
}

/// A number that is finite and at least 0.
pub(crate) fn clock<'de, D: Deserializer<'de>>(de: D) -> Result<Option<f32>, D::Error> {
    let clock = f32::deserialize(de)?;
    match clock.is_finite() && clock >= 0.0 {
        true => Ok(Some(clock)),
        false => Err(D::Error::custom("must be a finite number of at least 0")),
    }
}

/// A number of cores: at least 1.
pub(crate) fn cores<'de, D: Deserializer<'de>>(de: D) -> Result<Option<u32>, D::Error> {
    match u32::deserialize(de)? {
        0 => Err(D::Error::custom("must be at least 1")),
        cores => Ok(Some(cores)),
    }
}

/// Texts of which none is blank.
pub(crate) fn texts<'de, D: Deserializer<'de>>(de: D) -> Result<Vec<String>, D::Error> {
    let texts: Vec<String> = Vec::deserialize(de)?;
    match texts.iter().any(|text| text.trim().is_empty()) {
        true => Err(D::Error::custom("has an empty item")),
        false => Ok(texts),
    }
}

/// Texts of which none is blank, where they are given.
pub(crate) fn some_texts<'de, D>(de: D) -> Result<Option<Vec<String>>, D::Error>
where
    D: Deserializer<'de>,
{
    texts(de).map(Some)
}
