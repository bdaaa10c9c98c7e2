//! Stub.
use super::CommandError;
use crate::Where;
use edgeless_types::Timestamp;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
}

pub(crate) fn run(_: &Arguments, _: Timestamp) -> Result<ExitCode, CommandError> {
    Ok(ExitCode::SUCCESS)
}
