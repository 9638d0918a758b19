//! The little that a log needs of a file system, so that a simulated one can stand behind it.
//!
//! Paths are relative to the data directory. Nothing here interprets bytes, retries, or waits for anything but
//! the disk. Whoever implements [`Files`] promises no more than POSIX and Linux do:
//!
//! * what was written is seen by every reader at once, and is on stable storage after a sync of that file;
//! * a new, renamed or removed name is on stable storage after a sync of every directory it concerns;
//! * [`Files::sync_everything`] covers all of it;
//! * a failed sync is final: the bytes it was about may be gone, whatever a second sync says. So its error is never one
//!   that is waited out (a full disk, no descriptor), whatever the system called it.

mod os;
pub mod sim;
mod syncs;

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_mapped::{MapBudget, SegmentMap};

use crate::filesystem::{Filesystem, Mounted};

pub use os::{OsFile, OsFiles};
pub use sim::SimFiles;
pub use syncs::SyncTotals;

/// A data directory's file system.
pub trait Files: fmt::Debug + Send + Sync + 'static {
    /// An open file.
    type File: FileHandle;
    /// The one appender of a mapped file.
    type Appender: FileAppender;

    /// Where the data directory is, for messages.
    fn root(&self) -> &Path;

    /// Opens a file. Never follows a symbolic link.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Self::File>;

    /// Maps `file` (opened to be written) read-only up to `capacity` bytes, publishes its first `end` bytes, and
    /// gives its appender, which holds the file open too. Bytes at and after `end` are shown to nobody.
    fn appender(&self, file: &Self::File, capacity: u64, end: u64) -> io::Result<Self::Appender>;

    /// Maps `file` read-only and publishes its first `end` bytes. The map holds the file open.
    /// Of a file that is shorter by now what is left may be read: its map is poisoned behind it, or the error says from
    /// where on.
    fn map(&self, file: &Self::File, end: u64) -> io::Result<Arc<SegmentMap>>;

    /// How many files may be mapped at once, and how many are.
    fn budget(&self) -> &Arc<MapBudget>;

    /// Makes a directory that is not there yet.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or directory another name, taking the place of a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// What a directory holds, ordered by name. Names that are not UTF-8 are none of ours and come mangled.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// As [`list`](Self::list), for who wants to know the length of those files only whose name `is_wanted`: that of
    /// any other may come as 0, if that spares a call.
    fn list_lengths(&self, dir: &Path, is_wanted: &dyn Fn(&str) -> bool) -> io::Result<Vec<DirEntry>> {
        let _ = is_wanted;
        self.list(dir)
    }

    /// What has this name, or `None`. Never follows a symbolic link.
    fn entry(&self, path: &Path) -> io::Result<Option<DirEntry>>;

    /// Waits until the names in `dir` are on stable storage.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Waits until everything written to this file system is on stable storage, and says so if anything failed.
    fn sync_everything(&self) -> io::Result<()>;

    /// Whether [`sync_everything`](Self::sync_everything) says so if anything failed; else each file is synced by
    /// itself.
    fn has_syncfs(&self) -> io::Result<bool> {
        Ok(Filesystem::from_magic(self.magic()?).has_syncfs())
    }

    /// How much room there is.
    fn space(&self) -> io::Result<Space>;

    /// The magic number of the file system (`f_type` of `statfs(2)`).
    fn magic(&self) -> io::Result<u64>;

    /// How the file system is mounted, if that is known.
    fn mounted(&self) -> Option<Mounted> {
        None
    }

    /// What else is mounted below the data directory, as far as that is known: paths in it.
    fn mounts_below(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Which boot of which machine the files are seen through.
    fn boot(&self) -> Boot;
}

/// An open file.
pub trait FileHandle: fmt::Debug + Send + Sync + Sized + 'static {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads up to `buf.len()` bytes at `at`; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `at`. After an error any part of them may be in the file.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Waits until the bytes and the length are on stable storage.
    fn sync(&self) -> io::Result<()>;

    /// Whether it has a name in some directory: without one it is gone once it is closed.
    fn has_name(&self) -> io::Result<bool>;

    /// Asks for cached pages to be dropped, so that the next read sees the disk. Only clean pages go: sync first.
    fn drop_cache(&self) -> io::Result<()>;

    /// Takes the file's lock for as long as it is open; `false` if another open file has it.
    fn try_lock(&self) -> io::Result<bool>;
}

/// Appends to a file and publishes what it appended: see [`folio_mapped::Appender`].
pub trait FileAppender: fmt::Debug + Send + 'static {
    /// The map that is appended to.
    fn map(&self) -> &Arc<SegmentMap>;
    /// How far appends need no new disk space.
    fn allocated(&self) -> u64;
    /// Writes all of `bufs` at the end and publishes them together.
    fn append(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<Range<u64>>;
    /// Reserves disk space up to `upto` without changing the length.
    fn allocate(&mut self, upto: u64) -> io::Result<()>;
    /// Cuts the file at its published end, and gives the reserve back. On a full disk the reserve may stay; an error
    /// means that bytes behind the end are still there.
    fn cut(&mut self) -> io::Result<()>;
    /// Asks the kernel to begin writing `range`, without waiting.
    fn start_writeback(&self, range: Range<u64>) -> io::Result<()>;
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// To be read; it has to be there.
    Read,
    /// To be read and written; it has to be there.
    Write,
    /// To be read and written; made empty if it is not there.
    Create,
    /// To be read and written; it must not be there.
    CreateNew,
    /// To be read, from the disk and not from the page cache, in which nothing changes; it has to be there.
    Around,
    /// To be read by the way: from the page cache what is in it, and nothing more comes in; it has to be there.
    Beside,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without its directory.
    pub name: String,
    /// What it names.
    pub kind: EntryKind,
    /// Length of a file in bytes.
    pub len: u64,
}

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// Anything else: a link, a socket, a device.
    Other,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free for us.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// A machine between power on and power off, and a file system between mount and unmount.
///
/// While both stay the same, what was written is in the page cache even if it never reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Boot {
    /// The kernel's boot id; zero if unknown.
    pub id: [u8; 16],
    /// The mount, unique since boot; zero if unknown.
    pub mount: u64,
}

impl Boot {
    /// Whether both are known and equal.
    pub fn is_surely(&self, other: &Self) -> bool {
        self.id != [0; 16] && self.mount != 0 && self == other
    }
}

/// Reads a whole file of at most `limit` bytes; `None` if it is not there.
///
/// A longer file is `InvalidData`: none of the files that are read whole is ever that long.
pub fn read_file<F: Files>(files: &F, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match files.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = file.len()?;
    if len > limit as u64 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{len} bytes where at most {limit} belong"),
        ));
    }
    let mut bytes = vec![0; len as usize];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// The name under which a file is prepared before it is renamed to `path`.
pub fn tmp_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// The directory of `path`; the data directory itself for a plain name.
pub fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// The error of a sync, which says the same and is of no kind.
pub(crate) fn final_error(source: io::Error) -> io::Error {
    io::Error::other(SyncFailed(source))
}

/// Whether it is the error of a sync.
pub(crate) fn is_final(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<SyncFailed>())
}

/// What the system said of a sync.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SyncFailed(io::Error);

/// Whether the process has no descriptors, mappings or memory left: nobody's disk is at fault, and later is better.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    let is_descriptors = error.raw_os_error().is_some_and(|number| {
        [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
            .map(rustix::io::Errno::raw_os_error)
            .contains(&number)
    });
    is_descriptors || error.kind() == io::ErrorKind::OutOfMemory
}

/// Whether the disk, or what this user may have of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
