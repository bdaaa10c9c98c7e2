//! The workflow of a service.

use std::collections::BTreeMap;

use edgeless_orders::service::ServiceSpec;
use edgeless_types::{
    resource::order_source,
    scaling::{Policy, ask_for_copies},
    workflow::{Workflow, WorkflowFunction, WorkflowResource},
};

use super::Deployer;
use crate::problem::Refusal;

/// The name of the function in it.
pub(super) const FUNCTION: &str = "function";
/// Policies that take no heed of how long nothing comes.
const HEEDLESS: [&str; 2] = [Policy::Fixed.name(), Policy::Concurrency.name()];

impl Deployer {
    /// The workflow of a service: its function, and what brings it tasks.
    pub(super) fn workflow(&self, name: &str, spec: &ServiceSpec) -> Result<Workflow, Refusal> {
        let url = self.0.url.clone().map_err(Refusal::Conflict)?;
        let Some(class_specification) = spec.class_specification.clone() else {
            return Err(Refusal::fault(
                "/class_specification",
                "the service has no function",
            ));
        };
        let source = WorkflowResource {
            name: "tasks".to_owned(),
            class_type: order_source::CLASS.class_type.to_owned(),
            output_mapping: [(order_source::TASK.to_owned(), FUNCTION.to_owned())].into(),
            configurations: [("service", name), ("url", &url)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        };
        Ok(Workflow {
            name: Some(format!("service {name}")),
            functions: vec![WorkflowFunction {
                name: FUNCTION.to_owned(),
                class_specification,
                output_mapping: BTreeMap::new(),
                annotations: annotations(spec),
            }],
            resources: vec![source],
            annotations: BTreeMap::new(),
        })
    }
}

/// The annotations of the function of a service: its own, and how many copies there are.
fn annotations(spec: &ServiceSpec) -> BTreeMap<String, String> {
    let mut annotations = spec.annotations.clone();
    let may_sleep = spec.min_instances == 0;
    let is_scaled = ask_for_copies(&annotations);
    let policy = annotations.get("scale_policy");
    let heeds = !policy.is_some_and(|policy| HEEDLESS.contains(&policy.trim()));
    // What may sleep would be multiplied as well.
    let most = spec
        .max_instances
        .or((may_sleep && !is_scaled).then_some(1));
    let idle_after = (may_sleep && heeds).then(|| format!("{}ms", spec.idle_after.as_millis()));
    let says = [
        ("min_instances", Some(spec.min_instances.to_string())),
        ("max_instances", most.map(|most| most.to_string())),
        ("idle_after", idle_after),
    ];
    for (key, value) in says {
        annotations.extend(value.map(|value| (key.to_owned(), value)));
    }
    annotations
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_function_has_the_copies_of_its_service_and_sleeps_when_that_may() {
        let check = |more: serde_json::Value, expected: serde_json::Value| {
            let spec: ServiceSpec = serde_json::from_value(more).unwrap();
            assert_eq!(json!(annotations(&spec)), expected);
        };
        let priority = json!({"priority": "7"});
        check(
            json!({"annotations": priority}),
            json!({"priority": "7", "min_instances": "1"}),
        );
        check(
            json!({"min_instances": 0, "idle_after": "30days"}),
            json!({"min_instances": "0", "max_instances": "1", "idle_after": "2592000000ms"}),
        );
        check(
            json!({"min_instances": 0, "max_instances": 5, "idle_after": "1s"}),
            json!({"min_instances": "0", "max_instances": "5", "idle_after": "1000ms"}),
        );
        let target = json!({"target_p99_ms": "5"});
        check(
            json!({"min_instances": 0, "annotations": target, "idle_after": "1s"}),
            json!({"min_instances": "0", "target_p99_ms": "5", "idle_after": "1000ms"}),
        );
        for policy in ["fixed", "concurrency"] {
            let policy = json!({"scale_policy": policy});
            let mut expected = policy.clone();
            expected["min_instances"] = "0".into();
            check(json!({"min_instances": 0, "annotations": policy}), expected);
        }
    }
}
