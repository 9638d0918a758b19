//! An index of before a compaction, put back beside the log that is left, is built anew; the index of a log that has
//! lost its end is not taken for one.

use std::collections::BTreeMap;

use super::compact::{check_lookups, compact, compacting, filled, found, put, rows, settle};
use super::seal::seal_all;
use super::*;
use crate::controls::{Protection, without};
use crate::index::INDEX_HEADER_SIZE;
use crate::partition_files::{PartitionFile, SegmentFile};
use crate::recovery::Damage;
use crate::verdict::Fault as LogFault;

const ENDS: [End; 3] = [End::Clean, End::Killed, End::PowerCut];
const INDEXES: [SegmentFile; 2] = [SegmentFile::OffsetIndex, SegmentFile::TimeIndex];

/// How the run before ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Clean,
    Killed,
    PowerCut,
}

type Snapshot = BTreeMap<PathBuf, Vec<u8>>;

/// A log that was compacted twice, and what its directory had before each time and at the end.
struct Compacted {
    end: End,
    before: [Snapshot; 2],
    after: Snapshot,
    rows: Vec<super::compact::Row>,
}

/// Of every three batches the records of two stay, so that several segments do.
fn compacted(end: End) -> Compacted {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    let write = |from: usize| {
        for number in from..from + 90 {
            let key = if number % 3 == 0 { "same".to_owned() } else { format!("own {number}") };
            put(&log, &[(&key, Some(&"x".repeat(200 + number % 50)))]);
        }
        settle(&dir, &log);
    };
    write(0);
    let first = files.snapshot();
    compact(&dir, &log);
    // Of what was left a part goes with the second pass.
    for number in (1..90).step_by(6) {
        put(&log, &[(&format!("own {number}"), Some("later"))]);
    }
    write(90);
    let second = files.snapshot();
    compact(&dir, &log);
    assert!(log.segment_count() > 5, "{}", log.segment_count());
    let rows = rows(&log, 0, 1 << 20);
    drop(log);
    if end == End::Clean {
        dir.close_clean(NOW, Instant::now()).unwrap();
    }
    Compacted { end, before: [first, second], after: files.snapshot(), rows }
}

impl Compacted {
    /// The same on the disk of a machine that was, or was not, without power since.
    fn copy(&self) -> SimFiles {
        let files = SimFiles::holding(&self.after);
        if self.end == End::PowerCut {
            files.crash(0);
        }
        files
    }

    /// The bases of its closed segments.
    fn closed(&self) -> Vec<Offset> {
        let mut bases: Vec<Offset> = self.after.keys().filter_map(|path| base_of(path)).collect();
        bases.sort_unstable();
        bases.pop();
        bases
    }
}

fn base_of(log: &Path) -> Option<Offset> {
    match PartitionFile::parse(log.strip_prefix("topics/t-0").ok()?.to_str()?) {
        Some(PartitionFile::Segment(base, SegmentFile::Log)) => Some(base),
        _ => None,
    }
}

fn path(file: SegmentFile, base: Offset) -> PathBuf {
    file.path(Path::new("topics/t-0"), base)
}

fn start(files: &SimFiles) -> Result<(DataDir<SimFiles>, Arc<Log<SimFiles>>), Damage> {
    let (dir, mut report) = super::seal::reopened(files, &compacting());
    report.partitions.remove(0).state.map(|(log, _)| (dir, log))
}

