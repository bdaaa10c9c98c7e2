//! JSON values as text: inputs and results pass through the system as they were written. Pure.
//!
//! A number keeps its spelling and an integer all its digits, because nothing is read and written again. What is to be
//! looked into is taken apart one level at a time.

use std::{borrow::Cow, fmt, str};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// How deep arrays and objects may stand in one another: what `serde_json` reads into a [`Value`].
pub const MAX_DEPTH: usize = 127;

/// How far numbers may be apart that mean the same, as a part of the larger: readers of JSON that prefer speed, such as
/// `serde_json`, miss the nearest `f64` by one place.
const ROUNDING: f64 = 4.0 * f64::EPSILON;

/// The text of exactly one JSON value, without white space around it. A copy is cheap.
///
/// Equal means: the same text. [`Json::means`] looks at the values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json(Bytes);

/// Why a text is not one JSON value that can be taken. Lines and columns count bytes and begin with 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    /// It breaks the grammar, or is not UTF-8.
    #[error("not JSON: {detail} at line {line}, column {column}")]
    Syntax {
        /// What is wrong.
        detail: String,
        /// Where.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// It nests too deep.
    #[error(
        "JSON nests deeper than {MAX_DEPTH} levels at line {line}, column {column}; flatten it"
    )]
    Deep {
        /// Where.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// A `\u` escape that is half of a character.
    #[error("not JSON: half a surrogate pair at line {line}, column {column}; write both halves")]
    HalfPair {
        /// Where.
        line: usize,
        /// Where in the line.
        column: usize,
    },
}

impl Json {
    /// Takes a text that is one JSON value.
    ///
    /// # Errors
    /// If it is not, or nests deeper than [`MAX_DEPTH`].
    pub fn parse(text: impl Into<Bytes>) -> Result<Self, NotJson> {
        let text: Bytes = text.into();
        let raw: &RawValue = serde_json::from_slice(&text).map_err(|error| syntax(&error))?;
        Self::within(&text, raw)
    }

    /// A copy of a value that was cut out of some text.
    ///
    /// # Errors
    /// If it nests deeper than [`MAX_DEPTH`] or a string of it holds half a surrogate pair.
    pub fn from_raw(raw: &RawValue) -> Result<Self, NotJson> {
        scan(raw.get().as_bytes())?;
        Ok(Self(Bytes::copy_from_slice(raw.get().as_bytes())))
    }

    /// A value that was cut out of `buffer`, which it then shares. What is less than half of the buffer, or is not from
    /// there, is copied instead, so that no small value keeps a large buffer alive.
    ///
    /// # Errors
    /// As [`Json::from_raw`].
    pub fn within(buffer: &Bytes, raw: &RawValue) -> Result<Self, NotJson> {
        scan(raw.get().as_bytes())?;
        Ok(Self(share(buffer, raw.get())))
    }

    /// The text of a value. It must not nest deeper than [`MAX_DEPTH`], which none does that was read from text.
    pub fn from_value(value: &Value) -> Self {
        let text = serde_json::to_vec(value).expect("a value has string keys and memory is there");
        debug_assert!(scan(&text).is_ok(), "a value nests too deep");
        Self(text.into())
    }

    /// A text that was checked before it was kept.
    pub fn kept(text: Bytes) -> Self {
        Self(text)
    }

