//! Priors: what is known of functions before the first of them runs here, by their class.
//!
//! `edgeless_dataset fit` writes them from recorded datasets, ε-ORC reads them at its start and gives them to the
//! window of each function of that class. One type for both, so that what is written can be read. A file that is
//! wrong anywhere is an error with file and line; nothing of it is passed over.

use std::{collections::BTreeMap, io, path::Path};

use edgeless_daemon::config::{self, ConfigError, Place};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::gaps;

mod checks;
mod half_hour;

pub use half_hour::HalfHour;

/// The version of the format.
pub const VERSION: u32 = 1;
/// As how many observations of its own a prior counts, of each kind (execution, transfer and start times, idle
/// times); as fewer, if it was made from fewer. Rates of the time of day count as one day.
pub const WEIGHT: u8 = 20;
/// Classes in one file.
pub const MAX_CLASSES: usize = 65_536;

/// What is known of all classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Priors(BTreeMap<String, Prior>);

/// What is known of the functions of one class; what is absent is not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prior {
    /// The class, as functions name it.
    #[serde(deserialize_with = "checks::id")]
    pub id: String,
    /// Idle times before an event came, of all functions together: seconds and how many, the shortest first.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "checks::gaps"
    )]
    pub gaps: Vec<(f64, u64)>,
    /// How long the handling of an event takes, seconds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "checks::times"
    )]
    pub service: Option<Times>,
    /// From the creation of an event to the start of its handling, seconds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "checks::times"
    )]
    pub transfer: Option<Times>,
    /// From the decision to start a copy until it runs, seconds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "checks::times"
    )]
    pub start: Option<Times>,
    /// Trains of events with silence between them, as one function sees them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bursts: Option<Bursts>,
    /// Events per second that one function gets in the half hour that begins then, UTC.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "checks::day"
    )]
    pub day: BTreeMap<HalfHour, f64>,
}

/// A distribution of times in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// How many were measured, at least 1.
    #[serde(deserialize_with = "checks::count")]
    pub count: u64,
    /// Their mean.
    #[serde(deserialize_with = "checks::seconds")]
    pub mean: f64,
    /// Their standard deviation over their mean.
    #[serde(deserialize_with = "checks::factor")]
    pub variation: f64,
    /// Half of them are no longer.
    #[serde(deserialize_with = "checks::seconds")]
    pub p50: f64,
    /// 95 of a hundred are no longer.
    #[serde(deserialize_with = "checks::seconds")]
    pub p95: f64,
    /// 99 of a hundred are no longer.
    #[serde(deserialize_with = "checks::seconds")]
    pub p99: f64,
}

/// Trains of events, as one function sees them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bursts {
    /// Events of the first second.
    #[serde(deserialize_with = "checks::factor")]
    pub batch: f64,
    /// Events per second of those that last; 0: none did.
    #[serde(deserialize_with = "checks::factor")]
    pub rate: f64,
    /// Seconds from one begin to the next, if they come regularly.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "checks::some_seconds"
    )]
    pub period: Option<f64>,
    /// By how many seconds that is off.
    #[serde(default, deserialize_with = "checks::seconds")]
    pub jitter: f64,
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "version", deserialize_with = "checks::version")]
    _version: u32,
    #[serde(default)]
    class: Vec<Prior>,
}

/// The same as it is written.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    class: Vec<&'a Prior>,
}

/// What stands at the top of a file.
const HEAD: &str = "\
# What functions of each class need, as recorded datasets show it: written by `edgeless_dataset fit`, read by \u{3b5}-ORC
# (`[scaling] priors`). Times are in seconds, rates in events per second, `variation` is the standard deviation over
# the mean, p50, p95 and p99 are percentiles.
#   service   how long the handling of an event takes
#   transfer  from the creation of an event to the start of its handling
#   start     from the decision to start a copy until it runs
#   gaps      times without work before an event came: [seconds, how many], of all functions of the class
#   bursts    events of the first second of a train of events; the rate of trains that last; the period of regular ones
#   day       events per second that one function gets in the half hour that begins then, UTC
# What is left out is not known.
";

impl Priors {
    /// Those classes; of classes with the same id the last counts.
    pub fn new(classes: impl IntoIterator<Item = Prior>) -> Self {
        let classes = classes.into_iter();
        Self(classes.map(|it| (it.id.clone(), it)).collect())
    }

