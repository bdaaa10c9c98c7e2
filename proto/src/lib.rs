//! The wire: generated gRPC code, and conversions into the types of the domain.
//!
//! Generated messages do not leave the `grpc` modules of the daemons: [`convert`] turns them into
//! `edgeless_types`, or into an error that names the field that is wrong.

pub mod convert;

/// The generated messages, clients and servers of `proto/edgeless/*.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; which lints fire depends on the generator"
)]
pub mod v1 {
    tonic::include_proto!("edgeless.v1");
}
