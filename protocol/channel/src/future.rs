//! Results that come later: from a loop's thread to any other.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The result of something asynchronous on a channel. Can be asked, waited for, listened to, or awaited by any
/// executor; any number of clones see the same result.
///
/// Never wait on the thread of the loop that is to bring the result about: listen instead.
pub struct ChannelFuture<T> {
    shared: Arc<Shared<T>>,
}

/// The other end: whoever holds it brings the result.
pub(crate) struct Promise<T: Clone> {
    shared: Arc<Shared<T>>,
    /// The result if nobody ever brings one: a future never waits for a thread that is gone.
    if_dropped: Option<T>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    done: Condvar,
}

enum State<T> {
    Waiting { wakers: Vec<Waker>, listeners: Vec<Listener<T>> },
    Done(T),
}

type Listener<T> = Box<dyn FnOnce(T) + Send>;

impl<T: Clone> ChannelFuture<T> {
    /// A future that is done already.
    pub fn done(result: T) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(State::Done(result)), done: Condvar::new() }) }
    }

    /// Whether the result is there.
    pub fn is_done(&self) -> bool {
        matches!(*self.shared.lock(), State::Done(_))
    }

    /// The result, if it is there.
    pub fn get(&self) -> Option<T> {
        match &*self.shared.lock() {
            State::Done(result) => Some(result.clone()),
            State::Waiting { .. } => None,
        }
    }

    /// Blocks until the result is there.
    pub fn wait(&self) -> T {
        let mut state = self.shared.lock();
        loop {
            match &*state {
                State::Done(result) => return result.clone(),
                State::Waiting { .. } => {
                    state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Blocks until the result is there, for at most `limit`.
    pub fn wait_for(&self, limit: Duration) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.lock();
        loop {
            match &*state {
                State::Done(result) => return Some(result.clone()),
                State::Waiting { .. } => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.shared.done.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Calls `listener` with the result: at once if it is there, else on the thread that brings it (the loop's, so
    /// it must not block).
    pub fn on_done(&self, listener: impl FnOnce(T) + Send + 'static) {
        let result = match &mut *self.shared.lock() {
            State::Waiting { listeners, .. } => return listeners.push(Box::new(listener)),
            State::Done(result) => result.clone(),
        };
        listener(result);
    }
}

impl<T: Clone> Future for ChannelFuture<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match &mut *self.shared.lock() {
            State::Done(result) => Poll::Ready(result.clone()),
            State::Waiting { wakers, .. } => {
                if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    wakers.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl<T: Clone> Promise<T> {
    pub(crate) fn new(if_dropped: T) -> Self {
        let state = State::Waiting { wakers: Vec::new(), listeners: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), done: Condvar::new() });
        Self { shared, if_dropped: Some(if_dropped) }
    }

    pub(crate) fn future(&self) -> ChannelFuture<T> {
        ChannelFuture { shared: Arc::clone(&self.shared) }
    }

    /// Brings the result. Only the first counts.
    pub(crate) fn complete(mut self, result: T) {
        self.if_dropped = None;
        self.shared.complete(result);
    }
}

impl<T: Clone> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(result) = self.if_dropped.take() {
            self.shared.complete(result);
        }
    }
}

impl<T: Clone> Shared<T> {
    fn complete(&self, result: T) {
        let mut state = self.lock();
        if matches!(*state, State::Done(_)) {
            return;
        }
        let before = std::mem::replace(&mut *state, State::Done(result.clone()));
        drop(state); // listeners may ask this very future
        self.done.notify_all();
        if let State::Waiting { wakers, listeners } = before {
            wakers.into_iter().for_each(Waker::wake);
            listeners.into_iter().for_each(|listener| listener(result.clone()));
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // The lock is never held while foreign code runs, so a poisoned one still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for ChannelFuture<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for ChannelFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = matches!(*self.shared.lock(), State::Done(_));
        f.debug_struct("ChannelFuture").field("done", &done).finish()
    }
}
