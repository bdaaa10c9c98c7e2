//! JSON pointers (RFC 6901) into values that are text. Pure.

use crate::json::{self, Json};

/// A place in a value: keys of objects and indices into arrays; none for the whole value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// A text that is no JSON pointer; in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoPointer(&'static str);

impl Pointer {
    /// Reads a pointer such as `/medium` or `/items/0`; empty: the whole value.
    ///
    /// # Errors
    /// It does not begin with `/`, or a `~` in it is followed by neither 0 nor 1.
    pub fn parse(text: &str) -> Result<Self, NoPointer> {
        let rest = match text.strip_prefix('/') {
            Some(rest) => rest,
            None if text.is_empty() => return Ok(Self::default()),
            None => return Err(NoPointer("a JSON pointer is empty or begins with `/`")),
        };
        let part = |part: &str| {
            let bare = part.replace("~0", "").replace("~1", "");
            let unescaped = part.replace("~1", "/").replace("~0", "~");
            (!bare.contains('~')).then_some(unescaped)
        };
        let parts: Option<Vec<String>> = rest.split('/').map(part).collect();
        let wrong = NoPointer("`~` in a JSON pointer is followed by 0 or 1");
        parts.map(Self).ok_or(wrong)
    }

    /// The part of a value that stands there, if any does. Of a key that stands twice the last counts.
    pub fn of(&self, value: &Json) -> Option<Json> {
        if self.0.is_empty() {
            return Some(value.clone());
        }
        self.find(value.as_str()).map(|text| value.cut(text))
    }

    /// The same in a checked text.
    pub(crate) fn find<'a>(&self, mut text: &'a str) -> Option<&'a str> {
        for part in &self.0 {
            let mut found = None;
            if text.starts_with('{') {
                json::each_entry(text, |key, raw| {
                    if key == part.as_str() {
                        found = Some(raw.get());
                    }
                });
            } else {
                let (wanted, mut at) = (index(part)?, 0);
                json::each_item(text, |raw| {
                    if at == wanted {
                        found = Some(raw.get());
                    }
                    at += 1;
                });
            }
            text = found?;
        }
        Some(text)
    }
}

/// The index into an array that a part of a pointer says.
fn index(part: &str) -> Option<usize> {
    let digits = part.bytes().all(|byte| byte.is_ascii_digit());
    let plain = part == "0" || !part.starts_with('0');
    (digits && plain).then(|| part.parse().ok()).flatten()
}

/// A key as part of a JSON pointer.
pub(crate) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pointer: &str, value: &str) -> Option<String> {
        let value = Json::parse(value.to_owned()).unwrap();
        let found = Pointer::parse(pointer).unwrap().of(&value);
        found.map(|found| found.as_str().to_owned())
    }

    #[test]
    fn a_pointer_selects_a_part_as_it_is_written() {
        let value = r#"{"small":{"blob": "x"},"a/b~":[1.50,null],"small ":2}"#;
        assert_eq!(at("/small", value).as_deref(), Some(r#"{"blob": "x"}"#));
        assert_eq!(at("/a~1b~0/0", value).as_deref(), Some("1.50"));
        assert_eq!(at("/a~1b~0/1", value).as_deref(), Some("null"));
        assert_eq!(at("", value).as_deref(), Some(value));
        for nowhere in ["/medium", "/small/blob/x", "/a~1b~0/2", "/a~1b~0/00", "/"] {
            assert_eq!(at(nowhere, value), None, "{nowhere}");
        }
        for wrong in ["small", "/~", "/~2"] {
            assert!(Pointer::parse(wrong).is_err(), "{wrong}");
        }
    }
}
