//! Claims about recovery: every row of the verdict's table over real files, crashes in the middle of it, and indexes that
//! are harmed in any way.

mod keeping;
mod tails;
mod written;

use std::path::Path;

use folio_record::stamp;
use proptest::prelude::*;

use super::*;
use crate::clean::CleanPartition;
use crate::files::{FileHandle, OpenMode, SimFiles};
use crate::partition_files::SegmentFile;
use crate::replacement::{Replacement, Sum};
use crate::verdict::Reason;

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

// The rows of the verdict table, one by one, as they show in files.

#[test]
fn row_bytes_below_the_durable_point_that_are_wrong_take_it_offline() {
    let written = Written::with_segments();
    let (at, _) = written.batch(2, 4);
    written.tamper(2, |bytes| bytes[at as usize + 8] ^= 0x40);
    let (_, reason, position, _) = written.reason();
    assert_eq!((reason, position), (Reason::BelowDurable, at));
}

#[test]
fn row_a_file_shorter_than_the_durable_point_takes_it_offline() {
    let written = Written::with_segments();
    let durable = written.slot.unwrap().durable_pos;
    written.tamper(2, |bytes| bytes.truncate(durable as usize - 1));
    let (fault, reason, position, _) = written.reason();
    assert_eq!(fault, Fault::ShortFile { len: durable - 1, durable });
    assert_eq!((reason, position), (Reason::BelowDurable, durable - 1));
}

#[test]
fn row_a_missing_file_that_the_slot_names_takes_it_offline() {
    let written = Written::with_segments();
    written.files.remove_file(&log(written.segments[2].base)).unwrap();
    assert_eq!(written.reason().0, Fault::MissingFile);
    written.files.remove_file(&log(written.segments[1].base)).unwrap();
    written.files.remove_file(&log(written.segments[0].base)).unwrap();
    assert_eq!(written.reason().0, Fault::MissingFile);
}

#[test]
fn row_a_first_segment_that_is_missing_takes_it_offline() {
    let written = Written::with_segments();
    written.files.remove_file(&log(written.segments[0].base)).unwrap();
    let (fault, _, _, offset) = written.reason();
    assert_eq!((fault, offset), (Fault::MissingFile, Offset::ZERO));
}

#[test]
fn row_a_hole_between_segments_below_the_durable_point_takes_it_offline() {
    let written = Written::with_segments();
    written.files.remove_file(&log(written.segments[1].base)).unwrap();
    let (fault, reason, _, offset) = written.reason();
    assert_eq!(fault, Fault::Hole { ends: written.segments[1].base, next_base: written.segments[2].base });
    assert_eq!((reason, offset), (Reason::DurableLiesLater, written.segments[1].base));
}

#[test]
fn row_a_segment_below_the_durable_one_that_lost_its_end_takes_it_offline() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let (at, offset) = written.batch(1, 9);
    written.tamper(1, |bytes| bytes.truncate(at as usize));
    let (fault, reason, position, from) = written.reason();
    assert_eq!(fault, Fault::Hole { ends: offset, next_base: written.segments[2].base });
    assert_eq!((reason, position, from), (Reason::DurableLiesLater, at, offset));
}

#[test]
fn row_without_a_slot_everything_is_scanned_and_the_rows_for_above_apply() {
    let mut written = Written::with_segments();
    written.slot = None;
    let (log, report) = written.recover().unwrap();
    assert!(report.slot_missing);
    assert_eq!(report.bytes_scanned, written.segments.iter().map(|segment| segment.len).sum::<u64>());
    assert_eq!(log.log_end, written.next);
    let (at, offset) = written.batch(2, 9);
    written.tamper(2, |bytes| bytes.truncate(at as usize + 100));
    let cut = written.cut();
    assert_eq!((cut.position, cut.offset), (at, offset));
}

#[test]
fn row_a_file_that_ends_inside_its_last_batch_is_cut_at_every_byte() {
    for same_boot in [true, false] {
        let mut written = Written::with_segments();
        if !same_boot {
            written.power_was_lost();
        }
        let (at, offset) = written.batch(2, 9);
        let whole = written.files.snapshot()[&log(written.segments[2].base)].clone();
        for len in at as usize + 1..whole.len() {
            written.tamper(2, |bytes| *bytes = whole[..len].to_vec());
            let cut = written.cut();
            assert_eq!((cut.position, cut.offset, cut.bytes), (at, offset, len as u64 - at));
            assert!(matches!(cut.fault, Fault::CutHeader { .. } | Fault::CutBatch { .. }));
            let kept = &written.files.snapshot()[&cut.kept.unwrap()];
            assert_eq!(kept, &whole[at as usize..len]);
        }
    }
}

#[test]
fn row_a_batch_with_a_zero_chunk_is_cut_even_if_intact_batches_follow() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let (at, offset) = written.batch(2, 6);
    let sector = (at as usize / 512 + 1) * 512;
    let tail = written.segments[2].len - at;
    written.tamper(2, |bytes| bytes[sector..sector + 512].fill(0));
    let cut = written.cut();
    assert_eq!(cut.fault, Fault::BadBatch { zero_chunk: true });
    assert_eq!((cut.position, cut.offset, cut.bytes), (at, offset, tail));
    assert_eq!(cut.intact_batches, 3);
}

#[test]
fn row_an_unusable_header_is_cut_with_a_zero_chunk_and_offline_without() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let (at, _) = written.batch(2, 7);
    let at = at as usize;
    let pristine = written.files.snapshot()[&log(written.segments[2].base)].clone();
    written.tamper(2, |bytes| bytes[at + 16] = 7);
    assert_eq!(written.reason().1, Reason::NotTorn);
    written.tamper(2, |bytes| {
        bytes.clone_from(&pristine);
        bytes[at..(at / 512 + 2) * 512].fill(0);
    });
    assert_eq!(written.cut().fault, Fault::UnusableHeader { zero_chunk: true });
}

