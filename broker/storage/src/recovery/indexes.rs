//! What the index files of a segment should be, found out without changing them.
//!
//! An [`IndexPlan`] begins with as many entries of the files as can be trusted, is told the batches behind them, and
//! knows in the end which entries to keep and which to write.
//!
//! A file that cannot be read is as good as one that is missing. That the process has no descriptor or memory left to
//! read it by says nothing of the file: then there is no recovery.

mod stored;

use std::io;
use std::path::{Path, PathBuf};

use folio_record::{BatchHeader, Offset, Timestamp};

use super::Damage;
use crate::files::{FileHandle, Files, OpenMode, is_full};
use crate::index::{
    INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE, IndexHeader, IndexKind, Indexer, OffsetEntry, SegmentUid, TimeEntry,
    entry_position,
};
use crate::partition_files::SegmentFile;

pub(super) use stored::{Place, entries, floor, last_place};
use stored::{Stored, trusted};

/// How much of an index file is looked at before it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nothing: it is that of another log.
    Nothing,
    /// Its last entry: nothing can have been lost, for the page cache has survived, or everything was synced.
    LastEntry,
    /// Every entry: after a power cut any part of a file that was not synced may be missing.
    EveryEntry,
}

/// The indexes of one segment as they should be.
#[derive(Debug)]
pub(super) struct IndexPlan {
    base: Offset,
    uid: SegmentUid,
    interval: u32,
    indexer: Indexer,
    /// The offset of the batch that the last kept entry names; of the first one if there is none.
    resumes_with: Offset,
    /// What the last kept time entry has recorded.
    kept_time: Option<Timestamp>,
    offsets: Planned<OffsetEntry>,
    times: Planned<TimeEntry>,
    /// There was no room to make them.
    is_without: bool,
    /// Nor to take away what there is of them.
    stay: Vec<PathBuf>,
}

/// What becomes of one file.
#[derive(Debug)]
struct Planned<E> {
    /// The file is there, with a good header.
    is_found: bool,
    /// It has a footer.
    is_footed: bool,
    /// How many of its entries stay.
    keep: u32,
    /// What comes behind those.
    new: Vec<E>,
    /// How many entries the file has, if nothing but a footer comes behind them.
    whole: Option<u32>,
}

impl IndexPlan {
    /// Goes on behind the entries about batches below `upto` that the files have and that can be trusted.
    pub(super) fn resume<F: Files>(
        files: &F,
        dir: &Path,
        base: Offset,
        uid: SegmentUid,
        upto: u64,
        trust: Trust,
        interval: u32,
    ) -> Result<Self, Damage> {
        let offsets = Stored::find(files, dir, IndexKind::Offset, base, uid)?;
        let times = Stored::find(files, dir, IndexKind::Time, base, uid)?;
        let mut plan = Self {
            base,
            uid,
            interval,
            indexer: Indexer::new(base, interval),
            resumes_with: base,
            kept_time: None,
            offsets: Planned::new(offsets.as_ref(), trust),
            times: Planned::new(times.as_ref(), trust),
            is_without: false,
            stay: Vec::new(),
        };
        if let (Some(offsets), Some(times)) = (&offsets, &times)
            && offsets.interval == times.interval
        {
            // Whatever is asked for today: files that are as they were made are left alone.
            plan.interval = offsets.interval;
            plan.indexer = Indexer::new(base, offsets.interval);
        }
        if let (Some(offsets), Some(times)) = (offsets, times)
            && let Some((offset, time)) = trusted(uid, &offsets, &times, upto, trust)
            && let Some(resumes_with) = base.checked_add(i64::from(offset.0.rel_offset))
        {
            // What is kept goes on at the interval that it was begun with.
            plan.interval = offsets.interval;
            plan.indexer = Indexer::resume(base, offsets.interval, Some(offset), Some(time));
            plan.resumes_with = resumes_with;
            plan.kept_time = Some(time.0.max_timestamp);
            plan.offsets.keep = offset.1;
            plan.times.keep = time.1;
        }
        Ok(plan)
    }

