//! How values get into the fields of settings, and out again.

use std::time::Duration;

use folio_record::{Compression, TimestampType};
use folio_storage::DirtyRatio;

use crate::config::kind::Parsed;
use crate::config::topic::{CleanupPolicy, DurabilityClass};

pub(super) fn number(value: &Parsed) -> i64 {
    match value {
        Parsed::Whole(number) => *number,
        _ => 0,
    }
}

/// Its kind lets nothing else through.
pub(super) fn ratio(value: &Parsed) -> DirtyRatio {
    match value {
        Parsed::Fraction(fraction) => DirtyRatio::new(*fraction),
        other => DirtyRatio::new(number(other) as f64),
    }
}

/// Its bounds let no other number through.
pub(super) fn number_u32(value: &Parsed) -> u32 {
    u32::try_from(number(value)).unwrap_or(u32::MAX)
}

/// Its kind lets no other number through.
pub(super) fn number_i32(value: &Parsed) -> i32 {
    i32::try_from(number(value)).unwrap_or(i32::MAX)
}

pub(super) fn whole_u64(number: u64) -> Parsed {
    Parsed::Whole(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) fn duration(value: &Parsed) -> Duration {
    Duration::from_millis(number(value).unsigned_abs())
}

pub(super) fn millis(duration: Duration) -> Parsed {
    Parsed::Whole(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// A time below 0, and the longest there is, are no limit.
pub(super) fn limit(value: &Parsed) -> Option<Duration> {
    let ms = u64::try_from(number(value)).ok();
    ms.filter(|ms| *ms < i64::MAX as u64).map(Duration::from_millis)
}

pub(super) fn or_minus_one(limit: Option<Duration>) -> Parsed {
    limit.map_or(Parsed::Whole(-1), millis)
}

pub(super) fn or_never(limit: Option<Duration>) -> Parsed {
    limit.map_or(Parsed::Whole(i64::MAX), millis)
}

pub(super) fn read_durability(value: &Parsed) -> DurabilityClass {
    match value {
        Parsed::Text(text) if text == "os" => DurabilityClass::Os,
        Parsed::Text(text) if text == "interval" => DurabilityClass::Interval,
        _ => DurabilityClass::Fsync,
    }
}

pub(super) fn write_durability(class: DurabilityClass) -> &'static str {
    match class {
        DurabilityClass::Fsync => "fsync",
        DurabilityClass::Interval => "interval",
        DurabilityClass::Os => "os",
    }
}

pub(super) fn read_timestamp_type(value: &Parsed) -> TimestampType {
    match value {
        Parsed::Text(text) if text == "LogAppendTime" => TimestampType::LogAppend,
        _ => TimestampType::Create,
    }
}

pub(super) fn write_timestamp_type(whose: TimestampType) -> &'static str {
    match whose {
        TimestampType::Create => "CreateTime",
        TimestampType::LogAppend => "LogAppendTime",
    }
}

/// Kafka calls none `uncompressed` here.
pub(super) fn read_compression(value: &Parsed) -> Option<Compression> {
    match value {
        Parsed::Text(text) if text == "uncompressed" => Some(Compression::None),
        Parsed::Text(text) => text.parse().ok(),
        _ => None,
    }
}

pub(super) fn write_compression(compression: Option<Compression>) -> &'static str {
    match compression {
        None => "producer",
        Some(Compression::None) => "uncompressed",
        Some(codec) => codec.name(),
    }
}

pub(super) fn read_policy(value: &Parsed) -> CleanupPolicy {
    let has = |name: &str| matches!(value, Parsed::List(parts) if parts.iter().any(|part| part == name));
    CleanupPolicy { deletes: has("delete"), compacts: has("compact") }
}

pub(super) fn write_policy(policy: CleanupPolicy) -> Vec<String> {
    let parts = [(policy.compacts, "compact"), (policy.deletes, "delete")];
    parts.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned()).collect()
}
