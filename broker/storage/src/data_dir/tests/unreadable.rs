//! The disk does not give back what it was given.

use super::open::Opening;
use super::*;
use crate::partition_files::SegmentFile;
use crate::recovery::survey;
use crate::{Log, Read};

const PATH: &str = "topics/t1-0";

/// Opens a directory whose segments take five batches of these.
fn open_small(files: &SimFiles) -> (DataDir<SimFiles>, OpenReport<SimFiles>) {
    let small = LogOptions { segment_bytes: 16 * 1024, batch_size_max: 8192, ..LogOptions::default() };
    DataDir::open(Arc::new(files.clone()), &options(7), |_| small.clone(), NOW).expect("it opens")
}

/// Thirteen batches of one record in segments of five, of which ten are durable, and what comes after that is ended by
/// a kill.
fn written() -> SimFiles {
    let files = SimFiles::new();
    let (dir, _) = open_small(&files);
    create(&dir, 1).unwrap();
    drop(dir);
    let (dir, _) = open_small(&files);
    while dir.save_epochs(1).unwrap().left > 0 {}
    let log = dir.logs().into_iter().find(|log| log.dir() == Path::new(PATH)).unwrap();
    for number in 0..13 {
        if number == 10 {
            dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
        }
        log.writer().append(&mut [batch(3000)], Mode::MayBlock, NOW).unwrap();
    }
    drop((dir, log));
    files.kill();
    files
}

fn log_path(base: i64) -> std::path::PathBuf {
    SegmentFile::Log.path(Path::new(PATH), Offset::new(base))
}

/// The offsets that a log gives, one by one.
fn offsets(log: &Arc<Log<SimFiles>>) -> Vec<i64> {
    let (mut offset, mut given) = (log.log_start(), Vec::new());
    while offset < log.high_watermark() {
        given.push(offset.get());
        let read = log.read(offset, 1, &mut Cursor::default(), Touch::Any);
        let Ok(Read::Ready(fetched)) = read else { panic!("{offset}: {read:?}") };
        offset = fetched.next_offset;
    }
    given
}

#[test]
fn what_lies_below_a_place_that_cannot_be_read_is_served() {
    let size = batch(3000).len() as u64;
    // Which segment, where in it, and which offsets are left.
    let places =
        [(10, 2 * size + 1500, 12), (10, size + 1500, 11), (10, 0, 10), (5, 4 * size + 10, 9), (0, 0, 0)];
    for (base, at, left) in places {
        let files = written();
        // Nobody reads what is durable and has an index, unless there is none.
        for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            files.remove_file(&file.path(Path::new(PATH), Offset::new(base))).unwrap();
        }
        files.break_sectors(&log_path(base), at..at + 1);
        let before = files.snapshot();
        let (_dir, report) = open_small(&files);
        assert_eq!(online(&report), set(&["t1-1"]), "byte {at} of {base}");
        let damage = report.partitions[0].state.as_ref().unwrap_err();
        let Damage::UnreadableLog { file, position, offset, .. } = damage else { panic!("{damage}") };
        assert_eq!(*file, log_path(base));
        assert_eq!((*position, offset.get()), ((left - base) as u64 * size, left), "{damage}");
        let below = report.partitions[0].below.as_ref().map_or(Vec::new(), offsets);
        assert_eq!(below, (0..left).collect::<Vec<_>>(), "byte {at} of {base}");
        let left_alone = |path: &Path| path.starts_with(PATH);
        let of = |files: &BTreeMap<std::path::PathBuf, Vec<u8>>| {
            files
                .iter()
                .filter(|(path, _)| left_alone(path))
                .map(|(_, bytes)| bytes.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&files.snapshot()), of(&before), "something was changed");
    }
}

#[test]
fn a_torn_end_that_cannot_be_copied_stays_where_it_is() {
    let (files, size) = (written(), batch(3000).len() as u64);
    let path = log_path(10);
    // The last but one was torn, and something behind it cannot be read.
    files.tamper(&path, |bytes| bytes[size as usize..][..1024].fill(0));
    files.crash(0);
    let before = files.snapshot();
    files.break_sectors(&path, 2 * size + 1500..2 * size + 1501);
    let (dir, report) = open_small(&files);
    let damage = report.partitions[0].state.as_ref().unwrap_err();
    assert!(matches!(damage, Damage::UnreadableLog { offset, .. } if offset.get() == 11), "{damage}");
    assert_eq!(files.snapshot()[&path], before[&path], "something was changed");
    files.heal_sectors();
    drop((dir, report));
    let (_dir, report) = open_small(&files);
    let (_, found) = report.partitions[0].state.as_ref().unwrap();
    assert!(found.cut.as_ref().is_some_and(|cut| cut.offset.get() == 11 && cut.kept.is_some()), "{found:?}");
}

