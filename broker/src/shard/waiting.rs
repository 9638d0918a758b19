//! The requests that wait in a loop.

use std::sync::Arc;

use folio_storage::AppendedRange;

use super::{AnswerProduce, Stored};
use crate::engine::Disk;
use crate::error::{Fault, ServiceError};
use crate::partition::Partition;
use crate::service::fetch::{self, AnswerFetch, Fetch};
use crate::standing::WatcherId;

/// A produce that waits.
pub(super) struct WaitingProduce {
    pub(super) answer: AnswerProduce,
    pub(super) waits_for_watermark: bool,
    pub(super) entries: Vec<EntryState>,
}

/// Where one entry of a produce is.
pub(super) enum EntryState {
    Appending,
    Appended { partition: Arc<Partition<Disk>>, range: AppendedRange },
    Refused(ServiceError),
}

/// A fetch that waits.
pub(crate) struct WaitingFetch {
    pub(super) fetch: Fetch,
    pub(super) answer: AnswerFetch,
    /// Who is told of partitions that move, beyond those of the fetch.
    pub(super) watcher: Option<WatcherId>,
}

impl WaitingFetch {
    /// One that waits for its partitions, or for those that a watcher has.
    pub(crate) fn new(fetch: Fetch, answer: AnswerFetch, watcher: Option<WatcherId>) -> Self {
        Self { fetch, answer, watcher }
    }

    /// Looks again at the partition of this number.
    pub(super) fn is_ready(&mut self, number: u32) -> bool {
        self.fetch.look_again(number) != fetch::Standing::TooLittle
    }
}

impl WaitingProduce {
    pub(super) fn is_done(&self) -> bool {
        self.entries.iter().all(|entry| match entry {
            EntryState::Appending => false,
            EntryState::Appended { partition, range } => {
                !self.waits_for_watermark
                    || partition.log.high_watermark() > range.last_offset
                    || partition.refusal().is_some()
            }
            EntryState::Refused(_) => true,
        })
    }

    /// Answers with what there is.
    pub(super) fn finish(self) {
        let Self { answer, waits_for_watermark, entries } = self;
        let late = || ServiceError::new(Fault::TimedOut, "not acknowledged in time; it may still be stored");
        let produced = entries.into_iter().map(|entry| match entry {
            EntryState::Appending => Err(late()),
            EntryState::Appended { partition, range } => {
                let is_visible = partition.log.high_watermark() > range.last_offset;
                if waits_for_watermark && !is_visible {
                    Err(partition.refusal().unwrap_or_else(late))
                } else {
                    let AppendedRange { base_offset, append_time, .. } = range;
                    Ok(Stored { base_offset, log_start: partition.log.log_start(), append_time })
                }
            }
            EntryState::Refused(error) => Err(error),
        });
        answer(produced.collect());
    }
}
