//! The rules of the house that no lint checks: imports, pure modules, lengths, documentation.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use edgeless_tests::process::root;

/// Lines a file may have before its tests.
const MAX_LINES: usize = 400;

/// Files in which nothing reads a clock, draws from a global generator, does IO or waits.
const PURE: [&str; 48] = [
    "dataset/src/replay/daemons/",
    "dataset/src/replay/oracle.rs",
    "dataset/src/replay/plan.rs",
    "dataset/src/replay/world.rs",
    "dataset/src/synth/",
    "types/src",
    "orc/src/domain/",
    "orc/src/plan/",
    "orc/src/scale/",
    "orc/src/change.rs",
    "orc/src/fence.rs",
    "orc/src/admission.rs",
    "orc/src/journal/difference.rs",
    "orc/src/mirror/entries.rs",
    "orders/src/body/",
    "orders/src/book/",
    "orders/src/bounds.rs",
    "orders/src/condition.rs",
    "orders/src/contract.rs",
    "orders/src/json.rs",
    "orders/src/message/",
    "orders/src/pointer.rs",
    "orders/src/record.rs",
    "orders/src/service.rs",
    "orders/src/stages.rs",
    "orders/src/submission.rs",
    "orders/src/tasks.rs",
    "orders/src/view.rs",
    "orders/src/words.rs",
    "dataset/src/fault.rs",
    "dataset/src/fields.rs",
    "dataset/src/fit/",
    "dataset/src/layout.rs",
    "dataset/src/reader.rs",
    "dataset/src/records.rs",
    "dataset/src/report/",
    "dataset/src/row.rs",
    "dataset/src/summary/",
    "con/src/check/",
    "con/src/cluster/",
    "dataflow/src/budget.rs",
    "dataflow/src/directory.rs",
    "dataflow/src/graph",
    "dataflow/src/output.rs",
    "dataflow/src/track",
    "node/src/agent/ledger.rs",
    "node/src/dataplane/credit.rs",
    "node/src/dataplane/load.rs",
];

/// What pure files must not hold.
const IMPURE: [&str; 11] = [
    "Instant::now",
    "SystemTime",
    "rand::rng(",
    "thread_rng",
    "std::fs",
    "TcpStream",
    "TcpListener",
    "std::process",
    "tokio::",
    ".await",
    "async fn",
];

/// Which of our crates each may import.
fn arrows() -> BTreeMap<&'static str, Vec<&'static str>> {
    let base = vec!["edgeless-types", "edgeless-proto", "edgeless-daemon"];
    let with = |more: &[&'static str]| [base.clone(), more.to_vec()].concat();
    let daemons = [
        "edgeless-con",
        "edgeless-orders",
        "edgeless-orc",
        "edgeless-node",
        "edgeless-tables",
    ];
    BTreeMap::from([
        ("edgeless-types", vec![]),
        ("edgeless-proto", vec!["edgeless-types"]),
        ("edgeless-daemon", vec!["edgeless-types"]),
        ("edgeless-dataflow", vec!["edgeless-types"]),
        ("edgeless-tables", vec!["edgeless-types"]),
        // Replays load through the policies of ε-ORC itself, and through what the order book hands out.
        (
            "edgeless-dataset",
            vec![
                "edgeless-types",
                "edgeless-tables",
                "edgeless-daemon",
                "edgeless-orc",
                "edgeless-orders",
            ],
        ),
        ("edgeless-orders", vec!["edgeless-types"]),
        (
            "edgeless-con",
            with(&["edgeless-dataflow", "edgeless-orders"]),
        ),
        ("edgeless-orc", with(&["edgeless-tables"])),
        ("edgeless-node", with(&["edgeless-dataflow"])),
        ("edgeless-cli", with(&daemons)),
        (
            "edgeless-proxy-cli",
            vec!["edgeless-types", "edgeless-tables", "edgeless-daemon"],
        ),
        // Tests and load generators may import all, as the design says.
        (
            "edgeless-tests",
            [
                with(&daemons),
                vec!["edgeless-dataflow", "edgeless-dataset"],
            ]
            .concat(),
        ),
        ("xtask", vec![]),
    ])
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, into);
        } else if name.ends_with(".rs") {
            into.push(path);
        }
    }
}

fn all_rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    files.sort();
    files
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn every_file_says_what_it_is_for_and_is_no_longer_than_a_subject() {
    for path in all_rust_files() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} does not open with //!",
            shown(&path)
        );
        let before_tests = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or(&text);
        let lines = before_tests.lines().count();
        let is_test = shown(&path).starts_with("tests/");
        let limit = if is_test { 2 * MAX_LINES } else { MAX_LINES };
        // One subject; it is named, so that none follows.
        let known = ["node/src/dataplane/mod.rs"];
        if !known.contains(&shown(&path).as_str()) {
            assert!(lines <= limit, "{} has {lines} lines", shown(&path));
        }
    }
}

#[test]
fn pure_files_read_no_clock_do_no_io_and_never_wait() {
    for path in all_rust_files() {
        let name = shown(&path);
        if !PURE.iter().any(|pure| name.starts_with(pure)) || name.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for impure in IMPURE {
                assert!(!line.contains(impure), "{name}:{}: `{impure}`", number + 1);
            }
        }
    }
}

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .no_deps()
        .exec()
        .unwrap();
    let arrows = arrows();
    for package in metadata.packages {
        let name = package.name.to_string();
        let allowed = arrows.get(name.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("{name} is not in the list of arrows"));
        for dependency in &package.dependencies {
            let ours = dependency.name.starts_with("edgeless-");
            let known = allowed.contains(&dependency.name.as_str());
            assert!(!ours || known, "{name} must not import {}", dependency.name);
        }
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let reasons = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    for line in section.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        if !name.starts_with("edgeless-") {
            assert!(
                reasons.contains(&format!("\n| {name} |")),
                "{name} has no line of reason"
            );
        }
    }
}

#[test]
fn configurations_and_workflows_are_all_tested() {
    let configs: BTreeSet<String> = fs::read_dir(root().join("configs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let known = [
        "cli.toml",
        // Read by a test of ε-CON.
        "contracts",
        "controller.toml",
        "node.toml",
        "orchestrator.toml",
        "workflows",
    ];
    assert_eq!(
        configs,
        known.map(str::to_owned).into(),
        "name it here and test it"
    );
    for entry in fs::read_dir(root().join("configs/workflows")).unwrap() {
        let path = entry.unwrap().path();
        let yaml = path.extension().is_some_and(|ending| ending == "yaml");
        let format = match yaml {
            true => edgeless_con::check::Format::Yaml,
            false => edgeless_con::check::Format::Json,
        };
        let document = fs::read(&path).unwrap();
        let workflow = edgeless_con::check::parse(&document, format).unwrap();
        assert!(!workflow.functions.is_empty(), "{}", shown(&path));
        for function in &workflow.functions {
            let class = &function.class_specification.id;
            let folder = root().join("functions").join(class);
            assert!(
                folder.exists(),
                "{}: there is no function `{class}`",
                shown(&path)
            );
        }
    }
}
