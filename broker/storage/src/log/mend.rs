//! Indexes that were found missing or wrong, built anew from the log.
//!
//! The new file is complete and on stable storage before it takes the place of the old one; whoever has the old one
//! open keeps it, and finds in it what it found before.

use std::io;
use std::sync::Arc;

use super::Log;
use super::append::{AppendError, failed};
use super::lookup::Window;
use super::segment::Segment;
use crate::envelope::replace;
use crate::files::Files;
use crate::footer::Footer;
use crate::index::{IndexHeader, IndexKind, Indexer};
use crate::partition_files::SegmentFile;

/// The indexes of a segment as they should be.
pub(super) struct Built {
    pub(super) files: [(IndexKind, Vec<u8>); 2],
    pub(super) interval: u32,
    /// What stands behind the entries of the offset index, if the segment is sealed with them.
    pub(super) footer: Option<Footer>,
}

impl<F: Files> Log<F> {
    /// Builds the indexes of closed segments anew that were found not to lead where they should; returns of how many
    /// segments. For the maintenance thread.
    ///
    /// A segment whose log cannot be read from end to end keeps what it has.
    ///
    /// # Errors
    /// As for an append that rolls. Lookups do without the indexes meanwhile.
    pub fn mend_indexes(&self) -> Result<u64, AppendError> {
        let view = self.view.load_full();
        let closed = view.len().saturating_sub(1);
        let mut mended = 0;
        for segment in view[..closed].iter().filter(|segment| segment.is_suspect()) {
            // An index that is made of damage would vouch for it.
            if !segment.damaged().is_empty() {
                segment.trust();
                continue;
            }
            match self.build(segment) {
                Ok(built) => mended += u64::from(self.put(segment, built)?),
                Err(_) => segment.trust(),
            }
        }
        Ok(mended)
    }

    /// Both indexes as they should be.
    fn build(&self, segment: &Arc<Segment>) -> io::Result<Built> {
        let map = self.log_of(segment).map_err(io::Error::other)?;
        let window = Window::of(segment, &map);
        let interval = self.interval_of(segment);
        let (base, uid) = (segment.base(), segment.uid());
        let header = |kind| (kind, IndexHeader { kind, base, uid, interval }.encode().to_vec());
        let [mut offsets, mut times] = [header(IndexKind::Offset), header(IndexKind::Time)];
        let mut indexer = Indexer::new(base, interval);
        let (mut pos, mut due) = (0, base);
        while pos < window.end {
            let header = window.header(pos)?;
            if !window.may_follow(&header, due) {
                return Err(io::Error::other("a batch is missing"));
            }
            let numbers = (indexer.offset_entries(), indexer.time_entries());
            let place = u32::try_from(pos).map_err(io::Error::other)?;
            let indexed = indexer.batch(place, &header);
            offsets.1.extend(indexed.offset.iter().flat_map(|entry| entry.encode(uid, numbers.0)));
            times.1.extend(indexed.time.iter().flat_map(|entry| entry.encode(uid, numbers.1)));
            due = header.next_offset();
            pos += header.total_size() as u64;
        }
        let number = indexer.time_entries();
        times.1.extend(indexer.rolled().iter().flat_map(|entry| entry.encode(uid, number)));
        if let Some(max) = indexer.max_timestamp() {
            segment.set_max_timestamp(max.timestamp);
        }
        Ok(Built { files: [offsets, times], interval, footer: None })
    }

    /// What was begun at one interval is built anew at the same.
    pub(super) fn interval_of(&self, segment: &Segment) -> u32 {
        let stored = || {
            let kinds = [IndexKind::Offset, IndexKind::Time].into_iter();
            kinds.filter_map(|kind| self.index_of(segment, kind)).map(|index| index.interval()).next()
        };
        segment.interval().or_else(stored).unwrap_or(self.options.load().index_interval)
    }

    /// Lets new indexes take the place of the old ones; `false` if the segment is gone.
    pub(super) fn put(&self, segment: &Segment, built: Built) -> Result<bool, AppendError> {
        self.check()?;
        let _names = self.names();
        let is_there = self.view.load().iter().any(|other| std::ptr::eq(&**other, segment));
        if self.is_retired() || !is_there {
            return Ok(false);
        }
        // The offset index comes last: its footer vouches for both.
        for (kind, mut bytes) in built.files.into_iter().rev() {
            let path = SegmentFile::index(kind).path(&self.dir, segment.base());
            if kind == IndexKind::Offset {
                bytes.extend(built.footer.iter().flat_map(Footer::encode));
            }
            let replaced = replace(&*self.files, &path, &bytes);
            replaced.map_err(|source| failed(&self.dir, segment.base(), source))?;
        }
        segment.set_interval(built.interval);
        segment.trust();
        segment.set_sealed(built.footer.map(|footer| footer.sealed_at));
        Ok(true)
    }
}
