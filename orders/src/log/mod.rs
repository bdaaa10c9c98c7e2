//! The log of the order book: every change of an order is a record, and is on the disk before anybody is told.
//!
//! Records stand in segments: files of one size that are filled with zeros ahead and written in place, because a sync
//! of a file that does not grow is many times quicker. [`Log`] commits a [`Batch`] with one write and one sync;
//! [`Writer`] is the thread that owns it and commits together what came during the last sync. What records mean, and
//! until when they are needed, is for the caller.

mod batch;
mod disk;
mod error;
mod recover;
mod segment;
mod spares;
mod syncers;
mod writer;

use std::{collections::VecDeque, io, path::Path, sync::Arc, time::Duration};

pub use batch::{Batch, TooLarge};
use disk::{Disk, Folder};
pub use error::OpenError;
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

/// A segment that is full, and the last record in it.
#[derive(Debug)]
struct Used {
    file: u32,
    last: u64,
}

/// Where a batch begins that is not safe yet.
#[derive(Debug)]
struct Ahead {
    offset: u64,
    /// Its first record.
    first: u64,
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
    /// Batches in the active segment that are written and not safe yet, oldest first.
    ahead: VecDeque<Ahead>,
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
        } = recover(&*disk, folder, segment_bytes, from, replay)?;
        let limit = usize::try_from(options.max_bytes / segment_bytes).unwrap_or(usize::MAX);
        let spares = Spares::new(Arc::clone(&disk), segment_bytes, limit, stock);
        let unusable = |source| OpenError::Unusable {
            path: folder.to_owned(),
            source,
        };
        spares.prepare_all().map_err(unusable)?;
        let is_new = active.is_none();
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
            ahead: VecDeque::new(),
            soiled: Vec::new(),
            syncs: 0,
            written: 0,
            scratch: Vec::new(),
        };
        if !is_new {
            log.settle(&uncertain).map_err(unusable)?;
        }
        Ok(log)
    }

    /// Makes safe what was found but may only have been in memory, and clears the rest of the segment: batches that
    /// were written ahead may stand there, whole or in parts, and even where they are not read now they may be on the
    /// disk.
    fn settle(&mut self, uncertain: &[(u32, std::ops::Range<usize>)]) -> io::Result<()> {
        for (file, range) in uncertain {
            let mut bytes = vec![0; range.len()];
            // Written again, because after a failed sync the system takes it for safe.
            self.disk.read(*file, range.start as u64, &mut bytes)?;
            self.disk.write(*file, range.start as u64, &bytes)?;
            self.disk.sync(*file)?;
        }
        let left = usize::try_from(self.segment_bytes - self.offset).unwrap_or(0);
        self.disk
            .write(self.active.file, self.offset, &vec![0; left])?;
        self.disk.sync(self.active.file)
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
        debug_assert!(self.ahead.is_empty(), "what is under way comes first");
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

    /// Writes the records behind what is safe and behind what was written ahead before; the file that is to be synced.
    /// None: they are to be committed when nothing is under way any more, as they need another segment or something has
    /// to be cleared first.
    ///
    /// # Errors
    /// The disk refuses. Nothing of the batch counts as written.
    fn write_ahead(&mut self, batch: &Batch) -> io::Result<Option<u32>> {
        let parts = batch.parts(self.capacity());
        let [part] = parts[..] else {
            return Ok(None);
        };
        let (file, offset) = (self.active.file, self.offset);
        let left = self.segment_bytes - offset;
        if !self.soiled.is_empty() || part.bytes() as u64 > left {
            return Ok(None);
        }
        self.disk.open_apart(file, syncers::OVERLAP)?;
        let durable = self.durable();
        part.encode(self.active.salt, self.next, durable, &mut self.scratch);
        let written = self.disk.write(file, offset, &self.scratch);
        written.inspect_err(|_| self.soiled.push((file, offset)))?;
        self.ahead.push_back(Ahead {
            offset,
            first: self.next,
        });
        self.offset += part.bytes() as u64;
        self.next += u64::from(part.count);
        self.written += part.bytes() as u64;
        Ok(Some(file))
    }

    /// The oldest batch that was written ahead was synced: the last record that is safe now.
    fn is_safe(&mut self) -> u64 {
        self.ahead.pop_front();
        self.syncs += 1;
        self.durable()
    }

    /// Nothing that was written ahead counts.
    fn take_back(&mut self) {
        let places = self.ahead.iter().map(|it| (self.active.file, it.offset));
        self.soiled.extend(places);
        if let Some(oldest) = self.ahead.front() {
            (self.offset, self.next) = (oldest.offset, oldest.first);
        }
        self.ahead.clear();
    }

    /// The last record that is safe.
    fn durable(&self) -> u64 {
        self.ahead.front().map_or(self.next, |it| it.first) - 1
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
        let durable = self.durable();
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
