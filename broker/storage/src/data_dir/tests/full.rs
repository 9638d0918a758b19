//! Claims about a disk that has no room for an operation, or for two in a row, whichever they are: some file systems
//! need room even to take something away, or to write a slot over itself. Only a sync that says so is final.

use super::*;
use crate::controls::{Protection, without};
use crate::files::is_final;
use crate::log::{Fetched, Read};
use crate::metadata::{CommitError, Key, Operation, Transaction, Value};
use crate::partition_files::SegmentFile;

fn small() -> LogOptions {
    LogOptions { segment_bytes: 1024, segment_ms: None, ..LogOptions::default() }
}

/// A directory with three logs, each with a reserve behind its end, that nobody has closed.
pub(super) fn killed() -> Arc<SimFiles> {
    let files = Arc::new(SimFiles::new());
    let dir = opened(&files);
    let logs = dir.create_topic(NewTopic { partitions: 3, ..topic(1) }, &small(), NOW).unwrap();
    logs.iter().for_each(|log| drop(log.writer().append(&mut [batch(300)], Mode::MayBlock, NOW).unwrap()));
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    drop((dir, logs));
    files.kill();
    files
}

pub(super) fn opened(files: &Arc<SimFiles>) -> DataDir<SimFiles> {
    DataDir::open(Arc::clone(files), &options(7), |_| small(), NOW).unwrap().0
}

/// The same, of which the first log has three more segments now.
pub(super) fn of_segments(files: &Arc<SimFiles>) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    let dir = opened(files);
    let log = Arc::clone(&dir.logs()[0]);
    for _ in 0..3 {
        drop(log.writer().append(&mut [batch(900)], Mode::MayBlock, NOW).unwrap());
    }
    dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
    (dir, log)
}

/// Lets each operation of `used`, or so many in a row, find no room, one after the other; how many operations there
/// are.
fn each_finds_no_room(
    in_a_row: u64,
    before: impl Fn(&DataDir<SimFiles>),
    used: impl Fn(DataDir<SimFiles>) -> Result<(), FlushError>,
) -> u64 {
    for operation in 0.. {
        let files = killed();
        let dir = opened(&files);
        before(&dir);
        let first = files.operations();
        (0..in_a_row).for_each(|next| files.fail_at(first + operation + next, Fault::Full));
        if let Err(error) = used(dir) {
            let is_fatal = is_final(&error.source) || error.path == Path::new(SLOTS_NAME);
            assert!(is_fatal, "operation {operation}: {error}");
        }
        if files.operations() <= first + operation {
            return operation;
        }
    }
    unreachable!("there is a last one")
}

#[test]
fn epochs_that_find_no_room_at_any_step_are_written_down_later() {
    for in_a_row in [1, 2] {
        let operations = each_finds_no_room(
            in_a_row,
            |_| {},
            |dir| {
                while dir.save_epochs(1)?.left > 0 {}
                Ok(())
            },
        );
        assert!(operations >= 3 * 5, "{operations}");
    }
}

#[test]
fn a_stop_that_finds_no_room_at_any_step_fails_nothing() {
    for in_a_row in [1, 2, 4] {
        let operations = each_finds_no_room(
            in_a_row,
            |_| {},
            |dir| {
                dir.logs()
                    .iter()
                    .for_each(|log| drop(log.writer().append(&mut [batch(100)], Mode::MayBlock, NOW)));
                dir.close_clean(NOW, Instant::now()).map(drop)
            },
        );
        assert!(operations > 20, "{operations}");
    }
}

#[test]
fn a_segment_that_is_closed_where_there_is_no_room_at_any_step_keeps_its_reserve_and_the_log_goes_on() {
    for in_a_row in [1, 2, 3, 5, 8] {
        let operations = each_finds_no_room(
            in_a_row,
            |_| {},
            |dir| {
                let log = &dir.logs()[0];
                for number in 0..3 {
                    if number == 1 {
                        while let Err(error) = log.prepare_next() {
                            assert!(matches!(error, AppendError::Full { .. }), "{error}");
                        }
                    }
                    appended(&dir, log, &batch(900))?;
                }
                assert_eq!(log.log_end(), Offset::new(4));
                Ok(())
            },
        );
        assert!(operations > 20, "{operations}");
    }
}

