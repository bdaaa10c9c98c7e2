//! Contracts of clients from files, read at the start: YAML or JSON with one contract for each name, or CSV with one
//! client a line. What is wrong in them ends the start.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use edgeless_orders::{contract::Contract, fault::Fault, tasks::is_service_name, words};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use serde_saphyr::Spanned;

/// The columns of a CSV file, in any order; `client` and `tasks` must be there.
const COLUMNS: [&str; 10] = [
    "client",
    "tasks",
    "own_tasks",
    "mode",
    "deadline",
    "priority",
    "weight",
    "orders_per_second",
    "burst",
    "active_orders",
];
/// Those of them that are limits.
const LIMITS: [&str; 3] = ["orders_per_second", "burst", "active_orders"];
/// Those that hold numbers.
const NUMBERS: [&str; 5] = [
    "priority",
    "weight",
    "orders_per_second",
    "burst",
    "active_orders",
];
/// Endings of files.
const ENDINGS: [&str; 4] = ["yaml", "yml", "json", "csv"];

/// A contract and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct FileContract {
    /// The name of the client.
    pub client: String,
    /// Its contract, which is sound.
    pub contract: Contract,
    /// The file.
    pub file: PathBuf,
    /// The line where it begins, from 1.
    pub line: u64,
}

/// Contracts cannot be read from files.
#[derive(Debug, thiserror::Error)]
pub enum ContractsError {
    /// The setting names no files.
    #[error(
        "key `orders.contracts`: `{0}` must be a folder, `/*.` and one of `yaml`, `yml`, `json`, `csv`"
    )]
    Pattern(String),
    /// A file or the folder cannot be read.
    #[error("key `orders.contracts`: could not read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something in a file is wrong.
    #[error("{}:{line}: {detail}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong, and what would be right.
        detail: String,
    },
}

/// One pattern, or a list of them.
pub(super) fn patterns<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected a pattern such as \"contracts/*.yaml\", or a list of them"
    )]
    enum Patterns {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Patterns::deserialize(from)? {
        Patterns::One(pattern) => vec![pattern],
        Patterns::Many(patterns) => patterns,
    })
}

/// Reads the contracts of all files of patterns such as `contracts/*.yaml`, those of each sorted by their names.
///
/// # Errors
/// A pattern, a file or a contract is wrong, or a client stands twice.
pub fn read(patterns: &[String]) -> Result<Vec<FileContract>, ContractsError> {
    let mut contracts: Vec<FileContract> = Vec::new();
    let mut paths = Vec::new();
    for pattern in patterns {
        paths.extend(files(pattern)?);
    }
    for path in paths {
        let text = fs::read_to_string(&path).map_err(|source| ContractsError::Read {
            path: path.clone(),
            source,
        })?;
        let found = match path.extension().is_some_and(|ending| ending == "csv") {
            true => read_csv(&path, &text)?,
            false => read_yaml(&path, &text)?,
        };
        for contract in found {
            let before = contracts.iter().find(|it| it.client == contract.client);
            if let Some(before) = before {
                let FileContract { client, line, .. } = &contract;
                let (file, first) = (before.file.display(), before.line);
                let detail = format!("the client `{client}` stands in `{file}` too, line {first}");
                return Err(wrong(&path, *line, detail));
            }
            contracts.push(contract);
        }
    }
    if !patterns.is_empty() {
        tracing::info!(contracts = contracts.len(), ?patterns, "contracts are read");
    }
    Ok(contracts)
}

