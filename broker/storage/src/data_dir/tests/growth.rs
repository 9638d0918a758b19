//! Claims about topics that get more partitions, and about records that are deleted.

use super::full::{killed, of_segments, opened};
use super::*;

fn grow<F: Files>(dir: &DataDir<F>, number: u128, partitions: u32) -> Result<(), TopicError> {
    let uuid = topic(number).uuid;
    let transaction = dir.growth(uuid, partitions)?;
    dir.commit(transaction, NOW).map_err(TopicError::Metadata)?;
    dir.make_partitions(uuid, &LogOptions::default(), NOW).map(drop)
}

#[test]
fn a_crash_at_any_operation_of_growing_a_topic_leaves_the_old_or_the_new() {
    at_every_operation(|operation, seed| {
        let files = SimFiles::new();
        let (dir, _) = open(&Arc::new(files.clone()));
        create(&dir, 1).unwrap();
        files.cut_power_at(files.operations() + operation);
        let grown = grow(&dir, 1, 4);
        files.crash(seed);
        let (dir, report) = open(&Arc::new(files.clone()));
        let found = online(&report);
        assert_eq!(report.partitions.len(), found.len(), "none is offline after operation {operation}");
        let old = set(&["t1-0", "t1-1"]);
        assert!(found == old || found == set(&["t1-0", "t1-1", "t1-2", "t1-3"]), "{found:?}");
        assert!(grown.is_err() || found.len() == 4, "partitions that were announced are gone");
        assert_eq!(dirs(&files, TOPICS_NAME), found, "nothing else is left");
        grow(&dir, 1, 5).unwrap();
        assert_eq!(dir.logs().len(), 5);
        (grown.is_ok(), found.len() == 4)
    });
}

#[test]
fn partitions_for_which_there_is_no_room_leave_nothing_and_can_be_made_later() {
    for operation in 3..20 {
        let files = SimFiles::new();
        let (dir, _) = open(&Arc::new(files.clone()));
        create(&dir, 1).unwrap();
        files.fail_at(files.operations() + operation, Fault::Full);
        if grow(&dir, 1, 4).is_ok() {
            assert!(operation > 5, "{operation}");
            break;
        }
        if dir.has_failed() {
            // A sync that found no room has failed like any other: what is to become of it, the next start decides.
            assert!(dir.give_up_growth(topic(1).uuid, NOW).is_err(), "{operation}");
            drop(dir);
            files.kill();
            let found = online(&open(&Arc::new(files)).1);
            let whole = set(&["t1-0", "t1-1", "t1-2", "t1-3"]);
            assert!(found == whole || found == set(&["t1-0", "t1-1"]), "{operation}: {found:?}");
            continue;
        }
        dir.give_up_growth(topic(1).uuid, NOW).unwrap();
        let partitions = dir.topics()[0].1.partitions;
        // What was not finished goes when it is made anew, or at the next start.
        let left = dirs(&files, TOPICS_NAME).into_iter().filter(|name| !name.ends_with(".tmp")).collect();
        assert_eq!((partitions, left), (2, set(&["t1-0", "t1-1"])), "{operation}");
        grow(&dir, 1, 3).unwrap();
        drop(dir);
        let found = online(&open(&Arc::new(files)).1);
        assert_eq!(found, set(&["t1-0", "t1-1", "t1-2"]), "{operation}");
    }
}

#[test]
fn a_partition_that_was_given_up_does_not_come_back_with_a_slot_that_somebody_else_has() {
    let uuid = topic(1).uuid;
    let grown_until = |operation| {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        create(&dir, 1).unwrap();
        files.fail_at(files.operations() + operation, Fault::Full);
        let is_refused = grow(&dir, 1, 4).is_err() && !dir.has_failed();
        (files, dir, is_refused)
    };
    let is_half_grown = |operation: &u64| {
        let (files, _dir, is_refused) = grown_until(*operation);
        let there = dirs(&*files, TOPICS_NAME);
        is_refused && there.contains("t1-2") && !there.contains("t1-3")
    };
    let last = (0..40).find(is_half_grown).expect("a name that is refused behind one that is given");
    at_every_operation(|operation, seed| {
        let (files, dir, _) = grown_until(last);
        dir.give_up_growth(uuid, NOW).unwrap();
        files.cut_power_at(files.operations() + operation);
        // It is to grow again, and another topic has its directories first.
        let again = dir.growth(uuid, 3).unwrap();
        let is_done = dir.commit(again, NOW).is_ok()
            && create(&dir, 2).is_ok()
            && dir.make_partitions(uuid, &LogOptions::default(), NOW).is_ok();
        drop(dir);
        files.crash(seed);
        let (_, report) = open(&files);
        let found = online(&report);
        assert_eq!(report.partitions.len(), found.len(), "operation {operation}, seed {seed}: {found:?}");
        assert!(found.len() == 5 || !is_done, "operation {operation}, seed {seed}: {found:?}");
        (is_done, found.contains("t1-2"))
    });
}

