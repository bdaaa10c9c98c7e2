//! JSON in which no key stands twice, and objects where objects are meant.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::problem::Fault;

/// A value in which no key stands twice.
pub(super) struct Strict(pub(super) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        de.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> DeserializeSeed<'de> for AnyValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<Value, D::Error> {
        de.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(AnyValue)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(AnyValue)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("key `{key}` stands twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// The first place where an object is meant and something else stands.
pub(super) fn not_an_object(document: &Value) -> Option<Fault> {
    let fault = |pointer: String, value: &Value| {
        let kind = match value {
            Value::Object(_) => return None,
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
        };
        Some(Fault::new(
            pointer,
            format!("must be an object, not {kind}"),
        ))
    };
    if let Some(found) = fault(String::new(), document) {
        return Some(found);
    }
    for kind in ["functions", "resources"] {
        let vertices = document.get(kind).and_then(Value::as_array);
        for (index, vertex) in vertices.into_iter().flatten().enumerate() {
            let pointer = format!("/{kind}/{index}");
            if let Some(found) = fault(pointer.clone(), vertex) {
                return Some(found);
            }
            let class = vertex.get("class_specification");
            let place = format!("{pointer}/class_specification");
            if let Some(found) = class.and_then(|class| fault(place, class)) {
                return Some(found);
            }
        }
    }
    None
}
