//! The quantities that a batch is made of, as types of their own.
//!
//! None converts to or from an integer by itself: `new` and `get` are the only doors, so that a reader
//! of the code sees where a number becomes an offset. Any `i64` or `i32` may stand in one, for they also
//! hold what a peer sent.

use std::fmt;

/// A record's place in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(i64);

impl Offset {
    /// The place of a partition's first record.
    pub const ZERO: Self = Self(0);

    /// The offset of this number.
    pub const fn new(offset: i64) -> Self {
        Self(offset)
    }

    /// Its number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset `records` further, or `None` where the numbers end.
    pub const fn checked_add(self, records: i64) -> Option<Self> {
        match self.0.checked_add(records) {
            Some(offset) => Some(Self(offset)),
            None => None,
        }
    }
}

/// How often the leadership of a partition had changed hands when a batch was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderEpoch(i32);

impl LeaderEpoch {
    /// What a batch says before a broker has stamped it.
    pub const NONE: Self = Self(-1);

    /// The epoch of this number.
    pub const fn new(epoch: i32) -> Self {
        Self(epoch)
    }

    /// Its number.
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z; [`Timestamp::NONE`] (-1) means that nobody said.
///
/// Earlier times are negative. The millisecond before the epoch cannot be told from `NONE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Nobody said.
    pub const NONE: Self = Self(-1);

    /// The time of this number of milliseconds.
    pub const fn new(ms: i64) -> Self {
        Self(ms)
    }

    /// Its milliseconds.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// The number a broker has given to an idempotent producer; [`ProducerId::NONE`] (-1) for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(i64);

impl ProducerId {
    /// The producer has none.
    pub const NONE: Self = Self(-1);

    /// The producer id of this number.
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// Its number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
