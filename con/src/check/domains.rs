//! What a workflow requires of its domain.

use edgeless_types::{DomainRequirements, RequirementError, workflow::Workflow};

use super::escape;
use crate::problem::Fault;

/// The requirements of the workflow and of its functions together; faults are added.
pub(super) fn requirements(workflow: &Workflow, faults: &mut Vec<Fault>) -> DomainRequirements {
    let functions = workflow.functions.iter().enumerate();
    let of_functions =
        functions.map(|(index, it)| (format!("/functions/{index}"), &it.annotations));
    let all = std::iter::once((String::new(), &workflow.annotations)).chain(of_functions);
    let mut requirements = DomainRequirements::default();
    for (pointer, annotations) in all {
        let read = DomainRequirements::from_annotations(annotations);
        if let Err(RequirementError { key, problem }) =
            read.and_then(|more| requirements.add(&more))
        {
            let place = format!("{pointer}/annotations/{}", escape(&key));
            faults.push(Fault::new(place, problem));
        }
    }
    requirements
}
