//! The configuration of ε-ORC (`orchestrator.toml`).

use std::{path::PathBuf, time::Duration};

use edgeless_daemon::{net::Listen, ranges};
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::{
    plan::strategy::StrategyKind,
    scale::{Policy, Settings},
};

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses and names.
    pub general: General,
    /// How nodes are chosen.
    #[serde(default)]
    pub baseline: Baseline,
    /// How many copies functions have that may be multiplied or switched off, as far as they do not say.
    #[serde(default)]
    pub scaling: Scaling,
    /// Mirror and datasets.
    #[serde(default)]
    pub proxy: Proxy,
}

/// Addresses and names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct General {
    /// Where ε-CON takes subscriptions; absent: the domain stands alone.
    pub domain_register_url: Option<Listen>,
    /// How often the subscription is refreshed.
    #[serde(
        default = "second",
        deserialize_with = "ranges::millis::<_, 10, 3_600_000>"
    )]
    pub subscription_refresh_interval: Duration,
    /// Unique in the cluster.
    #[serde(deserialize_with = "ranges::name")]
    pub domain_id: String,
    /// Labels of the domain itself, such as `region=eu`, for `domain_label_match_all`.
    #[serde(default, deserialize_with = "labels")]
    pub labels: Vec<String>,
    /// Where ε-CON reaches this ε-ORC.
    pub orchestrator_url: Listen,
    /// The same as others see it, behind an address translation.
    pub orchestrator_url_announced: Option<Listen>,
    /// Where nodes register.
    pub node_register_url: Listen,
    /// Where `/healthz`, `/readyz`, `/metrics` and the state are served.
    pub status_url: Listen,
    /// Where code and the journal are kept.
    #[serde(deserialize_with = "ranges::folder")]
    pub data_dir: PathBuf,
}

/// In milliseconds.
const WEEK: u64 = 604_800_000;

/// How nodes are chosen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// `Random`, `RoundRobin`, `LeastLoaded`, `BinPack`, `Spread` or `Affine`.
    #[serde(default)]
    pub orchestration_strategy: StrategyKind,
    /// How much processor time may be promised, as a multiple of the cores of a node.
    #[serde(default = "one", deserialize_with = "factor")]
    pub cpu_overcommit: f64,
    /// How much memory may be promised, as a multiple of that of a node.
    #[serde(default = "one", deserialize_with = "factor")]
    pub memory_overcommit: f64,
    /// Seed of all choices; absent: another one at each start.
    pub seed: Option<u64>,
    /// After a restart, how long what is desired may wait to be reported by a node before it is
    /// placed anew.
    #[serde(
        default = "three_seconds",
        deserialize_with = "ranges::millis::<_, 0, 3_600_000>"
    )]
    pub adoption_grace: Duration,
    /// Starts of lost instances that a node may have unanswered at a time.
    #[serde(
        default = "sixty_four",
        deserialize_with = "ranges::count::<_, 1, 1_000_000>"
    )]
    pub healing_per_node: usize,
    /// A node that was lost so often within `flap_within` gets nothing new for `flap_rest`; 0: never.
    #[serde(default = "five")]
    pub flap_times: usize,
    /// See `flap_times`.
    #[serde(
        default = "ten_minutes",
        deserialize_with = "ranges::millis::<_, 0, WEEK>"
    )]
    pub flap_within: Duration,
    /// See `flap_times`.
    #[serde(
        default = "five_minutes",
        deserialize_with = "ranges::millis::<_, 0, WEEK>"
    )]
    pub flap_rest: Duration,
    /// One instance moves to an emptier node this often, if that pays; zero: only when it is asked for.
    #[serde(default, deserialize_with = "ranges::millis::<_, 0, WEEK>")]
    pub rebalance_every: Duration,
}

