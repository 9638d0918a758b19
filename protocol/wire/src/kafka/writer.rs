//! Writes one message into one growing buffer, with gaps where record bytes go.
//!
//! ```text
//! | length | header | fields ... | gap: 5 records | fields ... | gap | tagged fields |
//!   \________ Part::Heap ______/  Part::Splice(n)  \__ Heap __/
//! ```
//! Invariants: the gaps count in every length; the first thing that cannot be said is kept, and
//! [`finish`](Writer::finish) is the only way to the bytes.

use std::fmt;
use std::vec;

use bytes::Bytes;
use thiserror::Error;
use uuid::Uuid;

/// A message being written.
#[derive(Debug, Default)]
pub struct Writer {
    heap: Vec<u8>,
    gaps: Vec<Gap>,
    /// The sum of all gaps.
    spliced: usize,
    framed: bool,
    error: Option<EncodeError>,
}

/// A message that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoded {
    heap: Bytes,
    gaps: Vec<Gap>,
}

/// A piece of a message, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// These bytes.
    Heap(Bytes),
    /// So many record bytes, those of the next [`Records::Spliced`](super::Records::Spliced).
    Splice(usize),
}

/// A value that the version cannot say. It is always the caller's mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum EncodeError {
    /// The field does not exist in the version and has a value that matters.
    #[error("{field} is set, and version {version} has no such field")]
    Field {
        /// `Struct.field`.
        field: &'static str,
        /// The version.
        version: i16,
    },
    /// A null where the version has none.
    #[error("a null where none may be (byte {at})")]
    Null {
        /// Heap bytes written before it.
        at: usize,
    },
    /// A string, bytes, a list or the whole is longer than its length can say.
    #[error("{size} bytes or elements are too many for a length (byte {at})")]
    Size {
        /// Its size.
        size: usize,
        /// Heap bytes written before it.
        at: usize,
    },
    /// The message has no such version.
    #[error("version {version} is not known")]
    Version {
        /// The version asked for.
        version: i16,
    },
}

/// `size` record bytes are missing before the byte `at` of the heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Gap {
    at: usize,
    size: usize,
}

/// Room that a frame begins with: an answer about one partition fits.
const FRAME_ROOM_FIRST: usize = 256;
/// What the length in front of a frame takes.
const FRAME_LENGTH_SIZE: usize = 4;

impl Writer {
    /// Writes to the end of an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`new`](Self::new), with the four bytes of length in front that frame a message on a connection.
    #[must_use]
    pub fn framed() -> Self {
        let mut heap = Vec::with_capacity(FRAME_ROOM_FIRST);
        heap.extend_from_slice(&[0; FRAME_LENGTH_SIZE]);
        Self { heap, framed: true, ..Self::default() }
    }

    /// Makes room for so many more bytes.
    pub fn reserve(&mut self, size: usize) {
        self.heap.reserve(size);
    }

    /// Everything that was written, or the first thing that could not be.
    pub fn finish(mut self) -> Result<Encoded, EncodeError> {
        if self.framed {
            let size = self.heap.len() - FRAME_LENGTH_SIZE + self.spliced;
            match i32::try_from(size) {
                Ok(length) => self.heap[..FRAME_LENGTH_SIZE].copy_from_slice(&length.to_be_bytes()),
                Err(_) => self.fail(EncodeError::Size { size, at: 0 }),
            }
        }
        match self.error {
            None => Ok(Encoded { heap: self.heap.into(), gaps: self.gaps }),
            Some(error) => Err(error),
        }
    }

