//! The bytes that a producer may hold: what makes it block, or refuse, instead of growing.
//!
//! The fast way is one compare-and-swap of a counter. Whoever finds it full registers as a waiter *before* looking
//! again, and whoever frees bytes does so *before* looking for waiters (both sequentially consistent), so one of the
//! two always sees the other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Counts bytes against a limit.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// Threads and wakers that wait for room; kept equal to what `waiters` holds.
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Waiters {
    threads: usize,
    wakers: Vec<Waker>,
    closed: bool,
}

/// Why there was no room in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// Too much is used.
    Full,
    /// Nobody gets any more.
    Closed,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiters: Mutex::new(Waiters::default()),
            freed: Condvar::new(),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if there is room for them. `bytes` is at most the limit.
    pub(crate) fn try_reserve(&self, bytes: usize) -> bool {
        debug_assert!(bytes <= self.limit, "nobody may ask for more than there is");
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                used.checked_add(bytes).filter(|after| *after <= self.limit)
            })
            .is_ok()
    }

    /// Takes `bytes`, when there is room for them, by `deadline` at the latest. Blocks.
    pub(crate) fn reserve(&self, bytes: usize, deadline: Instant) -> Result<(), NoRoom> {
        if self.try_reserve(bytes) {
            return Ok(());
        }
        let mut waiters = self.lock();
        waiters.threads += 1;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let result = loop {
            if waiters.closed {
                break Err(NoRoom::Closed);
            }
            if self.try_reserve(bytes) {
                break Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(NoRoom::Full);
            }
            waiters = self.freed.wait_timeout(waiters, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        waiters.threads -= 1;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Takes `bytes` if there is room, else has `context` woken when there may be.
    pub(crate) fn poll_reserve(&self, bytes: usize, context: &Context<'_>) -> Poll<Result<(), NoRoom>> {
        if self.try_reserve(bytes) {
            return Poll::Ready(Ok(()));
        }
        let mut waiters = self.lock();
        if waiters.closed {
            return Poll::Ready(Err(NoRoom::Closed));
        }
        if !waiters.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            waiters.wakers.push(context.waker().clone());
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }
        if self.try_reserve(bytes) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Gives `bytes` back.
    pub(crate) fn release(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::SeqCst);
        debug_assert!(before >= bytes, "more is given back than was taken");
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_all();
        }
    }

    /// Lets everybody who waits go without.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake_all();
    }

    fn wake_all(&self) {
        let mut waiters = self.lock();
        let wakers = std::mem::take(&mut waiters.wakers);
        self.waiting.fetch_sub(wakers.len(), Ordering::SeqCst);
        drop(waiters); // a waker may run its future at once, and that may ask us
        self.freed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn it_never_gives_out_more_than_its_limit_to_many_threads() {
        let budget = Arc::new(Budget::new(1000));
        let most = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (budget, most) = (Arc::clone(&budget), Arc::clone(&most));
                std::thread::spawn(move || {
                    for turn in 0..2000 {
                        let bytes = 100 + (thread * 37 + turn * 11) % 400;
                        budget.reserve(bytes, soon()).unwrap();
                        let held = most.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        assert!(held <= 1000, "{held} held");
                        most.fetch_sub(bytes, Ordering::SeqCst);
                        budget.release(bytes);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_thread_that_waits_gets_what_another_gives_back() {
        let budget = Arc::new(Budget::new(10));
        assert!(budget.try_reserve(8));
        assert!(!budget.try_reserve(3));
        let waiter = {
            let budget = Arc::clone(&budget);
            std::thread::spawn(move || budget.reserve(5, soon()))
        };
        budget.release(8);
        assert_eq!(waiter.join().unwrap(), Ok(()));
        assert_eq!(budget.used(), 5);
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_at_the_close() {
        let budget = Arc::new(Budget::new(10));
        assert!(budget.try_reserve(10));
        assert_eq!(budget.reserve(1, Instant::now()), Err(NoRoom::Full));
        let waiter = {
            let budget = Arc::clone(&budget);
            std::thread::spawn(move || budget.reserve(1, soon()))
        };
        budget.close();
        assert_eq!(waiter.join().unwrap(), Err(NoRoom::Closed));
        assert_eq!(budget.waiting.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_task_that_waits_is_woken_once_there_is_room() {
        let budget = Budget::new(10);
        assert!(budget.try_reserve(10));
        let context = Context::from_waker(Waker::noop());
        assert_eq!(budget.poll_reserve(4, &context), Poll::Pending);
        budget.release(10);
        assert_eq!(budget.waiting.load(Ordering::SeqCst), 0, "its waker was called");
        assert_eq!(budget.poll_reserve(4, &context), Poll::Ready(Ok(())));
    }
}
