//! What recovery may do about a fault: one pure function from evidence to verdict.
//!
//! A crash leaves traces that damage does not. A write that was interrupted ends early, or has holes of whole
//! sectors that read as zeros; it was never confirmed, so it lies above the durable point; and without a power
//! cut (same boot, same mount) it has no holes at all, for the page cache survives a process. A fault that looks
//! like this is cut off. Everything else takes the partition offline with its bytes untouched, because what it
//! cannot explain may be data that somebody was promised.
//!
//! | situation | verdict |
//! |---|---|
//! | below the durable point; a file missing or too short; segments that overlap | offline |
//! | a sealed file unlike its footer that does not hold, or may have lost its end | offline |
//! | above: a segment ends before the next begins | cut there: its end never reached the disk |
//! | above: fewer bytes than a header left, or a plausible length that ends past the file | cut |
//! | above: a length that only itself says to be right: with another the batch is intact, or the next there | offline |
//! | above: a batch that fails, or is at the wrong offset, and has a zero chunk there | cut, even before valid ones |
//! | above: no usable header | cut if a chunk of its header is zero, else offline |
//! | above: a whole batch that fails and has no zero chunk | offline |
//! | above: a valid batch at the wrong offset, or of an epoch that was never reached | offline |
//! | a zero chunk or a lost end although the machine has not rebooted since | offline |
//! | later segments, one of which the durable point names | offline; otherwise they leave whole with the cut |
//!
//! A *chunk* is what a batch has of one 512-byte sector of the file.

use std::fmt;

use folio_record::{LeaderEpoch, Offset};

/// What was met while walking a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk does not give its bytes back. Recovery never comes to judge that.
    Unreadable,
    /// A file that the slot names, or that the chain needs, is not there.
    MissingFile,
    /// The file ends before the durable point.
    ShortFile {
        /// Bytes it has.
        len: u64,
        /// Bytes that were durable.
        durable: u64,
    },
    /// A segment ends at another offset than the one at which the next begins. If it ends too early and nothing
    /// says that its end was durable, then its last batches never reached the disk, while the next file did.
    Hole {
        /// Where the segment ends.
        ends: Offset,
        /// Where the next begins.
        next_base: Offset,
    },
    /// A sealed file is not what its footer says, and is damaged or may have lost its end.
    UnlikeFooter,
    /// The file ends inside a batch header.
    CutHeader {
        /// Bytes that are left.
        left: u64,
    },
    /// A plausible header whose batch ends past the end of the file.
    CutBatch {
        /// Bytes that the batch claims.
        length: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// A whole header's worth of bytes, but not the header of a batch: magic or length is impossible, or the length is
    /// contradicted by what stands behind.
    UnusableHeader {
        /// Whether a chunk that holds part of the header is all zero.
        zero_chunk: bool,
    },
    /// A whole batch is there, and its checksum fails.
    BadBatch {
        /// Whether one of its chunks is all zero.
        zero_chunk: bool,
    },
    /// The checksum is right, but the batch contradicts itself.
    Contradiction,
    /// A valid batch that does not begin where the one before it ended.
    Discontinuous {
        /// The offset that was due.
        expected: Offset,
        /// The offset it has.
        found: Offset,
        /// Whether a sector is zero that holds nothing of the batch but bytes of its offset: the checksum does not
        /// cover those, so the batch is valid without them.
        zero_chunk: bool,
    },
    /// A valid batch of an epoch that was never reached, or of an earlier one than the batch before it.
    EpochOutOfOrder {
        /// The lowest that is possible here.
        lowest: LeaderEpoch,
        /// The highest that is possible here.
        highest: LeaderEpoch,
        /// The epoch it has.
        found: LeaderEpoch,
    },
}

/// All that a verdict depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// What was met.
    pub fault: Fault,
    /// Whether it lies below the durable point, in the segment that the durable point names.
    pub below_durable: bool,
    /// Whether the durable point lies in a later segment than the fault.
    pub durable_lies_later: bool,
    /// Whether the machine and the mount are provably those of the run that died: no power was lost.
    pub same_boot: bool,
}

/// What recovery does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A torn write: cut the file at the fault, keep a copy, and move later segments away whole.
    Cut,
    /// The partition stays as it is and takes no appends.
    Offline(Reason),
}

