//! Starting and ending a broker.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use folio_channel::{
    ChannelLimits, EventLoopConfig, EventLoopGroup, IdleTimeout, PreparedGroup, ProtocolDetector,
    ProtocolTable, RequestHandler, Stage, initializer,
};
use folio_storage::files::{OsFiles, SyncTotals};
use folio_storage::metadata::Topic;
use folio_storage::partition::PartitionId;
use folio_storage::{DataDir, DataDirOptions, OpenError, OpenReport};
use uuid::Uuid;

use crate::config::Config;
use crate::counters::Counters;
use crate::engine::{Disk, Engine, log_options, now};
use crate::health::{Failure, Health};
use crate::native::NativeService;
use crate::native::codec::NativeCodec;
use crate::pressure::Pressure;
use crate::service::topics;
use crate::shard::{LoopMessage, Shard};
use crate::space::DiskSpace;
use crate::threads::inbox::Inbox;
use crate::threads::{self, flusher, lane, maintenance, reaper};
use crate::view::View;

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
        let (dir, report, syncs) = open(&config)?;
        let recovered = describe(&report);
        let end = Arc::new(End::default());
        let engine = Arc::new(engine(config, dir, offline(&report), recovered.clone(), &end));
        topics::follow(&engine).map_err(|error| StartError::Topics(error.text))?;

        let limits = ChannelLimits {
            unfinished_bytes_max: engine.config.frame_max_bytes + 64,
            connections_max: engine.config.connections_max.min(descriptors() / 2),
            in_flight_max: engine.config.connection_requests_max,
            ..ChannelLimits::default()
        };
        let loops = engine.config.loop_threads.get().min(crate::partition::LOOPS_MAX);
        let spin = engine.config.loop_spin;
        let config = EventLoopConfig { loops, limits, spin, ..EventLoopConfig::default() };
        let prepared = PreparedGroup::new(config).map_err(StartError::Threads)?;
        let _ = engine.loops.set(prepared.handles().to_vec());
        let group = {
            let engine = Arc::clone(&engine);
            prepared
                .start(move |index, _| Shard::new(index, Arc::clone(&engine)))
                .map_err(StartError::Threads)?
        };
        let (threads, flusher) = spawn(&engine).map_err(StartError::Threads)?;
        let addresses = listen(&engine, &group)?;
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
        self.end.wait_until_asked();
        let deadline = Instant::now() + self.engine.config.shutdown_timeout;
        if let Some(failure) = self.engine.health.failure().cloned() {
            // Everybody who waits is told before the connections go.
            for index in 0..self.engine.loops().len() {
                self.engine.tell(index, LoopMessage::Failed);
            }
            drop(self.group.shutdown(FAREWELL));
            let _ = self.group.join();
            return Outcome::Failed { file: failure.file, error: failure.error };
        }
        for index in 0..self.engine.loops().len() {
            self.engine.tell(index, LoopMessage::Drain);
        }
        // Requests that wait for the disk are answered while the connections drain.
        let drained = self.group.shutdown(self.engine.config.shutdown_timeout / 2);
        let loops = self.group.join();
        drop(drained);
        if let Err(panic) = loops {
            return Outcome::Failed { file: None, error: panic.to_string() };
        }
        self.engine.close_inboxes();
        for thread in self.threads {
            if !self.end.join_until(thread, deadline) {
                return Outcome::Unclean { reason: "a storage thread did not finish in time".to_owned() };
            }
        }
        self.engine.flusher.close();
        if !self.end.join_until(self.flusher, deadline) {
            return Outcome::Unclean { reason: "the last flush did not finish in time".to_owned() };
        }
        close(self.engine, &self.end, deadline)
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

