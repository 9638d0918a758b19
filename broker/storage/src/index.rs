//! The two indexes of a segment: where a batch lies, and from where on records may be as late as some time.
//!
//! ```text
//!  header  0      4         6      7       8             16            24               28        32
//!  (32)    | LIX1 | edition | kind | flags | base offset | segment uid | interval bytes | crc(0..28) |
//!
//!  offset  0            4     8           12          16        time   0               8            12          16
//!  entry   | rel offset | pos | block crc | entry crc |         entry  | max timestamp | rel offset | entry crc |
//! ```
//! Big-endian; all checksums are CRC-32 (IEEE). The CRC of an entry covers the segment uid, the number of the entry
//! and its first 12 bytes: an entry of another segment, or in another place, is not an entry here.
//!
//! * An offset entry says that the batch at `pos` begins at `base offset + rel offset`. There is one for the first
//!   batch that begins `interval bytes` or more after the batch of the entry before it (the first batch of the
//!   file, which needs none, counts as an entry). `block crc` is 0 until the segment is sealed.
//! * A time entry says that no record up to and including `base offset + rel offset` is later than
//!   `max timestamp`. One is made together with an offset entry, about all before its batch, and one about
//!   everything when the segment is rolled; but only if the maximum has grown.
//!
//! Invariants: entries strictly increase in both fields, and are what [`Indexer`] makes of the batches, byte for
//! byte, whoever drives it: an append, a recovery or a rebuild. The end of an index may be missing after a crash;
//! an index never leads its log.

use folio_record::{BatchHeader, Offset, Timestamp};
use thiserror::Error;

use crate::layout::{field, put};
use crate::partition::PartitionId;

/// Which of the two indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// Where batches lie.
    Offset,
    /// How late records are.
    Time,
}

/// Which segment an index belongs to; the same in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentUid(u64);

/// The header of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexHeader {
    /// Which index.
    pub kind: IndexKind,
    /// First offset that the segment can hold.
    pub base: Offset,
    /// Which segment.
    pub uid: SegmentUid,
    /// Bytes of log between entries, at least.
    pub interval: u32,
}

/// An entry of an offset index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Base offset of the batch less that of the segment.
    pub rel_offset: u32,
    /// Where the batch begins in the log.
    pub pos: u32,
    /// CRC-32 of the log from the entry before to this one, once the segment is sealed; 0 before.
    pub block_crc: u32,
}

/// An entry of a time index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    /// The latest timestamp so far.
    pub max_timestamp: Timestamp,
    /// The last offset that it speaks for, less the base offset of the segment.
    pub rel_offset: u32,
}

/// Why bytes are not the index that was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IndexError {
    /// Cut, damaged, or no index.
    #[error("its header is damaged")]
    Header,
    /// An intact index of something else.
    #[error("it belongs to another segment")]
    Foreign,
    /// Of an edition that this build does not know.
    #[error("it is of edition {0}")]
    Newer(u16),
}

/// Decides which entries there are. Told every batch of a segment in order, it gives the same entries always.
#[derive(Debug, Clone)]
pub struct Indexer {
    base: Offset,
    interval: u32,
    /// Where the batch of the last offset entry begins.
    entry_pos: u32,
    offset_entries: u32,
    time_entries: u32,
    /// The maximum that the last time entry has recorded.
    recorded: Option<Timestamp>,
    max: Option<MaxTimestamp>,
    last_offset: Option<Offset>,
}

/// The latest timestamp of a segment so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxTimestamp {
    /// The timestamp.
    pub timestamp: Timestamp,
    /// Base offset of the first batch that reaches it.
    pub batch: Offset,
}

/// What one batch adds to the indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indexed {
    /// To the offset index.
    pub offset: Option<OffsetEntry>,
    /// To the time index.
    pub time: Option<TimeEntry>,
}

