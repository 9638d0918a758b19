//! One system call that sends heap bytes and mapped bytes together.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::guard;
use crate::slice::MapSlice;

/// Bytes to send: on the heap, or in a map.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Ordinary memory, such as a frame's header.
    Heap(&'a [u8]),
    /// Published bytes of a file. They are not copied by us and not touched: the kernel copies them to the socket.
    Map(&'a MapSlice),
}

impl Part<'_> {
    /// How many bytes it is.
    pub fn len(&self) -> usize {
        match self {
            Part::Heap(bytes) => bytes.len(),
            Part::Map(slice) => slice.len(),
        }
    }

    /// Whether it is no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How many parts one call sends at most; what is beyond waits for the next call.
pub const PARTS_MAX: usize = 1024; // IOV_MAX

/// Writes the parts in order, without copying them together; returns how many bytes went, which may be fewer than
/// there are (a full socket buffer, more than [`PARTS_MAX`] parts). Interruptions are retried.
///
/// With a non-blocking socket under mio, call it inside `try_io`, so that readiness is armed again. Writing to a
/// socket whose peer is gone gives `EPIPE`, provided that `SIGPIPE` is ignored, as Rust programs do from the start.
///
/// # Errors
///
/// Those of the descriptor (`WouldBlock`, `BrokenPipe`, ..). [`CopyError::Poisoned`](crate::CopyError::Poisoned), as
/// the error's inner one, if the file behind a mapped part has lost bytes: an error where a touch of the same page
/// would be a signal. What was written before such a page is counted, and the next call, beginning there, fails. If a
/// map is poisoned by others during the call, some bytes may have gone, and some may have been zeros: whoever gets an
/// error must not go on with what was begun. `EFAULT` if the disk cannot read a page. A truncation in the middle of a
/// page leaves zeros up to the end of that page, without any error.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::IoSlice;
/// use std::os::{fd::AsFd, unix::net::UnixStream};
/// use folio_mapped::{Part, SegmentMap, writev};
///
/// let map = SegmentMap::heap(64);
/// let range = map.appender()?.append(&[IoSlice::new(b"batch")])?;
/// let mut batch = map.slice(range).expect("it was published");
///
/// let (socket, _peer) = UnixStream::pair()?;
/// let sent = writev(socket.as_fd(), &[Part::Heap(b"head"), Part::Map(&batch)])?;
/// batch.advance(sent - 4); // what is left after a short write
/// assert!(batch.is_empty());
/// # Ok(())
/// # }
/// ```
pub fn writev(to: BorrowedFd<'_>, parts: &[Part<'_>]) -> io::Result<usize> {
    check_poison(parts)?;
    let mut room = [const { MaybeUninit::<libc::iovec>::uninit() }; PARTS_MAX];
    let mut count = 0;
    for part in parts.iter().filter(|part| !part.is_empty()).take(PARTS_MAX) {
        let (base, len) = match part {
            Part::Heap(bytes) => (bytes.as_ptr(), bytes.len()),
            Part::Map(slice) => (slice.address(), slice.len()),
        };
        room[count].write(libc::iovec { iov_base: base.cast_mut().cast(), iov_len: len });
        count += 1;
    }
    loop {
        // SAFETY: the first `count` elements were written just above. The kernel only reads the memory that they name:
        // heap parts are borrowed for the whole call; mapped parts lie in mappings that their slices, borrowed as well,
        // keep (invariants 5, 6), and no reference to them is made (invariant 1). A page that is gone gives EFAULT.
        let written = unsafe { libc::writev(to.as_raw_fd(), room.as_ptr().cast(), count as libc::c_int) };
        match usize::try_from(written) {
            Ok(written) => return check_poison(parts).map(|()| written),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error if error.raw_os_error() == Some(libc::EFAULT) => {
                    for slice in mapped(parts) {
                        slice.backing().poison_if_truncated(slice.range().end);
                    }
                    return check_poison(parts).and(Err(error));
                }
                error => return Err(error),
            },
        }
    }
}

/// Whether all parts are what their files had. Nearly always one load.
fn check_poison(parts: &[Part<'_>]) -> io::Result<()> {
    if guard::is_any_poisoned() {
        mapped(parts).try_for_each(MapSlice::check_poison)?;
    }
    Ok(())
}

fn mapped<'a>(parts: &'a [Part<'_>]) -> impl Iterator<Item = &'a MapSlice> {
    parts.iter().filter_map(|part| match part {
        Part::Map(slice) => Some(*slice),
        Part::Heap(_) => None,
    })
}
