//! Checks of single values while priors are read, so that errors name line and key.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error};

use super::{HalfHour, Times, VERSION};

/// No time is longer: a year.
const LONGEST: f64 = 31_536_000.0;
/// No rate, number of events or variation is larger.
const LARGEST: f64 = 1e9;
/// The most idle times in one list.
const MOST_GAPS: usize = 1_000;
/// The longest id of a class.
const LONGEST_ID: usize = 1_024;

fn within<E: Error>(number: f64, most: f64, what: &str) -> Result<f64, E> {
    match number.is_finite() && (0.0..=most).contains(&number) {
        true => Ok(number),
        false => Err(E::custom(format!(
            "must be {what} from 0 to {most}, not {number}"
        ))),
    }
}

pub(super) fn version<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let number = i64::deserialize(from)?;
    match number == i64::from(VERSION) {
        true => Ok(VERSION),
        false => Err(D::Error::custom(format!(
            "must be {VERSION}, not {number}; write the file anew with `edgeless_dataset fit`"
        ))),
    }
}

pub(super) fn id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let id = String::deserialize(from)?;
    match (1..=LONGEST_ID).contains(&id.len()) {
        true => Ok(id),
        false => Err(D::Error::custom(format!(
            "must have 1 to {LONGEST_ID} bytes, not {}",
            id.len()
        ))),
    }
}

pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    positive(i64::deserialize(from)?)
}

fn positive<E: Error>(number: i64) -> Result<u64, E> {
    let number = u64::try_from(number).ok().filter(|it| *it > 0);
    number.ok_or_else(|| E::custom("must be a whole number of at least 1"))
}

pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    within(f64::deserialize(from)?, LONGEST, "a number of seconds")
}

pub(super) fn some_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    seconds(from).map(Some)
}

pub(super) fn factor<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    within(f64::deserialize(from)?, LARGEST, "a number")
}

pub(super) fn times<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Times>, D::Error> {
    let times = Times::deserialize(from)?;
    let Times { p50, p95, p99, .. } = times;
    match p50 <= p95 && p95 <= p99 {
        true => Ok(Some(times)),
        false => Err(D::Error::custom(format!(
            "percentiles have to rise: p50 is {p50}, p95 is {p95}, p99 is {p99}"
        ))),
    }
}

pub(super) fn gaps<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(f64, u64)>, D::Error> {
    let list = Vec::<(f64, i64)>::deserialize(from)?;
    if list.len() > MOST_GAPS {
        let problem = format!("has {} idle times, not at most {MOST_GAPS}", list.len());
        return Err(D::Error::custom(problem));
    }
    let mut gaps: Vec<(f64, u64)> = Vec::with_capacity(list.len());
    for (seconds, number) in list {
        let seconds = within(seconds, LONGEST, "idle times in seconds")?;
        if gaps.last().is_some_and(|(before, _)| *before >= seconds) {
            let problem = format!("idle times have to rise: {seconds} does not");
            return Err(D::Error::custom(problem));
        }
        gaps.push((seconds, positive(number)?));
    }
    Ok(gaps)
}

/// Rates by half hour; a value that is out of range is told with its line.
pub(super) fn day<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<HalfHour, f64>, D::Error> {
    #[derive(Deserialize)]
    struct Rate(#[serde(deserialize_with = "factor")] f64);

    let day = BTreeMap::<HalfHour, Rate>::deserialize(from)?;
    Ok(day.into_iter().map(|(at, Rate(rate))| (at, rate)).collect())
}
