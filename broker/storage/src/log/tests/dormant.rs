//! Claims about logs that nobody needs for a while: what they hold, and that nothing is lost by it.

use super::*;
use crate::partition_files::SegmentFile;

const LIMIT: Duration = Duration::from_secs(600);

/// A log with a few batches in its only segment, flushed.
fn filled<F: Files>(files: &Arc<F>) -> (DataDir<F>, Arc<Log<F>>) {
    let (dir, log) = open(files, &small());
    for number in 0..5 {
        append(&log, &[&format!("v{number}")]).unwrap();
    }
    flush(&dir, &log);
    (dir, log)
}

/// Looks at the log, and again once it has been idle for so long.
fn lets_sleep<F: Files>(log: &Log<F>, idle: Duration) -> Wakefulness {
    let at = Instant::now();
    log.sleep_if_idle(at, LIMIT).unwrap();
    log.sleep_if_idle(at + idle, LIMIT).unwrap()
}

fn inline<F: Files>(log: &Log<F>) -> Result<Appended, AppendError> {
    log.writer().append(&mut [batch(&["inline"], 9000)], Mode::Inline, NOW)
}

#[test]
fn a_start_opens_no_segment() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = filled(&files);
    drop(log);
    dir.close_clean(NOW, Instant::now()).unwrap();
    files.kill();

    let (dir, log) = open(&files, &small());
    assert!(log.is_dormant() && files.budget().in_use() == 0);
    assert_eq!((log.log_end().get(), log.size() > 0), (5, true));
    assert_eq!(values(&log, Offset::ZERO, 1 << 20).len(), 5);
    assert!(log.is_dormant(), "who reads does not open what only appends need");
    assert_eq!(files.budget().in_use(), 1);
    append(&log, &["more"]).unwrap();
    assert!(!log.is_dormant() && files.budget().in_use() == 3, "{:?}", files.budget());
    flush(&dir, &log);
    assert_eq!(values(&log, Offset::ZERO, 1 << 20).len(), 6);
}

#[test]
fn a_log_that_nobody_needs_for_so_long_holds_nothing_and_one_that_is_needed_stays_awake() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = filled(&files);
    assert_eq!(files.budget().in_use(), 3);
    assert_eq!(lets_sleep(&log, LIMIT / 2), Wakefulness::Awake);
    assert_eq!(lets_sleep(&log, LIMIT), Wakefulness::Asleep);
    assert!(log.is_dormant() && files.budget().in_use() == 0);

    append(&log, &["more"]).unwrap();
    let at = Instant::now();
    for (after, is_read) in [(0, false), (9, true), (18, true), (27, false)] {
        let at = at + Duration::from_secs(after * 60);
        assert_ne!(log.sleep_if_idle(at, LIMIT).unwrap(), Wakefulness::Asleep, "{after} minutes");
        if is_read {
            values(&log, Offset::ZERO, 1 << 20);
        }
    }
}

#[test]
fn what_was_not_flushed_does_not_sleep() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = filled(&files);
    append(&log, &["more"]).unwrap();
    assert!(log.would_sleep_if_flushed());
    assert_eq!(lets_sleep(&log, LIMIT), Wakefulness::Unflushed);
    flush(&dir, &log);
    assert!(!log.would_sleep_if_flushed());
    assert_eq!(lets_sleep(&log, LIMIT), Wakefulness::Asleep);
    assert!(!log.would_sleep_if_flushed());
    // A round has nothing to sync of it.
    let syncs = log.to_flush();
    assert!(syncs.files.is_empty() && !syncs.new_names);
}

#[test]
fn an_append_that_may_not_wait_leaves_it_asleep_and_one_that_may_goes_on_where_it_ended() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = filled(&files);
    assert_eq!(lets_sleep(&log, LIMIT), Wakefulness::Asleep);
    assert!(matches!(inline(&log), Err(AppendError::NeedsLane)));
    assert!(log.is_dormant() && log.log_end().get() == 5);

    assert_eq!(append(&log, &["woken"]).unwrap().base_offset.get(), 5);
    inline(&log).unwrap();
    flush(&dir, &log);
    let found: Vec<String> = values(&log, Offset::ZERO, 1 << 20).into_iter().map(|value| value.1).collect();
    assert_eq!(found, ["v0", "v1", "v2", "v3", "v4", "woken", "inline"]);
}

