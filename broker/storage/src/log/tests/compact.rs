//! Claims about compaction: which records stay and which go, and what those about it share.

use std::collections::BTreeMap;

use super::seal::seal_all;
use super::*;
use crate::log::compact::{Compacting, CompactionOptions, CompactionReport, DirtyRatio};
use crate::partition_files::SegmentFile;
use crate::verify::{Event, Severity, VerifyOptions, verify};

/// A record as it is read: offset, key, value, time.
pub(super) type Row = (i64, String, Option<String>, i64);

pub(super) const RETENTION: i64 = 1000;

pub(super) fn compacting() -> LogOptions {
    let compaction = CompactionOptions {
        min_lag_ms: 0,
        max_lag_ms: None,
        dirty_ratio_min: DirtyRatio::new(0.0),
        delete_retention_ms: RETENTION as u64,
    };
    LogOptions { compaction: Some(compaction), retention_ms: None, segment_ms: Some(5), ..small() }
}

/// A batch of records with these keys and values, at consecutive milliseconds, of a producer if there is one.
pub(super) fn keyed(
    codec: Compression,
    by: Option<(i64, i16, i32)>,
    records: &[(&str, Option<&str>)],
    timestamp: i64,
) -> BytesMut {
    let mut builder = BatchBuilder::new(codec, 1 << 20);
    if let Some((id, epoch, sequence)) = by {
        builder.producer(ProducerId::new(id), epoch, sequence);
    }
    for ((key, value), timestamp) in records.iter().zip(timestamp..) {
        let (timestamp, value) = (Timestamp::new(timestamp), value.map(str::as_bytes));
        builder.append(&NewRecord { timestamp, key: Some(key.as_bytes()), value, headers: &[] }).unwrap();
    }
    BytesMut::from(builder.build().unwrap().as_slice())
}

pub(super) fn put<F: Files>(log: &Log<F>, records: &[(&str, Option<&str>)]) -> i64 {
    let batch = keyed(Compression::None, None, records, 1000 + log.log_end().get());
    let appended = log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
    appended.outcomes[0].as_ref().unwrap().base_offset.get()
}

/// Closes the segment that is appended to, and seals what is closed.
pub(super) fn settle<F: Files>(dir: &DataDir<F>, log: &Arc<Log<F>>) {
    log.roll_if_expired(Timestamp::new(NOW.get() + 10)).unwrap();
    flush(dir, log);
    seal_all(log);
}

