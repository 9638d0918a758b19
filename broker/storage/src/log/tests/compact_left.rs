//! What a compaction leaves of batches whose records went: tombstones until their time, headers to read behind every
//! offset, and what producers are remembered by.

use folio_record::HEADER_SIZE;

use super::compact::{
    RETENTION, compact, compact_at, compacting, keyed, offsets, put, restart, rows, settle,
};
use super::*;
use crate::log::compact::CompactionOptions;
use crate::partition_files::SegmentFile;
use crate::producers::Producers;

#[test]
fn a_tombstone_stays_until_its_time_which_nothing_shortens_and_then_leaves_no_trace() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    put(&log, &[("a", Some("1")), ("b", Some("1"))]);
    put(&log, &[("a", None)]);
    settle(&dir, &log);
    let first = NOW.get();
    compact_at(&dir, &log, first, 1 << 20).unwrap();
    assert_eq!(offsets(&log), [1, 2], "the value went, and the tombstone is left");
    let mut number = 0;
    let mut again = |now| {
        number += 1;
        put(&log, &[("c", Some(&number.to_string()))]);
        settle(&dir, &log);
        compact_at(&dir, &log, now, 1 << 20).unwrap();
        offsets(&log).contains(&2)
    };
    // Neither a clock that goes back, nor another setting.
    assert!(again(first - 5_000_000));
    log.set_options(LogOptions {
        compaction: Some(CompactionOptions { delete_retention_ms: 0, ..compacting().compaction.unwrap() }),
        ..compacting()
    });
    assert!(again(first + RETENTION - 1));
    assert!(!again(first + RETENTION));
    let log = restart(&files, (dir, log)).1;
    assert_eq!(rows(&log, 0, 1 << 20).iter().map(|row| row.1.as_str()).collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn behind_every_offset_there_is_something_to_read_also_where_the_last_record_went() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    put(&log, &[("a", Some("1"))]);
    let keyless = batch(&["goes"], 1000);
    log.writer().append(&mut [keyless], Mode::MayBlock, NOW).unwrap();
    settle(&dir, &log);
    compact(&dir, &log);
    for _ in 0..2 {
        let read = log.read(Offset::new(1), 1, &mut Cursor::default(), Touch::Any).unwrap();
        let Read::Ready(Fetched { slice: Some(slice), next_offset, .. }) = read else {
            panic!("who is at offset 1 finds nothing, and it is not the end")
        };
        assert_eq!((slice.len(), next_offset), (HEADER_SIZE, Offset::new(2)), "a batch without records");
        put(&log, &[("b", Some("1"))]);
        settle(&dir, &log);
    }
}

#[test]
fn of_a_segment_whose_last_record_went_a_header_is_left_for_which_it_is_not_written_again() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    let value = "x".repeat(250);
    for own in ["a", "b"] {
        for number in 0..8 {
            put(&log, &[(&format!("{own} {number}"), Some(&value))]);
        }
        put(&log, &[("same", Some(own))]);
        settle(&dir, &log);
    }
    let first = SegmentFile::Log.path(log.dir(), Offset::ZERO);
    compact(&dir, &log);
    let left = files.snapshot().remove(&first).unwrap();
    let next = log.view.load()[1].base();
    assert_eq!(next, Offset::new(9));
    // The second becomes so small that it would have room behind the first.
    for pass in 0..3 {
        for number in 0..8 {
            put(&log, &[(&format!("b {number}"), Some("later"))]);
        }
        settle(&dir, &log);
        compact(&dir, &log);
        assert!(files.snapshot()[&first] == left, "pass {pass} has written the first again");
    }
    assert!(log.view.load()[1].end() + (left.len() as u64) < 4096 && log.view.load()[1].base() == next);
    let (mut rest, mut last) = (left.as_slice(), None);
    while !rest.is_empty() {
        let (batch, behind) = UnverifiedBatch::split_first(rest).unwrap();
        (last, rest) = (Some(*batch.verify().unwrap().header()), behind);
    }
    let last = last.unwrap();
    assert_eq!((last.count, last.next_offset()), (0, next), "it tells by itself where it ends");
}

