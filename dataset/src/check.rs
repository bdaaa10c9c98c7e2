//! Validates every row of a dataset, and mends torn tails.
//!
//! A repair loses nothing: a last row that is whole but for the end of its line gets that end; what is
//! torn is first copied behind `<file>.torn`, and only then cut off. Everything else is left as it is.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom},
    path::PathBuf,
    sync::Arc,
};

use edgeless_types::Timestamp;

use crate::{
    fault::{Fault, Wrong},
    files::TableFile,
    progress::Progress,
    reader::{Item, Tail},
    scan::ScanError,
};

/// What was found in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The file.
    pub file: TableFile,
    /// Rows that are as they should be.
    pub rows: u64,
    /// Usable headers.
    pub headers: usize,
    /// Faults, also those that are mended.
    pub faults: u64,
    /// What is behind the last whole line.
    tail: Option<Tail>,
    /// Where reading ended.
    bytes: u64,
    /// What was done about it.
    pub repair: Option<Repair>,
}

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The last row got the end of its line.
    Ended,
    /// A torn tail was copied behind another file, and cut off.
    Cut {
        /// Its length.
        bytes: u64,
        /// Where it is now.
        kept: PathBuf,
    },
}

/// A tail could not be mended; the file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Somebody else writes.
    #[error("`{}` has changed meanwhile: is an ε-ORC still writing it?", path.display())]
    Grows {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("could not mend `{}`", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Validates one file; each fault is told to `report`, which may end it.
///
/// # Errors
/// The file cannot be read; what `report` says.
pub fn check(
    file: &TableFile,
    not_after: Timestamp,
    progress: &mut Progress,
    mut report: impl FnMut(&Fault) -> Result<(), ScanError>,
) -> Result<Checked, ScanError> {
    let failed = |source| ScanError::Read {
        path: file.path.to_path_buf(),
        source,
    };
    let mut reader = file.open(not_after).map_err(failed)?;
    let (mut faults, mut seen) = (0, 0);
    while let Some(item) = reader.read().map_err(failed)? {
        if let Item::Fault(fault) = item {
            // Rows that were not read were told already, by their header.
            faults += match fault.wrong {
                Wrong::Unread { rows } => rows,
                _ => 1,
            };
            report(&fault)?;
        }
        let offset = reader.offset();
        if offset - seen > 1 << 20 {
            progress.add(offset - seen);
            seen = offset;
        }
    }
    let bytes = reader.offset();
    progress.add(bytes - seen);
    Ok(Checked {
        file: TableFile {
            path: Arc::clone(&file.path),
            ..*file
        },
        rows: reader.rows(),
        headers: reader.sections(),
        faults,
        tail: reader.tail(),
        bytes,
        repair: None,
    })
}

impl Checked {
    /// Faults that are still there.
    pub fn left(&self) -> u64 {
        self.faults - u64::from(self.repair.is_some())
    }

    /// Mends what is behind the last whole line, where there is anything.
    ///
    /// # Errors
    /// The file changes meanwhile, or cannot be written.
    pub fn repair(&mut self) -> Result<(), RepairError> {
        let Some(tail) = self.tail else {
            return Ok(());
        };
        let path = self.file.path.to_path_buf();
        let refused = |source| RepairError::Refused {
            path: path.clone(),
            source,
        };
        let options = OpenOptions::new().read(true).write(true).open(&path);
        let mut file = options.map_err(refused)?;
        if file.metadata().map_err(refused)?.len() != self.bytes {
            return Err(RepairError::Grows { path });
        }
        let repair = match tail.is_whole {
            true => end_line(&mut file),
            false => self.cut(&mut file, tail.offset),
        };
        self.repair = Some(repair.map_err(refused)?);
        self.tail = None;
        Ok(())
    }

    fn cut(&self, file: &mut File, offset: u64) -> io::Result<Repair> {
        let mut kept = self.file.path.as_os_str().to_owned();
        kept.push(".torn");
        let kept = PathBuf::from(kept);
        file.seek(SeekFrom::Start(offset))?;
        let mut copy = OpenOptions::new().create(true).append(true).open(&kept)?;
        let bytes = io::copy(file, &mut copy)?;
        io::Write::write_all(&mut copy, b"\n")?;
        copy.sync_all()?;
        // The name of the copy is durable before what it has leaves the file.
        if let Some(folder) = kept.parent() {
            let folder = if folder.as_os_str().is_empty() {
                ".".as_ref()
            } else {
                folder
            };
            File::open(folder)?.sync_all()?;
        }
        file.set_len(offset)?;
        file.sync_all()?;
        debug_assert_eq!(
            fs::metadata(&self.file.path).map(|data| data.len()).ok(),
            Some(offset)
        );
        Ok(Repair::Cut { bytes, kept })
    }
}

fn end_line(file: &mut File) -> io::Result<Repair> {
    file.seek(SeekFrom::End(0))?;
    io::Write::write_all(file, b"\n")?;
    file.sync_all()?;
    Ok(Repair::Ended)
}