impl SegmentUid {
    /// Of the segment with this base offset. `generation` tells a compacted segment from the ones it replaces.
    pub fn new(partition: PartitionId, base: Offset, generation: u32) -> Self {
        // FNV-1a: it only has to differ between segments, and must never change.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let parts: [&[u8]; 4] = [
            partition.topic.as_bytes(),
            &partition.partition.to_be_bytes(),
            &base.get().to_be_bytes(),
            &generation.to_be_bytes(),
        ];
        for byte in parts.into_iter().flatten() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(hash)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl IndexHeader {
    /// The bytes of the header.
    pub fn encode(&self) -> [u8; INDEX_HEADER_SIZE] {
        let mut bytes = [0; INDEX_HEADER_SIZE];
        put(&mut bytes, MAGIC_AT, &INDEX_MAGIC);
        put(&mut bytes, EDITION_AT, &INDEX_EDITION.to_be_bytes());
        bytes[KIND_AT] = match self.kind {
            IndexKind::Offset => 1,
            IndexKind::Time => 2,
        };
        put(&mut bytes, BASE_AT, &self.base.get().to_be_bytes());
        put(&mut bytes, UID_AT, &self.uid.0.to_be_bytes());
        put(&mut bytes, INTERVAL_AT, &self.interval.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        put(&mut bytes, HEADER_CRC_AT, &crc.to_be_bytes());
        bytes
    }

    /// Reads the header of an index of segment `uid`.
    pub fn decode(bytes: &[u8], kind: IndexKind, uid: SegmentUid) -> Result<Self, IndexError> {
        let bytes = bytes.first_chunk::<INDEX_HEADER_SIZE>().ok_or(IndexError::Header)?;
        let crc = u32::from_be_bytes(field(bytes, HEADER_CRC_AT));
        if field(bytes, MAGIC_AT) != INDEX_MAGIC || crc != crc32fast::hash(&bytes[..HEADER_CRC_AT]) {
            return Err(IndexError::Header);
        }
        let edition = u16::from_be_bytes(field(bytes, EDITION_AT));
        if edition != INDEX_EDITION {
            return Err(IndexError::Newer(edition));
        }
        let header = Self {
            kind,
            base: Offset::new(i64::from_be_bytes(field(bytes, BASE_AT))),
            uid,
            interval: u32::from_be_bytes(field(bytes, INTERVAL_AT)),
        };
        if *bytes == header.encode() { Ok(header) } else { Err(IndexError::Foreign) }
    }
}

impl OffsetEntry {
    /// The bytes of entry `number` of the segment.
    pub fn encode(&self, uid: SegmentUid, number: u32) -> [u8; INDEX_ENTRY_SIZE] {
        let mut bytes = [0; INDEX_ENTRY_SIZE];
        put(&mut bytes, 0, &self.rel_offset.to_be_bytes());
        put(&mut bytes, 4, &self.pos.to_be_bytes());
        put(&mut bytes, 8, &self.block_crc.to_be_bytes());
        finish_entry(bytes, uid, number)
    }

    /// Reads entry `number`; `None` if it is damaged, or not this segment's entry of this number.
    pub fn decode(bytes: &[u8; INDEX_ENTRY_SIZE], uid: SegmentUid, number: u32) -> Option<Self> {
        check_entry(bytes, uid, number)?;
        Some(Self {
            rel_offset: u32::from_be_bytes(field(bytes, 0)),
            pos: u32::from_be_bytes(field(bytes, 4)),
            block_crc: u32::from_be_bytes(field(bytes, 8)),
        })
    }
}

impl OffsetEntry {
    /// Whether this is the header of the batch that it names, in the segment at `base`.
    pub fn names(&self, base: Offset, header: &BatchHeader) -> bool {
        base.checked_add(i64::from(self.rel_offset)) == Some(header.base_offset)
    }
}

impl TimeEntry {
    /// The bytes of entry `number` of the segment.
    pub fn encode(&self, uid: SegmentUid, number: u32) -> [u8; INDEX_ENTRY_SIZE] {
        let mut bytes = [0; INDEX_ENTRY_SIZE];
        put(&mut bytes, 0, &self.max_timestamp.get().to_be_bytes());
        put(&mut bytes, 8, &self.rel_offset.to_be_bytes());
        finish_entry(bytes, uid, number)
    }

    /// Reads entry `number`; `None` if it is damaged, or not this segment's entry of this number.
    pub fn decode(bytes: &[u8; INDEX_ENTRY_SIZE], uid: SegmentUid, number: u32) -> Option<Self> {
        check_entry(bytes, uid, number)?;
        Some(Self {
            max_timestamp: Timestamp::new(i64::from_be_bytes(field(bytes, 0))),
            rel_offset: u32::from_be_bytes(field(bytes, 8)),
        })
    }
}

impl Indexer {
    /// Of an empty segment.
    pub fn new(base: Offset, interval: u32) -> Self {
        Self {
            base,
            interval,
            entry_pos: 0,
            offset_entries: 0,
            time_entries: 0,
            recorded: None,
            max: None,
            last_offset: None,
        }
    }

    /// Goes on behind entries that are in the files. `offset` and `time` are the last ones and how many there are;
    /// the time entry is about exactly what lies before the batch of the offset entry, or before an earlier one.
    /// The next batch to be told is the one at [`resume_pos`](Self::resume_pos).
    pub fn resume(
        base: Offset,
        interval: u32,
        offset: Option<(OffsetEntry, u32)>,
        time: Option<(TimeEntry, u32)>,
    ) -> Self {
        let mut indexer = Self::new(base, interval);
        if let Some((entry, count)) = offset {
            indexer.entry_pos = entry.pos;
            indexer.offset_entries = count;
        }
        if let Some((entry, count)) = time {
            let last = Offset::new(base.get() + i64::from(entry.rel_offset));
            indexer.time_entries = count;
            indexer.recorded = Some(entry.max_timestamp);
            // Which batch reached it is not in the entry; the last one that it speaks for will do as a bound.
            indexer.max = Some(MaxTimestamp { timestamp: entry.max_timestamp, batch: last });
            indexer.last_offset = Some(last);
        }
        indexer
    }

    /// Bytes of log between entries, at least.
    pub fn interval(&self) -> u32 {
        self.interval
    }

    /// Where the batch lies that the last offset entry is about: after [`resume`](Self::resume), batches are told
    /// from here on.
    pub fn resume_pos(&self) -> u32 {
        self.entry_pos
    }

    /// A batch begins at `pos`. Says what to add to the indexes.
    pub fn batch(&mut self, pos: u32, header: &BatchHeader) -> Indexed {
        let mut indexed = Indexed::default();
        if pos >= self.entry_pos.saturating_add(self.interval) {
            indexed.offset =
                Some(OffsetEntry { rel_offset: self.relative(header.base_offset), pos, block_crc: 0 });
            indexed.time = self.grown();
            self.entry_pos = pos;
            self.offset_entries += 1;
        }
        // What a header without records says of their times is no record's.
        let timestamp = header.max_timestamp;
        if header.count > 0 && self.max.is_none_or(|max| timestamp > max.timestamp) {
            self.max = Some(MaxTimestamp { timestamp, batch: header.base_offset });
        }
        self.last_offset = Some(header.last_offset());
        indexed
    }

    /// The segment is full: the entry about all of it, if the maximum has grown since the last.
    pub fn rolled(&mut self) -> Option<TimeEntry> {
        self.grown()
    }

    /// The files took no more entries than these: later ones go behind them, and lookups walk further meanwhile.
    pub fn went_without(&mut self, offset_entries: u32, time_entries: u32, recorded: Option<Timestamp>) {
        self.offset_entries = offset_entries;
        self.time_entries = time_entries;
        self.recorded = recorded;
    }

    /// The maximum that the last time entry has recorded.
    pub fn recorded(&self) -> Option<Timestamp> {
        self.recorded
    }

    /// The latest timestamp so far.
    pub fn max_timestamp(&self) -> Option<MaxTimestamp> {
        self.max
    }

    /// Entries of the offset index so far.
    pub fn offset_entries(&self) -> u32 {
        self.offset_entries
    }

    /// Entries of the time index so far.
    pub fn time_entries(&self) -> u32 {
        self.time_entries
    }

    fn grown(&mut self) -> Option<TimeEntry> {
        let (max, last) = (self.max?.timestamp, self.last_offset?);
        if self.recorded.is_some_and(|recorded| recorded >= max) {
            return None;
        }
        self.recorded = Some(max);
        self.time_entries += 1;
        Some(TimeEntry { max_timestamp: max, rel_offset: self.relative(last) })
    }

    /// Whoever appends rolls before this overflows; a scan of a damaged file must not fall over it.
    fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset.get().saturating_sub(self.base.get())).unwrap_or(u32::MAX)
    }
}

