//! Conditions on the result so far, which say whether a task runs. Pure.
//!
//! `{"path":"/size","gt":100}` looks at one place; `all`, `any` and `not` put conditions together.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use crate::{
    json::{self, Json},
    pointer::{Pointer, escaped},
};

/// How deep conditions may stand in one another.
pub const MAX_DEPTH: usize = 16;

/// A condition on a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition(Kind);

/// What is wrong with a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ConditionFault {
    /// A JSON pointer into the condition; empty for all of it.
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    At {
        /// Where to look.
        path: Pointer,
        /// All must hold.
        tests: Vec<Test>,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Equal(Value),
    Unequal(Value),
    Order(Order, Bound),
    In(Vec<Value>),
    Exists(bool),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What has an order.
#[derive(Clone, Debug, PartialEq)]
enum Bound {
    Number(Number),
    Text(String),
}

impl Condition {
    /// Reads a condition: one of
    ///  - `{"path":P, ...}` with one or more of `eq`, `ne`, `lt`, `le`, `gt`, `ge`, `in`, `exists`, which must all hold.
    ///    `P` is a JSON pointer, `""` for the whole value. `lt` and its like take a number or a string, `in` a list and
    ///    `exists` a boolean;
    ///  - `{"all":[..]}` and `{"any":[..]}` with at least one condition, `{"not":{..}}`.
    ///
    /// # Errors
    /// The first thing that is something else, or stands deeper than [`MAX_DEPTH`].
    pub fn parse(value: &Value) -> Result<Self, ConditionFault> {
        read(value, "", 1)
    }

    /// Whether it holds for a value.
    ///
    /// Numbers compare by value and integers of 64 bits exactly, strings by their characters. Kinds that differ are
    /// neither equal nor in an order. Where the path leads nowhere, only `ne` and `"exists":false` hold.
    pub fn holds(&self, value: &Json) -> bool {
        self.holds_for(value.as_str())
    }

    fn holds_for(&self, text: &str) -> bool {
        match &self.0 {
            Kind::All(parts) => parts.iter().all(|part| part.holds_for(text)),
            Kind::Any(parts) => parts.iter().any(|part| part.holds_for(text)),
            Kind::Not(part) => !part.holds_for(text),
            Kind::At { path, tests } => {
                let found = path.find(text);
                tests.iter().all(|test| test.holds(found))
            }
        }
    }
}

impl Test {
    fn holds(&self, found: Option<&str>) -> bool {
        let Some(found) = found else {
            return match self {
                Test::Unequal(_) => true,
                Test::Exists(wanted) => !wanted,
                Test::Equal(_) | Test::Order(..) | Test::In(_) => false,
            };
        };
        match self {
            Test::Equal(value) => equal(value, found),
            Test::Unequal(value) => !equal(value, found),
            Test::Order(order, bound) => bound.compare(found).is_some_and(|is| order.allows(is)),
            Test::In(values) => values.iter().any(|value| equal(value, found)),
            Test::Exists(wanted) => *wanted,
        }
    }
}

impl Order {
    fn allows(self, is: Ordering) -> bool {
        match self {
            Order::Less => is.is_lt(),
            Order::LessOrEqual => is.is_le(),
            Order::Greater => is.is_gt(),
            Order::GreaterOrEqual => is.is_ge(),
        }
    }
}

impl Bound {
    /// How what was found stands to the bound, if both are of one kind.
    fn compare(&self, found: &str) -> Option<Ordering> {
        match self {
            Bound::Number(bound) => Some(compare(Figure::read(found)?, Figure::from(bound))),
            Bound::Text(bound) => Some(json::string(found)?.as_ref().cmp(bound.as_str())),
        }
    }
}

/// A number, as exact as `serde_json` has it.
#[derive(Clone, Copy)]
enum Figure {
    Whole(i128),
    Float(f64),
}

impl Figure {
    fn from(number: &Number) -> Self {
        match number.as_i128() {
            Some(whole) => Self::Whole(whole),
            None => Self::Float(number.as_f64().expect("a number is whole or a float")),
        }
    }

    /// The number of a checked text; beyond `f64` it is infinite. `None`: it is something else.
    fn read(text: &str) -> Option<Self> {
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return None;
        }
        match serde_json::from_str::<Number>(text) {
            Ok(number) => Some(Self::from(&number)),
            Err(_) => text.parse().ok().map(Self::Float),
        }
    }
}

