//! What the user wants of the number of copies of one function, read from its annotations.

use std::{collections::BTreeMap, time::Duration};

/// Which file decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// `fixed`: always `min_instances` copies.
    Fixed,
    /// `concurrency`: the published algorithm of Knative.
    Concurrency,
    /// `queue`: as many copies as drain the backlog in time.
    Queue,
    /// `predictive`: from rates, orders on their way and what was learnt of past arrivals.
    #[default]
    Predictive,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Fixed,
        Self::Concurrency,
        Self::Queue,
        Self::Predictive,
    ];

    /// The value of `scale_policy`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Concurrency => "concurrency",
            Self::Queue => "queue",
            Self::Predictive => "predictive",
        }
    }
}

impl std::str::FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|it| it.name() == text);
        known.ok_or_else(|| {
            format!("`{text}` is none of `fixed`, `concurrency`, `queue`, `predictive`")
        })
    }
}

/// What the copies are to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Ninety-nine of a hundred events wait no longer than this for a copy.
    P99(Duration),
    /// The share of the slots that is busy on average, in `0.05..=1.0`.
    Utilisation(f32),
}

/// How one function is scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Which file decides.
    pub policy: Policy,
    /// Never fewer copies; 0: it may be switched off.
    pub min_instances: u32,
    /// Never more copies; at least 1 and `min_instances`.
    pub max_instances: u32,
    /// What is to be reached; none: as the policy sees fit.
    pub target: Option<Target>,
    /// The longest time that the last copy is kept without work.
    pub idle_after: Duration,
    /// From the decision to start a copy until it takes work, as long as none was measured.
    pub start_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            min_instances: 0,
            max_instances: 64,
            target: None,
            idle_after: Duration::from_secs(60),
            start_time: Duration::from_millis(500),
        }
    }
}

/// An annotation about scaling that cannot be read, or contradicts another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation `{key}`: {problem}")]
pub struct SettingsError {
    /// The annotation.
    pub key: &'static str,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

/// The annotations that are read here.
pub const ANNOTATIONS: [&str; 6] = [
    "scale_policy",
    "min_instances",
    "max_instances",
    "target_p99_ms",
    "target_utilisation",
    "idle_after",
];

/// The most copies of one function: those who send to it know all of them.
const MOST_COPIES: u32 = 1_000;
/// 30 days: longer nothing is kept for nobody.
const LONGEST_IDLE: Duration = Duration::from_hours(30 * 24);

impl Settings {
    /// Reads the annotations of a function; what is not said is as in `defaults`, those of the domain.
    ///
    /// # Errors
    /// A value that does not parse or is out of range, bounds or targets that contradict each other.
    pub fn from_annotations(
        annotations: &BTreeMap<String, String>,
        defaults: &Self,
    ) -> Result<Self, SettingsError> {
        let mut settings = *defaults;
        let read = |key: &'static str| annotations.get(key).map(|value| (key, value.trim()));
        if let Some((key, value)) = read("scale_policy") {
            settings.policy = value
                .parse()
                .map_err(|problem| SettingsError { key, problem })?;
        }
        let (least, most) = (read("min_instances"), read("max_instances"));
        if let Some((key, value)) = least {
            settings.min_instances = copies(key, value, 0)?;
        }
        if let Some((key, value)) = most {
            settings.max_instances = copies(key, value, 1)?;
        }
        settings.agree(least.is_some(), most.is_some())?;
        let (p99, utilisation) = (read("target_p99_ms"), read("target_utilisation"));
        if let (Some((key, _)), Some(_)) = (utilisation, p99) {
            let problem = "stands beside `target_p99_ms`; write one of them".to_owned();
            return Err(SettingsError { key, problem });
        }
        let policy = read("scale_policy").map(|_| settings.policy);
        for (key, policies) in [
            (p99, &[Policy::Fixed, Policy::Concurrency][..]),
            (utilisation, &[Policy::Fixed]),
        ] {
            if let (Some((key, _)), Some(policy)) = (key, policy.filter(|it| policies.contains(it)))
            {
                let problem = format!(
                    "has no effect with the `scale_policy` `{}`; leave it out, or choose `queue` or `predictive`",
                    policy.name()
                );
                return Err(SettingsError { key, problem });
            }
        }
        if let Some((key, value)) = p99 {
            settings.target = Some(Target::P99(millis(key, value)?));
        }
        if let Some((key, value)) = utilisation {
            settings.target = Some(Target::Utilisation(share(key, value)?));
        }
        if let Some((key, value)) = read("idle_after") {
            settings.idle_after = duration(key, value)?;
        }
        Ok(settings)
    }

    /// A bound that the user wrote moves the default of the other one; two that he wrote must agree.
    fn agree(&mut self, least_said: bool, most_said: bool) -> Result<(), SettingsError> {
        let (least, most) = (self.min_instances, self.max_instances);
        match (least > most, least_said, most_said) {
            (false, ..) => {}
            (true, true, true) => {
                return Err(SettingsError {
                    key: "min_instances",
                    problem: format!("{least} is more than `max_instances`, which is {most}"),
                });
            }
            (true, true, false) => self.max_instances = least,
            (true, false, _) => self.min_instances = most,
        }
        Ok(())
    }

