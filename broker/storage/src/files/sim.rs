//! A file system in memory that loses what was not synced, for tests of everything above it.
//!
//! A [`SimFiles`] is a machine with a disk. Its power can be cut at any operation, after which it comes back with any
//! part of what was not synced: whole 512-byte sectors of a file new or old (or zero where nothing was before), any
//! length between old and new, each new, renamed or removed name or not. Bytes within one sector are written together,
//! also when the power goes meanwhile. Bytes that reached the disk before the length that shows them lie behind the end
//! of the file, in its last page: they are seen again where the file becomes longer and what is written there does not
//! reach the disk. Whoever sets a length clears them, with the next sync. Everything follows from seeds, so a run can
//! be repeated.
//!
//! It is harsher than real file systems where POSIX allows it: a rename between two directories needs both to be
//! synced, and names come back in any combination rather than in order.
//!
//! Operations that change something (and syncs, but not reads) are numbered from 0; [`SimFiles::operations`] counts
//! them, [`SimFiles::cut_power_at`] and [`SimFiles::fail_at`] aim at one.

mod inode;
mod machine;
mod names;
mod random;
mod room;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use folio_mapped::{Appender, MapBudget, SegmentMap};

use super::{Boot, DirEntry, FileAppender, FileHandle, Files, OpenMode, Space, is_full};
use machine::{Exhausted, InodeId, Machine};

pub use random::Random;
pub use room::Room;

/// A simulated machine and its disk. Clones are the same machine.
#[derive(Debug, Clone)]
pub struct SimFiles {
    machine: Arc<Mutex<Machine>>,
    budget: Arc<MapBudget>,
}

/// An open file of a [`SimFiles`].
#[derive(Debug)]
pub struct SimFile {
    machine: Arc<Mutex<Machine>>,
    incarnation: u64,
    handle: u64,
    inode: InodeId,
    path: PathBuf,
}

/// The appender of a simulated file.
#[derive(Debug)]
pub struct SimAppender {
    file: SimFile,
    inner: Appender,
    /// Bytes above the end have to be cut off first.
    is_uncut: bool,
}

/// What files were asked, without changing them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// How often one was opened.
    pub opened: u64,
    /// How often a length was asked for, be it by name or of an open file.
    pub lengths: u64,
    /// How often one was read.
    pub reads: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

impl Asked {
    fn add(&mut self, more: &Self) {
        self.opened += more.opened;
        self.lengths += more.lengths;
        self.reads += more.reads;
        self.bytes += more.bytes;
    }
}

/// What goes wrong at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, `EIO`.
    Broken,
    /// Nothing is done, `ENOSPC`.
    Full,
    /// A write is done in part, some of what is dirty is written back, then `ENOSPC`; anything else is not done at all.
    Short,
    /// A sync fails with `EIO`, and the pages that it was about count as clean: they stay visible until the cache is
    /// dropped, later syncs succeed and do nothing for them, and only who writes to one again brings it to the disk.
    /// Anything but a sync fails like [`Fault::Broken`].
    SyncLies,
}

impl SimFiles {
    /// A machine with an empty data directory.
    pub fn new() -> Self {
        Self::with_maps(usize::MAX)
    }

    /// As [`new`](Self::new); no more than `maps` files can be mapped at once.
    pub fn with_maps(maps: usize) -> Self {
        let budget = MapBudget::new(maps);
        Self { machine: Arc::new(Mutex::new(Machine::new(Arc::clone(&budget)))), budget }
    }

    /// Cuts the power and starts the machine again: open files are dead, locks are free, and of what was not
    /// synced `seed` decides what is left.
    pub fn crash(&self, seed: u64) {
        self.lock().crash(seed);
    }

    /// Kills the process: open files are dead, locks are free, and everything written is still there.
    pub fn kill(&self) {
        self.lock().kill();
    }

    /// Has the kernel write some of what is not synced, as it may at any time; `seed` decides what.
    pub fn write_back(&self, seed: u64) {
        self.lock().write_back(seed);
    }

    /// Whether the power is off: a cut that was asked for has come.
    pub fn is_down(&self) -> bool {
        self.lock().is_down()
    }

    /// How many operations were begun since the machine was made.
    pub fn operations(&self) -> u64 {
        self.lock().operations()
    }

    /// Lets operation number `operation` be the last one begun: it is done in part or not at all, and everything
    /// after it fails until [`crash`](Self::crash) or [`kill`](Self::kill).
    pub fn cut_power_at(&self, operation: u64) {
        self.lock().cut_power_at(operation);
    }

