//! Claims about one log: appending, reading, rolling, retaining, and what crashes leave of it.

mod append_times;
mod beside;
mod cold;
mod compact;
mod compact_beside;
mod compact_left;
mod compact_model;
mod dormant;
mod footers;
mod lookups;
mod model;
mod open;
mod options;
mod producers;
mod refused;
mod retention;
mod rolls;
mod scrub;
mod seal;
mod stale;
mod unfinished;

use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_record::{
    BatchBuilder, Compression, DecompressLimit, NewRecord, ProducerId, Timestamp, UnverifiedBatch,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::data_dir::{DataDir, DataDirOptions, NewTopic};
use crate::files::sim::{Fault, Room};
use crate::files::{OsFiles, SimFiles};
use crate::slots::{SLOT_SIZE, SLOTS_NAME, SlotCopy};

const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

fn open<F: Files>(files: &Arc<F>, options: &LogOptions) -> (DataDir<F>, Arc<Log<F>>) {
    let dir_options = DataDirOptions::fixed(1);
    let (dir, report) = DataDir::open(Arc::clone(files), &dir_options, |_| options.clone(), NOW).unwrap();
    let log = match report.partitions.into_iter().next() {
        Some(partition) => partition.state.expect("a log that is online").0,
        None => {
            let topic = NewTopic {
                name: "t".to_owned(),
                uuid: Uuid::from_u128(9),
                partitions: 1,
                settings: Vec::new(),
            };
            dir.create_topic(topic, options, NOW).unwrap().remove(0)
        }
    };
    (dir, log)
}

fn small() -> LogOptions {
    LogOptions { segment_bytes: 4096, batch_size_max: 4096, index_interval: 512, ..LogOptions::default() }
}

/// A batch of records with these values, at consecutive milliseconds.
fn batch(values: &[&str], timestamp: i64) -> BytesMut {
    numbered((-1, -1, -1), values, timestamp)
}

/// The same of a producer (id, epoch, number of the first record).
fn numbered((id, epoch, sequence): (i64, i16, i32), values: &[&str], timestamp: i64) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    builder.producer(ProducerId::new(id), epoch, sequence);
    for (value, timestamp) in values.iter().zip(timestamp..) {
        let timestamp = Timestamp::new(timestamp);
        builder
            .append(&NewRecord { timestamp, key: None, value: Some(value.as_bytes()), headers: &[] })
            .unwrap();
    }
    BytesMut::from(builder.build().unwrap().as_slice())
}

fn append<F: Files>(log: &Log<F>, values: &[&str]) -> Result<AppendedRange, AppendError> {
    let timestamp = 1000 + log.log_end().get();
    let appended = log.writer().append(&mut [batch(values, timestamp)], Mode::MayBlock, NOW)?;
    Ok(appended.outcomes.into_iter().next().unwrap().unwrap())
}

fn flush<F: Files>(dir: &DataDir<F>, log: &Arc<Log<F>>) {
    dir.flush(std::slice::from_ref(log), NOW, Instant::now()).unwrap();
}

/// All values from `offset` on that consumers see, with their offsets, fetched `max_bytes` at a time.
fn values<F: Files>(log: &Log<F>, mut offset: Offset, max_bytes: usize) -> Vec<(i64, String)> {
    let mut cursor = Cursor::default();
    let mut values = Vec::new();
    loop {
        let from = offset;
        let Read::Ready(fetched) = log.read(offset, max_bytes, &mut cursor, Touch::Any).unwrap() else {
            panic!("cold, although it may wait")
        };
        let Some(slice) = fetched.slice else { return values };
        let mut bytes = vec![0; slice.len()];
        slice.copy_to(0, &mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (batch, after) = UnverifiedBatch::split_first(rest).unwrap();
            let records = batch.verify().unwrap().records(DecompressLimit::new(1 << 20)).unwrap();
            for record in &records {
                let record = record.unwrap();
                if record.offset >= from {
                    let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                    values.push((record.offset.get(), value));
                }
            }
            rest = after;
        }
        assert!(fetched.next_offset > offset);
        offset = fetched.next_offset;
    }
}

