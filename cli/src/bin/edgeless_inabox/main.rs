//! All daemons in one process: one ε-CON, one ε-ORC and some nodes, for a first look.
//!
//! It writes the configuration files that the daemons would read into `--dir`, starts each from its
//! file, and prints one line of JSON with every address when all are up.

mod configs;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use edgeless_daemon::{init_logging, wait_for_signal};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use configs::Ports;

/// ε-CON, ε-ORC and nodes in one process. Ctrl-C ends all of them.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where configuration, state, datasets and files of workflows are kept
    #[arg(long, default_value = "edgeless_inabox")]
    dir: PathBuf,
    /// Mirror to this Redis, which is flushed; without it there is no mirror
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// Take any free ports instead of the usual ones
    #[arg(long)]
    free_ports: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    init_logging();
    let outcome = tokio::runtime::Runtime::new()
        .context("could not start the runtime")
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edgeless_inabox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let dir = std::path::absolute(&arguments.dir)?;
    let ports = if arguments.free_ports {
        Ports::Free
    } else {
        Ports::Usual
    };
    // Nodes go first, so that they can say goodbye to an ε-ORC that is still there.
    let (shutdown, nodes_shutdown) = (CancellationToken::new(), CancellationToken::new());
    let hint = "is another box running? `--free-ports` takes other ports";

    let text = configs::controller(&dir, ports);
    let con = edgeless_con::start(
        configs::write(&dir.join("controller.toml"), &text)?,
        shutdown.clone(),
    )
    .await
    .context(hint)?;
    let register_url = con.domain_register_url.to_string();
    let text = configs::orchestrator(&dir, ports, &register_url, arguments.redis_url.as_deref());
    let orc = edgeless_orc::start(
        configs::write(&dir.join("orchestrator.toml"), &text)?,
        shutdown.clone(),
    )
    .await
    .context(hint)?;
    let register_url = orc.node_register_url.to_string();
    let mut nodes = Vec::new();
    let mut shown = Vec::new();
    for number in 1..=arguments.nodes {
        let folder = dir.join(format!("node-{number}"));
        let text = configs::node(&folder, ports, &register_url, number);
        let config = configs::write(&folder.join("node.toml"), &text)?;
        let node = edgeless_node::start(config, nodes_shutdown.clone())
            .await
            .context(hint)?;
        shown.push(show_node(&node, &folder));
        nodes.push(node);
    }
    let addresses = json!({
        "con": {"rest_url": con.rest_url.to_string()},
        "orc": {
            "http_url": orc.status_url.to_string(),
            "dataset_path": configs::dataset_path(&dir),
        },
        "nodes": shown,
    });
    println!("{addresses}");
    // ε-CON ends by itself if the orders cannot go on, and everything with it.
    let con = tokio::spawn(con.join());
    tokio::select! {
        () = wait_for_signal(nodes_shutdown.clone()) => {}
        () = shutdown.cancelled() => nodes_shutdown.cancel(),
    }
    for node in nodes {
        node.join().await;
    }
    shutdown.cancel();
    let outcome = orc.join().await;
    con.await??;
    Ok(outcome?)
}

fn show_node(node: &edgeless_node::Running, folder: &Path) -> Value {
    json!({
        "node_id": node.node_id.to_string(),
        "agent_url": node.agent_url.to_string(),
        "http_ingress_url": node.http_ingress_url.as_ref().map(ToString::to_string),
        "dir": folder.display().to_string(),
    })
}
