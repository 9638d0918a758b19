//! `compacted`: how far a partition's log was compacted.
//!
//! Payload (an [envelope](crate::envelope), magic `LCP1`), big-endian:
//! ```text
//!  0                  8          16
//!  | gaps below (i64) | upto (i64) |
//! ```
//! *upto*: everything below was compacted together, once; from here on the log is dirty. *gaps below*: in segments that
//! begin below it offsets may be missing, and in no other. The footer of a segment that was compacted says so as well,
//! but an index may be lost, and a log that has lost one is still whole.
//!
//! Invariant: *gaps below* is raised, durably, before a segment with gaps takes the place of others, and *upto* only
//! after the last one has. Without the file, compaction begins at the start of the log again.

use std::path::{Path, PathBuf};

use folio_record::Offset;

use crate::envelope::{EnvelopeError, EnvelopeKind};
use crate::layout::Fields;

/// How far a log was compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Offsets may be missing in segments that begin below.
    pub gaps_below: Offset,
    /// From here on nothing was compacted yet.
    pub upto: Offset,
}

impl Compacted {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        COMPACTED.seal(&[self.gaps_below.get().to_be_bytes(), self.upto.get().to_be_bytes()].concat())
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut fields = Fields::new(COMPACTED.open(bytes)?);
        let mut offset = || fields.take().map(|bytes| Offset::new(i64::from_be_bytes(bytes)));
        let (Some(gaps_below), Some(upto)) = (offset(), offset()) else { return Err(EnvelopeError::Payload) };
        if fields.is_empty() { Ok(Self { gaps_below, upto }) } else { Err(EnvelopeError::Payload) }
    }

    /// As far as it goes for a log that ends at `end`: what comes in the place of what a repair has cut off was never
    /// compacted, and nothing is missing in it.
    pub(crate) fn below(self, end: Offset) -> Self {
        Self { upto: self.upto.min(end), gaps_below: self.gaps_below.min(end) }
    }
}

/// Where it is, in a partition's directory.
pub(crate) fn compacted_path(dir: &Path) -> PathBuf {
    dir.join(COMPACTED_NAME)
}

/// The name of the file.
pub const COMPACTED_NAME: &str = "compacted";
/// More than the file ever has.
pub(crate) const COMPACTED_SIZE_MAX: usize = 4096;

const COMPACTED: EnvelopeKind = EnvelopeKind { magic: *b"LCP1", version: 1 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_as_drawn() {
        let compacted = Compacted { gaps_below: Offset::new(0x0102), upto: Offset::new(0x03) };
        let mut expected = b"LCP1\x00\x01\x00\x00\x00\x00\x00\x10".to_vec();
        expected.extend_from_slice(b"\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00\x00\x03");
        expected.extend_from_slice(&crc32fast::hash(&expected).to_be_bytes());
        assert_eq!(compacted.encode(), expected);
        assert_eq!(Compacted::decode(&expected), Ok(compacted));
    }

    #[test]
    fn a_payload_of_another_length_is_none() {
        for len in [0, 8, 15, 17, 24] {
            assert_eq!(
                Compacted::decode(&COMPACTED.seal(&vec![0; len])),
                Err(EnvelopeError::Payload),
                "{len}"
            );
        }
    }
}
