//! `/api/v1/domains`.

use axum::{Json, extract::State};
use edgeless_types::DomainId;

use super::error::{Path, Problem};
use crate::{
    controller::Controller,
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
    Ok(Json(con.domain(&DomainId::new(id))?))
}

/// The nodes of a domain.
#[utoipa::path(get, path = "/api/v1/domains/{id}/nodes", params(("id" = String, Path)),
    responses((status = 200, body = Vec<NodeStatus>), (status = 404, body = Problem)))]
pub(super) async fn nodes(
    State(con): State<Controller>,
    Path(id): Path<String>,
) -> Result<Json<Vec<NodeStatus>>, Problem> {
    Ok(Json(con.nodes(&DomainId::new(id)).await?))
}

/// The vertices of a domain and where they run.
#[utoipa::path(get, path = "/api/v1/domains/{id}/instances", params(("id" = String, Path)),
    responses((status = 200, body = Vec<VertexStatus>), (status = 404, body = Problem)))]
pub(super) async fn instances(
    State(con): State<Controller>,
    Path(id): Path<String>,
) -> Result<Json<Vec<VertexStatus>>, Problem> {
    Ok(Json(con.instances(&DomainId::new(id)).await?))
}
