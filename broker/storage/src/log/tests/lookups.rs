//! Whatever becomes of an index, every question has the answer that a scan of the log gives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::*;
use crate::controls::{Protection, without};
use crate::index::{
    INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE, OffsetEntry, SegmentUid, TimeEntry, entries_in, entry_position,
};
use crate::partition_files::SegmentFile;

/// A log over several segments, of batches with these records: size and timestamp each. All of it is flushed.
pub(super) fn filled<F: Files>(files: &Arc<F>, batches: &[Vec<(usize, i64)>]) -> (DataDir<F>, Arc<Log<F>>) {
    let (dir, log) = open(files, &small());
    for records in batches {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
        for (size, timestamp) in records {
            let value = vec![b'x'; *size];
            let timestamp = Timestamp::new(*timestamp);
            builder
                .append(&NewRecord { timestamp, key: None, value: Some(value.as_slice()), headers: &[] })
                .unwrap();
        }
        let batch = BytesMut::from(builder.build().unwrap().as_slice());
        log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
    }
    flush(&dir, &log);
    (dir, log)
}

/// Batches whose timestamps grow by one a record.
pub(super) fn growing(count: usize) -> Vec<Vec<(usize, i64)>> {
    (0..count).map(|number| vec![(200 + number % 50, 1000 + number as i64)]).collect()
}

/// Compares every answer to that of a scan.
pub(super) fn check<F: Files>(log: &Log<F>, batches: &[Vec<(usize, i64)>]) -> Result<(), TestCaseError> {
    let records: Vec<(i64, i64)> =
        batches.iter().flatten().zip(0..).map(|((_, timestamp), offset)| (offset, *timestamp)).collect();
    let mut first = 0;
    for batch in batches {
        for offset in first..first + batch.len() as i64 {
            let read = log.read(Offset::new(offset), 1, &mut Cursor::default(), Touch::Any).unwrap();
            let Read::Ready(Fetched { slice: Some(slice), next_offset, .. }) = read else {
                return Err(TestCaseError::fail("nothing there"));
            };
            let mut bytes = vec![0; slice.len()];
            slice.copy_to(0, &mut bytes).unwrap();
            let (found, rest) = UnverifiedBatch::split_first(&bytes).unwrap();
            let found = found.verify().unwrap();
            prop_assert_eq!(found.header().base_offset, Offset::new(first));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(next_offset, Offset::new(first + batch.len() as i64));
        }
        first += batch.len() as i64;
    }
    let mut times: Vec<i64> = records.iter().flat_map(|(_, time)| [time - 1, *time, time + 1]).collect();
    times.sort_unstable();
    times.dedup();
    for time in times {
        let expected = records.iter().find(|(_, timestamp)| *timestamp >= time);
        let found = log.offset_for_time(Timestamp::new(time)).unwrap();
        let found = found.map(|hit| (hit.offset.get(), hit.timestamp.get()));
        prop_assert_eq!(found, expected.copied(), "time {}", time);
    }
    let latest = log.latest_by_time().unwrap().map(|hit| (hit.offset.get(), hit.timestamp.get()));
    prop_assert_eq!(latest, latest_of(&records, 0));
    Ok(())
}

/// The first of the records with the latest time, from `start` on.
fn latest_of(records: &[(i64, i64)], start: i64) -> Option<(i64, i64)> {
    let seen = records.iter().filter(|(offset, time)| *offset >= start && *time > -1);
    seen.copied().max_by_key(|(offset, time)| (*time, -offset))
}

fn indexes(files: &SimFiles) -> Vec<PathBuf> {
    let is_index =
        |path: &PathBuf| path.extension().is_some_and(|name| name == "index" || name == "timeindex");
    files.snapshot().into_keys().filter(is_index).collect()
}