impl Baseline {
    /// Why `rebalance_every` does not go with the other settings.
    pub fn contradiction(&self) -> Option<&'static str> {
        let is_kept_full = self.orchestration_strategy == StrategyKind::BinPack;
        (is_kept_full && !self.rebalance_every.is_zero()).then_some(
            "has to be \"0s\" with the strategy `BinPack`, which keeps nodes full on purpose",
        )
    }
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            orchestration_strategy: StrategyKind::default(),
            cpu_overcommit: 1.0,
            memory_overcommit: 1.0,
            seed: None,
            adoption_grace: three_seconds(),
            healing_per_node: sixty_four(),
            flap_times: five(),
            flap_within: ten_minutes(),
            flap_rest: five_minutes(),
            rebalance_every: Duration::ZERO,
        }
    }
}

const fn one() -> f64 {
    1.0
}

/// A factor from a hundredth to a hundred.
fn factor<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let factor = f64::deserialize(deserializer)?;
    if (0.01..=100.0).contains(&factor) {
        return Ok(factor);
    }
    let text = format!("must lie between 0.01 and 100, not be {factor}");
    Err(serde::de::Error::custom(text))
}

/// Labels: not blank, without commas (which separate them in annotations) and control characters.
fn labels<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let labels = Vec::<String>::deserialize(deserializer)?;
    let odd = |label: &&String| {
        label.trim() != *label || label.is_empty() || label.contains([',', '\n', '\t', '\0'])
    };
    match labels.iter().find(odd) {
        None => Ok(labels),
        Some(odd) => Err(serde::de::Error::custom(format!(
            "the label `{odd}` must not be empty, begin or end with space, or hold commas"
        ))),
    }
}

/// Mirror and datasets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// Whether there is a mirror.
    #[serde(default)]
    pub proxy_type: ProxyType,
    /// Where it is; needed for `Redis`.
    pub redis_url: Option<Url>,
    /// Elements of sorted sets older than this are purged, with this period.
    #[serde(
        default = "two_minutes",
        deserialize_with = "ranges::count::<_, 1, 315_360_000>"
    )]
    pub proxy_gc_period_seconds: usize,
    /// Absent: no datasets.
    pub dataset_settings: Option<DatasetSettings>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            proxy_type: ProxyType::None,
            redis_url: None,
            proxy_gc_period_seconds: two_minutes(),
            dataset_settings: None,
        }
    }
}

/// Whether there is a mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ProxyType {
    /// There is none.
    #[default]
    None,
    /// A Redis database, which is flushed at start.
    Redis,
}

/// How functions are scaled that may be, as far as they do not say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scaling {
    /// Which policy decides.
    #[serde(deserialize_with = "policy")]
    pub policy: Policy,
    /// The longest time that the last copy is kept without work.
    #[serde(deserialize_with = "ranges::millis::<_, 10, 86_400_000>")]
    pub idle_after: Duration,
    /// Never more copies.
    #[serde(deserialize_with = "ranges::count::<_, 1, 1000>")]
    pub max_instances: usize,
    /// The file that says what is known of functions before they run, from `edgeless_dataset fit`; absent: nothing is.
    #[serde(deserialize_with = "some_file")]
    pub priors: Option<PathBuf>,
}

impl Default for Scaling {
    fn default() -> Self {
        let defaults = Settings::default();
        Self {
            policy: defaults.policy,
            idle_after: defaults.idle_after,
            max_instances: defaults.max_instances as usize,
            priors: None,
        }
    }
}

impl From<&Scaling> for Settings {
    fn from(scaling: &Scaling) -> Self {
        Self {
            policy: scaling.policy,
            idle_after: scaling.idle_after,
            max_instances: u32::try_from(scaling.max_instances).unwrap_or(u32::MAX),
            ..Self::default()
        }
    }
}

fn some_file<'de, D: Deserializer<'de>>(de: D) -> Result<Option<PathBuf>, D::Error> {
    ranges::folder(de).map(Some)
}

fn policy<'de, D: Deserializer<'de>>(de: D) -> Result<Policy, D::Error> {
    let name = String::deserialize(de)?;
    name.parse().map_err(serde::de::Error::custom)
}

