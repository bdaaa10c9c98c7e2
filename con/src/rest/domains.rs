//! `/api/v1/domains`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::error::Problem;
use crate::{
    controller::Controller,
    problem::Refusal,
    status::{DomainStatus, NodeStatus, VertexStatus},
};

/// All domains.
#[utoipa::path(get, path = "/api/v1/domains", responses((status = 200, body = Vec<DomainStatus>)))]
pub(super) async fn list(State(con): State<Controller>) -> Json<Vec<DomainStatus>> {
    Json(con.domains())
}

/// One domain.
#[utoipa::path(get, path = "/api/v1/domains/{id}", params(("id" = String, Path)),
    responses((status = 200, body = DomainStatus), (status = 404, body = Problem)))]
pub(super) async fn inspect(
    State(con): State<Controller>,
    Path(id): Path<String>,
) -> Result<Json<DomainStatus>, Problem> {
    let found = con
        .domains()
        .into_iter()
        .find(|domain| domain.domain_id == id);
    found
        .map(Json)
        .ok_or_else(|| Refusal::Unknown { what: "domain", id }.into())
}

/// The nodes of a domain.
#[utoipa::path(get, path = "/api/v1/domains/{id}/nodes", params(("id" = String, Path)),
    responses((status = 200, body = Vec<NodeStatus>), (status = 404, body = Problem)))]
pub(super) async fn nodes(
    State(con): State<Controller>,
    Path(id): Path<String>,
) -> Result<Json<Vec<NodeStatus>>, Problem> {
    Ok(Json(con.nodes(&id).await?))
}

/// The vertices of a domain and where they run.
#[utoipa::path(get, path = "/api/v1/domains/{id}/instances", params(("id" = String, Path)),
    responses((status = 200, body = Vec<VertexStatus>), (status = 404, body = Problem)))]
pub(super) async fn instances(
    State(con): State<Controller>,
    Path(id): Path<String>,
) -> Result<Json<Vec<VertexStatus>>, Problem> {
    Ok(Json(con.instances(&id).await?))
}
