//! Each kind of fault: its line, its words, and that rows around it are read.

use super::*;

/// A sample at a second of the recording.
fn sample(second: u32) -> String {
    format!("function_execution_time,{COPY},0.002,17000000{second:02}.000000000\n")
}

/// Checks a file: the faults that it has, in their words, and how many rows are read.
fn check(name: &str, text: &str, faults: &[&str], rows: u64) {
    let folder = folder(&[(name, text)]);
    let output = run(folder.path(), &["check", "."]);
    let shown = stdout(&output);
    let wanted: String = faults
        .iter()
        .map(|fault| format!("./{name}:{fault}\n"))
        .collect();
    let (found, table) = shown.split_once("file\t").unwrap();
    assert_eq!(found, wanted);
    let line = table.lines().nth(1).unwrap();
    let cells: Vec<&str> = line.split('\t').collect();
    assert_eq!(cells[1], rows.to_string(), "{line}");
    let code = i32::from(!faults.is_empty());
    assert_eq!(output.status.code(), Some(code), "{shown}");
    // Nobody else passes over them in silence.
    let output = run(folder.path(), &["summary", "."]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stderr(&output).contains("faults"),
        !faults.is_empty(),
        "{}",
        stderr(&output)
    );
    let output = run(folder.path(), &["summary", ".", "--strict"]);
    assert_eq!(output.status.code(), Some(code));
    if let Some(first) = faults.first() {
        let wanted = format!("edgeless_dataset: ./{name}:{first}\n");
        assert_eq!(stderr(&output), wanted);
    }
}

/// Checks one wrong row of samples between two good ones.
fn check_row(row: &str, fault: &str) {
    let text = format!("{SAMPLES_HEADER}{}{row}\n{}", sample(1), sample(2));
    check(SAMPLES, &text, &[&format!("3: {fault}")], 2);
}

#[test]
fn clean_tables_have_no_faults() {
    let text = format!("{SAMPLES_HEADER}{}{}", sample(1), sample(2));
    check(SAMPLES, &text, &[], 2);
    check(SAMPLES, &text.replace('\n', "\r\n"), &[], 2);
    check(SAMPLES, SAMPLES_HEADER, &[], 0);
    check(SAMPLES, "", &[], 0);
}

#[test]
fn numbers_that_are_none_are_told() {
    let row = |value: &str| format!("function_execution_time,{COPY},{value},1700000001.0");
    check_row(&row("NaN"), "`value` is not finite: `NaN`");
    check_row(&row("inf"), "`value` is not finite: `inf`");
    check_row(&row("-inf"), "`value` is not finite: `-inf`");
    check_row(&row("-0.5"), "`value` is negative: `-0.5`");
    check_row(&row("fast"), "`value` is not a number: `fast`");
    check_row(&row(""), "`value` is not a number: ``");
}

#[test]
fn timestamps_that_cannot_be_are_told() {
    let row = |at: &str| format!("function_execution_time,{COPY},0.1,{at}");
    check_row(
        &row("1700000001.5x"),
        "`timestamp` is not of the form secs.nsecs: `1700000001.5x`",
    );
    check_row(&row(""), "`timestamp` is not of the form secs.nsecs: ``");
    check_row(
        &row("9000000000.0"),
        "`timestamp` is in the future: `9000000000.0`",
    );
    check_row(
        &row("12.5"),
        "`timestamp` is before the year 2000, from a clock that was not set: `12.5`",
    );
}

#[test]
fn rows_that_go_back_in_time_are_told_and_read() {
    let early = format!("function_execution_time,{COPY},0.1,1699990001.000000000\n");
    let text = format!("{SAMPLES_HEADER}{}{early}{}", sample(1), sample(2));
    let fault = "3: `timestamp` is 10000 s before that of a row above; the row is read";
    check(SAMPLES, &text, &[fault], 3);
}

