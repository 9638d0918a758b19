//! The numbers of an idempotent producer's batches in one partition: what makes the broker store a batch once, however
//! often it is sent (KIP-98).
//!
//! ```text
//!   epoch 0   | 0..9 | 10..17 | 18..40 |  next: 41
//!                  refused for good ^
//!   every one that carries a number has been answered, each time it was sent: next is 18 again
//!   one of them may still be on its way somewhere:                            epoch 1, next is 0
//! ```
//!
//! A batch gets its number when it is sent first, and keeps it. What the broker will never see leaves a gap, behind
//! which it takes nothing. The gap is closed once it is known of every batch behind it that it is not stored. A broker
//! that was told of a later epoch takes nothing of an earlier one; until then it may still get a copy whose answer was
//! lost, with the connection say, and store it: a batch that has one is not sent in another epoch. Epochs are raised in
//! each partition by itself: only there does the broker compare them.

use std::collections::VecDeque;

use folio_record::ProducerId;

use super::batch::{SealedBatch, Standing};
use crate::{ErrorCode, Refusal};

/// Who a producer is, as the broker told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: ProducerId,
    pub(crate) epoch: i16,
}

/// A batch's place among those of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) id: ProducerId,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

impl Number {
    /// That of what follows `records` later.
    pub(crate) fn after(self, records: u32) -> Self {
        Self { sequence: sequence_after(self.sequence, records), ..self }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Numbers {
    first_epoch: i16,
    next: Number,
    /// Something of this epoch is stored: the broker knows what is due.
    proved: bool,
    gap: Option<Gap>,
}

/// Something that carries a number will not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// The first number that is free again: whatever carried it was answered each time.
    From(i32),
    /// It may still be on its way somewhere.
    Unclear,
}

impl Numbers {
    pub(crate) fn new(identity: Identity) -> Self {
        let next = Number { id: identity.id, epoch: identity.epoch, sequence: 0 };
        Self { first_epoch: identity.epoch, next, proved: false, gap: None }
    }

    /// What the next record that is sent gets.
    pub(crate) fn next(&self) -> Number {
        self.next
    }

    /// The number of a batch of so many records that is sent now.
    pub(crate) fn take(&mut self, records: u32) -> Number {
        let taken = self.next;
        self.next = taken.after(records);
        taken
    }

    #[cfg(test)]
    pub(crate) fn set_next(&mut self, sequence: i32) {
        self.next.sequence = sequence;
    }

    /// The first batch of an epoch travels alone: of a producer that it does not know, a broker takes any number for
    /// the first.
    pub(crate) fn batches_per_flight(&self) -> usize {
        if self.proved { BATCHES_IN_FLIGHT_MAX } else { 1 }
    }

    /// A batch is stored, and so is everything with a number before it that ever will be.
    pub(crate) fn stored(&mut self) {
        self.proved = true;
        self.gap = None;
    }

    /// A batch is given up. Where it may be stored nevertheless, only the broker's answer to the next one tells.
    pub(crate) fn given_up(&mut self, batch: &SealedBatch) {
        let (Standing::Sent | Standing::Early, Some(number)) = (batch.standing, batch.number) else { return };
        self.gap = match self.gap {
            None if batch.was_unsure => Some(Gap::Unclear),
            None => Some(Gap::From(number.sequence)),
            Some(Gap::From(first)) if !batch.was_unsure && is_before(first, number.sequence) => self.gap,
            Some(_) => Some(Gap::Unclear),
        };
    }

    /// Whether the broker refuses the number that begins an epoch: it cannot be told what is due.
    pub(crate) fn is_beginning(&self, number: Number) -> bool {
        !self.proved && number.epoch > self.first_epoch && number.sequence == 0
    }

    /// Before more of `waiting` is sent: closes the gap, if there is one and if it is known of everything behind it
    /// that it is not stored. What had a number gets another one when it is sent; but what may be stored yet, as a copy
    /// of it was never answered, is taken out of `waiting`.
    ///
    /// # Errors
    /// No epoch is left.
    pub(crate) fn close_gap(
        &mut self,
        waiting: &mut VecDeque<SealedBatch>,
    ) -> Result<Vec<SealedBatch>, Refusal> {
        let lacks = waiting.front().is_some_and(|batch| batch.standing == Standing::Early);
        if self.gap.is_none() && !lacks || waiting.iter().any(|batch| batch.standing == Standing::Unsure) {
            return Ok(Vec::new());
        }
        let mut unclear = Vec::new();
        for mut batch in std::mem::take(waiting) {
            if batch.standing != Standing::New && batch.was_unsure {
                unclear.push(batch);
            } else {
                batch.standing = Standing::New;
                waiting.push_back(batch);
            }
        }
        match self.gap.take() {
            Some(Gap::From(first)) if unclear.is_empty() => self.next.sequence = first,
            _ => self.raise_epoch()?,
        }
        Ok(unclear)
    }

    fn raise_epoch(&mut self) -> Result<(), Refusal> {
        let epoch = self.next.epoch.checked_add(1).ok_or_else(|| Refusal {
            code: ErrorCode::INVALID_PRODUCER_EPOCH,
            message: "the producer has used up its epochs".into(),
        })?;
        self.next = Number { epoch, sequence: 0, ..self.next };
        self.proved = false;
        Ok(())
    }
}

/// As many as a broker remembers of a producer, and with more it could not tell a copy.
pub(crate) const BATCHES_IN_FLIGHT_MAX: usize = 5;

/// 0 follows 2^31 - 1.
fn sequence_after(sequence: i32, records: u32) -> i32 {
    sequence.wrapping_add_unsigned(records) & i32::MAX
}

/// By the shorter way round.
fn is_before(sequence: i32, other: i32) -> bool {
    other.wrapping_sub(sequence) & i32::MAX <= i32::MAX / 2
}
