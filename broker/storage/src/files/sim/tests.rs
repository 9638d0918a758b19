//! Claims about the simulated machine: what a crash may take and what it must leave.

use super::*;

fn path(path: &str) -> &Path {
    Path::new(path)
}

fn write(files: &SimFiles, name: &str, bytes: &[u8]) -> SimFile {
    let file = files.open(path(name), OpenMode::Create).unwrap();
    file.write_at(bytes, 0).unwrap();
    file
}

#[test]
fn what_was_synced_survives_every_crash_and_nothing_else_has_to() {
    let mut lengths = std::collections::BTreeSet::new();
    let mut names_lost = 0;
    for seed in 0..200 {
        let files = SimFiles::new();
        let file = write(&files, "a", &[1; 700]);
        file.sync().unwrap();
        files.sync_dir(path("")).unwrap();
        file.write_at(&[2; 2000], 700).unwrap();
        write(&files, "b", b"never synced");
        files.crash(seed);
        let left = files.snapshot();
        let a = &left[path("a")];
        assert_eq!(a[..700], [1; 700]);
        assert!(a[700..].iter().all(|byte| [0, 2].contains(byte)), "neither old nor new");
        lengths.insert(a.len());
        names_lost += usize::from(!left.contains_key(path("b")));
    }
    assert!(lengths.len() > 20, "crashes differ");
    assert!((20..180).contains(&names_lost), "names are lost and kept: {names_lost}");
}

#[test]
fn bytes_that_came_before_their_length_are_back_once_the_file_grows_unless_its_end_was_cleared() {
    let mut back = [0; 2];
    for seed in 0..400 {
        for clears in [false, true] {
            let files = SimFiles::new();
            let file = write(&files, "a", &[1; 600]);
            file.sync().unwrap();
            files.sync_dir(path("")).unwrap();
            file.write_at(&[2; 1000], 600).unwrap();
            files.crash(seed);
            let left = files.snapshot()[path("a")].len();
            let file = files.open(path("a"), OpenMode::Write).unwrap();
            if clears {
                file.set_len(left as u64).unwrap();
                file.sync().unwrap();
            }
            file.write_at(&[3; 1000], left as u64).unwrap();
            files.crash(seed + 1);
            back[usize::from(clears)] += usize::from(files.snapshot()[path("a")][left..].contains(&2));
        }
    }
    assert!(back[0] > 5 && back[1] == 0, "{back:?}");
}

#[test]
fn the_same_seed_takes_the_same_bytes() {
    let run = |seed| {
        let files = SimFiles::new();
        for name in ["a", "b", "c"] {
            write(&files, name, &[7; 5000]);
        }
        files.crash(seed);
        files.snapshot()
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn a_rename_is_atomic_and_lost_without_a_sync_of_its_directory() {
    let mut seen = [0; 2];
    for seed in 0..100 {
        let files = SimFiles::new();
        write(&files, "meta", b"old").sync().unwrap();
        write(&files, "meta.tmp", b"new").sync().unwrap();
        files.sync_dir(path("")).unwrap();
        files.rename(path("meta.tmp"), path("meta")).unwrap();
        files.crash(seed);
        let left = files.snapshot();
        match left[path("meta")].as_slice() {
            b"old" => seen[0] += usize::from(left.contains_key(path("meta.tmp"))),
            b"new" => seen[1] += usize::from(!left.contains_key(path("meta.tmp"))),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen[0] + seen[1], 100);
    assert!(seen[0] > 0 && seen[1] > 0);
}

#[test]
fn a_killed_process_loses_its_locks_and_its_handles_but_no_bytes() {
    let files = SimFiles::new();
    let file = write(&files, "LOCK", b"mine");
    assert!(file.try_lock().unwrap());
    let other = files.open(path("LOCK"), OpenMode::Write).unwrap();
    assert!(!other.try_lock().unwrap());
    let boot = files.boot();
    files.kill();
    assert!(file.write_at(b"x", 0).is_err());
    assert!(files.open(path("LOCK"), OpenMode::Write).unwrap().try_lock().unwrap());
    assert_eq!(files.snapshot()[path("LOCK")], b"mine");
    assert!(files.boot().is_surely(&boot));
    files.crash(0);
    assert!(!files.boot().is_surely(&boot));
}

#[test]
fn a_lying_sync_shows_new_bytes_until_the_cache_is_dropped() {
    let files = SimFiles::new();
    let file = write(&files, "log", b"old");
    file.sync().unwrap();
    file.write_at(b"new", 0).unwrap();
    files.fail_at(files.operations(), Fault::SyncLies);
    assert!(file.sync().is_err());
    assert!(file.sync().is_ok(), "the second sync lies");
    assert_eq!(files.snapshot()[path("log")], b"new");
    file.drop_cache().unwrap();
    assert_eq!(files.snapshot()[path("log")], b"old");
}

#[test]
fn an_appended_file_is_seen_through_its_map_and_loses_only_its_unsynced_end() {
    let files = SimFiles::new();
    let file = write(&files, "log", b"abc");
    files.sync_dir(path("")).unwrap();
    let reader = files.open(path("log"), OpenMode::Read).unwrap();
    let mut appender = files.appender(&file, 4096, 3).unwrap();
    appender.append(&[IoSlice::new(b"def")]).unwrap();
    reader.sync().unwrap();
    appender.append(&[IoSlice::new(b"ghi")]).unwrap();
    let mut bytes = [0; 16];
    assert_eq!(reader.read_at(&mut bytes, 1).unwrap(), 8);
    assert_eq!(&bytes[..8], b"bcdefghi");

    files.fail_at(files.operations(), Fault::Short);
    assert!(appender.append(&[IoSlice::new(&[9; 64])]).is_err());
    assert!(appender.append(&[IoSlice::new(b"x")]).is_err(), "not before the cut");
    appender.cut().unwrap();
    assert_eq!(reader.len().unwrap(), 9);
    files.crash(3);
    let left = &files.snapshot()[path("log")];
    assert!(left.len() >= 6 && left.starts_with(b"abcdef"), "{left:?}");
}

#[test]
fn after_the_power_went_nothing_works_until_the_machine_is_back() {
    let files = SimFiles::new();
    let file = write(&files, "a", b"");
    files.cut_power_at(files.operations() + 1);
    file.write_at(b"one", 0).unwrap();
    assert!(file.write_at(b"two", 3).is_err());
    assert!(file.sync().is_err() && files.create_dir(path("d")).is_err() && files.list(path("")).is_err());
    files.crash(1);
    files.create_dir(path("d")).unwrap();
}

#[test]
fn a_full_disk_takes_no_new_bytes_but_old_ones_may_be_rewritten() {
    let files = SimFiles::new();
    let file = write(&files, "slots", &[0; 64]);
    files.set_room(Room::NoBytes);
    assert_eq!(file.write_at(b"x", 64).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(b"x", 63).unwrap();
    files.set_room(Room::Enough);
    file.write_at(b"x", 64).unwrap();
}
