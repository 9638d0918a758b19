//! What waits to be sent to one partition, in order.
//!
//! ```text
//!   append -> | open batch | -> | sealed | sealed | -> | in flight | -> known
//!    (any thread)   full, linger over,      one request at a time,      answer, or given up
//!                   flush, or its turn      unless nothing is ever
//!                                           sent again
//! ```
//!
//! **Order.** The records of a partition reach the log in the order of their appends. A batch that failed for the moment
//! goes back to the front, and nothing behind it is sent before its fate is known: so there is one *request* in flight
//! per partition (it carries many batches). Where nothing is sent again ([`Acks::None`](crate::Acks::None), or no retries)
//! nothing can be overtaken, and requests follow one another without waiting.
//!
//! **Who looks when.** The loop is told of a queue only when it does not know already that it must look
//! ([`Attention`]); a full batch behind one in flight costs no wake-up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use folio_record::{BatchBuilder, Codec, DoesNotFit, NewRecord, Offset};

use super::batch::{Ended, SealedBatch};
use super::budget::Budget;
use super::outcome::Outcome;
use crate::{CallError, DeliveryError, Refusal, TopicPartition};

/// The queue of one partition. Shared by the threads that send and the loop.
#[derive(Debug)]
pub(crate) struct PartitionQueue {
    topic_partition: TopicPartition,
    rules: QueueRules,
    budget: Arc<Budget>,
    state: Mutex<State>,
}

/// What holds for all queues of a producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueRules {
    /// A batch is sealed when it has reached this.
    pub(crate) batch_bytes: usize,
    /// How long an open batch waits for more.
    pub(crate) linger: Duration,
    /// From append to the end of all attempts.
    pub(crate) delivery_timeout: Duration,
    /// Attempts after the first.
    pub(crate) retries: u32,
    /// Whether an answer is asked for.
    pub(crate) answered: bool,
    pub(crate) compression: Codec,
    /// No batch is larger than this.
    pub(crate) batch_bytes_max: usize,
}

/// A record's place.
pub(crate) struct Appended {
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) index: u32,
    /// The loop must be told to look.
    pub(crate) tell: bool,
}

/// Why a record has no place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotAppended {
    DoesNotFit(DoesNotFit),
    Closed,
}

/// What the loop finds when it looks.
pub(crate) enum Look {
    /// Batches to be sent now, under this number.
    Send { flight: u64, batches: Vec<Bytes> },
    /// Nothing before this time.
    Later(Instant),
    /// Nothing until the queue says so, or until what is in flight is known.
    Nothing,
}

/// Why batches that were sent are not in the log.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The broker's word. None of the batches was appended.
    Refused { refusal: Refusal, batch_too_large: bool },
    /// They did not get through, or nobody knows.
    Failed(CallError),
}

#[derive(Debug)]
struct State {
    builder: BatchBuilder,
    open: Option<Open>,
    sealed: VecDeque<SealedBatch>,
    in_flight: VecDeque<Flight>,
    next_flight: u64,
    /// Not before this time, for the broker refused for the moment.
    not_before: Option<Instant>,
    /// So many batches are sent one by one, to find out which one the broker refuses.
    one_by_one: usize,
    /// The open batch is not to wait for more.
    flushing: bool,
    attention: Attention,
    closed: bool,
}

/// The batch that is being filled.
#[derive(Debug)]
struct Open {
    outcome: Arc<Outcome>,
    reserved: usize,
    opened: Instant,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    batches: Vec<SealedBatch>,
}

/// What the loop knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attention {
    /// Nothing: it must be told of the first record.
    None,
    /// That an open batch waits for more: it must be told when one is full.
    Lingering,
    /// That there is something. It looks when it can.
    Full,
}

impl PartitionQueue {
    pub(crate) fn new(topic_partition: TopicPartition, rules: QueueRules, budget: Arc<Budget>) -> Self {
        let state = State {
            builder: rules.builder(),
            open: None,
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_flight: 0,
            not_before: None,
            one_by_one: 0,
            flushing: false,
            attention: Attention::None,
            closed: false,
        };
        Self { topic_partition, rules, budget, state: Mutex::new(state) }
    }

