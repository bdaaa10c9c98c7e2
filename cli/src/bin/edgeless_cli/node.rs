//! `edgeless_cli node …`

use clap::Subcommand;
use edgeless_types::NodeId;
use reqwest::Method;
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
    /// Place nothing new on nodes
    Cordon {
        /// Their ids
        #[arg(required = true, value_name = "NODE")]
        ids: Vec<NodeId>,
    },
    /// End the cordon or drain of nodes, and the rest of those that came and went too often
    Uncordon {
        /// Their ids
        #[arg(required = true, value_name = "NODE")]
        ids: Vec<NodeId>,
    },
    /// Place nothing new on nodes and move what is there elsewhere; `node list` says when they are drained
    Drain {
        /// Their ids
        #[arg(required = true, value_name = "NODE")]
        ids: Vec<NodeId>,
    },
}

pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        Command::List { domain } => list(domain, client, output).await,
        Command::Inspect { id } => inspect(id, client, output).await,
        Command::Cordon { ids } => operate(&ids, "cordon", "is cordoned", client, output).await,
        Command::Uncordon { ids } => operate(&ids, "uncordon", "is open", client, output).await,
        Command::Drain { ids } => operate(&ids, "drain", "is draining", client, output).await,
    }
}

async fn list(domain: Option<String>, client: &Client, output: &Output) -> Result<(), Failure> {
    let domains = match domain {
        Some(domain) => vec![domain],
        None => domain_ids(client).await?,
    };
    let mut answer = Vec::new();
    let mut rows = Vec::new();
    let mut outcome = Ok(());
    for domain_id in domains {
        match nodes_of(&domain_id, client).await {
            Ok(nodes) => {
                for node in nodes {
                    rows.push(row(&domain_id, &client.view(&node)?));
                    answer.push(node);
                }
            }
            // The nodes of the others are shown all the same.
            Err(failure) if outcome.is_ok() => outcome = Err(in_domain(failure, &domain_id)?),
            Err(failure) => drop(output.failure(&in_domain(failure, &domain_id)?)),
        }
    }
    if answer.is_empty() && outcome.is_err() {
        return outcome;
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
    output.answer(&json!(answer), |style| table(style, header, rows, empty))?;
    outcome
}

/// That a domain refuses to answer, with its name.
///
/// # Errors
/// Something is wrong that is not a matter of this domain.
fn in_domain(failure: Failure, domain_id: &str) -> Result<Failure, Failure> {
    match failure {
        Failure::Refused(mut problem) => {
            problem.detail = format!("{domain_id}: {}", problem.detail);
            Ok(Failure::Refused(problem))
        }
        other => Err(other),
    }
}

async fn inspect(id: NodeId, client: &Client, output: &Output) -> Result<(), Failure> {
    let mut outcome = Err(Failure::Unknown {
        what: "node",
        id: id.to_string(),
    });
    for domain_id in domain_ids(client).await? {
        let nodes = match nodes_of(&domain_id, client).await {
            Ok(nodes) => nodes,
            // It may be in another.
            Err(failure) => {
                outcome = Err(in_domain(failure, &domain_id)?);
                continue;
            }
        };
        for mut answer in nodes {
            let node: Node = client.view(&answer)?;
            if node.node_id != id.to_string() {
                continue;
            }
            let all = client.get(&["domains", &domain_id, "instances"]).await?;
            let all: Value = client.view(&all)?;
            let there = on_node(&all, &node.node_id);
            let vertices: Vec<Vertex> = client.view(&there)?;
            answer["running"] = there;
            return output.answer(&answer, |style| tell(&node, &domain_id, &vertices, style));
        }
    }
    outcome
}

/// Does it to all of them, and fails with the first that could not be done.
async fn operate(
    ids: &[NodeId],
    verb: &str,
    done: &str,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let mut outcome = Ok(());
    for id in ids {
        let request = client.request(Method::POST, &["nodes", &id.to_string(), verb]);
        match client.send(request).await {
            Ok(_) => {
                let answer = json!({ "node_id": id, "done": verb });
                output.answer(&answer, |_| format!("node {id} {done}\n"))?;
            }
            Err(failure) if outcome.is_ok() => outcome = Err(failure),
            Err(failure) => drop(output.failure(&failure)),
        }
    }
    outcome
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
    [
        node.node_id.clone(),
        domain_id.to_owned(),
        node.cores.to_string(),
        node.mem_size.to_string(),
        node.instances.to_string(),
        takes_work(node),
        names(&node.labels),
    ]
}

/// Whether it takes what is new, and why not.
fn takes_work(node: &Node) -> String {
    match (&node.closed, node.cordoned) {
        (Some(why), _) => format!("no, {why}"),
        // A controller of an earlier version says no more.
        (None, true) => "no, cordoned".to_owned(),
        (None, false) => "yes".to_owned(),
    }
}

fn tell(node: &Node, domain_id: &str, vertices: &[Vertex], style: Style) -> String {
    let takes_work = takes_work(node);
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
        "node {node_id} in {domain_id}, last heard of at {last_update}\n\
         takes work: {takes_work}\n\
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
    fn a_node_that_takes_nothing_new_says_why() {
        let shown = |node: Value| takes_work(&serde_json::from_value(node).unwrap());
        assert_eq!(shown(json!({})), "yes");
        let flaps = json!({"closed": "came and went too often, rests for another 9 s"});
        let expected = "no, came and went too often, rests for another 9 s";
        assert_eq!(shown(flaps), expected);
        let drained = json!({"cordoned": true, "closed": "drained"});
        assert_eq!(shown(drained), "no, drained");
        assert_eq!(shown(json!({"cordoned": true})), "no, cordoned");
    }

    #[test]
    fn a_domain_that_does_not_answer_is_named_and_hides_no_other() {
        let problem = json!({"title": "No answer", "status": 502, "detail": "it is away"});
        let problem = serde_json::from_value(problem).unwrap();
        let named = in_domain(Failure::Refused(Box::new(problem)), "domain-1").unwrap();
        let Failure::Refused(problem) = named else {
            panic!("it goes on with the next domain");
        };
        assert_eq!(problem.detail, "domain-1: it is away");
        let away = Failure::Usage("ε-CON is away".to_owned());
        assert!(in_domain(away, "domain-1").is_err(), "so are all others");
    }

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