fn compare(one: Figure, other: Figure) -> Ordering {
    match (one, other) {
        (Figure::Whole(one), Figure::Whole(other)) => one.cmp(&other),
        (Figure::Float(one), Figure::Float(other)) => {
            one.partial_cmp(&other).expect("text has no NaN")
        }
        (Figure::Whole(one), Figure::Float(other)) => compare_mixed(one, other),
        (Figure::Float(one), Figure::Whole(other)) => compare_mixed(other, one).reverse(),
    }
}

/// Compares without rounding. A whole number here has 65 bits at most; conversions of larger floats saturate.
fn compare_mixed(whole: i128, float: f64) -> Ordering {
    let cut = float.trunc();
    let fraction = 0.0_f64.partial_cmp(&(float - cut));
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let by_whole = whole.cmp(&(cut as i128));
    by_whole.then(fraction.unwrap_or(Ordering::Equal))
}

/// Whether a checked text means a value.
fn equal(value: &Value, text: &str) -> bool {
    match value {
        Value::Null => text == "null",
        Value::Bool(wanted) => text == if *wanted { "true" } else { "false" },
        Value::Number(number) => {
            let wanted = Figure::from(number);
            Figure::read(text).is_some_and(|figure| compare(figure, wanted).is_eq())
        }
        Value::String(wanted) => json::string(text).is_some_and(|text| text == *wanted),
        Value::Array(wanted) => json::items(text).is_some_and(|items| {
            let mut pairs = wanted.iter().zip(&items);
            items.len() == wanted.len() && pairs.all(|(value, raw)| equal(value, raw.get()))
        }),
        Value::Object(wanted) => json::entries(text).is_some_and(|entries| {
            // Of a key that stands twice the last counts, as in most readers.
            let last = |key: &String| entries.iter().rev().find(|entry| entry.0 == *key);
            let is_equal =
                |(key, value)| last(key).is_some_and(|entry| equal(value, entry.1.get()));
            entries
                .iter()
                .all(|entry| wanted.contains_key(entry.0.as_ref()))
                && wanted.iter().all(is_equal)
        }),
    }
}

fn fault(pointer: &str, detail: impl Into<String>) -> ConditionFault {
    let (pointer, detail) = (pointer.to_owned(), detail.into());
    ConditionFault { pointer, detail }
}

fn read(value: &Value, pointer: &str, depth: usize) -> Result<Condition, ConditionFault> {
    if depth > MAX_DEPTH {
        let detail = format!("stands deeper than {MAX_DEPTH} conditions in one another");
        return Err(fault(pointer, detail));
    }
    let Value::Object(entries) = value else {
        let detail = r#"a condition is an object such as {"path":"/size","gt":100}"#;
        return Err(fault(pointer, detail));
    };
    if entries.contains_key("path") {
        return at(entries, pointer).map(Condition);
    }
    let mut entries = entries.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        let detail = "expected `path` with comparisons, or one of `all`, `any`, `not` alone";
        return Err(fault(pointer, detail));
    };
    let inner = format!("{pointer}/{key}");
    match key.as_str() {
        "all" => parts(value, &inner, depth).map(|parts| Condition(Kind::All(parts))),
        "any" => parts(value, &inner, depth).map(|parts| Condition(Kind::Any(parts))),
        "not" => {
            let part = read(value, &inner, depth + 1)?;
            Ok(Condition(Kind::Not(Box::new(part))))
        }
        _ => {
            let detail = "a condition has `path`, or one of `all`, `any`, `not`";
            Err(fault(pointer, detail))
        }
    }
}

fn parts(value: &Value, pointer: &str, depth: usize) -> Result<Vec<Condition>, ConditionFault> {
    match value.as_array() {
        Some(values) if !values.is_empty() => values
            .iter()
            .enumerate()
            .map(|(at, value)| read(value, &format!("{pointer}/{at}"), depth + 1))
            .collect(),
        _ => Err(fault(pointer, "expected a list of at least one condition")),
    }
}

