//! Claims about what goes by age and by size, and about the disk that it goes from.

use super::compact::{compact_at, compacting, keyed, settle};
use super::seal::seal_all;
use super::*;
use crate::files::sim::Room;
use crate::partition_files::SegmentFile;

#[test]
fn retention_by_size_raises_the_start_durably_before_a_file_goes() {
    let files = Arc::new(SimFiles::new());
    let options = LogOptions { retention_bytes: Some(8192), retention_ms: None, ..small() };
    let (dir, log) = open(&files, &options);
    for number in 0..100 {
        append(&log, &[&format!("{number} {}", "x".repeat(300))]).unwrap();
    }
    assert_eq!(log.expired(NOW), None, "nothing is durable yet");
    flush(&dir, &log);
    let start = log.expired(NOW).unwrap();
    assert_eq!(log.expired_by_size(), Some(start));
    let before = log.view.load().len();
    assert_eq!(dir.raise_log_start(&log, start, NOW, Instant::now()).unwrap(), start);
    assert_eq!(log.log_start(), start);
    log.drop_below_start(dir.trash()).unwrap();
    assert!(log.view.load().len() < before && log.size() >= 8192);
    assert_eq!(log.expired(NOW), None);
    let left = values(&log, start, 1 << 20);
    assert_eq!((left[0].0, left.last().unwrap().0), (start.get(), 99));
    assert!(matches!(
        log.read(Offset::ZERO, 1, &mut Cursor::default(), Touch::Any),
        Err(ReadError::OffsetOutOfRange { .. })
    ));
    for seed in 0..5 {
        files.crash(seed);
        let (_, log) = open(&files, &options);
        assert_eq!(log.log_start(), start);
        assert_eq!(values(&log, start, 1 << 20), left);
    }
}

#[test]
fn retention_by_time_rolls_what_has_expired_and_lets_it_go() {
    let files = Arc::new(SimFiles::new());
    let options = LogOptions { retention_ms: Some(1000), segment_ms: None, ..small() };
    let (dir, log) = open(&files, &options);
    append(&log, &["old"]).unwrap();
    flush(&dir, &log);
    assert!(log.roll_if_expired(NOW).unwrap(), "its record is from 1970");
    append(&log, &["of now"]).unwrap();
    flush(&dir, &log);
    assert_eq!(log.expired(NOW), Some(Offset::new(1)));
    assert_eq!(log.expired_by_size(), None, "without a clock nothing is old");
}

/// A record without a time, and one that closes its segment a second later.
fn timeless(files: &SimFiles, options: &LogOptions) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    let (dir, log) = open(&Arc::new(files.clone()), options);
    log.writer().append(&mut [batch(&["a"], -1)], Mode::MayBlock, NOW).unwrap();
    assert!(!log.roll_if_expired(later(999)).unwrap(), "it came a moment ago");
    assert!(log.roll_if_expired(later(1001)).unwrap());
    log.writer().append(&mut [batch(&["b"], later(1001).get())], Mode::MayBlock, later(1001)).unwrap();
    flush(&dir, &log);
    (dir, log)
}

fn later(ms: i64) -> Timestamp {
    Timestamp::new(NOW.get() + ms)
}

fn by_age() -> LogOptions {
    LogOptions { retention_ms: Some(1000), segment_ms: None, ..small() }
}

#[test]
fn records_without_a_time_age_from_when_their_segment_was_sealed() {
    let files = SimFiles::new();
    let (dir, log) = timeless(&files, &by_age());
    assert_eq!(log.expired(later(1 << 40)), None, "nobody knows yet how old it is");
    assert_eq!(seal_all(&log), [0], "at {NOW:?}");
    assert_eq!(log.expired(later(1000)), None);
    assert_eq!(log.expired(later(1001)), Some(Offset::new(1)));
    dir.close_clean(NOW, Instant::now()).unwrap();
    drop(log);
    let (_dir, log) = open(&Arc::new(files), &by_age());
    assert_eq!(log.expired(later(1000)), None, "a start reads it in the footer");
    assert_eq!(log.expired(later(1001)), Some(Offset::new(1)));
}

