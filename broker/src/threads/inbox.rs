//! How work reaches a storage thread: a list under a lock, swapped out whole.
//!
//! Waking a sleeper costs the waker some ten microseconds, a push some tens of nanoseconds; therefore a
//! sender only wakes a receiver that sleeps, and one that takes everything is woken once for many sends.
//! The list has no bound of its own: whoever sends is bounded by the resource it sends about (bytes in
//! lanes, waiting fetches, partitions).

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A queue into one or more threads.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    is_closed: bool,
    sleepers: usize,
}

/// What waiting for an item came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    /// Something had arrived.
    Items(T),
    /// The deadline came first.
    TimedOut,
    /// The inbox is closed and everything that was sent has been taken.
    Closed,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        let state = State { items: VecDeque::new(), is_closed: false, sleepers: 0 };
        Self { state: Mutex::new(state), arrived: Condvar::new() }
    }

    /// Appends `items` and wakes one receiver if it sleeps. After [`Inbox::close`] they are dropped.
    pub(crate) fn send(&self, items: impl IntoIterator<Item = T>) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        state.items.extend(items);
        self.notify(state);
    }

    /// Makes a sleeping receiver look again.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        drop(state);
        self.arrived.notify_all();
    }

    /// Whether nothing comes any more: whoever is at work may leave it there.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Waits for items and moves all of them to `into`; `Taken::TimedOut` without any at `deadline`.
    pub(crate) fn take_all(&self, into: &mut VecDeque<T>, deadline: Option<Instant>) -> Taken<()> {
        self.wait(deadline, |items| {
            let has_some = !items.is_empty();
            into.append(items);
            has_some.then_some(())
        })
    }

    /// Waits for one item: for threads that share an inbox.
    pub(crate) fn take_one(&self) -> Taken<T> {
        self.wait(None, VecDeque::pop_front)
    }

    fn wait<R>(
        &self,
        deadline: Option<Instant>,
        mut take: impl FnMut(&mut VecDeque<T>) -> Option<R>,
    ) -> Taken<R> {
        let mut state = self.lock();
        loop {
            if let Some(taken) = take(&mut state.items) {
                return Taken::Items(taken);
            }
            if state.is_closed {
                return Taken::Closed;
            }
            state.sleepers += 1;
            state = match deadline {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        state.sleepers -= 1;
                        return Taken::TimedOut;
                    }
                    self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.sleepers -= 1;
        }
    }

    fn notify(&self, state: MutexGuard<'_, State<T>>) {
        // The count of sleepers is under the lock: a receiver either sees the item or is counted here.
        let is_asleep = state.sleepers > 0;
        drop(state);
        if is_asleep {
            self.arrived.notify_one();
        }
    }

    // No code runs under this lock that could panic half-way through a change.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_sent_before_the_close_is_still_taken() {
        let inbox = Inbox::new();
        inbox.send([1, 2]);
        inbox.send([3]);
        inbox.close();
        inbox.send([4]);
        let mut items = VecDeque::new();
        assert_eq!(inbox.take_all(&mut items, None), Taken::Items(()));
        assert_eq!(items, [1, 2, 3]);
        assert_eq!(inbox.take_all(&mut items, None), Taken::Closed);
    }

    #[test]
    fn a_sleeping_receiver_is_woken_by_a_send() {
        let inbox = Arc::new(Inbox::new());
        let receiver = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || inbox.take_one()
        });
        while inbox.lock().sleepers == 0 {
            thread::yield_now();
        }
        inbox.send([7]);
        assert_eq!(receiver.join().unwrap(), Taken::Items(7));
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let inbox = Inbox::<()>::new();
        let mut items = VecDeque::new();
        let deadline = Instant::now() + Duration::from_millis(5);
        assert_eq!(inbox.take_all(&mut items, Some(deadline)), Taken::TimedOut);
        assert!(Instant::now() >= deadline);
    }

    #[test]
    fn threads_that_share_an_inbox_take_each_item_once() {
        let inbox = Arc::new(Inbox::new());
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    let mut taken = Vec::new();
                    while let Taken::Items(item) = inbox.take_one() {
                        taken.push(item);
                    }
                    taken
                })
            })
            .collect();
        for i in 0..1000 {
            inbox.send([i]);
        }
        inbox.close();
        let mut all: Vec<i32> = receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }
}