/// Appends, as soon as there is room; how often there was none.
fn appended(
    dir: &DataDir<SimFiles>,
    log: &Arc<Log<SimFiles>>,
    batch: &bytes::BytesMut,
) -> Result<usize, FlushError> {
    for refused in 0..20 {
        let end = log.log_end();
        let appended = log.writer().append(&mut [batch.clone()], Mode::MayBlock, NOW);
        match appended {
            Ok(_) => return Ok(refused),
            Err(AppendError::Full { .. }) => assert_eq!((log.log_end(), dir.has_failed()), (end, false)),
            Err(AppendError::Io { path, source }) => return Err(FlushError { path, source }),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("there is room, and it is not taken")
}

/// What the batch at `offset` has behind its header.
fn payload(log: &Log<SimFiles>, offset: i64) -> Vec<u8> {
    let read = log.read(Offset::new(offset), 1, &mut Cursor::default(), Touch::Any).unwrap();
    let Read::Ready(Fetched { slice: Some(slice), .. }) = read else { panic!("nothing at {offset}") };
    let mut bytes = vec![0; slice.len()];
    slice.copy_to(0, &mut bytes).unwrap();
    bytes.split_off(folio_record::HEADER_SIZE)
}

/// How a run ends whose disk was full.
#[derive(Debug, Clone, Copy)]
enum End {
    Kill,
    PowerCut(u64),
    Stop,
}

fn end(files: &SimFiles, dir: DataDir<SimFiles>, end: End) {
    match end {
        End::Kill => files.kill(),
        End::PowerCut(seed) => files.crash(seed),
        End::Stop => {
            dir.close_clean(NOW, Instant::now()).unwrap();
            files.kill();
        }
    }
}

fn ends() -> impl Iterator<Item = End> {
    [End::Kill, End::Stop].into_iter().chain((0..200).map(End::PowerCut))
}

#[test]
fn what_there_is_no_room_even_to_cut_off_is_cut_before_anything_is_written_there_and_harms_no_start() {
    for ended in ends() {
        // What comes next may be written where the rest lies, or in a segment of its own.
        for (is_freed, is_small) in [(false, false), (true, false), (true, true)] {
            let files = killed();
            let dir = if is_small { opened(&files) } else { open(&files).0 };
            let log = Arc::clone(&dir.logs()[0]);
            // Awake, with a reserve.
            appended(&dir, &log, &batch(100)).unwrap();
            dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
            let promised = log.log_end();
            files.set_room(Room::Nothing);
            for size in [700, 300, 450] {
                let refused = log.writer().append(&mut [batch(size)], Mode::MayBlock, NOW);
                assert!(matches!(refused, Err(AppendError::Full { .. })), "{refused:?}");
                assert!(matches!(
                    log.writer().append(&mut [batch(size)], Mode::Inline, NOW),
                    Err(AppendError::Full { .. } | AppendError::NeedsLane)
                ));
                // What lies there comes to the disk with the next flush.
                dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
                assert_eq!((log.log_end(), log.high_watermark()), (promised, promised));
            }
            // As long as what lies there, and something else.
            let mut other = batch(700);
            *other.last_mut().unwrap() ^= 1;
            other[folio_record::HEADER_SIZE + 20] ^= 1;
            folio_record::seal(&mut other);
            if is_freed {
                files.set_room(Room::Enough);
                appended(&dir, &log, &other).unwrap();
                // So that the power may leave all of it, as far as the length of the file goes.
                appended(&dir, &log, &batch(900)).unwrap();
                assert_eq!(log.log_end(), Offset::new(promised.get() + 2));
            }
            drop(log);
            end(&files, dir, ended);
            files.set_room(Room::Enough);
            let (dir, report) = open(&files);
            assert_eq!(online(&report).len(), 3, "{ended:?}, {is_freed}, {is_small}");
            let log = &dir.logs()[0];
            assert!(log.log_end() >= promised && log.log_end().get() <= promised.get() + 2);
            if is_freed && !matches!(ended, End::PowerCut(_)) {
                // What was acknowledged is there, and not what was refused.
                assert_eq!(log.log_end().get(), promised.get() + 2);
                let due = [other, batch(900)].map(|batch| batch[folio_record::HEADER_SIZE..].to_vec());
                assert_eq!(
                    [0, 1].map(|more| payload(log, promised.get() + more)),
                    due,
                    "{ended:?}, {is_small}"
                );
            }
            appended(&dir, log, &batch(500)).unwrap();
        }
    }
}

#[test]
fn a_transaction_that_finds_no_room_even_to_be_cut_off_is_refused_and_the_next_one_with_room_is_made() {
    for ended in ends() {
        for is_freed in [false, true] {
            let files = killed();
            let dir = opened(&files);
            let set = |node, size| set_broker(&dir, node, size);
            set(1, 10).unwrap();
            files.set_room(Room::Nothing);
            for size in [3000, 10, 9000] {
                let refused = set(2, size);
                assert!(matches!(refused, Err(CommitError::Full { .. })), "{refused:?}");
                files.write_back(size as u64);
                assert!(!dir.has_failed());
            }
            // As long as what lies there, and something else; some of it is under way when the power goes.
            let mut is_made = false;
            if is_freed {
                files.set_room(Room::Enough);
                if let End::PowerCut(seed) = ended {
                    files.cut_power_at(files.operations() + 1 + seed % 6);
                }
                is_made = set(3, 3000).is_ok();
            }
            end(&files, dir, ended);
            // And a start without room.
            let dir = opened(&files);
            files.set_room(Room::Enough);
            let known = |dir: &DataDir<SimFiles>| {
                let state = dir.metadata();
                let is_known = |node| state.state().get(&Key::Broker(Some(node))).is_some();
                [1, 2, 3].map(is_known)
            };
            let [first, second, third] = known(&dir);
            assert!(first && !second && (third || !is_made) && (is_freed || !third), "{ended:?}");
            dir.commit(
                Transaction {
                    compares: Vec::new(),
                    operations: vec![Operation::Put(Key::Broker(Some(4)), Value::Broker(Vec::new()))],
                },
                NOW,
            )
            .unwrap();
            drop(dir);
            files.crash(7);
            assert_eq!(known(&opened(&files)), [true, false, third], "{ended:?}");
        }
    }
}

#[test]
fn a_clean_marker_that_there_is_no_room_to_take_away_is_believed_by_one_start_and_by_no_other() {
    let stopped = || {
        let files = killed();
        opened(&files).close_clean(NOW, Instant::now()).unwrap();
        files.kill();
        files
    };
    for seed in 0..20 {
        let files = stopped();
        files.set_room(Room::Nothing);
        let (dir, report) = open(&files);
        assert!(report.was_clean);
        drop(dir);
        if seed == 0 {
            files.kill();
        } else {
            files.crash(seed);
            files.set_room(Room::Enough);
        }
        let (dir, report) = open(&files);
        assert!(!report.was_clean);
        assert_eq!(online(&report).len(), 3);
        drop(dir);
        files.set_room(Room::Enough);
        files.kill();
        open(&files).0.close_clean(NOW, Instant::now()).unwrap();
        files.kill();
        assert!(open(&files).1.was_clean);
    }
    // Whatever finds no room, so many times in a row.
    for in_a_row in 1..=4 {
        for operation in 0.. {
            let files = stopped();
            let first = files.operations() + operation;
            (first..first + in_a_row).for_each(|at| files.fail_at(at, Fault::Full));
            match DataDir::open(Arc::clone(&files), &options(7), |_| small(), NOW) {
                Ok((dir, report)) => {
                    assert!(report.was_clean);
                    drop(dir);
                    let is_over = files.operations() <= first;
                    files.kill();
                    assert!(!open(&files).1.was_clean, "operation {operation}");
                    if is_over {
                        break;
                    }
                }
                Err(OpenError::MarkerStays { .. }) => {
                    assert!(in_a_row > 2);
                    files.kill();
                    assert!(open(&files).1.was_clean, "nothing else was written");
                }
                Err(OpenError::Io { source, .. }) if is_final(&source) => {}
                // Which epoch begins has to be written over.
                Err(OpenError::Slots { .. }) => {}
                Err(OpenError::Io { path, .. }) if path.ends_with(SLOTS_NAME) => {}
                Err(other) => panic!("operation {operation}, {in_a_row} in a row: {other}"),
            }
        }
    }
}

#[test]
fn a_segment_that_there_is_no_room_to_take_away_is_taken_away_the_next_time() {
    let filled = |dir: &DataDir<SimFiles>| {
        let log = &dir.logs()[0];
        for _ in 0..3 {
            drop(log.writer().append(&mut [batch(900)], Mode::MayBlock, NOW).unwrap());
        }
        dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
        dir.raise_log_start(log, Offset::new(2), NOW, Instant::now()).unwrap();
    };
    for in_a_row in [1, 2, 6] {
        let operations = each_finds_no_room(in_a_row, filled, |dir| {
            let log = &dir.logs()[0];
            while log.has_segments_below_start() {
                let dropped = log.drop_below_start(dir.trash());
                dropped.map_err(|source| FlushError { path: log.dir().to_owned(), source })?;
            }
            let first = SegmentFile::Log.path(log.dir(), Offset::ZERO);
            assert_eq!(dir.files.entry(&first).unwrap(), None);
            assert_eq!(log.segment_count(), 2);
            Ok(())
        });
        assert!(operations >= 3, "{operations}");
    }
}

#[test]
fn segments_that_a_start_had_no_room_to_take_away_are_taken_away_by_the_same_run() {
    for in_a_row in [1, 2, 6, u64::MAX] {
        for operation in 0.. {
            let files = killed();
            let (dir, log) = of_segments(&files);
            dir.raise_log_start(&log, Offset::new(2), NOW, Instant::now()).unwrap();
            drop((dir, log));
            files.kill();
            // A start without room for this.
            files.set_room(Room::Nothing);
            let dir = opened(&files);
            let log = Arc::clone(&dir.logs()[0]);
            let below = || {
                let names = dirs(&*files, "topics/t1-0").into_iter();
                let bases = names.filter_map(|name| name.get(..20)?.parse::<u64>().ok());
                bases.filter(|base| *base < 2).count()
            };
            assert_eq!((below(), log.segment_count()), (6, 2));
            assert!(log.has_segments_below_start());
            log.drop_below_start(dir.trash()).unwrap();
            assert_eq!(below(), 6, "there is still no room");
            let first = files.operations();
            if in_a_row < u64::MAX {
                files.set_room(Room::Enough);
                (0..in_a_row).for_each(|next| files.fail_at(first + operation + next, Fault::Full));
                // Each time one of them goes at the least, or uses up two of the refusals.
                (0..10).for_each(|_| drop(log.drop_below_start(dir.trash()).unwrap()));
                assert_eq!((below(), log.has_segments_below_start()), (0, false), "operation {operation}");
            }
            let is_over = in_a_row == u64::MAX || files.operations() <= first + operation;
            drop((dir, log));
            files.crash(operation);
            files.set_room(Room::Enough);
            let log = Arc::clone(&opened(&files).logs()[0]);
            assert_eq!((log.log_start(), log.log_end()), (Offset::new(2), Offset::new(4)));
            assert_eq!((below(), log.has_segments_below_start()), (0, false));
            if is_over {
                break;
            }
        }
    }
}

#[test]
fn an_index_that_there_is_no_room_to_cut_is_done_without_until_the_next_segment_begins() {
    let mut done_without = 0;
    for (seed, operation) in (0..300).map(|seed| (seed, seed % 5)) {
        let files = killed();
        let dir = open(&files).0;
        let log = Arc::clone(&dir.logs()[0]);
        appended(&dir, &log, &batch(5000)).unwrap();
        // A write finds no room, and then the cut.
        let first = files.operations() + operation;
        (first..first + 2).for_each(|operation| files.fail_at(operation, Fault::Short));
        appended(&dir, &log, &batch(5000)).unwrap();
        // What of it there is comes to the disk.
        files.write_back(seed);
        for _ in 0..2 {
            appended(&dir, &log, &batch(5000)).unwrap();
        }
        done_without += u32::from(log.roll_if_expired(NOW).unwrap());
        appended(&dir, &log, &batch(5000)).unwrap();
        drop((dir, log));
        files.crash(seed);
        let looked = crate::verify::verify(&*files, &Default::default(), &mut |_| {}).unwrap();
        assert_eq!(looked.damage, 0, "{seed}");
        assert_eq!(online(&open(&files).1).len(), 3);
    }
    assert!(done_without > 50, "{done_without}");
}

#[test]
fn a_clean_marker_that_stays_on_a_full_disk_and_keeps_its_word_is_believed_by_a_start_that_nobody_has_stopped_for()
 {
    let was_clean = || {
        let files = killed();
        opened(&files).close_clean(NOW, Instant::now()).unwrap();
        files.kill();
        files.set_room(Room::Nothing);
        drop(open(&files));
        files.kill();
        open(&files).1.was_clean
    };
    assert!(!was_clean());
    assert!(without(Protection::MarkersAreVoided, was_clean), "the control finds nothing");
}

#[test]
fn an_index_that_there_is_no_room_to_cut_is_cut_by_a_stop_or_no_marker_speaks_of_its_log() {
    let mut stopped = [0, 0];
    for (operation, is_stuck, sleeps) in (0..5 * 4).map(|case| (case / 4, case % 2 == 0, case & 2 == 0)) {
        let files = killed();
        let dir = opened(&files);
        let log = Arc::clone(&dir.logs()[0]);
        appended(&dir, &log, &batch(5000)).unwrap();
        let first = files.operations() + operation;
        (first..first + 2).for_each(|operation| files.fail_at(operation, Fault::Short));
        if appended(&dir, &log, &batch(5000)).is_err() {
            // It was a sync.
            continue;
        }
        dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
        if is_stuck {
            files.set_room(Room::Nothing);
        }
        if sleeps {
            let begun = Instant::now();
            for seconds in 0..2 {
                log.sleep_if_idle(begun + Duration::from_secs(seconds), Duration::from_secs(1)).unwrap();
            }
        }
        drop(log);
        let closed = dir.close_clean(NOW, Instant::now()).unwrap();
        files.set_room(Room::Enough);
        let looked = crate::verify::verify(&*files, &Default::default(), &mut |_| {}).unwrap();
        assert_eq!(looked.damage, 0, "{operation}, {is_stuck}, {sleeps}");
        assert!(is_stuck || looked.interrupted == 0, "{operation}, {sleeps}");
        stopped[usize::from(is_stuck)] += u32::from(matches!(closed, Closed::Clean));
        assert_eq!(online(&open(&files).1).len(), 3);
    }
    assert!(stopped[0] >= 6, "{stopped:?}");
}
