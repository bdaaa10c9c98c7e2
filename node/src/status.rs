//! What the status port of a node adds: running instances with their queues, rates and times, and pauses.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use edgeless_dataflow::{ChannelView, EdgeView, OperatorView, Times};
use edgeless_types::{PhysicalId, RunningInstance};
use serde::Serialize;

use crate::{agent::Agent, host::Host};

/// The routes beside those that every daemon has.
pub(crate) fn router(agent: Agent<Host>) -> Router {
    Router::new()
        .route("/api/v1/instances", get(instances))
        .route("/api/v1/instances/{physical_id}/pause", post(pause))
        .route("/api/v1/instances/{physical_id}/resume", post(resume))
        .with_state(agent)
}

/// One running instance.
#[derive(Debug, Serialize)]
struct Instance {
    physical_id: PhysicalId,
    logical_id: Option<String>,
    workflow_id: Option<String>,
    /// `starting`, `running`, `paused` or `draining`.
    state: &'static str,
    shard: usize,
    /// Messages that wait to be handled, that could not be sent yet, that are not acknowledged.
    queued: usize,
    parked: usize,
    outstanding: usize,
    /// Events handled, and events that ended with an error.
    events: u64,
    faults: u64,
    execution: Milliseconds,
    /// By sender.
    transfer: Vec<Edge>,
    outputs: Vec<Channel>,
}

/// A distribution in milliseconds.
#[derive(Debug, Serialize)]
struct Milliseconds {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Edge {
    /// Null: senders beyond the first few.
    source: Option<PhysicalId>,
    events: u64,
    #[serde(flatten)]
    times: Milliseconds,
}

#[derive(Debug, Serialize)]
struct Channel {
    channel: String,
    /// Messages that wait as the channel leads to no instance now.
    held: usize,
    targets: Vec<Target>,
}

#[derive(Debug, Serialize)]
struct Target {
    node_id: String,
    physical_id: PhysicalId,
    sent: u64,
}

/// `GET /api/v1/instances`: all that run here, by physical id.
async fn instances(State(agent): State<Agent<Host>>) -> Json<Vec<Instance>> {
    let running = agent.running().into_iter();
    let running: BTreeMap<PhysicalId, RunningInstance> =
        running.map(|it| (it.physical_id, it)).collect();
    let mut views = agent.host().engine.inspect().await;
    views.sort_by_key(|view| view.physical_id);
    let instance = |view: OperatorView| instance(running.get(&view.physical_id), view);
    Json(views.into_iter().map(instance).collect())
}

fn instance(running: Option<&RunningInstance>, view: OperatorView) -> Instance {
    Instance {
        physical_id: view.physical_id,
        logical_id: running.map(|it| it.logical_id.to_string()),
        workflow_id: running.map(|it| it.workflow_id.to_string()),
        state: view.phase.name(),
        shard: view.shard,
        queued: view.queued,
        parked: view.parked,
        outstanding: view.outstanding,
        events: view.execution.count,
        faults: view.faults,
        execution: view.execution.into(),
        transfer: view.edges.into_iter().map(Edge::from).collect(),
        outputs: view.channels.into_iter().map(Channel::from).collect(),
    }
}

impl From<Times> for Milliseconds {
    fn from(times: Times) -> Self {
        let millis = |nanos: u64| nanos as f64 / 1e6;
        Self {
            p50: millis(times.p50_nanos),
            p90: millis(times.p90_nanos),
            p99: millis(times.p99_nanos),
            max: millis(times.max_nanos),
        }
    }
}

impl From<EdgeView> for Edge {
    fn from(edge: EdgeView) -> Self {
        Self {
            source: edge.source,
            events: edge.transfer.count,
            times: edge.transfer.into(),
        }
    }
}

impl From<ChannelView> for Channel {
    fn from(channel: ChannelView) -> Self {
        let target = |(instance, sent): (edgeless_types::InstanceId, u64)| Target {
            node_id: instance.node_id.to_string(),
            physical_id: instance.physical_id,
            sent,
        };
        Self {
            channel: channel.name,
            held: channel.held,
            targets: channel.targets.into_iter().map(target).collect(),
        }
    }
}

/// `POST /api/v1/instances/{physical_id}/pause`: 204, or 404 when it does not run here.
async fn pause(State(agent): State<Agent<Host>>, Path(id): Path<String>) -> Answer {
    set_paused(&agent, &id, true).await
}

/// `POST /api/v1/instances/{physical_id}/resume`: 204, or 404 when it does not run here.
async fn resume(State(agent): State<Agent<Host>>, Path(id): Path<String>) -> Answer {
    set_paused(&agent, &id, false).await
}

type Answer = Result<StatusCode, (StatusCode, String)>;

async fn set_paused(agent: &Agent<Host>, id: &str, paused: bool) -> Answer {
    let physical_id: PhysicalId = id
        .parse()
        .map_err(|_| (StatusCode::BAD_REQUEST, format!("`{id}` is not a UUID\n")))?;
    match agent.host().engine.pause(physical_id, paused).await {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            let text = format!("instance {physical_id} does not run here\n");
            Err((StatusCode::NOT_FOUND, text))
        }
    }
}
