//! Claims about what a start costs, in what it asks of files.

use super::*;
use crate::controls::{Protection, without};
use crate::epochs::{EPOCHS_NAME, Epochs};
use crate::files::sim::Asked;
use crate::log::Sealed;
use crate::partition_files::SegmentFile;
use crate::slots::METADATA;
use crate::verify::{Event, VerifyOptions, verify};

/// Partitions of the one topic.
const PARTITIONS: u64 = 2;

/// A directory of which every log has so many sealed segments, and has been appended to since; nothing was closed.
fn written(segments: usize) -> Arc<SimFiles> {
    let files = Arc::new(SimFiles::new());
    let small = LogOptions { segment_bytes: 4096, segment_ms: None, ..LogOptions::default() };
    let (dir, _) = DataDir::open(Arc::clone(&files), &options(7), |_| small.clone(), NOW).unwrap();
    let logs = dir.create_topic(topic(1), &small, NOW).unwrap();
    for log in &logs {
        while log.segment_count() <= segments {
            append(log, 1500);
        }
    }
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    for log in &logs {
        for _ in 0..segments {
            assert!(matches!(log.seal_next(NOW).unwrap(), Sealed::Segment(..)));
        }
        // As maintenance does, or everything would be gone through for producers.
        log.take_snapshot().unwrap();
        append(log, 100);
    }
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    drop((logs, dir));
    files.kill();
    files
}

fn append(log: &Log<SimFiles>, size: usize) {
    log.writer().append(&mut [batch(size)], Mode::MayBlock, NOW).unwrap();
}

/// What the next start asks of files whose name ends so.
fn asked_by_start(files: &Arc<SimFiles>, extension: &str) -> Asked {
    let asked = || files.asked(|path| path.extension().is_some_and(|found| found == extension));
    let before = asked();
    let (dir, report) = open(files);
    assert_eq!(online(&report), set(&["t1-0", "t1-1"]));
    drop((dir, report));
    let after = asked();
    files.kill();
    Asked {
        opened: after.opened - before.opened,
        lengths: after.lengths - before.lengths,
        reads: after.reads - before.reads,
        bytes: after.bytes - before.bytes,
    }
}

#[test]
fn a_start_asks_of_a_sealed_segment_its_name_its_length_and_the_footer_of_its_index_and_nothing_else() {
    let [few, many] = [5, 25].map(written);
    let more = |extension| {
        let [few, many] = [&few, &many].map(|files| asked_by_start(files, extension));
        let each = |few: u64, many: u64| (many - few) as f64 / (20 * PARTITIONS) as f64;
        [
            each(few.opened, many.opened),
            each(few.lengths, many.lengths),
            each(few.reads, many.reads),
            each(few.bytes, many.bytes),
        ]
    };
    assert_eq!(more("log"), [0.0, 1.0, 0.0, 0.0], "opened, lengths, reads, bytes");
    assert_eq!(more("index"), [1.0, 1.0, 1.0, 96.0]);
    assert_eq!(more("timeindex"), [0.0; 4]);
}

#[test]
fn what_a_start_reads_of_logs_does_not_depend_on_how_much_is_stored() {
    let read = |segments| asked_by_start(&written(segments), "log").bytes;
    assert_eq!(read(5), read(25));
    assert!(read(5) <= PARTITIONS * 3 * 4096, "the last page of each log, for its index and its producers");
}

#[test]
fn epochs_that_a_start_has_begun_are_written_down_later_and_known_without_that() {
    let files = written(3);
    let path = Path::new(TOPICS_NAME).join("t1-0").join(EPOCHS_NAME);
    let rows = |log: &Log<SimFiles>| log.epochs().rows().to_vec();
    let in_file = || Epochs::decode(&files.snapshot()[&path]).unwrap().rows().to_vec();
    for saves in [false, false, true, false] {
        let before = in_file();
        let (dir, _) = open(&files);
        let log = Arc::clone(&dir.logs()[0]);
        assert_eq!(in_file(), before, "a start leaves it to others");
        append(&log, 100);
        dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
        let known = rows(&log);
        if saves {
            assert_eq!(dir.save_epochs(1).unwrap().left, 1);
            assert_eq!(dir.save_epochs(5).unwrap().left, 0);
            assert_eq!(in_file(), known);
        }
        drop((log, dir));
        files.kill();
        let (dir, _) = open(&files);
        let log = Arc::clone(&dir.logs()[0]);
        assert_eq!(rows(&log)[..known.len()], known, "all that have a record");
        drop((log, dir));
        files.kill();
    }
    let (dir, _) = open(&files);
    let known = rows(&dir.logs()[0]);
    assert!(known.len() > 4, "{known:?}");
    dir.close_clean(NOW, Instant::now()).unwrap();
    assert_eq!(in_file(), known, "a clean stop leaves nothing to be done");
}

