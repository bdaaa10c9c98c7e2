//! What a workflow document says about its graph, as the compiler of graphs takes it.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_dataflow::graph::{Compiled, Kinds, Output, Problem, Role, Shape, Vertex, compile};
use edgeless_types::{
    Requirements, delivery, routing,
    workflow::{
        AT_LEAST_ONCE, GIVES, GRAPH, ROLE, TAKES, Workflow, WorkflowFunction, at_least_once,
    },
};

use super::{Checker, MAX_VERTICES, escape};
use crate::problem::Fault;

type Annotations = BTreeMap<String, String>;

/// What is left of a workflow, and why the rest is left out.
#[derive(Debug, Default)]
struct Kept {
    /// The names of vertices that are left out.
    removed: Vec<String>,
    /// What there is to say about it.
    notes: Vec<String>,
}

impl Checker<'_> {
    /// Whom a function prefers to be with, or without.
    pub(super) fn check_company(
        &mut self,
        pointer: &str,
        requirements: &Requirements,
        names: &BTreeSet<&str>,
    ) {
        let (with, without) = (
            &requirements.affinity_with,
            &requirements.anti_affinity_with,
        );
        for (key, company) in [("affinity_with", with), ("anti_affinity_with", without)] {
            for name in company.iter().filter(|name| !names.contains(name.as_str())) {
                let place = format!("{pointer}/annotations/{key}");
                self.fault(place, format!("`{name}` is no vertex of the workflow"));
            }
        }
        for name in without.iter().filter(|name| with.contains(name)) {
            let place = format!("{pointer}/annotations/anti_affinity_with");
            self.fault(place, format!("`{name}` is in `affinity_with` as well"));
        }
    }

    /// No more copies run at least than one workflow may have vertices.
    pub(super) fn check_copies(&mut self, workflow: &Workflow) {
        let (vertices, copies) = (
            workflow.functions.len() + workflow.resources.len(),
            self.copies,
        );
        if vertices <= MAX_VERTICES && copies > MAX_VERTICES {
            let detail = format!(
                "the workflow has {copies} vertices, counted with their `min_instances`; at most {MAX_VERTICES}"
            );
            self.fault(String::new(), detail);
        }
    }

    /// The graph as a whole, once it is known that its channels lead to vertices.
    pub(super) fn check_graph(&mut self, workflow: &Workflow, names: &BTreeSet<&str>) {
        let functions = workflow.functions.iter().map(|it| &it.output_mapping);
        let resources = workflow.resources.iter().map(|it| &it.output_mapping);
        let mut targets = functions.chain(resources).flat_map(BTreeMap::values);
        if !targets.all(|target| names.contains(target.as_str())) {
            return;
        }
        match check(workflow) {
            Ok(kept) => {
                let is_kept = |name: &str| !kept.removed.iter().any(|it| it == name);
                let vertices = &mut self.checked.vertices;
                vertices.retain(|(spec, _)| is_kept(spec.name()));
                self.checked.notes = kept.notes;
            }
            Err(mut faults) => self.faults.append(&mut faults),
        }
    }

    /// The annotations about channels and the shard.
    pub(super) fn check_routing(&mut self, pointer: &str, function: &WorkflowFunction) {
        for channel in at_least_once(&function.annotations) {
            if !function.output_mapping.contains_key(&channel) {
                let place = format!("{pointer}/annotations/{AT_LEAST_ONCE}");
                self.fault(place, format!("`{channel}` is not in the output_mapping"));
            }
        }
        let annotations = &function.annotations;
        let place = |name: &str| format!("{pointer}/annotations/{name}");
        match delivery::ack_policy(annotations) {
            Err(problem) => self.fault(place(delivery::ACK), problem),
            Ok(_) if !annotations.contains_key(delivery::ACK) => {}
            Ok(_) if annotations.contains_key(AT_LEAST_ONCE) => {}
            Ok(_) => {
                let problem =
                    format!("says something of channels that `{AT_LEAST_ONCE}` names; add it");
                self.fault(place(delivery::ACK), problem);
            }
        }
        if let Err(problem) = delivery::deadline(annotations) {
            self.fault(place(delivery::DEADLINE_MS), problem);
        }
        if let Err(problem) = routing::shard(annotations) {
            self.fault(place(routing::SHARD), problem);
        }
        match routing::routing(annotations) {
            Err(problem) => self.fault(place(routing::ROUTING), problem),
            Ok(channels) => {
                let mapped = |channel: &&String| !function.output_mapping.contains_key(*channel);
                for channel in channels.keys().filter(mapped) {
                    let detail = format!("`{channel}` is not in the output_mapping");
                    self.fault(place(routing::ROUTING), detail);
                }
            }
        }
    }
}

