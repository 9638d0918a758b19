//! What is set for groups, by Kafka's names, with Kafka's defaults.

use std::time::Duration;

/// The settings that a coordinator works by.
#[derive(Clone, Debug)]
pub(crate) struct GroupSettings {
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members before it divides the work.
    pub(crate) initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`
    pub(crate) session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`
    pub(crate) session_timeout_max: Duration,
    /// `group.max.size`: members of one group.
    pub(crate) members_max: usize,
    /// `partition.groups.max`: groups of one coordinator; whoever would make another is refused.
    pub(crate) groups_max: usize,
    /// Bytes of one group's metadata record: what all members say and have been given. It has to fit a batch.
    pub(crate) group_bytes_max: usize,
    /// `offset.metadata.max.bytes`: the note beside an offset.
    pub(crate) offset_metadata_max: usize,
    /// `group.offsets.max`: offsets of one group; whoever would store another is refused.
    pub(crate) group_offsets_max: usize,
    /// `offsets.retention.minutes`
    pub(crate) offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub(crate) retention_check_interval: Duration,
}

impl Default for GroupSettings {
    /// Kafka's defaults, and the bounds that Kafka has not.
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_secs(3),
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(1800),
            members_max: usize::MAX,
            groups_max: 100_000,
            group_bytes_max: 1 << 20,
            offset_metadata_max: 4096,
            group_offsets_max: 1 << 20,
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            retention_check_interval: Duration::from_secs(600),
        }
    }
}
