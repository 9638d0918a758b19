//! Claims about a data directory as a whole: opening, topics, the flush round, crashes anywhere in them.

mod growth;
mod remains;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use folio_record::{BatchBuilder, Compression, NewRecord, Offset, Timestamp};
use uuid::Uuid;

use super::*;
use crate::clean::CLEAN_NAME;
use crate::files::sim::Fault;
use crate::files::{FileHandle, OpenMode, OsFiles, SimFiles};
use crate::log::{AppendError, Cursor, LogOptions, Mode, ReadError, Touch};
use crate::metadata::METADATA_LOG_NAME;
use crate::node::NODE_META_NAME;
use crate::quarantine::QUARANTINE_NAME;
use crate::slots::SLOTS_NAME;
use crate::trash::TRASH_NAME;

const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

fn options(run_id: u64) -> DataDirOptions {
    DataDirOptions {
        build: "folio test".to_owned(),
        run_id,
        new_dir: Uuid::from_u128(1),
        new_cluster: Uuid::from_u128(2),
        pid: 4711,
        host: "box".to_owned(),
        allow_incoherent_fs: false,
        slots_sync: Duration::from_millis(100),
        side_by_side: |_, work| work(),
    }
}

fn try_open<F: Files>(files: &Arc<F>) -> Result<(DataDir<F>, OpenReport<F>), OpenError> {
    DataDir::open(Arc::clone(files), &options(7), |_| LogOptions::default(), NOW)
}

fn open<F: Files>(files: &Arc<F>) -> (DataDir<F>, OpenReport<F>) {
    try_open(files).expect("a directory that opens")
}

fn topic(number: u128) -> NewTopic {
    NewTopic {
        name: format!("t{number}"),
        uuid: Uuid::from_u128(100 + number),
        partitions: 2,
        settings: Vec::new(),
    }
}

fn create<F: Files>(dir: &DataDir<F>, number: u128) -> Result<(), TopicError> {
    dir.create_topic(topic(number), &LogOptions::default(), NOW).map(drop)
}