    /// `null`.
    pub fn null() -> Self {
        Self(Bytes::from_static(b"null"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("checked when it was made")
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, shared.
    pub fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// How deep arrays and objects stand in one another: 0 for a number, 1 for `[]`; at most [`MAX_DEPTH`].
    pub fn depth(&self) -> usize {
        scan(&self.0).expect("checked when it was made")
    }

    /// The value, for those who must look into all of it. Numbers become what `serde_json` has: integers beyond 64 bits
    /// are rounded, and a number beyond `f64` (`1e400`) becomes a string with its text.
    pub fn to_value(&self) -> Value {
        value(self.as_str())
    }

    /// Whether both mean the same: white space, the order of keys and the spelling of numbers and strings aside.
    /// Numbers compare as `f64` and may be off by its last digit, so that a service may read and write them in any
    /// language.
    pub fn means(&self, other: &Json) -> bool {
        self.0 == other.0 || same(&self.to_value(), &other.to_value())
    }

    /// A value that was cut out of this one.
    pub(crate) fn cut(&self, text: &str) -> Self {
        Self(share(&self.0, text))
    }

    /// What was written by this crate out of checked parts.
    pub(crate) fn written(text: Vec<u8>) -> Self {
        debug_assert!(serde_json::from_slice::<IgnoredAny>(&text).is_ok());
        Self(text.into())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As it is written, into `serde_json` only.
impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_slice(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// As it is written, out of `serde_json` only.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        scan(raw.get().as_bytes()).map_err(D::Error::custom)?;
        let text: Box<str> = raw.into();
        Ok(Self(text.into_string().into()))
    }
}

/// Calls `each` with the members of an object in their order; `false` if the checked text is something else.
pub(crate) fn each_entry<'a>(text: &'a str, each: impl FnMut(Cow<'a, str>, &'a RawValue)) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    text.starts_with('{') && deserializer.deserialize_map(Each(each)).is_ok()
}

/// Calls `each` with the elements of an array in their order; `false` if the checked text is something else.
pub(crate) fn each_item<'a>(text: &'a str, mut each: impl FnMut(&'a RawValue)) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let each = Each(|_: Cow<'a, str>, raw| each(raw));
    text.starts_with('[') && deserializer.deserialize_seq(each).is_ok()
}

/// The members of an object in their order, or `None` for something else.
pub(crate) fn entries(text: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    let mut entries = Vec::new();
    each_entry(text, |key, raw| entries.push((key, raw))).then_some(entries)
}

/// The elements of an array, or `None` for something else.
pub(crate) fn items(text: &str) -> Option<Vec<&RawValue>> {
    let mut items = Vec::new();
    each_item(text, |raw| items.push(raw)).then_some(items)
}

/// What a string says, or `None` for something else.
pub(crate) fn string(text: &str) -> Option<Cow<'_, str>> {
    let key: Key<'_> = serde_json::from_str(text).ok()?;
    Some(key.0)
}

/// Writes a checked value so that all texts of it come out the same: keys sorted, no blanks, strings escaped alike, and
/// numbers as they are written. Keys that stand twice keep their order.
pub(crate) fn canonical(into: &mut Vec<u8>, text: &str) {
    if let Some(entries) = entries(text) {
        canonical_object(into, entries);
    } else if let Some(items) = items(text) {
        into.push(b'[');
        for (at, raw) in items.iter().enumerate() {
            if at > 0 {
                into.push(b',');
            }
            canonical(into, raw.get());
        }
        into.push(b']');
    } else if let Some(text) = string(text) {
        quote(into, &text);
    } else {
        into.extend_from_slice(text.as_bytes());
    }
}

/// The same for the members of an object.
pub(crate) fn canonical_object(into: &mut Vec<u8>, mut entries: Vec<(Cow<'_, str>, &RawValue)>) {
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    into.push(b'{');
    for (at, (key, raw)) in entries.iter().enumerate() {
        if at > 0 {
            into.push(b',');
        }
        quote(into, key);
        into.push(b':');
        canonical(into, raw.get());
    }
    into.push(b'}');
}

/// Writes a string with its quotes.
pub(crate) fn quote(into: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(into, text).expect("memory takes all");
}

/// A string that is borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct Each<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, raw)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            (self.0)(key.0, raw);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(raw) = list.next_element::<&'de RawValue>()? {
            (self.0)(Cow::Borrowed(""), raw);
        }
        Ok(())
    }
}

fn share(buffer: &Bytes, text: &str) -> Bytes {
    let (start, at) = (buffer.as_ptr().addr(), text.as_ptr().addr());
    let inside = at >= start && at + text.len() <= start + buffer.len();
    if inside && text.len() >= buffer.len() / 2 {
        buffer.slice_ref(text.as_bytes())
    } else {
        Bytes::copy_from_slice(text.as_bytes())
    }
}

