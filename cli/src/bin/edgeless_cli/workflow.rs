//! `edgeless_cli workflow`.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Subcommand;
use edgeless_con::{
    rest::Move,
    status::{VertexStatus, WorkflowStatus},
};
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::Value;

use crate::{
    client::{Client, Failure},
    show,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a workflow document (JSON or YAML); prints its id
    Start {
        /// The document; code may be given as {"file": "function.wasm"}
        file: PathBuf,
        /// Accept a workflow that nobody can run now; it waits
        #[arg(long)]
        wait: bool,
    },
    /// Stop workflows
    Stop {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// All workflows
    List,
    /// How a workflow is, and where its vertices run
    Inspect {
        /// Its id
        id: String,
    },
    /// Move a workflow to a domain, or one of its vertices to a node
    Migrate {
        /// Its id
        id: String,
        /// The domain for the whole workflow
        #[arg(long, conflicts_with_all = ["vertex", "node"])]
        domain: Option<String>,
        /// The name of a vertex
        #[arg(long, requires = "node")]
        vertex: Option<String>,
        /// The node for the vertex
        #[arg(long, requires = "vertex")]
        node: Option<String>,
    },
}

pub(crate) async fn run(command: Command, client: &Client) -> Result<(), Failure> {
    match command {
        Command::Start { file, wait } => start(&file, wait, client).await,
        Command::Stop { ids } => {
            for id in ids {
                let request = client.request(Method::DELETE, &format!("/workflows/{id}"));
                client.send(request).await?;
            }
            Ok(())
        }
        Command::List => list(client).await,
        Command::Inspect { id } => {
            let status: WorkflowStatus = client.get(&format!("/workflows/{id}")).await?;
            inspect(&status, client)
        }
        Command::Migrate {
            id,
            domain,
            vertex,
            node,
        } => {
            if domain.is_none() && vertex.is_none() {
                let text = "give --domain, or --vertex and --node".to_owned();
                return Err(Failure::Usage(text));
            }
            let wanted = Move {
                domain_id: domain,
                vertex,
                node_id: node,
            };
            let request = client.request(Method::POST, &format!("/workflows/{id}/migrate"));
            let status: WorkflowStatus = client.ask(request.json(&wanted)).await?;
            inspect(&status, client)
        }
    }
}

async fn start(file: &Path, wait: bool, client: &Client) -> Result<(), Failure> {
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::File(file.to_owned(), error))?;
    let yaml = file
        .extension()
        .is_some_and(|ending| ending == "yaml" || ending == "yml");
    let document: Result<Value, String> = match yaml {
        true => serde_saphyr::from_str(&text).map_err(|error| error.to_string()),
        false => serde_json::from_str(&text).map_err(|error| error.to_string()),
    };
    let mut document =
        document.map_err(|error| Failure::Other(format!("`{}`: {error}", file.display())))?;
    inline_files(&mut document, file.parent().unwrap_or(Path::new(".")))?;
    let request = client
        .request(Method::POST, "/workflows")
        .query(&[("wait", wait)])
        .header(CONTENT_TYPE, "application/json")
        .body(document.to_string());
    let status: WorkflowStatus = client.ask(request).await?;
    if client.json {
        return show::json(&status);
    }
    println!("{}", status.workflow_id);
    Ok(())
}

/// Code given as a file becomes code given inline.
fn inline_files(document: &mut Value, folder: &Path) -> Result<(), Failure> {
    let functions = document.get_mut("functions").and_then(Value::as_array_mut);
    for function in functions.into_iter().flatten() {
        let Some(code) = function.pointer_mut("/class_specification/code") else {
            continue;
        };
        let Some(name) = code.get("file").and_then(Value::as_str) else {
            continue;
        };
        let path = folder.join(name);
        let bytes = std::fs::read(&path).map_err(|error| Failure::File(path, error))?;
        *code = Value::from(STANDARD.encode(bytes));
    }
    Ok(())
}

async fn list(client: &Client) -> Result<(), Failure> {
    let all: Vec<WorkflowStatus> = client.get("/workflows").await?;
    if client.json {
        return show::json(&all);
    }
    let row = |status: WorkflowStatus| {
        let vertices = status.functions.len() + status.resources.len();
        let domain = status.domain_id.unwrap_or_else(|| "-".to_owned());
        [
            status.workflow_id.to_string(),
            status.name,
            domain,
            vertices.to_string(),
        ]
    };
    let rows = all.into_iter().map(row).collect();
    show::table(["workflow", "name", "domain", "vertices"], rows);
    Ok(())
}

fn inspect(status: &WorkflowStatus, client: &Client) -> Result<(), Failure> {
    if client.json {
        return show::json(status);
    }
    let rows = status
        .functions
        .iter()
        .chain(&status.resources)
        .map(row)
        .collect();
    show::table(["name", "class", "node", "instance", "waiting"], rows);
    Ok(())
}

fn row(vertex: &VertexStatus) -> [String; 5] {
    let nodes = vertex
        .instances
        .iter()
        .map(|instance| instance.node_id.to_string());
    let instances = vertex
        .instances
        .iter()
        .map(|instance| instance.physical_id.to_string());
    let join = |texts: Vec<String>| match texts.is_empty() {
        true => "-".to_owned(),
        false => texts.join(" "),
    };
    [
        vertex.name.clone(),
        vertex.class.clone(),
        join(nodes.collect()),
        join(instances.collect()),
        vertex.waiting.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
