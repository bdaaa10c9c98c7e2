//! The gRPC services of ε-CON.

mod domains;
mod workflows;

use edgeless_daemon::net::Bound;
use edgeless_proto::v1::{
    domain_registration_server::DomainRegistrationServer,
    workflow_instance_server::WorkflowInstanceServer,
};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Error, Server};

use crate::{controller::Controller, rest::DOCUMENT_BYTES};

/// Serves `WorkflowInstance` until shutdown.
///
/// # Errors
/// The listener fails.
pub async fn serve_clients(
    bound: Bound,
    con: Controller,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let service = WorkflowInstanceServer::new(workflows::Service(con))
        .max_decoding_message_size(DOCUMENT_BYTES + (1 << 16));
    Server::builder()
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
