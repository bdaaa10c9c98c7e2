//! The gRPC services of ε-ORC: requests are taken apart, the owner is asked, answers are shaped.

mod control;
mod explain;
mod instances;
mod registration;

use edgeless_daemon::net::Bound;
use edgeless_proto::v1::{
    domain_control_server::DomainControlServer, function_instance_server::FunctionInstanceServer,
    node_registration_server::NodeRegistrationServer,
    resource_configuration_server::ResourceConfigurationServer,
};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Server};

use crate::{
    handle::{Ended, Handle, NotKept},
    metrics::Metrics,
};

/// The longest message taken: code of 64 MiB and what is around it.
const MESSAGE_BYTES: usize = (64 << 20) + (1 << 16);

/// Serves `NodeRegistration` until shutdown.
///
/// # Errors
/// The listener fails.
pub async fn serve_nodes(
    bound: Bound,
    orc: Handle,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = NodeRegistrationServer::new(registration::Service::new(orc, metrics))
        .max_decoding_message_size(MESSAGE_BYTES);
    Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming(bound), shutdown.cancelled_owned())
        .await
}

/// Serves `FunctionInstance`, `ResourceConfiguration` and `DomainControl` until shutdown.
///
/// # Errors
/// The listener fails.
pub async fn serve_controller(
    bound: Bound,
    orc: Handle,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let functions = FunctionInstanceServer::new(instances::Functions(orc.clone()))
        .max_decoding_message_size(MESSAGE_BYTES);
    let resources = ResourceConfigurationServer::new(instances::Resources(orc.clone()))
        .max_decoding_message_size(MESSAGE_BYTES);
    let control =
        DomainControlServer::new(control::Control(orc)).max_decoding_message_size(MESSAGE_BYTES);
    Server::builder()
        .add_service(functions)
        .add_service(resources)
        .add_service(control)
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

fn not_kept(error: NotKept) -> Status {
    match error {
        NotKept::Ended(error) => ended(error),
        NotKept::Overtaken(overtaken) => Status::aborted(overtaken.to_string()),
        error @ NotKept::Journal(_) => Status::resource_exhausted(error.to_string()),
    }
}

fn ended(ended: Ended) -> Status {
    Status::unavailable(ended.to_string())
}
