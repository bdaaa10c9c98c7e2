//! The workflow of a service.

use std::collections::BTreeMap;

use edgeless_orders::service::ServiceSpec;
use edgeless_types::{
    resource::order_source,
    workflow::{Workflow, WorkflowFunction, WorkflowResource},
};

use super::Deployer;
use crate::problem::Refusal;

/// The name of the function in it.
pub(super) const FUNCTION: &str = "function";

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
        let mut annotations = spec.annotations.clone();
        if spec.min_instances > 0 {
            annotations.insert("min_instances".to_owned(), spec.min_instances.to_string());
        }
        if let Some(most) = spec.max_instances {
            annotations.insert("max_instances".to_owned(), most.to_string());
        }
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
                annotations,
            }],
            resources: vec![source],
            annotations: BTreeMap::new(),
        })
    }
}
