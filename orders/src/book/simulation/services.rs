//! The services of the simulation: what each makes of its input, how it says so, and what an order must come to.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::disk::Rows;
use crate::{body::Body, book::Handout, json::Json, record::UNDO, service::ServiceSpec};

/// All services. `M` gets messages, `B`, `E` and `F` envelopes; `E` and `F` give rise to orders; `U` takes back.
/// `A`, `B` and `F` may get a task before what it builds on is kept.
pub(super) const SERVICES: [&str; 8] = ["A", "B", "E", "F", "M", "S", "U", "Z"];

/// How a service is defined at first.
pub(super) fn spec(name: &str) -> Arc<ServiceSpec> {
    let mut spec = json!({
        "url": "http://localhost", "timeout": "2s",
        "retries": {"attempts": 4, "pause": "100ms", "longest": "2s"},
    });
    match name {
        "B" | "E" | "F" => spec["envelope"] = json!(true),
        "M" => spec["call"] = json!("message"),
        "S" => spec["concurrency"] = json!(1),
        _ => spec["concurrency"] = json!(3),
    }
    if matches!(name, "A" | "B" | "F") {
        spec["idempotent"] = json!(true);
    }
    let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
    assert_eq!(spec.faults(), []);
    Arc::new(spec)
}

/// All numbers in a value together.
fn sum(value: &Value) -> i64 {
    match value {
        Value::Number(number) => number.as_i64().unwrap_or_default() % 997,
        Value::Array(items) => items.iter().map(sum).sum::<i64>() % 997,
        Value::Object(entries) => entries.values().map(sum).sum::<i64>() % 997,
        Value::Null | Value::Bool(_) | Value::String(_) => 0,
    }
}

/// What a service makes of an input; none: it refuses.
pub(super) fn result(service: &str, input: &Value) -> Option<i64> {
    let sum = sum(input);
    match service {
        "A" if sum % 23 == 7 => None,
        "A" => Some(sum + 2),
        "B" => Some(sum * 2),
        "E" => Some(sum + 5),
        "F" => Some(sum + 7),
        "M" => Some(sum + 1),
        "S" => Some(sum + 3),
        "Z" => Some(sum * 3),
        _ => Some(0),
    }
}

/// The orders that a service asks for.
pub(super) fn spawned(service: &str, input: &Value) -> Vec<Value> {
    let sum = sum(input);
    let lists: &[Value] = match (service, sum % 7) {
        ("E", 0 | 1) => &[],
        ("E", 2) => &[json!([])],
        ("E", 3) => &[json!([]), json!([["B", "S"]])],
        ("E", 4) => &[json!(["F"]), json!(["A", "M"])],
        ("E", 5) if sum % 2 == 0 => &[json!(["E"])],
        ("E", _) => &[json!(["A"])],
        ("F", 0..=3) => &[json!(["B"]), json!(["A"])],
        _ => &[],
    };
    let order = |(at, tasks): (i64, &Value)| json!({"input": sum + at, "tasks": tasks});
    (0..).zip(lists).map(order).collect()
}

/// The right answer of a service to what it was handed; none: it refuses.
pub(super) fn reply(service: &str, spec: &ServiceSpec, handout: &Handout) -> Option<Bytes> {
    let payload = handout.payload.to_value();
    let inner = match spec.envelope {
        true => &payload["payload"],
        false => &payload,
    };
    let is_message = service == "M" && !handout.undo;
    let input = match (is_message, inner.get("jobs")) {
        (false, _) => inner,
        (true, None) => &inner["input"],
        (true, Some(jobs)) => &jobs[&*handout.task]["input"],
    };
    let result = result(service, input)?;
    let mut answer = json!(result);
    if is_message {
        answer = inner.clone();
        match inner.get("jobs") {
            None => {
                answer["input"] = json!(result);
                answer["done"]
                    .as_array_mut()
                    .expect("a list")
                    .push(json!(service));
            }
            Some(_) => {
                answer["jobs"][&*handout.task]["result"] = json!(result);
                answer["from"] = json!(service);
            }
        }
    }
    if spec.envelope {
        answer = json!({"result": answer, "orders": spawned(service, input)});
    }
    Some(Bytes::from(answer.to_string()))
}

/// What a completed order must have come to, by its list and the services alone.
pub(super) fn expected(body: &Body, rows: &Rows) -> Value {
    let mut value: Value = serde_json::from_slice(&body.accepted.input).unwrap();
    for stage in body.list.stages() {
        let so_far = Json::from_value(&value);
        let mut results = Map::new();
        for position in stage.first..stage.first + stage.len {
            let task = body.list.task(position);
            if task.when.as_ref().is_none_or(|when| when.holds(&so_far)) {
                let own = result(&task.service, &value).expect("who refuses completes nothing");
                let orders = spawned(&task.service, &value);
                let result = match orders.is_empty() {
                    true => json!(own),
                    false => with_orders(body, position, own, orders.len(), rows),
                };
                results.insert(task.key.to_string(), result);
            }
        }
        if let Some((_, first)) = results.iter().next() {
            value = match stage.group {
                true => Value::Object(results),
                false => first.clone(),
            };
        }
    }
    value
}

/// The result of a task that gave rise to orders: what it has must be what they came to.
fn with_orders(body: &Body, position: u16, own: i64, count: usize, rows: &Rows) -> Value {
    let step = body
        .steps
        .iter()
        .find(|step| step.position == u32::from(position));
    let done = step.and_then(|step| step.done.as_ref());
    let (_, done) = done.expect("a completed order has done all of it");
    let has: Value = serde_json::from_slice(&done.result).unwrap();
    let orders = has["orders"].as_array().expect("a list of orders");
    assert_eq!(orders.len(), count, "of {}", body.id);
    let told = orders.iter().map(|order| {
        let id: edgeless_types::OrderId = serde_json::from_value(order["id"].clone()).unwrap();
        let row = &rows[&id];
        let end = row.end.as_ref().expect("it was waited for");
        let mut told = json!({"id": id, "state": end.code.name()});
        if end.code == crate::record::EndCode::Completed {
            told["result"] = row.value.to_value();
        }
        told
    });
    json!({"result": own, "orders": told.collect::<Vec<_>>()})
}

/// Where a task stands that was handed out.
pub(super) fn position(body: &Body, handout: &Handout) -> u32 {
    let tasks = body.list.tasks().iter();
    let index = tasks
        .map(|task| &task.key)
        .position(|key| *key == handout.task);
    let index = u32::try_from(index.expect("a task of its list")).expect("few tasks");
    match handout.undo {
        true => index | UNDO,
        false => index,
    }
}
