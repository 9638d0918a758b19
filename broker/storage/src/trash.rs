//! `trash/`: partitions and segments whose deletion is decided, waiting to be removed. A rename is quick and
//! atomic; removing the bytes is neither, and may come at any later time: whoever removes them is told when something
//! comes, and looks once at the start for what earlier runs have left.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::data_dir::TOPICS_NAME;
use crate::files::{EntryKind, Files, is_full};

/// Gives what comes here names that nothing else has.
pub struct Trash {
    run_id: u64,
    next: AtomicU64,
    announce: OnceLock<Announce>,
    /// Something has come since it was emptied last, and that was told.
    is_announced: AtomicBool,
}

type Announce = Box<dyn Fn() + Send + Sync>;

impl fmt::Debug for Trash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trash")
            .field("run_id", &self.run_id)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Trash {
    /// For one run; names of an earlier run are gone or differ.
    pub fn new(run_id: u64) -> Self {
        let (announce, is_announced) = (OnceLock::new(), AtomicBool::new(false));
        Self { run_id, next: AtomicU64::new(0), announce, is_announced }
    }

    /// From now on `announce` is called when something has come that there was nothing of before. It must not wait.
    pub fn on_filled(&self, announce: impl Fn() + Send + Sync + 'static) {
        let _ = self.announce.set(Box::new(announce));
    }

    /// Moves a file or directory here and says where it is now. Not durable before the directory that it came
    /// from and `trash/` are synced; until then a crash may bring it back.
    pub fn take<F: Files>(&self, files: &F, path: &Path) -> io::Result<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let to = Path::new(TRASH_NAME).join(format!("{:016x}-{number}-{name}", self.run_id));
        files.rename(path, &to)?;
        if let Some(announce) = self.announce.get()
            && !self.is_announced.swap(true, Ordering::AcqRel)
        {
            announce();
        }
        Ok(to)
    }

    /// Takes a file in, unless it is not there; where there is no room for another name, it goes at once.
    pub(crate) fn discard<F: Files>(&self, files: &F, path: &Path) -> io::Result<()> {
        let taken = match self.take(files, path) {
            Err(error) if is_full(&error) => files.remove_file(path),
            taken => taken.map(drop),
        };
        taken.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
    }

    /// Removes everything in it, file by file as long as `is_wanted` says so. What cannot be removed is in nobody's
    /// way.
    ///
    /// # Errors
    /// The first of what could not be removed.
    pub(crate) fn purge<F: Files>(&self, files: &F, is_wanted: &dyn Fn() -> bool) -> io::Result<()> {
        self.is_announced.store(false, Ordering::Release);
        let entries = files.list(Path::new(TRASH_NAME))?;
        if entries.iter().any(|entry| entry.kind == EntryKind::Directory) {
            // A crash shall not bring a directory back without what says whose it is.
            files.sync_dir(Path::new(TRASH_NAME))?;
            files.sync_dir(Path::new(TOPICS_NAME))?;
        }
        let mut outcome = Ok(());
        for entry in entries.iter().take_while(|_| is_wanted()) {
            let removed = take_apart(files, &Path::new(TRASH_NAME).join(&entry.name), entry.kind, is_wanted);
            outcome = outcome.and(removed);
        }
        outcome
    }
}

/// Removes a file, or a directory with all that is in it.
pub fn remove<F: Files>(files: &F, path: &Path, kind: EntryKind) -> io::Result<()> {
    take_apart(files, path, kind, &|| true)
}

fn take_apart<F: Files>(
    files: &F,
    path: &Path,
    kind: EntryKind,
    is_wanted: &dyn Fn() -> bool,
) -> io::Result<()> {
    if kind != EntryKind::Directory {
        return files.remove_file(path);
    }
    for entry in files.list(path)? {
        if !is_wanted() {
            return Ok(());
        }
        take_apart(files, &path.join(&entry.name), entry.kind, is_wanted)?;
    }
    files.remove_dir(path)
}

/// The name of the directory.
pub const TRASH_NAME: &str = "trash";

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::files::sim::Fault;
    use crate::files::{OpenMode, SimFiles};

    #[test]
    fn what_was_thrown_away_twice_lies_there_twice_until_it_is_purged() {
        let files = SimFiles::new();
        for name in [TRASH_NAME, TOPICS_NAME] {
            files.create_dir(Path::new(name)).unwrap();
        }
        let trash = Trash::new(7);
        for _ in 0..2 {
            files.create_dir(Path::new("t-0")).unwrap();
            files.open(Path::new("t-0/a.log"), OpenMode::CreateNew).unwrap();
            trash.take(&files, Path::new("t-0")).unwrap();
        }
        assert_eq!(files.snapshot().len(), 2);
        trash.purge(&files, &|| true).unwrap();
        assert_eq!(files.snapshot().len(), 0);
        assert!(files.list(Path::new(TRASH_NAME)).unwrap().is_empty());
        trash.purge(&files, &|| true).unwrap();
    }

    #[test]
    fn whoever_empties_it_can_be_stopped_between_two_files() {
        let files = SimFiles::new();
        let trash = filled(&files, 5);
        let left = AtomicU64::new(3);
        trash.purge(&files, &|| left.fetch_sub(1, Ordering::Relaxed) > 0).unwrap();
        assert_eq!(files.snapshot().len(), 2);
    }

    #[test]
    fn what_cannot_be_removed_is_told_and_in_nobodys_way() {
        let files = SimFiles::new();
        let trash = filled(&files, 3);
        // The first removal, behind the list.
        files.fail_at(files.operations(), Fault::Broken);
        trash.purge(&files, &|| true).unwrap_err();
        assert_eq!(files.snapshot().len(), 1);
        trash.purge(&files, &|| true).unwrap();
        assert_eq!(files.snapshot().len(), 0);
    }

    #[test]
    fn whoever_empties_it_is_told_once_when_something_comes_and_again_after_that() {
        let files = SimFiles::new();
        let trash = filled(&files, 0);
        let told = Arc::new(AtomicU64::new(0));
        let teller = Arc::clone(&told);
        trash.on_filled(move || {
            teller.fetch_add(1, Ordering::Relaxed);
        });
        for round in 1..=3 {
            for _ in 0..4 {
                throw(&files, &trash);
                assert_eq!(told.load(Ordering::Relaxed), round);
            }
            trash.purge(&files, &|| true).unwrap();
            assert_eq!(files.snapshot().len(), 0);
        }
    }

    fn filled(files: &SimFiles, count: usize) -> Trash {
        files.create_dir(Path::new(TRASH_NAME)).unwrap();
        let trash = Trash::new(7);
        (0..count).for_each(|_| throw(files, &trash));
        trash
    }

    fn throw(files: &SimFiles, trash: &Trash) {
        files.open(Path::new("a.log"), OpenMode::CreateNew).unwrap();
        trash.discard(files, Path::new("a.log")).unwrap();
    }
}
