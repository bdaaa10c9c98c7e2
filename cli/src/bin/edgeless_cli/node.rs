//! `edgeless_cli node …`

use clap::Subcommand;
use edgeless_types::NodeId;
use serde_json::{Value, json};

use crate::{
    client::Client,
    domain::instances,
    failure::Failure,
    output::{Output, Style, names, table},
    view::{Domain, Node, Vertex},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the nodes of all domains
    List {
        /// Only those of this domain
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
    },
    /// Show what a node has and what runs on it
    Inspect {
        /// Its id
        #[arg(value_name = "NODE")]
        id: NodeId,
    },
}

pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        Command::List { domain } => list(domain, client, output).await,
        Command::Inspect { id } => inspect(id, client, output).await,
    }
}

async fn list(domain: Option<String>, client: &Client, output: &Output) -> Result<(), Failure> {
    let domains = match domain {
        Some(domain) => vec![domain],
        None => domain_ids(client).await?,
    };
    let mut answer = Vec::new();
    let mut rows = Vec::new();
    for domain_id in domains {
        for node in nodes_of(&domain_id, client).await? {
            rows.push(row(&domain_id, &client.view(&node)?));
            answer.push(node);
        }
    }
    let header = [
        "NODE",
        "DOMAIN",
        "CORES",
        "MEMORY MIB",
        "INSTANCES",
        "TAKES WORK",
        "LABELS",
    ];
    let empty = "no node is registered";
    output.answer(&json!(answer), |style| table(style, header, rows, empty))
}

async fn inspect(id: NodeId, client: &Client, output: &Output) -> Result<(), Failure> {
    for domain_id in domain_ids(client).await? {
        for mut answer in nodes_of(&domain_id, client).await? {
            let node: Node = client.view(&answer)?;
            if node.node_id != id.to_string() {
                continue;
            }
            let all = client.get(&["domains", &domain_id, "instances"]).await?;
            let there = on_node(&all, &node.node_id);
            let vertices: Vec<Vertex> = client.view(&there)?;
            answer["running"] = there;
            return output.answer(&answer, |style| tell(&node, &domain_id, &vertices, style));
        }
    }
    Err(Failure::Unknown {
        what: "node",
        id: id.to_string(),
    })
}

async fn domain_ids(client: &Client) -> Result<Vec<String>, Failure> {
    let domains: Vec<Domain> = client.view(&client.get(&["domains"]).await?)?;
    Ok(domains.into_iter().map(|domain| domain.domain_id).collect())
}

/// The nodes of a domain, each with the domain it is in.
async fn nodes_of(domain_id: &str, client: &Client) -> Result<Vec<Value>, Failure> {
    let answer = client.get(&["domains", domain_id, "nodes"]).await?;
    let mut nodes: Vec<Value> = client.view(&answer)?;
    for node in &mut nodes {
        if let Some(node) = node.as_object_mut() {
            node.insert("domain_id".to_owned(), json!(domain_id));
        }
    }
    Ok(nodes)
}

/// Those vertices that have a copy on a node.
fn on_node(vertices: &Value, node_id: &str) -> Value {
    let runs_there = |vertex: &&Value| {
        let instances = vertex["instances"].as_array();
        let mut instances = instances.into_iter().flatten();
        instances.any(|instance| instance["node_id"] == node_id)
    };
    let all = vertices.as_array().into_iter().flatten();
    all.filter(runs_there).cloned().collect()
}

fn row(domain_id: &str, node: &Node) -> [String; 7] {
    let takes_work = if node.cordoned { "no, cordoned" } else { "yes" };
    [
        node.node_id.clone(),
        domain_id.to_owned(),
        node.cores.to_string(),
        node.mem_size.to_string(),
        node.instances.to_string(),
        takes_work.to_owned(),
        names(&node.labels),
    ]
}

fn tell(node: &Node, domain_id: &str, vertices: &[Vertex], style: Style) -> String {
    let cordoned = if node.cordoned { ", cordoned" } else { "" };
    let Node {
        node_id,
        agent_url,
        invocation_url,
        cores,
        mem_size,
        last_update,
        ..
    } = node;
    format!(
        "node {node_id} in {domain_id}{cordoned}, last heard of at {last_update}\n\
         agent {agent_url}, invocation {invocation_url}\n\
         {cores} cores, {mem_size} MiB memory\n\
         labels: {}\nruntimes: {}\nresource classes: {}\n\n{}",
        names(&node.labels),
        names(&node.runtimes),
        names(&node.resource_classes),
        instances(vertices, style),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_on_the_node_is_shown() {
        let vertices = json!([
            {"name": "here", "instances": [{"node_id": "a"}, {"node_id": "b"}]},
            {"name": "elsewhere", "instances": [{"node_id": "b"}]},
            {"name": "nowhere", "instances": []},
        ]);
        let names: Vec<_> = on_node(&vertices, "a")
            .as_array()
            .unwrap()
            .iter()
            .map(|vertex| vertex["name"].clone())
            .collect();
        assert_eq!(names, ["here"]);
    }
}