/// Bytes of an index before its entries.
pub const INDEX_HEADER_SIZE: usize = 32;
/// Bytes of an entry.
pub const INDEX_ENTRY_SIZE: usize = 16;

/// How many whole entries an index file of `len` bytes has room for.
pub fn entries_in(len: u64) -> u32 {
    (len.saturating_sub(INDEX_HEADER_SIZE as u64) / INDEX_ENTRY_SIZE as u64).min(u64::from(u32::MAX)) as u32
}

/// Where entry `number` lies in its file.
pub fn entry_position(number: u32) -> u64 {
    INDEX_HEADER_SIZE as u64 + u64::from(number) * INDEX_ENTRY_SIZE as u64
}

const INDEX_MAGIC: [u8; 4] = *b"LIX1";
const INDEX_EDITION: u16 = 1;
const MAGIC_AT: usize = 0;
const EDITION_AT: usize = 4;
const KIND_AT: usize = 6;
const FLAGS_AT: usize = 7;
const BASE_AT: usize = 8;
const UID_AT: usize = 16;
const INTERVAL_AT: usize = 24;
const HEADER_CRC_AT: usize = 28;
const ENTRY_CRC_AT: usize = 12;
const _: () = assert!(EDITION_AT + size_of::<u16>() == KIND_AT);
const _: () = assert!(FLAGS_AT + 1 == BASE_AT);
const _: () = assert!(INTERVAL_AT + size_of::<u32>() == HEADER_CRC_AT);
const _: () = assert!(HEADER_CRC_AT + size_of::<u32>() == INDEX_HEADER_SIZE);
const _: () = assert!(ENTRY_CRC_AT + size_of::<u32>() == INDEX_ENTRY_SIZE);
const _: () = assert!(512 % INDEX_ENTRY_SIZE == 0 && INDEX_HEADER_SIZE.is_multiple_of(INDEX_ENTRY_SIZE));

