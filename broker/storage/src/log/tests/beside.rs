//! Claims about who reads while others append, roll and flush: what is seen is whole, and never goes back.

use std::sync::atomic::AtomicUsize;

use super::*;

/// What readers have seen, of all the appends there were.
#[derive(Default)]
struct Seen {
    batches: AtomicUsize,
    readers_done: AtomicUsize,
}

const APPENDS: usize = 3000;

/// Reads from the start to the end of all appends; every batch is whole and the next one, and no end ever goes back.
fn follow(log: &Log<OsFiles>, max_bytes: usize, seen: &Seen) {
    let (mut next, mut cursor) = (Offset::ZERO, Cursor::default());
    let (mut end, mut visible, mut durable) = (Offset::ZERO, Offset::ZERO, Offset::ZERO);
    let mut bytes = Vec::new();
    while next.get() < APPENDS as i64 {
        // In this order: whoever knows of an offset finds its bytes.
        let now_visible = log.high_watermark();
        let now_durable = log.durable();
        let now_end = log.log_end();
        assert!(now_end >= end && now_visible >= visible && now_durable >= durable, "an end went back");
        assert!(now_visible <= now_end && now_durable <= now_end, "{now_visible}, {now_durable}, {now_end}");
        let is_flushed = log.options().visibility == Visibility::Flushed;
        assert!(!is_flushed || now_visible <= now_durable, "{now_visible} is seen, {now_durable} durable");
        (end, visible, durable) = (now_end, now_visible, now_durable);
        let Read::Ready(fetched) = log.read(next, max_bytes, &mut cursor, Touch::Any).unwrap() else {
            panic!("cold, although it may wait")
        };
        let Some(slice) = fetched.slice else {
            assert!(next >= visible, "{visible} is visible, and there is nothing at {next}");
            std::thread::yield_now();
            continue;
        };
        bytes.resize(slice.len(), 0);
        slice.copy_to(0, &mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (batch, after) = UnverifiedBatch::split_first(rest).expect("an end is that of a batch");
            let header = *batch.verify().expect("what is published is whole").header();
            assert_eq!(header.base_offset, next);
            next = header.next_offset();
            rest = after;
            seen.batches.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(fetched.next_offset, next);
    }
    seen.readers_done.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn readers_beside_appends_rolls_and_flushes_see_whole_batches_and_ends_that_never_go_back() {
    for visibility in [Visibility::Appended, Visibility::Flushed] {
        let temporary = tempfile::tempdir().unwrap();
        let files = Arc::new(OsFiles::open_or_create(temporary.path()).unwrap());
        let (dir, log) = open(&files, &LogOptions { visibility, ..small() });
        let seen = Seen::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..APPENDS {
                    append(&log, &[&"x".repeat(number % 97)]).unwrap();
                }
            });
            scope.spawn(|| {
                let mut durable = Offset::ZERO;
                while durable.get() < APPENDS as i64 {
                    // One value, whatever is appended meanwhile: a batch ends there, and no other offset is due.
                    let tail = log.tail();
                    flush(&dir, &log);
                    assert!(log.durable_tail().next_offset >= tail.next_offset);
                    durable = log.durable();
                    log.prepare_next().unwrap();
                }
            });
            for max_bytes in [1, 10_000] {
                let (log, seen) = (&log, &seen);
                scope.spawn(move || follow(log, max_bytes, seen));
            }
        });
        assert_eq!(seen.readers_done.load(Ordering::Relaxed), 2);
        assert_eq!(seen.batches.load(Ordering::Relaxed), 2 * APPENDS);
        assert!(log.segment_count() > 20, "{} segments", log.segment_count());
    }
}

#[test]
fn where_a_log_ends_is_told_as_one_value_however_many_append() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = open(&files, &LogOptions { visibility: Visibility::Appended, ..small() });
    let size = batch(&["ten bytes!"], 1000).len() as u64;
    let is_enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let appends = scope.spawn(|| {
            for number in 0..1_000_000 {
                append(&log, &["ten bytes!"]).unwrap();
                if number >= 1000 && is_enough.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let mut tails = Vec::new();
        while !appends.is_finished() {
            let tail = log.tail();
            if tails.last() != Some(&tail) {
                tails.push(tail);
            }
            is_enough.store(tails.len() > 100, Ordering::Relaxed);
        }
        assert!(tails.len() > 100, "{} were seen", tails.len());
        for Tail { segment_base, pos, next_offset } in tails {
            // All batches have one record and one size.
            let records = (next_offset.get() - segment_base.get()) as u64;
            assert_eq!(
                pos,
                records * size,
                "{next_offset} at {pos} of the segment that begins at {segment_base}"
            );
        }
    });
}
