//! What the log finds on the disk when it is opened: which records there are, where the next one goes, and whether
//! something is missing that was safe once.
//!
//! A batch counts if it is whole, marked as of this use of its file, and continues the sequence. The first that does
//! not count is the end. A crash leaves such an end; but when a batch beyond it says that what is missing was safe at
//! the time, it is damage.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    OpenError, Used,
    batch::{self, Found, HEAD},
    disk::Disk,
    segment::{HEADER, Header, Segment},
    spares::Stock,
};

/// What was found.
pub(super) struct Recovered {
    pub(super) used: VecDeque<Used>,
    /// The segment that goes on, and where; none if the log is new.
    pub(super) active: Option<(Segment, u64)>,
    /// The sequence of the next record.
    pub(super) next: u64,
    /// All other files.
    pub(super) stock: Stock,
    /// Batches that nothing shows to be safe: the file and the bytes.
    pub(super) uncertain: Vec<(u32, Range<usize>)>,
}

/// The files that are there.
struct Survey {
    /// Oldest first.
    segments: Vec<Segment>,
    /// Those without a header.
    blank: Vec<u32>,
}

/// How far the records go.
struct Walk {
    /// Index of the segment of the last one.
    tail: usize,
    /// The byte after it.
    offset: usize,
    next: u64,
    /// Batches later than what the last one says to be safe, with their first sequences.
    uncertain: Vec<(u32, Range<usize>, u64)>,
}

/// Reads segments.
struct Reader<'a> {
    disk: &'a dyn Disk,
    segment_bytes: u64,
    bytes: Vec<u8>,
}

/// Looks through the files and replays every record from `from` on.
pub(super) fn recover(
    disk: &dyn Disk,
    folder: &Path,
    segment_bytes: u64,
    from: u64,
    replay: impl FnMut(u64, &[u8]) -> Result<(), String>,
) -> Result<Recovered, OpenError> {
    let from = from.max(1);
    let mut reader = Reader {
        disk,
        segment_bytes,
        bytes: Vec::new(),
    };
    let Survey { segments, blank } = reader.survey(folder, from)?;
    let firsts = segments.iter().map(|segment| {
        let first = reader.first(segment.file, Some(segment.salt))?;
        Ok(first.map(|found| found.first))
    });
    let firsts: Vec<Option<u64>> = firsts.collect::<Result<_, OpenError>>()?;
    let start = firsts
        .iter()
        .rposition(|first| first.is_some_and(|first| first <= from));
    // Only the first segment of all can be the oldest one and empty.
    if start.is_none()
        && let Some(oldest) = segments.first()
        && (firsts[0].is_some() || oldest.ordinal > 1)
    {
        return Err(reader.damaged(oldest.file, HEADER, from));
    }
    let start = start.unwrap_or(0);
    let walk = reader.walk(&segments, &firsts, start, from, replay)?;
    reader.check_end(&segments, &firsts, &blank, &walk)?;
    if from > walk.next {
        return Err(OpenError::Beyond {
            path: folder.to_owned(),
            from,
            last: walk.next - 1,
        });
    }
    let last_of = |index: usize| match firsts.get(index + 1).copied().flatten() {
        Some(first) => first - 1,
        None => walk.next - 1,
    };
    let active = segments.get(walk.tail);
    let used = segments.iter().take(walk.tail).enumerate();
    let spare = segments.iter().skip(walk.tail + 1);
    Ok(Recovered {
        used: used
            .map(|(index, segment)| Used {
                file: segment.file,
                last: last_of(index),
            })
            .collect(),
        active: active.map(|&segment| (segment, walk.offset as u64)),
        next: walk.next,
        stock: Stock {
            blank: spare
                .map(|segment| segment.file)
                .chain(blank.clone())
                .collect(),
            files: segments
                .iter()
                .map(|segment| segment.file)
                .chain(blank)
                .collect(),
            next_ordinal: active.map_or(1, |active| active.ordinal + 1),
        },
        uncertain: walk
            .uncertain
            .into_iter()
            .map(|(file, range, _)| (file, range))
            .collect(),
    })
}