#[test]
fn what_was_appended_and_flushed_is_read_back_from_every_offset_and_in_any_portions() {
    let temporary = tempfile::tempdir().unwrap();
    let files = Arc::new(OsFiles::open_or_create(temporary.path()).unwrap());
    let (dir, log) = open(&files, &small());
    let mut expected = Vec::new();
    for number in 0..300 {
        let value = format!("value {number} {}", "x".repeat(number % 97));
        append(&log, &[&value, "second"]).unwrap();
        expected.push((2 * number as i64, value));
        expected.push((2 * number as i64 + 1, "second".to_owned()));
    }
    assert_eq!(values(&log, Offset::ZERO, 1000), []);
    flush(&dir, &log);
    assert!(log.view.load().len() > 3, "several segments");
    for from in [0, 1, 17, 250, 599] {
        for max_bytes in [1, 700, 1 << 20] {
            assert_eq!(
                values(&log, Offset::new(from), max_bytes),
                expected[from as usize..],
                "{from}, {max_bytes}"
            );
        }
    }
    dir.close_clean(NOW, Instant::now()).unwrap();
    drop(log);
    let (_, log) = open(&files, &small());
    assert_eq!(values(&log, Offset::ZERO, 1 << 20), expected);
    append(&log, &["after"]).unwrap();
}

/// What the last copy of its slot says of a log: up to where consumers see it, and how far it is durable.
fn slot(files: &SimFiles, log: &Log<SimFiles>) -> (i64, i64) {
    let bytes = files.snapshot().remove(Path::new(SLOTS_NAME)).unwrap();
    let copies = bytes.chunks_exact(SLOT_SIZE).map(|copy| SlotCopy::decode(copy.try_into().unwrap()));
    let own = copies.filter_map(SlotCopy::valid).filter(|slot| slot.partition == log.id());
    let last = own.max_by_key(|slot| slot.seq).unwrap();
    (last.visible.get(), last.durable_next_offset.get())
}

#[test]
fn a_slot_tells_what_consumers_could_see_when_it_was_written_and_never_more_than_is_durable() {
    for (visibility, seen) in [(Visibility::Flushed, [0, 3]), (Visibility::Appended, [3, 5])] {
        let files = SimFiles::new();
        let options = LogOptions { visibility, ..small() };
        let (dir, log) = open(&Arc::new(files.clone()), &options);
        append(&log, &["a", "b", "c"]).unwrap();
        flush(&dir, &log);
        assert_eq!(slot(&files, &log), (seen[0], 3), "{visibility:?}: what is flushed is shown after that");
        append(&log, &["d", "e"]).unwrap();
        dir.raise_log_start(&log, Offset::new(1), NOW, Instant::now()).unwrap();
        assert_eq!(slot(&files, &log), (3, 3), "{visibility:?}");
        flush(&dir, &log);
        assert_eq!(slot(&files, &log), (seen[1], 5), "{visibility:?}");
        drop((dir, log));
        files.kill();
        let (_dir, log) = open(&Arc::new(files.clone()), &options);
        assert_eq!(slot(&files, &log), (5, 5), "{visibility:?}: what is recovered is durable, and seen");
    }
}

#[test]
fn consumers_see_records_when_the_topic_says_so() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = open(&files, &small());
    append(&log, &["a"]).unwrap();
    assert_eq!(log.high_watermark(), Offset::ZERO);
    flush(&dir, &log);
    assert_eq!((log.high_watermark(), log.durable()), (Offset::new(1), Offset::new(1)));
    log.set_options(LogOptions { visibility: Visibility::Appended, ..small() });
    append(&log, &["b"]).unwrap();
    assert_eq!((log.high_watermark(), log.durable()), (Offset::new(2), Offset::new(1)));
    assert!(log.unflushed_bytes() > 0);
}

#[test]
fn an_inline_append_never_rolls_or_allocates() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = open(&files, &small());
    let inline = |value: &str| log.try_writer().unwrap().append(&mut [batch(&[value], 1)], Mode::Inline, NOW);
    assert!(matches!(inline("no segment yet"), Err(AppendError::NeedsLane)));
    append(&log, &["by the lane"]).unwrap();
    let before = files.operations();
    inline("now").unwrap();
    assert_eq!(files.operations() - before, 1, "one write");
    let big = "x".repeat(3900);
    assert!(matches!(inline(&big), Err(AppendError::NeedsLane)));
    assert_eq!(log.log_end(), Offset::new(2));
}

#[test]
fn while_one_appends_another_is_turned_away() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = open(&files, &small());
    let writer = log.writer();
    assert!(log.try_writer().is_none());
    drop(writer);
    assert!(log.try_writer().is_some());
}

#[test]
fn an_append_that_fails_leaves_no_trace_and_the_next_one_works() {
    for fault in [Fault::Full, Fault::Short] {
        let files = SimFiles::new();
        let (dir, log) = open(&Arc::new(files.clone()), &small());
        append(&log, &["a"]).unwrap();
        let before = files.snapshot();
        files.fail_at(files.operations(), fault);
        assert!(matches!(append(&log, &["lost"]), Err(AppendError::Full { .. })));
        assert_eq!(files.snapshot(), before);
        assert_eq!(append(&log, &["b"]).unwrap().base_offset, Offset::new(1));
        flush(&dir, &log);
        assert_eq!(values(&log, Offset::ZERO, 1000), [(0, "a".to_owned()), (1, "b".to_owned())]);
    }
}

