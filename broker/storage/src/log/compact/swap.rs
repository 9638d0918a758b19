//! Deciding that a compacted segment takes the place of those that it is made of.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use folio_mapped::SegmentMap;
use folio_record::Offset;

use super::output::Ready;
use super::places::Unfinished;
use super::rewrite::Source;
use crate::compacted::{Compacted, compacted_path};
use crate::data_dir::DataDir;
use crate::envelope::replace;
use crate::files::{FileHandle, Files, is_exhausted, is_full, tmp_path};
use crate::log::Log;
use crate::log::append::{AppendError, failed};
use crate::log::segment::Segment;
use crate::partition_files::SegmentFile;
use crate::recovery::RecoveredSegment;
use crate::replacement::{Replacement, cleaned_path, intent_path};

impl<F: Files> Log<F> {
    /// Lets `ready` take the place of `row`; what ends before `end` is being compacted. Gives the maps of what is gone;
    /// `None` if the row is not in the log any more.
    pub(super) fn swap(
        &self,
        dir: &DataDir<F>,
        row: &[Source],
        ready: &Ready<F>,
        end: Offset,
    ) -> Result<Option<Vec<Arc<SegmentMap>>>, AppendError> {
        // An older slot than the one that lies behind all of this must not come back: it may name what is to go.
        dir.sync_slots().map_err(|error| AppendError::Io { path: error.path, source: error.source })?;
        // A start without the footer has to know that offsets are missing.
        if !self.note_compacted(|compacted| compacted.gaps_below = compacted.gaps_below.max(end))? {
            return Ok(None);
        }
        let mut names = self.names();
        let row: Vec<Arc<Segment>> = row.iter().map(|source| Arc::clone(&source.segment)).collect();
        if self.is_retired() || self.find(&row).is_none() {
            self.remove_cleaned(ready.base);
            return Ok(None);
        }
        let number = self.replacements.fetch_add(1, Ordering::Relaxed) + 1;
        let intent = intent_path(&self.dir, number);
        let old = row.iter().map(|segment| segment.base()).collect();
        let replacement =
            Replacement { base: ready.base, next_base: ready.next_base, files: ready.sums, old };
        self.commit(&intent, &replacement)?;
        let recovered = RecoveredSegment {
            base: ready.base,
            len: ready.footer.log_len,
            next_offset: ready.next_base,
            max_timestamp: Some(ready.footer.max_timestamp),
            sealed_at: Some(ready.footer.sealed_at),
            may_have_gaps: true,
        };
        let new = Arc::new(Segment::new(self.id, &recovered, number));
        let is_cold = row.iter().all(|segment| segment.log().is_none());
        *names = Some(Unfinished { replacement, intent, row, new });
        let maps = self.finish_replacement(&mut names, dir.trash())?;
        if is_cold {
            let _ = ready.log.drop_cache();
        }
        Ok(Some(maps))
    }

    /// Writes down how far the log is compacted; `false` if it is deleted.
    pub(super) fn note_compacted(&self, change: impl FnOnce(&mut Compacted)) -> Result<bool, AppendError> {
        let _names = self.names();
        if self.is_retired() {
            return Ok(false);
        }
        let mut compacted = **self.compacted.load();
        change(&mut compacted);
        if compacted != **self.compacted.load() || !self.is_compacted_written.load(Ordering::Relaxed) {
            let path = compacted_path(&self.dir);
            replace(&*self.files, &path, &compacted.encode()).map_err(|source| {
                if is_full(&source) {
                    let _ = self.files.remove_file(&tmp_path(&path));
                }
                failed(&self.dir, compacted.upto, source)
            })?;
            self.compacted.store(Arc::new(compacted));
            self.is_compacted_written.store(true, Ordering::Relaxed);
        }
        Ok(true)
    }

    /// Removes a segment that is not wanted in the end, as far as it is there. The caller holds the names.
    pub(super) fn remove_cleaned(&self, base: Offset) {
        // What stays is removed by the next start.
        for file in SegmentFile::ALL.into_iter().filter(|_| !self.is_retired()) {
            let _ = self.files.remove_file(&cleaned_path(&self.dir, base, file));
        }
    }

    /// Writes the intent. From then on the new segment is the one that counts.
    fn commit(&self, path: &Path, replacement: &Replacement) -> Result<(), AppendError> {
        let Err(source) = replace(&*self.files, path, &replacement.encode()) else { return Ok(()) };
        let is_begun = !matches!(self.files.entry(path), Ok(None));
        if (is_full(&source) || is_exhausted(&source)) && !is_begun {
            let _ = self.files.remove_file(&tmp_path(path));
            return Err(failed(&self.dir, replacement.base, source));
        }
        // Nobody knows whether it will be there after a crash.
        Err(self.broken(replacement.base, source))
    }
}
