//! A disk whose power can be cut, and whose sectors can fail.
//!
//! It is a file, served by this process through FUSE, for a loop device to stand on. A write goes to the disk's cache;
//! a flush makes what was written before it lasting. At a cut the cache is lost, but for what a seed keeps of it:
//!
//! ```text
//!  write, write, FLUSH, write, write, write, cut        | nothing
//!  +---- lasting -----+ +------ cached -----+   keeps   | the first so many, the last of them torn at a sector
//!                                               one of  | any of them, whole or torn
//!                                                       | any sectors of 512 bytes
//! ```
//! A sector is never torn, and never older than its last flush. On a disk for XFS or btrfs it has 4096 bytes: neither
//! survives a torn block of its metadata (btrfs: its superblock), for XFS logs only what changes of a block.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use folio_storage::files::sim::Random;

use super::fuse::{Served, Server};
use super::image::FileSystem;

/// What a disk writes as a whole, or not at all.
pub const SECTOR: usize = 512;

/// The disk, with a file system on it. Dropped, it is gone; unmount the file system before.
#[derive(Debug)]
pub struct CrashDisk {
    cache: Arc<Cache>,
    server: Server,
    file_system: FileSystem,
}

/// What a cut has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Writes that no flush had made lasting.
    pub cached: usize,
    /// Those of which every sector is there.
    pub whole: usize,
    /// Those of which some sectors are there.
    pub torn: usize,
}

impl CrashDisk {
    /// Makes a disk with a file system on it, its files in `dir`.
    ///
    /// # Panics
    /// When FUSE is not to be had.
    pub fn serve(file_system: FileSystem, dir: &Path) -> Self {
        let (current, lasting) = (dir.join("current"), dir.join("lasting"));
        file_system.make(&lasting);
        std::process::Command::new("cp")
            .arg("--sparse=always")
            .arg(&lasting)
            .arg(&current)
            .status()
            .expect("cp");
        let open = |path: &PathBuf| {
            OpenOptions::new().read(true).write(true).open(path).expect("an image that was just made")
        };
        let len = lasting.metadata().expect("it was just made").len();
        let state = State {
            current: open(&current),
            lasting: open(&lasting),
            cached: Vec::new(),
            given: 0,
            flushing: false,
            flush_time: Duration::ZERO,
            power: true,
            bad_reads: Vec::new(),
            bad_writes: Vec::new(),
        };
        let atom = file_system.atom;
        let cache = Arc::new(Cache { state: Mutex::new(state), flushed: Condvar::new(), len, atom });
        let served: Arc<dyn Served> = Arc::clone(&cache) as _;
        let server = Server::mount(&dir.join("disk"), &served);
        Self { cache, server, file_system }
    }

    /// The file that is the disk.
    pub fn path(&self) -> &Path {
        self.server.path()
    }

    /// The file system that it was made with.
    pub fn file_system(&self) -> FileSystem {
        self.file_system
    }

    /// How long a flush takes from now on. Writes go on meanwhile.
    pub fn set_flush_time(&self, flush_time: Duration) {
        self.cache.state().flush_time = flush_time;
    }

    /// Cuts the power: from now on every request fails, and nothing reaches the disk.
    pub fn cut(&self) {
        self.cache.state().power = false;
    }

    /// Gives it power again, with what `seed` has kept of the cache. Only once nobody uses it any more.
    ///
    /// # Panics
    /// When the image cannot be written.
    pub fn restore(&self, seed: u64) -> Left {
        let mut state = self.cache.state();
        state.bad_reads.clear();
        state.bad_writes.clear();
        let left =
            state.lose_power(self.cache.atom, &mut Random::new(seed)).expect("the image can be written");
        state.power = true;
        left
    }

    /// From now on reads of any of these bytes fail with EIO.
    pub fn fail_reads(&self, bytes: Range<u64>) {
        self.cache.state().bad_reads.push(bytes);
    }

    /// From now on writes to any of these bytes fail with EIO, and change nothing.
    pub fn fail_writes(&self, bytes: Range<u64>) {
        self.cache.state().bad_writes.push(bytes);
    }

    /// All sectors can be read and written again.
    pub fn heal(&self) {
        let mut state = self.cache.state();
        state.bad_reads.clear();
        state.bad_writes.clear();
    }
}

