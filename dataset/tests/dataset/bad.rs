//! Every command tells every fault of a dataset with its file and line, and does with the rest what it is for; a file of
//! any length takes bounded memory.

use super::*;

/// All commands, with what they need beside the folder.
fn commands() -> Vec<Vec<&'static str>> {
    let mut commands = vec![
        vec!["summary", "."],
        vec!["summary", ".", "--json"],
        vec!["report", ".", "--out", "report.html"],
        vec!["fit", ".", "--out", "scaling.toml"],
        vec!["replay", ".", "--policy", "fixed"],
    ];
    if cfg!(feature = "parquet") {
        commands.push(vec!["export", ".", "--parquet", "--out", "parquet"]);
    }
    commands
}

/// The small dataset, with samples as `change` makes them.
fn with_samples(change: impl FnOnce(String) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden::folder("small")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "csv") {
            let to = folder.path().join(path.file_name().unwrap());
            fs::copy(&path, to).unwrap();
        }
    }
    let path = folder.path().join(SAMPLES);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, change(text)).unwrap();
    folder
}

/// Each command tells that fault of the samples, does its work nevertheless, and ends with it where faults are strict.
fn check(fault: &str, change: impl FnOnce(String) -> String) {
    let folder = with_samples(change);
    let wanted = format!("./{SAMPLES}:{fault}");
    let output = run(folder.path(), &["check", "."]);
    assert_eq!(output.status.code(), Some(1));
    let shown = stdout(&output);
    assert!(shown.contains(&wanted), "{wanted}: {shown}");
    for mut command in commands() {
        let output = run(folder.path(), &command);
        let said = stderr(&output);
        assert!(said.contains(&wanted), "{command:?}, {wanted}: {said}");
        assert_eq!(output.status.code(), Some(0), "{command:?}: {said}");
        if command[0] == "export" {
            fs::remove_dir_all(folder.path().join("parquet")).unwrap();
        }
        command.push("--strict");
        let output = run(folder.path(), &command);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains(&wanted), "{command:?}, {wanted}: {said}");
        if command[0] == "export" {
            fs::remove_dir_all(folder.path().join("parquet")).unwrap();
        }
    }
}

/// A row behind the others, which are lines 2 to 601.
fn behind(row: &str) -> impl FnOnce(String) -> String {
    move |text| format!("{text}{row}\n")
}

#[test]
fn numbers_that_are_none_are_told_by_every_command() {
    check(
        "602: `value` is not finite: `NaN`",
        behind(&format!("function_execution_time,{COPY},NaN,1700000001.0")),
    );
}

#[test]
fn rows_from_the_future_are_told_by_every_command() {
    check(
        "602: `timestamp` is in the future: `9000000000.0`",
        behind(&format!("function_execution_time,{COPY},0.1,9000000000.0")),
    );
}

#[test]
fn missing_columns_are_told_by_every_command() {
    check(
        "602: the header lacks `value`; rows under it are not read",
        behind(&format!(
            "metric,identifier,timestamp\nfunction_execution_time,{COPY},1700000001.0"
        )),
    );
}

#[test]
fn mixed_headers_are_told_by_every_command() {
    check(
        "602: another header in the middle: `exp,metric,identifier,value,timestamp`; rows under it are read by it",
        behind(&format!(
            "exp,metric,identifier,value,timestamp\na,function_execution_time,{COPY},0.1,1700000001.0"
        )),
    );
}

#[test]
fn times_beyond_all_measure_are_told_by_every_command() {
    for value in ["1e308", "10000000", "86400.1"] {
        check(
            &format!("602: `value` is beyond all measure, longer than a day: `{value}`"),
            behind(&format!(
                "function_execution_time,{COPY},{value},1700000001.0"
            )),
        );
    }
}

#[test]
fn what_becomes_of_rows_with_faults_is_true() {
    let header = "exp,metric,identifier,value,timestamp";
    let row = |value: &str| format!("a,function_execution_time,{COPY},{value},1700000001.0");
    for (rows, wanted) in [
        (
            format!("{header}\n{}", row("0.1")),
            "1 faults; the rows are read all the same",
        ),
        (
            format!("{header}\n{}\n{}", row("0.1"), row("NaN")),
            "2 faults; rows with faults are in no figure, but for `header again`: these are read",
        ),
        (
            "x".to_owned(),
            "1 faults; rows with faults are in no figure\n",
        ),
    ] {
        let folder = with_samples(behind(&rows));
        for command in commands() {
            let output = run(folder.path(), &command);
            let said = stderr(&output);
            assert!(said.contains(wanted), "{command:?}, {wanted}: {said}");
        }
    }
}

#[test]
fn torn_lines_are_told_by_every_command() {
    check("601: the last row is torn: ", |text| {
        text[..text.len() - 9].to_owned()
    });
    check(
        "602: 2 fields, but the header has 4 columns",
        behind(&format!("function_execution_time,{COPY}")),
    );
}

#[test]
fn a_folder_that_is_not_there_is_told_by_every_command() {
    let folder = with_samples(|text| text);
    for missing in ["missing", "missing/", "performance_samples.csv/"] {
        for mut command in commands() {
            command[1] = missing;
            let output = run(folder.path(), &command);
            assert_eq!(output.status.code(), Some(2), "{command:?}");
            let said = stderr(&output);
            let wanted = format!("`{missing}` is not there");
            assert!(said.contains(&wanted), "{command:?}: {said}");
        }
    }
}

#[test]
fn nothing_to_work_with_is_told_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for command in commands() {
        let output = run(folder.path(), &command);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let said = stderr(&output);
        assert!(
            said.contains("`.` has none of the files"),
            "{command:?}: {said}"
        );
    }
    fs::write(folder.path().join(SAMPLES), SAMPLES_HEADER).unwrap();
    for (command, wanted) in [
        (
            vec!["fit", ".", "--out", "x.toml"],
            "no row says of which class",
        ),
        (vec!["replay", "."], "there are no samples of"),
    ] {
        let output = run(folder.path(), &command);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
    }
    assert!(!folder.path().join("x.toml").exists());
}

/// Rows of one function.
const MANY: usize = 400_000;
/// KiB of memory that a command may use for its values, less than the file has.
const MEMORY: &str = "24576";

#[test]
fn one_function_with_very_many_rows_takes_bounded_memory() {
    let folder = with_samples(|mut text| {
        use std::fmt::Write as _;
        for number in 0..MANY / 2 {
            let (secs, millis) = (number / 1_000, number % 1_000);
            let at = format!("{}.{millis:03}000000", 1_700_000_060 + secs);
            writeln!(text, "function_transfer_time,{COPY},0.000500000,{at}").unwrap();
            writeln!(text, "function_execution_time,{COPY},0.000200000,{at}").unwrap();
        }
        text
    });
    let size = fs::metadata(folder.path().join(SAMPLES)).unwrap().len();
    assert!(size > MEMORY.parse::<u64>().unwrap() * 1_024, "{size}");
    let mut commands = commands();
    commands.push(vec!["check", "."]);
    // Bounded as well, but higher: by the arrivals that `docs/datasets.md` names, and by a row group.
    commands.retain(|command| !["replay", "export"].contains(&command[0]));
    for command in commands {
        let output = Command::new("sh")
            .args(["-c", &format!("ulimit -d {MEMORY}; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_edgeless_dataset"))
            .args(&command)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{command:?}: {}",
            stderr(&output)
        );
    }
    let text = fs::read_to_string(folder.path().join("scaling.toml")).unwrap();
    assert!(
        text.contains(&format!("count = {}\n", MANY / 2 + 210)),
        "{text}"
    );
}
