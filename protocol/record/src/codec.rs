//! A compression and how hard it tries.

use std::fmt;
use std::str::FromStr;

use crate::{Compression, Levels, UnknownCodec};

/// What batches are compressed with: a [`Compression`] and its level.
///
/// ```
/// use folio_record::{Codec, Compression};
///
/// assert_eq!(Codec::from(Compression::Zstd).level(), 3);
/// assert_eq!(Codec::with_level(Compression::Gzip, 9)?.to_string(), "gzip");
/// assert!(Codec::with_level(Compression::Gzip, 10).is_err());
/// # Ok::<(), folio_record::UnknownLevel>(())
/// ```
///
/// lz4 has one level here: those that Kafka takes are taken, and make no difference. zstd has one unless this crate
/// is built with the feature `libzstd`. Readers need not know the level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codec {
    compression: Compression,
    level: i32,
}

/// A codec has no such level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLevel {
    /// The codec.
    pub compression: Compression,
    /// What was asked for.
    pub level: i32,
}

impl Codec {
    /// No compression.
    pub const NONE: Self = Self { compression: Compression::None, level: 0 };

    /// `compression` at this level, which is in its [`levels`](Compression::levels) or their default.
    ///
    /// # Errors
    ///
    /// It has no such level, or none at all.
    pub fn with_level(compression: Compression, level: i32) -> Result<Self, UnknownLevel> {
        match compression.levels() {
            Some(levels) if (levels.min..=levels.max).contains(&level) || level == levels.default => {
                Ok(Self { compression, level })
            }
            _ => Err(UnknownLevel { compression, level }),
        }
    }

    /// The compression.
    pub const fn compression(self) -> Compression {
        self.compression
    }

    /// Its level; 0 if it has none.
    pub const fn level(self) -> i32 {
        self.level
    }
}

impl From<Compression> for Codec {
    /// At the default level.
    fn from(compression: Compression) -> Self {
        Self { compression, level: compression.levels().map_or(0, |levels| levels.default) }
    }
}

impl FromStr for Codec {
    type Err = CodecError;

    /// The name of a codec, and perhaps a level behind a colon: `zstd` or `zstd:9`.
    fn from_str(text: &str) -> Result<Self, CodecError> {
        match text.split_once(':') {
            None => Ok(text.parse::<Compression>()?.into()),
            Some((name, level)) => {
                let compression = name.parse::<Compression>()?;
                let level = level.parse().map_err(|_| CodecError::NotALevel)?;
                Ok(Self::with_level(compression, level)?)
            }
        }
    }
}

/// Why a text names no codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// There is none of this name.
    #[error(transparent)]
    Codec(#[from] UnknownCodec),
    /// What stands behind the colon is no number.
    #[error("a level is a whole number, as in zstd:9")]
    NotALevel,
    /// The codec does not have the level.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.compression.fmt(f)
    }
}

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compression, level } = self;
        match compression.levels() {
            None => write!(f, "{compression} compression has no levels"),
            Some(Levels { min, max, .. }) => {
                write!(f, "{compression} compression has no level {level}, only {min} to {max}")
            }
        }
    }
}

impl std::error::Error for UnknownLevel {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_levels_are_taken_and_no_others() {
        let cases = [
            (Compression::Gzip, vec![-1, 1, 9], vec![-2, 0, 10]),
            (Compression::Lz4, vec![1, 9, 17], vec![-1, 0, 18]),
            (Compression::Zstd, vec![-131_072, -1, 0, 3, 22], vec![-131_073, 23, i32::MAX]),
            (Compression::Snappy, vec![], vec![0, 1]),
            (Compression::None, vec![], vec![0]),
        ];
        for (compression, good, bad) in cases {
            for level in good {
                let codec = Codec::with_level(compression, level);
                assert_eq!(codec.map(Codec::level), Ok(level));
                assert_eq!(format!("{compression}:{level}").parse().ok(), codec.ok());
            }
            assert_eq!(compression.name().parse(), Ok(Codec::from(compression)));
            for level in bad {
                assert!(format!("{compression}:{level}").parse::<Codec>().is_err());
                let refused = Codec::with_level(compression, level).unwrap_err();
                assert_eq!(refused, UnknownLevel { compression, level });
                assert!(refused.to_string().contains(compression.name()), "{refused}");
            }
        }
        assert_eq!("bzip2".parse::<Codec>(), Err(CodecError::Codec(UnknownCodec)));
        assert_eq!("gzip:fast".parse::<Codec>(), Err(CodecError::NotALevel));
    }
}