    /// The same files, but believing nothing in them.
    pub(super) fn forget(mut self, interval: u32) -> Self {
        self.interval = interval;
        self.indexer = Indexer::new(self.base, interval);
        self.resumes_with = self.base;
        self.kept_time = None;
        self.offsets = Planned { keep: 0, new: Vec::new(), ..self.offsets };
        self.times = Planned { keep: 0, new: Vec::new(), ..self.times };
        self
    }

    /// Where batches have to be told from, and the offset that is due there.
    pub(super) fn start(&self) -> (u64, Offset) {
        (u64::from(self.indexer.resume_pos()), self.resumes_with)
    }

    /// A batch begins at `at`.
    pub(super) fn batch(&mut self, at: u64, header: &BatchHeader) {
        // A segment is never longer than a position can say; what a damaged file has beyond that is not indexed.
        let Ok(pos) = u32::try_from(at) else { return };
        let indexed = self.indexer.batch(pos, header);
        self.offsets.new.extend(indexed.offset);
        self.times.new.extend(indexed.time);
    }

    /// The segment is complete: another one follows.
    pub(super) fn rolled(&mut self) {
        self.times.new.extend(self.indexer.rolled());
    }

    /// The state after the last batch.
    pub(super) fn indexer(&self) -> &Indexer {
        &self.indexer
    }

    /// The state that agrees with the files, once they are written.
    pub(super) fn into_indexer(self) -> Indexer {
        self.indexer
    }

    /// Makes the files what they should be; says whether anything had to be changed.
    ///
    /// A full disk leaves them shorter than they should be, but right: the log goes on with fewer entries. Where it has
    /// no room even for a header, both files are missing: lookups walk the log, until the segment is closed and gets
    /// its indexes.
    pub(super) fn write<F: Files>(&mut self, files: &F, dir: &Path) -> io::Result<bool> {
        match self.try_write(files, dir) {
            Err(error) if is_full(&error) && self.offsets.is_found && self.times.is_found => {
                self.offsets.new.clear();
                self.times.new.clear();
                self.indexer.went_without(self.offsets.keep, self.times.keep, self.kept_time);
                match self.try_write(files, dir) {
                    Err(error) if is_full(&error) => self.do_without(files, dir),
                    outcome => outcome,
                }
            }
            Err(error) if is_full(&error) => self.do_without(files, dir),
            outcome => outcome,
        }
    }

    fn do_without<F: Files>(&mut self, files: &F, dir: &Path) -> io::Result<bool> {
        self.is_without = true;
        self.indexer.went_without(0, 0, None);
        self.stay = self.take_away(files, dir)?;
        Ok(false)
    }

    /// What there was no room even to take away, although the files are done without.
    pub(super) fn take_staying(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.stay)
    }

    /// Whether one of the files may be there only since they were written.
    pub(super) fn has_new_names(&self) -> bool {
        !(self.offsets.is_found && self.times.is_found)
    }

    /// Waits until both files are on stable storage, as far as there was room to make them.
    pub(super) fn sync<F: Files>(&self, files: &F, dir: &Path) -> io::Result<()> {
        for kind in [IndexKind::Offset, IndexKind::Time] {
            match files.open(&SegmentFile::index(kind).path(dir, self.base), OpenMode::Write) {
                Err(error) if self.is_without && error.kind() == io::ErrorKind::NotFound => {}
                opened => opened?.sync()?,
            }
        }
        Ok(())
    }

    /// One index without the other is not gone on with, and would pass for what is left of both: neither is better. One
    /// that vouches for its log stays. Gives what there is no room to take away.
    fn take_away<F: Files>(&self, files: &F, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let (mut may_come_back, mut stay) = (false, Vec::new());
        for (kind, is_found, is_footed) in [
            (IndexKind::Offset, self.offsets.is_found, self.offsets.is_footed),
            (IndexKind::Time, self.times.is_found, false),
        ] {
            let path = SegmentFile::index(kind).path(dir, self.base);
            if !is_footed && files.entry(&path)?.is_some() {
                match files.remove_file(&path) {
                    Err(error) if is_full(&error) => stay.push(path),
                    removed => removed.map(|()| may_come_back |= is_found)?,
                }
            }
        }
        // Entries about batches that were lost, as below.
        if may_come_back {
            files.sync_dir(dir)?;
        }
        Ok(stay)
    }

    fn try_write<F: Files>(&self, files: &F, dir: &Path) -> io::Result<bool> {
        let header =
            |kind| IndexHeader { kind, base: self.base, uid: self.uid, interval: self.interval }.encode();
        let path = SegmentFile::OffsetIndex.path(dir, self.base);
        let encode = |entry: &OffsetEntry, number| entry.encode(self.uid, number);
        let offsets = self.offsets.write(files, &path, header(IndexKind::Offset), encode)?;
        let path = SegmentFile::TimeIndex.path(dir, self.base);
        let encode = |entry: &TimeEntry, number| entry.encode(self.uid, number);
        let times = self.times.write(files, &path, header(IndexKind::Time), encode)?;
        Ok(offsets || times)
    }
}

