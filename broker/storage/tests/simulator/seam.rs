//! What stands between the engine and its simulated machine: it writes down every call, lets others come in between
//! while a sync is under way, and for the negative controls leaves out one thing that the engine relies on. And it sees
//! to it that nothing which readers may have is written a second time.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use folio_mapped::{MapBudget, SegmentMap};
use folio_storage::Files;
use folio_storage::files::sim::{SimAppender, SimFile};
use folio_storage::files::{Boot, DirEntry, FileAppender, FileHandle, OpenMode, SimFiles, Space};

use crate::ledger::{Appender, Ledger};
use crate::weakness::Weakness;

/// The machine with a seam before it.
#[derive(Debug, Clone)]
pub(crate) struct Seam {
    pub(crate) machine: SimFiles,
    shared: Arc<Shared>,
}

struct Shared {
    weakness: Weakness,
    has_syncfs: bool,
    trace: Option<Mutex<String>>,
    /// What others do while a sync is under way, the last first.
    interludes: Mutex<Vec<Interlude>>,
    /// Syncs that were put off.
    late: Mutex<Vec<Arc<SimFile>>>,
    /// What readers may have.
    ledger: Mutex<Ledger>,
    /// The directory is being opened.
    is_opening: AtomicBool,
    /// Reads are written down, too.
    shows_reads: AtomicBool,
    /// A byte that has changed by itself: of which file, and where.
    rotten: Mutex<Option<(PathBuf, u64)>>,
}

/// Something that another thread does meanwhile: before the sync takes effect, or after.
pub(crate) enum Interlude {
    Before(Box<dyn FnOnce() + Send>),
    After(Box<dyn FnOnce() + Send>),
}

#[derive(Debug)]
pub(crate) struct SeamFile {
    file: Arc<SimFile>,
    path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct SeamAppender {
    appender: SimAppender,
    path: PathBuf,
    entry: Appender,
    shared: Arc<Shared>,
    /// Bytes behind the end were left where they are.
    has_rest: bool,
}

impl Seam {
    pub(crate) fn new(weakness: Weakness, has_syncfs: bool, is_traced: bool) -> Self {
        let shared = Shared {
            weakness,
            has_syncfs,
            trace: is_traced.then(|| Mutex::new(String::new())),
            interludes: Mutex::new(Vec::new()),
            late: Mutex::new(Vec::new()),
            ledger: Mutex::new(Ledger::default()),
            is_opening: AtomicBool::new(false),
            shows_reads: AtomicBool::new(false),
            rotten: Mutex::new(None),
        };
        Self { machine: SimFiles::new(), shared: Arc::new(shared) }
    }

    /// No more than so many files can be mapped at once.
    pub(crate) fn with_maps(self, maps: usize) -> Self {
        Self { machine: SimFiles::with_maps(maps), ..self }
    }

    pub(crate) fn weakness(&self) -> Weakness {
        self.shared.weakness
    }

    /// Writes down what the world does.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        self.shared.note(what);
    }

    /// What was written down.
    pub(crate) fn trace(&self) -> String {
        self.shared.trace.as_ref().map(|trace| lock(trace).clone()).unwrap_or_default()
    }

    /// Writes down what is read as well, from here on.
    pub(crate) fn show_reads(&self) {
        self.shared.shows_reads.store(true, Ordering::Relaxed);
    }

    /// A bit of this byte changes by itself.
    pub(crate) fn rot(&self, path: &Path, at: u64) {
        self.machine.tamper(path, |bytes| bytes[at as usize] ^= 1);
        *lock(&self.shared.rotten) = Some((path.to_owned(), at));
    }

    /// Whether the directory is being opened.
    pub(crate) fn opens(&self, is_opening: bool) {
        self.shared.is_opening.store(is_opening, Ordering::Relaxed);
    }

    /// What was done to bytes that readers may have.
    pub(crate) fn violations(&self) -> Vec<String> {
        lock(&self.shared.ledger).violations()
    }

    /// Puts these between the next syncs.
    pub(crate) fn interpose(&self, interludes: Vec<Interlude>) {
        *lock(&self.shared.interludes) = interludes;
    }

    /// How many were not come to; they are dropped.
    pub(crate) fn clear_interludes(&self) -> usize {
        std::mem::take(&mut *lock(&self.shared.interludes)).len()
    }

    /// The process is dead, and what it put off is never done.
    pub(crate) fn died(&self) {
        lock(&self.shared.late).clear();
        lock(&self.shared.ledger).forget();
        self.clear_interludes();
    }

