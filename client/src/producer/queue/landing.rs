//! What becomes of batches when their answer has come, or will not come any more.
//!
//! Batches that carry numbers have an answer each; the others have one together, and so are sent one by one when the
//! broker refuses it for good, until the one at fault is found. A batch that is too large is cut in two; one that
//! carries a number only while it is known of all that were sent that they are answered, for what may be stored must
//! come again as it was.

use std::time::{Duration, Instant};

use folio_record::{BatchBuilder, Offset};

use super::{PartitionQueue, QueueRules, State};
use crate::producer::batch::{Ended, SealedBatch, Standing};
use crate::{CallError, DeliveryError, ErrorCode, Refusal, TopicPartition};

/// Why batches that were sent are not in the log.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The broker's word. None of the batches was appended.
    Refused { refusal: Refusal, batch_too_large: bool },
    /// They did not get through, or nobody knows.
    Failed(CallError),
}

impl PartitionQueue {
    /// What was sent as this flight is in the log, from `base` on.
    pub(crate) fn delivered(&self, flight: u64, base: Option<Offset>) {
        let mut ended = Ended::default();
        let mut state = self.lock();
        if let Some(batches) = state.land(flight) {
            state.trouble = None;
            ended.delivered(batches, base);
        }
        drop(state);
        ended.announce(&self.budget);
    }

    /// What was sent as this flight, all of it or nothing, is not known to be in the log. Sends it again after
    /// `backoff` (a function of the attempts made so far), or in smaller pieces, or gives it up.
    pub(crate) fn failed(
        &self,
        flight: u64,
        failure: &Failure,
        now: Instant,
        backoff: impl FnOnce(u32) -> Duration,
    ) {
        let mut ended = Ended::default();
        let mut state = self.lock();
        let batches = state.land(flight).unwrap_or_default();
        if !self.rules.keeps_order_by_waiting() {
            self.give_up(batches, failure, &mut ended);
        } else if failure.is_for_the_moment() {
            state.not_before = batches.first().map(|batch| now + backoff(1 + batch.attempts));
            state.trouble = Some(failure.as_error());
            let (again, over): (Vec<_>, Vec<_>) =
                batches.into_iter().partition(|batch| self.rules.allow_another_attempt(batch, now));
            state.put_back(again.into_iter().map(SealedBatch::again));
            self.give_up(over, failure, &mut ended);
        } else if batches.len() > 1 {
            // One of them is at fault, and the others must not suffer for it.
            state.one_by_one = batches.len();
            state.put_back(batches);
        } else {
            for batch in batches {
                match self.halves_of(&batch, failure) {
                    Some(halves) => {
                        state.one_by_one = state.one_by_one.max(2);
                        state.put_back(batch.into_halves(halves));
                    }
                    None => self.give_up([batch], failure, &mut ended),
                }
            }
        }
        drop(state);
        ended.announce(&self.budget);
    }

    /// The answers to what was sent as this flight, one for each batch. `backoff` as for [`failed`](Self::failed).
    ///
    /// # Errors
    /// The producer cannot go on: its numbers mean nothing to the broker.
    pub(crate) fn answered(
        &self,
        flight: u64,
        answers: &[Result<Offset, Failure>],
        now: Instant,
        backoff: impl FnOnce(u32) -> Duration,
    ) -> Result<(), Refusal> {
        let mut ended = Ended::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let batches = state.land(flight).unwrap_or_default();
        let is_clear = answers.iter().all(|answer| !answer.as_ref().is_err_and(Failure::leaves_doubt))
            && state.sealed.iter().all(|batch| batch.standing != Standing::Unsure);
        let (mut again, mut broken) = (Vec::new(), Ok(()));
        for (mut batch, answer) in batches.into_iter().zip(answers) {
            let failure = match answer {
                Ok(base) => {
                    state.stored(batch, Some(*base), &mut ended);
                    continue;
                }
                // So long ago that nobody knows where.
                Err(failure) if failure.is(ErrorCode::DUPLICATE_SEQUENCE) => {
                    state.stored(batch, None, &mut ended);
                    continue;
                }
                Err(failure) => failure,
            };
            if failure.leaves_doubt() {
                batch.doubt();
            }
            if failure.is(ErrorCode::OUT_OF_ORDER_SEQUENCE) && !state.begins_epoch(&batch) {
                batch.standing = Standing::Early;
                again.push(batch);
            } else if failure.is_for_the_moment() && self.rules.allow_another_attempt(&batch, now) {
                again.push(batch.again());
            } else if let Some(halves) = self.halves_of(&batch, failure).filter(|_| is_clear) {
                state.given_up(&batch);
                again.extend(batch.into_halves(halves));
            } else {
                if let Some(refusal) = failure.breaks_numbers() {
                    broken = Err(refusal.clone());
                }
                state.given_up(&batch);
                self.give_up([batch], failure, &mut ended);
            }
        }
        let mut failures = answers.iter().filter_map(|answer| answer.as_ref().err());
        if let Some(failure) = failures.find(|failure| failure.is_for_the_moment()) {
            state.trouble = Some(failure.as_error());
            state.not_before = again.first().map(|batch| now + backoff(batch.attempts));
        }
        state.put_back(again);
        drop(guard);
        ended.announce(&self.budget);
        broken
    }