/// Reads a checked text; what `serde_json` has no number for becomes a string.
fn value(text: &str) -> Value {
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    if let Some(entries) = entries(text) {
        let entries = entries.into_iter();
        let entries = entries.map(|(key, raw)| (key.into_owned(), value(raw.get())));
        return Value::Object(entries.collect());
    }
    match items(text) {
        Some(items) => items.into_iter().map(|raw| value(raw.get())).collect(),
        None => Value::String(text.to_owned()),
    }
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => {
                (one - other).abs() <= ROUNDING * one.abs().max(other.abs())
            }
            (one, other) => one == other,
        },
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let known = |(key, one)| other.get(key).is_some_and(|other| same(one, other));
            one.len() == other.len() && one.iter().all(known)
        }
        _ => one == other,
    }
}

fn syntax(error: &serde_json::Error) -> NotJson {
    let (line, column) = (error.line(), error.column());
    let detail = error.to_string();
    let position = format!(" at line {line} column {column}");
    NotJson::Syntax {
        detail: detail.strip_suffix(&position).unwrap_or(&detail).to_owned(),
        line,
        column,
    }
}

/// Checks what `serde_json` passes over when it skips a value: depth and surrogates. The answer is the depth.
fn scan(text: &[u8]) -> Result<usize, NotJson> {
    let (mut at, mut depth, mut deepest) = (0, 0_usize, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = end_of_string(text, at + 1)?,
            _ => {}
        }
        if depth > MAX_DEPTH {
            let (line, column) = position(text, at);
            return Err(NotJson::Deep { line, column });
        }
        deepest = deepest.max(depth);
        at += 1;
    }
    Ok(deepest)
}

/// Where the closing quote of a string stands that begins at `at`.
fn end_of_string(text: &[u8], mut at: usize) -> Result<usize, NotJson> {
    while let Some(step) = text
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| matches!(byte, b'"' | b'\\')))
    {
        at += step;
        if text[at] == b'"' {
            break;
        }
        let halves = (escaped_unit(text, at), escaped_unit(text, at + 6));
        at += match halves {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                let (line, column) = position(text, at);
                return Err(NotJson::HalfPair { line, column });
            }
            (Some(_), _) => 6,
            (None, _) => 2,
        };
    }
    Ok(at)
}

/// The number of `\uXXXX`, if that stands there.
fn escaped_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

