//! Sealed segments: verified once, trusted by their footers, and found out when they are not what those say.

use super::lookups::{check, filled, growing, restarted};
use super::*;
use crate::data_dir::OpenReport;
use crate::footer::{FOOTER_SIZE, Footer};
use crate::index::{OffsetEntry, SegmentUid, entry_position};
use crate::partition_files::SegmentFile;
use crate::recovery::Damage;
use crate::verdict::Fault as LogFault;

pub(super) fn seal_all<F: Files>(log: &Log<F>) -> Vec<i64> {
    let mut sealed = Vec::new();
    while let Sealed::Segment(base, _) = log.seal_next(NOW).unwrap() {
        sealed.push(base.get());
    }
    sealed
}

fn footer(files: &SimFiles, log: &Log<SimFiles>, base: i64) -> Option<Footer> {
    let view = log.view.load();
    let segment = view.iter().find(|segment| segment.base() == Offset::new(base)).unwrap();
    Footer::of_segment(files, log.dir(), segment.base(), segment.uid()).unwrap()
}

fn index_of(log: &Log<SimFiles>, base: i64) -> PathBuf {
    SegmentFile::OffsetIndex.path(log.dir(), Offset::new(base))
}

/// Opens the directory after a kill: nothing says that it was closed.
pub(super) fn reopened(files: &SimFiles, options: &LogOptions) -> (DataDir<SimFiles>, OpenReport<SimFiles>) {
    let dir_options = DataDirOptions::fixed(2);
    DataDir::open(Arc::new(files.clone()), &dir_options, |_| options.clone(), NOW).unwrap()
}

#[test]
fn what_is_closed_and_durable_is_sealed_once_oldest_first_and_answers_as_before() {
    let files = SimFiles::new();
    let batches = growing(60);
    let (dir, log) = filled(&Arc::new(files.clone()), &batches);
    let count = log.segment_count();
    assert!(count >= 4, "{count}");
    let sealed = seal_all(&log);
    assert_eq!(sealed.len(), count - 1, "all but the one that is appended to");
    assert!(sealed.is_sorted());
    for base in &sealed {
        let footer = footer(&files, &log, *base).unwrap();
        let bytes = &files.snapshot()[&SegmentFile::Log.path(log.dir(), Offset::new(*base))];
        assert_eq!((footer.log_len, footer.log_crc), (bytes.len() as u64, crc32fast::hash(bytes)));
        assert_eq!(footer.first_offset, Offset::new(*base));
    }
    check(&log, &batches).unwrap();
    assert_eq!(log.seal_next(NOW).unwrap(), Sealed::Nothing);

    // One that is closed and not durable yet has to wait.
    while log.segment_count() == count {
        append(&log, &["more"]).unwrap();
    }
    assert_eq!(log.seal_next(NOW).unwrap(), Sealed::Nothing);
    flush(&dir, &log);
    assert_eq!(seal_all(&log).len(), 1);
}

#[test]
fn sealing_goes_in_steps_of_bounded_size_and_writes_nothing_before_the_last() {
    let batches = growing(60);
    let [whole, stepped] = [(), ()].map(|()| SimFiles::new());
    let (_kept, log) = filled(&Arc::new(whole.clone()), &batches);
    seal_all(&log);
    let (_dir, log) = filled(&Arc::new(stepped.clone()), &batches);
    while let Some(mut seal) = log.seal() {
        let (before, operations) = (stepped.snapshot(), stepped.operations());
        let mut steps = 1;
        while seal.step(600, NOW).unwrap().is_none() {
            assert_eq!(stepped.operations(), operations);
            steps += 1;
        }
        // A batch has some 300 bytes.
        assert!(steps > seal.size() / 1000, "{steps} steps for {} bytes", seal.size());
        assert_ne!(stepped.snapshot(), before);
    }
    assert_eq!(stepped.snapshot(), whole.snapshot());
    check(&log, &batches).unwrap();
}

#[test]
fn on_a_full_disk_a_segment_is_read_once_and_not_again_before_there_is_room_for_its_index() {
    let batches = growing(60);
    let whole = SimFiles::new();
    let (_kept, sealed) = filled(&Arc::new(whole.clone()), &batches);
    seal_all(&sealed);
    for room in [Room::NoBytes, Room::Removals, Room::Nothing] {
        let files = SimFiles::new();
        let (_dir, log) = filled(&Arc::new(files.clone()), &batches);
        let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
        let read = || files.bytes_read(|file| file.extension() == Some("log".as_ref()));
        let (before, size, begun) = (files.snapshot(), log.view.load()[0].end(), read());
        files.set_room(room);
        for round in 0..5 {
            assert!(matches!(log.seal_next(NOW), Err(AppendError::Full { .. })), "{room:?}, {round}");
            assert_eq!(read() - begun, size, "{room:?}, round {round}");
        }
        let is_left = |path: &Path| path.extension() == Some("tmp".as_ref());
        let left: Vec<PathBuf> = files.snapshot().into_keys().filter(|path| is_left(path)).collect();
        assert!(left.is_empty() || room == Room::Nothing, "{room:?}: {left:?} takes room");
        assert_eq!(files.snapshot()[&path], before[&path]);
        files.set_room(Room::Enough);
        assert_eq!(seal_all(&log).len(), log.segment_count() - 1);
        assert_eq!(files.bytes_read(|file| file == path), 2 * size, "{room:?}");
        assert_eq!(files.snapshot(), whole.snapshot(), "{room:?}");
        check(&log, &batches).unwrap();
    }
}

