//! A broker from its start to its end.
//!
//! ```text
//!  open the directory -> recover -> loops, storage threads -> listen            (`start`)
//!  stop accepting, drain -> storage threads -> last flush -> clean mark         (`wait`, `end`)
//! ```
//!
//! Invariants: nothing is served before everything is recovered; the clean mark is written only when nothing can
//! append any more; a failed directory is never marked clean.

mod end;
mod start;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use folio_channel::EventLoopGroup;
use folio_storage::OpenError;
use folio_storage::files::SyncTotals;

use crate::config::Config;
use crate::engine::Engine;
use crate::error::Fault;
use crate::health::Failure;
use crate::service::topics;
use crate::shard::{LoopMessage, Shard};
use crate::threads::groups::GroupJob;
use end::End;

pub use start::data_dir_options;
#[cfg(test)]
pub(crate) use start::idle_engine;

/// A running broker.
///
/// ```
/// use folio_broker::{Broker, Config, Outcome};
///
/// let dir = tempfile::tempdir()?;
/// let mut config = Config::new(dir.path().join("data"));
/// config.listen = vec!["127.0.0.1:0".parse()?];
/// let broker = Broker::start(config)?;
/// assert_ne!(broker.local_addrs()[0].port(), 0);
/// broker.shutdown();
/// assert!(matches!(broker.wait(), Outcome::Clean));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropped without [`wait`](Self::wait), its threads go on until the process ends.
pub struct Broker {
    engine: Arc<Engine>,
    end: Arc<End>,
    group: EventLoopGroup<Shard>,
    threads: Vec<JoinHandle<()>>,
    flusher: JoinHandle<()>,
    addresses: Vec<SocketAddr>,
    started: StartReport,
}

/// What the start found, for whoever prints it.
#[derive(Clone, Debug)]
pub struct StartReport {
    /// How long the start took.
    pub took: Duration,
    /// Of that, what it waited for the disk.
    pub syncs: SyncTotals,
    /// What was recovered, in words.
    pub recovered: String,
}

/// How a broker ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Everything was flushed and the clean mark written.
    Clean,
    /// The shutdown was cut short; nothing acknowledged is lost, but the next start has to look.
    Unclean {
        /// What was not finished.
        reason: String,
    },
    /// A write or flush failed, or a thread died: the directory is not to be trusted by this run.
    Failed {
        /// The file concerned, if one is.
        file: Option<PathBuf>,
        /// What the system said.
        error: String,
    },
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The data directory cannot be made or reached.
    #[error("cannot use {} as a data directory: {source}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What the metadata asks for cannot be done.
    #[error("{0}")]
    Topics(String),
    /// An address cannot be listened on.
    #[error("{reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// More endpoints are advertised than addresses listened on.
    #[error("advertise names {advertised} endpoints, and listen {listeners} addresses: which is whose?")]
    Advertise {
        /// How many of `advertise`.
        advertised: usize,
        /// How many of `listen`.
        listeners: usize,
    },
    /// A thread cannot be started, or the system has no descriptors left.
    #[error("cannot start: {0}")]
    Threads(#[source] io::Error),
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Broker {
    /// Opens the data directory, recovers it, and serves.
    ///
    /// # Errors
    /// See [`StartError`]; nothing runs then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let begun = Instant::now();
        let (dir, report, syncs) = start::open(&config)?;
        let recovered = start::describe(&report);
        let end = Arc::new(End::default());
        start::tell(&report, &config);
        let offline = start::offline(&report, &config);
        let engine = Arc::new(start::engine(config, dir, offline, recovered.clone(), &end));
        match topics::follow(&engine) {
            // One that a run has not finished is made by a later start, and all others are served.
            Err(error) if error.fault == Fault::StorageFull => {
                tracing::warn!(
                    error = error.text,
                    "a topic that was being made is not there: the disk is full"
                );
            }
            followed => followed.map_err(|error| StartError::Topics(error.text))?,
        }
        let group = start::loops(&engine).map_err(StartError::Threads)?;
        let without_loops = Arc::clone(&end);
        group.ended().on_done(move |_| without_loops.give_up());
        let (threads, flusher) = start::threads(&engine).map_err(StartError::Threads)?;
        let addresses = start::listen(&engine, &group)?;
        let started = StartReport { took: begun.elapsed(), syncs, recovered };
        Ok(Self { engine, end, group, threads, flusher, addresses, started })
    }

    /// Where the broker listens, in the order of `listen`.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What the start found.
    #[must_use]
    pub fn started(&self) -> &StartReport {
        &self.started
    }

    /// Asks for the end: drain, flush, clean mark. A second call ends without waiting for any of it.
    pub fn shutdown(&self) {
        self.end.ask();
    }

    /// A way to ask for the end from elsewhere: a signal's thread, say.
    #[must_use]
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        ShutdownHandle { end: Arc::clone(&self.end) }
    }

    /// Waits until the broker has ended, and says how.
    #[must_use]
    pub fn wait(self) -> Outcome {
        self.end.wait();
        let health = Arc::clone(&self.engine.health);
        let outcome = self.wind_down();
        // The first failure is the reason for whatever else did not go well.
        match health.failure().cloned() {
            Some(Failure { file, error }) => Outcome::Failed { file, error },
            None => outcome,
        }
    }

    fn wind_down(self) -> Outcome {
        let Self { engine, end, group, threads, flusher, .. } = self;
        let unclean = |reason: &str| Outcome::Unclean { reason: reason.to_owned() };
        let timeout = engine.config.shutdown_timeout;
        let deadline = Instant::now() + timeout;

        engine.tell_all(|| LoopMessage::Drain);
        engine.groups.send([GroupJob::Drain]);
        // Requests that wait for the disk are answered while the connections drain.
        let drained = group.shutdown(timeout / 2);
        if !end.wait_for(deadline, || drained.is_done() || engine.health.has_failed()) {
            return unclean("connections were still waiting for answers");
        }
        if engine.health.has_failed() {
            // Everybody who waits is told before the connections go.
            engine.tell_all(|| LoopMessage::Failed);
            engine.groups.send([GroupJob::Failed]);
            drop(group.shutdown(FAREWELL));
        }
        if let Err(panic) = group.join() {
            return Outcome::Failed { file: None, error: panic.to_string() };
        }
        if engine.health.has_failed() {
            return unclean("the data directory failed");
        }
        engine.close_inboxes();
        for thread in threads {
            if !end.join(thread, deadline) {
                return unclean("a storage thread did not finish in time");
            }
        }
        engine.flusher.close();
        if !end.join(flusher, deadline) {
            return unclean("the last flush did not finish in time");
        }
        if engine.health.has_failed() {
            return unclean("the data directory failed");
        }
        end::close(engine, &end, deadline)
    }
}

/// Asks a broker to end.
#[derive(Clone, Debug)]
pub struct ShutdownHandle {
    end: Arc<End>,
}

impl ShutdownHandle {
    /// See [`Broker::shutdown`].
    pub fn shutdown(&self) {
        self.end.ask();
    }
}

/// How long connections may take to send the bad news of a failed directory.
const FAREWELL: Duration = Duration::from_millis(500);
