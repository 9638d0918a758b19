//! Whether the data directory can be trusted.
//!
//! A failed write or flush is final: what the page cache shows afterwards may never have reached the
//! disk, so nothing is acknowledged and nothing is served any more. The first failure is kept and named;
//! those after it are its consequences. A storage thread that panicked counts as a failure too: what it
//! left half done is unknown.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// What ended the trust in the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The file concerned, if one is.
    pub(crate) file: Option<PathBuf>,
    /// What the system said, or the panic's message.
    pub(crate) error: String,
}

/// A file of the data directory `dir` as people are told of it; `file` is its path from there on, and empty for all of
/// it.
pub(crate) fn told_as(dir: &Path, file: &Path) -> PathBuf {
    if file.as_os_str().is_empty() { dir.to_owned() } else { dir.join(file) }
}

/// The state of the data directory, shared by all threads.
pub(crate) struct Health {
    failed: AtomicBool,
    failure: OnceLock<Failure>,
    /// Tells loops and the broker; called once, by the thread that saw the first failure.
    announce: Box<dyn Fn() + Send + Sync>,
}

impl Health {
    pub(crate) fn new(announce: impl Fn() + Send + Sync + 'static) -> Self {
        Self { failed: AtomicBool::new(false), failure: OnceLock::new(), announce: Box::new(announce) }
    }

    /// Whether something failed. Acquire: who sees it sees the reason too.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The first failure.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// Records a failure, and announces the first.
    pub(crate) fn fail(&self, failure: Failure) {
        let text = failure.error.clone();
        let file = failure.file.clone();
        if self.failure.set(failure).is_ok() {
            self.failed.store(true, Ordering::Release);
            tracing::error!(file = ?file, error = text, "the data directory failed; the broker ends");
            (self.announce)();
        }
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").field("failure", &self.failure.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn what_failed_is_told_with_the_data_directory_before_it_and_all_of_it_by_its_name_alone() {
        let told = |file| told_as(Path::new("/data"), Path::new(file)).into_os_string();
        assert_eq!(told("topics/t-0"), "/data/topics/t-0");
        assert_eq!(told(""), "/data");
    }

    #[test]
    fn the_first_failure_is_kept_and_announced_once() {
        let announced = Arc::new(AtomicUsize::new(0));
        let health = Health::new({
            let announced = Arc::clone(&announced);
            move || {
                announced.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(!health.has_failed());
        health.fail(Failure { file: Some("a.log".into()), error: "EIO".to_owned() });
        health.fail(Failure { file: None, error: "a consequence".to_owned() });
        assert!(health.has_failed());
        assert_eq!(health.failure().map(|failure| failure.error.as_str()), Some("EIO"));
        assert_eq!(announced.load(Ordering::Relaxed), 1);
    }
}
