//! Checks a workflow whole, before anything of it starts: pure.
//!
//! Cycles of functions are allowed: a function may send to itself or back along the graph.

mod component;
mod document;
mod domains;
mod graph;
mod module;
mod runtime;
mod strict;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use edgeless_types::{
    CodeDigest, DomainRequirements, Requirements, resource, scaling,
    workflow::{
        CodeSource, FunctionClass, FunctionSpec, OutputMapping, ResourceSpec, VertexSpec, Workflow,
        WorkflowFunction, WorkflowResource,
    },
};

use crate::problem::Fault;
pub use document::{Format, parse, pointer};
pub use runtime::{RUNTIMES, check_code};

/// Vertices of one workflow, each counted as often as it runs at least.
const MAX_VERTICES: usize = 10_000;

/// What is known of code and classes when a workflow is checked.
pub trait Known {
    /// The class of this id and version in the registry.
    fn class(&self, id: &str, version: &str) -> Option<RegisteredClass>;
    /// Whether code of this digest was uploaded.
    fn has_code(&self, digest: CodeDigest) -> bool;
}

/// A class of functions in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredClass {
    /// Its runtime.
    pub function_type: String,
    /// Its code.
    pub code: CodeDigest,
    /// Its output channels.
    pub outputs: BTreeSet<String>,
}

/// A workflow that is right: what is to be started, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// The vertices and where their outputs lead, by name.
    pub vertices: Vec<(VertexSpec, BTreeMap<String, String>)>,
    /// Code that came inline.
    pub code: Vec<(CodeDigest, Bytes)>,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// What its domain must be.
    pub domains: DomainRequirements,
}

/// Checks everything and reports everything that is wrong.
///
/// # Errors
/// All faults, each with the JSON pointer to what is wrong.
pub fn check(workflow: &Workflow, known: &dyn Known) -> Result<Checked, Vec<Fault>> {
    let mut checker = Checker {
        known,
        faults: Vec::new(),
        checked: Checked::default(),
        copies: workflow.resources.len(),
    };
    checker.check_names(workflow);
    let names = all_names(workflow);
    for (index, function) in workflow.functions.iter().enumerate() {
        checker.check_function(&format!("/functions/{index}"), function, &names);
    }
    for (index, resource) in workflow.resources.iter().enumerate() {
        checker.check_resource(&format!("/resources/{index}"), resource, &names);
    }
    checker.check_copies(workflow);
    checker.check_graph(workflow, &names);
    checker.checked.domains = domains::requirements(workflow, &mut checker.faults);
    if checker.faults.is_empty() {
        Ok(checker.checked)
    } else {
        Err(checker.faults)
    }
}

/// How much code a workflow has inline, in bytes of base64.
pub fn inline_bytes(workflow: &Workflow) -> usize {
    let code = |function: &WorkflowFunction| match &function.class_specification.code {
        Some(CodeSource::Base64(text)) => text.len(),
        Some(CodeSource::Uploaded { .. }) | None => 0,
    };
    workflow.functions.iter().map(code).sum()
}

/// Where outputs lead, by id.
pub fn resolve(
    mapping: &BTreeMap<String, String>,
    ids: &BTreeMap<String, edgeless_types::LogicalId>,
) -> OutputMapping {
    let target = |(channel, name): (&String, &String)| Some((channel.clone(), *ids.get(name)?));
    mapping.iter().filter_map(target).collect()
}

fn all_names(workflow: &Workflow) -> BTreeSet<&str> {
    let functions = workflow
        .functions
        .iter()
        .map(|function| function.name.as_str());
    functions
        .chain(
            workflow
                .resources
                .iter()
                .map(|resource| resource.name.as_str()),
        )
        .collect()
}

struct Checker<'a> {
    known: &'a dyn Known,
    faults: Vec<Fault>,
    checked: Checked,
    /// How many copies run at least.
    copies: usize,
}