    pub(crate) fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// Takes a record, for which `reserved` bytes of the budget were taken; they are given back with its batch.
    pub(crate) fn append(&self, record: &NewRecord<'_>, reserved: usize) -> Result<Appended, NotAppended> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.closed {
            return Err(NotAppended::Closed);
        }
        if state.open.is_some() && state.builder.size() + reserved > self.rules.batch_bytes {
            state.seal(&self.rules);
        }
        let index = match state.builder.append(record) {
            Ok(index) => index,
            Err(_) if state.open.is_some() => {
                state.seal(&self.rules);
                state.builder.append(record).map_err(NotAppended::DoesNotFit)?
            }
            Err(error) => return Err(NotAppended::DoesNotFit(error)),
        };
        let open = state.open.get_or_insert_with(|| Open {
            outcome: Outcome::new(self.topic_partition.clone()),
            reserved: 0,
            opened: Instant::now(),
        });
        open.reserved += reserved;
        let outcome = Arc::clone(&open.outcome);
        if state.builder.size() >= self.rules.batch_bytes {
            state.seal(&self.rules);
        }
        Ok(Appended { outcome, index, tell: state.needs_attention() })
    }

    /// Has what is there sent without waiting for more, and adds its outcomes to `outcomes`. Returns whether the loop
    /// must be told to look.
    pub(crate) fn flush(&self, outcomes: &mut Vec<Arc<Outcome>>) -> bool {
        let mut state = self.lock();
        let in_flight = state.in_flight.iter().flat_map(|flight| &flight.batches);
        outcomes.extend(in_flight.chain(&state.sealed).map(|batch| Arc::clone(batch.outcome())));
        outcomes.extend(state.open.iter().map(|open| Arc::clone(&open.outcome)));
        if state.open.is_some() {
            state.flushing = true;
            if state.attention == Attention::Lingering {
                state.attention = Attention::Full;
                return true;
            }
        }
        state.needs_attention()
    }

    /// No record is taken any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// What is to be sent now: batches of at most `bytes_max` together, or one that is larger. By the loop only.
    pub(crate) fn look(&self, now: Instant, bytes_max: usize) -> Look {
        let mut guard = self.lock();
        let state = &mut *guard;
        if self.rules.keeps_order_by_waiting() && !state.in_flight.is_empty() {
            state.attention = Attention::Full; // the answer makes it look again
            return Look::Nothing;
        }
        if let Some(not_before) = state.not_before.filter(|at| *at > now) {
            state.attention = Attention::Full;
            return Look::Later(not_before);
        }
        state.not_before = None;
        if let Some(open) = &state.open {
            let due = open.opened + self.rules.linger;
            // The batch may have been opened since this turn of the loop began.
            if self.rules.linger.is_zero() || due <= now || state.flushing {
                state.seal(&self.rules);
            } else if state.sealed.is_empty() {
                state.attention = Attention::Lingering;
                return Look::Later(due);
            }
        }
        if state.sealed.is_empty() {
            state.attention = Attention::None;
            return Look::Nothing;
        }
        state.attention = Attention::Full;
        let batches = state.take_sealed(bytes_max, self.rules.batches_per_flight());
        let bytes = batches.iter().map(|batch| batch.bytes.clone()).collect();
        let number = state.next_flight;
        state.next_flight += 1;
        state.in_flight.push_back(Flight { number, batches });
        Look::Send { flight: number, batches: bytes }
    }

    /// What was sent under this number is in the log, from `base` on.
    pub(crate) fn delivered(&self, flight: u64, base: Option<Offset>) {
        let mut ended = Ended::default();
        if let Some(batches) = self.lock().land(flight) {
            ended.delivered(batches, base);
        }
        ended.announce(&self.budget);
    }

    /// What was sent under this number is not known to be in the log. Sends it again after `backoff` (a function of the
    /// attempts made so far), or in smaller pieces, or gives it up.
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
            let attempts = 1 + batches.first().map_or(0, |batch| batch.attempts);
            let (mut again, over): (Vec<_>, Vec<_>) = batches
                .into_iter()
                .partition(|batch| batch.deadline > now && batch.attempts < self.rules.retries);
            again.iter_mut().for_each(|batch| batch.attempts += 1);
            state.put_back(again);
            state.not_before = Some(now + backoff(attempts));
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

    /// Gives up what has waited for longer than the delivery timeout. Returns when the next one will have.
    pub(crate) fn expire(&self, now: Instant, because: &CallError) -> Option<Instant> {
        let failure = Failure::Failed(because.clone());
        let mut ended = Ended::default();
        let mut next = None;
        let mut guard = self.lock();
        let state = &mut *guard;
        for batch in state.in_flight.iter().flat_map(|flight| &flight.batches) {
            if batch.deadline <= now {
                batch.give_up_waiting(failure.for_records_of(&self.topic_partition), &mut ended);
            } else {
                next = earlier(next, batch.deadline);
            }
        }
        if let Some(open) = &state.open {
            let deadline = open.opened + self.rules.delivery_timeout;
            if deadline <= now {
                state.seal(&self.rules);
            } else {
                next = earlier(next, deadline);
            }
        }
        // First in, first out, and halves keep their deadline: the front is the oldest.
        while let Some(batch) = state.sealed.pop_front_if(|batch| batch.deadline <= now) {
            self.give_up([batch], &failure, &mut ended);
        }
        next = state.sealed.front().map_or(next, |batch| earlier(next, batch.deadline));
        drop(guard);
        ended.announce(&self.budget);
        next
    }

    /// Gives up everything: nobody sends any more.
    pub(crate) fn abandon(&self, because: &CallError) {
        let mut ended = Ended::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        state.closed = true;
        state.seal(&self.rules);
        let in_flight = state.in_flight.drain(..).flat_map(|flight| flight.batches);
        let failure = Failure::Failed(because.clone());
        self.give_up(in_flight.chain(state.sealed.drain(..)), &failure, &mut ended);
        drop(guard);
        ended.announce(&self.budget);
    }

    /// Whether nothing waits and nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.open.is_none() && state.sealed.is_empty() && state.in_flight.is_empty()
    }

    /// What a batch that is too large for the broker is replaced by, if that can help.
    fn halves_of(&self, batch: &SealedBatch, failure: &Failure) -> Option<[Vec<u8>; 2]> {
        if !failure.is_too_large() || batch.count() < 2 {
            return None;
        }
        let mut builder = self.rules.builder();
        batch.halves(&mut builder).ok()
    }

    fn give_up(&self, batches: impl IntoIterator<Item = SealedBatch>, failure: &Failure, ended: &mut Ended) {
        for batch in batches {
            batch.finish(Err(failure.for_records_of(&self.topic_partition)), ended);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueRules {
    /// Whether a batch waits until the fate of those before it is known.
    pub(crate) fn keeps_order_by_waiting(&self) -> bool {
        self.answered && self.retries > 0
    }

    fn batches_per_flight(&self) -> usize {
        // Without retries nobody finds out which of several batches was at fault: each answers for itself.
        if self.answered && self.retries == 0 { 1 } else { usize::MAX }
    }

    fn builder(&self) -> BatchBuilder {
        BatchBuilder::new(self.compression, self.batch_bytes_max)
    }
}

impl State {
    fn seal(&mut self, rules: &QueueRules) {
        self.flushing = false;
        let Some(open) = self.open.take() else { return };
        let count = self.builder.count();
        if let Some(bytes) = self.builder.build() {
            let deadline = open.opened + rules.delivery_timeout;
            self.sealed.push_back(SealedBatch::new(bytes, open.outcome, count, open.reserved, deadline));
        }
    }

    /// Whether the loop must be told that there is something to look at; then it counts as told.
    fn needs_attention(&mut self) -> bool {
        let tell = match self.attention {
            Attention::None => self.open.is_some() || !self.sealed.is_empty(),
            Attention::Lingering => !self.sealed.is_empty(),
            Attention::Full => false,
        };
        if tell {
            self.attention = Attention::Full;
        }
        tell
    }

    fn take_sealed(&mut self, bytes_max: usize, batches_max: usize) -> Vec<SealedBatch> {
        let batches_max = if self.one_by_one > 0 { 1 } else { batches_max };
        self.one_by_one = self.one_by_one.saturating_sub(1);
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < batches_max
            && let Some(batch) = self.sealed.pop_front_if(|next| {
                bytes += next.bytes.len();
                taken.is_empty() || bytes <= bytes_max
            })
        {
            taken.push(batch);
        }
        taken
    }

    fn land(&mut self, flight: u64) -> Option<Vec<SealedBatch>> {
        let at = self.in_flight.iter().position(|candidate| candidate.number == flight)?;
        self.in_flight.remove(at).map(|flight| flight.batches)
    }

    /// To the front, in their order.
    fn put_back(&mut self, batches: impl IntoIterator<Item = SealedBatch, IntoIter: DoubleEndedIterator>) {
        for batch in batches.into_iter().rev() {
            self.sealed.push_front(batch);
        }
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

    fn is_too_large(&self) -> bool {
        matches!(self, Self::Refused { batch_too_large: true, .. })
    }

    fn for_records_of(&self, topic_partition: &TopicPartition) -> DeliveryError {
        let topic_partition = topic_partition.clone();
        match self {
            Self::Refused { refusal, .. } => {
                DeliveryError::Refused { topic_partition, refusal: refusal.clone() }
            }
            Self::Failed(source) => DeliveryError::Failed { topic_partition, source: source.clone() },
        }
    }
}

fn earlier(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

#[cfg(test)]
mod tests;
