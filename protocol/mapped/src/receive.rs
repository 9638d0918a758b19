//! One system call that receives into memory that holds nothing yet.

use std::io;
use std::os::fd::BorrowedFd;

use bytes::BytesMut;
use rustix::io::Errno;
use rustix::net::RecvFlags;

/// Receives once from the socket `from`, into the spare capacity of `into`, at most `at_most` bytes; returns how many
/// arrived, by which `into` has grown. The spare capacity need not be initialised, and nothing is written beyond what
/// arrived: that is why this is here and not an `io::Read`. Interruptions are retried.
///
/// `Ok(0)` is the end of the stream.
///
/// # Panics
///
/// If there is no room to read into: the answer could not be told from the end of the stream.
///
/// # Errors
///
/// Those of the socket (`WouldBlock`, `ConnectionReset`, ..); `into` is then as it was.
///
/// # Example
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::io::Write;
/// use std::os::{fd::AsFd, unix::net::UnixStream};
/// use folio_mapped::receive;
///
/// let (mut theirs, ours) = UnixStream::pair()?;
/// theirs.write_all(b"hello")?;
///
/// let mut buffer = bytes::BytesMut::with_capacity(64);
/// assert_eq!(receive(ours.as_fd(), &mut buffer, 4)?, 4);
/// assert_eq!(&buffer[..], b"hell");
/// # Ok(())
/// # }
/// ```
pub fn receive(from: BorrowedFd<'_>, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
    let spare = into.spare_capacity_mut();
    let room = spare.len().min(at_most);
    assert!(room > 0, "no room to receive into");
    let received = loop {
        match rustix::net::recv(from, &mut spare[..room], RecvFlags::empty()) {
            Ok(((received, _), _)) => break received.len(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let len = into.len() + received;
    // SAFETY: the kernel has just written the first `received` bytes of the spare capacity, which begins at the old
    // length; `received <= room`, so the new length is within the capacity.
    unsafe { into.set_len(len) };
    Ok(received)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn bytes_arrive_behind_those_that_are_there_and_no_more_than_asked_for() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(b"0123456789").unwrap();
        let mut buffer = BytesMut::with_capacity(64);
        buffer.extend_from_slice(b"> ");
        assert_eq!(receive(ours.as_fd(), &mut buffer, 3).unwrap(), 3);
        assert_eq!(&buffer[..], b"> 012");
        assert_eq!(receive(ours.as_fd(), &mut buffer, usize::MAX).unwrap(), 7);
        assert_eq!(&buffer[..], b"> 0123456789");
    }

    #[test]
    fn the_end_of_the_stream_is_zero_and_an_empty_socket_would_block() {
        let (theirs, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut buffer = BytesMut::with_capacity(8);
        let error = receive(ours.as_fd(), &mut buffer, 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        assert_eq!(receive(ours.as_fd(), &mut buffer, 8).unwrap(), 0);
        assert!(buffer.is_empty());
    }

    #[test]
    #[should_panic(expected = "no room")]
    fn a_full_buffer_is_a_bug_and_not_the_end_of_the_stream() {
        let (_theirs, ours) = UnixStream::pair().unwrap();
        let _ = receive(ours.as_fd(), &mut BytesMut::new(), 8);
    }
}
