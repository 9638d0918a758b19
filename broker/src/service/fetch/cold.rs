//! What of a fetch is not in memory, and the thread that reads it in.
//!
//! ```text
//!  | in memory, a step at a time | not in memory                         a loop answers with the first, and has the
//!  +-----------------------------+------------ - - -                     next of the rest read ahead; nothing of
//!  0                           256 KiB * n                               the first: the read pool reads it in
//! ```
//! An answer that had to wait for the disk is bounded: what is read in is sent while it is in memory, and the next is
//! read by the disk while that is under way.

use folio_mapped::{CopyError, MapSlice};
use folio_storage::Touch;

use super::{AnswerFetch, Fetch};
use crate::config::ReadPath;
use crate::engine::Engine;
use crate::error::ServiceError;

impl Fetch {
    /// Whether all that was found can go without waiting: from where it is, or as the copy that it is replaced by.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.path == ReadPath::Map {
            return true;
        }
        for index in 0..self.found.len() {
            let Some(slice) = self.slice(index).filter(|slice| !slice.is_on_heap()) else { continue };
            // What cannot be read at all is told by who may wait.
            let Ok(Some(copy)) = slice.copied_at_once() else {
                self.is_cold = true;
                return false;
            };
            self.put(index, copy);
        }
        true
    }

    /// How much of one partition is looked at.
    pub(super) fn most(&self, touch: Touch) -> usize {
        match touch {
            Touch::Warm(_) => usize::MAX,
            Touch::Any => COLD_BYTES_MAX.max(self.limits.min_bytes.saturating_sub(self.bytes)),
        }
    }

    /// Reads what has not been read for not being in memory, as far as it is wanted.
    fn read_cold(&mut self) {
        for index in 0..self.wants.len() {
            let is_wanted = match &self.found[index] {
                None => true,
                Some(Ok(found)) => found.behind.is_some() && self.bytes < self.limits.min_bytes,
                Some(Err(_)) => false,
            };
            if is_wanted && self.look_at(index, Touch::Any) {
                self.bring(index);
            }
        }
        if self.path == ReadPath::Copy {
            (0..self.wants.len()).for_each(|index| self.bring(index));
        }
    }

    /// Brings what was found of one partition into memory. Where a byte cannot be read, what lies before it goes, and
    /// who reads on is told.
    fn bring(&mut self, index: usize) {
        while let Some(slice) = self.slice(index).filter(|slice| !slice.is_on_heap()) {
            let brought = match self.path {
                // What cannot be mapped, for a page beside it that cannot be read, may be there all the same.
                ReadPath::Map => slice.populate().map(|()| slice.clone()).or_else(|_| slice.copied()),
                ReadPath::Copy => slice.copied(),
            };
            let error = match brought {
                Ok(brought) => {
                    self.ahead.push(slice.following(READ_AHEAD));
                    return self.put(index, brought);
                }
                Err(error) => error,
            };
            let first_bad = match &error {
                CopyError::Poisoned { position } | CopyError::Io { position, .. } => *position,
                CopyError::OutOfRange { .. } => 0,
            };
            let readable = first_bad.saturating_sub(slice.range().start);
            self.wants[index].max_bytes = usize::try_from(readable).unwrap_or(usize::MAX);
            self.look_at(index, Touch::Any);
            // The first batch goes whole, whatever the limit.
            if let Some(Ok(found)) = &mut self.found[index]
                && found.error.is_none()
                && found.slice.as_ref().is_none_or(|slice| slice.len() as u64 > readable)
            {
                let size = found.slice.take().map_or(0, |slice| slice.len());
                found.error = Some(self.wants[index].unreadable(first_bad, &error));
                (self.bytes, self.is_settled) = (self.bytes - size, true);
                return;
            }
        }
    }

    /// Has what is behind this answer read by the disk, while the answer is under way.
    pub(super) fn read_ahead(&mut self, engine: &Engine) {
        if self.cut == 0 && self.ahead.is_empty() {
            return;
        }
        if self.cut > 0 {
            let found = self.found.iter().filter_map(|found| found.as_ref()?.as_ref().ok()?.behind.clone());
            self.ahead.extend(found);
        }
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.retain(|slice| !slice.is_empty());
        if !ahead.is_empty() {
            engine.readers.run(move |_| {
                for slice in ahead {
                    // Who wants it will read it in, if this does not.
                    let _ = slice.read_ahead();
                }
            });
        }
    }

    fn slice(&self, index: usize) -> Option<MapSlice> {
        self.found[index].as_ref()?.as_ref().ok()?.slice.clone()
    }

    fn put(&mut self, index: usize, slice: MapSlice) {
        if let Some(Ok(found)) = &mut self.found[index] {
            found.slice = Some(slice);
        }
    }
}

/// Reads on a thread that may wait for a disk, and answers from there.
pub(crate) fn cold_job(mut fetch: Fetch, answer: AnswerFetch) -> impl FnOnce(&Engine) + Send + 'static {
    move |engine| {
        if engine.health.has_failed() {
            return answer.answer(fetch.refused(&ServiceError::storage_failed()));
        }
        fetch.read_cold();
        answer.answer(fetch.finish_late(engine));
    }
}

/// Bytes of one partition that are read in for an answer, unless more is waited for.
const COLD_BYTES_MAX: usize = 1 << 20;
/// Bytes that the disk is asked for beyond an answer.
pub(super) const READ_AHEAD: u64 = 512 << 10;
