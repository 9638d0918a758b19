//! What a partition is called: its identity, its directory, and the `partition.meta` inside.
//!
//! The topic's uuid is the identity, not its name: a topic that was deleted and made again never adopts old files.
//! The directory's name is for people.
//!
//! Payload of `partition.meta` (an [envelope](crate::envelope), magic `LPM1`), big-endian:
//! ```text
//!  0            16          20     24
//!  | topic uuid | partition | slot | created (ms) |
//! ```

use std::fmt;

use folio_record::Timestamp;
use uuid::Uuid;

use crate::envelope::{EnvelopeError, EnvelopeKind};
use crate::layout::Fields;

/// A partition, whatever its topic is called today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic.
    pub topic: Uuid,
    /// Its number within the topic, from 0.
    pub partition: u32,
}

/// The contents of `partition.meta`: what makes a directory this partition's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionMeta {
    /// Whose directory this is.
    pub id: PartitionId,
    /// The number of its slot in the file of durable points.
    pub slot: u32,
    /// When it was made.
    pub created: Timestamp,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl PartitionMeta {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(PAYLOAD_SIZE);
        payload.extend_from_slice(self.id.topic.as_bytes());
        payload.extend_from_slice(&self.id.partition.to_be_bytes());
        payload.extend_from_slice(&self.slot.to_be_bytes());
        payload.extend_from_slice(&self.created.get().to_be_bytes());
        PARTITION_META.seal(&payload)
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut fields = Fields::new(PARTITION_META.open(bytes)?);
        let mut parse = || {
            Some(Self {
                id: PartitionId {
                    topic: Uuid::from_bytes(fields.take()?),
                    partition: u32::from_be_bytes(fields.take()?),
                },
                slot: u32::from_be_bytes(fields.take()?),
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
pub const PARTITION_META_NAME: &str = "partition.meta";

const PARTITION_META: EnvelopeKind = EnvelopeKind { magic: *b"LPM1", version: 1 };
const PAYLOAD_SIZE: usize = 32;
const _: () = assert!(size_of::<Uuid>() + 2 * size_of::<u32>() + size_of::<i64>() == PAYLOAD_SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> PartitionMeta {
        PartitionMeta {
            id: PartitionId { topic: Uuid::from_u128(5), partition: 3 },
            slot: 40,
            created: Timestamp::new(77),
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        assert_eq!(PartitionMeta::decode(&meta().encode()), Ok(meta()));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = meta().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(PartitionMeta::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_payload_of_another_length_is_refused() {
        let mut payload = vec![0; PAYLOAD_SIZE + 1];
        assert_eq!(PartitionMeta::decode(&PARTITION_META.seal(&payload)), Err(EnvelopeError::Payload));
        payload.truncate(PAYLOAD_SIZE - 1);
        assert_eq!(PartitionMeta::decode(&PARTITION_META.seal(&payload)), Err(EnvelopeError::Payload));
    }
}
