//! Claims about a disk that has no room for an operation, or for two in a row, whichever they are: some file systems need
//! room even to take something away. Only a sync that says so is final, and a slot, which was given its room before.

use super::*;
use crate::files::is_final;
use crate::partition_files::SegmentFile;

fn small() -> LogOptions {
    LogOptions { segment_bytes: 1024, segment_ms: None, ..LogOptions::default() }
}

/// A directory with three logs, each with a reserve behind its end, that nobody has closed.
fn killed() -> Arc<SimFiles> {
    let files = Arc::new(SimFiles::new());
    let dir = opened(&files);
    let logs = dir.create_topic(NewTopic { partitions: 3, ..topic(1) }, &small(), NOW).unwrap();
    logs.iter().for_each(|log| drop(log.writer().append(&mut [batch(300)], Mode::MayBlock, NOW).unwrap()));
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    drop((dir, logs));
    files.kill();
    files
}

fn opened(files: &Arc<SimFiles>) -> DataDir<SimFiles> {
    DataDir::open(Arc::clone(files), &options(7), |_| small(), NOW).unwrap().0
}

/// Lets each operation of `used`, or so many in a row, find no room, one after the other; how many operations there are.
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
    let operations = each_finds_no_room(
        1,
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

#[test]
fn a_segment_that_is_closed_where_there_is_no_room_at_any_step_keeps_its_reserve_and_the_log_goes_on() {
    let operations = each_finds_no_room(
        1,
        |_| {},
        |dir| {
            let log = &dir.logs()[0];
            for _ in 0..3 {
                let append = || log.writer().append(&mut [batch(900)], Mode::MayBlock, NOW).map(drop);
                let appended = append();
                match appended {
                    Ok(()) => {}
                    Err(AppendError::Full { .. }) => append().expect("there is room again"),
                    Err(AppendError::Io { path, source }) => return Err(FlushError { path, source }),
                    Err(other) => panic!("{other}"),
                }
            }
            assert_eq!(log.log_end(), Offset::new(4));
            Ok(())
        },
    );
    assert!(operations > 20, "{operations}");
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
