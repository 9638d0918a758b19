//! Scrubbing: what has changed on the disk behind everybody's back is found where it is, and only that is refused.

use super::compact::{compact, compact_at, put, settle};
use super::lookups::{filled, growing, restarted};
use super::seal::seal_all;
use super::*;
use crate::controls::{Protection, without};
use crate::log::compact::Compacting;
use crate::partition_files::SegmentFile;
use crate::verdict::Fault as LogFault;

/// A log with sealed segments, and the bases of those.
fn sealed() -> (SimFiles, DataDir<SimFiles>, Arc<Log<SimFiles>>, Vec<i64>) {
    let files = SimFiles::new();
    let (dir, log) = filled(&Arc::new(files.clone()), &growing(60));
    let sealed = seal_all(&log);
    assert!(sealed.len() >= 3);
    (files, dir, log, sealed)
}

fn log_of(log: &Log<SimFiles>, base: i64) -> PathBuf {
    SegmentFile::Log.path(log.dir(), Offset::new(base))
}

/// One pass, `budget` bytes a step, with everything that it found.
fn pass(log: &Arc<Log<SimFiles>>, budget: usize) -> Scrubbed {
    let mut all = Scrubbed::default();
    let mut from = Offset::ZERO;
    while let Some(mut scrub) = log.scrub(from) {
        loop {
            let step = scrub.step(budget).unwrap();
            all.read += step.read;
            all.found.extend(step.found);
            all.healed.extend(step.healed);
            all.surplus += step.surplus;
            all.is_index_damaged |= step.is_index_damaged;
            if step.is_done {
                break;
            }
        }
        from = scrub.next_base();
    }
    all
}

/// Which offsets a reader of one batch at a time gets, and which are refused for damage.
fn readable(log: &Log<SimFiles>) -> (Vec<i64>, Vec<i64>) {
    let mut offsets = (Vec::new(), Vec::new());
    for offset in 0..log.high_watermark().get() {
        match log.read(Offset::new(offset), 1, &mut Cursor::default(), Touch::Any) {
            Ok(Read::Ready(Fetched { slice: Some(_), .. })) => offsets.0.push(offset),
            Err(ReadError::Damaged(range)) => {
                assert!(range.offsets.contains(&Offset::new(offset)), "{offset}: {range}");
                offsets.1.push(offset);
            }
            other => panic!("{offset}: {other:?}"),
        }
    }
    offsets
}

#[test]
fn a_log_that_is_as_it_was_written_is_read_once_and_nothing_is_found() {
    let (files, _dir, log, bases) = sealed();
    let is_sealed = |path: &Path| bases.iter().any(|base| path == log_of(&log, *base));
    let before = files.bytes_read(is_sealed);
    let state = files.snapshot();
    let done = pass(&log, 700);
    let bytes: u64 = bases.iter().map(|base| state[&log_of(&log, *base)].len() as u64).sum();
    assert_eq!(files.bytes_read(is_sealed) - before, bytes, "every byte once");
    assert!(done.read >= bytes && done.found.is_empty() && done.healed.is_empty());
    assert!(!done.is_index_damaged && done.surplus == 0);
    assert_eq!(files.snapshot(), state, "nothing was written");
    assert!(readable(&log).1.is_empty());
}

#[test]
fn any_flipped_bit_of_a_sealed_segment_is_found_and_no_other_block_is_refused() {
    let (files, _dir, log, bases) = sealed();
    let path = log_of(&log, bases[1]);
    let len = files.snapshot()[&path].len();
    let (_, next) = (bases[1], bases[2]);
    let mut kinds = [0; 2];
    for position in (0..len).step_by(37).chain(0..61) {
        for bit in [0, 7] {
            files.tamper(&path, |bytes| bytes[position] ^= 1 << bit);
            let done = pass(&log, [1, 512, 1 << 20][position % 3]);
            let [range] = done.found.as_slice() else { panic!("{position}.{bit}: {:?}", done.found) };
            assert_eq!(range.file, path);
            assert!(range.positions.contains(&(position as u64)), "{position}.{bit}: {range}");
            assert!(range.positions.end - range.positions.start < 1200, "one block: {range}");
            match range.kind {
                DamageKind::Header { .. } => kinds[0] += 1,
                DamageKind::Payload { .. } => kinds[1] += 1,
                other => panic!("{position}.{bit}: {other:?}"),
            }
            let (good, refused) = readable(&log);
            let due: Vec<i64> = (range.offsets.start.get()..range.offsets.end.get()).collect();
            assert_eq!(refused, due, "{position}.{bit}");
            assert!(refused.iter().all(|offset| (bases[1]..next).contains(offset)) && !refused.is_empty());
            assert_eq!(good.len() + refused.len(), log.high_watermark().get() as usize);
            files.tamper(&path, |bytes| bytes[position] ^= 1 << bit);
            assert_eq!(pass(&log, 4096).healed, done.found, "{position}.{bit}");
            assert!(readable(&log).1.is_empty(), "{position}.{bit}: healed");
        }
    }
    assert!(kinds.iter().all(|count| *count > 5), "{kinds:?}");
}

