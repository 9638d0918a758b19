//! Walking the batches of a file that nobody vouches for.
//!
//! A [`Scan`] verifies: it reads every byte, through `pread` and never through a map, checks each checksum and
//! that batches follow one another, and names the [`Fault`] at which it has to stop. A [`HeaderWalk`] only follows
//! lengths and offsets; it is for bytes that somebody else vouches for.
//!
//! No number read from the file decides how much memory is taken: a batch is held only if the whole of it is in
//! the file, and never more than [`BATCH_SIZE_LIMIT`].

use std::io;
use std::ops::Range;

use folio_record::{Batch, BatchError, BatchHeader, HEADER_SIZE, LeaderEpoch, Offset, UnverifiedBatch};

use crate::files::FileHandle;
use crate::layout::{field, put};
use crate::verdict::{Fault, has_zero_chunk};

/// What the batches of a file have to be like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// The largest batch that was ever written here, in bytes: a length above it is implausible unless the batch
    /// proves itself. Settings of today tell nothing about what is there.
    pub(crate) batch_size_max: u64,
    /// Offsets may be left out between batches, as compaction does, and every batch ends at this one or before. `None`:
    /// each batch follows on the one before it.
    pub(crate) gaps_upto: Option<Offset>,
    /// The latest epoch that was ever reached.
    pub(crate) epoch_max: LeaderEpoch,
}

/// A walk through the batches of one file.
#[derive(Debug)]
pub(crate) struct Scan<'f, H> {
    window: Window<'f, H>,
    rules: Rules,
    at: u64,
    expected: Offset,
    epoch_min: LeaderEpoch,
}

/// Where a walk has come to.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A good batch, and where it begins.
    Batch { at: u64, batch: Batch<'a> },
    /// The file ends right after the last batch.
    End,
    /// It ends otherwise.
    Fault(Fault),
}

/// A walk through headers only.
#[derive(Debug)]
pub(crate) struct HeaderWalk<'f, H> {
    window: Window<'f, H>,
    at: u64,
}

/// Reads a file piece by piece.
#[derive(Debug)]
struct Window<'f, H> {
    file: &'f H,
    len: u64,
    step: usize,
    bytes: Vec<u8>,
    from: u64,
    read: u64,
}

/// No epoch is earlier, also none that a flipped bit makes.
pub(crate) const ANY_EPOCH: LeaderEpoch = LeaderEpoch::new(i32::MIN);

/// No batch is larger than this, whatever the settings: what a frame of either protocol can carry, with room.
pub(crate) const BATCH_SIZE_LIMIT: u64 = 128 * 1024 * 1024;

/// The records of no batch take more than this, unpacked: who lets batches in sees to that, for all who unpack them
/// later.
pub const UNPACKED_MAX: usize = 128 * 1024 * 1024;

impl<'f, H: FileHandle> Scan<'f, H> {
    /// Begins at byte `at`, where the batch with offset `expected` is due.
    pub(crate) fn new(
        file: &'f H,
        at: u64,
        expected: Offset,
        epoch_min: LeaderEpoch,
        rules: Rules,
    ) -> io::Result<Self> {
        Ok(Self { window: Window::new(file, SCAN_STEP)?, rules, at, expected, epoch_min })
    }

    /// Goes on at byte `at`, where the batch with offset `expected` begins.
    pub(crate) fn resume(&mut self, at: u64, expected: Offset) {
        (self.at, self.expected) = (at, expected);
    }

    /// The next batch may have any epoch: it is held against something better than the one before it.
    pub(crate) fn forget_epoch(&mut self) {
        self.epoch_min = ANY_EPOCH;
    }

    /// Where the next batch begins, or the fault lies.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The offset that is due there.
    pub(crate) fn expected(&self) -> Offset {
        self.expected
    }

    /// Length of the file when the walk began.
    pub(crate) fn file_len(&self) -> u64 {
        self.window.len
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.window.read
    }

