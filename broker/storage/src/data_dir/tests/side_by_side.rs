//! Many partitions recovered at once.

use super::*;

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
