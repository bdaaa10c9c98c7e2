//! How blobs are named, and how values refer to them. Pure.

use std::{fmt, str::FromStr};

use edgeless_orders::json::Json;
use edgeless_types::CodeDigest;
use serde::Deserialize;

/// What a name begins with.
const PREFIX: &str = "sha256:";
/// The longest text of a reference: beyond that a value is something else.
const REFERENCE_BYTES: usize = 1_024;
/// How deep references to blobs are looked for in an input.
const DEPTH: usize = 16;

/// The name of a blob: `sha256:` and the SHA-256 of its bytes, 64 small hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName(CodeDigest);

/// A text that names no blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no blob: it must be `sha256:` and 64 small hexadecimal digits")]
pub struct NoBlobName(String);

impl BlobName {
    /// The name of bytes with this digest.
    pub fn new(digest: CodeDigest) -> Self {
        Self(digest)
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> CodeDigest {
        self.0
    }

    /// The blob that a value refers to: `{"blob":"sha256:..."}`, with `bytes` and `content_type` beside it or not.
    /// Names with escapes are none, so that a search in texts finds all that refer to a blob.
    pub fn of_value(value: &Json) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Reference<'a> {
            #[serde(borrow)]
            blob: &'a str,
            #[serde(rename = "bytes")]
            _bytes: Option<u64>,
            #[serde(rename = "content_type")]
            _content_type: Option<String>,
        }
        let text = value.as_str();
        if !text.starts_with('{') || text.len() > REFERENCE_BYTES {
            return None;
        }
        let reference: Reference<'_> = serde_json::from_str(text).ok()?;
        reference.blob.parse().ok()
    }

    /// All blobs that a value or a part of it refers to, with pointers to them.
    ///
    /// # Errors
    /// The pointer to an object whose `blob` begins like a name and is none.
    pub fn all_in(value: &Json) -> Result<Vec<(String, Self)>, (String, NoBlobName)> {
        // Most inputs end here.
        if !value.as_str().contains("\"sha256:") {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        collect(&value.to_value(), String::new(), 0, &mut found)?;
        Ok(found)
    }
}

fn collect(
    value: &serde_json::Value,
    pointer: String,
    depth: usize,
    found: &mut Vec<(String, BlobName)>,
) -> Result<(), (String, NoBlobName)> {
    let mut inner = Vec::new();
    if let Some(list) = value.as_array() {
        inner.extend(list.iter().enumerate().map(|(at, it)| (at.to_string(), it)));
    }
    if let Some(object) = value.as_object() {
        let name = object.get("blob").and_then(|name| name.as_str());
        if let Some(name) = name.filter(|name| name.starts_with(PREFIX)) {
            match name.parse() {
                Ok(name) => found.push((pointer.clone(), name)),
                Err(error) => return Err((pointer, error)),
            }
        }
        let escaped = |key: &String| key.replace('~', "~0").replace('/', "~1");
        inner.extend(object.iter().map(|(key, it)| (escaped(key), it)));
    }
    if depth < DEPTH {
        for (part, value) in inner {
            collect(value, format!("{pointer}/{part}"), depth + 1, found)?;
        }
    }
    Ok(())
}

impl FromStr for BlobName {
    type Err = NoBlobName;

    fn from_str(text: &str) -> Result<Self, NoBlobName> {
        let digest = text.strip_prefix(PREFIX).and_then(|hex| {
            let is_small = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            hex.bytes()
                .all(is_small)
                .then(|| hex.parse().ok())
                .flatten()
        });
        let shown = || text.chars().take(80).collect();
        digest.map(Self).ok_or_else(|| NoBlobName(shown()))
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

impl fmt::Debug for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_nothing_else_is_one() {
        let name = BlobName::new(CodeDigest::of(b"blob"));
        assert_eq!(name.to_string().parse(), Ok(name));
        let text = name.to_string();
        for wrong in [
            "",
            "sha256:",
            &text[7..],
            &text[..70],
            &format!("{text}0"),
            &text.to_uppercase(),
            &format!("sha256:{}", text[7..].to_uppercase()),
            &format!("sha256:../{}", &text[10..]),
        ] {
            assert!(wrong.parse::<BlobName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_an_object_with_a_name_refers_to_a_blob() {
        let name = BlobName::new(CodeDigest::of(b"blob"));
        let refers = |value: &serde_json::Value| BlobName::of_value(&Json::from_value(value));
        let text = name.to_string();
        assert_eq!(refers(&json!({"blob": text})), Some(name));
        let result = json!({"blob": text, "bytes": 4, "content_type": "image/png"});
        assert_eq!(refers(&result), Some(name));
        for other in [
            json!(text),
            json!([{"blob": text}]),
            json!({"blob": text, "more": 1}),
            json!({"blob": "sha256:00"}),
            json!({"bytes": 4}),
        ] {
            assert_eq!(refers(&other), None, "{other}");
        }
        let escaped = format!("{{\"blob\":\"\\u0073{}\"}}", &text[1..]);
        assert_eq!(BlobName::of_value(&Json::parse(escaped).unwrap()), None);
    }

    #[test]
    fn references_within_an_input_are_found_with_their_places() {
        let name = BlobName::new(CodeDigest::of(b"blob"));
        let text = name.to_string();
        let all = |value: &serde_json::Value| BlobName::all_in(&Json::from_value(value));
        let value = json!({"a/b": [1, {"blob": text}], "c": text, "d": {"blob": 1}});
        assert_eq!(all(&value), Ok(vec![("/a~1b/1".to_owned(), name)]));
        assert_eq!(all(&json!({"blob": text})), Ok(vec![(String::new(), name)]));
        let (pointer, error) = all(&json!([{"blob": "sha256:12"}])).unwrap_err();
        assert_eq!(
            (pointer.as_str(), error),
            ("/0", NoBlobName("sha256:12".to_owned()))
        );
    }
}
