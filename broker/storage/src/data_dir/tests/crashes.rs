//! The daemon or the machine dies anywhere in setting up a directory, making a topic, deleting one.

use super::*;

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
            dir.purge_trash(&|| true).unwrap();
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
