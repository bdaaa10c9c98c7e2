//! `/api/v1/orders`.

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::{
        Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use edgeless_orders::{
    body::Body,
    book::{Answer, BookFigures, Refusal},
    fault::Fault,
    stages::Passage,
    submission::Submission,
    view::{EndView, OrderState, OrderView},
};
use edgeless_types::{OrderId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use super::{
    documents::OrderDocument,
    error::{self, Path, Problem, body, parse_id},
};
use crate::{
    orders::{
        Deployer, Orders, ServiceView,
        blobs::{BlobName, KeepError},
    },
    problem,
};

/// The longest document of an order.
pub(super) const ORDER_BYTES: usize = (1 << 20) + (64 << 10);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct SubmitQuery {
    /// Answer with the result if the order ends within this, such as `5s`; at most an hour.
    #[serde(default, with = "humantime_serde")]
    #[param(value_type = Option<String>)]
    wait: Option<Duration>,
}

/// What an accepted order is answered with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AcceptedView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: OrderId,
    /// It had been accepted before, by the same idempotency key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// Takes an order. When this is answered it is kept, whatever happens.
#[utoipa::path(post, path = "/api/v1/orders", params(SubmitQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "The same as `idempotency_key` in the order")),
    request_body(content = OrderDocument, description = "The order"),
    responses(
        (status = 200, description = "It has ended: how, and with what result", body = Object),
        (status = 202, description = "It is accepted", body = AcceptedView),
        (status = 400, description = "It is not JSON", body = Problem),
        (status = 409, description = "The idempotency key was used with another order", body = Problem),
        (status = 422, description = "It is wrong; `errors` has all pointers", body = Problem),
        (status = 429, description = "The client sends more than its contract allows", body = Problem),
        (status = 507, description = "It cannot be kept", body = Problem),
    ))]
pub(super) async fn submit(
    State(orders): State<Orders>,
    query: Result<Query<SubmitQuery>, QueryRejection>,
    headers: HeaderMap,
    document: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let (query, document) = (error::query(query)?, body(document, ORDER_BYTES)?);
    let key = key_of(&headers)?;
    let submission = read(&orders, &document, key).await?;
    let id = OrderId::at(submission.came, &mut rand::rng());
    let Some(wait) = query.wait else {
        return accepted(orders.submit(id, submission, false).await);
    };
    let wait = wait.min(Duration::from_secs(60 * 60));
    let again = submission.key.is_some().then(|| submission.clone());
    match tokio::time::timeout(wait, orders.submit(id, submission, true)).await {
        Ok(Answer::Ended(body)) => Ok(Json(EndView::from(&body)).into_response()),
        Ok(answer) => accepted(answer),
        Err(_) => match (orders.look(id).await, again) {
            (Answer::Order(body), _) => accepted(Answer::Accepted {
                id: body.id,
                again: false,
            }),
            // The key was used before: that order goes on.
            (_, Some(again)) => accepted(orders.submit(id, again, false).await),
            (answer, None) => accepted(answer),
        },
    }
}

#[expect(
    clippy::result_large_err,
    reason = "a problem is made once per request"
)]
fn accepted(answer: Answer) -> Result<Response, Problem> {
    match answer {
        Answer::Accepted { id, again } => {
            let location = format!("/api/v1/orders/{id}");
            let view = Json(AcceptedView { id, again });
            Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], view).into_response())
        }
        Answer::Order(body) | Answer::Ended(body) => Ok(Json(EndView::from(&body)).into_response()),
        Answer::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        Answer::Refused(refusal) => Err(refusal.into()),
    }
}

/// The header `Idempotency-Key`.
#[expect(
    clippy::result_large_err,
    reason = "a problem is made once per request"
)]
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let key = headers.get("idempotency-key");
    let key = key
        .map(|key| std::str::from_utf8(key.as_bytes()))
        .transpose();
    key.map_err(|_| Problem::bad_request("the header `Idempotency-Key` is no UTF-8 text"))
}