/// Why a fault is no torn write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The bytes were durable: a crash cannot have taken them.
    BelowDurable,
    /// A later segment was durable: so was all of this one.
    DurableLiesLater,
    /// Files are missing, short, or do not join; no interrupted append does that.
    BrokenChain,
    /// The bytes are all there, and wrong, without a trace of an interrupted write.
    NotTorn,
    /// A hole, but the machine has not rebooted: the page cache has none.
    HoleWithoutPowerLoss,
    /// Intact bytes in a place where they do not belong.
    OutOfPlace,
}

impl Evidence {
    /// About a fault whose segment (by number) and byte are `place`; the durable point lies in the segment and at the
    /// byte `durable`.
    pub fn new(fault: Fault, place: (usize, u64), durable: (usize, u64), same_boot: bool) -> Self {
        Self {
            fault,
            below_durable: place.0 == durable.0 && place.1 < durable.1,
            durable_lies_later: place.0 < durable.0,
            same_boot,
        }
    }
}

/// Judges one fault.
pub fn verdict(evidence: &Evidence) -> Verdict {
    let Evidence { fault, below_durable, durable_lies_later, same_boot } = *evidence;
    if durable_lies_later {
        return Verdict::Offline(Reason::DurableLiesLater);
    }
    if below_durable {
        return Verdict::Offline(Reason::BelowDurable);
    }
    match fault {
        Fault::MissingFile | Fault::ShortFile { .. } | Fault::UnlikeFooter => {
            Verdict::Offline(Reason::BrokenChain)
        }
        Fault::Hole { ends, next_base } if ends > next_base => Verdict::Offline(Reason::BrokenChain),
        Fault::Hole { .. } if same_boot => Verdict::Offline(Reason::HoleWithoutPowerLoss),
        Fault::Hole { .. } => Verdict::Cut,
        Fault::CutHeader { .. } | Fault::CutBatch { .. } => Verdict::Cut,
        Fault::UnusableHeader { zero_chunk: true }
        | Fault::BadBatch { zero_chunk: true }
        | Fault::Discontinuous { zero_chunk: true, .. } => {
            if same_boot {
                Verdict::Offline(Reason::HoleWithoutPowerLoss)
            } else {
                Verdict::Cut
            }
        }
        Fault::UnusableHeader { zero_chunk: false } | Fault::BadBatch { zero_chunk: false } => {
            Verdict::Offline(Reason::NotTorn)
        }
        Fault::Contradiction | Fault::Unreadable => Verdict::Offline(Reason::NotTorn),
        Fault::Discontinuous { .. } | Fault::EpochOutOfOrder { .. } => Verdict::Offline(Reason::OutOfPlace),
    }
}

/// Whether one of the chunks of a batch is all zero: a sector that never reached the disk.
///
/// `bytes` are what the file has of the batch (or of its header), and `at` is where they begin in the file. The
/// base offset leads the batch and is known beforehand (`base`), so a chunk that holds nothing but bytes of it
/// that have to be zero is no hole: with small offsets every batch begins with zeros.
pub fn has_zero_chunk(bytes: &[u8], at: u64, base: Offset) -> bool {
    let base = base.get().to_be_bytes();
    let mut from = 0;
    while from < bytes.len() {
        let to_sector_end = SECTOR_SIZE - ((at + from as u64) % SECTOR_SIZE as u64) as usize;
        let to = bytes.len().min(from + to_sector_end);
        let due = to <= base.len() && base[from..to].iter().all(|byte| *byte == 0);
        if !due && bytes[from..to].iter().all(|byte| *byte == 0) {
            return true;
        }
        from = to;
    }
    false
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingFile => f.write_str("the file is missing"),
            Self::ShortFile { len, durable } => {
                write!(f, "the file has {len} bytes where {durable} were durable")
            }
            Self::Hole { ends, next_base } => {
                write!(
                    f,
                    "the segment ends at offset {} and the next begins at {}",
                    ends.get(),
                    next_base.get()
                )
            }
            Self::UnlikeFooter => f.write_str("the file is not what its footer says"),
            Self::CutHeader { left } => write!(f, "the file ends after {left} bytes of a batch header"),
            Self::CutBatch { length, left } => write!(f, "a batch of {length} bytes has {left} in the file"),
            Self::UnusableHeader { zero_chunk } => {
                write!(
                    f,
                    "no batch header stands here{}",
                    if *zero_chunk { ", and a sector of it is zero" } else { "" }
                )
            }
            Self::BadBatch { zero_chunk } => {
                write!(
                    f,
                    "a batch fails its checksum{}",
                    if *zero_chunk { ", and a sector of it is zero" } else { "" }
                )
            }
            Self::Unreadable => f.write_str("the disk cannot read what is here or right behind"),
            Self::Contradiction => f.write_str("a batch with a good checksum contradicts itself"),
            Self::Discontinuous { expected, found, .. } => {
                write!(f, "a valid batch begins at offset {} where {} was due", found.get(), expected.get())
            }
            Self::EpochOutOfOrder { lowest, highest, found } => write!(
                f,
                "a valid batch carries leader epoch {} where {} to {} are possible",
                found.get(),
                lowest.get(),
                highest.get()
            ),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BelowDurable => {
                "these bytes were known to be on stable storage, so a crash cannot explain it"
            }
            Self::DurableLiesLater => {
                "a later segment was known to be on stable storage, so a crash cannot explain it"
            }
            Self::BrokenChain => "an interrupted append does not do this",
            Self::NotTorn => "it bears no trace of an interrupted write",
            Self::HoleWithoutPowerLoss => {
                "the machine has not lost power since, so a crash cannot explain it"
            }
            Self::OutOfPlace => "intact bytes in a place where they do not belong are no torn write",
        })
    }
}

