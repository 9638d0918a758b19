//! The least that a start can do about a sealed segment: its directory entry, one stat, one read of its footer.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const FOOTER_BYTES: u64 = 96;

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Walks over all partitions of a data directory, on every core.
pub(crate) fn walk(data: &Path) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut dirs = Vec::new();
    for entry in fs::read_dir(data.join("topics"))? {
        dirs.push(entry?.path());
    }
    let queue = Mutex::new(dirs);
    let pop = || queue.lock().ok().and_then(|mut queue| queue.pop());
    let all = || -> io::Result<u64> {
        let mut bytes = 0;
        while let Some(dir) = pop() {
            bytes += partition(&dir)?;
        }
        Ok(bytes)
    };
    let bytes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores()).map(|_| scope.spawn(all)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| io::Error::other("a panic"))?)
            .sum::<io::Result<u64>>()
    })?;
    assert!(bytes > 0, "there is something to walk over");
    Ok(begun.elapsed())
}

/// Bytes in its logs.
fn partition(dir: &PathBuf) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("log") => bytes += entry.metadata()?.len(),
            Some("index") => {
                let index = File::open(&path)?;
                let at = index.metadata()?.len().saturating_sub(FOOTER_BYTES);
                let mut footer = [0; FOOTER_BYTES as usize];
                // The last segment of a partition may have less than that.
                let _ = index.read_at(&mut footer, at)?;
            }
            _ => {}
        }
    }
    Ok(bytes)
}
