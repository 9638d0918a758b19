//! What one partition has to hold, and what it may hold.

use std::sync::Arc;

use bytes::BytesMut;
use folio_record::{BatchBuilder, Compression, LeaderEpoch, NewRecord, Offset, ProducerId, Timestamp, stamp};
use folio_storage::files::sim::Random;
use folio_storage::producers::BATCHES_KEPT;
use folio_storage::{Log, Visibility};

use crate::seam::Seam;

/// A batch as the log has to hold it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) base: i64,
    pub(crate) next: i64,
    pub(crate) epoch: i32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) by: Option<By>,
    /// Of each record.
    pub(crate) times: Vec<i64>,
}

/// Who numbered a batch, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct By {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) first: i32,
    pub(crate) last: i32,
}

/// A batch that has no place yet.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) bytes: BytesMut,
    pub(crate) by: Option<By>,
    pub(crate) times: Vec<i64>,
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Everything that was appended, from offset 0 on, or may have been and has turned out to be there.
    pub(crate) batches: Vec<Stored>,
    /// What an append was about that failed with the process: any first part of it may be in the log.
    pub(crate) attempted: Vec<Stored>,
    /// Whoever was answered was promised that what lies below survives a power cut.
    pub(crate) promised: i64,
    /// Consumers who see only what is flushed have seen everything below.
    pub(crate) seen: i64,
    pub(crate) start: i64,
    /// A raise of the start that failed with the process.
    pub(crate) attempted_start: Option<i64>,
    /// No batch was appended, or tried, under a later epoch.
    pub(crate) epoch: i32,
    pub(crate) log: Option<Arc<Log<Seam>>>,
}

impl Partition {
    pub(crate) fn new() -> Self {
        Self {
            batches: Vec::new(),
            attempted: Vec::new(),
            promised: 0,
            seen: 0,
            start: 0,
            attempted_start: None,
            epoch: -1,
            log: None,
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
            let next = base + draft.times.len() as i64;
            let (by, times) = (draft.by, draft.times.clone());
            placed.push(Stored { base, next, epoch: epoch.get(), bytes, by, times });
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

    /// The first record from `start` up to `end` that is not earlier than `time`, and its time.
    pub(crate) fn first_at(&self, time: i64, start: i64, end: i64) -> Option<(i64, i64)> {
        let records = self.batches.iter().flat_map(|batch| (batch.base..).zip(batch.times.iter().copied()));
        let mut visible = records.filter(|(offset, _)| (start..end).contains(offset));
        visible.find(|(_, found)| *found >= time)
    }

    /// What was appended, and what may have been.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Stored> {
        self.batches.iter().chain(&self.attempted)
    }

    fn by(&self, id: i64) -> impl DoubleEndedIterator<Item = (&Stored, By)> {
        let numbered = self.batches.iter().filter_map(|batch| Some((batch, batch.by?)));
        numbered.filter(move |(_, by)| by.id == id)
    }
}

impl Draft {
    /// A batch of one to four records that no other batch is like.
    pub(crate) fn new(random: &mut Random, number: u64, by: Option<(i64, i16, i32)>, now: i64) -> Self {
        let size_max = [20, 200, 700, 1800][random.up_to(3) as usize];
        let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
        if let Some((id, epoch, first)) = by {
            builder.producer(ProducerId::new(id), epoch, first);
        }
        let mut times = Vec::new();
        for _ in 0..=random.up_to(3) {
            let time = now - random.up_to(4000) as i64;
            // Runs of zeros, as in any payload: what a lost sector looks like.
            let filling = if random.percent(20) { 0 } else { b'x' };
            let mut value = format!("{number} {} ", times.len()).into_bytes();
            value.resize(value.len() + random.up_to(size_max / 2) as usize, filling);
            let timestamp = Timestamp::new(time);
            let record = NewRecord { timestamp, key: None, value: Some(&value), headers: &[] };
            builder.append(&record).expect("a small record fits");
            times.push(time);
        }
        let bytes = BytesMut::from(builder.build().expect("a batch with records").as_slice());
        let last = times.len() as i32 - 1;
        let by = by.map(|(id, epoch, first)| By { id, epoch, first, last: first + last });
        Self { bytes, by, times }
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