#[test]
fn a_segment_that_goes_while_it_waits_for_room_is_not_missed() {
    let files = SimFiles::new();
    let (_dir, log) = filled(&Arc::new(files.clone()), &growing(60));
    files.set_room(Room::NoBytes);
    assert!(matches!(log.seal_next(NOW), Err(AppendError::Full { .. })));
    let mut seal = log.seal().unwrap();
    log.retire();
    let before = files.operations();
    assert_eq!(seal.step(u64::MAX, NOW).unwrap(), Some(Sealed::Nothing));
    assert_eq!(files.operations(), before, "its directory may be another's by now");
}

#[test]
fn a_segment_whose_topic_is_deleted_while_it_is_sealed_is_left_alone() {
    let files = SimFiles::new();
    let (_dir, log) = filled(&Arc::new(files.clone()), &growing(60));
    let mut seal = log.seal().unwrap();
    assert_eq!(seal.step(600, NOW).unwrap(), None);
    log.retire();
    let before = files.snapshot();
    assert_eq!(seal.step(u64::MAX, NOW).unwrap(), Some(Sealed::Nothing));
    assert!(log.seal().is_none() && files.snapshot() == before);
}

#[test]
fn a_start_reads_nothing_of_the_log_of_a_sealed_segment_whatever_end_the_run_before_had() {
    let files = SimFiles::new();
    let batches = growing(60);
    let (dir, log) = filled(&Arc::new(files.clone()), &batches);
    seal_all(&log);
    // As the maintenance thread does: what producers are known is told without the log, too.
    log.take_snapshot().unwrap();
    flush(&dir, &log);
    let active = SegmentFile::Log.path(log.dir(), log.tail().segment_base);
    drop((dir, log));
    for _ in 0..2 {
        files.crash(0);
        let is_sealed = |path: &Path| path.extension() == Some("log".as_ref()) && path != active;
        let is_topic = |path: &Path| path.starts_with("topics") && is_sealed(path);
        let before = files.bytes_read(is_topic);
        let (_dir, report) = reopened(&files, &small());
        let (log, report) = report.partitions[0].state.as_ref().unwrap();
        assert!(!report.was_clean);
        assert_eq!(files.bytes_read(is_topic) - before, 0);
        assert_eq!(report.indexes_mended, 0, "what is sealed stays as it is");
        check(log, &batches).unwrap();
        assert_eq!(log.seal_next(NOW).unwrap(), Sealed::Nothing);
    }
}

#[test]
fn a_lost_index_of_a_sealed_segment_comes_back_byte_for_byte() {
    let files = SimFiles::new();
    let batches = growing(60);
    let (dir, log) = filled(&Arc::new(files.clone()), &batches);
    let sealed = seal_all(&log);
    let path = index_of(&log, sealed[1]);
    let good = files.snapshot();
    for change in [0, 40, good[&path].len() - 4] {
        let (path, good) = (path.clone(), good.clone());
        let files = SimFiles::new();
        let before = filled(&Arc::new(files.clone()), &batches);
        seal_all(&before.1);
        let (_dir, log) = restarted(&files, before, |_| files.tamper(&path, |bytes| bytes[change] ^= 1));
        check(&log, &batches).unwrap();
        log.mend_indexes().unwrap();
        assert_eq!(seal_all(&log), [sealed[1]], "byte {change}");
        assert_eq!(files.snapshot()[&path], good[&path], "byte {change}");
        check(&log, &batches).unwrap();
    }
    drop((dir, log));
}

#[test]
fn a_segment_that_rotted_before_it_was_sealed_is_named_and_left_as_it_is() {
    let files = SimFiles::new();
    let (_dir, log) = filled(&Arc::new(files.clone()), &growing(60));
    let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
    files.tamper(&path, |bytes| bytes[300] ^= 1);
    let before = files.snapshot();
    let Sealed::Rotten(rotten) = log.seal_next(NOW).unwrap() else { panic!("it was sealed") };
    assert_eq!(rotten.file, path);
    assert!(rotten.position <= 300 && matches!(rotten.fault, LogFault::BadBatch { .. }), "{rotten}");
    assert_eq!(files.snapshot(), before);
    assert_eq!(seal_all(&log).len(), log.segment_count() - 2, "the others are sealed all the same");
}