fn at(entries: &Map<String, Value>, pointer: &str) -> Result<Kind, ConditionFault> {
    let (mut path, mut tests) = (Pointer::default(), Vec::new());
    for (key, value) in entries {
        let inner = format!("{pointer}/{}", escaped(key));
        if key == "path" {
            path = read_path(value).map_err(|detail| fault(&inner, detail))?;
        } else {
            tests.push(test(key, value).map_err(|detail| fault(&inner, detail))?);
        }
    }
    if tests.is_empty() {
        let detail = "add a comparison: `eq`, `ne`, `lt`, `le`, `gt`, `ge`, `in` or `exists`";
        return Err(fault(pointer, detail));
    }
    Ok(Kind::At { path, tests })
}

fn test(key: &str, value: &Value) -> Result<Test, &'static str> {
    let ordered = |order| {
        let bound = match value {
            Value::Number(number) => Bound::Number(number.clone()),
            Value::String(text) => Bound::Text(text.clone()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err("expected a number or a string; others have no order");
            }
        };
        Ok(Test::Order(order, bound))
    };
    match key {
        "eq" => Ok(Test::Equal(value.clone())),
        "ne" => Ok(Test::Unequal(value.clone())),
        "lt" => ordered(Order::Less),
        "le" => ordered(Order::LessOrEqual),
        "gt" => ordered(Order::Greater),
        "ge" => ordered(Order::GreaterOrEqual),
        "in" => {
            let values = value.as_array().ok_or("expected a list of values")?;
            Ok(Test::In(values.clone()))
        }
        "exists" => {
            let wanted = value.as_bool().ok_or("expected true or false")?;
            Ok(Test::Exists(wanted))
        }
        _ => Err("unknown; expected `path`, `eq`, `ne`, `lt`, `le`, `gt`, `ge`, `in` or `exists`"),
    }
}

