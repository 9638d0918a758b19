//! One frame: a request, an answer or something pushed.
//!
//! ```text
//!  0        4       8      10        11      12            16              20
//!  | length | crc32 | kind | version | flags | correlation | header length | header | record bytes |
//! ```
//! Little-endian. `length` counts all that follows it. `crc32` is CRC-32 (IEEE) from `kind` to the end
//! of the header; record bytes carry checksums of their own.

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use super::header::{self, HEADER_MAX, HeaderError};
use super::message::{Kind, Message};

const CRC_AT: usize = 4;
const KIND_AT: usize = 8;
const VERSION_AT: usize = 10;
const FLAGS_AT: usize = 11;
const CORRELATION_AT: usize = 12;
const HEADER_LENGTH_AT: usize = 16;
/// Where the header begins: what stands before it has a fixed size.
pub const HEADER_AT: usize = 20;
const _: () =
    assert!(KIND_AT + 2 == VERSION_AT && VERSION_AT + 1 == FLAGS_AT && FLAGS_AT + 1 == CORRELATION_AT);
const _: () = assert!(HEADER_LENGTH_AT + size_of::<u32>() == HEADER_AT);

/// What `length` must count at the least.
const LENGTH_MIN: u32 = (HEADER_AT - CRC_AT) as u32;
/// The header of a produce or a fetch of one partition, or of its answer, with a name of ordinary length.
const HEADER_ROOM: usize = 108;

/// What a frame is, besides its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// A request that wants an answer.
    pub const NONE: Self = Self(0);
    /// An answer to the request of the same correlation id.
    pub const ANSWER: Self = Self(1);
    /// Belongs to what the request of that correlation id began, and answers nothing.
    pub const PUSHED: Self = Self(2);
    /// A request that wants no answer.
    pub const NO_ANSWER: Self = Self(4);

    const KNOWN: u8 = 7;

    /// Whether all of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// `None` when a bit is set that this protocol version does not know.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & !Self::KNOWN == 0 { Some(Self(bits)) } else { None }
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What stands before the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which message; a number, since it may be one that this build lacks.
    pub kind: u16,
    /// The version of that kind.
    pub version: u8,
    /// What the frame is.
    pub flags: Flags,
    /// Chosen by who asks; the answer carries the same.
    pub correlation: u32,
}

impl Head {
    /// The head of a request of type `M`.
    #[must_use]
    pub const fn request<M: Message>(correlation: u32) -> Self {
        Self { kind: M::KIND.number(), version: M::VERSION, flags: Flags::NONE, correlation }
    }

    /// The head of something that is pushed, and belongs to the request with this head.
    #[must_use]
    pub const fn pushed<M: Message>(self) -> Self {
        let Self { correlation, .. } = self;
        Self { kind: M::KIND.number(), version: M::VERSION, flags: Flags::PUSHED, correlation }
    }

    /// The head of the answer to a request with this head.
    #[must_use]
    pub const fn answer(self) -> Self {
        Self { flags: Flags::ANSWER, ..self }
    }

    /// A (kind, version) that this build lacks is not decoded, and may be as long as any.
    fn header_max(self) -> u32 {
        if self.flags.contains(Flags::ANSWER) || self.flags.contains(Flags::PUSHED) {
            return HEADER_MAX;
        }
        Kind::supported(self.kind, self.version).map_or(HEADER_MAX, Kind::request_header_max)
    }
}

/// A whole frame, borrowed from the bytes it came in. Its checksum was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What stands before the header.
    pub head: Head,
    /// The header, to be read with [`Frame::header`].
    pub header: &'a [u8],
    /// What stands behind the header: not checked here.
    pub records: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Bytes of the whole frame: consume as many.
    #[must_use]
    pub const fn size(&self) -> usize {
        HEADER_AT + self.header.len() + self.records.len()
    }

    /// Where the record bytes begin in the frame.
    #[must_use]
    pub const fn records_at(&self) -> usize {
        HEADER_AT + self.header.len()
    }

    /// Reads the header as a `T`; whether it is one, the kind and version tell.
    ///
    /// # Errors
    /// [`HeaderError`]: the frame's sender and this build disagree on the struct.
    pub fn header<T: serde::Deserialize<'a>>(&self) -> Result<T, HeaderError> {
        header::decode(self.header)
    }
}

/// Why the bytes are no frame. The connection cannot be read on: nobody knows where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than was agreed, or too short for its fixed part.
    #[error("a frame of {length} bytes; {LENGTH_MIN} to {frame_max} are allowed")]
    Length {
        /// As sent.
        length: u32,
        /// As agreed.
        frame_max: u32,
    },
    /// The header does not fit the frame, or is longer than one of its kind may be.
    #[error("a header of {header_length} bytes in a frame of {length}; at most {header_max} are allowed")]
    HeaderLength {
        /// As sent.
        header_length: u32,
        /// As sent.
        length: u32,
        /// Of this kind.
        header_max: u32,
    },
    /// A flag that this protocol version does not know.
    #[error("unknown flags {flags:#010b}")]
    Flags {
        /// As sent.
        flags: u8,
    },
    /// Damaged on the way.
    #[error("the frame's checksum is {computed:#010x}, not {stored:#010x} as it says")]
    Checksum {
        /// As sent.
        stored: u32,
        /// Of the bytes that came.
        computed: u32,
    },
}