pub(super) fn compact_at<F: Files>(
    dir: &DataDir<F>,
    log: &Arc<Log<F>>,
    now: i64,
    map_bytes: usize,
) -> Option<CompactionReport> {
    let mut pass = log.compact([7, 9], map_bytes, Timestamp::new(now))?;
    loop {
        let progress = pass.step(dir, 700).unwrap();
        match progress.state {
            Compacting::Working => {}
            Compacting::Done(report) => return Some(report),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn compact<F: Files>(dir: &DataDir<F>, log: &Arc<Log<F>>) -> CompactionReport {
    compact_at(dir, log, NOW.get(), 1 << 20).expect("something to compact")
}

/// All records from `offset` on, fetched `max_bytes` at a time.
pub(super) fn rows<F: Files>(log: &Log<F>, offset: i64, max_bytes: usize) -> Vec<Row> {
    let (mut cursor, mut offset, mut rows) = (Cursor::default(), Offset::new(offset), Vec::new());
    loop {
        let from = offset;
        let Read::Ready(fetched) = log.read(offset, max_bytes, &mut cursor, Touch::Any).unwrap() else {
            panic!("cold, although it may wait")
        };
        let Some(slice) = fetched.slice else {
            assert_eq!(offset, log.high_watermark(), "a reader is left behind");
            return rows;
        };
        let mut bytes = vec![0; slice.len()];
        slice.copy_to(0, &mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (batch, after) = UnverifiedBatch::split_first(rest).unwrap();
            let batch = batch.verify().unwrap();
            assert!(batch.header().last_offset() >= offset, "batches follow one another");
            offset = batch.header().next_offset();
            let records = batch.records(DecompressLimit::new(1 << 20)).unwrap();
            records.check().unwrap();
            for record in records.iter().map(|record| record.unwrap()).filter(|record| record.offset >= from)
            {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let (key, value) = (text(record.key.unwrap_or(b"none")), record.value.map(text));
                rows.push((record.offset.get(), key, value, record.timestamp.get()));
            }
            rest = after;
        }
        assert!(fetched.next_offset >= offset && fetched.next_offset > from);
        offset = fetched.next_offset;
    }
}

pub(super) fn offsets<F: Files>(log: &Log<F>) -> Vec<i64> {
    rows(log, log.log_start().get(), 1 << 20).into_iter().map(|row| row.0).collect()
}

/// Every question about offsets and times has the answer that a scan gives.
pub(super) fn check_lookups<F: Files>(log: &Log<F>) {
    let start = log.log_start().get();
    let all = rows(log, start, 1 << 20);
    for offset in start..log.high_watermark().get() {
        for max_bytes in [1, 600] {
            let expected: Vec<&Row> = all.iter().filter(|row| row.0 >= offset).collect();
            let found = rows(log, offset, max_bytes);
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "from {offset}");
        }
    }
    let mut times: Vec<i64> = all.iter().flat_map(|row| [row.3 - 1, row.3, row.3 + 1]).collect();
    times.sort_unstable();
    times.dedup();
    for time in times {
        let found = log.offset_for_time(Timestamp::new(time)).unwrap();
        let expected = all.iter().find(|row| row.3 >= time).map(|row| (row.0, row.3));
        assert_eq!(found.map(|hit| (hit.offset.get(), hit.timestamp.get())), expected, "time {time}");
    }
    let latest = log.latest_by_time().unwrap().map(|hit| (hit.offset.get(), hit.timestamp.get()));
    let expected = all.iter().filter(|row| row.3 > -1).max_by_key(|row| (row.3, -row.0));
    assert_eq!(latest, expected.map(|row| (row.0, row.3)));
}

/// What `verify` finds in the directory, but for what nothing depends on.
pub(super) fn found(files: &SimFiles) -> Vec<String> {
    let mut found = Vec::new();
    verify(files, &VerifyOptions::default(), &mut |event| {
        if let Event::Found(finding) = event
            && finding.severity != Severity::Harmless
        {
            found.push(finding.to_string());
        }
    })
    .unwrap();
    found
}

pub(super) fn restart(
    files: &SimFiles,
    (dir, log): (DataDir<SimFiles>, Arc<Log<SimFiles>>),
) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    drop(log);
    dir.close_clean(NOW, Instant::now()).unwrap();
    assert_eq!(found(files), [""; 0]);
    open(&Arc::new(files.clone()), &compacting())
}

/// Keys `k0` to `k9` over several segments, each written again and again; gives the directory and the log.
pub(super) fn filled(files: &SimFiles, batches: usize) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    for number in 0..batches {
        let key = |of: usize| format!("k{}", (number * 7 + of * 3) % 10);
        let (a, b) = (key(0), key(1));
        put(&log, &[(&a, Some(&"x".repeat(200 + number % 50))), (&b, Some("y"))]);
    }
    settle(&dir, &log);
    (dir, log)
}

/// Of each key the last record, by what was read before.
pub(super) fn last_of_each(all: &[Row], upto: i64) -> Vec<Row> {
    let last: BTreeMap<&str, i64> =
        all.iter().filter(|row| row.0 < upto).map(|row| (row.1.as_str(), row.0)).collect();
    all.iter().filter(|row| row.0 >= upto || last[row.1.as_str()] == row.0).cloned().collect()
}

