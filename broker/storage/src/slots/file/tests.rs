//! Claims about the file of durable points: who has which slot, and what crashes and bad bytes leave of its copies.

use folio_record::{LeaderEpoch, Offset, Timestamp};

use super::super::header::USED;
use super::*;
use crate::files::sim::Room;
use crate::files::{Boot, SimFiles};

const DIR: Uuid = Uuid::from_u128(1);

fn id(partition: u32) -> PartitionId {
    PartitionId { topic: Uuid::from_u128(7), partition }
}

fn update(pos: u64) -> SlotUpdate {
    SlotUpdate {
        leader_epoch: LeaderEpoch::new(1),
        durable_segment_base: Offset::new(0),
        durable_pos: pos,
        durable_next_offset: Offset::new(pos as i64),
        log_start: Offset::new(0),
        visible: Offset::new(0),
        written_at: Timestamp::new(5),
        boot: Boot { id: [1; 16], mount: 2 },
        run_id: 3,
    }
}

fn open(files: &SimFiles) -> SlotsFile<SimFiles> {
    SlotsFile::open(files, DIR).unwrap().0
}

fn durable_pos(files: &SimFiles, number: u32) -> Option<u64> {
    open(files).adopt(number, id(number)).unwrap().map(|slot| slot.durable_pos)
}

#[test]
fn the_last_synced_copy_is_read_back() {
    let files = SimFiles::new();
    let mut slots = open(&files);
    for partition in 0..40 {
        assert_eq!(slots.claim(id(partition)).unwrap(), partition);
    }
    for pos in 1..=5 {
        slots.write(33, &update(pos * 100)).unwrap();
    }
    slots.sync().unwrap();
    files.crash(0);
    assert_eq!(durable_pos(&files, 33), Some(500));
    assert_eq!(durable_pos(&files, 3), None);
    assert_eq!(files.snapshot()[Path::new(SLOTS_NAME)].len() as u64, HEADER_SIZE + 2 * EXTENT_SIZE);
}

#[test]
fn nobody_gets_the_slot_of_a_partition_whose_own_word_is_missing() {
    for has_written in [true, false] {
        let files = SimFiles::new();
        let mut slots = open(&files);
        (0..3).for_each(|partition| assert_eq!(slots.claim(id(partition)).unwrap(), partition));
        for partition in [0, 2] {
            slots.write(partition, &update(100)).unwrap();
        }
        if has_written {
            slots.write(1, &update(300)).unwrap();
        }
        files.kill();
        let mut slots = open(&files);
        slots.adopt(0, id(0)).unwrap();
        slots.adopt(2, id(2)).unwrap();
        slots.keep(id(1));
        let given: Vec<u32> = (7..9).map(|partition| slots.claim(id(partition)).unwrap()).collect();
        assert_eq!(given, if has_written { [3, 4] } else { [32, 33] });
        slots.release(2);
        assert_ne!(slots.claim(id(9)).unwrap(), 1);
        files.kill();
        assert_eq!(durable_pos(&files, 1), has_written.then_some(300));
    }
}

#[test]
fn a_first_copy_that_was_torn_is_the_one_that_is_written_next() {
    for page in [0, 1] {
        let files = SimFiles::new();
        open(&files).claim(id(0)).unwrap();
        let at = slot_position(0, page) as usize;
        files.tamper(Path::new(SLOTS_NAME), |bytes| bytes[at..at + 50].fill(7));
        let mut slots = open(&files);
        slots.adopt(0, id(0)).unwrap();
        slots.write(0, &update(5)).unwrap();
        let (_, report) = SlotsFile::open(&files, DIR).unwrap();
        assert_eq!(report.damaged_copies, 0, "page {page}");
    }
}

#[test]
fn an_extent_that_a_killed_run_has_made_is_on_the_disk_before_anybody_has_a_slot_of_it() {
    for seed in 0..20 {
        let files = SimFiles::new();
        let mut slots = open(&files);
        // Its zeros are written, and not synced.
        files.cut_power_at(files.operations() + 1);
        assert!(slots.claim(id(0)).is_err());
        files.kill();
        assert_eq!(open(&files).claim(id(0)).unwrap(), 0);
        files.crash(seed);
        let len = files.snapshot()[Path::new(SLOTS_NAME)].len() as u64;
        assert_eq!(len, HEADER_SIZE + EXTENT_SIZE, "seed {seed}");
    }
}