#[test]
fn rows_with_fewer_or_more_fields_are_told() {
    check_row(
        "function_execution_time,1",
        "2 fields, but the header has 4 columns",
    );
    let more = format!("{},5", sample(1).trim_end());
    check_row(&more, "5 fields, but the header has 4 columns");
    check_row("", "the line is empty");
    let header = "timestamp,logical_id,node_id1,physical_id1,...\n";
    let at = "1700000001.000000000";
    let text = format!(
        "{header}{at},{FUNCTION}\n{at},{FUNCTION},{NODE}\n{at},{FUNCTION},{NODE},{COPY},{NODE},{OTHER_COPY}\n"
    );
    let fault = "3: 3 fields, but node_id and physical_id come in pairs after 2 other columns";
    check("mapping_to_instance_id.csv", &text, &[fault], 2);
}

#[test]
fn names_and_ids_that_are_unknown_are_told() {
    check_row(
        &format!("speed,{COPY},0.1,1700000001.0"),
        "`metric` is not known: `speed`",
    );
    check_row(
        "function_execution_time,copy-1,0.1,1700000001.0",
        "`identifier` is not a UUID: `copy-1`",
    );
    let header = "timestamp,node_id,node_health_status\n";
    let row = |json: &str| format!("1700000001.000000000,{NODE},{json}\n");
    check(
        "health_status.csv",
        &format!("{header}{}", row("\"{\"\"mem_free\"\":\"")),
        &[
            "2: `node_health_status` is not the JSON of that column: EOF while parsing a value at line 1 column 12",
        ],
        0,
    );
    let header = "metric,identifier,count,sum,max,timestamp\n";
    let row = format!("function_execution_time,{COPY},2,1.0,5.0,1700000001.0\n");
    check(
        "sample_summaries.csv",
        &format!("{header}{row}"),
        &["2: `count`, `sum` and `max` contradict each other: 2, 1.0, 5.0"],
        0,
    );
}

#[test]
fn decisions_of_scaling_have_whole_numbers() {
    let header = "timestamp,logical_id,policy,before,copies,reason\n";
    let row = |copies: &str| {
        format!("1700000001.000000000,{FUNCTION},queue,1,{copies},\"10 wait, 2 a second\"\n")
    };
    let text = format!("{header}{}{}", row("2"), row("2.5"));
    let fault = "3: `copies` is not a number: `2.5`";
    check("scaling_decisions.csv", &text, &[fault], 1);
}

#[test]
fn decisions_of_scaling_are_those_that_can_be() {
    let header = "timestamp,logical_id,policy,before,copies,reason\n";
    let row = |fields: &str| format!("1700000001.000000000,{FUNCTION},{fields}\n");
    let rows = [
        "fixed,1000,0,nothing came for 60 s",
        "magic,1,2,10 wait",
        "queue,1,4000000000,10 wait",
        "queue,1001,1,10 wait",
        "concurrency,1,2,",
        "predictive,1,2,\" \"",
        ",1,2,10 wait",
        "queue,1,-2,10 wait",
    ];
    let text = header.to_owned() + &rows.map(row).concat();
    let policies = "`fixed`, `concurrency`, `queue`, `predictive`";
    let faults = [
        &format!("3: `policy` is none of {policies}: `magic`"),
        "4: `copies` is more than 1000, the most that a function has: `4000000000`",
        "5: `before` is more than 1000, the most that a function has: `1001`",
        "6: `reason` is empty",
        "7: `reason` is empty",
        &format!("8: `policy` is none of {policies}: ``"),
        "9: `copies` is not a number: `-2`",
    ];
    check("scaling_decisions.csv", &text, &faults, 1);
}

#[test]
fn bytes_that_are_no_text_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = b"identifier,target,value,timestamp\n".to_vec();
    text.extend_from_slice(format!("{COPY},t,\"a\nb\",1700000001.0\n").as_bytes());
    text.extend_from_slice(format!("{COPY},t,").as_bytes());
    text.extend_from_slice(b"\xff\x00,1700000001.0\n");
    fs::write(folder.path().join("application_logs.csv"), text).unwrap();
    let output = run(folder.path(), &["check", "."]);
    let shown = stdout(&output);
    let wanted = "./application_logs.csv:4: `value` is not UTF-8: `\u{fffd}\u{fffd}`\n";
    assert!(shown.starts_with(wanted), "{shown}");
    assert!(shown.contains("\t1\t1\t1\n"), "{shown}");
}

