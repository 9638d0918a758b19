//! A segment that is made ready to be appended to.
//!
//! A segment is made in two steps, because its name tells the first offset in it, which nobody knows before the
//! segment before it is full. [`Prepared::make`] creates, reserves and maps its three files under names that a start
//! takes for garbage; it may be done ahead of time. [`Prepared::begin`] gives them their names:
//!
//! ```text
//! <stem>.index.tmp      header written   ->  00000000000000123456.index
//! <stem>.timeindex.tmp  header written   ->  00000000000000123456.timeindex
//! <stem>.log.tmp                         ->  00000000000000123456.log         last: indexes alone are garbage
//! ```
//! No slot speaks of the segment before a sync of the directory has put the names on stable storage.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_mapped::SegmentMap;
use folio_record::Offset;

use super::{ALLOCATE_MAX, ALLOCATE_MIN, Active, OpenFiles, Shape};
use crate::files::{FileAppender, FileHandle, Files, OpenMode, is_exhausted, is_full, tmp_path};
use crate::index::{IndexHeader, IndexKind, Indexer};
use crate::log::LogOptions;
use crate::log::segment::Segment;
use crate::partition::PartitionId;
use crate::partition_files::SegmentFile;
use crate::recovery::RecoveredSegment;

/// A segment without a base offset yet.
#[derive(Debug)]
pub(in crate::log) struct Prepared<F: Files> {
    paths: [PathBuf; 3],
    appenders: [F::Appender; 3],
    /// Handles to sync log, offset index and time index by.
    sync: [Arc<F::File>; 3],
    shape: Shape,
}

impl<F: Files> Prepared<F> {
    /// Makes the files of a segment under the passing names that `stem` tells apart. After an error there are none.
    pub(in crate::log) fn make(files: &F, dir: &Path, stem: &str, options: &LogOptions) -> io::Result<Self> {
        let paths = SegmentFile::ALL.map(|file| tmp_path(&dir.join(stem).with_extension(file.extension())));
        Self::make_at(files, &paths, options).inspect_err(|error| clear(files, &paths, error))
    }

    fn make_at(files: &F, paths: &[PathBuf; 3], options: &LogOptions) -> io::Result<Self> {
        let shape = Shape::of(options);
        let make = |number: usize| -> io::Result<(F::Appender, Arc<F::File>)> {
            let handle = Arc::new(files.open(&paths[number], OpenMode::Create)?);
            handle.set_len(0)?;
            Ok((files.appender(&handle, shape.capacity(SegmentFile::ALL[number]), 0)?, handle))
        };
        let ((log, log_sync), (offsets, offsets_sync), (times, times_sync)) = (make(0)?, make(1)?, make(2)?);
        let sync = [log_sync, offsets_sync, times_sync];
        Ok(Self { paths: paths.clone(), appenders: [log, offsets, times], sync, shape })
    }

    /// Reserves as much as a log that has come so far will soon want. After an error its files are gone.
    pub(in crate::log) fn reserved(mut self, files: &F) -> io::Result<Self> {
        let upto = (self.shape.log / 32).clamp(ALLOCATE_MIN, ALLOCATE_MAX).min(self.shape.log);
        match self.appenders[0].allocate(upto) {
            Ok(()) => Ok(self),
            Err(error) => {
                clear(files, &self.paths, &error);
                Err(error)
            }
        }
    }

    /// Whether it is what `options` ask for.
    pub(in crate::log) fn fits(&self, options: &LogOptions) -> bool {
        self.shape == Shape::of(options)
    }

    /// Lets it begin at `base`. After an error, some of its files may have their new names, and the others are gone.
    pub(in crate::log) fn begin(
        self,
        files: &F,
        dir: &Path,
        id: PartitionId,
        base: Offset,
    ) -> io::Result<Active<F>> {
        let paths = self.paths.clone();
        self.begun(files, dir, id, base).inspect_err(|error| clear(files, &paths, error))
    }

    fn begun(self, files: &F, dir: &Path, id: PartitionId, base: Offset) -> io::Result<Active<F>> {
        let recovered = RecoveredSegment {
            base,
            len: 0,
            next_offset: base,
            max_timestamp: None,
            sealed_at: None,
            may_have_gaps: false,
        };
        let segment = Arc::new(Segment::new(id, &recovered, 0));
        let (uid, interval) = (segment.uid(), self.shape.interval);
        let [log, mut offsets, mut times] = self.appenders;
        for (kind, index) in [(IndexKind::Offset, &mut offsets), (IndexKind::Time, &mut times)] {
            index.append(&[IoSlice::new(&IndexHeader { kind, base, uid, interval }.encode())])?;
        }
        for (file, path) in SegmentFile::ALL.iter().zip(&self.paths).rev() {
            files.rename(path, &file.path(dir, base))?;
        }
        let indexer = Indexer::new(base, interval);
        let mut active = Active::dormant(segment, indexer, self.shape);
        active.open(OpenFiles::new(log, Some([offsets, times]), self.sync.to_vec()));
        Ok(active)
    }

    /// The maps of its files.
    pub(in crate::log) fn maps(&self) -> Vec<Arc<SegmentMap>> {
        self.appenders.iter().map(|appender| Arc::clone(appender.map())).collect()
    }

    /// Removes its files. Those that stay, because there is no room even for that, are written over by the next that
    /// are made ready, or removed by the next start.
    pub(in crate::log) fn discard(self, files: &F) -> io::Result<()> {
        let paths = self.paths.clone();
        drop(self);
        paths.iter().try_for_each(|path| match files.remove_file(path) {
            Err(error) if is_full(&error) => Ok(()),
            removed => removed,
        })
    }
}

/// Removes what was begun under passing names and is not wanted for want of room. After any other error nothing is
/// written any more, and the next start removes it.
fn clear<F: Files>(files: &F, paths: &[PathBuf; 3], error: &io::Error) {
    if is_full(error) || is_exhausted(error) {
        paths.iter().for_each(|path| drop(files.remove_file(path)));
    }
}
