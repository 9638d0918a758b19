//! The one place that knows how headers become bytes: bincode 1, fixed-size little-endian integers, with
//! a limit, from a complete slice only, nothing left over.
//!
//! Why so narrow: bincode's free functions accept trailing bytes and have no limit, and reading from a
//! stream allocates what the stream claims. From a slice a text or a byte string is checked against
//! what is there before it is copied, and a list grows as its elements are read
//! (`list`).

use bincode::Options;
use serde::{Deserialize, Serialize};

/// A header that is not of the kind and version that its frame names.
#[derive(Debug, thiserror::Error)]
#[error("malformed header: {0}")]
pub struct HeaderError(#[from] bincode::Error);

/// The largest header, in bytes. A frame may be larger: record bytes stand behind the header.
pub const HEADER_MAX: u32 = 4 << 20;

/// Reads a whole header.
///
/// # Errors
/// When a field is missing, malformed or claims more than there is, and when bytes are left over.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, HeaderError> {
    Ok(options().deserialize(bytes)?)
}

/// Appends a header to `out`.
///
/// # Errors
/// When it is larger than [`HEADER_MAX`]; `out` may then hold a part of it.
pub(super) fn encode_into<T: Serialize>(header: &T, out: impl std::io::Write) -> Result<(), HeaderError> {
    Ok(options().serialize_into(out, header)?)
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_limit(u64::from(HEADER_MAX))
}
