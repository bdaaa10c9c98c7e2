//! Orders in streams: many that are sent at once, and changes as they are kept.

use std::{
    convert::Infallible,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body as HttpBody, Bytes},
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use edgeless_orders::{body::Body, book::Answer, stages::StageView};
use edgeless_types::OrderId;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    api::Api,
    error::{Path, Problem, body, parse_id},
    orders::{AcceptedView, ORDER_BYTES, OrderSummary, key_of, read},
};
use crate::orders::Orders;

/// The longest body of a batch.
pub(super) const BATCH_BYTES: usize = 64 << 20;
/// Orders of a batch on their way at once.
const AT_ONCE: usize = 512;
/// How often those who watch hear something when nothing happens.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What one line of a batch is answered with.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Accepted(AcceptedView),
    Refused { error: Box<Problem> },
}

/// Takes many orders, one a line (NDJSON), and answers with one line for each, in their order: the id, or what is wrong
/// with it. Lines are answered while others are still being taken.
#[utoipa::path(post, path = "/api/v1/orders/batch",
    request_body(content = String, description = "Orders, one a line", content_type = "application/x-ndjson"),
    responses((status = 200, description = "`{\"id\"}` or `{\"error\"}`, one a line", body = String,
        content_type = "application/x-ndjson"), (status = 413, body = Problem)))]
pub(super) async fn batch(
    State(orders): State<Orders>,
    headers: HeaderMap,
    document: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    if key_of(&headers)?.is_some() {
        let text =
            "a batch has no `Idempotency-Key`; each of its orders may have an `idempotency_key`";
        return Err(Problem::bad_request(text));
    }
    let document = body(document, BATCH_BYTES)?;
    let lines = lines(&document);
    let answers = stream::iter(lines)
        .map(move |line| {
            let orders = orders.clone();
            async move { take(&orders, &line).await }
        })
        .buffered(AT_ONCE)
        .map(|line| {
            let mut text = serde_json::to_vec(&line).unwrap_or_default();
            text.push(b'\n');
            Ok::<_, Infallible>(Bytes::from(text))
        });
    let mut response = HttpBody::from_stream(answers).into_response();
    let content_type = HeaderValue::from_static("application/x-ndjson");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// The lines of a document that are not blank.
fn lines(document: &Bytes) -> Vec<Bytes> {
    let lines = document
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii);
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(|line| document.slice_ref(line)).collect()
}

async fn take(orders: &Orders, line: &Bytes) -> Line {
    let refused = |problem| Line::Refused {
        error: Box::new(problem),
    };
    if line.len() > ORDER_BYTES {
        let detail = format!("the line is longer than {ORDER_BYTES} bytes");
        return refused(Problem::bad_request(detail));
    }
    // An order is not to keep the whole batch in memory.
    let line = Bytes::copy_from_slice(line);
    let submission = match read(orders, &line, None).await {
        Ok(submission) => submission,
        Err(problem) => return refused(problem),
    };
    let id = OrderId::at(submission.came, &mut rand::rng());
    match orders.submit(id, submission, false).await {
        Answer::Accepted { id, again } => Line::Accepted(AcceptedView { id, again }),
        Answer::Refused(refusal) => refused(refusal.into()),
        Answer::Order(_) | Answer::Ended(_) | Answer::Done => {
            refused(edgeless_orders::book::Refusal::Ending.into())
        }
    }
}

/// Changes of all orders as they are kept (server-sent events): `event` is the state of the order, `data` the order as
/// in lists with its `stages`, `id` the same for the same data. `missed` says that so many changes were too quick for whoever watches.
#[utoipa::path(get, path = "/api/v1/orders/events",
    responses((status = 200, content_type = "text/event-stream", body = String)))]
pub(super) async fn watch_all(State(api): State<Arc<Api>>) -> Response {
    let changes = without_repetition(changes(api.orders.watch()));
    respond(changes.take_until(api.shutdown.clone().cancelled_owned()))
}

/// How an order is, then each of its changes, until its end (server-sent events). Whoever comes back with
/// `Last-Event-ID` hears at once how it is now, as everybody does.
#[utoipa::path(get, path = "/api/v1/orders/{id}/events",
    responses((status = 200, content_type = "text/event-stream", body = String),
        (status = 404, body = Problem)))]
