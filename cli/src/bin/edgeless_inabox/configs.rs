//! The configuration files of the daemons in the box; they are written where a reader finds them.

use std::{fs, path::Path};

use anyhow::Context;
use edgeless_daemon::config;
use serde::de::DeserializeOwned;

/// Which ports the box uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// Those of the documentation.
    Usual,
    /// Whatever is free.
    Free,
}

impl Ports {
    /// The address for a usual port.
    pub(crate) fn url(self, usual: u16) -> String {
        let port = match self {
            Self::Usual => usual,
            Self::Free => 0,
        };
        format!("http://127.0.0.1:{port}")
    }
}

/// Writes a configuration and reads it back as the daemon would.
pub(crate) fn write<T: DeserializeOwned>(path: &Path, text: &str) -> anyhow::Result<T> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("could not create `{}`", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("could not write `{}`", path.display()))?;
    Ok(config::load(path)?)
}

/// ε-CON's configuration.
pub(crate) fn controller(dir: &Path, ports: Ports) -> String {
    let lines = [
        "[controller]".to_owned(),
        line("controller_url", &ports.url(7001)),
        line("domain_register_url", &ports.url(7002)),
        line("rest_url", &ports.url(7008)),
        line("data_dir", &dir.join("con").display().to_string()),
    ];
    lines.join("\n") + "\n"
}

/// ε-ORC's configuration.
pub(crate) fn orchestrator(
    dir: &Path,
    ports: Ports,
    domain_register_url: &str,
    redis_url: Option<&str>,
) -> String {
    let mut lines = vec![
        "[general]".to_owned(),
        line("domain_register_url", domain_register_url),
        line("subscription_refresh_interval", "500ms"),
        line("domain_id", "domain-1"),
        line("orchestrator_url", &ports.url(7003)),
        line("node_register_url", &ports.url(7005)),
        line("status_url", &ports.url(7004)),
        line("data_dir", &dir.join("orc").display().to_string()),
        "\n[proxy]".to_owned(),
        line(
            "proxy_type",
            if redis_url.is_some() { "Redis" } else { "None" },
        ),
    ];
    lines.extend(redis_url.map(|url| line("redis_url", url)));
    lines.push("\n[proxy.dataset_settings]".to_owned());
    lines.push(line("dataset_path", &dataset_path(dir)));
    lines.push("append = true".to_owned());
    lines.join("\n") + "\n"
}

/// Where the datasets go.
pub(crate) fn dataset_path(dir: &Path) -> String {
    format!("{}/", dir.join("dataset").display())
}

/// The configuration of one node; `number` counts from 1.
pub(crate) fn node(dir: &Path, ports: Ports, node_register_url: &str, number: u16) -> String {
    let usual = |base: u16| ports.url(base + number - 1);
    let folder = |name: &str| dir.join(name).display().to_string();
    // Requests enter at one place that is known before, whatever the strategy chooses.
    let ingress = (number == 1).then(|| line("http_ingress_url", &usual(7_035)));
    let lines = [
        "[general]".to_owned(),
        line("agent_url", &usual(7_121)),
        line("invocation_url", &usual(7_221)),
        line("status_url", &usual(7_321)),
        line("node_register_url", node_register_url),
        line("refresh_interval", "500ms"),
        line("leave_timeout", "3s"),
        line("data_dir", &folder("state")),
        "\n[engine]\nshards = 1".to_owned(),
        "\n[resources]".to_owned(),
        ingress.unwrap_or_default(),
        line("file_log_path", &folder("files")),
        "\n[user_node_capabilities]".to_owned(),
        format!("labels = [\"name=node-{number}\"]"),
    ];
    lines.join("\n") + "\n"
}

fn line(key: &str, value: &str) -> String {
    format!("{key} = {}", serde_json::Value::from(value))
}
