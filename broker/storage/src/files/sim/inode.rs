//! One file of a simulated disk: what processes see of it, and what the disk has.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use folio_mapped::SegmentMap;

use super::random::Random;

#[derive(Debug)]
pub(super) struct Inode {
    seen: Content,
    disk: Vec<u8>,
    /// Everything on the disk is also seen, unchanged; true while a file only grows.
    disk_is_prefix: bool,
    /// Pages that a failed sync lost: they count as clean, and are seen as they should be until the cache is dropped.
    /// Whoever writes to one again makes it dirty, and it goes to the disk with the next sync.
    lost: BTreeSet<usize>,
    /// Sectors that the disk does not give any more.
    broken: BTreeSet<usize>,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// Mapped to be appended to: the map, and what a failed append left above its end.
    Mapped {
        map: Arc<SegmentMap>,
        uncut: Vec<u8>,
    },
}

impl Inode {
    pub(super) fn empty() -> Self {
        Self {
            seen: Content::Bytes(Vec::new()),
            disk: Vec::new(),
            disk_is_prefix: true,
            lost: BTreeSet::new(),
            broken: BTreeSet::new(),
        }
    }

    /// Sets what is seen and what is on the disk.
    pub(super) fn tamper(&mut self, bytes: Vec<u8>) {
        self.disk.clone_from(&bytes);
        self.seen = Content::Bytes(bytes);
        self.disk_is_prefix = true;
        self.lost.clear();
    }

    /// From now on the sectors that have any of these bytes cannot be read.
    pub(super) fn break_sectors(&mut self, bytes: Range<u64>) {
        self.broken.extend(sectors(bytes));
    }

    /// All of them can be read.
    pub(super) fn heal_sectors(&mut self) {
        self.broken.clear();
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Whether these bytes can be read.
    pub(super) fn check_sectors(&self, bytes: Range<u64>) -> io::Result<()> {
        let bytes = bytes.start..bytes.end.min(self.len());
        if self.broken.is_empty() || bytes.is_empty() || self.broken.range(sectors(bytes)).next().is_none() {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()))
    }

    pub(super) fn len(&self) -> u64 {
        match &self.seen {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Mapped { map, uncut } => map.end() + uncut.len() as u64,
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len() as usize];
        self.read(&mut bytes, 0);
        bytes
    }