    /// Lets operation number `operation` fail.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.lock().fail_at(operation, fault);
    }

    /// Takes back all that [`fail_at`](Self::fail_at) has said of operations that are still to come.
    pub fn fail_no_more(&self) {
        self.lock().fail_no_more();
    }

    /// What the disk has room for.
    pub fn set_room(&self, room: Room) {
        self.lock().set_room(room);
    }

    /// What it has room for from operation number `operation` on, until that is [set](Self::set_room) anew.
    pub fn set_room_at(&self, operation: u64, room: Room) {
        self.lock().set_room_at(operation, room);
    }

    /// What it has room for now.
    pub fn room(&self) -> Room {
        self.lock().room()
    }

    /// How often something was refused because there was room for no more than this.
    pub fn refusals(&self, room: Room) -> u64 {
        self.lock().refusals(room)
    }

    /// Whether the process has no descriptors left: nothing can be opened, a directory to sync its names included.
    pub fn set_exhausted(&self, exhausted: bool) {
        self.lock().set_exhausted(if exhausted { Exhausted::Always } else { Exhausted::Never });
    }

    /// The same of whoever opens this one, and of nobody else.
    pub fn set_exhausted_at(&self, path: &Path) {
        self.lock().set_exhausted(Exhausted::At(path.to_owned()));
    }

    /// Has something else mounted at `path`, by what is told; nothing else changes.
    pub fn mount(&self, path: &Path) {
        self.lock().mount(path);
    }

    /// Bytes read so far from the files whose path `wanted` likes.
    pub fn bytes_read(&self, wanted: impl Fn(&Path) -> bool) -> u64 {
        self.asked(wanted).bytes
    }

    /// What the files whose path `wanted` likes were asked so far, for claims about what something costs.
    pub fn asked(&self, wanted: impl Fn(&Path) -> bool) -> Asked {
        let mut sum = Asked::default();
        self.lock().asked().iter().filter(|(path, _)| wanted(path)).for_each(|(_, asked)| sum.add(asked));
        sum
    }

    /// Every file with its bytes, as a process sees them now. For comparing two states.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.lock().snapshot()
    }

    /// A machine that has these files on its disk, and the directories that they lie in.
    ///
    /// # Panics
    /// If they cannot all be.
    pub fn holding(snapshot: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let files = Self::new();
        for (path, bytes) in snapshot {
            let mut dirs: Vec<&Path> = path.ancestors().skip(1).filter(|dir| *dir != Path::new("")).collect();
            dirs.reverse();
            for dir in dirs {
                if files.entry(dir).expect("names are told").is_none() {
                    files.create_dir(dir).expect("a new directory");
                }
            }
            let file = files.open(path, OpenMode::CreateNew).expect("a new file");
            file.write_at(bytes, 0).expect("there is room");
        }
        files.sync_everything().expect("nothing fails");
        files
    }

    /// Changes the bytes of a file behind everybody's back, on the disk and in the cache: rot, or a foreign hand.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        self.lock().tamper(path, change);
    }

    /// The disk does not give the sectors of a file that `range` touches any more: reads of them fail with `EIO`, and
    /// so does a map of them, but for one that is appended to, and an end of the file that is set within one. Whoever
    /// writes there again heals them.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn break_sectors(&self, path: &Path, range: Range<u64>) {
        self.lock().break_sectors(path, range);
    }

    /// All sectors can be read again.
    pub fn heal_sectors(&self) {
        self.lock().heal_sectors();
    }

    /// The files that have sectors which cannot be read.
    pub fn broken_files(&self) -> Vec<PathBuf> {
        self.lock().broken_files()
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }
}

impl Default for SimFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl Files for SimFiles {
    type File = SimFile;
    type Appender = SimAppender;

    fn root(&self) -> &Path {
        Path::new("/simulated")
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        let mut machine = self.lock();
        let (incarnation, handle, inode) = machine.open(path, mode)?;
        machine.ask(path, &Asked { opened: 1, ..Asked::default() });
        drop(machine);
        Ok(SimFile { machine: Arc::clone(&self.machine), incarnation, handle, inode, path: path.to_owned() })
    }

    fn appender(&self, file: &SimFile, capacity: u64, end: u64) -> io::Result<SimAppender> {
        let file = file.again();
        let map = file.lock()?.map_for_append(file.inode, capacity, end)?;
        let is_uncut = file.len()? > end;
        Ok(SimAppender { inner: map.appender().map_err(io::Error::other)?, file, is_uncut })
    }