#[test]
fn a_lost_file_of_slots_takes_no_partition_offline_whose_epochs_are_not_written_down_yet() {
    let files = written(3);
    let (dir, _) = open(&files);
    dir.logs().iter().for_each(|log| append(log, 100));
    dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
    let ends: Vec<Offset> = dir.logs().iter().map(|log| log.log_end()).collect();
    drop(dir);
    files.kill();
    files.remove_file(Path::new(SLOTS_NAME)).unwrap();
    // Nor does `verify` hold batches against them: a repair would make them older than they are.
    let mut found = Vec::new();
    verify(&*files, &VerifyOptions::default(), &mut |event| {
        if let Event::Found(finding) = event {
            found.push(finding.what);
        }
    })
    .unwrap();
    assert!(found.iter().all(|what| !what.contains("epoch")), "{found:?}");
    let (dir, report) = open(&files);
    assert_eq!(online(&report), set(&["t1-0", "t1-1"]));
    assert_eq!(dir.logs().iter().map(|log| log.log_end()).collect::<Vec<_>>(), ends);
    assert!(dir.logs().iter().all(|log| log.leader_epoch().get() == 2), "one for each start");
}

#[test]
fn epochs_wait_for_room_on_a_full_disk() {
    let files = written(1);
    let (dir, _) = open(&files);
    files.set_room(Room::NoBytes);
    let saved = dir.save_epochs(5).unwrap();
    assert!(saved.is_full && saved.left == 2 && !dir.has_failed());
    files.set_room(Room::Enough);
    let saved = dir.save_epochs(5).unwrap();
    assert!(!saved.is_full && saved.left == 0);
}

/// Somebody removes the directory of a partition, whoever uses it.
fn take_away(files: &SimFiles, partition: &str) {
    let dir = Path::new(TOPICS_NAME).join(partition);
    for entry in files.list(&dir).unwrap() {
        files.remove_file(&dir.join(entry.name)).unwrap();
    }
    files.remove_dir(&dir).unwrap();
}

#[test]
fn a_partition_that_is_taken_away_before_its_epochs_are_written_down_is_the_only_one_that_is_lost() {
    for saves in [true, false] {
        let files = written(2);
        let (dir, _) = open(&files);
        take_away(&files, "t1-0");
        if saves {
            assert_eq!(dir.save_epochs(5).unwrap(), EpochsSaved { left: 0, is_full: false });
            assert!(!dir.has_failed());
            assert_eq!(dir.logs().iter().filter(|log| log.is_given_up()).count(), 1);
        }
        assert!(matches!(dir.close_clean(NOW, Instant::now()).unwrap(), Closed::Clean), "saves: {saves}");
        let (_dir, report) = open(&files);
        assert_eq!((report.was_clean, online(&report)), (true, set(&["t1-1"])));
    }
}

#[test]
fn a_clean_marker_has_nothing_to_say_of_a_partition_that_was_taken_away() {
    let files = written(2);
    let (dir, _) = open(&files);
    let logs = dir.logs();
    let (away, kept) = (&logs[0], &logs[1]);
    let kept = kept.id();
    away.give_up();
    drop(logs);
    assert!(matches!(dir.close_clean(NOW, Instant::now()).unwrap(), Closed::Clean));
    let marker = CleanMarker::decode(&files.snapshot()[Path::new(CLEAN_NAME)]).unwrap();
    let named = marker.partitions.iter().map(|row| row.partition);
    assert_eq!(named.filter(|partition| *partition != METADATA).collect::<Vec<_>>(), [kept]);
}

