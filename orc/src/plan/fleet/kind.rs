//! What vertices want of their nodes, but for amounts: those that want the same are of one kind.

use edgeless_types::{Requirements, workflow::VertexSpec};

use crate::plan::{Needs, Wanted};

/// What is wanted of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub(super) needs: Needs<String>,
    pub(super) requirements: Requirements,
}

/// Where a kind is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindId(pub(super) usize);

impl Kind {
    /// The kind of a vertex.
    pub fn of(spec: &VertexSpec, requirements: &Requirements) -> Self {
        let needs = match spec {
            VertexSpec::Function(function) => Needs::Runtime(function.function_type.clone()),
            VertexSpec::Resource(resource) => Needs::Class(resource.class_type.clone()),
        };
        let mut requirements = requirements.clone();
        // What does not choose the node makes no other kind.
        requirements.max_instances = None;
        requirements.cpu_millis = None;
        requirements.memory_mib = None;
        requirements.min_instances = None;
        requirements.priority = 0;
        requirements.label_prefer.clear();
        requirements.affinity_with.clear();
        requirements.anti_affinity_with.clear();
        requirements.spread_by = None;
        requirements.label_match_all.sort_unstable();
        requirements.label_match_all.dedup();
        requirements.node_id_match_any.sort_unstable();
        requirements.resource_match_all.sort_unstable();
        Self {
            needs,
            requirements,
        }
    }

    /// The same, but of nodes with these labels as well.
    #[must_use]
    pub fn narrowed(&self, labels: &[String]) -> Self {
        let mut kind = self.clone();
        let all = &mut kind.requirements.label_match_all;
        all.extend(labels.iter().cloned());
        all.sort_unstable();
        all.dedup();
        kind
    }

    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            needs: self.needs.as_ref(),
            requirements: &self.requirements,
        }
    }
}