fn files(pattern: &str) -> Result<Vec<PathBuf>, ContractsError> {
    let of_pattern = || {
        let (folder, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
        let ending = name.strip_prefix("*.")?;
        (ENDINGS.contains(&ending) && !folder.contains('*')).then_some((folder, ending))
    };
    let (folder, ending) =
        of_pattern().ok_or_else(|| ContractsError::Pattern(pattern.to_owned()))?;
    let failed = |source| ContractsError::Read {
        path: PathBuf::from(folder),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|it| it == ending) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn wrong(path: &Path, line: u64, detail: impl Into<String>) -> ContractsError {
    ContractsError::Wrong {
        path: path.to_owned(),
        line,
        detail: detail.into(),
    }
}

/// A contract that is sound, of a client with a name.
fn checked(
    path: &Path,
    line: u64,
    client: String,
    contract: Contract,
) -> Result<FileContract, ContractsError> {
    if !is_service_name(&client) {
        let detail =
            format!("`{client}` is no name of a client: 1 to 64 letters, digits, `.`, `_` and `-`");
        return Err(wrong(path, line, detail));
    }
    if let Err(faults) = contract.check() {
        let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
        let detail = format!("client `{client}`: {}", faults.join("; "));
        return Err(wrong(path, line, detail));
    }
    Ok(FileContract {
        client,
        contract,
        file: path.to_owned(),
        line,
    })
}

fn read_yaml(path: &Path, text: &str) -> Result<Vec<FileContract>, ContractsError> {
    let read: Result<BTreeMap<String, Spanned<Value>>, _> = serde_saphyr::from_str(text);
    let documents = read.map_err(|error| {
        let error = error.without_snippet();
        let line = error.location().map_or(1, |location| location.line());
        wrong(path, line, error.to_string())
    })?;
    let one = |(client, document): (String, Spanned<Value>)| {
        let line = document.referenced.line();
        let value = document.value;
        if let Some(fault) = words::not_an_object(&value, &["", "/limits", "/outputs/*"]) {
            return Err(wrong(path, line, format!("client `{client}`: {fault}")));
        }
        let contract = serde_path_to_error::deserialize(value).map_err(|error| {
            let key = error.path().to_string();
            let problem = words::plain(&error.into_inner().to_string());
            let detail = format!("client `{client}`: `{key}`: {problem}");
            wrong(path, line_of_key(text, line, &key), detail)
        })?;
        checked(path, line, client, contract)
    };
    documents.into_iter().map(one).collect()
}

/// The line of a key such as `limits.burst` in what begins at a line; that line where it is not found.
fn line_of_key(text: &str, begins: u64, path: &str) -> u64 {
    let key = path.rsplit('.').next().unwrap_or_default();
    let is_key = |line: &str| {
        let rest = line.trim_start().trim_start_matches('"').strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start_matches('"').trim_start().starts_with(':'))
    };
    let mut lines = (1_u64..)
        .zip(text.lines())
        .skip_while(|(line, _)| *line < begins);
    lines
        .find(|(_, line)| is_key(line))
        .map_or(begins, |(line, _)| line)
}

fn read_csv(path: &Path, text: &str) -> Result<Vec<FileContract>, ContractsError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let broken = |error: &csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        wrong(path, line, error.to_string())
    };
    let columns = reader.headers().map_err(|error| broken(&error))?.clone();
    let unknown = columns.iter().find(|column| !COLUMNS.contains(column));
    let twice =
        (1..columns.len()).find(|at| columns.iter().take(*at).any(|it| *it == columns[*at]));
    let missing = ["client", "tasks"]
        .into_iter()
        .find(|it| !columns.iter().any(|is| is == *it));
    let detail = match (unknown, twice, missing) {
        (Some(column), _, _) => format!(
            "there is no column `{column}`; there are {}",
            COLUMNS.join(", ")
        ),
        (None, Some(at), _) => format!("the column `{}` stands twice", &columns[at]),
        (None, None, Some(column)) => format!("the column `{column}` is missing"),
        (None, None, None) => String::new(),
    };
    if !detail.is_empty() {
        return Err(wrong(path, 1, detail));
    }
    let mut contracts = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| broken(&error))?;
        let line = row.position().map_or(1, |at| line_of(text, at));
        let cells = columns
            .iter()
            .zip(&row)
            .filter(|(_, cell)| !cell.is_empty());
        let cells: BTreeMap<&str, &str> = cells.collect();
        let client = cells.get("client").copied().unwrap_or_default().to_owned();
        let contract = contract(&cells).map_err(|detail| wrong(path, line, detail))?;
        contracts.push(checked(path, line, client, contract)?);
    }
    Ok(contracts)
}

/// The line of a row: comments and empty lines before it are skipped.
fn line_of(text: &str, position: &csv::Position) -> u64 {
    let rest = usize::try_from(position.byte())
        .ok()
        .and_then(|byte| text.get(byte..));
    let is_row = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let before = rest.map_or(0, |rest| {
        rest.lines().take_while(|line| !is_row(line)).count()
    });
    position.line() + before as u64
}

