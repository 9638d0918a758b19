//! Every setting of the broker, with its unit and its default.
//!
//! A [`Config`] is complete and checked: whoever holds one never asks "is it set?". Where the values
//! come from (defaults, file, environment, flags) is the layering's business, not the reader's.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

mod endpoint;
pub mod keys;
pub mod kind;
pub mod layers;
pub mod topic;
pub mod topic_keys;
mod value;

pub use endpoint::Endpoint;
pub use layers::{ConfigError, Layers, Loaded, Source};
pub use topic::{CleanupPolicy, DurabilityClass, TopicSettings};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What a broker is started with.
///
/// The dotted name beside each field is its configuration key.
#[derive(Clone, Debug)]
pub struct Config {
    /// `listen`: the addresses to accept connections on; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// `advertise`: where clients are told to connect, for each listener in order, the last for the rest; none is the
    /// address that a client has come in by.
    pub advertise: Vec<Endpoint>,
    /// `data.dir`: the directory of the data; created with mode 0700 when missing.
    pub data_dir: PathBuf,
    /// `allow.incoherent.fs`: open a data directory on a file system whose mappings may not show what was written.
    pub allow_incoherent_fs: bool,
    /// `loop.threads`: event loops; they never wait on a disk.
    pub loop_threads: NonZeroUsize,
    /// `loop.spin.us`: how long a loop polls without sleeping after it had something to do.
    pub loop_spin: Duration,
    /// `lane.threads`: append lanes, for `fsync` topics and for whatever must roll or allocate.
    pub lane_threads: NonZeroUsize,
    /// `read.threads`: threads that read pages which are not in memory.
    pub read_threads: NonZeroUsize,
    /// `sigbus.handler`: touching a page that is gone from its file is an error of that segment, instead of the
    /// process's end. Up to the program: a handler is the whole process's.
    pub sigbus_handler: bool,
    /// `read.path`: how record bytes get from files to sockets.
    pub read_path: ReadPath,
    /// `lane.queue.bytes`: bytes taken in and not yet appended, above which loops stop reading producers.
    pub lane_queue_bytes: usize,
    /// `flush.linger.us`: how long a flush waits for company.
    pub flush_linger: Duration,
    /// `writeback.step.bytes`: unflushed bytes after which the kernel is asked to start writing.
    pub writeback_step_bytes: u64,
    /// `writeback.max.bytes`: unflushed bytes that force a flush; at twice that, loops stop reading producers.
    pub writeback_max_bytes: u64,
    /// `slots.sync.ms`: how old an unsynced durable point may get.
    pub slots_sync: Duration,
    /// `maintenance.interval.ms`: how often retention and rolls by age are looked at.
    pub maintenance_interval: Duration,
    /// `partition.dormant.ms`: a partition that nobody needs for so long holds no files open.
    pub partition_dormant: Duration,
    /// `mapped.files.max`: files of logs that are mapped at once; `None` is as many as the process may.
    pub mapped_files_max: Option<u64>,
    /// `cleaner.dedupe.buffer.bytes`: what compaction may take to know the keys of a log by.
    pub cleaner_buffer_bytes: usize,
    /// `cleaner.io.max.bytes.per.second`: how much compaction reads and writes at most.
    pub cleaner_bytes_per_second: u64,
    /// `scrub.bytes.per.second`: how much of sealed segments is read again and verified; 0 is nothing.
    pub scrub_bytes_per_second: u64,
    /// `scrub.interval.ms`: how long after one pass over them has begun the next one begins.
    pub scrub_interval: Duration,
    /// `disk.min.free`: free bytes below which produce is refused; `None` is min(max(2 %, 64 MiB), 1 GiB).
    pub disk_min_free: Option<u64>,
    /// `shutdown.timeout.ms`: after that a shutdown ends without the clean mark.
    pub shutdown_timeout: Duration,
    /// `frame.max.bytes`: the largest request.
    pub frame_max_bytes: usize,
    /// `queued.max.bytes`: bytes of requests that have not arrived whole, of all connections together.
    pub queued_max_bytes: usize,
    /// `connections.max`: connections beyond it are closed at once.
    pub connections_max: usize,
    /// `connection.requests.max`: requests in flight above which a connection is not read.
    pub connection_requests_max: usize,
    /// `connection.subscriptions.max`: subscriptions of one connection.
    pub connection_subscriptions_max: usize,
    /// `connection.idle.ms`: a connection without traffic for so long is closed.
    pub connection_idle: Duration,
    /// `fetch.max.bytes`: record bytes in one fetch answer, unless its first batch alone is larger.
    pub fetch_max_bytes: usize,
    /// `fetch.waiting.max`: waiting fetches per loop; the next one is answered at once.
    pub fetch_waiting_max: usize,
    /// `fetch.session.cache.slots`: fetch sessions of Kafka's clients.
    pub fetch_session_cache_slots: usize,
    /// `fetch.session.partitions.max`: partitions in all of them together.
    pub fetch_session_partitions_max: usize,
    /// `decompress.max.bytes`: what the compressed batches of one request may unpack to while they are checked.
    pub decompress_max_bytes: usize,
    /// `auto.create.topics.enable`: a topic that a Kafka client asks for is made, if the client agrees.
    pub auto_create_topics: bool,
    /// `num.partitions`: partitions of a topic that is made without saying how many.
    pub num_partitions: u32,
    /// `producer.id.expiration.ms`: a partition forgets an idempotent producer that was silent for so long.
    pub producer_expiration: Duration,
    /// `partition.producers.max`: idempotent producers that a partition remembers.
    pub partition_producers_max: usize,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members after its first one.
    pub group_initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`: the shortest session that a group's member may have.
    pub group_min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`: the longest one.
    pub group_max_session_timeout: Duration,
    /// `group.max.size`: members of one group.
    pub group_max_size: u32,
    /// `group.offsets.max`: partitions that one group may have offsets of.
    pub group_offsets_max: usize,
    /// `partition.groups.max`: groups that one partition of their topic keeps.
    pub partition_groups_max: usize,
    /// `group.history.max`: what administrators replaced in a group, and may take back.
    pub group_history_max: u32,
    /// `offsets.retention.minutes`: how long the offsets of a group without members are kept.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`: how often that is looked at.
    pub offsets_retention_check_interval: Duration,
    /// `offset.metadata.max.bytes`: what a member may say beside an offset.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.topic.num.partitions`: partitions of the topic that groups are kept in, when it is made.
    pub offsets_topic_partitions: u32,
    /// `topic.*`: settings of a topic that does not set its own.
    pub topic: TopicSettings,
}

