//! The first block of a segment: what makes a file a segment, and which. Pure: bytes in, bytes out.

/// Bytes in front of the first batch.
pub(super) const HEADER: usize = 4_096;
/// The form of the files; a change of it makes older ones unreadable.
pub(super) const VERSION: u32 = 1;
/// Bytes of the header that are used; all lie in one sector, which is written whole or not at all.
const USED: usize = 40;
const MAGIC: &[u8; 8] = b"EDGEORDL";

/// A file that is prepared for batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of the file.
    pub(super) file: u32,
    /// Its place among all segments there ever were; there is no gap between those that are there.
    pub(super) ordinal: u64,
    /// Marks its batches; drawn anew with each use of the file, so that what an earlier use left never counts.
    pub(super) salt: u64,
}

/// What the first block of a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// A segment of this version.
    Whole {
        /// Its place among all segments.
        ordinal: u64,
        /// Marks its batches.
        salt: u64,
        /// Bytes of the file.
        bytes: u64,
    },
    /// A segment of another version.
    Other(u32),
    /// No header, or a damaged one. It is normal for a file that was never used.
    None,
}

impl Segment {
    /// What is written in front of the batches.
    pub(super) fn header(&self, bytes: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(USED);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        for number in [self.ordinal, self.salt, bytes] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        header
    }
}

impl Header {
    /// Reads the beginning of a file.
    pub(super) fn read(file: &[u8]) -> Self {
        let Some(header) = file.get(..USED).filter(|file| file.starts_with(MAGIC)) else {
            return Self::None;
        };
        let long =
            |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let short =
            |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        if short(36) != crc32fast::hash(&header[..36]) {
            return Self::None;
        }
        if short(8) != VERSION {
            return Self::Other(short(8));
        }
        Self::Whole {
            ordinal: long(12),
            salt: long(20),
            bytes: long(28),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_or_not_at_all() {
        let segment = Segment {
            file: 3,
            ordinal: 17,
            salt: 99,
        };
        let mut header = segment.header(65_536);
        let whole = Header::Whole {
            ordinal: 17,
            salt: 99,
            bytes: 65_536,
        };
        assert_eq!(Header::read(&header), whole);
        for at in 0..header.len() {
            header[at] ^= 1;
            assert_eq!(Header::read(&header), Header::None, "byte {at}");
            header[at] ^= 1;
        }
        assert_eq!(Header::read(&[0; HEADER]), Header::None);
        assert_eq!(Header::read(&[]), Header::None);
    }
}
