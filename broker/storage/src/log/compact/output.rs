//! The segment that a row of others is rewritten to.

use std::fmt;
use std::io;
use std::sync::Arc;

use folio_record::{Batch, Offset, Timestamp};

use super::Progress;
use super::reading::Looked;
use super::rewrite::Source;
use crate::files::{FileHandle, Files, OpenMode};
use crate::footer::Footer;
use crate::log::append::{AppendError, failed};
use crate::log::mend::Built;
use crate::log::rot::is_of_the_disk;
use crate::log::seal::{Rotten, Sealing};
use crate::log::{Log, LogOptions};
use crate::partition_files::SegmentFile;
use crate::replacement::{Sum, cleaned_path};
use crate::verdict::Fault;

/// A segment on its way to the disk.
///
/// As long as everything comes as the first source has it, nothing is written: most of what is old stays as it is. What
/// was the same is copied once something differs.
pub(super) struct Output<F: Files> {
    base: Offset,
    options: Arc<LogOptions>,
    sealing: Sealing,
    /// Bytes of the log so far, written or not.
    len: u64,
    written: Written<F>,
}

enum Written<F: Files> {
    /// Nothing: it is what the first source begins with.
    Nothing,
    /// Nothing yet, but it has to be.
    Wanted,
    /// A copy of the first source, so far.
    Copying(F::File, u64),
    /// Everything, but for what is in the buffer; up to here.
    All(F::File, Vec<u8>, u64),
}

/// What came of a row of sources.
pub(super) enum Cleaned<F: Files> {
    /// The one source that there was.
    Same,
    /// The topic is gone.
    Gone,
    /// A segment, on stable storage.
    Ready(Ready<F>),
}

/// A segment that can take the place of others.
pub(super) struct Ready<F: Files> {
    pub(super) base: Offset,
    pub(super) next_base: Offset,
    pub(super) sums: [Sum; 3],
    pub(super) footer: Footer,
    pub(super) log: F::File,
}

impl<F: Files> Output<F> {
    /// Nothing yet, of a row that begins with `source`.
    pub(super) fn new(log: &Log<F>, source: &Source) -> Self {
        let options = log.options();
        let (base, uid) = (source.segment.base(), source.segment.uid());
        let sealing = Sealing::new(base, uid, options.index_interval);
        Self { base, options, sealing, len: 0, written: Written::Nothing }
    }

    /// The next batch.
    pub(super) fn add(&mut self, batch: &Batch<'_>, progress: &mut Progress) -> io::Result<()> {
        self.sealing.batch(self.len, batch);
        self.len += batch.bytes().len() as u64;
        if let Written::All(file, buffer, at) = &mut self.written {
            buffer.extend_from_slice(batch.bytes());
            if buffer.len() >= WRITE_STEP {
                write(file, buffer, at, progress)?;
            }
        }
        Ok(())
    }

    /// Something comes that the first source does not have: whether what it has so far is to be copied first.
    pub(super) fn must_catch_up(&mut self) -> bool {
        if matches!(self.written, Written::Nothing) {
            self.written = Written::Wanted;
        }
        self.is_behind()
    }

    /// Whether what the first source begins with has to be copied.
    pub(super) fn is_behind(&self) -> bool {
        matches!(self.written, Written::Wanted | Written::Copying(..))
    }

    /// Copies more of what the first source begins with, which was read before: it may be rotten by now.
    pub(super) fn catch_up(
        &mut self,
        log: &Log<F>,
        source: Option<&F::File>,
        budget: u64,
        progress: &mut Progress,
    ) -> Result<Looked, AppendError> {
        let (base, len) = (self.base, self.len);
        let failed = |error| failed(&log.dir, base, error);
        // No batch need begin where it was to be read on: all of it is looked at.
        let rotten = |fault| {
            let file = SegmentFile::Log.path(&log.dir, base);
            Ok(Looked::Rotten(Rotten { file, position: 0, offset: base, fault }))
        };
        let (file, at) = match std::mem::replace(&mut self.written, Written::Wanted) {
            Written::Copying(file, at) => (file, at),
            Written::Wanted => match create(log, self.base, SegmentFile::Log).map_err(failed)? {
                Some(file) => (file, 0),
                None => return Ok(Looked::Gone),
            },
            written => {
                self.written = written;
                return Ok(Looked::Enough);
            }
        };
        let upto = self.len.min(at + budget.max(1));
        let mut buffer = Vec::with_capacity(WRITE_STEP);
        let mut written = at;
        while let Some(source) = source.filter(|_| written < upto) {
            buffer.resize((upto - written).min(WRITE_STEP as u64) as usize, 0);
            match source.read_at(&mut buffer, written) {
                Ok(read) if read < buffer.len() => {
                    return rotten(Fault::ShortFile { len: written + read as u64, durable: len });
                }
                Ok(read) => progress.read += read as u64,
                // What the disk does not give back is the segment's affair; what it does not take is everybody's.
                Err(error) if is_of_the_disk(&error) => return rotten(Fault::Unreadable),
                Err(error) => return Err(failed(error)),
            }
            write(&file, &mut buffer, &mut written, progress).map_err(failed)?;
        }
        self.written = if written == self.len {
            Written::All(file, Vec::new(), written)
        } else {
            Written::Copying(file, written)
        };
        Ok(Looked::Enough)
    }