#[test]
fn a_roll_that_finds_no_room_leaves_nothing_that_a_later_append_could_overlap() {
    for (operation, seed) in (0..12).flat_map(|operation| (0..6).map(move |seed| (operation, seed))) {
        let files = SimFiles::new();
        let (dir, log) = open(&Arc::new(files.clone()), &small());
        append(&log, &[&"x".repeat(3500)]).unwrap();
        files.fail_at(files.operations() + operation, Fault::Full);
        let rolled = append(&log, &[&"y".repeat(3500)]);
        if let Err(AppendError::Io { .. }) = rolled {
            // The last word of this run.
            continue;
        }
        append(&log, &["fits into either"]).unwrap();
        flush(&dir, &log);
        let expected = values(&log, Offset::ZERO, 1 << 20);
        assert_eq!(expected.len(), if rolled.is_ok() { 3 } else { 2 });
        drop((dir, log));
        if seed == 0 {
            files.kill();
        } else {
            files.crash(seed);
        }
        let (_, log) = open(&Arc::new(files), &small());
        assert_eq!(values(&log, Offset::ZERO, 1 << 20), expected, "operation {operation}, seed {seed}");
    }
}

#[test]
fn a_segment_made_ready_is_begun_without_waiting_for_a_disk() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = open(&files, &small());
    append(&log, &[&"x".repeat(2500)]).unwrap();
    assert!(!log.wants_next_segment(), "not yet three quarters full");
    append(&log, &[&"x".repeat(800)]).unwrap();
    assert!(log.wants_next_segment());
    log.prepare_next().unwrap();
    assert!(!log.wants_next_segment());
    let (before, roll_and_append) = (files.operations(), 3 + 2 + 1 + 3 + 1);
    append(&log, &[&"y".repeat(1000)]).unwrap();
    assert_eq!(log.segment_count(), 2);
    // Two headers, three renames, a time entry, the old reserves, one write: no file made, nothing synced.
    assert!(files.operations() - before <= roll_and_append, "{}", files.operations() - before);
    append(&log, &[&"y".repeat(2500)]).unwrap();
    log.prepare_next().unwrap();
    flush(&dir, &log);
    let expected = values(&log, Offset::ZERO, 1 << 20);
    dir.close_clean(NOW, Instant::now()).unwrap();
    assert!(files.snapshot().keys().all(|path| path.extension().is_none_or(|name| name != "tmp")));
    drop(log);
    let (_, log) = open(&files, &small());
    assert_eq!(values(&log, Offset::ZERO, 1 << 20), expected);
}

#[test]
fn a_roll_into_a_prepared_segment_can_be_interrupted_anywhere() {
    for operation in 0..14 {
        for is_power_cut in [true, false] {
            let files = SimFiles::new();
            let (dir, log) = open(&Arc::new(files.clone()), &small());
            append(&log, &[&"x".repeat(3500)]).unwrap();
            flush(&dir, &log);
            let expected = values(&log, Offset::ZERO, 1 << 20);
            log.prepare_next().unwrap();
            files.cut_power_at(files.operations() + operation);
            let rolled = append(&log, &[&"y".repeat(3500)]);
            let _ = dir.flush(&[Arc::clone(&log)], NOW, Instant::now());
            drop((dir, log));
            if is_power_cut {
                files.crash(operation);
            } else {
                files.kill();
            }
            let (dir, log) = open(&Arc::new(files), &small());
            let found = values(&log, Offset::ZERO, 1 << 20);
            assert_eq!(found[..1], expected[..], "operation {operation}");
            assert!(is_power_cut || found.len() == 1 + usize::from(rolled.is_ok()), "operation {operation}");
            append(&log, &[&"z".repeat(3500)]).unwrap();
            flush(&dir, &log);
            assert_eq!(values(&log, Offset::ZERO, 1 << 20).len(), found.len() + 1);
        }
    }
}

#[test]
fn a_segment_made_ready_for_other_sizes_is_not_used() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = open(&files, &small());
    append(&log, &[&"x".repeat(3500)]).unwrap();
    log.prepare_next().unwrap();
    log.set_options(LogOptions { batch_size_max: 100_000, ..small() });
    append(&log, &[&"y".repeat(90_000)]).unwrap();
    flush(&dir, &log);
    assert_eq!(values(&log, Offset::ZERO, 1 << 20).len(), 2);
}

