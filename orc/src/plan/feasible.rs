//! Whether a node meets every requirement.

use edgeless_types::{Presence, ProviderId, Requirements};

use super::{Needs, NodeView, Wanted};

/// The first requirement that a node does not meet; none: the node is feasible.
pub fn unmet(wanted: Wanted<'_>, node: &NodeView<'_>) -> Option<&'static str> {
    // Every field is named, so that a new requirement cannot be forgotten here.
    let Requirements {
        label_match_all,
        node_id_match_any,
        resource_match_all,
        tee,
        tpm,
        max_instances: _, // Bounds the number of copies, not the choice of a node.
        cpu_millis: _,    // Amounts change with each instance: the fleet counts them.
        memory_mib: _,
        min_instances: _,
        priority: _, // Who comes first, not where.
        // What is preferred excludes nothing: see the fleet.
        label_prefer: _,
        affinity_with: _,
        anti_affinity_with: _,
        spread_by: _,
    } = wanted.requirements;
    if node.closed.is_some() {
        return node.closed;
    }
    match wanted.needs {
        Needs::Runtime(name) => {
            if !node.capabilities.runtimes.iter().any(|it| it == name) {
                return Some("runtime");
            }
        }
        Needs::Class(name) => {
            let mut providers = node.providers.iter();
            if !providers.any(|provider| provider.class_type == name) {
                return Some("resource class");
            }
        }
    }
    if !label_match_all
        .iter()
        .all(|label| node.capabilities.labels.contains(label))
    {
        return Some("label_match_all");
    }
    if !node_id_match_any.is_empty() && !node_id_match_any.contains(&node.node_id) {
        return Some("node_id_match_any");
    }
    let provides = |id: &ProviderId| {
        node.providers
            .iter()
            .any(|provider| provider.provider_id == *id)
    };
    if !resource_match_all.iter().all(provides) {
        return Some("resource_match_all");
    }
    if *tee == Presence::Required && !node.capabilities.is_tee_running {
        return Some("tee");
    }
    (*tpm == Presence::Required && !node.capabilities.has_tpm).then_some("tpm")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use edgeless_types::{NodeCapabilities, NodeId, ProviderId, ResourceProvider};
    use uuid::Uuid;

    use super::*;
    use crate::plan::Ask;

    fn check(annotations: &[(&str, &str)], class: &str, expected: Option<&str>) {
        let annotations: BTreeMap<String, String> = annotations
            .iter()
            .map(|&(key, value)| (key.into(), value.into()))
            .collect();
        let requirements = Requirements::from_annotations(&annotations).unwrap();
        let node_id = NodeId::new(Uuid::from_u128(1));
        let capabilities = NodeCapabilities {
            labels: vec!["zone=a".into(), "big".into()],
            has_tpm: true,
            ..NodeCapabilities::default()
        };
        let providers = [ResourceProvider {
            provider_id: ProviderId::new("p1"),
            class_type: "file-log".into(),
            node_id,
            outputs: vec![],
        }];
        let node = NodeView {
            node_id,
            capabilities: &capabilities,
            providers: &providers,
            health: None,
            instances: 0,
            free: Ask::default(),
            transfer_nanos: 0,
            closed: None,
        };
        let wanted = Wanted {
            needs: Needs::Class(class),
            requirements: &requirements,
        };
        assert_eq!(unmet(wanted, &node), expected, "{annotations:?}");
    }

    #[test]
    fn every_requirement_excludes_what_it_should_and_nothing_else() {
        let other = Uuid::from_u128(2).to_string();
        let this = Uuid::from_u128(1).to_string();
        check(&[], "file-log", None);
        check(&[], "redis", Some("resource class"));
        check(&[("label_match_all", "big,zone=a")], "file-log", None);
        check(
            &[("label_match_all", "big,zone=b")],
            "file-log",
            Some("label_match_all"),
        );
        check(&[("node_id_match_any", &this)], "file-log", None);
        check(
            &[("node_id_match_any", &other)],
            "file-log",
            Some("node_id_match_any"),
        );
        check(&[("resource_match_all", "p1")], "file-log", None);
        check(
            &[("resource_match_all", "p1,p2")],
            "file-log",
            Some("resource_match_all"),
        );
        check(&[("tpm", "required")], "file-log", None);
        check(&[("tee", "required")], "file-log", Some("tee"));
    }
}