fn finish_entry(mut bytes: [u8; INDEX_ENTRY_SIZE], uid: SegmentUid, number: u32) -> [u8; INDEX_ENTRY_SIZE] {
    let crc = entry_crc(&bytes, uid, number);
    put(&mut bytes, ENTRY_CRC_AT, &crc.to_be_bytes());
    bytes
}

fn check_entry(bytes: &[u8; INDEX_ENTRY_SIZE], uid: SegmentUid, number: u32) -> Option<()> {
    (u32::from_be_bytes(field(bytes, ENTRY_CRC_AT)) == entry_crc(bytes, uid, number)).then_some(())
}

fn entry_crc(bytes: &[u8; INDEX_ENTRY_SIZE], uid: SegmentUid, number: u32) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&uid.0.to_be_bytes());
    crc.update(&number.to_be_bytes());
    crc.update(&bytes[..ENTRY_CRC_AT]);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use folio_record::{BatchBuilder, Compression, HEADER_SIZE, LeaderEpoch, NewRecord, stamp};
    use uuid::Uuid;

    use super::*;

    fn uid() -> SegmentUid {
        SegmentUid::new(PartitionId { topic: Uuid::from_u128(1), partition: 2 }, Offset::new(100), 0)
    }

    /// Headers of batches of one record each, `size` bytes long, with these timestamps; with their positions.
    fn batches(timestamps: &[i64], size: usize) -> Vec<(u32, BatchHeader)> {
        let mut pos = 0;
        let mut headers = Vec::new();
        for (number, timestamp) in timestamps.iter().enumerate() {
            let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
            let value = vec![7; size];
            let timestamp = Timestamp::new(*timestamp);
            builder.append(&NewRecord { timestamp, key: None, value: Some(&value), headers: &[] }).unwrap();
            let mut batch = builder.build().unwrap();
            stamp(&mut batch, Offset::new(100 + number as i64), LeaderEpoch::new(0));
            let header = BatchHeader::parse(batch.first_chunk::<HEADER_SIZE>().unwrap()).unwrap();
            headers.push((pos, header));
            pos += batch.len() as u32;
        }
        headers
    }

    fn run(indexer: &mut Indexer, batches: &[(u32, BatchHeader)]) -> (Vec<OffsetEntry>, Vec<TimeEntry>) {
        let (mut offsets, mut times) = (Vec::new(), Vec::new());
        for (pos, header) in batches {
            let indexed = indexer.batch(*pos, header);
            offsets.extend(indexed.offset);
            times.extend(indexed.time);
        }
        (offsets, times)
    }

    #[test]
    fn the_bytes_are_as_drawn() {
        let header = IndexHeader {
            kind: IndexKind::Time,
            base: Offset::new(100),
            uid: SegmentUid(0x0102),
            interval: 4096,
        };
        let mut expected = b"LIX1\x00\x01\x02\x00".to_vec();
        expected.extend_from_slice(&100_i64.to_be_bytes());
        expected.extend_from_slice(&0x0102_u64.to_be_bytes());
        expected.extend_from_slice(&4096_u32.to_be_bytes());
        expected.extend_from_slice(&crc32fast::hash(&expected).to_be_bytes());
        assert_eq!(header.encode().to_vec(), expected);

        let entry = OffsetEntry { rel_offset: 3, pos: 5000, block_crc: 0 };
        let mut covered = 0x0102_u64.to_be_bytes().to_vec();
        covered.extend_from_slice(&9_u32.to_be_bytes());
        covered.extend_from_slice(&3_u32.to_be_bytes());
        covered.extend_from_slice(&5000_u32.to_be_bytes());
        covered.extend_from_slice(&[0; 4]);
        let expected = [&covered[12..], &crc32fast::hash(&covered).to_be_bytes()].concat();
        assert_eq!(entry.encode(SegmentUid(0x0102), 9).to_vec(), expected);
    }

    #[test]
    fn the_uid_of_a_segment_never_changes() {
        assert_eq!(uid().get(), 0xa977_5af2_54d8_8700);
    }

    #[test]
    fn an_entry_of_another_place_or_segment_is_not_one_and_neither_is_a_flipped_one() {
        let entry = TimeEntry { max_timestamp: Timestamp::new(77), rel_offset: 3 };
        let bytes = entry.encode(uid(), 4);
        assert_eq!(TimeEntry::decode(&bytes, uid(), 4), Some(entry));
        assert_eq!(TimeEntry::decode(&bytes, uid(), 5), None);
        assert_eq!(TimeEntry::decode(&bytes, SegmentUid(1), 4), None);
        for bit in 0..INDEX_ENTRY_SIZE * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(TimeEntry::decode(&flipped, uid(), 4), None, "bit {bit}");
        }
        assert_eq!(OffsetEntry::decode(&[0; INDEX_ENTRY_SIZE], uid(), 0), None, "a hole is no entry");
    }

    #[test]
    fn a_header_of_another_segment_or_kind_is_foreign_and_a_flipped_one_damaged() {
        let header =
            IndexHeader { kind: IndexKind::Offset, base: Offset::new(100), uid: uid(), interval: 4096 };
        let bytes = header.encode();
        assert_eq!(IndexHeader::decode(&bytes, IndexKind::Offset, uid()), Ok(header));
        assert_eq!(IndexHeader::decode(&bytes, IndexKind::Time, uid()), Err(IndexError::Foreign));
        assert_eq!(IndexHeader::decode(&bytes, IndexKind::Offset, SegmentUid(1)), Err(IndexError::Foreign));
        for bit in 0..INDEX_HEADER_SIZE * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(IndexHeader::decode(&flipped, IndexKind::Offset, uid()), Err(IndexError::Header));
        }
    }

    #[test]
    fn entries_come_at_batch_boundaries_one_interval_apart_and_times_only_when_they_grow() {
        let batches = batches(&[10, 20, 15, 15, 15, 30, 30, 30, 30], 1000);
        let (offsets, times) = run(&mut Indexer::new(Offset::new(100), 3000), &batches);
        assert_eq!(offsets.iter().map(|entry| entry.rel_offset).collect::<Vec<_>>(), [3, 6]);
        assert_eq!(offsets[0].pos, batches[3].0);
        // Before batch 3 the maximum was 20, before batch 6 it was 30.
        let times: Vec<_> = times.iter().map(|entry| (entry.max_timestamp.get(), entry.rel_offset)).collect();
        assert_eq!(times, [(20, 2), (30, 5)]);
    }

    #[test]
    fn a_rolled_segment_records_its_maximum_once() {
        let mut indexer = Indexer::new(Offset::new(100), 3000);
        run(&mut indexer, &batches(&[10, 20, 15], 100));
        let entry = TimeEntry { max_timestamp: Timestamp::new(20), rel_offset: 2 };
        assert_eq!(indexer.rolled(), Some(entry));
        assert_eq!(indexer.rolled(), None);
        assert_eq!(Indexer::new(Offset::new(100), 3000).rolled(), None);
    }

    #[test]
    fn whoever_resumes_at_any_entry_makes_the_same_entries() {
        let timestamps: Vec<i64> =
            (0..60).map(|n| [5, 9, 9, 2, 11, 40][n % 6] + (n as i64 / 20) * 3).collect();
        let batches = batches(&timestamps, 700);
        let mut whole = Indexer::new(Offset::new(100), 2500);
        let (offsets, times) = run(&mut whole, &batches);
        let rolled = whole.rolled();
        for kept in 0..=offsets.len() {
            let offset = kept.checked_sub(1).map(|last| (offsets[last], kept as u32));
            let before =
                |entry: &&TimeEntry| offset.is_some_and(|(offset, _)| entry.rel_offset < offset.rel_offset);
            let times_kept = times.iter().take_while(before).count();
            let time = times_kept.checked_sub(1).map(|last| (times[last], times_kept as u32));
            let mut indexer = Indexer::resume(Offset::new(100), 2500, offset, time);
            let from = batches.iter().position(|(pos, _)| *pos == indexer.resume_pos()).unwrap();
            let (more_offsets, more_times) = run(&mut indexer, &batches[from..]);
            assert_eq!([&offsets[..kept], &more_offsets].concat(), offsets);
            assert_eq!([&times[..times_kept], &more_times].concat(), times);
            assert_eq!(indexer.rolled(), rolled);
            assert_eq!(indexer.offset_entries(), whole.offset_entries());
            assert_eq!(indexer.time_entries(), whole.time_entries());
            assert_eq!(
                indexer.max_timestamp().map(|max| max.timestamp),
                whole.max_timestamp().map(|max| max.timestamp)
            );
        }
    }
}