#[test]
fn a_run_begins_with_two_good_copies_of_each_slot() {
    let copies = |files: &SimFiles| {
        let bytes = files.snapshot()[Path::new(SLOTS_NAME)].clone();
        let copy = |seq| SlotCopy::decode(&field(&bytes, slot_position(0, seq) as usize));
        [0, 1].map(|seq| copy(seq).valid().map(|slot| slot.durable_pos))
    };
    let files = SimFiles::new();
    let mut slots = open(&files);
    slots.claim(id(0)).unwrap();
    slots.begin(&[(0, update(100))]).unwrap();
    assert_eq!(copies(&files), [Some(100), Some(100)]);
    slots.begin(&[(0, update(200))]).unwrap();
    assert_eq!(copies(&files), [Some(200), Some(100)], "one is enough where the other is good");
    let at = slot_position(0, 1) as usize;
    files.tamper(Path::new(SLOTS_NAME), |bytes| bytes[at..at + 50].fill(7));
    let mut slots = open(&files);
    slots.adopt(0, id(0)).unwrap();
    slots.begin(&[(0, update(300))]).unwrap();
    assert_eq!(copies(&files), [Some(300), Some(300)], "the one that was good may be of an earlier run");
    // Whatever a power cut leaves of that, one copy is good.
    for operation in 0..4 {
        files.tamper(Path::new(SLOTS_NAME), |bytes| bytes[at..at + 50].fill(7));
        let mut slots = open(&files);
        slots.adopt(0, id(0)).unwrap();
        files.cut_power_at(files.operations() + operation);
        slots.begin(&[(0, update(400))]).unwrap_err();
        files.crash(operation);
        assert_ne!(copies(&files), [None, None], "operation {operation}");
    }
}

#[test]
fn a_run_begins_with_two_copies_of_its_own_where_another_partition_had_the_slot() {
    for (copies_of_own, is_reopened) in [(0, true), (0, false), (1, true), (1, false)] {
        let files = SimFiles::new();
        let mut slots = open(&files);
        slots.claim(id(0)).unwrap();
        (0..3).for_each(|pos| slots.write(0, &update(pos)).unwrap());
        slots.release(0);
        assert_eq!(slots.claim(id(1)).unwrap(), 0);
        (0..copies_of_own).for_each(|pos| slots.write(0, &update(pos)).unwrap());
        slots.sync().unwrap();
        if is_reopened {
            slots = open(&files);
            slots.adopt(0, id(1)).unwrap();
        }
        assert!(!slots.has_two(0));
        slots.begin(&[(0, update(9))]).unwrap();
        assert!(slots.has_two(0));
        let bytes = files.snapshot()[Path::new(SLOTS_NAME)].clone();
        for seq in 0..2 {
            let copy = SlotCopy::decode(&field(&bytes, slot_position(0, seq) as usize)).valid().unwrap();
            assert_eq!(copy.partition, id(1), "whichever is torn, the other is of this partition");
        }
    }
}

#[test]
fn a_torn_write_falls_back_to_the_copy_before_it() {
    for operation in 0..2 {
        for seed in 0..50 {
            let files = SimFiles::new();
            let mut slots = open(&files);
            slots.claim(id(0)).unwrap();
            slots.write(0, &update(100)).unwrap();
            slots.sync().unwrap();
            files.cut_power_at(files.operations() + operation);
            let _ = slots.write(0, &update(200));
            let _ = slots.sync();
            files.crash(seed);
            let pos = durable_pos(&files, 0);
            assert!(pos == Some(100) || pos == Some(200), "{pos:?}");
        }
    }
}

#[test]
fn a_copy_that_is_half_new_and_half_old_leaves_the_one_that_was_written_before_it() {
    let files = SimFiles::new();
    let mut slots = open(&files);
    slots.claim(id(0)).unwrap();
    let mut states = Vec::new();
    for pos in [100, 200, 300, 400] {
        slots.write(0, &update(pos)).unwrap();
        states.push(files.snapshot()[Path::new(SLOTS_NAME)].clone());
    }
    for (number, pos) in [(1, 100), (2, 200), (3, 300)] {
        let (old, new) = (&states[number - 1], &states[number]);
        let changed: Vec<usize> = (0..new.len()).filter(|at| old[*at] != new[*at]).collect();
        for at in &changed[1..] {
            files.kill();
            files.tamper(Path::new(SLOTS_NAME), |bytes| *bytes = [&new[..*at], &old[*at..]].concat());
            assert_eq!(durable_pos(&files, 0), Some(pos), "write {number}, torn at {at}");
        }
    }
}

#[test]
fn a_flipped_bit_in_either_copy_leaves_the_other_and_is_counted() {
    let files = SimFiles::new();
    let mut slots = open(&files);
    slots.claim(id(0)).unwrap();
    slots.write(0, &update(100)).unwrap();
    slots.write(0, &update(200)).unwrap();
    slots.sync().unwrap();
    for (seq, left) in [(0, 200), (1, 100)] {
        for bit in 0..SLOT_SIZE * 8 {
            let flip = |bytes: &mut Vec<u8>| {
                bytes[slot_position(0, seq) as usize + bit / 8] ^= 1 << (bit % 8);
            };
            files.kill();
            files.tamper(Path::new(SLOTS_NAME), flip);
            let (mut slots, report) = SlotsFile::open(&files, DIR).unwrap();
            assert_eq!(report.damaged_copies, 1);
            assert_eq!(slots.adopt(0, id(0)).unwrap().map(|slot| slot.durable_pos), Some(left));
            files.tamper(Path::new(SLOTS_NAME), flip);
        }
    }
}

