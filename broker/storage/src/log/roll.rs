//! From one segment to the next.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use folio_record::Offset;

use super::active::{Active, Finished, MAPS, Prepared};
use super::append::{AppendError, Writer, failed};
use super::{Log, LogOptions};
use crate::files::{FileHandle, Files, OpenMode, is_exhausted, is_full};
use crate::partition_files::SegmentFile;
use crate::recovery::{Remains, move_away};

impl<F: Files> Log<F> {
    /// Closes the active segment, if there is one, and begins the next.
    pub(super) fn roll(&self, writer: &mut Writer<F>) -> Result<(), AppendError> {
        writer.check_lost(&self.dir)?;
        self.clear_remains(writer)?;
        let base = self.log_end();
        let options = self.options.load_full();
        let mut view = Vec::clone(&self.view.load_full());
        // One that is empty, and too small for what is to come: the next one takes its place, and the names of its
        // files.
        let mut empty = writer.active.take_if(|active| active.segment.base() == base);
        if let Some(empty) = &mut empty {
            empty.files = None;
            self.open.retire(empty.segment.take_maps());
        }
        // It has its last word to say, and its files are to be synced.
        self.wake(writer)?;
        let next = match self.begin(writer, base, &options) {
            Ok(next) => next,
            Err(source) => return Err(self.not_begun(writer, base, empty, source)),
        };
        if let Some(empty) = empty {
            view.pop();
            // What a reader has mapped of it meanwhile.
            self.open.retire(empty.segment.take_maps());
        }
        if let Some(active) = writer.active.take() {
            // Never told as a full disk: the log could not go on without the handles that would be lost here.
            let segment = Arc::clone(&active.segment);
            let Finished { sync, uncut } = active.finish().map_err(|source| self.broken(base, source))?;
            writer.uncut_indexes.extend(uncut);
            writer.unsynced.logs.extend(sync.first().map(|log| (segment.base(), Arc::clone(log))));
            writer.unsynced.files.extend(sync);
            self.open.retire(segment.take_indexes());
            self.may_give_way(&segment);
            self.note_end_of_segment(writer);
        }
        view.push(Arc::clone(&next.segment));
        self.view.store(Arc::new(view));
        self.has_opened(writer, next);
        Ok(())
    }

    /// Whether the last segment is so full that the next should be made ready. Takes no lock.
    pub fn wants_next_segment(&self) -> bool {
        let limit = u64::from(self.options.load().segment_bytes);
        let is_nearly_full = self.view.load().last().is_some_and(|last| last.end() >= limit / 4 * 3);
        is_nearly_full && !self.is_dormant() && !self.is_prepared.load(Ordering::Acquire)
    }

