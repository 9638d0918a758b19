//! Claims about where a log ends after a crash: files that end anywhere, zeros and garbage in any place, and what can
//! be told of the machine.

use super::*;
use crate::files::read_file;
use crate::verdict::Reason;

#[test]
fn a_file_that_ends_anywhere_in_its_last_three_batches_keeps_the_batches_that_are_whole() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let whole = written.files.snapshot()[&log(written.segments[2].base)].clone();
    let last: Vec<(u64, Offset)> = (7..10).map(|number| written.batch(2, number)).collect();
    for len in last[0].0..whole.len() as u64 {
        written.tamper(2, |bytes| *bytes = whole[..len as usize].to_vec());
        let (recovered, report) = written.recover().unwrap();
        let (at, offset) = *last.iter().rfind(|(at, _)| *at <= len).unwrap();
        assert_eq!((recovered.segments[2].len, recovered.log_end), (at, offset), "{len} bytes");
        let kept = report.cut.map(|cut| cut.kept.unwrap());
        let bytes = kept.as_ref().map(|kept| read_file(&written.files, kept, whole.len()).unwrap().unwrap());
        let due = (at < len).then(|| whole[at as usize..len as usize].to_vec());
        assert_eq!(bytes, due, "{len} bytes");
        kept.iter().for_each(|kept| written.files.remove_file(kept).unwrap());
    }
}

#[test]
fn a_file_that_ends_anywhere_below_the_durable_point_takes_it_offline() {
    for power_was_lost in [false, true] {
        let mut written = Written::with_segments();
        if power_was_lost {
            written.power_was_lost();
        }
        let whole = written.files.snapshot()[&log(written.segments[2].base)].clone();
        let durable = written.slot.unwrap().durable_pos;
        for len in (0..durable).step_by(37).chain([durable - 1]) {
            written.tamper(2, |bytes| *bytes = whole[..len as usize].to_vec());
            let (fault, reason, position, _) = written.reason();
            assert_eq!(fault, Fault::ShortFile { len, durable });
            assert_eq!((reason, position), (Reason::BelowDurable, len));
        }
    }
}

#[test]
fn zeros_at_the_end_are_cut_and_garbage_there_or_zeros_below_the_durable_point_take_it_offline() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let whole = written.files.snapshot()[&log(written.segments[2].base)].clone();
    let (end, next) = (whole.len() as u64, written.next);
    for zeros in [1_usize, 60, 61, 511, 512, 4096, 100_000] {
        written.tamper(2, |bytes| bytes.extend(std::iter::repeat_n(0, zeros)));
        let cut = written.cut();
        assert_eq!((cut.position, cut.offset, cut.bytes), (end, next, zeros as u64));
        assert_eq!(written.files.snapshot()[&log(written.segments[2].base)], whole);
    }
    // The end of the last batch never came, and its length did.
    let (at, offset) = written.batch(2, 9);
    let lost = (end as usize / 512) * 512;
    written.tamper(2, |bytes| bytes[lost..].fill(0));
    let cut = written.cut();
    assert_eq!((cut.position, cut.offset, cut.bytes), (at, offset, end - at));

    // What has no hole was not interrupted, whatever it is.
    for garbage in [61_usize, 512, 5000] {
        written.tamper(2, |bytes| {
            bytes.clone_from(&whole);
            bytes.extend((0..garbage).map(|byte| (byte % 255 + 1) as u8));
        });
        let (fault, reason, position, _) = written.reason();
        assert_eq!(fault, Fault::UnusableHeader { zero_chunk: false });
        assert_eq!((reason, position), (Reason::NotTorn, end));
    }

    // Below the durable point there are no holes: neither in its segment, up to where its index leads, nor before.
    let (durable, at) = (written.slot.unwrap().durable_pos as usize, written.batch(2, 4).0 as usize);
    written.tamper(2, |bytes| {
        bytes.clone_from(&whole);
        bytes[at..durable].fill(0);
    });
    assert_eq!(written.reason().1, Reason::BelowDurable);
    written.tamper(2, |bytes| bytes.clone_from(&whole));
    let at = written.batch(1, 9).0 as usize;
    written.tamper(1, |bytes| bytes[at..].fill(0));
    assert_eq!(written.reason().1, Reason::DurableLiesLater);
}

