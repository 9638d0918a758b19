//! Every copy of every slot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use folio_record::Offset;
use uuid::Uuid;

use super::{Finding, Findings, Need, Severity};
use crate::files::{FileHandle, Files, OpenMode};
use crate::partition::PartitionId;
use crate::slots::{
    EXTENT_SIZE, HEADER_SIZE, METADATA, SLOT_SIZE, SLOTS_NAME, SLOTS_PER_EXTENT, Slot, SlotCopy,
    check_header_bytes, known, slot_position,
};

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Slots {
    newest: HashMap<u32, Slot>,
    /// A copy of these is damaged: what the other one says is known, if it says anything.
    damaged: HashSet<u32>,
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
    /// What was written cannot be read.
    Lost,
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
        match files.open(path, OpenMode::Read) {
            Ok(file) => {
                if let Err(error) = slots.read(&file, dir, was_closed, findings) {
                    findings.damage(path, format_args!("cannot be read: {error}"), Need::Slots);
                }
            }
            Err(error) => findings.damage(path, format_args!("cannot be opened: {error}"), Need::Slots),
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
            _ if number >= self.count => Known::NoSuchSlot,
            _ if self.damaged.contains(&number) => Known::Lost,
            _ => Known::Nothing,
        }
    }

    fn read<H: FileHandle>(
        &mut self,
        file: &H,
        dir: Option<Uuid>,
        was_closed: bool,
        findings: &mut Findings<'_>,
    ) -> std::io::Result<()> {
        let path = Path::new(SLOTS_NAME);
        let len = file.len()?;
        let mut header = vec![0; HEADER_SIZE as usize];
        file.read_at(&mut header, 0)?;
        match check_header_bytes(&header, dir) {
            Ok(dir) => self.dir = Some(dir),
            Err(error) => {
                let need = if error.is_foreign() { Need::Slots } else { Need::SlotsHeader };
                let finding = Finding::new(Severity::Damage, path, error);
                findings.add_with(finding.at(0).of_bytes(HEADER_SIZE), need);
            }
        }
        let body = len.saturating_sub(HEADER_SIZE);
        let extents = u32::try_from(body / EXTENT_SIZE).unwrap_or(u32::MAX / SLOTS_PER_EXTENT);
        if !body.is_multiple_of(EXTENT_SIZE) {
            // Room for more partitions is added with zeros, and synced before anybody uses it.
            let from = HEADER_SIZE + u64::from(extents) * EXTENT_SIZE;
            let what = "the file ends inside an extent of slots";
            let severity = Severity::unless_crashed(!was_closed);
            let finding = Finding::new(severity, path, what).at(from).of_bytes(len - from);
            findings.add_with(finding, Need::SlotsHeader);
        }
        self.count = extents.saturating_mul(SLOTS_PER_EXTENT);
        for number in 0..self.count {
            self.read_slot(file, number, was_closed, findings)?;
        }
        Ok(())
    }

    fn read_slot<H: FileHandle>(
        &mut self,
        file: &H,
        number: u32,
        was_closed: bool,
        findings: &mut Findings<'_>,
    ) -> std::io::Result<()> {
        let mut copies = [SlotCopy::Blank; 2];
        for (seq, copy) in (0..).zip(&mut copies) {
            let mut bytes = [0; SLOT_SIZE];
            file.read_at(&mut bytes, slot_position(number, seq))?;
            *copy = SlotCopy::decode(&bytes);
        }
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
        self.newest.extend(known(copies).map(|slot| (number, slot)));
        Ok(())
    }
}
