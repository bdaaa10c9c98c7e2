//! Configuration: templates, and what a wrong file says.

use std::process::{Command, Output};

use edgeless_tests::process::binary;

fn run(program: &str, config: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    std::fs::write(&path, config).unwrap();
    Command::new(binary(program).unwrap())
        .arg("-c")
        .arg(&path)
        .output()
        .unwrap()
}

fn template(program: &str) -> String {
    let output = Command::new(binary(program).unwrap())
        .arg("-t")
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_wrong_key_value_or_address_names_file_line_and_key_and_nothing_starts() {
    for program in ["edgeless_con_d", "edgeless_orc_d", "node_d"] {
        let good = template(program);
        let first = good
            .lines()
            .position(|line| line.contains("url = "))
            .unwrap();
        let key = good
            .lines()
            .nth(first)
            .unwrap()
            .split(" = ")
            .next()
            .unwrap();
        let wrong = |text: &str| {
            let mut lines: Vec<&str> = good.lines().collect();
            lines[first] = text;
            lines.join("\n")
        };
        for (text, key) in [
            (
                format!("{key}x = \"http://127.0.0.1:0\""),
                format!("{key}x"),
            ),
            (format!("{key} = 7"), key.to_owned()),
            (format!("{key} = \"nowhere\""), key.to_owned()),
        ] {
            let output = run(program, &wrong(&text));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{program}: {said}");
            assert!(
                said.contains(&format!("x.toml:{}", first + 1)),
                "{program}: {said}"
            );
            assert!(said.contains(&format!("`{key}`")), "{program}: {said}");
        }
    }
}

#[test]
fn a_malformed_redis_url_ends_the_start_up() {
    let text = template("edgeless_orc_d").replace(
        "proxy_type = \"None\"",
        "proxy_type = \"Redis\"\nredis_url = \"redis://:::\"",
    );
    let output = run("edgeless_orc_d", &text);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("redis_url"), "{said}");
}
