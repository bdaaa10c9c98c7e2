//! `edgeless_cli order submit`: one order from the command line; many are in [`super::batch`].

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgGroup, Args};
use humantime_serde::re::humantime;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json, value::RawValue};

use super::{
    batch,
    document::{self, Document},
    judge,
};
use crate::{
    client::{Client, DEADLINE},
    failure::{Failure, file},
    json::Json,
    output::{Output, Style},
    view::Submitted,
};

/// What is said of a single order.
const SINGLE: [&str; 11] = [
    "client", "task", "tasks", "mode", "deadline", "delay", "priority", "key", "callback",
    "metadata", "wait",
];

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["input", "input_file", "blob", "csv", "ndjson"])))]
pub(crate) struct Submit {
    /// Who sends it; left out: `anybody`
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// The services that do its tasks, in this order; left out: as the contract of the client says
    #[arg(
        long,
        value_name = "SERVICE",
        value_delimiter = ',',
        conflicts_with = "tasks"
    )]
    task: Vec<String>,
    /// Its list of tasks as JSON, with groups, conditions and the like
    #[arg(long, value_name = "JSON", value_parser = document::raw)]
    tasks: Option<Box<RawValue>>,
    /// What it is about, as JSON; a text has quotes: '"text"'
    #[arg(long, value_name = "JSON", value_parser = document::raw, allow_negative_numbers = true)]
    input: Option<Box<RawValue>>,
    /// A file of JSON with what it is about; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    input_file: Option<PathBuf>,
    /// A file of any kind that it is about, such as an image: it is kept as a blob that the input names
    #[arg(long, value_name = "FILE")]
    blob: Option<PathBuf>,
    /// What the blob is, such as `image/png`; left out: as the name of the file says
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["input", "input_file", "csv", "ndjson"])]
    content_type: Option<String>,
    /// Which messages its services get
    #[arg(long, value_parser = ["slip", "trace"])]
    mode: Option<String>,
    /// How long it may take, such as `5s`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    deadline: Option<String>,
    /// How long it waits before it begins
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    delay: Option<String>,
    /// 0 to 9: tasks of orders with a greater one go first
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// The same key with the same order is one order, however often it is sent
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    /// Where its end is sent to
    #[arg(long, value_name = "URL")]
    callback: Option<String>,
    /// What is noted on it; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::list::pair)]
    metadata: Vec<(String, String)>,
    /// Wait so long for its result and show it; fails when it does not come
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// Many orders, one a row, with some of the columns client, input, tasks, mode, deadline, priority, key; `-` reads
    /// standard input. Tasks are separated by blanks or `;`, and an input that is not JSON is a text
    #[arg(long, value_name = "FILE", conflicts_with_all = SINGLE)]
    csv: Option<PathBuf>,
    /// Many orders, one a line, each the JSON document of an order; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = SINGLE)]
    ndjson: Option<PathBuf>,
}

/// Checks a duration; it is sent as it is written.
fn duration(text: &str) -> Result<String, humantime::DurationError> {
    humantime::parse_duration(text).map(|_| text.to_owned())
}

pub(super) async fn run(submit: Submit, client: &Client, output: &Output) -> Result<(), Failure> {
    if let Some(path) = &submit.csv {
        return batch::run(batch::csv(path)?, client, output).await;
    }
    if let Some(path) = &submit.ndjson {
        return batch::run(batch::ndjson(path)?, client, output).await;
    }
    let wait = submit.wait;
    let document = document(submit, client).await?;
    let mut request = client
        .request(Method::POST, &["orders"])
        .json(&document)
        .timeout(DEADLINE);
    if let Some(wait) = wait {
        let text = humantime::format_duration(wait).to_string();
        request = request
            .query(&[("wait", text)])
            .timeout(wait.saturating_add(DEADLINE));
    }
    let response = client.open(request).await?;
    let status = response.status();
    let body = client.body(response).await?;
    let answer = Json::parse(&body).map_err(|error| client.odd(status, error.to_string()))?;
    let submitted: Submitted = client.view(&answer)?;
    match (status, wait) {
        (StatusCode::OK, _) => {
            output.answer(&answer, |style| tell_end(&submitted, style))?;
            let Submitted { id, state, .. } = &submitted;
            judge(id, state, submitted.reason.as_deref())
        }
        (_, Some(wait)) => {
            output.answer(&answer, |_| String::new())?;
            let wait = humantime::format_duration(wait);
            let id = submitted.id;
            Err(Failure::Order(format!(
                "order {id} has not ended within {wait}; it goes on: see `edgeless_cli order watch {id}`"
            )))
        }
        (_, None) => output.answer(&answer, |style| tell_accepted(&submitted, style)),
    }
}

async fn document(submit: Submit, client: &Client) -> Result<Document, Failure> {
    let input = match (submit.input, &submit.input_file, &submit.blob) {
        (Some(input), _, _) => Some(input),
        (None, Some(path), _) => Some(read_input(path)?),
        (None, None, Some(path)) => {
            Some(keep_blob(path, submit.content_type.as_deref(), client).await?)
        }
        (None, None, None) => None,
    };
    let tasks = match submit.task.is_empty() {
        true => submit.tasks,
        false => Some(document::tasks(submit.task.iter().map(String::as_str))),
    };
    Ok(Document {
        client: submit.client,
        input,
        tasks,
        mode: submit.mode,
        deadline: submit.deadline,
        delay: submit.delay,
        priority: submit.priority,
        idempotency_key: submit.key,
        callback: submit.callback,
        metadata: submit.metadata.into_iter().collect(),
    })
}