#[test]
fn an_index_of_before_a_compaction_is_built_anew_byte_for_byte_and_takes_no_partition_offline() {
    let mut put_back = 0;
    for end in ENDS {
        let written = compacted(end);
        for base in written.closed() {
            for (of, with_times) in [(0, false), (0, true), (1, false), (1, true)] {
                let old = |file| written.before[of].get(&path(file, base));
                let now = &written.after[&path(SegmentFile::OffsetIndex, base)];
                let Some(index) = old(SegmentFile::OffsetIndex).filter(|old| *old != now) else { continue };
                let case = format!("{end:?}, {base} as of pass {of}, with its times: {with_times}");
                let files = written.copy();
                files.tamper(&path(SegmentFile::OffsetIndex, base), |bytes| bytes.clone_from(index));
                if with_times {
                    let times = old(SegmentFile::TimeIndex).unwrap();
                    files.tamper(&path(SegmentFile::TimeIndex, base), |bytes| bytes.clone_from(times));
                }
                let found = found(&files);
                // The last segment of then had no record yet.
                assert_eq!(found.is_empty(), index.len() == INDEX_HEADER_SIZE, "{case}");
                assert!(found.iter().all(|found| found.contains("index")), "{case}: {found:?}");

                let (_dir, log) = start(&files).unwrap_or_else(|damage| panic!("{case}: {damage}"));
                assert_eq!(rows(&log, 0, 1 << 20), written.rows, "{case}");
                assert_eq!(seal_all(&log), [base.get()], "{case}");
                for file in INDEXES {
                    let there = &files.snapshot()[&path(file, base)];
                    assert!(*there == written.after[&path(file, base)], "{case}: {file:?}");
                }
                if put_back % 16 == 0 {
                    check_lookups(&log);
                }
                put_back += 1;
            }
        }
    }
    assert!(put_back > 20, "{put_back}");
}

#[test]
fn an_index_of_before_a_compaction_that_comes_back_under_a_running_log_is_built_anew() {
    let files = SimFiles::new();
    let (dir, log) = filled(&files, 60);
    let first = path(SegmentFile::OffsetIndex, Offset::ZERO);
    let old = files.snapshot().remove(&first).unwrap();
    compact(&dir, &log);
    let (good, expected) = (files.snapshot().remove(&first).unwrap(), rows(&log, 0, 1 << 20));
    put(&log, &[("k1", Some("newest"))]);
    settle(&dir, &log);
    files.tamper(&first, |bytes| bytes.clone_from(&old));
    check_lookups(&log);
    let mut scrub = log.scrub(Offset::ZERO).unwrap();
    let scrubbed = scrub.step(1 << 20).unwrap();
    assert!(scrubbed.is_index_damaged && scrubbed.found.is_empty(), "{scrubbed:?}");
    assert_eq!((log.mend_indexes().unwrap(), seal_all(&log)), (1, vec![0]));
    assert_eq!(files.snapshot()[&first], good);

    files.tamper(&first, |bytes| bytes.clone_from(&old));
    compact(&dir, &log);
    assert_eq!(log.damaged(), []);
    let left = rows(&log, 0, 1 << 20);
    assert_eq!((left.len(), &left[..9]), (expected.len(), &kept(&expected)[..]));
}

/// All but the records of the key that was written again.
fn kept(rows: &[super::compact::Row]) -> Vec<super::compact::Row> {
    rows.iter().filter(|row| row.1 != "k1").cloned().collect()
}

/// Where batches begin in a log, and with which offset the one before ends.
fn batches(mut log: &[u8], base: Offset) -> Vec<(usize, Offset)> {
    let (len, mut due, mut all) = (log.len(), base, Vec::new());
    while !log.is_empty() {
        let (batch, rest) = UnverifiedBatch::split_first(log).unwrap();
        all.push((len - log.len(), due));
        due = batch.verify().unwrap().header().next_offset();
        log = rest;
    }
    all
}

#[test]
fn a_compacted_log_that_has_lost_its_end_at_a_batch_is_offline_and_if_its_index_is_not_believed_it_is_served()
{
    let mut cuts = 0;
    for end in ENDS {
        let written = compacted(end);
        for base in written.closed() {
            let log = path(SegmentFile::Log, base);
            for (at, due) in batches(&written.after[&log], base) {
                let files = written.copy();
                files.tamper(&log, |bytes| bytes.truncate(at));
                let Err(Damage::Log { file, position, offset, fault, .. }) = start(&files) else {
                    panic!("{end:?}: {base} is served without what lies behind byte {at}")
                };
                let told = (file.clone(), position, offset, fault);
                assert_eq!(told, (log.clone(), at as u64, due, LogFault::UnlikeFooter), "{end:?}");
                let found = found(&files);
                let is_named = |found: &String| found.contains(&*file.to_string_lossy());
                assert!(found.iter().any(is_named), "{end:?}, {base}, byte {at}: {found:?}");
                let (_dir, served) = without(Protection::LostEndsAreTold, || start(&files)).unwrap();
                let lost = served.read(due, 1, &mut Cursor::default(), Touch::Any);
                assert!(matches!(lost, Ok(Read::Ready(_))), "{end:?}, {base}, byte {at}: nobody is told");
                cuts += 1;
            }
        }
    }
    assert!(cuts > 100, "{cuts}");
}

