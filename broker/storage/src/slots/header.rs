//! What the file of durable points opens with.
//!
//! ```text
//!  header  0      4         6           8                24                 28          32 .. 4096
//!          | LSH1 | edition | slot size | directory uuid | slots per extent | crc(0..28) | zero |
//! ```
//!
//! The header carries nothing that the slots need: a damaged one is reported and written anew.

use thiserror::Error;
use uuid::Uuid;

use super::file::SlotsError;
use super::{HEADER_SIZE, SLOT_SIZE, SLOTS_PER_EXTENT};
use crate::files::FileHandle;
use crate::layout::{field, put};

/// Why a header is not that of this directory's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum HeaderError {
    /// A start writes it anew.
    #[error("its header is damaged; a start writes it anew")]
    Damaged,
    /// A start is refused.
    #[error("it belongs to data directory {found}, not to {expected}")]
    Foreign {
        /// This directory.
        expected: Uuid,
        /// The other one.
        found: Uuid,
    },
}

impl HeaderError {
    /// Whether it is intact, and another directory's.
    pub(crate) fn is_foreign(self) -> bool {
        matches!(self, Self::Foreign { .. })
    }
}

const HEADER_MAGIC: [u8; 4] = *b"LSH1";
const HEADER_EDITION: u16 = 1;
const EDITION_AT: usize = 4;
const SLOT_SIZE_AT: usize = 6;
const DIR_AT: usize = 8;
const PER_EXTENT_AT: usize = 24;
const CRC_AT: usize = 28;
pub(super) const USED: usize = 32;
const _: () = assert!(DIR_AT + size_of::<Uuid>() == PER_EXTENT_AT);
const _: () = assert!(CRC_AT + size_of::<u32>() == USED);

#[derive(PartialEq)]
pub(super) enum Header {
    Good,
    Damaged,
}

pub(super) fn header(dir: Uuid) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_SIZE as usize];
    put(&mut bytes, 0, &HEADER_MAGIC);
    put(&mut bytes, EDITION_AT, &HEADER_EDITION.to_be_bytes());
    put(&mut bytes, SLOT_SIZE_AT, &(SLOT_SIZE as u16).to_be_bytes());
    put(&mut bytes, DIR_AT, dir.as_bytes());
    put(&mut bytes, PER_EXTENT_AT, &SLOTS_PER_EXTENT.to_be_bytes());
    let crc = crc32fast::hash(&bytes[..CRC_AT]);
    put(&mut bytes, CRC_AT, &crc.to_be_bytes());
    bytes
}

/// Whether `bytes` are the whole header, zeros included, of the file of `dir` (of any directory, if it is not known);
/// says of which.
pub(crate) fn check_header_bytes(bytes: &[u8], dir: Option<Uuid>) -> Result<Uuid, HeaderError> {
    let found = Uuid::from_bytes(field(bytes, DIR_AT));
    match dir {
        _ if bytes != header(found) => Err(HeaderError::Damaged),
        Some(expected) if expected != found => Err(HeaderError::Foreign { expected, found }),
        _ => Ok(found),
    }
}

pub(super) fn check_header(file: &impl FileHandle, dir: Uuid) -> Result<Header, SlotsError> {
    let mut bytes = [0; HEADER_SIZE as usize];
    // It carries nothing that the slots need. If it cannot be read, it is written anew, too.
    if file.read_at(&mut bytes, 0).is_err() {
        return Ok(Header::Damaged);
    }
    let crc = u32::from_be_bytes(field(&bytes, CRC_AT));
    if field(&bytes, 0) != HEADER_MAGIC || crc != crc32fast::hash(&bytes[..CRC_AT]) {
        return Ok(Header::Damaged);
    }
    let edition = u16::from_be_bytes(field(&bytes, EDITION_AT));
    if edition != HEADER_EDITION {
        return Err(SlotsError::Newer { edition });
    }
    let found = Uuid::from_bytes(field(&bytes, DIR_AT));
    if found != dir {
        return Err(SlotsError::Foreign { expected: dir, found });
    }
    if bytes[..] != header(dir) {
        return Ok(Header::Damaged);
    }
    Ok(Header::Good)
}
