//! START: what a client hands in, and what goes to the orchestrator. Pure.

use crate::{
    json::{self, Json},
    message::{MAX_VALUE_DEPTH, Mode, depth_within_bound, shown},
    tasks::TaskList,
};

/// What a client hands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// What the first task works on.
    pub input: Json,
    /// The list of tasks, not yet read; `None`: the client's contract says.
    pub tasks: Option<Json>,
}

/// Why a message of a client cannot be taken at START.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStart {
    /// It is not an object.
    #[error(
        "the message is not an object but {got}; expected one such as {{\"input\":5,\"todo\":[\"A\"]}}"
    )]
    NotAnObject {
        /// What it is, at most 200 characters.
        got: String,
    },
    /// It has no `input`.
    #[error("the message has no `input`; add one, null if there is none")]
    NoInput,
    /// The input nests too deep.
    #[error("`input` nests {depth} levels deep, expected at most {MAX_VALUE_DEPTH}")]
    Deep {
        /// How deep.
        depth: usize,
    },
    /// A key stands twice, or the list of tasks under both of its names.
    #[error("the message has {what} twice; leave one of them out")]
    Twice {
        /// The key.
        what: String,
    },
    /// A key that is not known.
    #[error("the message has an unknown key `{key}`; expected `input` and `todo` or `tasks`")]
    Unknown {
        /// The key, at most 200 characters.
        key: String,
    },
    /// Something was done already, or comes from somewhere that has no name.
    #[error("`{key}` is {got}, expected {expected}")]
    Begun {
        /// `done` or `from`.
        key: &'static str,
        /// What stands there, at most 200 characters.
        got: String,
        /// What may stand there.
        expected: &'static str,
    },
}

/// Reads `{"input":5,"todo":["A","B"]}`. `tasks` may stand for `todo`, and both may be missing. `"done":[]` and
/// `"from":["start"]`, or a `from` that is a string, are passed over.
///
/// # Errors
/// If it is something else.
pub fn parse(body: &Json) -> Result<Start, NotStart> {
    let text = body.as_str();
    let Some(entries) = json::entries(text) else {
        return Err(NotStart::NotAnObject { got: shown(text) });
    };
    let (mut input, mut tasks) = (None, None);
    for (at, (key, raw)) in entries.iter().enumerate() {
        if entries[..at].iter().any(|entry| entry.0 == *key) {
            let what = format!("`{}`", shown(key));
            return Err(NotStart::Twice { what });
        }
        match key.as_ref() {
            "input" => input = Some(body.cut(raw.get())),
            "todo" | "tasks" => {
                if tasks.replace(body.cut(raw.get())).is_some() {
                    let what = "the list of tasks, as `todo` and as `tasks`,".to_owned();
                    return Err(NotStart::Twice { what });
                }
            }
            "done" => begun("done", raw.get(), "an empty list", |text| {
                json::items(text).is_some_and(|items| items.is_empty())
            })?,
            "from" => begun("from", raw.get(), "a string or a list of strings", |text| {
                let is_text = |text: &str| text.starts_with('"');
                let items = json::items(text);
                is_text(text)
                    || items.is_some_and(|items| items.iter().all(|raw| is_text(raw.get())))
            })?,
            key => return Err(NotStart::Unknown { key: shown(key) }),
        }
    }
    let input = input.ok_or(NotStart::NoInput)?;
    depth_within_bound(&input).map_err(|depth| NotStart::Deep { depth })?;
    Ok(Start { input, tasks })
}

/// What START sends to the orchestrator: `{"input":5,"todo":["A","B"],"done":[]}`, or with `"from":["start"]`.
pub fn output(mode: Mode, input: &Json, tasks: &TaskList) -> Json {
    let (input, names) = (input.as_bytes(), tasks.names().as_bytes());
    let mut text = Vec::with_capacity(input.len() + names.len() + 40);
    text.extend_from_slice(b"{\"input\":");
    text.extend_from_slice(input);
    text.extend_from_slice(b",\"todo\":");
    text.extend_from_slice(names);
    text.extend_from_slice(match mode {
        Mode::Slip => b",\"done\":[]}",
        Mode::Trace => b",\"from\":[\"start\"]}",
    });
    Json::written(text)
}

fn begun(
    key: &'static str,
    text: &str,
    expected: &'static str,
    is_right: impl Fn(&str) -> bool,
) -> Result<(), NotStart> {
    let got = shown(text);
    is_right(text)
        .then_some(())
        .ok_or(NotStart::Begun { key, got, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Start, String> {
        let body = Json::parse(text.to_owned()).unwrap();
        parse(&body).map_err(|error| error.to_string())
    }

    fn start(input: &'static str, tasks: Option<&'static str>) -> Result<Start, String> {
        let json = |text| Json::parse(text).unwrap();
        let (input, tasks) = (json(input), tasks.map(json));
        Ok(Start { input, tasks })
    }

    #[test]
    fn the_list_has_two_names_and_may_be_missing() {
        let expected = start("1.0", Some(r#"["A"]"#));
        for text in [
            r#"{"input":1.0,"todo":["A"]}"#,
            r#"{"tasks":["A"],"input":1.0}"#,
            r#"{"input":1.0,"todo":["A"],"done":[]}"#,
            r#"{"input":1.0,"todo":["A"],"from":["start"]}"#,
            r#"{"input":1.0,"todo":["A"],"from":"start"}"#,
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        assert_eq!(read(r#"{"input":1e400}"#), start("1e400", None));
    }

    #[test]
    fn other_messages_are_refused_with_a_reason() {
        let deep = format!("{{\"input\":{}{}}}", "[".repeat(101), "]".repeat(101));
        for (text, expected) in [
            ("5", "the message is not an object but 5"),
            (r#"{"todo":[]}"#, "the message has no `input`"),
            (r#"{"input":1,"input":2}"#, "the message has `input` twice"),
            (
                r#"{"input":1,"todo":[],"tasks":[]}"#,
                "the message has the list of tasks, as `todo`",
            ),
            (r#"{"input":1,"x":1}"#, "the message has an unknown key `x`"),
            (
                r#"{"input":1,"done":["A"]}"#,
                "`done` is [\"A\"], expected an empty list",
            ),
            (r#"{"input":1,"from":5}"#, "`from` is 5, expected a string"),
            (&deep, "`input` nests 101 levels deep, expected at most 100"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
