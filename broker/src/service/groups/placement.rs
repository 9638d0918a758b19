//! Which partition of `__consumer_offsets` a group is kept in: as in Kafka, so that both find each other's groups.

/// The partition of `group`, of so many; `None` if there are none.
pub(crate) fn partition_of(group: &str, partitions: usize) -> Option<usize> {
    // Java's `abs`, of which Kafka makes 0 where there is no such number.
    let hash = usize::try_from(java_hash(group).checked_abs().unwrap_or(0)).unwrap_or(0);
    hash.checked_rem(partitions)
}

/// What Java's `String.hashCode` makes of it.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_where_kafka_looks_for_them() {
        for (group, hash) in [
            ("", 0),
            ("a", 97),
            ("hello", 99_162_322),
            ("console-consumer-12345", 158_455_506),
            ("polygenelubricants", i32::MIN),
            ("grüße", 98_768_023),
            ("\u{1f600}", 1_772_899),
        ] {
            assert_eq!(java_hash(group), hash, "{group}");
        }
        assert_eq!(partition_of("hello", 50), Some(22));
        assert_eq!(partition_of("polygenelubricants", 8), Some(0));
        assert_eq!(partition_of("hello", 0), None);
    }
}
