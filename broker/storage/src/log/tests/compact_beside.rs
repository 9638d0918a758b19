//! Claims about compaction beside everything else: readers, retention, full disks, damage.

use super::compact::{
    check_lookups, compact, compact_at, compacting, filled, keyed, last_of_each, offsets, put, restart, rows,
    settle,
};
use super::seal::seal_all;
use super::*;
use crate::compacted::{COMPACTED_NAME, Compacted};
use crate::files::{FileHandle, OpenMode};
use crate::log::compact::Compacting;
use crate::partition_files::SegmentFile;

#[test]
fn who_reads_while_segments_are_replaced_reads_what_was_there_or_what_is() {
    let files = SimFiles::new();
    let (dir, log) = filled(&files, 60);
    // One in the middle of each segment, with a cursor, and one that holds bytes.
    let mut readers = Vec::new();
    for offset in (0..log.log_end().get()).step_by(5) {
        let mut cursor = Cursor::default();
        let Read::Ready(fetched) = log.read(Offset::new(offset), 1, &mut cursor, Touch::Any).unwrap() else {
            panic!("cold")
        };
        readers.push((fetched.next_offset, cursor, fetched.slice.unwrap(), offset));
    }
    let held: Vec<Vec<u8>> = readers.iter().map(|reader| bytes(&reader.2)).collect();
    // A view that somebody took before it came to any file.
    let (old_view, before) = (log.view.load_full(), rows(&log, 0, 1 << 20));
    compact(&dir, &log);
    let expected = last_of_each(&before, log.log_end().get());
    for ((next, mut cursor, slice, _), held) in readers.into_iter().zip(held) {
        assert_eq!(bytes(&slice), held, "what is held does not change");
        let Read::Ready(fetched) = log.read(next, 1, &mut cursor, Touch::Any).unwrap() else {
            panic!("cold")
        };
        let first = fetched.slice.map(|slice| {
            let bytes = bytes(&slice);
            UnverifiedBatch::split_first(&bytes).unwrap().0.verify().unwrap().header().last_offset().get()
        });
        let due = expected.iter().find(|row| row.0 >= next.get()).map(|row| row.0);
        assert!(due.is_none() || first >= due, "{next}");
    }
    // It does not meet the files of another: it looks again.
    let new_view = log.view.load_full();
    let mut replaced = 0;
    for segment in old_view.iter().filter(|segment| segment.end() > 0) {
        match log.log_of(segment) {
            Ok(map) => assert_eq!(map.end(), segment.end()),
            Err(error) => {
                assert!(matches!(error, ReadError::Replaced), "{error}");
                assert!(!new_view.iter().any(|there| Arc::ptr_eq(there, segment)));
                replaced += 1;
            }
        }
    }
    assert!(replaced > 3, "{replaced}");
}

