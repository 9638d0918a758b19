//! The real file system.

mod around;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use folio_mapped::{Appender, MapBudget, MapTicket, SegmentMap, map_budget};
use rustix::fs::{Advice, AtFlags, OFlags, StatxFlags};

use self::around::Around;
use super::syncs::{SyncTotals, Syncs};
use crate::filesystem::{Filesystem, Mounted, mount_points_below, syncfs_reports_errors};

use super::{Boot, DirEntry, EntryKind, FileAppender, FileHandle, Files, OpenMode, Space, is_exhausted};

/// Files of a directory on a mounted file system.
#[derive(Debug)]
pub struct OsFiles {
    root: PathBuf,
    /// Opened once and for all: `syncfs` reports an error once to each descriptor that was open when it happened,
    /// so one opened later would hear nothing.
    root_dir: File,
    boot: Boot,
    /// This kernel's `syncfs` reports errors.
    is_syncfs_honest: bool,
    syncs: Arc<Syncs>,
    budget: Arc<MapBudget>,
}

/// An open file of [`OsFiles`].
#[derive(Debug)]
pub struct OsFile {
    /// Shared with the maps made of it.
    file: Arc<File>,
    /// What the first of those is counted by: the descriptor is while this is open, too.
    ticket: OnceLock<Arc<MapTicket>>,
    /// It is read around the page cache.
    around: Option<Around>,
    syncs: Arc<Syncs>,
}

