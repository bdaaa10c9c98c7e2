//! `edgeless_cli service …`

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use edgeless_types::scaling::ask_for_copies;
use humantime_serde::re::humantime;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::Client,
    document,
    failure::Failure,
    json::Json,
    order,
    output::{Output, Style, or_dash, span, table},
    view::{Function, Service, ServiceSpec},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Define a service or change it: from a document, or a function or an endpoint with options
    Put(Box<Put>),
    /// Show all services
    List,
    /// Show a service
    Get {
        /// Its name
        #[arg(value_name = "SERVICE")]
        name: String,
    },
    /// End services that no active order needs
    Delete {
        /// Their names
        #[arg(required = true, value_name = "SERVICE")]
        names: Vec<String>,
    },
    /// Hold services up: their tasks wait
    Pause {
        /// Their names
        #[arg(required = true, value_name = "SERVICE")]
        names: Vec<String>,
    },
    /// Let services go on
    Resume {
        /// Their names
        #[arg(required = true, value_name = "SERVICE")]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["file", "function", "endpoint"])))]
#[command(group(ArgGroup::new("options").multiple(true).conflicts_with("file").args([
    "version", "call", "min", "max", "idle_after", "timeout", "annotation",
])))]
pub(crate) struct Put {
    /// Its name, as lists of tasks have it
    #[arg(value_name = "SERVICE")]
    name: String,
    /// The document, JSON or YAML; `-` reads standard input
    file: Option<PathBuf>,
    /// The published function that does its tasks
    #[arg(long, value_name = "CLASS")]
    function: Option<String>,
    /// The version of the function
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "0.1",
        conflicts_with = "endpoint"
    )]
    version: String,
    /// An HTTP endpoint outside that does its tasks
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// What it gets and returns: the value of its task (default), or the whole message
    #[arg(long, value_parser = ["message", "value"])]
    call: Option<String>,
    /// Never fewer copies; with 0 its function sleeps when it is idle [default: 1]
    #[arg(long, value_name = "NUMBER", conflicts_with = "endpoint")]
    min: Option<u32>,
    /// Never more copies; without it and options of scaling one with `--min 0`, else as many as `--min`
    #[arg(long, value_name = "NUMBER", conflicts_with = "endpoint")]
    max: Option<u32>,
    /// Without tasks for so long it sleeps at the latest, with `--min 0` [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "endpoint")]
    idle_after: Option<String>,
    /// How long an attempt at a task may take [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<String>,
    /// A requirement of the function, or its `init-payload`; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = order::pair, conflicts_with = "endpoint")]
    annotation: Vec<(String, String)>,
}

/// Checks a duration; it is sent as it is written.
fn duration(text: &str) -> Result<String, humantime::DurationError> {
    humantime::parse_duration(text).map(|_| text.to_owned())
}

pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Put(put) => {
            let document = match &put.file {
                Some(path) => document::read(path)?,
                None if put.idle_after.is_some() && put.min != Some(0) => {
                    let text = "`--idle-after` has no effect unless `--min 0` stands beside it";
                    return Err(Failure::Usage(text.to_owned()));
                }
                None => spec(&put, function_type(&put, client).await?.as_deref()),
            };
            let request = client.request(Method::PUT, &["services", &put.name]);
            show(&client.send(request.json(&document)).await?, client, output)
        }
        Command::List => {
            let answer = client.get(&["services"]).await?;
            let services: Vec<Service> = client.view(&answer)?;
            output.answer(&answer, |style| tell_list(&services, style))
        }
        Command::Get { name } => {
            let answer = client.get(&["services", &name]).await?;
            show(&answer, client, output)
        }
        Command::Delete { names } => delete("services", &names, client, output).await,
        Command::Pause { names } => hold(&names, "pause", "is held up", client, output).await,
        Command::Resume { names } => hold(&names, "resume", "goes on", client, output).await,
    }
}

/// The runtime of the function, as the registry knows it.
async fn function_type(put: &Put, client: &Client) -> Result<Option<String>, Failure> {
    let Some(id) = &put.function else {
        return Ok(None);
    };
    let answer = client.get(&["functions", id, &put.version]).await;
    match answer {
        Ok(answer) => {
            let function: Function = client.view(&answer)?;
            Ok(Some(function.function_type))
        }
        Err(Failure::Refused(problem)) if problem.status == 404 => Err(Failure::Usage(format!(
            "no function `{id}` {} is published; `edgeless_cli function list` shows those that are",
            put.version
        ))),
        Err(failure) => Err(failure),
    }
}

