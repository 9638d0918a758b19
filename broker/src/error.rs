//! What can go wrong with a request, in house words, and the one table to each protocol's codes.

use folio_storage::{ReadError, Refusal, SequenceError};
use folio_wire::kafka::KafkaError;
use folio_wire::native::ErrorCode;
use uuid::Uuid;

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
    UnknownTopicId,
    InconsistentTopicId,
    UnknownPartition,
    TopicExists,
    InvalidTopicName,
    InternalTopic,
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
    UnsupportedCompression,
    FencedLeaderEpoch,
    UnknownLeaderEpoch,
    OutOfOrderSequence,
    DuplicateSequence,
    InvalidProducerEpoch,
    TransactionsUnsupported,
    UnknownSubscription,
    SubscriptionExists,
    LimitReached,
    InvalidGroup,
    UnknownGroup,
    GroupNotEmpty,
    GroupFull,
    UnknownMember,
    MemberIdRequired,
    FencedInstance,
    IllegalGeneration,
    InconsistentProtocol,
    InvalidSessionTimeout,
    GroupSubscribed,
    OffsetMetadataTooLarge,
    // The disk's.
    StorageFull,
    StorageFailed,
    PartitionOffline,
    Damaged,
    // The moment's.
    TooBusy,
    Unavailable,
    TimedOut,
    ShuttingDown,
    RebalanceInProgress,
    CoordinatorLoading,
    CoordinatorNotAvailable,
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

    pub(crate) fn unknown_topic_id(id: Uuid) -> Self {
        Self::new(Fault::UnknownTopicId, format!("there is no topic with the id {id}"))
    }

    /// A partition takes no appends, or cannot be read from there on.
    pub(crate) fn partition_offline(topic: &str, number: impl Into<i64>, why: &str) -> Self {
        let text = format!("partition {} of topic {topic:?} is offline: {why}", number.into());
        Self::new(Fault::PartitionOffline, text)
    }

    /// Why a log was not read.
    pub(crate) fn of_read(error: &ReadError) -> Self {
        let fault = match error {
            ReadError::OffsetOutOfRange { .. } => Fault::OffsetOutOfRange,
            ReadError::Retired => Fault::UnknownTopic,
            ReadError::Damaged(_) => Fault::Damaged,
            ReadError::Lost { .. } => Fault::PartitionOffline,
            ReadError::Exhausted { .. } | ReadError::Replaced => Fault::Unavailable,
            ReadError::Io { .. } => Fault::StorageFailed,
        };
        Self::new(fault, error.to_string())
    }

    /// Why what one producer sent was not appended.
    pub(crate) fn of_refusal(error: &Refusal) -> Self {
        let fault = match error {
            Refusal::NotABatch => Fault::InvalidRecord,
            Refusal::TooLarge { .. } | Refusal::TooMany { .. } => Fault::MessageTooLarge,
            Refusal::Sequence(SequenceError::OutOfOrder { .. }) => Fault::OutOfOrderSequence,
            Refusal::Sequence(SequenceError::Duplicate { .. }) => Fault::DuplicateSequence,
            Refusal::Sequence(SequenceError::InvalidEpoch { .. }) => Fault::InvalidProducerEpoch,
        };
        Self::new(fault, error.to_string())
    }

    /// The code in the native protocol.
    pub(crate) fn native(&self) -> ErrorCode {
        self.fault.codes().0
    }

    /// The code in Kafka's.
    pub(crate) fn kafka(&self) -> KafkaError {
        self.fault.codes().1
    }
}

