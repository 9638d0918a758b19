//! Fetch: whole batches up to the high watermark, waiting for them when there are too few.
//!
//! A fetch looks at its partitions once, in their order, and keeps what it found. While it waits, whoever hears that a
//! partition has moved looks at that one again: waking costs what has moved, not what is asked for.
//!
//! Invariants:
//! * the first batch of the first partition that has one goes whole, whatever the limits say; then they hold;
//! * a batch that the peer cannot take in at all is an error of its partition, and never sent.

mod cold;
mod want;

use std::collections::HashSet;
use std::sync::Arc;

use folio_mapped::MapSlice;
use folio_storage::Touch;

use crate::config::ReadPath;
use crate::engine::{Disk, Engine};
use crate::error::{Fault, ServiceError};
use crate::partition::{Partition, PartitionKey};

pub(crate) use cold::cold_job;
use want::Room;
pub(crate) use want::{Found, Outcome, Place, Places, Want};

/// So many partitions may be read with one fetch: it is kept while it waits.
pub(crate) const ENTRIES_MAX: usize = 10_000;

/// Whether these partitions may be read with one fetch.
///
/// # Errors
/// They are too many, or one is named twice.
pub(crate) fn check_entries<'a>(
    entries: impl ExactSizeIterator<Item = (&'a str, u32)>,
) -> Result<(), ServiceError> {
    let invalid = |text| Err(ServiceError::new(Fault::InvalidRequest, text));
    if entries.len() > ENTRIES_MAX {
        return invalid(format!("a fetch of {} partitions; at most {ENTRIES_MAX}", entries.len()));
    }
    if entries.len() < 2 {
        return Ok(());
    }
    let mut seen = HashSet::with_capacity(entries.len());
    for (topic, partition) in entries {
        if !seen.insert((topic, partition)) {
            return invalid(format!("a fetch names partition {partition} of topic {topic:?} twice"));
        }
    }
    Ok(())
}

/// How much a fetch is about, in record bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Worth answering for.
    pub(crate) min_bytes: usize,
    /// Of the whole answer, unless its first batch is larger.
    pub(crate) max_bytes: usize,
    /// Of any batch: the peer has no room for a larger one.
    pub(crate) batch_max: usize,
}

/// A fetch, in house words, and what it has found so far.
#[derive(Debug)]
pub(crate) struct Fetch {
    path: ReadPath,
    limits: Limits,
    wants: Vec<Want>,
    /// By want; `None`: not looked at yet, or not in memory.
    found: Vec<Option<Outcome>>,
    /// Record bytes in `found`.
    bytes: usize,
    /// Something was found that cannot be waited away.
    is_settled: bool,
    is_cold: bool,
    /// How many in `found` end where memory does, with more behind.
    cut: usize,
    /// What whoever reads on will want, and is not in memory.
    ahead: Vec<MapSlice>,
}

/// Who asked. Dropped without an answer, it closes the connection.
pub(crate) type AnswerFetch = Box<dyn Asker>;

/// Who asked, in some protocol.
pub(crate) trait Asker: Send {
    /// Tells what each partition had.
    fn answer(self: Box<Self>, outcomes: Vec<Outcome>);

    /// A partition that is watched beyond this fetch has moved, which the asker knows by `number`.
    fn moved(&mut self, _number: u32) -> Moved {
        Moved::Nothing
    }
}

/// What it is to a fetch that a partition has moved.
#[derive(Debug)]
pub(crate) enum Moved {
    Nothing,
    /// It is the one of this want.
    Again(u32),
    /// It was not looked at so far.
    New(Want),
}

impl<F: FnOnce(Vec<Outcome>) + Send> Asker for F {
    fn answer(self: Box<Self>, outcomes: Vec<Outcome>) {
        (*self)(outcomes);
    }
}

/// What a fetch has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has as much as was asked for, or something that cannot be waited away: it is to be answered.
    Enough,
    /// Something that was asked for is not in memory: it is to be read where one may wait for a disk.
    Cold,
    /// It may wait for more.
    TooLittle,
}

impl Fetch {
    /// One that has looked at nothing yet.
    pub(crate) fn new(path: ReadPath, mut limits: Limits, wants: Vec<Want>) -> Self {
        let found = wants.iter().map(|_| None).collect();
        if path == ReadPath::Copy {
            limits.max_bytes = limits.max_bytes.min(COPY_BYTES_MAX);
            limits.min_bytes = limits.min_bytes.min(limits.max_bytes);
        }
        let (bytes, cut, ahead) = (0, 0, Vec::new());
        Self { path, limits, wants, found, bytes, is_settled: false, is_cold: false, cut, ahead }
    }

