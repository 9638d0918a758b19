//! What is done with the bytes of a file.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use folio_mapped::{CopyError, SegmentMap};

use super::super::super::final_error;
use super::super::inode::{Inode, SECTOR_SIZE};
use super::super::random::Random;
use super::super::room::Want;
use super::super::{Asked, Fault, Room};
use super::{Go, InodeId, Machine, finish};

impl Machine {
    pub(in super::super) fn len(&self, id: InodeId) -> u64 {
        self.inodes.get(&id).map_or(0, Inode::len)
    }

    pub(in super::super) fn read_at(
        &mut self,
        id: InodeId,
        path: &Path,
        buf: &mut [u8],
        at: u64,
    ) -> io::Result<usize> {
        let inode = self.inodes.get(&id).ok_or(io::ErrorKind::NotFound)?;
        inode.check_sectors(at..at.saturating_add(buf.len() as u64))?;
        let read = inode.read(buf, at);
        self.ask(path, &Asked { reads: 1, bytes: read as u64, ..Asked::default() });
        Ok(read)
    }

    pub(in super::super) fn write_at(&mut self, id: InodeId, bytes: &[u8], at: u64) -> io::Result<()> {
        let grows = at + bytes.len() as u64 > self.len(id);
        let go = if grows { self.begin_longer()? } else { self.begin()? };
        let written = match go {
            Go::Whole => bytes.len(),
            Go::Interrupted | Go::Fail(Fault::Short) => {
                part_of_sectors(at, bytes.len(), self.operations, matches!(go, Go::Fail(_)))
            }
            Go::Fail(_) => 0,
        };
        self.inode(id)?.write(&bytes[..written], at)?;
        self.note_full(&go);
        finish(&go)
    }

    pub(in super::super) fn set_len(&mut self, id: InodeId, len: u64) -> io::Result<()> {
        let there = self.len(id);
        self.begin_for(if there > 0 && len <= there { Want::Cut } else { Want::Name })?;
        let inode = self.inode(id)?;
        inode.check_end(len)?;
        inode.set_len(len)
    }

    pub(in super::super) fn sync(&mut self, id: InodeId) -> io::Result<()> {
        let go = self.begin()?;
        match go {
            Go::Whole => self.inode(id)?.sync(),
            Go::Fail(Fault::SyncLies) => self.inode(id)?.lose(),
            _ => {}
        }
        finish(&go).map_err(final_error)
    }

    pub(in super::super) fn drop_cache(&mut self, id: InodeId) {
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.drop_cache();
        }
    }

    pub(in super::super) fn try_lock(&mut self, id: InodeId, handle: u64) -> bool {
        *self.locks.entry(id).or_insert(handle) == handle
    }

    pub(in super::super) fn unlock(&mut self, id: InodeId, handle: u64) {
        if self.locks.get(&id) == Some(&handle) {
            self.locks.remove(&id);
        }
    }

    pub(in super::super) fn map_for_append(
        &mut self,
        id: InodeId,
        capacity: u64,
        end: u64,
    ) -> io::Result<Arc<SegmentMap>> {
        let map = self.map_up_to(id, capacity, end)?;
        self.inode(id)?.map(&map);
        Ok(map)
    }

    pub(in super::super) fn map(&mut self, id: InodeId, end: u64) -> io::Result<Arc<SegmentMap>> {
        self.inode(id)?.check_sectors(0..end)?;
        self.map_up_to(id, end.max(1), end)
    }

    /// Nobody appends to it any more.
    pub(in super::super) fn unmap(&mut self, id: InodeId) {
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.unmap();
        }
    }

    /// Counts an append and stops it if something is to go wrong; what would have been written lies uncut then.
    pub(in super::super) fn begin_append(&mut self, id: InodeId, bufs: &[IoSlice<'_>]) -> io::Result<()> {
        let go = self.begin_longer()?;
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let written = part_of(bytes.len(), self.operations, matches!(go, Go::Fail(_)));
        let inode = self.inode(id)?;
        match go {
            Go::Whole => inode.appends(bytes.len()),
            Go::Interrupted | Go::Fail(Fault::Short) => {
                inode.appends(written);
                inode.set_uncut(&bytes[..written]);
            }
            Go::Fail(_) => {}
        }
        self.note_full(&go);
        finish(&go)
    }

    /// A write that finds no room for all of it has the kernel write back what is dirty, as XFS does before it answers:
    /// there may be room then.
    fn note_full(&mut self, go: &Go) {
        if matches!(go, Go::Fail(Fault::Short)) {
            self.write_back(self.operations);
        }
    }

    /// Begins what makes a file longer. The last room there was may take part of it.
    fn begin_longer(&mut self) -> io::Result<Go> {
        if self.has_room(Want::Bytes) {
            return self.begin();
        }
        let fault = if self.room == Room::NoBytes { Fault::Full } else { Fault::Short };
        self.begin_atomic()?;
        Ok(Go::Fail(fault))
    }

    pub(in super::super) fn begin_allocate(&mut self) -> io::Result<()> {
        self.begin_for(Want::Bytes)
    }

    pub(in super::super) fn cut(&mut self, id: InodeId) -> io::Result<()> {
        self.begin_for(Want::Cut)?;
        self.inode(id)?.set_uncut(&[]);
        Ok(())
    }

    fn map_up_to(&mut self, id: InodeId, capacity: u64, end: u64) -> io::Result<Arc<SegmentMap>> {
        let bytes = self.inode(id)?.bytes();
        let position = bytes.len() as u64;
        let published = bytes.get(..end as usize).ok_or(CopyError::Poisoned { position })?;
        let map = SegmentMap::heap_within(&self.budget, capacity as usize)?;
        map.appender().map_err(io::Error::other)?.append(&[IoSlice::new(published)])?;
        Ok(map)
    }
}

/// How many of `len` bytes a write leaves behind that was interrupted, or did fail: any number, decided by `salt`; all
/// of them would be no failure.
fn part_of(len: usize, salt: u64, did_fail: bool) -> usize {
    let written = Random::new(salt).up_to(len as u64) as usize;
    if did_fail { written.min(len.saturating_sub(1)) } else { written }
}

/// As [`part_of`], of bytes of which those within one sector are written together or not at all: they come into one
/// page of the cache at once, and to the disk at once.
fn part_of_sectors(at: u64, len: usize, salt: u64, did_fail: bool) -> usize {
    let written = part_of(len, salt, did_fail);
    let sector = SECTOR_SIZE as u64;
    if at / sector == (at + len.max(1) as u64 - 1) / sector && written < len { 0 } else { written }
}
