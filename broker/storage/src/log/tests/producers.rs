//! Claims about idempotent producers of one log: copies are not appended, snapshots come and go, and a restart forgets
//! nothing.

use super::*;
use crate::partition_files::PartitionFile;
use crate::producers::{ActiveProducer, SequenceError};

/// Sends one record with this number.
fn send<F: Files>(log: &Log<F>, id: i64, sequence: i32) -> Result<AppendedRange, Refusal> {
    let value = format!("{id}:{sequence}");
    let mut buffers = [numbered((id, 0, sequence), &[&value], 1000)];
    log.writer().append(&mut buffers, Mode::MayBlock, NOW).unwrap().outcomes.remove(0)
}

fn offset_of(range: Result<AppendedRange, Refusal>) -> (i64, bool) {
    range.map(|range| (range.base_offset.get(), range.is_duplicate)).unwrap()
}

/// The ends of which there are snapshots in the directory.
fn snapshots(files: &SimFiles, log: &Log<SimFiles>) -> Vec<i64> {
    let names = files.list(log.dir()).unwrap().into_iter();
    names
        .filter_map(|entry| match PartitionFile::parse(&entry.name) {
            Some(PartitionFile::Snapshot(end)) => Some(end.get()),
            _ => None,
        })
        .collect()
}

/// Sends numbers from 0 on, and writes the snapshots that become due, as the maintenance thread does.
fn send_many(log: &Log<SimFiles>, count: i32) {
    for sequence in 0..count {
        send(log, 7, sequence).unwrap();
        if log.wants_snapshot() {
            log.take_snapshot().unwrap();
        }
    }
}

fn close(dir: DataDir<SimFiles>) {
    dir.close_clean(NOW, Instant::now()).unwrap();
}

#[test]
fn a_copy_in_the_middle_of_a_turn_is_not_written_and_has_its_offset_of_then() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = open(&files, &small());
    send(&log, 7, 0).unwrap();
    let batch = |sequence, value: &str| numbered((7, 0, sequence), &[value], 1000);
    let mut buffers = [
        batch(1, "b"),
        batch(0, "7:0"),
        batch(2, "c"),
        batch(1, "b"),
        batch(9, "too far"),
        batch(3, "d"),
        super::batch(&["of nobody", "of nobody"], 1000),
    ];
    let appended = log.writer().append(&mut buffers, Mode::MayBlock, NOW).unwrap();
    assert!(appended.stopped.is_none());
    let ranges: Vec<_> = appended
        .outcomes
        .iter()
        .map(|outcome| {
            outcome
                .as_ref()
                .ok()
                .map(|range| (range.base_offset.get(), range.last_offset.get(), range.is_duplicate))
        })
        .collect();
    let (new, copy) = (false, true);
    assert_eq!(
        ranges,
        [
            Some((1, 1, new)),
            Some((0, 0, copy)),
            Some((2, 2, new)),
            Some((1, 1, copy)),
            None,
            Some((3, 3, new)),
            Some((4, 5, new))
        ]
    );
    assert!(matches!(
        appended.outcomes[4],
        Err(Refusal::Sequence(SequenceError::OutOfOrder { expected: 3, found: 9, .. }))
    ));
    flush(&dir, &log);
    let read: Vec<String> = values(&log, Offset::ZERO, 1 << 20).into_iter().map(|(_, value)| value).collect();
    assert_eq!(read, ["7:0", "b", "c", "d", "of nobody", "of nobody"]);
}

#[test]
fn a_turn_of_copies_alone_writes_nothing() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = open(&files, &small());
    send(&log, 7, 0).unwrap();
    let (tail, operations) = (log.tail(), files.operations());
    assert_eq!(offset_of(send(&log, 7, 0)), (0, true));
    assert_eq!((log.tail(), files.operations()), (tail, operations));
}

#[test]
fn a_numbered_batch_comes_alone() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = open(&files, &small());
    let mut two = numbered((7, 0, 0), &["a"], 1000);
    two.extend_from_slice(&numbered((7, 0, 1), &["b"], 1000));
    let refused = log.writer().append(&mut [two], Mode::MayBlock, NOW).unwrap().outcomes;
    assert_eq!(refused, [Err(Refusal::NotABatch)]);
    assert_eq!(offset_of(send(&log, 7, 0)), (0, false));
}

