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

/// Whether some of them ask for as many copies as it takes.
pub fn ask_for_copies(annotations: &BTreeMap<String, String>) -> bool {
    let mut asks = ["scale_policy", "target_p99_ms", "target_utilisation"].into_iter();
    asks.any(|key| annotations.contains_key(key))
}

/// The most copies of one function: those who send to it know all of them.
pub const MOST_COPIES: u32 = 1_000;
/// 30 days: longer nothing is kept for nobody.
const LONGEST_IDLE: Duration = Duration::from_hours(30 * 24);

impl Settings {
    /// Reads the annotations of a function; what is not said is as in `defaults`, those of the domain.
    ///
    /// What has no effect is no error here, so that what runs stays as it was; [`faults`] refuses it.
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
        if let Some((key, value)) = p99 {
            settings.target = Some(Target::P99(millis(key, value)?));
        }
        if let Some((key, value)) = utilisation {
            settings.target = Some(Target::Utilisation(share(key, value)?));
        }
        if let Some((key, value)) = read("idle_after") {
            settings.idle_after =
                idle_after(value).map_err(|problem| SettingsError { key, problem })?;
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

/// What is wrong with the annotations of a function that somebody submits: the first that cannot be read, else all that
/// have no effect as the others are, with what to do about it.
pub fn faults(annotations: &BTreeMap<String, String>) -> Vec<SettingsError> {
    // As many copies as functions have that do not say it.
    let defaults = Settings {
        min_instances: 1,
        ..Settings::default()
    };
    let settings = match Settings::from_annotations(annotations, &defaults) {
        Ok(settings) => settings,
        Err(error) => return vec![error],
    };
    let policy = annotations
        .contains_key("scale_policy")
        .then_some(settings.policy);
    let said = ANNOTATIONS
        .into_iter()
        .filter(|it| annotations.contains_key(*it));
    let faults = said.filter_map(|key| {
        let problem = without_effect(key, policy, &settings)?;
        Some(SettingsError { key, problem })
    });
    faults.collect()
}

/// Why an annotation that is said has no effect; none: it has.
fn without_effect(key: &str, policy: Option<Policy>, settings: &Settings) -> Option<String> {
    let least = settings.min_instances;
    match (key, policy) {
        ("target_p99_ms", Some(policy @ (Policy::Fixed | Policy::Concurrency)))
        | ("target_utilisation", Some(policy @ Policy::Fixed)) => Some(format!(
            "has no effect with the `scale_policy` `{}`; leave it out, or choose `queue` or `predictive`",
            policy.name()
        )),
        ("min_instances", Some(Policy::Fixed)) if least == 0 => Some(
            "`fixed` always runs `min_instances` copies, at least one; write how many, or choose another `scale_policy`"
                .to_owned(),
        ),
        ("max_instances", Some(Policy::Fixed)) if settings.max_instances != least.max(1) => {
            Some(format!(
                "`fixed` always runs `min_instances` copies, here {}; leave it out, or choose another `scale_policy`",
                least.max(1)
            ))
        }
        ("idle_after", Some(Policy::Fixed)) => Some(
            "`fixed` always runs `min_instances` copies; leave it out, or choose another `scale_policy`"
                .to_owned(),
        ),
        ("idle_after", Some(Policy::Concurrency)) => Some(
            "`concurrency` lets the last copy go after the minute of its stable window; leave it out, or choose `queue` or `predictive`"
                .to_owned(),
        ),
        ("idle_after", _) if least > 0 => Some(
            "has no effect unless `min_instances` is `0`; write that as well, or leave it out"
                .to_owned(),
        ),
        _ => None,
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

/// The longest time that the last copy is kept: such as `500ms` or `1h 30m`, from 1 ms up to 30 days.
///
/// # Errors
/// It is no such time, with what to write instead.
pub fn idle_after(value: &str) -> Result<Duration, String> {
    humantime_serde::re::humantime::parse_duration(value)
        .ok()
        .filter(|it| !it.is_zero() && *it <= LONGEST_IDLE)
        .ok_or_else(|| {
            format!(
                "`{value}` is not a time from 1ms to 30 days, such as `500ms`, `60s`, `5min`, `1h`"
            )
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
        for longest in ["2592000000ms", "720h", "30d", "30days", "29days 24h"] {
            let read = parse(&[("idle_after", longest)]).unwrap();
            assert_eq!(read.idle_after, Duration::from_hours(720), "{longest}");
        }
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
            ("idle_after", "2 daze"),
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
    }

    /// Annotations, and the keys of those that are faults; all of them can be read.
    fn check(pairs: &[(&str, &str)], wrong: &[&str]) {
        assert!(parse(pairs).is_ok(), "what runs already is read: {pairs:?}");
        let pairs = pairs.iter().map(|&(key, value)| (key.into(), value.into()));
        let pairs: BTreeMap<String, String> = pairs.collect();
        let keys: Vec<_> = faults(&pairs).iter().map(|it| it.key).collect();
        assert_eq!(keys, wrong, "{pairs:?}");
    }

    #[test]
    fn what_cannot_be_read_is_a_fault() {
        let pairs = [("idle_after".to_owned(), "soon".to_owned())];
        let faults = faults(&pairs.into());
        assert_eq!(faults.len(), 1);
        assert_eq!(
            faults[0].to_string(),
            "annotation `idle_after`: `soon` is not a time from 1ms to 30 days, such as `500ms`, `60s`, `5min`, `1h`"
        );
    }

    #[test]
    fn a_target_that_the_policy_does_not_know_is_a_fault() {
        for (policy, key, value, is_right) in [
            ("fixed", "target_p99_ms", "3", false),
            ("fixed", "target_utilisation", "0.5", false),
            ("concurrency", "target_p99_ms", "3", false),
            ("concurrency", "target_utilisation", "0.5", true),
            ("queue", "target_p99_ms", "3", true),
        ] {
            let wrong: &[&str] = if is_right { &[] } else { &[key] };
            check(&[("scale_policy", policy), (key, value)], wrong);
        }
        check(&[("target_p99_ms", "3")], &[]);
    }

    #[test]
    fn a_time_to_keep_the_last_copy_where_it_never_goes_is_a_fault() {
        let idle = ("idle_after", "60s");
        check(&[idle], &["idle_after"]);
        check(&[idle, ("min_instances", "1")], &["idle_after"]);
        check(&[idle, ("max_instances", "8")], &["idle_after"]);
        check(&[idle, ("min_instances", "0")], &[]);
        for (policy, is_right) in [("concurrency", false), ("queue", true)] {
            let wrong: &[&str] = if is_right { &[] } else { &["idle_after"] };
            let pairs = [idle, ("min_instances", "0"), ("scale_policy", policy)];
            let pairs = &pairs[..];
            check(pairs, wrong);
        }
        check(
            &[idle, ("min_instances", " 0 "), ("scale_policy", "queue")],
            &[],
        );
    }

    #[test]
    fn bounds_that_fixed_does_not_know_are_faults() {
        let fixed = ("scale_policy", "fixed");
        let (least, most) = (
            |copies| ("min_instances", copies),
            |copies| ("max_instances", copies),
        );
        check(&[fixed], &[]);
        check(&[fixed, least("3")], &[]);
        check(&[fixed, least("3"), most("3")], &[]);
        check(&[fixed, most("1")], &[]);
        check(&[fixed, most("3")], &["max_instances"]);
        check(&[fixed, least("3"), most("4")], &["max_instances"]);
        check(&[fixed, least("0")], &["min_instances"]);
        check(&[fixed, least("0"), most("1")], &["min_instances"]);
        check(
            &[fixed, least("0"), most("2"), ("idle_after", "1s")],
            &["min_instances", "max_instances", "idle_after"],
        );
        check(&[fixed, least("2"), ("idle_after", "1s")], &["idle_after"]);
    }
}
