//! The parts of a broker, and putting them together.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use arc_swap::ArcSwap;
use folio_channel::{
    ChannelError, ChannelLimits, EventLoopConfig, EventLoopGroup, IdleTimeout, PreparedGroup,
    ProtocolDetector, ProtocolTable, RequestHandler, Stage, initializer,
};
use folio_storage::files::{OsFiles, SyncTotals};
use folio_storage::metadata::Topic;
use folio_storage::partition::PartitionId;
use folio_storage::{DataDir, DataDirOptions, OpenReport};
use uuid::Uuid;

use super::StartError;
use super::end::End;
use crate::clock::Clock;
use crate::config::keys::MAPPED_FILES_LEAST;
use crate::config::{Config, Endpoint};
use crate::counters::Counters;
use crate::defaults::Defaults;
use crate::engine::{Disk, Engine, now};
use crate::health::Health;
use crate::kafka::KafkaService;
use crate::kafka::codec::KafkaCodec;
use crate::kafka::session::sitting::Sessions;
use crate::native::NativeService;
use crate::native::codec::NativeCodec;
use crate::partition::LOOPS_MAX;
use crate::pressure::Pressure;
use crate::recovered;
use crate::service::producers::ProducerIds;
use crate::service::topics;
use crate::shard::Shard;
use crate::space::DiskSpace;
use crate::threads::inbox::Inbox;
use crate::threads::{self, flusher, groups, jobs, lane, maintenance, reaper};
use crate::view::View;

/// Recovers partitions on every core.
fn side_by_side(partitions: usize, work: &(dyn Fn() + Sync)) {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for number in 1..cores.min(partitions) {
            // Without it, the others do its share.
            let _ = thread::Builder::new().name(format!("folio-recover-{number}")).spawn_scoped(scope, work);
        }
        work();
    });
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
        // One for each core, but no setting: nothing else runs yet.
        side_by_side,
    }
}

pub(super) fn open(config: &Config) -> Result<(DataDir<Disk>, OpenReport<Disk>, SyncTotals), StartError> {
    let unusable = |source| StartError::DataDir { path: config.data_dir.clone(), source };
    // Before anything is opened, and for connections too.
    let maps = mapped_files_max(config, descriptors());
    let files = OsFiles::open_or_create(&config.data_dir).map_err(unusable)?.with_maps(maps);
    let options = data_dir_options(config);
    let topic_options = |topic: &Topic| topics::open_options(config, topic);
    let files = Arc::new(files);
    let (dir, report) = DataDir::open(Arc::clone(&files), &options, topic_options, now())?;
    Ok((dir, report, files.syncs()))
}

pub(super) fn engine(
    config: Config,
    dir: DataDir<Disk>,
    offline: HashMap<PartitionId, Arc<str>>,
    recovered: String,
    end: &Arc<End>,
) -> Engine {
    let announce = {
        let end = Arc::clone(end);
        move || end.give_up()
    };
    Engine {
        clock: Clock::new(dir.written_before()),
        dir,
        view: ArcSwap::from_pointee(View::new(Defaults::new(&config.topic, Vec::new(), Vec::new()))),
        follower: Mutex::default(),
        offline,
        health: Arc::new(Health::new(announce)),
        pressure: Pressure::new(config.lane_queue_bytes as u64, config.writeback_max_bytes),
        counters: Counters::default(),
        started: Instant::now(),
        recovered,
        flusher: Inbox::new(),
        lanes: (0..config.lane_threads.get()).map(|_| Inbox::new()).collect(),
        groups: Inbox::new(),
        group_hosts: ArcSwap::default(),
        readers: Inbox::new(),
        admin: Inbox::new(),
        producer_ids: ProducerIds::new(),
        reaper: Inbox::new(),
        space: DiskSpace::new(config.data_dir.clone()),
        stop: Inbox::new(),
        loops: OnceLock::new(),
        config,
    }
}

/// An engine beside which no thread runs, of a new data directory.
#[cfg(test)]
pub(crate) fn idle_engine(config: Config) -> Engine {
    let (dir, ..) = open(&config).unwrap();
    engine(config, dir, HashMap::new(), String::new(), &Arc::default())
}

/// What could not be recovered, why, and what can be done about it; the log says so too.
pub(super) fn offline(report: &OpenReport<Disk>, config: &Config) -> HashMap<PartitionId, Arc<str>> {
    let offline = report.partitions.iter().filter_map(|partition| {
        let damage = partition.state.as_ref().err()?;
        let why = recovered::why_offline(partition, damage, config);
        recovered::tell_offline(partition, &why);
        Some((partition.id, why))
    });
    offline.collect()
}

