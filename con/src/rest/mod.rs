//! The REST interface of ε-CON. Its OpenAPI document is generated from the handlers: a route is added
//! together with its description, so that neither can be without the other.

mod api;
mod blobs;
mod documents;
mod domains;
mod error;
mod functions;
mod leftover;
mod nodes;
mod order_list;
mod order_streams;
mod orders;
mod services;
mod workflows;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request},
    response::Response,
    routing::get,
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use api::Api;
pub use error::Problem;
pub use functions::{FunctionStatus, Uploaded};
pub use orders::AcceptedView;
pub use workflows::Move;

/// The longest code that is taken.
pub const CODE_BYTES: usize = 64 << 20;
/// The longest workflow document that is taken; it may hold code.
pub const DOCUMENT_BYTES: usize = 8 << 20;

#[derive(OpenApi)]
#[openapi(info(
    title = "ε-CON",
    description = "Workflows, the function registry, domains; orders, services and their clients; blobs."
))]
struct Document;

/// The OpenAPI document as JSON.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Arc<Api>> {
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
    let orders = OpenApiRouter::new()
        .routes(routes!(orders::submit, order_list::list))
        .layer(DefaultBodyLimit::max(orders::ORDER_BYTES));
    let batches = OpenApiRouter::new()
        .routes(routes!(order_streams::batch))
        .layer(DefaultBodyLimit::max(order_streams::BATCH_BYTES));
    let services = OpenApiRouter::new()
        .routes(routes!(services::list))
        .routes(routes!(services::inspect, services::put, services::delete))
        .routes(routes!(services::list_clients))
        .routes(routes!(
            services::inspect_client,
            services::put_client,
            services::delete_client
        ))
        .layer(DefaultBodyLimit::max(DOCUMENT_BYTES));
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(documents)
        .merge(code)
        .merge(orders)
        .merge(batches)
        .merge(services)
        .routes(routes!(blobs::put))
        .routes(routes!(blobs::get))
        .routes(routes!(services::pause))
        .routes(routes!(services::resume))
        .routes(routes!(orders::inspect))
        .routes(routes!(orders::cancel))
        .routes(routes!(orders::retry))
        .routes(routes!(orders::pause))
        .routes(routes!(orders::resume))
        .routes(routes!(orders::figures))
        .routes(routes!(order_streams::watch_all))
        .routes(routes!(order_streams::watch_one))
        .routes(routes!(workflows::migrate))
        .routes(routes!(workflows::explain))
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
pub fn router(api: Api) -> Router {
    let (router, document) = routes().split_for_parts();
    router
        .route("/api/v1/openapi.json", get(async || Json(document)))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .with_state(Arc::new(api))
}

/// What every request passes before it comes to a route.
///
/// # Errors
/// The answer to a request that goes no further.
#[expect(
    clippy::result_large_err,
    reason = "one of both is made for each request"
)]
pub fn front(request: Request) -> Result<Request, Response> {
    error::no_encoding(leftover::read(request))
}
