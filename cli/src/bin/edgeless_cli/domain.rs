//! `edgeless_cli domain …`

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::{
    client::Client,
    failure::Failure,
    output::{Output, Style, names, or_dash, table},
    view::{Domain, Vertex},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show all domains
    List,
    /// Show what a domain has and what runs in it
    Inspect {
        /// Its id
        #[arg(value_name = "DOMAIN")]
        id: String,
    },
}

pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        Command::List => {
            let answer = client.get(&["domains"]).await?;
            let domains: Vec<Domain> = client.view(&answer)?;
            output.answer(&answer, |style| tell_list(&domains, style))
        }
        Command::Inspect { id } => {
            let answer = client.get(&["domains", &id]).await?;
            let domain: Domain = client.view(&answer)?;
            let mut answer: Value = client.view(&answer)?;
            let instances = client.get(&["domains", &id, "instances"]).await?;
            let vertices: Vec<Vertex> = client.view(&instances)?;
            answer["instances"] = json!(instances);
            output.answer(&answer, |style| tell(&domain, &vertices, style))
        }
    }
}

fn tell_list(domains: &[Domain], style: Style) -> String {
    let rows = domains.iter().map(|domain| {
        [
            domain.domain_id.clone(),
            domain.nodes.to_string(),
            domain.cores.to_string(),
            of(domain.free_cpu_millis, domain.cpu_millis),
            of(domain.free_memory_mib, domain.memory_mib),
            domain.workflows.to_string(),
            or_dash(Some(&domain.domain_labels.join(", "))),
            domain.orchestrator_url.clone(),
        ]
    });
    let header = [
        "DOMAIN",
        "NODES",
        "CORES",
        "FREE CPU MILLIS",
        "FREE MEMORY MIB",
        "WORKFLOWS",
        "LABELS",
        "ORCHESTRATOR",
    ];
    table(style, header, rows, "no domain is registered")
}

/// So much of so much.
fn of(free: u64, all: u64) -> String {
    format!("{free} of {all}")
}

/// Names and how many nodes have each, the most common first.
fn counts(counts: &BTreeMap<String, u64>) -> String {
    let mut all: Vec<_> = counts.iter().collect();
    all.sort_by_key(|&(_, &number)| std::cmp::Reverse(number));
    let all = all
        .into_iter()
        .map(|(name, number)| format!("{name} ({number})"));
    names(&all.collect::<Vec<_>>())
}

fn tell(domain: &Domain, vertices: &[Vertex], style: Style) -> String {
    let Domain {
        domain_id,
        orchestrator_url,
        nodes,
        cores,
        cpu_millis,
        free_cpu_millis,
        largest_free_cpu_millis,
        memory_mib,
        free_memory_mib,
        largest_free_memory_mib,
        workflows,
        ..
    } = domain;
    format!(
        "domain {domain_id} at {orchestrator_url}\n\
         {nodes} nodes, {cores} cores, {workflows} workflows\n\
         free: {free_cpu_millis} of {cpu_millis} cpu_millis, at most {largest_free_cpu_millis} on one node; \
         {free_memory_mib} of {memory_mib} MiB memory, at most {largest_free_memory_mib} on one node\n\
         labels of the domain: {}\nlabels of nodes: {}\nruntimes: {}\nresource classes: {}\n\n{}",
        names(&domain.domain_labels),
        counts(&domain.labels),
        counts(&domain.runtimes),
        counts(&domain.resource_classes),
        instances(vertices, style),
    )
}

/// A table of vertices and where they run.
pub(crate) fn instances(vertices: &[Vertex], style: Style) -> String {
    let rows = vertices.iter().map(|vertex| {
        let nodes: Vec<_> = vertex
            .instances
            .iter()
            .map(|instance| instance.node_id.as_str())
            .collect();
        [
            vertex.name.clone(),
            vertex.class.clone(),
            vertex.logical_id.clone(),
            vertex.workflow_id.clone(),
            or_dash(Some(&nodes.join(", "))),
            or_dash(vertex.waiting.as_deref()),
        ]
    });
    let header = ["NAME", "CLASS", "LOGICAL ID", "WORKFLOW", "NODES", "WAITS"];
    table(style, header, rows, "nothing runs there")
}
