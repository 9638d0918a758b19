//! An empty segment that gives way to a larger one, and cannot; and what a segment that cannot be begun leaves.

use std::os::unix::fs::MetadataExt;

use super::seal::seal_all;
use super::*;
use crate::partition_files::SegmentFile;

/// A log of one record and an empty segment behind it, which the durable point names, and which is too small for what
/// these options let in.
fn with_an_empty_end(files: &SimFiles) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>, LogOptions) {
    let (dir, log) = open(&Arc::new(files.clone()), &small());
    append(&log, &["a"]).unwrap();
    flush(&dir, &log);
    assert!(log.roll_if_expired(NOW).unwrap());
    flush(&dir, &log);
    assert_eq!(
        log.durable_tail(),
        Tail { segment_base: Offset::new(1), pos: 0, next_offset: Offset::new(1) }
    );
    let larger = LogOptions { batch_size_max: 100_000, ..small() };
    log.set_options(larger.clone());
    (dir, log, larger)
}

#[test]
fn an_empty_segment_that_cannot_be_replaced_stays_because_the_durable_point_may_name_it() {
    let operations = {
        let files = SimFiles::new();
        let (_dir, log, _) = with_an_empty_end(&files);
        let before = files.operations();
        append(&log, &[&"y".repeat(90_000)]).unwrap();
        files.operations() - before
    };
    let mut refused = 0;
    for operation in 0..operations {
        for (is_clean, goes_on) in [(true, false), (true, true), (false, false), (false, true)] {
            let files = SimFiles::new();
            let (dir, log, larger) = with_an_empty_end(&files);
            files.fail_at(files.operations() + operation, Fault::Full);
            let replaced = append(&log, &[&"y".repeat(90_000)]);
            if let Err(AppendError::Io { .. }) = replaced {
                // A sync has failed, which is final.
                drop((dir, log));
                files.crash(operation);
                let (_dir, log) = open(&Arc::new(files), &larger);
                assert_eq!(log.log_end(), Offset::new(1), "operation {operation}");
                continue;
            }
            assert!(matches!(replaced, Ok(_) | Err(AppendError::Full { .. })), "{replaced:?}");
            refused += usize::from(replaced.is_err());
            let is_left = |path: &PathBuf| path.extension() == Some("tmp".as_ref());
            assert!(!files.snapshot().keys().any(is_left), "operation {operation}");
            if goes_on {
                append(&log, &["b"]).unwrap();
            }
            flush(&dir, &log);
            let expected = values(&log, Offset::ZERO, 1 << 20);
            assert_eq!(expected.len(), 1 + usize::from(replaced.is_ok()) + usize::from(goes_on));
            if is_clean {
                dir.close_clean(NOW, Instant::now()).unwrap();
            } else {
                drop(dir);
                files.crash(operation);
            }
            drop(log);
            let (_dir, log) = open(&Arc::new(files), &larger);
            assert_eq!(values(&log, Offset::ZERO, 1 << 20), expected, "operation {operation}");
        }
    }
    assert!(refused > 12, "{refused} of {operations} operations");
}

#[test]
fn an_empty_segment_is_appended_to_after_no_descriptor_was_left_to_replace_it() {
    let files = SimFiles::new();
    let (dir, log, larger) = with_an_empty_end(&files);
    files.set_exhausted(true);
    let refused = append(&log, &[&"y".repeat(90_000)]);
    assert!(matches!(refused, Err(AppendError::Exhausted { .. })), "{refused:?}");
    files.set_exhausted(false);
    append(&log, &["b"]).unwrap();
    append(&log, &[&"y".repeat(90_000)]).unwrap();
    flush(&dir, &log);
    dir.close_clean(NOW, Instant::now()).unwrap();
    drop(log);
    let (_dir, log) = open(&Arc::new(files), &larger);
    assert_eq!((log.log_end(), log.segment_count()), (Offset::new(3), 3));
}

