//! Claims about a replacement of segments that is decided and finds no room: what is read meanwhile, what a start does
//! about it, and who leaves its files alone.

use super::compact::{Row, check_lookups, compacting, filled, last_of_each, put, rows, settle};
use super::*;
use crate::controls::{Protection, without};
use crate::files::sim::{Fault, Room};
use crate::log::compact::Compacting;
use crate::recovery::Damage;

/// A log, and what was in it.
type Stuck = (SimFiles, DataDir<SimFiles>, Arc<Log<SimFiles>>, Vec<Row>);

/// A log in a pass over which there was no more room than this from operation `at` of it on; what was in it before.
/// `None`: there was enough to the end.
fn stuck(at: u64, room: Room) -> Option<Stuck> {
    let files = SimFiles::new();
    let (dir, log) = filled(&files, 60);
    let mut pass = log.compact([7, 9], 1 << 20, NOW).unwrap();
    // And segments that it is not about.
    for number in 0..30 {
        put(&log, &[(&format!("later {number}"), Some(&"z".repeat(300)))]);
    }
    settle(&dir, &log);
    let before = rows(&log, 0, 1 << 20);
    files.set_room_at(files.operations() + at, room);
    loop {
        match pass.step(&dir, 700) {
            Ok(progress) if progress.state == Compacting::Working => {}
            Ok(_) => return None,
            Err(error) => {
                assert!(matches!(error, AppendError::Full { .. }), "{error}");
                return Some((files, dir, log, before));
            }
        }
    }
}

fn has_intent(files: &SimFiles) -> bool {
    files.snapshot().keys().any(|path| path.file_stem() == Some("replace".as_ref()))
}

/// What consumers see, if it is all that compaction may leave.
fn check_rows(log: &Log<SimFiles>, before: &[Row], what: &str) {
    let read = rows(log, 0, 1 << 20);
    let due = last_of_each(before, log.log_end().get());
    assert!(due.iter().all(|row| read.contains(row)), "{what}");
    assert!(read.iter().all(|row| before.contains(row)), "{what}");
}

#[test]
fn a_start_without_room_to_finish_a_replacement_serves_all_of_the_log_and_the_next_with_room_finishes_it() {
    let (mut found, mut ways) = (0, std::collections::BTreeSet::new());
    for (at, is_clean) in (0..).flat_map(|at| [(at, false), (at, true)]) {
        let Some((files, dir, log, before)) = stuck(at, Room::Nothing) else { break };
        if !has_intent(&files) {
            continue;
        }
        let what = format!("from operation {at} on, {is_clean}");
        drop(log);
        if is_clean {
            // There was room for a moment, and nobody who went on with it.
            files.set_room(Room::Enough);
            dir.close_clean(NOW, Instant::now()).unwrap();
            files.set_room(Room::Nothing);
        } else {
            drop(dir);
        }
        files.kill();
        let left = files.snapshot();
        ways.insert(left.keys().filter(|path| path.extension() == Some("cleaned".as_ref())).count());
        for _ in 0..2 {
            let (_dir, report) =
                DataDir::open(Arc::new(files.clone()), &DataDirOptions::fixed(1), |_| compacting(), NOW)
                    .unwrap();
            let partition = &report.partitions[0];
            let Err(Damage::NoRoom { file, .. }) = &partition.state else { panic!("{what}: {report:?}") };
            assert_eq!(file.file_stem(), Some("replace".as_ref()));
            check_rows(
                partition.below.as_ref().unwrap_or_else(|| panic!("{what}: {report:?}")),
                &before,
                &what,
            );
            drop((_dir, report));
            files.kill();
        }
        let of_topics = |files: &SimFiles| {
            let files = files.snapshot().into_iter();
            files.filter(|(path, _)| path.starts_with("topics")).collect::<Vec<_>>()
        };
        let left: Vec<_> = left.into_iter().filter(|(path, _)| path.starts_with("topics")).collect();
        assert_eq!(of_topics(&files), left, "{what}");
        files.set_room(Room::Enough);
        let (_dir, log) = open(&Arc::new(files.clone()), &compacting());
        check_rows(&log, &before, &what);
        assert!(!has_intent(&files), "{what}");
        found += 1;
    }
    assert!(found > 10 && ways.len() == 4, "{found}, {ways:?}");
}

