//! Reads a complete frame in place.
//!
//! Invariants: no input panics; a length or a count is compared with what remains before anything is done
//! with it; what was read borrows from the frame.

use thiserror::Error;
use uuid::Uuid;

/// A cursor over the bytes of one message.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    size: usize,
    /// Elements of lists that may still come.
    elements: usize,
}

/// Bytes that are not the message they should be, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{fault} (byte {at})")]
pub struct DecodeError {
    /// Bytes from the start of what the reader was given; inside a tagged field, from the field's start.
    pub at: usize,
    /// What is wrong there.
    pub fault: DecodeFault,
}

/// What can be wrong with bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DecodeFault {
    /// The frame ends too early.
    #[error("{needed} bytes should follow, {left} do")]
    Truncated {
        /// Bytes that were asked for.
        needed: usize,
        /// Bytes that remain.
        left: usize,
    },
    /// More elements are announced than the remaining bytes can hold.
    #[error("{count} elements are announced, {left} bytes remain")]
    Count {
        /// The announced number.
        count: usize,
        /// Bytes that remain.
        left: usize,
    },
    /// More elements are announced, in all lists together, than the reader takes.
    #[error("{count} more elements are announced, {left} are taken")]
    Elements {
        /// The announced number.
        count: usize,
        /// How many more there may be.
        left: usize,
    },
    /// A variable-length number goes on beyond 32 bits.
    #[error("a variable-length number of more than 32 bits")]
    Varint,
    /// A string is not UTF-8.
    #[error("a string that is not UTF-8")]
    Text,
    /// A null stands where the version has none.
    #[error("a null where none may be")]
    Null,
    /// Bytes remain behind the end.
    #[error("{left} bytes too many")]
    Trailing {
        /// Bytes that remain.
        left: usize,
    },
    /// The message has no such version.
    #[error("version {version} is not known")]
    Version {
        /// The version asked for.
        version: i16,
    },
}

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, size: bytes.len(), elements: usize::MAX }
    }

    /// The same, of a message whose lists have no more elements than that, together. An element takes many times its
    /// bytes once it was read.
    #[must_use]
    pub const fn with_elements_max(self, elements: usize) -> Self {
        Self { elements, ..self }
    }

    /// Bytes not yet read.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Where the next byte stands.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.size - self.rest.len()
    }

    /// An error at the current place.
    #[must_use]
    pub const fn error(&self, fault: DecodeFault) -> DecodeError {
        DecodeError { at: self.at(), fault }
    }

    /// Fails if bytes remain. Kafka ignores what follows a request; an answer or a test may ask.
    pub fn expect_end(&self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.error(DecodeFault::Trailing { left })),
        }
    }

    /// The next `length` bytes, in place.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.error(DecodeFault::Truncated { needed: length, left: self.left() })),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.error(DecodeFault::Truncated { needed: N, left: self.left() })),
        }
    }

    /// One byte, signed.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.array().map(i8::from_be_bytes)
    }

    /// Two bytes, big-endian, signed.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    /// Two bytes, big-endian, unsigned.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian, signed.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Eight bytes, big-endian, signed.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Sixteen bytes, as they stand.
    #[inline]
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.array().map(Uuid::from_bytes)
    }

    /// A number of seven bits to a byte, lowest first, at most five bytes and 32 bits.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        // Nearly every length is below 127.
        if let Some((&first, rest)) = self.rest.split_first()
            && first < 0x80
        {
            self.rest = rest;
            return Ok(u32::from(first));
        }
        self.uvarint_long()
    }

    fn uvarint_long(&mut self) -> Result<u32, DecodeError> {
        let overlong = self.error(DecodeFault::Varint);
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            if shift == 28 && byte > 0x0f {
                return Err(overlong);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// The length of a string: `None` is null. `i16` of old, plus one as a varint in flexible versions.
    #[inline]
    pub fn length_short(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible { self.length_compact() } else { Ok(usize::try_from(self.i16()?).ok()) }
    }

    /// The length of bytes or the count of a list: `None` is null. `i32` of old, plus one as a varint in
    /// flexible versions.
    #[inline]
    pub fn length_long(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible { self.length_compact() } else { Ok(usize::try_from(self.i32()?).ok()) }
    }

    #[inline]
    fn length_compact(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok((self.uvarint()? as usize).checked_sub(1))
    }

    /// A string that may be null.
    #[inline]
    pub fn text(&mut self, flexible: bool) -> Result<Option<&'a str>, DecodeError> {
        let Some(length) = self.length_short(flexible)? else { return Ok(None) };
        let not_text = self.error(DecodeFault::Text);
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| not_text)
    }

    /// Bytes that may be null.
    #[inline]
    pub fn bytes(&mut self, flexible: bool) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.length_long(flexible)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    /// The count of a list that may be null, whose elements take `element_size_min` bytes at least.
    #[inline]
    pub fn count(&mut self, flexible: bool, element_size_min: usize) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.length_long(flexible)? else { return Ok(None) };
        let left = self.left();
        if count > left / element_size_min.max(1) {
            return Err(self.error(DecodeFault::Count { count, left }));
        }
        match self.elements.checked_sub(count) {
            Some(elements) => self.elements = elements,
            None => return Err(self.error(DecodeFault::Elements { count, left: self.elements })),
        }
        Ok(Some(count))
    }

    /// How many tagged fields follow.
    #[inline]
    pub fn tagged_count(&mut self) -> Result<u32, DecodeError> {
        let count = self.uvarint()?;
        let left = self.left();
        // A tagged field is a tag and a length at least.
        if count as usize > left / 2 {
            return Err(self.error(DecodeFault::Count { count: count as usize, left }));
        }
        Ok(count)
    }

    /// A tagged field: its tag, and its bytes to read.
    pub fn tagged(&mut self) -> Result<(u32, Reader<'a>), DecodeError> {
        let tag = self.uvarint()?;
        let length = self.uvarint()? as usize;
        let elements = self.elements;
        Ok((tag, Reader::new(self.take(length)?).with_elements_max(elements)))
    }

    /// Passes over the tagged fields that close a struct which knows none.
    #[inline]
    pub fn skip_tagged(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.tagged_count()? {
            self.tagged()?;
        }
        Ok(())
    }
}