#[test]
fn epochs_that_cannot_be_read_are_those_of_the_batches() {
    for is_clean in [false, true] {
        let files = written();
        let (dir, _) = open_small(&files);
        if is_clean {
            dir.close_clean(NOW, Instant::now()).unwrap();
        } else {
            drop(dir);
        }
        files.kill();
        let path = Path::new(PATH).join("epochs");
        files.break_sectors(&path, 0..1);
        let (dir, report) = open_small(&files);
        assert_eq!(
            online(&report),
            set(&["t1-0", "t1-1"]),
            "{:?}",
            report.partitions[0].state.as_ref().err()
        );
        let (log, found) = report.partitions[0].state.as_ref().unwrap();
        assert!(found.epochs_rebuilt && found.was_clean == is_clean);
        assert_eq!(offsets(log), (0..13).collect::<Vec<_>>());
        // A new one takes its place.
        while dir.save_epochs(1).unwrap().left > 0 {}
        assert!(read_file(&files, &path, 4096).unwrap().is_some());
    }
}

#[test]
fn a_last_block_that_cannot_be_read_after_a_power_cut_is_its_partitions_affair() {
    for file in SegmentFile::ALL {
        let files = written();
        let (dir, _) = open_small(&files);
        dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
        drop(dir);
        files.crash(0);
        let path = file.path(Path::new(PATH), Offset::new(10));
        let before = files.snapshot();
        let len = before[&path].len() as u64;
        assert!(!len.is_multiple_of(512), "{len}");
        files.break_sectors(&path, len - 1..len);
        let (_dir, report) = open_small(&files);
        if file != SegmentFile::Log {
            assert_eq!(online(&report), set(&["t1-0", "t1-1"]), "{file:?}");
            let (log, _) = report.partitions[0].state.as_ref().unwrap();
            assert_eq!(offsets(log), (0..13).collect::<Vec<_>>(), "{file:?}");
            continue;
        }
        assert_eq!(online(&report), set(&["t1-1"]));
        let damage = report.partitions[0].state.as_ref().unwrap_err();
        let Damage::UnreadableLog { file, offset, .. } = damage else { panic!("{damage}") };
        assert_eq!((file, offset.get()), (&path, 12));
        let below = report.partitions[0].below.as_ref().map_or(Vec::new(), offsets);
        assert_eq!(below, (0..12).collect::<Vec<_>>());
        assert_eq!(files.snapshot()[&path], before[&path]);
        drop((_dir, report));
        files.heal_sectors();
        let (_dir, report) = open_small(&files);
        let (log, _) = report.partitions[0].state.as_ref().expect("it can be read again");
        assert_eq!(offsets(log), (0..13).collect::<Vec<_>>());
    }
}

#[test]
fn what_could_not_be_cleared_behind_its_end_is_not_asked_for_again_to_be_synced() {
    let files = written();
    let survey = survey(&files, Path::new(PATH)).unwrap_or_else(|_| panic!("it can be looked at"));
    let opening = Opening { files: &files, options: &options(7), now: NOW, failure: Failure::default() };
    let id = PartitionId { topic: Uuid::from_u128(101), partition: 0 };
    let cleared = || opening.clear_behind_ends(&survey, None, id).expect("descriptors").files;
    let all = cleared();
    assert_eq!(all.len(), survey.segments.len() * SegmentFile::ALL.len());
    for path in &all {
        let len = files.snapshot()[path].len() as u64;
        files.break_sectors(path, len - 1..len);
        let others = all.iter().filter(|other| *other != path).cloned();
        assert_eq!(cleared(), others.collect::<Vec<_>>(), "{}", path.display());
        files.heal_sectors();
    }
}

#[test]
fn pages_of_durable_points_that_cannot_be_read_cost_nobody_anything() {
    let pages: [&[u64]; 5] = [&[0], &[4096], &[8192], &[4096, 8192], &[0, 4096, 8192]];
    for broken in pages {
        let files = written();
        for page in broken {
            files.break_sectors(Path::new(SLOTS_NAME), *page..page + 4096);
        }
        for run in 0..3 {
            let (dir, report) = open_small(&files);
            assert_eq!(online(&report), set(&["t1-0", "t1-1"]), "{broken:?}, run {run}");
            let found = report.slots;
            let copies = broken.iter().filter(|page| **page > 0).count() as u32;
            if run == 0 {
                assert_eq!((found.header_damaged, found.unreadable_pages), (broken[0] == 0, copies));
            }
            let logs = dir.logs();
            for log in &logs {
                assert!(log.log_end().get() == run + if log.dir() == Path::new(PATH) { 13 } else { 0 });
                log.writer().append(&mut [batch(3000)], Mode::MayBlock, NOW).unwrap();
            }
            dir.flush(&logs, NOW, Instant::now()).unwrap();
            drop((dir, report, logs));
            files.kill();
        }
        // Whatever could not be read was written as a whole.
        assert!(files.broken_files().is_empty(), "{broken:?}");
    }
}