/// A log with records in a second segment that was made ready before, none of which is flushed.
fn rolled(dir: &DataDir<SimFiles>) -> Arc<Log<SimFiles>> {
    let small = LogOptions { segment_bytes: 4096, ..LogOptions::default() };
    let log = dir.create_topic(topic(1), &small, NOW).unwrap().remove(0);
    while !log.wants_next_segment() {
        append(&log, 500);
    }
    dir.flush(std::slice::from_ref(&log), NOW, Instant::now()).unwrap();
    log.prepare_next().unwrap();
    while log.segment_count() == 1 {
        append(&log, 500);
    }
    log
}

#[test]
fn names_that_cannot_be_synced_for_want_of_a_descriptor_are_synced_by_a_later_flush() {
    let files = Arc::new(SimFiles::new());
    let (mut dir, _) = open(&files);
    let log = rolled(&dir);
    dir.has_syncfs = false;
    let durable = log.durable();
    files.set_exhausted(true);
    for _ in 0..3 {
        let advanced = dir.flush(std::slice::from_ref(&log), NOW, Instant::now()).unwrap();
        assert!(advanced.is_empty() && log.durable() == durable && !dir.has_failed());
    }
    let begins = dir.raise_log_start(&log, log.log_end(), NOW, Instant::now()).unwrap();
    assert_eq!((begins, log.log_start()), (durable, durable), "and not where it was asked to");
    files.set_exhausted(false);
    let advanced = dir.flush(std::slice::from_ref(&log), NOW, Instant::now()).unwrap();
    assert!(advanced.len() == 1 && log.durable() == log.log_end());
    let end = log.log_end();
    drop((log, dir));
    files.crash(1);
    let (dir, _) = open(&files);
    assert_eq!(dir.logs().iter().map(|log| log.log_end()).max(), Some(end));
}

#[test]
fn what_somebody_has_unlinked_is_not_called_durable() {
    for is_rolled_from in [true, false] {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        let log = rolled(&dir);
        create(&dir, 2).unwrap();
        let other = Arc::clone(dir.logs().iter().find(|one| one.dir().ends_with("t2-0")).unwrap());
        append(&other, 500);
        let mut names = files.list(log.dir()).unwrap();
        names.retain(|entry| entry.name.ends_with(".log"));
        assert_eq!(names.len(), 2);
        let durable = log.durable();
        files.remove_file(&log.dir().join(&names[usize::from(!is_rolled_from)].name)).unwrap();
        let logs = [Arc::clone(&log), Arc::clone(&other)];
        let advanced = dir.flush(&logs, NOW, Instant::now()).unwrap();
        assert_eq!(advanced.iter().map(|one| one.partition).collect::<Vec<_>>(), [other.id()]);
        assert!(log.is_given_up() && log.durable() == durable && !dir.has_failed());
        assert_eq!(other.durable(), other.log_end());
    }
}

#[test]
fn without_a_look_for_its_name_a_file_that_no_start_finds_is_called_durable() {
    for is_sought in [true, false] {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        create(&dir, 1).unwrap();
        let log = Arc::clone(&dir.logs()[0]);
        append(&log, 500);
        files.remove_file(&SegmentFile::Log.path(log.dir(), Offset::ZERO)).unwrap();
        let flush = || dir.flush(std::slice::from_ref(&log), NOW, Instant::now()).unwrap();
        let advanced = if is_sought { flush() } else { without(Protection::FilesAreFound, flush) };
        assert_eq!(advanced.len(), usize::from(!is_sought));
        let acknowledged = log.durable();
        assert_eq!(acknowledged, if is_sought { Offset::ZERO } else { log.log_end() });
        drop((log, dir));
        files.kill();
        let (dir, report) = open(&files);
        let found = dir.logs().iter().map(|log| log.log_end()).max().unwrap_or(Offset::ZERO);
        assert_eq!(found < acknowledged, !is_sought, "{report:?}");
    }
}

