//! Answers that are wrong, and what is said of them.

use super::*;

#[test]
fn nonsense_in_a_slip_is_named() {
    let tasks = list(r#"["B","A"]"#);
    let deep = format!(
        r#"{{"input":{}{},"tasks":["B","A"],"done":["B","A"]}}"#,
        "[".repeat(101),
        "]".repeat(101)
    );
    for (answer, expected) in [
        (
            "[5]",
            "the answer of `A` has [5] as the message, expected an object",
        ),
        ("{}", "the answer of `A` has no `input`; it is {}"),
        (
            r#"{"input":1,"done":[]}"#,
            r#"the answer of `A` has no `tasks`; it is {"input":1,"done":[]}"#,
        ),
        (
            r#"{"input":1,"tasks":[]}"#,
            r#"the answer of `A` has no `done`; it is {"input":1,"tasks":[]}"#,
        ),
        (
            r#"{"input":1,"input":2}"#,
            r#"the answer of `A` has `input` twice; it is {"input":1,"input":2}"#,
        ),
        (
            r#"{"input":1,"tasks":["A"],"done":["B","A"]}"#,
            r#"the answer of `A` has ["A"] as `tasks`, expected ["B","A"]"#,
        ),
        (
            r#"{"input":1,"tasks":["B","A"],"done":"A"}"#,
            r#"the answer of `A` has "A" as `done`, expected a list of names"#,
        ),
        (
            r#"{"input":1,"tasks":["B","A"],"done":["A"]}"#,
            r#"the answer of `A` has ["A"] as `done`, expected ["B","A"]"#,
        ),
        (
            r#"{"input":1,"tasks":["B","A"],"done":["B"]}"#,
            r#"the answer of `A` has ["B"] as `done`, expected ["B","A"]"#,
        ),
        (
            r#"{"input":1,"tasks":["B","A"],"done":["B","A","A"]}"#,
            r#"the answer of `A` has ["B","A","A"] as `done`, expected ["B","A"]"#,
        ),
        (
            &deep,
            "the result of `A` nests 101 levels deep, expected at most 100",
        ),
    ] {
        let error = slip::response(&tasks, 1, &[0], &json(answer)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn nonsense_in_a_trace_is_named() {
    let tasks = list(r#"["B","A"]"#);
    let (five, ten) = (json("5"), json("10"));
    let jobs = jobs(&five, std::slice::from_ref(&ten), 2);
    for (answer, expected) in [
        ("null", "null as the message, expected an object"),
        (r#"{"from":"A"}"#, r#"no `jobs`; it is {"from":"A"}"#),
        (r#"{"jobs":{}}"#, r#"no `from`; it is {"jobs":{}}"#),
        (
            r#"{"from":"B","jobs":{}}"#,
            r#""B" as `from`, expected "A""#,
        ),
        (
            r#"{"from":["A","B"],"jobs":{}}"#,
            r#"["A","B"] as `from`, expected "A""#,
        ),
        (r#"{"from":"A","jobs":{}}"#, "no `A` in `jobs`; it is {}"),
        (
            r#"{"from":"A","jobs":[]}"#,
            "[] as `jobs`, expected an object",
        ),
        (
            r#"{"from":"A","jobs":{"A":5}}"#,
            "5 as `A` in `jobs`, expected an object",
        ),
        (
            r#"{"from":"A","jobs":{"A":{"input":10}}}"#,
            r#"no `result` of `A` in `jobs`; it is {"input":10}"#,
        ),
        (
            r#"{"from":"A","jobs":{"A":{},"A":{}}}"#,
            r#"`A` in `jobs` twice; it is {"A":{},"A":{}}"#,
        ),
        (
            r#"{"from":"A","jobs":{"A":{"input":11,"result":12}}}"#,
            "11 as `input` of `A` in `jobs`, expected 10",
        ),
        (
            r#"{"from":"A","jobs":{"A":{"result":12},"B":{"result":11}}}"#,
            "11 as `result` of `B` in `jobs`, expected 10",
        ),
        (
            r#"{"from":"A","tasks":["A"],"jobs":{"A":{"result":12}}}"#,
            r#"["A"] as `tasks`, expected ["B","A"]"#,
        ),
    ] {
        let error = trace::response(&tasks, 1, &jobs, &json(answer)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the answer of `A` has {expected}")
        );
    }
    let tolerated = r#"{"from":["A"],"jobs":{"A":{"input":1e1,"result":12},"B":{},"C":7},"x":1}"#;
    assert_eq!(
        trace::response(&tasks, 1, &jobs, &json(tolerated)),
        Ok(json("12"))
    );
}

#[test]
fn errors_show_little_of_a_long_answer() {
    let tasks = list(r#"["A"]"#);
    let answer = json(&format!("\"{}\"", "ä".repeat(100_000)));
    let error = slip::response(&tasks, 0, &[], &answer)
        .unwrap_err()
        .to_string();
    assert!(
        error.chars().count() < 300 && error.contains("äää..."),
        "{error}"
    );
    assert_eq!(shown(&"ä".repeat(200)), "ä".repeat(200));
    assert_eq!(shown(&"ä".repeat(201)), "ä".repeat(197) + "...");
}
