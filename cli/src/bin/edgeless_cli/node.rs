//! `edgeless_cli node`.

use clap::Subcommand;
use edgeless_con::status::{DomainStatus, NodeStatus};

use crate::{
    client::{Client, Failure},
    show,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The nodes of all domains
    List,
    /// One node, as JSON
    Inspect {
        /// Its id
        id: String,
    },
}

pub(crate) async fn run(command: Command, client: &Client) -> Result<(), Failure> {
    let mut all: Vec<(String, NodeStatus)> = Vec::new();
    for domain in client.get::<Vec<DomainStatus>>("/domains").await? {
        let path = format!("/domains/{}/nodes", domain.domain_id);
        for node in client.get::<Vec<NodeStatus>>(&path).await? {
            all.push((domain.domain_id.clone(), node));
        }
    }
    match command {
        Command::List if client.json => {
            show::json(&all.into_iter().map(|(_, node)| node).collect::<Vec<_>>())
        }
        Command::List => {
            let row = |(domain_id, node): (String, NodeStatus)| {
                let (cores, instances) = (node.cores.to_string(), node.instances.to_string());
                let labels = node.labels.join(",");
                [
                    node.node_id.to_string(),
                    domain_id,
                    cores,
                    instances,
                    labels,
                ]
            };
            let rows = all.into_iter().map(row).collect();
            show::table(["node", "domain", "cores", "instances", "labels"], rows);
            Ok(())
        }
        Command::Inspect { id } => {
            let found = all
                .into_iter()
                .find(|(_, node)| node.node_id.to_string() == id);
            let Some((_, node)) = found else {
                return Err(Failure::Other(format!("there is no node `{id}`")));
            };
            show::json(&node)
        }
    }
}