#[test]
fn an_append_that_fails_or_has_to_wait_leaves_the_producer_as_it_was() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = open(&files, &small());
    let mut buffers = [numbered((7, 0, 0), &["a"], 1000)];
    let refused = log.writer().append(&mut buffers, Mode::Inline, NOW);
    assert!(matches!(refused, Err(AppendError::NeedsLane)));
    assert!(log.producers().is_empty());
    assert_eq!(offset_of(send(&log, 7, 0)), (0, false));

    files.fail_at(files.operations(), Fault::Full);
    let mut buffers = [numbered((7, 0, 1), &["b"], 1000)];
    let refused = log.writer().append(&mut buffers, Mode::MayBlock, NOW);
    assert!(matches!(refused, Err(AppendError::Full { .. })), "{refused:?}");
    assert_eq!(offset_of(send(&log, 7, 1)), (1, false));
}

#[test]
fn a_restart_of_any_kind_remembers_the_last_five_batches() {
    for power in [None, Some(1), Some(2)] {
        for is_clean in [true, false] {
            let files = Arc::new(SimFiles::new());
            let (dir, log) = open(&files, &small());
            for sequence in 0..8 {
                send(&log, 7, sequence).unwrap();
            }
            flush(&dir, &log);
            if is_clean {
                close(dir);
            } else {
                drop(dir);
            }
            drop(log);
            match power {
                Some(seed) => files.crash(seed),
                None => files.kill(),
            }
            let (_dir, log) = open(&files, &small());
            for sequence in 3..8 {
                assert_eq!(offset_of(send(&log, 7, sequence)), (i64::from(sequence), true));
            }
            assert!(matches!(send(&log, 7, 2), Err(Refusal::Sequence(SequenceError::Duplicate { .. }))));
            assert!(matches!(
                send(&log, 7, 9),
                Err(Refusal::Sequence(SequenceError::OutOfOrder { expected: 8, .. }))
            ));
            assert_eq!(offset_of(send(&log, 7, 8)), (8, false));
        }
    }
}

#[test]
fn after_a_clean_stop_nothing_is_read_again_to_know_the_producers() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = open(&files, &small());
    for sequence in 0..200 {
        send(&log, 7, sequence).unwrap();
    }
    assert!(log.segment_count() > 2);
    close(dir);
    assert_eq!(snapshots(&files, &log).last(), Some(&200));
    drop(log);
    let is_log = |path: &Path| path.extension() == Some("log".as_ref()) && path.starts_with("topics");
    let before = files.bytes_read(is_log);
    let (_dir, log) = open(&files, &small());
    assert!(files.bytes_read(is_log) - before <= 4096);
    assert_eq!(offset_of(send(&log, 7, 199)), (199, true));
}

#[test]
fn snapshots_come_with_every_segment_and_the_last_three_stay() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = open(&files, &small());
    send_many(&log, 400);
    let bases: Vec<i64> = log.view.load().iter().map(|segment| segment.base().get()).collect();
    assert!(bases.len() > 4);
    assert_eq!(snapshots(&files, &log), bases[bases.len() - SNAPSHOTS_KEPT..]);
}

#[test]
fn a_snapshot_is_due_when_so_much_was_appended_since_the_last() {
    let files = Arc::new(SimFiles::new());
    let options = LogOptions { snapshot_interval: 1000, segment_bytes: 1 << 20, ..small() };
    let (_dir, log) = open(&files, &options);
    let mut taken = Vec::new();
    for sequence in 0..100 {
        send(&log, 7, sequence).unwrap();
        if log.wants_snapshot() {
            log.take_snapshot().unwrap();
            taken.push(log.log_end().get());
            assert!(!log.wants_snapshot());
        }
    }
    assert!(taken.len() >= 5, "{taken:?}");
    assert_eq!(snapshots(&files, &log), taken[taken.len() - SNAPSHOTS_KEPT..]);
}