impl Fault {
    /// The one table: the code in the native protocol, and in Kafka's.
    fn codes(self) -> (ErrorCode, KafkaError) {
        match self {
            Self::InvalidRequest => (ErrorCode::INVALID_REQUEST, KafkaError::INVALID_REQUEST),
            Self::UnknownTopic => (ErrorCode::UNKNOWN_TOPIC, KafkaError::UNKNOWN_TOPIC_OR_PARTITION),
            Self::UnknownTopicId => (ErrorCode::UNKNOWN_TOPIC, KafkaError::UNKNOWN_TOPIC_ID),
            Self::InconsistentTopicId => (ErrorCode::UNKNOWN_TOPIC, KafkaError::INCONSISTENT_TOPIC_ID),
            Self::UnknownPartition => (ErrorCode::UNKNOWN_PARTITION, KafkaError::UNKNOWN_TOPIC_OR_PARTITION),
            Self::TopicExists => (ErrorCode::TOPIC_EXISTS, KafkaError::TOPIC_ALREADY_EXISTS),
            Self::InvalidTopicName => (ErrorCode::INVALID_TOPIC_NAME, KafkaError::INVALID_TOPIC_EXCEPTION),
            Self::InternalTopic => (ErrorCode::NOT_ALLOWED, KafkaError::INVALID_TOPIC_EXCEPTION),
            Self::InvalidPartitions => (ErrorCode::INVALID_PARTITIONS, KafkaError::INVALID_PARTITIONS),
            Self::InvalidReplicationFactor => {
                (ErrorCode::INVALID_REPLICAS, KafkaError::INVALID_REPLICATION_FACTOR)
            }
            Self::InvalidReplicaAssignment => {
                (ErrorCode::INVALID_REPLICAS, KafkaError::INVALID_REPLICA_ASSIGNMENT)
            }
            Self::PolicyViolation => (ErrorCode::NOT_ALLOWED, KafkaError::POLICY_VIOLATION),
            Self::InvalidConfig => (ErrorCode::INVALID_CONFIG, KafkaError::INVALID_CONFIG),
            Self::OffsetOutOfRange => (ErrorCode::OFFSET_OUT_OF_RANGE, KafkaError::OFFSET_OUT_OF_RANGE),
            Self::MessageTooLarge => (ErrorCode::MESSAGE_TOO_LARGE, KafkaError::MESSAGE_TOO_LARGE),
            Self::CorruptBatch => (ErrorCode::CORRUPT_BATCH, KafkaError::CORRUPT_MESSAGE),
            Self::InvalidRecord => (ErrorCode::INVALID_RECORD, KafkaError::INVALID_RECORD),
            Self::InvalidTimestamp => (ErrorCode::INVALID_TIMESTAMP, KafkaError::INVALID_TIMESTAMP),
            Self::UnsupportedCompression => {
                (ErrorCode::UNSUPPORTED_COMPRESSION, KafkaError::UNSUPPORTED_COMPRESSION_TYPE)
            }
            Self::FencedLeaderEpoch => (ErrorCode::FENCED_LEADER_EPOCH, KafkaError::FENCED_LEADER_EPOCH),
            Self::UnknownLeaderEpoch => (ErrorCode::UNKNOWN_LEADER_EPOCH, KafkaError::UNKNOWN_LEADER_EPOCH),
            Self::OutOfOrderSequence => {
                (ErrorCode::OUT_OF_ORDER_SEQUENCE, KafkaError::OUT_OF_ORDER_SEQUENCE_NUMBER)
            }
            Self::DuplicateSequence => (ErrorCode::DUPLICATE_SEQUENCE, KafkaError::DUPLICATE_SEQUENCE_NUMBER),
            Self::InvalidProducerEpoch => {
                (ErrorCode::INVALID_PRODUCER_EPOCH, KafkaError::INVALID_PRODUCER_EPOCH)
            }
            // Clients tell their users of it at once.
            Self::TransactionsUnsupported => {
                (ErrorCode::TRANSACTIONS_UNSUPPORTED, KafkaError::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
            }
            // There are none in Kafka's.
            Self::UnknownSubscription => (ErrorCode::UNKNOWN_SUBSCRIPTION, KafkaError::INVALID_REQUEST),
            Self::SubscriptionExists => (ErrorCode::SUBSCRIPTION_EXISTS, KafkaError::INVALID_REQUEST),
            Self::LimitReached => (ErrorCode::LIMIT_REACHED, KafkaError::POLICY_VIOLATION),
            Self::InvalidGroup => (ErrorCode::INVALID_GROUP, KafkaError::INVALID_GROUP_ID),
            Self::UnknownGroup => (ErrorCode::UNKNOWN_GROUP, KafkaError::GROUP_ID_NOT_FOUND),
            Self::GroupNotEmpty => (ErrorCode::GROUP_NOT_EMPTY, KafkaError::NON_EMPTY_GROUP),
            Self::GroupFull => (ErrorCode::GROUP_FULL, KafkaError::GROUP_MAX_SIZE_REACHED),
            Self::UnknownMember => (ErrorCode::UNKNOWN_MEMBER, KafkaError::UNKNOWN_MEMBER_ID),
            Self::MemberIdRequired => (ErrorCode::MEMBER_ID_REQUIRED, KafkaError::MEMBER_ID_REQUIRED),
            Self::FencedInstance => (ErrorCode::FENCED_INSTANCE, KafkaError::FENCED_INSTANCE_ID),
            Self::IllegalGeneration => (ErrorCode::ILLEGAL_GENERATION, KafkaError::ILLEGAL_GENERATION),
            Self::InconsistentProtocol => {
                (ErrorCode::INCONSISTENT_PROTOCOL, KafkaError::INCONSISTENT_GROUP_PROTOCOL)
            }
            Self::InvalidSessionTimeout => {
                (ErrorCode::INVALID_SESSION_TIMEOUT, KafkaError::INVALID_SESSION_TIMEOUT)
            }
            Self::GroupSubscribed => (ErrorCode::GROUP_SUBSCRIBED, KafkaError::GROUP_SUBSCRIBED_TO_TOPIC),
            Self::OffsetMetadataTooLarge => {
                (ErrorCode::OFFSET_NOTE_TOO_LARGE, KafkaError::OFFSET_METADATA_TOO_LARGE)
            }
            // What Kafka's clients try again.
            Self::StorageFull => (ErrorCode::STORAGE_FULL, KafkaError::KAFKA_STORAGE_ERROR),
            Self::StorageFailed => (ErrorCode::STORAGE_FAILED, KafkaError::KAFKA_STORAGE_ERROR),
            Self::PartitionOffline => (ErrorCode::PARTITION_OFFLINE, KafkaError::KAFKA_STORAGE_ERROR),
            // To try again helps nobody.
            Self::Damaged => (ErrorCode::CORRUPT_BATCH, KafkaError::CORRUPT_MESSAGE),
            Self::TooBusy => (ErrorCode::TOO_BUSY, KafkaError::REQUEST_TIMED_OUT),
            // What Kafka's consumers try again, too.
            Self::Unavailable => (ErrorCode::TOO_BUSY, KafkaError::KAFKA_STORAGE_ERROR),
            Self::TimedOut => (ErrorCode::TIMED_OUT, KafkaError::REQUEST_TIMED_OUT),
            Self::ShuttingDown => (ErrorCode::SHUTTING_DOWN, KafkaError::REQUEST_TIMED_OUT),
            Self::RebalanceInProgress => {
                (ErrorCode::REBALANCE_IN_PROGRESS, KafkaError::REBALANCE_IN_PROGRESS)
            }
            Self::CoordinatorLoading => {
                (ErrorCode::COORDINATOR_LOADING, KafkaError::COORDINATOR_LOAD_IN_PROGRESS)
            }
            Self::CoordinatorNotAvailable => {
                (ErrorCode::COORDINATOR_NOT_AVAILABLE, KafkaError::COORDINATOR_NOT_AVAILABLE)
            }
        }
    }
}