/// What else the start has found, in the log.
pub(super) fn tell(report: &OpenReport<Disk>, config: &Config) {
    let dir = config.data_dir.display();
    for warning in &report.warnings {
        tracing::warn!(%dir, filesystem = %report.filesystem, warning, "the file system of the data");
    }
    for place in &report.quarantined {
        tracing::warn!(%dir, place = %place.display(), "something that no metadata speaks of was moved out of the way, untouched");
    }
    for place in &report.left {
        tracing::warn!(%dir, place = %place.display(), "something that does not belong here has to stay: the disk is full. The next start moves it");
    }
    if let Some(torn) = &report.torn_transaction {
        let (at, bytes) = (torn.at, torn.bytes);
        tracing::info!(
            at,
            bytes,
            "the last change of metadata was interrupted before it counted, and is cut off"
        );
    }
    let slots = &report.slots;
    if !report.created && (slots.missing || slots.header_damaged) {
        tracing::warn!(%dir, missing = slots.missing, "durable points are lost, or some: logs are scanned instead");
    }
    if slots.damaged_copies > 0 {
        let copies = slots.damaged_copies;
        tracing::info!(
            copies,
            "copies of durable points are torn or damaged: nothing is lost where the other copy holds"
        );
    }
    if slots.unreadable_pages > 0 {
        let pages = slots.unreadable_pages;
        tracing::warn!(%dir, pages, "the disk cannot read some durable points: older ones hold, and more is scanned");
    }
    tell_recovered(report);
    report.partitions.iter().for_each(recovered::tell_cut);
}

/// What was not known of logs that are served all the same, and what was made anew, in the log.
fn tell_recovered(report: &OpenReport<Disk>) {
    let (mut lost, mut first) = (0_u64, String::new());
    let (mut indexes, mut epochs, mut snapshots) = (0, 0_u64, 0);
    for partition in &report.partitions {
        let Ok((_, found)) = &partition.state else { continue };
        if found.slot_missing {
            if lost == 0 {
                first = format!("{}-{}", partition.topic, partition.id.partition);
            }
            lost += 1;
        }
        indexes += found.indexes_mended;
        epochs += u64::from(found.epochs_rebuilt);
        snapshots += found.snapshots_removed;
    }
    if lost > 0 {
        tracing::warn!(
            partitions = lost,
            first,
            "no durable point tells how far these logs were flushed: all of them that is not sealed was read and verified"
        );
    }
    if indexes + epochs + snapshots > 0 {
        tracing::info!(
            indexes,
            epochs,
            snapshots,
            "indexes were made anew, epochs looked up in the records, and snapshots of producers removed that were no good"
        );
    }
}

