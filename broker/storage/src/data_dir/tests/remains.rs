//! Claims about what a run leaves that died, or that found no room, in the middle of something: the next run may act on
//! nothing that the next power cut can take back.

use super::*;

fn append<F: Files>(dir: &DataDir<F>, logs: &[Arc<Log<F>>]) {
    for log in logs {
        log.writer().append(&mut [batch(600)], Mode::MayBlock, NOW).unwrap();
    }
    dir.flush(logs, NOW, Instant::now()).unwrap();
}

fn logs<F: Files>(report: &OpenReport<F>) -> Vec<Arc<Log<F>>> {
    let online = report.partitions.iter().filter_map(|partition| partition.state.as_ref().ok());
    online.map(|(log, _)| Arc::clone(log)).collect()
}

/// Partitions with where they end, none of them offline, and nothing in quarantine.
fn ends<F: Files>(report: &OpenReport<F>) -> Vec<(String, Offset)> {
    assert!(report.quarantined.is_empty(), "{:?}", report.quarantined);
    let end = |partition: &OpenedPartition<F>| {
        let (log, _) = partition.state.as_ref().unwrap();
        (format!("{}-{}", partition.topic, partition.id.partition), log.log_end())
    };
    report.partitions.iter().map(end).collect()
}

#[test]
fn what_a_start_finds_done_by_a_killed_run_survives_the_power_cut_after_it() {
    for operation in 0.. {
        let mut is_done = false;
        for seed in 0..6 {
            let files = Arc::new(SimFiles::new());
            let (dir, _) = open(&files);
            create(&dir, 1).unwrap();
            files.cut_power_at(files.operations() + operation);
            let made = create(&dir, 2).and_then(|()| dir.delete_topic("t1", NOW));
            is_done = made.is_ok();
            files.kill();
            let (dir, report) = open(&files);
            append(&dir, &logs(&report));
            let told: Vec<_> = ends(&report).into_iter().map(|(name, _)| (name, Offset::new(1))).collect();
            files.crash(seed);
            assert_eq!(ends(&open(&files).1), told, "operation {operation}, seed {seed}");
        }
        if is_done {
            assert!(operation > 20, "{operation}");
            break;
        }
    }
}

#[test]
fn a_directory_that_a_killed_run_has_set_up_is_there_after_the_power_cut_behind_it() {
    for operation in 0.. {
        let mut is_done = false;
        for seed in 0..6 {
            let files = Arc::new(SimFiles::new());
            files.cut_power_at(operation);
            is_done = try_open(&files).is_ok();
            files.kill();
            let (dir, _) = open(&files);
            create(&dir, 1).unwrap();
            files.crash(seed);
            assert_eq!(ends(&open(&files).1).len(), 2, "operation {operation}, seed {seed}");
        }
        if is_done {
            assert!(operation > 10, "{operation}");
            break;
        }
    }
}

#[test]
fn a_log_is_empty_if_retention_took_its_last_durable_segment_and_the_power_the_name_of_the_next() {
    let small = LogOptions { segment_bytes: 1024, ..LogOptions::default() };
    let mut empty = 0;
    for seed in 0..100 {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        let logs = dir.create_topic(NewTopic { partitions: 1, ..topic(1) }, &small, NOW).unwrap();
        let log = &logs[0];
        log.writer().append(&mut [batch(900)], Mode::MayBlock, NOW).unwrap();
        dir.flush(&logs, NOW, Instant::now()).unwrap();
        // Made ready beforehand, the next one has a name that only the next flush syncs.
        log.prepare_next().unwrap();
        log.writer().append(&mut [batch(900)], Mode::MayBlock, NOW).unwrap();
        dir.raise_log_start(log, Offset::new(1), NOW, Instant::now()).unwrap();
        log.drop_below_start(dir.trash()).unwrap();
        files.crash(seed);
        let (_, report) = open(&files);
        let (log, _) = report.partitions[0].state.as_ref().unwrap();
        assert_eq!(log.log_start(), Offset::new(1));
        empty += usize::from(log.segment_count() == 0);
    }
    assert!(empty > 0, "the name was never lost");
}

#[test]
fn a_topic_takes_nothing_over_from_a_deleted_one_whose_directories_found_no_room_in_the_trash() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    append(&dir, &dir.create_topic(topic(1), &LogOptions::default(), NOW).unwrap());
    // Behind the transaction and its slot: the first rename.
    files.fail_at(files.operations() + 4, Fault::Full);
    assert!(matches!(dir.delete_topic("t1", NOW), Err(TopicError::Full { .. })));
    let again = NewTopic { uuid: Uuid::from_u128(999), ..topic(1) };
    let logs = dir.create_topic(again, &LogOptions::default(), NOW).unwrap();
    append(&dir, &logs);
    append(&dir, &logs);
    for seed in 0..20 {
        files.crash(seed);
        let (_, report) = open(&files);
        assert_eq!(ends(&report), [("t1-0".to_owned(), Offset::new(2)), ("t1-1".to_owned(), Offset::new(2))]);
    }
}

