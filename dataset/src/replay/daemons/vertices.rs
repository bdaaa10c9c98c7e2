//! What is desired of ε-ORC: the functions of a trace, and what brings tasks to them.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_orc::domain::VertexRequest;
use edgeless_types::{
    CodeDigest, WorkflowId,
    resource::order_source,
    workflow::{FunctionSpec, ResourceSpec, VertexSpec},
};
use uuid::Uuid;

use super::{ENTRY, Entry, FUNCTIONS, SOURCES, World, logical_id};

impl World<'_> {
    /// Each function with what brings tasks to it.
    pub(super) fn vertices(&self) -> Vec<VertexRequest> {
        let settings = &self.setup.settings;
        let idle_after = format!("{}ms", settings.idle_after.as_millis());
        let idle_after = (settings.min_instances == 0).then_some(("idle_after", idle_after));
        let annotations = [
            ("scale_policy", settings.policy.name().to_owned()),
            ("min_instances", settings.min_instances.to_string()),
            ("max_instances", settings.max_instances.to_string()),
        ];
        let annotations = annotations.into_iter().chain(idle_after);
        let annotations: BTreeMap<_, _> = annotations
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let (class, channel) = match self.daemons.entry {
            Entry::Orders => (order_source::CLASS.class_type, order_source::TASK),
            Entry::Http => ("http-ingress", ENTRY),
        };
        let passed: BTreeSet<usize> = match self.daemons.entry {
            Entry::Orders => (0..self.trace.functions.len()).collect(),
            Entry::Http => self.trace.contracts.iter().map(|it| it.chain[0]).collect(),
        };
        let both = passed.into_iter().flat_map(|place| {
            let name = &self.trace.functions[place].name;
            let function = FunctionSpec {
                name: name.clone(),
                class_id: name.clone(),
                function_type: "RUST_WASM".to_owned(),
                version: "0.1".to_owned(),
                code: CodeDigest::of(name.as_bytes()),
                outputs: BTreeSet::new(),
                annotations: annotations.clone(),
            };
            let source = ResourceSpec {
                name: format!("tasks of {name}"),
                class_type: class.to_owned(),
                configurations: BTreeMap::new(),
            };
            let target = logical_id(FUNCTIONS, place);
            let vertex = |kind, spec, outputs| VertexRequest {
                logical_id: logical_id(kind, place),
                workflow_id: WorkflowId::new(Uuid::from_u128(1 + place as u128)),
                spec,
                outputs,
            };
            [
                vertex(FUNCTIONS, VertexSpec::Function(function), BTreeMap::new()),
                vertex(
                    SOURCES,
                    VertexSpec::Resource(source),
                    BTreeMap::from([(channel.to_owned(), target)]),
                ),
            ]
        });
        both.collect()
    }
}
