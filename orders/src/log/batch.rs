//! Records that are committed together, and how they stand on the disk. Pure: bytes in, bytes out.
//!
//! A batch on the disk is a header of [`HEAD`] bytes and the records, each after its length as four bytes; it begins at
//! a multiple of [`ALIGN`]. All numbers are little-endian.

use std::ops::Range;

/// Bytes of the header of a batch: salt, first sequence, durable sequence (eight each), length of what follows, number
/// of records, checksum, nothing (four each).
pub(super) const HEAD: usize = 40;
/// Where the checksum stands in it.
const CRC: usize = 32;
/// Batches begin at multiples of this.
const ALIGN: usize = 8;
/// Bytes in front of each record.
const LENGTH: usize = 4;

/// A record that no segment can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record has {bytes} bytes, and the log takes at most {largest}: make the order smaller, or `segment_bytes` of \
     the log larger"
)]
pub struct TooLarge {
    /// Bytes of the record.
    pub bytes: usize,
    /// Bytes a record may have.
    pub largest: usize,
}

/// Records for one commit, encoded into one buffer that is reused.
#[derive(Clone, Debug)]
pub struct Batch {
    encoded: Vec<u8>,
    count: u32,
    largest: usize,
}

impl Batch {
    /// An empty batch whose records have at most `largest` bytes each; [`Log::batch`](super::Log::batch) knows how many.
    pub fn new(largest: usize) -> Self {
        Self {
            encoded: Vec::new(),
            count: 0,
            largest,
        }
    }

    /// An empty one that takes the same records.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.largest)
    }

    /// Adds a record.
    ///
    /// # Errors
    /// It is larger than a segment; the batch is as before.
    pub fn push(&mut self, record: &[u8]) -> Result<(), TooLarge> {
        self.push_with(|into| into.extend_from_slice(record))
    }

    /// Adds the record that `write` appends to the buffer.
    ///
    /// # Errors
    /// It is larger than a segment; the batch is as before.
    ///
    /// # Panics
    /// `write` took away bytes that others wrote.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), TooLarge> {
        let start = self.encoded.len();
        self.encoded.extend_from_slice(&[0; LENGTH]);
        write(&mut self.encoded);
        let record = start + LENGTH;
        assert!(
            self.encoded.len() >= record,
            "a record only adds to the buffer"
        );
        let bytes = self.encoded.len() - record;
        match u32::try_from(bytes) {
            Ok(length) if bytes <= self.largest => {
                self.encoded[start..record].copy_from_slice(&length.to_le_bytes());
                self.count += 1;
                Ok(())
            }
            Ok(_) | Err(_) => {
                self.encoded.truncate(start);
                Err(TooLarge {
                    bytes,
                    largest: self.largest,
                })
            }
        }
    }

    /// Adds all records of another batch.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.encoded.extend_from_slice(&other.encoded);
        self.count += other.count;
    }

    /// The same as [`Batch::len`].
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Bytes of all records as they are encoded: four more for each.
    pub fn bytes(&self) -> usize {
        self.encoded.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes all records out; the buffer stays.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.count = 0;
    }

    /// Bytes the buffer holds without growing.
    pub(super) fn capacity(&self) -> usize {
        self.encoded.capacity()
    }

    /// The records in parts of at most `most` bytes on the disk; one part unless it cannot be.
    pub(super) fn parts(&self, most: usize) -> Vec<Part<'_>> {
        let mut parts = Vec::with_capacity(1);
        if on_disk(self.encoded.len()) <= most {
            parts.push(Part::new(&self.encoded, self.count));
            return parts;
        }
        let (mut start, mut end, mut count) = (0, 0, 0);
        for record in records(&self.encoded) {
            if on_disk(record.end - start) > most {
                parts.push(Part::new(&self.encoded[start..end], count));
                (start, count) = (end, 0);
            }
            end = record.end;
            count += 1;
        }
        parts.push(Part::new(&self.encoded[start..end], count));
        parts
    }
}

/// Records that stand in one segment together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    encoded: &'a [u8],
    /// Number of records.
    pub(super) count: u32,
}

impl<'a> Part<'a> {
    fn new(encoded: &'a [u8], count: u32) -> Self {
        Self { encoded, count }
    }

    /// Bytes it takes on the disk.
    pub(super) fn bytes(&self) -> usize {
        on_disk(self.encoded.len())
    }

    /// Replaces `into` by what is written to the disk: `durable` is the last sequence that is safe before the write.
    pub(super) fn encode(&self, salt: u64, first: u64, durable: u64, into: &mut Vec<u8>) {
        let length = u32::try_from(self.encoded.len()).expect("a segment has less than 4 GiB");
        into.clear();
        for number in [salt, first, durable] {
            into.extend_from_slice(&number.to_le_bytes());
        }
        into.extend_from_slice(&length.to_le_bytes());
        into.extend_from_slice(&self.count.to_le_bytes());
        let crc = checksum(&into[..CRC], self.encoded);
        into.extend_from_slice(&u64::from(crc).to_le_bytes());
        into.extend_from_slice(self.encoded);
        into.resize(self.bytes(), 0);
    }
}

/// The largest record of a segment that has `room` bytes for batches.
pub(super) fn largest_record(room: usize) -> usize {
    room - room % ALIGN - HEAD - LENGTH
}

/// Bytes that records of this many bytes take on the disk.
fn on_disk(encoded: usize) -> usize {
    (HEAD + encoded).next_multiple_of(ALIGN)
}

/// A whole batch that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The sequence of its first record.
    pub(super) first: u64,
    /// The last sequence that was safe when it was written.
    pub(super) durable: u64,
    /// Number of records, at least one.
    pub(super) count: u32,
    /// Where its records stand.
    pub(super) encoded: Range<usize>,
    /// Where the next batch begins.
    pub(super) end: usize,
}

