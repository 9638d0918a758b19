//! What one partition has to hold, and what it may hold.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use folio_record::{
    BatchBuilder, Compression, DecompressLimit, LeaderEpoch, NewRecord, Offset, ProducerId, Timestamp,
    UnverifiedBatch, stamp,
};
use folio_storage::files::sim::Random;
use folio_storage::producers::BATCHES_KEPT;
use folio_storage::{Log, Visibility};

use crate::seam::Seam;
use crate::world::Outcome;

/// A batch as the log has to hold it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) base: i64,
    pub(crate) next: i64,
    pub(crate) epoch: i32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) by: Option<By>,
    /// Not appended before.
    pub(crate) at: i64,
}

/// Who numbered a batch, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct By {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) first: i32,
    pub(crate) last: i32,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) offset: i64,
    pub(crate) time: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

/// What is in a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content {
    /// Some records are of few keys, and some tombstones.
    pub(crate) is_keyed: bool,
    /// No record has a time.
    pub(crate) is_timeless: bool,
    /// So many percent of the records have many zeros.
    pub(crate) zeros: u64,
}

/// A batch that has no place yet.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// When it was made.
    pub(crate) at: i64,
    pub(crate) bytes: BytesMut,
    pub(crate) by: Option<By>,
    pub(crate) records: i32,
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Everything that was appended, from offset 0 on, or may have been and has turned out to be there.
    pub(crate) batches: Vec<Stored>,
    /// What an append was about that failed with the process: any first part of it may be in the log.
    pub(crate) attempted: Vec<Stored>,
    /// What appends were about that found no room, since the last one that did: there may have been no room to cut off
    /// what the first of them has left either.
    pub(crate) refused: Vec<Vec<Stored>>,
    /// Whoever was answered was promised that what lies below survives a power cut.
    pub(crate) promised: i64,
    /// Consumers who see only what is flushed have seen everything below.
    pub(crate) seen: i64,
    pub(crate) start: i64,
    /// A raise of the start that failed with the process.
    pub(crate) attempted_start: Option<i64>,
    /// How long tombstones stay.
    pub(crate) tombstones_ms: i64,
    /// Of a log that is compacted: only below this offset may a record be gone that another of its key follows.
    pub(crate) compacted: Option<i64>,
    /// No batch was appended, or tried, under a later epoch.
    pub(crate) epoch: i32,
    /// Where the last start has cut it off, and found no room for that: file and byte.
    pub(crate) uncut: Option<(PathBuf, u64)>,
    pub(crate) log: Option<Arc<Log<Seam>>>,
    /// It is offline: it waits for room, or has found a disk that does not read it when there was some.
    pub(crate) waits: Option<Waits>,
}

/// A partition that is not recovered, while the broker lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits {
    /// What is served of it.
    pub(crate) below: Option<Arc<Log<Seam>>>,
    /// It was found at an earlier start, not recovered, and what had happened until then counts still.
    pub(crate) before: Before,
}

/// What has happened since the last recovery.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Before {
    pub(crate) lost_power: bool,
    pub(crate) has_lied: bool,
    pub(crate) tried_to_stop: bool,
}

impl Partition {
    /// `tombstones_ms`: it is compacted, and tombstones stay so long.
    pub(crate) fn new(tombstones_ms: Option<i64>) -> Self {
        Self {
            batches: Vec::new(),
            attempted: Vec::new(),
            refused: Vec::new(),
            promised: 0,
            seen: 0,
            start: 0,
            attempted_start: None,
            tombstones_ms: tombstones_ms.unwrap_or(0),
            compacted: tombstones_ms.map(|_| 0),
            epoch: -1,
            uncut: None,
            log: None,
            waits: None,
        }
    }

