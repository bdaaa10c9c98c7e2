//! Intents: what operators and delegated orchestrators ask of an ε-ORC.
//!
//! In Redis an intent is a key that names what to do and to whom, announced by its key in the list
//! `intents`, processed in order. Over HTTP the same key and value are posted.

use serde::{Deserialize, Serialize};

use crate::{LogicalId, NodeId, Timestamp};

/// The Redis list in which the keys of new intents are announced (`RPUSH`).
pub const ANNOUNCEMENTS: &str = "intents";

/// Where refusals can be read: a Redis list of JSON [`IntentOutcome`]s, newest first, bounded.
pub const OUTCOMES: &str = "intent_outcomes";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Intent {
    /// Move the instances of a vertex to a node: `intent:migrate:<lid>` = node id.
    Migrate {
        /// What moves.
        logical_id: LogicalId,
        /// Where it goes.
        node_id: NodeId,
    },
    /// Place nothing new on a node: `intent:cordon:<node>`, value ignored.
    Cordon {
        /// The node.
        node_id: NodeId,
    },
    /// The same, and everything that is there goes elsewhere: `intent:drain:<node>`, value ignored.
    Drain {
        /// The node.
        node_id: NodeId,
    },
    /// Move instances from the fullest nodes to the emptiest, where that pays: `intent:rebalance:domain`,
    /// value ignored.
    Rebalance,
    /// End of cordon and drain, and of the rest of a node that came and went too often:
    /// `intent:uncordon:<node>`, value ignored.
    Uncordon {
        /// The node.
        node_id: NodeId,
    },
}

/// A key or value that is no intent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntentError {
    /// The key has none of the known forms.
    #[error(
        "`{0}` is none of intent:migrate:<lid>, intent:cordon:<node>, intent:drain:<node>, intent:uncordon:<node>, intent:rebalance:domain"
    )]
    Key(String),
    /// An id in key or value is not a UUID.
    #[error("`{text}` in `{key}` is not a UUID")]
    Id {
        /// The intent's key.
        key: String,
        /// What should have been a UUID.
        text: String,
    },
    /// An announced key has no value.
    #[error("`{0}` was announced but has no value; it needs the id of the target node")]
    Missing(String),
}

impl Intent {
    /// Reads an intent from its key and value.
    ///
    /// # Errors
    /// An unknown key, an id that is not a UUID, or a migration without its target.
    pub fn parse(key: &str, value: Option<&str>) -> Result<Self, IntentError> {
        let unknown = || IntentError::Key(key.to_owned());
        let (verb, id) = key
            .strip_prefix("intent:")
            .and_then(|rest| rest.split_once(':'))
            .ok_or_else(unknown)?;
        let bad = |text: &str| IntentError::Id {
            key: key.to_owned(),
            text: text.to_owned(),
        };
        let node_id = |text: &str| text.trim().parse::<NodeId>().map_err(|_| bad(text));
        match verb {
            "migrate" => Ok(Self::Migrate {
                logical_id: id.parse().map_err(|_| bad(id))?,
                node_id: node_id(value.ok_or_else(|| IntentError::Missing(key.to_owned()))?)?,
            }),
            "cordon" => Ok(Self::Cordon {
                node_id: node_id(id)?,
            }),
            "rebalance" if id == "domain" => Ok(Self::Rebalance),
            "drain" => Ok(Self::Drain {
                node_id: node_id(id)?,
            }),
            "uncordon" => Ok(Self::Uncordon {
                node_id: node_id(id)?,
            }),
            _ => Err(unknown()),
        }
    }

    /// The key of the intent in Redis.
    pub fn key(&self) -> String {
        match self {
            Self::Migrate { logical_id, .. } => format!("intent:migrate:{logical_id}"),
            Self::Cordon { node_id } => format!("intent:cordon:{node_id}"),
            Self::Rebalance => "intent:rebalance:domain".to_owned(),
            Self::Drain { node_id } => format!("intent:drain:{node_id}"),
            Self::Uncordon { node_id } => format!("intent:uncordon:{node_id}"),
        }
    }

    /// The value of the key in Redis.
    pub fn value(&self) -> String {
        match self {
            Self::Migrate { node_id, .. } => node_id.to_string(),
            Self::Cordon { .. } | Self::Drain { .. } | Self::Rebalance | Self::Uncordon { .. } => {
                String::new()
            }
        }
    }
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentOutcome {
    /// The key as announced.
    pub key: String,
    /// The value as found.
    pub value: Option<String>,
    /// When it was decided.
    pub timestamp: Timestamp,
    /// Absent: carried out. Present: refused, and why.
    pub refused: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b6f2e62-4a0e-4a2c-8f6e-2f0f6d6b7a11";

    #[test]
    fn keys_and_values_round_trip() {
        for (key, value) in [
            (format!("intent:migrate:{ID}"), ID),
            (format!("intent:cordon:{ID}"), ""),
            (format!("intent:drain:{ID}"), ""),
            (format!("intent:uncordon:{ID}"), ""),
        ] {
            let intent = Intent::parse(&key, Some(value)).unwrap();
            assert_eq!((intent.key(), intent.value()), (key, value.to_owned()));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (key, value) in [
            ("intent:fly:x", None),
            ("migrate", None),
            ("intent:cordon:nobody", None),
            (&format!("intent:migrate:{ID}"), None),
            (&format!("intent:migrate:{ID}"), Some("nowhere")),
        ] {
            assert!(Intent::parse(key, value).is_err(), "{key}");
        }
    }
}
