//! A metadata log that looks as if its last transaction had been interrupted, and how far it is known not to have been.

use std::collections::BTreeMap;

use super::*;
use crate::controls::{Protection, without};
use crate::metadata::{CommitError, Key, MetadataDamage, Operation, Revision, Transaction, Value};
use crate::slots::{
    EXTENT_SIZE, HEADER_SIZE, METADATA, SLOT_SIZE, SLOTS_PER_EXTENT, SlotCopy, SlotsFile, slot_position,
};
use crate::verify::{Event, Severity, VerifyOptions, verify};

/// A directory whose last transaction was answered.
fn stopped(is_clean: bool) -> SimFiles {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    end(&files, dir, is_clean);
    files
}

/// Answers a transaction, and ends.
fn end(files: &SimFiles, dir: DataDir<SimFiles>, is_clean: bool) {
    give_ids(&dir).unwrap();
    if is_clean {
        dir.close_clean(NOW, Instant::now()).unwrap();
    } else {
        drop(dir);
        files.kill();
    }
}

fn give_ids(dir: &DataDir<SimFiles>) -> Result<Revision, CommitError> {
    let operations = vec![Operation::Put(Key::ProducerIds, Value::ProducerIds(1000))];
    dir.commit(Transaction { compares: Vec::new(), operations }, NOW)
}

fn has_ids(dir: &DataDir<SimFiles>) -> bool {
    dir.with_metadata(|state| state.get(&Key::ProducerIds).is_some())
}

fn log_of(files: &SimFiles) -> Vec<u8> {
    files.snapshot()[Path::new(METADATA_LOG_NAME)].clone()
}

fn write_log(files: &SimFiles, bytes: &[u8]) {
    files.tamper(Path::new(METADATA_LOG_NAME), |log| *log = bytes.to_vec());
}

/// Where the last transaction begins.
fn last_of(log: &[u8]) -> usize {
    let (mut at, mut last) = (0, 0);
    while at < log.len() {
        last = at;
        at += 12 + u32::from_be_bytes(log[at + 8..at + 12].try_into().unwrap()) as usize;
    }
    last
}

/// Everything that rot can make of the last transaction which looks like a write that was interrupted.
fn look_interrupted(log: &[u8]) -> Vec<Vec<u8>> {
    let last = last_of(log);
    let cuts = (last..log.len()).map(|len| log[..len].to_vec());
    let lengths = (0..22).map(|bit| 10 - bit / 8 + 1).zip((0..22).map(|bit| bit % 8)).map(|(byte, bit)| {
        let mut log = log.to_vec();
        log[last + byte] ^= 1 << bit;
        log
    });
    let zeros = [last, last + 61].map(|from| [&log[..from], &vec![0; log.len() - from]].concat());
    cuts.chain(lengths).chain(zeros).collect()
}

/// What `verify` says of the metadata log.
fn severities(files: &SimFiles) -> BTreeMap<Severity, String> {
    severities_of(METADATA_LOG_NAME, files)
}

fn severities_of(name: &str, files: &SimFiles) -> BTreeMap<Severity, String> {
    let mut found = BTreeMap::new();
    verify(files, &VerifyOptions::default(), &mut |event| {
        if let Event::Found(finding) = event
            && finding.file == Path::new(name)
        {
            found.insert(finding.severity, finding.what);
        }
    })
    .unwrap();
    found
}

/// Takes away what a build that knows nothing of it has never written.
fn forget_slot(files: &SimFiles) {
    files.tamper(Path::new(SLOTS_NAME), |bytes| {
        for copy in bytes.chunks_exact_mut(SLOT_SIZE) {
            let slot = SlotCopy::decode((&*copy).try_into().unwrap()).valid();
            if slot.is_some_and(|slot| slot.partition == METADATA) {
                copy.fill(0);
            }
        }
    });
}

#[test]
fn a_transaction_that_was_answered_and_looks_interrupted_refuses_every_start_and_nothing_is_cut() {
    for is_clean in [true, false] {
        let files = stopped(is_clean);
        let whole = log_of(&files);
        for rotten in look_interrupted(&whole) {
            write_log(&files, &rotten);
            let before = files.snapshot();
            let said = severities(&files);
            let told = said.get(&Severity::Damage).is_some_and(|what| what.contains("repair --metadata"));
            assert!(told, "{said:?}");
            for _ in 0..2 {
                let error = try_open(&Arc::new(files.clone())).unwrap_err();
                assert!(matches!(error, OpenError::Metadata { .. }), "{error}");
                assert!(error.to_string().contains("`folio log repair --metadata`"), "{error}");
                assert_eq!(
                    files.snapshot(),
                    before,
                    "not even the marker goes: the next start would know less"
                );
            }
        }
        write_log(&files, &whole);
        let (dir, report) = open(&Arc::new(files));
        assert_eq!((report.was_clean, report.torn_transaction), (is_clean, None));
        assert!(has_ids(&dir));
    }
}