/// An order as it was sent; the blobs that its input names are there, and stay for now.
pub(super) async fn read(
    orders: &Orders,
    document: &Bytes,
    key: Option<&str>,
) -> Result<Submission, Problem> {
    let submission = parse(orders, document, key)?;
    let invalid = |pointer: &str, detail: String| {
        Problem::from(problem::Refusal::fault(format!("/input{pointer}"), detail))
    };
    let named = BlobName::all_in(&submission.input);
    for (pointer, name) in named.map_err(|(pointer, error)| invalid(&pointer, error.to_string()))? {
        let used = orders.blobs().used(name).await;
        if !used.map_err(|error| Problem::from(KeepError::Disk(error)))? {
            let detail = format!("there is no blob `{name}`; put it first, `PUT /api/v1/blobs`");
            return Err(invalid(&pointer, detail));
        }
    }
    Ok(submission)
}

#[expect(
    clippy::result_large_err,
    reason = "a problem is made once per request"
)]
fn parse(orders: &Orders, document: &Bytes, key: Option<&str>) -> Result<Submission, Problem> {
    let now = edgeless_daemon::wall_clock();
    let digest = |body: &[u8]| Sha256::digest(body).into();
    let read = |text: &edgeless_orders::json::Json| orders.lists().list(text);
    let submission = Submission::parse(document, key, now, digest, read);
    submission.map_err(|faults| match not_json(document) {
        Some(problem) => problem,
        None => problem::Refusal::Invalid { faults }.into(),
    })
}

fn not_json(document: &[u8]) -> Option<Problem> {
    let read = serde_json::from_slice::<serde::de::IgnoredAny>(document);
    let error = read.err()?;
    Some(Problem::bad_request(format!(
        "the body is not JSON: {error}"
    )))
}

/// An order with its whole trace.
#[utoipa::path(get, path = "/api/v1/orders/{id}",
    responses((status = 200, body = Object), (status = 404, body = Problem)))]
pub(super) async fn inspect(
    State(orders): State<Orders>,
    Path(id): Path<String>,
) -> Result<Json<OrderView>, Problem> {
    match orders.look(parse_id(&id, "order")?).await {
        Answer::Order(body) | Answer::Ended(body) => Ok(Json(body.view())),
        Answer::Refused(refusal) => Err(refusal.into()),
        Answer::Accepted { .. } | Answer::Done => Err(Refusal::Ending.into()),
    }
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelQuery {
    /// Why, for those who look at it later.
    #[serde(default)]
    reason: Option<String>,
}

/// Ends an order; what was done is taken back where its tasks say so.
#[utoipa::path(post, path = "/api/v1/orders/{id}/cancel", params(CancelQuery),
    responses((status = 204), (status = 404, body = Problem),
        (status = 409, description = "It has ended", body = Problem)))]
pub(super) async fn cancel(
    State(orders): State<Orders>,
    Path(id): Path<String>,
    query: Result<Query<CancelQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let reason = error::query(query)?.reason;
    let reason = reason.unwrap_or_else(|| "its client wanted it no more".to_owned());
    let reason: String = reason.chars().take(500).collect();
    accepted(orders.cancel(parse_id(&id, "order")?, reason).await)
}

/// Takes an order that failed or expired up again, as a new one that begins where it failed.
#[utoipa::path(post, path = "/api/v1/orders/{id}/retry",
    responses((status = 202, body = AcceptedView), (status = 404, body = Problem),
        (status = 409, description = "It has not failed, or was taken up again", body = Problem)))]
pub(super) async fn retry(
    State(orders): State<Orders>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let new = OrderId::at(edgeless_daemon::wall_clock(), &mut rand::rng());
    accepted(orders.retry(parse_id(&id, "order")?, new).await)
}

/// Holds an order up: none of its tasks is begun.
#[utoipa::path(post, path = "/api/v1/orders/{id}/pause",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn pause(
    State(orders): State<Orders>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    accepted(orders.pause(parse_id(&id, "order")?, true).await)
}

/// Lets an order go on.
#[utoipa::path(post, path = "/api/v1/orders/{id}/resume",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn resume(
    State(orders): State<Orders>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    accepted(orders.pause(parse_id(&id, "order")?, false).await)
}

/// What is active, what waits for which service, and when it will be done.
#[utoipa::path(get, path = "/api/v1/orders/figures", responses((status = 200, body = Object)))]
pub(super) async fn figures(
    State(orders): State<Orders>,
    State(services): State<Deployer>,
) -> Result<Json<FiguresView>, Problem> {
    let book = orders.figures().await.ok_or(Refusal::Ending)?;
    let services = services.list().await;
    Ok(Json(FiguresView::of(book, &services)))
}

