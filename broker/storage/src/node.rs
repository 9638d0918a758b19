//! `node.meta`: which data directory this is, and in which format it is kept.
//!
//! Payload (an [envelope](crate::envelope), magic `LND1`), big-endian:
//! ```text
//!  0                16           32       36
//!  | directory uuid | cluster id | format | created (ms) |
//! ```
//! `format` is the edition of the directory as a whole. A build opens every edition up to its own and refuses
//! later ones.

use folio_record::Timestamp;
use uuid::Uuid;

use crate::envelope::{EnvelopeError, EnvelopeKind};
use crate::layout::Fields;

/// The contents of `node.meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeMeta {
    /// This directory's own name; slots and markers of another directory are told by it.
    pub dir: Uuid,
    /// The cluster that it belongs to.
    pub cluster: Uuid,
    /// Edition of the directory's layout.
    pub format: u32,
    /// When it was made.
    pub created: Timestamp,
}

impl NodeMeta {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(PAYLOAD_SIZE);
        payload.extend_from_slice(self.dir.as_bytes());
        payload.extend_from_slice(self.cluster.as_bytes());
        payload.extend_from_slice(&self.format.to_be_bytes());
        payload.extend_from_slice(&self.created.get().to_be_bytes());
        NODE_META.seal(&payload)
    }

    /// Reads the file. A later `format` than [`FORMAT`] is read too: whoever opens the directory refuses it.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut fields = Fields::new(NODE_META.open(bytes)?);
        let mut parse = || {
            Some(Self {
                dir: Uuid::from_bytes(fields.take()?),
                cluster: Uuid::from_bytes(fields.take()?),
                format: u32::from_be_bytes(fields.take()?),
                created: Timestamp::new(i64::from_be_bytes(fields.take()?)),
            })
        };
        let meta = parse().ok_or(EnvelopeError::Payload)?;
        if !fields.is_empty() {
            return Err(EnvelopeError::Payload);
        }
        Ok(meta)
    }
}

/// The name of the file.
pub const NODE_META_NAME: &str = "node.meta";
/// The edition of the data directory that this build writes, and the latest that it opens.
pub const FORMAT: u32 = 1;

const NODE_META: EnvelopeKind = EnvelopeKind { magic: *b"LND1", version: 1 };
const PAYLOAD_SIZE: usize = 44;
const _: () = assert!(2 * size_of::<Uuid>() + size_of::<u32>() + size_of::<i64>() == PAYLOAD_SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_every_flipped_bit_is_found() {
        let meta = NodeMeta {
            dir: Uuid::from_u128(1),
            cluster: Uuid::from_u128(2),
            format: FORMAT,
            created: Timestamp::new(3),
        };
        let bytes = meta.encode();
        assert_eq!(NodeMeta::decode(&bytes), Ok(meta));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(NodeMeta::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