fn read_input(path: &Path) -> Result<Box<RawValue>, Failure> {
    let text = match path == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(path),
    };
    document::raw(&text.map_err(file(path))?).map_err(|problem| Failure::Content {
        path: path.to_owned(),
        pointer: String::new(),
        problem,
    })
}

/// Uploads a file; what the input says instead of it.
async fn keep_blob(
    path: &Path,
    content_type: Option<&str>,
    client: &Client,
) -> Result<Box<RawValue>, Failure> {
    let bytes = std::fs::read(path).map_err(file(path))?;
    let content_type = content_type.unwrap_or_else(|| content_type_of(path));
    let request = client
        .request(Method::PUT, &["blobs"])
        .header("content-type", content_type)
        .body(bytes);
    let kept: Value = client.view(&client.send(request).await?)?;
    let input = json!({"blob": kept["blob"], "content_type": content_type});
    Ok(document::raw_of(&input))
}

/// What a file is, by the end of its name.
fn content_type_of(path: &Path) -> &'static str {
    let end = path.extension().and_then(|end| end.to_str());
    match end.unwrap_or_default().to_ascii_lowercase().as_str() {
        "bmp" => "image/bmp",
        "csv" => "text/csv",
        "gif" => "image/gif",
        "jpeg" | "jpg" => "image/jpeg",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "ppm" => "image/x-portable-pixmap",
        "txt" => "text/plain",
        "webp" => "image/webp",
        _ => "application/octet-stream",
    }
}

fn tell_accepted(Submitted { id, again, .. }: &Submitted, style: Style) -> String {
    match (style, again) {
        (Style::Terminal, true) => format!("order {id} was accepted before\n"),
        (Style::Terminal, false) => format!("order {id} is accepted\n"),
        // A script wants to look at it.
        (Style::Pipe | Style::Json, _) => format!("{id}\n"),
    }
}

/// How an order has ended; for a script only its result.
fn tell_end(order: &Submitted, style: Style) -> String {
    if order.state != "completed" {
        return String::new();
    }
    let result = order.result.as_ref().map(Json::plain).unwrap_or_default();
    match style {
        Style::Terminal => format!("order {} is completed: {result}\n", order.id),
        Style::Pipe | Style::Json => format!("{result}\n"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        submit: Submit,
    }

    fn read(arguments: &[&str]) -> Result<Submit, clap::Error> {
        let all = ["submit"].iter().chain(arguments);
        Line::try_parse_from(all).map(|line| line.submit)
    }

    #[tokio::test]
    async fn arguments_become_the_document_of_an_order() {
        let client = Client::new("http://127.0.0.1:1".parse().unwrap()).unwrap();
        let check = async |arguments: &[&str], expected: &str| {
            let document = document(read(arguments).unwrap(), &client).await.unwrap();
            assert_eq!(serde_json::to_string(&document).unwrap(), expected);
        };
        check(
            &["--input", "5", "--task", "A,B", "--task", "C"],
            r#"{"input":5,"tasks":["A","B","C"]}"#,
        )
        .await;
        check(
            &["--input", "-1e400", "--tasks", r#"["A",["B"]]"#],
            r#"{"input":-1e400,"tasks":["A",["B"]]}"#,
        )
        .await;
        let all = [
            "--input=null",
            "--client=c",
            "--mode=trace",
            "--deadline=5s",
            "--delay=1m",
            "--priority=9",
            "--key=k",
            "--callback=http://here",
            "--metadata=a=b=c",
            "--metadata=d=",
        ];
        check(
            &all,
            r#"{"client":"c","input":null,"mode":"trace","deadline":"5s","delay":"1m","priority":9,"idempotency_key":"k","callback":"http://here","metadata":{"a":"b=c","d":""}}"#,
        )
        .await;
    }

    #[test]
    fn wrong_or_contradicting_arguments_are_refused() {
        for wrong in [
            &[] as &[&str],
            &["--input", "five"],
            &["--input", "5", "--input-file", "f"],
            &["--input", "5", "--task", "A", "--tasks", "[]"],
            &["--input", "5", "--priority", "10"],
            &["--input", "5", "--deadline", "soon"],
            &["--input", "5", "--mode", "odd"],
            &["--input", "5", "--metadata", "a"],
            &["--input", "5", "--content-type", "image/png"],
            &["--csv", "f", "--client", "c"],
            &["--ndjson", "f", "--wait", "1s"],
            &["--ndjson", "f", "--csv", "f"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        let conflict = read(&["--ndjson", "f", "--task", "A"])
            .unwrap_err()
            .to_string();
        assert!(conflict.contains("--task"), "{conflict}");
    }

    #[test]
    fn a_script_gets_the_result_alone() {
        let text = r#"{"id": "o", "state": "completed", "result": {"a": 1e400}}"#;
        let mut order: Submitted = serde_json::from_str(text).unwrap();
        assert_eq!(tell_end(&order, Style::Pipe), "{\"a\":1e400}\n");
        let shown = tell_end(&order, Style::Terminal);
        assert_eq!(shown, "order o is completed: {\"a\":1e400}\n");
        assert_eq!(tell_accepted(&order, Style::Pipe), "o\n");
        order.state = "failed".to_owned();
        assert_eq!(tell_end(&order, Style::Pipe), "");
    }
}
