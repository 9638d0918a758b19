//! What can go wrong with a request, in house words, and the one table to each protocol's codes.

use folio_storage::ReadError;
use folio_wire::native::ErrorCode;

/// Why a service did not do what was asked. The text says what and where, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceError {
    pub(crate) fault: Fault,
    pub(crate) text: String,
    /// Of records that were looked at one by one: the number of each that is to blame within what was sent for its
    /// partition, and why.
    pub(crate) records: Vec<(u32, String)>,
}

/// The kinds of failure, sorted by blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    // The client's.
    InvalidRequest,
    UnknownTopic,
    UnknownPartition,
    TopicExists,
    InvalidTopicName,
    InvalidPartitions,
    InvalidReplicationFactor,
    InvalidReplicaAssignment,
    InvalidConfig,
    PolicyViolation,
    OffsetOutOfRange,
    MessageTooLarge,
    CorruptBatch,
    InvalidRecord,
    InvalidTimestamp,
    FencedLeaderEpoch,
    UnknownLeaderEpoch,
    // The disk's.
    StorageFull,
    StorageFailed,
    PartitionOffline,
    // The moment's.
    TooBusy,
    TimedOut,
}

impl ServiceError {
    pub(crate) fn new(fault: Fault, text: impl Into<String>) -> Self {
        Self { fault, text: text.into(), records: Vec::new() }
    }

    /// The data directory is not to be trusted any more.
    pub(crate) fn storage_failed() -> Self {
        Self::new(Fault::StorageFailed, "the data directory has failed; the broker is ending")
    }

    pub(crate) fn unknown_topic(name: &str) -> Self {
        Self::new(Fault::UnknownTopic, format!("there is no topic {name:?}"))
    }

    /// Why a log was not read.
    pub(crate) fn of_read(error: &ReadError) -> Self {
        let fault = match error {
            ReadError::OffsetOutOfRange { .. } => Fault::OffsetOutOfRange,
            ReadError::Retired => Fault::UnknownTopic,
            ReadError::Io { .. } => Fault::StorageFailed,
        };
        Self::new(fault, error.to_string())
    }

    /// The code in the native protocol.
    pub(crate) fn native(&self) -> ErrorCode {
        match self.fault {
            Fault::InvalidRequest => ErrorCode::INVALID_REQUEST,
            Fault::UnknownTopic => ErrorCode::UNKNOWN_TOPIC,
            Fault::UnknownPartition => ErrorCode::UNKNOWN_PARTITION,
            Fault::TopicExists => ErrorCode::TOPIC_EXISTS,
            Fault::InvalidTopicName => ErrorCode::INVALID_TOPIC_NAME,
            Fault::InvalidPartitions => ErrorCode::INVALID_PARTITIONS,
            Fault::InvalidReplicationFactor | Fault::InvalidReplicaAssignment => ErrorCode::INVALID_REPLICAS,
            Fault::InvalidConfig => ErrorCode::INVALID_CONFIG,
            Fault::PolicyViolation => ErrorCode::NOT_ALLOWED,
            Fault::OffsetOutOfRange => ErrorCode::OFFSET_OUT_OF_RANGE,
            Fault::MessageTooLarge => ErrorCode::MESSAGE_TOO_LARGE,
            Fault::CorruptBatch => ErrorCode::CORRUPT_BATCH,
            Fault::InvalidRecord => ErrorCode::INVALID_RECORD,
            Fault::InvalidTimestamp => ErrorCode::INVALID_TIMESTAMP,
            Fault::FencedLeaderEpoch => ErrorCode::FENCED_LEADER_EPOCH,
            Fault::UnknownLeaderEpoch => ErrorCode::UNKNOWN_LEADER_EPOCH,
            Fault::StorageFull => ErrorCode::STORAGE_FULL,
            Fault::StorageFailed => ErrorCode::STORAGE_FAILED,
            Fault::PartitionOffline => ErrorCode::PARTITION_OFFLINE,
            Fault::TooBusy => ErrorCode::TOO_BUSY,
            Fault::TimedOut => ErrorCode::TIMED_OUT,
        }
    }
}