fn position(text: &[u8], at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let start = before.iter().rposition(|byte| *byte == b'\n');
    (line, at + 1 - start.map_or(0, |newline| newline + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.to_owned()).unwrap()
    }

    fn refused(text: &[u8]) -> String {
        Json::parse(text.to_vec()).unwrap_err().to_string()
    }

    #[test]
    fn all_texts_of_a_value_are_one_in_their_canonical_form() {
        let form = |text: &str| {
            let mut form = Vec::new();
            canonical(&mut form, text);
            String::from_utf8(form).unwrap()
        };
        let text = r#"{"b" : [ 1.0, 1e400,{} ],"a":"\u0041\n\"" }"#;
        assert_eq!(form(text), r#"{"a":"A\n\"","b":[1.0,1e400,{}]}"#);
        assert_ne!(form("1.0"), form("1"));
        assert_eq!(form(r#"{"a":2, "a":1}"#), r#"{"a":2,"a":1}"#);
    }

    #[test]
    fn a_value_stays_as_it_was_written() {
        for text in ["1.0", "1e400", "123456789012345678901234567890", "-0"] {
            assert_eq!(json(text).as_str(), text);
            let through = serde_json::to_string(&vec![json(text)]).unwrap();
            assert_eq!(through, format!("[{text}]"));
            let back: Vec<Json> = serde_json::from_str(&through).unwrap();
            assert_eq!(back, [json(text)]);
        }
        assert_eq!(json(" \n{ \"a\" :1}\t").as_str(), "{ \"a\" :1}");
        assert_eq!(format!("{:?}", json("[1]")), "[1]");
    }

    #[test]
    fn what_is_not_one_value_is_refused_with_its_place() {
        let expected = "not JSON: trailing characters at line 1, column 3";
        assert_eq!(refused(b"1 2"), expected);
        let expected = "not JSON: expected value at line 2, column 2";
        assert_eq!(refused(b"[\n x]"), expected);
        for text in [
            &b""[..],
            b" ",
            b"{",
            b"\"\xff\"",
            b"\"\n\"",
            b"01",
            b"{'a':1}",
        ] {
            assert!(refused(text).starts_with("not JSON: "), "{text:?}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_refused() {
        for text in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#] {
            let expected = "not JSON: half a surrogate pair at line 1, column 2; write both halves";
            assert_eq!(refused(text.as_bytes()), expected);
        }
        assert_eq!(
            json(r#""\ud83d\ude00 \\ud800""#).to_value(),
            json!("😀 \\ud800")
        );
    }

    #[test]
    fn nesting_has_a_bound_which_is_that_of_the_reader() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        let deepest = json(&nested(MAX_DEPTH));
        assert_eq!(deepest.depth(), MAX_DEPTH);
        assert!(serde_json::from_slice::<Value>(deepest.as_bytes()).is_ok());
        let deeper = nested(MAX_DEPTH + 1);
        assert!(serde_json::from_str::<Value>(&deeper).is_err());
        let expected = "JSON nests deeper than 127 levels at line 1, column 128; flatten it";
        assert_eq!(refused(deeper.as_bytes()), expected);
        assert!(serde_json::from_str::<Json>(&deeper).is_err());
        assert!(Json::parse(nested(1_000_000)).is_err());
        assert_eq!(json(r#"{"[[[":"{{\"["}"#).depth(), 1);
    }

    #[test]
    fn a_large_part_shares_its_buffer_and_a_small_one_does_not() {
        let whole = json(r#"{"input":"something long enough","x":1}"#);
        let entries = entries(whole.as_str()).unwrap();
        let cut: Vec<Json> = entries
            .iter()
            .map(|entry| whole.cut(entry.1.get()))
            .collect();
        assert_eq!(cut, [json("\"something long enough\""), json("1")]);
        let inside = |cut: &Json| {
            whole
                .as_bytes()
                .as_ptr_range()
                .contains(&cut.as_bytes().as_ptr())
        };
        assert_eq!((inside(&cut[0]), inside(&cut[1])), (true, false));
        let elsewhere = Json::within(&Bytes::from_static(b"1"), entries[0].1);
        assert_eq!(elsewhere, Ok(cut[0].clone()));
    }

    #[test]
    fn numbers_without_a_float_become_strings_in_a_value() {
        let value = json(r#"{"a":[1,-1e999],"a":[2e400]}"#).to_value();
        assert_eq!(value, json!({"a": ["2e400"]}));
    }

    #[test]
    fn meaning_is_more_than_text() {
        for (one, other) in [
            (r#"{"a":1.0,"b":"x"}"#, r#"{ "b":"\u0078", "a":1 }"#),
            ("12345678901234567890", "12345678901234567000"),
            ("101052031.27608447", "101052031.27608448"),
        ] {
            assert!(json(one).means(&json(other)), "{one} {other}");
        }
        for (one, other) in [
            ("1", "\"1\""),
            ("1", "1.000000001"),
            ("0", "1e-300"),
            ("[1]", "[1,1]"),
            ("{\"a\":1}", "{\"b\":1}"),
        ] {
            assert!(!json(one).means(&json(other)), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_can_be_read(text in "[\\[\\]{}:,\"\\\\ud8c019eE.+ -]{0,24}") {
            if let Ok(json) = Json::parse(text.clone()) {
                prop_assert_eq!(json.as_str(), text.trim_matches(' '));
                let strict = serde_json::from_str::<Value>(&text);
                let passes = |error: serde_json::Error| error.to_string().contains("out of range");
                prop_assert!(strict.is_ok_and(|value| value == json.to_value())
                    || serde_json::from_str::<Value>(&text).is_err_and(passes));
            }
        }

        #[test]
        fn any_bytes_are_taken_or_refused(text: Vec<u8>) {
            if let Ok(json) = Json::parse(text) {
                json.to_value();
            }
        }
    }
}