/// Compiles the graph of a workflow whose names and mappings are right.
fn check(workflow: &Workflow) -> Result<Kept, Vec<Fault>> {
    let mut faults = Vec::new();
    let shape = shape(workflow, &mut faults);
    let vertices = vertices(workflow, &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let pointer = |at: usize| match at.checked_sub(workflow.functions.len()) {
        None => format!("/functions/{at}"),
        Some(at) => format!("/resources/{at}"),
    };
    let fault = |problem: Problem| {
        let place = match &problem {
            Problem::Port {
                vertex, channel, ..
            } => format!("{}/output_mapping/{}", pointer(*vertex), escape(channel)),
            Problem::Cycle(_) | Problem::TrackedCycle(_) => "/functions".to_owned(),
            Problem::Nothing => String::new(),
        };
        Fault::new(place, problem.to_string())
    };
    let compiled = compile(&vertices, shape);
    let Compiled { removed, .. } =
        compiled.map_err(|problems| problems.into_iter().map(fault).collect::<Vec<_>>())?;
    let name = |at: usize| vertices[at].name.clone();
    let note = |&(at, why)| format!("`{}` is left out: {why}", name(at));
    Ok(Kept {
        notes: removed.iter().map(note).collect(),
        removed: removed.iter().map(|&(at, _)| name(at)).collect(),
    })
}

fn shape(workflow: &Workflow, faults: &mut Vec<Fault>) -> Shape {
    match workflow.annotations.get(GRAPH).map(String::as_str) {
        None | Some("workflow") => Shape::Workflow,
        Some("dataflow") => Shape::Dataflow,
        Some(other) => {
            let detail = format!("`{other}` is neither `workflow` nor `dataflow`");
            faults.push(Fault::new(format!("/annotations/{GRAPH}"), detail));
            Shape::Workflow
        }
    }
}

fn vertices(workflow: &Workflow, faults: &mut Vec<Fault>) -> Vec<Vertex> {
    let functions = workflow.functions.iter().map(|it| it.name.as_str());
    let resources = workflow.resources.iter().map(|it| it.name.as_str());
    let places = functions.chain(resources).zip(0..);
    let places: BTreeMap<&str, usize> = places.collect();
    let mut vertices = Vec::new();
    for (index, function) in workflow.functions.iter().enumerate() {
        let pointer = format!("/functions/{index}");
        vertices.push(function_vertex(&pointer, function, &places, faults));
    }
    for resource in &workflow.resources {
        let outputs = resource.output_mapping.iter();
        let output = |(channel, to): (&String, &String)| Output {
            channel: channel.clone(),
            gives: Kinds::ANY,
            tracked: false,
            to: places[to.as_str()],
        };
        vertices.push(Vertex {
            name: resource.name.clone(),
            // What comes from outside begins here; what goes outside ends here.
            role: match resource.output_mapping.is_empty() {
                true => Role::Exporter,
                false => Role::Receiver,
            },
            takes: Kinds::ANY,
            outputs: outputs.map(output).collect(),
        });
    }
    vertices
}

fn function_vertex(
    pointer: &str,
    function: &WorkflowFunction,
    places: &BTreeMap<&str, usize>,
    faults: &mut Vec<Fault>,
) -> Vertex {
    let annotations = &function.annotations;
    let mut fault = |key: &str, detail: String| {
        faults.push(Fault::new(format!("{pointer}/annotations/{key}"), detail));
    };
    let takes = annotations
        .get(TAKES)
        .map_or(Ok(Kinds::ANY), |it| it.parse());
    let takes = takes.unwrap_or_else(|detail| {
        fault(TAKES, detail);
        Kinds::ANY
    });
    let gives = gives(annotations).unwrap_or_else(|detail| {
        fault(GIVES, detail);
        BTreeMap::new()
    });
    let unmapped = |it: &&String| !it.is_empty() && !function.output_mapping.contains_key(*it);
    for channel in gives.keys().filter(unmapped) {
        fault(GIVES, format!("`{channel}` is not in the output_mapping"));
    }
    let role = match annotations.get(ROLE).map(String::as_str) {
        None | Some("processor") => Role::Processor,
        Some("receiver") => Role::Receiver,
        Some("exporter") => Role::Exporter,
        Some(other) => {
            let detail = format!("`{other}` is none of `receiver`, `processor` and `exporter`");
            fault(ROLE, detail);
            Role::Processor
        }
    };
    let tracked = at_least_once(annotations);
    let output = |(channel, to): (&String, &String)| Output {
        channel: channel.clone(),
        gives: *gives
            .get(channel)
            .or_else(|| gives.get(""))
            .unwrap_or(&Kinds::ANY),
        tracked: tracked.contains(channel),
        to: places[to.as_str()],
    };
    Vertex {
        name: function.name.clone(),
        role,
        takes,
        outputs: function.output_mapping.iter().map(output).collect(),
    }
}

/// What channels give: `metrics+logs` for all (under the empty name), or `out=metrics, err=logs`.
fn gives(annotations: &Annotations) -> Result<BTreeMap<String, Kinds>, String> {
    let items = annotations.get(GIVES).map(|text| text.split(','));
    let mut channels = BTreeMap::new();
    for item in items.into_iter().flatten() {
        let (channel, kinds) = item.split_once('=').unwrap_or(("", item));
        let channel = channel.trim();
        let before = channels.insert(channel.to_owned(), kinds.trim().parse()?);
        if before.is_some() {
            return Err(match channel {
                "" => "says twice what all channels give; kinds are joined by `+`".to_owned(),
                _ => format!("`{channel}` stands there twice; kinds are joined by `+`"),
            });
        }
    }
    Ok(channels)
}

#[cfg(test)]
mod tests;
