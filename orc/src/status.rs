//! The HTTP status port: the domain's state as JSON, and intents.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use edgeless_types::{
    LogicalId, NodeCapabilities, NodeHealth, NodeId, OrderDemand, Timestamp,
    intent::{Intent, IntentOutcome},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    handle::{Ended, Handle},
    mirror::entries,
    recent::Recent,
};

/// What the routes need.
#[derive(Clone)]
pub struct Shown {
    /// The owner of the domain.
    pub orc: Handle,
    /// What was measured lately.
    pub recent: Recent,
}

/// The routes beside those that every daemon has.
pub fn router(shown: Shown) -> Router {
    Router::new()
        .route("/api/v1/state", get(state))
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/demand", get(demand))
        .route("/api/v1/order_demand", get(order_demand))
        .route("/api/v1/samples", get(samples))
        .route("/api/v1/intents", post(intent))
        .route("/api/v1/intents/outcomes", get(outcomes))
        .with_state(shown)
}

/// `GET /api/v1/order_demand`: what orders want of functions that are services, as ε-CON said last.
async fn order_demand(
    State(shown): State<Shown>,
) -> Result<Json<BTreeMap<LogicalId, OrderDemand>>, Response> {
    let demand = shown
        .orc
        .read(|domain, _| domain.order_demand().clone())
        .await;
    Ok(Json(demand.map_err(ended)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prefix {
    #[serde(default)]
    prefix: String,
}

/// `GET /api/v1/state?prefix=…`: the keys of the mirror and their values.
async fn state(
    State(shown): State<Shown>,
    Query(Prefix { prefix }): Query<Prefix>,
) -> Result<Json<BTreeMap<String, Value>>, Response> {
    let snapshot = shown
        .orc
        .read(|domain, now| domain.snapshot(now))
        .await
        .map_err(ended)?;
    let mut keys = entries::of_snapshot(&snapshot);
    keys.retain(|key, _| key.starts_with(&prefix));
    let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Json(
        keys.into_iter()
            .map(|(key, text)| (key, value(text)))
            .collect(),
    ))
}

#[derive(Serialize)]
struct NodeStatus {
    node_id: NodeId,
    agent_url: String,
    invocation_url: String,
    capabilities: NodeCapabilities,
    health: Option<NodeHealth>,
    cordoned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<String>,
    instances: usize,
    last_update: Timestamp,
}

/// `GET /api/v1/nodes`: all nodes with their health.
async fn nodes(State(shown): State<Shown>) -> Result<Json<Vec<NodeStatus>>, Response> {
    let reports = shown
        .orc
        .read(|domain, _| domain.node_reports())
        .await
        .map_err(ended)?;
    let status = |report: crate::domain::NodeReport| NodeStatus {
        node_id: report.node_id,
        agent_url: report.profile.agent_url,
        invocation_url: report.profile.invocation_url,
        capabilities: (*report.profile.capabilities).clone(),
        health: report.health,
        cordoned: report.cordoned,
        closed: report.closed,
        instances: report.instances,
        last_update: report.last_update,
    };
    Ok(Json(reports.into_iter().map(status).collect()))
}

/// `GET /api/v1/demand`: vertices that have no instance, and how many messages wait for them.
async fn demand(State(shown): State<Shown>) -> Result<Json<BTreeMap<LogicalId, u64>>, Response> {
    let demand = shown.orc.read(|domain, _| domain.demand()).await;
    Ok(Json(demand.map_err(ended)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    key: String,
    since: Option<Timestamp>,
}

/// `GET /api/v1/samples?key=…&since=…`: elements of a sorted set of the last two minutes, of which
/// at most 250,000 samples are remembered.
async fn samples(
    State(shown): State<Shown>,
    Query(range): Query<Range>,
) -> Json<Vec<(Timestamp, String)>> {
    Json(
        shown
            .recent
            .range(&range.key, range.since.unwrap_or_default()),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    key: String,
    value: Option<String>,
}

/// `POST /api/v1/intents`: 200 when it is carried out, 422 when it is refused.
async fn intent(
    State(shown): State<Shown>,
    Json(posted): Json<Posted>,
) -> Result<(StatusCode, Json<IntentOutcome>), Response> {
    let known = Intent::parse(&posted.key, posted.value.as_deref()).is_ok();
    let outcome = shown
        .orc
        .intent(posted.key, posted.value)
        .await
        .map_err(ended)?;
    let code = match (&outcome.refused, known) {
        (None, _) => StatusCode::OK,
        (Some(_), true) => StatusCode::UNPROCESSABLE_ENTITY,
        (Some(_), false) => StatusCode::BAD_REQUEST,
    };
    Ok((code, Json(outcome)))
}

/// `GET /api/v1/intents/outcomes`: what became of intents, newest first.
async fn outcomes(State(shown): State<Shown>) -> Json<Vec<IntentOutcome>> {
    Json(shown.recent.outcomes())
}

fn ended(error: Ended) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()
}
