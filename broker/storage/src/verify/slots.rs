//! Every copy of every slot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use folio_record::Offset;
use uuid::Uuid;

use super::{Finding, Findings, Need, Severity};
use crate::files::{FileHandle, Files, OpenMode};
use crate::layout::field;
use crate::partition::PartitionId;
use crate::slots::{
    EXTENT_SIZE, HEADER_SIZE, METADATA, PAGE_SIZE, SLOT_SIZE, SLOTS_NAME, SLOTS_PER_EXTENT, Slot, SlotCopy,
    check_header_bytes, known, slot_position,
};

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Slots {
    newest: HashMap<u32, Slot>,
    /// A copy of these is damaged: what the other one says is known, if it says anything.
    damaged: HashSet<u32>,
    /// A copy of these cannot be read.
    unread: HashSet<u32>,
    /// Nothing of the file can be read.
    is_unreadable: bool,
    /// How many slots there is room for.
    count: u32,
    /// The directory that it says it is of.
    pub(super) dir: Option<Uuid>,
}

/// What is known of a partition's durable point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// This.
    Slot(Slot),
    /// Nothing was ever written to its slot, or only by another partition.
    Nothing,
    /// What was written is damaged.
    Lost,
    /// The disk does not give back what was written; that was told.
    Unreadable,
    /// The file has no such slot.
    NoSuchSlot,
}

impl Known {
    /// The slot, if there is one.
    pub(super) fn slot(self) -> Option<Slot> {
        if let Self::Slot(slot) = self { Some(slot) } else { None }
    }
}

