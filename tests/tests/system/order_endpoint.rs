//! An HTTP endpoint of a test: a service outside of the system, or where the ends of orders are told.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use edgeless_tests::{process::free_port, wait::until};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Came {
    /// How many came before it.
    pub(super) number: usize,
    /// Headers of the contract of endpoints, each as it came or empty.
    pub(super) order: String,
    pub(super) task: String,
    pub(super) attempt: String,
    pub(super) key: String,
    /// Its body; `null` if that is no JSON.
    pub(super) body: Value,
}

/// What it is answered with.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Status and body.
    With(u16, String),
    /// The connection stays open, and nothing comes.
    Never,
}

impl Reply {
    pub(super) fn ok(body: &Value) -> Self {
        Self::With(200, body.to_string())
    }
}

type Answering = dyn Fn(&Came) -> Reply + Send + Sync;

struct Shared {
    came: Mutex<Vec<Came>>,
    answering: Box<Answering>,
}

/// Ends when it is dropped.
pub(super) struct Endpoint {
    pub(super) url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    pub(super) async fn start(answering: impl Fn(&Came) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(free_port().unwrap(), answering).await
    }

    pub(super) async fn start_at(
        port: u16,
        answering: impl Fn(&Came) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(address).await.unwrap();
        let shared = Arc::new(Shared {
            came: Mutex::default(),
            answering: Box::new(answering),
        });
        let task = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Self {
            url: format!("http://{address}/"),
            shared,
            task,
        }
    }

    /// All requests so far.
    pub(super) fn came(&self) -> Vec<Came> {
        self.shared.came.lock().unwrap().clone()
    }

    /// Waits until so many have come.
    pub(super) async fn has(&self, count: usize) -> Vec<Came> {
        until("requests come", async || {
            let came = self.came();
            Ok((came.len() >= count).then_some(came))
        })
        .await
        .unwrap()
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| respond(request, Arc::clone(&shared)));
            let serving = hyper::server::conn::http1::Builder::new();
            // Who calls may be killed meanwhile.
            serving
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    };
    let [order, task, attempt, key] = [
        "edgeless-order",
        "edgeless-task",
        "edgeless-attempt",
        "idempotency-key",
    ]
    .map(header);
    let body = request.into_body().collect().await.map(|it| it.to_bytes());
    let came = {
        let mut all = shared.came.lock().unwrap();
        let came = Came {
            number: all.len(),
            order,
            task,
            attempt,
            key,
            body: serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default(),
        };
        all.push(came.clone());
        came
    };
    match (shared.answering)(&came) {
        Reply::With(status, body) => {
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = status.try_into().unwrap();
            Ok(response)
        }
        Reply::Never => std::future::pending().await,
    }
}
