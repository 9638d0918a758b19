//! Claims about a start that finds no room even to take something away: what is in nobody's way stays, and anything
//! else waits for the next append. The partition is online meanwhile.

use super::*;
use crate::files::sim::Room;
use crate::index::INDEX_HEADER_SIZE;
use crate::partition_files::{SegmentFile, snapshot_path};

const SMALL: u32 = 1024;
const FOREIGN: &[u8] = b"of another log";
const LARGE: u32 = 16 * 1024;

/// A directory with one log, of which so many records are durable.
fn used(
    files: &Arc<SimFiles>,
    segment_bytes: u32,
    durable: usize,
) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    let (dir, log) = opened(files, segment_bytes);
    for number in 0..durable {
        log.writer().append(&mut [batch(300 + number)], Mode::MayBlock, NOW).unwrap();
    }
    dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
    (dir, log)
}

/// Opens it, makes the log if there is none, and wants it online.
fn opened(files: &Arc<SimFiles>, segment_bytes: u32) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    let of_log = LogOptions { segment_bytes, segment_ms: None, ..LogOptions::default() };
    let (dir, report) = DataDir::open(Arc::clone(files), &options(7), |_| of_log.clone(), NOW).unwrap();
    let log = match report.partitions.into_iter().next() {
        Some(partition) => partition.state.unwrap_or_else(|damage| panic!("offline: {damage}")).0,
        None => dir.create_topic(NewTopic { partitions: 1, ..topic(1) }, &of_log, NOW).unwrap().remove(0),
    };
    (dir, log)
}

fn append_one(log: &Log<SimFiles>, size: usize) -> Result<(), AppendError> {
    log.writer().append(&mut [batch(size)], Mode::MayBlock, NOW).map(drop)
}

/// Nothing is wrong with any file of it.
fn is_sound(files: &SimFiles) -> bool {
    crate::verify::verify(files, &Default::default(), &mut |_| {}).unwrap().damage == 0
}

#[test]
fn what_is_in_nobodys_way_stays_where_there_is_no_room_to_remove_it_and_all_is_served() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = used(&files, SMALL, 6);
    append_one(&log, 900).unwrap();
    log.prepare_next().unwrap();
    dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
    dir.raise_log_start(&log, Offset::new(4), NOW, Instant::now()).unwrap();
    let names: Vec<_> = ["next.log.tmp", "next.index.tmp", "next.timeindex.tmp", "epochs.tmp"]
        .into_iter()
        .map(|name| log.dir().join(name))
        .chain(SegmentFile::ALL.map(|file| file.path(log.dir(), Offset::ZERO)))
        .collect();
    files.open(&names[3], OpenMode::Create).unwrap();
    drop((dir, log));
    files.kill();
    for room in [Room::Nothing, Room::Enough] {
        files.set_room(room);
        let (dir, log) = opened(&files, SMALL);
        assert_eq!((log.log_start(), log.log_end()), (Offset::new(4), Offset::new(7)));
        assert!(!log.has_remains_of_start());
        let there = files.snapshot();
        assert!(names.iter().all(|name| there.contains_key(name) == (room == Room::Nothing)));
        drop((dir, log));
        files.kill();
    }
}

#[test]
fn what_could_be_taken_for_a_part_of_what_is_appended_is_removed_before_that_where_a_start_had_no_room_for_it()
 {
    for seed in 0..20 {
        let files = Arc::new(SimFiles::new());
        let (dir, log) = used(&files, SMALL, 2);
        let end = log.log_end();
        let index = SegmentFile::OffsetIndex.path(log.dir(), end);
        let snapshot = snapshot_path(log.dir(), Offset::new(100));
        for path in [&index, &snapshot] {
            files.open(path, OpenMode::Create).unwrap().write_at(FOREIGN, 0).unwrap();
        }
        drop((dir, log));
        files.kill();
        files.set_room(Room::Nothing);
        let is_there =
            || [&index, &snapshot].map(|path| files.snapshot().get(path).is_some_and(|is| is == FOREIGN));
        for _ in 0..2 {
            // Also one that stops has nothing else to do about it, and leaves no word that all is well.
            let (dir, log) = opened(&files, SMALL);
            assert!(matches!(append_one(&log, 100), Err(AppendError::Full { .. })));
            assert_eq!((is_there(), log.has_remains_of_start()), ([true, true], true));
            drop(log);
            dir.close_clean(NOW, Instant::now()).unwrap();
            files.kill();
        }
        let (dir, log) = opened(&files, SMALL);
        files.set_room(Room::Enough);
        append_one(&log, 2000).unwrap();
        assert_eq!((is_there(), log.has_remains_of_start()), ([false, false], false));
        assert_eq!(log.segment_count(), 2);
        drop((dir, log));
        files.crash(seed);
        let (dir, log) = opened(&files, SMALL);
        assert!(log.log_end() >= end);
        drop((dir, log));
        assert!(is_sound(&files));
    }
}

#[test]
fn what_a_start_had_no_room_to_remove_does_not_come_back_with_a_power_cut_once_anything_is_appended() {
    for operation in 0.. {
        let mut is_done = false;
        for seed in 0..10 {
            let files = Arc::new(SimFiles::new());
            let (dir, log) = used(&files, SMALL, 2);
            let end = log.log_end();
            let snapshot = snapshot_path(log.dir(), Offset::new(100));
            let paths = [SegmentFile::OffsetIndex.path(log.dir(), end), snapshot];
            for path in &paths {
                files.open(path, OpenMode::Create).unwrap().write_at(FOREIGN, 0).unwrap();
            }
            files.sync_everything().unwrap();
            drop((dir, log));
            files.kill();
            files.set_room(Room::Nothing);
            let (dir, log) = opened(&files, SMALL);
            files.set_room(Room::Enough);
            files.cut_power_at(files.operations() + operation);
            is_done = append_one(&log, 100).is_ok();
            assert_eq!(log.segment_count(), 1, "a next one would have the names synced for it");
            drop((dir, log));
            files.crash(seed);
            let is_gone = paths.iter().all(|path| !files.snapshot().contains_key(path));
            assert!(is_gone || !is_done, "operation {operation}, seed {seed}");
            let (_, log) = opened(&files, SMALL);
            assert!(is_gone || log.log_end() == end, "operation {operation}, seed {seed}");
        }
        if is_done {
            assert!(operation > 2, "{operation}");
            break;
        }
    }
}