/// The partitions that are online, by directory.
fn online<F: Files>(report: &OpenReport<F>) -> BTreeSet<String> {
    let online = report.partitions.iter().filter(|partition| partition.state.is_ok());
    online.map(|partition| format!("{}-{}", partition.topic, partition.id.partition)).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn dirs<F: Files>(files: &F, under: &str) -> BTreeSet<String> {
    files.list(Path::new(under)).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn an_empty_directory_is_set_up_once_and_found_again() {
    let temporary = tempfile::tempdir().unwrap();
    let files = Arc::new(OsFiles::open_or_create(temporary.path().join("data")).unwrap());
    let (dir, report) = open(&files);
    assert!(report.created && report.partitions.is_empty());
    create(&dir, 1).unwrap();
    dir.close_clean(NOW, Instant::now()).unwrap();
    let (dir, report) = open(&files);
    assert!(!report.created && report.was_clean);
    assert_eq!(dir.node().dir, Uuid::from_u128(1));
    assert_eq!(online(&report), set(&["t1-0", "t1-1"]));
}

#[test]
fn a_second_daemon_is_refused_and_told_who_holds_the_directory() {
    let temporary = tempfile::tempdir().unwrap();
    let first = Arc::new(OsFiles::open_or_create(temporary.path()).unwrap());
    let (dir, _) = open(&first);
    let second = Arc::new(OsFiles::open(temporary.path()).unwrap());
    let error = try_open(&second).unwrap_err().to_string();
    assert!(error.contains("process 4711 on box"), "{error}");
    drop(dir);
    open(&second);
}

#[test]
fn a_directory_that_holds_something_else_is_left_alone() {
    let files = Arc::new(SimFiles::new());
    files.open(Path::new("holiday.jpg"), OpenMode::CreateNew).unwrap();
    assert!(matches!(try_open(&files), Err(OpenError::NotOurs { name, .. }) if name == "holiday.jpg"));
}

#[test]
fn a_crash_while_the_directory_is_set_up_is_begun_anew() {
    let files = SimFiles::new();
    open(&Arc::new(files.clone()));
    for operation in 0..files.operations() {
        for seed in 0..5 {
            let files = SimFiles::new();
            files.cut_power_at(operation);
            let _ = try_open(&Arc::new(files.clone()));
            files.crash(seed);
            let (dir, _) = open(&Arc::new(files));
            create(&dir, 1).unwrap();
        }
    }
}

#[test]
fn the_clean_marker_is_gone_for_good_before_the_next_run_writes_anything_else() {
    for seed in 0..20 {
        let files = SimFiles::new();
        let (dir, _) = open(&Arc::new(files.clone()));
        create(&dir, 1).unwrap();
        dir.close_clean(NOW, Instant::now()).unwrap();
        assert!(files.snapshot().contains_key(Path::new(CLEAN_NAME)));
        let (_, report) = open(&Arc::new(files.clone()));
        assert!(report.was_clean);
        files.crash(seed);
        assert!(!files.snapshot().contains_key(Path::new(CLEAN_NAME)));
        let (_, report) = open(&Arc::new(files));
        assert!(!report.was_clean);
    }
}

#[test]
fn epochs_rise_at_an_unclean_start_only() {
    let files = Arc::new(SimFiles::new());
    let epochs = |report: &OpenReport<SimFiles>| -> BTreeSet<i32> {
        let logs = report.partitions.iter().map(|partition| partition.state.as_ref().unwrap());
        logs.map(|(log, _)| log.leader_epoch().get()).collect()
    };
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    dir.close_clean(NOW, Instant::now()).unwrap();
    let (dir, report) = open(&files);
    assert_eq!(epochs(&report), BTreeSet::from([0]));
    dir.close_clean(NOW, Instant::now()).unwrap();
    let (_, report) = open(&files);
    assert_eq!(epochs(&report), BTreeSet::from([0]));
    files.kill();
    let (_, report) = open(&files);
    assert_eq!(epochs(&report), BTreeSet::from([1]));
}

/// Cuts the power at each operation in turn, often, until what is attempted is done before. An attempt says whether it was
/// done, and whether the new is there afterwards; both the old and the new have to be found somewhere.
fn at_every_operation(mut attempt: impl FnMut(u64, u64) -> (bool, bool)) {
    let mut outcomes = [0; 2];
    let mut operation = 0;
    loop {
        let mut is_done = false;
        for seed in 0..10 {
            let (done, is_new) = attempt(operation, seed);
            is_done = done;
            outcomes[usize::from(is_new)] += 1;
        }
        if is_done {
            break;
        }
        operation += 1;
    }
    assert!(operation > 10 && outcomes.iter().all(|count| *count > 0), "{operation}, {outcomes:?}");
}

#[test]
fn a_crash_at_any_operation_of_making_a_topic_leaves_it_whole_or_not_there() {
    at_every_operation(|operation, seed| {
        let files = SimFiles::new();
        let (dir, _) = open(&Arc::new(files.clone()));
        create(&dir, 1).unwrap();
        files.cut_power_at(files.operations() + operation);
        let made = create(&dir, 2);
        files.crash(seed);
        let (dir, report) = open(&Arc::new(files.clone()));
        let found = online(&report);
        assert_eq!(
            report.partitions.len(),
            found.len(),
            "a partition is offline after operation {operation}"
        );
        assert!(
            found == set(&["t1-0", "t1-1"]) || found == set(&["t1-0", "t1-1", "t2-0", "t2-1"]),
            "{found:?}"
        );
        assert!(made.is_err() || found.len() == 4, "a topic that was announced is gone");
        assert_eq!(dirs(&files, TOPICS_NAME), found, "nothing else is left");
        assert_eq!(create(&dir, 2).is_ok(), found.len() == 2);
        (made.is_ok(), found.len() == 4)
    });
}

#[test]
fn a_crash_at_any_operation_of_deleting_a_topic_leaves_it_whole_or_gone() {
    let mut outcomes = [0; 2];
    let mut operation = 0;
    loop {
        let mut is_done = false;
        for seed in 0..10 {
            let files = SimFiles::new();
            let (dir, _) = open(&Arc::new(files.clone()));
            create(&dir, 1).unwrap();
            create(&dir, 2).unwrap();
            files.cut_power_at(files.operations() + operation);
            let deleted = dir.delete_topic("t2", NOW);
            is_done = deleted.is_ok();
            files.crash(seed);
            let (dir, report) = open(&Arc::new(files.clone()));
            let found = online(&report);
            assert_eq!(report.partitions.len(), found.len());
            assert!(
                found == set(&["t1-0", "t1-1"]) || found == set(&["t1-0", "t1-1", "t2-0", "t2-1"]),
                "{found:?}"
            );
            assert!(deleted.is_err() || found.len() == 2, "a deleted topic came back");
            assert_eq!(dirs(&files, TOPICS_NAME), found);
            assert!(dirs(&files, TRASH_NAME).is_empty());
            assert!(
                dirs(&files, QUARANTINE_NAME).iter().all(|name| name.starts_with("metadata_")),
                "only a torn transaction"
            );
            outcomes[usize::from(found.len() == 4)] += 1;
            // A topic of the same name has nothing to do with the old one.
            if found.len() == 2 {
                let again = NewTopic { uuid: Uuid::from_u128(999), ..topic(2) };
                dir.create_topic(again, &LogOptions::default(), NOW).unwrap();
            }
        }
        if is_done {
            break;
        }
        operation += 1;
    }
    assert!(operation > 3 && outcomes.iter().all(|count| *count > 0), "{operation}, {outcomes:?}");
}

#[test]
fn a_missing_directory_takes_its_partition_offline_and_no_other() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    drop(dir);
    let missing = partition_dir("t1", 0);
    crate::trash::remove(&*files, &missing, crate::files::EntryKind::Directory).unwrap();
    let (_, report) = open(&files);
    assert_eq!(online(&report), set(&["t1-1"]));
    let damage = report.partitions[0].state.as_ref().unwrap_err();
    assert_eq!(*damage, Damage::DirectoryMissing { dir: missing });
}

#[test]
fn every_flipped_bit_of_a_partition_meta_takes_that_partition_offline() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    drop(dir);
    let path = partition_dir("t1", 0).join("partition.meta");
    let bits = files.snapshot()[&path].len() * 8;
    for bit in 0..bits {
        files.tamper(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let (dir, report) = open(&Arc::new(files.clone()));
        assert_eq!(online(&report), set(&["t1-1"]), "bit {bit}");
        assert!(matches!(report.partitions[0].state, Err(Damage::Meta { .. })));
        drop(dir);
        files.tamper(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }
}

#[test]
fn every_flipped_bit_of_node_meta_refuses_to_start() {
    let files = SimFiles::new();
    drop(open(&Arc::new(files.clone())));
    let path = Path::new(NODE_META_NAME);
    for bit in 0..files.snapshot()[path].len() * 8 {
        files.tamper(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        assert!(matches!(try_open(&Arc::new(files.clone())), Err(OpenError::Node { .. })), "bit {bit}");
        files.tamper(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }
}

#[test]
fn a_damaged_metadata_log_refuses_to_start_and_names_the_place() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    drop(dir);
    files.tamper(Path::new(METADATA_LOG_NAME), |bytes| bytes[30] ^= 1);
    let error = try_open(&Arc::new(files)).unwrap_err().to_string();
    assert!(error.contains(METADATA_LOG_NAME) && error.contains("at byte 0 (offset 0)"), "{error}");
}

#[test]
fn a_directory_that_metadata_never_knew_is_moved_aside_with_a_note() {
    let other = Arc::new(SimFiles::new());
    let (dir, _) = open(&other);
    create(&dir, 9).unwrap();
    let foreign = other.snapshot()[&partition_dir("t9", 0).join("partition.meta")].clone();

    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    drop(dir);
    files.create_dir(&partition_dir("t9", 0)).unwrap();
    let meta = files.open(&partition_dir("t9", 0).join("partition.meta"), OpenMode::CreateNew).unwrap();
    meta.write_at(&foreign, 0).unwrap();
    files.create_dir(&partition_dir("junk", 5)).unwrap();
    let (_, report) = open(&files);
    assert_eq!(online(&report), set(&["t1-0", "t1-1"]));
    assert_eq!(report.quarantined.len(), 2);
    assert_eq!(dirs(&*files, TOPICS_NAME), set(&["t1-0", "t1-1"]));
    assert_eq!(dirs(&*files, QUARANTINE_NAME).len(), 4, "each with its note");
}

#[test]
fn a_renamed_directory_is_refused_with_the_name_it_should_have() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    drop(dir);
    files.rename(&partition_dir("t1", 0), &partition_dir("other", 0)).unwrap();
    let (_, report) = open(&files);
    let damage = report.partitions[0].state.as_ref().unwrap_err();
    assert!(
        matches!(damage, Damage::Misplaced { belongs, .. } if *belongs == partition_dir("t1", 0)),
        "{damage}"
    );
    assert!(dirs(&*files, TOPICS_NAME).contains("other-0"), "it stays where it is");
}

#[test]
fn a_failed_sync_is_final_and_there_is_no_clean_marker_after_it() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    let logs = dir.logs();
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    files.fail_at(files.operations(), Fault::SyncLies);
    assert!(dir.sync_slots().is_err());
    let operations = files.operations();
    assert!(dir.has_failed());
    assert!(dir.flush(&logs, NOW, Instant::now()).is_err());
    assert!(dir.sync_slots().is_err());
    assert!(dir.close_clean(NOW, Instant::now()).is_err());
    assert_eq!(files.operations(), operations, "something was written after the failure");
    assert!(!files.snapshot().contains_key(Path::new(CLEAN_NAME)));
}

#[test]
fn slots_of_another_directory_are_refused() {
    let files = SimFiles::new();
    drop(open(&Arc::new(files.clone())));
    let foreign = Arc::new(SimFiles::new());
    let other = DataDirOptions { new_dir: Uuid::from_u128(77), ..options(7) };
    drop(DataDir::open(Arc::clone(&foreign), &other, |_| LogOptions::default(), NOW).unwrap());
    let bytes = foreign.snapshot()[Path::new(SLOTS_NAME)].clone();
    files.tamper(Path::new(SLOTS_NAME), |slots| *slots = bytes);
    assert!(matches!(try_open(&Arc::new(files)), Err(OpenError::Slots { .. })));
}

#[test]
fn a_disk_that_is_full_half_way_through_a_topic_leaves_none() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    // The transaction is two operations; the directories come after it.
    files.fail_at(files.operations() + 4, Fault::Full);
    assert!(matches!(create(&dir, 2), Err(TopicError::Full { .. })));
    assert_eq!(dir.topics().len(), 1);
    create(&dir, 2).unwrap();
    assert_eq!(
        online(
            &open(&{
                drop(dir);
                Arc::new(files)
            })
            .1
        )
        .len(),
        4
    );
}

