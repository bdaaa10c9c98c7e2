//! Reads whole datasets: every row goes to whoever wants it, every fault is counted.

use std::{fs::File, io, path::PathBuf};

use edgeless_tables::Table;
use edgeless_types::Timestamp;

use crate::{
    fault::{Fault, Faults},
    files::TableFile,
    progress::Progress,
    reader::{Item, Reader},
    row::Row,
};

/// Rows after which progress is shown.
const STEP: u64 = 16_384;

/// A dataset could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A file cannot be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The first fault, where faults are strict.
    #[error("{0}")]
    Fault(Box<Fault>),
}

/// How a dataset is read.
pub struct Scan<'a> {
    /// Its files.
    pub files: &'a [TableFile],
    /// Later timestamps are in the future.
    pub not_after: Timestamp,
    /// Where faults are counted.
    pub faults: &'a mut Faults,
    /// What is shown meanwhile.
    pub progress: Progress,
}

impl Scan<'_> {
    /// Reads the files of some tables, in the order of `tables`; `take` gets each row, with the reader
    /// that knows its additional fields.
    ///
    /// # Errors
    /// A file cannot be read; the first fault, where faults are strict.
    pub fn rows(
        &mut self,
        tables: &[Table],
        mut take: impl FnMut(&Row, &Reader<File>),
    ) -> Result<(), ScanError> {
        for &table in tables {
            for file in self.files.iter().filter(|file| file.table == table) {
                self.file(file, &mut take)?;
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        file: &TableFile,
        take: &mut impl FnMut(&Row, &Reader<File>),
    ) -> Result<(), ScanError> {
        let failed = |source| ScanError::Read {
            path: file.path.to_path_buf(),
            source,
        };
        let mut reader = file.open(self.not_after).map_err(failed)?;
        let mut seen = 0;
        while let Some(item) = reader.read().map_err(failed)? {
            match item {
                Item::Row(row) => take(&row, &reader),
                Item::Fault(fault) => {
                    let added = self.faults.add(fault);
                    added.map_err(|fault| ScanError::Fault(Box::new(fault)))?;
                }
            }
            if reader.rows().is_multiple_of(STEP) {
                let offset = reader.offset();
                self.progress.add(offset - seen);
                seen = offset;
            }
        }
        self.progress.add(reader.offset() - seen);
        Ok(())
    }
}