#[test]
fn a_length_that_no_batch_has_is_no_torn_write_and_one_that_ends_behind_the_file_is() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let (at, offset) = written.batch(2, 9);
    let mut whole = written.files.snapshot()[&log(written.segments[2].base)].clone();
    // The last bytes of the last batch never came.
    whole.truncate(whole.len() - 20);
    let left = whole.len() as u64 - at;
    let claim = |length: i32| {
        written.tamper(2, |bytes| {
            bytes.clone_from(&whole);
            bytes[at as usize + 8..][..4].copy_from_slice(&length.to_be_bytes());
        });
    };
    // What a batch is beside its length, at least, and at most what a frame carries: settings of today tell nothing.
    const LEAST: i32 = 49;
    const MOST: i32 = (1 << 27) - 12;
    for length in [i32::MIN, -1, 0, LEAST - 1, MOST + 1, i32::MAX] {
        claim(length);
        let (fault, reason, position, from) = written.reason();
        assert_eq!(fault, Fault::UnusableHeader { zero_chunk: false }, "length {length}");
        assert_eq!((reason, position, from), (Reason::NotTorn, at, offset));
    }
    for length in [left as i32 - 11, MOST] {
        claim(length);
        let cut = written.cut();
        assert_eq!(cut.fault, Fault::CutBatch { length: length as u64 + 12, left });
    }
    // It ends where the file does, or before: it is all there.
    for length in [left as i32 - 12, LEAST] {
        claim(length);
        assert_eq!(written.reason().0, Fault::BadBatch { zero_chunk: false }, "length {length}");
    }
}

#[test]
fn a_length_that_alone_is_wrong_is_no_torn_write() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    // One that has zeros wherever it is looked at.
    let (many, zeros) = (written.segments[2].len, vec![0; 4096]);
    written.append_bytes(&batch_of(written.next, written.epoch, &zeros, 1000));
    let whole = written.files.snapshot()[&log(written.segments[2].base)].clone();
    let last = (many, written.batch(2, 10).1);
    for (at, offset) in [written.batch(2, 7), written.batch(2, 9), last] {
        let told = i32::from_be_bytes(whole[at as usize + 8..][..4].try_into().unwrap());
        for bit in 0..31 {
            let wrong = told ^ (1 << bit);
            written.tamper(2, |bytes| {
                bytes.clone_from(&whole);
                bytes[at as usize + 8..][..4].copy_from_slice(&wrong.to_be_bytes());
            });
            let (fault, reason, position, from) = written.reason();
            assert_eq!((reason, position, from), (Reason::NotTorn, at, offset), "length {wrong}: {fault}");
        }
    }
}

#[test]
fn a_torn_write_is_cut_however_large_its_batch_is() {
    let mut written = Written::with_segments();
    written.append(1_500_000);
    written.power_was_lost();
    let (at, offset) = written.batch(2, 10);
    let whole = written.files.snapshot()[&log(written.segments[2].base)].clone();
    let middle = at as usize + 2_000_000;
    written.tamper(2, |bytes| bytes.truncate(middle));
    let cut = written.cut();
    assert_eq!((cut.position, cut.offset, cut.bytes), (at, offset, 2_000_000));
    let sector = middle / 512 * 512;
    written.tamper(2, |bytes| {
        bytes.clone_from(&whole);
        bytes[sector..sector + 512].fill(0);
    });
    let cut = written.cut();
    assert_eq!((cut.position, cut.fault), (at, Fault::BadBatch { zero_chunk: true }));
}