#[test]
fn without_the_slot_of_the_metadata_what_was_answered_is_cut_off_in_silence() {
    let whole = log_of(&stopped(false));
    for len in last_of(&whole) + 1..whole.len() {
        let files = stopped(false);
        write_log(&files, &whole[..len]);
        assert!(try_open(&Arc::new(files.clone())).is_err());
        without(Protection::MetadataIsVouchedFor, || {
            let said = severities(&files);
            assert!(!said.contains_key(&Severity::Damage), "{said:?}");
            let (dir, _) = open(&Arc::new(files.clone()));
            assert!(!has_ids(&dir), "a transaction that was answered is gone");
        });
    }
}

#[test]
fn a_transaction_that_nobody_was_answered_is_cut_off_and_kept_in_quarantine() {
    let files = stopped(false);
    let whole = log_of(&files);
    // As the next one would have begun.
    let mut next = whole[last_of(&whole)..].to_vec();
    next[..8].copy_from_slice(&9_i64.to_be_bytes());
    for len in 1..next.len() {
        write_log(&files, &[&whole[..], &next[..len]].concat());
        assert!(severities(&files).contains_key(&Severity::Interrupted));
        let kept = dirs(&files, QUARANTINE_NAME).len();
        let (dir, report) = open(&Arc::new(files.clone()));
        assert_eq!(report.torn_transaction.map(|torn| torn.bytes), Some(len as u64));
        assert!(has_ids(&dir));
        assert_eq!((log_of(&files) == whole, dirs(&files, QUARANTINE_NAME).len()), (true, kept + 2));
        drop(dir);
        files.kill();
    }
}

#[test]
fn a_directory_whose_metadata_has_no_slot_yet_opens_as_before_and_has_one_then() {
    let files = stopped(false);
    forget_slot(&files);
    let whole = log_of(&files);
    write_log(&files, &whole[..whole.len() - 5]);
    assert!(severities(&files).contains_key(&Severity::Interrupted));
    let (dir, report) = open(&Arc::new(files.clone()));
    assert!(report.torn_transaction.is_some() && !has_ids(&dir), "nobody knows that it was ever whole");
    assert_eq!(online(&report), set(&["t1-0", "t1-1"]));
    drop(dir);
    files.kill();

    // What is there now is known to be there.
    let whole = log_of(&files);
    write_log(&files, &whole[..whole.len() - 5]);
    let error = try_open(&Arc::new(files)).unwrap_err();
    let is_told =
        matches!(error, OpenError::Metadata { damage: MetadataDamage::Flushed { fault: Some(_), .. }, .. });
    assert!(is_told, "{error}");
}

#[test]
fn a_full_disk_gives_the_metadata_no_slot_and_the_next_start_does() {
    let files = stopped(false);
    // As it is where every slot that there is room for is a partition's.
    files.tamper(Path::new(SLOTS_NAME), |bytes| bytes.truncate(4096));
    let topics = Path::new(TOPICS_NAME);
    for dir in dirs(&files, TOPICS_NAME) {
        crate::trash::remove(&files, &topics.join(dir), crate::files::EntryKind::Directory).unwrap();
    }
    let slot = |files: &SimFiles| {
        let (slots, _) = SlotsFile::open(files, Uuid::from_u128(1)).unwrap();
        slots.furthest(METADATA).map(|slot| slot.durable_pos)
    };
    files.set_room(Room::NoBytes);
    drop(open(&Arc::new(files.clone())));
    assert_eq!(slot(&files), None);
    files.set_room(Room::Enough);
    let (dir, _) = open(&Arc::new(files.clone()));
    assert_eq!(slot(&files), Some(log_of(&files).len() as u64));
    give_ids(&dir).unwrap();
    assert_eq!(slot(&files), Some(log_of(&files).len() as u64));
}

/// A directory whose metadata has no slot: the room ran out while the extent for it was written.
fn begun(is_clean: bool) -> SimFiles {
    for operation in 0..100 {
        let files = SimFiles::new();
        files.fail_at(operation, Fault::Short);
        let Ok((dir, _)) = try_open(&Arc::new(files.clone())) else { continue };
        let len = files.snapshot()[Path::new(SLOTS_NAME)].len() as u64;
        if len > HEADER_SIZE && len < HEADER_SIZE + EXTENT_SIZE {
            end(&files, dir, is_clean);
            return files;
        }
    }
    panic!("no write of an extent was cut short");
}

#[test]
fn a_slot_for_the_metadata_that_a_full_disk_has_cut_short_refuses_no_start_and_the_next_one_with_room_has_it()
{
    for room in [Room::NoBytes, Room::Removals, Room::Nothing] {
        let mut is_over = false;
        // The power is cut at any operation of a start with room, and the next two have none.
        for operation in 0.. {
            let files = begun(false);
            if operation > 0 {
                files.cut_power_at(files.operations() + operation - 1);
                is_over = try_open(&Arc::new(files.clone())).is_ok();
                files.crash(operation);
            }
            files.set_room(room);
            for _ in 0..2 {
                let (dir, _) = open(&Arc::new(files.clone()));
                assert!(has_ids(&dir), "{room:?}, operation {operation}");
                drop(dir);
                files.kill();
            }
            files.set_room(Room::Enough);
            drop(open(&Arc::new(files.clone())));
            files.crash(operation);
            let (slots, _) = SlotsFile::open(&files, Uuid::from_u128(1)).unwrap();
            let known = slots.furthest(METADATA).map(|slot| slot.durable_pos);
            assert_eq!(known, Some(log_of(&files).len() as u64), "{room:?}, operation {operation}");
            if is_over {
                break;
            }
        }
    }
}

