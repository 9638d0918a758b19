//! The same of a log that was compacted, and of one whose segments were just being replaced. `FOLIO_ROT_CASES` is for
//! these, too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::BytesMut;
use folio_record::{
    BatchBuilder, Compression, DecompressLimit, NewRecord, Offset, ProducerId, Timestamp, UnverifiedBatch,
};
use folio_storage::compacted::{COMPACTED_NAME, Compacted};
use folio_storage::files::SimFiles;
use folio_storage::repair::Step;
use folio_storage::replacement::Replacement;
use folio_storage::verify::{Finding, Severity};
use folio_storage::{
    Compacting, CompactionOptions, Cursor, DataDir, DirtyRatio, Log, LogOptions, Mode, Read, Sealed, Touch,
};
use proptest::prelude::*;

use crate::naming;
use crate::repair;
use crate::rig::{Change, NOW, batches, cases, findings, is_log, open, options, restore, topic};

pub(crate) type Rows = Vec<(i64, String, Option<String>)>;

/// A directory, and what a consumer reads in it.
struct Written {
    snapshot: BTreeMap<PathBuf, Vec<u8>>,
    /// What `verify` says of it.
    said: Vec<Finding>,
    rows: Rows,
    /// The replacement that is under way.
    intent: Option<Replacement>,
}

/// One that was closed, one that was killed, and some that were killed while segments were replaced.
static WRITTEN: LazyLock<Vec<Written>> = LazyLock::new(|| {
    let mut written = vec![write(None, true), write(None, false)];
    let (mut at, mut has_begun) = (0, false);
    loop {
        let next = write(Some(at), false);
        let is_under_way = next.intent.is_some();
        if is_under_way {
            written.push(next);
        }
        has_begun |= is_under_way;
        if has_begun && !is_under_way || at > 500 {
            return written;
        }
        at += 1;
    }
});

/// Has a log be compacted.
pub(crate) fn set_compaction(log: &Log<SimFiles>) {
    let compaction = CompactionOptions {
        min_lag_ms: 0,
        max_lag_ms: None,
        dirty_ratio_min: DirtyRatio::new(0.5),
        delete_retention_ms: 1 << 40,
    };
    log.set_options(LogOptions { compaction: Some(compaction), segment_ms: Some(5), ..options() });
}

/// Fills a log that is compacted, and closes and seals all but its last segment.
pub(crate) fn fill(dir: &DataDir<SimFiles>, log: &Arc<Log<SimFiles>>) {
    set_compaction(log);
    append(log, 30);
    log.roll_if_expired(Timestamp::new(NOW.get() + 10)).unwrap();
    append(log, 3);
    log.take_snapshot().unwrap();
    dir.flush(std::slice::from_ref(log), NOW, Instant::now()).unwrap();
    while log.seal_next(NOW).unwrap() != Sealed::Nothing {}
}

/// Appends so many batches of two keyed records, tombstones among them, some of an idempotent producer.
fn append(log: &Log<SimFiles>, batches: i64) {
    let first = log.log_end().get() / 2;
    for number in first..first + batches {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 16);
        if number % 4 == 0 {
            builder.producer(ProducerId::new(5), 0, 2 * i32::try_from(number / 4).unwrap());
        }
        for part in 0..2 {
            let (key, value) =
                (format!("k{}", (number * 3 + part) % 11), format!("{number}.{part} {}", "x".repeat(250)));
            let value = (number % 9 != 4).then_some(value.as_bytes());
            let timestamp = Timestamp::new(1000 + 2 * number + part);
            builder.append(&NewRecord { timestamp, key: Some(key.as_bytes()), value, headers: &[] }).unwrap();
        }
        let batch = BytesMut::from(builder.build().unwrap().as_slice());
        log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
    }
}

/// Compacts a log, as far as that goes.
pub(crate) fn compact(dir: &DataDir<SimFiles>, log: &Arc<Log<SimFiles>>) {
    let mut pass = log.compact([1, 2], 1 << 20, NOW).unwrap();
    while pass.step(dir, 1 << 20).is_ok_and(|progress| progress.state == Compacting::Working) {}
}

/// Dies so many operations into the compaction, if it is to.
fn write(dies_at: Option<u64>, is_clean: bool) -> Written {
    let files = SimFiles::new();
    let (dir, _): (DataDir<SimFiles>, _) = open(&Arc::new(files.clone())).unwrap();
    let log = dir.create_topic(topic(9), &options(), NOW).unwrap().remove(0);
    fill(&dir, &log);
    if let Some(at) = dies_at {
        files.cut_power_at(files.operations() + at);
    }
    compact(&dir, &log);
    drop(log);
    if is_clean {
        dir.close_clean(NOW, Instant::now()).unwrap();
    } else {
        drop(dir);
        files.kill();
    }
    let snapshot = files.snapshot();
    let intent = intent(&snapshot);
    let (_dir, report) = open(&Arc::new(restore(&snapshot))).unwrap();
    let rows = rows(&report.partitions[0].state.as_ref().unwrap().0).unwrap();
    let said = findings(&restore(&snapshot)).0;
    Written { snapshot, said, rows, intent }
}

