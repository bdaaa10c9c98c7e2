//! `/api/v1/workflows`.

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
use edgeless_types::{CodeDigest, DomainId, NodeId, WorkflowId, workflow::Workflow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    DOCUMENT_BYTES,
    error::{self, Path, Problem, body, parse_id},
};
use crate::{
    check::{Format, parse},
    controller::{Controller, Wait},
    problem::Refusal,
    status::{DryRun, Explanation, UpdateState, WorkflowState, WorkflowStatus},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct StartQuery {
    /// Accept a workflow that nobody can run now; it waits.
    #[serde(default)]
    wait: bool,
    /// Start and keep nothing; say where it would go. Code that the document names by its digest need not be
    /// here, and an `Idempotency-Key` is not used up.
    #[serde(default)]
    dry_run: bool,
}

/// Submits a workflow; answers when it runs, or was accepted as waiting. With `dry_run` it answers where the
/// workflow would go.
#[utoipa::path(
    post, path = "/api/v1/workflows", params(StartQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body give the same workflow")),
    request_body(content = Object, description = "A workflow document, JSON or YAML"),
    responses(
        (status = 200, description = "A dry run: where it would go, or what excludes the nodes", body = DryRun),
        (status = 201, description = "It runs", body = WorkflowStatus),
        (status = 202, description = "It is accepted and waits", body = WorkflowStatus),
        (status = 400, description = "Not JSON or YAML", body = Problem),
        (status = 409, description = "Nobody can run it, or the key was used with another body", body = Problem),
        (status = 415, description = "Neither JSON nor YAML", body = Problem),
        (status = 413, description = "The body is too long", body = Problem),
        (status = 422, description = "The document is wrong; `errors` has all pointers", body = Problem),
    )
)]
pub(super) async fn start(
    State(con): State<Controller>,
    query: Result<Query<StartQuery>, QueryRejection>,
    headers: HeaderMap,
    document: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let (query, document) = (error::query(query)?, body(document, DOCUMENT_BYTES)?);
    let workflow = read(&document, &headers)?;
    if query.dry_run {
        return Ok(Json(con.dry_run(workflow).await?).into_response());
    }
    let key = headers
        .get("idempotency-key")
        .map(|key| key.to_str().map(str::to_owned));
    let key = key
        .transpose()
        .map_err(|_| Problem::bad_request("the Idempotency-Key must be ASCII"))?;
    let key = key.map(|key| (key, CodeDigest::of(&document)));
    let wait = if query.wait { Wait::Yes } else { Wait::No };
    let status = con.start(workflow, wait, key).await?;
    let code = match status.state {
        WorkflowState::Running => StatusCode::CREATED,
        WorkflowState::Waiting | WorkflowState::Unknown => StatusCode::ACCEPTED,
    };
    let location = format!("/api/v1/workflows/{}", status.workflow_id);
    Ok((code, [(header::LOCATION, location)], Json(status)).into_response())
}

/// The workflow in a body.
#[expect(
    clippy::result_large_err,
    reason = "a problem is made once per request"
)]
fn read(document: &[u8], headers: &HeaderMap) -> Result<Workflow, Problem> {
    parse(document, format(headers)?).map_err(|fault| {
        if fault.detail.starts_with("the body is not") {
            return Problem::bad_request(fault.detail);
        }
        Refusal::Invalid {
            faults: vec![fault],
        }
        .into()
    })
}

/// What clients that say nothing say.
const UNSAID: [&str; 2] = [
    "application/octet-stream",
    "application/x-www-form-urlencoded",
];

#[expect(
    clippy::result_large_err,
    reason = "a problem is made once per request"
)]
pub(super) fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let Some(content_type) = content_type else {
        return Ok(Format::Json);
    };
    let text = content_type.to_str().unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    if kind.contains("yaml") {
        return Ok(Format::Yaml);
    }
    if kind.contains("json") || UNSAID.contains(&kind.as_str()) {
        return Ok(Format::Json);
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media-type",
        "The body is neither JSON nor YAML",
        format!("a workflow is application/json or application/yaml, not `{text}`"),
    ))
}

/// All workflows, as their domains say.
#[utoipa::path(get, path = "/api/v1/workflows",
    responses((status = 200, body = Vec<WorkflowStatus>)))]
pub(super) async fn list(State(con): State<Controller>) -> Json<Vec<WorkflowStatus>> {
    Json(con.list().await)
}

/// How a workflow is now.
#[utoipa::path(get, path = "/api/v1/workflows/{id}", params(("id" = String, Path)),
    responses((status = 200, body = WorkflowStatus), (status = 404, body = Problem)))]
pub(super) async fn inspect(
    State(con): State<Controller>,
    Path(id): Path<String>,
) -> Result<Json<WorkflowStatus>, Problem> {
    let workflow_id: WorkflowId = parse_id(&id, "workflow")?;
    Ok(Json(con.inspect(workflow_id).await?))
}

