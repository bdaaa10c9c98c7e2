//! The messages between START, the orchestrator, the services and END, in both shapes of the examples. Pure.
//!
//! Inputs and results pass through as they are written. Keys stand in the order of the examples, without white space.
//! Which task is next, and what is an attempt, is for others to say.

pub mod slip;
pub mod start;
pub mod trace;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    json::{self, Json},
    tasks::{Task, TaskList},
};

/// How deep an input or a result may nest, so that messages around it stay within
/// [`json::MAX_DEPTH`].
pub const MAX_VALUE_DEPTH: usize = 100;
/// How many characters of a wrong text an error shows.
const MAX_SHOWN: usize = 200;

/// Which shape the messages of an order have.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Example 1: `input`, `tasks`, `done`; each service replaces `input` and appends itself to `done`.
    #[default]
    Slip,
    /// Example 2: `input`, `tasks`, `jobs`; each service adds its `result`, and the orchestrator tidies up.
    Trace,
}

/// Why the answer of a service is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// Something in it has the wrong type.
    #[error("the answer of `{service}` has {got} as {what}, expected {expected}")]
    Kind {
        /// The service.
        service: String,
        /// What is wrong: "the message", "`jobs`".
        what: String,
        /// What stands there, at most 200 characters.
        got: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// A key is missing.
    #[error("the answer of `{service}` has no {what}; it is {got}")]
    Missing {
        /// The service.
        service: String,
        /// The key.
        what: String,
        /// Where it is missing, at most 200 characters.
        got: String,
    },
    /// A key stands twice, so that it is not clear what is meant.
    #[error("the answer of `{service}` has {what} twice; it is {got}")]
    Twice {
        /// The service.
        service: String,
        /// The key.
        what: String,
        /// Where it stands twice, at most 200 characters.
        got: String,
    },
    /// What a service must not change, or must set, is something else.
    #[error("the answer of `{service}` has {got} as {what}, expected {expected}")]
    Differs {
        /// The service.
        service: String,
        /// The key.
        what: String,
        /// What stands there, at most 200 characters.
        got: String,
        /// What should stand there, at most 200 characters.
        expected: String,
    },
    /// The result nests deeper than [`MAX_VALUE_DEPTH`].
    #[error(
        "the result of `{service}` nests {depth} levels deep, expected at most {MAX_VALUE_DEPTH}"
    )]
    Deep {
        /// The service.
        service: String,
        /// How deep.
        depth: usize,
    },
}

/// What leaves at END: `{"result":14}`.
pub fn end(result: &Json) -> Json {
    let mut text = Vec::with_capacity(result.as_bytes().len() + 16);
    text.extend_from_slice(b"{\"result\":");
    text.extend_from_slice(result.as_bytes());
    text.push(b'}');
    Json::written(text)
}

/// The results of a group, or of those of its tasks that ran, as a map: `{"B":7,"C":10}`.
pub fn join<'a>(results: impl IntoIterator<Item = (&'a Task, &'a Json)>) -> Json {
    let mut text = vec![b'{'];
    for (at, (task, result)) in results.into_iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        json::quote(&mut text, &task.key);
        text.push(b':');
        text.extend_from_slice(result.as_bytes());
    }
    text.push(b'}');
    Json::written(text)
}

/// Whether a value leaves room for the messages around it. A short text cannot nest deep.
fn depth_within_bound(value: &Json) -> Result<(), usize> {
    if value.as_bytes().len() <= 2 * MAX_VALUE_DEPTH {
        return Ok(());
    }
    match value.depth() {
        0..=MAX_VALUE_DEPTH => Ok(()),
        depth => Err(depth),
    }
}

/// Makes errors about the answer of one service.
#[derive(Clone, Copy)]
struct Answer<'a> {
    service: &'a str,
}

impl Answer<'_> {
    /// The values of some keys of an object. Others are passed over.
    fn fields<'a, const N: usize>(
        self,
        what: impl fmt::Display,
        text: &'a str,
        keys: [&str; N],
    ) -> Result<[Option<&'a RawValue>; N], Nonsense> {
        let mut found = [None; N];
        let mut twice = None;
        let is_object = json::each_entry(text, |key, raw| {
            let known = keys.iter().position(|known| key == *known);
            if let Some(at) = known
                && found[at].replace(raw).is_some()
            {
                twice = Some(at);
            }
        });
        match twice {
            _ if !is_object => Err(self.kind(what, text, "an object")),
            Some(at) => Err(Nonsense::Twice {
                service: self.service.to_owned(),
                what: format!("`{}`", keys[at]),
                got: shown(text),
            }),
            None => Ok(found),
        }
    }

    fn kind(self, what: impl fmt::Display, got: &str, expected: &'static str) -> Nonsense {
        Nonsense::Kind {
            service: self.service.to_owned(),
            what: what.to_string(),
            got: shown(got),
            expected,
        }
    }

    fn missing(self, what: impl fmt::Display, got: &str) -> Nonsense {
        Nonsense::Missing {
            service: self.service.to_owned(),
            what: what.to_string(),
            got: shown(got),
        }
    }

    fn differs(self, what: impl fmt::Display, got: &str, expected: &str) -> Nonsense {
        Nonsense::Differs {
            service: self.service.to_owned(),
            what: what.to_string(),
            got: shown(got),
            expected: shown(expected),
        }
    }

    /// The list of tasks must have stayed what it was.
    fn same_tasks(self, tasks: &TaskList, got: &RawValue) -> Result<(), Nonsense> {
        let names = tasks.names();
        let same = got.get() == names.as_str()
            || serde_json::from_str::<Value>(got.get()).is_ok_and(|got| got == names.to_value());
        if same {
            Ok(())
        } else {
            Err(self.differs("`tasks`", got.get(), names.as_str()))
        }
    }

    /// What a service made, cut out of its answer.
    fn result(self, body: &Json, raw: &RawValue) -> Result<Json, Nonsense> {
        let result = body.cut(raw.get());
        match depth_within_bound(&result) {
            Ok(()) => Ok(result),
            Err(depth) => Err(Nonsense::Deep {
                service: self.service.to_owned(),
                depth,
            }),
        }
    }
}

/// At most 200 characters of a text.
fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some(_) => text
            .chars()
            .take(MAX_SHOWN - 3)
            .chain("...".chars())
            .collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