#[test]
fn a_full_disk_refuses_a_topic_and_takes_it_when_there_is_room() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    files.set_full(true);
    assert!(matches!(create(&dir, 2), Err(TopicError::Full { .. })));
    files.set_full(false);
    assert!(!dir.has_failed());
    create(&dir, 2).unwrap();
}

#[test]
fn the_log_of_a_deleted_topic_leaves_a_new_topic_of_its_name_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let files = Arc::new(OsFiles::open_or_create(temporary.path()).unwrap());
    let (dir, _) = open(&files);
    let small = LogOptions { segment_bytes: 4096, ..LogOptions::default() };
    let old = dir.create_topic(topic(1), &small, NOW).unwrap().swap_remove(0);
    old.writer().append(&mut [batch(3000)], Mode::MayBlock, NOW).unwrap();
    let name = topic(1).name;
    dir.delete_topic(&name, NOW).unwrap();
    let again = NewTopic { uuid: Uuid::from_u128(999), ..topic(1) };
    let new = dir.create_topic(again, &small, NOW).unwrap().swap_remove(0);

    // It would have to roll, that is, to make a file by its name.
    let refused = old.writer().append(&mut [batch(3000)], Mode::MayBlock, NOW);
    assert!(matches!(refused, Err(AppendError::Retired)), "{refused:?}");
    assert!(!old.roll_if_expired(Timestamp::new(i64::MAX / 2)).unwrap());
    old.learn_timestamps().unwrap();
    assert!(old.drop_below_start(dir.trash()).unwrap().is_empty());
    let read = old.read(Offset::ZERO, 1 << 20, &mut Cursor::default(), Touch::Any);
    assert!(matches!(read, Err(ReadError::Retired)), "{read:?}");
    // What waits for the old one's flush is not kept waiting, and the flush does not fail.
    dir.flush(&[Arc::clone(&old), Arc::clone(&new)], NOW, Instant::now()).unwrap();
    assert_eq!(old.high_watermark(), Offset::new(1));

    let made = std::fs::read_dir(temporary.path().join("topics").join(format!("{name}-0"))).unwrap();
    let segments =
        made.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "log")).count();
    assert_eq!((segments, new.log_end()), (0, Offset::ZERO), "the new topic has nothing yet");
}

