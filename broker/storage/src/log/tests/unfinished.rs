//! Claims about a replacement of segments that is decided and finds no room: what is read meanwhile, what a start does
//! about it, and who leaves its files alone.

use super::compact::{Row, compacting, filled, last_of_each, rows};
use super::*;
use crate::files::sim::Room;
use crate::log::compact::Compacting;
use crate::recovery::Damage;

/// A log in a pass over which there was room for nothing any more from operation `at` of it on; what was in it before.
/// `None`: there was enough to the end.
fn stuck(at: u64) -> Option<(SimFiles, DataDir<SimFiles>, Arc<Log<SimFiles>>, Vec<Row>)> {
    let files = SimFiles::new();
    let (dir, log) = filled(&files, 60);
    let before = rows(&log, 0, 1 << 20);
    let mut pass = log.compact([7, 9], 1 << 20, NOW).unwrap();
    files.set_room_at(files.operations() + at, Room::Nothing);
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
        let Some((files, dir, log, before)) = stuck(at) else { break };
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
