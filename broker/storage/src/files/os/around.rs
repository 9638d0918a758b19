//! Reading around the page cache: what others have in it stays, and nothing comes in.
//!
//! `O_DIRECT` does that, where the file system knows it. Elsewhere pages are read through the cache, and those that
//! were not in it before are dropped again; where the kernel does not tell which those are (before Linux 6.5), they
//! stay.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use folio_mapped::cachestat;
use rustix::fs::{Advice, OFlags};

/// How a file is read around the cache.
#[derive(Debug)]
pub(super) struct Around {
    is_direct: AtomicBool,
}

impl Around {
    /// Opens a file to be read in this way only.
    pub(super) fn open(path: &Path) -> io::Result<(File, Self)> {
        match open(path, OFlags::NOFOLLOW | OFlags::DIRECT) {
            Ok(file) => Ok((file, Self { is_direct: AtomicBool::new(true) })),
            Err(error) if is_refused(&error) => Self::beside(path),
            Err(error) => Err(error),
        }
    }

    /// Opens a file that is read from the cache where it is in it, and by the disk only elsewhere.
    pub(super) fn beside(path: &Path) -> io::Result<(File, Self)> {
        let file = open(path, OFlags::NOFOLLOW)?;
        // What is read ahead would not be dropped again.
        rustix::fs::fadvise(file.as_fd(), 0, None, Advice::Random)?;
        Ok((file, Self { is_direct: AtomicBool::new(false) }))
    }

    /// Reads up to `buf.len()` bytes at `at`; fewer only at the end of the file.
    pub(super) fn read_at(&self, file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
        if self.is_direct.load(Ordering::Relaxed) {
            match read_direct(file, buf, at) {
                // The disk wants larger steps than any that is known.
                Err(error) if is_refused(&error) => {
                    self.is_direct.store(false, Ordering::Relaxed);
                    rustix::fs::fcntl_setfl(file, rustix::fs::fcntl_getfl(file)? - OFlags::DIRECT)?;
                }
                outcome => return outcome,
            }
        }
        read_and_drop(file, buf, at)
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)
}

fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error())
}

