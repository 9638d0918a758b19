//! Bytes that were received and not consumed yet.

use std::fmt;

use bytes::BytesMut;

/// What a stage reads from: the received bytes that it has not consumed yet, oldest first.
///
/// A stage consumes *whole units* from the front and leaves the rest; it sees the rest again, with more behind it,
/// when more has arrived. Bytes that outlive the call are split off without copying:
///
/// ```
/// use folio_channel::ReadBuf;
///
/// let mut input = ReadBuf::from(&b"\x05hello\x05wor"[..]);
/// let unit = 1 + usize::from(input.as_slice()[0]);
/// assert_eq!(&input.split_to(unit)[1..], b"hello");
/// assert_eq!(input.as_slice(), b"\x05wor"); // not a whole unit: it stays
/// ```
///
/// Most of the time the memory is the loop's one read buffer. A stage that consumes in place leaves it as it was;
/// one that splits off takes a part of it, and the loop goes on behind that part.
#[derive(Default)]
pub struct ReadBuf {
    bytes: BytesMut,
    /// Consumed bytes at the front. They are given up lazily, so that a buffer that is consumed in place can be
    /// used again from its first byte.
    consumed: usize,
    /// The memory is the loop's read buffer, which has to go back.
    is_lent: bool,
}

impl ReadBuf {
    /// Everything that is there.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// How many bytes are there.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.consumed
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops the first `count` bytes.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "consumed {count} of {} bytes", self.len());
        self.consumed += count;
    }

    /// Splits the first `count` bytes off, without copying them. They may be kept for as long as one likes and sent
    /// to other threads; the allocation that they lie in lives as long.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[must_use = "the bytes are lost otherwise; `consume` says that better"]
    pub fn split_to(&mut self, count: usize) -> BytesMut {
        assert!(count <= self.len(), "split {count} of {} bytes off", self.len());
        let mut unit = self.bytes.split_to(self.consumed + count);
        if self.consumed > 0 {
            bytes::Buf::advance(&mut unit, self.consumed);
            self.consumed = 0;
        }
        unit
    }

    /// Takes over a buffer whose bytes are all unread; `is_lent` if it is the loop's.
    pub(crate) fn new(bytes: BytesMut, is_lent: bool) -> Self {
        Self { bytes, consumed: 0, is_lent }
    }

    pub(crate) fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// Appends bytes; copies them only if something is there already, or the memory here has to go back.
    pub(crate) fn append(&mut self, more: Self) {
        self.compact();
        if self.is_empty() && !self.is_lent {
            *self = more;
        } else {
            self.bytes.extend_from_slice(more.as_slice());
        }
    }

    /// Gives up what was consumed, and gives out the buffer and whether it is the loop's.
    pub(crate) fn into_parts(mut self) -> (BytesMut, bool) {
        self.compact();
        (self.bytes, self.is_lent)
    }

    fn compact(&mut self) {
        if self.consumed == self.bytes.len() {
            self.bytes.clear(); // the front is usable again
        } else {
            bytes::Buf::advance(&mut self.bytes, self.consumed);
        }
        self.consumed = 0;
    }
}

impl From<&[u8]> for ReadBuf {
    fn from(bytes: &[u8]) -> Self {
        Self::new(BytesMut::from(bytes), false)
    }
}

impl fmt::Debug for ReadBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadBuf({} bytes)", self.len())
    }
}
