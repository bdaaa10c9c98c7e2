//! The HTTP status port: `/healthz`, `/readyz`, `/metrics`, and what a daemon adds.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use crate::http::Front;
use crate::net::Bound;

/// How ready a daemon is; cloned into every part that knows something about it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Facts>>);

#[derive(Debug, Default)]
struct Facts {
    started: bool,
    degraded: BTreeMap<&'static str, String>,
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadinessReport {
    /// In one word.
    pub status: ReadinessStatus,
    /// Per degraded part, why.
    pub reasons: BTreeMap<&'static str, String>,
}

/// How ready a daemon is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadinessStatus {
    /// Not yet: 503.
    Starting,
    /// It does its work, though some part does not: 200.
    Degraded,
    /// All is well: 200.
    Ready,
}

impl Readiness {
    /// Everything is bound and up.
    pub fn started(&self) {
        self.facts().started = true;
    }

    /// A part does not do its work. True when this is news, so that it is logged once.
    pub fn degrade(&self, part: &'static str, reason: impl Into<String>) -> bool {
        self.facts().degraded.insert(part, reason.into()).is_none()
    }

    /// A part does its work again. True when this is news.
    pub fn restore(&self, part: &'static str) -> bool {
        self.facts().degraded.remove(part).is_some()
    }

    /// How things are now.
    pub fn report(&self) -> ReadinessReport {
        let facts = self.facts();
        let status = match (facts.started, facts.degraded.is_empty()) {
            (false, _) => ReadinessStatus::Starting,
            (true, false) => ReadinessStatus::Degraded,
            (true, true) => ReadinessStatus::Ready,
        };
        ReadinessReport {
            status,
            reasons: facts.degraded.clone(),
        }
    }

    fn facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the status port shows.
#[derive(Clone, Debug)]
pub struct Status {
    /// Behind `/readyz`.
    pub readiness: Readiness,
    /// Behind `/metrics`.
    pub metrics: Arc<Registry>,
    /// Done before `/metrics` is read; what must be asked of others is asked here.
    pub refresh: Option<Refresh>,
}

/// Something to be done before metrics are read.
#[derive(Clone)]
pub struct Refresh(pub Arc<dyn Fn() -> BoxFuture + Send + Sync>);

/// A future that ends with nothing to say.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl fmt::Debug for Refresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh").finish_non_exhaustive()
    }
}

impl Status {
    /// The three routes; a daemon merges its own into them.
    pub fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn readyz(State(status): State<Status>) -> impl IntoResponse {
    let report = status.readiness.report();
    let code = match report.status {
        ReadinessStatus::Starting => StatusCode::SERVICE_UNAVAILABLE,
        ReadinessStatus::Degraded | ReadinessStatus::Ready => StatusCode::OK,
    };
    (code, Json(report))
}

async fn metrics(State(status): State<Status>) -> impl IntoResponse {
    if let Some(Refresh(refresh)) = &status.refresh {
        refresh().await;
    }
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &status.metrics) {
        Ok(()) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([("content-type", content_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Serves a router until shutdown; requests under way are finished first.
///
/// # Errors
/// None for now: a listener that fails is tried again.
pub async fn serve(
    bound: Bound,
    router: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    serve_behind(bound, Ok, router, shutdown).await
}

/// The same with something in front that each request passes first.
///
/// # Errors
/// None for now: a listener that fails is tried again.
pub async fn serve_behind(
    bound: Bound,
    front: Front,
    router: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    crate::http::serve(bound, front, router, shutdown).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_goes_from_starting_to_ready_and_says_what_is_degraded() {
        let readiness = Readiness::default();
        assert_eq!(readiness.report().status, ReadinessStatus::Starting);
        readiness.started();
        assert_eq!(readiness.report().status, ReadinessStatus::Ready);
        assert!(readiness.degrade("mirror", "Redis does not answer"));
        assert!(!readiness.degrade("mirror", "Redis does not answer"));
        assert_eq!(readiness.report().status, ReadinessStatus::Degraded);
        assert_eq!(
            readiness.report().reasons["mirror"],
            "Redis does not answer"
        );
        assert!(readiness.restore("mirror"));
        assert_eq!(readiness.report().status, ReadinessStatus::Ready);
    }
}