    /// Whether `next` goes into it too, behind `joined` sources: as long as there is room, and not for the sake of a
    /// small one behind one that stays as it is.
    pub(super) fn takes(&self, next: &Source, joined: usize) -> bool {
        let is_large = self.len > u64::from(self.options.segment_bytes) / 2;
        !(is_large && matches!(self.written, Written::Nothing)) && self.has_room_for(next, joined)
    }

    /// Whether `next` has room in it behind `joined` sources: no more is written than a segment takes.
    pub(super) fn has_room_for(&self, next: &Source, joined: usize) -> bool {
        let segment_bytes = u64::from(self.options.segment_bytes);
        let len = self.len + next.segment.end();
        let entries = len / u64::from(self.options.index_interval.max(1)) + 2;
        joined < ROW_MAX
            && len <= segment_bytes
            && entries <= u64::from(self.options.segment_index_bytes) / COUNTED_ENTRY_SIZE
            && next.next_base.get() - self.base.get() <= i64::from(i32::MAX)
    }

    /// Writes the rest, and waits until all of it is on stable storage. `next_base` is where it ends, and
    /// `sealed_at` what its footer says of that.
    pub(super) fn finish(
        self,
        log: &Log<F>,
        next_base: Offset,
        sealed_at: Timestamp,
        progress: &mut Progress,
    ) -> Result<Cleaned<F>, AppendError> {
        let (base, len) = (self.base, self.len);
        let failed = |error| failed(&log.dir, base, error);
        let Written::All(file, mut buffer, mut at) = self.written else { return Ok(Cleaned::Same) };
        write(&file, &mut buffer, &mut at, progress).map_err(failed)?;
        file.sync().map_err(failed)?;
        let Built { files, footer, .. } = self.sealing.finish(len, next_base, true, sealed_at);
        let Some(footer) = footer else { return Ok(Cleaned::Same) };
        let mut sums = [Sum { len, crc: footer.log_crc }; 3];
        for ((kind, bytes), sum) in files.into_iter().zip(&mut sums[1..]) {
            let Some(index) = create(log, base, SegmentFile::index(kind)).map_err(failed)? else {
                return Ok(Cleaned::Gone);
            };
            index.write_at(&bytes, 0).map_err(failed)?;
            index.sync().map_err(failed)?;
            progress.written += bytes.len() as u64;
            *sum = Sum::of_bytes(&bytes);
        }
        let _names = log.names();
        if log.is_retired() {
            return Ok(Cleaned::Gone);
        }
        log.files.sync_dir(&log.dir).map_err(failed)?;
        Ok(Cleaned::Ready(Ready { base, next_base, sums, footer, log: file }))
    }

    /// Removes what was written.
    pub(super) fn discard(self, log: &Log<F>) {
        if !matches!(self.written, Written::Nothing) {
            let _names = log.names();
            log.remove_cleaned(self.base);
        }
    }
}

impl<F: Files> fmt::Debug for Output<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("base", &self.base).field("len", &self.len).finish_non_exhaustive()
    }
}

/// At most so many segments are put together at once: for a moment all of them are mapped.
const ROW_MAX: usize = 256;
/// What `segment.index.bytes` counts for an entry.
const COUNTED_ENTRY_SIZE: u64 = 8;
/// Bytes of a write.
const WRITE_STEP: usize = 256 * 1024;
/// Bytes after which what was written is synced, so that no sync takes long.
const SYNC_STEP: u64 = 32 * 1024 * 1024;

/// Makes an empty file beside those of the segment at `base`; `None` if the topic is gone.
fn create<F: Files>(log: &Log<F>, base: Offset, file: SegmentFile) -> io::Result<Option<F::File>> {
    let _names = log.names();
    if log.is_retired() {
        return Ok(None);
    }
    let created = log.files.open(&cleaned_path(&log.dir, base, file), OpenMode::Create)?;
    created.set_len(0)?;
    Ok(Some(created))
}

/// Writes the buffer at `at`, and empties it.
fn write<H: FileHandle>(
    file: &H,
    buffer: &mut Vec<u8>,
    at: &mut u64,
    progress: &mut Progress,
) -> io::Result<()> {
    file.write_at(buffer, *at)?;
    let before = *at / SYNC_STEP;
    *at += buffer.len() as u64;
    progress.written += buffer.len() as u64;
    buffer.clear();
    if *at / SYNC_STEP > before { file.sync() } else { Ok(()) }
}
