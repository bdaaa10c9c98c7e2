//! A service that is an HTTP endpoint outside: each task is a POST, the response its outcome.
//!
//! | response | outcome |
//! |---|---|
//! | 2xx | the result |
//! | 408, 425, 429, 5xx | failed: tried again |
//! | any other | refused: not tried again |
//! | no connection | it did not reach the service: tried again, and no attempt |
//! | none in time | timed out |

use std::sync::Arc;

use bytes::Bytes;
use edgeless_orders::book::{Handout, Outcome, Ticket};
use http::{StatusCode, header};
use rustc_hash::FxHashMap;
use tokio::task::{AbortHandle, JoinSet};

use super::Orders;

/// The longest response.
const RESPONSE_BYTES: usize = 1 << 20;
/// What of a response is shown when it is an error, in characters.
const SHOWN: usize = 200;

/// Serves the tasks of one service until it is dropped.
pub(super) async fn run(orders: Orders, client: reqwest::Client, name: Arc<str>, url: Arc<str>) {
    let (line, mut tasks) = orders.open_line(name, Arc::clone(&url)).await;
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
                    let call = calls.spawn(call(client.clone(), Arc::clone(&url), handout));
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
    let ticket = handout.ticket;
    let timeout = handout.timeout;
    let outcome = match tokio::time::timeout(timeout, exchange(&client, &url, handout)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::TimedOut,
    };
    (ticket, outcome)
}

async fn exchange(client: &reqwest::Client, url: &str, handout: Handout) -> Outcome {
    let key = format!(
        "{}/{}{}",
        handout.id,
        handout.task,
        if handout.undo { "/undo" } else { "" }
    );
    let request = client
        .post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header("edgeless-order", handout.id.to_string())
        .header("edgeless-task", &*handout.task)
        .header("edgeless-attempt", handout.attempt)
        .header("idempotency-key", key)
        .body(handout.payload.bytes());
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return Outcome::Undelivered(root(&error)),
        Err(error) => return Outcome::Failed(root(&error)),
    };
    let status = response.status();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Outcome::Failed(root(&error)),
        }
        if body.len() > RESPONSE_BYTES {
            return Outcome::Refused(format!(
                "the response is longer than {RESPONSE_BYTES} bytes"
            ));
        }
    }
    if status.is_success() {
        let payload = Bytes::from(body);
        let instance = None;
        return Outcome::Reply { payload, instance };
    }
    let text: String = String::from_utf8_lossy(&body)
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
