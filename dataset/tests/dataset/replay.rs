//! Replays: what makes no sense is refused, and neither one row nor many rows of one function take long.

use std::time::{Duration, Instant};

use super::*;

fn refused(folder: &Path, arguments: &[&str], wanted: &str) {
    let output = run(folder, arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(said.contains(wanted), "{arguments:?}, {wanted}: {said}");
    assert!(stdout(&output).is_empty(), "{arguments:?}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let small = golden::folder("small");
    for (options, wanted) in [
        ("--capacity 0", "--capacity"),
        ("--capacity 0 --policy predictive", "--capacity"),
        ("--capacity 1", "`--capacity 1` is too few"),
        (
            "--capacity 3 --min-instances 2 --policy queue",
            "`--capacity 3` is too few: the 2 functions",
        ),
        ("--capacity 3 --daemons orders", "--daemons"),
        ("--max-instances 0", "--max-instances"),
        (
            "--min-instances 5 --max-instances 2",
            "`--min-instances 5` is more than `--max-instances 2`",
        ),
        (
            "--max-instances 1001 --daemons orders",
            "`--max-instances 1001` is more than 1000",
        ),
        ("--seeds 0", "--seeds"),
        ("--seed 18446744073709551615", "there are no 1 seeds"),
        ("--start-time 1000000min", "no time is longer than a year"),
        (
            "--idle-after 99999999999s",
            "is not a time from 1ms to 30 days",
        ),
        ("--idle-after 0s", "`0s` is not a time from 1ms to 30 days"),
        ("--refresh 0s --daemons orders", "longer than nothing"),
        ("--refresh 1s", "--daemons"),
        ("--nodes 2", "--daemons"),
    ] {
        for load in ["replay .", "replay --synth steady --hours 0.01"] {
            let arguments: Vec<&str> = load.split(' ').chain(options.split(' ')).collect();
            refused(&small, &arguments, wanted);
        }
    }
    for hours in ["0", "-1", "nan", "inf", "9000"] {
        let hours = format!("--hours={hours}");
        refused(&small, &["replay", "--synth", "steady", &hours], "--hours");
        refused(&small, &["synth", "steady", &hours], "--hours");
    }
    refused(&small, &["replay", ".", "--hours", "1"], "--hours");
    let twice = format!("{FUNCTION},{FUNCTION}");
    refused(&small, &["replay", ".", "--chain", &twice], "twice");
}

#[test]
fn few_copies_are_enough_for_policies_that_stop_some() {
    let folder = tempfile::tempdir().unwrap();
    for policy in ["concurrency", "queue", "predictive"] {
        let arguments = format!("replay --synth cron --hours 0.2 --capacity 1 --policy {policy}");
        let output = run(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}

#[test]
fn copies_may_be_ready_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for daemons in ["", " --daemons orders", " --daemons http"] {
        let arguments = format!("replay --synth cron --hours 0.2 --start-time 0s{daemons}");
        let output = run(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output).lines().count(), 5, "{}", stdout(&output));
    }
}

const MAPPING: &str = "timestamp,logical_id,node_id1,physical_id1,...\n";

/// Samples of one function: events with both, or with ends that belong to no begin.
fn samples(number: u32, do_match: bool) -> tempfile::TempDir {
    use std::fmt::Write as _;
    let mapping = format!("{MAPPING}1700000000.000000000,{FUNCTION},{NODE},{COPY}\n");
    let mut text = SAMPLES_HEADER.to_owned();
    for event in 0..number {
        let at = format!("{}.{:03}", 1_700_000_000 + event / 1_000, event % 1_000);
        let end = if do_match { "200000" } else { "000000" };
        writeln!(text, "function_transfer_time,{COPY},0.0005,{at}000000").unwrap();
        writeln!(text, "function_execution_time,{COPY},0.0002,{at}{end}").unwrap();
    }
    folder(&[("mapping_to_instance_id.csv", &mapping), (SAMPLES, &text)])
}

#[test]
fn many_events_of_one_function_take_no_more_than_their_number() {
    for do_match in [true, false] {
        let folder = samples(60_000, do_match);
        let begin = Instant::now();
        let output = run(folder.path(), &["replay", ".", "--policy", "fixed"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        // Without a bound on what is looked at for each it was more than ten times as long.
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn one_row_from_long_ago_takes_bounded_memory_and_time() {
    let folder = samples(200, true);
    let path = folder.path().join(SAMPLES);
    let text = fs::read_to_string(&path).unwrap();
    let early = format!("function_transfer_time,{COPY},0.5,1000000000.0\n");
    let text = text.replacen(SAMPLES_HEADER, &format!("{SAMPLES_HEADER}{early}"), 1);
    fs::write(path, text).unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -d 500000; exec \"$0\" replay . --policy fixed",
        ])
        .arg(env!("CARGO_BIN_EXE_edgeless_dataset"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn resources_do_not_scale() {
    let folder = samples(100, true);
    let place = folder.path();
    let resource = OTHER_COPY;
    let mut mapping = fs::read_to_string(place.join("mapping_to_instance_id.csv")).unwrap();
    mapping += &format!("1700000000.500000000,{resource},{NODE},{NODE}\n");
    fs::write(place.join("mapping_to_instance_id.csv"), mapping).unwrap();
    let mut text = fs::read_to_string(place.join(SAMPLES)).unwrap();
    text += &format!("function_transfer_time,{NODE},0.1,1700000000.300000000\n");
    fs::write(place.join(SAMPLES), text).unwrap();
    let orders = |output: &Output| {
        let shown = stdout(output);
        let line = shown.lines().nth(1).unwrap();
        line.split('\t').nth(3).unwrap().to_owned()
    };
    let output = run(place, &["replay", ".", "--policy", "fixed"]);
    assert_eq!(orders(&output), "101", "of which nothing is known");
    let vertices = format!(
        "timestamp,logical_id,workflow_id,name,kind,class_id,version\n\
         1700000000.000000000,{FUNCTION},{NODE},resize,function,resize,0.1\n\
         1700000000.000000000,{resource},{NODE},door,resource,http-ingress,\n"
    );
    fs::write(place.join("vertices.csv"), vertices).unwrap();
    let output = run(place, &["replay", ".", "--policy", "fixed"]);
    assert_eq!(orders(&output), "100");
    let said = stderr(&output);
    assert!(said.contains("left out 1 samples of resources"), "{said}");
}

#[test]
fn who_reads_no_more_is_no_error() {
    let output = Command::new("sh")
        .args(["-c", "\"$0\" synth steady --hours 2 | head -1"])
        .arg(env!("CARGO_BIN_EXE_edgeless_dataset"))
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "t_seconds,contract\n");
    assert_eq!(stderr(&output), "");
}

#[test]
fn every_build_has_export_in_its_help_and_one_without_parquet_says_how_to_get_it() {
    let output = run(Path::new("."), &["--help"]);
    let shown = stdout(&output);
    let mut lines = shown.lines().map(str::trim);
    let line = lines.find(|it| it.starts_with("export ")).unwrap();
    let how = "built without Parquet: cargo build --release -p edgeless-dataset --features parquet";
    assert_eq!(
        line.contains("without Parquet"),
        cfg!(not(feature = "parquet")),
        "{line}"
    );
    let output = run(Path::new("."), &["export", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let shown = stdout(&output);
    assert!(shown.contains("--parquet"), "{shown}");
    assert_eq!(
        shown.contains(how),
        cfg!(not(feature = "parquet")),
        "{shown}"
    );
    refused(Path::new("."), &["export", "."], "--parquet");
    if cfg!(not(feature = "parquet")) {
        let arguments = ["export", "nowhere", "--parquet", "--out", "x"];
        refused(
            Path::new("."),
            &arguments,
            &format!("edgeless_dataset: {how}\n"),
        );
    }
}