#[test]
fn a_segment_that_cannot_be_begun_for_want_of_room_leaves_no_file_of_a_passing_name() {
    let filled = |files: &SimFiles, is_prepared: bool| {
        let (dir, log) = open(&Arc::new(files.clone()), &small());
        while !log.wants_next_segment() {
            append(&log, &["some words"]).unwrap();
        }
        if is_prepared {
            log.prepare_next().unwrap();
        }
        (dir, log)
    };
    let passing = |files: &SimFiles| -> Vec<PathBuf> {
        files.snapshot().into_keys().filter(|path| path.extension() == Some("tmp".as_ref())).collect()
    };
    // One by one: making the next ready, beginning what is ready, beginning anew, and what is ready and does not fit.
    type Step = fn(&Log<SimFiles>) -> Result<(), AppendError>;
    let larger = |log: &Log<SimFiles>| {
        log.set_options(LogOptions { segment_bytes: 8192, ..small() });
        log.roll(&mut log.lock())
    };
    let steps: [(bool, Step); 4] = [
        (false, |log| log.prepare_next()),
        (true, |log| log.roll(&mut log.lock())),
        (false, |log| log.roll(&mut log.lock())),
        (true, larger),
    ];
    for (number, (is_prepared, step)) in steps.into_iter().enumerate() {
        let operations = {
            let files = SimFiles::new();
            let (_dir, log) = filled(&files, is_prepared);
            let before = files.operations();
            step(&log).unwrap();
            files.operations() - before
        };
        let mut refused = 0;
        for operation in 0..operations {
            let files = SimFiles::new();
            let (dir, log) = filled(&files, is_prepared);
            files.fail_at(files.operations() + operation, Fault::Full);
            let Err(AppendError::Full { .. }) = step(&log) else { continue };
            refused += 1;
            assert!(passing(&files).is_empty(), "step {number}, operation {operation}");
            append(&log, &["b"]).unwrap();
            flush(&dir, &log);
            drop(log);
            dir.close_clean(NOW, Instant::now()).unwrap();
            assert!(passing(&files).is_empty(), "step {number}, operation {operation}");
        }
        assert!(refused > 2, "step {number}: {refused} of {operations}");
    }
}

#[test]
fn a_name_that_there_was_no_room_to_take_back_is_gone_for_good_before_anything_is_appended_below_it() {
    for seed in 0..20 {
        let files = SimFiles::new();
        let (dir, log) = open(&Arc::new(files.clone()), &small());
        append(&log, &[&"x".repeat(3500)]).unwrap();
        flush(&dir, &log);
        // No descriptor is left for the last sync of the next segment, and no room to take its names away.
        files.set_exhausted_at(log.dir());
        files.set_room(Room::NoRemovals);
        let refused = append(&log, &[&"y".repeat(3500)]);
        assert!(matches!(refused, Err(AppendError::Exhausted { .. })), "{refused:?}");
        files.set_exhausted(false);
        let refused = append(&log, &["fits into either"]);
        assert!(matches!(refused, Err(AppendError::Full { .. })), "{refused:?}");
        files.set_room(Room::Enough);
        append(&log, &["fits into either"]).unwrap();
        flush(&dir, &log);
        let expected = values(&log, Offset::ZERO, 1 << 20);
        assert_eq!((expected.len(), log.segment_count()), (2, 1));
        drop((dir, log));
        if seed == 0 {
            files.kill();
        } else {
            files.crash(seed);
        }
        let (_, log) = open(&Arc::new(files), &small());
        assert_eq!(values(&log, Offset::ZERO, 1 << 20), expected, "seed {seed}");
    }
}

#[test]
fn a_name_that_is_taken_back_without_a_descriptor_to_sync_that_is_gone_for_good_with_the_next_flush() {
    for seed in 0..20 {
        let files = SimFiles::new();
        let (dir, log) = open(&Arc::new(files.clone()), &small());
        append(&log, &[&"x".repeat(3500)]).unwrap();
        flush(&dir, &log);
        files.set_exhausted_at(log.dir());
        let refused = append(&log, &[&"y".repeat(3500)]);
        assert!(matches!(refused, Err(AppendError::Exhausted { .. })), "{refused:?}");
        files.set_exhausted(false);
        append(&log, &["fits into either"]).unwrap();
        flush(&dir, &log);
        let expected = values(&log, Offset::ZERO, 1 << 20);
        assert_eq!((expected.len(), log.segment_count()), (2, 1));
        drop((dir, log));
        files.crash(seed);
        let (_, log) = open(&Arc::new(files), &small());
        assert_eq!(values(&log, Offset::ZERO, 1 << 20), expected, "seed {seed}");
    }
}