#[test]
fn an_extent_that_a_full_disk_has_cut_short_is_no_damage_after_a_stop_either() {
    for is_clean in [true, false] {
        let files = begun(is_clean);
        let said = severities_of(SLOTS_NAME, &files);
        assert!(
            said.contains_key(&Severity::Interrupted) && !said.contains_key(&Severity::Damage),
            "{said:?}"
        );
    }
    // What is left of one that was in use is no such thing.
    let files = stopped(true);
    files.tamper(Path::new(SLOTS_NAME), |bytes| bytes.truncate((HEADER_SIZE + EXTENT_SIZE - 1) as usize));
    assert!(severities_of(SLOTS_NAME, &files).contains_key(&Severity::Damage));
}

#[test]
fn a_start_without_room_to_write_over_a_slot_of_the_metadata_goes_on() {
    let (mut without, mut is_over, mut operation) = (0, false, 0);
    while !is_over {
        let files = SimFiles::new();
        let (dir, _) = open(&Arc::new(files.clone()));
        give_ids(&dir).unwrap();
        drop(dir);
        files.kill();
        forget_slot(&files);
        let last = files.operations() + operation;
        files.fail_at(last, Fault::Full);
        match try_open(&Arc::new(files.clone())) {
            Ok((dir, _)) => {
                assert!(has_ids(&dir));
                let (slots, _) = SlotsFile::open(&files, Uuid::from_u128(1)).unwrap();
                without += u32::from(slots.furthest(METADATA).is_none());
            }
            // A sync that fails is final.
            Err(OpenError::Io { path, source }) => {
                assert!(!path.ends_with(SLOTS_NAME) || is_final(&source), "operation {operation}: {source}");
            }
            Err(error) => panic!("operation {operation}: {error}"),
        }
        (is_over, operation) = (files.operations() <= last, operation + 1);
    }
    assert!(without > 0, "no write of the slot was refused");
}

#[test]
fn a_torn_copy_of_the_metadatas_slot_is_written_anew_by_a_start() {
    let files = stopped(false);
    let copies = |files: &SimFiles| {
        let bytes = files.snapshot()[Path::new(SLOTS_NAME)].clone();
        let copies = bytes.chunks_exact(SLOT_SIZE).map(|copy| SlotCopy::decode(copy.try_into().unwrap()));
        copies.filter_map(SlotCopy::valid).filter(|slot| slot.partition == METADATA).count()
    };
    assert_eq!(copies(&files), 2);
    let newest = SlotsFile::open(&files, Uuid::from_u128(1)).unwrap().0.furthest(METADATA).unwrap().seq;
    let at = slot_position(SLOTS_PER_EXTENT - 1, newest + 1) as usize;
    files.tamper(Path::new(SLOTS_NAME), |bytes| bytes[at..at + 50].fill(7));
    assert_eq!(copies(&files), 1);
    drop(open(&Arc::new(files.clone())));
    assert_eq!(copies(&files), 2);
}

#[test]
fn a_log_that_was_rewritten_to_a_shorter_one_is_not_missed() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    for _ in 0..100 {
        give_ids(&dir).unwrap();
    }
    let stale = files.snapshot()[Path::new(SLOTS_NAME)].clone();
    assert!(dir.metadata().rewrite_if_worthwhile(NOW).unwrap());
    drop(dir);
    files.kill();
    // The run dies before its slot is written.
    assert_eq!(files.snapshot()[Path::new(SLOTS_NAME)], stale);
    let (dir, report) = open(&Arc::new(files.clone()));
    assert!(report.torn_transaction.is_none() && has_ids(&dir));
    drop(dir);
    files.kill();
    let whole = log_of(&files);
    for rotten in look_interrupted(&whole) {
        write_log(&files, &rotten);
        assert!(matches!(try_open(&Arc::new(files.clone())), Err(OpenError::Metadata { .. })));
    }
}

#[test]
fn a_transaction_is_answered_only_once_the_slot_that_vouches_for_it_is_on_the_disk() {
    for seed in 0..50 {
        let files = SimFiles::new();
        let (dir, _) = open(&Arc::new(files.clone()));
        create(&dir, 1).unwrap();
        give_ids(&dir).unwrap();
        drop(dir);
        files.crash(seed);
        let whole = log_of(&files);
        write_log(&files, &whole[..whole.len() - 1]);
        assert!(matches!(try_open(&Arc::new(files)), Err(OpenError::Metadata { .. })), "seed {seed}");
    }
}
