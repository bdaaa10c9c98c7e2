//! The gRPC services of ε-CON.

mod domains;
mod orders;
mod workflows;

use std::time::Duration;

use edgeless_daemon::net::Bound;
use edgeless_proto::v1::{
    domain_registration_server::DomainRegistrationServer, order_tasks_server::OrderTasksServer,
    workflow_instance_server::WorkflowInstanceServer,
};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Error, Server};

use crate::{controller::Controller, orders::Orders, rest::DOCUMENT_BYTES};

/// The longest message of a source: outcomes of tasks.
const MESSAGE_BYTES: usize = 64 << 20;
/// How often a connection on which nothing comes is looked after, and how long it may be silent then.
const PING: Duration = Duration::from_secs(5);
/// What may be on its way to ε-CON on one connection, in bytes.
const WINDOW: u32 = 4 << 20;

/// Serves `WorkflowInstance` and `OrderTasks` until shutdown.
///
/// # Errors
/// The listener fails.
pub async fn serve_clients(
    bound: Bound,
    con: Controller,
    orders: Orders,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let tasks = orders::Service {
        orders,
        shutdown: shutdown.clone(),
    };
    let service = WorkflowInstanceServer::new(workflows::Service(con))
        .max_decoding_message_size(DOCUMENT_BYTES + (1 << 16));
    let tasks = OrderTasksServer::new(tasks).max_decoding_message_size(MESSAGE_BYTES);
    Server::builder()
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(tasks)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming(bound), shutdown.cancelled_owned())
        .await
}

/// Serves `DomainRegistration` until shutdown.
///
/// # Errors
/// The listener fails.
pub async fn serve_domains(
    bound: Bound,
    con: Controller,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    Server::builder()
        .add_service(DomainRegistrationServer::new(domains::Service(con)))
        .serve_with_incoming_shutdown(incoming(bound), shutdown.cancelled_owned())
        .await
}

fn incoming(
    bound: Bound,
) -> impl tokio_stream::Stream<Item = std::io::Result<tokio::net::TcpStream>> {
    TcpListenerStream::new(bound.listener).map(|stream| {
        stream.inspect(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
        })
    })
}
