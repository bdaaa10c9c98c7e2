//! What a reader of documents says is wrong, in the words of those who write them. Pure.
//!
//! Readers made by `serde` speak of the types of the program: `expected u8`, `expected struct Contract`. What they mean
//! is told by [`plain`]; the place by [`pointer()`].

use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::{fault::Fault, pointer::escaped};

/// What was expected, by how a type of the program is called.
const EXPECTED: [(&str, &str); 18] = [
    ("a Duration", "a duration such as \"5s\""),
    ("a duration", "a duration such as \"5s\""),
    ("a string", "a text"),
    ("string or map", "one of its names, a text"),
    ("variant identifier", "one of its names, a text"),
    ("a boolean", "true or false"),
    ("a sequence", "a list"),
    ("a map", "an object"),
    ("struct ", "an object"),
    ("internally tagged enum ", "an object with `to`"),
    ("f32", "a number"),
    ("f64", "a number"),
    ("u8", "a whole number, 0 to 255"),
    ("u16", "a whole number, 0 to 65535"),
    ("u32", "a whole number, 0 to 4294967295"),
    ("u64", "a whole number, not less than 0"),
    ("usize", "a whole number, not less than 0"),
    ("unit", "null"),
];

/// What is wrong, in plain words; what is not known is told as it is.
pub fn plain(error: &str) -> String {
    let error = without_place(error);
    known(error).unwrap_or_else(|| error.to_owned())
}

/// The fault that a reader has found.
pub fn fault(path: &Path, error: &str) -> Fault {
    Fault::new(pointer(path), plain(error))
}

/// A place in a document as a JSON pointer.
pub fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => escaped(key),
            Segment::Enum { variant } => escaped(variant),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&part);
    }
    pointer
}