/// Batches of one record: its key, and how long its value is.
type Batches = &'static [(&'static str, usize)];

#[test]
fn any_one_sign_is_enough_to_tell_an_index_of_before_a_compaction() {
    // What is written before the first pass, segment by segment; and before the second, after which the index of the
    // first segment is as it was before that.
    let cases: [(&str, &[Batches], Option<Batches>); 3] = [
        ("a gap", &[&[("a", 10), ("same", 10), ("b", 10), ("same", 10)], &[("same", 3900)]], None),
        (
            "an entry within the last batch",
            &[&[("x", 10), ("a", 200), ("b", 200), ("c", 330), ("d", 200)], &[("x", 3900)]],
            Some(&[("b", 1800), ("d", 1800)]),
        ),
        ("a longer log", &[&[("a", 100), ("b", 100)], &[("c", 100), ("same", 100)], &[("same", 3900)]], None),
    ];
    for (case, first, second) in cases {
        let files = SimFiles::new();
        let (dir, log) = open(&Arc::new(files.clone()), &compacting());
        let write = |batches: Batches| {
            for (key, len) in batches {
                put(&log, &[(key, Some(&"x".repeat(*len)))]);
            }
            settle(&dir, &log);
        };
        first.iter().for_each(|batches| write(batches));
        let index = path(SegmentFile::OffsetIndex, Offset::ZERO);
        let mut old = files.snapshot().remove(&index).unwrap();
        compact(&dir, &log);
        if let Some(batches) = second {
            old = files.snapshot().remove(&index).unwrap();
            write(batches);
            compact(&dir, &log);
        }
        let (good, left) = (files.snapshot().remove(&index).unwrap(), rows(&log, 0, 1 << 20));
        let first = log.view.load()[0].clone();
        assert!(first.may_have_gaps() && left[0].0 < first.gaps_upto().unwrap().get(), "{case}");
        drop((dir, log));
        files.kill();
        files.tamper(&index, |bytes| bytes.clone_from(&old));
        assert!(found(&files).iter().all(|found| found.contains("index")), "{case}: {:?}", found(&files));
        let (_dir, log) = start(&files).unwrap_or_else(|damage| panic!("{case}: {damage}"));
        assert_eq!((rows(&log, 0, 1 << 20), seal_all(&log)), (left, vec![0]), "{case}");
        assert_eq!(files.snapshot()[&index], good, "{case}");
    }
}

/// A log of which a compaction has taken nothing but the last record of the first segment, after a kill; the index
/// files of that segment from before, and the records that are left.
fn without_the_last_of_the_first() -> (SimFiles, [Vec<u8>; 2], Vec<super::compact::Row>) {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    for own in ["a", "b"] {
        for number in 0..8 {
            put(&log, &[(&format!("{own} {number}"), Some(&"x".repeat(250)))]);
        }
        put(&log, &[("same", Some(own))]);
        settle(&dir, &log);
    }
    let old = INDEXES.map(|file| files.snapshot().remove(&path(file, Offset::ZERO)).unwrap());
    compact(&dir, &log);
    let left = rows(&log, 0, 1 << 20);
    assert_eq!((left.len(), log.segment_count()), (17, 3));
    drop((dir, log));
    files.kill();
    (files, old, left)
}

