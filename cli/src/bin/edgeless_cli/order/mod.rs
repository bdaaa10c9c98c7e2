//! `edgeless_cli order …`: [`submit`] and [`batch`] send orders, [`list`], [`show`], [`top`] and [`watch`] show them; the
//! rest is done to single ones here.

mod batch;
mod document;
mod list;
mod show;
mod submit;
mod top;
mod watch;

pub(crate) use list::pair;

use clap::Subcommand;
use edgeless_types::OrderId;
use reqwest::Method;
use serde_json::json;

use crate::{
    client::Client,
    failure::Failure,
    output::{Output, Style},
    view::{Order, Submitted},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send an order, or many from a file
    Submit(Box<submit::Submit>),
    /// Show an order with what became of each of its tasks
    Get {
        /// Its id
        #[arg(value_name = "ORDER")]
        id: OrderId,
    },
    /// Show orders, the newest first
    List(list::List),
    /// Show the changes of an order until its end, or those of all orders until Ctrl-C
    Watch {
        /// Its id; left out: all orders
        #[arg(value_name = "ORDER")]
        id: Option<OrderId>,
    },
    /// End orders; what was done is taken back where their tasks say so
    Cancel {
        /// Their ids
        #[arg(required = true, value_name = "ORDER")]
        ids: Vec<OrderId>,
        /// Why, for those who look at them later
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Take up again an order that failed or expired: a new one begins where it ended
    Retry {
        /// Its id
        #[arg(value_name = "ORDER")]
        id: OrderId,
    },
    /// Hold orders up: none of their tasks is begun
    Pause {
        /// Their ids
        #[arg(required = true, value_name = "ORDER")]
        ids: Vec<OrderId>,
    },
    /// Let orders go on
    Resume {
        /// Their ids
        #[arg(required = true, value_name = "ORDER")]
        ids: Vec<OrderId>,
    },
    /// Show what is active and what waits for which service: each second on a terminal, else once
    Top {
        /// Show it once
        #[arg(long)]
        once: bool,
    },
}

pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Submit(submit) => submit::run(*submit, client, output).await,
        Command::Get { id } => {
            let answer = client.get(&["orders", &id.to_string()]).await?;
            let order: Order = client.view(&answer)?;
            output.answer(&answer, |style| show::tell(&order, style))
        }
        Command::List(list) => list::run(&list, client, output).await,
        Command::Watch { id } => watch::run(id, client, output).await,
        Command::Cancel { ids, reason } => {
            let verb = Verb {
                name: "cancel",
                done: "is cancelled",
                reason: reason.as_deref(),
            };
            operate(&ids, verb, client, output).await
        }
        Command::Retry { id } => retry(id, client, output).await,
        Command::Pause { ids } => {
            let verb = Verb {
                name: "pause",
                done: "is held up",
                reason: None,
            };
            operate(&ids, verb, client, output).await
        }
        Command::Resume { ids } => {
            let verb = Verb {
                name: "resume",
                done: "goes on",
                reason: None,
            };
            operate(&ids, verb, client, output).await
        }
        Command::Top { once } => top::run(once, client, output).await,
    }
}

/// What is done to orders.
#[derive(Clone, Copy)]
struct Verb<'a> {
    name: &'a str,
    done: &'a str,
    reason: Option<&'a str>,
}

/// Does it to all of them, and fails with the first that could not be done.
async fn operate(
    ids: &[OrderId],
    verb: Verb<'_>,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let mut outcome = Ok(());
    for id in ids {
        let request = client.request(Method::POST, &["orders", &id.to_string(), verb.name]);
        let request = request.query(&verb.reason.map(|reason| [("reason", reason)]));
        match client.send(request).await {
            Ok(_) => {
                let answer = json!({ "id": id, "done": verb.name });
                output.answer(&answer, |_| format!("order {id} {}\n", verb.done))?;
            }
            Err(failure) if outcome.is_ok() => outcome = Err(failure),
            Err(failure) => drop(output.failure(&failure)),
        }
    }
    outcome
}

async fn retry(id: OrderId, client: &Client, output: &Output) -> Result<(), Failure> {
    let request = client.request(Method::POST, &["orders", &id.to_string(), "retry"]);
    let answer = client.send(request).await?;
    let Submitted { id: new, .. } = client.view(&answer)?;
    output.answer(&answer, |style| {
        match style {
            Style::Terminal => format!("order {new} takes up order {id}\n"),
            // A script wants to look at it.
            Style::Pipe | Style::Json => format!("{new}\n"),
        }
    })
}

/// Whether an order has come to a good end.
///
/// # Errors
/// It has come to another one.
fn judge(id: &str, state: &str, reason: Option<&str>) -> Result<(), Failure> {
    if state == "completed" {
        return Ok(());
    }
    let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    Err(Failure::Order(format!("order {id} is {state}{why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_completed_order_is_a_success() {
        assert!(judge("o", "completed", None).is_ok());
        let failure = judge("o", "failed", Some("A: it is odd")).unwrap_err();
        assert_eq!(failure.to_string(), "order o is failed: A: it is odd");
        assert_eq!(failure.code(), 1);
    }
}