/// The replacement that is under way.
pub(crate) fn intent(snapshot: &BTreeMap<PathBuf, Vec<u8>>) -> Option<Replacement> {
    let path = snapshot.keys().find(|path| is_intent(path))?;
    Replacement::decode(&snapshot[path]).ok()
}

/// Everything that a consumer reads; `None` if it meets an error.
pub(crate) fn rows(log: &Log<SimFiles>) -> Option<Rows> {
    let (mut offset, mut cursor, mut rows) = (log.log_start(), Cursor::default(), Vec::new());
    while offset < log.high_watermark() {
        let Ok(Read::Ready(fetched)) = log.read(offset, 900, &mut cursor, Touch::Any) else { return None };
        let slice = fetched.slice.expect("there is more below the high watermark");
        let mut bytes = vec![0; slice.len()];
        slice.copy_to(0, &mut bytes).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (batch, behind) = UnverifiedBatch::split_first(rest).ok()?;
            let records = batch.verify().ok()?.records(DecompressLimit::new(1 << 20)).ok()?;
            for record in &records {
                let record = record.ok()?;
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                rows.push((record.offset.get(), text(record.key.unwrap()), record.value.map(text)));
            }
            rest = behind;
        }
        assert!(fetched.next_offset > offset);
        offset = fetched.next_offset;
    }
    Some(rows)
}

impl Written {
    fn is_replaced(&self, path: &Path) -> bool {
        self.intent.as_ref().is_some_and(|intent| is_replaced(&self.snapshot, intent, path))
    }
}

/// Whether the file is one that a replacement takes the place of.
pub(crate) fn is_replaced(snapshot: &BTreeMap<PathBuf, Vec<u8>>, intent: &Replacement, path: &Path) -> bool {
    let mut cleaned = path.as_os_str().to_owned();
    cleaned.push(".cleaned");
    let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
    let is_old = stem.is_some_and(|base| intent.old[1..].contains(&Offset::new(base)));
    is_old && path.extension() != Some("snapshot".as_ref()) || snapshot.contains_key(Path::new(&cleaned))
}

/// Whether a batch of this log gets another offset.
pub(crate) fn is_moved(log: &[u8], change: Change) -> bool {
    let is_in_offset = |(at, _): &(usize, i64)| (*at..at + 8).contains(&change.byte());
    matches!(change, Change::Flip(_)) && batches(log).iter().any(is_in_offset)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(600), failure_persistence: None, ..ProptestConfig::default() })]

    /// What changed in a partition is found or does no harm; a repair gives up no more than what lies behind it.
    #[test]
    fn a_change_in_a_compacted_log_is_found_or_does_no_harm_and_is_repaired(
        which in any::<prop::sample::Index>(),
        file in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        place in any::<prop::sample::Index>(),
    ) {
        let written = which.get(&WRITTEN);
        let paths: Vec<&PathBuf> = written.snapshot.keys().filter(|path| path.starts_with("topics/t-0")).collect();
        let path: &Path = paths[file.index(paths.len())];
        prop_assume!(!written.snapshot[path].is_empty());
        let change = Change::of(&written.snapshot[path], is_cut, place);
        let files = restore(&written.snapshot);
        change.make(&files, path);
        let (found, _) = findings(&files);
        naming::check(&written.snapshot, &written.said, (path, change), &found)?;
        let worst = found.iter().filter(|finding| !finding.file.ends_with(name_of_intent(&written.snapshot)));
        let worst = worst.map(|finding| finding.severity).max();
        prop_assert!(worst.is_some() || written.is_replaced(path) || is_intent(path), "{:?} of {:?} is not told", change, path);

        let (_dir, report) = open(&Arc::new(restore(&files.snapshot()))).unwrap();
        let partition = &report.partitions[0];
        match &partition.state {
            Ok((log, recovered)) => {
                prop_assert!(recovered.cut.is_none(), "{:?}", recovered.cut);
                match rows(log) {
                    // Until it is scrubbed or verified, nothing reads what covers the offset of a batch.
                    Some(rows) if rows != written.rows && is_log(path) && is_moved(&written.snapshot[path], change) => {
                        prop_assert_eq!(worst, Some(Severity::Damage));
                    }
                    Some(rows) => prop_assert_eq!(&rows, &written.rows, "{:?} of {:?}", change, path),
                    None => prop_assert_eq!(worst, Some(Severity::Damage)),
                }
            }
            Err(damage) => {
                prop_assert!(found.iter().any(|finding| finding.severity == Severity::Damage), "{}", damage);
                let below = partition.below.as_ref().and_then(|log| rows(log)).unwrap_or_default();
                prop_assert_eq!(&written.rows[..below.len()], &below[..]);
            }
        }

        // Without the intent nobody knows what was to take the place of what.
        prop_assume!(!is_intent(path));
        let (repaired, _) = repair::run(&files, &repair::options()).unwrap();
        prop_assert_eq!(repaired.left.damage, 0, "{:?} of {:?}: {:?}", change, path, findings(&files).0);
        let (_dir, report) = open(&Arc::new(files)).unwrap();
        let log = &report.partitions[0].state.as_ref().unwrap().0;
        let end = log.log_end().get();
        let left: Rows = written.rows.iter().filter(|row| row.0 < end).cloned().collect();
        prop_assert_eq!(rows(log), Some(left), "{:?} of {:?}", change, path);
    }
}

