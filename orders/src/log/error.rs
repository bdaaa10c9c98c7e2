//! Why a log cannot be used.

use std::{io, path::PathBuf};

use super::segment;

/// The log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be read or written.
    #[error("could not use `{}`, which belongs to the log of orders", path.display())]
    Unusable {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds something else.
    #[error(
        "`{}` is no log of orders, it holds `{found}`: name an empty folder, or one that is not there yet",
        path.display()
    )]
    NotALog {
        /// The folder.
        path: PathBuf,
        /// A name in it.
        found: String,
    },
    /// Another process has the log open.
    #[error("the log of orders in `{}` is in use: end the other process first", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file is of another version of this program.
    #[error(
        "`{}` has version {found} of the log of orders, and this program knows {}: start the program that wrote it",
        path.display(),
        segment::VERSION
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The options do not fit each other, or the log that is there.
    #[error("the log of orders cannot be kept like this: {0}")]
    Options(String),
    /// Records that were safe are not there any more.
    #[error(
        "the log of orders is damaged: `{}` has no whole record {sequence} at byte {offset}, though it was safe once; \
         restore the folder from a copy, or move it away together with the rows built from it: orders that were not \
         copied are lost then",
        path.display()
    )]
    Damaged {
        /// The file in which the record should be.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// The first record that is missing.
        sequence: u64,
    },
    /// The log ends before the rows that were built from it.
    #[error(
        "the log of orders in `{}` ends with record {last}, but rows were built from it up to {}: it was replaced or \
         taken back; restore it, or move the rows away as well",
        path.display(),
        from.saturating_sub(1)
    )]
    Beyond {
        /// The folder.
        path: PathBuf,
        /// The record asked for.
        from: u64,
        /// The last record there is; 0 when there is none.
        last: u64,
    },
    /// The caller refuses a record.
    #[error("record {sequence} of the log of orders could not be replayed: {problem}")]
    Replay {
        /// Which.
        sequence: u64,
        /// Why.
        problem: String,
    },
}
