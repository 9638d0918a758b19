//! Subscriptions of a consumer, one for each partition: the broker pushes what becomes visible, up to a *window* of
//! bytes that were not handed out yet.
//!
//! ```text
//!   window = what is here, not handed out  +  credit left at the broker  (as far as it is known here)
//! ```
//! Credit is given again when half of the window is free. What is here may exceed the window by a batch: the broker
//! sends one whole batch for any credit. A stream whose place has changed (seek, another assignment) is unsubscribed
//! from, and what still comes of it is nobody's.
//!
//! A consumer either streams or fetches, all of its partitions. It fetches when it was told to, when it wants answers
//! of more than one byte at least, when its windows would become too small to be of use, and while it has a connection
//! to a broker that knows no subscriptions, or has no room for more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use folio_record::Offset;

use super::fetcher::{Fetched, Fetcher};
use super::state::{Next, State};
use crate::driver::Subscriptions;
use crate::protocol::Malformed;
use crate::{ErrorCode, TopicPartition};

/// The subscriptions of one consumer, while a connection lasts.
#[derive(Default)]
pub(super) struct Streams {
    /// The slot that each is for, and its generation.
    of: BTreeMap<u32, (usize, u64)>,
    /// This broker gives no subscriptions, or no more of them.
    refused: bool,
}

/// What of a partition's credit is known here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    number: u32,
    window: u64,
    left: u64,
}

/// Something to be asked about a subscription.
pub(crate) enum Order {
    Subscribe { number: u32, topic_partition: TopicPartition, offset: Offset, credit: u64 },
    Credit { number: u32, add: u64 },
    Unsubscribe { number: u32 },
}

impl Credit {
    /// What is to be given, with so many bytes here; nothing while it is less than half of the window.
    pub(crate) fn due(&self, buffered: usize) -> Option<u64> {
        let free = self.window.saturating_sub(self.left.saturating_add(buffered as u64));
        (free >= self.window.div_ceil(2)).then_some(free)
    }
}

impl Fetcher {
    /// The next thing to be asked about subscriptions.
    pub(crate) fn next_order(&mut self, now: Instant, subscriptions: &mut Subscriptions) -> Option<Order> {
        if !self.wants_to_send() {
            return None;
        }
        let shared = Arc::clone(&self.shared);
        let state = &mut *shared.lock();
        let streams = self.streams(state);
        if let Some(number) = self.next_stale(state, streams) {
            subscriptions.end(number);
            return Some(Order::Unsubscribe { number });
        }
        if !streams {
            return None;
        }
        if let Some(order) = self.next_subscribe(state, now, subscriptions) {
            return Some(order);
        }
        let order = next_credit(state);
        self.look = order.is_some();
        order
    }

    /// Whether this consumer streams.
    pub(super) fn streams(&self, state: &State) -> bool {
        let config = &self.shared.config;
        config.streaming && config.bytes_min <= 1 && !self.streams.refused && state.slots.len() <= STREAMS_MAX
    }

    /// A subscription that is not wanted any more.
    fn next_stale(&mut self, state: &mut State, streams: bool) -> Option<u32> {
        let is_stale = |&(at, generation): &(usize, u64)| {
            !streams || state.slots.get(at).is_none_or(|slot| slot.generation != generation)
        };
        let (&number, &(at, generation)) = self.streams.of.iter().find(|(_, slot)| is_stale(slot))?;
        self.streams.of.remove(&number);
        if let Some(slot) = state.current(at, generation) {
            slot.stream = None;
            slot.asked = false;
        }
        Some(number)
    }

    fn next_subscribe(
        &mut self,
        state: &mut State,
        now: Instant,
        subscriptions: &mut Subscriptions,
    ) -> Option<Order> {
        let config = &self.shared.config;
        let share = config.prefetch_bytes / state.slots.len().max(1);
        let window = config.partition_bytes_max.saturating_mul(2).min(share).max(1) as u64;
        for (at, slot) in state.slots.iter_mut().enumerate() {
            if let Some(time) = slot.not_before.filter(|time| *time > now) {
                self.next_retry = Some(self.next_retry.map_or(time, |other| other.min(time)));
                continue;
            }
            let Next::At { offset, .. } = slot.next else { continue };
            if slot.paused || slot.asked {
                continue;
            }
            let number = subscriptions.begin(self.id());
            slot.asked = true;
            // What was fetched before, and is still here, is part of the window.
            let credit = window.saturating_sub(slot.buffered() as u64).max(1);
            slot.stream = Some(Credit { number, window, left: credit });
            self.streams.of.insert(number, (at, slot.generation));
            let topic_partition = slot.topic_partition.clone();
            return Some(Order::Subscribe { number, topic_partition, offset, credit });
        }
        None
    }

