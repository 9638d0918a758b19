//! A result that comes later, from the client's thread: one that can be waited for, and awaited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::CallError;

/// A call on its way to the broker. [`wait`](Self::wait) for it, or await it with any executor.
///
/// The call is made whether or not anybody waits; dropping this gives up the result only.
#[must_use = "errors are lost unless it is waited for or awaited"]
pub struct Call<T> {
    shared: Arc<Shared<T>>,
}

/// The other end. Dropped unused, it lets the call fail with [`CallError::Closed`]: nobody waits for a thread that is
/// gone.
pub(crate) struct Completer<T> {
    shared: Option<Arc<Shared<T>>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    done: Condvar,
}

enum State<T> {
    Waiting(Option<Waker>),
    Done(Result<T, CallError>),
    Taken,
}

impl<T> Call<T> {
    pub(crate) fn new() -> (Completer<T>, Self) {
        let shared = Arc::new(Shared { state: Mutex::new(State::Waiting(None)), done: Condvar::new() });
        (Completer { shared: Some(Arc::clone(&shared)) }, Self { shared })
    }

    /// Blocks until the result is there. That is within the client's timeouts.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn wait(self) -> Result<T, CallError> {
        let mut state = self.shared.lock();
        loop {
            if let Some(result) = state.take() {
                return result;
            }
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Blocks until the result is there, for at most `limit`. `None`: it is not; the call goes on.
    pub fn wait_for(&mut self, limit: Duration) -> Option<Result<T, CallError>> {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.lock();
        loop {
            if let Some(result) = state.take() {
                return Some(result);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.shared.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, CallError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        match state.take() {
            Some(result) => Poll::Ready(result),
            None => {
                *state = State::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<T> Completer<T> {
    pub(crate) fn complete(mut self, result: Result<T, CallError>) {
        if let Some(shared) = self.shared.take() {
            shared.complete(result);
        }
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.complete(Err(CallError::Closed));
        }
    }
}

impl<T> Shared<T> {
    fn complete(&self, result: Result<T, CallError>) {
        let before = std::mem::replace(&mut *self.lock(), State::Done(result));
        self.done.notify_all();
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Never held while foreign code runs, so a poisoned lock still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Option<Result<T, CallError>> {
        match self {
            Self::Waiting(_) => None,
            Self::Done(_) => match std::mem::replace(self, Self::Taken) {
                Self::Done(result) => Some(result),
                Self::Waiting(_) | Self::Taken => None,
            },
            // A future that is polled after it was ready, or a second `wait_for`: a bug, but not one to hang on.
            Self::Taken => Some(Err(CallError::usage("the result of this call was taken before"))),
        }
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = !matches!(*self.shared.lock(), State::Waiting(_));
        f.debug_struct("Call").field("done", &done).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[test]
    fn a_waiting_thread_gets_the_result() {
        let (completer, call) = Call::new();
        let waiter = std::thread::spawn(move || call.wait().unwrap());
        completer.complete(Ok(7));
        assert_eq!(waiter.join().unwrap(), 7);
    }

    #[test]
    fn a_future_is_woken_by_the_waker_of_its_last_poll() {
        struct Counter(std::sync::atomic::AtomicU32);
        impl Wake for Counter {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let [first, last] = [(); 2].map(|()| Arc::new(Counter(0.into())));
        let (completer, mut call) = Call::new();
        for counter in [&first, &last] {
            let waker = Waker::from(Arc::clone(counter));
            assert!(Pin::new(&mut call).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        completer.complete(Ok("done"));
        assert_eq!(first.0.load(std::sync::atomic::Ordering::SeqCst), 0);
        assert_eq!(last.0.load(std::sync::atomic::Ordering::SeqCst), 1);
        let polled = Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Ok("done"))));
    }

    #[test]
    fn a_call_that_nobody_completes_fails_instead_of_hanging() {
        let (completer, call) = Call::<()>::new();
        drop(completer);
        assert!(matches!(call.wait(), Err(CallError::Closed)));
    }

    #[test]
    fn waiting_for_a_while_leaves_the_call_going() {
        let (completer, mut call) = Call::new();
        assert!(call.wait_for(Duration::from_millis(1)).is_none());
        completer.complete(Ok(1));
        assert!(matches!(call.wait_for(Duration::ZERO), Some(Ok(1))));
    }
}
