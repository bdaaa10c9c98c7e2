//! Somebody who watches all orders, and comes back whenever ε-CON does.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// How soon it asks again where nobody answers.
const PAUSE: Duration = Duration::from_millis(20);

/// One event of a stream of server-sent events.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) event: String,
    pub(super) data: Value,
}

/// Reads a stream of server-sent events.
pub(super) struct Events {
    response: reqwest::Response,
    read: Vec<u8>,
}

impl Events {
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        let response = reqwest::get(url).await?.error_for_status()?;
        Ok(Self {
            response,
            read: Vec::new(),
        })
    }

    /// The next event; none: the stream has ended.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Seen>> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.read.drain(..end + 2).collect();
                if let Some(seen) = event(&String::from_utf8(block)?) {
                    return Ok(Some(seen));
                }
                continue;
            }
            match self.response.chunk().await? {
                Some(chunk) => self.read.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// None: it only keeps the connection open.
fn event(block: &str) -> Option<Seen> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let event = field("event: ")?.to_owned();
    let data = serde_json::from_str(field("data: ")?).ok()?;
    let id = field("id: ")?.to_owned();
    Some(Seen { id, event, data })
}

/// Counts ends of orders.
pub(super) struct Watch {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<BTreeMap<String, u64>>,
}

impl Watch {
    pub(super) fn start(url: String) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut ends = BTreeMap::new();
            let watching = async {
                loop {
                    follow(&url, &mut ends).await.ok();
                    tokio::time::sleep(PAUSE).await;
                }
            };
            stopped.run_until_cancelled(watching).await;
            ends
        });
        Self { stop, task }
    }

    /// How often it saw each order end, by id.
    pub(super) async fn end(self) -> BTreeMap<String, u64> {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

/// Until the stream ends or breaks.
async fn follow(url: &str, ends: &mut BTreeMap<String, u64>) -> anyhow::Result<()> {
    let mut events = Events::open(&format!("{url}/api/v1/orders/events")).await?;
    while let Some(seen) = events.next().await? {
        if seen.event != "missed" && seen.data["ended"].is_string() {
            let id = seen.data["id"].as_str().unwrap_or_default();
            *ends.entry(id.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(())
}
