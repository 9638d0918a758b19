//! The attribute bits of a batch, by name.
//!
//! ```text
//!  15 ........ 7   6               5         4               3                 2 1 0
//!  | not in use |  delete horizon | control | transactional | log append time | compression |
//! ```

use crate::Compression;

/// The attribute bits of a batch. Made only from bits whose compression number is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(u16);

/// What the timestamps of a batch's records mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// Each record carries the time its producer gave it.
    Create,
    /// All records carry the time at which the broker appended the batch: the header's maximum.
    LogAppend,
}

impl Attributes {
    /// The attributes of these bits, or `None` if their compression number is not known.
    pub const fn from_bits(bits: u16) -> Option<Self> {
        match Compression::from_id(Compression::id_in(bits)) {
            Some(_) => Some(Self(bits)),
            None => None,
        }
    }

    /// The bits as a batch carries them.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Those of a producer's batch in this compression.
    pub const fn of(compression: Compression) -> Self {
        Self(compression.id() as u16)
    }

    /// The same of a batch in this compression.
    pub(crate) const fn with_compression(self, compression: Compression) -> Self {
        Self(self.0 & !COMPRESSION | compression.id() as u16)
    }

    /// The same of a batch with a delete horizon.
    pub(crate) const fn with_delete_horizon(self) -> Self {
        Self(self.0 | DELETE_HORIZON)
    }

    /// The same of a batch that has none.
    pub(crate) const fn without_delete_horizon(self) -> Self {
        Self(self.0 & !DELETE_HORIZON)
    }

    /// How the records are compressed.
    pub const fn compression(self) -> Compression {
        match Compression::from_id(Compression::id_in(self.0)) {
            Some(compression) => compression,
            // No constructor lets such bits in.
            None => unreachable!(),
        }
    }

    /// What the timestamps mean.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME == 0 { TimestampType::Create } else { TimestampType::LogAppend }
    }

    /// The batch belongs to a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    /// The batch holds a broker's mark and no records of a producer.
    pub const fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    /// The base timestamp is the time from which compaction may drop the batch's tombstones.
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON != 0
    }
}

const COMPRESSION: u16 = 0b111;
pub(crate) const LOG_APPEND_TIME: u16 = 1 << 3;
const TRANSACTIONAL: u16 = 1 << 4;
const CONTROL: u16 = 1 << 5;
const DELETE_HORIZON: u16 = 1 << 6;
