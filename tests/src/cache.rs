//! The files of a daemon's segments, and what of them is in the page cache.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use folio_storage::footer::FOOTER_SIZE;
use rustix::fs::Advice;

/// The logs of a partition's segments, oldest first.
///
/// # Panics
/// When `partition` is no directory.
pub fn logs(partition: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(partition).expect("there is one");
    let mut logs: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    // What is prepared for later has a name that is no number.
    logs.retain(|path| {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy());
        path.extension().is_some_and(|extension| extension == "log")
            && stem.is_some_and(|stem| stem.parse::<i64>().is_ok())
    });
    logs.sort();
    logs
}

/// The logs of the segments of partition 0 that are closed, in order.
///
/// # Panics
/// When there is no such partition below `data`.
pub fn closed_logs(data: &Path, topic: &str) -> Vec<PathBuf> {
    let mut logs = logs(&data.join(format!("topics/{topic}-0")));
    logs.pop();
    logs
}

/// Whether the segment of this log is sealed: nobody will read it by himself any more.
pub fn is_sealed(log: &Path) -> bool {
    footer(log).is_some()
}

/// The footer of the segment of this log, or of this index, if it is sealed.
pub fn footer(log: &Path) -> Option<[u8; FOOTER_SIZE]> {
    let index = std::fs::read(log.with_extension("index")).unwrap_or_default();
    index.last_chunk().copied().filter(|footer: &[u8; FOOTER_SIZE]| footer.starts_with(b"LFT2"))
}

/// Takes a file out of the page cache, as far as nobody has touched it through a mapping.
///
/// # Panics
/// When there is no such file.
pub fn cool(path: &Path) {
    let file = open(path);
    file.sync_data().expect("the disk is good");
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("it is a file");
}

/// Brings `len` bytes at `at` into the page cache.
///
/// # Panics
/// When the file is shorter.
pub fn warm(path: &Path, at: u64, len: usize) {
    open(path).read_exact_at(&mut vec![0; len], at).expect("they are there");
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).expect("there is one")
}