#[test]
fn of_each_key_the_last_record_is_left_in_its_place_and_small_segments_become_one() {
    let files = SimFiles::new();
    let (dir, log) = filled(&files, 100);
    let (before, end) = (rows(&log, 0, 1 << 20), log.log_end());
    let segments = log.segment_count();
    assert!(segments > 6, "{segments}");
    let report = compact(&dir, &log);
    let expected = last_of_each(&before, end.get());
    assert_eq!(rows(&log, 0, 1 << 20), expected);
    assert_eq!(expected.len(), 10);
    assert_eq!((log.log_end(), log.high_watermark(), log.log_start()), (end, end, Offset::ZERO));
    assert_eq!(log.segment_count(), 2, "one, and the one that is appended to");
    assert_eq!((report.records_before, report.records_after, report.keys), (200, 10, 10));
    assert_eq!((report.segments_before, report.segments_after), (segments as u64 - 1, 1));
    assert_eq!(report.bytes_after, log.size());
    check_lookups(&log);
    assert!(log.compact([1, 2], 1 << 20, NOW).is_none(), "there is nothing to be compacted any more");

    let (dir, log) = restart(&files, (dir, log));
    assert_eq!(rows(&log, 0, 1 << 20), expected);
    check_lookups(&log);
    put(&log, &[("k1", Some("newest"))]);
    settle(&dir, &log);
    compact(&dir, &log);
    assert_eq!(rows(&log, 0, 1 << 20).last().unwrap().2.as_deref(), Some("newest"));
    assert_eq!(rows(&log, 0, 1 << 20).len(), 10);
    restart(&files, (dir, log));
}

#[test]
fn what_is_not_settled_is_left_alone() {
    let files = SimFiles::new();
    let (dir, log) = filled(&files, 30);
    let settled = log.log_end().get();
    for number in 0..40 {
        put(&log, &[("k1", Some(&format!("{number} {}", "z".repeat(300))))]);
    }
    assert!(log.segment_count() > 5);
    let before: Vec<Row> = rows(&log, 0, 1 << 20);
    compact(&dir, &log);
    flush(&dir, &log);
    let after = rows(&log, 0, 1 << 20);
    assert_eq!(after.iter().filter(|row| row.0 >= settled).count(), 40);
    assert_eq!(
        after.iter().filter(|row| row.0 < settled).cloned().collect::<Vec<_>>(),
        last_of_each(&before, settled)
    );
}

#[test]
fn records_are_not_compacted_before_they_are_old_enough_and_are_when_they_are_too_old() {
    let files = SimFiles::new();
    let (dir, log) = filled(&files, 40);
    let latest = 1000 + log.log_end().get();
    let with = |min_lag_ms, max_lag_ms, ratio| {
        let compaction = CompactionOptions {
            min_lag_ms,
            max_lag_ms,
            dirty_ratio_min: DirtyRatio::new(ratio),
            delete_retention_ms: 0,
        };
        log.set_options(LogOptions { compaction: Some(compaction), ..compacting() });
    };
    with(5000, None, 0.0);
    assert_eq!(log.dirty(Timestamp::new(latest)).unwrap(), None, "all of it is too young");
    assert!(log.dirty(Timestamp::new(latest + 5000)).unwrap().unwrap().is_due);
    let half = log.dirty(Timestamp::new(1000 + 40 + 5000)).unwrap().unwrap();
    assert!(half.bytes < log.size(), "{half:?}");

    compact(&dir, &log);
    put(&log, &[("k1", Some("one more"))]);
    settle(&dir, &log);
    with(0, None, 0.5);
    let dirty = log.dirty(NOW).unwrap().unwrap();
    assert!(!dirty.is_due && dirty.ratio.get() < 0.5, "{dirty:?}");
    with(0, None, dirty.ratio.get() / 2.0);
    assert!(log.dirty(NOW).unwrap().unwrap().is_due);
    let first = 1000 + log.log_end().get() - 1;
    with(0, Some(70), 0.5);
    assert!(!log.dirty(Timestamp::new(first + 70)).unwrap().unwrap().is_due);
    assert!(log.dirty(Timestamp::new(first + 71)).unwrap().unwrap().is_due);
    assert!(!dir.has_failed());
}

