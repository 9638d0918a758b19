//! What waits to be sent to one partition, in order.
//!
//! ```text
//!   append -> | open batch | -> | sealed | sealed | -> | in flight | -> known
//!    (any thread)   full, linger over,      one request at a time,      answer, or given up
//!                   flush, or its turn      unless nothing is ever
//!                                           sent again
//! ```
//!
//! **Order.** The records of a partition reach the log in the order of their appends. A batch that failed for the
//! moment goes back to the front, and nothing behind it is sent before its fate is known: so there is one *request* in
//! flight per partition (it carries several batches). Where nothing is sent again ([`Acks::None`](crate::Acks::None),
//! or no retries) nothing can be overtaken, and requests follow one another without waiting.
//!
//! **Once.** Batches that may be sent again carry [numbers](super::numbers), unless that was turned off, and each has
//! an answer of its own ([`landing`]). The broker tells copies of the last five, so no more are in flight. Those
//! without numbers are one entry of a request: all of them are stored, or none.
//!
//! **Who looks when.** The loop is told of a queue only when it does not know already that it must look
//! ([`Attention`]); a full batch behind one in flight costs no wake-up.

mod landing;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use folio_record::{BatchBuilder, Compression, DoesNotFit, NewRecord};

use super::batch::{Ended, SealedBatch, Standing};
use super::budget::Budget;
use super::compressors::Compressors;
use super::numbers::{Identity, Number, Numbers};
use super::outcome::Outcome;
use crate::{CallError, Refusal, TopicPartition};
pub(crate) use landing::Failure;

/// The queue of one partition. Shared by the threads that send and the loop.
#[derive(Debug)]
pub(crate) struct PartitionQueue {
    topic_partition: TopicPartition,
    rules: QueueRules,
    budget: Arc<Budget>,
    compressors: Arc<Compressors>,
    state: Mutex<State>,
}