    /// Looks at every partition, as far as they are in memory. One that may not wait, or has nothing to wait for, is
    /// never [`Standing::TooLittle`].
    pub(crate) fn begin(&mut self, may_wait: bool) -> Standing {
        let warm = Touch::warm_now();
        for index in 0..self.wants.len() {
            // The order decides whose first batch goes whole: what comes later waits for what is cold.
            if !self.look_at(index, warm) {
                break;
            }
        }
        match self.standing() {
            Standing::TooLittle if may_wait && !self.wants.is_empty() => Standing::TooLittle,
            Standing::Cold => Standing::Cold,
            Standing::Enough | Standing::TooLittle if self.is_ready() => Standing::Enough,
            Standing::Enough | Standing::TooLittle => Standing::Cold,
        }
    }

    /// Looks again at the partition of one want, which has moved.
    pub(crate) fn look_again(&mut self, index: u32) -> Standing {
        if (index as usize) < self.wants.len() {
            self.look_at(index as usize, Touch::warm_now());
        }
        self.standing()
    }

    /// Takes one more partition in, and looks at it.
    pub(crate) fn add(&mut self, want: Want) -> Standing {
        self.wants.push(want);
        self.found.push(None);
        self.look_at(self.wants.len() - 1, Touch::warm_now());
        self.standing()
    }

    /// The partitions that were looked at, each with the number of its want and whether it had nothing at all.
    pub(crate) fn looked_at(&self) -> impl Iterator<Item = (u32, &Arc<Partition<Disk>>, bool)> {
        (0..).zip(self.wants.iter().zip(&self.found)).filter_map(|(index, (want, found))| {
            let found = found.as_ref()?.as_ref().ok()?;
            Some((index, want.partition.as_ref().ok()?, found.slice.is_none() && !found.is_settled()))
        })
    }

    /// Looks again at every partition that has moved since it was looked at, without having been told of one.
    pub(crate) fn look_at_moved(&mut self) -> Standing {
        for index in 0..self.wants.len() {
            if self.found[index].as_ref().is_some_and(|found| self.wants[index].has_moved(found)) {
                self.look_at(index, Touch::warm_now());
            }
        }
        self.standing()
    }

    /// The same before it is answered, or waits, as it was `found` to: that holds unless there is more by now.
    pub(crate) fn look_once_more(&mut self, found: Standing) -> Standing {
        let standing = match self.look_at_moved() {
            Standing::TooLittle => found,
            other => other,
        };
        // What was found just now goes the way of all else.
        if standing == Standing::Enough && !self.is_ready() { Standing::Cold } else { standing }
    }

    /// The partitions that can be waited for.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Arc<Partition<Disk>>> {
        self.wants.iter().filter_map(|want| want.partition.as_ref().ok())
    }

    /// Which partitions are waited for, each with the number of its want.
    pub(crate) fn watches(&self) -> Vec<(PartitionKey, u32)> {
        let numbered = self.wants.iter().zip(0..);
        numbered.filter_map(|(want, index)| Some((want.partition.as_ref().ok()?.key, index))).collect()
    }

    /// What it has come to.
    pub(crate) fn standing(&self) -> Standing {
        if self.is_cold {
            Standing::Cold
        } else if self.is_settled || self.bytes >= self.limits.min_bytes {
            Standing::Enough
        } else if self.cut > 0 {
            Standing::Cold
        } else {
            Standing::TooLittle
        }
    }

    /// An outcome for each want, about to be answered: counts it, and moves the reader's places on.
    pub(crate) fn finish(mut self, engine: &Engine) -> Vec<Outcome> {
        engine.counters.bytes_out.add(self.bytes as u64);
        self.read_ahead(engine);
        let outcomes = self.wants.into_iter().zip(self.found).map(|(want, found)| {
            let outcome = found.unwrap_or_else(|| Err(ServiceError::storage_failed()));
            if let Ok(found) = &outcome {
                want.reads_on(found);
            }
            outcome
        });
        outcomes.collect()
    }

    /// As [`finish`](Self::finish), of one that has waited: log starts may have risen meanwhile.
    pub(crate) fn finish_late(mut self, engine: &Engine) -> Vec<Outcome> {
        for index in 0..self.wants.len() {
            if self.found[index].as_mut().is_some_and(|found| self.wants[index].has_lost(found)) {
                self.look_at(index, Touch::warm_now());
            }
        }
        self.finish(engine)
    }

    /// The same error for every partition.
    pub(crate) fn refused(&self, error: &ServiceError) -> Vec<Outcome> {
        self.wants.iter().map(|_| Err(error.clone())).collect()
    }

    /// Whether `touch` allowed for it.
    fn look_at(&mut self, index: usize, touch: Touch) -> bool {
        if let Some(before) = self.found[index].take() {
            self.bytes -= size_of(&before);
            self.cut -= usize::from(is_cut(&before));
        }
        let left = self.limits.max_bytes.saturating_sub(self.bytes).min(self.most(touch));
        let room = Room { left, is_first: self.bytes == 0, batch_max: self.limits.batch_max };
        let found = self.wants[index].read(room, touch);
        let is_ready = found.is_some();
        if let Some(found) = &found {
            self.bytes += size_of(found);
            self.cut += usize::from(is_cut(found));
            self.is_settled |= found.as_ref().map_or(true, Found::is_settled);
        }
        self.is_cold |= !is_ready;
        self.found[index] = found;
        is_ready
    }
}

