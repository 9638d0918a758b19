//! The threads that may wait on a disk.
//!
//! Each has an [`inbox::Inbox`], takes all that is in it, and works it off. None of them may die
//! unnoticed: a panic fails the data directory, since nobody knows what was left half done.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::health::{Failure, Health};

pub(crate) mod flusher;
pub(crate) mod groups;
pub(crate) mod inbox;
pub(crate) mod jobs;
pub(crate) mod lane;
pub(crate) mod maintenance;
pub(crate) mod reaper;

/// Starts a storage thread whose panic fails the data directory.
pub(crate) fn spawn(
    name: String,
    health: Arc<Health>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.clone()).spawn(move || {
        // What the body shares with others is either behind a lock that a panic poisons or not looked at
        // again once the directory has failed.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
            let message = panic_message(panic.as_ref());
            health.fail(Failure { file: None, error: format!("the thread {name} panicked: {message}") });
        }
    })
}

/// The text that a panic was raised with.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_storage_thread_fails_the_directory_and_says_where() {
        let health = Arc::new(Health::new(|| {}));
        let thread = spawn("lane-0".to_owned(), Arc::clone(&health), || panic!("the log is odd")).unwrap();
        thread.join().unwrap();
        assert_eq!(health.failure().unwrap().error, "the thread lane-0 panicked: the log is odd");
    }
}
