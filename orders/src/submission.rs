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
    json::{self, Json},
    message::MAX_VALUE_DEPTH,
    message::Mode,
    tasks::{TaskList, is_service_name},
    words,
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

/// The document of an order.
fn read(body: &[u8]) -> Result<Document<'_>, Fault> {
    // A reader would take a list as well, as the members in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        let text = r#"an order is an object such as {"input": 5, "tasks": ["A"]}"#;
        return Err(Fault::new("", text));
    }
    serde_json::from_slice(body).map_err(|_| place(body))
}

/// What is wrong with a body that is no order, and where; read once more for that, which nothing else has to pay for.
fn place(body: &[u8]) -> Fault {
    let json = &mut serde_json::Deserializer::from_slice(body);
    let read: Result<Document<'_>, _> = serde_path_to_error::deserialize(json);
    match read {
        Err(error) => words::fault(error.path(), &error.inner().to_string()),
        Ok(_) => Fault::new(
            "",
            "more than one value stands there; an order is one object",
        ),
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
    /// A digest of the document, however it is laid out, without the key itself.
    pub digest: [u8; 32],
}

/// The key of an order, which may stand in the document, come beside it, or both.
fn one_key(inside: Option<String>, beside: Option<&str>) -> Result<Option<String>, String> {
    if let (Some(inside), Some(beside)) = (&inside, beside)
        && inside != beside
    {
        return Err("it is not that of the header `Idempotency-Key`; send one of them".to_owned());
    }
    let key = inside.or_else(|| beside.map(str::to_owned));
    match key {
        Some(key) if key.is_empty() || key.len() > KEY_BYTES => {
            Err(format!("it must have 1 to {KEY_BYTES} bytes"))
        }
        key => Ok(key),
    }
}

/// What a document says besides its key, the same for all its spellings.
fn meant(body: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let mut entries = json::entries(text.trim_ascii()).unwrap_or_default();
    entries.retain(|(key, _)| key != "idempotency_key");
    for (key, _) in &mut entries {
        if key == "todo" {
            *key = "tasks".into();
        }
    }
    let mut meant = Vec::with_capacity(body.len());
    json::canonical_object(&mut meant, entries);
    meant
}

/// The longest deadline and delay.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl Submission {
    /// Reads a document; `key` is an idempotency key that came beside it, `lists` finds or makes the list of tasks of a
    /// text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        body: &Bytes,
        key: Option<&str>,
        came: Timestamp,
        digest: impl FnOnce(&[u8]) -> [u8; 32],
        lists: impl FnOnce(&Json) -> Result<Arc<TaskList>, Vec<Fault>>,
    ) -> Result<Self, Vec<Fault>> {
        let document = read(body).map_err(|fault| vec![fault])?;
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
        let key = one_key(document.idempotency_key, key);
        let key = key.unwrap_or_else(|detail| {
            faults.push(Fault::new("/idempotency_key", detail));
            None
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
        let key = key.map(|text| {
            let digest = digest(&meant(body));
            Key { text, digest }
        });
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
        let read = Submission::parse(&body, None, now, |_| [0; 32], |_| Err(Vec::new()));
        read.map(|submission| submission.input.as_str().to_owned())
    }

    #[test]
    fn nothing_is_an_input_but_there_must_be_one() {
        assert_eq!(input(r#"{"input":null}"#), Ok("null".to_owned()));
        assert_eq!(input(r#"{"input":1e400}"#), Ok("1e400".to_owned()));
        let faults = input("{}").unwrap_err();
        assert_eq!(faults, [Fault::new("/input", "an order has an `input`")]);
    }

    /// The key, and what its digest is of.
    fn keyed(document: &str, beside: Option<&str>) -> Result<(String, String), String> {
        let lists = crate::tasks::Lists::default();
        let mut meant = String::new();
        let body = Bytes::from(document.to_owned());
        let digest = |text: &[u8]| {
            meant = String::from_utf8(text.to_vec()).unwrap();
            [0; 32]
        };
        let now = Timestamp::default();
        let read = Submission::parse(&body, beside, now, digest, |text| lists.list(text));
        match read {
            Ok(submission) => Ok((submission.key.unwrap().text, meant)),
            Err(faults) => Err(faults[0].to_string()),
        }
    }

    #[test]
    fn a_key_may_come_beside_a_document_that_is_compared_by_what_it_means() {
        let expected = Ok((
            "k".to_owned(),
            r#"{"input":{"a":1.0,"b":2},"tasks":["A"]}"#.to_owned(),
        ));
        for (document, beside) in [
            (
                r#"{"input":{"a":1.0,"b":2},"tasks":["A"],"idempotency_key":"k"}"#,
                None,
            ),
            (r#" { "todo":["A"], "input":{"b":2,"a":1.0} }"#, Some("k")),
            (
                r#"{"input":{"b":2, "a":1.0},"tasks":["\u0041"],"idempotency_key":"k"}"#,
                Some("k"),
            ),
        ] {
            assert_eq!(keyed(document, beside), expected, "{document}");
        }
        let other = r#"{"input":5,"idempotency_key":"k"}"#;
        let refused = keyed(other, Some("other")).unwrap_err();
        assert!(refused.starts_with("/idempotency_key: it is not that of the header"));
        let empty = keyed(r#"{"input":5}"#, Some("")).unwrap_err();
        assert_eq!(empty, "/idempotency_key: it must have 1 to 200 bytes");
    }

    #[test]
    fn what_is_wrong_has_its_place_and_plain_words() {
        let object = r#"an order is an object such as {"input": 5, "tasks": ["A"]}"#;
        for (body, pointer, detail) in [
            (
                r#"{"input":5,"priority":"high"}"#,
                "/priority",
                r#"it must be a whole number, 0 to 255, not "high""#,
            ),
            (
                r#"{"input":5,"mode":"odd"}"#,
                "/mode",
                "it must be one of `slip` or `trace`, not `odd`",
            ),
            (
                r#"{"input":5,"deadline":5}"#,
                "/deadline",
                r#"it must be a duration such as "5s", not 5"#,
            ),
            (
                r#"{"input":5,"client":5}"#,
                "/client",
                "it must be a text, not 5",
            ),
            (r#"{"input":5,"input":6}"#, "", "`input` stands twice"),
            ("5", "", object),
            ("[]", "", object),
            (r#" ["c",5,["A"]]"#, "", object),
        ] {
            let body = Bytes::from(body);
            let now = Timestamp::default();
            let lists = crate::tasks::Lists::default();
            let read = Submission::parse(&body, None, now, |_| [0; 32], |text| lists.list(text));
            let fault = Fault::new(pointer, detail);
            assert_eq!(read.unwrap_err(), [fault], "{body:?}");
        }
        assert_eq!(input(r#"{"input":5"#).unwrap_err()[0].pointer, "");
    }
}
