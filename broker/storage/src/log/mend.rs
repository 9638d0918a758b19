//! Indexes that were found missing or wrong, built anew from the log.
//!
//! The new file is complete and on stable storage before it takes the place of the old one; whoever has the old one
//! open keeps it, and finds in it what it found before. It goes in steps of a bounded size, like sealing.

use std::io;
use std::sync::Arc;

use folio_record::Offset;

use super::Log;
use super::append::{AppendError, failed};
use super::lookup::Window;
use super::segment::Segment;
use crate::envelope::{replace, try_room};
use crate::files::{FileHandle, Files, OpenMode, is_full};
use crate::footer::Footer;
use crate::index::{IndexHeader, IndexKind, Indexer};
use crate::partition_files::SegmentFile;

/// The indexes of a segment as they should be.
pub(super) struct Built {
    /// All bytes of each.
    pub(super) files: [(IndexKind, Vec<u8>); 2],
    pub(super) interval: u32,
    /// What the offset index ends with, if the segment is sealed with it.
    pub(super) footer: Option<Footer>,
}

/// The indexes of one segment, made anew in steps of a bounded size. Nothing is changed before the last one: who drops
/// it half-way has read in vain.
#[derive(Debug)]
pub struct Mend<F: Files> {
    log: Arc<Log<F>>,
    segment: Arc<Segment>,
    /// How far the log was read, and which offset is due there.
    at: u64,
    due: Offset,
    interval: u32,
    indexer: Indexer,
    offsets: Vec<u8>,
    times: Vec<u8>,
}

/// What became of the indexes of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mended {
    /// They are new.
    Anew,
    /// The log cannot be read from end to end, so that they stay as they are; or the segment is gone.
    Nothing,
}

impl<F: Files> Log<F> {
    /// Whether [`mend`](Self::mend) may have something to do. Takes no lock.
    pub fn wants_mend(&self) -> bool {
        self.view.load().windows(2).any(|pair| pair[0].is_suspect())
    }

    /// Begins to make the indexes of the oldest closed segment anew that were found not to lead where they should. For
    /// the maintenance thread.
    pub fn mend(&self) -> Option<Mend<F>> {
        let log = self.me.upgrade().filter(|log| !log.is_retired())?;
        let view = self.view.load_full();
        let segment = view.windows(2).map(|pair| &pair[0]).find(|segment| {
            // An index that is made of damage would vouch for it.
            if !segment.damaged().is_empty() {
                segment.trust();
            }
            segment.is_suspect() && !self.is_being_replaced(segment)
        })?;
        let (base, uid, interval) = (segment.base(), segment.uid(), self.interval_of(segment));
        let header = |kind| IndexHeader { kind, base, uid, interval }.encode().to_vec();
        Some(Mend {
            log,
            segment: Arc::clone(segment),
            at: 0,
            due: base,
            interval,
            indexer: Indexer::new(base, interval),
            offsets: header(IndexKind::Offset),
            times: header(IndexKind::Time),
        })
    }

    /// Makes all of them anew at one go; returns of how many segments.
    ///
    /// # Errors
    /// As [`Mend::step`].
    pub fn mend_indexes(&self) -> Result<u64, AppendError> {
        let mut segments = 0;
        while let Some(mut mend) = self.mend() {
            let mended = loop {
                if let Some(mended) = mend.step(u64::MAX)? {
                    break mended;
                }
            };
            segments += u64::from(mended == Mended::Anew);
        }
        Ok(segments)
    }
}

impl<F: Files> Mend<F> {
    /// Goes on over about `budget` bytes of log; at the end, puts the new indexes in their place. `None`: there is more
    /// to do. Waits for a disk.
    ///
    /// # Errors
    /// As for an append that rolls: it is over, and lookups do without the indexes until it is tried again.
    pub fn step(&mut self, budget: u64) -> Result<Option<Mended>, AppendError> {
        if self.at == 0 {
            self.log.look_for_room(&self.segment)?;
        }
        match self.read(budget) {
            Ok(true) => {
                let built = self.built();
                let is_there = self.log.put(&self.segment, built)?;
                // Of one that is gone nobody asks any more.
                self.segment.trust();
                Ok(Some(if is_there { Mended::Anew } else { Mended::Nothing }))
            }
            Ok(false) => Ok(None),
            Err(_) => {
                self.segment.trust();
                Ok(Some(Mended::Nothing))
            }
        }
    }