#[test]
fn offset_length_and_epoch_which_no_batch_checksum_covers_count_as_header() {
    let (files, _dir, log, bases) = sealed();
    let path = log_of(&log, bases[0]);
    for position in (0..16).filter(|position| !(8..12).contains(position)) {
        files.tamper(&path, |bytes| bytes[position] ^= 1);
        let done = pass(&log, 4096);
        assert_eq!(done.found.len(), 1);
        assert_eq!(done.found[0].kind, DamageKind::Header { at: 0 }, "byte {position}");
        files.tamper(&path, |bytes| bytes[position] ^= 1);
    }
}

#[test]
fn an_epoch_that_has_changed_is_refused_after_a_scrub_and_served_if_no_block_is_held_against_its_checksum() {
    for position in 12..16 {
        for is_checked in [true, false] {
            let (files, dir, log, bases) = sealed();
            let path = log_of(&log, bases[1]);
            let harm = |_: &[PathBuf]| files.tamper(&path, |bytes| bytes[position] ^= 1);
            let (_dir, log) = restarted(&files, (dir, log), harm);
            let look = || pass(&log, 4096).found;
            let found = if is_checked { look() } else { without(Protection::BlocksAreChecked, look) };
            assert_eq!(found.len(), usize::from(is_checked), "byte {position}: {found:?}");
            match log.read(Offset::new(bases[1]), 1, &mut Cursor::default(), Touch::Any) {
                Err(ReadError::Damaged(range)) => assert!(is_checked && *range == found[0], "{range}"),
                Ok(Read::Ready(Fetched { slice: Some(slice), .. })) => {
                    let mut bytes = vec![0; slice.len()];
                    slice.read_to(0, &mut bytes).unwrap();
                    // Its own checksum holds: a consumer cannot tell either.
                    let batch = UnverifiedBatch::split_first(&bytes).unwrap().0.verify().unwrap();
                    assert!(!is_checked, "byte {position}");
                    assert_ne!(batch.header().leader_epoch, log.leader_epoch(), "byte {position}");
                }
                other => panic!("byte {position}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_no_batch_checksum_covers_is_not_found_if_no_block_is_held_against_its_checksum() {
    for position in 0..16 {
        let (files, _dir, log, bases) = sealed();
        files.tamper(&log_of(&log, bases[1]), |bytes| bytes[position] ^= 1);
        let unseen = without(Protection::BlocksAreChecked, || pass(&log, 4096));
        assert!(unseen.found.is_empty() && !unseen.is_index_damaged, "byte {position}: {unseen:?}");
        assert_eq!(pass(&log, 4096).found.len(), 1, "byte {position}");
    }
}

#[test]
fn a_block_that_does_not_hold_is_refused_while_the_rest_is_still_read_and_what_was_known_stays_refused() {
    let files = SimFiles::new();
    let options = LogOptions { segment_bytes: 32 * 1024, ..small() };
    let (dir, log) = open(&Arc::new(files.clone()), &options);
    for _ in 0..150 {
        append(&log, &[&"x".repeat(300)]).unwrap();
    }
    flush(&dir, &log);
    assert_eq!(seal_all(&log), [0]);
    let path = log_of(&log, 0);
    let half = files.snapshot()[&path].len() / 2;
    let is_refused = |offset| readable(&log).1.contains(&offset);
    files.tamper(&path, |bytes| bytes[half] ^= 1);
    let known = pass(&log, 4096).found[0].offsets.start.get();
    assert!(known > 0 && is_refused(known));

    files.tamper(&path, |bytes| bytes[70] ^= 1);
    let mut scrub = log.scrub(Offset::ZERO).unwrap();
    while !is_refused(0) {
        assert!(!scrub.step(512).unwrap().is_done, "it was served until all was read");
        assert!(is_refused(known), "it is not known to be right");
    }
    assert!(!scrub.step(512).unwrap().is_done && is_refused(known));
    while !scrub.step(512).unwrap().is_done {}
    assert!(is_refused(0) && is_refused(known));
}

#[test]
fn a_reader_gets_what_lies_before_damage_then_the_refusal_and_goes_on_behind_it() {
    let (files, _dir, log, bases) = sealed();
    let path = log_of(&log, bases[1]);
    let half = files.snapshot()[&path].len() / 2;
    files.tamper(&path, |bytes| bytes[half] ^= 1);
    let found = pass(&log, 4096).found;
    let offsets = found[0].offsets.clone();
    let mut cursor = Cursor::default();
    let mut offset = Offset::ZERO;
    // The cursor of a sequential reader leads to the damage, too.
    let refused = loop {
        match log.read(offset, 1 << 20, &mut cursor, Touch::Any) {
            Ok(Read::Ready(fetched)) => offset = fetched.next_offset,
            Err(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(offset, offsets.start);
    assert!(matches!(&refused, ReadError::Damaged(range) if **range == found[0]), "{refused}");
    let said = refused.to_string();
    assert!(said.contains(&path.display().to_string()) && said.contains("fails its checksum"), "{said}");
    let behind = values(&log, offsets.end, 1 << 20);
    assert_eq!(behind.first().map(|(offset, _)| *offset), Some(offsets.end.get()));
    assert_eq!(log.damaged(), found);
}

#[test]
fn a_sector_that_cannot_be_read_takes_its_block_and_no_more_and_comes_back_with_it() {
    let (files, _dir, log, bases) = sealed();
    let path = log_of(&log, bases[1]);
    // What readers have mapped stays as it is.
    assert!(readable(&log).1.is_empty());
    files.break_sectors(&path, 1024..1025);
    let done = pass(&log, 1 << 20);
    let first = done.found.first().unwrap();
    assert!(matches!(first.kind, DamageKind::Unreadable { at: 0 }), "the page: {first}");
    assert!(done.found.iter().all(|range| range.positions.start < 4096), "{:?}", done.found);
    let (good, refused) = readable(&log);
    assert!(!refused.is_empty() && good.len() > refused.len());
    files.heal_sectors();
    assert_eq!(pass(&log, 1 << 20).healed, done.found);
    assert!(readable(&log).1.is_empty());
}

#[test]
fn a_file_that_was_cut_is_damaged_from_there_on_and_one_that_grew_is_told() {
    let (files, _dir, log, bases) = sealed();
    let path = log_of(&log, bases[1]);
    let len = files.snapshot()[&path].len() as u64;
    files.tamper(&path, |bytes| bytes.extend([0; 99]));
    let done = pass(&log, 4096);
    assert!(done.found.is_empty() && done.surplus == 99);
    files.tamper(&path, |bytes| bytes.truncate(len as usize - 700));
    let done = pass(&log, 4096);
    let [range] = done.found.as_slice() else { panic!("{:?}", done.found) };
    assert_eq!(range.kind, DamageKind::Missing { len: len - 700 });
    assert!(range.positions.end == len && range.offsets.end.get() == bases[2]);
}

#[test]
fn an_index_that_was_damaged_is_made_anew_and_the_next_pass_finds_nothing() {
    for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        let (files, _dir, log, bases) = sealed();
        let path = file.path(log.dir(), Offset::new(bases[1]));
        let good = files.snapshot()[&path].clone();
        for position in (0..good.len()).step_by(5) {
            files.tamper(&path, |bytes| bytes[position] ^= 4);
            let done = pass(&log, 4096);
            assert!(done.is_index_damaged && done.found.is_empty(), "{file:?}, byte {position}");
            assert_eq!(log.mend_indexes().unwrap(), 1);
            assert_eq!(seal_all(&log), [bases[1]]);
            assert_eq!(files.snapshot()[&path], good, "{file:?}, byte {position}");
            assert!(!pass(&log, 4096).is_index_damaged);
        }
    }
}

#[test]
fn no_index_is_made_from_a_log_that_is_known_to_be_damaged() {
    let (files, _dir, log, bases) = sealed();
    // The epoch: nothing but the index's checksum knows better.
    files.tamper(&log_of(&log, bases[1]), |bytes| bytes[15] ^= 1);
    let index = SegmentFile::OffsetIndex.path(log.dir(), Offset::new(bases[1]));
    assert_eq!(pass(&log, 4096).found.len(), 1);
    files.tamper(&index, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let before = files.snapshot()[&index].clone();
    assert!(pass(&log, 4096).is_index_damaged);
    assert_eq!(log.mend_indexes().unwrap(), 0);
    assert_eq!(files.snapshot()[&index], before);
    assert!(!readable(&log).1.is_empty(), "it stays refused");
}

#[test]
fn retention_and_deletion_end_a_scrub_that_is_under_way() {
    let (_files, dir, log, bases) = sealed();
    let mut scrub = log.scrub(Offset::ZERO).unwrap();
    assert!(!scrub.step(512).unwrap().is_done);
    dir.raise_log_start(&log, Offset::new(bases[1]), NOW, Instant::now()).unwrap();
    log.drop_below_start(dir.trash()).unwrap();
    let step = scrub.step(512).unwrap();
    assert!(step.is_done && step.found.is_empty());
    let mut scrub = log.scrub(Offset::ZERO).unwrap();
    assert_eq!(scrub.base().get(), bases[1]);
    log.retire();
    assert!(scrub.step(512).unwrap().is_done);
    assert!(log.scrub(Offset::ZERO).is_none());
}

/// A compacted log: several segments of batches with gaps between them.
fn compacted() -> (SimFiles, DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    let files = SimFiles::new();
    let (dir, log) = super::compact::filled(&files, 20);
    for number in 0..60 {
        put(&log, &[(&format!("n{number}"), Some(&"x".repeat(200))), ("k0", Some("again"))]);
    }
    settle(&dir, &log);
    compact(&dir, &log);
    (files, dir, log)
}

#[test]
fn a_flip_in_a_compacted_segment_is_found_and_everything_behind_it_is_read() {
    let (files, _dir, log) = compacted();
    assert!(pass(&log, 512).found.is_empty());
    let before = super::compact::rows(&log, 0, 1 << 20);
    let path = log_of(&log, 0);
    let len = files.snapshot()[&path].len();
    for position in (0..len).step_by(101).chain([3, 13]) {
        files.tamper(&path, |bytes| bytes[position] ^= 1);
        let done = pass(&log, 4096);
        let [range] = done.found.as_slice() else { panic!("{position}: {:?}", done.found) };
        assert!(range.positions.contains(&(position as u64)), "{position}: {range}");
        // Who asks for an offset that is missing gets the next batch, or hears that it is damaged.
        for offset in 0..log.high_watermark().get() {
            let due = before.iter().find(|row| row.0 >= offset);
            match log.read(Offset::new(offset), 1, &mut Cursor::default(), Touch::Any) {
                Ok(Read::Ready(fetched)) => {
                    let first = fetched.slice.is_some();
                    assert!(first || due.is_none(), "{position}: nothing at {offset}");
                }
                Err(ReadError::Damaged(found)) => assert_eq!(*found, *range, "{position}: {offset}"),
                other => panic!("{position}: {offset}: {other:?}"),
            }
        }
        files.tamper(&path, |bytes| bytes[position] ^= 1);
        pass(&log, 4096);
        assert_eq!(super::compact::rows(&log, 0, 1 << 20), before, "{position}: healed");
    }
}

#[test]
fn a_scrub_of_a_segment_that_is_replaced_meanwhile_is_over_and_the_new_one_is_scrubbed() {
    let files = SimFiles::new();
    let (dir, log) = super::compact::filled(&files, 60);
    let mut scrub = log.scrub(Offset::ZERO).unwrap();
    assert!(!scrub.step(512).unwrap().is_done);
    // What was marked goes with the segment.
    files.break_sectors(&log_of(&log, log.view.load()[1].base().get()), 0..1);
    assert!(!pass(&log, 4096).found.is_empty() && !log.damaged().is_empty());
    files.heal_sectors();
    compact_at(&dir, &log, NOW.get(), 1 << 20).unwrap();
    let step = scrub.step(512).unwrap();
    assert!(step.is_done && step.found.is_empty() && !step.is_index_damaged);
    assert_eq!(log.damaged(), []);
    assert!(pass(&log, 512).found.is_empty());
}

#[test]
fn what_is_found_rotten_as_it_is_to_be_sealed_is_refused_by_the_batch_and_its_neighbours_are_served() {
    for position in [3, 12, 17, 70, 200, 700, 1500] {
        let files = SimFiles::new();
        let (_dir, log) = filled(&Arc::new(files.clone()), &growing(60));
        let second = log.view.load()[1].base();
        let path = log_of(&log, second.get());
        files.tamper(&path, |bytes| bytes[position] ^= 1);
        let mut rotten = Vec::new();
        loop {
            match log.seal_next(NOW).unwrap() {
                Sealed::Nothing => break,
                Sealed::Segment(..) => {}
                Sealed::Rotten(found) => rotten.push(found.file),
            }
        }
        if position == 12 {
            // A higher epoch may be: only who knew it before can tell.
            assert!(rotten.len() <= 1);
            continue;
        }
        assert_eq!(rotten, std::slice::from_ref(&path), "byte {position}");
        let [range] = &log.damaged()[..] else { panic!("byte {position}: {:?}", log.damaged()) };
        assert!(
            range.file == path && range.positions.contains(&(position as u64)),
            "byte {position}: {range}"
        );
        let (good, refused) = readable(&log);
        assert!(!refused.is_empty() && good.contains(&(second.get() - 1)), "byte {position}");
        assert!(good.contains(&(log.high_watermark().get() - 1)), "byte {position}");
        if position > 16 {
            assert!(refused.len() < 12 && range.positions.end < 3000, "one batch: {range}");
        }
    }
}

#[test]
fn a_segment_that_cannot_be_read_as_it_is_to_be_sealed_is_no_failure_of_the_disk() {
    let files = SimFiles::new();
    let (_dir, log) = filled(&Arc::new(files.clone()), &growing(60));
    // What readers have mapped stays as it is.
    assert!(readable(&log).1.is_empty());
    let base = log.view.load()[1].base();
    let path = log_of(&log, base.get());
    files.break_sectors(&path, 1024..1025);
    let mut sealed = 0;
    loop {
        match log.seal_next(NOW).unwrap() {
            Sealed::Nothing => break,
            Sealed::Segment(..) => sealed += 1,
            Sealed::Rotten(rotten) => {
                assert_eq!((rotten.file, rotten.fault), (path.clone(), LogFault::Unreadable));
            }
        }
    }
    assert_eq!(sealed, log.segment_count() - 2, "all others are sealed");
    assert!(log.damaged().iter().all(|range| matches!(range.kind, DamageKind::Unreadable { .. })));
    let (good, refused) = readable(&log);
    assert!(!refused.is_empty() && good.contains(&(base.get() - 1)));
    assert!(good.contains(&(log.high_watermark().get() - 1)));
}

#[test]
fn what_could_not_be_read_is_sealed_once_it_can_be_and_served_again_after_the_next_scrub() {
    let files = SimFiles::new();
    let (_dir, log) = filled(&Arc::new(files.clone()), &growing(60));
    let [unread, rotten] = [1, 2].map(|number: usize| log.view.load()[number].base());
    files.break_sectors(&log_of(&log, unread.get()), 1..2);
    files.tamper(&log_of(&log, rotten.get()), |bytes| bytes[700] ^= 1);
    let outcomes: Vec<Sealed> = (0..log.segment_count()).map(|_| log.seal_next(NOW).unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|sealed| matches!(sealed, Sealed::Rotten(_))).count(), 2);
    assert!(!log.wants_seal(), "not again and again");
    files.heal_sectors();
    log.seal_unread();
    let outcome = log.seal_next(NOW).unwrap();
    assert!(matches!(outcome, Sealed::Segment(base, _) if base == unread), "{outcome:?}");
    assert_eq!(log.seal_next(NOW).unwrap(), Sealed::Nothing, "what is rotten stays so");
    let scrubbed = pass(&log, 4096);
    assert!(!scrubbed.healed.is_empty() && scrubbed.found.is_empty());
    assert!(log.damaged().iter().all(|range| range.offsets.start >= rotten), "{:?}", log.damaged());
    let (_, refused) = readable(&log);
    assert!(refused.iter().all(|offset| *offset >= rotten.get()), "{refused:?}");
}

#[test]
fn what_compaction_finds_rotten_is_refused_too() {
    let files = SimFiles::new();
    let (dir, log) = super::compact::filled(&files, 60);
    let base = log.view.load()[1].base();
    let path = log_of(&log, base.get());
    let middle = files.snapshot()[&path].len() / 2;
    files.tamper(&path, |bytes| bytes[middle] ^= 1);
    let mut compaction = log.compact([7, 9], 1 << 20, NOW).unwrap();
    let found = loop {
        match compaction.step(&dir, 700).unwrap().state {
            Compacting::Working => {}
            other => break other,
        }
    };
    assert!(matches!(found, Compacting::Rotten(_)), "{found:?}");
    let [range] = &log.damaged()[..] else { panic!("{:?}", log.damaged()) };
    assert!(range.file == path && range.positions.contains(&(middle as u64)), "{range}");
    assert!(log.read(range.offsets.start, 1, &mut Cursor::default(), Touch::Any).is_err());
    assert!(log.read(range.offsets.end, 1, &mut Cursor::default(), Touch::Any).is_ok());
}