    /// The next batch.
    pub(crate) fn next(&mut self) -> io::Result<Step<'_>> {
        let (at, left) = (self.at, self.window.len.saturating_sub(self.at));
        if left == 0 {
            return Ok(Step::End);
        }
        if left < HEADER_SIZE as u64 {
            return Ok(Step::Fault(Fault::CutHeader { left }));
        }
        let header = self.window.get(at, HEADER_SIZE)?;
        let unusable = Fault::UnusableHeader { zero_chunk: has_zero_chunk(header, at, self.expected) };
        let Some(length) = claimed_size(header) else {
            return Ok(Step::Fault(unusable));
        };
        let is_plausible = length <= self.rules.batch_size_max;
        if length > left {
            let is_cut = is_plausible && !self.window.is_length_wrong(at, length)?;
            return Ok(Step::Fault(if is_cut { Fault::CutBatch { length, left } } else { unusable }));
        }
        if length > BATCH_SIZE_LIMIT {
            return Ok(Step::Fault(unusable));
        }
        let mut beside = self.window.beside();
        let bytes = self.window.get(at, length as usize)?;
        let batch = match UnverifiedBatch::split_first(bytes).and_then(|(batch, _)| batch.verify()) {
            Ok(batch) => batch,
            Err(_) if !is_plausible => return Ok(Step::Fault(unusable)),
            Err(BatchError::Checksum { .. }) => {
                let zero_chunk = has_zero_chunk(bytes, at, self.expected);
                // Whoever takes others for its own end finds their zeros.
                let is_wrong = zero_chunk && beside.is_length_wrong(at, length)?;
                let fault = if is_wrong { unusable } else { Fault::BadBatch { zero_chunk } };
                return Ok(Step::Fault(fault));
            }
            Err(_) => return Ok(Step::Fault(Fault::Contradiction)),
        };
        let header = batch.header();
        if let Some(fault) = self.rules.out_of_place(&batch, at, self.expected, self.epoch_min) {
            return Ok(Step::Fault(fault));
        }
        self.expected = header.next_offset();
        self.epoch_min = header.leader_epoch;
        self.at = at + length;
        Ok(Step::Batch { at, batch })
    }
}

impl Rules {
    fn out_of_place(
        &self,
        batch: &Batch<'_>,
        at: u64,
        expected: Offset,
        epoch_min: LeaderEpoch,
    ) -> Option<Fault> {
        let header = batch.header();
        let found = header.base_offset;
        let is_behind_gap =
            || self.gaps_upto.is_some_and(|upto| found > expected && header.next_offset() <= upto);
        if found != expected && !is_behind_gap() {
            let zero_chunk = has_zero_chunk(&batch.bytes()[..size_of::<i64>()], at, expected);
            return Some(Fault::Discontinuous { expected, found, zero_chunk });
        }
        let (lowest, highest, found) = (epoch_min, self.epoch_max, header.leader_epoch);
        (found < lowest || found > highest).then_some(Fault::EpochOutOfOrder { lowest, highest, found })
    }
}

impl<'f, H: FileHandle> HeaderWalk<'f, H> {
    /// Begins at byte `at`, where a batch has to begin.
    pub(crate) fn new(file: &'f H, at: u64) -> io::Result<Self> {
        Ok(Self { window: Window::new(file, WALK_STEP)?, at })
    }

    /// Where the next batch begins.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.window.read
    }

    /// Goes past the next batch; `None` where no whole batch is.
    pub(crate) fn next(&mut self) -> io::Result<Option<BatchHeader>> {
        let left = self.window.len.saturating_sub(self.at);
        if left < HEADER_SIZE as u64 {
            return Ok(None);
        }
        let bytes = self.window.get(self.at, HEADER_SIZE)?;
        let header = bytes.first_chunk().and_then(|bytes| BatchHeader::parse(bytes).ok());
        let Some(header) = header.filter(|header| header.total_size() as u64 <= left) else {
            return Ok(None);
        };
        self.at += header.total_size() as u64;
        Ok(Some(header))
    }
}

impl<'f, H: FileHandle> Window<'f, H> {
    fn new(file: &'f H, step: usize) -> io::Result<Self> {
        Ok(Self { file, len: file.len()?, step, bytes: Vec::new(), from: 0, read: 0 })
    }

    /// Another one of the same file, which has read nothing.
    fn beside(&self) -> Self {
        Self { file: self.file, len: self.len, step: SCAN_STEP, bytes: Vec::new(), from: 0, read: 0 }
    }

    /// The base offset of the intact batch at `at`, if there is one and it lies in `offsets`.
    fn intact(&mut self, at: u64, offsets: &Range<Offset>) -> io::Result<Option<Offset>> {
        let left = self.len.saturating_sub(at);
        if left < HEADER_SIZE as u64 {
            return Ok(None);
        }
        let header = self.get(at, HEADER_SIZE)?;
        let base = Offset::new(i64::from_be_bytes(field(header, 0)));
        let size = claimed_size(header).filter(|size| *size <= left.min(BATCH_SIZE_LIMIT));
        let Some(size) = size.filter(|_| offsets.contains(&base)) else { return Ok(None) };
        let bytes = self.get(at, size as usize)?;
        let is_intact = UnverifiedBatch::split_first(bytes).is_ok_and(|(batch, _)| batch.verify().is_ok());
        Ok(is_intact.then_some(base))
    }

