//! `trash/`: partitions and segments whose deletion is decided, waiting to be removed. A rename is quick and
//! atomic; removing the bytes is neither, and may come at any later time. A start empties it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::data_dir::TOPICS_NAME;
use crate::files::{EntryKind, Files, is_full};

/// Gives what comes here names that nothing else has.
#[derive(Debug)]
pub struct Trash {
    run_id: u64,
    next: AtomicU64,
}

impl Trash {
    /// For one run; names of an earlier run are gone or differ.
    pub fn new(run_id: u64) -> Self {
        Self { run_id, next: AtomicU64::new(0) }
    }

    /// Moves a file or directory here and says where it is now. Not durable before the directory that it came
    /// from and `trash/` are synced; until then a crash may bring it back.
    pub fn take<F: Files>(&self, files: &F, path: &Path) -> io::Result<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let to = Path::new(TRASH_NAME).join(format!("{:016x}-{number}-{name}", self.run_id));
        files.rename(path, &to)?;
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
}

/// Removes everything in the trash; returns how many things there were.
pub fn purge<F: Files>(files: &F) -> io::Result<u64> {
    let entries = files.list(Path::new(TRASH_NAME))?;
    if entries.iter().any(|entry| entry.kind == EntryKind::Directory) {
        // A crash shall not bring a directory back without what says whose it is.
        files.sync_dir(Path::new(TRASH_NAME))?;
        files.sync_dir(Path::new(TOPICS_NAME))?;
    }
    for entry in &entries {
        remove(files, &Path::new(TRASH_NAME).join(&entry.name), entry.kind)?;
    }
    Ok(entries.len() as u64)
}

/// Removes a file, or a directory with all that is in it.
pub fn remove<F: Files>(files: &F, path: &Path, kind: EntryKind) -> io::Result<()> {
    if kind != EntryKind::Directory {
        return files.remove_file(path);
    }
    for entry in files.list(path)? {
        remove(files, &path.join(&entry.name), entry.kind)?;
    }
    files.remove_dir(path)
}

/// The name of the directory.
pub const TRASH_NAME: &str = "trash";

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(purge(&files).unwrap(), 2);
        assert_eq!(files.snapshot().len(), 0);
        assert_eq!(purge(&files).unwrap(), 0);
    }
}
