//! Claims about recovery: what it reads, crashes in the middle of it, and what is left of whatever a power cut takes.

mod indexes;
mod keeping;
mod rows;
mod tails;
mod written;

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::clean::CleanPartition;
use crate::files::sim::Room;
use crate::files::{FileHandle, OpenMode, SimFiles};
use crate::partition_files::SegmentFile;
use crate::replacement::{Replacement, Sum};

use written::*;

#[test]
fn an_intact_log_is_recovered_whole_and_only_what_lies_above_the_durable_point_is_read() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let before = partition_files(&written.files);
    let read_before = written.files.bytes_read(|path| path.extension() == Some("log".as_ref()));
    let (log, report) = written.recover().unwrap();
    assert_eq!(log.log_end, written.next);
    assert_eq!(log.segments.len(), 3);
    assert_eq!(report.bytes_scanned, written.segments[2].len - written.slot.unwrap().durable_pos);
    let read = written.files.bytes_read(|path| path.extension() == Some("log".as_ref())) - read_before;
    assert_eq!(read, report.bytes_scanned + report.bytes_walked);
    // The batches behind the snapshot are gone through once more, for their producers.
    let walked_below = report.bytes_walked.saturating_sub(report.bytes_scanned);
    assert!(walked_below <= 4 * 4096, "{walked_below} bytes below the durable point");
    assert_eq!((report.cut, report.indexes_mended), (None, 0));
    assert_eq!(partition_files(&written.files), before);
}

#[test]
fn after_a_clean_stop_at_most_a_page_of_the_log_is_read_and_the_epoch_stays() {
    let mut written = Written::with_segments();
    written.durable();
    let active = written.segments.last().unwrap();
    let clean = CleanPartition {
        partition: ID,
        active_base: active.base,
        log_len: active.len,
        next_offset: written.next,
    };
    let is_log = |path: &Path| path.extension() == Some("log".as_ref());
    let before = written.files.bytes_read(is_log);
    let (log, report) = written.recover_with(Some(&clean)).unwrap();
    assert!(report.was_clean);
    assert_eq!(report.bytes_scanned, 0);
    assert!(written.files.bytes_read(is_log) - before <= 4096);
    assert_eq!(log.epochs, Epochs::new());
    assert_eq!((log.log_end, log.segments.len()), (written.next, 3));

    let other = CleanPartition { log_len: active.len + 1, ..clean };
    let (log, report) = written.recover_with(Some(&other)).unwrap();
    assert!(!report.was_clean, "the marker speaks of another file");
    assert_eq!(log.epochs.current(), LeaderEpoch::new(1));
}

#[test]
fn after_a_clean_stop_a_segment_that_is_missing_takes_it_offline_all_the_same() {
    for missing in 0..2 {
        let mut written = Written::with_segments();
        written.durable();
        let active = written.segments.last().unwrap();
        let (base, len) = (active.base, active.len);
        let clean =
            CleanPartition { partition: ID, active_base: base, log_len: len, next_offset: written.next };
        let base = written.segments[missing].base;
        written.files.remove_file(&log(base)).unwrap();
        let before = written.files.snapshot();
        let Err(RecoveryError::Offline(Damage::Log { fault, offset, .. })) =
            written.recover_with(Some(&clean))
        else {
            panic!("segment {missing} is missing, and nobody says so");
        };
        assert_eq!(offset, base);
        assert!(matches!(fault, Fault::MissingFile | Fault::Hole { .. }), "{fault:?}");
        assert_eq!(written.files.snapshot(), before, "something was changed");
    }
}

#[test]
fn an_unclean_start_begins_a_new_epoch_where_the_log_ends() {
    let written = Written::with_segments();
    let (log, _) = written.recover().unwrap();
    assert_eq!(log.epochs.rows(), [(LeaderEpoch::new(0), Offset::ZERO), (LeaderEpoch::new(1), written.next)]);
}

#[test]
fn recovering_twice_changes_nothing_the_second_time() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let (at, _) = written.batch(2, 8);
    written.tamper(2, |bytes| bytes.truncate(at as usize + 30));
    let (first, report) = written.recover().unwrap();
    assert!(report.cut.is_some());
    let after = written.files.snapshot();
    let (second, report) = written.recover().unwrap();
    assert_eq!((report.cut, report.indexes_mended), (None, 0));
    assert_eq!(written.files.snapshot(), after);
    assert_eq!((first.log_end, first.segments), (second.log_end, second.segments));
}

