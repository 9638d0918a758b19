//! What the files in a partition's directory are called.
//!
//! ```text
//! partition.meta                    whose directory this is
//! epochs                            leader epochs and where they begin
//! compacted                         how far the log was compacted
//! 00000000000000000000.log          a segment: batches, from this offset on
//! 00000000000000000000.index        its offset index
//! 00000000000000000000.timeindex    its time index
//! 00000000000000123456.snapshot     producer state at that offset
//! replace.7                         a running replacement of segments
//! *.tmp, *.cleaned                  unfinished, garbage after a crash
//! ```

use std::path::{Path, PathBuf};

use folio_record::Offset;

use crate::index::IndexKind;

/// What a name in a partition's directory means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionFile {
    /// `partition.meta`.
    Meta,
    /// `epochs`.
    Epochs,
    /// `compacted`.
    Compacted,
    /// A file of the segment with this base offset.
    Segment(Offset, SegmentFile),
    /// Producer state at an offset.
    Snapshot(Offset),
    /// The intent of a replacement.
    Replacement(u64),
    /// Left behind by something that did not finish.
    Unfinished,
}

/// The files of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentFile {
    /// Its batches.
    Log,
    /// Its offset index.
    OffsetIndex,
    /// Its time index.
    TimeIndex,
}

impl PartitionFile {
    /// What `name` means; `None` for a name that nothing here gives.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            crate::partition::PARTITION_META_NAME => return Some(Self::Meta),
            crate::epochs::EPOCHS_NAME => return Some(Self::Epochs),
            crate::compacted::COMPACTED_NAME => return Some(Self::Compacted),
            _ => {}
        }
        let (stem, extension) = name.rsplit_once('.')?;
        match extension {
            "tmp" | "cleaned" => Some(Self::Unfinished),
            "log" => Some(Self::Segment(parse_offset(stem)?, SegmentFile::Log)),
            "index" => Some(Self::Segment(parse_offset(stem)?, SegmentFile::OffsetIndex)),
            "timeindex" => Some(Self::Segment(parse_offset(stem)?, SegmentFile::TimeIndex)),
            "snapshot" => Some(Self::Snapshot(parse_offset(stem)?)),
            number if stem == "replace" => {
                let plain = number.parse().ok().filter(|plain: &u64| plain.to_string() == number);
                plain.map(Self::Replacement)
            }
            _ => None,
        }
    }
}

/// The path of the snapshot of producers at `end` in the partition's directory.
pub fn snapshot_path(dir: &Path, end: Offset) -> PathBuf {
    dir.join(format!("{:020}.snapshot", end.get()))
}

impl SegmentFile {
    /// All of them. The log is the first to be made and the last to be given its name.
    pub const ALL: [Self; 3] = [Self::Log, Self::OffsetIndex, Self::TimeIndex];

    /// The file of an index.
    pub const fn index(kind: IndexKind) -> Self {
        match kind {
            IndexKind::Offset => Self::OffsetIndex,
            IndexKind::Time => Self::TimeIndex,
        }
    }

    /// The path of this file of the segment at `base` in the partition's directory.
    pub fn path(self, dir: &Path, base: Offset) -> PathBuf {
        dir.join(format!("{:020}.{}", base.get(), self.extension()))
    }

    /// What its name ends in.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::OffsetIndex => "index",
            Self::TimeIndex => "timeindex",
        }
    }
}

fn parse_offset(digits: &str) -> Option<Offset> {
    let is_plain = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_plain { digits.parse().ok().map(Offset::new) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written() {
        for file in SegmentFile::ALL {
            for base in [0, 123_456, i64::MAX] {
                let path = file.path(Path::new("t-0"), Offset::new(base));
                let name = path.file_name().unwrap().to_str().unwrap();
                assert_eq!(
                    PartitionFile::parse(name),
                    Some(PartitionFile::Segment(Offset::new(base), file)),
                    "{name}"
                );
            }
        }
        assert_eq!(PartitionFile::parse("partition.meta"), Some(PartitionFile::Meta));
        assert_eq!(PartitionFile::parse("epochs"), Some(PartitionFile::Epochs));
        assert_eq!(PartitionFile::parse("compacted"), Some(PartitionFile::Compacted));
        assert_eq!(PartitionFile::parse("replace.7"), Some(PartitionFile::Replacement(7)));
        assert_eq!(
            PartitionFile::parse("00000000000000000009.snapshot"),
            Some(PartitionFile::Snapshot(Offset::new(9)))
        );
        for name in ["epochs.tmp", "00000000000000000000.index.tmp", "00000000000000000000.log.cleaned"] {
            assert_eq!(PartitionFile::parse(name), Some(PartitionFile::Unfinished), "{name}");
        }
    }

    #[test]
    fn any_other_name_means_nothing() {
        for name in [
            "",
            "log",
            "0.log",
            "-0000000000000000001.log",
            "+0000000000000000001.log",
            "notes.txt",
            "99999999999999999999.log",
            "replace.x",
            "replace.+7",
            "replace.07",
            "00000000000000000000.LOG",
            "..",
        ] {
            assert_eq!(PartitionFile::parse(name), None, "{name}");
        }
    }
}
