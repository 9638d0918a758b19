//! The buffer that a block is decompressed into.
//!
//! Invariants: it holds at most the caller's limit, and its memory follows what was decompressed and what the
//! bytes at hand can become, never a size that a peer claims.

use crate::{BatchError, DecompressLimit};

/// The decompressed bytes so far.
pub(super) struct Content {
    // `bytes[..filled]` is content; what lies behind is zeroed room of earlier steps, used again.
    bytes: Vec<u8>,
    filled: usize,
    limit: usize,
}

impl Content {
    /// For a block of `compressed` bytes.
    pub(super) fn new(limit: DecompressLimit, compressed: usize) -> Self {
        // Logs shrink to a quarter or so: mostly one allocation.
        let capacity = compressed.saturating_mul(4).min(limit.get());
        Self { bytes: Vec::with_capacity(capacity), filled: 0, limit: limit.get() }
    }

    /// Bytes of content.
    pub(super) fn len(&self) -> usize {
        self.filled
    }

    /// How many more bytes it may hold.
    pub(super) fn left(&self) -> usize {
        self.limit - self.filled
    }

    /// Room for `wanted` more bytes, or for as many as are left. [`advance`](Self::advance) keeps what was written.
    pub(super) fn room(&mut self, wanted: usize) -> &mut [u8] {
        let room = wanted.min(self.left());
        let len = self.filled + room;
        if len > self.bytes.capacity() {
            // Twice as much each time, but not above the limit, as `Vec` would.
            let capacity = self.bytes.capacity().saturating_mul(2).min(self.limit).max(len);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        if len > self.bytes.len() {
            self.bytes.resize(len, 0);
        }
        &mut self.bytes[self.filled..len]
    }

    /// Room for a stream that does not say how much is to come: about as much again as there is.
    pub(super) fn more_room(&mut self) -> &mut [u8] {
        let spare = self.bytes.capacity() - self.filled;
        self.room(if spare > 0 { spare } else { self.filled.max(STEP_MIN) })
    }

    /// Counts the first `bytes` of the last room as content.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
        assert!(self.filled <= self.bytes.len());
    }

    /// Appends bytes that were not compressed.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), BatchError> {
        if bytes.len() > self.left() {
            return Err(self.too_large());
        }
        self.room(bytes.len()).copy_from_slice(bytes);
        self.advance(bytes.len());
        Ok(())
    }

    /// The error of content that does not fit.
    pub(super) fn too_large(&self) -> BatchError {
        BatchError::DecompressedTooLarge { limit: self.limit }
    }

    /// The content from `from` on.
    pub(super) fn since(&self, from: usize) -> &[u8] {
        &self.bytes[from..self.filled]
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.filled);
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

const STEP_MIN: usize = 4096;
