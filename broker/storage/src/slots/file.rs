//! The file of durable points: who has which slot, and writing the next copy of one.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use folio_record::Timestamp;
use thiserror::Error;
use uuid::Uuid;

use super::header::{Header, check_header, header};
use super::{
    EXTENT_SIZE, HEADER_SIZE, PAGE_SIZE, SLOT_SIZE, SLOTS_PER_EXTENT, Slot, SlotCopy, SlotUpdate, known,
    slot_position,
};
use crate::files::{FileHandle, Files, OpenMode};
use crate::layout::{field, put};
use crate::partition::PartitionId;

/// The open file.
#[derive(Debug)]
pub struct SlotsFile<F: Files> {
    file: F::File,
    extents: u32,
    /// What the newest valid copy of each slot says, whoever wrote it.
    newest: HashMap<u32, Slot>,
    /// Slots of which the first copy was torn in page B: the next one goes there, so that never both are damaged.
    begin_in_b: HashSet<u32>,
    /// Slots that have one good copy.
    lone: HashSet<u32>,
    owners: HashMap<u32, PartitionId>,
    /// Where pages of copies begin that cannot be read. The next copy that goes to one is written with the whole of it:
    /// to write less, the kernel would have to read the rest first.
    unreadable: HashSet<u64>,
    /// No slot below this one is free.
    search_from: u32,
    /// Any slot below this one may be that of a partition whose own word is missing.
    kept_below: u32,
    /// The extents that there are may be in the cache only: a run that was killed has made them.
    may_be_unsynced: bool,
}

/// What was found when the file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotsReport {
    /// The file was not there.
    pub missing: bool,
    /// The header was not what it should be, and was written anew.
    pub header_damaged: bool,
    /// Copies that are neither blank nor valid. One for a slot is what a crash leaves; its other copy holds.
    pub damaged_copies: u32,
    /// Pages of copies that cannot be read. What the other copies of those slots say holds.
    pub unreadable_pages: u32,
}

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub enum SlotsError {
    /// A later build wrote it.
    #[error("it is of edition {edition}; this build knows edition {}", super::SLOT_EDITION)]
    Newer {
        /// The edition found.
        edition: u16,
    },
    /// It belongs to another data directory.
    #[error(
        "it belongs to data directory {found}, not to {expected}; move it away, and every log is scanned instead"
    )]
    Foreign {
        /// This directory.
        expected: Uuid,
        /// The other one.
        found: Uuid,
    },
    /// The disk's fault.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a partition cannot have the slot that its directory names.
#[derive(Debug, Error)]
pub enum AdoptError {
    /// No directory has so many partitions.
    #[error("slot {number} cannot exist")]
    OutOfRange {
        /// The slot.
        number: u32,
    },
    /// Another partition's directory names the same.
    #[error("slot {number} is that of partition {owner}")]
    Taken {
        /// The slot.
        number: u32,
        /// Whose it is.
        owner: PartitionId,
    },
    /// The disk's fault.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<F: Files> SlotsFile<F> {
    /// Opens the file; makes it if it is not there.
    pub fn open(files: &F, dir: Uuid) -> Result<(Self, SlotsReport), SlotsError> {
        let path = Path::new(SLOTS_NAME);
        let missing = files.entry(path)?.is_none();
        let file = files.open(path, OpenMode::Create)?;
        let mut report = SlotsReport { missing, ..SlotsReport::default() };
        report.header_damaged = check_header(&file, dir)? == Header::Damaged && !missing;
        if missing || report.header_damaged {
            file.write_at(&header(dir), 0)?;
            file.sync()?;
            files.sync_dir(Path::new(""))?;
        }
        let body = file.len()?.saturating_sub(HEADER_SIZE);
        let extents = body.div_ceil(EXTENT_SIZE).min(u64::from(EXTENTS_MAX)) as u32;
        if body < u64::from(extents) * EXTENT_SIZE {
            // The last extent was being added, and nothing uses it yet; or the file was cut, and its slots read
            // as never written.
            file.write_at(&vec![0; (u64::from(extents) * EXTENT_SIZE - body) as usize], HEADER_SIZE + body)?;
            file.sync()?;
        }
        let mut slots = Self {
            file,
            extents,
            newest: HashMap::new(),
            begin_in_b: HashSet::new(),
            lone: HashSet::new(),
            owners: HashMap::new(),
            unreadable: HashSet::new(),
            search_from: 0,
            kept_below: 0,
            may_be_unsynced: true,
        };
        for extent in 0..extents {
            slots.read_extent(extent, &mut report)?;
        }
        Ok((slots, report))
    }

