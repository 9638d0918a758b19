//! What a log keeps of its producers beside the log: snapshots, so that a start need not read everything again.
//!
//! There is one of the end of every closed segment, one of a clean stop, and one whenever `snapshot_interval` bytes
//! have come since the last. Who appends only takes down what is to be written; the maintenance thread makes the file,
//! and the next flush takes it along to the disk. The last three are kept, for any of them may be lost with the power.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use folio_record::{Offset, Timestamp};

use super::Log;
use super::append::{AppendError, Writer};
use crate::files::{FileHandle, Files, OpenMode, is_exhausted, is_full};
use crate::partition_files::snapshot_path;
use crate::producers::ActiveProducer;

/// The snapshots of one log.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// The ends of the log that there are snapshots of, oldest first.
    ends: Vec<Offset>,
    /// Bytes appended since the last one.
    bytes_since: u64,
    /// That of the end of a segment, which is to be written.
    pending: Option<(Offset, Vec<u8>)>,
}

impl Snapshots {
    pub(super) fn new(ends: Vec<Offset>) -> Self {
        Self { ends, bytes_since: 0, pending: None }
    }

    /// More was appended; says whether that makes another snapshot due.
    pub(super) fn appended(&mut self, bytes: u64, interval: u64) -> bool {
        self.bytes_since += bytes;
        self.bytes_since >= interval
    }
}

impl<F: Files> Log<F> {
    /// The producers that number their batches and have not expired, by id. Waits for whoever appends.
    pub fn producers(&self) -> Vec<ActiveProducer> {
        self.lock().producers.active()
    }

    /// Forgets producers that have been silent for `producer.id.expiration.ms`; returns how many.
    pub fn expire_producers(&self, now: Timestamp) -> usize {
        let expiration_ms = self.options.load().producer_expiration_ms;
        self.lock().producers.expire(now, expiration_ms)
    }

    /// Whether a snapshot is due: a segment was closed, or much was appended since the last one. Takes no lock.
    pub fn wants_snapshot(&self) -> bool {
        self.wants_snapshot.load(Ordering::Relaxed)
    }

    /// Writes a snapshot of the producers: as they were when the last segment was closed, or else as they are now. For
    /// the maintenance thread.
    ///
    /// # Errors
    /// As for an append that rolls; a full disk only means that there is none.
    pub fn take_snapshot(&self) -> Result<(), AppendError> {
        let _names = self.names();
        if self.is_retired() {
            return Ok(());
        }
        self.check()?;
        let (end, bytes) = {
            let mut writer = self.lock();
            self.wants_snapshot.store(false, Ordering::Relaxed);
            writer.snapshots.pending.take().unwrap_or_else(|| {
                writer.snapshots.bytes_since = 0;
                (self.log_end(), writer.producers.encode())
            })
        };
        let written = self.write_snapshot("next", end, &bytes);
        let kept = written.and_then(|file| self.keep_snapshot(&mut self.lock(), end, file));
        kept.map_err(|source| AppendError::Io { path: snapshot_path(&self.dir, end), source })
    }

    /// Takes down what a snapshot of the end of a segment has to say.
    pub(super) fn note_end_of_segment(&self, writer: &mut Writer<F>) {
        writer.snapshots.bytes_since = 0;
        writer.snapshots.pending = Some((self.log_end(), writer.producers.encode()));
        self.wants_snapshot.store(true, Ordering::Relaxed);
    }

    /// Leaves a snapshot of the end of the log, unless there is one.
    pub(super) fn snapshot_end(&self, writer: &mut Writer<F>) -> io::Result<()> {
        let end = self.log_end();
        let is_empty = self.view.load().first().is_none_or(|first| first.base() == end);
        if is_empty || self.is_below_damage || writer.snapshots.ends.last() == Some(&end) {
            return Ok(());
        }
        let file = self.write_snapshot("end", end, &writer.producers.encode())?;
        self.keep_snapshot(writer, end, file)
    }

    /// Removes the snapshots of what lies below the first segment: nothing follows them any more.
    pub(super) fn drop_snapshots(&self, writer: &mut Writer<F>, first: Offset) -> io::Result<()> {
        let gone = writer.snapshots.ends.partition_point(|end| *end < first);
        let gone: Vec<Offset> = writer.snapshots.ends.drain(..gone).collect();
        gone.iter().try_for_each(|end| self.remove_snapshot(*end))
    }

    /// `None`: there was no room for it.
    fn write_snapshot(&self, stem: &str, end: Offset, bytes: &[u8]) -> io::Result<Option<Arc<F::File>>> {
        let tmp = self.dir.join(stem).with_extension("snapshot.tmp");
        match self.write_and_rename(&tmp, &snapshot_path(&self.dir, end), bytes) {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(error) if is_full(&error) || is_exhausted(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file is a new one. Another snapshot that found no room to be renamed may lie there, on the disk by now; and
    /// since nobody waits for the bytes of this one, a power cut could leave those of that one under its name: of fewer
    /// batches, with nothing wrong about them.
    fn write_and_rename(&self, tmp: &Path, path: &Path, bytes: &[u8]) -> io::Result<F::File> {
        let file = match self.files.open(tmp, OpenMode::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.files.remove_file(tmp)?;
                self.files.open(tmp, OpenMode::CreateNew)?
            }
            opened => opened?,
        };
        file.write_at(bytes, 0)?;
        self.files.rename(tmp, path)?;
        Ok(file)
    }

    /// Has the next flush sync a snapshot, and removes the oldest if there are too many.
    fn keep_snapshot(
        &self,
        writer: &mut Writer<F>,
        end: Offset,
        file: Option<Arc<F::File>>,
    ) -> io::Result<()> {
        let Some(file) = file else { return Ok(()) };
        writer.unsynced.files.push(file);
        writer.unsynced.new_names = true;
        let ends = &mut writer.snapshots.ends;
        // One of a later end may have been written meanwhile by whoever appends.
        if let Err(place) = ends.binary_search(&end) {
            ends.insert(place, end);
        }
        let too_many = ends.len().saturating_sub(SNAPSHOTS_KEPT);
        let gone: Vec<Offset> = ends.drain(..too_many).collect();
        gone.iter().try_for_each(|end| self.remove_snapshot(*end))
    }

    /// Where there is no room even for that, one more stays than is wanted.
    fn remove_snapshot(&self, end: Offset) -> io::Result<()> {
        match self.files.remove_file(&snapshot_path(&self.dir, end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && !is_full(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// How many snapshots there are at most.
pub const SNAPSHOTS_KEPT: usize = 3;