    /// Something has come of a subscription: that it has begun (no bytes), batches, or why there is none any more. An
    /// error: the broker sends more than it may.
    pub(crate) fn streamed(
        &mut self,
        number: u32,
        what: Fetched,
        frame_bytes_max: usize,
        now: Instant,
    ) -> Result<(), Malformed> {
        let Some(&(at, generation)) = self.streams.of.get(&number) else { return Ok(()) };
        if let Fetched::Refused(refusal) = &what {
            match refusal.code {
                ErrorCode::UNSUPPORTED => {
                    // It has none of the others either.
                    self.connection_lost();
                    self.streams.refused = true;
                    return Ok(());
                }
                ErrorCode::LIMIT_REACHED => self.streams.refused = true,
                _ => {}
            }
        }
        let shared = Arc::clone(&self.shared);
        let mut guard = shared.lock();
        let state = &mut *guard;
        let is_over = !matches!(what, Fetched::Records { .. });
        if is_over {
            self.streams.of.remove(&number);
            self.look = true;
        }
        // What is stale is nobody's.
        let Some(slot) = state.current(at, generation) else { return Ok(()) };
        match &what {
            Fetched::Records { bytes, .. } => slot.take_credit(bytes, frame_bytes_max)?,
            Fetched::OutOfRange { .. } | Fetched::Refused(_) => {
                slot.stream = None;
                slot.asked = false;
            }
        }
        // Else it stopped at an error in what came before.
        if let Next::At { offset, .. } = slot.next
            && !(is_over && self.streams.refused)
        {
            self.take(state, at, offset, what, now);
        }
        drop(guard);
        self.shared.notify();
        Ok(())
    }

    /// The connection is no more, and all subscriptions with it.
    pub(crate) fn connection_lost(&mut self) {
        let mut state = self.shared.lock();
        for (at, generation) in std::mem::take(&mut self.streams).of.into_values() {
            if let Some(slot) = state.current(at, generation) {
                slot.stream = None;
                slot.asked = false;
            }
        }
        self.look = true;
    }
}

impl super::state::Slot {
    /// Takes what has come off the credit.
    fn take_credit(&mut self, bytes: &Bytes, frame_bytes_max: usize) -> Result<(), Malformed> {
        let buffered = self.buffered();
        let Some(credit) = &mut self.stream else { return Ok(()) };
        // The broker's credit and ours differ by what is on its way, which is a batch at the most.
        if buffered as u64 > credit.window.saturating_add(frame_bytes_max as u64) {
            return Err(Malformed::new(format!(
                "{buffered} bytes of a subscription, and more without credit"
            )));
        }
        credit.left = credit.left.saturating_sub(bytes.len() as u64);
        Ok(())
    }
}

fn next_credit(state: &mut State) -> Option<Order> {
    state.slots.iter_mut().find_map(|slot| {
        let buffered = slot.buffered();
        let credit = slot.stream.as_mut()?;
        let add = credit.due(buffered)?;
        credit.left = credit.left.saturating_add(add);
        Some(Order::Credit { number: credit.number, add })
    })
}

/// With more partitions their windows would be too small, or hold too much together: then they are fetched.
const STREAMS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::config::Position;
    use super::super::state::Item;
    use super::*;

    #[test]
    fn credit_is_given_when_half_of_the_window_is_free_and_never_wraps() {
        for (window, left, buffered, due) in [
            (100, 100, 0, None),
            (100, 51, 0, None),
            (100, 50, 0, Some(50)),
            (100, 0, 0, Some(100)),
            (100, 0, 51, None),
            (100, 0, 1000, None),
            (1, 1, 0, None),
            (1, 0, 0, Some(1)),
            (u64::MAX, u64::MAX, usize::MAX, None),
            (u64::MAX, 0, 0, Some(u64::MAX)),
        ] {
            let credit = Credit { number: 0, window, left };
            assert_eq!(credit.due(buffered), due, "{left} left of {window}, {buffered} here");
        }
    }

    #[test]
    fn a_broker_that_sends_without_credit_is_stopped_within_a_window_and_two_frames() {
        let (window, frame_bytes_max) = (1000, 5000);
        let mut state = State::default();
        state.assign(vec![(TopicPartition::new("t", 0), Position::At(Offset::ZERO))]);
        state.slots[0].stream = Some(Credit { number: 0, window, left: window });
        let bytes = Bytes::from(vec![0; frame_bytes_max]);
        let mut taken = 0;
        while state.slots[0].take_credit(&bytes, frame_bytes_max).is_ok() {
            taken += bytes.len();
            let (from, high_watermark) = (Offset::ZERO, Offset::ZERO);
            state.push(0, Item::Fetched { bytes: bytes.clone(), from, high_watermark });
        }
        assert!(taken <= 1000 + 2 * frame_bytes_max, "{taken} bytes");
        assert!(taken > frame_bytes_max, "a batch that is larger than the window is no offence");
    }
}
