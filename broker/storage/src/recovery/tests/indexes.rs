//! Indexes that are harmed in any way, and those that a full disk has no room for.

use super::*;
use crate::partition_files::SegmentFile;

#[test]
fn any_harm_to_an_index_is_mended_byte_for_byte_and_loses_nothing() {
    type Harm = fn(&SimFiles, &Path);
    let harms: [(&str, Harm); 8] = [
        ("missing", |files, path| files.remove_file(path).unwrap()),
        ("empty", |files, path| files.tamper(path, Vec::clear)),
        ("cut", |files, path| files.tamper(path, |bytes| bytes.truncate(50))),
        ("longer", |files, path| files.tamper(path, |bytes| bytes.extend_from_slice(&[7; 40]))),
        ("zeros", |files, path| files.tamper(path, |bytes| bytes.fill(0))),
        ("unreadable", |files, path| files.break_sectors(path, 0..1)),
        ("flipped header", |files, path| files.tamper(path, |bytes| bytes[20] ^= 1)),
        ("flipped entry", |files, path| files.tamper(path, |bytes| *bytes.last_mut().unwrap() ^= 1)),
    ];
    for (name, harm) in harms {
        for (_, file) in index_files() {
            for segment in 0..3 {
                if name == "cut" && file == SegmentFile::TimeIndex && segment < 2 {
                    // Nothing in a segment without a footer says how many entries there have to be.
                    continue;
                }
                let mut written = Written::with_segments();
                written.power_was_lost();
                let pristine = partition_files(&written.files);
                harm(&written.files, &file.path(Path::new(DIR), written.segments[segment].base));
                let (log, report) = written.recover().unwrap();
                assert_eq!(log.log_end, written.next);
                assert_eq!(report.indexes_mended, 1, "{name}, {file:?}, segment {segment}");
                assert_eq!(partition_files(&written.files), pristine, "{name}, {file:?}, segment {segment}");
            }
        }
    }
}

#[test]
fn an_index_that_another_segment_or_another_log_left_is_found_out_by_its_use() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let pristine = partition_files(&written.files);
    for (_, file) in index_files() {
        let foreign = pristine[&file.path(Path::new(DIR), written.segments[1].base)].clone();
        written.files.tamper(&file.path(Path::new(DIR), written.segments[2].base), |bytes| *bytes = foreign);
    }
    // Of this segment, intact, but about batches that lie elsewhere: the entry of the last batch below the durable
    // point says a place where none begins.
    let path = SegmentFile::OffsetIndex.path(Path::new(DIR), written.segments[0].base);
    let uid = SegmentUid::new(ID, written.segments[0].base);
    written.files.tamper(&path, |bytes| {
        let number = crate::index::entries_in(bytes.len() as u64) - 1;
        let at = crate::index::entry_position(number) as usize;
        let entry =
            crate::index::OffsetEntry::decode(bytes[at..].first_chunk().unwrap(), uid, number).unwrap();
        let stale = crate::index::OffsetEntry { pos: entry.pos + 3, ..entry };
        bytes[at..].copy_from_slice(&stale.encode(uid, number));
    });
    let (_, report) = written.recover().unwrap();
    assert_eq!(report.indexes_mended, 2);
    assert_eq!(partition_files(&written.files), pristine);
}

#[test]
fn a_full_disk_that_has_room_for_one_index_and_not_for_the_other_leaves_neither() {
    for (_, missing) in index_files() {
        let written = Written::with_segments();
        let paths = index_files().map(|(_, file)| file.path(Path::new(DIR), written.segments[2].base));
        written.files.remove_file(&missing.path(Path::new(DIR), written.segments[2].base)).unwrap();
        written.files.set_room(Room::NoBytes);
        let (log, _) = written.recover().unwrap();
        assert_eq!(log.log_end, written.next);
        let there = written.files.snapshot();
        assert!(!paths.iter().any(|path| there.contains_key(path)), "without {missing:?}");
        // What was taken away does not come back with a power cut: it would pass for that of the batches to come.
        written.files.set_room(Room::Enough);
        for seed in 0..20 {
            written.files.crash(seed);
            assert!(!paths.iter().any(|path| written.files.snapshot().contains_key(path)), "seed {seed}");
        }
    }
}

#[test]
fn indexes_that_were_made_anew_are_there_after_a_power_cut() {
    for (_, missing) in index_files() {
        for seed in 0..20 {
            let mut written = Written::with_segments();
            written.power_was_lost();
            written.files.sync_everything().unwrap();
            for segment in &written.segments {
                written.files.remove_file(&missing.path(Path::new(DIR), segment.base)).unwrap();
            }
            written.files.sync_everything().unwrap();
            written.recover().unwrap();
            let made = written.files.snapshot();
            written.files.crash(seed);
            let there = written.files.snapshot();
            for (number, segment) in written.segments.iter().enumerate() {
                let path = missing.path(Path::new(DIR), segment.base);
                assert!(there.contains_key(&path), "seed {seed}");
                // That of the last is flushed with what it says next.
                assert!(number == 2 || there[&path] == made[&path], "segment {number}, seed {seed}");
            }
        }
    }
}

#[test]
fn what_a_start_removes_does_not_come_back_with_a_power_cut() {
    let lonely = SegmentFile::OffsetIndex.path(Path::new(DIR), Offset::new(77));
    let snapshot = Path::new(DIR).join(format!("{:020}.snapshot", 1000));
    for seed in 0..20 {
        let mut written = Written::with_segments();
        written.power_was_lost();
        // An index without a log, and what was known of producers where the log does not reach any more.
        for path in [&lonely, &snapshot] {
            put(&written.files, path, &[1; 100]);
        }
        written.files.sync_everything().unwrap();
        written.recover().unwrap();
        written.files.crash(seed);
        let there = written.files.snapshot();
        assert!(!there.contains_key(&lonely) && !there.contains_key(&snapshot), "seed {seed}");
    }
}