#[test]
fn a_crash_at_any_operation_of_a_recovery_is_recovered_from() {
    let torn = || {
        let mut written = Written::with_segments();
        let (pos, next) = written.batch(0, 2);
        written.slot = Some(written.slot_at(Offset::ZERO, pos, next));
        written.power_was_lost();
        let (at, offset) = written.batch(1, 5);
        written.tamper(1, |bytes| bytes.truncate(at as usize + 200));
        (written, at, offset)
    };
    let (written, ..) = torn();
    let before = written.files.operations();
    written.recover().unwrap();
    let operations = written.files.operations() - before;
    for operation in 0..operations {
        for seed in 0..10 {
            let (written, at, offset) = torn();
            written.files.cut_power_at(written.files.operations() + operation);
            assert!(written.recover().is_err());
            written.files.crash(seed);
            let (log, _) = written.recover().unwrap();
            assert_eq!((log.log_end, log.segments.len()), (offset, 2), "operation {operation}, seed {seed}");
            assert_eq!(log.segments[1].len, at);
            let kept = quarantined(&written.files);
            assert!(kept.iter().any(|bytes| bytes.len() == 200), "the copy of what was cut is gone");
        }
    }
}

#[test]
fn a_disk_without_room_for_the_copy_is_recovered_and_the_loss_of_the_copy_is_reported() {
    let written = Written::with_segments();
    let (at, _) = written.batch(2, 8);
    written.tamper(2, |bytes| bytes.truncate(at as usize + 30));
    written.files.set_room(Room::NoBytes);
    let cut = written.cut();
    assert_eq!((cut.bytes, cut.kept), (30, None));
}

#[test]
fn epochs_that_are_damaged_or_missing_are_read_from_the_batches() {
    let mut written = Written::with_segments();
    written.epoch = LeaderEpoch::new(3);
    let start = written.next;
    written.append(100);
    written.durable();
    for harm in [true, false] {
        let path = Path::new(DIR).join("epochs");
        if harm {
            written.files.tamper(&path, |bytes| bytes[14] ^= 1);
        } else {
            written.files.remove_file(&path).unwrap();
        }
        let (log, report) = written.recover().unwrap();
        assert!(report.epochs_rebuilt);
        let row = |epoch, start| (LeaderEpoch::new(epoch), start);
        assert_eq!(log.epochs.rows(), [row(0, Offset::ZERO), row(3, start), row(4, written.next)]);
    }
}

#[test]
fn epochs_behind_the_slot_are_looked_up_in_the_batches_and_few_of_those_are_read() {
    let mut written = Written::with_segments();
    let path = Path::new(DIR).join("epochs");
    let older = written.files.snapshot().remove(&path).unwrap();
    let mut starts = Vec::new();
    for epoch in [3, 4, 9] {
        written.epoch = LeaderEpoch::new(epoch);
        starts.push(written.next);
        for _ in 0..200 {
            written.append(100);
        }
        if epoch == 4 {
            written.roll();
        }
    }
    written.durable();
    written.files.tamper(&path, |bytes| *bytes = older.clone());
    let (log, report) = written.recover().unwrap();
    assert!(report.epochs_rebuilt);
    let row = |epoch, start| (LeaderEpoch::new(epoch), start);
    let rows = [
        row(0, Offset::ZERO),
        row(3, starts[0]),
        row(4, starts[1]),
        row(9, starts[2]),
        row(10, written.next),
    ];
    assert_eq!(log.epochs.rows(), rows);
    let stored: u64 = written.segments.iter().map(|segment| segment.len).sum();
    assert!(report.bytes_walked < stored, "{} of {stored} bytes", report.bytes_walked);
}

#[test]
fn without_a_slot_epochs_that_are_behind_bound_nothing_and_are_looked_up_in_the_batches() {
    let mut written = Written::with_segments();
    written.epoch = LeaderEpoch::new(3);
    let start = written.next;
    written.append(100);
    written.durable();
    written.append(100);
    written.slot = None;
    let (log, report) = written.recover().unwrap();
    assert!(report.slot_missing && report.epochs_rebuilt && report.cut.is_none());
    let row = |epoch, start| (LeaderEpoch::new(epoch), start);
    assert_eq!(log.epochs.rows(), [row(0, Offset::ZERO), row(3, start), row(4, written.next)]);
}