    fn file(&self, file: SimFile, path: &Path) -> SeamFile {
        SeamFile { file: Arc::new(file), path: path.to_owned(), shared: Arc::clone(&self.shared) }
    }
}

impl Shared {
    fn note(&self, what: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let mut trace = lock(trace);
            trace.push_str(&what());
            trace.push('\n');
        }
    }

    fn call<T>(&self, call: impl fmt::Display, done: io::Result<T>) -> io::Result<T> {
        self.note(|| match &done {
            Ok(_) => format!("  {call}"),
            Err(error) => format!("  {call}: {error}"),
        });
        done
    }

    /// Whether a sync of this file is left out.
    fn leaves_out(&self, path: &Path) -> bool {
        self.weakness.leaves_out_sync(path, self.is_opening.load(Ordering::Relaxed))
    }

    fn sync(&self, call: impl fmt::Display, mut sync: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        let interlude = lock(&self.interludes).pop();
        let after = match interlude {
            Some(Interlude::Before(run)) => {
                run();
                None
            }
            Some(Interlude::After(run)) => Some(run),
            None => None,
        };
        let mut done = sync();
        if done.is_err() && self.weakness == Weakness::RetriesSyncs {
            done = sync();
        }
        if let Some(run) = after {
            run();
        }
        self.call(call, done)
    }
}

impl Files for Seam {
    type File = SeamFile;
    type Appender = SeamAppender;

