//! The rows of the table, in the order of `config/foliod.toml`.

use std::path::PathBuf;
use std::time::Duration;

use folio_storage::metadata::PARTITIONS_MAX;
use folio_storage::producers::SNAPSHOT_PRODUCERS_MAX;

use super::Key;
use crate::config::kind::Kind;
use crate::config::value::Value;
use crate::config::{Config, ReadPath};

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
        "Bytes taken from producers and not yet appended, above which producers are not read."
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
        "Bytes that the compressed batches of one request may unpack to while they are checked; more is refused.",
        // Whoever unpacks them later goes no further.
        |&bytes: &usize| bytes <= folio_storage::UNPACKED_MAX,
        "at most 134217728 bytes"
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