/// The same, and behind it a segment of one record of now and another second.
fn timeless_and_old(files: &SimFiles) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    let (dir, log) = timeless(files, &by_age());
    assert!(log.roll_if_expired(later(2002)).unwrap());
    log.writer().append(&mut [batch(&["c"], later(2002).get())], Mode::MayBlock, later(2002)).unwrap();
    flush(&dir, &log);
    (dir, log)
}

/// The same after a clean stop and another start, which has read of no segment how old it is.
fn timeless_and_opened_again(files: &SimFiles) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    let (dir, log) = timeless_and_old(files);
    dir.close_clean(NOW, Instant::now()).unwrap();
    drop(log);
    open(&Arc::new(files.clone()), &by_age())
}

#[test]
fn a_damaged_segment_of_unknown_age_goes_with_the_next_one_and_keeps_nothing_behind_it() {
    let files = SimFiles::new();
    let (_dir, log) = timeless_and_old(&files);
    assert_eq!(log.expired(later(1 << 40)), None, "it will be known when it is sealed");
    files.tamper(&SegmentFile::Log.path(log.dir(), Offset::ZERO), |bytes| bytes[65] ^= 1);
    assert!(matches!(log.seal_next(NOW), Ok(Sealed::Rotten(_))));
    assert_eq!(seal_all(&log), [1]);
    assert_eq!(log.expired(later(2001)), None, "the next one is not old");
    assert_eq!(log.expired(later(2002)), Some(Offset::new(2)));
    assert_eq!(log.expired_by_size(), None);
}

#[test]
fn a_damaged_segment_of_unknown_age_does_not_go_before_its_time_because_what_came_behind_it_is_old() {
    for room in [Room::Enough, Room::NoBytes] {
        let files = SimFiles::new();
        let (dir, log) = open(&Arc::new(files.clone()), &by_age());
        // The second has records of years ago, which somebody brings in.
        for time in [-1, 1000, later(1001).get()] {
            log.writer().append(&mut [batch(&["a"], time)], Mode::MayBlock, NOW).unwrap();
            log.roll_if_expired(later(1001)).unwrap();
        }
        flush(&dir, &log);
        assert_eq!(log.segment_count(), 3);
        files.tamper(&SegmentFile::Log.path(log.dir(), Offset::ZERO), |bytes| bytes[65] ^= 1);
        assert!(matches!(log.seal_next(NOW), Ok(Sealed::Rotten(_))));
        files.set_room(room);
        assert_eq!(log.expired(later(5000)), None, "{room:?}: nobody knows by when it had come");
        let sealed = log.seal_next(later(5000));
        if room == Room::Enough {
            assert!(matches!(sealed, Ok(Sealed::Segment(..))), "{sealed:?}");
            assert_eq!(log.expired(later(6000)), None);
            assert_eq!(log.expired(later(6001)), Some(Offset::new(2)));
        } else {
            assert!(matches!(sealed, Err(AppendError::Full { .. })), "{sealed:?}");
            assert_eq!(log.expired(later(5000)), Some(Offset::new(2)), "it may be what makes room");
        }
    }
}

#[test]
fn a_segment_that_cannot_be_read_keeps_no_other_from_telling_its_age_and_is_read_once() {
    let files = SimFiles::new();
    let (_dir, log) = timeless_and_opened_again(&files);
    let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
    files.break_sectors(&path, 0..1);
    log.learn_timestamps().unwrap_err();
    assert!(matches!(log.seal_next(NOW), Ok(Sealed::Rotten(_))));
    assert_eq!(seal_all(&log), [1]);
    assert_eq!(log.expired(later(2001)), None);
    assert_eq!(log.expired(later(2002)), Some(Offset::new(2)));
    let asked = files.asked(|asked| asked == path);
    log.learn_timestamps().unwrap();
    assert_eq!(files.asked(|asked| asked == path), asked, "it is not tried again and again");
    files.heal_sectors();
    log.seal_unread();
    log.learn_timestamps().unwrap();
    assert_eq!(log.expired(later(2002)), None, "it will be known when it is sealed");
}

