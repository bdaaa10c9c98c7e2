//! Many orders from a file: rows of CSV or lines of NDJSON, sent together.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use reqwest::{Method, StatusCode};

use super::document::{self, Document};
use crate::{
    client::Client,
    failure::{Failure, file},
    json::Json,
    output::Output,
    view::{Fault, Problem, Submitted},
};

/// Orders that are sent together, at most.
const MOST: usize = 2_000;
/// Bytes that are sent together, unless one order alone has more.
const MOST_BYTES: usize = 8 << 20;
/// What is read ahead.
const AHEAD: usize = 1 << 20;
/// The columns of a table of orders.
const COLUMNS: [&str; 7] = [
    "client", "input", "tasks", "mode", "deadline", "priority", "key",
];

/// Where orders come from, one after the other.
pub(super) struct Source {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Csv {
        columns: Vec<String>,
        rows: Box<csv::Reader<Box<dyn Read>>>,
    },
    Ndjson {
        lines: BufReader<Box<dyn Read>>,
        number: u64,
    },
}

/// The document of an order and the line of the file where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    number: u64,
    text: String,
}

/// Rows of a CSV file with a header.
///
/// # Errors
/// It cannot be read, or has a column that orders do not have.
pub(super) fn csv(path: &Path) -> Result<Source, Failure> {
    Source::csv(path, open(path)?)
}

/// Lines of JSON.
///
/// # Errors
/// The file cannot be read.
pub(super) fn ndjson(path: &Path) -> Result<Source, Failure> {
    Ok(Source::ndjson(path, open(path)?))
}

fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    Ok(match path == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(path).map_err(file(path))?),
    })
}

/// Sends all, and shows the id of each, or what is wrong with it.
///
/// # Errors
/// ε-CON cannot be reached, the file cannot be read, or some orders are refused.
pub(super) async fn run(
    mut source: Source,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let (mut all, mut refused) = (0, 0);
    let mut left = None;
    loop {
        let batch = source.batch(&mut left)?;
        if batch.is_empty() {
            break;
        }
        all += batch.len();
        for (line, answer) in batch.iter().zip(send(&batch, client).await?) {
            let Submitted { id, error, .. } = client.view(&answer)?;
            match error.map(why) {
                None => {
                    if !output.line(&answer, |_| format!("{id}\n"))? {
                        return Ok(());
                    }
                }
                Some(problem) => {
                    refused += 1;
                    output.line(&answer, |_| String::new())?;
                    let path = source.path.display();
                    eprintln!("{path}:{}: {}", line.number, problem);
                }
            }
        }
    }
    match refused {
        0 => Ok(()),
        _ => Err(Failure::Order(format!(
            "{refused} of {all} orders are refused; the others are accepted"
        ))),
    }
}

async fn send(batch: &[Line], client: &Client) -> Result<Vec<Json>, Failure> {
    let mut body = String::new();
    for line in batch {
        body.push_str(&line.text);
        body.push('\n');
    }
    let request = client
        .request(Method::POST, &["orders", "batch"])
        .header("content-type", "application/x-ndjson")
        .body(body);
    let answer = client.body(client.open(request).await?).await?;
    let lines = answer.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.trim_ascii().is_empty());
    let odd = |problem: String| client.odd(StatusCode::OK, problem);
    let answers: Result<Vec<Json>, _> = lines.map(Json::parse).collect();
    let answers = answers.map_err(|error| odd(error.to_string()))?;
    if answers.len() != batch.len() {
        let (got, sent) = (answers.len(), batch.len());
        return Err(odd(format!("{got} answers to {sent} orders")));
    }
    Ok(answers)
}

/// Why an order of a batch is refused, in words.
fn why(problem: Problem) -> String {
    let fault = |fault: &Fault| match fault.pointer.as_str() {
        "" => fault.detail.clone(),
        pointer => format!("{pointer}: {}", fault.detail),
    };
    let faults: Vec<String> = problem.errors.iter().map(fault).collect();
    match faults.is_empty() {
        true => problem.detail,
        false => faults.join("; "),
    }
}

impl Source {
    fn csv(path: &Path, from: Box<dyn Read>) -> Result<Self, Failure> {
        let mut rows = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .buffer_capacity(AHEAD)
            .from_reader(from);
        let path = path.to_owned();
        let header = rows.headers().map_err(|error| of_csv(&path, &error))?;
        let columns: Vec<String> = header.iter().map(str::to_owned).collect();
        let unknown = columns
            .iter()
            .find(|name| !COLUMNS.contains(&name.as_str()));
        if let Some(unknown) = unknown {
            return Err(Failure::Content {
                path,
                pointer: ", line 1".to_owned(),
                problem: format!(
                    "unknown column `{unknown}`; there are {}",
                    COLUMNS.join(", ")
                ),
            });
        }
        let rows = Box::new(rows);
        let kind = Kind::Csv { columns, rows };
        Ok(Self { path, kind })
    }