    /// Whether that was all.
    fn read(&mut self, budget: u64) -> io::Result<bool> {
        let map = self.log.log_of(&self.segment).map_err(io::Error::other)?;
        let window = Window::of(&self.segment, &map);
        let upto = self.at.saturating_add(budget.max(1));
        let uid = self.segment.uid();
        while self.at < window.end {
            if self.at >= upto {
                return Ok(false);
            }
            let header = window.header(self.at)?;
            if !window.may_follow(&header, self.due) {
                return Err(io::Error::other("a batch is missing"));
            }
            let numbers = (self.indexer.offset_entries(), self.indexer.time_entries());
            let place = u32::try_from(self.at).map_err(io::Error::other)?;
            let indexed = self.indexer.batch(place, &header);
            self.offsets.extend(indexed.offset.iter().flat_map(|entry| entry.encode(uid, numbers.0)));
            self.times.extend(indexed.time.iter().flat_map(|entry| entry.encode(uid, numbers.1)));
            self.due = header.next_offset();
            self.at += header.total_size() as u64;
        }
        Ok(true)
    }

    /// Both indexes as they should be.
    fn built(&mut self) -> Built {
        let number = self.indexer.time_entries();
        let last = self.indexer.rolled();
        self.times.extend(last.iter().flat_map(|entry| entry.encode(self.segment.uid(), number)));
        if let Some(max) = self.indexer.max_timestamp() {
            self.segment.set_max_timestamp(max.timestamp);
        }
        let [offsets, times] = [&mut self.offsets, &mut self.times].map(std::mem::take);
        let files = [(IndexKind::Offset, offsets), (IndexKind::Time, times)];
        Built { files, interval: self.interval, footer: None }
    }
}

impl<F: Files> Log<F> {
    /// What was begun at one interval is built anew at the same.
    pub(super) fn interval_of(&self, segment: &Segment) -> u32 {
        let stored = || {
            let kinds = [IndexKind::Offset, IndexKind::Time].into_iter();
            kinds.filter_map(|kind| self.index_of(segment, kind)).map(|index| index.interval()).next()
        };
        segment.interval().or_else(stored).unwrap_or(self.options.load().index_interval)
    }

    /// Where new indexes of a segment found no room, looks whether there is some by now: they take reading all of its
    /// log, and on a disk that stays full they would be made in vain again and again.
    pub(super) fn look_for_room(&self, segment: &Arc<Segment>) -> Result<(), AppendError> {
        let missed = segment.room_missed();
        if missed == 0 {
            return Ok(());
        }
        self.check()?;
        let _names = self.names();
        if !self.has_segment(segment) {
            // Whoever reads it finds that out.
            return Ok(());
        }
        let path = SegmentFile::OffsetIndex.path(&self.dir, segment.base());
        let tried = try_room(&*self.files, &path, missed);
        tried.map_err(|source| failed(&self.dir, segment.base(), source))
    }

    /// Lets new indexes take the place of the old ones; `false` if the segment is gone.
    pub(super) fn put(&self, segment: &Arc<Segment>, built: Built) -> Result<bool, AppendError> {
        self.check()?;
        let names = self.names();
        if names.as_ref().is_some_and(|unfinished| unfinished.is_about(segment.base())) {
            // Others are about to take the place of these, if there were room.
            return Err(AppendError::Full { dir: self.dir.clone() });
        }
        if !self.has_segment(segment) {
            return Ok(false);
        }
        let size = built.files.iter().map(|(_, bytes)| bytes.len()).sum();
        // The offset index comes last: its footer vouches for both.
        for (kind, bytes) in built.files.into_iter().rev() {
            let path = SegmentFile::index(kind).path(&self.dir, segment.base());
            replace(&*self.files, &path, &bytes).map_err(|source| {
                if is_full(&source) {
                    segment.miss_room(size);
                }
                failed(&self.dir, segment.base(), source)
            })?;
        }
        if built.footer.is_some() {
            let log = self.files.open(&SegmentFile::Log.path(&self.dir, segment.base()), OpenMode::Write);
            // The length that there is: what a roll could not give back, or did not come to, goes. Nothing depends on
            // it.
            let _ = log.and_then(|log| log.set_len(log.len()?));
        }
        segment.set_indexes(built.interval);
        segment.set_sealed(built.footer.map(|footer| footer.sealed_at));
        Ok(true)
    }
}
