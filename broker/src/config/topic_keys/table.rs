//! The table itself.

use super::values::*;
use super::{BrokerName, Effect, Field, TopicKey};
use crate::config::kind::{Kind, Parsed, Valid};
use crate::config::topic::TopicSettings;

/// Every setting of topics.
pub const TOPIC_KEYS: &[TopicKey] = &[
    TopicKey {
        name: "durability",
        kind: Kind::String,
        valid: Valid::OneOf(&["fsync", "interval", "os"]),
        default: "fsync",
        doc: "fsync (acks=all waits for the disk), interval (flush.ms, flush.messages, flush.bytes) or os. \
              flush.messages of 1 is fsync whatever stands here; another flush.messages or flush.ms makes interval of os.",
        broker_name: None,
        effect: acts(
            |topic| Parsed::Text(write_durability(topic.durability_set).to_owned()),
            |topic, value| topic.durability_set = read_durability(value),
        ),
    },
    TopicKey {
        name: "cleanup.policy",
        kind: Kind::List,
        valid: Valid::OneOf(&["compact", "delete"]),
        default: "delete",
        doc: "delete (old segments go by retention.ms and retention.bytes), compact (of each key the last record is kept; \
              records without one are refused), both, or nothing: records are kept for ever.",
        broker_name: broker("log.cleanup.policy"),
        effect: acts(
            |topic| Parsed::List(write_policy(topic.cleanup)),
            |topic, value| topic.cleanup = read_policy(value),
        ),
    },
    TopicKey {
        name: "retention.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(-1),
        default: "604800000",
        doc: "Milliseconds records are kept; -1 is for ever.",
        broker_name: broker_or("log.retention.ms", "log.retention.hours", "168"),
        effect: acts(|topic| or_minus_one(topic.retention), |topic, value| topic.retention = limit(value)),
    },
    TopicKey {
        name: "retention.bytes",
        kind: Kind::Long,
        valid: Valid::Any,
        default: "-1",
        doc: "Bytes a partition keeps, oldest segments go first; -1 is no limit.",
        broker_name: broker("log.retention.bytes"),
        effect: acts(
            |topic| topic.retention_bytes.map_or(Parsed::Whole(-1), whole_u64),
            |topic, value| topic.retention_bytes = u64::try_from(number(value)).ok(),
        ),
    },
    TopicKey {
        name: "segment.bytes",
        kind: Kind::Int,
        valid: Valid::AtLeast(1 << 20),
        default: "1073741824",
        doc: "Bytes of a segment file; retention removes whole segments.",
        broker_name: broker("log.segment.bytes"),
        effect: Effect::Acts(Field {
            get: |topic| Parsed::Whole(topic.segment_bytes.into()),
            set: |topic, value| topic.segment_bytes = number_u32(value),
            least_of_broker: Some(4096),
        }),
    },
    TopicKey {
        name: "segment.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(1),
        default: "604800000",
        doc: "Milliseconds after which a segment is closed though it has room.",
        broker_name: broker_or("log.roll.ms", "log.roll.hours", "168"),
        effect: acts(|topic| millis(topic.segment_age), |topic, value| topic.segment_age = duration(value)),
    },
    TopicKey {
        name: "segment.jitter.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(0),
        default: "0",
        doc: "Milliseconds by up to which segments are closed before segment.ms, each by another, so that not all are at once.",
        broker_name: broker_or("log.roll.jitter.ms", "log.roll.jitter.hours", "0"),
        effect: acts(
            |topic| millis(topic.segment_jitter),
            |topic, value| topic.segment_jitter = duration(value),
        ),
    },
    TopicKey {
        name: "segment.index.bytes",
        kind: Kind::Int,
        valid: Valid::AtLeast(4),
        default: "10485760",
        doc: "Bytes of a segment's index, eight for each entry as in Kafka; a segment whose index is full is closed.",
        broker_name: broker("log.index.size.max.bytes"),
        effect: acts(
            |topic| Parsed::Whole(topic.segment_index_bytes.into()),
            |topic, value| topic.segment_index_bytes = number_u32(value),
        ),
    },
    TopicKey {
        name: "index.interval.bytes",
        kind: Kind::Int,
        valid: Valid::AtLeast(0),
        default: "4096",
        doc: "Log bytes between two index entries: more is a smaller index and a longer walk.",
        broker_name: broker("log.index.interval.bytes"),
        effect: acts(
            |topic| Parsed::Whole(topic.index_interval_bytes.into()),
            |topic, value| topic.index_interval_bytes = number_u32(value),
        ),
    },
    TopicKey {
        name: "max.message.bytes",
        kind: Kind::Int,
        valid: Valid::AtLeast(0),
        default: "1048588",
        doc: "The largest batch, in bytes as stored.",
        broker_name: broker("message.max.bytes"),
        effect: acts(
            |topic| Parsed::Whole(topic.max_message_bytes.into()),
            |topic, value| topic.max_message_bytes = number_u32(value),
        ),
    },
    TopicKey {
        name: "max.decompressed.message.bytes",
        kind: Kind::Int,
        valid: Valid::Between(1, 2_147_483_639),
        default: "2147483639",
        doc: "The largest record of a compressed batch, in bytes once decompressed. What a whole request may decompress to is \
              decompress.max.bytes of the broker.",
        broker_name: broker("max.decompressed.message.bytes"),
        effect: acts(
            |topic| Parsed::Whole(topic.decompressed_record_max.into()),
            |topic, value| topic.decompressed_record_max = number_u32(value),
        ),
    },
    TopicKey {
        name: "flush.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(0),
        default: NEVER,
        doc: "Milliseconds an interval topic may stay unflushed; 9223372036854775807 is never, which counts as 50 where \
              durability is interval.",
        broker_name: broker_or("log.flush.interval.ms", "log.flush.scheduler.interval.ms", NEVER),
        effect: acts(|topic| or_never(topic.flush_ms), |topic, value| topic.flush_ms = limit(value)),
    },
    TopicKey {
        name: "flush.messages",
        kind: Kind::Long,
        valid: Valid::AtLeast(1),
        default: NEVER,
        doc: "Records an interval topic may have unflushed; 1 is the durability fsync, 9223372036854775807 is no limit.",
        broker_name: broker("log.flush.interval.messages"),
        effect: acts(
            |topic| topic.flush_messages.map_or(Parsed::Whole(i64::MAX), whole_u64),
            |topic, value| {
                topic.flush_messages =
                    Some(number(value).unsigned_abs()).filter(|most| *most < i64::MAX as u64);
            },
        ),
    },
    TopicKey {
        name: "flush.bytes",
        kind: Kind::Long,
        valid: Valid::AtLeast(1),
        default: "8388608",
        doc: "Bytes an interval topic may have unflushed.",
        broker_name: None,
        effect: acts(
            |topic| whole_u64(topic.flush_bytes),
            |topic, value| topic.flush_bytes = number(value).unsigned_abs(),
        ),
    },
    TopicKey {
        name: "message.timestamp.before.max.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(0),
        default: NEVER,
        doc: "Milliseconds a record's time may lie behind this machine's clock; 9223372036854775807 is no limit.",
        broker_name: broker("log.message.timestamp.before.max.ms"),
        effect: acts(
            |topic| or_never(topic.timestamp_before_max),
            |topic, value| topic.timestamp_before_max = limit(value),
        ),
    },
    TopicKey {
        name: "message.timestamp.after.max.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(0),
        default: "3600000",
        doc: "Milliseconds a record's time may lie ahead of this machine's clock; 9223372036854775807 is no limit.",
        broker_name: broker("log.message.timestamp.after.max.ms"),
        effect: acts(
            |topic| or_never(topic.timestamp_after_max),
            |topic, value| topic.timestamp_after_max = limit(value),
        ),
    },
    TopicKey {
        name: "message.timestamp.type",
        kind: Kind::String,
        valid: Valid::OneOf(&["CreateTime", "LogAppendTime"]),
        default: "CreateTime",
        doc: "Whose time a record carries: its producer's (CreateTime) or the broker's (LogAppendTime).",
        broker_name: broker("log.message.timestamp.type"),
        effect: acts(
            |topic| Parsed::Text(write_timestamp_type(topic.timestamp_type).to_owned()),
            |topic, value| topic.timestamp_type = read_timestamp_type(value),
        ),
    },
    TopicKey {
        name: "compression.type",
        kind: Kind::String,
        valid: Valid::OneOf(CODECS),
        default: "producer",
        doc: "How batches are stored: as their producer compressed them (producer), in this codec, or uncompressed. Batches \
              of another codec are compressed anew as they come; one that would not get smaller is stored uncompressed.",
        broker_name: broker("compression.type"),
        effect: acts(
            |topic| Parsed::Text(write_compression(topic.compression).to_owned()),
            |topic, value| topic.compression = read_compression(value),
        ),
    },
    TopicKey {
        name: "compression.gzip.level",
        kind: Kind::Int,
        valid: Valid::BetweenOrMinusOne(1, 9),
        default: "-1",
        doc: "The level where compression.type is gzip; -1 is the codec's own.",
        broker_name: broker("compression.gzip.level"),
        effect: acts(
            |topic| Parsed::Whole(topic.gzip_level.into()),
            |topic, value| topic.gzip_level = number_i32(value),
        ),
    },
    TopicKey {
        name: "compression.lz4.level",
        kind: Kind::Int,
        valid: Valid::Between(1, 17),
        default: "9",
        doc: "The level where compression.type is lz4.",
        broker_name: broker("compression.lz4.level"),
        effect: Effect::Kept("lz4 has one level here"),
    },
    TopicKey {
        name: "compression.zstd.level",
        kind: Kind::Int,
        valid: Valid::Between(-131_072, 22),
        default: "3",
        doc: "The level where compression.type is zstd.",
        broker_name: broker("compression.zstd.level"),
        effect: acts(
            |topic| Parsed::Whole(topic.zstd_level.into()),
            |topic, value| topic.zstd_level = number_i32(value),
        ),
    },
    TopicKey {
        name: "min.cleanable.dirty.ratio",
        kind: Kind::Double,
        valid: Valid::Between(0, 1),
        default: "0.5",
        doc: "How much of a log has to be uncompacted before it is compacted: more than this part of what can be.",
        broker_name: broker("log.cleaner.min.cleanable.ratio"),
        effect: acts(
            |topic| Parsed::Fraction(topic.dirty_ratio_min.get()),
            |topic, value| topic.dirty_ratio_min = ratio(value),
        ),
    },
    TopicKey {
        name: "min.compaction.lag.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(0),
        default: "0",
        doc: "Milliseconds a record is not compacted for.",
        broker_name: broker("log.cleaner.min.compaction.lag.ms"),
        effect: acts(
            |topic| millis(topic.compaction_lag_min),
            |topic, value| topic.compaction_lag_min = duration(value),
        ),
    },
    TopicKey {
        name: "max.compaction.lag.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(1),
        default: NEVER,
        doc: "Milliseconds after which a record is compacted however little there is to compact; segments are closed by then.",
        broker_name: broker("log.cleaner.max.compaction.lag.ms"),
        effect: acts(
            |topic| or_never(topic.compaction_lag_max),
            |topic, value| topic.compaction_lag_max = limit(value),
        ),
    },
    TopicKey {
        name: "delete.retention.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(0),
        default: "86400000",
        doc: "Milliseconds a compacted topic keeps the mark of a deleted key, from when it was compacted first.",
        broker_name: broker("log.cleaner.delete.retention.ms"),
        effect: acts(
            |topic| millis(topic.delete_retention),
            |topic, value| topic.delete_retention = duration(value),
        ),
    },
    TopicKey {
        name: "file.delete.delay.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(0),
        default: "60000",
        doc: "Milliseconds a file that is not needed any more stays: none here, and none that is still read goes.",
        broker_name: broker("log.segment.delete.delay.ms"),
        effect: Effect::Kept("a file goes when its last reader has gone"),
    },
    TopicKey {
        name: "preallocate",
        kind: Kind::Boolean,
        valid: Valid::Any,
        default: "false",
        doc: "Whether room for a segment is set aside when it is begun.",
        broker_name: broker("log.preallocate"),
        effect: Effect::Kept("room is always set aside, in steps"),
    },
    TopicKey {
        name: "min.insync.replicas",
        kind: Kind::Int,
        valid: Valid::AtLeast(1),
        default: "1",
        doc: "Replicas that have to have a record before acks=all is answered.",
        broker_name: broker("min.insync.replicas"),
        effect: Effect::Kept(NO_REPLICAS),
    },
    TopicKey {
        name: "unclean.leader.election.enable",
        kind: Kind::Boolean,
        valid: Valid::Any,
        default: "false",
        doc: "Whether a replica that lags behind may become the leader.",
        broker_name: broker("unclean.leader.election.enable"),
        effect: Effect::Kept(NO_REPLICAS),
    },
    TopicKey {
        name: "leader.replication.throttled.replicas",
        kind: Kind::List,
        valid: Valid::Replicas,
        default: "",
        doc: "Replicas whose leaders send them records slowly, as PARTITION:BROKER, or *.",
        broker_name: None,
        effect: Effect::Kept(NO_REPLICAS),
    },
    TopicKey {
        name: "follower.replication.throttled.replicas",
        kind: Kind::List,
        valid: Valid::Replicas,
        default: "",
        doc: "Replicas that fetch records slowly, as PARTITION:BROKER, or *.",
        broker_name: None,
        effect: Effect::Kept(NO_REPLICAS),
    },
    TopicKey {
        name: "remote.storage.enable",
        kind: Kind::Boolean,
        valid: Valid::Any,
        default: "false",
        doc: "Whether closed segments are moved to remote storage.",
        broker_name: None,
        effect: Effect::Kept(NO_TIERS),
    },
    TopicKey {
        name: "remote.log.copy.disable",
        kind: Kind::Boolean,
        valid: Valid::Any,
        default: "false",
        doc: "Whether no further segments are moved to remote storage.",
        broker_name: None,
        effect: Effect::Kept(NO_TIERS),
    },
    TopicKey {
        name: "remote.log.delete.on.disable",
        kind: Kind::Boolean,
        valid: Valid::Any,
        default: "false",
        doc: "Whether segments in remote storage go once it is switched off.",
        broker_name: None,
        effect: Effect::Kept(NO_TIERS),
    },
    TopicKey {
        name: "remote.copy.lag.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(-1),
        default: "0",
        doc: "Milliseconds until a closed segment is moved to remote storage.",
        broker_name: broker("log.remote.copy.lag.ms"),
        effect: Effect::Kept(NO_TIERS),
    },
    TopicKey {
        name: "remote.copy.lag.bytes",
        kind: Kind::Long,
        valid: Valid::AtLeast(-1),
        default: "-1",
        doc: "Newer bytes until a closed segment is moved to remote storage.",
        broker_name: broker("log.remote.copy.lag.bytes"),
        effect: Effect::Kept(NO_TIERS),
    },
    TopicKey {
        name: "local.retention.ms",
        kind: Kind::Long,
        valid: Valid::AtLeast(-2),
        default: "-2",
        doc: "Milliseconds a segment that is in remote storage too stays here; -2 is retention.ms.",
        broker_name: broker("log.local.retention.ms"),
        effect: Effect::Kept(NO_TIERS),
    },
    TopicKey {
        name: "local.retention.bytes",
        kind: Kind::Long,
        valid: Valid::AtLeast(-2),
        default: "-2",
        doc: "Bytes of a partition that stay here beside remote storage; -2 is retention.bytes.",
        broker_name: broker("log.local.retention.bytes"),
        effect: Effect::Kept(NO_TIERS),
    },
    TopicKey {
        name: "errors.deadletterqueue.group.enable",
        kind: Kind::Boolean,
        valid: Valid::Any,
        default: "false",
        doc: "Whether share groups may put records here that they could not deliver.",
        broker_name: None,
        effect: Effect::Kept("there are no share groups"),
    },
];

