//! A service that is an HTTP endpoint outside: each task is a POST, the response its outcome.
//!
//! | response | outcome |
//! |---|---|
//! | 2xx | the result |
//! | 408, 425, 429, 5xx | failed: tried again |
//! | any other | refused: not tried again |
//! | one that is too long | failed: tried again |
//! | no connection | it did not reach the service: tried again, and no attempt |
//! | none in time | timed out |

use std::sync::Arc;

use bytes::Bytes;
use edgeless_orders::{
    book::{Handout, Outcome, Ticket},
    service::Payload,
};
use http::{StatusCode, header};
use rustc_hash::FxHashMap;
use tokio::task::{AbortHandle, JoinSet};

use super::{
    Orders,
    blobs::{
        BLOB_BYTES, Blobs,
        content_type::{self, is_content_type},
    },
    bytes::{Given, given, settled},
};

/// The longest response of a service without bytes.
const RESPONSE_BYTES: usize = 1 << 20;
/// What of a response is shown when it is an error, in characters.
const SHOWN: usize = 200;

/// What services and those who are told of ends are called with: at the address that was given and nowhere else. A
/// redirection would be followed without the body, and a proxy is none of those who were named.
pub(super) fn client() -> reqwest::Client {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    client.build().expect("what is built in can be used")
}

/// Serves the tasks of one service until it is dropped.
pub(super) async fn run(orders: Orders, client: reqwest::Client, name: Arc<str>, url: Arc<str>) {
    let (line, mut tasks) = orders.open_line(name, Arc::clone(&url), None).await;
    let mut calls = JoinSet::new();
    let mut running: FxHashMap<Ticket, AbortHandle> = FxHashMap::default();
    loop {
        tokio::select! {
            message = tasks.recv() => {
                let Some(message) = message else { break };
                for ticket in message.cancelled {
                    if let Some(call) = running.remove(&ticket) {
                        call.abort();
                    }
                }
                for handout in message.tasks {
                    let ticket = handout.ticket;
                    let (client, url) = (client.clone(), Arc::clone(&url));
                    let call = match handout.form {
                        Payload::Json => calls.spawn(call(client, url, handout)),
                        Payload::Bytes => {
                            let blobs = orders.blobs().clone();
                            calls.spawn(call_with_bytes(client, url, handout, blobs))
                        }
                    };
                    running.insert(ticket, call);
                }
            }
            Some(done) = calls.join_next() => {
                let mut outcomes = Vec::new();
                let mut next = Some(done);
                while let Some(done) = next {
                    // One that was aborted is not waited for any more.
                    if let Ok((ticket, outcome)) = done {
                        running.remove(&ticket);
                        outcomes.push((ticket, outcome));
                    }
                    next = calls.try_join_next();
                }
                line.outcomes(outcomes).await;
            }
        }
    }
}

async fn call(client: reqwest::Client, url: Arc<str>, handout: Handout) -> (Ticket, Outcome) {
    let given = Given {
        bytes: handout.payload.bytes(),
        content_type: content_type::JSON.to_owned(),
    };
    let (outcome, _) = ask(&client, &url, &handout, given, RESPONSE_BYTES).await;
    (handout.ticket, outcome)
}

/// A service with bytes gets them as the body, with their content type; that of the response is kept with the result.
async fn call_with_bytes(
    client: reqwest::Client,
    url: Arc<str>,
    handout: Handout,
    blobs: Blobs,
) -> (Ticket, Outcome) {
    let given = match given(&blobs, &handout, BLOB_BYTES).await {
        Ok(given) => given,
        Err(outcome) => return (handout.ticket, outcome),
    };
    let (outcome, content_type) = ask(&client, &url, &handout, given, BLOB_BYTES).await;
    (handout.ticket, settled(&blobs, outcome, content_type).await)
}

/// What came of a task within its time, and the content type of the response.
async fn ask(
    client: &reqwest::Client,
    url: &str,
    handout: &Handout,
    given: Given,
    most: usize,
) -> (Outcome, Option<String>) {
    let exchange = exchange(client, url, handout, given, most);
    match tokio::time::timeout(handout.timeout, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => (Outcome::TimedOut, None),
    }
}

async fn exchange(
    client: &reqwest::Client,
    url: &str,
    handout: &Handout,
    given: Given,
    most: usize,
) -> (Outcome, Option<String>) {
    let key = format!(
        "{}/{}{}",
        handout.id,
        handout.task,
        if handout.undo { "/undo" } else { "" }
    );
    let request = client
        .post(url)
        .header(header::CONTENT_TYPE, given.content_type)
        .header("edgeless-order", handout.id.to_string())
        .header("edgeless-task", &*handout.task)
        .header("edgeless-attempt", handout.attempt)
        .header("idempotency-key", key)
        .body(given.bytes);
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return (Outcome::Undelivered(root(&error)), None),
        Err(error) => return (Outcome::Failed(root(&error)), None),
    };
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type =
        content_type.and_then(|it| it.to_str().ok().filter(|it| is_content_type(it)));
    let content_type = content_type.map(str::to_owned);
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return (Outcome::Failed(root(&error)), None),
        }
        if body.len() > most {
            let reason = format!("the response is longer than {most} bytes");
            return (Outcome::Failed(reason), None);
        }
    }
    if status.is_success() {
        let payload = Bytes::from(body);
        let instance = None;
        return (Outcome::Reply { payload, instance }, content_type);
    }
    (refused(status, &body), None)
}

/// What a response means that is no success.
fn refused(status: StatusCode, body: &[u8]) -> Outcome {
    let text: String = String::from_utf8_lossy(body)
        .trim()
        .chars()
        .take(SHOWN)
        .collect();
    let reason = match text.is_empty() {
        true => status.to_string(),
        false => format!("{status}: {text}"),
    };
    let passing = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    match status.is_server_error() || passing.contains(&status) {
        true => Outcome::Failed(reason),
        false => Outcome::Refused(reason),
    }
}

/// The first cause: those above it say little.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
