//! Asking the kernel to begin writing dirty pages.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Begins to write the dirty pages of `range` (bytes) to the disk, and does not wait for them.
///
/// Only `SYNC_FILE_RANGE_WRITE`, never a flag that waits: a waiting `sync_file_range` takes a pending write error off
/// the descriptor, and the `fdatasync` that follows reports success.
///
/// # Errors
///
/// Those of the system call; `InvalidInput` for a reversed range or one beyond 2^63.
pub fn sync_file_range(file: BorrowedFd<'_>, range: Range<u64>) -> io::Result<()> {
    if range.start == range.end {
        // A length of zero would mean "to the end of the file".
        return Ok(());
    }
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let len = range.end.checked_sub(range.start).ok_or_else(invalid)?;
    let (start, len) = (i64::try_from(range.start), i64::try_from(len));
    let (Ok(start), Ok(len)) = (start, len) else { return Err(invalid()) };
    // SAFETY: the descriptor is borrowed for the call; no memory is involved.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), start, len, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    #[cfg_attr(miri, ignore = "a system call that Miri does not have")]
    fn write_back_of_any_range_is_accepted_and_a_reversed_one_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        sync_file_range(file.as_fd(), 0..10_000).unwrap();
        sync_file_range(file.as_fd(), 4_000..1 << 40).unwrap();
        sync_file_range(file.as_fd(), 5..5).unwrap();
        let reversed = Range { start: 6, end: 5 };
        assert_eq!(sync_file_range(file.as_fd(), reversed).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(sync_file_range(file.as_fd(), 0..u64::MAX).is_err());
    }
}
