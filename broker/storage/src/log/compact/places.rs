//! Putting a compacted segment in the place of those that it is made of, once the intent is written.
//!
//! A disk may have no room for it, not even to give a file another name or to take one away. Nothing is lost then, and
//! nothing is to be taken back, which would need room as well: the intent stands, and what is left is done by the next
//! who compacts the log or removes segments of it, or by the next start. Until the log of the new segment has its name,
//! readers find the old ones; from then on the new one. Meanwhile nobody else changes a file that the intent is about.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_mapped::SegmentMap;
use folio_record::Offset;

#[cfg(test)]
use crate::controls::{Protection, is_taken};
use crate::files::Files;
use crate::log::Log;
use crate::log::append::{AppendError, failed};
use crate::log::segment::Segment;
use crate::partition_files::SegmentFile;
use crate::replacement::Replacement;
use crate::trash::{TRASH_NAME, Trash};

/// A replacement whose intent stands. Whoever holds the names of a log holds it.
#[derive(Debug)]
pub(in crate::log) struct Unfinished {
    pub(super) replacement: Replacement,
    pub(super) intent: PathBuf,
    /// The segments that go.
    pub(super) row: Vec<Arc<Segment>>,
    pub(super) new: Arc<Segment>,
}

impl Unfinished {
    /// Where the segments begin that go.
    #[cfg(test)]
    pub(in crate::log) fn old(&self) -> &[Offset] {
        &self.replacement.old
    }

    /// Whether it is about the files of the segment that begins here.
    pub(in crate::log) fn is_about(&self, base: Offset) -> bool {
        #[cfg(test)]
        if is_taken(Protection::ReplacedAreLeftAlone) {
            return false;
        }
        self.replacement.old.contains(&base)
    }
}

impl<F: Files> Log<F> {
    /// Does what is left of a replacement, if there is one. Gives the maps of what is gone. `names` are held.
    ///
    /// # Errors
    /// As for an append that rolls: where the disk is full, the rest is for the next time.
    pub(in crate::log) fn finish_replacement(
        &self,
        names: &mut Option<Unfinished>,
        trash: &Trash,
    ) -> Result<Vec<Arc<SegmentMap>>, AppendError> {
        let Some(unfinished) = names.as_ref().filter(|_| !self.is_retired()) else { return Ok(Vec::new()) };
        self.check()?;
        let mut maps = Vec::new();
        if let Err(source) = self.take_places(unfinished, trash, &mut maps) {
            self.open.retire(maps);
            return Err(failed(&self.dir, unfinished.replacement.base, source));
        }
        *names = None;
        Ok(maps)
    }

    /// Whether a replacement that finds no room is about this segment. Nobody else makes its indexes anew then: they
    /// may be those of the one that is to come, and what is made cannot be put in their place.
    pub(in crate::log) fn is_being_replaced(&self, segment: &Segment) -> bool {
        self.names().as_ref().is_some_and(|unfinished| unfinished.is_about(segment.base()))
    }

    /// What a start would do as well if this were interrupted.
    fn take_places(
        &self,
        unfinished: &Unfinished,
        trash: &Trash,
        maps: &mut Vec<Arc<SegmentMap>>,
    ) -> io::Result<()> {
        let (files, replacement) = (&*self.files, &unfinished.replacement);
        replacement.take_names(files, &self.dir)?;
        self.show(unfinished, maps);
        for base in &replacement.old[1..] {
            for file in SegmentFile::ALL.into_iter().rev() {
                trash.discard(files, &file.path(&self.dir, *base))?;
            }
        }
        // What left one directory for another is gone once both are synced.
        files.sync_dir(Path::new(TRASH_NAME))?;
        files.sync_dir(&self.dir)?;
        files.remove_file(&unfinished.intent)?;
        files.sync_dir(&self.dir)
    }

    /// Has readers find the new segment, if they do not yet.
    fn show(&self, unfinished: &Unfinished, maps: &mut Vec<Arc<SegmentMap>>) {
        let Unfinished { row, new, .. } = unfinished;
        {
            let _writer = self.lock();
            let mut view = Vec::clone(&self.view.load_full());
            let Some(at) = self.find(row) else { return };
            view.splice(at..at + row.len(), [Arc::clone(new)]);
            self.view.store(Arc::new(view));
        }
        // Whoever found one of these and has not come to its files yet would meet those of another: it looks again.
        row.iter().for_each(|segment| segment.set_gone());
        maps.extend(row.iter().flat_map(|segment| segment.take_maps()));
    }

    /// Where the segments of `row` are, if all of them are still there.
    pub(super) fn find(&self, row: &[Arc<Segment>]) -> Option<usize> {
        let view = self.view.load();
        let at = view.iter().position(|segment| Arc::ptr_eq(segment, &row[0]))?;
        let there = view.get(at..at + row.len())?;
        there.iter().zip(row).all(|(segment, other)| Arc::ptr_eq(segment, other)).then_some(at)
    }
}