    fn ndjson(path: &Path, from: Box<dyn Read>) -> Self {
        let lines = BufReader::with_capacity(AHEAD, from);
        Self {
            path: path.to_owned(),
            kind: Kind::Ndjson { lines, number: 0 },
        }
    }

    /// Some of the next orders; none: there are no more. `left` keeps what is for the next time.
    fn batch(&mut self, left: &mut Option<Line>) -> Result<Vec<Line>, Failure> {
        let mut batch = Vec::from_iter(left.take());
        let mut bytes: usize = batch.iter().map(|line| line.text.len()).sum();
        while batch.len() < MOST && (batch.is_empty() || !self.may_wait()) {
            let Some(line) = self.next()? else { break };
            bytes += line.text.len() + 1;
            if bytes > MOST_BYTES && !batch.is_empty() {
                *left = Some(line);
                break;
            }
            batch.push(line);
        }
        Ok(batch)
    }

    /// Whether the next order may be yet to come: what is there is not to wait for it.
    fn may_wait(&self) -> bool {
        match &self.kind {
            Kind::Csv { .. } => false,
            Kind::Ndjson { lines, .. } => lines.buffer().is_empty(),
        }
    }

    fn next(&mut self) -> Result<Option<Line>, Failure> {
        match &mut self.kind {
            Kind::Csv { columns, rows } => {
                let mut row = csv::StringRecord::new();
                let read = rows.read_record(&mut row);
                if !read.map_err(|error| of_csv(&self.path, &error))? {
                    return Ok(None);
                }
                let number = row.position().map_or(0, csv::Position::line);
                let document = of_row(columns, &row).map_err(|problem| Failure::Content {
                    path: self.path.clone(),
                    pointer: format!(", line {number}"),
                    problem,
                })?;
                let text = serde_json::to_string(&document).expect("a document has string keys");
                // Between values they mean nothing, and within texts there are none.
                let text = text.replace(['\n', '\r'], " ");
                Ok(Some(Line { number, text }))
            }
            Kind::Ndjson { lines, number } => loop {
                let mut text = String::new();
                *number += 1;
                if lines.read_line(&mut text).map_err(file(&self.path))? == 0 {
                    return Ok(None);
                }
                let trimmed = text.trim();
                if !trimmed.is_empty() {
                    return Ok(Some(Line {
                        number: *number,
                        text: trimmed.to_owned(),
                    }));
                }
            },
        }
    }
}

fn of_csv(path: &Path, error: &csv::Error) -> Failure {
    Failure::Content {
        path: path.to_owned(),
        pointer: String::new(),
        problem: error.to_string(),
    }
}

