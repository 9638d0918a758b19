use uuid::Uuid;

use super::super::{Compare, Topic, TopicPhase};
use super::*;
use crate::files::sim::Fault;
use crate::files::{SimFiles, is_final};
use crate::verdict;

const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

type Log = MetadataLog<SimFiles>;

fn fresh() -> SimFiles {
    let files = SimFiles::new();
    files.create_dir(Path::new(quarantine::QUARANTINE_NAME)).unwrap();
    Log::create(&files).unwrap();
    files.sync_everything().unwrap();
    files
}

fn open(files: &SimFiles) -> Log {
    try_open(files).unwrap().0
}

fn try_open(files: &SimFiles) -> Result<(Log, Option<TornTransaction>), MetadataOpenError> {
    Ok(Log::find(Arc::new(files.clone()))?.open("folio test".to_owned(), NOW)?)
}

fn name(number: usize) -> Key {
    Key::TopicName(format!("topic-{number}"))
}

fn create(number: usize) -> Transaction {
    let id = Uuid::from_u128(number as u128);
    let topic = Topic {
        name: format!("topic-{number}"),
        partitions: 3,
        partitions_ready: 0,
        settings: vec![("retention.ms".to_owned(), "1000".to_owned())],
        created_ms: NOW.get(),
        phase: TopicPhase::Live,
    };
    Transaction {
        compares: vec![Compare::Absent(name(number))],
        operations: vec![
            Operation::Put(name(number), Value::TopicName(id)),
            Operation::Put(Key::Topic(id), Value::Topic(topic)),
        ],
    }
}

fn delete(number: usize) -> Transaction {
    Transaction { compares: Vec::new(), operations: vec![Operation::Delete(name(number))] }
}

fn present(log: &Log) -> Vec<super::super::Entry> {
    log.state().present().collect()
}

fn bytes(files: &SimFiles) -> Vec<u8> {
    files.snapshot()[Path::new(METADATA_LOG_NAME)].clone()
}

#[test]
fn what_was_committed_is_there_after_a_crash_with_its_revision() {
    for seed in 0..20 {
        let files = fresh();
        let mut log = open(&files);
        let revisions: Vec<_> = (0..5).map(|n| log.commit(create(n), NOW).unwrap()).collect();
        assert!(revisions.is_sorted());
        let before = (present(&log), log.state().events_since(Revision::ZERO).unwrap().to_vec());
        files.crash(seed);
        let log = open(&files);
        assert_eq!((present(&log), log.state().events_since(Revision::ZERO).unwrap().to_vec()), before);
        assert_eq!(log.state().revision(), revisions[4]);
        assert_eq!(log.state().get(&name(2)).unwrap().modified, revisions[2]);
    }
}

/// Two power cuts: one takes the length of a transaction and leaves its bytes, the next the bytes of a larger one in
/// its place and leaves the length. Whether the first is back.
fn comes_back(seed: u64, clears: bool) -> bool {
    let files = fresh();
    let mut log = open(&files);
    log.commit(create(0), NOW).unwrap();
    let (end, next) = (log.len(), log.next_offset);
    files.cut_power_at(files.operations() + 1);
    log.commit(create(1), NOW).unwrap_err();
    files.crash(seed);
    if bytes(&files).len() as u64 != end {
        // It is there, or a part of it is seen.
        return false;
    }
    let operations = (2..6).flat_map(|number| create(number).operations).collect();
    if clears {
        let mut log = open(&files);
        files.cut_power_at(files.operations() + 1);
        log.commit(Transaction { compares: Vec::new(), operations }, NOW).unwrap_err();
    } else {
        // As after a start that leaves what lies behind the end.
        let file = files.open(Path::new(METADATA_LOG_NAME), OpenMode::Write).unwrap();
        file.write_at(&batch(&operations, next, NOW).unwrap(), end).unwrap();
    }
    files.crash(seed + 10_000);
    try_open(&files).is_ok_and(|(log, _)| log.state().get(&name(1)).is_some())
}

