//! What became of the records of one batch, shared by all who wait for one of them.
//!
//! One allocation a batch, not one a record: a [`Delivery`](crate::Delivery) is a place in a batch. A batch that the
//! broker found too large is sent again in parts, and then each part has an outcome of its own:
//!
//! ```text
//!   records   0 .......... 99 100 ......... 149
//!   parts    | base offset 7 | refused         |     in the order in which they became known
//! ```

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use folio_record::Offset;

use crate::{DeliveryError, TopicPartition};

/// What is known of a batch's records.
#[derive(Debug)]
pub(crate) struct Outcome {
    topic_partition: TopicPartition,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    parts: Vec<Part>,
    /// Every record has its outcome, and there will be no more of them.
    complete: bool,
    wakers: Vec<Waker>,
}

#[derive(Debug)]
struct Part {
    first: u32,
    count: u32,
    result: PartResult,
}

/// The offset of the part's first record, `None` if no answer was asked for; or why there is none.
pub(crate) type PartResult = Result<Option<Offset>, DeliveryError>;

impl Outcome {
    pub(crate) fn new(topic_partition: TopicPartition) -> Arc<Self> {
        Arc::new(Self { topic_partition, state: Mutex::default(), changed: Condvar::new() })
    }

    pub(crate) fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// Says what became of the `count` records from `first` on. Records whose outcome is known keep it. `last`: nothing
    /// more will be said. Whoever must be woken is added to `wakers`, for the caller may hold a lock.
    pub(crate) fn set(
        &self,
        first: u32,
        count: u32,
        result: PartResult,
        last: bool,
        wakers: &mut Vec<Waker>,
    ) {
        let mut state = self.lock();
        if state.get(first).is_none() {
            state.parts.push(Part { first, count, result });
        }
        state.complete |= last;
        wakers.append(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
    }

    /// What became of record `index`, if that is known.
    pub(crate) fn get(&self, index: u32) -> Option<PartResult> {
        self.lock().get(index)
    }

    pub(crate) fn poll(&self, index: u32, context: &Context<'_>) -> Poll<PartResult> {
        let mut state = self.lock();
        match state.get(index) {
            Some(result) => Poll::Ready(result),
            None => {
                state.register(context);
                Poll::Pending
            }
        }
    }

    pub(crate) fn wait(&self, index: u32) -> PartResult {
        let mut state = self.lock();
        loop {
            if let Some(result) = state.get(index) {
                return result;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn wait_for(&self, index: u32, limit: Duration) -> Option<PartResult> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(result) = state.get(index) {
                return Some(result);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first error among all records, once all are known.
    pub(crate) fn poll_all(&self, context: &Context<'_>) -> Poll<Result<(), DeliveryError>> {
        let mut state = self.lock();
        match state.all() {
            Some(result) => Poll::Ready(result),
            None => {
                state.register(context);
                Poll::Pending
            }
        }
    }

    /// As [`poll_all`](Self::poll_all), for a thread; `None` at the deadline.
    pub(crate) fn wait_all(&self, deadline: Option<Instant>) -> Option<Result<(), DeliveryError>> {
        let mut state = self.lock();
        loop {
            if let Some(result) = state.all() {
                return Some(result);
            }
            let Some(deadline) = deadline else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn get(&self, index: u32) -> Option<PartResult> {
        let part = self.parts.iter().find(|part| (part.first..part.first + part.count).contains(&index))?;
        Some(match &part.result {
            Ok(base) => Ok(base.and_then(|base| base.checked_add(i64::from(index - part.first)))),
            Err(error) => Err(error.clone()),
        })
    }

    fn all(&self) -> Option<Result<(), DeliveryError>> {
        if !self.complete {
            return None;
        }
        let first_error = self.parts.iter().find_map(|part| part.result.as_ref().err());
        Some(first_error.map_or(Ok(()), |error| Err(error.clone())))
    }

    fn register(&mut self, context: &Context<'_>) {
        if !self.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            self.wakers.push(context.waker().clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CallError;

    fn set(outcome: &Outcome, first: u32, count: u32, result: PartResult, last: bool) {
        outcome.set(first, count, result, last, &mut Vec::new());
    }

    fn outcome() -> Arc<Outcome> {
        Outcome::new(TopicPartition::new("t", 3))
    }

    fn failed() -> DeliveryError {
        DeliveryError::Failed { topic_partition: TopicPartition::new("t", 3), source: CallError::Closed }
    }

    #[test]
    fn each_record_has_its_offset() {
        let outcome = outcome();
        assert!(outcome.get(0).is_none());
        set(&outcome, 0, 10, Ok(Some(Offset::new(100))), true);
        assert!(matches!(outcome.get(0), Some(Ok(Some(offset))) if offset.get() == 100));
        assert!(matches!(outcome.get(9), Some(Ok(Some(offset))) if offset.get() == 109));
    }

    #[test]
    fn the_parts_of_a_batch_that_was_split_have_outcomes_of_their_own() {
        let outcome = outcome();
        set(&outcome, 0, 5, Ok(Some(Offset::new(100))), false);
        assert!(outcome.get(5).is_none());
        assert!(outcome.wait_all(Some(Instant::now())).is_none());
        set(&outcome, 5, 1, Err(failed()), false);
        set(&outcome, 6, 4, Ok(Some(Offset::new(200))), true);
        assert!(matches!(outcome.get(4), Some(Ok(Some(offset))) if offset.get() == 104));
        assert!(matches!(outcome.get(5), Some(Err(_))));
        assert!(matches!(outcome.get(9), Some(Ok(Some(offset))) if offset.get() == 203));
        assert!(matches!(outcome.wait_all(None), Some(Err(_))));
    }

    #[test]
    fn what_was_said_first_stands() {
        let outcome = outcome();
        set(&outcome, 0, 1, Err(failed()), true);
        set(&outcome, 0, 1, Ok(Some(Offset::new(1))), true);
        assert!(matches!(outcome.get(0), Some(Err(_))));
    }

    #[test]
    fn without_an_answer_there_is_no_offset_but_an_end() {
        let outcome = outcome();
        set(&outcome, 0, 2, Ok(None), true);
        assert!(matches!(outcome.wait(1), Ok(None)));
    }
}