#[test]
fn a_stop_once_there_is_room_clears_what_the_start_has_left_and_the_next_one_scans_nothing() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = used(&files, SMALL, 2);
    let index = SegmentFile::OffsetIndex.path(log.dir(), Offset::new(50));
    files.open(&index, OpenMode::Create).unwrap();
    drop((dir, log));
    files.kill();
    files.set_room(Room::Nothing);
    let (dir, log) = opened(&files, SMALL);
    files.set_room(Room::Enough);
    drop(log);
    dir.close_clean(NOW, Instant::now()).unwrap();
    assert!(!files.snapshot().contains_key(&index));
    let (_, report) = open(&files);
    assert!(report.partitions[0].state.as_ref().unwrap().1.was_clean);
}

/// A log with a closed segment that a crash has taken an index of, opened where there is no room to make it anew.
fn without_index(
    files: &Arc<SimFiles>,
    file: SegmentFile,
    is_missing: bool,
) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    let (dir, log) = used(files, SMALL, 6);
    let index = file.path(log.dir(), Offset::ZERO);
    drop((dir, log));
    files.kill();
    match is_missing {
        true => files.remove_file(&index).unwrap(),
        false => files.open(&index, OpenMode::Write).unwrap().set_len(0).unwrap(),
    }
    files.set_room(Room::Nothing);
    let opened = opened(files, SMALL);
    assert!(opened.1.segment_count() > 1);
    files.set_room(Room::Enough);
    opened
}

#[test]
fn of_a_log_with_a_closed_segment_that_a_start_left_with_half_its_indexes_no_clean_marker_speaks_until_they_are_new()
 {
    let cases = [SegmentFile::OffsetIndex, SegmentFile::TimeIndex].map(|file| [(file, true), (file, false)]);
    for ((file, is_missing), is_mended) in
        cases.concat().into_iter().flat_map(|case| [(case, true), (case, false)])
    {
        let files = Arc::new(SimFiles::new());
        let (dir, log) = without_index(&files, file, is_missing);
        append_one(&log, 100).unwrap();
        // Nobody has to look something up first.
        assert!(log.wants_mend());
        let (index, end) = (file.path(log.dir(), Offset::ZERO), log.log_end());
        if is_mended {
            assert_eq!(log.mend_indexes().unwrap(), 1);
        }
        drop(log);
        dir.close_clean(NOW, Instant::now()).unwrap();
        let case = format!("{file:?}, missing: {is_missing}, mended: {is_mended}");
        assert!(is_sound(&files), "{case}");
        let (dir, report) = open(&files);
        let (log, found) = report.partitions[0].state.as_ref().unwrap();
        assert_eq!((report.was_clean, found.was_clean, log.log_end()), (true, is_mended, end), "{case}");
        // The first start with room has made them, if nobody did before.
        assert!(files.snapshot()[&index].len() >= INDEX_HEADER_SIZE && !log.wants_mend(), "{case}");
        drop((report, dir));
        assert!(is_sound(&files), "{case}");
    }
}

#[test]
fn an_end_that_a_start_has_no_room_to_cut_or_clear_is_cut_and_cleared_before_anything_is_appended() {
    let (mut uncut, mut again) = (0, 0);
    for seed in 0..600_u64 {
        let files = Arc::new(SimFiles::new());
        let (dir, log) = used(&files, LARGE, 2);
        let promised = log.log_end();
        for size in [150, 170, 190].into_iter().take(1 + seed as usize % 3) {
            append_one(&log, size).unwrap();
        }
        drop((dir, log));
        files.crash(seed);
        files.set_room(Room::Nothing);
        // Whatever ends this run, the next one finds the same, also in the same boot, in which nothing is torn.
        for ended in [seed % 2, 0] {
            let (dir, log) = opened(&files, LARGE);
            assert!(log.log_end() >= promised);
            assert!(log.has_remains_of_start(), "{seed}");
            assert!(matches!(append_one(&log, 100), Err(AppendError::Full { .. })));
            dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
            let file = SegmentFile::Log.path(log.dir(), log.tail().segment_base);
            uncut += u64::from(files.entry(&file).unwrap().unwrap().len > log.tail().pos);
            drop((dir, log));
            if ended == 0 { files.kill() } else { files.crash(seed + 7) }
        }
        let (dir, log) = opened(&files, LARGE);
        let end = log.log_end();
        files.set_room(Room::Enough);
        // Of these the power may take any part, and shows what lay behind the end where it was not cleared.
        for size in [60, 450, 90] {
            append_one(&log, size).unwrap();
        }
        assert!(!log.has_remains_of_start());
        drop((dir, log));
        files.crash(seed * 3);
        let (dir, log) = opened(&files, LARGE);
        assert!(log.log_end() >= end, "{seed}");
        again += u64::from(log.log_end() > end);
        append_one(&log, 200).unwrap();
        drop((dir, log));
        files.kill();
        opened(&files, LARGE);
        assert!(is_sound(&files), "{seed}");
    }
    assert!(uncut > 50 && again > 50, "{uncut}, {again}");
}
