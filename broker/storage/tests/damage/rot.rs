//! A bit of a directory changes, or a file loses its end, in whatever file. All of it was on stable storage, so nothing
//! may be lost for it: either it is found out, or it does no harm. It is never served in silence, and nothing is ever
//! cut for it. And `verify`, which has not seen the directory before, finds every change but those that provably do no
//! harm, and names it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_record::{Offset, Timestamp};
use folio_storage::data_dir::OpenedPartition;
use folio_storage::files::SimFiles;
use folio_storage::verify::Severity;
use proptest::prelude::*;

use crate::compacted::{is_moved, rows};
use crate::naming;
use crate::rig::{Change, End, RECORDS, cases, findings, is_log, kept, open, read, restore};
use crate::whole::{COMPACTED, PARTITIONS, Whole, whole};

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Everything is there.
    Harmless,
    /// A read fails, or the checksum of what it gives.
    FoundByReading,
    /// Its partition is offline, or gone with its topic.
    Offline,
    /// The directory does not open.
    Refused,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(2000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_bit_or_a_lost_end_is_found_or_does_no_harm(
        end in prop_oneof![Just(End::Clean), Just(End::Killed), Just(End::PowerCut)],
        file in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        place in any::<prop::sample::Index>(),
    ) {
        let good = &whole(end).files;
        let path = file.get(&good.keys().collect::<Vec<_>>()).to_path_buf();
        prop_assume!(!good[&path].is_empty());
        let change = Change::of(&good[&path], is_cut, place);
        look(&path, change, end)?;
    }
}

#[test]
fn a_flipped_bit_of_the_header_of_any_batch_is_found() {
    let good = &whole(End::Clean).files;
    let logs: Vec<&PathBuf> =
        good.keys().filter(|path| is_log(path) && path.starts_with("topics/t-0")).collect();
    assert!(logs.len() >= 3, "three segments or more");
    for path in logs {
        // Base offset, length, magic and checksum of the first batch. The epoch is covered by nothing that a start
        // reads.
        for byte in (0..12).chain(16..21) {
            let outcome = look(path, Change::Flip(byte * 8 + byte % 8), End::Clean).unwrap();
            assert_ne!(outcome, Outcome::Harmless, "byte {byte} of {}", path.display());
        }
    }
}

/// Opens the directory with one file changed, reads all of it, and says what became of that; `verify` is asked first.
fn look(path: &Path, change: Change, end: End) -> Result<Outcome, TestCaseError> {
    let whole = whole(end);
    let files = restore(&whole.files);
    change.make(&files, path);
    if let End::PowerCut = end {
        files.crash(0);
    }
    let (found, summary) = findings(&files);
    prop_assert_eq!(summary.damage + summary.interrupted + summary.harmless, found.len() as u64);
    naming::check(&whole.files, &whole.said, (path, change), &found)?;

    let told = found.iter().map(|finding| finding.severity).max();
    let outcome = serve(files, path, change, whole, told)?;
    if outcome != Outcome::Harmless {
        prop_assert_eq!(told, Some(Severity::Damage), "{:?} {:?}: {:?}", outcome, change, found);
    }
    Ok(outcome)
}

/// What a daemon makes of it.
fn serve(
    files: SimFiles,
    path: &Path,
    change: Change,
    whole: &Whole,
    told: Option<Severity>,
) -> Result<Outcome, TestCaseError> {
    let Ok((_dir, report)) = open(&Arc::new(files)) else { return Ok(Outcome::Refused) };
    let mut outcome = Outcome::Harmless;
    if report.partitions.len() != PARTITIONS {
        // Without its metadata log nobody knows the topic; its directories are moved aside whole.
        prop_assert_eq!((report.partitions.len(), report.quarantined.len()), (0, PARTITIONS));
        outcome = Outcome::Offline;
    }
    for partition in &report.partitions {
        if partition.topic == COMPACTED {
            outcome = outcome.max(serve_compacted(partition, path, change, whole, told)?);
            continue;
        }
        let Ok((log, recovered)) = &partition.state else {
            outcome = Outcome::Offline;
            let below = partition.below.as_ref();
            if is_log(path) {
                // What stands before the damage is served all the same.
                let kept = kept(&whole.files, path, change, partition.id.partition);
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
            prop_assert!(is_log(path), "the logs are good");
            outcome = outcome.max(Outcome::FoundByReading);
        }
        if !is_log(path) {
            for offset in [0, 7, RECORDS - 1] {
                let hit = log.offset_for_time(Timestamp::new(1000 + offset)).unwrap().unwrap();
                prop_assert_eq!(hit.offset.get(), offset);
            }
        }
    }
    Ok(outcome)
}

/// The same of the log that is compacted.
fn serve_compacted(
    partition: &OpenedPartition<SimFiles>,
    path: &Path,
    change: Change,
    whole: &Whole,
    told: Option<Severity>,
) -> Result<Outcome, TestCaseError> {
    let Ok((log, recovered)) = &partition.state else {
        let below = partition.below.as_ref().and_then(|log| rows(log)).unwrap_or_default();
        prop_assert_eq!(&whole.compacted[..below.len()], &below[..]);
        return Ok(Outcome::Offline);
    };
    prop_assert!(recovered.cut.is_none(), "cut what was durable: {:?}", recovered.cut);
    match rows(log) {
        None => Ok(Outcome::FoundByReading),
        // Until it is scrubbed or verified, nothing reads what covers the offset of a batch.
        Some(rows) if rows != whole.compacted && is_log(path) && is_moved(&whole.files[path], change) => {
            prop_assert_eq!(told, Some(Severity::Damage));
            Ok(Outcome::Harmless)
        }
        Some(rows) => {
            prop_assert_eq!(&rows, &whole.compacted);
            Ok(Outcome::Harmless)
        }
    }
}