/// How record bytes get from files to sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPath {
    /// From their mapping, without a copy of ours.
    Map,
    /// By way of memory of ours: no page has to stay in the cache until a socket takes it.
    Copy,
}

impl Config {
    /// The defaults, for a broker on `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9092))],
            advertise: Vec::new(),
            data_dir: data_dir.into(),
            allow_incoherent_fs: false,
            loop_threads: cores,
            loop_spin: Duration::ZERO,
            lane_threads: if cores.get() <= 4 {
                NonZeroUsize::MIN
            } else {
                const { NonZeroUsize::new(2).unwrap() }
            },
            read_threads: const { NonZeroUsize::new(2).unwrap() },
            sigbus_handler: true,
            read_path: ReadPath::Map,
            lane_queue_bytes: 64 * MIB,
            flush_linger: Duration::ZERO,
            writeback_step_bytes: 16 * MIB as u64,
            writeback_max_bytes: 256 * MIB as u64,
            slots_sync: Duration::from_millis(100),
            maintenance_interval: Duration::from_secs(1),
            partition_dormant: Duration::from_secs(600),
            mapped_files_max: None,
            cleaner_buffer_bytes: 128 * MIB,
            cleaner_bytes_per_second: 32 * MIB as u64,
            scrub_bytes_per_second: 10_000_000,
            scrub_interval: Duration::from_secs(7 * 24 * 3600),
            disk_min_free: None,
            shutdown_timeout: Duration::from_secs(5),
            frame_max_bytes: 100 * MIB,
            queued_max_bytes: 64 * MIB,
            connections_max: 10_000,
            connection_requests_max: 1024,
            connection_subscriptions_max: 4096,
            connection_idle: Duration::from_secs(600),
            fetch_max_bytes: 55 * MIB,
            fetch_waiting_max: 100_000,
            fetch_session_cache_slots: 1000,
            fetch_session_partitions_max: 500_000,
            decompress_max_bytes: 64 * MIB,
            auto_create_topics: true,
            num_partitions: 1,
            producer_expiration: Duration::from_secs(24 * 3600),
            partition_producers_max: 10_000,
            group_initial_rebalance_delay: Duration::from_secs(3),
            group_min_session_timeout: Duration::from_secs(6),
            group_max_session_timeout: Duration::from_secs(30 * 60),
            group_max_size: i32::MAX.unsigned_abs(),
            group_offsets_max: 1 << 20,
            partition_groups_max: 100_000,
            group_history_max: 10,
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            offsets_retention_check_interval: Duration::from_secs(600),
            offset_metadata_max_bytes: 4096,
            offsets_topic_partitions: 8,
            topic: TopicSettings::default(),
        }
    }
}
