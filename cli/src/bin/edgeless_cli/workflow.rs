//! `edgeless_cli workflow …`

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use edgeless_types::{CodeDigest, NodeId, WorkflowId};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::Client,
    document, dry_run,
    explain::{self, Explanation},
    failure::{Failure, file},
    json::Json,
    output::{Output, Style, or_dash, table},
    view::{DryRun, Vertex, Workflow},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a workflow and wait until it runs
    Start(Start),
    /// Give the functions and resources of a workflow other versions, one copy after the other; where the new ones
    /// do not run, the old ones go on
    Update {
        /// Its id
        #[arg(value_name = "WORKFLOW")]
        id: WorkflowId,
        /// The whole document with the same vertices and wiring, as for `start`
        file: PathBuf,
    },
    /// Stop workflows
    Stop {
        /// Their ids
        #[arg(required = true, value_name = "WORKFLOW")]
        ids: Vec<WorkflowId>,
    },
    /// Show all workflows
    List,
    /// Show where each function and resource of a workflow runs
    Inspect {
        /// Its id
        #[arg(value_name = "WORKFLOW")]
        id: WorkflowId,
    },
    /// Show what a workflow does now, which function limits it, why, and what is done about it
    Explain {
        /// Its id
        #[arg(value_name = "WORKFLOW")]
        id: WorkflowId,
    },
    /// Move a workflow to another domain, or one vertex of it to another node
    Migrate(Migrate),
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The document, JSON or YAML; `-` reads standard input. Code may be named by
    /// `"code": {"file": "x.wasm"}`, beside the document
    file: PathBuf,
    /// Accept a workflow that nobody can run now: it waits
    #[arg(long)]
    wait: bool,
    /// Start nothing: show where the workflow would go, and what excludes the nodes where it would not; fails where
    /// it would not run
    #[arg(long, conflicts_with_all = ["wait", "idempotency_key"])]
    dry_run: bool,
    /// The same key with the same document starts one workflow, however often it is sent
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true).args(["domain", "vertex"])))]
pub(crate) struct Migrate {
    /// The workflow
    #[arg(value_name = "WORKFLOW")]
    id: WorkflowId,
    /// The domain for the whole workflow
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// The name of a function or resource to be moved
    #[arg(long, value_name = "NAME", requires = "node")]
    vertex: Option<String>,
    /// The node for it
    #[arg(long, value_name = "NODE", requires = "vertex")]
    node: Option<NodeId>,
}

pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Start(start) if start.dry_run => {
            let document = load(&start.file, Code::Stays, client).await?;
            let request = client.request(Method::POST, &["workflows"]);
            let request = request.query(&[("dry_run", true)]).json(&document);
            let answer = client.send(request).await?;
            let dry_run: DryRun = client.view(&answer)?;
            output.notes(&dry_run::notes(&dry_run));
            output.answer(&answer, |style| dry_run::tell(&dry_run, style))?;
            dry_run::judge(&dry_run)
        }
        Command::Start(start) => {
            let answer = start_workflow(start, client).await?;
            let workflow: Workflow = client.view(&answer)?;
            output.notes(&workflow.notes);
            output.answer(&answer, |style| match style {
                Style::Terminal => tell(&workflow, style),
                // A script wants to stop later what it has started.
                Style::Pipe | Style::Json => format!("{}\n", workflow.workflow_id),
            })
        }
        Command::Update { id, file } => {
            let document = load(&file, Code::Travels, client).await?;
            let path = ["workflows", &id.to_string()];
            let request = client.request(Method::PUT, &path).json(&document);
            show(&client.send(request).await?, client, output)
        }
        Command::Stop { ids } => stop(&ids, client, output).await,
        Command::List => {
            let answer = client.get(&["workflows"]).await?;
            let workflows: Vec<Workflow> = client.view(&answer)?;
            output.answer(&answer, |style| tell_list(&workflows, style))
        }
        Command::Inspect { id } => {
            let answer = client.get(&["workflows", &id.to_string()]).await?;
            show(&answer, client, output)
        }
        Command::Explain { id } => {
            let answer = client
                .get(&["workflows", &id.to_string(), "explain"])
                .await?;
            let explanation: Explanation = client.view(&answer)?;
            output.answer(&answer, |style| explain::tell(&explanation, style))
        }
        Command::Migrate(migrate) => {
            let path = ["workflows", &migrate.id.to_string(), "migrate"];
            let target = match (migrate.domain, migrate.vertex, migrate.node) {
                (Some(domain_id), _, _) => json!({ "domain_id": domain_id }),
                (None, vertex, node_id) => json!({ "vertex": vertex, "node_id": node_id }),
            };
            let request = client.request(Method::POST, &path).json(&target);
            show(&client.send(request).await?, client, output)
        }
    }
}

