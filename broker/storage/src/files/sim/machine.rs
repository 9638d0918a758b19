//! The simulated machine: names and inodes with what is seen and what is on the disk, faults, and power cuts.

mod bytes;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_mapped::MapBudget;

use super::super::{Boot, DirEntry, EntryKind, OpenMode, Space, final_error};
use super::inode::Inode;
use super::names::{Names, ROOT};
use super::random::Random;
use super::room::Want;
use super::{Asked, Fault, Room};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct InodeId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Machine {
    names: Names,
    /// In a fixed order, or the same seed would not give the same disk.
    inodes: BTreeMap<InodeId, Inode>,
    next_id: u64,
    locks: HashMap<InodeId, u64>,
    /// Counts deaths: files opened before the last one are dead.
    incarnation: u64,
    boots: u64,
    operations: u64,
    power_until: Option<u64>,
    is_down: bool,
    room: Room,
    /// From this operation on there is room for nothing else.
    fills: Option<(u64, Room)>,
    /// How often something found no room, by what there was room for.
    refusals: BTreeMap<Room, u64>,
    faults: HashMap<u64, Fault>,
    asked: BTreeMap<PathBuf, Asked>,
    exhausted: Exhausted,
    mounts: Vec<PathBuf>,
    budget: Arc<MapBudget>,
}

/// When no descriptor is left.
#[derive(Debug)]
pub(super) enum Exhausted {
    Never,
    Always,
    /// When this is to be opened.
    At(PathBuf),
}

/// How an operation may go on.
enum Go {
    Whole,
    /// Power goes while it is under way.
    Interrupted,
    Fail(Fault),
}

impl Machine {
    pub(super) fn new(budget: Arc<MapBudget>) -> Self {
        Self {
            names: Names::new(),
            inodes: BTreeMap::new(),
            next_id: ROOT.0 + 1,
            locks: HashMap::new(),
            incarnation: 0,
            boots: 1,
            operations: 0,
            power_until: None,
            is_down: false,
            room: Room::Enough,
            fills: None,
            refusals: BTreeMap::new(),
            faults: HashMap::new(),
            asked: BTreeMap::new(),
            exhausted: Exhausted::Never,
            mounts: Vec::new(),
            budget,
        }
    }

    pub(super) fn crash(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        let named = self.names.crash(&mut random);
        self.inodes.retain(|id, _| named.contains(id));
        for inode in self.inodes.values_mut() {
            inode.crash(&mut random);
        }
        self.boots += 1;
        self.kill();
    }

