//! One file per verb.

pub(crate) mod dump;
pub(crate) mod instances;
pub(crate) mod intent;
pub(crate) mod show;
pub(crate) mod top;

use std::{io, path::PathBuf, time::SystemTime};

use edgeless_types::Timestamp;

use crate::{domain::PrefixError, source::SourceError};

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The source cannot tell.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An id is not there, or not unique.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// The standard output does not take what is shown.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// A file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    /// ε-ORC refused an intent.
    #[error("refused: {0}")]
    Refused(String),
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::from_unix(since_epoch.unwrap_or_default())
}
