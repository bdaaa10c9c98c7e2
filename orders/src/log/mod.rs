//! The log of the order book: every change of an order is a record, and is on the disk before anybody is told.
//!
//! Records stand in segments: files of one size that are filled with zeros ahead and written in place, because a sync
//! of a file that does not grow is many times quicker. [`Log`] commits a [`Batch`] with one write and one sync;
//! [`Writer`] is the thread that owns it and commits together what came during the last sync. What records mean, and
//! until when they are needed, is for the caller.

mod batch;
mod disk;
mod recover;
mod segment;
mod spares;
mod writer;

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use batch::{Batch, TooLarge};
use disk::{Disk, Folder};
use recover::{Recovered, recover};
use segment::{HEADER, Segment};
use spares::Spares;
pub use writer::{Ended, Progress, Writer};

/// Segments are at least this large beside their first block.
const MIN_ROOM: u64 = 1_024;

/// How the log keeps its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a segment, a multiple of 512 from 5,120 to 1 GiB. No record is larger. It is fixed when a log is made.
    pub segment_bytes: u64,
    /// Bytes of all segments together; at least two of them.
    pub max_bytes: u64,
    /// Makes each sync so much slower, to measure what a slow disk costs.
    pub sync_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            max_bytes: 512 << 20,
            sync_delay: Duration::ZERO,
        }
    }
}

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

/// A segment that is full, and the last record in it.
#[derive(Debug)]
struct Used {
    file: u32,
    last: u64,
}

/// The log itself. One thread owns it.
pub struct Log {
    disk: Arc<dyn Disk>,
    spares: Spares,
    segment_bytes: u64,
    /// Oldest first.
    used: VecDeque<Used>,
    active: Segment,
    /// Where the next batch begins in the active segment.
    offset: u64,
    next: u64,
    /// Places at which a batch may stand that does not count. They are cleared before anything else is written.
    soiled: Vec<(u32, u64)>,
    syncs: u64,
    written: u64,
    scratch: Vec<u8>,
}

impl Log {
    /// Opens the log in a folder, or makes it, and calls `replay` with the sequence and bytes of every record from
    /// `from` on, in their order; 0 and 1 mean all of them. After an error, what was replayed is of no use.
    ///
    /// # Errors
    /// See [`OpenError`]. Records of the last commit that never returned may be missing or be there; that is none.
    pub fn open(
        folder: &Path,
        options: Options,
        from: u64,
        replay: impl FnMut(u64, &[u8]) -> Result<(), String>,
    ) -> Result<Self, OpenError> {
        options.check()?;
        let disk = Arc::new(Folder::open(folder, options.sync_delay)?);
        let mut log = Self::open_on(disk, folder, options, from, replay)?;
        log.spares.serve().map_err(|source| OpenError::Unusable {
            path: folder.to_owned(),
            source,
        })?;
        Ok(log)
    }