/// Whether, and how urgently, the end was asked for.
#[derive(Debug, Default)]
struct End {
    asked: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl End {
    fn ask(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.notify_all();
    }

    fn wait_until_asked(&self) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.asked.load(Ordering::SeqCst) == 0 {
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether `thread` ended before the deadline, and before the end was asked for twice.
    fn join_until(&self, thread: JoinHandle<()>, deadline: Instant) -> bool {
        while !thread.is_finished() {
            if Instant::now() >= deadline || self.asked.load(Ordering::SeqCst) > 1 {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        thread.join().is_ok()
    }
}

/// How many descriptors this process may have: its limit, raised as far as it goes. Connections get half of them, so
/// that logs and indexes can always be opened.
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused, it stays as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// What a data directory is opened with by a broker of this configuration.
#[must_use]
pub fn data_dir_options(config: &Config) -> DataDirOptions {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    DataDirOptions {
        build: concat!("foliod ", env!("CARGO_PKG_VERSION")).to_owned(),
        run_id: Uuid::new_v4().as_u64_pair().0,
        new_dir: Uuid::new_v4(),
        new_cluster: Uuid::new_v4(),
        pid: std::process::id(),
        host: host.trim().to_owned(),
        allow_incoherent_fs: config.allow_incoherent_fs,
        slots_sync: config.slots_sync,
    }
}

fn open(config: &Config) -> Result<(DataDir<Disk>, OpenReport<Disk>, SyncTotals), StartError> {
    let unusable = |source| StartError::DataDir { path: config.data_dir.clone(), source };
    let files = OsFiles::open_or_create(&config.data_dir).map_err(unusable)?;
    let options = data_dir_options(config);
    let topic_options = |topic: &Topic| {
        let settings = topics::settings(&config.topic, &topic.settings);
        log_options(&settings.unwrap_or_else(|_| config.topic.clone()))
    };
    let files = Arc::new(files);
    let (dir, report) = DataDir::open(Arc::clone(&files), &options, topic_options, now())?;
    Ok((dir, report, files.syncs()))
}

fn engine(
    config: Config,
    dir: DataDir<Disk>,
    offline: HashMap<PartitionId, Arc<str>>,
    recovered: String,
    end: &Arc<End>,
) -> Engine {
    let announce = {
        let end = Arc::clone(end);
        move || end.ask()
    };
    Engine {
        dir,
        view: ArcSwap::from_pointee(View::empty()),
        follower: Mutex::default(),
        offline,
        health: Arc::new(Health::new(announce)),
        pressure: Pressure::new(config.lane_queue_bytes as u64, config.writeback_max_bytes),
        counters: Counters::default(),
        started: Instant::now(),
        recovered,
        flusher: Inbox::new(),
        lanes: (0..config.lane_threads.get()).map(|_| Inbox::new()).collect(),
        readers: Inbox::new(),
        admin: Inbox::new(),
        reaper: Inbox::new(),
        space: DiskSpace::default(),
        stop: Inbox::new(),
        loops: OnceLock::new(),
        config,
    }
}

/// What could not be recovered, and why; the log says so too.
fn offline(report: &OpenReport<Disk>) -> HashMap<PartitionId, Arc<str>> {
    let offline = report.partitions.iter().filter_map(|partition| {
        let damage = partition.state.as_ref().err()?;
        tracing::error!(topic = partition.topic, partition = partition.id.partition, %damage, "a partition is offline");
        Some((partition.id, damage.to_string().into()))
    });
    offline.collect()
}

fn describe(report: &OpenReport<Disk>) -> String {
    if report.created {
        return "new directory".to_owned();
    }
    let count = report.partitions.len();
    let offline = report.partitions.iter().filter(|partition| partition.state.is_err()).count();
    let scanned: u64 =
        report.partitions.iter().flat_map(|one| one.state.iter()).map(|(_, one)| one.bytes_scanned).sum();
    let cut: u64 = report
        .partitions
        .iter()
        .flat_map(|one| one.state.iter())
        .filter_map(|(_, one)| one.cut.as_ref())
        .map(|cut| cut.bytes)
        .sum();
    let how = if report.was_clean { "clean stop" } else { "unclean stop" };
    format!("{how}, {count} partitions, {scanned} bytes scanned, {cut} bytes cut, {offline} offline")
}

fn spawn(engine: &Arc<Engine>) -> io::Result<(Vec<JoinHandle<()>>, JoinHandle<()>)> {
    let start = |name: String, body: fn(&Engine, usize), number: usize| {
        let shared = Arc::clone(engine);
        threads::spawn(name, Arc::clone(&engine.health), move || body(&shared, number))
    };
    let mut all = Vec::new();
    for number in 0..engine.config.lane_threads.get() {
        all.push(start(format!("folio-lane-{number}"), lane::run, number)?);
    }
    for number in 0..engine.config.read_threads.get() {
        all.push(start(
            format!("folio-read-{number}"),
            |engine, _| engine.work_off(&engine.readers),
            number,
        )?);
    }
    all.push(start("folio-admin".to_owned(), |engine, _| engine.work_off(&engine.admin), 0)?);
    all.push(start("folio-reaper".to_owned(), |engine, _| reaper::run(engine), 0)?);
    all.push(start("folio-maintain".to_owned(), |engine, _| maintenance::run(engine), 0)?);
    let flusher = start("folio-flusher".to_owned(), |engine, _| flusher::run(engine), 0)?;
    Ok((all, flusher))
}

fn listen(engine: &Arc<Engine>, group: &EventLoopGroup<Shard>) -> Result<Vec<SocketAddr>, StartError> {
    let native = {
        let engine = Arc::clone(engine);
        initializer::<Shard, _>(move |_, pipeline| {
            let codec = NativeCodec::new(engine.config.frame_max_bytes);
            let service = NativeService::new(Arc::clone(&engine));
            pipeline.add_last("requests", Stage::inbound(RequestHandler::new(codec, service)));
            Ok(())
        })
    };
    let table = ProtocolTable::<Shard>::new()
        .serve(0x89..=0x89, "native", native)
        .refuse(0x00..=0x06, "Kafka", "this build does not speak it yet")
        .refuse(0x16..=0x16, "TLS", "this port has no certificate")
        .refuse(0x41..=0x5A, "HTTP", "this build does not speak it yet");
    let table = Arc::new(table);
    let mut addresses = Vec::new();
    for &address in &engine.config.listen {
        let table = Arc::clone(&table);
        let idle = engine.config.connection_idle;
        let accept = initializer::<Shard, _>(move |_, pipeline| {
            pipeline.add_last("idle", Stage::inbound(IdleTimeout::new(idle)));
            pipeline.add_last("detector", Stage::inbound(ProtocolDetector::new(Arc::clone(&table))));
            Ok(())
        });
        let refused = |reason: String| StartError::Listen { address, reason };
        let channel = group.bind(address, accept).map_err(|e| refused(e.to_string()))?;
        addresses.push(channel.local_address().ok_or_else(|| refused("it has no address".to_owned()))?);
    }
    Ok(addresses)
}

fn close(engine: Arc<Engine>, end: &End, deadline: Instant) -> Outcome {
    if let Some(Failure { file, error }) = engine.health.failure().cloned() {
        return Outcome::Failed { file, error };
    }
    let Some(engine) = Arc::into_inner(engine) else {
        return Outcome::Unclean { reason: "a thread still holds the data directory".to_owned() };
    };
    let result = Arc::new(OnceLock::new());
    let closing = {
        let result = Arc::clone(&result);
        std::thread::spawn(move || {
            let _ = result.set(engine.dir.close_clean(now(), Instant::now()));
        })
    };
    if !end.join_until(closing, deadline) {
        return Outcome::Unclean { reason: "the last flush did not finish in time".to_owned() };
    }
    match Arc::into_inner(result).and_then(OnceLock::into_inner) {
        Some(Ok(())) => Outcome::Clean,
        Some(Err(error)) => Outcome::Failed { file: Some(error.path), error: error.source.to_string() },
        None => Outcome::Unclean { reason: "the last flush did not finish".to_owned() },
    }
}

impl Engine {
    /// Works off jobs until the inbox is closed.
    fn work_off(&self, inbox: &Inbox<crate::threads::jobs::Job>) {
        while let threads::inbox::Taken::Items(job) = inbox.take_one() {
            job(self);
        }
    }

    fn close_inboxes(&self) {
        self.lanes.iter().for_each(Inbox::close);
        self.readers.close();
        self.admin.close();
        self.reaper.close();
        self.stop.close();
    }
}