#[test]
fn a_start_of_a_log_that_is_no_higher_than_the_one_there_is_costs_no_write_and_no_sync() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    let log = Arc::clone(&dir.logs()[0]);
    append(&log, 100);
    let raise = |to| dir.raise_log_start(&log, to, NOW, Instant::now()).unwrap();
    let end = raise(log.log_end());
    let before = files.operations();
    assert_eq!((end, raise(end), raise(Offset::ZERO)), (log.log_end(), end, end));
    assert_eq!(files.operations(), before);
}

/// Indexes are made again.
#[test]
fn an_index_that_somebody_has_unlinked_holds_no_flush_back() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    let log = rolled(&dir);
    for entry in files.list(log.dir()).unwrap() {
        if entry.name.ends_with("index") {
            files.remove_file(&log.dir().join(&entry.name)).unwrap();
        }
    }
    assert_eq!(dir.flush(std::slice::from_ref(&log), NOW, Instant::now()).unwrap().len(), 1);
    assert_eq!(log.durable(), log.log_end());
}

#[test]
fn a_flush_syncs_the_names_of_a_new_segment_also_when_no_descriptor_is_left() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    let log = Arc::clone(&dir.logs()[0]);
    append(&log, 100);
    files.set_exhausted(true);
    dir.flush(std::slice::from_ref(&log), NOW, Instant::now()).unwrap();
    assert!(!dir.has_failed() && log.durable() == log.log_end());
    files.set_exhausted(false);
    drop((log, dir));
    files.crash(1);
    let (dir, _) = open(&files);
    assert_eq!(dir.logs()[0].log_end(), Offset::new(1));
}

#[test]
fn a_torn_batch_larger_than_any_that_is_taken_today_is_cut_and_verify_says_so() {
    let files = Arc::new(SimFiles::new());
    let large = LogOptions { batch_size_max: 8 << 20, ..LogOptions::default() };
    let log = {
        let (dir, _) = DataDir::open(Arc::clone(&files), &options(7), |_| large.clone(), NOW).unwrap();
        let log = dir.create_topic(topic(1), &large, NOW).unwrap().swap_remove(0);
        append(&log, 100);
        let mut builder = BatchBuilder::new(Compression::None, 8 << 20);
        let value = vec![7; 3_000_000];
        builder.append(&NewRecord { timestamp: NOW, key: None, value: Some(&value), headers: &[] }).unwrap();
        let mut batches = [bytes::BytesMut::from(builder.build().unwrap().as_slice())];
        log.writer().append(&mut batches, Mode::MayBlock, NOW).unwrap();
        log.dir().join("00000000000000000000.log")
    };
    files.kill();
    files.tamper(&log, |bytes| bytes.truncate(2_000_000));
    let looked = crate::verify::verify(&*files, &Default::default(), &mut |_| {}).unwrap();
    assert_eq!((looked.damage, looked.interrupted), (0, 1));
    let small = LogOptions { batch_size_max: 1 << 10, ..LogOptions::default() };
    let (_dir, report) = DataDir::open(Arc::clone(&files), &options(8), |_| small.clone(), NOW).unwrap();
    let (log, found) = report.partitions[0].state.as_ref().unwrap();
    assert_eq!(log.log_end(), Offset::new(1));
    assert!(found.cut.as_ref().is_some_and(|cut| cut.offset == Offset::new(1)), "{found:?}");
}

#[test]
fn what_retention_takes_before_it_is_flushed_costs_its_log_nothing() {
    let files = Arc::new(SimFiles::new());
    let small = LogOptions { segment_bytes: 4096, ..LogOptions::default() };
    let (dir, _) = DataDir::open(Arc::clone(&files), &options(7), |_| small.clone(), NOW).unwrap();
    let log = dir.create_topic(topic(1), &small, NOW).unwrap().swap_remove(0);
    append(&log, 1500);
    append(&log, 1500);
    dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
    let start = log.durable();
    // It rolls: what is durable already is to be synced once more.
    append(&log, 1500);
    assert_eq!(log.segment_count(), 2);
    dir.raise_log_start(&log, start, NOW, Instant::now()).unwrap();
    log.drop_below_start(dir.trash()).unwrap();
    dir.purge_trash(&|| true).unwrap();
    dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
    assert_eq!((log.durable(), log.segment_count()), (log.log_end(), 1), "it was given up");
}
