//! What a look into a directory shows that is no log: whose it is, what was put aside, thrown away or not finished.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use folio_storage::dump::{DumpOptions, Item, dump};
use folio_storage::files::{FileHandle, OpenMode, SimFiles};
use folio_storage::slots::SLOTS_NAME;
use folio_storage::verify::Severity;
use folio_storage::{Files, LogOptions};

use crate::rig::{End, NOW, RECORDS, directory, findings, is_log, open, restore, topic};

fn items(files: &SimFiles, partition: Option<&str>) -> Vec<Item> {
    let mut items = Vec::new();
    let options = DumpOptions { records: false, partition: partition.map(str::to_owned) };
    dump(files, &options, &mut |item| items.push(item)).unwrap();
    items
}

#[test]
fn a_dump_shows_whose_a_directory_is_and_what_was_put_aside_thrown_away_or_left_unfinished() {
    let good = directory(End::Killed);
    let files = restore(good);
    // A write was interrupted, and a topic is deleted.
    let torn = good.keys().rfind(|path| is_log(path) && path.starts_with("topics/t-0")).unwrap();
    files.tamper(torn, |bytes| bytes.extend_from_slice(&[7; 40]));
    let (dir, report) = open(&Arc::new(files.clone())).unwrap();
    assert!(report.partitions.iter().all(|partition| partition.state.is_ok()));
    dir.create_topic(topic(10), &LogOptions::default(), NOW).unwrap();
    dir.delete_topic("t10", NOW).unwrap();
    let unfinished = Path::new("topics/t-1/next.log.tmp");
    files.open(unfinished, OpenMode::CreateNew).unwrap().write_at(b"half", 0).unwrap();
    let half_made = Path::new("topics/t-9.tmp");
    files.create_dir(half_made).unwrap();

    // Beside the daemon, and after its death.
    let beside = items(&files, None);
    drop((dir, report));
    files.kill();
    let all = items(&files, None);
    assert_eq!(beside, all);
    assert!(!all.iter().any(|item| matches!(item, Item::Broken { .. })), "{all:#?}");
    assert!(all.contains(&Item::Unfinished { file: unfinished.to_owned(), bytes: 4 }));
    assert!(all.contains(&Item::Unfinished { file: half_made.to_owned(), bytes: 0 }));
    let host = Some("box".to_owned());
    assert!(all.contains(&Item::Lock { pid: Some(1), host, run_id: 1, started_ms: Some(NOW.get()) }));
    let is_trash = |item: &&Item| matches!(item, Item::Trash { is_directory: true, .. });
    assert_eq!(all.iter().filter(is_trash).count(), 2, "a directory for each partition");
    let put_aside = |items: &[Item]| -> Vec<Item> {
        items.iter().filter(|item| matches!(item, Item::Quarantined { .. })).cloned().collect()
    };
    let [Item::Quarantined { file, bytes, of, position, first_offset, reason, at_ms, .. }] =
        &put_aside(&all)[..]
    else {
        panic!("{all:#?}")
    };
    assert!(file.starts_with("quarantine"));
    let place = (of.as_deref(), *position, *first_offset, *bytes, *at_ms);
    let end = good[torn].len() as u64;
    assert_eq!(place, (torn.to_str(), Some(end), Some(RECORDS), 40, Some(NOW.get())));
    assert!(reason.as_ref().unwrap().contains("torn write"), "{reason:?}");

    // What belonged to a partition is shown with it.
    assert_eq!(put_aside(&items(&files, Some("t-0"))), put_aside(&all));
    assert_eq!(put_aside(&items(&files, Some("t-1"))), []);
    let kinds = |items: &[Item]| {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for item in items {
            let json = serde_json::to_value(item).unwrap();
            *kinds.entry(json["item"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        kinds
    };
    assert!(!kinds(&items(&files, Some("t-1"))).contains_key("trash"));
    files.tamper(
        &Path::new("quarantine").join(format!("{}.json", file.file_name().unwrap().display())),
        |note| {
            note.truncate(20);
        },
    );
    assert_eq!(kinds(&items(&files, None)).get("broken"), Some(&1), "a note that cannot be read is named");
}

#[test]
fn what_a_kill_leaves_of_a_segment_that_was_being_made_ready_is_told_in_one_line() {
    let files = restore(directory(End::Killed));
    let (before, _) = findings(&files);
    for name in ["next.index.tmp", "next.log.tmp", "next.timeindex.tmp"] {
        files.open(&Path::new("topics/t-1").join(name), OpenMode::CreateNew).unwrap();
    }
    let (after, _) = findings(&files);
    let told: Vec<_> = after.iter().filter(|finding| !before.contains(finding)).collect();
    let [one] = told[..] else { panic!("{told:#?}") };
    assert_eq!(
        (one.severity, one.file.as_path()),
        (Severity::Interrupted, Path::new("topics/t-1/next.index.tmp"))
    );
    assert!(one.what.contains("and 2 other files beside it"), "{}", one.what);
}

#[test]
fn a_directory_of_something_else_is_not_shown_as_one_of_ours_that_is_broken() {
    let files = SimFiles::new();
    files.open(Path::new("something"), OpenMode::CreateNew).unwrap();
    let mut shown = 0;
    let error = dump(&files, &DumpOptions::default(), &mut |_| shown += 1).unwrap_err();
    assert_eq!((shown, error.to_string().contains("no data directory")), (0, true), "{error}");
}

#[test]
fn durable_points_that_cannot_be_read_are_named_with_their_place_and_are_not_called_lost() {
    for end in [End::Clean, End::Killed] {
        let pages: [&[u64]; 5] = [&[0], &[4096], &[8192], &[4096, 8192], &[0, 4096, 8192]];
        for broken in pages {
            let files = restore(directory(end));
            for page in broken {
                files.break_sectors(Path::new(SLOTS_NAME), *page..page + 4096);
            }
            let (found, summary) = findings(&files);
            let found: Vec<_> = found.iter().filter(|one| one.severity == Severity::Damage).collect();
            let places: Vec<_> = found.iter().map(|one| one.position.unwrap()).collect();
            assert_eq!((places, summary.damage), (broken.to_vec(), broken.len() as u64), "{found:?}");
            for one in found {
                assert!(one.file == Path::new(SLOTS_NAME) && one.bytes == Some(4096), "{one}");
                assert!(one.what.starts_with("cannot be read: "), "{one}");
            }
        }
    }
}
