//! `node.toml`: what an operator can say about a node.

use std::{path::PathBuf, time::Duration};

use edgeless_daemon::net::Listen;
use edgeless_types::NodeId;
use serde::Deserialize;

use crate::{capabilities::Overrides, ranges};

/// The commented template that `node_d -t` writes.
pub const TEMPLATE: &str = include_str!("../../configs/node.toml");

/// The configuration of a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who and where it is.
    pub general: General,
    /// The engine in which everything runs.
    #[serde(default)]
    pub engine: Engine,
    /// What is measured.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// The runtimes `RUST_WASM` and `WASM_COMPONENT`.
    #[serde(default)]
    pub wasm_runtime: WasmRuntime,
    /// The resources it provides.
    #[serde(default)]
    pub resources: Resources,
    /// TLS between nodes. Absent: none.
    pub data_plane_tls: Option<DataPlaneTls>,
    /// Capabilities that replace what was found out.
    #[serde(default)]
    pub user_node_capabilities: Overrides,
}

/// Who and where the node is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct General {
    /// Its id. Absent: drawn at the first start and kept in `data_dir`.
    pub node_id: Option<NodeId>,
    /// Where it takes steps from its ε-ORC.
    pub agent_url: Listen,
    /// The same as ε-ORC reaches it. Port 0 or absent: as bound.
    #[serde(default, deserialize_with = "ranges::reachable")]
    pub agent_url_announced: Option<Listen>,
    /// Where it takes messages from other nodes.
    pub invocation_url: Listen,
    /// The same as other nodes reach it. Port 0 or absent: as bound.
    #[serde(default, deserialize_with = "ranges::reachable")]
    pub invocation_url_announced: Option<Listen>,
    /// Where its ε-ORC takes registrations.
    #[serde(deserialize_with = "ranges::peer")]
    pub node_register_url: Listen,
    /// How often it refreshes its registration.
    #[serde(
        deserialize_with = "ranges::millis::<_, 50, 1_200_000>",
        default = "default_refresh_interval"
    )]
    pub refresh_interval: Duration,
    /// After this long without a refresh ε-ORC takes it for lost. Absent: three intervals.
    #[serde(with = "humantime_serde", default)]
    pub refresh_deadline: Option<Duration>,
    /// How long it waits, when it is ended, for its instances to be moved.
    #[serde(with = "humantime_serde", default = "default_leave_timeout")]
    pub leave_timeout: Duration,
    /// How long its remaining instances may handle what is queued before it ends.
    #[serde(with = "humantime_serde", default = "default_drain_timeout")]
    pub drain_timeout: Duration,
    /// The port of `/healthz`, `/readyz` and `/metrics`. Absent: none.
    pub status_url: Option<Listen>,
    /// Where it keeps its id, code and compiled modules.
    #[serde(deserialize_with = "ranges::folder")]
    pub data_dir: PathBuf,
}

/// The engine in which everything runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Threads that run functions and resources; 0: one per core.
    #[serde(deserialize_with = "ranges::count::<_, 0, 1024>")]
    pub shards: usize,
    /// How many messages of up to 4 KiB may wait for one instance; a larger one counts as several.
    #[serde(deserialize_with = "ranges::count::<_, 1, 1_048_576>")]
    pub inbox_capacity: usize,
    /// The same for all instances of one workflow together; then its sources wait.
    #[serde(deserialize_with = "ranges::count::<_, 1, 16_777_216>")]
    pub workflow_capacity: usize,
    /// The same for all instances of the node; then all sources wait.
    #[serde(deserialize_with = "ranges::count::<_, 1, 268_435_456>")]
    pub node_capacity: usize,
    /// How long a call may wait for its answer, unless its sender says otherwise.
    #[serde(deserialize_with = "ranges::millis::<_, 1, 3_600_000>")]
    pub call_timeout: Duration,
}

/// What is measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Whether execution times, transfer times and log entries are reported.
    pub performance_samples: bool,
    /// At most this many samples travel with one refresh; the rest is summarised.
    #[serde(deserialize_with = "ranges::count::<_, 1, 1_000_000>")]
    pub samples_per_refresh: usize,
}