/// Kafka's way to have small segments all the same, for tests; shown only where it is set.
pub(super) const SMALL_SEGMENTS: TopicKey = TopicKey {
    name: "internal.segment.bytes",
    kind: Kind::Int,
    valid: Valid::AtLeast(4096),
    default: "1073741824",
    doc: "As segment.bytes, which it covers, and smaller than that allows. For tests.",
    broker_name: None,
    effect: acts(
        |topic| Parsed::Whole(topic.segment_bytes.into()),
        |topic, value| topic.segment_bytes = number_u32(value),
    ),
};

/// Kafka's "never".
const NEVER: &str = "9223372036854775807";
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const NO_TIERS: &str = "there is no remote storage";
const NO_REPLICAS: &str = "there is one node, and no replica to wait for or to choose from";

const fn acts(get: fn(&TopicSettings) -> Parsed, set: fn(&mut TopicSettings, &Parsed)) -> Effect {
    Effect::Acts(Field { get, set, least_of_broker: None })
}

const fn broker(name: &'static str) -> Option<BrokerName> {
    Some(BrokerName { name, instead: None })
}

const fn broker_or(name: &'static str, instead: &'static str, value: &'static str) -> Option<BrokerName> {
    Some(BrokerName { name, instead: Some((instead, value)) })
}