#[test]
fn a_segment_that_has_lost_its_last_batch_is_named_and_not_sealed() {
    let files = SimFiles::new();
    let (_dir, log) = filled(&Arc::new(files.clone()), &growing(60));
    let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
    let whole = files.snapshot()[&path].clone();
    let (mut rest, mut last) = (whole.as_slice(), 0);
    while !rest.is_empty() {
        (last, (_, rest)) = (whole.len() - rest.len(), UnverifiedBatch::split_first(rest).unwrap());
    }
    files.tamper(&path, |bytes| bytes.truncate(last));
    let Sealed::Rotten(rotten) = log.seal_next(NOW).unwrap() else { panic!("it was sealed") };
    let short = LogFault::ShortFile { len: last as u64, durable: whole.len() as u64 };
    assert_eq!((rotten.position, rotten.fault), (last as u64, short));
    assert_eq!(footer(&files, &log, 0), None);
}

#[test]
fn what_of_a_rotten_segment_is_not_served_is_found_out_in_steps_of_bounded_size() {
    let files = SimFiles::new();
    let (_dir, log) = filled(&Arc::new(files.clone()), &growing(60));
    let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
    files.tamper(&path, |bytes| [300, 3500].iter().for_each(|at| bytes[*at] ^= 1));
    let mut seal = log.seal().unwrap();
    assert_eq!(seal.step(600, NOW).unwrap(), None);
    assert_eq!(seal.step(600, NOW).unwrap(), None);
    assert!(log.damaged().len() < 2, "{:?}", log.damaged());
    // Whoever stops there has left nothing undone for good.
    let mut seal = log.seal().unwrap();
    let mut steps = 0;
    let sealed = loop {
        steps += 1;
        if let Some(sealed) = seal.step(600, NOW).unwrap() {
            break sealed;
        }
    };
    assert!(matches!(sealed, Sealed::Rotten(_)), "{sealed:?}");
    assert!(steps > seal.size() / 1000, "{steps} steps for {} bytes", seal.size());
    let damaged = log.damaged();
    let has = |at| damaged.iter().any(|range| range.positions.contains(&at));
    assert_eq!([300, 1500, 3500].map(has), [true, false, true], "{damaged:?}");
}

#[test]
fn a_sealed_log_that_is_not_as_long_as_its_footer_says_takes_the_partition_offline() {
    for longer in [true, false] {
        for is_clean in [true, false] {
            let files = SimFiles::new();
            let (dir, log) = filled(&Arc::new(files.clone()), &growing(60));
            let sealed = seal_all(&log);
            let path = SegmentFile::Log.path(log.dir(), Offset::new(sealed[1]));
            drop(log);
            if is_clean {
                dir.close_clean(NOW, Instant::now()).unwrap();
            } else {
                drop(dir);
                files.crash(0);
            }
            files.tamper(&path, |bytes| bytes.resize(bytes.len() + 10 * usize::from(longer) - 5, 0));
            let (_dir, report) = reopened(&files, &small());
            let Err(damage) = &report.partitions[0].state else { panic!("it is online") };
            let Damage::Log { file, fault, .. } = damage else { panic!("{damage}") };
            assert_eq!((file, *fault), (&path, LogFault::UnlikeFooter));
            // What lies below is read all the same, as far as it is intact.
            let below = report.partitions[0].below.as_ref().unwrap().log_end().get();
            assert!(below > sealed[1], "{below}");
        }
    }
}

#[test]
fn a_crash_at_any_operation_of_sealing_leaves_the_old_index_or_the_new_one() {
    let whole = SimFiles::new();
    let batches = growing(30);
    let (_kept, log) = filled(&Arc::new(whole.clone()), &batches);
    let before = whole.operations();
    seal_all(&log);
    let operations = whole.operations() - before;
    assert!(operations > 10, "{operations}");
    for at in 0..=operations {
        for seed in 0..6 {
            let files = SimFiles::new();
            let (dir, log) = filled(&Arc::new(files.clone()), &batches);
            files.cut_power_at(files.operations() + at);
            while let Ok(Sealed::Segment(..)) = log.seal_next(NOW) {}
            drop((dir, log));
            files.crash(seed);
            let (dir, report) = reopened(&files, &small());
            let log = Arc::clone(&report.partitions[0].state.as_ref().unwrap().0);
            check(&log, &batches).unwrap();
            seal_all(&log);
            check(&log, &batches).unwrap();
            for base in log.view.load().iter().map(|segment| segment.base()) {
                let is_active = base == log.tail().segment_base;
                let is_unsealed = footer(&files, &log, base.get()).is_none();
                assert_eq!(is_unsealed, is_active, "operation {at}: {base}");
            }
            drop((dir, report));
        }
    }
    assert_eq!(FOOTER_SIZE % 16, 0, "a footer lies where entries would");
}