    /// The same on any disk, without a thread for spare segments.
    fn open_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: Options,
        from: u64,
        replay: impl FnMut(u64, &[u8]) -> Result<(), String>,
    ) -> Result<Self, OpenError> {
        let segment_bytes = options.segment_bytes;
        let Recovered {
            used,
            active,
            next,
            stock,
            uncertain,
            soiled,
        } = recover(&*disk, folder, segment_bytes, from, replay)?;
        let limit = usize::try_from(options.max_bytes / segment_bytes).unwrap_or(usize::MAX);
        let spares = Spares::new(Arc::clone(&disk), segment_bytes, limit, stock);
        let unusable = |source| OpenError::Unusable {
            path: folder.to_owned(),
            source,
        };
        spares.prepare_all().map_err(unusable)?;
        let (active, offset) = match active {
            Some(found) => found,
            None => (spares.take().map_err(unusable)?, HEADER as u64),
        };
        let mut log = Self {
            disk,
            spares,
            segment_bytes,
            used,
            active,
            offset,
            next,
            soiled,
            syncs: 0,
            written: 0,
            scratch: Vec::new(),
        };
        log.settle(&uncertain).map_err(unusable)?;
        Ok(log)
    }

    /// Makes safe what was found but may only have been in memory, and clears what follows it.
    fn settle(&mut self, uncertain: &[(u32, std::ops::Range<usize>)]) -> io::Result<()> {
        for (file, range) in uncertain {
            let mut bytes = vec![0; range.len()];
            // Written again, because after a failed sync the system takes it for safe.
            self.disk.read(*file, range.start as u64, &mut bytes)?;
            self.disk.write(*file, range.start as u64, &bytes)?;
            self.disk.sync(*file)?;
        }
        self.soiled.push((self.active.file, self.offset));
        self.clear_soiled()
    }

    /// The sequence of the next record; the first is 1.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// An empty batch for this log.
    pub fn batch(&self) -> Batch {
        Batch::new(self.largest_record())
    }

    /// Bytes of the longest record that a batch takes.
    pub fn largest_record(&self) -> usize {
        batch::largest_record(self.capacity())
    }

    /// Writes the records and returns when they are safe, with the sequence of the last one. A batch that fits into a
    /// segment is found whole or not at all after a crash; a larger one is split between records.
    ///
    /// # Errors
    /// The disk refuses, or there is no room. Nothing of the batch counts as written, and it may be tried again; after
    /// a crash it may be there all the same.
    pub fn commit(&mut self, batch: &Batch) -> io::Result<u64> {
        if batch.is_empty() {
            return Ok(self.next - 1);
        }
        self.clear_soiled()?;
        let parts = batch.parts(self.capacity());
        let left = self.segment_bytes - self.offset;
        if let [part] = parts[..]
            && part.bytes() as u64 <= left
        {
            let place = (self.active, self.offset);
            self.write(&[place], &parts)?;
        } else {
            let mut fresh = Vec::with_capacity(parts.len());
            let outcome = self.write_fresh(&parts, &mut fresh);
            outcome.inspect_err(|_| self.spares.put_back(&fresh))?;
        }
        Ok(self.next - 1)
    }

    /// Writes each part into a segment of its own; `fresh` are those that were taken.
    fn write_fresh(
        &mut self,
        parts: &[batch::Part<'_>],
        fresh: &mut Vec<Segment>,
    ) -> io::Result<()> {
        for _ in parts {
            fresh.push(self.spares.take()?);
        }
        let places: Vec<_> = fresh
            .iter()
            .map(|&segment| (segment, HEADER as u64))
            .collect();
        self.write(&places, parts)
    }

    /// Writes parts to their places, all of them before the first sync.
    fn write(&mut self, places: &[(Segment, u64)], parts: &[batch::Part<'_>]) -> io::Result<()> {
        let durable = self.next - 1;
        let mut first = self.next;
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut write_all = || {
            for (&(segment, offset), part) in places.iter().zip(parts) {
                part.encode(segment.salt, first, durable, &mut scratch);
                self.disk.write(segment.file, offset, &scratch)?;
                first += u64::from(part.count);
            }
            places
                .iter()
                .try_for_each(|(segment, _)| self.disk.sync(segment.file))
        };
        let outcome = write_all();
        self.scratch = scratch;
        let marks = places
            .iter()
            .map(|&(segment, offset)| (segment.file, offset));
        outcome.inspect_err(|_| self.soiled.extend(marks))?;
        for (&(segment, offset), part) in places.iter().zip(parts) {
            if segment != self.active {
                self.used.push_back(Used {
                    file: self.active.file,
                    last: self.next - 1,
                });
                self.active = segment;
            }
            self.offset = offset + part.bytes() as u64;
            self.next += u64::from(part.count);
            self.syncs += 1;
            self.written += part.bytes() as u64;
        }
        Ok(())
    }

    /// Clears places at which a batch may stand that does not count.
    fn clear_soiled(&mut self) -> io::Result<()> {
        for &(file, offset) in &self.soiled {
            let bytes = (self.segment_bytes - offset).min(batch::HEAD as u64);
            self.disk
                .write(file, offset, &[0; batch::HEAD][..bytes as usize])?;
            self.disk.sync(file)?;
        }
        self.soiled.clear();
        Ok(())
    }

    /// Says that no record below this sequence is needed any more: segments that hold only such are used again. The
    /// segment of the last record stays.
    pub fn trim(&mut self, below: u64) {
        while let Some(oldest) = self.used.pop_front_if(|oldest| oldest.last < below) {
            self.spares.recycle(oldest.file);
        }
    }

    /// Bytes that can be committed into files that exist, headers of batches and lengths of records included.
    pub fn room(&self) -> u64 {
        self.segment_bytes - self.offset + self.spares.room()
    }

    /// Bytes for batches in one segment.
    fn capacity(&self) -> usize {
        usize::try_from(self.segment_bytes).expect("at most 1 GiB, as was checked") - HEADER
    }
}

impl Options {
    fn check(&self) -> Result<(), OpenError> {
        let bytes = self.segment_bytes;
        let least = HEADER as u64 + MIN_ROOM;
        if !bytes.is_multiple_of(512) || !(least..=1 << 30).contains(&bytes) {
            let text =
                format!("`segment_bytes` is {bytes}; take a multiple of 512 from {least} to 1 GiB");
            return Err(OpenError::Options(text));
        }
        if self.max_bytes / 2 < bytes {
            let text = format!(
                "`max_bytes` is {}; take at least two segments of {bytes} bytes",
                self.max_bytes
            );
            return Err(OpenError::Options(text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
