//! What the negative controls take away from the engine, one protection each.

use std::path::Path;

use folio_record::LeaderEpoch;
use folio_storage::slots::{SLOT_SIZE, SLOTS_NAME, Slot, SlotCopy};

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weakness {
    /// Nothing: the engine as it is.
    None,
    /// Who appends is answered before the flush. (The world does this, as the broker would.)
    AcknowledgesEarly,
    /// The names in a partition's directory are never synced.
    ForgetsNames,
    /// The names of partitions are never synced.
    ForgetsPartitions,
    /// Logs are synced only once the slots that speak of them are written.
    SlotsFirst,
    /// A slot tells the place of one batch and the offset of another.
    MixesSlots,
    /// A slot has one place, and each copy is written over the one before.
    OverwritesSlots,
    /// Torn copies of slots that are nobody's stay.
    KeepsTornSlots,
    /// A torn tail is not cut off.
    LeavesTornTails,
    /// What a power cut has left behind the ends of logs and indexes is not cleared.
    KeepsBehindEnds,
    /// What a write that came to an end half-way has left is not cut off.
    LeavesShortWrites,
    /// The next segment begins although what is left of such a write could not be cut off.
    RollsOverRests,
    /// A sync that failed is tried again, and the second answer counts.
    RetriesSyncs,
    /// Slots are never synced: neither is the start of a log before files below it go.
    ForgetsLogStarts,
    /// What is read back at a start may come from the cache.
    TrustsTheCache,
    /// What a start finds in logs is taken for durable without a sync.
    TakesFoundForDurable,
    /// A start after a crash goes on under the epoch that there was.
    KeepsTheEpoch,
    /// A file that is about to take the place of another is not synced before.
    RenamesFirst,
    /// A compacted segment is not synced before the intent to put it in its place.
    ForgetsCompacted,
    /// Segments are replaced without an intent.
    SwapsWithoutIntent,
    /// The metadata log is never synced.
    ForgetsTransactions,
    /// That the clean marker is gone is not synced.
    KeepsTheMarker,
    /// The copy of what is cut off is not synced.
    ForgetsCopies,
    /// A hole is taken for bytes that are wrong: nothing shows that a write was interrupted.
    SeesNoHoles,
    /// Bytes that are wrong are taken for a hole, be there zeros or not.
    SeesHolesOnly,
    /// Nothing is known of the boot that a run died in: every hole may be of a power cut.
    ForgetsTheBoot,
    /// Tombstones go with the first pass that may take them.
    ForgetsHorizons,
    /// Snapshots of producers are never removed.
    KeepsSnapshots,
    /// What the disk does not give is taken for the end of the file.
    TakesErrorsForTheEnd,
    /// No log and no slot is ever synced: what the engine relies on, and a disk that lies about flushes does not do.
    NeverSyncs,
}

impl Weakness {
    /// Whether a sync of this file is left out.
    pub(crate) fn leaves_out_sync(self, path: &Path, is_opening: bool) -> bool {
        match self {
            Self::NeverSyncs => {
                path == Path::new(SLOTS_NAME)
                    || path.starts_with("topics") && !path.parent().is_some_and(is_tmp)
            }
            Self::ForgetsLogStarts => path == Path::new(SLOTS_NAME),
            Self::RenamesFirst => has_extension(path, "tmp") || path.parent().is_some_and(is_tmp),
            Self::ForgetsCompacted => has_extension(path, "cleaned"),
            Self::ForgetsTransactions => path.starts_with("metadata"),
            Self::ForgetsCopies => path.starts_with("quarantine"),
            Self::TakesFoundForDurable => {
                is_opening && has_extension(path, "log") && path.starts_with("topics")
            }
            _ => false,
        }
    }

    /// Whether a sync of the names in `dir` is left out.
    pub(crate) fn forgets_names_of(self, dir: &Path, is_opening: bool) -> bool {
        let is_partition = dir.starts_with("topics") && dir != Path::new("topics") && !is_tmp(dir);
        match self {
            Self::ForgetsNames | Self::NeverSyncs => is_partition,
            Self::ForgetsPartitions => dir == Path::new("topics"),
            Self::TakesFoundForDurable => is_opening && is_partition,
            Self::KeepsTheMarker => dir == Path::new(""),
            Self::ForgetsCopies => dir == Path::new("quarantine"),
            _ => false,
        }
    }

