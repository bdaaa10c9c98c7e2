//! `proxy_cli intent`: asks ε-ORC for something and waits for what becomes of it.

use clap::Subcommand;
use edgeless_daemon::show::{Rows, moment};
use edgeless_types::intent::{Intent, IntentOutcome};
use serde_json::json;

use super::CommandError;
use crate::{domain::Domain, source::Source};

/// What is asked for.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Ask {
    /// Moves a function or resource to a node; `show instances` tells when it runs there
    Migrate {
        /// Its logical id, or the beginning of it
        logical_id: String,
        /// The target's id, or the beginning of it
        node: String,
    },
    /// Places nothing new on a node
    Cordon {
        /// Its id, or the beginning of it
        node: String,
    },
    /// Places nothing new on a node, and moves what is there elsewhere
    Drain {
        /// Its id, or the beginning of it
        node: String,
    },
    /// Ends the cordon or drain of a node
    Uncordon {
        /// Its id, or the beginning of it
        node: String,
    },
    /// Moves instances from the fullest nodes to those that are emptier by a fifth or more
    Rebalance,
    /// What became of intents, newest first
    List,
}

/// Does what is asked; the rows tell the outcomes.
///
/// # Errors
/// Also when ε-ORC refuses the intent.
pub(crate) async fn ask(source: &mut Source, ask: &Ask) -> Result<Rows, CommandError> {
    let intent = match ask {
        Ask::List => return Ok(outcomes(&source.outcomes().await?)),
        Ask::Migrate { logical_id, node } => {
            let domain = Domain::load(source).await?;
            Intent::Migrate {
                logical_id: domain.vertex(logical_id)?,
                node_id: domain.node(node)?,
            }
        }
        Ask::Cordon { node } => Intent::Cordon {
            node_id: Domain::load(source).await?.node(node)?,
        },
        Ask::Drain { node } => Intent::Drain {
            node_id: Domain::load(source).await?.node(node)?,
        },
        Ask::Uncordon { node } => Intent::Uncordon {
            node_id: Domain::load(source).await?.node(node)?,
        },
        Ask::Rebalance => Intent::Rebalance,
    };
    let outcome = source.intent(&intent).await?;
    match outcome.refused {
        Some(reason) => Err(CommandError::Refused(reason)),
        None => Ok(outcomes(&[outcome])),
    }
}

fn outcomes(outcomes: &[IntentOutcome]) -> Rows {
    let mut rows = Rows::new(&["decided", "intent", "value", "outcome", "reason"]);
    for outcome in outcomes {
        let word = match outcome.refused {
            None => "accepted",
            Some(_) => "refused",
        };
        rows.push([
            json!(moment(outcome.timestamp)),
            json!(outcome.key),
            json!(outcome.value),
            json!(word),
            json!(outcome.refused),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, COUNTER, NODE};

    #[tokio::test]
    async fn a_refusal_is_an_error_with_its_reason() {
        let url = testing::status_port().await;
        let mut source = Source::http(&url).await.unwrap();
        let migrate = Ask::Migrate {
            logical_id: COUNTER[..4].to_owned(),
            node: NODE[..4].to_owned(),
        };
        let error = ask(&mut source, &migrate).await.unwrap_err();
        assert_eq!(error.to_string(), "refused: the node is not feasible");
    }

    #[tokio::test]
    async fn a_domain_is_asked_to_rebalance_itself() {
        let url = testing::status_port().await;
        let mut source = Source::http(&url).await.unwrap();
        let error = ask(&mut source, &Ask::Rebalance).await.unwrap_err();
        assert!(error.to_string().starts_with("refused"), "it was asked");
    }

    #[tokio::test]
    async fn nothing_is_asked_of_a_node_that_is_not_there() {
        let url = testing::status_port().await;
        let mut source = Source::http(&url).await.unwrap();
        let node = || "ffff".to_owned();
        for wrong in [Ask::Cordon { node: node() }, Ask::Drain { node: node() }] {
            let error = ask(&mut source, &wrong).await.unwrap_err();
            assert!(matches!(error, CommandError::Prefix(_)), "{error}");
        }
    }
}
