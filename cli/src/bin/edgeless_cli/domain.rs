//! `edgeless_cli domain …`

use clap::Subcommand;
use serde_json::json;

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
            let mut answer = client.get(&["domains", &id]).await?;
            let domain: Domain = client.view(&answer)?;
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
            domain.mem_size.to_string(),
            domain.workflows.to_string(),
            domain.orchestrator_url.clone(),
        ]
    });
    let header = [
        "DOMAIN",
        "NODES",
        "CORES",
        "MEMORY MIB",
        "WORKFLOWS",
        "ORCHESTRATOR",
    ];
    table(style, header, rows, "no domain is registered")
}

fn tell(domain: &Domain, vertices: &[Vertex], style: Style) -> String {
    let Domain {
        domain_id,
        orchestrator_url,
        nodes,
        cores,
        mem_size,
        workflows,
        ..
    } = domain;
    format!(
        "domain {domain_id} at {orchestrator_url}\n\
         {nodes} nodes, {cores} cores, {mem_size} MiB memory, {workflows} workflows\n\
         labels: {}\nruntimes: {}\nresource classes: {}\n\n{}",
        names(&domain.labels),
        names(&domain.runtimes),
        names(&domain.resource_classes),
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
