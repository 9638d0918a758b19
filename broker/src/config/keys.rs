//! The one table of configuration keys; the file, the environment, the flags and the documentation follow it.
//!
//! Invariants: names are dotted lower case and none is a prefix of another (so that each is a value in
//! the file and not also a table); no two share a name in the environment.

use std::path::PathBuf;
use std::time::Duration;

use folio_storage::metadata::PARTITIONS_MAX;
use folio_storage::producers::SNAPSHOT_PRODUCERS_MAX;

use super::kind::Kind;
use super::topic_keys::{self, TopicKey};
use super::value::Value;
use super::{Config, ReadPath};

/// One key of a `T`: its name, what it is for, and how it is read and written.
pub struct Key<T> {
    /// The dotted name.
    pub name: &'static str,
    /// One line: the unit, and why one would change it.
    pub reason: &'static str,
    kind: fn(&T) -> Kind,
    get: fn(&T) -> String,
    set: fn(&mut T, &str) -> Result<(), String>,
}

impl<T> Key<T> {
    /// What kind of value it takes.
    #[must_use]
    pub fn kind(&self, of: &T) -> Kind {
        (self.kind)(of)
    }

    /// The value as it would be written in a file.
    #[must_use]
    pub fn get(&self, of: &T) -> String {
        (self.get)(of)
    }

    /// Reads `text` into its place.
    ///
    /// # Errors
    /// What was expected instead; nothing is changed.
    pub fn set(&self, of: &mut T, text: &str) -> Result<(), String> {
        (self.set)(of, text)
    }
}

/// A key whose value is any that its type can read, or one that `$check` holds true of.
macro_rules! key {
    ($name:literal, $field:ident, $reason:literal) => {
        key!($name, $field, $reason, |_| true, "")
    };
    ($name:literal, $field:ident, $reason:literal, $check:expr, $expected:literal) => {
        Key {
            name: $name,
            reason: $reason,
            kind: |of| Value::kind(&of.$field),
            get: |of| Value::write(&of.$field),
            set: |of, text| {
                let value = Value::read(text)?;
                let holds: fn(&_) -> bool = $check;
                if !holds(&value) {
                    return Err($expected.to_owned());
                }
                of.$field = value;
                Ok(())
            },
        }
    };
}

/// A duration whose unit is the microsecond.
macro_rules! key_us {
    ($name:literal, $field:ident, $reason:literal) => {
        Key {
            name: $name,
            reason: $reason,
            kind: |of| Value::kind(&of.$field),
            get: |of| of.$field.as_micros().to_string(),
            set: |of, text| {
                of.$field = Duration::from_micros(u64::read(text)?);
                Ok(())
            },
        }
    };
}

