//! Whole outputs over datasets that are kept beside the tests: `small` is made up, `recorded` comes from a
//! real run of three nodes. After a change that is meant, `UPDATE_GOLDEN=1` writes the outputs anew.

use std::path::PathBuf;

use super::*;

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
            assert_eq!(page.matches("<svg").count(), 9, "{name}");
        }
        assert_eq!(page.contains("faults in the files"), name == "broken");
    }
}
