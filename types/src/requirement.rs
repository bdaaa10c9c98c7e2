//! Deployment requirements: what a node must offer to run a function or resource.

use std::{collections::BTreeMap, num::NonZeroU32};

use serde::{Deserialize, Serialize};

use crate::{NodeId, ProviderId};

/// Whether a feature of the node is required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Any node will do.
    #[default]
    NotRequired,
    /// Only nodes that have it.
    Required,
}

/// What a node must offer, parsed from the annotations of a function.
///
/// An empty list excludes no node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Requirements {
    /// `label_match_all`: the node has all these labels.
    pub label_match_all: Vec<String>,
    /// `node_id_match_any`: the node is one of these.
    pub node_id_match_any: Vec<NodeId>,
    /// `resource_match_all`: the node has all these resource providers.
    pub resource_match_all: Vec<ProviderId>,
    /// `tee`: functions run in a trusted execution environment.
    pub tee: Presence,
    /// `tpm`: a trusted platform module is present.
    pub tpm: Presence,
    /// `min_instances`: never fewer copies than this are desired, at most 1,000; none: 1. With 0 it starts with one copy,
    /// which goes when it is idle and comes back when somebody wants it.
    pub min_instances: Option<u32>,
    /// `max_instances`: never more running copies than this.
    pub max_instances: Option<NonZeroU32>,
    /// `cpu_millis`: thousandths of a core that each copy has for itself.
    pub cpu_millis: Option<NonZeroU32>,
    /// `memory_mib`: MiB of memory that each copy has for itself.
    pub memory_mib: Option<NonZeroU32>,
    /// `priority`: from -1,000 to 1,000; the higher comes first, and takes the place of lower ones where
    /// there is no other.
    pub priority: i32,
    /// `label_prefer`: nodes that have all these labels come first, then those that lack the last of them,
    /// and so on.
    pub label_prefer: Vec<String>,
    /// `affinity_with`: nodes on which these vertices of the workflow run come first.
    pub affinity_with: Vec<String>,
    /// `anti_affinity_with`: nodes on which these vertices of the workflow run come last.
    pub anti_affinity_with: Vec<String>,
    /// `spread_by`: copies are spread over the values of this label, such as `zone` with the labels
    /// `zone=a` and `zone=b`.
    pub spread_by: Option<String>,
}

/// The most copies that a function may have at least: those who send to it know all of them.
const MOST_COPIES: u32 = 1_000;

/// The least and the greatest priority.
const PRIORITIES: std::ops::RangeInclusive<i32> = -1_000..=1_000;

/// An annotation that cannot be read as the requirement it names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation `{key}`: {problem}")]
pub struct RequirementError {
    /// The annotation.
    pub key: String,
    /// What is wrong with its value.
    pub problem: String,
}

/// Annotations that are read elsewhere than here.
const OTHER_ANNOTATIONS: [&str; 15] = [
    "init-payload",
    "scale_policy",
    "target_p99_ms",
    "target_utilisation",
    "idle_after",
    crate::workflow::AT_LEAST_ONCE,
    crate::delivery::ACK,
    crate::delivery::DEADLINE_MS,
    crate::DOMAIN_LABEL_MATCH_ALL,
    crate::DOMAIN_MATCH_ANY,
    crate::workflow::GIVES,
    crate::workflow::ROLE,
    crate::workflow::TAKES,
    crate::routing::ROUTING,
    crate::routing::SHARD,
];