/// The broker's own keys.
pub const BROKER_KEYS: &[Key<Config>] = &[
    key!(
        "listen",
        listen,
        "Addresses to accept connections on, ADDRESS:PORT; port 0 lets the system choose one.",
        |list: &Vec<_>| !list.is_empty(),
        "at least one ADDRESS:PORT"
    ),
    key!(
        "advertise",
        advertise,
        "HOST:PORT that Kafka's clients are told, one for each address in listen, or one for all; empty: the address they came by."
    ),
    Key {
        name: "data.dir",
        reason: "The directory of the data; created with mode 0700 when missing. Give it a file system of its own.",
        kind: |_| Kind::String,
        get: |config| config.data_dir.display().to_string(),
        set: |config, text| {
            config.data_dir = PathBuf::from(String::read(text)?);
            Ok(())
        },
    },
    key!(
        "allow.incoherent.fs",
        allow_incoherent_fs,
        "Open a data directory on a file system (network, FUSE) whose mappings may not show what was written."
    ),
    key!("loop.threads", loop_threads, "Event loops; by default one per core. They never wait on a disk."),
    key_us!(
        "loop.spin.us",
        loop_spin,
        "Microseconds a loop polls on after it had something to do: trades a core for latency."
    ),
    key!("lane.threads", lane_threads, "Threads that append to fsync topics and open new segments."),
    key!("read.threads", read_threads, "Threads that read what is not in memory."),
    Key {
        name: "sigbus.handler",
        reason: "on: a segment whose file was truncated, or has a page that the disk cannot read, is offline; off: touching it ends the daemon.",
        kind: |_| Kind::String,
        get: |config| if config.sigbus_handler { "on" } else { "off" }.to_owned(),
        set: |config, text| {
            config.sigbus_handler = match text {
                "on" => true,
                "off" => false,
                _ => return Err("on or off".to_owned()),
            };
            Ok(())
        },
    },
    Key {
        name: "read.path",
        reason: "map: records go from the page cache to the socket; copy: by way of memory, 1 MiB an answer, for disks so fast that mappings are in the way.",
        kind: |_| Kind::String,
        get: |config| match config.read_path {
            ReadPath::Map => "map".to_owned(),
            ReadPath::Copy => "copy".to_owned(),
        },
        set: |config, text| {
            config.read_path = match text {
                "map" => ReadPath::Map,
                "copy" => ReadPath::Copy,
                _ => return Err("map or copy".to_owned()),
            };
            Ok(())
        },
    },
    key!(
        "lane.queue.bytes",
        lane_queue_bytes,
        "Bytes waiting for the append threads above which producers are not read."
    ),
    key_us!(
        "flush.linger.us",
        flush_linger,
        "Microseconds a flush waits for company; more records a flush, more delay."
    ),
    key!(
        "writeback.step.bytes",
        writeback_step_bytes,
        "Unflushed bytes after which the kernel is asked to begin writing them."
    ),
    key!(
        "writeback.max.bytes",
        writeback_max_bytes,
        "Unflushed bytes that force a flush; at twice that, producers are not read. Bounds a power cut's loss on os topics.",
        |&bytes: &u64| bytes > 0,
        "1 or more bytes"
    ),
    key!("slots.sync.ms", slots_sync, "Milliseconds that a durable point may wait to reach the disk itself."),
    key!(
        "maintenance.interval.ms",
        maintenance_interval,
        "Milliseconds between looks at retention and at segments due to be closed.",
        |interval: &Duration| !interval.is_zero(),
        "1 or more milliseconds"
    ),
    key!(
        "partition.dormant.ms",
        partition_dormant,
        "Milliseconds without appends and reads after which a partition holds no files open; the next append or read opens them.",
        |dormant: &Duration| !dormant.is_zero(),
        "1 or more milliseconds"
    ),
    key!(
        "mapped.files.max",
        mapped_files_max,
        "Files of logs that are open and mapped at once; -1, and at most: half of the descriptors and of vm.max_map_count.",
        |files: &Option<u64>| files.is_none_or(|files| files >= MAPPED_FILES_LEAST),
        "-1, or 7 or more files"
    ),
    key!(
        "cleaner.dedupe.buffer.bytes",
        cleaner_buffer_bytes,
        "Bytes compaction may take to know keys by, 27 for each; where there are more, it takes more passes.",
        |&bytes: &usize| bytes >= 1024,
        "1024 or more bytes"
    ),
    key!(
        "cleaner.io.max.bytes.per.second",
        cleaner_bytes_per_second,
        "Bytes a second that compaction reads and writes at most, so that it is not in anybody's way.",
        |&bytes: &u64| bytes > 0,
        "1 or more bytes"
    ),
    key!(
        "scrub.bytes.per.second",
        scrub_bytes_per_second,
        "Bytes a second of full segments that are read again, beside the cache, to find what has rotted; 0: none."
    ),
    key!(
        "scrub.interval.ms",
        scrub_interval,
        "Milliseconds from the beginning of one pass over all full segments to that of the next.",
        |interval: &Duration| !interval.is_zero(),
        "1 or more milliseconds"
    ),
    key!(
        "disk.min.free",
        disk_min_free,
        "Free bytes below which produce is refused; -1 is 2 % of the disk, at least 64 MiB, at most 1 GiB."
    ),
    key!(
        "shutdown.timeout.ms",
        shutdown_timeout,
        "Milliseconds a stop may take to drain and flush; after that the next start scans the tails."
    ),
    key!(
        "frame.max.bytes",
        frame_max_bytes,
        "The largest request, in bytes.",
        |&bytes: &usize| (1024..=100 << 20).contains(&bytes),
        "1024 to 104857600 bytes"
    ),
    key!(
        "queued.max.bytes",
        queued_max_bytes,
        "Bytes of requests that are still arriving, of all connections; above it those that hold the most are closed."
    ),
    key!("connections.max", connections_max, "Connections at once; the next one is closed as it arrives."),
    key!(
        "connection.requests.max",
        connection_requests_max,
        "Unanswered requests of one connection above which it is not read.",
        |&requests: &usize| requests > 0,
        "1 or more"
    ),
    key!(
        "connection.subscriptions.max",
        connection_subscriptions_max,
        "Subscriptions of one connection; one more is refused."
    ),
    key!(
        "connection.idle.ms",
        connection_idle,
        "Milliseconds without traffic after which a connection is closed."
    ),
    key!(
        "fetch.max.bytes",
        fetch_max_bytes,
        "Record bytes in one fetch answer; its first batch always goes whole."
    ),
    key!(
        "fetch.waiting.max",
        fetch_waiting_max,
        "Waiting fetches of one event loop; the next is answered at once."
    ),
    key!(
        "fetch.session.cache.slots",
        fetch_session_cache_slots,
        "Fetch sessions of Kafka's clients; who finds none free asks in full each time."
    ),
    key!(
        "fetch.session.partitions.max",
        fetch_session_partitions_max,
        "Partitions in all fetch sessions together."
    ),
    key!(
        "decompress.max.bytes",
        decompress_max_bytes,
        "Bytes that the compressed batches of one request may unpack to while they are checked; more is refused."
    ),
    key!(
        "auto.create.topics.enable",
        auto_create_topics,
        "Make a topic that a Kafka client asks for and that is not there, unless the client says not to."
    ),
    key!(
        "num.partitions",
        num_partitions,
        "Partitions of a topic that is made without a word of how many.",
        |partitions: &u32| (1..=PARTITIONS_MAX).contains(partitions),
        "1 to 10000 partitions"
    ),
    key!(
        "producer.id.expiration.ms",
        producer_expiration,
        "Milliseconds of silence after which a partition forgets an idempotent producer."
    ),
    key!(
        "partition.producers.max",
        partition_producers_max,
        "Idempotent producers that a partition remembers; one more, and the most silent ones are forgotten.",
        |max: &usize| (1..=SNAPSHOT_PRODUCERS_MAX).contains(max),
        "1 to 80000 producers"
    ),
    key!(
        "group.initial.rebalance.delay.ms",
        group_initial_rebalance_delay,
        "Milliseconds that an empty group waits for more members after its first one; 0 suits tests."
    ),
    key!(
        "group.min.session.timeout.ms",
        group_min_session_timeout,
        "The shortest session of a group's member, in milliseconds; shorter ones find the dead sooner, and cost more."
    ),
    key!(
        "group.max.session.timeout.ms",
        group_max_session_timeout,
        "The longest session of a group's member, in milliseconds: so long may a dead one keep its partitions."
    ),
    key!(
        "group.max.size",
        group_max_size,
        "Members of one group; one more is turned away.",
        |&members: &u32| (1..=i32::MAX.unsigned_abs()).contains(&members),
        "1 to 2147483647 members"
    ),
    key!(
        "group.offsets.max",
        group_offsets_max,
        "Partitions that one group may have offsets of, which are all in memory; one more is refused.",
        |&offsets: &usize| offsets >= 1,
        "1 or more"
    ),
    key!(
        "partition.groups.max",
        partition_groups_max,
        "Groups in one partition of __consumer_offsets; one more is refused.",
        |&groups: &usize| groups >= 1,
        "1 or more"
    ),
    key!(
        "group.history.max",
        group_history_max,
        "Resets and deletes of a group that can be taken back, the latest first; 0: none."
    ),
    Key {
        name: "offsets.retention.minutes",
        reason: "Minutes that the offsets of a group without members are kept; 0: until they are looked at.",
        kind: |_| Kind::Int,
        get: |config| (config.offsets_retention.as_secs() / 60).to_string(),
        set: |config, text| {
            config.offsets_retention = Duration::from_secs(u64::from(u32::read(text)?) * 60);
            Ok(())
        },
    },
    key!(
        "offsets.retention.check.interval.ms",
        offsets_retention_check_interval,
        "Milliseconds between looks at offsets and groups that are too old.",
        |interval: &Duration| !interval.is_zero(),
        "1 or more milliseconds"
    ),
    key!(
        "offset.metadata.max.bytes",
        offset_metadata_max_bytes,
        "Bytes of text that a member may commit beside an offset."
    ),
    key!(
        "offsets.topic.num.partitions",
        offsets_topic_partitions,
        "Partitions of __consumer_offsets, where groups are kept; holds when that topic is made.",
        |partitions: &u32| (1..=1000).contains(partitions),
        "1 to 1000 partitions"
    ),
];