impl Reader<'_> {
    /// Finds out which files are segments. What was not made to its end goes away.
    fn survey(&self, folder: &Path, from: u64) -> Result<Survey, OpenError> {
        let files = self.disk.files();
        let files = files.map_err(|error| unusable(folder.to_owned(), error))?;
        let mut survey = Survey {
            segments: Vec::new(),
            blank: Vec::new(),
        };
        for (file, bytes) in files {
            let path = || self.disk.path(file);
            let mut header = vec![0; HEADER.min(usize::try_from(bytes).unwrap_or(HEADER))];
            self.read(file, 0, &mut header)?;
            match Header::read(&header) {
                Header::Whole {
                    ordinal,
                    salt,
                    bytes: made,
                } => {
                    if made != self.segment_bytes {
                        let text = format!(
                            "`{}` has {made} bytes, and `segment_bytes` is {}; set it back",
                            path().display(),
                            self.segment_bytes
                        );
                        return Err(OpenError::Options(text));
                    }
                    if bytes != made {
                        let end = usize::try_from(bytes).unwrap_or(usize::MAX);
                        return Err(self.damaged(file, end, from));
                    }
                    survey.segments.push(Segment {
                        file,
                        ordinal,
                        salt,
                    });
                }
                Header::Other(found) => {
                    return Err(OpenError::Version {
                        path: path(),
                        found,
                    });
                }
                Header::None if bytes == self.segment_bytes => survey.blank.push(file),
                Header::None => {
                    let removed = self.disk.remove(file);
                    removed.map_err(|error| unusable(path(), error))?;
                }
            }
        }
        survey.segments.sort_by_key(|segment| segment.ordinal);
        survey.blank.sort_unstable();
        Ok(survey)
    }

    /// Follows the records from the beginning of a segment as far as they go. `firsts` are the sequences with which the
    /// segments begin.
    fn walk(
        &mut self,
        segments: &[Segment],
        firsts: &[Option<u64>],
        start: usize,
        from: u64,
        mut replay: impl FnMut(u64, &[u8]) -> Result<(), String>,
    ) -> Result<Walk, OpenError> {
        let mut walk = Walk {
            tail: start,
            offset: HEADER,
            next: firsts.get(start).copied().flatten().unwrap_or(1),
            uncertain: Vec::new(),
        };
        for (index, &segment) in segments.iter().enumerate().skip(start) {
            if index > start && segment.ordinal != segments[index - 1].ordinal + 1 {
                let before = &segments[walk.tail];
                return Err(self.damaged(before.file, walk.offset, walk.next));
            }
            if firsts[index] != Some(walk.next) {
                continue;
            }
            self.load(segment.file)?;
            let mut offset = HEADER;
            while let Some(found) = batch::decode(&self.bytes, offset, segment.salt)
                && found.first == walk.next
            {
                for (sequence, record) in (found.first..).zip(found.records(&self.bytes)) {
                    if sequence >= from {
                        replay(sequence, record)
                            .map_err(|problem| OpenError::Replay { sequence, problem })?;
                    }
                }
                walk.uncertain.retain(|&(.., first)| first > found.durable);
                let range = offset..found.end;
                walk.uncertain.push((segment.file, range, found.first));
                walk.next = found.next();
                offset = found.end;
                (walk.tail, walk.offset) = (index, offset);
            }
        }
        Ok(walk)
    }

    /// Looks whether something beyond the end shows that more was safe.
    fn check_end(
        &mut self,
        segments: &[Segment],
        firsts: &[Option<u64>],
        blank: &[u32],
        walk: &Walk,
    ) -> Result<(), OpenError> {
        let shows_more = |found: &Found| found.durable >= walk.next;
        let end = segments.get(walk.tail).map(|segment| segment.file);
        let damaged = |reader: &Self| match end {
            Some(file) => Err(reader.damaged(file, walk.offset, walk.next)),
            None => Err(reader.damaged(blank[0], HEADER, walk.next)),
        };
        // The segment of the end and the one after it are searched byte by byte: what is missing may reach over the
        // beginning of the latter. Others only if something was written there, which spare ones need no reading for.
        for (index, segment) in segments.iter().enumerate().skip(walk.tail) {
            if index > walk.tail + 1 && firsts[index].is_none() {
                continue;
            }
            self.load(segment.file)?;
            let from = if index == walk.tail {
                walk.offset
            } else {
                HEADER
            };
            if batch::search(&self.bytes, from, segment.salt).any(|(_, found)| shows_more(&found)) {
                return damaged(self);
            }
        }
        // A file whose header was lost may still hold records that are missing.
        for &file in blank {
            let first = self.first(file, None)?;
            if first.is_some_and(|found| found.first >= walk.next) {
                return damaged(self);
            }
        }
        Ok(())
    }

    /// The first batch of a file if it is whole and has the salt, or any if none is given.
    fn first(&self, file: u32, salt: Option<u64>) -> Result<Option<Found>, OpenError> {
        let mut head = [0; HEAD];
        self.read(file, HEADER as u64, &mut head)?;
        let own = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
        let salt = salt.unwrap_or(own);
        let most = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX) - HEADER;
        let Some(extent) = batch::extent(&head, salt).filter(|&extent| extent <= most) else {
            return Ok(None);
        };
        let mut bytes = vec![0; extent];
        self.read(file, HEADER as u64, &mut bytes)?;
        Ok(batch::decode(&bytes, 0, salt))
    }

    /// Reads a whole segment.
    fn load(&mut self, file: u32) -> Result<(), OpenError> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(usize::try_from(self.segment_bytes).unwrap_or(usize::MAX), 0);
        self.read(file, 0, &mut bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    fn read(&self, file: u32, offset: u64, into: &mut [u8]) -> Result<(), OpenError> {
        let read = self.disk.read(file, offset, into);
        read.map_err(|error| unusable(self.disk.path(file), error))
    }

    fn damaged(&self, file: u32, offset: usize, sequence: u64) -> OpenError {
        OpenError::Damaged {
            path: self.disk.path(file),
            offset: offset as u64,
            sequence,
        }
    }
}

fn unusable(path: PathBuf, source: io::Error) -> OpenError {
    OpenError::Unusable { path, source }
}
