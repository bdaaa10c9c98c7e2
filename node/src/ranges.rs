//! Checks of single values while a configuration is read, so that errors name line and key.

use edgeless_daemon::net::Listen;
pub(crate) use edgeless_daemon::ranges::{count, folder, millis};
use serde::{Deserialize, Deserializer, de::Error};

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
