//! The wire: generated gRPC code, and conversions into the types of the domain.
//!
//! Generated messages do not leave the `grpc` modules of the daemons: [`convert`] turns them into
//! `edgeless_types`, or into an error that names the field that is wrong.

pub mod convert;

/// The generated messages, clients and servers of `proto/edgeless/*.proto`.
#[expect(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the .proto files are documented"
)]
#[allow(
    clippy::allow_attributes,
    unreachable_pub,
    unused_qualifications,
    reason = "generated; whether it fires depends on the generator"
)]
pub mod v1 {
    tonic::include_proto!("edgeless.v1");
}