/// A log with a closed segment of so many batches, all of one time, that has lost its indexes; opened again, and asked
/// for its age.
fn without_indexes(files: &SimFiles, batches: i64) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    let options = LogOptions { segment_bytes: 1 << 20, ..by_age() };
    let (dir, log) = open(&Arc::new(files.clone()), &options);
    for _ in 0..batches / 50 {
        let mut turn: Vec<_> = (0..50).map(|_| batch(&["x"], NOW.get())).collect();
        log.writer().append(&mut turn, Mode::MayBlock, NOW).unwrap();
    }
    assert!(log.roll_if_expired(later(1001)).unwrap());
    append(&log, &["b"]).unwrap();
    flush(&dir, &log);
    assert_eq!(log.segment_count(), 2);
    let dir_of_it = log.dir().to_owned();
    drop(log);
    dir.close_clean(NOW, Instant::now()).unwrap();
    for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        files.remove_file(&file.path(&dir_of_it, Offset::ZERO)).unwrap();
    }
    let (dir, log) = open(&Arc::new(files.clone()), &options);
    log.learn_timestamps().unwrap();
    (dir, log)
}

#[test]
fn a_segment_without_an_index_tells_its_age_once_it_is_sealed_and_is_not_walked_at_one_go_before() {
    for (batches, is_told_at_once) in [(50, true), (5000, false)] {
        let (_dir, log) = without_indexes(&SimFiles::new(), batches);
        let next = Some(Offset::new(batches));
        assert_eq!(log.expired(later(1001)), next.filter(|_| is_told_at_once), "{batches}");
        assert_eq!(seal_all(&log), [0]);
        assert_eq!((log.expired(later(1000)), log.expired(later(1001))), (None, next), "{batches}");
    }
}

#[test]
fn a_segment_that_finds_no_room_to_be_sealed_tells_its_age_all_the_same_and_goes() {
    for room in [Room::NoBytes, Room::Nothing] {
        let files = SimFiles::new();
        let (dir, log) = without_indexes(&files, 5000);
        files.set_room(room);
        assert_eq!(log.expired(later(1001)), None, "nobody has read all of it");
        assert!(matches!(log.seal_next(NOW), Err(AppendError::Full { .. })));
        assert_eq!(log.expired(later(1000)), None);
        let start = log.expired(later(1001)).unwrap();
        assert_eq!(start, Offset::new(5000));
        dir.raise_log_start(&log, start, NOW, Instant::now()).unwrap();
        if room == Room::Nothing {
            // There is none even to take it away.
            assert!(log.drop_below_start(dir.trash()).unwrap().is_empty());
            files.set_room(Room::NoBytes);
        }
        log.drop_below_start(dir.trash()).unwrap();
        assert_eq!(log.segment_count(), 1);
    }
}

#[test]
fn a_damaged_segment_that_found_no_room_to_be_asked_for_its_age_stays_until_it_was_asked() {
    let files = SimFiles::new();
    let (_dir, log) = timeless_and_opened_again(&files);
    let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
    files.tamper(&path, |bytes| bytes[65] ^= 1);
    assert!(matches!(log.seal_next(NOW), Ok(Sealed::Rotten(_))));
    assert_eq!(seal_all(&log), [1]);
    files.set_exhausted_at(&path);
    log.learn_timestamps().unwrap();
    assert_eq!(log.expired(later(1 << 40)), None, "it may be younger than the next one");
    files.set_exhausted(false);
    log.learn_timestamps().unwrap();
    assert_eq!(log.expired(later(2001)), None);
    assert_eq!(log.expired(later(2002)), Some(Offset::new(2)), "its records have no time");
}

