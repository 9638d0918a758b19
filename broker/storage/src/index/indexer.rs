//! Which entries there are: made of the batches alone, by whoever drives it.

use folio_record::{BatchHeader, Offset, Timestamp};

use super::{OffsetEntry, TimeEntry};

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

#[cfg(test)]
mod tests {
    use folio_record::{BatchBuilder, Compression, HEADER_SIZE, LeaderEpoch, NewRecord, stamp};

    use super::*;

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
