//! Index files that are not there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use folio_storage::Files;
use folio_storage::files::SimFiles;
use folio_storage::files::sim::Room;
use folio_storage::verify::Severity;

use crate::rig::{End, NOW, directory, findings, open, restore};

/// Both index files of a segment that is closed and not sealed, and lies below the durable point.
fn indexes(files: &SimFiles) -> [PathBuf; 2] {
    let snapshot = files.snapshot();
    let logs = snapshot.keys().filter(|path| path.starts_with("topics/t-1") && crate::rig::is_log(path));
    let log = logs.into_iter().nth(1).unwrap();
    ["index", "timeindex"].map(|extension| log.with_extension(extension))
}

/// What is more than harmless.
fn worst(files: &SimFiles) -> Vec<(PathBuf, Severity)> {
    let found = findings(files).0.into_iter().filter(|finding| finding.severity > Severity::Harmless);
    found.map(|finding| (finding.file, finding.severity)).collect()
}

#[test]
fn a_segment_below_the_durable_point_that_never_had_room_for_an_index_is_no_damage_and_gets_both() {
    let files = restore(directory(End::Killed));
    let indexes = indexes(&files);
    indexes.iter().for_each(|path| files.remove_file(path).unwrap());
    files.set_room(Room::NoBytes);
    let (dir, report) = open(&Arc::new(files.clone())).unwrap();
    assert!(report.partitions.iter().all(|partition| partition.state.is_ok()));
    drop((dir, report));
    files.kill();
    assert_eq!(worst(&files), indexes.clone().map(|path| (path, Severity::Interrupted)));

    files.set_room(Room::Enough);
    let (dir, report) = open(&Arc::new(files.clone())).unwrap();
    drop(report);
    dir.close_clean(NOW, Instant::now()).unwrap();
    assert_eq!(worst(&files), []);
    assert!(indexes.iter().all(|path| files.entry(path).unwrap().is_some()));
}

#[test]
fn an_index_that_is_lost_alone_is_damage_unless_a_crash_explains_it_and_both_together_are_what_a_full_disk_leaves()
 {
    // How many bytes are left of each; `None`: not even a name. A header has 32.
    let (all, header) = (usize::MAX, 32);
    let (alone, both) = (Severity::Damage, Severity::Harmless);
    let cases = [
        ([None, None], both),
        ([Some(0), None], both),
        ([None, Some(header - 1)], both),
        ([Some(header - 1), Some(0)], both),
        ([None, Some(all)], alone),
        ([Some(all), None], alone),
        ([Some(0), Some(header)], alone),
    ];
    for end in [End::Clean, End::Killed] {
        for (left, severity) in cases {
            let files = restore(directory(end));
            for (path, left) in indexes(&files).iter().zip(left) {
                match left {
                    Some(left) => files.tamper(path, |bytes| bytes.truncate(left)),
                    None => files.remove_file(path).unwrap(),
                }
            }
            let due = if matches!(end, End::Clean) { severity } else { Severity::Interrupted };
            let found = findings(&files).0.into_iter().map(|finding| finding.severity).max();
            assert_eq!(found, Some(due), "{end:?}, {left:?}");
        }
    }
}

#[test]
fn a_time_index_that_a_sealed_segment_has_lost_is_damage() {
    for end in [End::Clean, End::Killed] {
        let files = restore(directory(end));
        let path = Path::new("topics/t-0/00000000000000000000.timeindex");
        files.remove_file(path).unwrap();
        assert_eq!(worst(&files), [(path.to_owned(), Severity::Damage)], "{end:?}");
    }
}
