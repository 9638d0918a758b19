//! Power that goes while a sector of the slots is written: of its four copies some are new, some old, and one is half
//! of either. The simulated disk writes sectors whole; what comes of these is done to it by hand.

use std::path::Path;

use folio_storage::files::sim::Random;
use folio_storage::slots::{HEADER_SIZE, SLOTS_NAME};

use crate::world::World;

impl World {
    /// What processes see of the slots, if the power cut of this seed is to tear them.
    pub(crate) fn slots_if_torn(&self, seed: u64) -> Option<Vec<u8>> {
        // By a chance of its own: lives without such tears are what they were.
        let is_torn = self.chances.torn > 0 && Random::new(!seed).percent(self.chances.torn);
        // Both copies of one slot are more than a torn write.
        let is_broken = || self.seam.machine.broken_files().iter().any(|path| path.as_os_str() == SLOTS_NAME);
        (is_torn && !is_broken()).then(|| self.slots())
    }

    /// Of a sector that the cut took, the first part had come to the disk.
    pub(crate) fn tear_slots(&mut self, seen: &[u8], seed: u64) {
        let left = self.slots();
        let both = seen.chunks_exact(SECTOR_SIZE).zip(left.chunks_exact(SECTOR_SIZE)).enumerate();
        let lost: Vec<usize> = both
            .filter(|(_, (seen, left))| seen != left)
            .map(|(number, _)| number * SECTOR_SIZE)
            .filter(|at| *at as u64 >= HEADER_SIZE)
            .collect();
        let Some(last) = (lost.len() as u64).checked_sub(1) else { return };
        let mut random = Random::new(seed);
        let from = lost[random.up_to(last) as usize];
        let to = from + 1 + random.up_to(SECTOR_SIZE as u64 - 2) as usize;
        self.seam.note(|| format!("of the slots {from} to {to} are new"));
        self.seam.machine.tamper(Path::new(SLOTS_NAME), |bytes| {
            bytes[from..to].copy_from_slice(&seen[from..to]);
        });
        self.life.has_torn_slots = true;
        self.stats.slots_torn += 1;
    }

    fn slots(&self) -> Vec<u8> {
        self.seam.machine.snapshot().remove(Path::new(SLOTS_NAME)).unwrap_or_default()
    }
}

const SECTOR_SIZE: usize = 512;
