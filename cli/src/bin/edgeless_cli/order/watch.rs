//! `edgeless_cli order watch`: changes of orders as they happen, from server-sent events.

use std::time::Duration;

use edgeless_types::OrderId;
use reqwest::{Method, StatusCode, header::ACCEPT};
use serde_json::json;

use super::{judge, show::tell_change};
use crate::{client::Client, failure::Failure, json::Json, output::Output, view::OrderSummary};

/// There is no end to it.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The longest event that is taken.
const EVENT_BYTES: usize = 16 << 20;

pub(super) async fn run(
    id: Option<OrderId>,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let id = id.map(|id| id.to_string());
    let path = match &id {
        Some(id) => vec!["orders", id, "events"],
        None => vec!["orders", "events"],
    };
    let request = client
        .request(Method::GET, &path)
        .header(ACCEPT, "text/event-stream")
        .timeout(FOREVER);
    let mut response = client.open(request).await?;
    let mut events = Events::default();
    loop {
        let chunk = tokio::select! {
            chunk = response.chunk() => chunk,
            // Whoever has seen enough.
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let Some(chunk) = chunk.map_err(|source| client.unreachable(source))? else {
            break;
        };
        let odd = |problem: String| client.odd(StatusCode::OK, problem);
        for event in events
            .push(&chunk)
            .map_err(|TooLong| odd(format!("an event has more than {EVENT_BYTES} bytes")))?
        {
            let data = Json::parse(event.data.as_bytes());
            let data = data.map_err(|error| odd(error.to_string()))?;
            if event.name == "missed" {
                eprintln!("note: {} changes were too quick to be shown", data.plain());
                output.line(&json!({ "missed": data }), |_| String::new())?;
                continue;
            }
            let order: OrderSummary = client.view(&data)?;
            if !output.line(&data, |style| tell_change(&order, style))? {
                return Ok(());
            }
            if let (Some(id), Some(_)) = (&id, order.ended) {
                return judge(id, &order.state, order.reason.as_deref());
            }
        }
    }
    Err(Failure::Broken(client.url()))
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

/// An event that does not end.
#[derive(Debug, PartialEq, Eq)]
struct TooLong;

/// Takes a stream of events apart (WHATWG HTML, "Server-sent events", "Interpreting an event stream").
#[derive(Debug, Default)]
struct Events {
    line: Vec<u8>,
    event: Event,
}

impl Events {
    /// The events that are complete with these bytes.
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            events.extend(self.on_line(line.trim_end_matches('\r')));
        }
        match self.line.len() + self.event.data.len() > EVENT_BYTES {
            true => Err(TooLong),
            false => Ok(events),
        }
    }

    fn on_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments, and fields that say nothing here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_they_are_cut() {
        let text = ": alive\n\nevent: running\r\ndata: {\"a\":\r\ndata:1}\r\n\r\nid: 7\ndata: 2\n\nevent: x\n";
        let event = |name: &str, data: &str| Event {
            name: name.to_owned(),
            data: data.to_owned(),
        };
        let expected = [event("running", "{\"a\":\n1}"), event("", "2")];
        for size in 1..text.len() {
            let mut events = Events::default();
            let found = text.as_bytes().chunks(size);
            let found: Vec<Event> = found
                .flat_map(|chunk| events.push(chunk).unwrap())
                .collect();
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_refused() {
        let mut events = Events::default();
        assert_eq!(events.push(&vec![b'x'; EVENT_BYTES]), Ok(vec![]));
        assert_eq!(events.push(b"xx"), Err(TooLong));
    }
}