async fn start_workflow(start: Start, client: &Client) -> Result<Json, Failure> {
    let document = load(&start.file, Code::Travels, client).await?;
    let mut request = client
        .request(Method::POST, &["workflows"])
        .query(&[("wait", start.wait)])
        .json(&document);
    if let Some(key) = start.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    client.send(request).await
}

/// Whether long code is uploaded.
#[derive(Clone, Copy)]
enum Code {
    Travels,
    Stays,
}

/// A document with the code that it names by files.
async fn load(path: &Path, code: Code, client: &Client) -> Result<Value, Failure> {
    let mut document = document::read(path)?;
    for code_file in document::code_files(&document, path)? {
        let code = load_code(&code_file.path, code, client).await?;
        document::set_code(&mut document, code_file.function, code);
    }
    Ok(document)
}

async fn load_code(path: &Path, travels: Code, client: &Client) -> Result<Value, Failure> {
    let code = std::fs::read(path).map_err(file(path))?;
    if let Some(inline) = document::inline(&code) {
        return Ok(inline);
    }
    if matches!(travels, Code::Stays) {
        return Ok(document::uploaded(&CodeDigest::of(&code).to_string()));
    }
    let request = client
        .request(Method::POST, &["code"])
        .header("content-type", "application/wasm")
        .body(code);
    let answer: Value = client.view(&client.send(request).await?)?;
    let digest = answer.get("digest").and_then(Value::as_str);
    Ok(document::uploaded(digest.unwrap_or_default()))
}

/// Stops all of them, and fails with the first that could not be stopped.
async fn stop(ids: &[WorkflowId], client: &Client, output: &Output) -> Result<(), Failure> {
    let mut outcome = Ok(());
    for id in ids {
        let request = client.request(Method::DELETE, &["workflows", &id.to_string()]);
        match client.send(request).await {
            Ok(_) => {
                let answer = json!({ "workflow_id": id, "state": "stopped" });
                output.answer(&answer, |_| format!("workflow {id} is stopped\n"))?;
            }
            Err(failure) if outcome.is_ok() => outcome = Err(failure),
            Err(failure) => drop(output.failure(&failure)),
        }
    }
    outcome
}

fn show(answer: &Json, client: &Client, output: &Output) -> Result<(), Failure> {
    let workflow: Workflow = client.view(answer)?;
    output.notes(&notes(&workflow));
    output.answer(answer, |style| tell(&workflow, style))
}

/// What was left out of the document, and what became of the last update.
fn notes(workflow: &Workflow) -> Vec<String> {
    let mut notes = workflow.notes.clone();
    let Some(update) = &workflow.update else {
        return notes;
    };
    let vertices = match update.vertices {
        1 => "1 vertex".to_owned(),
        number => format!("{number} vertices"),
    };
    notes.push(match (update.state.as_str(), &update.reason) {
        ("under_way", _) => format!(
            "an update of {vertices} is under way, {} run their new version",
            update.updated
        ),
        ("taken_back", Some(reason)) => {
            format!("the last update, of {vertices}, was taken back: {reason}")
        }
        (state, _) => format!("the last update, of {vertices}, is {state}"),
    });
    for vertex in workflow.functions.iter().chain(&workflow.resources) {
        if let Some(update) = &vertex.update {
            let why = update.waiting.as_ref();
            let why = why.map_or_else(String::new, |reason| format!(", and waits: {reason}"));
            notes.push(format!(
                "`{}` has {} of {} copies of its new version{why}",
                vertex.name, update.updated, update.copies
            ));
        }
    }
    notes
}

fn tell(workflow: &Workflow, style: Style) -> String {
    let name = match workflow.name.as_str() {
        "" => String::new(),
        name => format!(" ({name})"),
    };
    let place = match &workflow.domain_id {
        Some(domain_id) => format!(" in {domain_id}"),
        None => ", in no domain".to_owned(),
    };
    let why = match &workflow.waiting {
        Some(reason) => format!(": {reason}"),
        None => String::new(),
    };
    let Workflow {
        workflow_id, state, ..
    } = workflow;
    let functions = workflow.functions.iter().map(|vertex| ("function", vertex));
    let resources = workflow.resources.iter().map(|vertex| ("resource", vertex));
    let rows = functions
        .chain(resources)
        .flat_map(|(kind, vertex)| rows_of(kind, vertex));
    let header = [
        "NAME",
        "KIND",
        "CLASS",
        "LOGICAL ID",
        "NODE",
        "PHYSICAL ID",
        "SINCE",
    ];
    let table = table(style, header, rows, "it has no vertices");
    match style {
        Style::Terminal => {
            let notes: String = notes(workflow)
                .iter()
                .map(|note| format!("note: {note}\n"))
                .collect();
            format!("workflow {workflow_id}{name} is {state}{place}{why}\n{notes}{table}")
        }
        Style::Pipe | Style::Json => table,
    }
}