    /// Gives `number` to the partition whose directory names it, and says what is known of its durable point.
    pub fn adopt(&mut self, number: u32, id: PartitionId) -> Result<Option<Slot>, AdoptError> {
        if number / SLOTS_PER_EXTENT >= EXTENTS_MAX {
            return Err(AdoptError::OutOfRange { number });
        }
        if let Some(owner) = self.owners.get(&number) {
            return Err(AdoptError::Taken { number, owner: *owner });
        }
        self.reserve(number)?;
        self.owners.insert(number, id);
        // Another partition's last words say nothing about this one.
        Ok(self.newest.get(&number).copied().filter(|slot| slot.partition == id))
    }

    /// Keeps the slot of a partition whose directory does not say which it is, or is not there: nobody else gets it, or
    /// the partition would not have it when its directory can be read again. Called once every other has its own.
    pub fn keep(&mut self, id: PartitionId) {
        let own = self.newest.iter().filter(|(_, slot)| slot.partition == id).map(|(number, _)| *number);
        let mut free = own.filter(|number| !self.owners.contains_key(number));
        match free.next() {
            Some(number) => drop(self.owners.insert(number, id)),
            // It has never written any: it is one of those that there are.
            None => self.kept_below = self.extents * SLOTS_PER_EXTENT,
        }
    }

    /// Gives a new partition the first slot that is free.
    pub fn claim(&mut self, id: PartitionId) -> io::Result<u32> {
        let mut numbers = self.search_from.max(self.kept_below)..EXTENTS_MAX * SLOTS_PER_EXTENT;
        let number =
            numbers.find(|number| !self.owners.contains_key(number)).ok_or(io::ErrorKind::QuotaExceeded)?;
        self.reserve(number)?;
        if std::mem::take(&mut self.may_be_unsynced) {
            self.file.sync()?;
        }
        self.search_from = number + 1;
        self.owners.insert(number, id);
        Ok(number)
    }

    /// Takes a slot back whose partition is gone. Its last copy stays until another partition writes its own.
    pub fn release(&mut self, number: u32) {
        self.owners.remove(&number);
        self.search_from = self.search_from.min(number);
    }

    /// What the newest copy of this slot says, if its owner wrote it.
    pub fn last(&self, number: u32) -> Option<&Slot> {
        let slot = self.newest.get(&number)?;
        (self.owners.get(&number) == Some(&slot.partition)).then_some(slot)
    }

    /// When the latest of all copies was written.
    pub fn last_written(&self) -> Option<Timestamp> {
        self.newest.values().map(|slot| slot.written_at).max()
    }

    /// Writes the next copy of a slot. The caller's last flush covers all that `update` says.
    ///
    /// # Errors
    /// Those of the disk; and that the slot is nobody's, who could not be found by it again.
    pub fn write(&mut self, number: u32, update: &SlotUpdate) -> io::Result<()> {
        let owner = self.owners.get(&number).copied();
        let partition = owner.ok_or_else(|| io::Error::other(format!("slot {number} is nobody's")))?;
        let first = u64::from(self.begin_in_b.contains(&number));
        let seq = self.newest.get(&number).map_or(first, |slot| slot.seq + 1);
        let slot = update.into_slot(partition, seq);
        let at = slot_position(number, seq);
        let page = page_of(at);
        if self.unreadable.contains(&page) {
            let mut bytes = vec![0; PAGE_SIZE as usize];
            put(&mut bytes, (at - page) as usize, &slot.encode());
            self.file.write_at(&bytes, page)?;
            self.unreadable.remove(&page);
        } else {
            self.file.write_at(&slot.encode(), at)?;
        }
        if self.newest.insert(number, slot).is_none() {
            self.lone.insert(number);
        } else {
            self.lone.remove(&number);
        }
        Ok(())
    }

    /// [Writes](Self::write) a copy of a slot, and the other one as well if there is none: whichever a torn write takes
    /// later on, the other tells of the epoch that begins now.
    ///
    /// # Errors
    /// As for a copy.
    pub fn begin(&mut self, number: u32, update: &SlotUpdate) -> io::Result<()> {
        self.write(number, update)?;
        if self.lone.contains(&number) { self.write(number, update) } else { Ok(()) }
    }