/// Opens the directory of a log that is [stuck] and was killed, while there is still no room; gives what is served of
/// it.
fn reopened(files: &SimFiles) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    files.kill();
    let options = DataDirOptions::fixed(1);
    let (dir, report) = DataDir::open(Arc::new(files.clone()), &options, |_| compacting(), NOW).unwrap();
    let partition = &report.partitions[0];
    assert!(matches!(partition.state, Err(Damage::NoRoom { .. })), "{report:?}");
    let below = partition.below.clone().unwrap();
    assert_eq!(dir.waiting_for_room(), [below.id()]);
    (dir, below)
}

fn is_told_to_ask_again(log: &Log<SimFiles>) -> bool {
    let read = log.read(Offset::ZERO, 1, &mut Cursor::default(), Touch::Any);
    let time = log.offset_for_time(NOW);
    matches!((read, time), (Err(ReadError::Replaced), Err(ReadError::Replaced)))
}

#[test]
fn a_log_that_a_start_had_no_room_to_open_is_served_from_what_there_is_and_opened_by_the_same_run_later() {
    let mut found = 0;
    for at in 0.. {
        let Some((files, dir, log, before)) = stuck(at, Room::Nothing) else { break };
        if !has_intent(&files) {
            continue;
        }
        let what = format!("from operation {at} on");
        let end = log.log_end();
        drop((dir, log));
        let (dir, below) = reopened(&files);
        let id = below.id();
        let resume = || dir.resume(id, |_| compacting(), NOW).unwrap();
        let again = resume().unwrap();
        assert!(matches!(again.state, Err(Damage::NoRoom { .. })), "{what}: {again:?}");
        assert!(is_told_to_ask_again(&below));
        let below = again.below.unwrap();
        check_rows(&below, &before, &what);
        assert!(Arc::ptr_eq(&below, &dir.log_below(id).unwrap()));
        assert_eq!(dir.waiting_for_room(), [id]);
        files.set_room(Room::Enough);
        let (log, _) = resume().unwrap().state.unwrap();
        assert!(is_told_to_ask_again(&below));
        assert!(!has_intent(&files) && resume().is_none() && dir.waiting_for_room().is_empty(), "{what}");
        assert!(dir.log_below(id).is_none() && Arc::ptr_eq(&log, &dir.log(id).unwrap()), "{what}");
        check_rows(&log, &before, &what);
        assert_eq!(put(&log, &[("k1", Some("later"))]), end.get());
        settle(&dir, &log);
        assert_eq!((dir.save_epochs(9).unwrap().left, log.durable().get()), (0, end.get() + 1));
        drop((dir, log, below));
        files.crash(at);
        let (_dir, log) = open(&Arc::new(files.clone()), &compacting());
        assert_eq!(log.log_end().get(), end.get() + 1, "{what}");
        found += 1;
    }
    assert!(found > 5, "{found}");
}

