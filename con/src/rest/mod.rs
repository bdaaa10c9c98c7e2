//! The REST interface of ε-CON. Its OpenAPI document is generated from the handlers: a route is added
//! together with its description, so that neither can be without the other.

mod domains;
mod error;
mod functions;
mod nodes;
mod workflows;

use axum::{Json, Router, extract::DefaultBodyLimit, routing::get};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::controller::Controller;
pub use error::Problem;
pub use functions::{FunctionStatus, Uploaded};
pub use workflows::Move;

/// The longest code that is taken.
pub const CODE_BYTES: usize = 64 << 20;
/// The longest workflow document that is taken; it may hold code.
pub const DOCUMENT_BYTES: usize = 8 << 20;

#[derive(OpenApi)]
#[openapi(info(
    title = "ε-CON",
    description = "Workflows, the function registry, domains."
))]
struct Document;

/// The OpenAPI document as JSON.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Controller> {
    let documents = OpenApiRouter::new()
        .routes(routes!(workflows::start, workflows::list))
        .routes(routes!(
            workflows::inspect,
            workflows::stop,
            workflows::update
        ))
        .layer(DefaultBodyLimit::max(DOCUMENT_BYTES));
    let code = OpenApiRouter::new()
        .routes(routes!(functions::publish, functions::inspect))
        .routes(routes!(functions::upload))
        .layer(DefaultBodyLimit::max(CODE_BYTES));
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(documents)
        .merge(code)
        .routes(routes!(workflows::migrate))
        .routes(routes!(functions::list))
        .routes(routes!(functions::code))
        .routes(routes!(domains::list))
        .routes(routes!(domains::inspect))
        .routes(routes!(domains::nodes))
        .routes(routes!(domains::instances))
        .routes(routes!(nodes::cordon))
        .routes(routes!(nodes::uncordon))
        .routes(routes!(nodes::drain))
}

/// All routes.
pub fn router(controller: Controller) -> Router {
    let (router, document) = routes().split_for_parts();
    router
        .route("/api/v1/openapi.json", get(async || Json(document)))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .with_state(controller)
}
