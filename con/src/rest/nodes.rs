//! `/api/v1/nodes`: operations on single nodes. What nodes there are is said by `/api/v1/domains/{id}/nodes`.

use axum::{extract::State, http::StatusCode};

use super::error::{Path, Problem, parse_id};
use crate::controller::{Controller, Operation};

/// Places nothing new on a node, also after a restart of its domain.
#[utoipa::path(post, path = "/api/v1/nodes/{id}/cordon", params(("id" = String, Path)),
    responses((status = 204, description = "It takes nothing new"), (status = 404, body = Problem),
        (status = 502, description = "A domain that may have it does not answer, or cannot keep it", body = Problem)))]
pub(super) async fn cordon(
    State(con): State<Controller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    operate(&con, &id, Operation::Cordon).await
}

/// Ends the cordon or drain of a node.
#[utoipa::path(post, path = "/api/v1/nodes/{id}/uncordon", params(("id" = String, Path)),
    responses((status = 204, description = "It takes what is new again"), (status = 404, body = Problem),
        (status = 502, description = "A domain that may have it does not answer, or cannot keep it", body = Problem)))]
pub(super) async fn uncordon(
    State(con): State<Controller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    operate(&con, &id, Operation::Uncordon).await
}

/// Cordons a node and moves what is there elsewhere. `closed` of the node is `drained` when it is empty.
#[utoipa::path(post, path = "/api/v1/nodes/{id}/drain", params(("id" = String, Path)),
    responses((status = 204, description = "It takes nothing new, and its instances begin to move"),
        (status = 404, body = Problem),
        (status = 502, description = "A domain that may have it does not answer, or cannot keep it", body = Problem)))]
pub(super) async fn drain(
    State(con): State<Controller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    operate(&con, &id, Operation::Drain).await
}

async fn operate(con: &Controller, id: &str, operation: Operation) -> Result<StatusCode, Problem> {
    con.operate(parse_id(id, "node")?, operation).await?;
    Ok(StatusCode::NO_CONTENT)
}