fn size_of(outcome: &Outcome) -> usize {
    outcome.as_ref().ok().and_then(|found| found.slice.as_ref()).map_or(0, MapSlice::len)
}

fn is_cut(outcome: &Outcome) -> bool {
    outcome.as_ref().is_ok_and(|found| found.behind.is_some())
}

/// So much is copied for one answer: a peer that takes its time holds it.
const COPY_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use bytes::BytesMut;
    use folio_record::{BatchBuilder, Compression, NewRecord, Offset, Timestamp};
    use folio_storage::files::OsFiles;
    use folio_storage::{DataDir, LogOptions, Mode, Visibility};
    use uuid::Uuid;

    use super::*;
    use crate::Config;
    use crate::config::TopicSettings;
    use crate::engine::now;

    /// A partition whose records are seen once they are appended.
    fn partition(data: &std::path::Path) -> (DataDir<Disk>, Arc<Partition<Disk>>) {
        let files = Arc::new(OsFiles::open_or_create(data).unwrap());
        let options = crate::data_dir_options(&Config::new(data.to_owned()));
        let log = || LogOptions { visibility: Visibility::Appended, ..LogOptions::default() };
        let (dir, _) = DataDir::open(files, &options, |_| log(), now()).unwrap();
        let topic = folio_storage::data_dir::NewTopic {
            name: "t".to_owned(),
            uuid: Uuid::from_u128(1),
            partitions: 1,
            settings: Vec::new(),
        };
        let log = dir.create_topic(topic, &log(), now()).unwrap().remove(0);
        let settings = Arc::new(ArcSwap::from_pointee(TopicSettings::default()));
        (dir, Arc::new(Partition::new("t".into(), 0, log, settings, 1)))
    }

    fn append(partition: &Partition<Disk>) {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
        let value = Some(&b"value"[..]);
        builder.append(&NewRecord { timestamp: Timestamp::new(1), key: None, value, headers: &[] }).unwrap();
        let batch = BytesMut::from(builder.build().unwrap().as_slice());
        partition.log.writer().append(&mut [batch], Mode::MayBlock, now()).unwrap();
    }

    #[test]
    fn what_is_found_by_the_last_look_is_copied_where_all_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let (_dir, partition) = partition(&dir.path().join("data"));
        for (path, min_bytes, may_wait, found) in [
            (ReadPath::Copy, 1, true, Standing::TooLittle),
            (ReadPath::Copy, 1 << 20, false, Standing::Enough),
            (ReadPath::Map, 1, true, Standing::TooLittle),
        ] {
            let want = Want {
                partition: Ok(Arc::clone(&partition)),
                offset: Offset::new(partition.log.log_end().get()),
                max_bytes: 1 << 20,
                leader_epoch: None,
                last_epoch: None,
                place: Place::default(),
            };
            let limits = Limits { min_bytes, max_bytes: 1 << 20, batch_max: 1 << 20 };
            let mut fetch = Fetch::new(path, limits, vec![want]);
            assert_eq!(fetch.begin(may_wait), found);
            append(&partition);
            assert_eq!(fetch.look_once_more(found), Standing::Enough);
            let slice = fetch.found[0].as_ref().unwrap().as_ref().unwrap().slice.as_ref().unwrap();
            assert_eq!(slice.is_on_heap(), path == ReadPath::Copy, "{min_bytes}");
        }
    }

    #[test]
    fn a_fetch_of_too_many_partitions_or_of_one_twice_is_refused() {
        let many = |count: usize| (0..count).map(|number| ("t", number as u32));
        assert_eq!(check_entries(many(0)), Ok(()));
        assert_eq!(check_entries(many(1)), Ok(()));
        assert_eq!(check_entries(many(ENTRIES_MAX)), Ok(()));
        let refused = check_entries(many(ENTRIES_MAX + 1)).unwrap_err();
        assert_eq!(refused.fault, Fault::InvalidRequest);

        assert_eq!(check_entries([("t", 1), ("u", 1), ("t", 2)].into_iter()), Ok(()));
        let refused = check_entries([("t", 1), ("u", 1), ("t", 1)].into_iter()).unwrap_err();
        assert_eq!(refused.text, "a fetch names partition 1 of topic \"t\" twice");
    }
}