/// The order of a row; an empty cell says nothing.
fn of_row(columns: &[String], row: &csv::StringRecord) -> Result<Document, String> {
    let cells: Vec<(&str, &str)> = columns
        .iter()
        .map(String::as_str)
        .zip(row)
        .filter(|(_, cell)| !cell.is_empty())
        .collect();
    let cell = |name: &str| {
        let found = cells.iter().find(|(column, _)| *column == name);
        found.map(|(_, cell)| *cell)
    };
    let text = |name: &str| cell(name).map(str::to_owned);
    let input = cell("input").ok_or("the column `input` is empty; write null for nothing")?;
    let input = document::raw(input).unwrap_or_else(|_| document::raw_of(&input.into()));
    let tasks = match cell("tasks") {
        None => None,
        Some(json) if json.starts_with('[') => {
            Some(document::raw(json).map_err(|problem| format!("column `tasks`: {problem}"))?)
        }
        Some(names) => {
            let names = names.split([' ', '\t', ';']);
            Some(document::tasks(names.filter(|name| !name.is_empty())))
        }
    };
    let priority = cell("priority").map(|cell| {
        let priority = cell.parse().ok().filter(|priority| *priority <= 9);
        priority.ok_or_else(|| format!("column `priority`: `{cell}` must be 0 to 9"))
    });
    Ok(Document {
        client: text("client"),
        input: Some(input),
        tasks,
        mode: text("mode"),
        deadline: text("deadline"),
        priority: priority.transpose()?,
        idempotency_key: text("key"),
        ..Document::default()
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use serde_json::json;

    use super::*;

    const PATH: &str = "orders.csv";

    fn reader(text: impl Into<Vec<u8>>) -> Box<dyn Read> {
        Box::new(Cursor::new(text.into()))
    }

    fn rows(text: &str) -> Result<Vec<Line>, String> {
        let source = Source::csv(Path::new(PATH), reader(text));
        let batch = source.and_then(|mut source| source.batch(&mut None));
        batch.map_err(|failure| failure.to_string())
    }

    fn line(number: u64, text: &str) -> Line {
        let text = text.to_owned();
        Line { number, text }
    }

    #[test]
    fn rows_become_orders() {
        let table = "client,input,tasks,mode,deadline,priority,key\n\
                     c,5,A;B,trace,5s,9,k-1\n\
                     ,some text,A  B,,,,\n\
                     ,\"{\"\"a\"\":\n1}\",\"[\"\"A\"\",[\"\"B\"\"]]\",,,,\n";
        let expected = [
            line(
                2,
                r#"{"client":"c","input":5,"tasks":["A","B"],"mode":"trace","deadline":"5s","priority":9,"idempotency_key":"k-1"}"#,
            ),
            line(3, r#"{"input":"some text","tasks":["A","B"]}"#),
            line(4, r#"{"input":{"a": 1},"tasks":["A",["B"]]}"#),
        ];
        assert_eq!(rows(table).unwrap(), expected);
        let input_alone = rows("input\n1\n2\n").unwrap();
        assert_eq!(
            input_alone,
            [line(2, r#"{"input":1}"#), line(3, r#"{"input":2}"#)]
        );
        assert_eq!(rows("input\n").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_with_a_table_is_told_with_its_line() {
        for (table, expected) in [
            (
                "input,task\n5,A\n",
                "`orders.csv`, line 1: unknown column `task`; there are client",
            ),
            (
                "input,tasks\n5,A\n,A\n",
                "`orders.csv`, line 3: the column `input`",
            ),
            (
                "input,tasks\n5,[A\n",
                "`orders.csv`, line 2: column `tasks`: it is not JSON",
            ),
            (
                "input,priority\n5,10\n",
                "`orders.csv`, line 2: column `priority`: `10`",
            ),
            ("input,tasks\n5\n", "`orders.csv`: CSV error"),
        ] {
            let shown = rows(table).unwrap_err();
            assert!(shown.starts_with(expected), "{shown}");
        }
    }

    #[test]
    fn lines_are_sent_together_up_to_a_bound() {
        let path = Path::new("-");
        let text = "{\"input\":1}\n\n  {\"input\":2}\r\n{\"input\":3}";
        let mut source = Source::ndjson(path, reader(text));
        let batch = source.batch(&mut None).unwrap();
        let numbers: Vec<u64> = batch.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 3, 4]);
        assert_eq!(batch[1].text, r#"{"input":2}"#);
        assert_eq!(source.batch(&mut None).unwrap(), []);

        let many = "{\"input\":1}\n".repeat(MOST + 1);
        let mut source = Source::ndjson(path, reader(many));
        let mut left = None;
        assert_eq!(source.batch(&mut left).unwrap().len(), MOST);
        assert_eq!(source.batch(&mut left).unwrap().len(), 1);

        let long = format!("\"{}\"\n", "x".repeat(MOST_BYTES / 2)).repeat(3);
        let mut source = Source::csv(path, reader(format!("input\n{long}"))).unwrap();
        for left_over in [true, true, false] {
            assert_eq!(source.batch(&mut left).unwrap().len(), 1);
            assert_eq!(left.is_some(), left_over);
        }
        assert_eq!(source.batch(&mut left).unwrap(), []);
    }

    /// Gives one line each time it is read, as somebody who types does.
    struct Typed(Vec<&'static [u8]>);

    impl Read for Typed {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let Some(next) = self.0.pop() else {
                return Ok(0);
            };
            buffer[..next.len()].copy_from_slice(next);
            Ok(next.len())
        }
    }

    #[test]
    fn what_is_there_does_not_wait_for_what_is_yet_to_come() {
        let typed = Typed(vec![b"3\n", b"2\n", b"1\n"]);
        let mut source = Source::ndjson(Path::new("-"), Box::new(typed));
        for number in 1..=3 {
            let batch = source.batch(&mut None).unwrap();
            assert_eq!(batch, [line(number, &number.to_string())]);
        }
    }

    #[test]
    fn refused_orders_say_why() {
        let refused = |answer: serde_json::Value| {
            let submitted: Submitted = serde_json::from_value(answer).unwrap();
            submitted.error.map(why)
        };
        assert_eq!(refused(json!({"id": "o"})), None);
        let invalid = json!({"error": {"status": 422, "detail": "x", "errors": [
            {"pointer": "/input", "detail": "an order has an `input`"},
            {"pointer": "", "detail": "odd"},
        ]}});
        assert_eq!(
            refused(invalid).as_deref(),
            Some("/input: an order has an `input`; odd")
        );
        let too_many = json!({"error": {"status": 429, "detail": "too many"}});
        assert_eq!(refused(too_many).as_deref(), Some("too many"));
    }
}