#[test]
fn a_transaction_that_nobody_was_told_of_does_not_come_back_from_behind_the_end_and_uncleared_it_does() {
    let back = |clears| (0..3000).filter(|seed| comes_back(*seed, clears)).count();
    assert_eq!(back(true), 0);
    assert!(back(false) > 3, "the control finds nothing");
}

#[test]
fn a_conflict_writes_nothing() {
    let files = fresh();
    let mut log = open(&files);
    log.commit(create(1), NOW).unwrap();
    let before = bytes(&files);
    assert!(matches!(log.commit(create(1), NOW), Err(CommitError::Conflict(_))));
    assert_eq!(bytes(&files), before);
}

#[test]
fn a_crash_at_any_operation_leaves_a_transaction_whole_or_not_at_all() {
    let mut outcomes = [0; 2];
    for operation in 0..4 {
        for seed in 0..100 {
            let files = fresh();
            let mut log = open(&files);
            log.commit(create(0), NOW).unwrap();
            files.cut_power_at(files.operations() + operation);
            let done = log.commit(create(1), NOW);
            files.crash(seed);
            let (mut log, _) = try_open(&files).unwrap();
            let (has_name, has_topic) = (
                log.state().get(&name(1)).is_some(),
                log.state().get(&Key::Topic(Uuid::from_u128(1))).is_some(),
            );
            assert_eq!(has_name, has_topic, "half a transaction");
            assert!(has_name || done.is_err(), "a transaction that had succeeded is gone");
            outcomes[usize::from(has_name)] += 1;
            log.commit(create(2), NOW).unwrap();
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn a_torn_last_transaction_is_cut_off_and_kept_in_quarantine() {
    let files = fresh();
    let mut log = open(&files);
    log.commit(create(0), NOW).unwrap();
    let whole = bytes(&files);
    log.commit(create(1), NOW).unwrap();
    let full = bytes(&files);
    for len in whole.len() + 1..full.len() {
        files.kill();
        files.tamper(Path::new(METADATA_LOG_NAME), |bytes| *bytes = full[..len].to_vec());
        let (log, torn) = try_open(&files).unwrap();
        assert_eq!(
            torn.map(|torn| (torn.at, torn.bytes)),
            Some((whole.len() as u64, (len - whole.len()) as u64))
        );
        assert_eq!(bytes(&files), whole);
        assert!(log.state().get(&name(0)).is_some() && log.state().get(&name(1)).is_none());
    }
    let kept =
        files.snapshot().into_keys().filter(|path| path.starts_with(quarantine::QUARANTINE_NAME)).count();
    assert_eq!(kept, 2 * (full.len() - whole.len() - 1), "each cut with its note");
}

#[test]
fn every_flipped_bit_before_the_last_transaction_refuses_to_start_and_names_the_place() {
    let files = fresh();
    let mut log = open(&files);
    log.commit(create(0), NOW).unwrap();
    let first = bytes(&files).len();
    log.commit(create(1), NOW).unwrap();
    let pristine = bytes(&files);
    for bit in 0..first * 8 {
        files.kill();
        files.tamper(Path::new(METADATA_LOG_NAME), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        match try_open(&files) {
            Err(MetadataOpenError::Damage(MetadataDamage::Damaged { at, .. })) => assert!(at <= first as u64),
            other => panic!("bit {bit}: {:?}", other.map(|(log, torn)| (present(&log).len(), torn))),
        }
        files.tamper(Path::new(METADATA_LOG_NAME), |bytes| bytes.clone_from(&pristine));
    }
}

#[test]
fn a_flipped_bit_in_the_last_transaction_is_no_torn_write_either() {
    let files = fresh();
    let mut log = open(&files);
    log.commit(create(0), NOW).unwrap();
    let last = bytes(&files).len();
    log.commit(create(1), NOW).unwrap();
    let pristine = bytes(&files);
    // The length is left out: a longer one looks like a batch that the file ends in.
    for bit in (last + 12) * 8..pristine.len() * 8 {
        files.kill();
        files.tamper(Path::new(METADATA_LOG_NAME), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        assert!(matches!(try_open(&files), Err(MetadataOpenError::Damage(_))), "bit {bit}");
        files.tamper(Path::new(METADATA_LOG_NAME), |bytes| bytes.clone_from(&pristine));
    }
}

#[test]
fn a_record_of_a_later_build_refuses_to_start_and_names_that_build() {
    let files = fresh();
    let mut log =
        MetadataLog::find(Arc::new(files.clone())).unwrap().open("folio 99".to_owned(), NOW).unwrap().0;
    log.commit(create(0), NOW).unwrap();
    let mut builder = BatchBuilder::new(Compression::None, 1024);
    builder
        .append(&NewRecord { timestamp: NOW, key: Some(b"\x03\xe7new"), value: None, headers: &[] })
        .unwrap();
    let mut batch = builder.build().unwrap();
    stamp(&mut batch, log.next_offset, EPOCH);
    files.kill();
    files.tamper(Path::new(METADATA_LOG_NAME), |bytes| bytes.extend_from_slice(&batch));
    let error = try_open(&files).unwrap_err().to_string();
    assert!(error.contains("record kind 999") && error.contains("folio 99"), "{error}");
}

#[test]
fn a_missing_log_is_damage() {
    let files = fresh();
    files.remove_file(Path::new(METADATA_LOG_NAME)).unwrap();
    assert!(matches!(try_open(&files), Err(MetadataOpenError::Damage(MetadataDamage::Missing))));
}

/// One topic that stays, and many that are gone.
fn write_and_delete(log: &mut MetadataLog<SimFiles>) {
    log.commit(create(0), NOW).unwrap();
    for n in 1..30 {
        log.commit(create(n), NOW).unwrap();
        log.commit(delete(n), NOW).unwrap();
        let operations = vec![Operation::Delete(Key::Topic(Uuid::from_u128(n as u128)))];
        log.commit(Transaction { compares: Vec::new(), operations }, NOW).unwrap();
    }
}

#[test]
fn a_rewrite_keeps_the_present_and_every_revision_and_survives_every_crash() {
    for operation in 0..8 {
        for seed in 0..20 {
            let files = fresh();
            let mut log = open(&files);
            write_and_delete(&mut log);
            let (before, revision, len) = (present(&log), log.state().revision(), log.len());
            files.cut_power_at(files.operations() + operation);
            let rewritten = log.rewrite_if_worthwhile(NOW);
            files.crash(seed);
            let mut log = open(&files);
            let topics = |entries: Vec<super::super::Entry>| {
                entries.into_iter().filter(|entry| entry.key != Key::Build).collect::<Vec<_>>()
            };
            assert_eq!(topics(present(&log)), topics(before));
            assert!(log.state().revision() >= revision);
            assert!(log.len() * REWRITE_GAIN <= len || !matches!(rewritten, Ok(true)));
            assert!(log.commit(create(40), NOW).unwrap() > revision);
            assert!(files.entry(&tmp_path(Path::new(METADATA_LOG_NAME))).unwrap().is_none());
        }
    }
}

#[test]
fn a_rewrite_that_finds_no_room_at_any_step_but_a_sync_leaves_the_old_log_and_nothing_else() {
    let mut without_room = 0;
    for operation in 0.. {
        let files = fresh();
        let mut log = open(&files);
        write_and_delete(&mut log);
        let before = present(&log);
        files.fail_at(files.operations() + operation, Fault::Full);
        match log.rewrite_if_worthwhile(NOW) {
            Ok(true) => break,
            Ok(false) => {
                without_room += 1;
                assert_eq!(present(&log).len(), before.len());
                assert_eq!(files.entry(&tmp_path(Path::new(METADATA_LOG_NAME))).unwrap(), None);
                log.commit(create(40), NOW).unwrap();
            }
            Err(CommitError::Io { source, .. }) => {
                assert!(is_final(&source), "operation {operation}: {source}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    // It is opened, made empty, written and renamed.
    assert!(without_room >= 4, "{without_room}");
}

#[test]
fn after_a_rewrite_followers_are_told_to_list_again() {
    let files = fresh();
    let mut log = open(&files);
    let early = log.commit(create(0), NOW).unwrap();
    for n in 1..30 {
        log.commit(create(n), NOW).unwrap();
        let operations =
            vec![Operation::Delete(name(n)), Operation::Delete(Key::Topic(Uuid::from_u128(n as u128)))];
        log.commit(Transaction { compares: Vec::new(), operations }, NOW).unwrap();
    }
    assert!(log.rewrite_if_worthwhile(NOW).unwrap());
    assert!(log.state().events_since(early).is_err());
    let listed = log.state().revision();
    log.commit(create(50), NOW).unwrap();
    assert_eq!(log.state().events_since(listed).unwrap().len(), 2);
}

#[test]
fn a_full_disk_refuses_a_transaction_and_leaves_the_log_usable() {
    for fault in [Fault::Full, Fault::Short] {
        let files = fresh();
        let mut log = open(&files);
        log.commit(create(0), NOW).unwrap();
        let before = bytes(&files);
        files.fail_at(files.operations(), fault);
        assert!(matches!(log.commit(create(1), NOW), Err(CommitError::Full { .. })));
        assert_eq!(bytes(&files), before);
        log.commit(create(1), NOW).unwrap();
        assert!(open(&files).state().get(&name(1)).is_some());
    }
}

#[test]
fn after_a_failed_sync_nothing_is_written_any_more() {
    let files = fresh();
    let mut log = open(&files);
    log.commit(create(0), NOW).unwrap();
    files.fail_at(files.operations() + 1, Fault::SyncLies);
    assert!(matches!(log.commit(create(1), NOW), Err(CommitError::Io { .. })));
    let operations = files.operations();
    assert!(matches!(log.commit(create(2), NOW), Err(CommitError::Io { .. })));
    assert_eq!(files.operations(), operations);
}

#[test]
fn a_topic_that_the_next_start_would_not_read_is_refused_before_anything_is_written() {
    let files = fresh();
    let mut log = open(&files);
    let uuid = Uuid::from_u128(1);
    let topic = Topic {
        name: "t".to_owned(),
        partitions: 1,
        partitions_ready: 0,
        settings: Vec::new(),
        created_ms: 0,
        phase: TopicPhase::Live,
    };
    let too_many = Topic { partitions: 10_001, ..topic.clone() };
    let misnamed = Topic { name: "../t".to_owned(), ..topic };
    for operation in [
        Operation::Put(Key::TopicName("../t".to_owned()), Value::TopicName(uuid)),
        Operation::Put(Key::Topic(uuid), Value::Topic(too_many)),
        Operation::Put(Key::Topic(uuid), Value::Topic(misnamed)),
    ] {
        let transaction = Transaction { compares: Vec::new(), operations: vec![operation] };
        assert!(matches!(log.commit(transaction, NOW), Err(CommitError::Impossible)));
    }
    assert_eq!(bytes(&files), b"");
}

#[test]
fn a_transaction_above_the_limit_is_refused_before_anything_is_written() {
    let files = fresh();
    let mut log = open(&files);
    let operations = (0..100)
        .map(|n| {
            let topic = Topic {
                name: "x".to_owned(),
                partitions: 1,
                partitions_ready: 0,
                settings: vec![("k".to_owned(), "v".repeat(100_000))],
                created_ms: 0,
                phase: TopicPhase::Live,
            };
            Operation::Put(Key::Topic(Uuid::from_u128(n)), Value::Topic(topic))
        })
        .collect();
    assert!(matches!(
        log.commit(Transaction { compares: Vec::new(), operations }, NOW),
        Err(CommitError::TooLarge)
    ));
    assert_eq!(bytes(&files), b"");
}

#[test]
fn a_transaction_of_zeros_at_the_end_is_a_torn_one() {
    let files = fresh();
    let mut log = open(&files);
    log.commit(create(0), NOW).unwrap();
    files.kill();
    files.tamper(Path::new(METADATA_LOG_NAME), |bytes| bytes.extend_from_slice(&[0; 600]));
    let (_, torn) = try_open(&files).unwrap();
    assert_eq!(torn.map(|torn| torn.fault), Some(verdict::Fault::UnusableHeader { zero_chunk: true }));
}

#[test]
fn a_transaction_that_looks_interrupted_is_damage_where_an_intact_one_lies_behind_it() {
    let files = fresh();
    let mut log = open(&files);
    let hole = (bytes(&files).len() + 512).next_multiple_of(512);
    let large = Value::Broker(vec![("k".to_owned(), "y".repeat(2000))]);
    let operations = vec![Operation::Put(Key::Broker(Some(1)), large)];
    log.commit(Transaction { compares: Vec::new(), operations }, NOW).unwrap();
    log.commit(create(1), NOW).unwrap();
    files.kill();
    files.tamper(Path::new(METADATA_LOG_NAME), |bytes| bytes[hole..hole + 512].fill(0));
    let before = bytes(&files);
    let Err(MetadataOpenError::Damage(MetadataDamage::Damaged { fault, .. })) = try_open(&files) else {
        panic!("it was cut off, and the one behind it with it")
    };
    assert_eq!(fault, verdict::Fault::BadBatch { zero_chunk: true });
    assert_eq!(bytes(&files), before);
}

#[test]
fn a_transaction_that_a_start_has_seen_survives_the_power_cut_after_it() {
    for seed in 0..20 {
        let files = fresh();
        let mut log = open(&files);
        // It is written, and the process dies over the sync.
        files.cut_power_at(files.operations() + 1);
        log.commit(create(1), NOW).unwrap_err();
        files.kill();
        let seen = present(&open(&files));
        assert!(!seen.is_empty());
        files.crash(seed);
        assert_eq!(present(&open(&files)), seen, "seed {seed}");
    }
}

#[test]
fn what_a_failed_sync_lost_is_not_built_upon_by_the_next_run() {
    let files = fresh();
    let mut log = open(&files);
    log.commit(create(1), NOW).unwrap();
    // Larger than the pages that the next transaction would bring to the disk with its own.
    let settings = vec![("k".to_owned(), "y".repeat(9000))];
    let large = Operation::Put(Key::Broker(None), Value::Broker(settings));
    files.fail_at(files.operations() + 1, Fault::SyncLies);
    log.commit(Transaction { compares: Vec::new(), operations: vec![large] }, NOW).unwrap_err();
    files.kill();
    let mut log = open(&files);
    log.commit(create(2), NOW).unwrap();
    let told = present(&log);
    files.crash(1);
    assert_eq!(present(&open(&files)), told);
}

#[test]
fn a_rewritten_log_whose_name_a_killed_run_has_not_synced_is_not_taken_back_by_the_next_power_cut() {
    for seed in 0..100 {
        let files = fresh();
        let mut log = open(&files);
        for number in 0..20 {
            let value = Value::Broker(vec![("k".to_owned(), number.to_string())]);
            let operations = vec![Operation::Put(Key::Broker(None), value)];
            log.commit(Transaction { compares: Vec::new(), operations }, NOW).unwrap();
        }
        // The process dies at any of its operations, the sync of the name among them.
        files.cut_power_at(files.operations() + seed % 10);
        let _ = log.rewrite_if_worthwhile(NOW);
        files.kill();
        let mut log = open(&files);
        log.commit(create(50), NOW).unwrap();
        let told = present(&log);
        files.crash(seed);
        assert_eq!(present(&open(&files)), told, "seed {seed}");
    }
}