#[test]
fn where_a_compaction_took_only_the_end_of_a_segment_its_old_index_is_built_anew_for_the_log_tells_where_it_ends()
 {
    for of_both in [false, true] {
        let (files, old, left) = without_the_last_of_the_first();
        let paths = INDEXES.map(|file| path(file, Offset::ZERO));
        let good = files.snapshot();
        for (path, old) in paths.iter().zip(&old).take(1 + usize::from(of_both)) {
            files.tamper(path, |bytes| bytes.clone_from(old));
        }
        let found = found(&files);
        assert!(!found.is_empty() && found.iter().all(|found| found.contains("index")), "{found:?}");
        let (_dir, log) = start(&files).unwrap_or_else(|damage| panic!("{damage}"));
        assert_eq!((rows(&log, 0, 1 << 20), seal_all(&log)), (left, vec![0]));
        paths.iter().for_each(|path| assert!(files.snapshot()[path] == good[path], "{}", path.display()));
    }
}

#[test]
fn where_an_older_build_took_the_end_too_the_index_of_before_tells_of_a_loss_and_without_it_all_is_served() {
    let (files, [old, _], left) = without_the_last_of_the_first();
    let [log, index] = [SegmentFile::Log, SegmentFile::OffsetIndex].map(|file| path(file, Offset::ZERO));
    let (at, due) = *batches(&files.snapshot()[&log], Offset::ZERO).last().unwrap();
    assert_eq!((due, files.snapshot()[&log].len() - at), (Offset::new(8), 61), "nothing but a header");
    files.tamper(&log, |bytes| bytes.truncate(at));
    for file in INDEXES {
        files.remove_file(&path(file, Offset::ZERO)).unwrap();
    }
    let (dir, served) = start(&files).unwrap();
    assert_eq!((rows(&served, 0, 1 << 20), seal_all(&served)), (left.clone(), vec![0]));
    drop((dir, served));
    files.kill();
    assert!(found(&files).is_empty(), "as such a build has left it: {:?}", found(&files));
    files.tamper(&index, |bytes| bytes.clone_from(&old));
    assert!(found(&files).iter().any(|found| found.contains(&*log.to_string_lossy())));
    let Err(Damage::Log { file, offset, fault, .. }) = start(&files) else { panic!("it is online") };
    assert_eq!((file, offset, fault), (log, Offset::new(8), LogFault::UnlikeFooter));
    files.remove_file(&index).unwrap();
    let (_dir, served) = start(&files).unwrap();
    assert_eq!(rows(&served, 0, 1 << 20), left);
}

#[test]
fn a_log_that_is_damaged_is_offline_at_the_damage_whichever_index_lies_beside_it() {
    let written = compacted(End::Killed);
    let mut cases = 0;
    for base in written.closed() {
        let (log, index) = (path(SegmentFile::Log, base), path(SegmentFile::OffsetIndex, base));
        let Some(old) = written.before[1].get(&index).filter(|old| **old != written.after[&index]) else {
            continue;
        };
        for (at, due) in batches(&written.after[&log], base) {
            let files = written.copy();
            files.tamper(&index, |bytes| bytes.clone_from(old));
            files.tamper(&log, |bytes| bytes[at + 30] ^= 1);
            let Err(Damage::Log { file, position, offset, .. }) = start(&files) else {
                panic!("{base} is served with a batch that is not what was written at byte {at}")
            };
            assert_eq!((file, position, offset), (log.clone(), at as u64, due));
            cases += 1;
        }
    }
    assert!(cases > 10, "{cases}");
}

#[test]
fn a_segment_that_is_missing_behind_a_compacted_one_is_damage_to_a_start_and_to_verify() {
    for end in ENDS {
        let written = compacted(end);
        let bases = written.closed();
        for pair in bases.windows(2) {
            let files = written.copy();
            for file in SegmentFile::ALL {
                files.remove_file(&path(file, pair[1])).unwrap();
            }
            let log = path(SegmentFile::Log, pair[0]);
            let found = found(&files);
            let is_named = |found: &String| found.contains(&*log.to_string_lossy());
            assert!(found.iter().any(is_named), "{end:?}, {}: {found:?}", pair[1]);
            let Err(Damage::Log { file, offset, fault, .. }) = start(&files) else {
                panic!("{end:?}: {} is not missed", pair[1])
            };
            assert!(matches!(fault, LogFault::Hole { ends, .. } if ends == pair[1]), "{end:?}: {fault}");
            assert_eq!((file, offset), (log, pair[1]), "{end:?}");
        }
    }
}
