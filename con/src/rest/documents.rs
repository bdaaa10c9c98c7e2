//! Documents that clients write, as OpenAPI describes them; they are read by the crates that they are for.

use edgeless_orders::message::Mode;
use utoipa::ToSchema;

/// An order.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is described, not read")]
pub(super) struct OrderDocument {
    /// Who sends it; left out: `anybody`.
    client: Option<String>,
    /// What it is about: any JSON.
    #[schema(value_type = Value, example = json!(5))]
    input: (),
    /// Its own list of tasks, where the contract allows it; `todo` says the same. An element is the name of a service, an
    /// object with `task` and conditions, or a list of those that run at the same time.
    #[schema(value_type = Option<Vec<Value>>, example = json!(["A", ["B", "C"]]))]
    tasks: Option<()>,
    /// Which messages its services get.
    #[schema(inline)]
    mode: Option<Mode>,
    /// How long it may take.
    #[schema(example = "5s")]
    deadline: Option<String>,
    /// How long it waits before it begins.
    #[schema(example = "1m")]
    delay: Option<String>,
    /// Tasks of orders with a greater one go first.
    #[schema(minimum = 0, maximum = 9)]
    priority: Option<u8>,
    /// The same key and document are one order; the header `Idempotency-Key` says the same.
    #[schema(min_length = 1, max_length = 200)]
    idempotency_key: Option<String>,
    /// Where its end is told.
    #[schema(example = "http://host/ended")]
    callback: Option<String>,
    /// What the client notes.
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    #[test]
    fn what_clients_write_is_described_with_its_members() {
        let document = serde_json::to_value(crate::rest::openapi()).unwrap();
        let schema = |path: &str, method: &str| {
            let body = &document["paths"][path][method]["requestBody"];
            let schema = &body["content"]["application/json"]["schema"];
            let name = schema["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
            document["components"]["schemas"][name]["properties"].clone()
        };
        let has = |schema: &Value, names: &[&str]| {
            for name in names {
                assert!(schema.get(name).is_some(), "{name}: {schema}");
            }
        };
        has(
            &schema("/api/v1/orders", "post"),
            &["input", "tasks", "priority", "idempotency_key"],
        );
        let service = schema("/api/v1/services/{name}", "put");
        has(&service, &["url", "timeout", "retries", "min_instances"]);
        assert_eq!(service["timeout"]["type"], "string");
        let contract = schema("/api/v1/clients/{name}", "put");
        has(
            &contract,
            &["tasks", "own_tasks", "limits", "outputs", "deadline"],
        );
    }
}
