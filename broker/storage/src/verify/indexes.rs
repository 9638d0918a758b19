//! The index files of a segment, held against the batches as they are walked.
//!
//! Every entry that is there has to be true: an offset entry points at a batch that begins with its offset, a time
//! entry tells the latest time of all records up to its offset. An entry that could be there and is not is harmless:
//! lookups walk further, and a full disk may have left it out.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use folio_record::{Batch, LeaderEpoch, Offset, Timestamp};

use super::{Finding, Findings, Need, Severity};
use crate::files::{FileHandle, Files, OpenMode, parent};
use crate::footer::{FOOTER_SIZE, Footer};
use crate::index::{
    INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE, IndexHeader, IndexKind, Indexer, OffsetEntry, SegmentUid, TimeEntry,
    entries_in, entry_position,
};
use crate::partition_files::SegmentFile;
use crate::verdict::Fault;

/// Both indexes of one segment.
pub(super) struct Indexes<H> {
    base: Offset,
    offsets: Stored<H, OffsetEntry>,
    times: Stored<H, TimeEntry>,
    indexer: Indexer,
    /// The latest time and the last offset so far; `None` once damage in the log hides it.
    latest: Option<(Timestamp, Offset)>,
    /// Damage in the log hides what the indexes should be.
    is_partial: bool,
    footer: Option<Footer>,
    /// The offset index names a batch that is not there, or its footer speaks of no gaps where there is one.
    is_of_another: bool,
    /// There are entries as only a sealed segment has them.
    was_sealed: bool,
    log_len: u64,
    /// Of the log so far, and of what lies behind the last entry that should be there.
    log: crc32fast::Hasher,
    block: crc32fast::Hasher,
    proof: Proof,
}

/// How far the checksums of a sealed log vouch for what those of its batches do not cover. An epoch that is known by
/// other means is taken for what it should be.
struct Proof {
    log: crc32fast::Hasher,
    block: crc32fast::Hasher,
    /// Where the last block begins, and the offset that is due there.
    block_at: Due,
    /// Where the first block begins that nothing vouches for.
    doubtful: Option<Due>,
}

/// A place in a log file, and the offset that is due there.
pub(super) type Due = (u64, Offset);

/// One index file, entry by entry.
struct Stored<H, E> {
    path: PathBuf,
    file: Option<H>,
    uid: SegmentUid,
    decode: fn(&[u8; INDEX_ENTRY_SIZE], SegmentUid, u32) -> Option<E>,
    /// A crash may have left entries zero, or the file shorter or longer than its log.
    may_be_torn: bool,
    /// How much it matters that it is missing, or ends within its header.
    without: Severity,
    /// Entries in the file, and how many of them were read.
    count: u32,
    footer: Option<Footer>,
    read: u32,
    window: Vec<u8>,
    next: Option<(u32, E)>,
    damaged: Tally,
    zero: Tally,
    untrue: Tally,
    beyond: Tally,
    /// Those that could be there, by where they would stand.
    absent: Tally,
}

/// How many entries, and which was the first.
#[derive(Default)]
struct Tally {
    count: u32,
    first: u32,
}