    /// The share of busy slots to aim at, if the user said one.
    pub fn utilisation(&self) -> Option<f64> {
        match self.target {
            Some(Target::Utilisation(share)) => Some(f64::from(share)),
            Some(Target::P99(_)) | None => None,
        }
    }

    /// The waiting time to aim at in seconds, if the user said one.
    pub fn p99(&self) -> Option<f64> {
        match self.target {
            Some(Target::P99(wait)) => Some(wait.as_secs_f64()),
            Some(Target::Utilisation(_)) | None => None,
        }
    }
}

fn copies(key: &'static str, value: &str, least: u32) -> Result<u32, SettingsError> {
    let number = value.parse().ok();
    number
        .filter(|it| (least..=MOST_COPIES).contains(it))
        .ok_or_else(|| SettingsError {
            key,
            problem: format!("`{value}` is not a whole number from {least} to {MOST_COPIES}"),
        })
}

fn millis(key: &'static str, value: &str) -> Result<Duration, SettingsError> {
    let number = value.parse::<u64>().ok();
    number
        .filter(|it| (1..=3_600_000).contains(it))
        .map(Duration::from_millis)
        .ok_or_else(|| SettingsError {
            key,
            problem: format!("`{value}` is not a whole number of milliseconds from 1 to 3600000"),
        })
}

fn share(key: &'static str, value: &str) -> Result<f32, SettingsError> {
    let number = value.parse::<f32>().ok();
    number
        .filter(|it| (0.05..=1.0).contains(it))
        .ok_or_else(|| SettingsError {
            key,
            problem: format!("`{value}` is not a share from 0.05 to 1.0, such as 0.7"),
        })
}

/// A whole number with `ms`, `s`, `min` or `h`, up to 30 days.
fn duration(key: &'static str, value: &str) -> Result<Duration, SettingsError> {
    let digits = value.find(|it: char| !it.is_ascii_digit());
    let (number, unit) = value.split_at(digits.unwrap_or(value.len()));
    let unit = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|it| it.checked_mul(unit));
    millis
        .map(Duration::from_millis)
        .filter(|it| !it.is_zero() && *it <= LONGEST_IDLE)
        .ok_or_else(|| SettingsError {
            key,
            problem: format!(
                "`{value}` is not a time of up to 30 days, such as `500ms`, `60s`, `5min`, `1h`"
            ),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let pairs = pairs.iter().map(|&(key, value)| (key.into(), value.into()));
        Settings::from_annotations(&pairs.collect(), &Settings::default())
    }

    #[test]
    fn annotations_become_settings_and_the_rest_is_as_the_domain_says() {
        let read = parse(&[
            ("scale_policy", "queue"),
            ("min_instances", "0"),
            ("max_instances", "7"),
            ("target_p99_ms", "250"),
            ("idle_after", "5min"),
            ("tee", "required"),
        ]);
        let expected = Settings {
            policy: Policy::Queue,
            min_instances: 0,
            max_instances: 7,
            target: Some(Target::P99(Duration::from_millis(250))),
            idle_after: Duration::from_secs(300),
            ..Settings::default()
        };
        assert_eq!(read, Ok(expected));
        assert_eq!(parse(&[]), Ok(Settings::default()));
        let longest = parse(&[("idle_after", "2592000000ms")]).unwrap();
        assert_eq!(longest.idle_after, Duration::from_hours(720));
    }

    #[test]
    fn a_bound_that_is_said_moves_the_one_that_is_not() {
        assert_eq!(
            parse(&[("min_instances", "100")]).unwrap().max_instances,
            100
        );
    }

    #[test]
    fn wrong_annotations_are_errors_that_name_the_key() {
        for (key, value) in [
            ("scale_policy", "magic"),
            ("scale_policy", ""),
            ("min_instances", "-1"),
            ("min_instances", "1001"),
            ("max_instances", "0"),
            ("target_p99_ms", "0"),
            ("target_p99_ms", "1s"),
            ("target_utilisation", "70"),
            ("target_utilisation", "NaN"),
            ("idle_after", "60"),
            ("idle_after", "0s"),
            ("idle_after", "2 days"),
            ("idle_after", "721h"),
            ("idle_after", "99999999999999999999h"),
        ] {
            assert_eq!(
                parse(&[(key, value)]).unwrap_err().key,
                key,
                "{key}={value}"
            );
        }
        let bounds = parse(&[("min_instances", "3"), ("max_instances", "2")]);
        assert_eq!(bounds.unwrap_err().key, "min_instances");
        let both = parse(&[("target_p99_ms", "3"), ("target_utilisation", "0.5")]);
        assert_eq!(both.unwrap_err().key, "target_utilisation");
        for (policy, key, value, is_right) in [
            ("fixed", "target_p99_ms", "3", false),
            ("fixed", "target_utilisation", "0.5", false),
            ("concurrency", "target_p99_ms", "3", false),
            ("concurrency", "target_utilisation", "0.5", true),
            ("queue", "target_p99_ms", "3", true),
        ] {
            let read = parse(&[("scale_policy", policy), (key, value)]);
            assert_eq!(read.is_ok(), is_right, "{policy} {key}");
        }
    }
}