impl<E> Planned<E> {
    fn new<H>(stored: Option<&Stored<H>>, trust: Trust) -> Self {
        // A header without entries is held against the one that is due, and so is all of what nobody believes.
        let is_whole = |stored: &&Stored<H>| stored.footer.is_some() || stored.is_whole && stored.count > 0;
        let whole = stored.filter(is_whole).filter(|_| trust != Trust::Nothing).map(|stored| stored.count);
        let is_footed = trust != Trust::Nothing && stored.is_some_and(|stored| stored.footer.is_some());
        Self { is_found: stored.is_some(), is_footed, keep: 0, new: Vec::new(), whole }
    }

    fn write<F: Files>(
        &self,
        files: &F,
        path: &Path,
        header: [u8; INDEX_HEADER_SIZE],
        encode: impl Fn(&E, u32) -> [u8; INDEX_ENTRY_SIZE],
    ) -> io::Result<bool> {
        let numbered = self.new.iter().zip(self.keep..);
        let entries: Vec<u8> = numbered.flat_map(|(entry, number)| encode(entry, number)).collect();
        let at = entry_position(self.keep);
        // What is kept stands under the header that it was found under.
        if self.whole == Some(self.keep) && entries.is_empty() {
            return Ok(false);
        }
        if self.is_found {
            let file = files.open(path, OpenMode::Read)?;
            if file.len()? == at + entries.len() as u64
                && holds(&file, &entries, at)
                // Kept entries stay under the header that they were found under.
                && (self.keep > 0 || holds(&file, &header, 0))
            {
                return Ok(false);
            }
        }
        let mut file = files.open(path, OpenMode::Create)?;
        if self.keep == 0 && file.read_at(&mut [0], 0).is_err() {
            // A disk that cannot read a page does not take a part of it either.
            drop(file);
            files.remove_file(path)?;
            path.parent().map_or(Ok(()), |dir| files.sync_dir(dir))?;
            file = files.open(path, OpenMode::Create)?;
        }
        let takes_back = file.len()? > at;
        if takes_back {
            file.set_len(at)?;
        }
        // In the place of another header it needs no room.
        let header = if self.keep == 0 { &header[..] } else { &[] };
        file.write_at(header, 0).and_then(|()| file.write_at(&entries, at))?;
        // Entries about batches that were lost look like those about the batches that will have their offsets. They
        // must not come back with the next crash.
        if takes_back {
            file.sync()?;
        }
        Ok(true)
    }
}

/// Whether a file has these bytes; not where it cannot be read.
fn holds<H: FileHandle>(file: &H, bytes: &[u8], at: u64) -> bool {
    let mut there = vec![0; bytes.len()];
    file.read_at(&mut there, at).is_ok_and(|read| read == bytes.len()) && there == bytes
}