#[test]
fn a_file_that_does_not_belong_here_takes_it_offline_and_unfinished_ones_are_removed() {
    let written = Written::with_segments();
    put(&written.files, &Path::new(DIR).join("epochs.tmp"), b"half");
    put(&written.files, &Path::new(DIR).join("00000000000000000077.index"), b"orphan");
    let before = written.files.snapshot().len();
    written.recover().unwrap();
    assert_eq!(written.files.snapshot().len(), before - 2);
    for name in ["notes.txt", "replace.x"] {
        put(&written.files, &Path::new(DIR).join(name), b"?");
        assert_eq!(written.offline(), Damage::UnknownFile { file: Path::new(DIR).join(name) });
        written.files.remove_file(&Path::new(DIR).join(name)).unwrap();
    }
}

#[test]
fn a_replacement_that_cannot_be_read_or_finished_takes_it_offline_untouched() {
    let written = Written::with_segments();
    let (base, next_base) = (written.segments[0].base, written.segments[1].base);
    let files = [Sum { len: 1, crc: 2 }; 3];
    let missing = Replacement { base, next_base, files, old: vec![base] }.encode();
    for (bytes, said) in [(&b"?"[..], "bytes where"), (&missing[..], "with checksum")] {
        put(&written.files, &Path::new(DIR).join("replace.3"), bytes);
        let before = written.files.snapshot();
        let Damage::Replacement { what, .. } = written.offline() else { panic!("another damage") };
        assert!(what.contains(said), "{what}");
        assert_eq!(written.files.snapshot(), before);
    }
}

#[test]
fn the_message_names_the_file_the_position_and_the_offsets() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let (at, offset) = written.batch(2, 7);
    written.tamper(2, |bytes| bytes[at as usize + 100] ^= 1);
    let message = written.offline().to_string();
    let file = log(written.segments[2].base);
    for part in [file.display().to_string(), format!("byte {at}"), format!("Offsets from {offset} on")] {
        assert!(message.contains(&part), "{message}");
    }
}

proptest! {
    /// Whatever a power cut takes of what was not flushed, what is left is a prefix that holds all that was.
    #[test]
    fn a_power_cut_leaves_a_prefix_that_holds_everything_flushed(
        sizes in prop::collection::vec(1_usize..1500, 1..25),
        flushes in prop::collection::vec(any::<bool>(), 25),
        rolls in prop::collection::vec(0_u8..10, 25),
        seed in any::<u64>(),
    ) {
        let mut written = Written::new();
        written.files.sync_everything().unwrap();
        written.durable();
        let mut flushed = Offset::ZERO;
        for (number, size) in sizes.iter().enumerate() {
            if rolls[number] == 0 && written.segments.last().unwrap().len > 0 {
                // A new segment is on the disk, with its name, before it is used; the one before it need not be.
                written.roll();
                let base = written.segments.last().unwrap().base;
                for path in [log(base)].into_iter().chain(index_files().map(|(_, file)| file.path(Path::new(DIR), base))) {
                    written.files.open(&path, OpenMode::Write).unwrap().sync().unwrap();
                }
                written.files.sync_dir(Path::new(DIR)).unwrap();
            }
            written.append(*size);
            if flushes[number] {
                written.durable();
                flushed = written.next;
            }
        }
        let whole = partition_files(&written.files);
        written.files.crash(seed);
        let (recovered, _) = match written.recover() {
            Ok(recovered) => recovered,
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
        };
        prop_assert!(recovered.log_end >= flushed);
        prop_assert!(recovered.log_end <= written.next);
        let left = partition_files(&written.files);
        for segment in &recovered.segments {
            let bytes = &left[&log(segment.base)];
            prop_assert_eq!(bytes.len() as u64, segment.len);
            prop_assert!(whole[&log(segment.base)].starts_with(bytes));
        }
        // The indexes are those that a walk from the beginning makes.
        for (_, file) in index_files() {
            for path in recovered.segments.iter().map(|segment| file.path(Path::new(DIR), segment.base)) {
                written.files.remove_file(&path).unwrap();
            }
        }
        let again = Written { slot: None, ..written };
        prop_assert!(again.recover().is_ok());
        prop_assert_eq!(partition_files(&again.files), left);
    }
}