#[test]
fn who_reads_from_a_sleeping_log_meets_its_batches_and_what_is_appended_meanwhile() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = filled(&files);
    lets_sleep(&log, LIMIT);
    let mut cursor = Cursor::default();
    let cold = log.read(Offset::ZERO, 1 << 20, &mut cursor, Touch::warm_now()).unwrap();
    assert!(matches!(cold, Read::Cold), "a loop opens no file");
    let held = log.read(Offset::ZERO, 1 << 20, &mut cursor, Touch::Any).unwrap();

    append(&log, &["more"]).unwrap();
    flush(&dir, &log);
    let Read::Ready(fetched) = log.read(Offset::new(5), 1 << 20, &mut cursor, Touch::Any).unwrap() else {
        panic!("cold")
    };
    assert_eq!(fetched.next_offset.get(), 6);
    drop((held, fetched));
    dir.open_segments().reap();
    assert_eq!(files.budget().in_use(), 3, "the map of the reader was given up for that of the appender");

    // And what a reader has mapped of a sleeping one goes as well.
    lets_sleep(&log, LIMIT);
    values(&log, Offset::ZERO, 1 << 20);
    assert_eq!(files.budget().in_use(), 1);
    assert_eq!(lets_sleep(&log, LIMIT), Wakefulness::Asleep);
    assert_eq!(files.budget().in_use(), 0);
}

#[test]
fn a_sleeping_log_is_rolled_by_age_closed_found_by_time_and_stopped_like_any_other() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = filled(&files);
    lets_sleep(&log, LIMIT);
    let hit = log.offset_for_time(Timestamp::new(1003)).unwrap().unwrap();
    assert_eq!(hit.offset.get(), 3);
    assert_eq!(log.latest_by_time().unwrap().unwrap().offset.get(), 4);

    let late = Timestamp::new(NOW.get() + 30 * 24 * 3600 * 1000);
    assert!(log.roll_if_expired(late).unwrap());
    assert!(!log.is_dormant() && log.segment_count() == 2);
    flush(&dir, &log);
    assert!(matches!(log.seal_next(NOW).unwrap(), Sealed::Segment(..)));
    lets_sleep(&log, LIMIT);
    assert_eq!(values(&log, Offset::ZERO, 1 << 20).len(), 5);
    drop(log);
    dir.close_clean(NOW, Instant::now()).unwrap();
    files.kill();
    let (_dir, log) = open(&files, &small());
    assert_eq!(values(&log, Offset::ZERO, 1 << 20).len(), 5);
}

#[test]
fn whoever_sleeps_gives_the_reserve_and_the_segment_that_was_made_ready_back() {
    let root = tempfile::tempdir().unwrap();
    let files = Arc::new(OsFiles::open_or_create(root.path().join("data")).unwrap().with_maps(100));
    let (dir, log) = open(&files, &small());
    while !log.wants_next_segment() {
        append(&log, &[&"x".repeat(500)]).unwrap();
    }
    flush(&dir, &log);
    let blocks = || {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(files.root().join(SegmentFile::Log.path(log.dir(), Offset::ZERO))).unwrap().blocks()
    };
    log.prepare_next().unwrap();
    assert_eq!(files.budget().in_use(), 6);
    let reserved = blocks();
    assert_eq!(lets_sleep(&log, LIMIT), Wakefulness::Asleep);
    assert!(blocks() < reserved, "{} of {reserved} blocks", blocks());
    assert_eq!(files.budget().in_use(), 0);
    let left = files.list(log.dir()).unwrap();
    assert!(!left.iter().any(|entry| entry.name.ends_with(".tmp")), "{left:?}");
    assert!(!log.wants_next_segment(), "it would be made at once again");

    append(&log, &[&"x".repeat(500)]).unwrap();
    assert!(log.wants_next_segment());
}

#[test]
fn whose_files_are_gone_when_it_wakes_refuses_and_writes_nothing() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = filled(&files);
    lets_sleep(&log, LIMIT);
    let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
    files.tamper(&path, |bytes| bytes.truncate(10));
    assert!(matches!(append(&log, &["more"]), Err(AppendError::Lost { position: 10, .. })));
    files.remove_file(&path).unwrap();
    assert!(matches!(append(&log, &["more"]), Err(AppendError::Unopened { .. })));
    assert_eq!(log.log_end().get(), 5);
    assert!(!dir.has_failed(), "the others go on");
}