/// What was recovered, for the start line.
pub(super) fn describe(report: &OpenReport<Disk>) -> String {
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

/// Starts the event loops.
pub(super) fn loops(engine: &Arc<Engine>) -> io::Result<EventLoopGroup<Shard>> {
    let limits = ChannelLimits {
        unfinished_bytes_max: engine.config.frame_max_bytes + FRAME_START_SIZE_MAX,
        unfinished_bytes_total_max: engine.config.queued_max_bytes,
        connections_max: engine.config.connections_max.min(descriptors() / 2),
        in_flight_max: engine.config.connection_requests_max,
        ..ChannelLimits::default()
    };
    let loops = engine.config.loop_threads.get().min(LOOPS_MAX);
    let spin = engine.config.loop_spin;
    let prepared = PreparedGroup::new(EventLoopConfig { loops, limits, spin, ..EventLoopConfig::default() })?;
    let _ = engine.loops.set(prepared.handles().to_vec());
    let engine = Arc::clone(engine);
    prepared.start(move |index, _| Shard::new(index, Arc::clone(&engine)))
}

/// What no frame's length counts of it, generously: the largest frame has to fit whole.
const FRAME_START_SIZE_MAX: usize = 64;

/// Starts the storage threads; the flusher is the last to end.
pub(super) fn threads(engine: &Arc<Engine>) -> io::Result<(Vec<JoinHandle<()>>, JoinHandle<()>)> {
    let start = |name: String, body: fn(&Engine, usize), number: usize| {
        let shared = Arc::clone(engine);
        threads::spawn(name, Arc::clone(&engine.health), move || body(&shared, number))
    };
    reaper::works_for(engine);
    let mut all = Vec::new();
    for number in 0..engine.config.lane_threads.get() {
        all.push(start(format!("folio-lane-{number}"), lane::run, number)?);
    }
    for number in 0..engine.config.read_threads.get() {
        let read: fn(&Engine, usize) = |engine, _| jobs::run(engine, &engine.readers);
        all.push(start(format!("folio-read-{number}"), read, number)?);
    }
    all.push(start("folio-groups".to_owned(), |engine, _| groups::run(engine), 0)?);
    all.push(start("folio-admin".to_owned(), |engine, _| jobs::run(engine, &engine.admin), 0)?);
    all.push(start("folio-reaper".to_owned(), |engine, _| reaper::run(engine), 0)?);
    all.push(start("folio-maintain".to_owned(), |engine, _| maintenance::run(engine), 0)?);
    let flusher = start("folio-flusher".to_owned(), |engine, _| flusher::run(engine), 0)?;
    Ok((all, flusher))
}

/// Listens on every address, for every protocol that there is.
pub(super) fn listen(
    engine: &Arc<Engine>,
    group: &EventLoopGroup<Shard>,
) -> Result<Vec<SocketAddr>, StartError> {
    let config = &engine.config;
    if config.advertise.len() > config.listen.len() {
        return Err(StartError::Advertise {
            advertised: config.advertise.len(),
            listeners: config.listen.len(),
        });
    }
    let sessions =
        Arc::new(Sessions::new(config.fetch_session_cache_slots, config.fetch_session_partitions_max));
    let mut addresses = Vec::new();
    for (number, &address) in config.listen.iter().enumerate() {
        let advertised = config.advertise.get(number).or(config.advertise.last()).cloned();
        let table = Arc::new(protocols(engine, advertised, &sessions));
        let idle = config.connection_idle;
        let accept = initializer::<Shard, _>(move |_, pipeline| {
            pipeline.add_last("idle", Stage::inbound(IdleTimeout::new(idle)));
            pipeline.add_last("detector", Stage::inbound(ProtocolDetector::new(Arc::clone(&table))));
            Ok(())
        });
        let refused = |reason: String| StartError::Listen { address, reason };
        let channel = group.bind(address, accept).map_err(|e| refused(e.to_string()))?;
        addresses.push(channel.local_address().ok_or_else(|| refused("it has no address".to_owned()))?);
        if !address.ip().to_canonical().is_loopback() {
            tracing::warn!(%address, "whoever reaches this address may read, write and delete everything: nobody is asked who they are");
        }
    }
    Ok(addresses)
}

/// What one listener speaks; Kafka's clients there are told to come back to `advertised`.
fn protocols(
    engine: &Arc<Engine>,
    advertised: Option<Endpoint>,
    sessions: &Arc<Sessions>,
) -> ProtocolTable<Shard> {
    let native = {
        let engine = Arc::clone(engine);
        initializer::<Shard, _>(move |channel, pipeline| {
            let codec = NativeCodec::new(engine.config.frame_max_bytes);
            let service = NativeService::new(Arc::clone(&engine), channel.clone());
            pipeline.add_last("requests", Stage::inbound(RequestHandler::new(codec, service)));
            Ok(())
        })
    };
    let kafka = {
        let (engine, sessions) = (Arc::clone(engine), Arc::clone(sessions));
        initializer::<Shard, _>(move |channel, pipeline| {
            let came_by = || channel.local_address().map(Endpoint::of);
            let endpoint = advertised
                .clone()
                .or_else(came_by)
                .ok_or_else(|| ChannelError::internal("a connection without an address"))?;
            let host = channel.remote_address().map(|address| address.ip().to_canonical().to_string());
            let host = host.unwrap_or_default().into();
            let codec = KafkaCodec::new(engine.config.frame_max_bytes);
            let service = KafkaService::new(Arc::clone(&engine), endpoint, host, Arc::clone(&sessions));
            pipeline.add_last("requests", Stage::inbound(RequestHandler::new(codec, service)));
            Ok(())
        })
    };
    ProtocolTable::<Shard>::new()
        .serve(0x89..=0x89, "native", native)
        .serve(0x00..=0x06, "Kafka", kafka)
        .refuse(0x16..=0x16, "TLS", "this port has no certificate")
        .refuse(0x41..=0x5A, "HTTP", "this build does not speak it yet")
}

/// How many files of logs may be mapped at once, of so many descriptors. Half of them are theirs, but for a few: the
/// files that are open without being mapped, and those that are for a moment.
fn mapped_files_max(config: &Config, descriptors: usize) -> usize {
    let least = usize::try_from(MAPPED_FILES_LEAST).unwrap_or(usize::MAX);
    let most = (descriptors / 2).saturating_sub(UNMAPPED_FILES_MAX).max(least);
    config.mapped_files_max.map_or(most, |files| most.min(usize::try_from(files).unwrap_or(usize::MAX)))
}

/// So many files are open besides: what is read from end to end, searched, or written once.
const UNMAPPED_FILES_MAX: usize = 32;

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