    pub(super) fn write_back(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        self.names.write_back(&mut random);
        for inode in self.inodes.values_mut() {
            inode.write_back(&mut random);
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.is_down
    }

    pub(super) fn kill(&mut self) {
        self.incarnation += 1;
        self.locks.clear();
        self.is_down = false;
        self.power_until = None;
        self.faults.clear();
        for inode in self.inodes.values_mut() {
            inode.unmap();
        }
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn cut_power_at(&mut self, operation: u64) {
        self.power_until = Some(operation);
    }

    pub(super) fn fail_at(&mut self, operation: u64, fault: Fault) {
        self.faults.insert(operation, fault);
    }

    pub(super) fn fail_no_more(&mut self) {
        self.faults.clear();
    }

    pub(super) fn set_room(&mut self, room: Room) {
        (self.room, self.fills) = (room, None);
    }

    pub(super) fn set_room_at(&mut self, operation: u64, room: Room) {
        self.fills = Some((operation, room));
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }

    pub(super) fn refusals(&self, room: Room) -> u64 {
        self.refusals.get(&room).copied().unwrap_or(0)
    }

    pub(super) fn asked(&self) -> &BTreeMap<PathBuf, Asked> {
        &self.asked
    }

    pub(super) fn ask(&mut self, path: &Path, more: &Asked) {
        match self.asked.get_mut(path) {
            Some(asked) => asked.add(more),
            None => drop(self.asked.insert(path.to_owned(), *more)),
        }
    }

    pub(super) fn set_exhausted(&mut self, exhausted: Exhausted) {
        self.exhausted = exhausted;
    }

    pub(super) fn mount(&mut self, path: &Path) {
        self.mounts.push(path.to_owned());
    }

    pub(super) fn mounts(&self) -> &[PathBuf] {
        &self.mounts
    }

    fn check_descriptors(&self, path: &Path) -> io::Result<()> {
        match &self.exhausted {
            Exhausted::Never => Ok(()),
            Exhausted::At(at) if at != path => Ok(()),
            Exhausted::Always | Exhausted::At(_) => Err(rustix::io::Errno::MFILE.into()),
        }
    }

    pub(super) fn space(&self) -> Space {
        // What wants room besides bytes is not in this account.
        Space { free: if self.room.is_for(Want::Bytes) { 1 << 40 } else { 0 }, total: 1 << 40 }
    }

    pub(super) fn boot(&self) -> Boot {
        Boot { id: u128::from(self.boots).to_be_bytes(), mount: self.boots }
    }

    pub(super) fn check_alive(&self, incarnation: u64) -> io::Result<()> {
        if self.is_down || incarnation != self.incarnation {
            Err(io::Error::other("the power is off"))
        } else {
            Ok(())
        }
    }

    pub(super) fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.files().map(|(path, inode)| (path, inode.bytes())).collect()
    }

    /// Every file that has a name, with it.
    fn files(&self) -> impl Iterator<Item = (PathBuf, &Inode)> {
        let (mut files, mut dirs) = (Vec::new(), vec![(PathBuf::new(), ROOT)]);
        while let Some((path, dir)) = dirs.pop() {
            for (name, id) in self.names.list(dir).into_iter().flatten() {
                let path = path.join(name);
                match self.inodes.get(id) {
                    Some(inode) => files.push((path, inode)),
                    None => dirs.push((path, *id)),
                }
            }
        }
        files.into_iter()
    }

    pub(super) fn tamper(&mut self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let id = self.names.find(path).ok().flatten();
        let inode = id.and_then(|id| self.inodes.get_mut(&id)).expect("a file to tamper with");
        let mut bytes = inode.bytes();
        change(&mut bytes);
        inode.tamper(bytes);
    }

    pub(super) fn break_sectors(&mut self, path: &Path, bytes: Range<u64>) {
        let id = self.names.find(path).ok().flatten();
        id.and_then(|id| self.inodes.get_mut(&id)).expect("a file to break").break_sectors(bytes);
    }

    pub(super) fn heal_sectors(&mut self) {
        self.inodes.values_mut().for_each(Inode::heal_sectors);
    }

    pub(super) fn broken_files(&self) -> Vec<PathBuf> {
        self.files().filter(|(_, inode)| inode.is_broken()).map(|(path, _)| path).collect()
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<(u64, u64, InodeId)> {
        self.check_alive(self.incarnation)?;
        self.check_descriptors(path)?;
        let found = self.names.find(path)?;
        let inode = match (found, mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(id), _) if self.names.is_dir(id) => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(id), _) => id,
            (None, OpenMode::Read | OpenMode::Write | OpenMode::Around | OpenMode::Beside) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            (None, OpenMode::Create | OpenMode::CreateNew) => {
                let (dir, name) = self.names.place(path)?;
                self.begin_for(Want::Name)?;
                let id = self.fresh_id();
                self.inodes.insert(InodeId(id), Inode::empty());
                self.names.add(dir, name, InodeId(id), false);
                InodeId(id)
            }
        };
        Ok((self.incarnation, self.fresh_id(), inode))
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.check_alive(self.incarnation)?;
        if self.names.find(path)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (dir, name) = self.names.place(path)?;
        self.begin_for(Want::Name)?;
        let id = self.fresh_id();
        self.names.add(dir, name, InodeId(id), true);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.check_alive(self.incarnation)?;
        let inode = self.names.find(from)?.ok_or(io::ErrorKind::NotFound)?;
        if let Some(there) = self.names.find(to)?
            && self.names.is_dir(there)
        {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (from, to) = (self.names.place(from)?, self.names.place(to)?);
        self.begin_for(Want::Rename)?;
        self.names.rename(from, to, inode);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path, is_dir: bool) -> io::Result<()> {
        self.check_alive(self.incarnation)?;
        let inode = self.names.find(path)?.ok_or(io::ErrorKind::NotFound)?;
        match self.names.list(inode) {
            Some(_) if !is_dir => return Err(io::ErrorKind::IsADirectory.into()),
            Some(names) if !names.is_empty() => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            None if is_dir => return Err(io::ErrorKind::NotADirectory.into()),
            _ => {}
        }
        let (dir, name) = self.names.place(path)?;
        self.begin_for(Want::Removal)?;
        self.names.remove(dir, name, inode);
        Ok(())
    }

    pub(super) fn has_name(&self, inode: InodeId) -> bool {
        self.names.has(inode)
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.check_alive(self.incarnation)?;
        let id = self.names.find(dir)?.ok_or(io::ErrorKind::NotFound)?;
        let names = self.names.list(id).ok_or(io::ErrorKind::NotADirectory)?;
        Ok(names.iter().map(|(name, id)| self.describe(name.clone(), *id)).collect())
    }

    pub(super) fn entry(&self, path: &Path) -> io::Result<Option<DirEntry>> {
        self.check_alive(self.incarnation)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(self.names.find(path)?.map(|id| self.describe(name, id)))
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.check_alive(self.incarnation)?;
        let id = self.names.find(dir)?.ok_or(io::ErrorKind::NotFound)?;
        self.check_descriptors(dir)?;
        self.begin_atomic().map_err(final_error)?;
        self.names.sync(id);
        Ok(())
    }

    pub(super) fn sync_everything(&mut self) -> io::Result<()> {
        self.check_alive(self.incarnation)?;
        match self.begin()? {
            Go::Whole => {
                self.names.sync_everything();
                self.inodes.values_mut().for_each(Inode::sync);
                Ok(())
            }
            Go::Interrupted => Err(power_is_off()),
            Go::Fail(fault) => {
                if fault == Fault::SyncLies {
                    self.inodes.values_mut().for_each(Inode::lose);
                }
                Err(final_error(error_of(fault)))
            }
        }
    }

    /// Begins what wants room for something, and is done as a whole or not at all.
    fn begin_for(&mut self, want: Want) -> io::Result<()> {
        self.begin_atomic()?;
        if self.has_room(want) { Ok(()) } else { Err(error_of(Fault::Full)) }
    }

    /// Whether there is room for it; if not, it is refused.
    fn has_room(&mut self, want: Want) -> bool {
        let has_room = self.room.is_for(want);
        if !has_room {
            *self.refusals.entry(self.room).or_default() += 1;
        }
        has_room
    }

    /// Begins an operation that is done as a whole or not at all.
    fn begin_atomic(&mut self) -> io::Result<()> {
        finish(&self.begin()?)
    }

    fn begin(&mut self) -> io::Result<Go> {
        self.check_alive(self.incarnation)?;
        let operation = self.operations;
        self.operations += 1;
        if let Some((_, room)) = self.fills.take_if(|(at, _)| operation >= *at) {
            self.room = room;
        }
        if self.power_until.is_some_and(|last| operation >= last) {
            self.is_down = true;
            return Ok(Go::Interrupted);
        }
        Ok(self.faults.remove(&operation).map_or(Go::Whole, Go::Fail))
    }

    fn describe(&self, name: String, id: InodeId) -> DirEntry {
        match self.inodes.get(&id) {
            Some(inode) => DirEntry { name, kind: EntryKind::File, len: inode.len() },
            None => DirEntry { name, kind: EntryKind::Directory, len: 0 },
        }
    }

    fn inode(&mut self, id: InodeId) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

fn finish(go: &Go) -> io::Result<()> {
    match go {
        Go::Whole => Ok(()),
        Go::Interrupted => Err(power_is_off()),
        Go::Fail(fault) => Err(error_of(*fault)),
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn error_of(fault: Fault) -> io::Error {
    io::Error::from_raw_os_error(match fault {
        Fault::Broken | Fault::SyncLies => rustix::io::Errno::IO.raw_os_error(),
        Fault::Full | Fault::Short => rustix::io::Errno::NOSPC.raw_os_error(),
    })
}