/// The bytes come by way of a buffer that begins and ends where the disk wants it.
fn read_direct(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let from = at / STEP as u64 * STEP as u64;
    let skipped = (at - from) as usize;
    let wanted = (skipped + buf.len()).next_multiple_of(STEP);
    let mut space = vec![0; wanted + STEP];
    let aligned = space.as_ptr().align_offset(STEP);
    let Some(space) = space.get_mut(aligned..aligned + wanted) else {
        return Err(io::ErrorKind::OutOfMemory.into());
    };
    let mut filled = 0;
    while filled < wanted {
        match file.read_at(&mut space[filled..], from + filled as u64) {
            Ok(read) => {
                filled += read;
                // Only the end of the file is no whole step.
                if read == 0 || !read.is_multiple_of(STEP) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let found = space[..filled].get(skipped..).unwrap_or_default();
    let read = found.len().min(buf.len());
    buf[..read].copy_from_slice(&found[..read]);
    Ok(read)
}

/// A page at a time where some are in the cache and some are not.
fn read_and_drop(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        let from = at + filled as u64;
        let mut part = (CHUNK - from % CHUNK).min((buf.len() - filled) as u64);
        let pages = |part: u64| {
            let begin = from / STEP as u64 * STEP as u64;
            begin..(from + part).next_multiple_of(STEP as u64)
        };
        let cached = |part: u64| Some(cachestat(file.as_fd(), pages(part)).ok()?.cached);
        let mut before = cached(part);
        let all = (pages(part).end - pages(part).start) / STEP as u64;
        if before.is_some_and(|before| before > 0 && before < all) {
            part = (STEP as u64 - from % STEP as u64).min(part);
            before = cached(part);
        }
        let read = match file.read_at(&mut buf[filled..filled + part as usize], from) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if before == Some(0) {
            let len = std::num::NonZeroU64::new(pages(part).end - pages(part).start);
            rustix::fs::fadvise(file.as_fd(), pages(part).start, len, Advice::DontNeed)?;
        }
        if read == 0 {
            break;
        }
        filled += read;
    }
    Ok(filled)
}

/// Disks are read in multiples of this, from multiples of this, into memory at multiples of this; and a page.
const STEP: usize = 4096;
/// So much is read together where none of it was in the cache.
const CHUNK: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bytes: &[u8]) -> (tempfile::NamedTempFile, File) {
        let temporary = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(temporary.path(), bytes).unwrap();
        let file = File::open(temporary.path()).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        (temporary, file)
    }

    fn numbers(len: usize) -> Vec<u8> {
        (0..len).map(|number| (number * 7 + number / 256) as u8).collect()
    }

    /// As where a file system does not know `O_DIRECT`.
    fn without_direct(file: &File, around: &Around) {
        around.is_direct.store(false, Ordering::Relaxed);
        rustix::fs::fcntl_setfl(file, OFlags::empty()).unwrap();
        rustix::fs::fadvise(file, 0, None, Advice::Random).unwrap();
    }

    #[test]
    fn any_part_of_a_file_is_read_and_nothing_of_it_comes_into_the_cache() {
        let bytes = numbers(300_001);
        let (temporary, plain) = filled(&bytes);
        let (file, around) = Around::open(temporary.path()).unwrap();
        for is_direct in [true, false] {
            if !is_direct {
                without_direct(&file, &around);
            }
            for (at, len) in
                [(0, 300_001), (1, 4096), (4095, 2), (299_000, 5000), (300_001, 10), (4096, 65_536)]
            {
                let mut buf = vec![0; len];
                let read = around.read_at(&file, &mut buf, at).unwrap();
                let due = &bytes[at as usize..bytes.len().min(at as usize + len)];
                assert_eq!(buf[..read], *due, "{len} bytes at {at}, direct: {is_direct}");
            }
            assert_eq!(cachestat(plain.as_fd(), 0..300_001).unwrap().cached, 0, "direct: {is_direct}");
        }
    }

    #[test]
    fn what_is_read_by_the_way_comes_from_the_cache_and_brings_nothing_into_it() {
        let bytes = numbers(262_144);
        let (temporary, plain) = filled(&bytes);
        rustix::fs::fadvise(&plain, 0, None, Advice::Random).unwrap();
        plain.read_exact_at(&mut [0; 4096], 4096).unwrap();
        let (file, around) = Around::beside(temporary.path()).unwrap();
        assert!(!rustix::fs::fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT));
        let mut buf = vec![0; bytes.len()];
        assert_eq!(around.read_at(&file, &mut buf, 0).unwrap(), bytes.len());
        assert_eq!(buf, bytes);
        assert_eq!(cachestat(plain.as_fd(), 0..262_144).unwrap().cached, 1);
    }

    #[test]
    fn what_others_have_in_the_cache_stays_there() {
        let bytes = numbers(262_144);
        let (temporary, plain) = filled(&bytes);
        rustix::fs::fadvise(&plain, 0, None, Advice::Random).unwrap();
        let mut page = [0; 4096];
        for at in [0, 69_632, 262_144 - 4096] {
            plain.read_exact_at(&mut page, at).unwrap();
        }
        let (file, around) = Around::open(temporary.path()).unwrap();
        for is_direct in [true, false] {
            if !is_direct {
                without_direct(&file, &around);
            }
            let mut buf = vec![0; bytes.len()];
            assert_eq!(around.read_at(&file, &mut buf, 0).unwrap(), bytes.len());
            assert_eq!(buf, bytes);
            for (page, is_cached) in [(0, 1), (1, 0), (16, 0), (17, 1), (18, 0), (62, 0), (63, 1)] {
                let cached = cachestat(plain.as_fd(), page * 4096..(page + 1) * 4096).unwrap().cached;
                assert_eq!(cached, is_cached, "page {page}, direct: {is_direct}");
            }
        }
    }
}
