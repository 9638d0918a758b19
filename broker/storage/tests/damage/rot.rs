//! A bit of a directory changes, or a file loses its end, in whatever file. All of it was on stable storage, so nothing
//! may be lost for it: either it is found out, or it does no harm. It is never served in silence, and nothing is ever cut
//! for it. And `verify`, which has not seen the directory before, finds every change but those that provably do no harm.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_record::{Offset, Timestamp};
use folio_storage::files::SimFiles;
use folio_storage::verify::Severity;
use proptest::prelude::*;

use crate::rig::{Change, End, RECORDS, batches, directory, findings, is_log, kept, open, read, restore};

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The directory does not open.
    Refused,
    /// Its partition is offline, or gone with its topic.
    Offline,
    /// A read fails, or the checksum of what it gives.
    FoundByReading,
    /// Everything is there.
    Harmless,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_bit_or_a_lost_end_is_found_or_does_no_harm(
        end in prop_oneof![Just(End::Clean), Just(End::Killed), Just(End::PowerCut)],
        file in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        place in any::<prop::sample::Index>(),
    ) {
        let good = directory(end);
        let path = file.get(&good.keys().collect::<Vec<_>>()).to_path_buf();
        prop_assume!(!good[&path].is_empty());
        let change = Change::of(&good[&path], is_cut, place);
        look(&path, change, end)?;
    }
}

/// `FOLIO_ROT_CASES=10000` is the whole of it; what runs with every other test is enough to meet each file dozens of times.
fn cases() -> u32 {
    std::env::var("FOLIO_ROT_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1500)
}

#[test]
fn a_flipped_bit_of_the_header_of_any_batch_is_found() {
    let good = directory(End::Clean);
    let logs: Vec<&PathBuf> = good.keys().filter(|path| is_log(path)).collect();
    assert!(logs.len() >= 6, "two logs of three segments or more");
    for path in logs {
        // Base offset, length, magic and checksum of the first batch. The epoch is covered by nothing that a start reads.
        for byte in (0..12).chain(16..21) {
            let outcome = look(path, Change::Flip(byte * 8 + byte % 8), End::Clean).unwrap();
            assert_ne!(outcome, Outcome::Harmless, "byte {byte} of {}", path.display());
        }
    }
}

/// Opens the directory with one file changed, reads all of it, and says what became of that; `verify` is asked first.
fn look(path: &Path, change: Change, end: End) -> Result<Outcome, TestCaseError> {
    let files = restore(directory(end));
    change.make(&files, path);
    if let End::PowerCut = end {
        files.crash(0);
    }
    let (found, summary) = findings(&files);
    let told = found.iter().map(|finding| finding.severity).max();
    prop_assert_eq!(summary.damage + summary.interrupted + summary.harmless, found.len() as u64);
    prop_assert!(told.is_some() || is_beyond_telling(path, change, end), "{:?}", change);

    let outcome = serve(files, path, change, end)?;
    if outcome != Outcome::Harmless {
        prop_assert_eq!(told, Some(Severity::Damage), "{:?} {:?}: {:?}", outcome, change, found);
    }
    Ok(outcome)
}

/// What a daemon makes of it.
fn serve(files: SimFiles, path: &Path, change: Change, end: End) -> Result<Outcome, TestCaseError> {
    let Ok((_dir, report)) = open(&Arc::new(files)) else { return Ok(Outcome::Refused) };
    let mut outcome = Outcome::Harmless;
    if report.partitions.len() != 2 {
        // Without its metadata log nobody knows the topic; its directories are moved aside whole.
        prop_assert_eq!((report.partitions.len(), report.quarantined.len()), (0, 2));
        outcome = Outcome::Offline;
    }
    for partition in &report.partitions {
        let Ok((log, recovered)) = &partition.state else {
            outcome = Outcome::Offline;
            let below = partition.below.as_ref();
            if is_log(path) {
                // What stands before the damage is served all the same.
                let kept = kept(directory(end), path, change, partition.id.partition);
                prop_assert_eq!(below.map_or(0, |log| log.log_end().get()), kept);
            }
            if let Some(log) = below {
                prop_assert!(read(log, partition.id.partition)?);
            }
            continue;
        };
        prop_assert!(recovered.cut.is_none(), "cut what was durable: {:?}", recovered.cut);
        prop_assert_eq!((log.log_start(), log.log_end()), (Offset::ZERO, Offset::new(RECORDS)));
        if !read(log, partition.id.partition)? {
            outcome = Outcome::FoundByReading;
        }
        if !is_log(path) {
            prop_assert_ne!(outcome, Outcome::FoundByReading, "the logs are good");
            for offset in [0, 7, RECORDS - 1] {
                let hit = log.offset_for_time(Timestamp::new(1000 + offset)).unwrap().unwrap();
                prop_assert_eq!(hit.offset.get(), offset);
            }
        }
    }
    Ok(outcome)
}

/// Changes that do no harm, and that nothing tells.
fn is_beyond_telling(path: &Path, change: Change, end: End) -> bool {
    match path.to_str().unwrap() {
        // It names whoever held it last, for a message; what excludes is not in the file.
        "LOCK" => true,
        // The number of the last transaction, if it rises: there may be gaps. The state is the same.
        "metadata/00000000000000000000.log" => {
            matches!(change, Change::Flip(bit) if last_batch(&directory(end)[path]).contains(&(bit / 8)))
        }
        _ => false,
    }
}

/// Where the base offset of the last batch lies.
fn last_batch(log: &[u8]) -> std::ops::Range<usize> {
    let (at, _) = *batches(log).last().unwrap();
    at..at + 8
}
