//! Batches on their way: built, numbered, and cut in two when the broker finds them too large.
//!
//! ```text
//!   | New | -- sent --> | Sent | <-- no answer --> | Unsure |
//!      ^                    |                         |
//!      |                    +-- something before it is missing --> | Early |
//!      +------ the gap before it is closed: a new number -------------+
//! ```

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use folio_record::{
    BatchBuilder, BatchError, DecompressLimit, NewRecord, Offset, Record, UnverifiedBatch, set_producer,
};

use super::budget::Budget;
use super::numbers::Number;
use super::outcome::{Outcome, PartResult};
use crate::DeliveryError;

/// A built batch that waits for its turn, or for its answer.
#[derive(Debug)]
pub(crate) struct SealedBatch {
    pub(crate) bytes: Bytes,
    /// Records `first..first + count` of the outcome are those of this batch.
    outcome: Arc<Outcome>,
    first: u32,
    count: u32,
    /// It holds the last records of the outcome.
    last: bool,
    /// Bytes of the budget to be given back.
    reserved: usize,
    pub(crate) deadline: Instant,
    pub(crate) attempts: u32,
    /// What its bytes say. Only a guess while it is [`Standing::New`].
    pub(crate) number: Option<Number>,
    pub(crate) standing: Standing,
    /// An answer was lost: a copy of it may still be on its way.
    pub(crate) was_unsure: bool,
}

/// What is known of a batch that carries a number. (What carries none is always new.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not been sent under the number that it has.
    New,
    /// Whenever it was sent and answered it was refused.
    Sent,
    /// Not stored, for the broker misses something before it.
    Early,
    /// Nobody knows.
    Unsure,
}

impl SealedBatch {
    pub(crate) fn new(
        bytes: Vec<u8>,
        number: Option<Number>,
        outcome: Arc<Outcome>,
        count: u32,
        reserved: usize,
        deadline: Instant,
    ) -> Self {
        Self {
            bytes: bytes.into(),
            outcome,
            first: 0,
            count,
            last: true,
            reserved,
            deadline,
            attempts: 0,
            number,
            standing: Standing::New,
            was_unsure: false,
        }
    }

    /// Gives a new batch the number that it is sent under. Returns whether its bytes said so already.
    pub(crate) fn settle_number(&mut self, number: Number) -> bool {
        self.standing = Standing::Sent;
        let guessed = self.number == Some(number);
        if !guessed {
            let mut bytes = BytesMut::from(std::mem::take(&mut self.bytes));
            set_producer(&mut bytes, number.id, number.epoch, number.sequence);
            self.bytes = bytes.freeze();
            self.number = Some(number);
        }
        guessed
    }

    /// It goes back to its place, to be sent again.
    pub(crate) fn again(self) -> Self {
        Self { attempts: self.attempts + 1, ..self }
    }

    /// Its answer is lost, or says nothing.
    pub(crate) fn doubt(&mut self) {
        if self.standing != Standing::New {
            self.standing = Standing::Unsure;
            self.was_unsure = true;
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn outcome(&self) -> &Arc<Outcome> {
        &self.outcome
    }

    /// Ends it: its records' outcome is known.
    pub(crate) fn finish(self, result: PartResult, ended: &mut Ended) {
        self.outcome.set(self.first, self.count, result, self.last, &mut ended.wakers);
        ended.released += self.reserved;
    }

    /// Tells those who wait that it has failed, while its answer may still come: it keeps its place until then, so that
    /// nothing overtakes it.
    pub(crate) fn give_up_waiting(&self, error: DeliveryError, ended: &mut Ended) {
        self.outcome.set(self.first, self.count, Err(error), self.last, &mut ended.wakers);
    }

    /// Its records in two batches, made by `builder`: the first half and the rest.
    ///
    /// # Errors
    ///
    /// The batch is not one of ours, or `builder` makes smaller ones than it was made by.
    pub(crate) fn halves(&self, builder: &mut BatchBuilder) -> Result<[Vec<u8>; 2], BatchError> {
        let batch = UnverifiedBatch::split_first(&self.bytes)?.0.verify()?;
        // The records are our own: before they were compressed they took no more than a batch may.
        let records = batch.records(DecompressLimit::new(usize::MAX))?;
        let mut left = Vec::new();
        for (index, record) in (0..).zip(records.iter()) {
            let Record { timestamp, key, value, headers, .. } = record?;
            if index == self.count / 2 {
                left = builder.build().unwrap_or_default();
            }
            let headers: Vec<_> = headers.collect();
            builder
                .append(&NewRecord { timestamp, key, value, headers: &headers })
                .map_err(|refused| BatchError::DecompressedTooLarge { limit: refused.size_max })?;
        }
        Ok([left, builder.build().unwrap_or_default()])
    }

    /// Replaces it by its [`halves`](Self::halves).
    pub(crate) fn into_halves(self, [left, right]: [Vec<u8>; 2]) -> [Self; 2] {
        let left = Self {
            bytes: left.into(),
            outcome: Arc::clone(&self.outcome),
            first: self.first,
            count: self.count / 2,
            last: false,
            reserved: self.reserved / 2,
            deadline: self.deadline,
            attempts: self.attempts,
            number: None,
            standing: Standing::New,
            was_unsure: false,
        };
        let right = Self {
            bytes: right.into(),
            number: None,
            standing: Standing::New,
            first: self.first + left.count,
            count: self.count - left.count,
            reserved: self.reserved - left.reserved,
            ..self
        };
        [left, right]
    }
}

/// Batches that have ended under a lock, and are to be announced when it is no longer held: whoever is woken may come
/// straight back.
#[derive(Debug, Default)]
#[must_use = "who waits for these batches is not woken, and their memory is not given back"]
pub(crate) struct Ended {
    wakers: Vec<Waker>,
    released: usize,
}

impl Ended {
    /// Batches that were appended one behind the other, from `base` on.
    pub(crate) fn delivered(&mut self, batches: Vec<SealedBatch>, base: Option<Offset>) {
        let mut next = base;
        for batch in batches {
            let count = i64::from(batch.count());
            batch.finish(Ok(next), self);
            next = next.and_then(|offset| offset.checked_add(count));
        }
    }

    pub(crate) fn announce(self, budget: &Budget) {
        if self.released > 0 {
            budget.release(self.released);
        }
        self.wakers.into_iter().for_each(Waker::wake);
    }
}
