//! How a broker ends: who asks for it, and what is waited for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use folio_storage::data_dir::Closed;

use super::Outcome;
use crate::engine::{Engine, now};
use crate::health::told_as;

/// Whether the broker has to end, and how urgently.
#[derive(Debug, Default)]
pub(super) struct End {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How often somebody asked.
    asked: usize,
    /// The broker cannot go on, whether or not anybody asked.
    is_over: bool,
}

impl End {
    /// Somebody wants the end; asked again, at once.
    pub(super) fn ask(&self) {
        self.lock().asked += 1;
        self.changed.notify_all();
    }

    /// Something without which there is no broker has failed.
    pub(super) fn give_up(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    /// Waits until there is a reason to end.
    pub(super) fn wait(&self) {
        let mut state = self.lock();
        while state.asked == 0 && !state.is_over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether something has come true before the deadline, and before the end was asked for twice.
    pub(super) fn wait_for(&self, deadline: Instant, is_true: impl Fn() -> bool) -> bool {
        let mut state = self.lock();
        loop {
            if is_true() {
                return true;
            }
            if state.asked > 1 || Instant::now() >= deadline {
                return false;
            }
            state = self.changed.wait_timeout(state, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As [`wait_for`](Self::wait_for), for a thread's end.
    pub(super) fn join(&self, thread: JoinHandle<()>, deadline: Instant) -> bool {
        self.wait_for(deadline, || thread.is_finished()) && thread.join().is_ok()
    }

    // Nothing panics under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread's end wakes nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Writes the clean mark, once nobody else has the data directory.
pub(super) fn close(engine: Arc<Engine>, end: &End, deadline: Instant) -> Outcome {
    let Some(engine) = Arc::into_inner(engine) else {
        return Outcome::Unclean { reason: "a thread still holds the data directory".to_owned() };
    };
    let data_dir = engine.config.data_dir.clone();
    let result = Arc::new(OnceLock::new());
    let closing = {
        let result = Arc::clone(&result);
        std::thread::Builder::new().name("folio-close".to_owned()).spawn(move || {
            let _ = result.set(engine.dir.close_clean(now(), Instant::now()));
        })
    };
    let closing = match closing {
        Ok(closing) => closing,
        Err(error) => return Outcome::Unclean { reason: format!("no thread for the last flush: {error}") },
    };
    if !end.join(closing, deadline) {
        return Outcome::Unclean { reason: "the last flush did not finish in time".to_owned() };
    }
    match Arc::into_inner(result).and_then(OnceLock::into_inner) {
        Some(Ok(Closed::Clean)) => Outcome::Clean,
        Some(Ok(Closed::Unmarked { source })) => {
            Outcome::Unclean { reason: format!("no room for the clean mark: {source}") }
        }
        Some(Err(error)) => {
            Outcome::Failed { file: Some(told_as(&data_dir, &error.path)), error: error.source.to_string() }
        }
        None => Outcome::Unclean { reason: "the last flush did not finish".to_owned() },
    }
}
