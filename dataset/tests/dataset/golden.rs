//! Whole outputs over datasets that are kept beside the tests: `small` is made up, `recorded` comes from a
//! real run of three nodes. After a change that is meant, `UPDATE_GOLDEN=1` writes the outputs anew.

use std::path::PathBuf;

use super::{folder as folder_of, *};

/// A dataset that is kept.
pub(crate) fn folder(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    tests.join(name)
}

/// Compares a text with what is kept.
fn compare(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, text).unwrap();
    }
    let kept = fs::read_to_string(file).unwrap();
    let lines = text.lines().zip(kept.lines()).enumerate();
    for (number, (found, wanted)) in lines {
        assert_eq!(found, wanted, "{}:{}", file.display(), number + 1);
    }
    assert_eq!(text.len(), kept.len(), "{}", file.display());
}

fn check(name: &str, code: i32) {
    let folder = folder(name);
    for (file, arguments) in [
        ("check.txt", vec!["check", "."]),
        ("summary.txt", vec!["summary", "."]),
        ("summary.json", vec!["summary", ".", "--json"]),
    ] {
        let output = run(&folder, &arguments);
        compare(&folder.join(file), &stdout(&output));
        if file == "check.txt" {
            assert_eq!(output.status.code(), Some(code));
        }
    }
}

#[test]
fn outputs_over_a_small_dataset_are_those_that_are_kept() {
    check("small", 0);
}

#[test]
fn outputs_over_a_recorded_dataset_are_those_that_are_kept() {
    check("recorded", 0);
}

#[test]
fn outputs_over_a_broken_dataset_are_those_that_are_kept() {
    check("broken", 1);
}

#[test]
fn what_functions_need_is_that_which_is_kept_and_epsilon_orc_reads_it() {
    let (out, folder) = (tempfile::tempdir().unwrap(), folder("small"));
    let path = out.path().join("scaling.toml");
    let arguments = ["fit", ".", "--out", path.to_str().unwrap()];
    for _ in 0..2 {
        let output = run(&folder, &arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        compare(&folder.join("fit.txt"), &stdout(&output));
    }
    let text = fs::read_to_string(&path).unwrap();
    compare(&folder.join("scaling.toml"), &text);
    let priors = edgeless_orc::scale::Priors::parse(&text, &path).unwrap();
    let resize = priors.of("resize").unwrap();
    assert_eq!(resize.start.map(|it| (it.count, it.mean)), Some((1, 0.5)));
    let left: Vec<_> = fs::read_dir(out.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the file is left");
}

#[test]
fn classes_that_no_row_says_are_asked_for_and_can_be_named() {
    let (out, folder) = (tempfile::tempdir().unwrap(), folder("recorded"));
    let path = out.path().join("scaling.toml");
    let arguments = ["fit", ".", "--out", path.to_str().unwrap()];
    let output = run(&folder, &arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("--class LOGICAL_ID=CLASS"),
        "{}",
        stderr(&output)
    );
    assert!(!path.exists());
    let mapping = fs::read_to_string(folder.join("mapping_to_instance_id.csv")).unwrap();
    let ids = mapping
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').nth(1));
    let named: Vec<String> = ids
        .flat_map(|id| ["--class".to_owned(), format!("{id}=some")])
        .collect();
    let named = named.iter().map(String::as_str);
    let arguments: Vec<&str> = arguments.into_iter().chain(named).collect();
    let output = run(&folder, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("id = \"some\"\n"), "{text}");
}

#[test]
fn a_recorded_dataset_is_replayed_as_is_kept() {
    let folder = folder("recorded");
    let output = run(
        &folder,
        &[
            "replay",
            ".",
            "--policy",
            "concurrency",
            "--policy",
            "predictive",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    compare(&folder.join("replay.txt"), &stdout(&output));
}

#[test]
fn decisions_are_told_by_run_and_kind_and_the_page_says_why() {
    let header = "timestamp,logical_id,policy,before,copies,reason\n";
    let row = |second: u32, before: u32, copies: u32, reason: &str| {
        format!("17000000{second:02}.000000000,{FUNCTION},queue,{before},{copies},{reason}\n")
    };
    let first = [
        header,
        &row(1, 1, 3, "12 wait & more: 0.5 s"),
        &row(5, 3, 5, "7 wait & more: 12 s"),
        &row(9, 5, 1, "nothing waits"),
    ];
    let second = [header, &row(20, 1, 2, "12 wait & more: 0.5 s")];
    let with_run = second
        .concat()
        .replace("\n", ",second\n")
        .replacen("second", "exp", 1);
    let mapping = format!(
        "timestamp,logical_id,node_id1,physical_id1,...\n1700000000.000000000,{FUNCTION},{NODE},{COPY}\n"
    );
    let folder = folder_of(&[
        ("run1-scaling_decisions.csv", &first.concat()),
        ("run2_scaling_decisions.csv", &with_run),
        ("mapping_to_instance_id.csv", &mapping),
    ]);
    let output = run(folder.path(), &["summary", "."]);
    let shown = stdout(&output);
    let wanted = format!(
        "\nscaling decisions\nrun\tfunction\tname\tpolicy\tdecisions\tup\tdown\tmost\n\
         run1\t{FUNCTION}\t-\tqueue\t3\t2\t1\t5\nrun2 second\t{FUNCTION}\t-\tqueue\t1\t1\t0\t2\n\
         \nreasons of scaling decisions\nrun\tfunction\tname\tdecisions\treason\n\
         run1\t{FUNCTION}\t-\t2\t… wait & more: … s\nrun1\t{FUNCTION}\t-\t1\tnothing waits\n\
         run2 second\t{FUNCTION}\t-\t1\t… wait & more: … s\n"
    );
    assert!(shown.ends_with(&wanted), "{shown}");
    let path = folder.path().join("report.html");
    run(folder.path(), &["report", ".", "--out", "report.html"]);
    let page = fs::read_to_string(path).unwrap();
    let title = "<title>22222222, 5.00 s: 3 to 5 copies: 7 wait &amp; more: 12 s</title>";
    assert!(page.contains(title));
    assert_eq!(
        page.matches("<circle").count(),
        4,
        "a dot for each decision"
    );
    assert!(page.contains("2: … wait &amp; more: … s<br>1: nothing waits"));
}

#[test]
fn the_page_needs_no_network_and_has_every_plot() {
    for name in ["small", "recorded", "broken"] {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join("report.html");
        let folder = folder(name);
        let output = run(&folder, &["report", ".", "--out", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let page = fs::read_to_string(path).unwrap();
        let addresses = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!addresses.contains("http"), "nothing is loaded");
        assert!(!page.contains("<script") && !page.contains("src="));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        if name != "broken" {
            // Of decisions where there are any.
            let number = 9 + usize::from(name == "small");
            assert_eq!(page.matches("<svg").count(), number, "{name}");
        }
        assert_eq!(page.contains("faults in the files"), name == "broken");
        assert_eq!(
            page.contains(">shrink 22222222<"),
            name == "small",
            "{name}"
        );
        assert_eq!(page.contains("keep, at once 55555555"), name == "small");
    }
}
