//! How the records of a batch may be compressed.

use std::borrow::Cow;
use std::fmt;

use crate::{BatchError, lz4};

/// How the records of a batch are compressed. [`None`](Self::None) and [`Lz4`](Self::Lz4) can be read
/// and written; the others are known by number and name, and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not compressed.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4 frame format.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// The codec that batches call by this number.
    pub const fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }

    /// Its number in a batch's attributes.
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Its name, as settings and messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Whether records can be read and written with it.
    pub const fn is_supported(self) -> bool {
        matches!(self, Self::None | Self::Lz4)
    }

    /// The number in these attribute bits, which may be that of no codec.
    pub(crate) const fn id_in(attributes: u16) -> u8 {
        (attributes & 0b111) as u8
    }

    /// The records in a batch's block: the block itself, or at most `limit` bytes of its own.
    pub(crate) fn decompress(
        self,
        block: &[u8],
        limit: DecompressLimit,
    ) -> Result<Cow<'_, [u8]>, BatchError> {
        match self {
            Self::None => Ok(Cow::Borrowed(block)),
            Self::Lz4 => lz4::decompress(block, limit).map(Cow::Owned),
            Self::Gzip | Self::Snappy | Self::Zstd => Err(UnsupportedCompression(self).into()),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The codec is known, but this build can neither read nor write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} compression is not supported (none and lz4 are)")]
pub struct UnsupportedCompression(pub Compression);

/// How many bytes the records of one batch may take once decompressed.
///
/// A few compressed bytes can stand for gigabytes; whoever reads another's batch says how much they are
/// ready to hold. Uncompressed batches are read in place and have no use for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DecompressLimit(usize);

impl DecompressLimit {
    /// At most `bytes`.
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// How many bytes.
    pub const fn get(self) -> usize {
        self.0
    }
}