    /// Keeps the first error.
    pub fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }

    /// A field is set that the version lacks.
    #[cold]
    pub fn refuse(&mut self, field: &'static str, version: i16) {
        self.fail(EncodeError::Field { field, version });
    }

    /// A null stands where the version has none.
    #[cold]
    pub fn refuse_null(&mut self) {
        self.fail(EncodeError::Null { at: self.heap.len() });
    }

    /// One byte.
    #[inline]
    pub fn put_i8(&mut self, value: i8) {
        self.put(&value.to_be_bytes());
    }

    /// Two bytes, big-endian.
    #[inline]
    pub fn put_i16(&mut self, value: i16) {
        self.put(&value.to_be_bytes());
    }

    /// Two bytes, big-endian.
    #[inline]
    pub fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Four bytes, big-endian.
    #[inline]
    pub fn put_i32(&mut self, value: i32) {
        self.put(&value.to_be_bytes());
    }

    /// Eight bytes, big-endian.
    #[inline]
    pub fn put_i64(&mut self, value: i64) {
        self.put(&value.to_be_bytes());
    }

    /// Sixteen bytes, as they stand.
    #[inline]
    pub fn put_uuid(&mut self, value: Uuid) {
        self.put(value.as_bytes());
    }

    /// Seven bits to a byte, lowest first.
    #[inline]
    pub fn put_uvarint(&mut self, value: u32) {
        if value < 0x80 {
            self.heap.push(value as u8);
        } else {
            let (bytes, length) = uvarint(value);
            self.put(&bytes[..length]);
        }
    }

    /// A string, or null.
    #[inline]
    pub fn put_text(&mut self, text: Option<&str>, flexible: bool) {
        let Some(text) = text else {
            return if flexible { self.put_uvarint(0) } else { self.put_i16(-1) };
        };
        if flexible {
            self.put_length_compact(text.len());
        } else {
            match i16::try_from(text.len()) {
                Ok(length) => self.put_i16(length),
                Err(_) => return self.fail(EncodeError::Size { size: text.len(), at: self.heap.len() }),
            }
        }
        self.put(text.as_bytes());
    }

    /// Bytes, or null.
    #[inline]
    pub fn put_bytes(&mut self, bytes: Option<&[u8]>, flexible: bool) {
        self.put_length(bytes.map(<[u8]>::len), flexible);
        self.put(bytes.unwrap_or_default());
    }

    /// The length of bytes or the count of a list, or null.
    #[inline]
    pub fn put_length(&mut self, length: Option<usize>, flexible: bool) {
        match length {
            None if flexible => self.put_uvarint(0),
            None => self.put_i32(-1),
            Some(length) if flexible => self.put_length_compact(length),
            Some(size) => match i32::try_from(size) {
                Ok(length) => self.put_i32(length),
                Err(_) => self.fail(EncodeError::Size { size, at: self.heap.len() }),
            },
        }
    }

    #[inline]
    fn put_length_compact(&mut self, size: usize) {
        match i32::try_from(size) {
            Ok(length) if length < i32::MAX => self.put_uvarint(length as u32 + 1),
            _ => self.fail(EncodeError::Size { size, at: self.heap.len() }),
        }
    }

    /// Leaves a gap: `size` bytes belong here that this writer will not see.
    pub fn splice(&mut self, size: usize) {
        if size > 0 {
            self.gaps.push(Gap { at: self.heap.len(), size });
            self.spliced += size;
        }
    }

    /// A tagged field: its tag, the length of what `value` writes, and that.
    pub fn put_tagged(&mut self, tag: u32, value: impl FnOnce(&mut Self)) {
        self.put_uvarint(tag);
        let (start, gaps, spliced) = (self.heap.len(), self.gaps.len(), self.spliced);
        value(self);
        let size = self.heap.len() - start + (self.spliced - spliced);
        let Ok(size) = u32::try_from(size) else {
            return self.fail(EncodeError::Size { size, at: start });
        };
        // The length stands in front of the value and is known behind it: it is written there and brought
        // forward. Tagged fields are small.
        let (bytes, length) = uvarint(size);
        self.put(&bytes[..length]);
        self.heap[start..].rotate_right(length);
        for gap in &mut self.gaps[gaps..] {
            gap.at += length;
        }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.heap.extend_from_slice(bytes);
    }
}

fn uvarint(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    (bytes, length + 1)
}

impl Encoded {
    /// Bytes that the message takes, with its gaps filled.
    #[must_use]
    pub fn size(&self) -> usize {
        self.heap.len() + self.gaps.iter().map(|gap| gap.size).sum::<usize>()
    }

    /// The bytes without what belongs in the gaps; all of them if nothing was spliced.
    #[must_use]
    pub const fn heap(&self) -> &Bytes {
        &self.heap
    }

    /// The pieces, in order; none is empty.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        Parts { heap: self.heap, taken: 0, gap: None, gaps: self.gaps.into_iter() }
    }
}

/// The pieces of a message, in order.
pub struct Parts {
    /// What is left of it.
    heap: Bytes,
    /// Heap bytes handed out.
    taken: usize,
    /// The gap that follows `heap`'s next piece, taken from `gaps`.
    gap: Option<Gap>,
    gaps: vec::IntoIter<Gap>,
}

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let Some(gap) = self.gap.take().or_else(|| self.gaps.next()) else {
            let rest = std::mem::take(&mut self.heap);
            return (!rest.is_empty()).then_some(Part::Heap(rest));
        };
        if gap.at > self.taken {
            let piece = self.heap.split_to(gap.at - self.taken);
            self.taken = gap.at;
            self.gap = Some(gap);
            return Some(Part::Heap(piece));
        }
        Some(Part::Splice(gap.size))
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("left", &self.heap.len()).field("gaps", &self.gaps.len()).finish()
    }
}