#[test]
fn an_empty_segment_too_small_for_a_batch_gives_way_to_a_larger_one() {
    let files = Arc::new(SimFiles::new());
    let options = LogOptions { retention_bytes: Some(0), ..small() };
    let (dir, log) = open(&files, &options);
    append(&log, &["a"]).unwrap();
    flush(&dir, &log);
    assert!(log.roll_if_expired(NOW).unwrap());
    log.set_options(LogOptions { batch_size_max: 100_000, ..options });
    append(&log, &[&"y".repeat(90_000)]).unwrap();
    assert_eq!(log.segment_count(), 2);
    flush(&dir, &log);
    let start = log.expired(NOW).unwrap();
    dir.raise_log_start(&log, start, NOW, Instant::now()).unwrap();
    log.drop_below_start(dir.trash()).unwrap();
    assert_eq!(values(&log, start, 1 << 20).len(), 1);
}

#[test]
fn the_next_segment_is_made_ready_while_others_roll_into_the_last_one() {
    let root = tempfile::tempdir().unwrap();
    let files = Arc::new(OsFiles::open_or_create(root.path()).unwrap());
    let (dir, log) = open(&files, &small());
    let appends = 800_i64;
    std::thread::scope(|scope| {
        let maintenance = scope.spawn(|| {
            while log.log_end().get() < appends {
                if log.wants_next_segment() {
                    log.prepare_next().unwrap();
                }
            }
        });
        for _ in 0..appends {
            append(&log, &[&"x".repeat(1700)]).unwrap();
        }
        maintenance.join().unwrap();
    });
    flush(&dir, &log);
    assert_eq!(values(&log, Offset::ZERO, 1 << 20).len(), usize::try_from(appends).unwrap());
}

#[test]
fn nothing_is_made_ready_for_a_deleted_topic() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = open(&files, &small());
    append(&log, &[&"x".repeat(3500)]).unwrap();
    log.retire();
    let before = files.operations();
    log.prepare_next().unwrap();
    assert_eq!(files.operations(), before);
}

#[test]
fn offsets_outside_the_log_are_refused_and_the_end_is_an_empty_read() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = open(&files, &small());
    append(&log, &["a"]).unwrap();
    flush(&dir, &log);
    let read = |offset| log.read(Offset::new(offset), 100, &mut Cursor::default(), Touch::Any);
    assert!(matches!(read(2), Err(ReadError::OffsetOutOfRange { .. })));
    assert!(matches!(read(-1), Err(ReadError::OffsetOutOfRange { .. })));
    assert!(matches!(read(1), Ok(Read::Ready(Fetched { slice: None, .. }))));
}

#[test]
fn a_search_by_time_finds_the_first_record_that_late() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = open(&files, &small());
    for _ in 0..200 {
        append(&log, &["some value", "another value"]).unwrap();
    }
    flush(&dir, &log);
    // Record n has the timestamp 1000 + n.
    for offset in [0, 1, 2, 77, 150, 399] {
        let hit = log.offset_for_time(Timestamp::new(1000 + offset)).unwrap().unwrap();
        assert_eq!((hit.offset.get(), hit.timestamp.get()), (offset, 1000 + offset));
    }
    assert_eq!(log.offset_for_time(Timestamp::new(0)).unwrap().unwrap().offset, Offset::ZERO);
    assert_eq!(log.offset_for_time(Timestamp::new(1400)).unwrap(), None);
}

#[test]
fn a_damaged_or_missing_index_changes_no_answer() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &small());
    for number in 0..60 {
        append(&log, &[&format!("{number} {}", "x".repeat(200))]).unwrap();
    }
    flush(&dir, &log);
    let expected = values(&log, Offset::ZERO, 1 << 20);
    dir.close_clean(NOW, Instant::now()).unwrap();
    let is_index =
        |path: &&PathBuf| path.extension().is_some_and(|name| name == "index" || name == "timeindex");
    let indexes: Vec<_> = files.snapshot().into_keys().filter(|path| is_index(&path)).collect();
    for path in &indexes {
        files.tamper(path, |bytes| {
            let at = bytes.len() / 2;
            bytes[at..].fill(0x55);
        });
    }
    files.remove_file(&indexes[0]).unwrap();
    let (_, log) = open(&Arc::new(files), &small());
    for (offset, value) in &expected {
        assert_eq!(values(&log, Offset::new(*offset), 1)[0], (*offset, value.clone()));
        let hit = log.offset_for_time(Timestamp::new(1000 + offset)).unwrap().unwrap();
        assert_eq!(hit.offset, Offset::new(*offset));
    }
}