#[test]
fn a_pass_wants_no_more_room_than_what_it_can_write_at_once() {
    let files = SimFiles::new();
    let (dir, log) = filled(&files, 40);
    let room = || log.dirty(NOW).unwrap().unwrap().room;
    let closed = || -> Vec<u64> {
        let view = log.view.load();
        view[..view.len() - 1].iter().map(|segment| segment.end()).collect()
    };
    // A whole segment where there are many of them, or the largest of those that there are.
    let of = |segment_bytes| LogOptions { segment_bytes, ..compacting() };
    assert_eq!(room(), u64::from(compacting().segment_bytes));
    log.set_options(of(1));
    assert_eq!(Some(room()), closed().into_iter().max());
    // And never more than there is.
    log.set_options(of(1 << 30));
    let all: u64 = closed().iter().sum();
    assert_eq!(room(), all);
    assert!(compact(&dir, &log).bytes_written <= all);
}

#[test]
fn a_table_that_is_full_compacts_what_it_knows_and_the_next_pass_goes_on() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    for number in 0..120 {
        put(
            &log,
            &[
                (&format!("k{}", number % 40), Some(&"v".repeat(100))),
                (&format!("l{}", number % 33), Some("w")),
            ],
        );
    }
    settle(&dir, &log);
    let (before, end) = (rows(&log, 0, 1 << 20), log.log_end().get());
    let mut passes = 0;
    while let Some(report) = compact_at(&dir, &log, NOW.get(), 24 * 30) {
        passes += 1;
        let upto = log.compacted.load().upto.get();
        assert_eq!(report.is_partial, upto < end);
        assert_eq!(rows(&log, 0, 1 << 20), last_of_each(&before, upto), "after pass {passes}");
    }
    assert!(passes > 4, "{passes}");
    assert_eq!(rows(&log, 0, 1 << 20), last_of_each(&before, end));
    check_lookups(&log);
    restart(&files, (dir, log));
}

#[test]
fn batches_from_which_nothing_goes_are_the_same_bytes_and_others_keep_their_codec() {
    for codec in Compression::ALL {
        let files = SimFiles::new();
        let (dir, log) = open(&Arc::new(files.clone()), &compacting());
        let long = "abc".repeat(100);
        let batches = [
            keyed(codec, None, &[("a", Some(&long)), ("b", Some(&long)), ("c", Some(&long))], 50),
            keyed(codec, None, &[("d", Some(&long)), ("e", Some(&long))], 70),
            keyed(codec, None, &[("b", Some(&long)), ("f", Some(&long))], 10),
        ];
        for batch in &batches {
            log.writer().append(&mut [batch.clone()], Mode::MayBlock, NOW).unwrap();
        }
        settle(&dir, &log);
        let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
        let before = files.snapshot()[&path].clone();
        compact(&dir, &log);
        let after = files.snapshot()[&path].clone();
        let (first, rest) = UnverifiedBatch::split_first(&after).unwrap();
        let header = *first.verify().unwrap().header();
        assert_eq!((header.count, header.last_offset_delta, header.max_timestamp.get()), (2, 2, 52));
        assert_eq!(header.attributes.compression(), codec);
        assert_eq!(rest, &before[batches[0].len()..], "{codec}");
        assert_eq!(offsets(&log), [0, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn records_without_a_key_go_and_a_log_that_is_not_compacted_keeps_them() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &LogOptions { compaction: None, ..compacting() });
    append(&log, &["no key"]).unwrap();
    put(&log, &[("a", Some("1"))]);
    settle(&dir, &log);
    assert!(log.compact([1, 2], 1 << 20, NOW).is_none());
    assert_eq!(log.dirty(NOW).unwrap(), None);
    log.set_options(compacting());
    compact(&dir, &log);
    assert_eq!(offsets(&log), [1]);
}
