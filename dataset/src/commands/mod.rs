//! One file per verb.

pub(crate) mod check;
pub(crate) mod export;
pub(crate) mod fit;
pub(crate) mod replay;
mod replay_options;
pub(crate) mod report;
pub(crate) mod summary;

use std::{collections::BTreeSet, io, path::PathBuf, time::Duration};

#[cfg(feature = "parquet")]
use edgeless_dataset::export::ExportError;
use edgeless_dataset::{
    check::RepairError,
    fault::Faults,
    files::{FindError, TableFile, find},
    progress::Progress,
    scan::{Scan, ScanError},
};
use edgeless_types::Timestamp;

/// Clocks of other machines may be ahead by this much before a row is from the future.
const AHEAD: Duration = Duration::from_secs(300);

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// There is no dataset.
    #[error(transparent)]
    Find(#[from] FindError),
    /// It cannot be read, or faults are strict.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A tail cannot be mended.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// The standard output does not take what is shown.
    #[error("could not write to the standard output")]
    Output(#[source] io::Error),
    /// A file cannot be written.
    #[error("could not write `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The page cannot be made.
    #[error(transparent)]
    Report(#[from] edgeless_dataset::report::ReportError),
    /// There is nothing to learn from.
    #[error(transparent)]
    Fit(#[from] edgeless_dataset::fit::NothingToFit),
    /// There is nothing to replay.
    #[error(transparent)]
    Replay(#[from] edgeless_dataset::replay::NothingRecorded),
    /// What is asked for makes no sense.
    #[error(transparent)]
    Usage(#[from] replay_options::UsageError),
    /// The program was built without it.
    #[cfg(not(feature = "parquet"))]
    #[error("{}", export::HOW_TO_GET)]
    NoParquet,
    /// The tables cannot be exported.
    #[cfg(feature = "parquet")]
    #[error(transparent)]
    Export(#[from] ExportError),
}

impl CommandError {
    /// The exit code: 1 for a fault in the data, 2 for everything else.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Scan(ScanError::Fault(_)) => 1,
            #[cfg(feature = "parquet")]
            Self::Export(ExportError::Scan(ScanError::Fault(_))) => 1,
            _ => 2,
        }
    }
}

/// Where the dataset is, and what becomes of its faults.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) strict: bool,
}

impl Place {
    /// Its files.
    pub(crate) fn files(&self) -> Result<Vec<TableFile>, FindError> {
        find(&self.dir)
    }

    pub(crate) fn faults(&self) -> Faults {
        Faults::new(self.strict)
    }
}

/// Reads all files, with a bar for so many passes over them.
pub(crate) fn scan<'a>(
    files: &'a [TableFile],
    faults: &'a mut Faults,
    now: Timestamp,
    passes: u64,
) -> Scan<'a> {
    Scan {
        files,
        not_after: not_after(now),
        faults,
        progress: Progress::of_bytes(passes * bytes(files)),
    }
}

/// The length of all files.
pub(crate) fn bytes(files: &[TableFile]) -> u64 {
    files.iter().map(|file| file.bytes).sum()
}

/// Later timestamps are in the future.
pub(crate) fn not_after(now: Timestamp) -> Timestamp {
    now + AHEAD
}

/// Tells the faults on standard error, under whatever was shown.
pub(crate) fn tell(faults: &Faults) {
    let total = faults.total();
    if total > 0 {
        let consequence = consequence(faults);
        eprint!("edgeless_dataset: {total} faults; {consequence}\n{faults}");
    }
}

/// What became of the rows with faults.
fn consequence(faults: &Faults) -> String {
    let (read, lost): (Vec<_>, Vec<_>) = faults
        .kinds()
        .into_iter()
        .partition(|count| count.first.wrong.is_read());
    let read: BTreeSet<&str> = read.iter().map(|it| it.first.wrong.kind()).collect();
    let read = Vec::from_iter(read).join("`, `");
    match (read.is_empty(), lost.is_empty()) {
        (true, _) => "rows with faults are in no figure".to_owned(),
        (false, true) => "the rows are read all the same".to_owned(),
        (false, false) => {
            format!("rows with faults are in no figure, but for `{read}`: these are read")
        }
    }
}