/// Where datasets go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSettings {
    /// A prefix: `dataset/` is a folder, `out/run1-` a folder and the beginning of file names.
    pub dataset_path: String,
    /// Whether files are continued; else they begin anew.
    #[serde(default)]
    pub append: bool,
    /// Names of further columns, separated by commas.
    #[serde(default)]
    pub additional_fields: String,
    /// Their values in every row, separated by commas.
    #[serde(default)]
    pub additional_header: String,
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn three_seconds() -> Duration {
    Duration::from_secs(3)
}

const fn sixty_four() -> usize {
    64
}

const fn five() -> usize {
    5
}

const fn ten_minutes() -> Duration {
    Duration::from_mins(10)
}

const fn five_minutes() -> Duration {
    Duration::from_mins(5)
}

fn two_minutes() -> usize {
    120
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_configuration() {
        let text = include_str!("../../configs/orchestrator.toml");
        let path = std::path::Path::new("orchestrator.toml");
        let config: Config =
            edgeless_daemon::config::parse(text, path, Default::default()).unwrap();
        assert_eq!(config.proxy.proxy_type, ProxyType::None);
    }

    /// The template with other lines in `[baseline]`, as far as it is wrong.
    fn fault(lines: &str) -> Option<String> {
        let text = include_str!("../../configs/orchestrator.toml");
        let mut kept: Vec<&str> = text.lines().collect();
        for key in lines.lines().filter_map(|line| line.split_once(" =")) {
            kept.retain(|line| !line.starts_with(key.0));
        }
        let text = kept
            .join("\n")
            .replace("[baseline]", &format!("[baseline]\n{lines}"));
        let path = std::path::Path::new("orchestrator.toml");
        let parsed: Result<Config, _> =
            edgeless_daemon::config::parse(&text, path, Default::default());
        match parsed {
            Ok(config) => config.baseline.contradiction().map(str::to_owned),
            Err(error) => Some(error.to_string()),
        }
    }

    #[test]
    fn nodes_that_are_kept_full_are_not_rebalanced() {
        let fault_of = |strategy: &str, every: &str| {
            fault(&format!(
                "orchestration_strategy = \"{strategy}\"\nrebalance_every = \"{every}\""
            ))
        };
        assert_eq!(fault_of("BinPack", "0s"), None);
        assert_eq!(fault_of("Spread", "10s"), None);
        assert!(fault_of("BinPack", "10s").unwrap().contains("BinPack"));
    }

    #[test]
    fn the_scaling_of_the_template_is_the_default_and_what_is_wrong_is_named() {
        let text = include_str!("../../configs/orchestrator.toml");
        let path = std::path::Path::new("orchestrator.toml");
        let parse = |text: &str| -> Result<Config, _> {
            edgeless_daemon::config::parse(text, path, Default::default())
        };
        let config = parse(text).unwrap();
        assert_eq!(Settings::from(&config.scaling), Settings::default());
        for (line, expected) in [
            ("policy = \"magic\"", "`predictive`"),
            ("idle_after = \"3 days\"", "idle_after"),
            ("max_instances = 0", "max_instances"),
            ("priors = \"\"", "priors"),
        ] {
            let key = line.split(' ').next().unwrap();
            let kept: Vec<_> = text
                .lines()
                .filter(|it| !it.starts_with(&format!("{key} =")))
                .collect();
            let text = kept
                .join("\n")
                .replace("[scaling]", &format!("[scaling]\n{line}"));
            let fault = parse(&text).unwrap_err().to_string();
            assert!(fault.contains(expected), "{line}: {fault}");
        }
    }

    #[test]
    fn what_would_wait_for_ever_is_refused() {
        for key in [
            "adoption_grace",
            "flap_within",
            "flap_rest",
            "rebalance_every",
        ] {
            let fault = fault(&format!("{key} = \"100y\"")).unwrap();
            assert!(fault.contains(key) && fault.contains("must lie"), "{fault}");
        }
    }
}