#[test]
fn row_a_whole_batch_that_fails_without_a_zero_chunk_takes_it_offline() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let (at, offset) = written.batch(2, 7);
    written.tamper(2, |bytes| bytes[at as usize + 100] ^= 1);
    let (fault, reason, position, from) = written.reason();
    assert_eq!(fault, Fault::BadBatch { zero_chunk: false });
    assert_eq!((reason, position, from), (Reason::NotTorn, at, offset));
}

#[test]
fn row_a_valid_batch_at_the_wrong_offset_or_of_a_later_epoch_takes_it_offline() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let (at, offset) = written.batch(2, 7);
    let at = at as usize;
    let pristine = written.files.snapshot()[&log(written.segments[2].base)].clone();
    written.tamper(2, |bytes| stamp(&mut bytes[at..], Offset::new(offset.get() + 1), LeaderEpoch::new(0)));
    let (fault, reason, ..) = written.reason();
    assert_eq!(
        fault,
        Fault::Discontinuous { expected: offset, found: Offset::new(offset.get() + 1), zero_chunk: false }
    );
    assert_eq!(reason, Reason::OutOfPlace);
    written.tamper(2, |bytes| {
        bytes.clone_from(&pristine);
        stamp(&mut bytes[at..], offset, LeaderEpoch::new(9));
    });
    assert!(matches!(written.reason().0, Fault::EpochOutOfOrder { .. }));
}

#[test]
fn row_a_later_epoch_takes_it_offline_also_before_its_own_epochs_are_written_down() {
    let mut written = Written::with_segments();
    written.epoch = LeaderEpoch::new(3);
    written.append(100);
    written.durable();
    written.append(100);
    let (at, offset) = written.batch(2, 11);
    written.tamper(2, |bytes| stamp(&mut bytes[at as usize..], offset, LeaderEpoch::new(9)));
    let fault = written.reason().0;
    assert!(matches!(fault, Fault::EpochOutOfOrder { highest, .. } if highest.get() == 3), "{fault}");
    written.tamper(2, |bytes| stamp(&mut bytes[at as usize..], offset, LeaderEpoch::new(3)));
    assert!(written.recover().unwrap().1.epochs_rebuilt);
}

#[test]
fn row_a_zero_chunk_on_the_same_boot_takes_it_offline() {
    let written = Written::with_segments();
    let (at, _) = written.batch(2, 6);
    let sector = (at as usize / 512 + 1) * 512;
    written.tamper(2, |bytes| bytes[sector..sector + 512].fill(0));
    assert_eq!(written.reason().1, Reason::HoleWithoutPowerLoss);
}

#[test]
fn row_segments_after_the_cut_leave_whole_unless_the_durable_point_is_in_one() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    // Durable up to the second batch of the first segment only.
    let (pos, next) = written.batch(0, 2);
    let boot = written.slot.unwrap();
    written.slot = Some(Slot {
        boot_id: boot.boot_id,
        mount_id: boot.mount_id,
        ..written.slot_at(Offset::ZERO, pos, next)
    });
    let (at, offset) = written.batch(0, 8);
    let later: Vec<_> = written.segments[1..].iter().map(|segment| segment.base).collect();
    written.tamper(0, |bytes| bytes.truncate(at as usize + 70));
    let cut = written.cut();
    assert_eq!((cut.position, cut.offset, cut.segments_moved.len()), (at, offset, 6));
    for base in later {
        assert!(!written.files.snapshot().contains_key(&log(base)));
    }
    assert_eq!(quarantined(&written.files).len(), 7);

    let written = Written::with_segments();
    let (at, _) = written.batch(0, 8);
    written.tamper(0, |bytes| bytes.truncate(at as usize + 70));
    assert_eq!(written.reason().1, Reason::DurableLiesLater);
}

#[test]
fn a_segment_above_the_durable_point_that_lost_its_end_is_where_the_log_ends() {
    let mut written = Written::with_segments();
    let (pos, next) = written.batch(0, 2);
    written.slot = Some(written.slot_at(Offset::ZERO, pos, next));
    let (at, offset) = written.batch(1, 8);
    written.tamper(1, |bytes| bytes.truncate(at as usize));
    assert_eq!(written.reason().1, Reason::HoleWithoutPowerLoss);
    written.power_was_lost();
    let cut = written.cut();
    assert_eq!((cut.position, cut.offset, cut.bytes, cut.kept), (at, offset, 0, None));
    assert_eq!(cut.segments_moved.len(), 3);
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
    written.files.set_full(true);
    let cut = written.cut();
    assert_eq!((cut.bytes, cut.kept), (30, None));
}

#[test]
fn any_harm_to_an_index_is_mended_byte_for_byte_and_loses_nothing() {
    type Harm = fn(&SimFiles, &Path);
    let harms: [(&str, Harm); 7] = [
        ("missing", |files, path| files.remove_file(path).unwrap()),
        ("empty", |files, path| files.tamper(path, Vec::clear)),
        ("cut", |files, path| files.tamper(path, |bytes| bytes.truncate(50))),
        ("longer", |files, path| files.tamper(path, |bytes| bytes.extend_from_slice(&[7; 40]))),
        ("zeros", |files, path| files.tamper(path, |bytes| bytes.fill(0))),
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
    let uid = SegmentUid::new(ID, written.segments[0].base, 0);
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
