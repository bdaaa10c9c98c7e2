//! `edgeless_cli domain`.

use clap::Subcommand;
use edgeless_con::status::DomainStatus;

use crate::{
    client::{Client, Failure},
    show,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// All domains
    List,
    /// One domain, as JSON
    Inspect {
        /// Its id
        id: String,
    },
}

pub(crate) async fn run(command: Command, client: &Client) -> Result<(), Failure> {
    match command {
        Command::List => {
            let all: Vec<DomainStatus> = client.get("/domains").await?;
            if client.json {
                return show::json(&all);
            }
            let row = |domain: DomainStatus| {
                let numbers = [
                    domain.nodes as usize,
                    domain.cores as usize,
                    domain.workflows,
                ];
                let [nodes, cores, workflows] = numbers.map(|number| number.to_string());
                [
                    domain.domain_id,
                    domain.orchestrator_url,
                    nodes,
                    cores,
                    workflows,
                ]
            };
            let rows = all.into_iter().map(row).collect();
            show::table(
                ["domain", "orchestrator", "nodes", "cores", "workflows"],
                rows,
            );
            Ok(())
        }
        Command::Inspect { id } => {
            let domain: DomainStatus = client.get(&format!("/domains/{id}")).await?;
            show::json(&domain)
        }
    }
}