/// Whether an index was never made, or not even its header.
fn has_no_header<F: Files>(files: &F, path: &Path) -> bool {
    match files.open(path, OpenMode::Read).and_then(|file| file.len()) {
        Ok(len) => len < INDEX_HEADER_SIZE as u64,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

impl<H: FileHandle> Indexes<H> {
    /// `may_be_torn`: nothing says that the files were synced.
    pub(super) fn open<F: Files<File = H>>(
        files: &F,
        dir: &Path,
        base: Offset,
        uid: SegmentUid,
        may_be_torn: bool,
        findings: &mut Findings<'_>,
    ) -> Self {
        let path = |kind| SegmentFile::index(kind).path(dir, base);
        // On a full disk a segment goes without either, until it is closed and there is room; also over a clean stop.
        let is_without =
            [IndexKind::Offset, IndexKind::Time].iter().all(|kind| has_no_header(files, &path(*kind)));
        let without = if is_without && !may_be_torn {
            Severity::Harmless
        } else {
            Severity::unless_crashed(may_be_torn)
        };
        let mut offsets =
            Stored::new(path(IndexKind::Offset), uid, OffsetEntry::decode, may_be_torn, without);
        let mut times = Stored::new(path(IndexKind::Time), uid, TimeEntry::decode, may_be_torn, without);
        let interval = offsets.open(files, IndexKind::Offset, findings);
        let interval_of_times = times.open(files, IndexKind::Time, findings);
        let indexer = Indexer::new(base, interval.or(interval_of_times).unwrap_or(u32::MAX));
        let footer = offsets.footer;
        let (log, block) = (crc32fast::Hasher::new(), crc32fast::Hasher::new());
        Self {
            base,
            offsets,
            times,
            indexer,
            latest: None,
            is_partial: false,
            footer,
            is_of_another: false,
            was_sealed: false,
            log_len: 0,
            log,
            block,
            proof: Proof::new(base),
        }
    }

    /// A batch lies at `at`, where `due` is due. Of which epoch it should be, if anything says so.
    pub(super) fn batch(&mut self, (at, due): Due, batch: &Batch<'_>, epoch: Option<LeaderEpoch>) {
        let header = batch.header();
        let Ok(pos) = u32::try_from(at) else { return };
        let wanted = self.indexer.batch(pos, header);
        let (base, is_partial) = (self.base, self.is_partial);
        self.was_sealed |= self.offsets.next.is_some_and(|(_, entry)| entry.block_crc != 0);
        let (is_sealed, block_crc) = (self.footer.is_some(), self.block.clone().finalize());
        let (proof_crc, mut is_proven) = (self.proof.block.clone().finalize(), false);
        let is_gap = header.base_offset > due;
        self.is_of_another |= is_gap && self.footer.is_some_and(|footer| !footer.has_gaps);
        let (untrue, mut is_named) = (self.offsets.untrue.count, false);
        let is_there = self.offsets.meet(
            |entry| entry.pos.cmp(&pos),
            |entry| {
                is_proven = entry.block_crc == proof_crc;
                let is_block =
                    entry.block_crc == block_crc || is_partial || !is_sealed && entry.block_crc == 0;
                is_named = entry.names(base, header);
                is_named && is_block
            },
        );
        let is_another_block = u32::from(is_named && !is_there);
        self.is_of_another |= self.offsets.untrue.count > untrue + is_another_block;
        if wanted.offset.is_some() {
            self.block = crc32fast::Hasher::new();
            self.proof.next_block((at, due), is_proven);
        }
        self.proof.add(batch.bytes(), epoch.unwrap_or(header.leader_epoch));
        self.block.update(batch.bytes());
        self.log.update(batch.bytes());
        self.log_len = at + header.total_size() as u64;
        if wanted.offset.is_some() && !is_there {
            self.offsets.miss();
        }
        self.speak_for_all_so_far(wanted.time.is_some());
        // What a header without records says of their times is no record's.
        let own = if header.count > 0 { header.max_timestamp } else { Timestamp::new(i64::MIN) };
        let timestamp = self.latest.map_or(own, |(latest, _)| latest.max(own));
        self.latest = Some((timestamp, header.last_offset()));
    }

    /// Up to byte `upto` and offset `offset` the log is damaged.
    pub(super) fn damaged(&mut self, upto: u64, offset: Option<Offset>) {
        self.is_partial = true;
        let pos = u32::try_from(upto).unwrap_or(u32::MAX);
        while self.offsets.next.is_some_and(|(_, entry)| entry.pos < pos) {
            self.offsets.advance();
        }
        let next = offset.map_or(u32::MAX, |offset| relative(self.base, offset));
        while self.times.next.is_some_and(|(_, entry)| entry.rel_offset < next) {
            self.times.advance();
        }
    }

    /// The log is read, offsets may be missing in it, and the next segment begins at `next_base`: what says that there
    /// was more behind it. A start asks the same of an index, whether it can be the one of this log, by code of its own
    /// (`recovery::sealed`), and `log/tests/stale.rs` puts both before the same directories.
    pub(super) fn missing(&self, next_base: Offset) -> Option<Fault> {
        let is_in_last = |entry: OffsetEntry| u64::from(entry.pos) < self.log_len;
        let is_of_another =
            self.is_of_another || self.offsets.next.is_some_and(|(_, entry)| is_in_last(entry));
        let footer = self.footer.filter(|_| !self.is_partial && !is_of_another)?;
        let ends = footer.next_offset;
        match footer.log_len.cmp(&self.log_len) {
            Ordering::Greater => Some(Fault::UnlikeFooter),
            Ordering::Equal if ends < next_base => Some(Fault::Hole { ends, next_base }),
            _ => None,
        }
    }

    /// From where on it is in doubt which offsets the batches had, of a log of `len` bytes whose footer is this.
    /// `is_read`: all of it was; if not, one of the batches so far, or the next, has another offset for sure.
    pub(super) fn doubtful(&self, len: u64, is_read: bool) -> Option<Due> {
        let footer = self.footer.filter(|footer| footer.log_len == len && !self.is_partial)?;
        let is_as_sealed = is_read && self.proof.log.clone().finalize() == footer.log_crc;
        (!is_as_sealed).then(|| self.proof.doubtful.unwrap_or(self.proof.block_at))
    }

    /// The log is read. `next_base`: another segment follows, from there on.
    pub(super) fn finish(
        mut self,
        next_base: Option<Offset>,
        may_have_gaps: bool,
        findings: &mut Findings<'_>,
    ) {
        let wanted = next_base.and_then(|_| self.indexer.rolled());
        self.speak_for_all_so_far(wanted.is_some());
        let next = self.latest.map_or(self.base, |(_, last)| Offset::new(last.get().saturating_add(1)));
        let next = next_base.filter(|_| may_have_gaps).unwrap_or(next);
        if let Some(footer) = self.footer.filter(|_| !self.is_partial) {
            let found = (self.log_len, self.log.finalize(), self.block.finalize(), next);
            let told = (footer.log_len, footer.log_crc, footer.tail_crc, footer.next_offset);
            if found != told {
                let what =
                    "the footer does not tell this log: something changed that no checksum of a batch covers";
                let finding = Finding::new(Severity::Damage, &self.offsets.path, what);
                let finding = finding.at(footer.lies_at()).of_bytes(FOOTER_SIZE as u64);
                findings.add_with(finding, self.offsets.need());
            }
        }
        if self.footer.is_none() && self.was_sealed {
            let what = "the footer is missing: the segment is sealed once more";
            let finding = Finding::new(Severity::Harmless, &self.offsets.path, what);
            findings.add(finding.at(entry_position(self.offsets.count)).of_bytes(0));
        }
        self.offsets.tell(self.is_partial, findings);
        self.times.tell(self.is_partial, findings);
    }

    /// Time entries about everything before this place.
    fn speak_for_all_so_far(&mut self, is_wanted: bool) {
        let Some((latest, last)) = self.latest else { return };
        let (rel_offset, is_partial) = (relative(self.base, last), self.is_partial);
        let is_there = self.times.meet(
            |entry| entry.rel_offset.cmp(&rel_offset),
            |entry| entry.max_timestamp == latest || is_partial,
        );
        if is_wanted && !is_there {
            self.times.miss();
        }
    }
}

impl Proof {
    fn new(base: Offset) -> Self {
        let (log, block) = (crc32fast::Hasher::new(), crc32fast::Hasher::new());
        Self { log, block, block_at: (0, base), doubtful: None }
    }

    /// A block begins; whether its entry vouches for the one before.
    fn next_block(&mut self, at: Due, is_proven: bool) {
        if !is_proven {
            self.doubtful.get_or_insert(self.block_at);
        }
        (self.block, self.block_at) = (crc32fast::Hasher::new(), at);
    }

    fn add(&mut self, batch: &[u8], epoch: LeaderEpoch) {
        let (before, rest) = batch.split_at(EPOCH_AT);
        for part in [before, &epoch.get().to_be_bytes(), &rest[size_of::<i32>()..]] {
            self.log.update(part);
            self.block.update(part);
        }
    }
}

impl<H: FileHandle, E: Copy> Stored<H, E> {
    fn new(
        path: PathBuf,
        uid: SegmentUid,
        decode: fn(&[u8; INDEX_ENTRY_SIZE], SegmentUid, u32) -> Option<E>,
        may_be_torn: bool,
        without: Severity,
    ) -> Self {
        Self {
            path,
            file: None,
            uid,
            decode,
            may_be_torn,
            without,
            count: 0,
            footer: None,
            read: 0,
            window: Vec::new(),
            next: None,
            damaged: Tally::default(),
            zero: Tally::default(),
            untrue: Tally::default(),
            beyond: Tally::default(),
            absent: Tally::default(),
        }
    }

    /// Opens the file and checks its header; gives the interval at which it was made.
    fn open<F: Files<File = H>>(
        &mut self,
        files: &F,
        kind: IndexKind,
        findings: &mut Findings<'_>,
    ) -> Option<u32> {
        let severity = Severity::unless_crashed(self.may_be_torn);
        let opened = files.open(&self.path, OpenMode::Read).and_then(|file| {
            let mut header = [0; INDEX_HEADER_SIZE];
            let read = file.read_at(&mut header, 0)?;
            Ok((file.len()?, header, read, file))
        });
        let (len, header, read, file) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let what = "the index is missing; the next start builds it anew";
                findings.add_with(Finding::new(self.without, &self.path, what), self.need());
                return None;
            }
            Err(error) => {
                findings.damage(&self.path, format_args!("cannot be read: {error}"), self.need());
                return None;
            }
        };
        let interval = match IndexHeader::decode(&header[..read], kind, self.uid) {
            Ok(header) => header.interval,
            Err(error) => {
                // A header never lies in two sectors: it is there, or zero, or the file ends before it does.
                let is_zero = self.may_be_torn && header == [0; INDEX_HEADER_SIZE];
                let severity =
                    if read < INDEX_HEADER_SIZE { self.without } else { Severity::unless_crashed(is_zero) };
                let finding = Finding::new(severity, &self.path, format_args!("as an index, {error}"));
                findings.add_with(finding.at(0).of_bytes(len), self.need());
                return None;
            }
        };
        self.footer = match kind {
            IndexKind::Offset => Footer::read(&file, len, self.uid).ok().flatten(),
            IndexKind::Time => None,
        };
        self.count = self.footer.map_or(entries_in(len), |footer| footer.entries);
        let whole = self.footer.map_or(entry_position(self.count), |_| len);
        if len > whole {
            let finding = Finding::new(severity, &self.path, "the file ends inside an entry");
            findings.add_with(finding.at(whole).of_bytes(len - whole), self.need());
        }
        self.file = Some(file);
        self.advance();
        Some(interval)
    }

    /// Passes the entries that lie before a place where they have to be `true`; whether there is a true one there.
    fn meet(&mut self, compare: impl Fn(&E) -> Ordering, mut is_true: impl FnMut(&E) -> bool) -> bool {
        while let Some((number, entry)) = self.next {
            let place = compare(&entry);
            if place.is_gt() {
                return false;
            }
            self.advance();
            if place.is_eq() && is_true(&entry) {
                return true;
            }
            self.untrue.add(number);
        }
        false
    }

    /// An entry could be here that is not.
    fn miss(&mut self) {
        self.absent.add(self.next.map_or(self.count, |(number, _)| number));
    }

    /// The next entry that is intact.
    fn advance(&mut self) {
        self.next = None;
        while self.next.is_none() && self.read < self.count {
            let number = self.read;
            self.read += 1;
            let Some(bytes) = self.bytes(number) else { return self.damaged.add(number) };
            match (self.decode)(&bytes, self.uid, number) {
                Some(entry) => self.next = Some((number, entry)),
                None if bytes == [0; INDEX_ENTRY_SIZE] => self.zero.add(number),
                None => self.damaged.add(number),
            }
        }
    }

    fn bytes(&mut self, number: u32) -> Option<[u8; INDEX_ENTRY_SIZE]> {
        let within = number % WINDOW_ENTRIES;
        if within == 0 {
            let left = (self.count - number).min(WINDOW_ENTRIES);
            self.window.resize(left as usize * INDEX_ENTRY_SIZE, 0);
            let read = self.file.as_ref()?.read_at(&mut self.window, entry_position(number)).unwrap_or(0);
            self.window.truncate(read);
        }
        self.window.as_chunks().0.get(within as usize).copied()
    }

    /// It is built anew with the rest of the log that it belongs to.
    fn need(&self) -> Need {
        Need::Log(parent(&self.path).to_owned())
    }

    /// What was found in the file.
    fn tell(&mut self, is_partial: bool, findings: &mut Findings<'_>) {
        while let Some((number, _)) = self.next {
            if !is_partial {
                self.beyond.add(number);
            }
            self.advance();
        }
        let torn = Severity::unless_crashed(self.may_be_torn);
        for (tally, severity, what) in [
            (&self.damaged, Severity::Damage, "fails its checksum"),
            (&self.zero, torn, "is zero"),
            (&self.untrue, Severity::Damage, "is intact, and not what the log says"),
            (&self.beyond, torn, "is about what the log does not have"),
        ] {
            if tally.count == 0 {
                continue;
            }
            let others = match tally.count {
                1 => String::new(),
                count => format!(", and so do {} others behind it", count - 1),
            };
            let what = format!("entry {} {what}{others}", tally.first);
            let finding = Finding::new(severity, &self.path, what).at(entry_position(tally.first));
            let bytes = u64::from(tally.count) * INDEX_ENTRY_SIZE as u64;
            findings.add_with(finding.of_bytes(bytes), self.need());
        }
        let is_whole = self.damaged.count + self.zero.count + self.untrue.count == 0;
        if self.absent.count > 0 && !is_partial && is_whole && self.file.is_some() {
            let what = format!("{} entries are not there; lookups walk further", self.absent.count);
            let finding = Finding::new(Severity::Harmless, &self.path, what);
            findings.add(finding.at(entry_position(self.absent.first)).of_bytes(0));
        }
    }
}

impl Tally {
    fn add(&mut self, number: u32) {
        if self.count == 0 {
            self.first = number;
        }
        self.count += 1;
    }
}

fn relative(base: Offset, offset: Offset) -> u32 {
    u32::try_from(offset.get().saturating_sub(base.get())).unwrap_or(u32::MAX)
}

const WINDOW_ENTRIES: u32 = 4096;
/// Where the epoch lies in a batch.
const EPOCH_AT: usize = 12;