    /// Sees to what will never be stored while batches with later numbers wait: they get others. Not those of which a
    /// copy may still be on its way, and may yet be stored: nobody can tell any more what becomes of them.
    ///
    /// # Errors
    /// No epoch is left.
    pub(super) fn close_gap(&self, state: &mut State, ended: &mut Ended) -> Result<(), Refusal> {
        let Some(numbers) = &mut state.numbers else { return Ok(()) };
        let unclear = numbers.close_gap(&mut state.sealed)?;
        if !unclear.is_empty() {
            let message =
                "what was sent before it was given up, and an answer to it was lost: it may be stored";
            let refusal = Refusal { code: ErrorCode::OUT_OF_ORDER_SEQUENCE, message: message.into() };
            self.give_up(unclear, &Failure::Failed(CallError::Refused(refusal)), ended);
        }
        Ok(())
    }

    /// What a batch that is too large for the broker is replaced by, if that can help.
    fn halves_of(&self, batch: &SealedBatch, failure: &Failure) -> Option<[Vec<u8>; 2]> {
        if !failure.is_too_large() || batch.count() < 2 || batch.was_unsure {
            return None;
        }
        let mut builder = BatchBuilder::new(self.compressors.codec(), self.rules.batch_bytes_max);
        batch.halves(&mut builder).ok()
    }
}

impl QueueRules {
    fn allow_another_attempt(&self, batch: &SealedBatch, now: Instant) -> bool {
        batch.deadline > now && batch.attempts < self.retries
    }
}

impl State {
    fn stored(&mut self, batch: SealedBatch, base: Option<Offset>, ended: &mut Ended) {
        self.trouble = None;
        if let Some(numbers) = &mut self.numbers {
            numbers.stored();
        }
        batch.finish(Ok(base), ended);
    }

    fn begins_epoch(&self, batch: &SealedBatch) -> bool {
        let numbers = self.numbers.as_ref();
        numbers.zip(batch.number).is_some_and(|(numbers, number)| numbers.is_beginning(number))
    }
}

impl Failure {
    /// Sending the same again may help.
    fn is_for_the_moment(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => refusal.code.is_retriable(),
            // What breaks the protocol may stand between us and the broker, and be gone the next time.
            Self::Failed(error) => !matches!(error, CallError::Usage(_) | CallError::Closed),
        }
    }

    /// What was sent may be in the log nevertheless. (Of some refusals it is known better, but nothing hangs on those.)
    fn leaves_doubt(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => {
                let failing = [ErrorCode::INTERNAL, ErrorCode::STORAGE_FAILED, ErrorCode::PARTITION_OFFLINE];
                refusal.code.is_retriable() || failing.contains(&refusal.code)
            }
            Self::Failed(error) => !matches!(error, CallError::Usage(_)),
        }
    }

    fn is_too_large(&self) -> bool {
        matches!(self, Self::Refused { batch_too_large: true, .. })
    }

    fn is(&self, code: ErrorCode) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.code == code)
    }

    /// The broker's word, if after it no number means anything. Of
    /// [`OUT_OF_ORDER_SEQUENCE`](ErrorCode::OUT_OF_ORDER_SEQUENCE) that is so where nothing can be missing.
    fn breaks_numbers(&self) -> Option<&Refusal> {
        let broken = [ErrorCode::INVALID_PRODUCER_EPOCH, ErrorCode::OUT_OF_ORDER_SEQUENCE];
        match self {
            Self::Refused { refusal, .. } if broken.contains(&refusal.code) => Some(refusal),
            _ => None,
        }
    }

    fn as_error(&self) -> CallError {
        match self {
            Self::Refused { refusal, .. } => CallError::Refused(refusal.clone()),
            Self::Failed(error) => error.clone(),
        }
    }

    pub(super) fn for_records_of(&self, topic_partition: &TopicPartition) -> DeliveryError {
        let topic_partition = topic_partition.clone();
        match self {
            Self::Refused { refusal, .. } => {
                DeliveryError::Refused { topic_partition, refusal: refusal.clone() }
            }
            Self::Failed(source) => DeliveryError::Failed { topic_partition, source: source.clone() },
        }
    }
}