#[test]
fn records_that_were_deleted_from_the_middle_of_a_segment_stay_deleted_after_a_power_cut() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    let log = dir.logs().remove(0);
    for _ in 0..5 {
        log.writer().append(&mut [batch(100)], Mode::MayBlock, NOW).unwrap();
    }
    assert_eq!(log.durable(), Offset::ZERO);
    let at = |offset| dir.raise_log_start(&log, Offset::new(offset), NOW, Instant::now()).unwrap().get();
    assert_eq!((at(3), at(2), at(3)), (3, 3, 3), "what is gone stays gone");
    let (id, reads) = (log.id(), |log: &Log<SimFiles>, offset| {
        match log.read(Offset::new(offset), 1 << 20, &mut Cursor::default(), Touch::Any) {
            Ok(_) => true,
            Err(ReadError::OffsetOutOfRange { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    });
    assert!(!reads(&log, 2) && reads(&log, 3));
    drop((log, dir));
    files.crash(1);
    let (dir, _) = open(&Arc::new(files));
    let log = dir.log(id).unwrap();
    assert_eq!((log.log_start(), log.log_end()), (Offset::new(3), Offset::new(5)));
    assert!(!reads(&log, 2) && reads(&log, 3) && reads(&log, 4));
    assert!(!log.has_segments_below_start());
}

#[test]
fn a_log_start_that_was_raised_further_meanwhile_is_not_taken_back() {
    let temporary = tempfile::tempdir().unwrap();
    let files = Arc::new(OsFiles::open_or_create(temporary.path()).unwrap());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    let log = dir.logs().remove(0);
    for _ in 0..5 {
        log.writer().append(&mut [batch(100)], Mode::MayBlock, NOW).unwrap();
    }
    let raise = |to| dir.raise_log_start(&log, Offset::new(to), NOW, Instant::now()).unwrap().get();
    // It has to flush first, and waits for another that does.
    let round = dir.round.lock().unwrap();
    std::thread::scope(|scope| {
        let lower = scope.spawn(|| raise(2));
        std::thread::sleep(Duration::from_millis(50));
        for file in log.to_flush().files {
            file.sync().unwrap();
        }
        log.flushed(&log.tail());
        assert_eq!(raise(4), 4);
        drop(round);
        assert_eq!(lower.join().unwrap(), 4);
    });
    let id = log.id();
    drop((log, dir));
    assert_eq!(open(&files).0.log(id).unwrap().log_start(), Offset::new(4));
}

#[test]
fn segments_below_a_start_that_only_the_cache_tells_of_go_once_the_slots_tell_of_it_again() {
    let small = LogOptions { segment_bytes: 1024, ..LogOptions::default() };
    let open = |files: &SimFiles| DataDir::open(Arc::new(files.clone()), &options(1), |_| small.clone(), NOW);
    let (mut left, mut gone) = (0, 0);
    for (operation, seed) in (0..40).flat_map(|operation| (0..6).map(move |seed| (operation, seed))) {
        let files = SimFiles::new();
        let (dir, _) = open(&files).unwrap();
        let log = dir.create_topic(NewTopic { partitions: 1, ..topic(1) }, &small, NOW).unwrap().remove(0);
        for _ in 0..4 {
            log.writer().append(&mut [batch(900)], Mode::MayBlock, NOW).unwrap();
        }
        dir.flush(&[Arc::clone(&log)], NOW, Instant::now()).unwrap();
        dir.sync_slots().unwrap();
        // Or the process ends before the sync.
        let sync = files.operations() + 1;
        match seed % 2 {
            0 => files.fail_at(sync, Fault::SyncLies),
            _ => files.fail_at(sync, Fault::Broken),
        }
        assert!(dir.raise_log_start(&log, Offset::new(2), NOW, Instant::now()).is_err());
        drop((log, dir));
        files.kill();
        files.cut_power_at(files.operations() + operation);
        drop(open(&files));
        files.crash(seed);
        let looked = crate::verify::verify(&files, &Default::default(), &mut |_| {}).unwrap();
        assert_eq!(looked.damage, 0, "operation {operation}, seed {seed}");
        let (_, report) = open(&files).unwrap();
        let start = report.partitions[0].state.as_ref().unwrap().0.log_start();
        left += u32::from(start == Offset::ZERO);
        gone += u32::from(start == Offset::new(2));
    }
    assert!(left > 20 && gone > 20, "{left}, {gone}");
}

#[test]
fn a_deleted_topic_that_there_is_no_room_to_move_writes_nothing_into_the_one_that_takes_its_name() {
    let files = Arc::new(SimFiles::new());
    create(&open(&files).0, 1).unwrap();
    files.kill();
    // Its logs are of a later epoch, which is not written down yet.
    let (dir, _) = open(&files);
    files.set_room(Room::NoRenames);
    assert!(matches!(dir.delete_topic("t1", NOW), Err(TopicError::Full { .. })));
    files.set_room(Room::Enough);
    let next = NewTopic { uuid: Uuid::from_u128(7), ..topic(1) };
    let epochs: Vec<_> = dir
        .create_topic(next, &LogOptions::default(), NOW)
        .unwrap()
        .iter()
        .map(|log| log.leader_epoch())
        .collect();
    dir.close_clean(NOW, Instant::now()).unwrap();
    files.kill();
    let (dir, report) = open(&files);
    assert!(report.was_clean);
    assert_eq!(dir.logs().iter().map(|log| log.leader_epoch()).collect::<Vec<_>>(), epochs);
}

#[test]
fn a_flush_that_finds_no_room_to_write_down_how_far_a_log_is_durable_promises_nothing_and_is_made_again() {
    let (mut refused, mut unsynced) = (0, 0);
    for operation in 0.. {
        let files = killed();
        let dir = opened(&files);
        let log = Arc::clone(&dir.logs()[0]);
        drop(log.writer().append(&mut [batch(300)], Mode::MayBlock, NOW).unwrap());
        let flush = || dir.flush(&[Arc::clone(&log)], NOW, Instant::now());
        files.fail_at(files.operations() + operation, Fault::Full);
        match flush() {
            Ok(advanced) if advanced.is_empty() => refused += 1,
            Ok(_) => break,
            // What could not be synced may be lost, whatever the reason is.
            Err(error) => {
                assert_eq!(error.path, log.dir());
                unsynced += 1;
                continue;
            }
        }
        assert_eq!((log.durable(), log.log_end()), (Offset::new(1), Offset::new(2)));
        assert_eq!(flush().unwrap()[0].durable, Offset::new(2));
        drop((dir, log));
        files.crash(operation);
        assert_eq!(opened(&files).logs()[0].log_end(), Offset::new(2));
    }
    assert_eq!((refused, unsynced), (1, 1), "the slot, and the log");
}

#[test]
fn a_log_of_which_there_is_no_room_to_write_down_that_it_begins_later_loses_nothing_and_begins_later_once_there_is()
 {
    let (mut refused, mut unsynced) = (0, 0);
    for operation in 0.. {
        let files = killed();
        let (dir, log) = of_segments(&files);
        let raise = || dir.raise_log_start(&log, Offset::new(2), NOW, Instant::now());
        files.fail_at(files.operations() + operation, Fault::Full);
        match raise() {
            Ok(begins) if begins == Offset::new(2) => break,
            Ok(begins) => {
                assert_eq!((begins, log.log_start()), (Offset::ZERO, Offset::ZERO));
                assert!(!log.has_segments_below_start());
                refused += 1;
            }
            // What could not be synced may be lost, whatever the reason is.
            Err(error) => {
                assert_eq!(error.path, Path::new(SLOTS_NAME));
                unsynced += 1;
                continue;
            }
        }
        assert_eq!(raise().unwrap(), Offset::new(2));
        assert!(log.has_segments_below_start());
        drop((dir, log));
        files.crash(operation);
        let log = Arc::clone(&opened(&files).logs()[0]);
        assert_eq!((log.log_start(), log.log_end()), (Offset::new(2), Offset::new(4)));
    }
    assert_eq!((refused, unsynced), (2, 2), "each of the two copies");
}
