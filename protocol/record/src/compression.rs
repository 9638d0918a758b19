//! How the records of a batch may be compressed: all records of a batch together, as one block.
//!
//! Each codec has a file with the bytes of its blocks, a `decompress` from a block to its content within a limit, and
//! a `Compressor`. They meet here.

mod content;
mod gzip;
mod lz4;
#[cfg(test)]
mod samples;
mod snappy;
mod zstd;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::{BatchError, Codec};

/// How the records of a batch are compressed.
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
    /// All there are, by number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

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

    /// The levels that [`Codec::with_level`] takes, Kafka's; `None` if there is nothing to choose.
    pub const fn levels(self) -> Option<Levels> {
        let (min, max, default) = match self {
            Self::None | Self::Snappy => return None,
            // -1 is the codec's own default, which is 6.
            Self::Gzip => (1, 9, -1),
            Self::Lz4 => (1, 17, 9),
            Self::Zstd => (-131_072, 22, 3),
        };
        Some(Levels { min, max, default })
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
            Self::None => return Ok(Cow::Borrowed(block)),
            Self::Gzip => gzip::decompress(block, limit),
            Self::Snappy => snappy::decompress(block, limit),
            Self::Lz4 => lz4::decompress(block, limit),
            Self::Zstd => zstd::decompress(block, limit),
        }
        .map(Cow::Owned)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Compression {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        Self::ALL.into_iter().find(|codec| codec.name() == name).ok_or(UnknownCodec)
    }
}

/// No codec has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such codec: none, gzip, snappy, lz4 and zstd are")]
pub struct UnknownCodec;

/// What one codec takes for a level. `default` need not lie between the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// The fastest.
    pub min: i32,
    /// The smallest result.
    pub max: i32,
    /// The one of those who do not say.
    pub default: i32,
}

/// Compresses batches one after the other in one codec; keeps its memory between them, which may be some hundred
/// kilobytes. Those who make many batches at the same time may lend a few of them around
/// ([`BatchBuilder::build_with`](crate::BatchBuilder::build_with)).
#[derive(Debug)]
pub struct Compressor(State);

impl Compressor {
    /// `None` for the codec that does not compress.
    pub fn new(codec: Codec) -> Option<Self> {
        Some(Self(match codec.compression() {
            Compression::None => return None,
            Compression::Gzip => State::Gzip(Box::new(gzip::Compressor::new(codec.level()))),
            Compression::Snappy => State::Snappy(Box::new(snappy::Compressor::new())),
            Compression::Lz4 => State::Lz4(lz4::Compressor::new()),
            Compression::Zstd => State::Zstd(zstd::Compressor::new(codec.level())),
        }))
    }

    /// How a batch is compressed that it has compressed.
    pub fn compression(&self) -> Compression {
        match self.0 {
            State::Gzip(_) => Compression::Gzip,
            State::Snappy(_) => Compression::Snappy,
            State::Lz4(_) => Compression::Lz4,
            State::Zstd(_) => Compression::Zstd,
        }
    }

    /// Appends a block of `content` to `out` if it takes fewer bytes than `content` itself. Otherwise it returns
    /// false and leaves `out` as it was.
    pub(crate) fn compress(&mut self, content: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if let State::Lz4(compressor) = &mut self.0 {
            return compressor.compress(content, out);
        }
        out.resize(start + content.len().saturating_sub(1), 0);
        let room = &mut out[start..];
        let size = match &mut self.0 {
            State::Gzip(compressor) => compressor.compress(content, room),
            State::Snappy(compressor) => compressor.compress(content, room),
            State::Zstd(compressor) => compressor.compress(content, room),
            State::Lz4(_) => None,
        };
        out.truncate(start + size.unwrap_or(0));
        size.is_some()
    }
}

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

#[derive(Debug)]
enum State {
    Gzip(Box<gzip::Compressor>),
    Snappy(Box<snappy::Compressor>),
    Lz4(lz4::Compressor),
    Zstd(zstd::Compressor),
}

const fn damaged(reason: &'static str) -> BatchError {
    BatchError::Decompress { reason }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}