#[test]
fn headers_that_lack_columns_end_reading_up_to_the_next() {
    let text = format!(
        "metric,identifier,value\n{}{}{SAMPLES_HEADER}{}",
        sample(1),
        sample(1),
        sample(2)
    );
    check(
        SAMPLES,
        &text,
        &[
            "1: the header lacks `timestamp`; rows under it are not read",
            "2: rows not read from here on, as there is no usable header above them: 2",
        ],
        1,
    );
    check(
        SAMPLES,
        &format!("{}{}", sample(1), sample(2)),
        &[
            "1: there is no header: expected `metric,identifier,value,timestamp`; rows are not read up to the next header",
            "1: rows not read from here on, as there is no usable header above them: 2",
        ],
        0,
    );
    check(
        SAMPLES,
        "metric,identifier,value,value,timestamp\n",
        &["1: the header has `value` twice; rows under it are not read"],
        0,
    );
}

#[test]
fn a_header_in_the_middle_gives_the_columns_from_there_on() {
    let text = format!(
        "exp,{SAMPLES_HEADER}a,{}{},run\nfunction_transfer_time,{COPY},0.1,1700000003.0,7\n{SAMPLES_HEADER}{}",
        sample(1),
        SAMPLES_HEADER.trim_end(),
        sample(2),
    );
    check(
        SAMPLES,
        &text,
        &[
            "3: another header in the middle: `metric,identifier,value,timestamp,run`; rows under it are read by it",
            "5: another header in the middle: `metric,identifier,value,timestamp`; rows under it are read by it",
        ],
        3,
    );
}

#[test]
fn torn_lines_are_told_wherever_they_are() {
    let torn = format!("{SAMPLES_HEADER}{}function_exec", sample(1));
    let fault = "3: the last row is torn: 13 bytes without an end";
    check(SAMPLES, &torn, &[fault], 1);
    // Nothing shows whether digits are missing behind these.
    let torn = format!("{SAMPLES_HEADER}{}", &sample(1)[..sample(1).len() - 3]);
    let fault = "2: the last row is torn: 85 bytes without an end";
    check(SAMPLES, &torn, &[fault], 0);
    let ended = format!("{SAMPLES_HEADER}{}", sample(1).trim_end());
    let fault = "2: the last row is whole but its line has no end; it is read";
    check(SAMPLES, &ended, &[fault], 1);
    // Two rows in one line, as other writers leave them.
    let glued = format!("function_exec{}", sample(1).trim_end());
    check_row(
        &glued,
        "`metric` is not known: `function_execfunction_execution_time`",
    );
    // A quote that a torn row has opened takes only its own line along.
    let row = |value: &str| format!("{COPY},t,{value},1700000001.000000000\n");
    let logs = format!(
        "identifier,target,value,timestamp\n{COPY},t,\"torn\n{}{}",
        row("b"),
        row("c")
    );
    let fault = "2: a quoted field does not end where it should";
    check("application_logs.csv", &logs, &[fault], 2);
    let logs = logs.replace(",b,", ",\"b, \"\"c\"\"\",");
    check("application_logs.csv", &logs, &[fault], 2);
}

#[test]
fn rows_without_end_are_passed_over() {
    let long = "x".repeat(9 << 20);
    let text = format!("{SAMPLES_HEADER}{long}\n{}", sample(2));
    let fault = "2: the row is longer than 8388608 bytes";
    check(SAMPLES, &text, &[fault], 1);
}

#[test]
fn further_faults_are_counted() {
    let text = format!("{SAMPLES_HEADER}{}", "x\n".repeat(500));
    let folder = folder(&[(SAMPLES, &text)]);
    let output = run(folder.path(), &["check", ".", "--limit", "2"]);
    let shown = stdout(&output);
    assert!(shown.contains("498 further faults"), "{shown}");
    assert!(shown.ends_with("\t0\t1\t500\n"), "{shown}");
    let output = run(folder.path(), &["summary", "."]);
    let told = stderr(&output);
    assert!(told.contains("(the first of 500 of this kind"), "{told}");
    let output = run(folder.path(), &["check", "elsewhere/x"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("could not read the folder `elsewhere`"));
}