impl Found {
    /// The sequence after its last record.
    pub(super) fn next(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Its records, out of the bytes it was found in.
    pub(super) fn records<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let encoded = &bytes[self.encoded.clone()];
        records(encoded).map(|record| &encoded[record])
    }
}

/// The whole batch with this salt at an offset of a segment, if there is one.
pub(super) fn decode(segment: &[u8], offset: usize, salt: u64) -> Option<Found> {
    let head = segment.get(offset..offset + HEAD)?;
    let long = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let short = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    if long(0) != salt {
        return None;
    }
    let start = offset + HEAD;
    let encoded = start..start.checked_add(short(24) as usize)?;
    let payload = segment.get(encoded.clone())?;
    if checksum(&head[..CRC], payload) != short(CRC) {
        return None;
    }
    let found = Found {
        first: long(8),
        durable: long(16),
        count: short(28),
        end: offset + on_disk(encoded.len()),
        encoded,
    };
    (found.count > 0).then_some(found)
}

/// Bytes of the batch that begins with this header, if it has this salt.
pub(super) fn extent(head: &[u8; HEAD], salt: u64) -> Option<usize> {
    let length = u32::from_le_bytes(head[24..28].try_into().expect("four bytes"));
    head.starts_with(&salt.to_le_bytes())
        .then(|| HEAD + length as usize)
}

/// Whole batches with this salt from an offset on, wherever they begin.
pub(super) fn search(
    segment: &[u8],
    from: usize,
    salt: u64,
) -> impl Iterator<Item = (usize, Found)> {
    let mark = salt.to_le_bytes();
    (from.next_multiple_of(ALIGN)..segment.len())
        .step_by(ALIGN)
        .filter(move |&offset| segment[offset..].starts_with(&mark))
        .filter_map(move |offset| Some((offset, decode(segment, offset, salt)?)))
}

/// Where each record of an encoded sequence stands, without its length; ends where a length is wrong.
fn records(encoded: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let length = encoded.get(next..next + LENGTH)?;
        let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        let start = next + LENGTH;
        encoded.get(start..start.checked_add(length)?)?;
        next = start + length;
        Some(start..next)
    })
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[&[u8]]) -> Batch {
        let mut batch = Batch::new(1_000);
        for record in records {
            batch.push(record).unwrap();
        }
        batch
    }

    #[test]
    fn what_is_written_is_found_again() {
        let batch = batch(&[b"one", b"", b"three"]);
        let mut bytes = Vec::new();
        batch.parts(1_000)[0].encode(7, 41, 40, &mut bytes);
        assert_eq!(bytes.len(), 64);
        let found = decode(&bytes, 0, 7).unwrap();
        assert_eq!((found.first, found.durable, found.next()), (41, 40, 44));
        assert_eq!(found.end, bytes.len());
        let records: Vec<_> = found.records(&bytes).collect();
        assert_eq!(records, [&b"one"[..], b"", b"three"]);
        assert_eq!(decode(&bytes, 0, 8), None);
    }

    #[test]
    fn no_changed_byte_goes_unnoticed() {
        let mut bytes = Vec::new();
        batch(&[b"one", b"two"]).parts(1_000)[0].encode(7, 1, 0, &mut bytes);
        let whole = decode(&bytes, 0, 7);
        for at in (0..36).chain(HEAD..HEAD + 14) {
            bytes[at] ^= 0x10;
            assert_eq!(decode(&bytes, 0, 7), None, "byte {at}");
            bytes[at] ^= 0x10;
        }
        assert_eq!(decode(&bytes, 0, 7), whole);
    }

    #[test]
    fn parts_are_no_larger_than_asked_for_and_hold_all_records() {
        let record = [1_u8; 50];
        let batch = batch(&[&record[..]; 10]);
        for most in [96, 100, 200, 300, 585, 2_000] {
            let parts = batch.parts(most);
            let counted: u32 = parts.iter().map(|part| part.count).sum();
            assert_eq!(counted, 10);
            assert!(parts.iter().all(|part| part.bytes() <= most), "{most}");
        }
        assert_eq!(batch.parts(584).len(), 1);
        assert_eq!(batch.parts(583).len(), 2);
    }

    #[test]
    fn a_record_that_is_too_large_is_refused_and_leaves_the_batch_as_it_was() {
        let mut batch = Batch::new(3);
        batch.push(b"abc").unwrap();
        let refused = batch.push(b"abcd").unwrap_err();
        assert_eq!((refused.bytes, refused.largest), (4, 3));
        assert_eq!((batch.len(), batch.bytes()), (1, 7));
        batch.clear();
        assert!(batch.is_empty());
    }

    #[test]
    fn the_largest_record_fills_a_segment() {
        for room in 100..130 {
            let mut batch = Batch::new(1_000);
            batch.push(&vec![0; largest_record(room)]).unwrap();
            assert!(batch.parts(room)[0].bytes() <= room);
        }
    }

    #[test]
    fn batches_are_found_wherever_they_begin() {
        let mut bytes = vec![0; 4_096];
        let mut encoded = Vec::new();
        batch(&[b"one"]).parts(1_000)[0].encode(7, 5, 3, &mut encoded);
        bytes[1_024..1_024 + encoded.len()].copy_from_slice(&encoded);
        let found: Vec<_> = search(&bytes, 0, 7).map(|(at, _)| at).collect();
        assert_eq!(found, [1_024]);
        assert_eq!(search(&bytes, 1_025, 7).count(), 0);
    }
}