/// With fewer, not even one partition could be appended to while its next segment is made ready.
pub(crate) const MAPPED_FILES_LEAST: u64 = 7;

/// Where the data is when nobody says.
pub const DEFAULT_DATA_DIR: &str = "folio-data";

/// Where the defaults of topics stand among the broker's keys.
pub const TOPIC_PREFIX: &str = "topic.";

/// Every full name, in the order of the tables.
pub fn names() -> impl Iterator<Item = String> {
    let broker = BROKER_KEYS.iter().map(|key| key.name.to_owned());
    broker.chain(topic_keys::acting().map(|key| format!("{TOPIC_PREFIX}{}", key.name)))
}

/// The value of `name`, or `None` when there is no such key.
#[must_use]
pub fn get(config: &Config, name: &str) -> Option<String> {
    match name.strip_prefix(TOPIC_PREFIX) {
        Some(name) => acting(name).map(|key| key.get(&config.topic)),
        None => broker_key(name).map(|key| key.get(config)),
    }
}

/// Sets `name`.
///
/// # Errors
/// See [`SetError`]; nothing is changed.
pub fn set(config: &mut Config, name: &str, text: &str) -> Result<(), SetError> {
    let set = match name.strip_prefix(TOPIC_PREFIX) {
        Some(name) => acting(name).map(|key| key.set_default(&mut config.topic, text)),
        None => broker_key(name).map(|key| key.set(config, text)),
    };
    set.ok_or_else(|| SetError::Unknown { nearest: nearest(name, names()) })?
        .map_err(|expected| SetError::Value { expected })
}

