//! An order as a client sends it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use edgeless_types::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    bounds::INPUT_BYTES,
    contract::Output,
    fault::Fault,
    json::Json,
    message::MAX_VALUE_DEPTH,
    message::Mode,
    tasks::{TaskList, is_service_name},
};

/// The longest idempotency key, in bytes.
pub const KEY_BYTES: usize = 200;
/// The longest metadata, in bytes of JSON.
pub const METADATA_BYTES: usize = 16 << 10;

/// The document: `POST /api/v1/orders`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    client: Option<String>,
    #[serde(borrow, default, deserialize_with = "given")]
    input: Option<&'a RawValue>,
    #[serde(borrow, alias = "todo")]
    tasks: Option<&'a RawValue>,
    mode: Option<Mode>,
    #[serde(default, with = "humantime_serde")]
    deadline: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    delay: Option<Duration>,
    priority: Option<u8>,
    idempotency_key: Option<String>,
    callback: Option<String>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

impl Document<'_> {
    fn wrong_amounts(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self
            .client
            .as_ref()
            .is_some_and(|client| !is_service_name(client))
        {
            let text = "it must be 1 to 64 letters, digits, `.`, `_` and `-`";
            faults.push(Fault::new("/client", text));
        }
        if self.priority.is_some_and(|priority| priority > 9) {
            faults.push(Fault::new("/priority", "it must be 0 to 9"));
        }
        for (pointer, value) in [("/deadline", self.deadline), ("/delay", self.delay)] {
            if value.is_some_and(|value| value > LONGEST) {
                faults.push(Fault::new(pointer, "it must be at most 10 years"));
            }
        }
        faults
    }
}

/// Where a body that is no order is wrong; read once more for that, which nothing else has to pay for.
fn place(body: &[u8]) -> String {
    let json = &mut serde_json::Deserializer::from_slice(body);
    let read: Result<Document<'_>, _> = serde_path_to_error::deserialize(json);
    let path = read.err().map(|error| error.path().to_string());
    match path.as_deref() {
        None | Some("." | "?") => String::new(),
        Some(path) => format!("/{path}"),
    }
}

/// A value that is there, `null` too.
fn given<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// An order as it is asked for: well-formed, not yet checked against contract and services.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// Who sends it.
    pub client: Option<String>,
    /// What it is about.
    pub input: Json,
    /// Its own list of tasks.
    pub tasks: Option<Arc<TaskList>>,
    /// Which messages its services get.
    pub mode: Option<Mode>,
    /// How long it may take.
    pub deadline: Option<Duration>,
    /// How long it waits before it begins.
    pub delay: Option<Duration>,
    /// 0 to 9.
    pub priority: Option<u8>,
    /// Whoever sends it again with the same key means the same order.
    pub key: Option<Key>,
    /// Where its end is told besides.
    pub callback: Option<Output>,
    /// What the client noted.
    pub metadata: Option<Json>,
    /// When it came.
    pub came: Timestamp,
}

/// An idempotency key and what was sent with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// A digest of the document.
    pub digest: [u8; 32],
}

/// The longest deadline and delay.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl Submission {
    /// Reads a document; `lists` finds or makes the list of tasks of a text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        body: &Bytes,
        came: Timestamp,
        digest: impl FnOnce(&[u8]) -> [u8; 32],
        lists: impl FnOnce(&Json) -> Result<Arc<TaskList>, Vec<Fault>>,
    ) -> Result<Self, Vec<Fault>> {
        let document: Document<'_> = serde_json::from_slice(body)
            .map_err(|error| vec![Fault::new(place(body), format!("no order: {error}"))])?;
        let mut faults = document.wrong_amounts();
        let mut value = |raw: &RawValue, pointer: &str| {
            let value = Json::within(body, raw);
            let value = value.map_err(|error| faults.push(Fault::new(pointer, error.to_string())));
            value.ok()
        };
        let has_input = document.input.is_some();
        let input = document.input.and_then(|raw| value(raw, "/input"));
        let tasks = document.tasks.and_then(|raw| value(raw, "/tasks"));
        let metadata = document.metadata.and_then(|raw| value(raw, "/metadata"));
        let tasks = tasks.and_then(|text| match lists(&text) {
            Ok(list) => Some(list),
            Err(wrong) => {
                faults.extend(wrong.into_iter().map(|fault| fault.under("/tasks")));
                None
            }
        });
        if let Some(Err(detail)) = input.as_ref().map(check_input) {
            faults.push(Fault::new("/input", detail));
        }
        let key = document.idempotency_key.map(|text| {
            if text.is_empty() || text.len() > KEY_BYTES {
                let detail = format!("it must have 1 to {KEY_BYTES} bytes");
                faults.push(Fault::new("/idempotency_key", detail));
            }
            let digest = digest(body);
            Key { text, digest }
        });
        if let Some(metadata) = &metadata {
            let text = metadata.as_str();
            if !text.starts_with('{') || text.len() > METADATA_BYTES {
                let detail = format!("it must be an object of at most {METADATA_BYTES} bytes");
                faults.push(Fault::new("/metadata", detail));
            }
        }
        let callback = document.callback.map(|url| Output::Callback { url });
        if let Some(Err(detail)) = callback.as_ref().map(Output::check) {
            faults.push(Fault::new("/callback", detail));
        }
        if !has_input {
            faults.push(Fault::new("/input", "an order has an `input`"));
        }
        let (Some(input), true) = (input, faults.is_empty()) else {
            return Err(faults);
        };
        Ok(Self {
            client: document.client,
            input,
            tasks,
            mode: document.mode,
            deadline: document.deadline,
            delay: document.delay,
            priority: document.priority,
            key,
            callback,
            metadata,
            came,
        })
    }
}

/// Whether an order can be about this; else why not.
fn check_input(input: &Json) -> Result<(), String> {
    if input.depth() > MAX_VALUE_DEPTH {
        return Err(format!(
            "it must nest at most {MAX_VALUE_DEPTH} levels deep"
        ));
    }
    if input.as_bytes().len() > INPUT_BYTES {
        return Err(format!(
            "the input is longer than {INPUT_BYTES} bytes; put it into a blob and name that"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(document: &'static str) -> Result<String, Vec<Fault>> {
        let body = Bytes::from_static(document.as_bytes());
        let now = Timestamp::from_nanos(0);
        let read = Submission::parse(&body, now, |_| [0; 32], |_| Err(Vec::new()));
        read.map(|submission| submission.input.as_str().to_owned())
    }

    #[test]
    fn nothing_is_an_input_but_there_must_be_one() {
        assert_eq!(input(r#"{"input":null}"#), Ok("null".to_owned()));
        assert_eq!(input(r#"{"input":1e400}"#), Ok("1e400".to_owned()));
        let faults = input("{}").unwrap_err();
        assert_eq!(faults, [Fault::new("/input", "an order has an `input`")]);
    }

    #[test]
    fn what_is_of_a_wrong_type_has_its_place() {
        for (body, pointer) in [
            (r#"{"input":5,"priority":"high"}"#, "/priority"),
            (r#"{"input":5,"mode":"odd"}"#, "/mode"),
            (r#"{"input":5,"deadline":5}"#, "/deadline"),
            (r#"{"input":5,"client":5}"#, "/client"),
            ("5", ""),
            (r#"{"input":5"#, ""),
        ] {
            let body = Bytes::from(body);
            let now = Timestamp::default();
            let lists = crate::tasks::Lists::default();
            let read = Submission::parse(&body, now, |_| [0; 32], |text| lists.list(text));
            assert_eq!(read.unwrap_err()[0].pointer, pointer, "{body:?}");
        }
    }
}
