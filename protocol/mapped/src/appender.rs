//! The one writer of a segment.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use crate::claims::Claim;
use crate::segment::SegmentMap;

/// Appends to a [`SegmentMap`] and publishes what it appended. There is one per map and per file.
///
/// ```text
///  0                     end                  allocated        capacity
///  | published           | reserved, no length  | not there yet |
///                        ^ append writes here, then moves end
/// ```
///
/// The length of the file is always what has been written: space is reserved above it, but the file is never
/// extended with zeros. Dropping an appender leaves the reserve to the file and lets another appender be made.
pub struct Appender {
    map: Arc<SegmentMap>,
    /// What `map.end()` is; nobody else moves it.
    end: u64,
    /// Disk space is reserved up to here, as far as this appender knows; never below `end`.
    allocated: u64,
    tail: Tail,
    /// The file is ours alone; none for memory.
    _claim: Option<Claim>,
}

/// What the file holds from `end` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tail {
    /// Nothing.
    Clean,
    /// Perhaps bytes that were never published. A shorter append over them would leave a rest that recovery would
    /// have to call damage, so nothing may be appended before they are cut off.
    Uncut,
}

/// Why there is no appender for a map.
#[derive(Debug, thiserror::Error)]
pub enum AppenderError {
    /// Another one exists, of this map or of another map of the same file.
    #[error("the file already has an appender")]
    Taken,
    /// The file could not be looked at.
    #[error("cannot tell which file it is: {0}")]
    Io(#[from] io::Error),
}

impl From<AppenderError> for io::Error {
    /// The kernel's own error, if it was one, so that its kind stays.
    fn from(error: AppenderError) -> Self {
        match error {
            AppenderError::Io(error) => error,
            taken @ AppenderError::Taken => io::Error::other(taken),
        }
    }
}

impl Appender {
    pub(crate) fn claim(map: &Arc<SegmentMap>) -> Result<Self, AppenderError> {
        let identity = map.backing().identity()?;
        if !map.claim() {
            return Err(AppenderError::Taken);
        }
        // From here on a drop gives the claim of the map back.
        let mut appender = Self {
            map: Arc::clone(map),
            end: map.end(),
            allocated: map.end(),
            tail: Tail::Clean,
            _claim: None,
        };
        if let Some((file, len)) = identity {
            appender._claim = Some(Claim::take(file).ok_or(AppenderError::Taken)?);
            if len != appender.end {
                appender.tail = Tail::Uncut;
            }
        }
        Ok(appender)
    }

    /// The map that it appends to.
    pub fn map(&self) -> &Arc<SegmentMap> {
        &self.map
    }

    /// How many bytes are published; the next append begins here.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How far appends need no new disk space, in bytes from the start of the file.
    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    /// How many more bytes the map can hold.
    pub fn room(&self) -> u64 {
        self.map.capacity() - self.end
    }

    /// Writes all of `bufs` at the end of the file and publishes them together; returns where they lie. Waits for
    /// no disk if they fit into what is [`allocated`](Self::allocated), except for a kernel that throttles writers.
    ///
    /// # Errors
    ///
    /// Of the disk: full, or broken. Then nothing is published, part of `bufs` may be in the file above its
    /// published end, and every further append is refused until [`cut`](Self::cut) succeeded.
    ///
    /// Of the caller: more than there is [`room`](Self::room) for (`InvalidInput`, nothing was written), or an
    /// uncut tail.
    pub fn append(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<Range<u64>> {
        if self.tail == Tail::Uncut {
            return Err(io::Error::other(
                "bytes above the published end of the file have to be cut off first",
            ));
        }
        let bytes: u64 = bufs.iter().map(|buf| buf.len() as u64).sum();
        if bytes > self.room() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no room in the segment"));
        }
        // Whatever ends this call early, an error or a panic, leaves the tail to be cut.
        self.tail = Tail::Uncut;
        write_all_at(|bufs, at| self.map.backing().write_at(bufs, at), bufs, self.end)?;
        self.tail = Tail::Clean;

        let start = self.end;
        self.end += bytes;
        self.allocated = self.allocated.max(self.end);
        self.map.publish(self.end);
        Ok(start..self.end)
    }