#[test]
fn a_recovery_in_the_same_run_that_fails_at_any_operation_loses_nothing_and_is_tried_again_if_it_lacked_room()
{
    // Half of its names are given.
    let at =
        (0..).find(|at| stuck(*at, Room::Nothing).is_some_and(|(files, ..)| has_intent(&files))).unwrap();
    for fault in [Some(Fault::Full), Some(Fault::Broken), None] {
        let mut counts = [0; 3];
        for operation in 0.. {
            let (files, dir, log, before) = stuck(at + 1, Room::Nothing).unwrap();
            drop((dir, log));
            let (dir, below) = reopened(&files);
            files.set_room(Room::Enough);
            let first = files.operations() + operation;
            match fault {
                Some(fault) => files.fail_at(first, fault),
                None => files.cut_power_at(first),
            }
            let what = format!("{fault:?} at operation {operation}");
            let outcome = dir.resume(below.id(), |_| compacting(), NOW);
            let is_over = files.operations() <= first;
            match outcome {
                Err(error) => {
                    let is_final = crate::files::is_final(&error.source) || fault != Some(Fault::Full);
                    assert!(is_final && dir.has_failed(), "{what}: {error}");
                    counts[0] += 1;
                }
                Ok(opened) => match opened.map(|opened| (opened.state, opened.below)).unwrap() {
                    (Ok((log, _)), _) => {
                        check_rows(&log, &before, &what);
                        counts[1] += 1;
                    }
                    (Err(Damage::NoRoom { .. }), served) => {
                        assert_eq!(fault, Some(Fault::Full), "{what}");
                        let served = served.unwrap_or_else(|| panic!("{what}: nothing is served"));
                        check_rows(&served, &before, &what);
                        assert_eq!(served.log_end(), below.log_end(), "{what}");
                        let opened = dir.resume(below.id(), |_| compacting(), NOW).unwrap().unwrap();
                        check_rows(&opened.state.unwrap().0, &before, &what);
                        counts[2] += 1;
                    }
                    // What cannot be read stays as it is.
                    (Err(damage), _) => assert_eq!(fault, Some(Fault::Broken), "{what}: {damage}"),
                },
            }
            drop((dir, below));
            files.crash(operation);
            let (_dir, log) = open(&Arc::new(files.clone()), &compacting());
            check_rows(&log, &before, &what);
            if is_over {
                break;
            }
        }
        let is_full = fault == Some(Fault::Full);
        assert!(counts[0] > 3 && counts[1] > 0 && (counts[2] > 3) == is_full, "{fault:?}: {counts:?}");
    }
}

#[test]
fn a_topic_that_is_deleted_while_its_log_waits_for_room_is_gone_and_not_waited_for() {
    let at =
        (0..).find(|at| stuck(*at, Room::Nothing).is_some_and(|(files, ..)| has_intent(&files))).unwrap();
    let (files, dir, log, _) = stuck(at, Room::Nothing).unwrap();
    drop((dir, log));
    let (dir, below) = reopened(&files);
    files.set_room(Room::Enough);
    let name = dir.topics()[0].1.name.clone();
    dir.delete_topic(&name, NOW).unwrap();
    assert!(dir.waiting_for_room().is_empty());
    assert!(dir.resume(below.id(), |_| compacting(), NOW).unwrap().is_none());
    assert!(files.list(std::path::Path::new("topics")).unwrap().is_empty());
}

#[test]
fn what_a_replacement_without_room_is_not_about_goes_by_retention_and_the_rest_once_it_is_finished() {
    let mut found = 0;
    for (at, is_killed) in (0..).flat_map(|at| [(at, false), (at, true)]) {
        let Some((files, dir, log, before)) = stuck(at, Room::Removals) else { break };
        if !has_intent(&files) {
            continue;
        }
        let what = format!("from operation {at} on, {is_killed}");
        // All but what is appended to; of that a replacement is never about.
        let start = log.view.load().last().unwrap().base();
        let logs = |files: &SimFiles| {
            let is_log = |path: &&std::path::PathBuf| path.extension() == Some("log".as_ref());
            files.snapshot().keys().filter(is_log).filter(|path| path.starts_with("topics")).count()
        };
        let of_row = log.names().as_ref().unwrap().old().len();
        let there = logs(&files);
        assert!(there > of_row + 1, "{there} with {of_row}, {what}");
        assert_eq!(dir.raise_log_start(&log, start, NOW, Instant::now()).unwrap(), start);
        let drop_them =
            |dir: &DataDir<SimFiles>, log: &Log<SimFiles>| log.drop_below_start(dir.trash()).unwrap();
        drop_them(&dir, &log);
        assert_eq!(logs(&files), of_row + 1, "{what}");
        let due: Vec<Row> = before.iter().filter(|row| row.0 >= start.get()).cloned().collect();
        assert_eq!(rows(&log, start.get(), 1 << 20), due, "{what}");
        assert!(log.has_segments_below_start());
        let (dir, log) = if is_killed {
            drop((dir, log));
            files.crash(at);
            assert_eq!(crate::verify::verify(&files, &Default::default(), &mut |_| {}).unwrap().damage, 0);
            files.set_room(Room::Enough);
            open(&Arc::new(files.clone()), &compacting())
        } else {
            files.set_room(Room::Enough);
            (dir, log)
        };
        drop_them(&dir, &log);
        assert_eq!((logs(&files), has_intent(&files), log.segment_count()), (1, false, 1), "{what}");
        assert_eq!(rows(&log, start.get(), 1 << 20), due, "{what}");
        found += 1;
    }
    assert!(found > 3, "{found}");
}