#[test]
fn what_a_foreign_hand_left_behind_the_end_of_a_sleeping_log_is_cut_off_and_a_lost_index_is_done_without() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = filled(&files);
    lets_sleep(&log, LIMIT);
    files.tamper(&SegmentFile::Log.path(log.dir(), Offset::ZERO), |bytes| bytes.extend(b"foreign"));
    files.remove_file(&SegmentFile::OffsetIndex.path(log.dir(), Offset::ZERO)).unwrap();
    append(&log, &["more"]).unwrap();
    flush(&dir, &log);
    assert_eq!(values(&log, Offset::new(3), 1 << 20).len(), 3);
    assert_eq!(log.offset_for_time(Timestamp::new(1004)).unwrap().unwrap().offset.get(), 4);
    // With the next look of maintenance it is closed, and gets its indexes.
    assert!(log.roll_if_expired(NOW).unwrap());
    flush(&dir, &log);
    assert!(matches!(log.seal_next(NOW).unwrap(), Sealed::Segment(..)));
    assert!(files.entry(&SegmentFile::OffsetIndex.path(log.dir(), Offset::ZERO)).unwrap().is_some());
}

#[test]
fn a_disk_that_is_full_to_the_last_byte_takes_no_index_and_the_log_is_opened_read_and_later_appended_to_without()
 {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = open(&files, &small());
    while log.segment_count() < 3 {
        append(&log, &[&"x".repeat(300)]).unwrap();
    }
    append(&log, &["last"]).unwrap();
    flush(&dir, &log);
    let all = values(&log, Offset::ZERO, 1 << 20);
    drop((dir, log));
    files.kill();
    let names: Vec<PathBuf> = files.snapshot().into_keys().collect();
    let is_index = |path: &&PathBuf| path.to_string_lossy().ends_with("index");
    let indexes: Vec<&PathBuf> = names.iter().filter(is_index).collect();
    assert_eq!(indexes.len(), 6);
    indexes.iter().for_each(|path| files.remove_file(path).unwrap());
    files.set_room(Room::NoBytes);
    for _ in 0..2 {
        let (dir, log) = open(&files, &small());
        assert_eq!(values(&log, Offset::ZERO, 1 << 20), all);
        let last = all.len() as i64 - 1;
        let hit = log.offset_for_time(Timestamp::new(1000 + last)).unwrap().unwrap();
        assert_eq!(hit.offset.get(), last);
        assert!(matches!(append(&log, &["more"]), Err(AppendError::Full { .. })));
        drop((dir, log));
        files.kill();
    }
    let (dir, log) = open(&files, &small());
    let early = Timestamp::new(2000);
    assert!(!log.roll_if_expired(early).unwrap(), "it sleeps, and there is no room");
    files.set_room(Room::Enough);
    append(&log, &["more"]).unwrap();
    flush(&dir, &log);
    assert!(log.roll_if_expired(early).unwrap(), "now it gets its indexes");
    flush(&dir, &log);
    while let Sealed::Segment(..) = log.seal_next(NOW).unwrap() {}
    let found = values(&log, Offset::ZERO, 1 << 20);
    assert_eq!((found.len(), found.last().unwrap().1.as_str()), (all.len() + 1, "more"));
    let there = files.snapshot();
    assert!(indexes.iter().all(|path| there.contains_key(*path)));
}

#[test]
fn what_a_run_that_was_killed_had_reserved_is_given_back_without_an_append() {
    use std::os::unix::fs::MetadataExt;
    const RESERVED: u64 = 4 * 1024 * 1024;
    for is_looked_at in [true, false] {
        let temporary = tempfile::tempdir().unwrap();
        let files = Arc::new(OsFiles::open_or_create(temporary.path()).unwrap());
        let (dir, log) = filled(&files);
        let path = temporary.path().join(SegmentFile::Log.path(log.dir(), Offset::ZERO));
        drop((dir, log));
        let occupied = || std::fs::metadata(&path).unwrap().blocks() * 512;
        let reserve = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&reserve, flags, 0, RESERVED)
            .expect("this claim needs a file system that reserves room");
        assert!(occupied() >= RESERVED);

        let (dir, log) = open(&files, &small());
        assert!(occupied() >= RESERVED && log.is_dormant(), "a start has better things to do");
        if is_looked_at {
            log.sleep_if_idle(Instant::now(), LIMIT).unwrap();
        } else {
            drop(log);
            dir.close_clean(NOW, Instant::now()).unwrap();
        }
        assert!(occupied() < RESERVED / 4, "{} bytes", occupied());
    }
}