/// How all orders and services are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FiguresView {
    /// Orders.
    #[serde(flatten)]
    book: BookFigures,
    /// Services that tasks can be handed to.
    services_running: usize,
    /// Services whose functions wake with the next task.
    services_asleep: usize,
    /// Services that nobody has wanted yet.
    services_off: usize,
    /// Services that are held up.
    services_paused: usize,
}

impl FiguresView {
    fn of(book: BookFigures, services: &[ServiceView]) -> Self {
        let count = |state| services.iter().filter(|it| it.state == state).count();
        Self {
            book,
            services_running: count("running"),
            services_asleep: count("asleep"),
            services_off: count("off"),
            services_paused: count("paused"),
        }
    }
}

/// An order among others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct OrderSummary {
    /// Its id.
    pub id: OrderId,
    /// Who sent it.
    pub client: String,
    /// How it is.
    pub state: OrderState,
    /// Its tasks by their services, groups as lists.
    pub list: edgeless_orders::json::Json,
    /// Its tasks that are done, by their names in its list.
    pub done: Vec<String>,
    /// Its tasks that were left out, by their names in its list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// How many tasks it has.
    pub tasks: usize,
    /// When it was accepted, `secs.nsecs`.
    pub accepted: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Why it was not completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<&Body> for OrderSummary {
    fn from(body: &Body) -> Self {
        let (mut done, mut skipped) = (Vec::new(), Vec::new());
        for (position, passage) in body.passages() {
            let name = || body.list.task(position).key.to_string();
            match passage {
                Passage::Begun(step) if step.done.is_some() => done.push(name()),
                Passage::Skipped => skipped.push(name()),
                Passage::Begun(_) | Passage::NotBegun => {}
            }
        }
        let end = body.end.as_ref();
        let reason = end.map(|end| end.reason.clone());
        Self {
            id: body.id,
            client: body.accepted.client.clone(),
            state: body.state(),
            list: body.list.names().clone(),
            done,
            skipped,
            tasks: body.list.len(),
            accepted: body.at,
            ended: end.and_then(|end| end.at),
            reason: reason.filter(|reason| !reason.is_empty()),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        let invalid = |pointer: &str| {
            let faults = vec![Fault::new(pointer, text.clone())];
            Problem::from(problem::Refusal::Invalid { faults })
        };
        let conflict = |kind, title| Self::new(StatusCode::CONFLICT, kind, title, text.clone());
        let too_many = |after: Duration| {
            let title = "More than the contract allows";
            let status = StatusCode::TOO_MANY_REQUESTS;
            let problem = Self::new(status, "limit", title, text.clone());
            problem.retry_after(after)
        };
        match refusal {
            Refusal::UnknownClient(_) => invalid("/client"),
            Refusal::NoTasks(_) | Refusal::Outside { .. } => invalid("/tasks"),
            Refusal::Invalid(faults) => problem::Refusal::Invalid { faults }.into(),
            Refusal::TooMany { after, .. } => too_many(after),
            Refusal::TooManyActive { .. } => too_many(Duration::from_secs(1)),
            Refusal::InUse(_) => conflict("conflict", "It contradicts what is there"),
            Refusal::OtherBody(_) => conflict("conflict", "It contradicts what is there"),
            Refusal::HasEnded { .. } => conflict("ended", "The order has ended"),
            Refusal::Retried { .. } => conflict("retried", "The order was taken up again"),
            Refusal::NotFailed { .. } => conflict("not-failed", "The order has not failed"),
            Refusal::Full(_) => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                Self::new(status, "store", "It cannot be kept", text)
            }
            // The system says so where the store says why.
            Refusal::Away(why) if why.contains("No space left on device") => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                Self::new(status, "store", "The disk is full", text)
            }
            Refusal::Away(_) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, "store-away", "The store cannot be read", text)
                    .retry_after(Duration::from_secs(1))
            }
            Refusal::Unsure(_) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, "unsure", "It is not known yet", text)
                    .retry_after(Duration::from_secs(1))
            }
            Refusal::Unknown(_) => {
                let title = "There is no such thing";
                Self::new(StatusCode::NOT_FOUND, "unknown", title, text)
            }
            Refusal::Ending => problem::Refusal::Ending.into(),
        }
    }
}
