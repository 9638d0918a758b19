//! The life of a loop's thread, and how a group ends.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::event_loop::{EventLoop, GroupShared, Poller};
use crate::future::Promise;
use crate::{ChannelFuture, LoopHandle, LoopLocal, LoopPanicked, SocketOptions};

/// What the threads of a group know of each other's end.
pub(crate) struct GroupEnd {
    running: AtomicUsize,
    first_panic: Mutex<Option<LoopPanicked>>,
    promise: Mutex<Option<Promise<Result<(), LoopPanicked>>>>,
    future: ChannelFuture<Result<(), LoopPanicked>>,
    turns: AtomicUsize,
}

impl GroupEnd {
    pub(crate) fn new(loops: usize) -> Self {
        let promise = Promise::new(Ok(()));
        Self {
            running: AtomicUsize::new(loops),
            first_panic: Mutex::new(None),
            future: promise.future(),
            promise: Mutex::new(Some(promise)),
            turns: AtomicUsize::new(0),
        }
    }

    pub(crate) fn future(&self) -> ChannelFuture<Result<(), LoopPanicked>> {
        self.future.clone()
    }

    /// Counts round, so that equals take turns.
    pub(crate) fn next_turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    fn loop_ended(&self, panicked: Option<LoopPanicked>) {
        if let Some(panicked) = panicked {
            let mut first = self.first_panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panicked);
        }
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            let first_panic = self.first_panic.lock().unwrap_or_else(PoisonError::into_inner).take();
            let promise = self.promise.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(promise) = promise {
                promise.complete(first_panic.map_or(Ok(()), Err));
            }
        }
    }
}

/// What the thread of a loop begins with.
pub(crate) struct LoopThread<L: LoopLocal> {
    pub(crate) group: Arc<GroupShared<L>>,
    pub(crate) handle: LoopHandle<L>,
    pub(crate) end: Arc<GroupEnd>,
    pub(crate) options: SocketOptions,
    pub(crate) spin: Duration,
}

impl<L: LoopLocal> LoopThread<L> {
    pub(crate) fn run(self, mut poller: Poller, factory: &dyn Fn(usize, LoopHandle<L>) -> L) {
        let index = self.handle.index();
        // Outside of what may panic: it is dropped under a guard of its own, because a second panic while the first
        // one unwinds would abort the process.
        let mut event_loop = None;
        let turned = catch_unwind(AssertUnwindSafe(|| {
            let local = factory(index, self.handle.clone());
            let registry = poller.registry()?;
            let (group, shared) = (Arc::clone(&self.group), Arc::clone(self.handle.shared()));
            let made =
                EventLoop::new(group, shared, Some(registry), self.options.clone(), local, Instant::now());
            poller.run(event_loop.insert(made), self.handle.shared(), self.spin)
        }));
        let failure = match turned {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("cannot wait for events: {error}")),
            Err(panic) => Some(message_of(&*panic)),
        };
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(event_loop)));
        let failure = failure.or_else(|| dropped.err().map(|panic| message_of(&*panic)));
        self.handle.shared().close();
        let panicked = failure.map(|message| {
            tracing::error!(event_loop = index, message, "an event loop has died; its group ends");
            self.group.shut_down(Instant::now());
            LoopPanicked { index, message }
        });
        self.end.loop_ended(panicked);
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