#[test]
fn the_checksum_in_a_footer_is_that_of_the_log_and_of_its_blocks_together() {
    let files = SimFiles::new();
    let (_dir, log) = filled(&Arc::new(files.clone()), &growing(60));
    for base in seal_all(&log) {
        let snapshot = files.snapshot();
        let base = Offset::new(base);
        let bytes = &snapshot[&SegmentFile::Log.path(log.dir(), base)];
        let index = &snapshot[&SegmentFile::OffsetIndex.path(log.dir(), base)];
        let footer = footer(&files, &log, base.get()).unwrap();
        let uid = SegmentUid::new(log.id(), base);
        let (mut whole, mut from) = (crc32fast::Hasher::new(), 0);
        for number in 0..footer.entries {
            let at = entry_position(number) as usize;
            let entry = OffsetEntry::decode(index[at..].first_chunk().unwrap(), uid, number).unwrap();
            let block = &bytes[from..entry.pos as usize];
            assert_eq!(entry.block_crc, crc32fast::hash(block), "entry {number} of {base}");
            whole.combine(&crc32fast::Hasher::new_with_initial_len(entry.block_crc, block.len() as u64));
            from = entry.pos as usize;
        }
        let tail = &bytes[from..];
        assert_eq!(footer.tail_crc, crc32fast::hash(tail));
        whole.combine(&crc32fast::Hasher::new_with_initial_len(footer.tail_crc, tail.len() as u64));
        assert_eq!((whole.finalize(), footer.log_crc), (footer.log_crc, crc32fast::hash(bytes)));
        assert!(footer.entries > 3, "{} entries", footer.entries);
    }
}

#[test]
fn without_a_slot_the_log_is_durable_up_to_the_last_footer_and_read_from_there_on() {
    let lost_slots = |files: &SimFiles| {
        files.tamper(Path::new(crate::slots::SLOTS_NAME), |bytes| bytes[4096..].fill(0));
    };
    let files = SimFiles::new();
    let batches = growing(60);
    let (dir, log) = filled(&Arc::new(files.clone()), &batches);
    let sealed = seal_all(&log);
    let active = log.tail();
    drop((dir, log));
    files.crash(0);
    lost_slots(&files);
    let whole = files.snapshot();
    let (_dir, report) = reopened(&files, &small());
    let (log, report) = report.partitions[0].state.as_ref().unwrap();
    assert!(report.slot_missing);
    assert_eq!(report.bytes_scanned, active.pos, "what is sealed is believed, and all behind it read");
    check(log, &batches).unwrap();

    // What is sealed and ends early was durable; what is not, and does, was torn by the power cut.
    let cut_short = |base: Offset| {
        let files = SimFiles::new();
        filled(&Arc::new(files.clone()), &batches);
        files.crash(0);
        for (path, bytes) in &whole {
            files.tamper(path, |now| now.clone_from(bytes));
        }
        lost_slots(&files);
        files.tamper(&SegmentFile::Log.path(Path::new("topics/t-0"), base), |bytes| {
            bytes.truncate(bytes.len() - 9);
        });
        reopened(&files, &small()).1.partitions.remove(0).state
    };
    let last = Offset::new(*sealed.last().unwrap());
    let Err(Damage::Log { fault, .. }) = cut_short(last) else { panic!("it is online") };
    assert_eq!(fault, LogFault::UnlikeFooter);
    let (log, report) = cut_short(active.segment_base).unwrap();
    assert_eq!(report.cut.unwrap().offset, log.log_end());
}

#[test]
fn a_segment_that_is_missing_behind_a_sealed_one_takes_the_partition_offline_and_what_lies_before_is_read() {
    for is_clean in [true, false] {
        let files = SimFiles::new();
        let (dir, log) = filled(&Arc::new(files.clone()), &growing(60));
        let sealed = seal_all(&log);
        let gone = Offset::new(sealed[1]);
        let paths = SegmentFile::ALL.map(|file| file.path(log.dir(), gone));
        drop(log);
        if is_clean {
            dir.close_clean(NOW, Instant::now()).unwrap();
        } else {
            drop(dir);
            files.crash(0);
        }
        paths.iter().for_each(|path| files.remove_file(path).unwrap());
        let (_dir, report) = reopened(&files, &small());
        let Err(Damage::Log { fault, offset, .. }) = &report.partitions[0].state else {
            panic!("it is online")
        };
        let next_base = Offset::new(sealed[2]);
        assert_eq!((*fault, *offset), (LogFault::Hole { ends: gone, next_base }, gone), "clean: {is_clean}");
        assert_eq!(report.partitions[0].below.as_ref().unwrap().log_end(), gone);
    }
}