#[test]
fn a_segment_whose_replacement_finds_no_room_is_not_called_damaged_and_not_read_in_vain() {
    let mut half_renamed = 0;
    for at in 0.. {
        let Some((files, dir, log, before)) = stuck(at, Room::Nothing) else { break };
        if !has_intent(&files) {
            continue;
        }
        let what = format!("from operation {at} on");
        let left = files.snapshot();
        let cleaned = left.keys().filter(|path| path.extension() == Some("cleaned".as_ref())).count();
        half_renamed += u32::from(cleaned == 1 || cleaned == 2);
        // Readers close what they have, and find out about the index.
        let segments = log.view.load_full();
        segments.iter().filter(|segment| segment.is_sealed()).for_each(|segment| drop(segment.take_maps()));
        check_lookups(&log);
        let mut from = Offset::ZERO;
        while let Some(mut scrub) = log.scrub(from) {
            loop {
                let step = scrub.step(1 << 20).unwrap();
                assert!(step.found.is_empty() && !step.is_index_damaged, "{what}: {step:?}");
                if step.is_done {
                    break;
                }
            }
            from = scrub.next_base();
        }
        let is_about = |base| log.names().as_ref().unwrap().is_about(base);
        for segment in segments.iter().filter(|segment| is_about(segment.base())) {
            segment.suspect();
            segment.set_sealed(None);
        }
        assert!(log.seal().is_none() && log.mend().is_none(), "{what}");
        check_rows(&log, &before, &what);
        drop(dir);
    }
    assert!(half_renamed > 1, "{half_renamed}");
}

/// The indexes of a segment are made anew once there is room, half of a replacement of it being done; whether a start
/// serves the log afterwards. `None`: it is not half done.
fn is_served_after_a_mend(at: u64) -> Option<bool> {
    let (files, dir, log, _) = stuck(at, Room::Nothing)?;
    let left = files.snapshot();
    let cleaned = left.keys().filter(|path| path.extension() == Some("cleaned".as_ref())).count();
    if !has_intent(&files) || !(1..=2).contains(&cleaned) {
        return Some(true);
    }
    files.set_room(Room::Enough);
    let base = log.names().as_ref().unwrap().old()[0];
    log.view.load().iter().filter(|segment| segment.base() == base).for_each(|segment| segment.suspect());
    log.mend_indexes().unwrap();
    drop((dir, log));
    files.kill();
    let dir_options = DataDirOptions::fixed(1);
    let (_dir, report) = DataDir::open(Arc::new(files.clone()), &dir_options, |_| compacting(), NOW).unwrap();
    Some(report.partitions[0].state.is_ok())
}

#[test]
fn indexes_that_are_made_anew_while_a_replacement_is_half_done_take_a_log_offline_and_nobody_makes_them() {
    let served = || (0..).map_while(is_served_after_a_mend).collect::<Vec<_>>();
    assert!(served().iter().all(|is_served| *is_served));
    let without = without(Protection::ReplacedAreLeftAlone, served);
    assert!(without.iter().any(|is_served| !is_served), "the control finds nothing");
}