    /// Whether the batch at `at`, which says that it has `length` bytes, has nothing wrong but that: it is intact if it
    /// ends with the file, or the one that follows on it stands elsewhere than behind so many bytes. An interrupted
    /// write leaves neither; a bit that flips in the length does, and the checksum does not cover that.
    fn is_length_wrong(&mut self, at: u64, length: u64) -> io::Result<bool> {
        let header =
            self.get(at, HEADER_SIZE)?.first_chunk().and_then(|bytes| BatchHeader::parse(bytes).ok());
        let Some(next) = header.map(|header| header.next_offset()) else { return Ok(false) };
        let Some(next_end) = next.checked_add(1) else { return Ok(false) };
        let follows = next..next_end;
        if self.intact(at.saturating_add(length), &follows)?.is_some() {
            return Ok(false);
        }
        let left = self.len - at;
        if left <= BATCH_SIZE_LIMIT && self.is_intact_as(at, left as usize)? {
            return Ok(true);
        }
        for behind in at + HEADER_SIZE as u64..at + left.min(BATCH_SIZE_LIMIT) {
            if self.intact(behind, &follows)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the batch at `at` is intact if it has `size` bytes, whatever it says.
    fn is_intact_as(&mut self, at: u64, size: usize) -> io::Result<bool> {
        self.get(at, size)?;
        let from = (at - self.from) as usize;
        let bytes = &mut self.bytes[from..from + size];
        let told: [u8; size_of::<i32>()] = field(bytes, LENGTH_AT);
        put(bytes, LENGTH_AT, &((size - LENGTH_END) as i32).to_be_bytes());
        let is_intact = UnverifiedBatch::split_first(bytes).is_ok_and(|(batch, _)| batch.verify().is_ok());
        put(bytes, LENGTH_AT, &told);
        Ok(is_intact)
    }

    /// The `len` bytes at `at`, which the file has.
    fn get(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let end = self.from + self.bytes.len() as u64;
        if at < self.from || at + len as u64 > end {
            let keep = if at >= self.from && at < end { (at - self.from) as usize } else { self.bytes.len() };
            self.bytes.drain(..keep);
            self.from = at;
            let wanted = len.max(self.step).min((self.len - at) as usize);
            if let Err(error) = self.fill(wanted) {
                if wanted == len {
                    return Err(error);
                }
                // What cannot be read may lie behind what is asked for. From now on nothing more than that is read.
                self.step = 0;
                self.fill(len)?;
            }
        }
        let from = (at - self.from) as usize;
        Ok(&self.bytes[from..from + len])
    }

    /// Reads on until there are `len` bytes.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        let kept = self.bytes.len();
        self.bytes.resize(len, 0);
        let read = match self.file.read_at(&mut self.bytes[kept..], self.from + kept as u64) {
            Ok(read) if read == len - kept => read,
            outcome => {
                self.bytes.truncate(kept);
                // Somebody else is cutting the file.
                return outcome.and(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        };
        self.read += read as u64;
        Ok(())
    }
}

/// How many whole, intact batches lie behind byte `at`, as far as the lengths of batches lead from there.
pub(crate) fn intact_batches_behind<H: FileHandle>(file: &H, mut at: u64) -> io::Result<u64> {
    let mut window = Window::new(file, SCAN_STEP)?;
    let mut count = 0;
    loop {
        let left = window.len.saturating_sub(at);
        if left < HEADER_SIZE as u64 {
            return Ok(count);
        }
        let size = claimed_size(window.get(at, HEADER_SIZE)?);
        let Some(size) = size.filter(|size| *size <= left.min(BATCH_SIZE_LIMIT)) else {
            return Ok(count);
        };
        let bytes = window.get(at, size as usize)?;
        count +=
            u64::from(UnverifiedBatch::split_first(bytes).is_ok_and(|(batch, _)| batch.verify().is_ok()));
        at += size;
    }
}

/// The nearest intact batch behind the damage at byte `at` whose offset lies in `offsets`: where it begins, and with
/// which offset. First where the length of the batch at `at` leads, then at every byte.
pub(crate) fn next_intact<H: FileHandle>(
    file: &H,
    at: u64,
    offsets: Range<Offset>,
) -> io::Result<Option<(u64, Offset)>> {
    let mut window = Window::new(file, SCAN_STEP)?;
    let len = window.len;
    if len.saturating_sub(at) < HEADER_SIZE as u64 {
        return Ok(None);
    }
    if let Some(size) = claimed_size(window.get(at, HEADER_SIZE)?)
        && let Some(base) = window.intact(at.saturating_add(size), &offsets)?
    {
        return Ok(Some((at + size, base)));
    }
    let mut window = Window::new(file, SCAN_STEP)?;
    for at in at + 1..len {
        if let Some(base) = window.intact(at, &offsets)? {
            return Ok(Some((at, base)));
        }
    }
    Ok(None)
}

const SCAN_STEP: usize = 256 * 1024;
const WALK_STEP: usize = 4096;

const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;
/// Bytes of a batch before and including its length field.
const LENGTH_END: usize = 12;
const _: () = assert!(LENGTH_AT + size_of::<i32>() == LENGTH_END);

/// The size of the batch whose header this is, if magic and length can be those of a batch.
fn claimed_size(header: &[u8]) -> Option<u64> {
    let length = i32::from_be_bytes(field(header, LENGTH_AT));
    let size = u64::try_from(length).ok()? + LENGTH_END as u64;
    (header[MAGIC_AT] == MAGIC && size >= HEADER_SIZE as u64).then_some(size)
}