    pub(super) fn read(&self, buf: &mut [u8], at: u64) -> usize {
        let from = |source: &[u8], at: u64, buf: &mut [u8]| {
            let rest = source.get(at as usize..).unwrap_or_default();
            let read = rest.len().min(buf.len());
            buf[..read].copy_from_slice(&rest[..read]);
            read
        };
        match &self.seen {
            Content::Bytes(bytes) => from(bytes, at, buf),
            Content::Mapped { map, uncut } => {
                let end = map.end();
                let to = end.min(at + buf.len() as u64).max(at);
                let mapped = (to.min(end).saturating_sub(at)) as usize;
                if let Some(slice) = map.slice(at.min(end)..to.min(end)) {
                    slice.copy_to(0, &mut buf[..mapped]).expect("memory can be read");
                }
                mapped + from(uncut, (at + mapped as u64).saturating_sub(end), &mut buf[mapped..])
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let Content::Bytes(seen) = &mut self.seen else {
            return Err(io::Error::other("written beside its appender"));
        };
        let (at, end) = (at as usize, at as usize + bytes.len());
        self.disk_is_prefix &= at >= self.disk.len();
        if seen.len() < end {
            seen.resize(end, 0);
        }
        seen[at..end].copy_from_slice(bytes);
        self.dirty(at..end);
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        let Content::Bytes(seen) = &mut self.seen else {
            return Err(io::Error::other("cut beside its appender"));
        };
        self.disk_is_prefix &= len >= self.disk.len() as u64;
        seen.resize(len as usize, 0);
        Ok(())
    }

    /// From now on it is appended to through `map`.
    pub(super) fn map(&mut self, map: &Arc<SegmentMap>) {
        let uncut = self.bytes().split_off(map.end() as usize);
        self.seen = Content::Mapped { map: Arc::clone(map), uncut };
    }

    pub(super) fn unmap(&mut self) {
        if matches!(self.seen, Content::Mapped { .. }) {
            self.seen = Content::Bytes(self.bytes());
        }
    }

    /// Through its map come so many bytes more.
    pub(super) fn appends(&mut self, bytes: usize) {
        let end = self.len() as usize;
        self.dirty(end..end + bytes);
    }

    /// What lies above the end of its map.
    pub(super) fn set_uncut(&mut self, bytes: &[u8]) {
        if let Content::Mapped { uncut, .. } = &mut self.seen {
            *uncut = bytes.to_vec();
        }
    }

    pub(super) fn sync(&mut self) {
        if self.disk_is_prefix {
            let from = self.disk.len();
            self.disk.resize(self.len() as usize, 0);
            let mut grown = std::mem::take(&mut self.disk);
            self.read(&mut grown[from..], from as u64);
            self.disk = grown;
            return;
        }
        let seen = self.bytes();
        self.disk.resize(seen.len(), 0);
        for (number, (new, old)) in seen.chunks(PAGE_SIZE).zip(self.disk.chunks_mut(PAGE_SIZE)).enumerate() {
            if !self.lost.contains(&number) {
                old.copy_from_slice(new);
            }
        }
        self.disk_is_prefix = self.lost.is_empty();
    }

    /// A sync fails: what it was about counts as clean from now on.
    pub(super) fn lose(&mut self) {
        let seen = self.bytes();
        for (number, page) in seen.chunks(PAGE_SIZE).enumerate() {
            let at = number * PAGE_SIZE;
            if self.disk.get(at..at + page.len()) != Some(page) {
                self.lost.insert(number);
                self.disk_is_prefix = false;
            }
        }
    }

    pub(super) fn drop_cache(&mut self) {
        let Content::Bytes(seen) = &mut self.seen else { return };
        for page in std::mem::take(&mut self.lost) {
            let pages = seen.chunks_mut(PAGE_SIZE);
            let Some(page_seen) = pages.into_iter().nth(page) else { continue };
            let on_disk = self.disk.get(page * PAGE_SIZE..).unwrap_or_default();
            let known = on_disk.len().min(page_seen.len());
            page_seen[..known].copy_from_slice(&on_disk[..known]);
            page_seen[known..].fill(0);
        }
    }

    /// Chance has the kernel write some of what is dirty. It writes whole sectors.
    pub(super) fn write_back(&mut self, random: &mut Random) {
        self.reach_the_disk(random, SECTOR_SIZE as u64);
    }

    /// Chance decides sector by sector what of the unsynced bytes reaches the disk, up to a multiple of `unit`.
    fn reach_the_disk(&mut self, random: &mut Random, unit: u64) {
        let seen = self.bytes();
        if seen == self.disk {
            return;
        }
        let old_len = self.disk.len() as u64;
        let new_len = seen.len() as u64;
        let (shorter, longer) = (old_len.min(new_len), old_len.max(new_len));
        // Nothing, everything, everything up to some length, or any sectors up to some length.
        let (len, chance) = match random.up_to(3) {
            0 => (old_len, 0),
            1 => (new_len, 100),
            2 => (shorter + random.up_to(longer - shorter), 100),
            _ => (shorter + random.up_to(longer - shorter), random.up_to(100)),
        };
        let len = if len < new_len { (len / unit * unit).max(shorter) } else { len };
        // Within one sector a file has no length that it never had.
        let len = if len < SECTOR_SIZE as u64 && len < new_len { old_len.min(len) } else { len };
        self.disk.resize(len as usize, 0);
        self.disk_is_prefix = false;
        for (number, sector) in self.disk.chunks_mut(SECTOR_SIZE).enumerate() {
            let at = number * SECTOR_SIZE;
            let new = seen.get(at..seen.len().min(at + sector.len())).unwrap_or_default();
            if random.percent(chance) && !self.lost.contains(&(at / PAGE_SIZE)) {
                sector[..new.len()].copy_from_slice(new);
            }
        }
    }

    /// The power goes, and any part of the unsynced bytes with it.
    pub(super) fn crash(&mut self, random: &mut Random) {
        self.reach_the_disk(random, 1);
        self.lost.clear();
        self.seen = Content::Bytes(self.disk.clone());
        self.disk_is_prefix = true;
    }

    fn dirty(&mut self, bytes: Range<usize>) {
        if !self.broken.is_empty() && !bytes.is_empty() {
            let written = sectors(bytes.start as u64..bytes.end as u64);
            self.broken.retain(|sector| !written.contains(sector));
        }
        if !self.lost.is_empty() && !bytes.is_empty() {
            for page in bytes.start / PAGE_SIZE..=(bytes.end - 1) / PAGE_SIZE {
                self.lost.remove(&page);
            }
        }
    }
}

/// The sectors that have any of these bytes, which are not none.
fn sectors(bytes: Range<u64>) -> Range<usize> {
    bytes.start as usize / SECTOR_SIZE..(bytes.end as usize).div_ceil(SECTOR_SIZE)
}

pub(super) const SECTOR_SIZE: usize = 512;
const PAGE_SIZE: usize = 4096;