impl Checker<'_> {
    fn fault(&mut self, pointer: String, detail: impl Into<String>) {
        self.faults.push(Fault::new(pointer, detail));
    }

    fn check_names(&mut self, workflow: &Workflow) {
        if let Some(says) = workflow.name.as_deref().and_then(odd_text) {
            self.fault("/name".to_owned(), format!("the name {says}"));
        }
        let number = workflow.functions.len() + workflow.resources.len();
        if number == 0 {
            self.fault(
                String::new(),
                "the workflow has neither functions nor resources",
            );
        }
        if number > MAX_VERTICES {
            let detail = format!("the workflow has {number} vertices; at most {MAX_VERTICES}");
            self.fault(String::new(), detail);
        }
        let functions = workflow
            .functions
            .iter()
            .map(|function| &function.name)
            .enumerate();
        let resources = workflow
            .resources
            .iter()
            .map(|resource| &resource.name)
            .enumerate();
        let functions = functions.map(|(index, name)| (format!("/functions/{index}/name"), name));
        let resources = resources.map(|(index, name)| (format!("/resources/{index}/name"), name));
        let mut seen = BTreeSet::new();
        for (pointer, name) in functions.chain(resources) {
            if name.trim().is_empty() {
                self.fault(pointer, "the name is empty");
            } else if let Some(says) = odd_text(name) {
                self.fault(pointer, format!("the name {says}"));
            } else if !seen.insert(name) {
                self.fault(pointer, format!("`{name}` names another vertex already"));
            }
        }
    }

    fn check_mapping(
        &mut self,
        pointer: &str,
        mapping: &BTreeMap<String, String>,
        outputs: &BTreeSet<String>,
        names: &BTreeSet<&str>,
    ) {
        for (channel, target) in mapping {
            let place = format!("{pointer}/output_mapping/{}", escape(channel));
            if !outputs.contains(channel) {
                let known = list(outputs.iter().map(String::as_str));
                self.fault(place.clone(), format!("no such output; there are: {known}"));
            }
            if !names.contains(target.as_str()) {
                self.fault(place, format!("leads to `{target}`, which is no vertex"));
            }
        }
    }

    fn check_function(
        &mut self,
        pointer: &str,
        function: &WorkflowFunction,
        names: &BTreeSet<&str>,
    ) {
        match Requirements::from_annotations(&function.annotations) {
            Ok(requirements) => {
                self.copies += requirements.least_instances() as usize;
                self.check_company(pointer, &requirements, names);
                for error in scaling::faults(&function.annotations) {
                    let place = format!("{pointer}/annotations/{}", error.key);
                    self.fault(place, error.problem);
                }
            }
            Err(error) => {
                let place = format!("{pointer}/annotations/{}", escape(&error.key));
                self.fault(place, error.problem);
            }
        }
        self.check_routing(pointer, function);
        let class = &function.class_specification;
        let place = format!("{pointer}/class_specification");
        if !RUNTIMES.contains(&class.function_type.as_str()) {
            let detail = format!(
                "`{}` is no runtime; there are: {}",
                class.function_type,
                list(RUNTIMES)
            );
            self.fault(format!("{place}/function_type"), detail);
            return;
        }
        for (what, text) in [("id", &class.id), ("version", &class.version)] {
            if let Err(says) = check_name(text) {
                self.fault(format!("{place}/{what}"), says);
                return;
            }
        }
        let registered = self.known.class(&class.id, &class.version);
        let code = self.code(&place, class, registered.as_ref());
        let mut outputs: BTreeSet<String> = class.outputs.iter().cloned().collect();
        if outputs.is_empty()
            && let Some(registered) = registered
        {
            outputs = registered.outputs;
        }
        // Without its class nobody knows what outputs the function has.
        let Some(code) = code else { return };
        self.check_mapping(pointer, &function.output_mapping, &outputs, names);
        let spec = VertexSpec::Function(FunctionSpec {
            name: function.name.clone(),
            class_id: class.id.clone(),
            function_type: class.function_type.clone(),
            version: class.version.clone(),
            code,
            outputs,
            annotations: function.annotations.clone(),
        });
        self.checked
            .vertices
            .push((spec, function.output_mapping.clone()));
    }

    /// The code of a function, wherever it comes from.
    fn code(
        &mut self,
        place: &str,
        class: &FunctionClass,
        registered: Option<&RegisteredClass>,
    ) -> Option<CodeDigest> {
        match (&class.code, registered) {
            (Some(CodeSource::Base64(text)), _) => {
                self.inline_code(place, &class.function_type, text)
            }
            (Some(CodeSource::Uploaded { digest }), _) => {
                if self.known.has_code(*digest) {
                    Some(*digest)
                } else {
                    let detail = "no code of this digest was uploaded; POST it to /api/v1/code";
                    self.fault(format!("{place}/code/digest"), detail);
                    None
                }
            }
            (None, Some(registered)) if registered.function_type != class.function_type => {
                let detail = format!(
                    "the registry has `{}` version `{}` as {}",
                    class.id, class.version, registered.function_type
                );
                self.fault(format!("{place}/function_type"), detail);
                None
            }
            (None, Some(registered)) => Some(registered.code),
            (None, None) => {
                let detail = format!(
                    "the registry has no `{}` version `{}`; PUT it to /api/v1/functions/{}/{}, \
                     or give `code`",
                    class.id, class.version, class.id, class.version
                );
                self.fault(format!("{place}/version"), detail);
                None
            }
        }
    }

    fn inline_code(&mut self, place: &str, function_type: &str, text: &str) -> Option<CodeDigest> {
        let pointer = format!("{place}/code");
        let code = match STANDARD.decode(text) {
            Ok(code) => code,
            Err(error) => {
                self.fault(pointer, format!("is not base64: {error}"));
                return None;
            }
        };
        if let Err(problem) = check_code(Some(function_type), &code) {
            self.fault(pointer, problem);
            return None;
        }
        let digest = CodeDigest::of(&code);
        self.checked.code.push((digest, Bytes::from(code)));
        Some(digest)
    }

    fn check_resource(&mut self, pointer: &str, vertex: &WorkflowResource, names: &BTreeSet<&str>) {
        let Some(class) = resource::class(&vertex.class_type) else {
            let known = list(resource::CLASSES.iter().map(|class| class.class_type));
            let detail = format!("`{}` is no class; there are: {known}", vertex.class_type);
            return self.fault(format!("{pointer}/class_type"), detail);
        };
        if let Err(problem) = (class.check)(&vertex.configurations) {
            let place = format!("{pointer}/configurations/{}", escape(&problem.key));
            self.fault(place, problem.problem);
        }
        let outputs = class
            .outputs
            .iter()
            .map(|&output| output.to_owned())
            .collect();
        self.check_mapping(pointer, &vertex.output_mapping, &outputs, names);
        let spec = VertexSpec::Resource(ResourceSpec {
            name: vertex.name.clone(),
            class_type: vertex.class_type.clone(),
            configurations: vertex.configurations.clone(),
        });
        self.checked
            .vertices
            .push((spec, vertex.output_mapping.clone()));
    }
}

/// A key as a part of a JSON pointer (RFC 6901).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The longest name, in characters.
const TEXT: usize = 256;

/// What is odd about a name for people, in words.
fn odd_text(text: &str) -> Option<String> {
    if text.chars().any(char::is_control) {
        return Some("has control characters".to_owned());
    }
    let long = text.chars().count();
    (long > TEXT).then(|| format!("has {long} characters; at most {TEXT}"))
}

/// The longest id or version of a class, in characters.
const NAME: usize = 128;

/// Checks an id or a version of a class of functions.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check_name(text: &str) -> Result<(), String> {
    let plain = |char: char| char.is_alphanumeric() || "._-+:@".contains(char);
    let odd = text.chars().find(|&char| !plain(char));
    match (text.chars().count(), odd) {
        (0, _) => Err("is empty".to_owned()),
        (long, _) if long > NAME => Err(format!("has {long} characters; at most {NAME}")),
        (_, Some(odd)) => Err(format!(
            "`{text}` has {odd:?}; letters, digits and . _ - + : @ are allowed"
        )),
        (_, None) if text.chars().all(|char| char == '.') => {
            Err(format!("`{text}` consists of dots alone"))
        }
        (_, None) => Ok(()),
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