    /// Makes the next segment ready, so that whoever rolls need not wait for its files. For the maintenance thread.
    ///
    /// # Errors
    /// As for an append that rolls; a full disk only means that it is not done yet.
    pub fn prepare_next(&self) -> Result<(), AppendError> {
        let _names = self.names();
        if self.is_retired() || !self.wants_next_segment() {
            return Ok(());
        }
        self.check()?;
        self.open.make_room(MAPS);
        let made = Prepared::make(&*self.files, &self.dir, "next", &self.options.load());
        let made = made.and_then(|prepared| prepared.reserved(&*self.files));
        let prepared = made.map_err(|source| failed(&self.dir, self.log_end(), self.open.refused(source)))?;
        let mut writer = self.lock();
        if writer.is_dormant() || self.is_retired() {
            // It fell asleep meanwhile, and wants nothing ready.
            drop(writer);
            let maps = prepared.maps();
            let discarded = prepared.discard(&*self.files);
            self.open.retire(maps);
            return discarded.map_err(|source| self.broken(self.log_end(), source));
        }
        writer.prepared = Some(prepared);
        self.is_prepared.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn begin(&self, writer: &mut Writer<F>, base: Offset, options: &LogOptions) -> io::Result<Active<F>> {
        if let Some(unfit) = writer.prepared.take_if(|prepared| !prepared.fits(options)) {
            self.open.retire(unfit.maps());
            // What stays is removed by the next start.
            let _ = unfit.discard(&*self.files);
        }
        let prepared = writer.prepared.take();
        let begun = prepared.map(|prepared| prepared.begin(&*self.files, &self.dir, self.id, base));
        // Only now that its files have other names, or nobody has them: the next one is made under the same names by
        // a thread that does not have the writer's lock.
        self.is_prepared.store(false, Ordering::Release);
        if let Some(begun) = begun {
            writer.unsynced.new_names = true;
            return begun;
        }
        self.open.make_room(MAPS);
        let made = Prepared::make(&*self.files, &self.dir, &format!("{:020}", base.get()), options);
        let made = made.map_err(|source| self.open.refused(source))?;
        let active = made.begin(&*self.files, &self.dir, self.id, base)?;
        // Above all the name of the first segment: without a durable point there is nothing else to tell where a
        // log begins.
        self.files.sync_dir(&self.dir)?;
        Ok(active)
    }

    /// Leaves the log as it was before a segment could not be begun at `base`, where `empty` was, if there was one.
    fn not_begun(
        &self,
        writer: &mut Writer<F>,
        base: Offset,
        empty: Option<Active<F>>,
        source: io::Error,
    ) -> AppendError {
        let error = failed(&self.dir, base, source);
        if empty.is_some() {
            // Durable points and clean markers may speak of it, so its files stay; whether a name is that of an old
            // file or of a new one by now, nothing is in it. It is opened by those names when it is appended to.
            writer.active = empty;
            writer.unsynced.new_names = true;
            self.is_dormant.store(true, Ordering::Release);
            return error;
        }
        match self.take_back(base) {
            Ok(()) => error,
            // The names are gone, but perhaps not yet on disk: the next flush sees to that.
            Err(again) if is_exhausted(&again) => {
                writer.unsynced.new_names = true;
                error
            }
            // Nothing is in it: a start would find a log that ends there. Nothing may be appended before it, though.
            Err(again) if is_full(&again) => {
                writer.not_taken_back = Some(base);
                error
            }
            Err(source) => self.broken(base, source),
        }
    }

    /// Takes away what there was no room to take away when it should have gone: nothing may be written before.
    pub(super) fn clear_remains(&self, writer: &mut Writer<F>) -> Result<(), AppendError> {
        writer.cut_indexes().map_err(|source| self.broken(self.log_end(), source))?;
        if let Some(base) = writer.not_taken_back {
            self.take_back(base).map_err(|source| failed(&self.dir, base, source))?;
            writer.not_taken_back = None;
        }
        if !writer.remains.is_empty() {
            let base = writer.active.as_ref().map_or(self.log_end(), |active| active.segment.base());
            self.clear_remains_of_start(writer).map_err(|source| failed(&self.dir, base, source))?;
        }
        if let Some(active) = &mut writer.active
            && let Some(files) = &mut active.files
        {
            let base = active.segment.base();
            files.cut_rest().map_err(|source| failed(&self.dir, base, source))?;
        }
        Ok(())
    }

    /// The same of what the start has left: [`Remains`](crate::recovery::Remains). Nothing was appended since.
    fn clear_remains_of_start(&self, writer: &mut Writer<F>) -> io::Result<()> {
        move_away(&*self.files, &mut writer.remains.segments).1?;
        for path in &writer.remains.files {
            match self.files.remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.files.sync_dir(&self.dir)?;
        if let Some(active) = writer.active.as_ref().filter(|_| writer.remains.behind_end) {
            let file =
                self.files.open(&SegmentFile::Log.path(&self.dir, active.segment.base()), OpenMode::Write)?;
            file.set_len(active.segment.end())?;
            file.sync()?;
        }
        writer.remains = Remains::default();
        self.has_remains.store(false, Ordering::Release);
        Ok(())
    }

    /// Removes what a failed creation left. A smaller batch may still fit into the old segment, and the next start
    /// would find two segments that overlap.
    fn take_back(&self, base: Offset) -> io::Result<()> {
        for file in SegmentFile::ALL {
            match self.files.remove_file(&file.path(&self.dir, base)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.files.sync_dir(&self.dir)
    }

    pub(super) fn broken(&self, base: Offset, source: io::Error) -> AppendError {
        AppendError::Io { path: SegmentFile::Log.path(&self.dir, base), source }
    }
}