pub(super) async fn watch_one(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: OrderId = parse_id(&id, "order")?;
    let receiver = api.orders.watch();
    let now = match api.orders.look(id).await {
        Answer::Order(body) | Answer::Ended(body) => Change::of(&body),
        Answer::Refused(refusal) => return Err(refusal.into()),
        Answer::Accepted { .. } | Answer::Done => {
            return Err(edgeless_orders::book::Refusal::Ending.into());
        }
    };
    let watched = Watched {
        id,
        orders: api.orders.clone(),
        receiver,
        first: Some(now),
    };
    let events = stream::unfold(Some(watched), async |watched| watched?.next().await);
    let events = without_repetition(events);
    Ok(respond(
        events.take_until(api.shutdown.clone().cancelled_owned()),
    ))
}

/// An order that somebody watches.
struct Watched {
    id: OrderId,
    orders: Orders,
    receiver: Receiver<std::sync::Arc<Body>>,
    /// What is to be told before anything else.
    first: Option<Change>,
}

impl Watched {
    /// The next change, and the rest unless it was the end.
    async fn next(mut self) -> Option<(Change, Option<Self>)> {
        let change = match self.first.take() {
            Some(change) => change,
            None => self.change().await?,
        };
        let rest = (!change.is_end()).then_some(self);
        Some((change, rest))
    }

    async fn change(&mut self) -> Option<Change> {
        loop {
            match self.receiver.recv().await {
                Ok(body) if body.id == self.id => return Some(Change::of(&body)),
                Ok(_) => {}
                // Its end may be among what was missed.
                Err(RecvError::Lagged(_)) => match self.orders.look(self.id).await {
                    Answer::Order(body) | Answer::Ended(body) => return Some(Change::of(&body)),
                    Answer::Accepted { .. } | Answer::Done | Answer::Refused(_) => return None,
                },
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn respond(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

/// Events of changes; what looks the same as the one before is left out.
fn without_repetition(
    changes: impl Stream<Item = Change> + Send + 'static,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    let mut before = String::new();
    changes.filter_map(move |change| {
        let id = change.id();
        let is_new = id != before;
        before.clone_from(&id);
        std::future::ready(is_new.then(|| Ok(change.event().id(id))))
    })
}

/// What somebody who watches hears.
enum Change {
    Order {
        state: &'static str,
        id: OrderId,
        is_end: bool,
        data: String,
    },
    Missed(u64),
}

/// An order as those who watch see it.
#[derive(Serialize)]
struct Seen {
    #[serde(flatten)]
    summary: OrderSummary,
    stages: Vec<StageView>,
}

impl Change {
    fn of(body: &Body) -> Self {
        let summary = OrderSummary::from(body);
        let (state, is_end) = (summary.state.name(), summary.ended.is_some());
        let stages = body.stages();
        Self::Order {
            state,
            id: body.id,
            is_end,
            data: serde_json::to_string(&Seen { summary, stages }).unwrap_or_default(),
        }
    }

    fn is_end(&self) -> bool {
        matches!(self, Self::Order { is_end: true, .. })
    }

    /// The same for the same data.
    fn id(&self) -> String {
        match self {
            Self::Order { id, data, .. } => {
                let mut hasher = DefaultHasher::new();
                data.hash(&mut hasher);
                format!("{id}/{:016x}", hasher.finish())
            }
            Self::Missed(count) => format!("missed/{count}"),
        }
    }

    fn event(&self) -> Event {
        match self {
            Self::Order { state, data, .. } => Event::default().event(state).data(data),
            Self::Missed(count) => Event::default().event("missed").data(count.to_string()),
        }
    }
}

fn changes(
    receiver: Receiver<std::sync::Arc<Body>>,
) -> impl Stream<Item = Change> + Send + 'static {
    stream::unfold(receiver, async |mut receiver| {
        let change = match receiver.recv().await {
            Ok(body) => Change::of(&body),
            Err(RecvError::Lagged(count)) => Change::Missed(count),
            Err(RecvError::Closed) => return None,
        };
        Some((change, receiver))
    })
}