#[test]
fn every_flipped_bit_in_the_header_is_found_and_mended_without_a_slot_lost() {
    let files = SimFiles::new();
    let mut slots = open(&files);
    slots.claim(id(0)).unwrap();
    slots.write(0, &update(100)).unwrap();
    let pristine = files.snapshot();
    for bit in 0..USED * 8 {
        files.kill();
        files.tamper(Path::new(SLOTS_NAME), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let (mut slots, report) = SlotsFile::open(&files, DIR).unwrap();
        assert!(report.header_damaged, "bit {bit}");
        assert_eq!(slots.adopt(0, id(0)).unwrap().map(|slot| slot.durable_pos), Some(100));
        assert_eq!(files.snapshot(), pristine);
    }
}

#[test]
fn a_page_that_could_not_be_read_is_written_anew_with_what_is_known_of_every_slot() {
    // The last copies lie in page A or in page B, and that is the one that is lost.
    for writes in [2, 3] {
        let files = SimFiles::new();
        let mut slots = open(&files);
        for number in 0..3 {
            slots.claim(id(number)).unwrap();
            for pos in 1..=writes {
                slots.write(number, &update(pos * 100)).unwrap();
            }
        }
        slots.sync().unwrap();
        files.kill();
        let lost = page_of(slot_position(0, writes - 1));
        files.break_sectors(Path::new(SLOTS_NAME), lost..lost + PAGE_SIZE);
        let mut slots = open(&files);
        for number in 0..2 {
            slots.adopt(number, id(number)).unwrap();
        }
        slots.write(1, &update(1000)).unwrap();
        // Whatever else was known is killed with this run.
        files.kill();
        let (mut slots, report) = SlotsFile::open(&files, DIR).unwrap();
        assert_eq!(report, SlotsReport::default());
        let mut said = |number| {
            let slot = slots.adopt(number, id(number)).unwrap().unwrap();
            (slot.durable_pos, slot.leader_epoch.get(), slot.seq)
        };
        // It may have been of the next epoch, and this one is.
        let before = ((writes - 1) * 100, 2, writes - 1);
        assert_eq!([0, 1, 2].map(&mut said), [before, (1000, 1, writes - 1), before]);
        // And what comes next goes to the other page, as ever.
        slots.write(0, &update(2000)).unwrap();
        slots.sync().unwrap();
        files.kill();
        let other = page_of(slot_position(0, writes));
        files.break_sectors(Path::new(SLOTS_NAME), other..other + PAGE_SIZE);
        assert_eq!(durable_pos(&files, 0), Some((writes - 1) * 100));
    }
}

#[test]
fn a_slot_that_changed_hands_says_nothing_about_its_new_owner() {
    let files = SimFiles::new();
    let mut slots = open(&files);
    slots.claim(id(0)).unwrap();
    slots.write(0, &update(100)).unwrap();
    slots.release(0);
    assert_eq!(slots.claim(id(9)).unwrap(), 0);
    assert!(slots.last(0).is_none());
    slots.sync().unwrap();
    assert!(open(&files).adopt(0, id(9)).unwrap().is_none());
    slots.write(0, &update(50)).unwrap();
    slots.sync().unwrap();
    let slot = open(&files).adopt(0, id(9)).unwrap().unwrap();
    assert_eq!((slot.durable_pos, slot.seq), (50, 1), "the sequence goes on across owners");
}

#[test]
fn two_partitions_never_share_a_slot() {
    let files = SimFiles::new();
    let mut slots = open(&files);
    slots.adopt(4, id(0)).unwrap();
    assert!(matches!(slots.adopt(4, id(1)), Err(AdoptError::Taken { number: 4, .. })));
    assert!(matches!(slots.adopt(u32::MAX, id(1)), Err(AdoptError::OutOfRange { .. })));
}

#[test]
fn another_directorys_file_is_refused() {
    let files = SimFiles::new();
    open(&files);
    assert!(matches!(SlotsFile::open(&files, Uuid::from_u128(2)), Err(SlotsError::Foreign { .. })));
}

#[test]
fn a_full_disk_does_not_stop_a_slot_from_being_written() {
    let files = SimFiles::new();
    let mut slots = open(&files);
    slots.claim(id(0)).unwrap();
    files.set_room(Room::NoBytes);
    slots.write(0, &update(1)).unwrap();
    slots.sync().unwrap();
}

#[test]
fn a_crash_while_an_extent_is_added_leaves_a_file_that_opens() {
    for operation in 0..3 {
        for seed in 0..50 {
            let files = SimFiles::new();
            let mut slots = open(&files);
            for partition in 0..SLOTS_PER_EXTENT {
                slots.claim(id(partition)).unwrap();
            }
            slots.write(31, &update(100)).unwrap();
            slots.sync().unwrap();
            files.cut_power_at(files.operations() + operation);
            let _ = slots.claim(id(32)).map(|number| slots.write(number, &update(1)));
            files.crash(seed);
            assert_eq!(durable_pos(&files, 31), Some(100));
            assert!(matches!(durable_pos(&files, 32), None | Some(1)));
        }
    }
}

/// A killed run has left a durable slot in the only extent.
fn with_slot_31() -> SimFiles {
    let files = SimFiles::new();
    let mut slots = open(&files);
    slots.adopt(31, id(31)).unwrap();
    slots.write(31, &update(100)).unwrap();
    slots.sync().unwrap();
    files.kill();
    files
}

#[test]
fn an_extent_that_found_no_more_room_keeps_nobody_from_opening_and_is_made_whole_once_there_is_some() {
    for begun in [1, 100, PAGE_SIZE, PAGE_SIZE + 1, EXTENT_SIZE - 1] {
        let files = with_slot_31();
        let len = HEADER_SIZE + EXTENT_SIZE;
        files.tamper(Path::new(SLOTS_NAME), |bytes| bytes.resize((len + begun) as usize, 0));
        files.set_room(Room::NoBytes);
        let mut slots = open(&files);
        assert_eq!(slots.adopt(31, id(31)).unwrap().map(|slot| slot.durable_pos), Some(100));
        let refused = slots.adopt(32, id(32)).unwrap_err();
        assert!(matches!(&refused, AdoptError::Io(error) if is_full(error)), "{refused}");
        files.set_room(Room::Enough);
        assert_eq!(slots.adopt(32, id(32)).unwrap(), None);
        slots.write(32, &update(200)).unwrap();
        slots.sync().unwrap();
        files.crash(begun);
        assert_eq!(files.snapshot()[Path::new(SLOTS_NAME)].len() as u64, len + EXTENT_SIZE);
        assert_eq!([31, 32].map(|number| durable_pos(&files, number)), [Some(100), Some(200)]);
    }
}

#[test]
fn what_is_left_of_an_extent_that_was_cut_is_known_and_outlives_a_power_cut_while_it_is_made_whole() {
    // A write and a sync make it whole; a write and a sync of a copy follow.
    for (operation, seed) in (0..4).flat_map(|operation| (0..20).map(move |seed| (operation, seed))) {
        let files = with_slot_31();
        let left = HEADER_SIZE + PAGE_SIZE + seed * 100;
        files.tamper(Path::new(SLOTS_NAME), |bytes| bytes.truncate(left as usize));
        files.set_room(Room::NoBytes);
        let mut slots = open(&files);
        assert_eq!(slots.furthest(id(31)).map(|slot| slot.durable_pos), Some(100));
        assert!(matches!(slots.adopt(31, id(31)), Err(AdoptError::Io(error)) if is_full(&error)));
        files.set_room(Room::Enough);
        files.cut_power_at(files.operations() + operation);
        let adopted = slots.adopt(31, id(31));
        assert_eq!(adopted.is_ok(), operation >= 2);
        let _ = adopted.map(|_| slots.write(31, &update(200)).and_then(|()| slots.sync()));
        files.crash(seed);
        let pos = durable_pos(&files, 31);
        assert!(pos == Some(100) || pos == Some(200), "operation {operation}, seed {seed}: {pos:?}");
    }
}

#[test]
fn a_torn_copy_of_a_slot_that_is_nobodys_is_cleared_and_of_others_left_to_them() {
    let files = SimFiles::new();
    let mut slots = open(&files);
    for number in 0..2 {
        slots.claim(id(number)).unwrap();
        slots.write(number, &update(100)).unwrap();
        slots.write(number, &update(200)).unwrap();
        let at = slot_position(number, 1) as usize;
        files.tamper(Path::new(SLOTS_NAME), |bytes| bytes[at + 60..at + 128].fill(7));
    }
    let mut slots = open(&files);
    assert!(slots.adopt(0, id(0)).unwrap().is_some_and(|slot| slot.durable_pos == 100));
    slots.clear_torn().unwrap();
    let bytes = files.snapshot()[Path::new(SLOTS_NAME)].clone();
    let copy = |number| SlotCopy::decode(&field(&bytes, slot_position(number, 1) as usize));
    assert_eq!([copy(0), copy(1)], [SlotCopy::Damaged, SlotCopy::Blank]);
}
