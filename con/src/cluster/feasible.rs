//! Whether a domain could run a workflow, as far as its totals tell: pure. Which node it would be
//! is for its ε-ORC to find.

use std::collections::BTreeSet;

use edgeless_types::{Presence, Requirements, workflow::VertexSpec};

use super::Totals;
use crate::store::WorkflowRecord;

/// What a workflow needs, read once for all domains.
pub(super) struct Needs<'a> {
    classes: BTreeSet<&'a str>,
    runtimes: BTreeSet<&'a str>,
    functions: Vec<(&'a str, Requirements)>,
}

impl<'a> Needs<'a> {
    pub(super) fn of(record: &'a WorkflowRecord) -> Self {
        let mut needs = Self {
            classes: BTreeSet::new(),
            runtimes: BTreeSet::new(),
            functions: Vec::new(),
        };
        for vertex in &record.vertices {
            match &vertex.spec {
                VertexSpec::Resource(resource) => {
                    needs.classes.insert(&resource.class_type);
                }
                VertexSpec::Function(function) => {
                    needs.runtimes.insert(&function.function_type);
                    let requirements = Requirements::from_annotations(&function.annotations)
                        .expect("annotations were checked before the workflow was accepted");
                    if requirements != Requirements::default() {
                        needs.functions.push((&function.name, requirements));
                    }
                }
            }
        }
        needs
    }

    /// The first thing that a domain lacks.
    pub(super) fn unmet(&self, totals: &Totals) -> Option<String> {
        let missing = |class: &&&str| !totals.classes.contains(**class);
        if let Some(class) = self.classes.iter().find(missing) {
            return Some(format!("no node provides `{class}`"));
        }
        let missing = |runtime: &&&str| !totals.runtimes.contains(**runtime);
        if let Some(runtime) = self.runtimes.iter().find(missing) {
            return Some(format!("no node has the runtime `{runtime}`"));
        }
        self.functions.iter().find_map(|(name, requirements)| {
            let reason = unmet(requirements, totals)?;
            Some(format!("function `{name}`: {reason}"))
        })
    }
}

fn unmet(requirements: &Requirements, totals: &Totals) -> Option<String> {
    let Requirements {
        label_match_all,
        node_id_match_any,
        resource_match_all,
        tee,
        tpm,
        max_instances: _,
        cpu_millis: _,
        memory_mib: _,
        min_instances: _,
        priority: _,
        label_prefer: _,
        affinity_with: _,
        anti_affinity_with: _,
        spread_by: _,
    } = requirements;
    let missing = |label: &&String| !totals.labels.contains(*label);
    if let Some(label) = label_match_all.iter().find(missing) {
        return Some(format!("no node has the label `{label}`"));
    }
    let there = |id| totals.node_ids.contains(id);
    if !node_id_match_any.is_empty() && !node_id_match_any.iter().any(there) {
        return Some("none of the nodes of `node_id_match_any` is there".to_owned());
    }
    let missing = |id: &&edgeless_types::ProviderId| !totals.providers.contains(id.as_str());
    if let Some(provider) = resource_match_all.iter().find(missing) {
        return Some(format!("there is no provider `{provider}`"));
    }
    if *tee == Presence::Required && totals.num_tee == 0 {
        return Some("no node runs in a trusted execution environment".to_owned());
    }
    (*tpm == Presence::Required && totals.num_tpm == 0)
        .then(|| "no node has a trusted platform module".to_owned())
}

#[cfg(test)]
mod tests {
    use edgeless_types::{CodeDigest, NodeId, workflow::FunctionSpec};
    use uuid::Uuid;

    use super::*;
    use crate::{cluster::simulation::record, store::VertexRecord};

    fn check(annotation: (&str, &str), meet: impl FnOnce(&mut Totals), says: &str) {
        let mut record = record(1, "file-log");
        record.vertices.push(VertexRecord {
            logical_id: edgeless_types::LogicalId::new(Uuid::from_u128(9)),
            spec: VertexSpec::Function(FunctionSpec {
                name: "f".into(),
                class_id: "double".into(),
                function_type: "RUST_WASM".into(),
                version: "1".into(),
                code: CodeDigest::of(b""),
                outputs: BTreeSet::new(),
                annotations: [(annotation.0.to_owned(), annotation.1.to_owned())].into(),
            }),
            outputs: Default::default(),
        });
        let mut totals = Totals {
            classes: ["file-log".to_owned()].into(),
            runtimes: ["RUST_WASM".to_owned()].into(),
            ..Totals::default()
        };
        let needs = Needs::of(&record);
        let reason = needs.unmet(&totals).unwrap();
        assert!(reason.contains(says), "{reason}");
        meet(&mut totals);
        assert_eq!(needs.unmet(&totals), None);
    }

    #[test]
    fn every_requirement_is_missed_and_met() {
        let id = "7d1b8ba2-6d6b-4b0c-8fd5-4b4a7b9e6b64";
        let node_id: NodeId = id.parse().unwrap();
        let insert = |set: &mut BTreeSet<String>, text: &str| {
            set.insert(text.to_owned());
        };
        check(
            ("label_match_all", "a"),
            |totals| insert(&mut totals.labels, "a"),
            "label `a`",
        );
        check(
            ("node_id_match_any", id),
            |totals| {
                totals.node_ids.insert(node_id);
            },
            "node_id_match_any",
        );
        check(
            ("resource_match_all", "p"),
            |totals| insert(&mut totals.providers, "p"),
            "provider `p`",
        );
        check(
            ("tee", "required"),
            |totals| totals.num_tee = 1,
            "trusted execution",
        );
        check(
            ("tpm", "required"),
            |totals| totals.num_tpm = 1,
            "trusted platform",
        );
    }

    #[test]
    fn classes_and_runtimes_are_needed() {
        let record = record(1, "file-log");
        let reason = Needs::of(&record).unmet(&Totals::default()).unwrap();
        assert!(reason.contains("file-log"), "{reason}");
    }
}