impl OsFiles {
    /// Opens the directory `root`, which is made, readable by its owner only, if it is not there.
    pub fn open_or_create(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        match Self::open(&root) {
            // One that is there needs no room.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&root)?;
                Self::open(root)
            }
            opened => opened,
        }
    }

    /// Opens the directory `root`.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let root_dir = open_dir(&root)?;
        let boot = Boot { id: boot_id().unwrap_or_default(), mount: mount_id(&root_dir).unwrap_or_default() };
        let release = fs::read_to_string(KERNEL_RELEASE).unwrap_or_default();
        let (is_syncfs_honest, budget) = (syncfs_reports_errors(&release), Arc::clone(map_budget()));
        Ok(Self { root, root_dir, boot, is_syncfs_honest, syncs: Arc::default(), budget })
    }

    /// Lets no more than `maps` files be mapped at once; without this, as many as the process may.
    #[must_use]
    pub fn with_maps(self, maps: usize) -> Self {
        Self { budget: MapBudget::of_process(maps), ..self }
    }

    /// How often the disk was waited for so far.
    pub fn syncs(&self) -> SyncTotals {
        self.syncs.totals()
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

impl Files for OsFiles {
    type File = OsFile;
    type Appender = Appender;

    fn root(&self) -> &Path {
        &self.root
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<OsFile> {
        let syncs = Arc::clone(&self.syncs);
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).mode(FILE_MODE);
        let options = match mode {
            OpenMode::Read => &mut options,
            OpenMode::Write => options.write(true),
            OpenMode::Create => options.write(true).create(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::Around | OpenMode::Beside => {
                let path = self.at(path);
                let opened =
                    if mode == OpenMode::Around { Around::open(&path) } else { Around::beside(&path) };
                let (file, around) = opened?;
                return Ok(OsFile {
                    file: Arc::new(file),
                    ticket: OnceLock::new(),
                    around: Some(around),
                    syncs,
                });
            }
        };
        let file = Arc::new(options.open(self.at(path))?);
        Ok(OsFile { file, ticket: OnceLock::new(), around: None, syncs })
    }

    fn appender(&self, file: &OsFile, capacity: u64, end: u64) -> io::Result<Appender> {
        let map = SegmentMap::open_within(&self.budget, Arc::clone(&file.file), capacity, end)?;
        counted(file, map).appender().map_err(io::Error::from)
    }

    fn map(&self, file: &OsFile, end: u64) -> io::Result<Arc<SegmentMap>> {
        let map = SegmentMap::open_as_left(&self.budget, Arc::clone(&file.file), end.max(1), end)?;
        Ok(counted(file, map))
    }

    fn budget(&self) -> &Arc<MapBudget> {
        &self.budget
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(DIRECTORY_MODE).create(self.at(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(self.at(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.list_lengths(dir, &|_| true)
    }

    fn list_lengths(&self, dir: &Path, is_wanted: &dyn Fn(&str) -> bool) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.at(dir))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let described = if is_wanted(&name) {
                entry.metadata().map(|metadata| (kind_of(metadata.file_type()), metadata.len()))
            } else {
                // Most file systems tell this together with the name.
                entry.file_type().map(|kind| (kind_of(kind), 0))
            };
            match described {
                Ok((kind, len)) => entries.push(DirEntry { name, kind, len }),
                // A file that another process removed between the two calls is not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn entry(&self, path: &Path) -> io::Result<Option<DirEntry>> {
        match fs::symlink_metadata(self.at(path)) {
            Ok(metadata) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Ok(Some(DirEntry { name, kind: kind_of(metadata.file_type()), len: metadata.len() }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match open_dir(&self.at(dir)) {
            Ok(dir) => self.syncs.count(|| dir.sync_all()),
            // No descriptor is left for it; the one that was opened at the start reaches every directory.
            Err(error) if is_exhausted(&error) && self.has_syncfs()? => self.sync_everything(),
            Err(error) => Err(error),
        }
    }

    fn sync_everything(&self) -> io::Result<()> {
        self.syncs.count(|| Ok(rustix::fs::syncfs(&self.root_dir)?))
    }

    fn has_syncfs(&self) -> io::Result<bool> {
        Ok(self.is_syncfs_honest && Filesystem::from_magic(self.magic()?).has_syncfs())
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&self.root_dir)?;
        Ok(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn magic(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstatfs(&self.root_dir)?.f_type as u64)
    }

    fn mounted(&self) -> Option<Mounted> {
        let device = rustix::fs::fstat(&self.root_dir).ok()?.st_dev;
        let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
        // Of ext4 the kernel lists all that holds, under the name that the device has there.
        let block_device = fs::canonicalize(format!("/sys/dev/block/{device}")).ok();
        let name = block_device.as_deref().and_then(Path::file_name);
        let options = name
            .and_then(|name| fs::read_to_string(Path::new("/proc/fs/ext4").join(name).join("options")).ok());
        Mounted::find(&mountinfo, &device, options.as_deref())
    }

    fn mounts_below(&self) -> Vec<PathBuf> {
        let Ok(root) = fs::canonicalize(&self.root) else { return Vec::new() };
        let Ok(mountinfo) = fs::read_to_string("/proc/self/mountinfo") else { return Vec::new() };
        let own = mount_of(&root);
        let mut below = mount_points_below(&mountinfo, &root);
        // One that another mount hides is listed all the same.
        below.retain(|path| mount_of(&root.join(path)).is_some_and(|mount| Some(mount) != own));
        below
    }

    fn boot(&self) -> Boot {
        self.boot
    }
}

/// The file is counted as long as its map is.
fn counted(file: &OsFile, map: Arc<SegmentMap>) -> Arc<SegmentMap> {
    if let Some(ticket) = map.ticket() {
        let _ = file.ticket.set(Arc::clone(ticket));
    }
    map
}

impl FileHandle for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        if let Some(around) = &self.around {
            return around.read_at(&self.file, buf, at);
        }
        let mut filled = 0;
        while filled < buf.len() {
            match self.file.read_at(&mut buf[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.count(|| self.file.sync_data())
    }

    fn has_name(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() > 0)
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(self.file.as_fd(), 0, None, Advice::DontNeed)?)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl FileAppender for Appender {
    fn map(&self) -> &Arc<SegmentMap> {
        self.map()
    }

    fn allocated(&self) -> u64 {
        self.allocated()
    }

    fn append(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<Range<u64>> {
        self.append(bufs)
    }

    fn allocate(&mut self, upto: u64) -> io::Result<()> {
        self.allocate(upto)
    }

    fn cut(&mut self) -> io::Result<()> {
        self.cut()
    }

    fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        self.start_writeback(range)
    }
}

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// What `uname -r` says.
const KERNEL_RELEASE: &str = "/proc/sys/kernel/osrelease";

/// The mount id that is never used again before the next boot; Linux 6.8 and later.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

fn open_dir(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::DIRECTORY.bits() as i32).open(path)
}

fn kind_of(kind: fs::FileType) -> EntryKind {
    match kind {
        kind if kind.is_file() => EntryKind::File,
        kind if kind.is_dir() => EntryKind::Directory,
        _ => EntryKind::Other,
    }
}

fn boot_id() -> Option<[u8; 16]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    uuid::Uuid::parse_str(text.trim()).ok().map(uuid::Uuid::into_bytes)
}

/// Device and mount of what has this name, which is no link.
fn mount_of(path: &Path) -> Option<(u32, u32, u64)> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let stat = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW, mask).ok()?;
    let mount = if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 { 0 } else { stat.stx_mnt_id };
    Some((stat.stx_dev_major, stat.stx_dev_minor, mount))
}

fn mount_id(dir: &File) -> Option<u64> {
    let stat = rustix::fs::statx(dir, "", AtFlags::EMPTY_PATH, MNT_ID_UNIQUE).ok()?;
    (stat.stx_mask & MNT_ID_UNIQUE.bits() != 0).then_some(stat.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::Duration;

    use super::*;

    fn fresh() -> (tempfile::TempDir, OsFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = OsFiles::open_or_create(dir.path().join("data")).unwrap();
        (dir, files)
    }

    #[test]
    fn only_the_owner_may_look_inside() {
        let (_dir, files) = fresh();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        files.create_dir(Path::new("topics")).unwrap();
        files.open(Path::new("slots"), OpenMode::CreateNew).unwrap();
        assert_eq!(mode(files.root()), 0o700);
        assert_eq!(mode(&files.root().join("topics")), 0o700);
        assert_eq!(mode(&files.root().join("slots")), 0o600);
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let (dir, files) = fresh();
        fs::write(dir.path().join("elsewhere"), b"secret").unwrap();
        symlink(dir.path().join("elsewhere"), files.root().join("slots")).unwrap();
        assert!(files.open(Path::new("slots"), OpenMode::Write).is_err());
        assert_eq!(files.entry(Path::new("slots")).unwrap().unwrap().kind, EntryKind::Other);
    }

    #[test]
    fn a_lock_excludes_every_other_open_file_until_it_is_closed() {
        let (_dir, files) = fresh();
        let path = Path::new("LOCK");
        let first = files.open(path, OpenMode::Create).unwrap();
        let second = files.open(path, OpenMode::Create).unwrap();
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }

    #[test]
    fn a_map_that_finds_no_room_in_memory_is_told_apart_from_a_failed_disk() {
        let (_dir, files) = fresh();
        let file = files.open(Path::new("log"), OpenMode::CreateNew).unwrap();
        // More than any process can address.
        let error = files.appender(&file, 1 << 56, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory, "{error}");
    }

    #[test]
    fn every_sync_is_counted_with_its_time() {
        let (_dir, files) = fresh();
        let file = files.open(Path::new("slots"), OpenMode::CreateNew).unwrap();
        assert_eq!(files.syncs(), SyncTotals::default());
        file.sync().unwrap();
        files.sync_dir(Path::new("")).unwrap();
        files.sync_everything().unwrap();
        assert!(files.syncs().count == 3 && files.syncs().took > Duration::ZERO);
    }

    #[test]
    fn what_a_kernel_does_not_report_errors_by_is_not_used_whatever_the_file_system() {
        let (_dir, files) = fresh();
        let of_filesystem = Filesystem::from_magic(files.magic().unwrap()).has_syncfs();
        let old = OsFiles { is_syncfs_honest: false, ..files };
        assert!(!old.has_syncfs().unwrap());
        let new = OsFiles { is_syncfs_honest: true, ..old };
        assert_eq!(new.has_syncfs().unwrap(), of_filesystem);
    }

    #[test]
    fn what_is_mounted_below_a_directory_is_found() {
        let (_dir, files) = fresh();
        assert_eq!(files.mounts_below(), [""; 0].map(PathBuf::from));
        let all = OsFiles::open("/").unwrap().mounts_below();
        assert!(all.contains(&PathBuf::from("proc")), "{all:?}");
    }

    #[test]
    fn the_boot_of_this_machine_is_known() {
        let (_dir, files) = fresh();
        assert_ne!(files.boot().id, [0; 16]);
        assert!(files.magic().unwrap() != 0 && files.space().unwrap().total > 0);
    }
}