/// Why a key was not set.
#[derive(Debug, PartialEq, Eq)]
pub enum SetError {
    /// There is no such key; `nearest` is the one most like it.
    Unknown {
        /// The known name with the fewest differences.
        nearest: String,
    },
    /// The value is not one of its kind.
    Value {
        /// What would be.
        expected: String,
    },
}

/// What `name` is for: a line for whoever sets it.
#[must_use]
pub fn reason(name: &str) -> Option<&'static str> {
    match name.strip_prefix(TOPIC_PREFIX) {
        Some(name) => acting(name).map(|key| key.doc),
        None => broker_key(name).map(|key| key.reason),
    }
}

/// The name most like `name`.
pub fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    known.min_by_key(|known| strsim::damerau_levenshtein(name, known)).unwrap_or_default()
}

fn acting(name: &str) -> Option<&'static TopicKey> {
    topic_keys::acting().find(|key| key.name == name)
}

fn broker_key(name: &str) -> Option<&'static Key<Config>> {
    BROKER_KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_the_prefix_of_another() {
        let names: Vec<String> = names().collect();
        for name in &names {
            let table = format!("{name}.");
            assert!(!names.iter().any(|other| other.starts_with(&table)), "{name} is a value and a table");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '.'), "{name}");
        }
    }

    #[test]
    fn every_default_reads_back_as_itself() {
        let defaults = Config::new("folio-data");
        for name in names() {
            let written = get(&defaults, &name).unwrap();
            let mut config = Config::new("elsewhere");
            assert_eq!(set(&mut config, &name, &written), Ok(()), "{name} = {written}");
            assert_eq!(get(&config, &name), Some(written), "{name}");
        }
    }

    #[test]
    fn every_key_changes_what_it_names_and_nothing_else() {
        let other = |name: &str, was: &str| match (name, was) {
            ("listen", _) => "[::1]:9093,127.0.0.2:0".to_owned(),
            ("advertise", _) => "folio.example:9092,[::1]:9093".to_owned(),
            ("data.dir", _) => "/elsewhere".to_owned(),
            ("sigbus.handler", _) => "off".to_owned(),
            ("read.path", _) => "copy".to_owned(),
            ("topic.durability", _) => "os".to_owned(),
            ("topic.cleanup.policy", _) => "compact".to_owned(),
            ("topic.min.cleanable.dirty.ratio", _) => "0.25".to_owned(),
            ("topic.message.timestamp.type", _) => "LogAppendTime".to_owned(),
            ("topic.compression.type", _) => "zstd".to_owned(),
            (_, "false") => "true".to_owned(),
            (_, "true") => "false".to_owned(),
            (_, "-1") => "7".to_owned(),
            (_, number) => (number.parse::<u64>().unwrap() - 1).max(1).to_string(),
        };
        for name in names() {
            let defaults = Config::new("folio-data");
            let mut config = defaults.clone();
            // A value whose default is 1 has no smaller neighbour.
            let was = get(&defaults, &name).unwrap();
            let value = if was == "1" || was == "0" { "2".to_owned() } else { other(&name, &was) };
            set(&mut config, &name, &value).unwrap();
            for looked_at in names() {
                let expected =
                    if looked_at == name { Some(value.clone()) } else { get(&defaults, &looked_at) };
                assert_eq!(get(&config, &looked_at), expected, "{looked_at} after {name} = {value}");
            }
        }
    }

    #[test]
    fn bad_values_say_what_was_expected() {
        for (name, value, expected) in [
            ("listen", "localhost", "ADDRESS:PORT, more of them separated by commas, as 127.0.0.1:9092"),
            ("listen", "", "ADDRESS:PORT, more of them separated by commas, as 127.0.0.1:9092"),
            (
                "advertise",
                "0.0.0.0:9092",
                "HOST:PORT that clients can connect to, one for each address in listen, separated by commas",
            ),
            ("loop.threads", "0", "a whole number, 1 or more"),
            ("sigbus.handler", "true", "on or off"),
            ("read.path", "mmap", "map or copy"),
            ("topic.durability", "always", "fsync, interval or os"),
            ("topic.segment.bytes", "100", "a whole number from 4096 to 2147483647"),
            ("topic.retention.ms", "soon", "a whole number, -1 or more"),
            ("topic.retention.ms", "-2", "a whole number, -1 or more"),
            ("topic.cleanup.policy", "keep", "any of compact and delete, separated by commas"),
            ("data.dir", "", "a text that is not empty"),
            ("allow.incoherent.fs", "yes", "true or false"),
        ] {
            let refused = set(&mut Config::new("folio-data"), name, value);
            assert_eq!(refused, Err(SetError::Value { expected: expected.to_owned() }), "{name} = {value}");
        }
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let refused = set(&mut Config::new("folio-data"), "topic.retention.mss", "1");
        assert_eq!(refused, Err(SetError::Unknown { nearest: "topic.retention.ms".to_owned() }));
    }
}