#[test]
fn partitions_recovered_side_by_side_come_out_as_one_after_the_other() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    let many = NewTopic { partitions: 23, ..topic(1) };
    let logs = dir.create_topic(many, &LogOptions::default(), NOW).unwrap();
    for (number, log) in logs.iter().enumerate() {
        for _ in 0..number {
            log.writer().append(&mut [batch(100)], Mode::MayBlock, NOW).unwrap();
        }
    }
    drop((dir, logs));
    files.kill();
    let reopen = |side_by_side| {
        let options = DataDirOptions { side_by_side, ..options(7) };
        let opened =
            DataDir::open(Arc::new(files.clone()), &options, |_| LogOptions::default(), NOW).unwrap();
        let partitions = opened.1.partitions.iter();
        let ends: Vec<_> = partitions
            .map(|partition| (partition.id, partition.state.as_ref().unwrap().0.log_end()))
            .collect();
        drop(opened);
        files.kill();
        ends
    };
    let ends = reopen(on::<1>);
    let mut lengths: Vec<i64> = ends.iter().map(|(_, end)| end.get()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, (0..23).collect::<Vec<_>>());
    for threads in [on::<2>, on::<5>, on::<100>] as [SideBySide; 3] {
        assert_eq!(reopen(threads), ends);
    }
}