impl Requirements {
    /// Reads the requirements among `annotations`. Lists are separated by commas; `tee` and
    /// `tpm` are `required` or `not-required`.
    ///
    /// # Errors
    /// A value that does not parse, an empty list, or a key that is no annotation of ours and
    /// does not start with `x-` (those are free).
    pub fn from_annotations(
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, RequirementError> {
        let mut requirements = Self::default();
        for (key, value) in annotations {
            let error = |problem: String| RequirementError {
                key: key.clone(),
                problem,
            };
            match key.as_str() {
                "label_match_all" => requirements.label_match_all = list(value).map_err(error)?,
                "node_id_match_any" => {
                    requirements.node_id_match_any = list(value)
                        .and_then(|ids| ids.iter().map(|id| node_id(id)).collect())
                        .map_err(error)?;
                }
                "resource_match_all" => {
                    requirements.resource_match_all = list(value)
                        .map(|ids| ids.into_iter().map(ProviderId::new).collect())
                        .map_err(error)?;
                }
                "tee" => requirements.tee = presence(value).map_err(error)?,
                "tpm" => requirements.tpm = presence(value).map_err(error)?,
                "min_instances" => {
                    requirements.min_instances = Some(least(value).map_err(error)?);
                }
                "max_instances" => {
                    requirements.max_instances = Some(most(value).map_err(error)?);
                }
                "cpu_millis" => requirements.cpu_millis = Some(number(value).map_err(error)?),
                "memory_mib" => requirements.memory_mib = Some(number(value).map_err(error)?),
                "priority" => requirements.priority = priority(value).map_err(error)?,
                "label_prefer" => requirements.label_prefer = list(value).map_err(error)?,
                "affinity_with" => requirements.affinity_with = list(value).map_err(error)?,
                "anti_affinity_with" => {
                    requirements.anti_affinity_with = list(value).map_err(error)?;
                }
                "spread_by" => requirements.spread_by = Some(label_name(value).map_err(error)?),
                other if other.starts_with("x-") || OTHER_ANNOTATIONS.contains(&other) => {}
                _ => {
                    return Err(error(
                        "unknown; free annotations start with `x-`".to_owned(),
                    ));
                }
            }
        }
        if let (Some(least), Some(most)) = (requirements.min_instances, requirements.max_instances)
            && least > most.get()
        {
            return Err(RequirementError {
                key: "min_instances".to_owned(),
                problem: format!("{least} is more than `max_instances`, which is {most}"),
            });
        }
        Ok(requirements)
    }

    /// How many copies are desired at the start, when nobody asks for more; at least 1.
    pub fn least_instances(&self) -> u32 {
        self.min_instances.unwrap_or(1).max(1)
    }

    /// Whether it may be without any copy while nobody wants it.
    pub fn may_sleep(&self) -> bool {
        self.min_instances == Some(0)
    }
}

pub(crate) fn list(value: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = value
        .split(',')
        .map(|item| item.trim().to_owned())
        .collect();
    if items.iter().any(String::is_empty) {
        return Err(format!("`{value}` has an empty item; write `a,b,c`"));
    }
    Ok(items)
}

fn number(value: &str) -> Result<NonZeroU32, String> {
    let number = value.trim().parse();
    number.map_err(|_| format!("`{value}` is not a whole number of at least 1"))
}

fn least(value: &str) -> Result<u32, String> {
    let least = value.trim().parse::<u32>().ok();
    let least = least.filter(|it| *it <= MOST_COPIES);
    least.ok_or_else(|| format!("`{value}` is not a whole number from 0 to {MOST_COPIES}"))
}

fn most(value: &str) -> Result<NonZeroU32, String> {
    let most = value.trim().parse::<NonZeroU32>().ok();
    let most = most.filter(|it| it.get() <= MOST_COPIES);
    most.ok_or_else(|| format!("`{value}` is not a whole number from 1 to {MOST_COPIES}"))
}

fn priority(value: &str) -> Result<i32, String> {
    let number = value.trim().parse().ok();
    number
        .filter(|it| PRIORITIES.contains(it))
        .ok_or_else(|| format!("`{value}` is not a whole number from -1000 to 1000"))
}

fn label_name(value: &str) -> Result<String, String> {
    let name = value.trim();
    if name.is_empty() || name.contains(['=', ',']) {
        return Err(format!(
            "`{value}` is not the name of a label, such as `zone` of `zone=a`"
        ));
    }
    Ok(name.to_owned())
}

fn node_id(text: &str) -> Result<NodeId, String> {
    text.parse().map_err(|_| format!("`{text}` is not a UUID"))
}

fn presence(value: &str) -> Result<Presence, String> {
    match value.trim() {
        "required" => Ok(Presence::Required),
        "not-required" => Ok(Presence::NotRequired),
        other => Err(format!(
            "`{other}` is neither `required` nor `not-required`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Requirements, RequirementError> {
        let annotations = pairs
            .iter()
            .map(|&(key, value)| (key.into(), value.into()))
            .collect();
        Requirements::from_annotations(&annotations)
    }

    #[test]
    fn annotations_become_requirements() {
        let read = parse(&[
            ("label_match_all", "a, b"),
            ("tee", "required"),
            ("max_instances", "2"),
            ("init-payload", "anything"),
            ("x-note", "free"),
        ]);
        let read = read.unwrap();
        assert_eq!(read.label_match_all, ["a", "b"]);
        assert_eq!(read.tee, Presence::Required);
        assert_eq!(read.tpm, Presence::NotRequired);
        assert_eq!(read.max_instances.map(NonZeroU32::get), Some(2));
    }

    #[test]
    fn malformed_annotations_are_errors_that_name_the_key() {
        for (key, value) in [
            ("label_match_all", ""),
            ("label_match_all", "a,,b"),
            ("node_id_match_any", "not-a-uuid"),
            ("tee", "yes"),
            ("tpm", ""),
            ("max_instances", "0"),
            ("max_instances", "1001"),
            ("max_instances", "-1"),
            ("min_instances", "-1"),
            ("min_instances", "1001"),
            ("priority", "1001"),
            ("priority", "high"),
            ("spread_by", "zone=a"),
            ("affinity_with", ""),
            ("lable_match_all", "a"),
        ] {
            assert_eq!(
                parse(&[(key, value)]).unwrap_err().key,
                key,
                "{key}={value}"
            );
        }
    }
}