#[test]
fn a_start_that_ends_while_a_page_of_durable_points_is_written_anew_takes_nobody_offline() {
    for page in [4096, 8192] {
        for operation in 0.. {
            let files = written();
            let (dir, report) = open_small(&files);
            // Of an epoch that no file tells of yet, and of the two copies of a slot only one.
            for log in dir.logs() {
                log.writer().append(&mut [batch(3000)], Mode::MayBlock, NOW).unwrap();
            }
            drop((dir, report));
            files.kill();
            files.break_sectors(Path::new(SLOTS_NAME), page..page + 4096);
            let last = files.operations() + operation;
            files.fail_at(last, Fault::Broken);
            let small =
                |_: &crate::metadata::Topic| LogOptions { segment_bytes: 16 * 1024, ..LogOptions::default() };
            drop(DataDir::open(Arc::new(files.clone()), &options(8), small, NOW));
            if files.operations() <= last {
                break;
            }
            files.kill();
            let (_dir, report) = open_small(&files);
            let online = online(&report);
            assert_eq!(online, set(&["t1-0", "t1-1"]), "page {page}, operation {operation}");
        }
    }
}

#[test]
fn a_raised_start_is_known_from_either_copy_of_its_slot() {
    for page in [4096, 8192] {
        let files = written();
        let (dir, _) = open_small(&files);
        let log = dir.logs().into_iter().find(|log| log.dir() == Path::new(PATH)).unwrap();
        dir.raise_log_start(&log, Offset::new(10), NOW, Instant::now()).unwrap();
        log.drop_below_start(dir.trash()).unwrap();
        drop((dir, log));
        files.kill();
        files.break_sectors(Path::new(SLOTS_NAME), page..page + 4096);
        let (_dir, report) = open_small(&files);
        let (log, _) = report.partitions[0].state.as_ref().expect("files are missed that were to go");
        assert_eq!((log.log_start().get(), log.log_end().get()), (10, 13));
    }
}

/// Two partitions, one of them with segments, sealed and not, and everything else that a directory has.
fn ended(is_clean: bool) -> SimFiles {
    let files = written();
    let (dir, _) = open_small(&files);
    for log in dir.logs() {
        while let crate::Sealed::Segment(..) = log.seal_next(NOW).unwrap() {}
        log.writer().append(&mut [batch(3000)], Mode::MayBlock, NOW).unwrap();
    }
    while dir.save_epochs(1).unwrap().left > 0 {}
    if is_clean {
        dir.close_clean(NOW, Instant::now()).unwrap();
    } else {
        dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
        drop(dir);
        files.kill();
    }
    files
}

/// What a start takes for missing or damaged.
fn missed(report: &OpenReport<SimFiles>) -> String {
    let of_one = |partition: &OpenedPartition<SimFiles>| match &partition.state {
        Ok((log, report)) => format!("{} {report:?}", log.log_end()),
        Err(damage) => damage.to_string(),
    };
    let partitions: Vec<String> = report.partitions.iter().map(of_one).collect();
    format!("{} {:?} {:?} {partitions:?}", report.was_clean, report.slots, report.quarantined)
}

#[test]
fn a_start_that_has_no_descriptor_left_for_some_file_refuses_and_takes_none_for_missing() {
    for is_clean in [true, false] {
        let mut refused = BTreeSet::new();
        let as_it_is = missed(&open_small(&ended(is_clean)).1);
        let paths: Vec<_> = ended(is_clean).snapshot().into_keys().collect();
        for path in paths {
            let files = ended(is_clean);
            files.set_exhausted_at(&path);
            let small =
                LogOptions { segment_bytes: 16 * 1024, batch_size_max: 8192, ..LogOptions::default() };
            match DataDir::open(Arc::new(files.clone()), &options(7), |_| small.clone(), NOW) {
                // Nobody needed it.
                Ok((_dir, report)) => assert_eq!(missed(&report), as_it_is, "{}", path.display()),
                Err(error) => {
                    let (error, name) = (error.to_string(), path.file_name().unwrap().to_str().unwrap());
                    assert!(error.contains(name), "{} at {}", error, path.display());
                    refused.insert(name.rsplit('.').next().unwrap().to_owned());
                    files.set_exhausted(false);
                    let (_dir, report) = open_small(&files);
                    assert_eq!(
                        (online(&report).len(), report.quarantined.len()),
                        (2, 0),
                        "{}",
                        path.display()
                    );
                }
            }
        }
        for needed in ["epochs", "index", "log", "meta", "slots", "timeindex"] {
            assert!(refused.contains(needed), "{needed}, clean: {is_clean}: {refused:?}");
        }
        // Only a stop leaves one.
        assert_eq!(refused.contains("snapshot"), is_clean);
    }
}

#[test]
fn a_directory_whose_owner_nobody_could_read_is_not_moved_away() {
    let other = Arc::new(SimFiles::new());
    let (dir, _) = open(&other);
    create(&dir, 9).unwrap();
    let meta = partition_dir("t9", 0).join("partition.meta");
    let foreign = other.snapshot()[&meta].clone();
    let files = ended(false);
    files.create_dir(&partition_dir("t9", 0)).unwrap();
    files.open(&meta, OpenMode::CreateNew).unwrap().write_at(&foreign, 0).unwrap();
    files.set_exhausted_at(&meta);
    assert!(matches!(try_open(&Arc::new(files.clone())), Err(OpenError::Io { .. })));
    assert!(files.snapshot().contains_key(&meta));
}
