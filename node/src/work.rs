//! A node at work: its servers and its registration, and their end in order.

use std::{sync::Arc, time::Duration};

use edgeless_daemon::{
    net::Bound,
    status::{self, Readiness, Status},
};
use edgeless_types::NodeId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use crate::{
    agent::Agent,
    dataplane::{self, DataPlane},
    grpc,
    host::Host,
    instances, metrics,
    registration::Registration,
    resource::http_ingress,
    source::NodeSource,
};

/// After the node has ended its work, servers get so long to end theirs.
const SERVERS_END: Duration = Duration::from_secs(2);

/// All ports of a node, open.
pub(crate) struct Ports {
    pub(crate) agent: Bound,
    pub(crate) invocation: Bound,
    pub(crate) http_ingress: Option<Bound>,
    pub(crate) status: Option<Bound>,
}

/// A node at work.
pub(crate) struct Node {
    pub(crate) agent: Agent<Host>,
    pub(crate) plane: DataPlane,
    pub(crate) readiness: Readiness,
    /// How long instances may handle what is queued at the end.
    pub(crate) drain: Duration,
    /// Somebody wants the node to end.
    pub(crate) shutdown: CancellationToken,
    /// Nothing runs on it any more: servers end.
    pub(crate) closed: CancellationToken,
    /// No more HTTP requests are taken.
    pub(crate) ingress_closed: CancellationToken,
    pub(crate) servers: JoinSet<()>,
    /// Keeps other nodes out of the directory.
    pub(crate) lock: std::fs::File,
}

impl Node {
    pub(crate) async fn run(mut self, ports: Ports, registration: Registration<NodeSource>) {
        self.serve(ports);
        self.readiness.started();
        let (shutdown, leave) = (self.shutdown.clone(), CancellationToken::new());
        let registered = registration.run(leave.clone());
        tokio::pin!(registered);
        tokio::select! {
            () = &mut registered => {}
            () = shutdown.cancelled() => {
                leave.cancel();
                registered.await;
            }
            Some(_) = self.servers.join_next() => {
                tracing::error!("a server of the node has ended by itself: the node ends");
                leave.cancel();
                registered.await;
            }
        }
        self.end().await;
    }

    fn serve(&mut self, ports: Ports) {
        let host = self.agent.host();
        if let (Some(bound), Some(routes)) = (ports.http_ingress, host.resources.ingress_routes()) {
            let counters = Arc::clone(host.resources.counters());
            let listener = http_ingress::Listener { routes, counters };
            let closed = self.ingress_closed.clone();
            self.servers.spawn(listener.serve(bound.listener, closed));
        }
        let invocation = dataplane::server::serve(
            ports.invocation,
            host.engine.clone(),
            self.plane.clone(),
            self.closed.clone(),
        );
        let service = grpc::Service::server(
            self.agent.clone(),
            host.code.clone(),
            self.plane.peers().clone(),
            self.closed.clone(),
        );
        let incoming = TcpIncoming::from(ports.agent.listener).with_nodelay(Some(true));
        let agent = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .max_concurrent_streams(1024)
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, self.closed.clone().cancelled_owned());
        self.servers.spawn(report("invocation", invocation));
        self.servers.spawn(report("agent", agent));
        if let Some(bound) = ports.status {
            let seen = instances::Seen::default();
            let status = Status {
                readiness: self.readiness.clone(),
                metrics: metrics::registry(self.agent.clone(), self.plane.clone(), &seen),
                refresh: Some(seen.refresh(self.agent.clone())),
            };
            let router = status
                .router()
                .merge(crate::status::router(self.agent.clone()));
            let serving = status::serve(bound, router, self.closed.clone());
            self.servers.spawn(report("status", serving));
        }
    }

    /// Requests under way first, then instances, then the engine, then servers.
    async fn end(mut self) {
        self.ingress_closed.cancel();
        let host = self.agent.host();
        host.engine.announce_shutdown().await;
        self.agent.end(self.drain).await;
        let resources = host.resources.finished();
        if tokio::time::timeout(self.drain, resources).await.is_err() {
            tracing::warn!("resources had messages left when the node ended");
        }
        self.closed.cancel();
        let servers = async { while self.servers.join_next().await.is_some() {} };
        if tokio::time::timeout(SERVERS_END, servers).await.is_err() {
            tracing::warn!("connections were still open when the node ended");
            self.servers.shutdown().await;
        }
        self.plane.ended().await;
        let engine = host.engine.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || engine.end()).await {
            tracing::error!(%error, "the engine did not end in order");
        }
        drop(self.lock);
        tracing::info!("the node has ended");
    }
}

async fn report<E: std::fmt::Display>(
    name: &'static str,
    serving: impl Future<Output = Result<(), E>>,
) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "the server `{name}` failed");
    }
}

impl grpc::Peers for dataplane::Peers {
    fn learn(&self, peers: Vec<(NodeId, String)>) {
        for (node_id, invocation_url) in peers {
            Self::learn(self, node_id, &invocation_url);
        }
    }
}