#[test]
fn a_snapshot_is_synced_by_the_next_flush_and_by_nobody_before() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = open(&files, &small());
    send(&log, 7, 0).unwrap();
    flush(&dir, &log);
    log.take_snapshot().unwrap();
    flush(&dir, &log);
    files.crash(3);
    assert_eq!(snapshots(&files, &log), [1]);
}

#[test]
fn a_damaged_snapshot_goes_and_an_older_one_or_the_log_itself_tells() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = open(&files, &small());
    send_many(&log, 300);
    close(dir);
    let mut names = snapshots(&files, &log);
    assert_eq!(names.len(), SNAPSHOTS_KEPT);
    let path =
        |log: &Log<SimFiles>, end: i64| crate::partition_files::snapshot_path(log.dir(), Offset::new(end));
    let mut log = log;
    while let Some(end) = names.pop() {
        files.tamper(&path(&log, end), |bytes| bytes[20] ^= 1);
        drop(log);
        let (dir, reopened) = open(&files, &small());
        assert_eq!(snapshots(&files, &reopened), names, "{end}");
        assert_eq!(offset_of(send(&reopened, 7, 295)), (295, true));
        drop(dir);
        log = reopened;
    }
    // An unclean start leaves none behind; the log alone was enough.
    assert!(snapshots(&files, &log).is_empty());
}

#[test]
fn a_snapshot_of_what_was_lost_goes_for_good() {
    for seed in 0..30 {
        let files = Arc::new(SimFiles::new());
        let (dir, log) = open(&files, &small());
        send(&log, 7, 0).unwrap();
        flush(&dir, &log);
        send(&log, 7, 1).unwrap();
        send(&log, 7, 2).unwrap();
        log.take_snapshot().unwrap();
        drop((dir, log));
        files.crash(seed);
        let (dir, log) = open(&files, &small());
        let end = log.log_end().get();
        assert!(snapshots(&files, &log).iter().all(|of| *of <= end));
        // The log comes to the same end by another way.
        for number in 0..3 {
            append(&log, &[&format!("other {number}")]).unwrap();
        }
        flush(&dir, &log);
        drop((dir, log));
        files.crash(seed + 1000);
        let (_dir, log) = open(&files, &small());
        let next = i32::try_from(end).unwrap();
        assert_eq!(offset_of(send(&log, 7, next)), (end + 3, false), "seed {seed}");
    }
}

#[test]
fn without_room_for_a_snapshot_the_log_goes_on() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = open(&files, &small());
    send(&log, 7, 0).unwrap();
    files.set_room(Room::NoBytes);
    log.take_snapshot().unwrap();
    files.set_room(Room::Enough);
    send(&log, 7, 1).unwrap();
    flush(&dir, &log);
    assert!(snapshots(&files, &log).is_empty());
}

#[test]
fn retention_takes_the_snapshots_of_what_it_removes() {
    let files = Arc::new(SimFiles::new());
    let options = LogOptions { retention_bytes: Some(1), ..small() };
    let (dir, log) = open(&files, &options);
    send_many(&log, 200);
    flush(&dir, &log);
    let start = log.expired(NOW).unwrap();
    dir.raise_log_start(&log, start, NOW, Instant::now()).unwrap();
    log.drop_below_start(dir.trash()).unwrap();
    assert_eq!(snapshots(&files, &log), [start.get()]);
    // Who produced what is gone is known still.
    assert_eq!(offset_of(send(&log, 7, 199)), (199, true));
}

#[test]
fn producers_expire_and_then_any_number_is_taken() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = open(&files, &LogOptions { producer_expiration_ms: 1000, ..small() });
    send(&log, 7, 0).unwrap();
    let last_timestamp = Timestamp::new(1000);
    assert_eq!(
        log.producers(),
        [ActiveProducer { id: ProducerId::new(7), epoch: 0, last_sequence: 0, last_timestamp }]
    );
    assert_eq!(log.expire_producers(Timestamp::new(NOW.get() + 999)), 0);
    assert!(send(&log, 7, 17).is_err());
    assert_eq!(log.expire_producers(Timestamp::new(NOW.get() + 1000)), 1);
    assert_eq!(offset_of(send(&log, 7, 17)), (1, false));
}