impl Slots {
    /// Reads the file. `was_closed`: nothing was being written when the last run ended.
    pub(super) fn look<F: Files>(
        files: &F,
        dir: Option<Uuid>,
        was_closed: bool,
        findings: &mut Findings<'_>,
    ) -> Self {
        let path = Path::new(SLOTS_NAME);
        let mut slots = Self::default();
        match files.open(path, OpenMode::Read).and_then(|file| Ok((file.len()?, file))) {
            Ok((len, file)) => slots.read(&file, len, dir, was_closed, findings),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                findings.damage(path, "the file is missing", Need::Slots);
            }
            Err(error) => {
                slots.is_unreadable = true;
                unreadable(Finding::new(Severity::Damage, path, Unreadable(&error)), &error, findings);
            }
        }
        slots
    }

    /// The number of the slot that speaks of partition `id`.
    pub(super) fn number_of(&self, id: PartitionId) -> Option<u32> {
        self.newest.iter().find(|(_, slot)| slot.partition == id).map(|(number, _)| *number)
    }

    /// How far the metadata log was durable, as far as any slot says.
    pub(super) fn metadata(&self) -> Option<Offset> {
        let said = self.newest.values().filter(|slot| slot.partition == METADATA);
        said.map(|slot| slot.durable_next_offset).max()
    }

    /// All that is known, by partition.
    pub(super) fn all(&self) -> BTreeMap<PartitionId, (u32, Slot)> {
        self.newest.iter().map(|(number, slot)| (slot.partition, (*number, *slot))).collect()
    }

    /// What slot `number` says of partition `id`.
    pub(super) fn of(&self, number: u32, id: PartitionId) -> Known {
        match self.newest.get(&number) {
            Some(slot) if slot.partition == id => Known::Slot(*slot),
            _ if self.is_unreadable || self.unread.contains(&number) => Known::Unreadable,
            _ if number >= self.count => Known::NoSuchSlot,
            _ if self.damaged.contains(&number) => Known::Lost,
            _ => Known::Nothing,
        }
    }

    fn read<H: FileHandle>(
        &mut self,
        file: &H,
        len: u64,
        dir: Option<Uuid>,
        was_closed: bool,
        findings: &mut Findings<'_>,
    ) {
        let path = Path::new(SLOTS_NAME);
        let mut header = vec![0; HEADER_SIZE as usize];
        if read_page(file, &mut header, 0, findings) {
            match check_header_bytes(&header, dir) {
                Ok(dir) => self.dir = Some(dir),
                Err(error) => {
                    let need = if error.is_foreign() { Need::Slots } else { Need::SlotsHeader };
                    let finding = Finding::new(Severity::Damage, path, error);
                    findings.add_with(finding.at(0).of_bytes(HEADER_SIZE), need);
                }
            }
        }
        let body = len.saturating_sub(HEADER_SIZE);
        let extents = u32::try_from(body / EXTENT_SIZE).unwrap_or(u32::MAX / SLOTS_PER_EXTENT);
        let begun = body % EXTENT_SIZE;
        if begun > 0 {
            // Room for more partitions is added with zeros, and synced before anybody uses it. Where a full disk has
            // cut that short, the broker goes on without, and may be stopped cleanly.
            let (mut bytes, from) = (vec![0; begun as usize], len - begun);
            let is_read = read_page(file, &mut bytes, from, findings);
            let is_blank = is_read && bytes.iter().all(|byte| *byte == 0);
            let severity = Severity::unless_crashed(!was_closed || is_blank);
            let what = "the file ends inside an extent of slots";
            findings.add_with(Finding::new(severity, path, what).at(from).of_bytes(begun), Need::SlotsHeader);
        }
        self.count = extents.saturating_mul(SLOTS_PER_EXTENT);
        for first in (0..self.count).step_by(SLOTS_PER_EXTENT as usize) {
            // As a start does it: the other copy of each slot lies on another page.
            let pages = [0, 1].map(|seq| {
                let mut page = vec![0; PAGE_SIZE as usize];
                read_page(file, &mut page, slot_position(first, seq), findings).then_some(page)
            });
            for number in first..first + SLOTS_PER_EXTENT {
                self.read_slot(&pages, number, was_closed, findings);
            }
        }
    }

    fn read_slot(
        &mut self,
        pages: &[Option<Vec<u8>>; 2],
        number: u32,
        was_closed: bool,
        findings: &mut Findings<'_>,
    ) {
        let within = (number % SLOTS_PER_EXTENT) as usize * SLOT_SIZE;
        let copies = [0, 1].map(|seq: usize| {
            pages[seq].as_ref().map(|page| SlotCopy::decode(&field::<SLOT_SIZE>(page, within)))
        });
        let is_unread = copies.iter().any(Option::is_none);
        // Of the newest of the two nobody knows more than of a damaged one.
        let known = known(copies.map(|copy| copy.unwrap_or(SlotCopy::Damaged)));
        // That it cannot be read was told.
        let copies = copies.map(|copy| copy.unwrap_or(SlotCopy::Blank));
        let is_other_good = |seq: usize| copies[1 - seq].valid().is_some();
        for (seq, name) in [(0, 'A'), (1, 'B')] {
            let (what, may_be_torn) = match copies[seq] {
                SlotCopy::Damaged => {
                    let what = format!("copy {name} of slot {number} is damaged");
                    // The first copy ever is written while there is no other.
                    (what, is_other_good(seq) || copies[1 - seq] == SlotCopy::Blank)
                }
                SlotCopy::Newer { edition } => (
                    format!("copy {name} of slot {number} is of edition {edition}, which is not known"),
                    false,
                ),
                SlotCopy::Valid(slot) if slot.seq % 2 != seq as u64 => {
                    (format!("copy {name} of slot {number} stands in the place of the other"), false)
                }
                SlotCopy::Blank | SlotCopy::Valid(_) => continue,
            };
            let severity = Severity::unless_crashed(may_be_torn && !was_closed);
            if severity == Severity::Damage {
                self.damaged.insert(number);
            }
            let at = slot_position(number, seq as u64);
            let finding = Finding::new(severity, Path::new(SLOTS_NAME), what).at(at);
            findings.add_with(finding.of_bytes(SLOT_SIZE as u64), Need::SlotCopy(at));
        }
        if is_unread {
            self.unread.insert(number);
        }
        self.newest.extend(known.map(|slot| (number, slot)));
    }
}

/// What the disk says of bytes that it does not give.
struct Unreadable<'a>(&'a io::Error);

impl fmt::Display for Unreadable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot be read: {}", self.0)
    }
}

/// Reads a page; or says that it cannot be read.
fn read_page<H: FileHandle>(file: &H, page: &mut [u8], at: u64, findings: &mut Findings<'_>) -> bool {
    let Err(error) = file.read_at(page, at) else { return true };
    let finding = Finding::new(Severity::Damage, Path::new(SLOTS_NAME), Unreadable(&error));
    unreadable(finding.at(at).of_bytes(page.len() as u64), &error, findings);
    false
}

/// It concerns every partition, whichever was asked about: to mend one is to write there.
fn unreadable(finding: Finding, error: &io::Error, findings: &mut Findings<'_>) {
    let is_quiet = std::mem::take(&mut findings.is_quiet);
    findings.add_with(finding, Need::Unreadable(PathBuf::from(SLOTS_NAME), error.to_string()));
    findings.is_quiet = is_quiet;
}
