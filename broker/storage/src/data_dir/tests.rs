//! Claims about a data directory as a whole: opening, topics, the flush round, crashes anywhere in them.

mod crashes;
mod damaged;
mod full;
mod growth;
mod metadata;
mod postponed;
mod remains;
mod side_by_side;
mod starts;
mod uncut;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use folio_record::{BatchBuilder, Compression, NewRecord, Offset, Timestamp};
use uuid::Uuid;

use super::*;
use crate::clean::{CLEAN_NAME, CleanMarker};
use crate::files::sim::{Fault, Room};
use crate::files::{FileHandle, OpenMode, OsFiles, SimFiles, read_file};
use crate::log::{AppendError, Cursor, LogOptions, Mode, ReadError, Touch};
use crate::metadata::{CommitError, Key, METADATA_LOG_NAME, Operation, Revision, Transaction, Value};
use crate::node::NODE_META_NAME;
use crate::quarantine::QUARANTINE_NAME;
use crate::slots::SLOTS_NAME;
use crate::trash::TRASH_NAME;

const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

fn options(run_id: u64) -> DataDirOptions {
    DataDirOptions { pid: 4711, ..DataDirOptions::fixed(run_id) }
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

/// Sets a value of so many bytes at this node, of which there are four.
fn set_broker<F: Files>(dir: &DataDir<F>, node: u32, size: usize) -> Result<Revision, CommitError> {
    let text = ["w", "x", "y", "z"][node as usize].repeat(size);
    let value = Value::Broker(vec![("k".to_owned(), text)]);
    let operations = vec![Operation::Put(Key::Broker(Some(node)), value)];
    dir.commit(Transaction { compares: Vec::new(), operations }, NOW)
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

/// Cuts the power at each operation in turn, often, until what is attempted is done before. An attempt says whether it
/// was done, and whether the new is there afterwards; both the old and the new have to be found somewhere.
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
fn after_an_append_that_the_disk_has_failed_nobody_writes_anything() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    let logs = dir.logs();
    let append = |log: &Arc<Log<SimFiles>>| log.writer().append(&mut [batch(100)], Mode::MayBlock, NOW);
    logs.iter().for_each(|log| drop(append(log).unwrap()));
    files.fail_at(files.operations(), Fault::Broken);
    assert!(matches!(append(&logs[0]), Err(AppendError::Io { .. })));
    // Also before whoever has made it has said so.
    let operations = files.operations();
    for log in &logs {
        assert!(matches!(append(log), Err(AppendError::Io { .. })));
    }
    assert!(dir.flush(&logs, NOW, Instant::now()).is_err());
    assert_eq!(files.operations(), operations);
}

#[test]
fn a_disk_that_is_full_half_way_through_a_topic_leaves_none() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    // The transaction is two operations, and its slot too; the directories come after it.
    files.fail_at(files.operations() + 6, Fault::Full);
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
    files.set_room(Room::NoBytes);
    assert!(matches!(create(&dir, 2), Err(TopicError::Full { .. })));
    files.set_room(Room::Enough);
    assert!(!dir.has_failed());
    create(&dir, 2).unwrap();
}

#[test]
fn who_asks_for_the_revision_does_not_wait_for_a_transaction_that_is_being_made() {
    let (dir, _) = open(&Arc::new(SimFiles::new()));
    create(&dir, 1).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        // As long as this goes on, no other transaction begins; one that is written holds the same.
        dir.with_metadata(|state| {
            scope.spawn(|| tell.send(dir.revision()).unwrap());
            assert_eq!(told.recv_timeout(Duration::from_secs(20)).unwrap(), state.revision());
        });
    });
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
    files.set_room(Room::NoBytes);
    let closed = dir.close_clean(NOW, Instant::now()).unwrap();
    assert!(matches!(closed, Closed::Unmarked { .. }), "{closed:?}");
    files.crash(3);
    files.set_room(Room::Enough);
    let (_, report) = open(&files);
    assert!(!report.was_clean);
    let (log, _) = report.partitions[0].state.as_ref().unwrap();
    assert_eq!(log.log_end(), Offset::new(1), "it was flushed");
}