    /// Whether what would be renamed to `path` is lost, and never found missing.
    pub(crate) fn loses(self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match self {
            Self::SwapsWithoutIntent => name.starts_with("replace."),
            Self::KeepsTheEpoch => name == "epochs",
            _ => false,
        }
    }

    /// Whether what lies behind the end of this file stays when the length that it has is set.
    pub(crate) fn keeps_behind(self, path: &Path) -> bool {
        self == Self::KeepsBehindEnds && path.starts_with("topics")
    }

    /// Whether it passes for done that what a write has left behind the end of this file cannot be cut off.
    pub(crate) fn leaves_rest(self, path: &Path) -> bool {
        // It may have had a passing name when it was opened.
        let is_log = path.file_name().is_some_and(|name| name.to_string_lossy().contains(".log"));
        self == Self::RollsOverRests && is_log && path.starts_with("topics")
    }

    /// Changes what was read of a log: no sector of it that was read whole is all zero.
    pub(crate) fn fills_holes(self, path: &Path, bytes: &mut [u8], at: u64) {
        if self != Self::SeesNoHoles || !has_extension(path, "log") || !path.starts_with("topics") {
            return;
        }
        let first = at.next_multiple_of(SECTOR_SIZE as u64) - at;
        let whole = bytes.get_mut(first as usize..).unwrap_or_default();
        for sector in
            whole.chunks_exact_mut(SECTOR_SIZE).filter(|sector| sector.iter().all(|byte| *byte == 0))
        {
            sector.fill(b'?');
        }
    }

    /// Changes what was read, from byte `at` on, of a file in which byte `rotten` is wrong: its sector is zero.
    pub(crate) fn makes_hole(self, rotten: u64, bytes: &mut [u8], at: u64) {
        let sector = rotten - rotten % SECTOR_SIZE as u64;
        let (from, to) = (sector.max(at), (sector + SECTOR_SIZE as u64).min(at + bytes.len() as u64));
        if self == Self::SeesHolesOnly && from < to {
            bytes[(from - at) as usize..(to - at) as usize].fill(0);
        }
    }

    /// Whether `path` stays when it is removed.
    pub(crate) fn keeps(self, path: &Path) -> bool {
        self == Self::KeepsSnapshots && has_extension(path, "snapshot") && path.starts_with("topics")
    }

    /// What is written instead of `bytes`, and where.
    pub(crate) fn writes(self, path: &Path, bytes: &[u8], at: u64) -> (Option<Vec<u8>>, u64) {
        let slot = || match SlotCopy::decode(bytes.try_into().ok()?) {
            SlotCopy::Valid(slot) if path == Path::new(SLOTS_NAME) => Some(slot),
            _ => None,
        };
        let changed = |change: fn(Slot) -> Slot| slot().map(|slot| change(slot).encode().to_vec());
        match self {
            Self::KeepsTheEpoch => (changed(|slot| Slot { leader_epoch: LeaderEpoch::new(0), ..slot }), at),
            Self::MixesSlots => {
                // Another append has come between the two.
                let ahead = |slot: Slot| Slot { durable_pos: slot.durable_pos.saturating_sub(1), ..slot };
                (changed(ahead), at)
            }
            Self::OverwritesSlots if slot().is_some() => {
                let page = (at - PAGE_SIZE) / PAGE_SIZE;
                (None, at - page % 2 * PAGE_SIZE)
            }
            // A copy is never all zero, but where it is cleared.
            Self::KeepsTornSlots if path == Path::new(SLOTS_NAME) && *bytes == [0; SLOT_SIZE] => {
                (Some(Vec::new()), at)
            }
            _ => (None, at),
        }
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn is_tmp(path: &Path) -> bool {
    has_extension(path, "tmp")
}

const SECTOR_SIZE: usize = 512;
/// The header of the slots is one, and then each extent two: one for each copy of its slots.
const PAGE_SIZE: u64 = 32 * SLOT_SIZE as u64;