/// The unit in which a disk loses an interrupted write.
pub const SECTOR_SIZE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const ABOVE: Evidence = Evidence {
        fault: Fault::Contradiction,
        below_durable: false,
        durable_lies_later: false,
        same_boot: false,
    };

    fn faults() -> Vec<Fault> {
        let (offset, epoch) = (Offset::new(5), LeaderEpoch::new(1));
        let mut faults = vec![
            Fault::MissingFile,
            Fault::ShortFile { len: 1, durable: 2 },
            Fault::Hole { ends: offset, next_base: Offset::new(9) },
            Fault::UnlikeFooter,
            Fault::CutHeader { left: 60 },
            Fault::CutBatch { length: 100, left: 99 },
            Fault::Contradiction,
            Fault::Discontinuous { expected: offset, found: Offset::new(6), zero_chunk: false },
            Fault::EpochOutOfOrder { lowest: epoch, highest: epoch, found: LeaderEpoch::new(2) },
        ];
        for zero_chunk in [false, true] {
            faults.extend([Fault::UnusableHeader { zero_chunk }, Fault::BadBatch { zero_chunk }]);
        }
        faults
    }

    #[test]
    fn whatever_lies_below_the_durable_point_takes_the_partition_offline() {
        for fault in faults() {
            for same_boot in [false, true] {
                let evidence = Evidence { fault, below_durable: true, same_boot, ..ABOVE };
                assert_eq!(verdict(&evidence), Verdict::Offline(Reason::BelowDurable), "{fault}");
            }
        }
    }

    #[test]
    fn a_durable_point_in_a_later_segment_forbids_every_cut() {
        for fault in faults() {
            for below_durable in [false, true] {
                let evidence = Evidence { fault, below_durable, durable_lies_later: true, ..ABOVE };
                assert_eq!(verdict(&evidence), Verdict::Offline(Reason::DurableLiesLater), "{fault}");
            }
        }
    }

    #[test]
    fn a_broken_chain_takes_the_partition_offline_even_above_the_durable_point() {
        let overlap = Fault::Hole { ends: Offset::new(9), next_base: Offset::new(5) };
        for fault in
            [Fault::MissingFile, Fault::ShortFile { len: 1, durable: 2 }, Fault::UnlikeFooter, overlap]
        {
            assert_eq!(
                verdict(&Evidence { fault, ..ABOVE }),
                Verdict::Offline(Reason::BrokenChain),
                "{fault}"
            );
        }
    }

    #[test]
    fn above_a_segment_that_ends_before_the_next_begins_has_lost_its_end_with_the_power() {
        let fault = Fault::Hole { ends: Offset::new(5), next_base: Offset::new(9) };
        assert_eq!(verdict(&Evidence { fault, ..ABOVE }), Verdict::Cut);
        let evidence = Evidence { fault, same_boot: true, ..ABOVE };
        assert_eq!(verdict(&evidence), Verdict::Offline(Reason::HoleWithoutPowerLoss));
    }

    #[test]
    fn above_a_file_that_ends_inside_a_batch_is_torn_with_or_without_power_loss() {
        for fault in [Fault::CutHeader { left: 60 }, Fault::CutBatch { length: 100, left: 99 }] {
            for same_boot in [false, true] {
                assert_eq!(verdict(&Evidence { fault, same_boot, ..ABOVE }), Verdict::Cut, "{fault}");
            }
        }
    }

    #[test]
    fn above_a_failing_batch_with_a_zero_chunk_is_torn() {
        let fault = Fault::BadBatch { zero_chunk: true };
        assert_eq!(verdict(&Evidence { fault, ..ABOVE }), Verdict::Cut);
    }

    #[test]
    fn above_an_unusable_header_is_torn_only_with_a_zero_chunk() {
        let fault = Fault::UnusableHeader { zero_chunk: true };
        assert_eq!(verdict(&Evidence { fault, ..ABOVE }), Verdict::Cut);
        let fault = Fault::UnusableHeader { zero_chunk: false };
        assert_eq!(verdict(&Evidence { fault, ..ABOVE }), Verdict::Offline(Reason::NotTorn));
    }

    #[test]
    fn above_a_whole_batch_that_fails_without_a_zero_chunk_is_not_torn() {
        for fault in [Fault::BadBatch { zero_chunk: false }, Fault::Contradiction] {
            assert_eq!(verdict(&Evidence { fault, ..ABOVE }), Verdict::Offline(Reason::NotTorn), "{fault}");
        }
    }

    #[test]
    fn above_a_valid_batch_out_of_place_is_not_torn() {
        let (offset, epoch) = (Offset::new(5), LeaderEpoch::new(1));
        for fault in [
            Fault::Discontinuous { expected: offset, found: Offset::new(6), zero_chunk: false },
            Fault::EpochOutOfOrder { lowest: epoch, highest: epoch, found: LeaderEpoch::new(2) },
        ] {
            assert_eq!(
                verdict(&Evidence { fault, ..ABOVE }),
                Verdict::Offline(Reason::OutOfPlace),
                "{fault}"
            );
        }
    }

    #[test]
    fn above_a_batch_whose_offset_alone_was_lost_with_a_sector_is_torn() {
        let fault =
            Fault::Discontinuous { expected: Offset::new(5), found: Offset::new(0), zero_chunk: true };
        assert_eq!(verdict(&Evidence { fault, ..ABOVE }), Verdict::Cut);
        let evidence = Evidence { fault, same_boot: true, ..ABOVE };
        assert_eq!(verdict(&evidence), Verdict::Offline(Reason::HoleWithoutPowerLoss));
    }

    #[test]
    fn without_power_loss_a_zero_chunk_is_not_torn() {
        for fault in [Fault::BadBatch { zero_chunk: true }, Fault::UnusableHeader { zero_chunk: true }] {
            let evidence = Evidence { fault, same_boot: true, ..ABOVE };
            assert_eq!(verdict(&evidence), Verdict::Offline(Reason::HoleWithoutPowerLoss), "{fault}");
        }
    }

    #[test]
    fn a_zero_chunk_is_what_a_batch_has_of_one_sector() {
        let base = Offset::new(0x0102_0304_0506_0708);
        let mut batch = vec![1_u8; 1200];
        assert!(!has_zero_chunk(&batch, 100, base));
        // The batch begins 100 bytes into a sector: its chunks are 0..412, 412..924 and 924..1200.
        batch[412..924].fill(0);
        assert!(has_zero_chunk(&batch, 100, base));
        batch[923] = 1;
        assert!(!has_zero_chunk(&batch, 100, base), "511 zeros are no lost sector");
        batch[924..].fill(0);
        assert!(has_zero_chunk(&batch, 100, base), "the chunk at the end is shorter than a sector");
        assert!(!has_zero_chunk(&batch[..924], 100, base));
    }

    #[test]
    fn zeros_that_the_base_offset_has_to_have_are_no_hole() {
        // Three bytes of the batch lie at the end of one sector, the rest in the next.
        let mut batch = vec![1_u8; 200];
        batch[..8].copy_from_slice(&70_000_i64.to_be_bytes());
        assert!(!has_zero_chunk(&batch, 509, Offset::new(70_000)));
        assert!(has_zero_chunk(&batch, 509, Offset::new(i64::MAX)), "these bytes should not have been zero");
        batch[..8].fill(0);
        assert!(
            has_zero_chunk(&batch, 504, Offset::new(70_000)),
            "a whole base offset of zero is not the one due"
        );
    }
}