/// The runtimes `RUST_WASM` and `WASM_COMPONENT`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WasmRuntime {
    /// Whether the node has them.
    pub enabled: bool,
    /// The most memory one instance may have, in MiB.
    #[serde(deserialize_with = "ranges::count::<_, 1, 4096>")]
    pub memory_limit_mib: usize,
    /// The longest time the handling of one event may take.
    #[serde(deserialize_with = "ranges::millis::<_, 1, 3_600_000>")]
    pub time_limit: Duration,
    /// How many instances there may be at once; reserves address space, no memory.
    #[serde(deserialize_with = "ranges::count::<_, 1, 100_000>")]
    pub max_instances: usize,
    /// How often an instance may fail and be restarted within a minute before it is given up.
    #[serde(deserialize_with = "ranges::count::<_, 0, 10_000>")]
    pub max_restarts: usize,
}

/// The resources the node provides.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Where `http-ingress` takes requests. Absent: the node does not provide it.
    pub http_ingress_url: Option<Listen>,
    /// The name of that provider, unique in the domain. Absent: made of host, node and class.
    pub http_ingress_provider: Option<String>,
    /// Whether the node provides `http-egress`.
    pub http_egress: bool,
    /// The name of that provider.
    pub http_egress_provider: Option<String>,
    /// The directory of the files of `file-log`. Absent: the node does not provide it.
    pub file_log_path: Option<PathBuf>,
    /// The name of that provider.
    pub file_log_provider: Option<String>,
    /// Whether the node provides `redis`.
    pub redis: bool,
    /// The name of that provider.
    pub redis_provider: Option<String>,
    /// Whether the node provides `order-source`.
    pub order_source: bool,
    /// The name of that provider.
    pub order_source_provider: Option<String>,
}

/// TLS between nodes: PEM files, read once at the start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataPlaneTls {
    /// The certificate of the node, for the host at which others reach it; those between it and the
    /// authority may follow.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The certificates of those who may say who takes part.
    pub authority: PathBuf,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            shards: 0,
            inbox_capacity: 1024,
            workflow_capacity: edgeless_dataflow::WORKFLOW,
            node_capacity: edgeless_dataflow::NODE,
            call_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            performance_samples: true,
            samples_per_refresh: 20_000,
        }
    }
}

impl Default for WasmRuntime {
    fn default() -> Self {
        Self {
            enabled: true,
            memory_limit_mib: 32,
            time_limit: Duration::from_secs(1),
            max_instances: 2_000,
            max_restarts: 5,
        }
    }
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            http_ingress_url: None,
            http_ingress_provider: None,
            http_egress: true,
            http_egress_provider: None,
            file_log_path: None,
            file_log_provider: None,
            redis: true,
            redis_provider: None,
            order_source: true,
            order_source_provider: None,
        }
    }
}

const fn default_refresh_interval() -> Duration {
    Duration::from_secs(1)
}

const fn default_leave_timeout() -> Duration {
    Duration::from_secs(10)
}

const fn default_drain_timeout() -> Duration {
    Duration::from_secs(2)
}