#[test]
fn the_time_of_tombstones_begins_once_all_of_their_batch_is_compacted() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    let keys = ["a", "b", "c", "d", "e"];
    put(&log, &keys.map(|key| (key, None)));
    put(&log, &[("f", Some("1"))]);
    settle(&dir, &log);
    let pass = |now, keys: usize| compact_at(&dir, &log, now, keys * 24 * 10 / 9).unwrap().is_partial;
    let whole = NOW.get() + RETENTION;
    assert!(pass(NOW.get(), 3), "there is room for three keys");
    assert!(!pass(whole, 100));
    let left = |now| {
        put(&log, &[("g", Some("1"))]);
        settle(&dir, &log);
        assert!(!pass(now, 100));
        offsets(&log).iter().filter(|offset| **offset < keys.len() as i64).count()
    };
    assert_eq!(left(whole + RETENTION - 1), keys.len());
    assert_eq!(left(whole + RETENTION), 0);
    restart(&files, (dir, log));
}

#[test]
fn what_a_log_remembers_of_its_producers_is_in_it_also_when_all_their_records_and_all_snapshots_are_gone() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    for number in 0..40 {
        for id in 0..3 {
            let batch = keyed(
                Compression::None,
                Some((id, 1, 2 * number)),
                &[("same", Some("x")), ("other", None)],
                500,
            );
            log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
        }
    }
    settle(&dir, &log);
    put(&log, &[("same", Some("last"))]);
    settle(&dir, &log);
    compact(&dir, &log);
    let keys: Vec<String> = rows(&log, 0, 1 << 20).into_iter().map(|row| row.1).collect();
    assert_eq!(keys, ["other", "same"]);
    let known = log.lock().producers.clone();
    assert_eq!(known.len(), 3);
    let (dir, log) = restart(&files, (dir, log));
    drop((dir, log));
    for path in files.snapshot().into_keys().filter(|path| path.extension() == Some("snapshot".as_ref())) {
        files.remove_file(&path).unwrap();
    }
    files.kill();
    let (_dir, log) = open(&Arc::new(files.clone()), &compacting());
    let rebuilt = log.lock().producers.clone();
    let kept = |producers: &Producers| -> Vec<_> {
        let all = producers.all().into_iter();
        all.map(|(active, batches)| {
            let places: Vec<_> =
                batches.iter().map(|b| (b.base_sequence, b.last_sequence, b.base_offset)).collect();
            (active.id, active.epoch, places)
        })
        .collect()
    };
    assert_eq!(kept(&rebuilt), kept(&known));
    // And what comes again is known for it.
    let again = keyed(Compression::None, Some((1, 1, 2 * 37)), &[("same", Some("x")), ("other", None)], 500);
    let outcome = log.writer().append(&mut [again], Mode::MayBlock, NOW).unwrap().outcomes.remove(0).unwrap();
    assert!(outcome.is_duplicate);
    assert_eq!(outcome.base_offset, Offset::new((37 * 3 + 1) * 2));
}

#[test]
fn a_power_cut_after_a_pass_takes_no_batch_back_for_which_older_ones_of_its_producer_went() {
    let numbered = |log: &Log<SimFiles>, sequence: i32| {
        let batch = keyed(Compression::None, Some((7, 0, sequence)), &[("same", Some("x"))], 500);
        log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap().outcomes.remove(0).unwrap()
    };
    for power in 0..20 {
        let files = SimFiles::new();
        let (dir, log) = open(&Arc::new(files.clone()), &compacting());
        (0..5).for_each(|sequence| assert!(!numbered(&log, sequence).is_duplicate));
        settle(&dir, &log);
        put(&log, &[("same", Some("last"))]);
        settle(&dir, &log);
        // The five that are remembered now are above everything that is compacted, and not on the disk yet.
        (5..10).for_each(|sequence| assert!(!numbered(&log, sequence).is_duplicate));
        compact(&dir, &log);
        drop((dir, log));
        files.crash(power);
        for path in files.snapshot().into_keys().filter(|path| path.extension() == Some("snapshot".as_ref()))
        {
            files.remove_file(&path).unwrap();
        }
        let (_dir, log) = open(&Arc::new(files.clone()), &compacting());
        // Whichever batch was the last: its producer is known, and goes on.
        let known = log.producers();
        assert_eq!(known.len(), 1, "power cut {power}: the producer is forgotten");
        let next = known[0].last_sequence + 1;
        assert!(numbered(&log, next - 1).is_duplicate, "power cut {power}");
        assert!(!numbered(&log, next).is_duplicate, "power cut {power}");
    }
}