#[test]
fn an_empty_segment_whose_replacement_got_its_names_and_no_sync_has_them_for_good_with_the_next_flush() {
    for seed in 0..20 {
        let files = SimFiles::new();
        let (dir, log, larger) = with_an_empty_end(&files);
        files.set_exhausted_at(log.dir());
        let refused = append(&log, &[&"y".repeat(90_000)]);
        assert!(matches!(refused, Err(AppendError::Exhausted { .. })), "{refused:?}");
        files.set_exhausted(false);
        append(&log, &["b"]).unwrap();
        flush(&dir, &log);
        let expected = values(&log, Offset::ZERO, 1 << 20);
        assert_eq!((expected.len(), log.segment_count()), (2, 2));
        drop((dir, log));
        files.crash(seed);
        let (_, log) = open(&Arc::new(files), &larger);
        assert_eq!(values(&log, Offset::ZERO, 1 << 20), expected, "seed {seed}");
    }
}

/// A batch of one record whose last offset is so far behind its first.
fn sparse(last_offset_delta: i32) -> BytesMut {
    let mut bytes = batch(&["x"], 1000);
    bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
    let crc = folio_record::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn a_segment_ends_before_its_offsets_are_more_than_an_index_can_tell() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &small());
    let mut bases = Vec::new();
    for _ in 0..7 {
        let appended = log.writer().append(&mut [sparse(i32::MAX / 4)], Mode::MayBlock, NOW).unwrap();
        bases.push(appended.outcomes[0].as_ref().unwrap().base_offset);
    }
    flush(&dir, &log);
    assert_eq!(log.segment_count(), 3, "three batches in each, where a fourth would be one offset too many");
    for base in bases {
        let Read::Ready(fetched) = log.read(base, 1, &mut Cursor::default(), Touch::Any).unwrap() else {
            panic!("cold, although it may wait")
        };
        assert_eq!(fetched.next_offset.get() - base.get(), i64::from(i32::MAX / 4) + 1);
    }
}

/// How a segment comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Full,
    Old,
    /// The run that reserved the room was killed.
    OldInTheNextRun,
}

/// Bytes that a file may take beside its own, for blocks of its extent tree.
const EXTENT_TREE_SIZE_MAX: u64 = 32 * 1024;

#[test]
fn a_segment_that_is_closed_has_given_its_reserve_back_and_takes_no_more_room_than_it_has_bytes() {
    for end in [End::Full, End::Old, End::OldInTheNextRun] {
        let root = tempfile::tempdir().unwrap();
        let files = Arc::new(OsFiles::open_or_create(root.path()).unwrap());
        let options = LogOptions {
            segment_bytes: 4 << 20,
            batch_size_max: 1 << 20,
            segment_ms: Some(5),
            ..LogOptions::default()
        };
        let opened = || open(&files, &options);
        let (mut dir, mut log) = opened();
        let path = root.path().join(SegmentFile::Log.path(log.dir(), Offset::ZERO));
        let reserve = || {
            let metadata = std::fs::metadata(&path).unwrap();
            (metadata.blocks() * 512).saturating_sub(metadata.len())
        };
        let value = "x".repeat(300_000);
        let batches = if end == End::Full { 13 } else { 3 };
        for _ in 0..batches {
            append(&log, &[&value]).unwrap();
        }
        flush(&dir, &log);
        let (reserved, len) = (reserve(), std::fs::metadata(&path).unwrap().len());
        assert!(
            reserved > 3 * EXTENT_TREE_SIZE_MAX,
            "{end:?}: {reserved} bytes: this claim needs a file system that reserves room"
        );
        if end == End::OldInTheNextRun {
            drop((dir, log));
            (dir, log) = opened();
            assert_eq!(reserve(), reserved, "a start has better things to do");
        }
        if end == End::Full {
            append(&log, &[&value]).unwrap();
        } else {
            assert!(log.roll_if_expired(Timestamp::new(NOW.get() + 10)).unwrap());
        }
        assert_eq!(log.segment_count(), 2);
        flush(&dir, &log);
        assert!(reserve() < EXTENT_TREE_SIZE_MAX, "{end:?}: {} of {reserved}", reserve());
        // Whoever found no room to give it back, or died before, leaves it to this.
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, len + reserved).unwrap();
        assert!(reserve() > 3 * EXTENT_TREE_SIZE_MAX, "{end:?}: {}", reserve());
        assert_eq!(seal_all(&log), [0]);
        assert!(reserve() < EXTENT_TREE_SIZE_MAX, "{end:?}: {} of {reserved}", reserve());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), len, "{end:?}");
        for kind in ["index", "timeindex"] {
            let metadata = std::fs::metadata(path.with_extension(kind)).unwrap();
            assert!(metadata.blocks() * 512 < metadata.len() + EXTENT_TREE_SIZE_MAX, "{end:?}: {metadata:?}");
        }
    }
}