#[test]
fn a_damaged_segment_of_which_no_record_is_left_keeps_nothing_behind_it() {
    let files = SimFiles::new();
    let options = LogOptions { retention_ms: Some(1000), ..compacting() };
    let (dir, log) = open(&Arc::new(files.clone()), &options);
    // What its producer is remembered by stays of the first; the second is too large to be put to it.
    for (by, len) in [(Some((7, 0, 0)), 300), (None, 4010)] {
        let batch = keyed(Compression::None, by, &[("a", Some(&"x".repeat(len)))], NOW.get());
        log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
        settle(&dir, &log);
    }
    compact_at(&dir, &log, NOW.get(), 1 << 20).unwrap();
    assert_eq!(log.segment_count(), 3);
    dir.close_clean(NOW, Instant::now()).unwrap();
    drop(log);
    let [path, index] = [SegmentFile::Log, SegmentFile::OffsetIndex]
        .map(|file| file.path(Path::new("topics/t-0"), Offset::ZERO));
    files.tamper(&path, |bytes| bytes[17] ^= 1);
    files.tamper(&index, |bytes| bytes.truncate(bytes.len() - 1));
    let (_dir, log) = open(&Arc::new(files), &options);
    assert!(matches!(log.seal_next(NOW), Ok(Sealed::Rotten(_))));
    assert_eq!(log.expired(later(1 << 40)), None, "nobody has asked it");
    log.learn_timestamps().unwrap();
    assert_eq!(log.expired(later(1000)), None, "the next one is not old");
    assert_eq!(log.expired(later(1001)), Some(Offset::new(2)));
}

#[test]
fn records_without_a_time_are_no_younger_for_having_been_compacted() {
    let files = SimFiles::new();
    let options = LogOptions { retention_ms: Some(10_000), ..compacting() };
    let (dir, log) = open(&Arc::new(files), &options);
    for key in ["a", "b", "a"] {
        let batch = keyed(Compression::None, None, &[(key, Some("1"))], -1);
        log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
    }
    settle(&dir, &log);
    compact_at(&dir, &log, later(5000).get(), 1 << 20).unwrap();
    assert_eq!(log.expired(later(10_000)), None);
    assert_eq!(log.expired(later(10_001)), Some(Offset::new(3)), "sealed at {NOW:?}");
}

#[test]
fn after_a_start_records_without_a_time_age_from_the_first_look() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &by_age());
    log.writer().append(&mut [batch(&["a"], -1)], Mode::MayBlock, NOW).unwrap();
    flush(&dir, &log);
    drop((dir, log));
    files.kill();
    let (_dir, log) = open(&Arc::new(files), &by_age());
    assert!(!log.roll_if_expired(later(5000)).unwrap());
    assert!(!log.roll_if_expired(later(6000)).unwrap());
    assert!(log.roll_if_expired(later(6001)).unwrap());
}

#[test]
fn retention_needs_no_room() {
    // At each of its operations the disk has none.
    for at in 0.. {
        let files = SimFiles::new();
        let options = LogOptions { retention_bytes: Some(0), ..small() };
        let (dir, log) = open(&Arc::new(files.clone()), &options);
        let value = "x".repeat(1000);
        for _ in 0..12 {
            append(&log, &[&value]).unwrap();
        }
        flush(&dir, &log);
        let start = log.expired(NOW).unwrap();
        dir.raise_log_start(&log, start, NOW, Instant::now()).unwrap();
        let first = SegmentFile::Log.path(log.dir(), Offset::ZERO);
        assert!(files.snapshot().contains_key(&first));
        let begun = files.operations();
        files.fail_at(begun + at, Fault::Full);
        log.drop_below_start(dir.trash()).unwrap();
        assert!(!files.snapshot().contains_key(&first), "{at}");
        if files.operations() <= begun + at {
            assert!(at > 5, "{at}");
            return;
        }
        assert_eq!(append(&log, &["on it goes"]).unwrap().base_offset, Offset::new(12));
    }
}