/// Reads the frame at the front of `bytes`; `None` while it is incomplete.
///
/// Nothing is allocated. A caller that buffers what is incomplete may wait for [`frame_size`] bytes.
///
/// # Errors
/// As soon as the fixed part is wrong, even when the rest is still to come.
pub fn decode_frame(bytes: &[u8], frame_max: u32) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(size) = frame_size(bytes, frame_max)? else { return Ok(None) };
    let Some(fixed) = bytes.first_chunk::<HEADER_AT>() else { return Ok(None) };
    let length = u32_at(fixed, 0);
    let flags = Flags::from_bits(fixed[FLAGS_AT]).ok_or(FrameError::Flags { flags: fixed[FLAGS_AT] })?;
    let header_length = u32_at(fixed, HEADER_LENGTH_AT);
    let kind = u16::from_le_bytes([fixed[KIND_AT], fixed[KIND_AT + 1]]);
    let head = Head { kind, version: fixed[VERSION_AT], flags, correlation: u32_at(fixed, CORRELATION_AT) };
    let header_max = head.header_max();
    if header_length > header_max || header_length > length - LENGTH_MIN {
        return Err(FrameError::HeaderLength { header_length, length, header_max });
    }
    let Some(frame) = bytes.get(..size) else { return Ok(None) };
    let (covered, records) = frame.split_at(HEADER_AT + header_length as usize);
    let (stored, computed) = (u32_at(fixed, CRC_AT), crc32fast::hash(&covered[KIND_AT..]));
    if stored != computed {
        return Err(FrameError::Checksum { stored, computed });
    }
    Ok(Some(Frame { head, header: &covered[HEADER_AT..], records }))
}

/// The size of the frame at the front of `bytes`, once its length field is there.
///
/// # Errors
/// [`FrameError::Length`].
pub fn frame_size(bytes: &[u8], frame_max: u32) -> Result<Option<usize>, FrameError> {
    let Some(length) = bytes.first_chunk::<CRC_AT>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length);
    if !(LENGTH_MIN..=frame_max).contains(&length) {
        return Err(FrameError::Length { length, frame_max });
    }
    Ok(Some(CRC_AT + length as usize))
}

/// Why a frame was not written; `out` is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The header is larger than any header may be.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The header is larger than one of its kind may be: the peer would close the connection.
    #[error("a header of {header_bytes} bytes; at most {header_max} are allowed")]
    HeaderTooLarge {
        /// As encoded.
        header_bytes: usize,
        /// Of this kind.
        header_max: u32,
    },
    /// The frame is larger than its length field can say.
    #[error("{record_bytes} record bytes do not fit a frame")]
    TooLarge {
        /// As given.
        record_bytes: usize,
    },
}

/// Appends a frame up to where its record bytes begin; the caller sends `record_bytes` bytes behind it.
///
/// # Errors
/// See [`EncodeError`].
pub fn encode_frame<T: Serialize>(
    out: &mut BytesMut,
    head: Head,
    header: &T,
    record_bytes: usize,
) -> Result<(), EncodeError> {
    let start = out.len();
    // Fields come one by one: small headers, which most are, make the buffer grow once.
    out.reserve(HEADER_AT + HEADER_ROOM);
    out.put_bytes(0, HEADER_AT);
    if let Err(e) = header::encode_into(header, out.writer()) {
        out.truncate(start);
        return Err(e.into());
    }
    let frame = &mut out[start..];
    let length = u32::try_from((frame.len() - CRC_AT).saturating_add(record_bytes));
    let (Ok(length), Ok(header_length)) = (length, u32::try_from(frame.len() - HEADER_AT)) else {
        out.truncate(start);
        return Err(EncodeError::TooLarge { record_bytes });
    };
    let header_max = head.header_max();
    if header_length > header_max {
        let header_bytes = frame.len() - HEADER_AT;
        out.truncate(start);
        return Err(EncodeError::HeaderTooLarge { header_bytes, header_max });
    }
    frame[..CRC_AT].copy_from_slice(&length.to_le_bytes());
    frame[KIND_AT..VERSION_AT].copy_from_slice(&head.kind.to_le_bytes());
    frame[VERSION_AT] = head.version;
    frame[FLAGS_AT] = head.flags.bits();
    frame[CORRELATION_AT..HEADER_LENGTH_AT].copy_from_slice(&head.correlation.to_le_bytes());
    frame[HEADER_LENGTH_AT..HEADER_AT].copy_from_slice(&header_length.to_le_bytes());
    let crc = crc32fast::hash(&frame[KIND_AT..]);
    frame[CRC_AT..KIND_AT].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn u32_at(fixed: &[u8; HEADER_AT], at: usize) -> u32 {
    u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
}
