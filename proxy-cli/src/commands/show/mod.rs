//! `proxy_cli show`: what a domain has.

mod rows;

use std::time::Duration;

use clap::Subcommand;
use edgeless_daemon::show::Rows;
use edgeless_types::{Timestamp, mirror};

pub(crate) use self::rows::instances_by_node;
use super::CommandError;
use crate::{
    domain::{self, Domain},
    source::Source,
};

/// Health reports are looked for in this time.
const LATELY: Duration = Duration::from_secs(120);

/// What is shown.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Show {
    /// Where each function and resource runs and since when, or why it waits
    Instances,
    /// Functions and their classes
    Functions,
    /// Resources, their classes and settings
    Resources,
    /// Nodes, with their latest health
    Nodes,
    /// Which output channel leads to which vertex
    Dependencies,
    /// The workflow of each logical id
    LogicalToWorkflow,
    /// Providers of resources
    Providers,
    /// One node
    #[command(subcommand)]
    Node(ShowNode),
}

/// What of a node is shown.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ShowNode {
    /// What it can do
    Capabilities {
        /// Its id, or the beginning of it
        node: String,
    },
    /// Its health reports of the last two minutes, oldest first
    Health {
        /// Its id, or the beginning of it
        node: String,
    },
    /// What runs on it
    Instances {
        /// Its id, or the beginning of it
        node: String,
    },
}

/// Reads what is asked for, at `now`.
pub(crate) async fn show(
    source: &mut Source,
    what: &Show,
    now: Timestamp,
) -> Result<Rows, CommandError> {
    let mut domain = Domain::load(source).await?;
    Ok(match what {
        Show::Instances => rows::instances(&domain, None),
        Show::Functions => rows::functions(&domain),
        Show::Resources => rows::resources(&domain),
        Show::Nodes => {
            domain.load_health(source, now - LATELY).await?;
            rows::nodes(&domain)
        }
        Show::Dependencies => rows::dependencies(&domain),
        Show::LogicalToWorkflow => rows::logical_to_workflow(&domain),
        Show::Providers => rows::providers(&domain),
        Show::Node(ShowNode::Capabilities { node }) => {
            let node_id = domain.node(node)?;
            rows::fields(domain.nodes.get(&node_id))
        }
        Show::Node(ShowNode::Instances { node }) => {
            let node_id = domain.node(node)?;
            rows::instances(&domain, Some(node_id))
        }
        Show::Node(ShowNode::Health { node }) => {
            let key = mirror::health_key(domain.node(node)?);
            let sets = source
                .samples(std::slice::from_ref(&key), now - LATELY)
                .await?;
            let mut reports = Rows::new(rows::HEALTH);
            for member in sets.iter().flatten() {
                reports.push(rows::health_cells(&domain::health(&key, member)?));
            }
            reports
        }
    })
}

#[cfg(test)]
mod tests {
    use edgeless_daemon::show::Form;

    use super::*;
    use crate::testing::{self, COPY, COUNTER, EGRESS, NODE, NOW, RedisServer, WORKFLOW};

    /// The lines of a table, as pipes get them, without the header.
    async fn lines(source: &mut Source, what: Show) -> Vec<String> {
        let rows = show(source, &what, NOW).await.unwrap();
        let text = rows.render(Form::Tabs);
        text.lines().skip(1).map(str::to_owned).collect()
    }

    async fn shows_the_domain(source: &mut Source) {
        assert_eq!(
            lines(source, Show::Instances).await,
            [
                format!(
                    "{COUNTER}\t{COPY}\t{NODE}\t{WORKFLOW}\tcount\tcounter\t2023-11-14T22:13:20.000Z\t-"
                ),
                format!(
                    "{EGRESS}\t-\t-\t{WORKFLOW}\tsink\thttp-egress\t2023-11-14T22:13:21.000Z\tstarting"
                ),
            ]
        );
        assert_eq!(
            lines(source, Show::Functions).await,
            [format!(
                "{COUNTER}\tcount\tcounter\t0.1\tRUST_WASM\tout\t{WORKFLOW}\t1"
            )]
        );
        assert_eq!(
            lines(source, Show::Resources).await,
            [format!("{EGRESS}\tsink\thttp-egress\t{{}}\t{WORKFLOW}\t0")]
        );
        assert_eq!(
            lines(source, Show::Dependencies).await,
            [format!("{COUNTER}\tcount\tout\t{EGRESS}\tsink")]
        );
        assert_eq!(
            lines(source, Show::LogicalToWorkflow).await,
            [COUNTER, EGRESS].map(|id| format!("{id}\t{WORKFLOW}"))
        );
        assert_eq!(
            lines(source, Show::Providers).await,
            [format!("p\thttp-egress\t{NODE}\t-")]
        );
        let node = || NODE[..3].to_owned();
        let on_node = Show::Node(ShowNode::Instances { node: node() });
        assert_eq!(lines(source, on_node).await.len(), 1);
        let health = Show::Node(ShowNode::Health { node: node() });
        let health = lines(source, health).await;
        assert!(
            health[0].starts_with("2023-11-14T22:13:20.000Z\t512\t"),
            "{health:?}"
        );
        let capabilities = Show::Node(ShowNode::Capabilities { node: node() });
        let capabilities = lines(source, capabilities).await;
        assert!(
            capabilities.contains(&"num_cores\t4".to_owned()),
            "{capabilities:?}"
        );
    }

    #[tokio::test]
    async fn the_mirror_in_redis_is_shown() {
        let server = RedisServer::with_domain().await;
        let mut source = Source::redis(&server.url).await.unwrap();
        shows_the_domain(&mut source).await;
        let nodes = lines(&mut source, Show::Nodes).await;
        let expected =
            format!("{NODE}\t1\t-\t4\t0\t512\t0\tRUST_WASM\t-\t2023-11-14T22:13:20.000Z");
        assert_eq!(nodes, [expected]);
    }

    #[tokio::test]
    async fn the_status_port_shows_the_same_and_cordons() {
        let url = testing::status_port().await;
        let mut source = Source::http(&url).await.unwrap();
        shows_the_domain(&mut source).await;
        let nodes = lines(&mut source, Show::Nodes).await;
        assert!(
            nodes[0].starts_with(&format!("{NODE}\t1\ttrue\t4\t")),
            "{nodes:?}"
        );
    }

    #[tokio::test]
    async fn an_unknown_node_is_an_error_that_names_it() {
        let url = testing::status_port().await;
        let mut source = Source::http(&url).await.unwrap();
        let node = "ffff".to_owned();
        let what = Show::Node(ShowNode::Health { node });
        let error = show(&mut source, &what, NOW).await.unwrap_err();
        assert!(error.to_string().contains("ffff"), "{error}");
    }
}