#[test]
fn a_crash_at_any_operation_of_making_a_topic_where_a_deleted_one_lies_leaves_it_whole_or_not_there() {
    at_every_operation(|operation, seed| {
        let is_killed_first = seed % 2 == 1;
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        append(&dir, &dir.create_topic(topic(1), &LogOptions::default(), NOW).unwrap());
        files.fail_at(files.operations() + 4, Fault::Full);
        dir.delete_topic("t1", NOW).unwrap_err();
        let again = NewTopic { uuid: Uuid::from_u128(999), ..topic(1) };
        files.cut_power_at(files.operations() + operation);
        let is_made = dir.create_topic(again, &LogOptions::default(), NOW).is_ok();
        drop(dir);
        if is_killed_first {
            files.kill();
            let (dir, _) = open(&files);
            // What was the deleted one's is free, and somebody else takes it.
            create(&dir, 2).unwrap();
            append(&dir, &dir.logs());
        }
        files.crash(seed);
        let (dir, report) = open(&files);
        let (found, end) = (ends(&report), Offset::new(i64::from(is_killed_first)));
        assert!(found.iter().all(|(_, there)| *there == end), "operation {operation}: {found:?}");
        assert_eq!(dirs(&*files, TOPICS_NAME), online(&report), "operation {operation}, seed {seed}");
        let is_new = online(&report).contains("t1-0");
        assert_eq!(dir.topics().len(), usize::from(is_new) + usize::from(is_killed_first));
        assert!(is_new || !is_made, "a topic that was announced is gone");
        assert!(report.partitions.iter().all(|one| one.id.topic != topic(1).uuid));
        (is_made, is_new)
    });
}

#[test]
fn a_deletion_whose_sync_finds_no_room_has_failed_and_nothing_of_the_topic_comes_back() {
    for seed in 0..40 {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        create(&dir, 1).unwrap();
        // Behind the transaction, its slot and two renames: the sync of the trash.
        files.fail_at(files.operations() + 6, Fault::Full);
        assert!(matches!(dir.delete_topic("t1", NOW), Err(TopicError::Io { .. })));
        dir.close_clean(NOW, Instant::now()).unwrap_err();
        files.crash(seed);
        assert!(ends(&open(&files).1).is_empty());
    }
}

#[test]
fn a_sync_that_fails_while_the_trash_is_emptied_is_final_and_a_file_that_cannot_be_removed_is_not() {
    for (operation, is_final) in [(0, true), (2, false)] {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        create(&dir, 1).unwrap();
        dir.delete_topic("t1", NOW).unwrap();
        files.fail_at(files.operations() + operation, Fault::Broken);
        dir.purge_trash(&|| true).unwrap_err();
        assert_eq!(dir.has_failed(), is_final);
        assert_eq!(dir.purge_trash(&|| true).is_ok(), !is_final);
    }
}

#[test]
fn a_start_without_room_for_a_name_forgets_no_deletion() {
    for operation in 0.. {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        create(&dir, 1).unwrap();
        create(&dir, 2).unwrap();
        // The first rename: both directories stay where they are.
        files.fail_at(files.operations() + 4, Fault::Full);
        dir.delete_topic("t2", NOW).unwrap_err();
        drop(dir);
        files.kill();
        let begun = files.operations();
        files.fail_at(begun + operation, Fault::Full);
        drop(try_open(&files));
        let is_done = files.operations() <= begun + operation;
        files.kill();
        for _ in 0..2 {
            let (dir, report) = open(&files);
            assert_eq!((online(&report), report.quarantined), (set(&["t1-0", "t1-1"]), Vec::new()));
            assert_eq!(dirs(&*files, TOPICS_NAME), set(&["t1-0", "t1-1"]), "operation {operation}");
            drop(dir);
            files.kill();
        }
        if is_done {
            return;
        }
    }
}

#[test]
fn a_start_leaves_what_lies_in_the_trash_to_whoever_empties_it() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    dir.delete_topic("t1", NOW).unwrap();
    drop(dir);
    files.kill();
    let (dir, _) = open(&files);
    assert_eq!(dirs(&*files, TRASH_NAME).len(), 2);
    dir.purge_trash(&|| true).unwrap();
    assert!(dirs(&*files, TRASH_NAME).is_empty());
}