#[derive(Debug)]
struct Cache {
    state: Mutex<State>,
    flushed: Condvar,
    /// What is never torn.
    atom: usize,
    len: u64,
}

#[derive(Debug)]
struct State {
    /// What a reader sees.
    current: File,
    /// What no cut takes.
    lasting: File,
    /// What was written since, oldest first.
    cached: Vec<Write>,
    /// Writes given to `lasting`, ever: tells what a flush is to wait for.
    given: usize,
    flushing: bool,
    flush_time: Duration,
    power: bool,
    bad_reads: Vec<Range<u64>>,
    bad_writes: Vec<Range<u64>>,
}

#[derive(Debug)]
struct Write {
    at: u64,
    bytes: Vec<u8>,
}

/// How a cut chooses what stays.
enum Kept {
    Nothing,
    First(usize),
    Writes { whole: u64, torn: u64 },
    Sectors(u64),
}

impl Cache {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Served for Cache {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if !state.power || overlaps(&state.bad_reads, at, buffer.len()) {
            return Err(io::ErrorKind::Other.into());
        }
        state.current.read_exact_at(buffer, at)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if !state.power || overlaps(&state.bad_writes, at, bytes.len()) {
            return Err(io::ErrorKind::Other.into());
        }
        state.current.write_all_at(bytes, at)?;
        state.cached.push(Write { at, bytes: bytes.to_vec() });
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        let upto = state.given + state.cached.len();
        while state.flushing {
            state = self.flushed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.power && state.given < upto && !state.flush_time.is_zero() {
            // Writes go on meanwhile; they belong to the next flush.
            state.flushing = true;
            let flush_time = state.flush_time;
            drop(state);
            std::thread::sleep(flush_time);
            state = self.state();
            state.flushing = false;
            self.flushed.notify_all();
        }
        if !state.power {
            return Err(io::ErrorKind::Other.into());
        }
        let count = upto.saturating_sub(state.given);
        for write in state.cached.drain(..count).collect::<Vec<_>>() {
            state.lasting.write_all_at(&write.bytes, write.at)?;
        }
        state.given += count;
        Ok(())
    }
}

impl State {
    fn lose_power(&mut self, atom: usize, random: &mut Random) -> io::Result<Left> {
        let cached = std::mem::take(&mut self.cached);
        self.given += cached.len();
        let kept = match random.up_to(3) {
            0 => Kept::Nothing,
            1 => Kept::First(random.up_to(cached.len() as u64) as usize),
            2 => {
                let whole = random.up_to(99);
                Kept::Writes { whole, torn: random.up_to(99 - whole) }
            }
            _ => Kept::Sectors(random.up_to(99)),
        };
        let mut left = Left { cached: cached.len(), ..Left::default() };
        for (number, write) in cached.iter().enumerate() {
            let sectors = write.bytes.len().div_ceil(atom);
            let keeps: Vec<bool> = match kept {
                Kept::Nothing => vec![false; sectors],
                Kept::First(count) if number < count => vec![true; sectors],
                Kept::First(count) if number == count => {
                    let first = random.up_to(sectors as u64) as usize;
                    (0..sectors).map(|sector| sector < first).collect()
                }
                Kept::First(_) => vec![false; sectors],
                Kept::Writes { whole, torn } => match random.up_to(99) {
                    chance if chance < whole => vec![true; sectors],
                    chance if chance < whole + torn => (0..sectors).map(|_| random.percent(50)).collect(),
                    _ => vec![false; sectors],
                },
                Kept::Sectors(chance) => (0..sectors).map(|_| random.percent(chance)).collect(),
            };
            left.whole += usize::from(keeps.iter().all(|kept| *kept));
            left.torn += usize::from(keeps.contains(&true) && keeps.contains(&false));
            for (sector, bytes) in write.bytes.chunks(atom).enumerate() {
                if keeps[sector] {
                    self.lasting.write_all_at(bytes, write.at + (sector * atom) as u64)?;
                }
            }
        }
        let mut buffer = Vec::new();
        for write in &cached {
            buffer.resize(write.bytes.len(), 0);
            self.lasting.read_exact_at(&mut buffer, write.at)?;
            self.current.write_all_at(&buffer, write.at)?;
        }
        Ok(left)
    }
}

fn overlaps(ranges: &[Range<u64>], at: u64, len: usize) -> bool {
    ranges.iter().any(|bad| bad.start < at + len as u64 && at < bad.end)
}
