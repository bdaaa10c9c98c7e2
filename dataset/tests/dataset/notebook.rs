//! The examples of `docs/datasets.md`, run over a dataset.

use super::*;

/// The examples of the page whose fence says `language`, as one program.
fn program(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/datasets.md");
    let page = fs::read_to_string(page).unwrap();
    let fence = format!("```{language}\n");
    let examples = page.split(&fence).skip(1);
    let examples: Vec<&str> = examples
        .map(|example| example.split("```").next().unwrap())
        .collect();
    assert!(examples.len() >= 2, "{language}");
    examples.concat()
}

/// A Python that has a library; none: it is not installed.
fn python(library: &str) -> Option<String> {
    let given = std::env::var("DATASET_PYTHON").ok();
    let candidates = given.into_iter().chain(["/usr/bin/python3".to_owned()]);
    candidates.into_iter().find(|program| {
        let tried = Command::new(program)
            .args(["-c", &format!("import {library}")])
            .output();
        tried.is_ok_and(|output| output.status.success())
    })
}

/// Runs the examples over the golden dataset; what they print has all of `wanted`.
fn check(library: &str, language: &str, wanted: &[&str]) {
    let Some(python) = python(library) else {
        // Who names a Python wants the examples to run: `.ci/run` does.
        let named = std::env::var_os("DATASET_PYTHON");
        assert!(
            named.is_none(),
            "neither DATASET_PYTHON nor /usr/bin/python3 has {library}"
        );
        eprintln!(
            "skipped: /usr/bin/python3 has no {library}; docs/datasets.md says how to install it"
        );
        return;
    };
    let output = Command::new(python)
        .args(["-c", &program(language)])
        .current_dir(golden::folder("small"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let shown = stdout(&output);
    for text in wanted {
        assert!(shown.contains(text), "`{text}` is not in\n{shown}");
    }
}

#[test]
fn examples_with_pandas_run() {
    check(
        "pandas",
        "python",
        &["0.99", FUNCTION, "resize", "proc_cpu_usage"],
    );
}

#[test]
fn examples_with_polars_run() {
    check("polars", "python polars", &["p99", "logical_id"]);
}
