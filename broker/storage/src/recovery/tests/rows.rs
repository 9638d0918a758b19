//! The rows of the verdict's table, one by one, as they show in files.

use folio_record::stamp;

use super::*;
use crate::verdict::Reason;

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
    let later = Fault::EpochOutOfOrder {
        lowest: LeaderEpoch::new(0),
        highest: LeaderEpoch::new(0),
        found: LeaderEpoch::new(9),
    };
    assert_eq!(written.reason().0, later);
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
