//! What the client promises, shown against a broker that is a few threads and a `Vec`, and that misbehaves on demand.

#![allow(clippy::unwrap_used, reason = "a test that finds something missing has failed")]

mod admin;
mod connection;
mod consuming;
mod fake_broker;
mod fake_groups;
mod groups;
mod hostile;
mod members;
mod producing;
mod retrying;
mod streaming;

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use folio_client::{Backoff, Client, ClientConfig};

use fake_broker::FakeBroker;

/// Long enough for anything that happens at all.
const SOON: Duration = Duration::from_secs(60);

/// A client that gives up early and comes back at once.
fn config(broker: &FakeBroker) -> ClientConfig {
    let quick = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(20) };
    ClientConfig::new(&broker.address().to_string())
        .connect_timeout(Duration::from_secs(10))
        .request_timeout(Duration::from_secs(10))
        .reconnect_backoff(quick)
        .retry_backoff(quick)
}

fn connect(broker: &FakeBroker) -> Client {
    Client::connect(config(broker)).unwrap()
}

/// Waits for a state, not for a time.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "it never came about: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The smallest executor: one future, one thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    let deadline = Instant::now() + SOON;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "the future is not done");
        std::thread::park_timeout(left);
    }
}