#[test]
fn a_stop_is_clean_after_a_deletion_that_found_no_room() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    // The second rename: one directory is where it belongs, and one is not.
    files.fail_at(files.operations() + 5, Fault::Full);
    assert!(matches!(dir.delete_topic("t1", NOW), Err(TopicError::Full { .. })));
    assert!(matches!(dir.close_clean(NOW, Instant::now()).unwrap(), Closed::Clean));
    assert!(open(&files).1.was_clean);
}

#[test]
fn a_sync_that_fails_for_want_of_room_at_a_start_is_not_taken_for_done() {
    for operation in 0.. {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        create(&dir, 1).unwrap();
        create(&dir, 2).unwrap();
        append(&dir, &dir.logs());
        for log in dir.logs() {
            log.writer().append(&mut [batch(600)], Mode::MayBlock, NOW).unwrap();
        }
        files.kill();
        files.fail_at(files.operations() + operation, Fault::Full);
        let begun = files.operations() + operation;
        let opened = try_open(&files);
        let is_over = files.operations() <= begun;
        let Ok((_, report)) = opened else { continue };
        let told = ends(&report);
        files.crash(operation);
        assert_eq!(ends(&open(&files).1), told, "operation {operation}");
        if is_over {
            assert!(operation > 10, "{operation}");
            break;
        }
    }
}

#[test]
fn a_full_disk_leaves_a_half_made_topic_to_a_later_start_and_serves_the_others() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    // The transaction is there, the directories are not.
    files.cut_power_at(files.operations() + 4);
    create(&dir, 2).unwrap_err();
    files.kill();
    files.set_room(Room::NoBytes);
    let (dir, report) = open(&files);
    assert_eq!(online(&report), set(&["t1-0", "t1-1"]));
    assert_eq!(dir.topics().iter().map(|(_, topic)| topic.partitions_ready).sum::<u32>(), 2);
    files.kill();
    files.set_room(Room::Enough);
    assert_eq!(online(&open(&files).1), set(&["t1-0", "t1-1", "t2-0", "t2-1"]));
}

#[test]
fn a_torn_tail_with_segments_behind_it_is_cut_off_on_a_full_disk_too() {
    let small = LogOptions { segment_bytes: 1024, ..LogOptions::default() };
    let mut moved = 0;
    for seed in 0..400 {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        let logs = dir.create_topic(NewTopic { partitions: 1, ..topic(1) }, &small, NOW).unwrap();
        append(&dir, &logs);
        for log in &logs {
            for _ in 0..4 {
                log.writer().append(&mut [batch(600)], Mode::MayBlock, NOW).unwrap();
            }
        }
        files.crash(seed);
        files.set_room(Room::NoBytes);
        let (_, report) = open(&files);
        let cuts = report.partitions.iter().filter_map(|one| one.state.as_ref().ok());
        let cuts = cuts.filter_map(|(_, report)| report.cut.as_ref());
        moved += cuts.map(|cut| cut.segments_moved.len()).sum::<usize>();
    }
    assert!(moved > 0, "no segment lay behind a torn one");
}

#[test]
fn what_a_recovery_has_no_room_to_take_away_goes_before_anything_is_appended_and_all_partitions_are_online() {
    let small = LogOptions { segment_bytes: 1024, ..LogOptions::default() };
    // A log whose first batch is durable, and which a power cut has torn, with segments behind.
    let torn = |seed| {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        create(&dir, 2).unwrap();
        let logs = dir.create_topic(NewTopic { partitions: 1, ..topic(1) }, &small, NOW).unwrap();
        append(&dir, &logs);
        (0..4).for_each(|_| drop(logs[0].writer().append(&mut [batch(600)], Mode::MayBlock, NOW).unwrap()));
        drop((dir, logs));
        files.crash(seed);
        files
    };
    let moved = |report: &OpenReport<SimFiles>| {
        let (_, found) = report.partitions[0].state.as_ref().unwrap();
        found.cut.as_ref().map_or(0, |cut| cut.segments_moved.len())
    };
    let seed = (0..400).find(|seed| moved(&open(&torn(*seed)).1) > 3).expect("one with segments behind");
    let all = set(&["t1-0", "t2-0", "t2-1"]);
    let mut without_room = 0;
    for operation in 0.. {
        let files = torn(seed);
        let last = files.operations() + operation;
        files.fail_at(last, Fault::Full);
        match try_open(&files) {
            Ok((dir, report)) => {
                assert_eq!(online(&report), all, "operation {operation}");
                if files.operations() <= last {
                    break;
                }
                let log = Arc::clone(&report.partitions[0].state.as_ref().unwrap().0);
                without_room += u32::from(log.has_remains_of_start());
                let end = log.log_end();
                append(&dir, &[Arc::clone(&log)]);
                assert!(!log.has_remains_of_start());
                assert_eq!((log.log_end(), log.durable()), (Offset::new(end.get() + 1), log.log_end()));
                drop((dir, report, log));
                files.crash(seed);
                let (_, report) = open(&files);
                let log = &report.partitions[0].state.as_ref().unwrap().0;
                assert_eq!(log.log_end().get(), end.get() + 1, "operation {operation}");
            }
            Err(OpenError::Io { path, source }) => {
                let is_its_own = path.display().to_string().contains("t1-0");
                assert!(
                    !is_its_own || is_final(&source),
                    "operation {operation}: {}: {source}",
                    path.display()
                );
            }
            Err(error) => drop(error),
        }
        files.kill();
        assert_eq!(online(&open(&files).1), all, "operation {operation}");
    }
    assert!(without_room > 3, "{without_room}");
}