    /// Waits until every copy written so far is on stable storage.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Makes sure that the extent of slot `number` is on the disk before anybody uses it.
    fn reserve(&mut self, number: u32) -> io::Result<()> {
        let extents = number / SLOTS_PER_EXTENT + 1;
        if extents > self.extents {
            let from = HEADER_SIZE + u64::from(self.extents) * EXTENT_SIZE;
            let zeros = vec![0; EXTENT_SIZE as usize];
            for extent in 0..u64::from(extents - self.extents) {
                self.file.write_at(&zeros, from + extent * EXTENT_SIZE)?;
            }
            self.file.sync()?;
            self.may_be_unsynced = false;
            self.extents = extents;
        }
        Ok(())
    }

    fn read_extent(&mut self, extent: u32, report: &mut SlotsReport) -> Result<(), SlotsError> {
        let mut bytes = vec![0; EXTENT_SIZE as usize];
        let first = extent * SLOTS_PER_EXTENT;
        let from = slot_position(first, 0);
        // One bad sector is no reason to serve nobody: the other copy of each slot lies on another page.
        for (page, bytes) in (from..).step_by(PAGE_SIZE as usize).zip(bytes.chunks_mut(PAGE_SIZE as usize)) {
            if self.file.read_at(bytes, page).is_err() {
                report.unreadable_pages += 1;
                self.unreadable.insert(page);
            }
        }
        for number in first..first + SLOTS_PER_EXTENT {
            let is_read = |seq| !self.unreadable.contains(&page_of(slot_position(number, seq)));
            let copy = |seq| {
                let at = (slot_position(number, seq) - from) as usize;
                if is_read(seq) {
                    SlotCopy::decode(&field::<SLOT_SIZE>(&bytes, at))
                } else {
                    SlotCopy::Damaged
                }
            };
            let copies = [copy(0), copy(1)];
            for (seq, copy) in (0..).zip(copies) {
                match copy {
                    SlotCopy::Newer { edition } => return Err(SlotsError::Newer { edition }),
                    SlotCopy::Damaged => report.damaged_copies += u32::from(is_read(seq)),
                    SlotCopy::Blank | SlotCopy::Valid(_) => {}
                }
            }
            if let Some(slot) = known(copies) {
                self.newest.insert(number, slot);
                if !copies.iter().all(|copy| copy.valid().is_some()) {
                    self.lone.insert(number);
                }
            } else if copies[1] == SlotCopy::Damaged {
                self.begin_in_b.insert(number);
            }
        }
        Ok(())
    }
}

/// Where the page of copies begins that has byte `at`.
fn page_of(at: u64) -> u64 {
    at - at % PAGE_SIZE
}

/// The name of the file.
pub const SLOTS_NAME: &str = "slots";

/// A million partitions.
const EXTENTS_MAX: u32 = 1 << 15;

#[cfg(test)]
mod tests {
    use folio_record::{LeaderEpoch, Offset, Timestamp};

    use super::super::header::USED;
    use super::*;
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
    fn a_run_begins_with_two_good_copies_of_each_slot() {
        let copies = |files: &SimFiles| {
            let bytes = files.snapshot()[Path::new(SLOTS_NAME)].clone();
            let copy = |seq| SlotCopy::decode(&field(&bytes, slot_position(0, seq) as usize));
            [0, 1].map(|seq| copy(seq).valid().map(|slot| slot.durable_pos))
        };
        let files = SimFiles::new();
        let mut slots = open(&files);
        slots.claim(id(0)).unwrap();
        slots.begin(0, &update(100)).unwrap();
        assert_eq!(copies(&files), [Some(100), Some(100)]);
        slots.begin(0, &update(200)).unwrap();
        assert_eq!(copies(&files), [Some(200), Some(100)], "one is enough where the other is good");
        let at = slot_position(0, 1) as usize;
        files.tamper(Path::new(SLOTS_NAME), |bytes| bytes[at..at + 50].fill(7));
        let mut slots = open(&files);
        slots.adopt(0, id(0)).unwrap();
        slots.begin(0, &update(300)).unwrap();
        assert_eq!(copies(&files), [Some(200), Some(300)]);
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
        files.set_full(true);
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
}