#[test]
fn a_disk_that_breaks_under_one_recovery_stops_the_start_however_many_there_are() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    let many = NewTopic { partitions: 5, ..topic(1) };
    for log in dir.create_topic(many, &LogOptions::default(), NOW).unwrap() {
        log.writer().append(&mut [batch(100)], Mode::MayBlock, NOW).unwrap();
        let index = crate::partition_files::SegmentFile::OffsetIndex.path(log.dir(), Offset::ZERO);
        files.tamper(&index, |bytes| bytes.extend([0; 7]));
    }
    drop(dir);
    files.kill();
    let options = DataDirOptions { side_by_side: on::<3>, ..options(7) };
    let open = || DataDir::open(Arc::new(files.clone()), &options, |_| LogOptions::default(), NOW);
    let before = files.operations();
    drop(open().unwrap());
    let operations = files.operations() - before;
    let mut refused = 0;
    for operation in 0..operations {
        files.kill();
        for path in files.snapshot().into_keys().filter(|path| path.extension().is_some_and(|e| e == "index"))
        {
            files.tamper(&path, |bytes| bytes.extend([0; 7]));
        }
        files.fail_at(files.operations() + operation, Fault::Broken);
        refused += usize::from(matches!(open(), Err(OpenError::Io { .. } | OpenError::NotWritable { .. })));
    }
    assert!(refused >= 5, "{refused} of {operations}");
}

/// Recovers on so many threads.
fn on<const THREADS: usize>(_partitions: usize, work: &(dyn Fn() + Sync)) {
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
}

#[test]
fn a_flush_round_waits_for_another_that_has_taken_what_is_to_be_synced() {
    let temporary = tempfile::tempdir().unwrap();
    let files = Arc::new(OsFiles::open_or_create(temporary.path()).unwrap());
    let (dir, _) = open(&files);
    let log = dir.create_topic(topic(1), &LogOptions::default(), NOW).unwrap().swap_remove(0);
    log.writer().append(&mut [batch(3000)], Mode::MayBlock, NOW).unwrap();

    // One that has captured the log, and is on its way to the disk.
    let round = dir.round.lock().unwrap();
    assert_eq!(log.to_flush().files.len(), 1);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| dir.flush(&[Arc::clone(&log)], NOW, Instant::now()).is_ok());
        let raise = scope.spawn(|| dir.raise_log_start(&log, Offset::new(1), NOW, Instant::now()).is_ok());
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(log.high_watermark(), Offset::ZERO, "nothing was synced yet");
        dir.fail();
        drop(round);
        assert!(!other.join().unwrap() && !raise.join().unwrap(), "the other has failed");
    });
    assert_eq!(log.high_watermark(), Offset::ZERO);
}

fn batch(size: usize) -> bytes::BytesMut {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    let value = vec![7; size];
    builder.append(&NewRecord { timestamp: NOW, key: None, value: Some(&value), headers: &[] }).unwrap();
    builder.build().unwrap().as_slice().into()
}

#[test]
fn a_full_disk_at_the_stop_costs_the_clean_marker_and_nothing_else() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    let log = dir.create_topic(topic(1), &LogOptions::default(), NOW).unwrap().swap_remove(0);
    log.writer().append(&mut [batch(100)], Mode::MayBlock, NOW).unwrap();
    drop(log);
    files.set_full(true);
    let closed = dir.close_clean(NOW, Instant::now()).unwrap();
    assert!(matches!(closed, Closed::Unmarked { .. }), "{closed:?}");
    files.crash(3);
    files.set_full(false);
    let (_, report) = open(&files);
    assert!(!report.was_clean);
    let (log, _) = report.partitions[0].state.as_ref().unwrap();
    assert_eq!(log.log_end(), Offset::new(1), "it was flushed");
}
