//! The state of a domain as a source tells it, and finding things in it by a unique prefix.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    str::FromStr,
};

use edgeless_types::{
    LogicalId, NodeCapabilities, NodeId, ResourceProvider, Timestamp, WorkflowId,
    mirror::{self, ActiveInstance, Bottleneck, DependencyTable, HealthMember},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::source::{Source, SourceError, read};

/// What a domain has.
#[derive(Debug, Default)]
pub(crate) struct Domain {
    pub(crate) nodes: BTreeMap<NodeId, NodeCapabilities>,
    pub(crate) instances: BTreeMap<LogicalId, ActiveInstance>,
    pub(crate) dependencies: DependencyTable,
    pub(crate) providers: Vec<ResourceProvider>,
    /// What limits each workflow with traffic.
    pub(crate) bottlenecks: BTreeMap<WorkflowId, Bottleneck>,
    /// Nothing where the source does not know.
    pub(crate) cordoned: Option<BTreeSet<NodeId>>,
    /// The latest report of each node.
    pub(crate) health: BTreeMap<NodeId, HealthMember>,
}

/// No or no single thing is meant by a prefix.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrefixError {
    #[error("no {what} begins with `{prefix}`; see `proxy_cli show {see}`")]
    None {
        what: &'static str,
        see: &'static str,
        prefix: String,
    },
    #[error("`{prefix}` may be each of {matches}; give more of the id")]
    Several { prefix: String, matches: String },
}

impl Domain {
    /// Reads all but health.
    pub(crate) async fn load(source: &mut Source) -> Result<Self, SourceError> {
        let providers = source.state("provider:").await?;
        Ok(Self {
            nodes: by_id(source, "nodes:capabilities:").await?,
            instances: by_id(source, "instance:").await?,
            dependencies: by_id(source, "dependency:").await?,
            bottlenecks: by_id(source, "bottleneck:").await?,
            providers: providers
                .into_iter()
                .filter(|(key, _)| key != mirror::PROVIDER_LAST_UPDATE)
                .map(|(key, value)| read(&key, value))
                .collect::<Result<_, _>>()?,
            cordoned: source.cordoned().await?.map(BTreeSet::from_iter),
            health: BTreeMap::new(),
        })
    }

    /// Adds the latest report of each node since a moment.
    pub(crate) async fn load_health(
        &mut self,
        source: &mut Source,
        since: Timestamp,
    ) -> Result<(), SourceError> {
        let keys: Vec<String> = self.nodes.keys().copied().map(mirror::health_key).collect();
        let sets = source.samples(&keys, since).await?;
        for ((&node_id, key), set) in self.nodes.keys().zip(&keys).zip(sets) {
            if let Some(newest) = set.last() {
                self.health.insert(node_id, health(key, newest)?);
            }
        }
        Ok(())
    }

    /// The node that a prefix of its id means.
    pub(crate) fn node(&self, prefix: &str) -> Result<NodeId, PrefixError> {
        unique(prefix, self.nodes.keys().copied(), "node", "nodes")
    }

    /// The vertex that a prefix of its id means.
    pub(crate) fn vertex(&self, prefix: &str) -> Result<LogicalId, PrefixError> {
        let ids = self.instances.keys().copied();
        unique(prefix, ids, "vertex", "instances")
    }

    /// The name of a vertex in its workflow.
    pub(crate) fn name(&self, logical_id: LogicalId) -> Option<&str> {
        let active = self.instances.get(&logical_id)?;
        Some(active.spec.name())
    }
}

/// An element of a node's health set.
pub(crate) fn health(key: &str, member: &str) -> Result<HealthMember, SourceError> {
    let value: Value = serde_json::from_str(member).unwrap_or_default();
    read(key, value)
}

async fn by_id<K, V>(source: &mut Source, prefix: &str) -> Result<BTreeMap<K, V>, SourceError>
where
    K: FromStr + Ord,
    V: DeserializeOwned,
{
    let state = source.state(prefix).await?;
    let entry = |(key, value): (String, Value)| {
        // `last_update` and what others may have put there are no ids.
        let id = key[prefix.len()..].parse().ok()?;
        Some(read(&key, value).map(|value| (id, value)))
    };
    state.into_iter().filter_map(entry).collect()
}

fn unique<T: Display + Copy>(
    prefix: &str,
    ids: impl Iterator<Item = T>,
    what: &'static str,
    see: &'static str,
) -> Result<T, PrefixError> {
    let wanted = prefix.trim().to_ascii_lowercase();
    let matches: Vec<T> = ids
        .filter(|id| id.to_string().starts_with(&wanted))
        .collect();
    match matches[..] {
        [only] => Ok(only),
        [] => Err(PrefixError::None {
            what,
            see,
            prefix: prefix.to_owned(),
        }),
        [..] => {
            let mut names: Vec<String> = matches.iter().take(4).map(T::to_string).collect();
            if matches.len() > names.len() {
                names.push("…".to_owned());
            }
            Err(PrefixError::Several {
                prefix: prefix.to_owned(),
                matches: names.join(", "),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "0b6f2e62-4a0e-4a2c-8f6e-2f0f6d6b7a11";
    const SECOND: &str = "0b7f2e62-4a0e-4a2c-8f6e-2f0f6d6b7a11";

    #[test]
    fn a_unique_prefix_is_enough() {
        let mut domain = Domain::default();
        for id in [FIRST, SECOND] {
            let capabilities = NodeCapabilities::default();
            domain.nodes.insert(id.parse().unwrap(), capabilities);
        }
        assert_eq!(domain.node("0B6").unwrap().to_string(), FIRST);
        assert_eq!(domain.node(SECOND).unwrap().to_string(), SECOND);
        let several = domain.node("0b").unwrap_err().to_string();
        assert!(several.contains(FIRST) && several.contains(SECOND));
        let none = domain.node("ff").unwrap_err().to_string();
        assert!(none.contains("show nodes"), "{none}");
    }
}