/// What holds for all queues of a producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueRules {
    /// A batch is sealed when it has reached this.
    pub(crate) batch_bytes: usize,
    /// The same, while others wait before it.
    pub(crate) batch_bytes_grown: usize,
    /// How long an open batch waits for more.
    pub(crate) linger: Duration,
    /// From append to the end of all attempts.
    pub(crate) delivery_timeout: Duration,
    /// Attempts after the first.
    pub(crate) retries: u32,
    /// Whether an answer is asked for.
    pub(crate) answered: bool,
    /// Whether batches carry numbers.
    pub(crate) numbered: bool,
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
    /// Batches to be sent now, as this flight; each an entry of its own, or all together one.
    Send { flight: u64, batches: Vec<Bytes>, apart: bool },
    /// Nothing before this time.
    Later(Instant),
    /// Nothing until the queue says so, or until what is in flight is known.
    Nothing,
    /// Nothing can be sent any more by this producer.
    Broken(Refusal),
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
    /// Why, if nothing was stored since.
    trouble: Option<CallError>,
    /// So many batches are sent one by one, to find out which one the broker refuses.
    one_by_one: usize,
    /// Once it is known who the producer is.
    numbers: Option<Numbers>,
    /// What the next batch to be sealed will probably be sent as. A wrong guess costs another checksum.
    likely_number: Option<Number>,
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
    pub(crate) fn new(
        topic_partition: TopicPartition,
        rules: QueueRules,
        budget: Arc<Budget>,
        compressors: Arc<Compressors>,
    ) -> Self {
        let state = State {
            builder: BatchBuilder::new(Compression::None, rules.batch_bytes_max),
            open: None,
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_flight: 0,
            not_before: None,
            trouble: None,
            one_by_one: 0,
            numbers: None,
            likely_number: None,
            flushing: false,
            attention: Attention::None,
            closed: false,
        };
        Self { topic_partition, rules, budget, compressors, state: Mutex::new(state) }
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
        let batch_bytes =
            if state.sealed.is_empty() { self.rules.batch_bytes } else { self.rules.batch_bytes_grown };
        if state.open.is_some() && state.builder.size() + reserved > batch_bytes {
            self.seal(state);
        }
        let index = match state.builder.append(record) {
            Ok(index) => index,
            Err(_) if state.open.is_some() => {
                self.seal(state);
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
        if state.builder.size() >= batch_bytes {
            self.seal(state);
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

    /// What is to be sent now: batches of at most `bytes_max` together, or one that is larger. By the loop only, which
    /// knows who the producer is if batches are numbered.
    pub(crate) fn look(&self, now: Instant, bytes_max: usize, who: Option<Identity>) -> Look {
        let mut ended = Ended::default();
        let look = self.look_into(&mut self.lock(), now, bytes_max, who, &mut ended);
        ended.announce(&self.budget);
        look
    }

    fn look_into(
        &self,
        state: &mut State,
        now: Instant,
        bytes_max: usize,
        who: Option<Identity>,
        ended: &mut Ended,
    ) -> Look {
        if self.rules.keeps_order_by_waiting() && !state.in_flight.is_empty() {
            state.attention = Attention::Full; // the answer makes it look again
            return Look::Nothing;
        }
        if let Err(refusal) = self.close_gap(state, ended) {
            return Look::Broken(refusal);
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
                self.seal(state);
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
        let batches = match who {
            Some(who) => state.take_numbered(bytes_max, who),
            None => state.take_sealed(bytes_max, self.rules.batches_per_flight()),
        };
        let bytes = batches.iter().map(|batch| batch.bytes.clone()).collect();
        let number = state.next_flight;
        state.next_flight += 1;
        state.in_flight.push_back(Flight { number, batches });
        Look::Send { flight: number, batches: bytes, apart: who.is_some() }
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
                self.seal(state);
            } else {
                next = earlier(next, deadline);
            }
        }
        // First in, first out, and halves keep their deadline: the front is the oldest.
        while let Some(batch) = state.sealed.pop_front_if(|batch| batch.deadline <= now) {
            state.given_up(&batch);
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
        self.seal(state);
        let in_flight = state.in_flight.drain(..).flat_map(|flight| flight.batches);
        let failure = Failure::Failed(because.clone());
        self.give_up(in_flight.chain(state.sealed.drain(..)), &failure, &mut ended);
        drop(guard);
        ended.announce(&self.budget);
    }

    /// Why what waits was not stored when it was sent last.
    pub(crate) fn trouble(&self) -> Option<CallError> {
        self.lock().trouble.clone()
    }

    /// Whether nothing waits and nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.open.is_none() && state.sealed.is_empty() && state.in_flight.is_empty()
    }

    /// The open batch takes no more records.
    fn seal(&self, state: &mut State) {
        state.flushing = false;
        let Some(open) = state.open.take() else { return };
        let count = state.builder.count();
        let number = state.likely_number;
        if let Some(number) = number {
            state.builder.producer(number.id, number.epoch, number.sequence);
            state.likely_number = Some(number.after(count));
        }
        if let Some(bytes) = self.compressors.build(&mut state.builder) {
            let deadline = open.opened + self.rules.delivery_timeout;
            let batch = SealedBatch::new(bytes, number, open.outcome, count, open.reserved, deadline);
            state.sealed.push_back(batch);
        }
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
}

impl State {
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

    /// As many as may be in flight together, with their numbers.
    fn take_numbered(&mut self, bytes_max: usize, who: Identity) -> Vec<SealedBatch> {
        let batches_max = self.numbers.get_or_insert_with(|| Numbers::new(who)).batches_per_flight();
        let mut batches = self.take_sealed(bytes_max, batches_max);
        let Some(numbers) = &mut self.numbers else { return batches };
        let mut guessed = true;
        for batch in batches.iter_mut().filter(|batch| batch.standing == Standing::New) {
            guessed &= batch.settle_number(numbers.take(batch.count()));
        }
        if !guessed {
            let new = self.sealed.iter().filter(|batch| batch.standing == Standing::New);
            let records = new.map(SealedBatch::count).fold(0, u32::wrapping_add);
            self.likely_number = Some(numbers.next().after(records));
        }
        batches
    }

    /// A batch will not be sent again.
    fn given_up(&mut self, batch: &SealedBatch) {
        if let Some(numbers) = &mut self.numbers {
            numbers.given_up(batch);
        }
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

fn earlier(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

#[cfg(test)]
mod tests;
