//! A broker in the test's own process, on a directory of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use folio_broker::config::keys;
use folio_broker::{Broker, Config, Outcome};
use tempfile::TempDir;

use crate::native::Peer;

/// A running broker. Dropped, it is stopped.
#[derive(Debug)]
pub struct Rig {
    broker: Option<Broker>,
    address: String,
    dir: TempDir,
}

/// How long a claim may take to come true.
const LIMIT: Duration = Duration::from_secs(60);

impl Rig {
    /// Starts a broker with these keys set.
    ///
    /// # Panics
    /// When it does not start.
    pub fn new(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let mut config = Config::new(dir.path().join("data"));
        for (key, value) in [&[("listen", "127.0.0.1:0")], settings].concat() {
            keys::set(&mut config, key, value).expect("a setting that there is");
        }
        let broker = Broker::start(config).expect("a broker on an empty directory starts");
        let address = broker.local_addrs()[0].to_string();
        Self { broker: Some(broker), address, dir }
    }

    /// The broker itself.
    ///
    /// # Panics
    /// When it has ended.
    pub fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("it runs")
    }

    /// Where it listens; with more than one address, the first of them.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Above its data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A new connection to it.
    pub fn peer(&self) -> Peer {
        Peer::connect(&self.address)
    }

    /// Asks it to end.
    ///
    /// # Panics
    /// When it has ended.
    pub fn shut_down(&self) {
        self.broker().shutdown();
    }

    /// Asks it to end, waits, and says how it did.
    ///
    /// # Panics
    /// When it has ended.
    pub fn stop(&mut self) -> Outcome {
        self.shut_down();
        self.broker.take().expect("it runs").wait()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.shutdown();
            let _ = broker.wait();
        }
    }
}

/// Waits until something holds.
///
/// # Panics
/// When it does not come to hold in time.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