#[test]
fn a_batch_of_an_earlier_epoch_than_the_one_before_it_takes_it_offline() {
    let mut written = Written::with_segments();
    written.epoch = LeaderEpoch::new(3);
    written.slot.as_mut().expect("it has one").leader_epoch = written.epoch;
    written.append(100);
    let (at, offset) = (written.segments[2].len, written.next);
    written.epoch = LeaderEpoch::new(2);
    written.append(100);
    let rows = "no row of epochs says so, for they are lost";
    written.files.remove_file(&Path::new(DIR).join("epochs")).expect(rows);
    written.power_was_lost();
    let (fault, reason, position, from) = written.reason();
    let (lowest, found) = (LeaderEpoch::new(3), LeaderEpoch::new(2));
    assert!(
        matches!(fault, Fault::EpochOutOfOrder { lowest: l, found: f, .. } if (l, f) == (lowest, found)),
        "{fault}"
    );
    assert_eq!((reason, position, from), (Reason::OutOfPlace, at, offset));
}

#[test]
fn without_a_boot_and_a_mount_that_are_known_and_equal_a_hole_may_be_of_a_power_cut() {
    let written = Written::with_segments();
    let (at, _) = written.batch(2, 6);
    let sector = (at as usize / 512 + 1) * 512;
    written.tamper(2, |bytes| bytes[sector..sector + 512].fill(0));
    assert_eq!(written.reason().1, Reason::HoleWithoutPowerLoss);
    let slot = written.slot.unwrap();
    let others = [
        ("an unknown boot", Slot { boot_id: [0; 16], ..slot }),
        ("an unknown mount", Slot { mount_id: 0, ..slot }),
        ("another boot", Slot { boot_id: [9; 16], ..slot }),
        ("another mount", Slot { mount_id: slot.mount_id + 1, ..slot }),
    ];
    for (what, slot) in others {
        let mut written = Written::with_segments();
        written.tamper(2, |bytes| bytes[sector..sector + 512].fill(0));
        written.slot = Some(slot);
        assert_eq!(written.cut().position, at, "{what}");
    }
}

#[test]
fn a_partition_that_goes_offline_for_what_nobody_had_read_is_not_cut_before() {
    let mut written = Written::with_segments();
    let (pos, next) = written.batch(0, 3);
    written.slot = Some(written.slot_at(Offset::ZERO, pos, next));
    written.power_was_lost();
    // Durable, and where no index entry makes anybody look; only who has numbered the batches is asked of all of them.
    written.tamper(0, |bytes| bytes[..12].fill(0));
    let (torn, _) = written.batch(1, 5);
    written.tamper(1, |bytes| bytes.truncate(torn as usize + 30));
    let (_, reason, position, _) = written.reason();
    assert_eq!((reason, position), (Reason::BelowDurable, 0));
}

#[test]
fn a_segment_that_begins_inside_of_another_takes_it_offline() {
    for same_boot in [true, false] {
        let mut written = Written::with_segments();
        let (pos, next) = written.batch(0, 2);
        written.slot = Some(written.slot_at(Offset::ZERO, pos, next));
        if !same_boot {
            written.power_was_lost();
        }
        // Intact batches under a name of their own, of which another segment has copies.
        let (at, base) = written.batch(1, 6);
        let whole = written.files.snapshot()[&log(written.segments[1].base)].clone();
        put(&written.files, &log(base), &whole[at as usize..]);
        let (fault, reason, _, _) = written.reason();
        assert_eq!(fault, Fault::Hole { ends: written.segments[2].base, next_base: base });
        assert_eq!(reason, Reason::BrokenChain);
    }
}

#[test]
fn a_missing_segment_at_whose_end_the_durable_point_lay_takes_it_offline_unless_the_log_begins_behind_it() {
    let mut written = Written::with_segments();
    written.power_was_lost();
    let (base, len) = (written.segments[1].base, written.segments[1].len);
    let end = written.segments[2].base;
    let slot = written.slot_at(base, len, end);
    for segment in &written.segments[..2] {
        for file in SegmentFile::ALL {
            written.files.remove_file(&file.path(Path::new(DIR), segment.base)).unwrap();
        }
    }
    written.slot = Some(slot);
    let (fault, reason, ..) = written.reason();
    assert_eq!((fault, reason), (Fault::MissingFile, Reason::BelowDurable));
    // Retention has taken them.
    written.slot = Some(Slot { log_start: end, ..slot });
    let (log, _) = written.recover().unwrap();
    assert_eq!((log.log_start, log.log_end, log.segments.len()), (end, written.next, 1));
}
