//! The file of durable points: who has which slot, and writing the next copy of one.

#[cfg(test)]
mod tests;

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
use crate::files::{FileHandle, Files, OpenMode, is_exhausted, is_full};
use crate::layout::{field, put};
use crate::partition::PartitionId;

/// The open file.
#[derive(Debug)]
pub struct SlotsFile<F: Files> {
    file: F::File,
    /// Those that the file has whole.
    extents: u32,
    /// Those of which it had a part, or all, when it was opened.
    begun: u32,
    /// What the newest valid copy of each slot says, whoever wrote it.
    newest: HashMap<u32, Slot>,
    /// Slots of which the first copy was torn in page B: the next one goes there, so that never both are damaged.
    begin_in_b: HashSet<u32>,
    /// Slots that have one good copy of the partition that has written last.
    lone: HashSet<u32>,
    /// Copies that were neither blank nor valid when the file was opened: of which slot, and which.
    damaged: Vec<(u32, u64)>,
    owners: HashMap<u32, PartitionId>,
    /// Where pages of copies begin that cannot be read. The next copy that goes to one is written with the whole of it
    /// ([`write_page`](Self::write_page)): to write less, the kernel would have to read the rest first.
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
        let extents = |count: u64| count.min(u64::from(EXTENTS_MAX)) as u32;
        let begun = extents(body.div_ceil(EXTENT_SIZE));
        let mut slots = Self {
            file,
            extents: extents(body / EXTENT_SIZE),
            begun,
            newest: HashMap::new(),
            begin_in_b: HashSet::new(),
            lone: HashSet::new(),
            damaged: Vec::new(),
            owners: HashMap::new(),
            unreadable: HashSet::new(),
            search_from: 0,
            kept_below: 0,
            may_be_unsynced: true,
        };
        for extent in 0..begun {
            slots.read_extent(extent, &mut report)?;
        }
        match slots.extend(begun) {
            // The last extent was being added, and nothing uses it yet; or the file was cut, and what is missing reads
            // as never written. Whoever is given a slot of it sees to its room then.
            Err(error) if is_full(&error) => {}
            outcome => outcome?,
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
        if self.take_own(id).is_none() {
            // It has never written any: it is one of those that there are.
            self.kept_below = self.extents.max(self.begun) * SLOTS_PER_EXTENT;
        }
    }

    /// Gives `id` the slot that it has written, if it has, and nobody else has it by now. Called once every other has
    /// its own. Of a file that was cut, the extent may not be whole: see [`reserve`](Self::reserve).
    pub fn take_own(&mut self, id: PartitionId) -> Option<u32> {
        let own = self.newest.iter().filter(|(_, slot)| slot.partition == id);
        let free = own.filter(|(number, _)| !self.owners.contains_key(number));
        let (number, _) = free.max_by_key(|(number, slot)| (slot.durable_next_offset, **number))?;
        let number = *number;
        self.owners.insert(number, id);
        Some(number)
    }

    /// What is known of the durable point of `id`, whichever slot says so.
    pub fn furthest(&self, id: PartitionId) -> Option<&Slot> {
        let said = self.newest.values().filter(|slot| slot.partition == id);
        said.max_by_key(|slot| slot.durable_next_offset)
    }

    /// Lets nothing be known of `id` any more. When this returns, that is on stable storage.
    pub(crate) fn forget(&mut self, id: PartitionId) -> io::Result<()> {
        let said: Vec<u32> = (self.newest.iter().filter(|(_, slot)| slot.partition == id))
            .map(|(number, _)| *number)
            .collect();
        for number in &said {
            self.reserve(*number)?;
            for seq in 0..2 {
                self.file.write_at(&[0; SLOT_SIZE], slot_position(*number, seq))?;
            }
            self.newest.remove(number);
            self.lone.remove(number);
        }
        if said.is_empty() { Ok(()) } else { self.file.sync() }
    }

    /// Gives a new partition the first slot that is free.
    pub fn claim(&mut self, id: PartitionId) -> io::Result<u32> {
        let mut numbers = self.search_from.max(self.kept_below)..EXTENTS_MAX * SLOTS_PER_EXTENT;
        let number =
            numbers.find(|number| !self.owners.contains_key(number)).ok_or(io::ErrorKind::QuotaExceeded)?;
        self.give(number, id)?;
        self.search_from = number + 1;
        Ok(number)
    }

    /// Gives `id`, which is no partition, the last slot of the first extent if that is free, or else as
    /// [`claim`](Self::claim) does: partitions are numbered from 0 on, with it as without it.
    pub(crate) fn claim_beside(&mut self, id: PartitionId) -> io::Result<u32> {
        let number = SLOTS_PER_EXTENT - 1;
        if number < self.kept_below || self.owners.contains_key(&number) {
            return self.claim(id);
        }
        self.give(number, id)?;
        Ok(number)
    }

    fn give(&mut self, number: u32, id: PartitionId) -> io::Result<()> {
        self.reserve(number)?;
        if std::mem::take(&mut self.may_be_unsynced) {
            self.file.sync()?;
        }
        self.owners.insert(number, id);
        Ok(())
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
        self.reserve(number)?;
        let first = u64::from(self.begin_in_b.contains(&number));
        let seq = self.newest.get(&number).map_or(first, |slot| slot.seq + 1);
        let slot = update.into_slot(partition, seq);
        let at = slot_position(number, seq);
        let page = page_of(at);
        if self.unreadable.contains(&page) {
            return self.write_page(page, number, slot);
        }
        self.file.write_at(&slot.encode(), at)?;
        self.note(number, slot);
        Ok(())
    }

