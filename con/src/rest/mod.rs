//! The REST interface of ε-CON. Its OpenAPI document is generated from the handlers.

mod domains;
mod error;
mod functions;
mod workflows;

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    routing::{get, post, put},
};
use utoipa::OpenApi;

use crate::controller::Controller;
pub use error::Problem;
pub use functions::{FunctionStatus, Uploaded};
pub use workflows::Move;

/// The longest code that is taken.
pub const CODE_BYTES: usize = 64 << 20;
/// The longest workflow document that is taken; it may hold code.
pub const DOCUMENT_BYTES: usize = 8 << 20;

/// The OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "ε-CON",
        description = "Workflows, the function registry, domains."
    ),
    paths(
        workflows::start,
        workflows::list,
        workflows::inspect,
        workflows::stop,
        workflows::migrate,
        functions::publish,
        functions::list,
        functions::inspect,
        functions::code,
        functions::upload,
        domains::list,
        domains::inspect,
        domains::nodes,
        domains::instances,
    )
)]
struct Document;

/// The OpenAPI document as JSON.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// All routes.
pub fn router(controller: Controller) -> Router {
    let documents = Router::new()
        .route(
            "/api/v1/workflows",
            post(workflows::start).get(workflows::list),
        )
        .layer(DefaultBodyLimit::max(DOCUMENT_BYTES));
    let code = Router::new()
        .route(
            "/api/v1/functions/{id}/{version}",
            put(functions::publish).get(functions::inspect),
        )
        .route("/api/v1/code", post(functions::upload))
        .layer(DefaultBodyLimit::max(CODE_BYTES));
    Router::new()
        .merge(documents)
        .merge(code)
        .route(
            "/api/v1/workflows/{id}",
            get(workflows::inspect).delete(workflows::stop),
        )
        .route("/api/v1/workflows/{id}/migrate", post(workflows::migrate))
        .route("/api/v1/functions", get(functions::list))
        .route(
            "/api/v1/functions/{id}/{version}/code",
            get(functions::code),
        )
        .route("/api/v1/domains", get(domains::list))
        .route("/api/v1/domains/{id}", get(domains::inspect))
        .route("/api/v1/domains/{id}/nodes", get(domains::nodes))
        .route("/api/v1/domains/{id}/instances", get(domains::instances))
        .route("/api/v1/openapi.json", get(async || Json(openapi())))
        .fallback(error::no_such_route)
        .with_state(controller)
}