/// One row per running copy; one with the reason where there is none, or not as many as there are to be.
fn rows_of(kind: &str, vertex: &Vertex) -> Vec<[String; 7]> {
    let row = |node: String, physical_id: String, since: String| {
        let of_vertex = [
            vertex.name.clone(),
            kind.to_owned(),
            vertex.class.clone(),
            vertex.logical_id.clone(),
        ];
        let [name, kind, class, logical_id] = of_vertex;
        [name, kind, class, logical_id, node, physical_id, since]
    };
    let waits = match (&vertex.waiting, vertex.instances.as_slice()) {
        (Some(reason), _) => Some(format!("waits: {reason}")),
        (None, []) if vertex.asleep => Some("asleep: nothing is wanted of it".to_owned()),
        (None, []) => Some("waits: it is starting".to_owned()),
        (None, _) => None,
    };
    let waits = waits.map(|text| row(text, String::new(), String::new()));
    let copy = |instance: &crate::view::Instance| {
        row(
            instance.node_id.clone(),
            instance.physical_id.clone(),
            instance.since.clone(),
        )
    };
    vertex.instances.iter().map(copy).chain(waits).collect()
}

fn tell_list(workflows: &[Workflow], style: Style) -> String {
    let rows = workflows.iter().map(|workflow| {
        [
            workflow.workflow_id.clone(),
            or_dash(Some(&workflow.name)),
            workflow.state.clone(),
            or_dash(workflow.domain_id.as_deref()),
            workflow.functions.len().to_string(),
            workflow.resources.len().to_string(),
        ]
    });
    let header = [
        "WORKFLOW",
        "NAME",
        "STATE",
        "DOMAIN",
        "FUNCTIONS",
        "RESOURCES",
    ];
    table(style, header, rows, "no workflow")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vertex_that_does_not_run_says_why() {
        let workflow: Workflow = serde_json::from_value(json!({
            "workflow_id": "w", "name": "demo", "state": "waiting", "domain_id": "domain-1",
            "functions": [{"name": "f", "class": "double", "logical_id": "l", "instances": [],
                "waiting": "no node is registered"}],
            "resources": [{"name": "r", "class": "file-log", "logical_id": "m",
                "instances": [{"node_id": "n", "physical_id": "p", "since": "1.0"}]}],
            "a field of a later version": true,
        }))
        .unwrap();
        let shown = tell(&workflow, Style::Terminal);
        assert!(
            shown.starts_with("workflow w (demo) is waiting in domain-1\n"),
            "{shown}"
        );
        assert!(shown.contains("waits: no node is registered"), "{shown}");
        let row = shown.lines().last().unwrap();
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells, ["r", "resource", "file-log", "m", "n", "p", "1.0"]);
    }

    #[test]
    fn a_copy_that_waits_is_told_beside_those_that_run() {
        let workflow: Workflow = serde_json::from_value(json!({
            "state": "waiting",
            "functions": [{"name": "f", "waiting": "no feasible node",
                "instances": [{"node_id": "n", "physical_id": "p", "since": "1.0"}]}],
        }))
        .unwrap();
        let shown = tell(&workflow, Style::Terminal);
        let rows: Vec<_> = shown.lines().skip(2).collect();
        assert_eq!(rows.len(), 2, "{shown}");
        assert!(rows[1].contains("waits: no feasible node"), "{shown}");
    }

    #[test]
    fn an_update_is_told_with_what_became_of_it() {
        let check = |update: Value, of_vertex: Value, expected: &[&str]| {
            let workflow = json!({
                "update": update, "functions": [{"name": "f", "update": of_vertex}],
            });
            assert_eq!(notes(&serde_json::from_value(workflow).unwrap()), expected);
        };
        check(Value::Null, Value::Null, &[]);
        check(
            json!({"state": "under_way", "vertices": 2, "updated": 1}),
            json!({"copies": 3, "updated": 1, "waiting": "no node"}),
            &[
                "an update of 2 vertices is under way, 1 run their new version",
                "`f` has 1 of 3 copies of its new version, and waits: no node",
            ],
        );
        check(
            json!({"state": "taken_back", "vertices": 1, "reason": "a trap"}),
            Value::Null,
            &["the last update, of 1 vertex, was taken back: a trap"],
        );
        check(
            json!({"state": "finished", "vertices": 1, "updated": 1}),
            Value::Null,
            &["the last update, of 1 vertex, is finished"],
        );
    }
}
