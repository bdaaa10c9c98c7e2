//! The configuration of ε-CON (`controller.toml`).

use std::path::PathBuf;

use edgeless_daemon::net::Listen;
use serde::Deserialize;

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses and folders.
    pub controller: Controller,
    /// Orders.
    #[serde(default)]
    pub orders: crate::orders::Settings,
}

/// Addresses and folders.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controller {
    /// Where clients ask over gRPC (`WorkflowInstance`).
    pub controller_url: Listen,
    /// Where domains subscribe (`DomainRegistration`).
    pub domain_register_url: Listen,
    /// Where clients ask over REST; also `/healthz`, `/readyz`, `/metrics`.
    pub rest_url: Listen,
    /// Where workflows and code are kept.
    pub data_dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_configuration() {
        let text = include_str!("../../configs/controller.toml");
        let path = std::path::Path::new("controller.toml");
        let config: Config =
            edgeless_daemon::config::parse(text, path, Default::default()).unwrap();
        assert_eq!(config.controller.rest_url.port(), 7008);
    }
}