/// What a workflow does now, which function limits it, why, and what the system does about it.
#[utoipa::path(get, path = "/api/v1/workflows/{id}/explain", params(("id" = String, Path)),
    responses((status = 200, body = Explanation), (status = 404, body = Problem),
        (status = 503, description = "It is in no domain, or its domain does not answer", body = Problem)))]
pub(super) async fn explain(
    State(con): State<Controller>,
    Path(id): Path<String>,
) -> Result<Json<Explanation>, Problem> {
    let workflow_id: WorkflowId = parse_id(&id, "workflow")?;
    Ok(Json(con.explain(workflow_id).await?))
}

/// Gives the vertices of a workflow other versions: of functions class version, code and annotations may differ,
/// of resources the configurations. New copies run before the old ones go; where they do not run, the old ones do.
#[utoipa::path(put, path = "/api/v1/workflows/{id}", params(("id" = String, Path)),
    request_body(content = Object, description = "The whole workflow document, JSON or YAML"),
    responses(
        (status = 200, description = "All vertices run in their new versions", body = WorkflowStatus),
        (status = 202, description = "It is kept; the workflow waits, or its domain goes on with the update, of which `update` shows what becomes", body = WorkflowStatus),
        (status = 400, description = "Not JSON or YAML", body = Problem),
        (status = 404, description = "There is no such workflow", body = Problem),
        (status = 409, description = "The new versions do not run, and the old ones do; or it is being changed", body = Problem),
        (status = 413, description = "The body is too long", body = Problem),
        (status = 415, description = "Neither JSON nor YAML", body = Problem),
        (status = 422, description = "The document is wrong, or has other vertices or wiring", body = Problem),
    )
)]
pub(super) async fn update(
    State(con): State<Controller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    document: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let workflow_id: WorkflowId = parse_id(&id, "workflow")?;
    let document = body(document, DOCUMENT_BYTES)?;
    let status = con.update(workflow_id, read(&document, &headers)?).await?;
    let update = status.update.as_ref().map(|update| update.state);
    let code = match status.state {
        WorkflowState::Running if update != Some(UpdateState::UnderWay) => StatusCode::OK,
        WorkflowState::Running | WorkflowState::Waiting | WorkflowState::Unknown => {
            StatusCode::ACCEPTED
        }
    };
    Ok((code, Json(status)).into_response())
}

/// Stops a workflow.
#[utoipa::path(delete, path = "/api/v1/workflows/{id}", params(("id" = String, Path)),
    responses((status = 204, description = "It will not come back"), (status = 404, body = Problem)))]
pub(super) async fn stop(
    State(con): State<Controller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let workflow_id: WorkflowId = parse_id(&id, "workflow")?;
    con.stop(workflow_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where something is to go: a whole workflow to a domain, or one vertex to a node.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The domain for the whole workflow.
    #[serde(default)]
    pub domain_id: Option<String>,
    /// The name of a vertex, with `node_id`.
    #[serde(default)]
    pub vertex: Option<String>,
    /// The node for the vertex.
    #[serde(default)]
    pub node_id: Option<String>,
}

/// Moves a workflow to another domain, or one of its vertices to another node.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/migrate", params(("id" = String, Path)),
    request_body = Move,
    responses((status = 200, body = WorkflowStatus), (status = 404, body = Problem),
        (status = 409, description = "It is being started, updated or moved by another request", body = Problem),
        (status = 422, description = "The target cannot run it", body = Problem)))]
pub(super) async fn migrate(
    State(con): State<Controller>,
    Path(id): Path<String>,
    document: Result<Bytes, BytesRejection>,
) -> Result<Json<WorkflowStatus>, Problem> {
    let workflow_id: WorkflowId = parse_id(&id, "workflow")?;
    let document = body(document, DOCUMENT_BYTES)?;
    let wanted: Move = serde_json::from_slice(&document)
        .map_err(|error| Problem::bad_request(format!("the body is wrong: {error}")))?;
    let status = match (wanted.domain_id, wanted.vertex, wanted.node_id) {
        (Some(domain_id), None, None) => {
            con.move_to_domain(workflow_id, DomainId::new(domain_id))
                .await?
        }
        (None, Some(vertex), Some(node_id)) => {
            let node_id: NodeId = node_id
                .parse()
                .map_err(|_| Problem::from(Refusal::fault("/node_id", "must be a UUID")))?;
            con.move_vertex(workflow_id, &vertex, node_id).await?
        }
        _ => {
            let detail = "give either `domain_id`, or `vertex` and `node_id`";
            return Err(Refusal::fault("", detail).into());
        }
    };
    Ok(Json(status))
}