    /// Reads a file; `path` is for messages.
    ///
    /// # Errors
    /// It is not TOML, of another version, has no class, an unknown key, one class twice, or a value that is not finite,
    /// out of range or contradicts another. The error names file, line and key.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let document: Document = config::parse(text, path, toml::Table::new())?;
        let wrong = |(line, key): (usize, &str), problem: String| ConfigError::Wrong {
            place: Place::File {
                path: path.to_owned(),
                line,
                key: Some(key.to_owned()),
            },
            problem,
        };
        let number = document.class.len();
        if number == 0 {
            let problem = "there is no class; a file has one `[[class]]` or more, as `edgeless_dataset fit` writes it";
            return Err(wrong((line_of_list(text), "class"), problem.to_owned()));
        }
        if number > MAX_CLASSES {
            let problem = format!("has {number} classes, not 1 to {MAX_CLASSES}");
            return Err(wrong((line_of_list(text), "class"), problem));
        }
        let mut classes = BTreeMap::new();
        for (index, prior) in document.class.into_iter().enumerate() {
            let id = prior.id.clone();
            if classes.insert(id.clone(), prior).is_some() {
                let problem =
                    format!("the class `{id}` stands here a second time; keep one of them");
                return Err(wrong((line_of_class(text, index), "id"), problem));
            }
        }
        Ok(Self(classes))
    }

    /// The file, with comments; classes by their id. [`Self::parse`] reads it.
    ///
    /// # Errors
    /// None that can be caused by values; what the serialisation says.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let written = Written {
            version: VERSION,
            class: self.0.values().collect(),
        };
        Ok(format!("{HEAD}{}", toml::to_string(&written)?))
    }

    /// What is known of a class.
    pub fn of(&self, class_id: &str) -> Option<&Prior> {
        self.0.get(class_id)
    }

    /// All classes, by their id.
    pub fn classes(&self) -> impl ExactSizeIterator<Item = &Prior> {
        self.0.values()
    }
}

/// What else to say of a file that cannot be read, behind its name.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; `edgeless_dataset fit` writes it",
        io::ErrorKind::IsADirectory => {
            "; it is a folder, not a file that `edgeless_dataset fit` wrote"
        }
        io::ErrorKind::InvalidData => {
            "; it is not text, as files are that `edgeless_dataset fit` wrote"
        }
        _ => "",
    }
}

/// The line on which the list of classes begins; the first if there is none.
fn line_of_list(text: &str) -> usize {
    let mut lines = text.lines().map(|line| line.trim().trim_start_matches('['));
    lines
        .position(|line| line.starts_with("class"))
        .unwrap_or_default()
        + 1
}

/// The line on which the id of a class stands; counts from 1.
fn line_of_class(text: &str, index: usize) -> usize {
    #[derive(Deserialize)]
    struct Ids {
        class: Vec<Id>,
    }
    #[derive(Deserialize)]
    struct Id {
        id: Spanned<String>,
    }
    let ids = toml::from_str::<Ids>(text).ok();
    let start = ids.and_then(|it| Some(it.class.get(index)?.id.span().start));
    let before = start
        .and_then(|start| text.get(..start))
        .unwrap_or_default();
    before.matches('\n').count() + 1
}

/// The place of an idle time in a histogram as windows keep it; none: too short for a stop to be thought of.
pub fn gap_bin(seconds: f64) -> Option<usize> {
    gaps::bin(seconds)
}

/// The idle time that stands for a place of the histogram, in seconds.
pub fn gap_seconds(bin: usize) -> f64 {
    gaps::middle(bin)
}

/// Watches the events of one function for trains, by the same rules as its window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trains {
    bursts: gaps::Bursts,
    last: Option<f64>,
}

impl Trains {
    /// An event arrived, in seconds since the epoch; one that is earlier than those before counts as with the last.
    pub fn arrived(&mut self, at: f64) {
        let at = self.last.map_or(at, |last| last.max(at));
        self.bursts.arrived(1, self.last, at);
        self.last = Some(at);
    }

    /// What was seen; none before a train has ended.
    pub fn seen(&self) -> Option<Bursts> {
        self.bursts.known()
    }
}

#[cfg(test)]
mod tests;