    fn map(&self, file: &SimFile, end: u64) -> io::Result<Arc<SegmentMap>> {
        file.lock()?.map(file.inode, end)
    }

    fn budget(&self) -> &Arc<MapBudget> {
        &self.budget
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.lock().create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.lock().remove(path, false)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.lock().remove(path, true)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.list_lengths(dir, &|_| true)
    }

    fn list_lengths(&self, dir: &Path, is_wanted: &dyn Fn(&str) -> bool) -> io::Result<Vec<DirEntry>> {
        let mut machine = self.lock();
        let mut entries = machine.list(dir)?;
        for entry in &mut entries {
            if is_wanted(&entry.name) {
                machine.ask(&dir.join(&entry.name), &Asked { lengths: 1, ..Asked::default() });
            } else {
                // Whoever relies on it all the same is to be found out.
                entry.len = 0;
            }
        }
        Ok(entries)
    }

    fn entry(&self, path: &Path) -> io::Result<Option<DirEntry>> {
        self.lock().entry(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.lock().sync_dir(dir)
    }

    fn sync_everything(&self) -> io::Result<()> {
        self.lock().sync_everything()
    }

    fn space(&self) -> io::Result<Space> {
        Ok(self.lock().space())
    }

    fn magic(&self) -> io::Result<u64> {
        Ok(0xef53)
    }

    fn mounts_below(&self) -> Vec<PathBuf> {
        self.lock().mounts().to_vec()
    }

    fn boot(&self) -> Boot {
        self.lock().boot()
    }
}

impl SimFile {
    /// The same open file, for whoever holds it open besides.
    fn again(&self) -> Self {
        Self { machine: Arc::clone(&self.machine), path: self.path.clone(), handle: NO_LOCK, ..*self }
    }

    fn lock(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = lock(&self.machine);
        machine.check_alive(self.incarnation)?;
        Ok(machine)
    }
}

impl FileHandle for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut machine = self.lock()?;
        machine.ask(&self.path, &Asked { lengths: 1, ..Asked::default() });
        Ok(machine.len(self.inode))
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.lock()?.read_at(self.inode, &self.path, buf, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.lock()?.write_at(self.inode, bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock()?.set_len(self.inode, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.lock()?.sync(self.inode)
    }

    fn has_name(&self) -> io::Result<bool> {
        Ok(self.lock()?.has_name(self.inode))
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.lock()?.drop_cache(self.inode);
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(self.lock()?.try_lock(self.inode, self.handle))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if let Ok(mut machine) = self.lock() {
            machine.unlock(self.inode, self.handle);
        }
    }
}

impl FileAppender for SimAppender {
    fn map(&self) -> &Arc<SegmentMap> {
        self.inner.map()
    }

    fn allocated(&self) -> u64 {
        self.inner.allocated()
    }

    fn append(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<Range<u64>> {
        // The machine stays locked while bytes move into the map, so that a crash sees all of them or none.
        let mut machine = self.file.lock()?;
        if self.is_uncut {
            return Err(io::Error::other(
                "bytes above the published end of the file have to be cut off first",
            ));
        }
        let begun = machine.begin_append(self.file.inode, bufs);
        self.is_uncut = begun.is_err();
        begun?;
        self.inner.append(bufs)
    }

    fn allocate(&mut self, upto: u64) -> io::Result<()> {
        self.file.lock()?.begin_allocate()?;
        self.inner.allocate(upto)
    }

    fn cut(&mut self) -> io::Result<()> {
        let mut machine = self.file.lock()?;
        let is_longer = machine.len(self.file.inode) > self.inner.end();
        let cut = machine.cut(self.file.inode);
        self.is_uncut = is_longer && cut.is_err();
        match cut {
            // As of any file: the reserve stays.
            Err(error) if is_full(&error) && !is_longer => Ok(()),
            cut => cut.and_then(|()| self.inner.cut()),
        }
    }

    fn start_writeback(&self, _range: Range<u64>) -> io::Result<()> {
        self.file.lock().map(drop)
    }
}

impl Drop for SimAppender {
    fn drop(&mut self) {
        if let Ok(mut machine) = self.file.lock() {
            machine.unmap(self.file.inode);
        }
    }
}

/// A handle that no lock is held by.
const NO_LOCK: u64 = 0;

fn lock(machine: &Mutex<Machine>) -> MutexGuard<'_, Machine> {
    // A panicking test leaves the machine as it is; others may look at it.
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
