//! Where payloads of a guest are copied to: many small ones into one allocation.

use bytes::{Bytes, BytesMut};

/// Payloads up to this size share allocations.
const SMALL: usize = 1 << 10;
/// How much is allocated for small payloads at a time.
const SIZE: usize = 16 << 10;

/// The current allocation. It goes when the last payload in it is dropped.
#[derive(Debug, Default)]
pub(super) struct Arena(BytesMut);

impl Arena {
    /// A copy of the bytes.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.is_empty() {
            return Bytes::new();
        }
        if bytes.len() > SMALL {
            return Bytes::copy_from_slice(bytes);
        }
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(SIZE);
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}
