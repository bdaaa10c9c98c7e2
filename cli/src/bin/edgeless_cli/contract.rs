//! `edgeless_cli client …`: who sends orders, and what was agreed with them.

use std::path::PathBuf;

use clap::Subcommand;
use reqwest::Method;

use crate::{
    client::Client,
    document,
    failure::Failure,
    json::Json,
    output::{Output, Style, or_dash, shortened, table},
    service,
    view::{Contract, OrderClient},
};

/// Characters of a list of tasks in a table.
const TASKS: usize = 60;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Define a client or change its contract, for orders that come from now on
    Put {
        /// Its name
        #[arg(value_name = "CLIENT")]
        name: String,
        /// The contract, JSON or YAML; `-` reads standard input
        file: PathBuf,
    },
    /// Show all clients
    List,
    /// Show a client and its contract
    Get {
        /// Its name
        #[arg(value_name = "CLIENT")]
        name: String,
    },
    /// Forget clients; their active orders go on
    Delete {
        /// Their names
        #[arg(required = true, value_name = "CLIENT")]
        names: Vec<String>,
    },
}

pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Put { name, file } => {
            let document = document::read(&file)?;
            let request = client.request(Method::PUT, &["clients", &name]);
            show(&client.send(request.json(&document)).await?, client, output)
        }
        Command::List => {
            let answer = client.get(&["clients"]).await?;
            let clients: Vec<OrderClient> = client.view(&answer)?;
            output.answer(&answer, |style| tell_list(&clients, style))
        }
        Command::Get { name } => {
            let answer = client.get(&["clients", &name]).await?;
            show(&answer, client, output)
        }
        Command::Delete { names } => service::delete("clients", &names, client, output).await,
    }
}

fn show(answer: &Json, client: &Client, output: &Output) -> Result<(), Failure> {
    let shown: OrderClient = client.view(answer)?;
    output.answer(answer, |style| match style {
        Style::Terminal => tell(&shown),
        Style::Pipe | Style::Json => tell_list(std::slice::from_ref(&shown), style),
    })
}

fn tell_list(clients: &[OrderClient], style: Style) -> String {
    let rows = clients.iter().map(|client| {
        let contract = &client.contract;
        [
            client.name.clone(),
            client.active_orders.to_string(),
            shortened(&contract.tasks.plain(), TASKS),
            contract.own_tasks.clone(),
            contract.mode.clone(),
            priority(contract),
            contract.weight.to_string(),
            or_dash(contract.deadline.as_deref()),
            or_dash(Some(&limits(contract))),
        ]
    });
    let header = [
        "CLIENT",
        "ACTIVE",
        "TASKS",
        "OWN TASKS",
        "MODE",
        "PRIORITY",
        "WEIGHT",
        "DEADLINE",
        "LIMITS",
    ];
    table(style, header, rows, "no client is defined")
}

/// The greatest priority of its orders.
fn priority(contract: &Contract) -> String {
    let priority = contract.priority.map(|priority| priority.to_string());
    or_dash(priority.as_deref())
}

fn limits(contract: &Contract) -> String {
    let limits = &contract.limits;
    let all = [
        limits.orders_per_second.map(|rate| format!("{rate}/s")),
        limits.burst.map(|burst| format!("burst {burst}")),
        limits.active_orders.map(|most| format!("{most} active")),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    all.join(", ")
}

fn tell(client: &OrderClient) -> String {
    let OrderClient {
        name,
        active_orders,
        contract,
    } = client;
    let own = match contract.own_tasks.as_str() {
        "never" => "an order brings none of its own",
        "listed" => "an order may bring some of them",
        _ => "an order may bring any",
    };
    let mut lines = vec![
        format!("client {name} has {active_orders} active orders"),
        format!("tasks: {}; {own}", contract.tasks.plain()),
        format!(
            "mode {}, priority {}, weight {}, deadline {}",
            contract.mode,
            priority(contract),
            contract.weight,
            or_dash(contract.deadline.as_deref())
        ),
        format!("limits: {}", or_dash(Some(&limits(contract)))),
    ];
    let outputs = contract.outputs.iter();
    lines.extend(outputs.map(|output| format!("its ends are told: {}", output.plain())));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn clients_are_told_with_their_contracts() {
        let client: OrderClient = serde_json::from_value(json!({
            "name": "c", "active_orders": 3,
            "contract": {
                "tasks": ["A", ["B", "C"]], "own_tasks": "never", "mode": "trace", "priority": 5,
                "weight": 2, "limits": {"orders_per_second": 0.5, "active_orders": 10},
                "outputs": [{"to": "file"}],
            },
            "a field of a later version": true,
        }))
        .unwrap();
        let shown = tell(&client);
        for line in [
            "client c has 3 active orders",
            r#"tasks: ["A",["B","C"]]; an order brings none of its own"#,
            "mode trace, priority 5, weight 2, deadline -",
            "limits: 0.5/s, 10 active",
            r#"its ends are told: {"to":"file"}"#,
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{shown}");
        }
        let row = "c\t3\t[\"A\",[\"B\",\"C\"]]\tnever\ttrace\t5\t2\t-\t0.5/s, 10 active\n";
        assert_eq!(tell_list(&[client], Style::Pipe), row);
    }
}