fn read_path(value: &Value) -> Result<Pointer, String> {
    let path = value.as_str().ok_or("expected a JSON pointer, a string")?;
    Pointer::parse(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn holds(condition: &Value, value: &str) -> bool {
        let condition = Condition::parse(condition).unwrap();
        condition.holds(&Json::parse(value.to_owned()).unwrap())
    }

    /// Checks `{"path":"",key:bound}` for values that hold and others.
    fn check(key: &str, bound: &Value, yes: &[&str], no: &[&str]) {
        let condition = json!({"path": "", key: bound});
        for value in yes {
            assert!(holds(&condition, value), "{condition} of {value}");
        }
        for value in no {
            assert!(!holds(&condition, value), "{condition} of {value}");
        }
    }

    #[test]
    fn numbers_compare_by_value() {
        check(
            "eq",
            &json!(1),
            &["1", "1.0", "10e-1"],
            &["2", "\"1\"", "true", "[1]"],
        );
        check(
            "lt",
            &json!(1.5),
            &["1", "-1e400"],
            &["1.5", "2", "\"0\"", "null"],
        );
        check("le", &json!(-1), &["-1", "-1.0", "-1.5"], &["-0.5", "0"]);
        check("gt", &json!(-1.5), &["-1", "-1.4"], &["-2", "-1.5"]);
        check(
            "ge",
            &json!(100),
            &["100", "1e400", "1e300"],
            &["99.99", "\"100\""],
        );
    }

    #[test]
    fn integers_of_64_bits_compare_exactly() {
        check(
            "eq",
            &json!(u64::MAX),
            &["18446744073709551615"],
            &["18446744073709551614"],
        );
        check(
            "gt",
            &json!(i64::MIN),
            &["-9223372036854775807"],
            &["-9223372036854775808"],
        );
        let float = json!(9_007_199_254_740_992.0);
        check("gt", &float, &["9007199254740993"], &["9007199254740992"]);
        let large: Value = serde_json::from_str("123456789012345678901234567890").unwrap();
        check("eq", &large, &["123456789012345678901234567890"], &["1"]);
    }

    #[test]
    fn strings_compare_by_order_and_other_kinds_only_for_equality() {
        check(
            "lt",
            &json!("b"),
            &["\"a\"", r#""\u0061z""#],
            &["\"b\"", "1", "null"],
        );
        check("eq", &json!(null), &["null"], &["0", "false", "\"null\""]);
        check("ne", &json!(true), &["false", "1", "\"true\""], &["true"]);
        check(
            "eq",
            &json!([1, {"a": "b"}]),
            &[r#"[1.0,{"a":"b"}]"#],
            &["[1]", "[1,{}]"],
        );
        let object = json!({"a": 1});
        check(
            "eq",
            &object,
            &[r#"{"a":1}"#, r#"{"a":2,"a":1}"#],
            &[r#"{"a":1,"b":1}"#, "{}"],
        );
        check("in", &json!([1, "x"]), &["1.0", "\"x\""], &["2", "\"1\""]);
    }

    #[test]
    fn a_path_leads_into_objects_and_arrays() {
        let value = r#"{"a":[0,{"b/c~":7}],"x":1,"x":2}"#;
        assert!(holds(&json!({"path": "/a/1/b~1c~0", "eq": 7}), value));
        assert!(
            holds(&json!({"path": "/x", "eq": 2}), value),
            "the last counts"
        );
        for nowhere in ["/a/01", "/a/-", "/a/2", "/b", "/x/y", "/a/1/", "/a/+1"] {
            assert!(
                holds(&json!({"path": nowhere, "exists": false}), value),
                "{nowhere}"
            );
            assert!(
                holds(&json!({"path": nowhere, "ne": 5}), value),
                "{nowhere}"
            );
            for test in ["eq", "lt", "le", "gt", "ge"] {
                assert!(
                    !holds(&json!({"path": nowhere, test: 5}), value),
                    "{nowhere}"
                );
            }
            assert!(
                !holds(&json!({"path": nowhere, "in": [5]}), value),
                "{nowhere}"
            );
            assert!(
                !holds(&json!({"path": nowhere, "exists": true}), value),
                "{nowhere}"
            );
        }
    }

    #[test]
    fn conditions_are_put_together() {
        let big = json!({"path": "/size", "gt": 100, "le": 200});
        let red = json!({"path": "/red", "exists": true});
        let value = |size, red: &str| format!("{{\"size\":{size}{red}}}");
        for (size, is_big) in [(100, false), (101, true), (200, true), (201, false)] {
            for (text, is_red) in [("", false), (",\"red\":null", true)] {
                let value = value(size, text);
                assert_eq!(holds(&json!({"all": [big, red]}), &value), is_big && is_red);
                assert_eq!(holds(&json!({"any": [big, red]}), &value), is_big || is_red);
                assert_eq!(holds(&json!({"not": big}), &value), !is_big);
            }
        }
    }

    #[test]
    fn faults_name_their_place() {
        for (condition, pointer) in [
            (json!(true), ""),
            (json!({}), ""),
            (json!({"path": "/a"}), ""),
            (json!({"path": "a", "eq": 1}), "/path"),
            (json!({"path": "/~2", "eq": 1}), "/path"),
            (json!({"path": 1, "eq": 1}), "/path"),
            (json!({"path": "", "lt": true}), "/lt"),
            (json!({"path": "", "in": 1}), "/in"),
            (json!({"path": "", "exists": 1}), "/exists"),
            (json!({"path": "", "a/b": 1}), "/a~1b"),
            (json!({"all": []}), "/all"),
            (json!({"any": {}}), "/any"),
            (json!({"all": [], "any": []}), ""),
            (json!({"eq": 1}), ""),
            (
                json!({"any": [{"path": "", "eq": 1}, {"not": {"all": [3]}}]}),
                "/any/1/not/all/0",
            ),
        ] {
            let fault = Condition::parse(&condition).unwrap_err();
            assert_eq!(fault.pointer, pointer, "{condition}: {fault}");
        }
    }

    #[test]
    fn depth_has_a_bound() {
        let nested = |depth| {
            (1..depth).fold(
                json!({"path": "", "eq": 1}),
                |inner, _| json!({"not": inner}),
            )
        };
        assert!(Condition::parse(&nested(MAX_DEPTH)).is_ok());
        let fault = Condition::parse(&nested(MAX_DEPTH + 1)).unwrap_err();
        assert_eq!(fault.pointer, "/not".repeat(MAX_DEPTH));
    }

    proptest! {
        #[test]
        fn floats_and_integers_have_one_order(whole: i64, float: f64) {
            prop_assume!(float.is_finite());
            let is = |key: &str| holds(&json!({"path": "", key: float}), &whole.to_string());
            let held = ["lt", "eq", "gt"].iter().filter(|key| is(key)).count();
            prop_assert_eq!(held, 1);
            prop_assert_eq!(is("le"), !is("gt"));
            prop_assert_eq!(is("ge"), !is("lt"));
        }
    }
}