/// The document that the options stand for.
fn spec(put: &Put, function_type: Option<&str>) -> Value {
    let class = put.function.as_ref();
    let class =
        class.map(|id| json!({"id": id, "version": put.version, "function_type": function_type}));
    let annotations: serde_json::Map<String, Value> = put
        .annotation
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let annotations = (!annotations.is_empty()).then_some(annotations);
    let fields = [
        ("class_specification", class),
        ("url", put.endpoint.as_ref().map(|url| json!(url))),
        ("call", put.call.as_ref().map(|call| json!(call))),
        ("min_instances", put.min.map(|least| json!(least))),
        ("max_instances", put.max.map(|most| json!(most))),
        (
            "idle_after",
            put.idle_after.as_ref().map(|idle| json!(idle)),
        ),
        (
            "timeout",
            put.timeout.as_ref().map(|timeout| json!(timeout)),
        ),
        ("annotations", annotations.map(Value::Object)),
    ];
    let given = fields.into_iter();
    given
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

/// Deletes all of them; says at once which could not be deleted, and fails if there is one.
pub(crate) async fn delete(
    kind: &str,
    names: &[String],
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let what = kind.trim_end_matches('s');
    let mut left = Vec::new();
    for name in names {
        match client
            .send(client.request(Method::DELETE, &[kind, name]))
            .await
        {
            Ok(_) => {
                let answer = json!({ "name": name, "state": "deleted" });
                output.answer(&answer, |_| format!("{what} {name} is deleted\n"))?;
            }
            Err(failure @ Failure::Refused(_)) if names.len() > 1 => {
                output.failure(&failure);
                left.push(name.as_str());
            }
            Err(failure) => return Err(failure),
        }
    }
    match left.is_empty() {
        true => Ok(()),
        false => Err(Failure::Order(format!("not deleted: {}", left.join(", ")))),
    }
}

/// Does it to all of them, and fails with the first that could not be done.
async fn hold(
    names: &[String],
    verb: &str,
    done: &str,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let mut outcome = Ok(());
    for name in names {
        let request = client.request(Method::POST, &["services", name, verb]);
        match client.send(request).await {
            Ok(answer) => output.answer(&answer, |_| format!("service {name} {done}\n"))?,
            Err(failure) if outcome.is_ok() => outcome = Err(failure),
            Err(failure) => drop(output.failure(&failure)),
        }
    }
    outcome
}

fn show(answer: &Json, client: &Client, output: &Output) -> Result<(), Failure> {
    let service: Service = client.view(answer)?;
    output.answer(answer, |style| match style {
        Style::Terminal => tell(&service),
        Style::Pipe | Style::Json => tell_list(std::slice::from_ref(&service), style),
    })
}

/// What does the work.
fn what(spec: &ServiceSpec) -> String {
    match (&spec.class_specification, &spec.url) {
        (Some(class), _) => format!("{} {}", class.id, class.version),
        (None, url) => or_dash(url.as_deref()),
    }
}

fn copies(spec: &ServiceSpec) -> String {
    let least = spec.min_instances;
    let is_scaled = ask_for_copies(&spec.annotations);
    match spec.max_instances {
        _ if spec.url.is_some() => "-".to_owned(),
        Some(most) if most > least => format!("{least} to {most}"),
        None if is_scaled => format!("{least} or more"),
        None if least == 0 => "0 to 1".to_owned(),
        Some(_) | None => least.to_string(),
    }
}

fn tell_list(services: &[Service], style: Style) -> String {
    let rows = services.iter().map(|service| {
        let figures = service.figures.clone().unwrap_or_default();
        let took = (figures.done > 0).then(|| span(figures.took_ms / 1e3));
        [
            service.name.clone(),
            service.state.clone(),
            what(&service.spec),
            service.spec.call.clone(),
            match service.spec.url {
                Some(_) => or_dash(None),
                None => figures.copies.to_string(),
            },
            copies(&service.spec),
            figures.tasks_to_do.to_string(),
            figures.in_flight.to_string(),
            figures.done.to_string(),
            or_dash(took.as_deref()),
        ]
    });
    let header = [
        "SERVICE",
        "STATE",
        "DONE BY",
        "CALL",
        "COPIES",
        "BOUNDS",
        "TO DO",
        "IN FLIGHT",
        "DONE",
        "TOOK",
    ];
    table(style, header, rows, "no service is defined")
}

fn tell(service: &Service) -> String {
    let Service {
        name, state, spec, ..
    } = service;
    let mut lines = vec![format!("service {name} is {state}, done by {}", what(spec))];
    lines.extend(
        service
            .reason
            .iter()
            .map(|reason| format!("it waits: {reason}")),
    );
    let envelope = match spec.envelope {
        true => ", in an envelope",
        false => "",
    };
    lines.push(format!("it gets the {}{envelope}", spec.call));
    if spec.class_specification.is_some() {
        let idle = match spec.min_instances {
            0 => format!(", asleep after {} without tasks", spec.idle_after),
            _ => String::new(),
        };
        lines.push(format!("copies: {}{idle}", copies(spec)));
    }
    let retries = &spec.retries;
    lines.push(format!(
        "an attempt may take {}; {} attempts with pauses from {} to {}",
        spec.timeout, retries.attempts, retries.pause, retries.longest
    ));
    if spec.idempotent {
        lines.push(
            "idempotent: tasks are handed out before what they build on is on disk".to_owned(),
        );
    }
    if let Some(most) = spec.concurrency {
        lines.push(format!("at most {most} tasks at once"));
    }
    for (key, value) in &spec.annotations {
        lines.push(format!("annotation {key}: {value}"));
    }
    if let Some(id) = &service.workflow_id {
        lines.push(format!("it runs as workflow {id}"));
    }
    if let Some(figures) = &service.figures {
        lines.push(format!(
            "tasks: {} to do, {} waiting, {} in flight, {} done, {} attempts in vain; lines to it: {}",
            figures.tasks_to_do,
            figures.waiting,
            figures.in_flight,
            figures.done,
            figures.missed,
            figures.lines
        ));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        put: Put,
    }

    fn read(line: &str) -> Result<Put, clap::Error> {
        let all = ["put", "A"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(all).map(|line| line.put)
    }

    #[test]
    fn options_become_the_document_of_a_service() {
        let wasm = Some("RUST_WASM");
        let check = |line: &str, function_type, expected: Value| {
            assert_eq!(spec(&read(line).unwrap(), function_type), expected);
        };
        let class = json!({"id": "add", "version": "0.1", "function_type": "RUST_WASM"});
        check(
            "--function add",
            wasm,
            json!({"class_specification": class}),
        );
        check(
            "--function add --call message --min 0 --max 3 --idle-after 5s --timeout 1s \
             --annotation init-payload=2 --annotation label_match_all=a=b",
            wasm,
            json!({
                "class_specification": class, "call": "message", "min_instances": 0,
                "max_instances": 3, "idle_after": "5s", "timeout": "1s",
                "annotations": {"init-payload": "2", "label_match_all": "a=b"},
            }),
        );
        check(
            "--endpoint http://here --timeout 1s",
            None,
            json!({"url": "http://here", "timeout": "1s"}),
        );
    }

    #[test]
    fn a_service_is_one_thing_only() {
        for wrong in [
            "",
            "file --function add",
            "file --min 1",
            "--function add --endpoint http://here",
            "--endpoint http://here --min 0",
            "--endpoint http://here --version 1",
            "--function add --call odd",
            "--function add --timeout soon",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read("file").is_ok());
    }

    #[test]
    fn services_are_told_with_what_waits_for_them() {
        let service: Service = serde_json::from_value(json!({
            "name": "A", "state": "running", "workflow_id": "w",
            "spec": {
                "class_specification": {"id": "add", "version": "0.1"}, "call": "value",
                "min_instances": 0, "idle_after": "1m", "timeout": "30s",
                "retries": {"attempts": 5, "pause": "100ms", "longest": "30s"},
            },
            "figures": {"tasks_to_do": 3, "in_flight": 1, "done": 10, "took_ms": 1.5, "lines": 2, "copies": 2},
            "a field of a later version": true,
        }))
        .unwrap();
        let outside: Service = serde_json::from_value(json!({
            "name": "B", "state": "paused", "spec": {"url": "http://here", "call": "message"},
        }))
        .unwrap();
        assert_eq!(
            tell_list(&[service.clone(), outside], Style::Pipe),
            "A\trunning\tadd 0.1\tvalue\t2\t0 to 1\t3\t1\t10\t1.5 ms\n\
             B\tpaused\thttp://here\tmessage\t-\t-\t0\t0\t0\t-\n"
        );
        let shown = tell(&service);
        for line in [
            "service A is running, done by add 0.1",
            "copies: 0 to 1, asleep after 1m without tasks",
            "an attempt may take 30s; 5 attempts with pauses from 100ms to 30s",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{shown}");
        }
    }
}
