//! What `edgeless_dataset replay` takes: single values, and which of them go together.

use std::time::Duration;

use edgeless_orc::scale::Policy;
use edgeless_types::{LogicalId, scaling::MOST_COPIES};

use super::replay::Replay;

/// No time is longer: a year.
const LONGEST: Duration = Duration::from_secs(31_536_000);

/// Options that make no sense together, or with this load.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    /// The bounds exclude each other.
    #[error("`--min-instances {least}` is more than `--max-instances {most}`")]
    Bounds {
        /// The fewest copies.
        least: u32,
        /// The most.
        most: u32,
    },
    /// The daemons refuse so many copies, and would run nothing.
    #[error(
        "`--max-instances {0}` is more than {MOST_COPIES}, the most that a function has with `--daemons`"
    )]
    Copies(u32),
    /// There are no such seeds.
    #[error(
        "there are no {number} seeds from {first} on: the last is {}",
        u64::MAX
    )]
    Seeds {
        /// The first.
        first: u64,
        /// How many.
        number: u64,
    },
    /// A function would be passed twice.
    #[error("`--chain` names the function {0} twice")]
    Twice(LogicalId),
    /// The least that is to run has no room.
    #[error(
        "`--capacity {capacity}` is too few: the {functions} functions of this load have {least} copies each at \
         least{why}"
    )]
    Capacity {
        /// Copies that all nodes can take.
        capacity: u32,
        /// How many functions.
        functions: usize,
        /// The fewest copies of each.
        least: u32,
        /// Why so many.
        why: &'static str,
    },
}

impl Replay {
    /// Whether the options make sense together.
    pub(super) fn check(&self) -> Result<(), UsageError> {
        let (least, most) = (self.min_instances, self.max_instances);
        if least > most {
            return Err(UsageError::Bounds { least, most });
        }
        if self.daemons.is_some() && most > MOST_COPIES {
            return Err(UsageError::Copies(most));
        }
        if self.seed.checked_add(self.seeds).is_none() {
            return Err(UsageError::Seeds {
                first: self.seed,
                number: self.seeds,
            });
        }
        let mut named: Vec<LogicalId> = self.chain.iter().flat_map(|it| it.0.clone()).collect();
        named.sort_unstable();
        match named.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(UsageError::Twice(pair[0])),
            None => Ok(()),
        }
    }

    /// Whether the fewest copies of so many functions have room; nothing waits for ever then.
    pub(super) fn check_room(&self, functions: usize) -> Result<(), UsageError> {
        let is_fixed = self.policy.is_empty() || self.policy.contains(&Policy::Fixed);
        let (least, why) = match (self.min_instances, is_fixed) {
            (0, true) => (1, ", with the policy `fixed`"),
            (least, _) => (least, ""),
        };
        match functions as u64 * u64::from(least) > u64::from(self.capacity) {
            true => Err(UsageError::Capacity {
                capacity: self.capacity,
                functions,
                least,
                why,
            }),
            false => Ok(()),
        }
    }
}

/// A time with its unit.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let split = text.find(|it: char| !it.is_ascii_digit() && it != '.');
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "min" => 60.0,
        _ => return Err("write a number with `ms`, `s` or `min`, such as 20ms".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{number}` is not a number"))?;
    match number * unit {
        seconds if seconds <= LONGEST.as_secs_f64() => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("no time is longer than a year".to_owned()),
    }
}

/// A time that is not nothing.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    match time.is_zero() {
        true => Err("it must be longer than nothing".to_owned()),
        false => Ok(time),
    }
}

pub(super) fn hours(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    number
        .filter(|it| *it > 0.0 && *it <= 168.0)
        .ok_or_else(|| format!("`{text}` is not a number of hours above 0, up to 168"))
}

/// Functions, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Chain(pub(super) Vec<LogicalId>);

pub(super) fn chain(text: &str) -> Result<Chain, String> {
    let ids = text.split(',').map(|id| {
        let parsed = id.trim().parse::<LogicalId>();
        parsed.map_err(|_| format!("`{id}` is no id of a function"))
    });
    ids.collect::<Result<_, _>>().map(Chain)
}
