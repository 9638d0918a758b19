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
    /// What the disk has behind the end of the file, within its last page: bytes that reached it before the length that
    /// would show them. Who makes the file longer has them again, unless what is written there reaches the disk, too.
    behind: Vec<u8>,
    /// The last page on the disk is not what it should be: the next sync writes it, with zeros behind the end.
    is_end_dirty: bool,
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
            behind: Vec::new(),
            is_end_dirty: false,
            disk_is_prefix: true,
            lost: BTreeSet::new(),
            broken: BTreeSet::new(),
        }
    }

    /// Sets what is seen and what is on the disk.
    pub(super) fn tamper(&mut self, bytes: Vec<u8>) {
        self.disk.clone_from(&bytes);
        self.seen = Content::Bytes(bytes);
        self.behind.clear();
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

    /// Whether what lies behind this end of the file can be cleared: the sector that it is in has to be read for that.
    pub(super) fn check_end(&self, len: u64) -> io::Result<()> {
        let begun = len - len % SECTOR_SIZE as u64;
        self.check_sectors(begun..len)
    }

    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        let Content::Bytes(seen) = &mut self.seen else {
            return Err(io::Error::other("cut beside its appender"));
        };
        self.disk_is_prefix &= len >= self.disk.len() as u64;
        seen.resize(len as usize, 0);
        // Whatever the length was, the rest of the last page is cleared in the cache.
        self.is_end_dirty = true;
        self.lost.remove(&(len as usize / PAGE_SIZE));
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
        if let Content::Mapped { map, uncut } = &mut self.seen {
            *uncut = bytes.to_vec();
            // They may have reached the disk, and the rest of the last page is cleared.
            self.disk_is_prefix &= self.disk.len() as u64 <= map.end();
            self.is_end_dirty = true;
        }
    }

    pub(super) fn sync(&mut self) {
        let clears_end = std::mem::take(&mut self.is_end_dirty);
        if self.disk_is_prefix {
            let from = self.disk.len();
            self.disk.resize(self.len() as usize, 0);
            let mut grown = std::mem::take(&mut self.disk);
            self.read(&mut grown[from..], from as u64);
            self.disk = grown;
            if clears_end {
                self.behind.clear();
            }
            return;
        }
        let seen = self.bytes();
        let mut disk = self.take_disk(seen.len());
        for (number, old) in disk.chunks_mut(PAGE_SIZE).enumerate() {
            if !self.lost.contains(&number) {
                replace(old, &seen[number * PAGE_SIZE..], clears_end);
            }
        }
        self.put_disk(disk, seen.len());
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
        if std::mem::take(&mut self.is_end_dirty) && !self.behind.is_empty() {
            self.lost.insert(seen.len() / PAGE_SIZE);
            self.disk_is_prefix = false;
        }
    }

    pub(super) fn drop_cache(&mut self) {
        let Content::Bytes(seen) = &mut self.seen else { return };
        let disk = [&self.disk[..], &self.behind].concat();
        for page in std::mem::take(&mut self.lost) {
            let pages = seen.chunks_mut(PAGE_SIZE);
            let Some(page_seen) = pages.into_iter().nth(page) else { continue };
            replace(page_seen, disk.get(page * PAGE_SIZE..).unwrap_or_default(), true);
        }
    }

    /// Chance has the kernel write some of what is dirty. It writes whole sectors.
    pub(super) fn write_back(&mut self, random: &mut Random) {
        self.reach_the_disk(random, SECTOR_SIZE as u64);
    }

    /// Chance decides sector by sector what of the unsynced bytes reaches the disk, and up to which multiple of `unit`
    /// the file is as long there.
    fn reach_the_disk(&mut self, random: &mut Random, unit: u64) {
        let seen = self.bytes();
        if seen == self.disk && (self.behind.is_empty() || !self.is_end_dirty) {
            return;
        }
        let old_len = self.disk.len() as u64;
        let new_len = seen.len() as u64;
        let (shorter, longer) = (old_len.min(new_len), old_len.max(new_len));
        // Nothing, everything, everything up to some length, or any sectors up to some length, be it the old one.
        let (len, chance) = match random.up_to(4) {
            0 => (old_len, 0),
            1 => (new_len, 100),
            2 => (shorter + random.up_to(longer - shorter), 100),
            3 => (old_len, random.up_to(100)),
            _ => (shorter + random.up_to(longer - shorter), random.up_to(100)),
        };
        let len = if len < new_len { (len / unit * unit).max(shorter) } else { len };
        // Within one sector a file has no length that it never had.
        let len = if len < SECTOR_SIZE as u64 && len < new_len { old_len.min(len) } else { len };
        let mut disk = self.take_disk(len as usize);
        self.disk_is_prefix = false;
        // The cache has the page that the file ends in, and none behind it.
        let cached = seen.len().next_multiple_of(PAGE_SIZE).min(disk.len());
        for (number, sector) in disk[..cached].chunks_mut(SECTOR_SIZE).enumerate() {
            let at = number * SECTOR_SIZE;
            if random.percent(chance) && !self.lost.contains(&(at / PAGE_SIZE)) {
                replace(sector, seen.get(at..).unwrap_or_default(), self.is_end_dirty);
            }
        }
        self.put_disk(disk, len as usize);
    }

    /// The power goes, and any part of the unsynced bytes with it.
    pub(super) fn crash(&mut self, random: &mut Random) {
        self.reach_the_disk(random, 1);
        self.lost.clear();
        self.is_end_dirty = false;
        self.seen = Content::Bytes(self.disk.clone());
        self.disk_is_prefix = true;
    }

    /// All that the disk has in the pages of a file of this length.
    fn take_disk(&mut self, len: usize) -> Vec<u8> {
        let mut disk = std::mem::take(&mut self.disk);
        disk.append(&mut self.behind);
        disk.resize(len.next_multiple_of(PAGE_SIZE), 0);
        disk
    }

    /// This is what the disk has, and the length that it knows.
    fn put_disk(&mut self, mut disk: Vec<u8>, len: usize) {
        self.behind = disk.split_off(len);
        let end = self.behind.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.behind.truncate(end);
        self.disk = disk;
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
        self.is_end_dirty |= !bytes.is_empty() && bytes.end > self.disk.len() / PAGE_SIZE * PAGE_SIZE;
    }
}

/// Puts `new` in the place of `old`, as far as it comes; the rest is left, or `clears_rest`.
fn replace(old: &mut [u8], new: &[u8], clears_rest: bool) {
    let (known, rest) = old.split_at_mut(new.len().min(old.len()));
    known.copy_from_slice(&new[..known.len()]);
    if clears_rest {
        rest.fill(0);
    }
}

/// The sectors that have any of these bytes, which are not none.
fn sectors(bytes: Range<u64>) -> Range<usize> {
    bytes.start as usize / SECTOR_SIZE..(bytes.end as usize).div_ceil(SECTOR_SIZE)
}

pub(super) const SECTOR_SIZE: usize = 512;
const PAGE_SIZE: usize = 4096;