/// The contract of a line; an error names the column.
fn contract(cells: &BTreeMap<&str, &str>) -> Result<Contract, String> {
    let (mut document, mut limits) = (Map::new(), Map::new());
    for (column, cell) in cells {
        let value = match *column {
            "client" => continue,
            "tasks" => {
                let tasks = cell.split([' ', '\t', ';']).filter(|task| !task.is_empty());
                tasks.collect::<Vec<_>>().into()
            }
            number if NUMBERS.contains(&number) => {
                let number: Result<serde_json::Number, _> = cell.parse();
                let number =
                    number.map_err(|_| format!("column `{column}`: `{cell}` is no number"));
                Value::Number(number?)
            }
            _ => json!(cell),
        };
        match LIMITS.contains(column) {
            true => limits.insert((*column).to_owned(), value),
            false => document.insert((*column).to_owned(), value),
        };
    }
    document.insert("limits".to_owned(), limits.into());
    serde_path_to_error::deserialize(Value::Object(document)).map_err(|error| {
        let path = error.path().to_string();
        let column = path.rsplit('.').next().unwrap_or_default().to_owned();
        let text = words::plain(&error.into_inner().to_string());
        format!("column `{column}`: {text}")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edgeless_orders::{contract::OwnTasks, message::Mode};

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn read_all(files: &[(&str, &str)], ending: &str) -> Result<Vec<FileContract>, String> {
        let folder = folder(files);
        let found = read(&[format!("{}/*.{ending}", folder.path().display())]);
        let root = format!("{}/", folder.path().display());
        found.map_err(|error| error.to_string().replace(&root, ""))
    }

    #[track_caller]
    fn refused(name: &str, text: &str, expected: &str) {
        let ending = name.rsplit('.').next().unwrap();
        let error = read_all(&[(name, text)], ending).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn every_example_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/contracts");
        for ending in ["yaml", "csv"] {
            let contracts = read(&[format!("{}/*.{ending}", folder.display())]).unwrap();
            assert!(!contracts.is_empty());
        }
    }

    #[test]
    fn yaml_and_json_have_a_contract_for_each_name() {
        let yaml =
            "shop:\n  tasks: [A, [B, C]]\n  deadline: 5s\nother:\n  tasks: [{task: A, from: /x}]\n";
        let json = "{\"third\": {\"todo\": [\"A\"], \"limits\": {\"burst\": 3}}}";
        let files = [("a.yaml", yaml), ("b.yaml", json), ("c.txt", "?")];
        let found = read_all(&files, "yaml").unwrap();
        let names: Vec<(&str, u64)> = found.iter().map(|it| (&*it.client, it.line)).collect();
        assert_eq!(names, [("other", 5), ("shop", 2), ("third", 1)]);
        assert_eq!(found[1].contract.deadline, Some(Duration::from_secs(5)));
        assert_eq!(found[2].contract.limits.burst, Some(3));
    }

    #[test]
    fn a_line_of_csv_is_a_client_and_an_empty_cell_the_default() {
        let text = "client,tasks,own_tasks,mode,deadline,priority,weight,orders_per_second,burst,active_orders\n\
                    # the shop\n\
                    shop, A;B  C, any, trace, 10s, 7, 20, 0.5, 4, 100\n\
                    other,A,,,,,,,,\n";
        let found = read_all(&[("a.csv", text)], "csv").unwrap();
        assert_eq!((found[0].line, found[1].line), (3, 4));
        let shop = &found[0].contract;
        assert_eq!(shop.tasks, json!(["A", "B", "C"]));
        assert_eq!((shop.own_tasks, shop.mode), (OwnTasks::Any, Mode::Trace));
        assert_eq!((shop.priority, shop.weight), (Some(7), 20));
        assert_eq!(shop.deadline, Some(Duration::from_secs(10)));
        let limits = &shop.limits;
        assert_eq!(limits.orders_per_second, Some(0.5));
        assert_eq!((limits.burst, limits.active_orders), (Some(4), Some(100)));
        let defaults: Contract = serde_json::from_value(json!({"tasks": ["A"]})).unwrap();
        assert_eq!(found[1].contract, defaults);
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        let text = "shop:\n  tasks: [A]\n  speed: 1\n";
        refused(
            "a.yaml",
            text,
            "a.yaml:3: client `shop`: `speed`: there is no key `speed` here",
        );
        let text = "shop:\n  limits:\n    \"burst\": x\n";
        refused(
            "a.yaml",
            text,
            "a.yaml:3: client `shop`: `limits.burst`: it must be a whole number",
        );
        refused(
            "a.yaml",
            "shop:\n  tasks: [A, A b]\n",
            "a.yaml:2: client `shop`: /tasks/1: ",
        );
        refused(
            "a.yaml",
            "shop: {priority: 10}\n",
            "a.yaml:1: client `shop`: /priority: ",
        );
        refused(
            "a.yaml",
            "shop: [[A]]\n",
            "a.yaml:1: client `shop`: the document: it must be an object, not a list",
        );
        refused(
            "a.yaml",
            "\n\"a b\":\n  tasks: [A]\n",
            "a.yaml:3: `a b` is no name",
        );
        refused(
            "a.yaml",
            "shop:\n  tasks: [A]\nshop:\n  tasks: [B]\n",
            "a.yaml:3: ",
        );
        refused("a.yaml", "shop: [", "a.yaml:2: ");
        refused(
            "a.csv",
            "client,tasks,speed\n",
            "a.csv:1: there is no column `speed`",
        );
        refused(
            "a.csv",
            "client,tasks,tasks\n",
            "a.csv:1: the column `tasks` stands twice",
        );
        refused(
            "a.csv",
            "client\nshop\n",
            "a.csv:1: the column `tasks` is missing",
        );
        refused("a.csv", "client,tasks\nshop,A,B\n", "a.csv:2: ");
        refused("a.csv", "client,tasks\n,A\n", "a.csv:2: `` is no name");
        let text = "client,tasks,priority\nshop,A,\nother,A,high\n";
        refused(
            "a.csv",
            text,
            "a.csv:3: column `priority`: `high` is no number",
        );
        let text = "client,tasks,mode\nshop,A,fast\n";
        refused(
            "a.csv",
            text,
            "a.csv:2: column `mode`: it must be one of `slip` or `trace`, not `fast`",
        );
        let text = "client,tasks,burst\nshop,A,1.5\n";
        refused("a.csv", text, "a.csv:2: column `burst`: ");
    }

    #[test]
    fn a_client_stands_in_one_file_only() {
        let files = [
            ("a.yaml", "shop: {tasks: [A]}"),
            ("b.yaml", "\nshop: {tasks: [B]}"),
        ];
        let error = read_all(&files, "yaml").unwrap_err();
        assert_eq!(
            error,
            "b.yaml:2: the client `shop` stands in `a.yaml` too, line 1"
        );
        let text = "client,tasks\nshop,A\nshop,B\n";
        refused(
            "a.csv",
            text,
            "a.csv:3: the client `shop` stands in `a.csv` too, line 2",
        );
    }

    #[test]
    fn contracts_come_from_one_pattern_or_several() {
        let settings = |text: &str| {
            serde_json::from_str::<super::super::Settings>(text).map(|settings| settings.contracts)
        };
        assert_eq!(settings("{}").unwrap(), [""; 0]);
        assert_eq!(
            settings(r#"{"contracts": "a/*.csv"}"#).unwrap(),
            ["a/*.csv"]
        );
        let two = settings(r#"{"contracts": ["a/*.csv", "b/*.yaml"]}"#).unwrap();
        assert_eq!(two, ["a/*.csv", "b/*.yaml"]);
        let wrong = settings(r#"{"contracts": 5}"#).unwrap_err().to_string();
        assert!(wrong.contains("a pattern such as"), "{wrong}");

        let folder = folder(&[
            ("a.yaml", "shop: {tasks: [A]}"),
            ("b.csv", "client,tasks\nlab,B\n"),
        ]);
        let pattern = |ending: &str| format!("{}/*.{ending}", folder.path().display());
        let found = read(&[pattern("yaml"), pattern("csv")]).unwrap();
        let names: Vec<&str> = found.iter().map(|it| &*it.client).collect();
        assert_eq!(names, ["shop", "lab"]);
        assert_eq!(read(&[]).unwrap(), []);
    }

    #[test]
    fn a_pattern_is_a_folder_and_an_ending() {
        for pattern in [
            "contracts",
            "contracts/*",
            "contracts/*.toml",
            "*/x.yaml",
            "*/*.yaml",
            "",
        ] {
            let error = read(&[pattern.to_owned()]).unwrap_err();
            assert!(
                matches!(error, ContractsError::Pattern(_)),
                "{pattern}: {error}"
            );
        }
        let absent = read(&["no/such/folder/*.yaml".to_owned()]).unwrap_err();
        assert!(matches!(absent, ContractsError::Read { .. }));
    }
}