    /// Reserves disk space up to `upto` (bytes from the start of the file, at most the capacity) without changing the
    /// length of the file, so that appends up to there find space. May wait for the disk. Where the file system cannot,
    /// nothing is [`allocated`](Self::allocated), and appends find room or they do not.
    ///
    /// # Errors
    ///
    /// `ENOSPC` and `EDQUOT`: the disk is full; nothing changed that matters. `InvalidInput` beyond the capacity.
    pub fn allocate(&mut self, upto: u64) -> io::Result<()> {
        if upto > self.map.capacity() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "allocation beyond the capacity"));
        }
        if upto > self.allocated && self.map.backing().allocate(self.allocated..upto)? {
            self.allocated = upto;
        }
        Ok(())
    }

    /// Cuts the file at its published end: what a failed append left behind goes, and the reserved space too. Without a
    /// failed append this is how the reserve is given back. Published bytes and slices are untouched. A file that a
    /// foreign hand has made shorter than that stays as it is, and the map is poisoned. Where nothing but the reserve
    /// is to go, and a disk that is full has no room even for that, the file keeps it, and stays
    /// [`allocated`](Self::allocated).
    ///
    /// # Errors
    ///
    /// Those of `ftruncate`. The appender refuses appends until a cut succeeds: on a full disk a later one may.
    pub fn cut(&mut self) -> io::Result<()> {
        if self.map.backing().cut(self.end)? {
            self.allocated = self.end;
        }
        self.tail = Tail::Clean;
        Ok(())
    }

    /// Cuts, and gives up appending. The map stays.
    ///
    /// # Errors
    ///
    /// Those of [`cut`](Self::cut). The appender is gone in any case.
    pub fn finish(mut self) -> io::Result<Arc<SegmentMap>> {
        self.cut()?;
        Ok(Arc::clone(&self.map))
    }

    /// [`SegmentMap::sync_data`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn sync_data(&self) -> io::Result<()> {
        self.map.sync_data()
    }

    /// [`SegmentMap::start_writeback`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        self.map.start_writeback(range)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.map.release();
    }
}

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appender")
            .field("end", &self.end)
            .field("allocated", &self.allocated)
            .field("tail", &self.tail)
            .finish()
    }
}

/// Calls `write` until every byte of `bufs` is in, or an error that is not an interruption.
///
/// The offset is explicit, so continuing after a short write repeats nothing.
fn write_all_at(
    mut write: impl FnMut(&[IoSlice<'_>], u64) -> io::Result<usize>,
    mut bufs: &[IoSlice<'_>],
    mut at: u64,
) -> io::Result<()> {
    /// How much of the first buffer is in already.
    fn skip_whole<'a, 'b>(mut bufs: &'a [IoSlice<'b>], mut skip: usize) -> (&'a [IoSlice<'b>], usize) {
        while let Some(first) = bufs.first() {
            if skip < first.len() {
                break;
            }
            skip -= first.len();
            bufs = &bufs[1..];
        }
        (bufs, skip)
    }

    let mut skip = 0;
    loop {
        (bufs, skip) = skip_whole(bufs, skip);
        let Some(first) = bufs.first() else { return Ok(()) };
        let rest_of_first = [IoSlice::new(&first[skip..])];
        let next = if skip > 0 { &rest_of_first } else { &bufs[..bufs.len().min(BUFS_MAX)] };
        match write(next, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                skip += written;
                at += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How many buffers one `pwritev` takes (`IOV_MAX`).
const BUFS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes into a `Vec`, at most as many bytes a call as the script says; `None` is an interruption.
    fn scripted<'s>(
        script: &'s [Option<usize>],
        into: &'s mut Vec<u8>,
    ) -> impl FnMut(&[IoSlice<'_>], u64) -> io::Result<usize> + 's {
        let mut steps = script.iter().cycle();
        move |bufs, at| {
            assert!(bufs.len() <= BUFS_MAX);
            assert_eq!(at, into.len() as u64, "every byte goes to its place, once");
            let most = steps.next().copied().flatten().ok_or(io::ErrorKind::Interrupted)?;
            let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(most).collect();
            into.extend(&bytes);
            Ok(bytes.len())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        #[cfg_attr(miri, ignore = "too slow there")]
        fn writes_cut_short_anywhere_put_every_byte_in_its_place(
            bufs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..12),
            mut script in proptest::collection::vec(proptest::option::of(1..30_usize), 1..8),
        ) {
            script.push(Some(1)); // or it could be interrupted for ever
            let mut written = Vec::new();
            let slices: Vec<_> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
            write_all_at(scripted(&script, &mut written), &slices, 0).unwrap();
            prop_assert_eq!(written, bufs.concat());
        }
    }

    #[test]
    fn more_buffers_than_one_call_takes_are_written_by_several() {
        let bytes = [7; 3 * BUFS_MAX + 1];
        let slices: Vec<_> = bytes.chunks(1).map(IoSlice::new).collect();
        let mut written = Vec::new();
        write_all_at(scripted(&[Some(700), Some(4096)], &mut written), &slices, 0).unwrap();
        assert_eq!(written, bytes);
    }

    #[test]
    fn a_writer_that_takes_nothing_is_an_error_and_not_a_loop() {
        let error = write_all_at(|_, _| Ok(0), &[IoSlice::new(b"x")], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn an_error_after_a_short_write_is_the_error_of_the_whole() {
        let mut calls = 0;
        let full = |_: &[IoSlice<'_>], _| {
            calls += 1;
            if calls == 1 { Ok(3) } else { Err(io::ErrorKind::StorageFull.into()) }
        };
        let error = write_all_at(full, &[IoSlice::new(b"abcdef")], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