/// Starts again after a clean stop, with `harm` done to the index files meanwhile.
pub(super) fn restarted(
    files: &SimFiles,
    (dir, log): (DataDir<SimFiles>, Arc<Log<SimFiles>>),
    harm: impl FnOnce(&[PathBuf]),
) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    drop(log);
    dir.close_clean(NOW, Instant::now()).unwrap();
    harm(&indexes(files));
    open(&Arc::new(files.clone()), &small())
}

/// What a foreign hand does to an index file.
#[derive(Debug, Clone)]
enum Harm {
    Remove,
    Truncate(usize),
    Flip(usize),
    Zero(usize),
    Extend(usize),
    Swap(usize),
}

fn harms() -> impl Strategy<Value = Vec<(usize, Harm)>> {
    let harm = prop_oneof![
        Just(Harm::Remove),
        any::<usize>().prop_map(Harm::Truncate),
        any::<usize>().prop_map(Harm::Flip),
        any::<usize>().prop_map(Harm::Zero),
        (1_usize..100).prop_map(Harm::Extend),
        any::<usize>().prop_map(Harm::Swap),
    ];
    prop::collection::vec((any::<usize>(), harm), 0..6)
}

fn inflict(files: &SimFiles, paths: &[PathBuf], which: usize, harm: &Harm) {
    let path = &paths[which % paths.len()];
    if files.entry(path).unwrap().is_none() {
        return;
    }
    match harm {
        Harm::Remove => files.remove_file(path).unwrap(),
        // After a clean stop the last segment is not scanned, so a time index that ends too early cannot be told
        // from one that is whole; unless it ends within an entry.
        Harm::Truncate(to) => files.tamper(path, |bytes| {
            let to = to % (bytes.len() + 1);
            let is_last = which % paths.len() + 1 == paths.len();
            let is_boundary = to >= INDEX_HEADER_SIZE && to.is_multiple_of(INDEX_ENTRY_SIZE);
            bytes.truncate(if is_last && is_boundary { to + 1 } else { to });
        }),
        Harm::Flip(bit) => files.tamper(path, |bytes| {
            if !bytes.is_empty() {
                let bit = bit % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }),
        Harm::Zero(from) => files.tamper(path, |bytes| {
            let from = from % (bytes.len() + 1);
            bytes[from..].fill(0);
        }),
        Harm::Extend(by) => files.tamper(path, |bytes| bytes.extend(std::iter::repeat_n(0x5a, *by))),
        Harm::Swap(other) => {
            let other = files.snapshot().remove(&paths[other % paths.len()]);
            if let Some(other) = other {
                files.tamper(path, |bytes| *bytes = other);
            }
        }
    }
}

fn batches() -> impl Strategy<Value = Vec<Vec<(usize, i64)>>> {
    let timestamp = prop_oneof![3 => 1000_i64..1100, 1 => -10_i64..5000];
    prop::collection::vec(prop::collection::vec((0_usize..300, timestamp), 1..5), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_index_gives_the_answers_of_a_scan_whatever_was_done_to_it(
        batches in batches(),
        harms in harms(),
        sealed in 0_usize..5,
    ) {
        let files = SimFiles::new();
        let filled = filled(&Arc::new(files.clone()), &batches);
        for _ in 0..sealed {
            filled.1.seal_next(NOW).unwrap();
        }
        check(&filled.1, &batches)?;
        let (_dir, log) = restarted(&files, filled, |paths| {
            for (which, harm) in &harms {
                inflict(&files, paths, *which, harm);
            }
        });
        check(&log, &batches)?;
        log.learn_timestamps().unwrap();
        check(&log, &batches)?;
        log.mend_indexes().unwrap();
        check(&log, &batches)?;
    }
}

/// Intact, of this segment, and each entry but the last leads one too far.
fn lead_astray(files: &SimFiles, path: &Path, uid: SegmentUid) {
    files.tamper(path, |bytes| {
        for number in 0..entries_in(bytes.len() as u64) - 1 {
            let at = entry_position(number) as usize;
            let (own, next) = bytes[at..].split_at(INDEX_ENTRY_SIZE);
            let own = OffsetEntry::decode(own.try_into().unwrap(), uid, number).unwrap();
            let next = OffsetEntry::decode(next.first_chunk().unwrap(), uid, number + 1).unwrap();
            let astray = OffsetEntry { pos: next.pos, ..own }.encode(uid, number);
            bytes[at..][..INDEX_ENTRY_SIZE].copy_from_slice(&astray);
        }
    });
}

#[test]
fn entries_that_lead_astray_change_no_answer_and_believed_without_a_look_at_the_log_they_do() {
    let batches = growing(60);
    for is_believed in [false, true] {
        let files = SimFiles::new();
        let before = filled(&Arc::new(files.clone()), &batches);
        let second = Arc::clone(&before.1.view.load()[1]);
        let path = SegmentFile::OffsetIndex.path(before.1.dir(), second.base());
        let (_dir, log) = restarted(&files, before, |_| lead_astray(&files, &path, second.uid()));
        let look = || catch_unwind(AssertUnwindSafe(|| check(&log, &batches)));
        let checked = if is_believed { without(Protection::EntriesAreChecked, look) } else { look() };
        assert_eq!(matches!(checked, Ok(Ok(()))), !is_believed, "believed: {is_believed}");
    }
}

#[test]
fn an_index_found_wrong_is_built_anew_byte_for_byte_and_believed_again() {
    let harms = [
        Harm::Remove,
        Harm::Truncate(0),
        Harm::Truncate(INDEX_HEADER_SIZE + INDEX_ENTRY_SIZE),
        Harm::Flip(8 * 5),
        Harm::Flip(8 * (INDEX_HEADER_SIZE + INDEX_ENTRY_SIZE * 3)),
        Harm::Zero(INDEX_HEADER_SIZE),
    ];
    let batches = growing(40);
    for harm in harms {
        // The second of three or more segments, each of its indexes.
        for which in [2, 3] {
            let files = SimFiles::new();
            let before = filled(&Arc::new(files.clone()), &batches);
            let good = files.snapshot();
            let (_dir, log) = restarted(&files, before, |paths| inflict(&files, paths, which, &harm));
            let harmed = indexes(&files).len();
            log.learn_timestamps().unwrap();
            check(&log, &batches).unwrap();
            assert_eq!(log.mend_indexes().unwrap(), 1, "{harm:?} of {which}, {harmed} left");
            let mended = files.snapshot();
            for path in indexes(&files) {
                assert_eq!(mended[&path], good[&path], "{harm:?} of {}", path.display());
            }
            check(&log, &batches).unwrap();
            assert_eq!(log.mend_indexes().unwrap(), 0, "{harm:?}: nothing is left to mend");
        }
    }
}

/// What is protected by checksums, without them: whoever knows them misleads a lookup, and that is found.
#[test]
fn an_index_that_was_forged_together_with_its_checksums_is_believed_and_its_wrong_answers_are_found() {
    let batches = growing(40);
    let foreign = SegmentUid::new(PartitionId { topic: Uuid::from_u128(9), partition: 7 }, Offset::ZERO);
    for is_forged in [true, false] {
        let files = SimFiles::new();
        let before = filled(&Arc::new(files.clone()), &batches);
        let uid = before.1.view.load()[0].uid();
        let forge = |bytes: &mut Vec<u8>| {
            let entry = |number: usize| {
                let at = INDEX_HEADER_SIZE + number * INDEX_ENTRY_SIZE;
                TimeEntry::decode(bytes[at..].first_chunk().unwrap(), uid, number as u32).unwrap()
            };
            // As if up to the last entry nothing later had come than up to the first.
            let count = entries_in(bytes.len() as u64) as usize;
            let first = TimeEntry { rel_offset: entry(count - 1).rel_offset, ..entry(0) };
            bytes.truncate(INDEX_HEADER_SIZE);
            bytes.extend_from_slice(&first.encode(if is_forged { uid } else { foreign }, 0));
        };
        let (_dir, log) = restarted(&files, before, |paths| {
            let is_of_time = |path: &&PathBuf| path.extension().is_some_and(|name| name == "timeindex");
            files.tamper(paths.iter().find(is_of_time).unwrap(), forge);
        });
        assert_eq!(check(&log, &batches).is_err(), is_forged);
    }
}

#[test]
fn a_time_index_that_was_cut_short_lets_nothing_expire_early() {
    let batches = growing(40);
    for entries in 0..4 {
        let files = SimFiles::new();
        let before = filled(&Arc::new(files.clone()), &batches);
        let last_of_first = before.1.view.load()[1].base().get() - 1;
        let cut = |paths: &[PathBuf]| {
            let path = paths.iter().find(|path| path.extension().is_some_and(|name| name == "timeindex"));
            files.tamper(path.unwrap(), |bytes| {
                bytes.truncate(INDEX_HEADER_SIZE + entries * INDEX_ENTRY_SIZE);
            });
        };
        let (_dir, log) = restarted(&files, before, cut);
        log.learn_timestamps().unwrap();
        let known = log.view.load()[0].max_timestamp().unwrap();
        assert_eq!(known.get(), 1000 + last_of_first, "{entries} entries left");
        assert_eq!(log.mend_indexes().unwrap(), 1);
    }
}

#[test]
fn an_index_that_cannot_be_written_is_mended_later() {
    let files = SimFiles::new();
    let batches = growing(40);
    let before = filled(&Arc::new(files.clone()), &batches);
    let (_dir, log) = restarted(&files, before, |paths| files.remove_file(&paths[0]).unwrap());
    check(&log, &batches).unwrap();
    files.set_room(Room::NoBytes);
    let mut mend = log.mend().unwrap();
    assert_eq!(mend.step(600).unwrap(), None);
    assert!(matches!(mend.step(u64::MAX), Err(AppendError::Full { .. })));
    check(&log, &batches).unwrap();
    // The log is not gone through again before there is room.
    assert!(matches!(log.mend().unwrap().step(600), Err(AppendError::Full { .. })));
    files.set_room(Room::Enough);
    assert_eq!(log.mend_indexes().unwrap(), 1);
}

#[test]
fn indexes_are_made_anew_in_steps_of_bounded_size_and_nothing_is_written_before_the_last() {
    let files = SimFiles::new();
    let batches = growing(40);
    let before = filled(&Arc::new(files.clone()), &batches);
    let good = files.snapshot();
    let (_dir, log) = restarted(&files, before, |paths| files.remove_file(&paths[0]).unwrap());
    check(&log, &batches).unwrap();
    assert!(log.wants_mend());
    let mut mend = log.mend().unwrap();
    let (mut steps, operations) = (1, files.operations());
    while mend.step(600).unwrap().is_none() {
        assert_eq!(files.operations(), operations);
        steps += 1;
    }
    let size = log.view.load()[0].end();
    assert!(steps > size / 1000, "{steps} steps for {size} bytes");
    assert!(!log.wants_mend() && log.mend().is_none());
    indexes(&files).iter().for_each(|path| assert_eq!(files.snapshot()[path], good[path]));
}

#[test]
fn nothing_is_mended_for_a_deleted_topic() {
    let files = SimFiles::new();
    let batches = growing(40);
    let before = filled(&Arc::new(files.clone()), &batches);
    let (_dir, log) = restarted(&files, before, |paths| files.remove_file(&paths[0]).unwrap());
    check(&log, &batches).unwrap();
    log.retire();
    let operations = files.operations();
    assert_eq!(log.mend_indexes().unwrap(), 0);
    assert_eq!(files.operations(), operations);
}

#[test]
fn a_search_for_a_time_that_nobody_may_see_yet_finds_nothing() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = filled(&files, &growing(3));
    // Enough for the time index to speak of what is not flushed yet.
    for number in 0..10 {
        log.writer()
            .append(&mut [batch(&["y", &"z".repeat(300)], 2000 + number)], Mode::MayBlock, NOW)
            .unwrap();
    }
    assert_eq!(log.offset_for_time(Timestamp::new(2005)).unwrap(), None);
    assert_eq!(log.offset_for_time(Timestamp::new(3000)).unwrap(), None);
    flush(&dir, &log);
    assert_eq!(log.offset_for_time(Timestamp::new(2005)).unwrap().unwrap().timestamp.get(), 2005);
    assert_eq!(log.offset_for_time(Timestamp::new(3000)).unwrap(), None);
}

#[test]
fn the_latest_record_by_time_is_the_first_of_those_that_consumers_may_see() {
    let files = Arc::new(SimFiles::new());
    // Two records of a batch share the latest time; a later batch has it too.
    let batches =
        [vec![(100, 5), (100, 9), (100, 2)], vec![(100, 7), (100, 7)], vec![(100, 9)], vec![(100, 3)]];
    let (dir, log) = filled(&files, &batches);
    let latest = |log: &Log<SimFiles>| {
        log.latest_by_time().unwrap().map(|hit| (hit.offset.get(), hit.timestamp.get()))
    };
    assert_eq!(latest(&log), Some((1, 9)));

    // The log begins within a batch whose latest record is gone, and then behind the next one.
    for (start, expected) in [(2, (5, 9)), (3, (5, 9)), (6, (6, 3))] {
        dir.raise_log_start(&log, Offset::new(start), NOW, Instant::now()).unwrap();
        assert_eq!(latest(&log), Some(expected), "from {start} on");
    }

    // What is not flushed is not to be seen here, however late.
    let mut builder = BatchBuilder::new(Compression::Lz4, 1 << 20);
    for timestamp in [20, 30, 30] {
        let timestamp = Timestamp::new(timestamp);
        builder.append(&NewRecord { timestamp, key: None, value: Some(b"x"), headers: &[] }).unwrap();
    }
    let batch = BytesMut::from(builder.build().unwrap().as_slice());
    log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
    assert_eq!(latest(&log), Some((6, 3)));
    flush(&dir, &log);
    assert_eq!(latest(&log), Some((8, 30)), "within a compressed batch");
    let hit = log.offset_for_time(Timestamp::new(21)).unwrap().unwrap();
    assert_eq!((hit.offset.get(), hit.leader_epoch), (8, log.leader_epoch()));
}

#[test]
fn a_log_without_records_or_without_times_has_no_latest_record() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = filled(&files, &[]);
    assert_eq!(log.latest_by_time().unwrap(), None);
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = filled(&files, &[vec![(100, -1), (100, -1)]]);
    assert_eq!(log.latest_by_time().unwrap(), None);
}

#[test]
fn a_batch_that_has_another_offset_ends_what_is_read_before_it_and_is_not_read_itself() {
    let files = SimFiles::new();
    let filled = filled(&Arc::new(files.clone()), &growing(60));
    let (_dir, log) = restarted(&files, filled, |_| ());
    let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
    let bytes = files.snapshot()[&path].clone();
    let size = bytes.len() - UnverifiedBatch::split_first(&bytes).unwrap().1.len();
    // No checksum of the batch covers that it is the second.
    files.tamper(&path, |bytes| bytes[size + 7] ^= 2);
    let read = |offset| log.read(Offset::new(offset), 1 << 20, &mut Cursor::default(), Touch::Any);
    let Ok(Read::Ready(fetched)) = read(0) else { panic!("the first is as good as ever") };
    assert_eq!((fetched.slice.unwrap().len(), fetched.next_offset), (size, Offset::new(1)));
    assert!(read(1).is_err());
}