    /// The next offset to be given.
    pub(crate) fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.next)
    }

    /// The drafts as they will be in the log.
    pub(crate) fn place(&self, drafts: &[Draft], log: &Log<Seam>) -> Vec<Stored> {
        let mut base = self.end();
        let epoch = log.leader_epoch();
        let mut placed = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let mut bytes = draft.bytes.to_vec();
            stamp(&mut bytes, Offset::new(base), epoch);
            let next = base + i64::from(draft.records);
            placed.push(Stored { base, next, epoch: epoch.get(), bytes, by: draft.by, at: draft.at });
            base = next;
        }
        placed
    }

    /// Epoch and number of the next batch of a producer.
    pub(crate) fn next_of(&self, id: i64) -> (i16, i32) {
        self.by(id).next_back().map_or((0, 0), |(_, by)| (by.epoch, by.last + 1))
    }

    /// The producers that have numbered something, by id.
    pub(crate) fn producers(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.batches.iter().filter_map(|batch| batch.by).map(|by| by.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The batches of a producer that the log has to remember, oldest first.
    pub(crate) fn window(&self, id: i64) -> Vec<&Stored> {
        let Some(epoch) = self.by(id).next_back().map(|(_, by)| by.epoch) else { return Vec::new() };
        let mut window: Vec<&Stored> = self
            .by(id)
            .rev()
            .take(BATCHES_KEPT)
            .take_while(|(batch, by)| by.epoch == epoch && batch.base >= self.start)
            .map(|(batch, _)| batch)
            .collect();
        window.reverse();
        window
    }

    /// Takes what is above `end` out of what may be there.
    pub(crate) fn settle(&mut self, end: i64, visibility: Visibility) {
        self.refused.clear();
        let attempted = std::mem::take(&mut self.attempted);
        self.batches.extend(attempted);
        self.batches.retain(|batch| batch.next <= end);
        self.promised = end;
        if visibility == Visibility::Flushed {
            self.seen = end;
        }
    }

    /// The bytes of the batches from the one that holds `start` on, up to `end`.
    pub(crate) fn bytes(&self, start: i64, end: i64) -> Vec<u8> {
        let within = self.all().filter(|batch| batch.next > start && batch.next <= end);
        within.flat_map(|batch| batch.bytes.iter().copied()).collect()
    }

    /// The records of the batches up to `end`, from `start` on.
    pub(crate) fn records(&self, start: i64, end: i64) -> Outcome<Vec<Row>> {
        let within = self.batches.iter().filter(|batch| batch.next > start && batch.next <= end);
        let mut records = Vec::new();
        for batch in within {
            records.extend(rows(&batch.bytes)?);
        }
        records.retain(|row| row.offset >= start);
        Ok(records)
    }

    /// What was appended, and what may have been.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Stored> {
        self.batches.iter().chain(&self.attempted).chain(self.refused.iter().flatten())
    }

    /// Of what was attempted that remains of which these are the first bytes, up to this offset.
    pub(crate) fn find_attempted(&mut self, bytes: &[u8], end: i64) {
        let tried = self.refused.drain(..).chain([std::mem::take(&mut self.attempted)]);
        let is_it = |tried: &Vec<Stored>| {
            let there = tried.iter().filter(|batch| batch.next <= end);
            there.flat_map(|batch| &batch.bytes).eq(bytes)
        };
        self.attempted = tried.into_iter().find(is_it).unwrap_or_default();
    }

    fn by(&self, id: i64) -> impl DoubleEndedIterator<Item = (&Stored, By)> {
        let numbered = self.batches.iter().filter_map(|batch| Some((batch, batch.by?)));
        numbered.filter(move |(_, by)| by.id == id)
    }
}

impl Draft {
    /// A batch of one to four records that no other batch is like.
    pub(crate) fn new(
        random: &mut Random,
        number: u64,
        by: Option<(i64, i16, i32)>,
        now: i64,
        content: Content,
    ) -> Self {
        let Content { is_keyed, is_timeless, zeros } = content;
        let size_max = [20, 200, 700, 1800][random.up_to(3) as usize];
        let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
        if let Some((id, epoch, first)) = by {
            builder.producer(ProducerId::new(id), epoch, first);
        }
        let records = 1 + random.up_to(3) as i32;
        for record in 0..records {
            let time = if is_timeless { -1 } else { now - random.up_to(4000) as i64 };
            // Runs of zeros, as in any payload: what a lost sector looks like.
            let filling = if random.percent(zeros) { 0 } else { b'x' };
            let mut value = format!("{number} {record} ").into_bytes();
            value.resize(value.len() + random.up_to(size_max / 2) as usize, filling);
            let timestamp = Timestamp::new(time);
            let key = is_keyed.then(|| [b'k', b'0' + random.up_to(4) as u8]);
            let value = (!is_keyed || random.percent(80)).then_some(value.as_slice());
            let key = key.as_ref().map(<[u8; 2]>::as_slice);
            let record = NewRecord { timestamp, key, value, headers: &[] };
            builder.append(&record).expect("a small record fits");
        }
        let bytes = BytesMut::from(builder.build().expect("a batch with records").as_slice());
        let by = by.map(|(id, epoch, first)| By { id, epoch, first, last: first + records - 1 });
        Self { at: now, bytes, by, records }
    }
}

impl Stored {
    /// As its producer would send it again.
    pub(crate) fn again(&self) -> BytesMut {
        let mut bytes = BytesMut::from(self.bytes.as_slice());
        stamp(&mut bytes, Offset::ZERO, LeaderEpoch::new(-1));
        bytes
    }
}

/// The records of whole batches.
pub(crate) fn rows(mut bytes: &[u8]) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let (batch, rest) = UnverifiedBatch::split_first(bytes).map_err(|error| error.to_string())?;
        let batch = batch.verify().map_err(|error| error.to_string())?;
        let records = batch.records(DecompressLimit::new(1 << 20)).map_err(|error| error.to_string())?;
        for record in &records {
            let record = record.map_err(|error| error.to_string())?;
            let (offset, time) = (record.offset.get(), record.timestamp.get());
            let [key, value] = [record.key, record.value].map(|bytes| bytes.map(<[u8]>::to_vec));
            rows.push(Row { offset, time, key, value });
        }
        bytes = rest;
    }
    Ok(rows)
}
