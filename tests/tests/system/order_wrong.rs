//! What can be wrong about orders, services and clients, and what it is answered.

use reqwest::Method;
use serde_json::{Value, json};

/// An order; the status, the pointer, and what the problem says.
pub(super) type Case = (String, u16, &'static str, &'static str);

/// A request; the status, and what the problem says.
pub(super) type Request = (Method, String, u16, &'static str);
/// A path and a definition; the status, the pointer, and what the problem says.
pub(super) type Definition = (&'static str, Value, u16, &'static str, &'static str);

/// Ways in which the document of an order is wrong.
#[expect(clippy::too_many_lines, reason = "one table")]
pub(super) fn documents() -> Vec<Case> {
    let with = |more: Value| {
        let mut document = json!({"input": 5, "tasks": ["A"]});
        for (key, value) in more.as_object().unwrap() {
            document[key] = value.clone();
        }
        document.to_string()
    };
    let tasks = |tasks: Value| with(json!({"tasks": tasks}));
    let deep = format!(
        r#"{{"input": {}{}, "tasks": ["A"]}}"#,
        "[".repeat(101),
        "]".repeat(101)
    );
    let invalid = 422;
    [
        ("not json".to_owned(), 400, "", "not JSON"),
        ("".to_owned(), 400, "", "not JSON"),
        (r#"{"input": 5"#.to_owned(), 400, "", "not JSON"),
        ("[]".to_owned(), invalid, "", "an order is an object"),
        (with(json!({"colour": 1})), invalid, "/colour", "colour"),
        (
            r#"{"input": 1, "input": 2}"#.to_owned(),
            invalid,
            "",
            "input",
        ),
        (r#"{"tasks": ["A"]}"#.to_owned(), invalid, "/input", "input"),
        (
            r#"{"input": 5}"#.to_owned(),
            invalid,
            "/tasks",
            "names no tasks",
        ),
        (deep, invalid, "/input", "100 levels"),
        (
            with(json!({"client": "nobody"})),
            invalid,
            "/client",
            "no client `nobody`",
        ),
        (
            with(json!({"client": "no body"})),
            invalid,
            "/client",
            "letters",
        ),
        (
            with(json!({"client": 5})),
            invalid,
            "/client",
            "a text, not 5",
        ),
        (
            with(json!({"client": "X"})),
            invalid,
            "/tasks",
            "not allow the task `A`",
        ),
        (
            with(json!({"client": "bounded", "priority": 9})),
            invalid,
            "/priority",
            "allows a priority of 0 at most",
        ),
        (
            with(json!({"client": "bounded", "deadline": "9years"})),
            invalid,
            "/deadline",
            "allows a deadline of 5s at most",
        ),
        (
            with(json!({"client": "strict"})),
            invalid,
            "/tasks",
            "of their own",
        ),
        (
            tasks(json!(["nobody"])),
            invalid,
            "/tasks",
            "no service `nobody`",
        ),
        (
            tasks(json!([{"task": "A", "undo": "nobody"}])),
            invalid,
            "/tasks",
            "no service `nobody`",
        ),
        (tasks(json!(["END"])), invalid, "/tasks", "a stage"),
        (tasks(json!("A")), invalid, "/tasks", "not an array"),
        (tasks(json!(["A", 5])), invalid, "/tasks/1", "not a task"),
        (tasks(json!(["A", []])), invalid, "/tasks/1", "empty"),
        (
            tasks(json!(["A", ["A", ["A"]]])),
            invalid,
            "/tasks/1/1",
            "within a group",
        ),
        (
            tasks(json!([{"task": "A", "x": 1}])),
            invalid,
            "/tasks/0/x",
            "unknown",
        ),
        (
            tasks(json!([{"task": "A", "deadline": 5}])),
            invalid,
            "/tasks/0/deadline",
            "5s",
        ),
        (
            tasks(json!(vec!["A"; 1_001])),
            invalid,
            "/tasks",
            "at most 1000",
        ),
        (
            with(json!({"priority": 10})),
            invalid,
            "/priority",
            "0 to 9",
        ),
        (
            with(json!({"priority": -1})),
            invalid,
            "/priority",
            "whole number",
        ),
        (
            with(json!({"priority": "high"})),
            invalid,
            "/priority",
            "whole number",
        ),
        (with(json!({"mode": "odd"})), invalid, "/mode", "odd"),
        (
            with(json!({"deadline": "soon"})),
            invalid,
            "/deadline",
            "soon",
        ),
        (
            with(json!({"deadline": "11years"})),
            invalid,
            "/deadline",
            "10 years",
        ),
        (
            with(json!({"delay": 5})),
            invalid,
            "/delay",
            "such as \"5s\"",
        ),
        (
            with(json!({"idempotency_key": ""})),
            invalid,
            "/idempotency_key",
            "1 to 200",
        ),
        (
            with(json!({"idempotency_key": "k".repeat(201)})),
            invalid,
            "/idempotency_key",
            "1 to 200",
        ),
        (
            with(json!({"callback": "ftp://x"})),
            invalid,
            "/callback",
            "http://",
        ),
        (with(json!({"metadata": 5})), invalid, "/metadata", "object"),
        (
            with(json!({"metadata": {"x": "x".repeat(16 << 10)}})),
            invalid,
            "/metadata",
            "16384 bytes",
        ),
        (
            with(json!({"input": "x".repeat(1 << 20)})),
            invalid,
            "/input",
            "1048576 bytes",
        ),
        (
            with(json!({"input": "x".repeat(2 << 20)})),
            413,
            "",
            "longer than",
        ),
    ]
    .into()
}

/// Requests for what is not there or cannot be read.
pub(super) fn requests() -> Vec<Request> {
    let unknown = "01900000-0000-7000-8000-000000000000";
    let mut all = vec![
        (Method::GET, "/xyz".to_owned(), 400, "must be a UUID"),
        (Method::GET, format!("/{unknown}"), 404, "there is no order"),
        (
            Method::GET,
            format!("/{unknown}/events"),
            404,
            "there is no order",
        ),
        (Method::GET, "/xyz/events".to_owned(), 400, "must be a UUID"),
        (
            Method::GET,
            "?cursor=1".to_owned(),
            422,
            "`next` of the page before",
        ),
        (Method::GET, "?limit=0".to_owned(), 422, "1 to 1000"),
        (Method::GET, "?limit=1001".to_owned(), 422, "1 to 1000"),
        (Method::GET, "?state=odd".to_owned(), 422, "one of active"),
        (Method::GET, "?since=yesterday".to_owned(), 422, "seconds"),
        (
            Method::GET,
            "?colour=red".to_owned(),
            422,
            "no filter `colour`",
        ),
        (
            Method::POST,
            "?wait=soon".to_owned(),
            400,
            "`?wait`: it must be a duration",
        ),
        (Method::POST, "?colour=red".to_owned(), 400, "colour"),
        (Method::DELETE, format!("/{unknown}"), 405, "no DELETE"),
        (
            Method::POST,
            format!("/{unknown}/begin"),
            404,
            "there is no",
        ),
    ];
    for verb in ["cancel", "retry", "pause", "resume"] {
        all.push((
            Method::POST,
            format!("/{unknown}/{verb}"),
            404,
            "there is no order",
        ));
        all.push((Method::POST, format!("/xyz/{verb}"), 400, "must be a UUID"));
    }
    all
}

/// Definitions of services and clients that are wrong.
#[expect(clippy::too_many_lines, reason = "one table")]
pub(super) fn definitions() -> Vec<Definition> {
    let class = json!({"id": "nobody", "version": "1", "function_type": "RUST_WASM"});
    vec![
        ("services/S", json!([]), 422, "", "an object"),
        (
            "services/S",
            json!({"url": "http://x", "retries": [5]}),
            422,
            "/retries",
            "an object",
        ),
        (
            "services/S",
            json!({}),
            422,
            "",
            "`class_specification` or a `url`",
        ),
        (
            "services/S",
            json!({"url": "ftp://x"}),
            422,
            "/url",
            "http://",
        ),
        (
            "services/S",
            json!({"url": "http://x", "colour": 1}),
            422,
            "/colour",
            "colour",
        ),
        (
            "services/S",
            json!({"url": "http://x", "timeout": "soon"}),
            422,
            "/timeout",
            "soon",
        ),
        (
            "services/S",
            json!({"url": "http://x", "timeout": "2days"}),
            422,
            "/timeout",
            "1day",
        ),
        (
            "services/S",
            json!({"url": "http://x", "retries": {"attempts": "x"}}),
            422,
            "/retries/attempts",
            "whole number",
        ),
        (
            "services/S",
            json!({"url": "http://x", "min_instances": 5, "max_instances": 4}),
            422,
            "/max_instances",
            "not less",
        ),
        (
            "services/S",
            json!({"class_specification": class}),
            422,
            "/class_specification/version",
            "",
        ),
        ("services/-S", json!({"url": "http://x"}), 422, "", "name"),
        (
            "services/START",
            json!({"url": "http://x"}),
            422,
            "",
            "a stage",
        ),
        (
            "clients/C",
            json!({"tasks": ["A", "END"]}),
            422,
            "/tasks",
            "a stage",
        ),
        (
            "clients/C",
            json!({"priority": 10}),
            422,
            "/priority",
            "0 to 9",
        ),
        (
            "clients/C",
            json!({"tasks": [5]}),
            422,
            "/tasks/0",
            "not a task",
        ),
        (
            "clients/C",
            json!({"limits": {"burst": 0}}),
            422,
            "/limits/burst",
            "1 to",
        ),
        (
            "clients/C",
            json!({"outputs": [{"to": "pigeon"}]}),
            422,
            "/outputs/0/to",
            "pigeon",
        ),
        (
            "clients/C",
            json!({"outputs": [{"to": "file", "name": "../x"}]}),
            422,
            "/outputs/0",
            "name of a file",
        ),
        ("clients/-C", json!({}), 422, "", "name"),
    ]
}