fn bytes(slice: &folio_mapped::MapSlice) -> Vec<u8> {
    let mut bytes = vec![0; slice.len()];
    slice.copy_to(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_pass_that_finds_nothing_to_remove_writes_nothing_but_how_far_it_came() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    for number in 0..60 {
        put(&log, &[(&format!("k{number}"), Some(&"x".repeat(300)))]);
    }
    settle(&dir, &log);
    let (before, segments) = (files.snapshot(), log.segment_count());
    let report = compact(&dir, &log);
    assert_eq!((report.bytes_written, report.records_after, log.segment_count()), (0, 60, segments));
    let mut after = files.snapshot();
    let name = log.dir().join(COMPACTED_NAME);
    let compacted = Compacted::decode(&after.remove(&name).unwrap()).unwrap();
    assert_eq!(compacted.upto, log.log_end());
    assert_eq!(after, before);
}

#[test]
fn retention_and_compaction_work_side_by_side() {
    let files = SimFiles::new();
    let options = LogOptions { retention_bytes: Some(6000), ..compacting() };
    let (dir, log) = open(&Arc::new(files.clone()), &options);
    for round in 0..6 {
        for number in 0..50 {
            let key = format!("k{}", (number * 7 + round) % 60);
            put(&log, &[(&key, Some(&"x".repeat(150)))]);
        }
        settle(&dir, &log);
        compact_at(&dir, &log, NOW.get() + i64::from(round), 1 << 20);
        if let Some(start) = log.expired(NOW) {
            dir.raise_log_start(&log, start, NOW, Instant::now()).unwrap();
            log.drop_below_start(dir.trash()).unwrap();
        }
        check_lookups(&log);
    }
    assert!(log.log_start() > Offset::ZERO);
    let expected = rows(&log, log.log_start().get(), 1 << 20);
    let (_dir, log) = restart(&files, (dir, log));
    assert_eq!(rows(&log, log.log_start().get(), 1 << 20), expected);
}

#[test]
fn a_pass_over_what_retention_took_meanwhile_comes_to_nothing() {
    let files = SimFiles::new();
    let (dir, log) = filled(&files, 60);
    let mut pass = log.compact([1, 2], 1 << 20, NOW).unwrap();
    assert!(matches!(pass.step(&dir, 1000).unwrap().state, Compacting::Working));
    let second = log.view.load()[1].base();
    dir.raise_log_start(&log, second, NOW, Instant::now()).unwrap();
    log.drop_below_start(dir.trash()).unwrap();
    let state = loop {
        match pass.step(&dir, 1000).unwrap().state {
            Compacting::Working => {}
            state => break state,
        }
    };
    assert_eq!(state, Compacting::Abandoned);
    assert!(!files.snapshot().keys().any(|path| path.extension() == Some("cleaned".as_ref())));
    compact(&dir, &log);
    check_lookups(&log);
    restart(&files, (dir, log));
}

/// What a pass stumbles over.
fn rotten(dir: &DataDir<SimFiles>, log: &Arc<Log<SimFiles>>) -> Rotten {
    let mut pass = log.compact([1, 2], 1 << 20, NOW).unwrap();
    loop {
        match pass.step(dir, 100_000).unwrap().state {
            Compacting::Working => {}
            Compacting::Rotten(rotten) => break rotten,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_damaged_segment_is_named_and_not_made_into_one_that_looks_whole() {
    // A record's byte, and the epoch that no checksum of a batch covers.
    for (at, flip) in [(700, 1), (14, 1)] {
        let files = SimFiles::new();
        let (dir, log) = filled(&files, 60);
        let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
        files.tamper(&path, |bytes| bytes[at] ^= flip);
        let before = files.snapshot();
        let rotten = rotten(&dir, &log);
        assert_eq!(rotten.file, path);
        assert_eq!(files.snapshot(), before);
        // What is refused has the byte that was changed, though a reader may have stumbled behind it.
        let damaged = log.damaged();
        assert!(damaged.iter().any(|range| range.positions.contains(&(at as u64))), "{at}: {damaged:?}");
        assert!(damaged.iter().all(|range| range.positions.end < 3000), "{damaged:?}");
    }
}

#[test]
fn what_of_a_rotten_segment_a_pass_has_to_refuse_it_finds_out_in_steps_of_bounded_size() {
    let files = SimFiles::new();
    let (dir, log) = filled(&files, 60);
    files.tamper(&SegmentFile::Log.path(log.dir(), Offset::ZERO), |bytes| bytes[300] ^= 1);
    let size = log.view.load()[0].end();
    let mut pass = log.compact([1, 2], 1 << 20, NOW).unwrap();
    let (mut steps, mut read, mut refused_at) = (0, 0, None);
    let state = loop {
        let progress = pass.step(&dir, 600).unwrap();
        (steps, read) = (steps + 1, read + progress.read);
        if !log.damaged().is_empty() {
            refused_at.get_or_insert(read);
        }
        if progress.state != Compacting::Working {
            break progress.state;
        }
    };
    assert!(matches!(state, Compacting::Rotten(_)), "{state:?}");
    // Its blocks, and its batches.
    assert!(steps > 2 * size / 1200 && read > size, "{steps} steps for {size} bytes, {read} read");
    // What was found is refused before anything else of the segment is looked at for that.
    assert!(refused_at.is_some_and(|at| at <= size), "at {refused_at:?} of {size}, {read} read");
    assert_eq!(pass.step(&dir, 600).unwrap().state, Compacting::Abandoned);
}

#[test]
fn what_cannot_be_read_a_second_time_in_a_pass_is_that_segments_affair() {
    let mut rotten = [0; 2];
    for (harm, rotten) in (0..).zip(&mut rotten) {
        for at in 0.. {
            let files = SimFiles::new();
            let (dir, log) = open(&Arc::new(files.clone()), &compacting());
            // The first segment begins with what stays, which is copied once something behind it goes.
            for number in 0..12 {
                put(&log, &[(&format!("only {number}"), Some(&"x".repeat(200)))]);
            }
            for number in 0..12 {
                put(&log, &[("again", Some(&format!("{number} {}", "y".repeat(200))))]);
            }
            settle(&dir, &log);
            let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
            let mut pass = log.compact([1, 2], 1 << 20, NOW).unwrap();
            let mut step = || pass.step(&dir, 700).unwrap().state;
            if (0..at).any(|_| step() != Compacting::Working) {
                assert!(at > 10, "{at} steps");
                break;
            }
            match harm {
                0 => files.break_sectors(&path, 1024..1536),
                _ => files.tamper(&path, |bytes| bytes.truncate(1200)),
            }
            let state = std::iter::repeat_with(step).find(|state| *state != Compacting::Working);
            *rotten += u32::from(matches!(state, Some(Compacting::Rotten(_))));
            assert!(!dir.has_failed(), "step {at}, {state:?}");
            assert!(!files.snapshot().keys().any(|path| path.extension() == Some("cleaned".as_ref())));
            let last = log.log_end().get() - 1;
            assert_eq!(offsets_from(&log, last), [last]);
        }
    }
    assert!(rotten.iter().all(|rotten| *rotten > 5), "{rotten:?}");
}

fn offsets_from(log: &Log<SimFiles>, offset: i64) -> Vec<i64> {
    rows(log, offset, 1 << 20).into_iter().map(|row| row.0).collect()
}

#[test]
fn a_batch_whose_checksums_hold_is_served_though_a_pass_cannot_make_out_its_records() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    put(&log, &[("a", Some("1"))]);
    // It unpacks to nothing that anybody understands.
    let mut odd = keyed(Compression::Gzip, None, &[("b", Some(&"2".repeat(300)))], 1001);
    odd[folio_record::HEADER_SIZE..][..2].fill(0);
    folio_record::seal(&mut odd);
    log.writer().append(&mut [odd.clone()], Mode::MayBlock, NOW).unwrap();
    put(&log, &[("a", Some("3"))]);
    settle(&dir, &log);
    let rotten = rotten(&dir, &log);
    assert_eq!((rotten.offset, rotten.fault), (Offset::new(1), crate::verdict::Fault::Contradiction));
    assert_eq!(log.damaged(), []);
    for offset in 0..3 {
        let read = log.read(Offset::new(offset), 1, &mut Cursor::default(), Touch::Any).unwrap();
        let Read::Ready(Fetched { slice: Some(slice), .. }) = read else { panic!("nothing at {offset}") };
        let at = folio_record::HEADER_SIZE;
        assert!(offset != 1 || bytes(&slice)[at..] == odd[at..]);
    }
}

/// Compacts until there is nothing that an earlier pass has left.
fn compact_after_all(dir: &DataDir<SimFiles>, log: &Arc<Log<SimFiles>>) {
    loop {
        let Some(mut pass) = log.compact([7, 9], 1 << 20, NOW) else { return };
        let state = loop {
            match pass.step(dir, 700).unwrap().state {
                Compacting::Working => {}
                state => break state,
            }
        };
        match state {
            Compacting::Done(_) => return,
            Compacting::Abandoned => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_full_disk_leaves_the_log_as_it_is_and_later_it_is_compacted() {
    let whole = SimFiles::new();
    let (dir, log) = filled(&whole, 60);
    let (begun, before) = (whole.operations(), rows(&log, 0, 1 << 20));
    compact(&dir, &log);
    let operations = whole.operations() - begun;
    let (mut refused, mut unfinished) = (0, 0);
    for (at, in_a_row) in (0..operations).flat_map(|at| [(at, 1), (at, 3), (at, 50)]) {
        let files = SimFiles::new();
        let (dir, log) = filled(&files, 60);
        let mut pass = log.compact([7, 9], 1 << 20, NOW).unwrap();
        let first = files.operations() + at;
        (first..first + in_a_row).for_each(|at| files.fail_at(at, crate::files::sim::Fault::Full));
        let outcome = loop {
            match pass.step(&dir, 700) {
                Ok(progress) if progress.state == Compacting::Working => {}
                Ok(progress) => break Ok(progress.state),
                Err(error) => break Err(error),
            }
        };
        let is_later = matches!(outcome, Err(AppendError::Full { .. }));
        refused += u32::from(is_later);
        if !is_later && outcome.is_err() {
            continue;
        }
        let what = format!("{in_a_row} from operation {at} on");
        // There may be room again, or not yet.
        let expected = last_of_each(&before, log.log_end().get());
        let read = rows(&log, 0, 1 << 20);
        assert!(expected.iter().all(|row| read.contains(row)), "{what}");
        assert!(read.iter().all(|row| before.contains(row)), "{what}");
        check_lookups(&log);
        let left = files.snapshot();
        let is_unfinished = left.keys().any(|path| path.file_stem() == Some("replace".as_ref()));
        unfinished += u32::from(is_unfinished);
        let mut left = left.keys().filter_map(|path| path.extension()?.to_str());
        assert!(
            is_unfinished || in_a_row > 1 || !left.any(|name| name == "cleaned" || name == "tmp"),
            "{what}"
        );
        if at % 2 == 0 {
            files.fail_no_more();
            compact_after_all(&dir, &log);
            assert_eq!(rows(&log, 0, 1 << 20), expected, "{what}");
            drop((dir, log));
            files.crash(at);
        } else {
            drop((dir, log));
            files.kill();
        }
        let (dir, log) = open(&Arc::new(files.clone()), &compacting());
        compact_after_all(&dir, &log);
        assert_eq!(rows(&log, 0, 1 << 20), expected, "{what}");
        let left = files.snapshot();
        assert!(!left.keys().any(|path| path.file_stem() == Some("replace".as_ref())), "{what}");
    }
    assert!(refused > 5 && unfinished > 5, "{refused}, {unfinished} of {operations}");
}

#[test]
fn a_lost_index_of_a_compacted_segment_comes_back_and_a_lost_word_of_gaps_is_told_by_the_footer() {
    for harm in 0..4 {
        let files = SimFiles::new();
        let (dir, log) = filled(&files, 100);
        compact(&dir, &log);
        let expected = rows(&log, 0, 1 << 20);
        let index = SegmentFile::OffsetIndex.path(log.dir(), Offset::ZERO);
        let (times, told) =
            (SegmentFile::TimeIndex.path(log.dir(), Offset::ZERO), log.dir().join(COMPACTED_NAME));
        let good = files.snapshot();
        drop(log);
        dir.close_clean(NOW, Instant::now()).unwrap();
        match harm {
            0 => files.remove_file(&index).unwrap(),
            1 => files.tamper(&index, |bytes| bytes[10] ^= 1),
            2 => files.remove_file(&times).unwrap(),
            _ => files.tamper(&told, |bytes| bytes[14] ^= 1),
        }
        if harm == 1 {
            // Another time nobody closed it.
            files.remove_file(Path::new(crate::clean::CLEAN_NAME)).unwrap();
        }
        let (dir, log) = open(&Arc::new(files.clone()), &compacting());
        assert_eq!(rows(&log, 0, 1 << 20), expected, "harm {harm}");
        check_lookups(&log);
        log.mend_indexes().unwrap();
        seal_all(&log);
        check_lookups(&log);
        if harm < 3 {
            assert_eq!(files.snapshot()[&index], good[&index], "harm {harm}");
            assert_eq!(files.snapshot()[&times], good[&times], "harm {harm}");
        }
        restart(&files, (dir, log));
    }
}

#[test]
fn positions_seen_before_a_compaction_bound_nothing_after_it() {
    // Seen by its records as they come, rolled without a word, and flushed: its end is known as a place in a segment
    // that is compacted then.
    let files = SimFiles::new();
    let options = LogOptions { visibility: Visibility::Appended, ..compacting() };
    let (dir, log) = open(&Arc::new(files.clone()), &options);
    for number in 0..10 {
        put(&log, &[("a", Some(&number.to_string())), ("b", Some("2"))]);
    }
    settle(&dir, &log);
    assert_ne!(log.visible.load().segment_base, log.durable_tail().segment_base);
    compact(&dir, &log);
    assert_eq!(offsets(&log), [18, 19]);
    put(&log, &[("c", Some("3"))]);
    assert_eq!(offsets(&log), [18, 19, 20]);
    assert_eq!(log.unflushed_bytes(), log.tail().pos);
}

#[test]
fn a_file_that_is_rewritten_is_synced_before_its_time_comes() {
    let files = SimFiles::new();
    let (dir, log) = filled(&files, 60);
    compact(&dir, &log);
    let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
    let len = files.open(&path, OpenMode::Read).unwrap().len().unwrap();
    let expected = rows(&log, 0, 1 << 20);
    drop((dir, log));
    for seed in 0..20 {
        files.crash(seed);
        assert_eq!(files.open(&path, OpenMode::Read).unwrap().len().unwrap(), len);
        let (_dir, log) = open(&Arc::new(files.clone()), &compacting());
        assert_eq!(rows(&log, 0, 1 << 20), expected);
    }
}

#[test]
fn a_footer_that_there_is_no_descriptor_to_read_is_read_later_and_what_it_tells_of_is_not_rewritten_before() {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &compacting());
    for number in 0..8 {
        put(&log, &[("a", Some(&number.to_string())), ("b", None)]);
    }
    settle(&dir, &log);
    // All epochs of a segment are covered by no checksum but those of its index.
    files.tamper(&SegmentFile::Log.path(log.dir(), Offset::ZERO), |bytes| {
        let mut at = 0;
        while at < bytes.len() {
            bytes[at + 15] ^= 1;
            at += 12 + u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        }
    });
    files.set_exhausted_at(&SegmentFile::OffsetIndex.path(log.dir(), Offset::ZERO));
    let mut pass = log.compact([7, 9], 1 << 20, NOW).expect("something to compact");
    let outcome = (0..100).map(|_| pass.step(&dir, 700)).find(Result::is_err);
    assert!(matches!(outcome, Some(Err(AppendError::Exhausted { .. }))), "{outcome:?}");
    assert!(log.damaged().is_empty());
    files.set_exhausted(false);
    let mut pass = log.compact([7, 9], 1 << 20, NOW).expect("something to compact");
    (0..100).for_each(|_| drop(pass.step(&dir, 700)));
    assert!(!log.damaged().is_empty(), "it is found before anything is rewritten");
}
