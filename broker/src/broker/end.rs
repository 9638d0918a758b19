//! How a broker ends: who asks for it, and what is waited for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use folio_storage::data_dir::Closed;

use super::Outcome;
use crate::engine::{Engine, now};
use crate::health::Failure;

/// Whether, and how urgently, the end was asked for.
#[derive(Debug, Default)]
pub(super) struct End {
    asked: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl End {
    pub(super) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.notify_all();
    }

    pub(super) fn wait_until_asked(&self) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.asked.load(Ordering::SeqCst) == 0 {
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether `thread` ended before the deadline, and before the end was asked for twice.
    pub(super) fn join_until(&self, thread: JoinHandle<()>, deadline: Instant) -> bool {
        while !thread.is_finished() {
            if Instant::now() >= deadline || self.asked.load(Ordering::SeqCst) > 1 {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        thread.join().is_ok()
    }
}

/// Writes the clean mark, once nobody else has the data directory.
pub(super) fn close(engine: Arc<Engine>, end: &End, deadline: Instant) -> Outcome {
    if let Some(Failure { file, error }) = engine.health.failure().cloned() {
        return Outcome::Failed { file, error };
    }
    let Some(engine) = Arc::into_inner(engine) else {
        return Outcome::Unclean { reason: "a thread still holds the data directory".to_owned() };
    };
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
    if !end.join_until(closing, deadline) {
        return Outcome::Unclean { reason: "the last flush did not finish in time".to_owned() };
    }
    match Arc::into_inner(result).and_then(OnceLock::into_inner) {
        Some(Ok(Closed::Clean)) => Outcome::Clean,
        Some(Ok(Closed::Unmarked { source })) => {
            Outcome::Unclean { reason: format!("no room for the clean mark: {source}") }
        }
        Some(Err(error)) => Outcome::Failed { file: Some(error.path), error: error.source.to_string() },
        None => Outcome::Unclean { reason: "the last flush did not finish".to_owned() },
    }
}