#[test]
fn a_start_without_room_for_a_name_leaves_what_does_not_belong_where_it_is_and_serves_all_else() {
    let (mut left, mut is_over) = (BTreeSet::new(), false);
    for operation in 0.. {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        create(&dir, 1).unwrap();
        create(&dir, 2).unwrap();
        // One that nobody knows, a copy, and one that is to be deleted and cannot be.
        files.create_dir(Path::new("topics/unknown-0")).unwrap();
        files.create_dir(Path::new("topics/t1-1.copy")).unwrap();
        let meta = Path::new("topics/t1-1/partition.meta");
        let copy = files.open(Path::new("topics/t1-1.copy/partition.meta"), OpenMode::CreateNew).unwrap();
        copy.write_at(&read_file(&*files, meta, 4096).unwrap().unwrap(), 0).unwrap();
        files.fail_at(files.operations() + 4, Fault::Full);
        dir.delete_topic("t2", NOW).unwrap_err();
        drop((dir, copy));
        files.kill();
        let last = files.operations() + operation;
        files.fail_at(last, Fault::Full);
        if let Ok((_, report)) = try_open(&files) {
            assert_eq!(online(&report), set(&["t1-0", "t1-1"]), "operation {operation}");
            left.extend(report.left.iter().map(|path| path.display().to_string()));
            is_over = files.operations() <= last;
        }
        files.kill();
        let (dir, report) = open(&files);
        assert_eq!((online(&report), report.left), (set(&["t1-0", "t1-1"]), Vec::new()));
        assert_eq!(dirs(&*files, TOPICS_NAME), set(&["t1-0", "t1-1"]), "operation {operation}");
        // Each is there once, with its note.
        let kept =
            set(&["topics_t1-1.copy", "topics_t1-1.copy.json", "topics_unknown-0", "topics_unknown-0.json"]);
        let there = dirs(&*files, QUARANTINE_NAME);
        assert!(there.is_subset(&kept) && there.len() > 2, "operation {operation}: {there:?}");
        drop(dir);
        if is_over {
            break;
        }
    }
    let all = ["t1-1.copy", "t2-0", "t2-1", "unknown-0"].map(|name| format!("topics/{name}"));
    assert_eq!(left, all.into_iter().collect());
}

#[test]
fn a_log_whose_directory_somebody_took_away_is_left_out_of_rounds_and_markers_and_missed_by_the_next_start() {
    for is_noticed in [true, false] {
        let files = Arc::new(SimFiles::new());
        let (dir, _) = open(&files);
        create(&dir, 1).unwrap();
        let logs = dir.logs();
        let (gone, kept) = (&logs[0], &logs[1]);
        append(&dir, &logs);
        crate::trash::remove(&*files, gone.dir(), crate::files::EntryKind::Directory).unwrap();
        assert!(gone.missing().unwrap().is_some() && kept.missing().unwrap().is_none());
        if is_noticed {
            gone.give_up();
        }
        let advanced = dir.flush(&logs, NOW, Instant::now()).expect("no fault of the disk");
        assert_eq!(advanced.len(), if is_noticed { 1 } else { 2 });
        let (lost, name) = (gone.id(), gone.dir().display().to_string());
        dir.close_clean(NOW, Instant::now()).expect("a marker for the others");
        let (_, report) = open(&files);
        assert!(report.was_clean);
        let lost = report.partitions.iter().find(|partition| partition.id == lost).unwrap();
        assert!(lost.state.is_err(), "{name} is missing");
        assert_eq!(report.partitions.iter().filter(|partition| partition.state.is_ok()).count(), 1);
    }
}
