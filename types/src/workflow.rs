//! Workflows: named functions and resources wired by output channels.
//!
//! [`Workflow`] is what a client submits (JSON or YAML); [`FunctionSpec`] and [`ResourceSpec`] are
//! what ε-CON hands to an ε-ORC and that to a node: one vertex, with ids in place of names.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{CodeDigest, LogicalId, scaling};

/// A workflow document, exactly as submitted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// A name for people; need not be unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Vertices that compute.
    #[serde(default)]
    pub functions: Vec<WorkflowFunction>,
    /// Vertices that touch the outside world.
    #[serde(default)]
    pub resources: Vec<WorkflowResource>,
    /// About the workflow as a whole; free text.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A vertex that computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowFunction {
    /// Unique among all vertices of the workflow.
    pub name: String,
    /// What it runs.
    pub class_specification: FunctionClass,
    /// Which vertex each output channel leads to, by name. Channels left out lead nowhere.
    #[serde(default)]
    pub output_mapping: BTreeMap<String, String>,
    /// Requirements and `init-payload`, see [`crate::Requirements`].
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What a function runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionClass {
    /// The name of the class, such as `counter`.
    pub id: String,
    /// The runtime, such as `RUST_WASM`.
    pub function_type: String,
    /// The version of the class, such as `0.1`.
    pub version: String,
    /// The code. Absent: the function registry has `id` and `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeSource>,
    /// The output channels the function may cast to. Absent: those the registry knows.
    #[serde(default)]
    pub outputs: Vec<String>,
}

/// Where the code of a function comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "code is a base64 string or an object {\"digest\": \"<sha256>\"}"
)]
pub enum CodeSource {
    /// The code itself, base64.
    Base64(String),
    /// Code that was uploaded before, by its digest.
    Uploaded {
        /// Its SHA-256.
        digest: CodeDigest,
    },
}

/// A vertex that touches the outside world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowResource {
    /// Unique among all vertices of the workflow.
    pub name: String,
    /// The class of the resource, such as `http-ingress`.
    pub class_type: String,
    /// Which vertex each output channel leads to, by name.
    #[serde(default)]
    pub output_mapping: BTreeMap<String, String>,
    /// Settings of the class.
    #[serde(default)]
    pub configurations: BTreeMap<String, String>,
}

/// Which vertex each output channel leads to.
pub type OutputMapping = BTreeMap<String, LogicalId>;

/// A function as ε-CON hands it to an ε-ORC.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FunctionSpec {
    /// The vertex's name in its workflow.
    pub name: String,
    /// The name of the class.
    pub class_id: String,
    /// The runtime.
    pub function_type: String,
    /// The version of the class.
    pub version: String,
    /// The code, by its content.
    pub code: CodeDigest,
    /// The output channels it may cast to.
    pub outputs: BTreeSet<String>,
    /// Requirements and `init-payload`.
    pub annotations: BTreeMap<String, String>,
}

/// A resource as ε-CON hands it to an ε-ORC.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResourceSpec {
    /// The vertex's name in its workflow.
    pub name: String,
    /// The class of the resource.
    pub class_type: String,
    /// Settings of the class.
    pub configurations: BTreeMap<String, String>,
}

/// One vertex of either kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum VertexSpec {
    /// It computes.
    Function(FunctionSpec),
    /// It touches the outside world.
    Resource(ResourceSpec),
}

impl VertexSpec {
    /// Whether it is a function; else it is a resource.
    pub fn is_function(&self) -> bool {
        matches!(self, Self::Function(_))
    }

    /// The vertex's name in its workflow.
    pub fn name(&self) -> &str {
        match self {
            Self::Function(function) => &function.name,
            Self::Resource(resource) => &resource.name,
        }
    }

    /// The function's class or the resource's class type.
    pub fn class(&self) -> &str {
        match self {
            Self::Function(function) => &function.class_id,
            Self::Resource(resource) => &resource.class_type,
        }
    }

    /// Tells apart what single copies are: it is the same for specifications that differ only in how many copies there
    /// are to be ([`scaling::ANNOTATIONS`]). Never 0.
    pub fn copy_fingerprint(&self) -> u64 {
        match self {
            Self::Function(function) if function.says_how_many() => {
                let mut one = function.clone();
                one.annotations
                    .retain(|key, _| !scaling::ANNOTATIONS.contains(&key.as_str()));
                Self::Function(one).fingerprint()
            }
            Self::Function(_) | Self::Resource(_) => self.fingerprint(),
        }
    }

    /// Tells specifications apart: equal ones have the same, in every daemon and every life of it. Never 0.
    pub fn fingerprint(&self) -> u64 {
        let text = serde_json::to_vec(self).expect("specifications have string keys and serialise");
        let digest = CodeDigest::of(&text);
        let first = digest.as_bytes().first_chunk::<8>();
        first.map_or(1, |bytes| u64::from_le_bytes(*bytes).max(1))
    }
}

/// The annotation with the output channels, separated by commas, on which messages are delivered at
/// least once: tracked to the end of their way, and sent again when they are lost.
pub const AT_LEAST_ONCE: &str = "at_least_once";

/// The annotation of a workflow that says what kind of graph it is: `workflow` (the default) or
/// `dataflow`, which has no cycles, and whose parts that are on no way from a receiver to an exporter
/// are left out.
pub const GRAPH: &str = "graph";

/// The annotation with what a function is for in a dataflow: `receiver`, `processor` (the default) or
/// `exporter`.
pub const ROLE: &str = "role";

/// The annotation with the kinds of messages a function takes, such as `metrics+logs`; `any` is the
/// default.
pub const TAKES: &str = "takes";

/// The annotation with the kinds of messages that channels give: `logs` for all of them, or
/// `out=metrics, err=logs`; `any` is the default.
pub const GIVES: &str = "gives";

/// The channels that annotations name for delivery at least once; empty items are kept.
pub fn at_least_once(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let channels = annotations.get(AT_LEAST_ONCE);
    let channels = channels.map(|text| text.split(',').map(|it| it.trim().to_owned()));
    channels.into_iter().flatten().collect()
}

impl FunctionSpec {
    fn says_how_many(&self) -> bool {
        let mut keys = scaling::ANNOTATIONS.iter();
        keys.any(|key| self.annotations.contains_key(*key))
    }

    /// The annotation `init-payload`, handed to the function before its first event.
    pub fn init_payload(&self) -> Option<&str> {
        self.annotations.get("init-payload").map(String::as_str)
    }
}