/// The first of some places where something stands that is no object; `*` is each element of a list. Readers would
/// take a list as the members of an object in their order.
pub fn not_an_object(document: &Value, places: &[&str]) -> Option<Fault> {
    let all = places
        .iter()
        .flat_map(|place| match place.split_once("/*") {
            None => vec![(*place).to_owned()],
            Some((list, _)) => {
                let items = document.pointer(list).and_then(Value::as_array);
                (0..items.map_or(0, Vec::len))
                    .map(|at| format!("{list}/{at}"))
                    .collect()
            }
        });
    let mut wrong = all.filter(|place| {
        let value = document.pointer(place);
        let is_left_out = |value: &Value| value.is_null() && !place.is_empty();
        value.is_some_and(|value| !value.is_object() && !is_left_out(value))
    });
    wrong.next().map(|place| {
        let kind = document.pointer(&place).map_or("", kind);
        Fault::new(place, format!("it must be an object, not {kind}"))
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// An error without `at line 1 column 5`: the pointer says it better.
fn without_place(error: &str) -> &str {
    match error.rsplit_once(" at line ") {
        Some((text, place)) if place.contains(" column ") => text,
        Some(_) | None => error,
    }
}

fn known(error: &str) -> Option<String> {
    if let Some(rest) = error.strip_prefix("unknown field ") {
        let (name, there) = rest.split_once(", ").unwrap_or((rest, ""));
        return Some(match names(there) {
            None => format!("there is no key {name} here"),
            Some(names) => format!("there is no key {name} here; there are {names}"),
        });
    }
    if let Some(rest) = error.strip_prefix("unknown variant ") {
        let (name, there) = rest.split_once(", ")?;
        return Some(format!("it must be one of {}, not {name}", names(there)?));
    }
    if let Some(name) = error.strip_prefix("missing field ") {
        return Some(format!("{name} is missing"));
    }
    if let Some(name) = error.strip_prefix("duplicate field ") {
        return Some(format!("{name} stands twice"));
    }
    if let Some(rest) = error.strip_prefix("invalid length ") {
        let (length, expected) = rest.split_once(", expected ")?;
        return Some(format!(
            "it must be {}, not a list of {length}",
            wanted(expected)
        ));
    }
    let rest = error.strip_prefix("invalid type: ");
    let rest = rest.or_else(|| error.strip_prefix("invalid value: "))?;
    // What stands there may hold the words in between, what is expected does not.
    let (found, expected) = rest.rsplit_once(", expected ")?;
    Some(format!(
        "it must be {}, not {}",
        wanted(expected),
        thing(found)
    ))
}

/// The names of a list such as `` one of `a`, `b` ``.
fn names(text: &str) -> Option<&str> {
    let text = text.strip_prefix("expected ")?;
    Some(text.strip_prefix("one of ").unwrap_or(text))
}

fn wanted(expected: &str) -> &str {
    let fits = |name: &str| expected == name || (name.ends_with(' ') && expected.starts_with(name));
    let known = EXPECTED.iter().find(|(name, _)| fits(name));
    known.map_or(expected, |(_, words)| words)
}

/// What stands there, such as `` integer `5` `` or `string "high"`.
fn thing(found: &str) -> &str {
    let value = |prefix: &str| found.strip_prefix(prefix);
    let number = value("integer `").or_else(|| value("floating point `"));
    if let Some(number) = number.or_else(|| value("boolean `")) {
        return number.trim_end_matches('`');
    }
    if let Some(text) = value("string ") {
        return text;
    }
    match found {
        "sequence" => "a list",
        "map" => "an object",
        "unit value" => "nothing",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{contract::Contract, service::ServiceSpec};

    #[track_caller]
    fn contract(document: Value, expected: &str) {
        let read: Result<Contract, _> = serde_path_to_error::deserialize(document);
        let error = read.unwrap_err();
        let path = error.path().clone();
        let fault = fault(&path, &error.into_inner().to_string());
        assert_eq!(format!("{}: {}", fault.pointer, fault.detail), expected);
    }

    #[test]
    fn what_a_reader_says_is_told_without_the_types_of_the_program() {
        contract(
            json!({"priority": -1}),
            "/priority: it must be a whole number, 0 to 255, not -1",
        );
        contract(
            json!({"priority": "high, expected u8"}),
            "/priority: it must be a whole number, 0 to 255, not \"high, expected u8\"",
        );
        contract(
            json!({"deadline": 5}),
            "/deadline: it must be a duration such as \"5s\", not 5",
        );
        contract(
            json!({"deadline": "soon"}),
            "/deadline: it must be a duration such as \"5s\", not \"soon\"",
        );
        contract(
            json!({"mode": "odd"}),
            "/mode: it must be one of `slip` or `trace`, not `odd`",
        );
        contract(
            json!({"mode": 5}),
            "/mode: it must be one of its names, a text, not 5",
        );
        contract(
            json!({"limits": {"orders_per_second": true}}),
            "/limits/orders_per_second: it must be a number, not true",
        );
        contract(
            json!({"limits": {"speed": 1}}),
            "/limits/speed: there is no key `speed` here; there are `orders_per_second`, `burst`, `active_orders`",
        );
        contract(
            json!({"outputs": {}}),
            "/outputs: it must be a list, not an object",
        );
        contract(
            json!({"outputs": [{"to": "file"}]}),
            "/outputs/0: `name` is missing",
        );
        let text = r#"{"weight": 1, "weight": 2}"#;
        let twice = serde_json::from_str::<Contract>(text)
            .unwrap_err()
            .to_string();
        assert_eq!(plain(&twice), "`weight` stands twice");
        assert_eq!(plain("it is odd"), "it is odd");
    }

    #[test]
    fn the_words_name_no_type_of_the_program_whatever_is_wrong() {
        let wrong = [
            json!(5),
            json!(-1.5),
            json!("x"),
            json!(true),
            json!([]),
            json!({"x": 1}),
        ];
        let service = [
            "class_specification",
            "url",
            "annotations",
            "call",
            "payload",
            "envelope",
            "idempotent",
            "min_instances",
            "max_instances",
            "idle_after",
            "timeout",
            "retries",
            "concurrency",
        ];
        let contract = [
            "own_tasks",
            "mode",
            "deadline",
            "priority",
            "weight",
            "limits",
            "outputs",
        ];
        let mut told = 0;
        for value in wrong {
            let services = service
                .map(|key| serde_json::from_value::<ServiceSpec>(json!({ key: value })).err());
            let contracts =
                contract.map(|key| serde_json::from_value::<Contract>(json!({ key: value })).err());
            for error in services.into_iter().chain(contracts).flatten() {
                told += 1;
                let text = plain(&error.to_string());
                let of_program = [
                    "u8",
                    "u32",
                    "u64",
                    "f64",
                    "struct",
                    "enum",
                    "Duration",
                    "invalid type",
                    "sequence",
                ];
                let found = of_program.iter().find(|word| text.contains(**word));
                assert_eq!(found, None, "{text}");
            }
        }
        assert!(told > 80, "{told}");
    }

    #[test]
    fn only_objects_are_objects() {
        let document = json!({"a": [], "b": {"c": 1}, "d": [{}, "x"], "e": null});
        let check = |places: &[&str], expected: Option<&str>| {
            let found = not_an_object(&document, places).map(|fault| fault.to_string());
            assert_eq!(found.as_deref(), expected);
        };
        check(&["", "/b", "/e", "/f"], None);
        check(&["/b", "/a"], Some("/a: it must be an object, not a list"));
        check(&["/d/*"], Some("/d/1: it must be an object, not a text"));
        let list = not_an_object(&json!([]), &[""]).unwrap();
        assert_eq!(list, Fault::new("", "it must be an object, not a list"));
        assert!(not_an_object(&Value::Null, &[""]).is_some());
    }
}