    /// Writes a page that could not be read, for the sake of one copy, whole: with what is known of all other slots
    /// that have their next copy there.
    ///
    /// Some of them may not be written again before the next start. It would take what the other page says for the last
    /// word, if this one said nothing: also of which epoch a log is, which may have been the next one by then.
    fn write_page(&mut self, page: u64, number: u32, slot: Slot) -> io::Result<()> {
        let first = number - number % SLOTS_PER_EXTENT;
        let others = (first..first + SLOTS_PER_EXTENT).filter(|other| *other != number);
        let next_of = |other| {
            let last = self.newest.get(&other)?;
            Some((other, Slot { seq: last.seq + 1, ..*last }))
        };
        let is_here = |(number, slot): &(u32, Slot)| page_of(slot_position(*number, slot.seq)) == page;
        let copies: Vec<_> = others.filter_map(next_of).chain([(number, slot)]).filter(is_here).collect();
        let mut bytes = vec![0; PAGE_SIZE as usize];
        for (number, slot) in &copies {
            put(&mut bytes, (slot_position(*number, slot.seq) - page) as usize, &slot.encode());
        }
        self.file.write_at(&bytes, page)?;
        self.unreadable.remove(&page);
        copies.into_iter().for_each(|(number, slot)| self.note(number, slot));
        Ok(())
    }

    /// A copy was written.
    fn note(&mut self, number: u32, slot: Slot) {
        // What another partition has left there is no copy of this one.
        let before = self.newest.insert(number, slot);
        if before.is_some_and(|before| before.partition == slot.partition) {
            self.lone.remove(&number);
        } else {
            self.lone.insert(number);
        }
    }

    /// Begins a run: [writes](Self::write) a copy of each of these slots. Where there were no two good ones before, the
    /// other follows: whichever a torn write takes later on, the other is of the run before at the earliest, and that
    /// is the epoch that a start reckons with. All is on stable storage then, the one copy before the other is written.
    ///
    /// # Errors
    /// As for a copy.
    pub fn begin(&mut self, updates: &[(u32, SlotUpdate)]) -> io::Result<()> {
        let again = updates.iter().filter(|(number, _)| !self.has_two(*number)).collect();
        for copies in [updates.iter().collect::<Vec<_>>(), again] {
            for (number, update) in &copies {
                self.write(*number, update)?;
            }
            if !copies.is_empty() {
                self.sync()?;
            }
        }
        Ok(())
    }

    /// Whether both copies of a slot are good, and its owner's.
    pub fn has_two(&self, number: u32) -> bool {
        self.last(number).is_some() && !self.lone.contains(&number)
    }

    /// Clears torn copies of slots that are nobody's: who has one writes it anew, and these would pass for damage for
    /// ever. Called once everybody has his own.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn clear_torn(&mut self) -> io::Result<()> {
        for (number, seq) in std::mem::take(&mut self.damaged) {
            if !self.owners.contains_key(&number) {
                self.file.write_at(&[0; SLOT_SIZE], slot_position(number, seq))?;
            }
        }
        Ok(())
    }

    /// Waits until every copy written so far is on stable storage.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Makes sure that the extent of slot `number` is on the disk before anybody uses it.
    ///
    /// # Errors
    /// Those of the disk. If there is no room, the slot stays whose it is, and whoever comes by next tries again.
    pub(crate) fn reserve(&mut self, number: u32) -> io::Result<()> {
        self.extend(number / SLOTS_PER_EXTENT + 1)
    }

    /// Makes the file so many extents long, if it is not.
    fn extend(&mut self, extents: u32) -> io::Result<()> {
        if extents <= self.extents {
            return Ok(());
        }
        // From where the file ends: the last extent may have been begun, by a write that found no more room, and in a
        // file that was cut what is left of it are copies. So whatever a power cut leaves of this, those stay.
        let mut at = self.file.len()?.max(HEADER_SIZE);
        let end = HEADER_SIZE + u64::from(extents) * EXTENT_SIZE;
        while at < end {
            let missing = EXTENT_SIZE - (at - HEADER_SIZE) % EXTENT_SIZE;
            self.file.write_at(&vec![0; missing as usize], at)?;
            at += missing;
        }
        self.file.sync()?;
        self.may_be_unsynced = false;
        self.extents = extents;
        Ok(())
    }

    fn read_extent(&mut self, extent: u32, report: &mut SlotsReport) -> Result<(), SlotsError> {
        let mut bytes = vec![0; EXTENT_SIZE as usize];
        let first = extent * SLOTS_PER_EXTENT;
        let from = slot_position(first, 0);
        // One bad sector is no reason to serve nobody: the other copy of each slot lies on another page.
        for (page, bytes) in (from..).step_by(PAGE_SIZE as usize).zip(bytes.chunks_mut(PAGE_SIZE as usize)) {
            match self.file.read_at(bytes, page) {
                Ok(_) => {}
                // No memory to read it by: that is not the page's fault.
                Err(error) if is_exhausted(&error) => return Err(error.into()),
                Err(_) => {
                    report.unreadable_pages += 1;
                    self.unreadable.insert(page);
                }
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
                    SlotCopy::Damaged if is_read(seq) => {
                        report.damaged_copies += 1;
                        self.damaged.push((number, seq));
                    }
                    SlotCopy::Damaged => {}
                    SlotCopy::Blank | SlotCopy::Valid(_) => {}
                }
            }
            if let Some(slot) = known(copies) {
                self.newest.insert(number, slot);
                let is_one_of_its =
                    |copy: &SlotCopy| copy.valid().is_some_and(|one| one.partition == slot.partition);
                if !copies.iter().all(is_one_of_its) {
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