pub(crate) fn is_intent(path: &Path) -> bool {
    path.file_stem() == Some("replace".as_ref())
}

fn name_of_intent(snapshot: &BTreeMap<PathBuf, Vec<u8>>) -> &Path {
    snapshot.keys().find(|path| is_intent(path)).map_or(Path::new("none"), PathBuf::as_path)
}

/// Batches that go from the end of a closed segment leave no gap: the footer knows of them.
#[test]
fn a_segment_that_ends_early_at_a_batch_is_cut_there_whether_it_was_compacted_or_was_about_to_be() {
    let mut cuts = 0;
    for (number, written) in WRITTEN.iter().enumerate() {
        for (path, bytes) in logs(written) {
            let mut next: i64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            for (at, base) in batches(bytes) {
                let last = i32::from_be_bytes(bytes[at + 23..at + 27].try_into().unwrap());
                let due = std::mem::replace(&mut next, base + i64::from(last) + 1);
                check_repair(written, Change::Cut(at), path, Some(due), number);
                cuts += 1;
            }
        }
    }
    assert!(cuts > 50, "{cuts}");
}

/// No checksum of a batch covers its offset, and where offsets may be missing its neighbours do not give it.
#[test]
fn a_batch_that_has_another_offset_is_not_served_once_a_repair_has_been_there() {
    let mut moved = 0;
    for (number, written) in WRITTEN.iter().enumerate() {
        for (path, bytes) in logs(written) {
            for (at, _) in batches(bytes) {
                for bit in 0..6 {
                    check_repair(written, Change::Flip((at + 7) * 8 + bit), path, None, number);
                    moved += 1;
                }
            }
        }
    }
    assert!(moved > 300, "{moved}");
}

/// The logs of the compacted partition that are read, but for the last.
fn logs(written: &Written) -> Vec<(&PathBuf, &Vec<u8>)> {
    let is_of_it = |path: &Path| path.starts_with("topics/t-0") && is_log(path);
    let mut logs: Vec<_> = written.snapshot.iter().filter(|(path, _)| is_of_it(path)).collect();
    logs.pop();
    logs.retain(|(path, _)| !written.is_replaced(path));
    logs
}

/// After `change` and a repair there is what was there up to some offset, which the plan of the repair tells.
fn check_repair(written: &Written, change: Change, path: &Path, end: Option<i64>, number: usize) {
    let files = restore(&written.snapshot);
    change.make(&files, path);
    let (repaired, steps) = repair::run(&files, &repair::options()).unwrap();
    let compacted = files.snapshot().remove(Path::new("topics/t-0").join(COMPACTED_NAME).as_path());
    let (_dir, report) = open(&Arc::new(files)).unwrap();
    let log = &report.partitions[0].state.as_ref().unwrap().0;
    let found = log.log_end().get();
    let case = format!("{number}: {change:?} of {}, {steps:?}", path.display());
    assert_eq!((repaired.left.damage, found), (0, end.unwrap_or(found)), "{case}");
    // In what is appended there from now on nothing was compacted, and nothing is missing.
    if let Some(compacted) = compacted {
        let Compacted { gaps_below, upto } = Compacted::decode(&compacted).unwrap();
        assert!(gaps_below <= log.log_end() && upto <= log.log_end(), "{case}: {gaps_below:?} {upto:?}");
    }
    let is_told =
        |step: &Step| step.file == *path && step.offsets.is_some_and(|given_up| given_up.from == found);
    assert!(steps.iter().any(is_told), "{case}");
    let left: Rows = written.rows.iter().filter(|row| row.0 < found).cloned().collect();
    assert_eq!(rows(log), Some(left), "{case}");
}

#[test]
fn directories_of_every_moment_of_a_replacement_were_made() {
    assert!(WRITTEN.len() > 6, "{}", WRITTEN.len());
    let last = |rows: &Rows| -> BTreeMap<String, Option<String>> {
        rows.iter().map(|(_, key, value)| (key.clone(), value.clone())).collect()
    };
    for written in WRITTEN.iter() {
        assert_eq!(last(&written.rows), last(&WRITTEN[0].rows));
        let (found, _) = findings(&restore(&written.snapshot));
        assert!(found.iter().all(|finding| finding.severity < Severity::Damage), "{found:?}");
    }
}
