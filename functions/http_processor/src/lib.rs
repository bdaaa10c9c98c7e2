//! Answers an HTTP request and sends its body on: the way from `http-ingress` into a workflow.

use base64::{Engine, engine::general_purpose::STANDARD};
use edgeless_function::{Answer, Function, Source, cast, export};
use serde_json::{Value, json};

struct HttpProcessor;

impl Function for HttpProcessor {
    fn init(_: &[u8], _: Option<&[u8]>) -> Self {
        Self
    }

    fn cast(&mut self, source: Source, payload: &[u8]) {
        self.call(source, payload);
    }

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        let Ok(request) = serde_json::from_slice::<Value>(payload) else {
            return Answer::Error;
        };
        let body = request
            .get("body")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let Ok(body) = STANDARD.decode(body) else {
            return Answer::Error;
        };
        cast("out", &body);
        let text = format!("accepted {} bytes\n", body.len());
        let headers = json!({"content-type": "text/plain"});
        let response = json!({"status": 200, "headers": headers, "body": STANDARD.encode(text)});
        Answer::Reply(response.to_string().into_bytes())
    }
}

export!(HttpProcessor);