    fn root(&self) -> &Path {
        self.machine.root()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SeamFile> {
        let opened = self.machine.open(path, mode);
        let opened = self.shared.call(format_args!("open {} {mode:?}", path.display()), opened)?;
        Ok(self.file(opened, path))
    }

    fn appender(&self, file: &SeamFile, capacity: u64, end: u64) -> io::Result<SeamAppender> {
        let mapped = self.machine.appender(&file.file, capacity, end);
        let (path, shared) = (file.path.clone(), Arc::clone(&self.shared));
        let appender = shared.call(format_args!("append to {} at {end}", path.display()), mapped)?;
        let entry = lock(&shared.ledger).begin(&path, end);
        Ok(SeamAppender { appender, path, entry, shared, has_rest: false })
    }

    fn map(&self, file: &SeamFile, end: u64) -> io::Result<Arc<SegmentMap>> {
        self.shared.call(format_args!("map {} {end}", file.path.display()), self.machine.map(&file.file, end))
    }

    fn budget(&self) -> &Arc<MapBudget> {
        self.machine.budget()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.shared.call(format_args!("mkdir {}", path.display()), self.machine.create_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.shared.weakness.loses(to) {
            return self.machine.remove_file(from);
        }
        let renamed = self.machine.rename(from, to);
        if renamed.is_ok() {
            lock(&self.shared.ledger).rename(from, to);
        }
        self.shared.call(format_args!("rename {} {}", from.display(), to.display()), renamed)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let is_there = self.machine.entry(path)?.is_some();
        if self.shared.weakness.keeps(path) || self.shared.weakness.loses(path) && !is_there {
            return Ok(());
        }
        if is_there {
            lock(&self.shared.ledger).remove(path);
        }
        self.shared.call(format_args!("remove {}", path.display()), self.machine.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.shared.call(format_args!("rmdir {}", path.display()), self.machine.remove_dir(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.machine.list(dir)
    }

    fn entry(&self, path: &Path) -> io::Result<Option<DirEntry>> {
        self.machine.entry(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let is_opening = self.shared.is_opening.load(Ordering::Relaxed);
        let is_forgotten = self.shared.weakness.forgets_names_of(dir, is_opening);
        if is_forgotten {
            return Ok(());
        }
        self.shared.sync(format_args!("sync names of {}", dir.display()), || self.machine.sync_dir(dir))
    }

    fn sync_everything(&self) -> io::Result<()> {
        if self.shared.weakness == Weakness::NeverSyncs {
            return Ok(());
        }
        self.shared.sync("sync everything", || self.machine.sync_everything())
    }

    fn space(&self) -> io::Result<Space> {
        self.machine.space()
    }

    fn magic(&self) -> io::Result<u64> {
        if self.shared.has_syncfs { self.machine.magic() } else { Ok(OVERLAYFS) }
    }

    fn boot(&self) -> Boot {
        let boot = self.machine.boot();
        if self.shared.weakness == Weakness::ForgetsTheBoot { Boot { mount: 0, ..boot } } else { boot }
    }
}

impl FileHandle for SeamFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let read = self.file.read_at(buf, at);
        let read =
            if self.shared.weakness == Weakness::TakesErrorsForTheEnd { read.or(Ok(0)) } else { read }?;
        self.shared.weakness.fills_holes(&self.path, &mut buf[..read], at);
        if let Some((path, rotten)) = &*lock(&self.shared.rotten)
            && *path == self.path
        {
            self.shared.weakness.makes_hole(*rotten, &mut buf[..read], at);
        }
        if self.shared.shows_reads.load(Ordering::Relaxed) {
            self.shared.note(|| format!("  read {} {at} +{read}", self.path.display()));
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        lock(&self.shared.ledger).write(&self.path, at);
        let (instead, at) = self.shared.weakness.writes(&self.path, bytes, at);
        let bytes = instead.as_deref().unwrap_or(bytes);
        let written = self.file.write_at(bytes, at);
        let path = self.path.display();
        let sum = || folio_record::crc32c(bytes);
        self.shared.note(|| {
            format!("  write {path} {at} +{} {:08x} {}", bytes.len(), sum(), outcome(written.as_ref()))
        });
        if self.path == Path::new("slots") && self.shared.weakness == Weakness::SlotsFirst {
            for file in std::mem::take(&mut *lock(&self.shared.late)) {
                file.sync()?;
            }
        }
        written
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        lock(&self.shared.ledger).cut(&self.path, len);
        let is_log = self.path.extension().is_some_and(|found| found == "log");
        if self.shared.weakness == Weakness::LeavesTornTails && is_log && self.path.starts_with("topics") {
            return Ok(());
        }
        if self.shared.weakness.keeps_behind(&self.path) && self.file.len()? == len {
            return Ok(());
        }
        self.shared.call(format_args!("cut {} {len}", self.path.display()), self.file.set_len(len))
    }

    fn sync(&self) -> io::Result<()> {
        if self.shared.leaves_out(&self.path) {
            return Ok(());
        }
        let is_log = self.path.extension().is_some_and(|found| found == "log");
        if self.shared.weakness == Weakness::SlotsFirst && is_log && self.path.starts_with("topics") {
            lock(&self.shared.late).push(Arc::clone(&self.file));
            return Ok(());
        }
        self.shared.sync(format_args!("sync {}", self.path.display()), || self.file.sync())
    }

    fn has_name(&self) -> io::Result<bool> {
        self.file.has_name()
    }

    fn drop_cache(&self) -> io::Result<()> {
        if self.shared.weakness == Weakness::TrustsTheCache {
            return Ok(());
        }
        self.shared.call(format_args!("drop cache of {}", self.path.display()), self.file.drop_cache())
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }
}

impl FileAppender for SeamAppender {
    fn map(&self) -> &Arc<SegmentMap> {
        self.appender.map()
    }

    fn allocated(&self) -> u64 {
        self.appender.allocated()
    }

    fn append(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<Range<u64>> {
        if self.has_rest {
            // Nothing is written over them all the same.
            self.appender.cut()?;
            self.has_rest = false;
        }
        let appended = self.appender.append(bufs);
        if let Ok(range) = &appended {
            lock(&self.shared.ledger).publish(self.entry, range.end);
        }
        let path = self.path.display();
        self.shared.note(|| {
            let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            let sum = folio_record::crc32c(&bytes);
            format!("  append {path} +{} {sum:08x} {}", bytes.len(), outcome(appended.as_ref()))
        });
        appended
    }

    fn allocate(&mut self, upto: u64) -> io::Result<()> {
        let allocated = self.appender.allocate(upto);
        self.shared.call(format_args!("allocate {} {upto}", self.path.display()), allocated)
    }

    fn cut(&mut self) -> io::Result<()> {
        if self.shared.weakness == Weakness::LeavesShortWrites {
            return Ok(());
        }
        let cut = self.shared.call(format_args!("cut {}", self.path.display()), self.appender.cut());
        let is_full = cut.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull);
        self.has_rest = is_full && self.shared.weakness.leaves_rest(&self.path);
        if self.has_rest { Ok(()) } else { cut }
    }

    fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        self.appender.start_writeback(range)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("weakness", &self.weakness).finish_non_exhaustive()
    }
}

fn outcome<T>(done: Result<T, &io::Error>) -> String {
    done.map_or_else(ToString::to_string, |_| String::new())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file system that cannot be synced as a whole.
const OVERLAYFS: u64 = 0x794c_7630;