/// A value that is well formed but cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key `{key}`: {problem}")]
pub struct ValueError {
    /// The key with its section.
    pub key: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl General {
    /// After how long without a refresh ε-ORC takes the node for lost.
    pub fn deadline(&self) -> Duration {
        self.refresh_deadline.unwrap_or(self.refresh_interval * 3)
    }
}

impl Config {
    /// Checks how values go together; each alone is checked when it is read.
    ///
    /// # Errors
    /// The first key whose value cannot be used.
    pub fn check(&self) -> Result<(), ValueError> {
        let general = &self.general;
        let (least, most) = (general.refresh_interval * 2, Duration::from_hours(1));
        if !(least.max(Duration::from_millis(100))..=most).contains(&general.deadline()) {
            return Err(ValueError {
                key: "general.refresh_deadline",
                problem: format!(
                    "must lie between two refresh intervals ({least:?}) and {most:?}, not be {:?}",
                    general.deadline()
                ),
            });
        }
        for (key, listen, announced) in [
            (
                "general.agent_url_announced",
                &general.agent_url,
                &general.agent_url_announced,
            ),
            (
                "general.invocation_url_announced",
                &general.invocation_url,
                &general.invocation_url_announced,
            ),
        ] {
            if announced.is_none() && matches!(listen.host(), "0.0.0.0" | "::") {
                return Err(ValueError {
                    key,
                    problem: format!(
                        "is missing: `{listen}` is all interfaces, and others need one address"
                    ),
                });
            }
        }
        Ok(())
    }
}

/// The address others use: as announced, its port 0 replaced by the bound one.
pub fn announced(bound: &Listen, announced: Option<&Listen>) -> Listen {
    match announced {
        Some(announced) if announced.port() == 0 => Listen::new(announced.host(), bound.port()),
        Some(announced) => announced.clone(),
        None => bound.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    fn minimal() -> Config {
        parse(
            "[general]
             agent_url = 'http://127.0.0.1:0'
             invocation_url = 'http://127.0.0.1:0'
             node_register_url = 'http://127.0.0.1:7004'
             data_dir = 'x'",
        )
    }

    #[test]
    fn the_template_is_a_sound_configuration() {
        parse(TEMPLATE).check().unwrap();
        minimal().check().unwrap();
    }

    #[test]
    fn values_that_do_not_go_together_are_named() {
        let refused = |key: &str, spoil: fn(&mut Config)| {
            let mut config = minimal();
            spoil(&mut config);
            assert_eq!(config.check().unwrap_err().key, key);
        };
        refused("general.refresh_deadline", |config| {
            config.general.refresh_deadline = Some(Duration::from_millis(1500));
        });
        refused("general.agent_url_announced", |config| {
            config.general.agent_url = Listen::new("0.0.0.0", 1);
        });
        refused("general.invocation_url_announced", |config| {
            config.general.invocation_url = Listen::new("::", 1);
        });
    }

    #[test]
    fn wrong_values_are_refused_with_line_and_key() {
        for (key, value) in [
            ("agent_url", "'127.0.0.1'"),
            ("invocation_url_announced", "'http://0.0.0.0:1'"),
            ("node_register_url", "'http://127.0.0.1:0'"),
            ("refresh_interval", "'1ms'"),
            ("refresh_interval", "1"),
            ("shards", "5000"),
            ("inbox_capacity", "0"),
            ("workflow_capacity", "0"),
            ("node_capacity", "'1 GiB'"),
            ("samples_per_refresh", "-1"),
            ("memory_limit_mib", "0"),
            ("time_limit", "'0s'"),
            ("http_ingress_url", "'localhost:80'"),
            ("labels", "['']"),
            ("clock_freq_cpu", "nan"),
            ("num_cores", "0"),
        ] {
            let line = |line: &&str| line.trim_start_matches("# ").starts_with(key);
            let number = TEMPLATE.lines().position(|text| line(&text)).unwrap();
            let mut lines: Vec<_> = TEMPLATE.lines().collect();
            let wrong = format!("{key} = {value}");
            lines[number] = &wrong;
            let parsed = edgeless_daemon::config::parse::<Config>(
                &lines.join("\n"),
                std::path::Path::new("node.toml"),
                toml::Table::new(),
            );
            let error = parsed.unwrap_err().to_string();
            let place = format!("node.toml:{}: key `{key}`: ", number + 1);
            assert!(error.starts_with(&place), "{error}");
        }
    }

    #[test]
    fn tls_needs_all_of_its_files_and_nothing_else() {
        let parse = |tls: &str| {
            let general = "[general]
             agent_url = 'http://127.0.0.1:0'
             invocation_url = 'http://127.0.0.1:0'
             node_register_url = 'http://127.0.0.1:7004'
             data_dir = 'x'";
            toml::from_str::<Config>(&format!("{general}\n[data_plane_tls]\n{tls}"))
        };
        let all = "certificate = 'c'\nkey = 'k'\nauthority = 'a'";
        assert!(parse(all).unwrap().data_plane_tls.is_some());
        for missing in ["certificate = 'c'", "key = 'k'", "authority = 'a'"] {
            let error = parse(&all.replace(missing, "")).unwrap_err().to_string();
            assert!(error.contains("missing field"), "{error}");
        }
        let error = parse(&format!("{all}\nverify = false")).unwrap_err();
        assert!(error.to_string().contains("unknown field"), "{error}");
    }

    #[test]
    fn an_announced_port_of_zero_becomes_the_bound_one() {
        let bound = Listen::new("0.0.0.0", 7000);
        assert_eq!(
            announced(&bound, Some(&Listen::new("edge-1", 0))),
            Listen::new("edge-1", 7000)
        );
        assert_eq!(announced(&bound, None), bound);
    }
}
