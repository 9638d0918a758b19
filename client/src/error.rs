//! Errors: one small enum per verb, sorted by blame.
//!
//! [`CallError`] says why the broker could not be asked, or what it answered; the others wrap it where more can go
//! wrong. All are cheap to clone, for one failed request can be the answer to thousands of records.

use std::sync::Arc;
use std::time::Duration;

use folio_record::{BatchError, Offset};

use crate::{ErrorCode, TopicPartition};

/// Why a client could not be started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The caller's fault: the configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// This machine's: no thread or descriptor is left.
    #[error("the client's thread cannot be started: {0}")]
    Thread(Arc<std::io::Error>),
    /// No broker can be reached, or none speaks the protocol.
    #[error(transparent)]
    Connect(#[from] CallError),
}

/// Why a call to the broker has no result.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The network's fault, or that of whoever should have started the broker: nobody can be reached. Nothing was
    /// sent.
    #[error("no broker can be reached: {reason}")]
    Unreachable {
        /// Whom the client tried last, and why that failed.
        reason: Arc<str>,
    },
    /// The broker's fault, or that of whoever named it: somebody listens there, but closed the connection at the first
    /// bytes of the protocol and answered none. That is what Kafka's brokers do, which speak another one. Nothing was
    /// sent.
    #[error(
        "{broker} closed the connection at the first bytes of Folio's protocol ({reason}): it speaks another one, as \
         Kafka's brokers do, or takes no more connections"
    )]
    NotGreeted {
        /// Whom the client tried last.
        broker: Arc<str>,
        /// How the connection ended.
        reason: Arc<str>,
    },
    /// The connection broke before the answer came. What was asked may have been done.
    #[error("the connection to {broker} broke before the answer came: {reason}")]
    Disconnected {
        /// Whom the client had asked.
        broker: Arc<str>,
        /// How it ended.
        reason: Arc<str>,
    },
    /// No answer in time. What was asked may have been done.
    #[error("no answer from {broker} within {} ms", .after.as_millis())]
    TimedOut {
        /// Whom the client had asked.
        broker: Arc<str>,
        /// How long it waited.
        after: Duration,
    },
    /// The broker's word: it will not, or cannot.
    #[error(transparent)]
    Refused(Refusal),
    /// The broker's fault: what came is not what the protocol allows. The connection was closed.
    #[error("{broker} broke the protocol: {reason}")]
    Protocol {
        /// Who did.
        broker: Arc<str>,
        /// What was wrong.
        reason: Arc<str>,
    },
    /// The caller's fault: it cannot be asked like that.
    #[error("{0}")]
    Usage(Arc<str>),
    /// The client was closed, or its thread has ended.
    #[error("the client is closed")]
    Closed,
}

/// The broker's answer when it refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Refusal {
    /// Which error, for programs.
    pub code: ErrorCode,
    /// What it is about, for people. May be empty.
    pub message: Arc<str>,
}

/// Why a record was not accepted by the [`Producer`](crate::Producer). It will not be sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The caller's fault: larger than the producer may send.
    #[error("a record of {size} bytes cannot be sent: {size_max} are the limit")]
    TooLarge {
        /// What a batch with this record alone could take.
        size: usize,
        /// The producer's [`batch_bytes_max`](crate::ProducerConfig::batch_bytes_max).
        size_max: usize,
    },
    /// The caller's fault: the topic has no such partition.
    #[error("topic {topic} has no partition {partition}, only 0 to {}", .partitions - 1)]
    NoSuchPartition {
        /// The topic.
        topic: Arc<str>,
        /// The partition asked for.
        partition: u32,
        /// How many it has.
        partitions: u32,
    },
    /// The buffer is full: records are sent faster than the broker takes them. (Of
    /// [`send`](crate::Producer::send): and that did not change for [`block_max`](crate::ProducerConfig::block_max).)
    #[error("the producer's buffer of {buffer_bytes} bytes is full")]
    BufferFull {
        /// The producer's [`buffer_bytes`](crate::ProducerConfig::buffer_bytes).
        buffer_bytes: usize,
    },
    /// Nothing is known of the topic yet, and this call does not wait: what the topic is like has been asked for.
    #[error("topic {0} is not known yet")]
    TopicNotKnownYet(Arc<str>),
    /// What the topic is like could not be learned; a missing topic is a [`CallError::Refused`].
    #[error("cannot send to topic {topic}: {source}")]
    Topic {
        /// The topic.
        topic: Arc<str>,
        /// Why.
        source: CallError,
    },
    /// The producer cannot tell any more what is stored and what is not, and so has given up everything. Another one
    /// can go on.
    #[error("the producer takes no more records: {source}")]
    Broken {
        /// What the broker said.
        source: CallError,
    },
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
}

/// Why a record that was accepted is not known to be in the log.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The broker refused the record, or the batch that it was in. It is not in the log.
    #[error("{topic_partition}: {refusal}")]
    Refused {
        /// Where it was to go.
        topic_partition: TopicPartition,
        /// The broker's word.
        refusal: Refusal,
    },
    /// It could not be delivered within [`delivery_timeout`](crate::ProducerConfig::delivery_timeout), or its one
    /// attempt failed. If it had been sent it may be in the log.
    #[error("{topic_partition}: not delivered: {source}")]
    Failed {
        /// Where it was to go.
        topic_partition: TopicPartition,
        /// What was in the way.
        source: CallError,
    },
}

/// Why a [`Consumer`](crate::Consumer) has nothing to give from a partition. The others are not touched by it; this one
/// stays where it is until [`seek`](crate::Consumer::seek).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// The offset asked for is not, or no longer, in the log, and
    /// [`OutOfRange::Fail`](crate::OutOfRange::Fail) was chosen.
    #[error(
        "{topic_partition}: offset {offset} is out of range: the log holds {log_start} to {high_watermark}"
    )]
    OutOfRange {
        /// Where.
        topic_partition: TopicPartition,
        /// What was asked for.
        offset: Offset,
        /// The oldest offset there is.
        log_start: Offset,
        /// The offset after the newest record that may be read.
        high_watermark: Offset,
    },
    /// The broker refused to give records, or to say where they begin.
    #[error("{topic_partition}: {refusal}")]
    Refused {
        /// Where.
        topic_partition: TopicPartition,
        /// The broker's word.
        refusal: Refusal,
    },
    /// What the broker gave is damaged. Everything before was handed out.
    #[error("{topic_partition}: damaged records at offset {offset}: {source}")]
    Damaged {
        /// Where.
        topic_partition: TopicPartition,
        /// The position: the damage is in the batch that holds it or follows it.
        offset: Offset,
        /// What is wrong.
        source: BatchError,
    },
    /// The network's fault, or that of whoever should have started the broker: it could not be reached for
    /// [`request_timeout`](crate::ClientConfig::request_timeout). The consumer goes on trying.
    #[error("nothing can be fetched: {0}")]
    Away(CallError),
    /// The broker's word, or a fault of this consumer's settings: it cannot be a member of its group. It goes on
    /// trying, unless another has taken its [`instance`](crate::GroupConfig::instance) name.
    #[error("group {group:?}: {source}")]
    Group {
        /// The group.
        group: Arc<str>,
        /// Why.
        source: CallError,
    },
    /// The caller's fault: no partition is assigned.
    #[error("nothing is assigned to this consumer")]
    NothingAssigned,
    /// The client was closed, or its thread has ended.
    #[error("the client is closed")]
    Closed,
}

/// Why there is no such producer or consumer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Two settings contradict each other, or one cannot be.
    #[error("{0}")]
    Config(String),
    /// The client was closed, or its thread has ended.
    #[error("the client is closed")]
    Closed,
}

impl CallError {
    /// Whether nobody could be reached: there was no broker to refuse anything.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// The broker's error code, if it was the broker that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::NotGreeted { .. }
            | Self::Disconnected { .. }
            | Self::TimedOut { .. } => true,
            Self::Refused(refusal) => refusal.code.is_retriable(),
            Self::Protocol { .. } | Self::Usage(_) | Self::Closed => false,
        }
    }

    pub(crate) fn usage(what: impl Into<Arc<str>>) -> Self {
        Self::Usage(what.into())
    }
}

impl Refusal {
    fn text(&self) -> String {
        if self.message.is_empty() {
            self.code.to_string()
        } else {
            format!("{} ({})", self.message, self.code)
        }
    }
}

impl SendError {
    /// The same record may be accepted later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::BufferFull { .. } | Self::TopicNotKnownYet(_) => true,
            Self::Topic { source, .. } => source.is_retriable(),
            Self::TooLarge { .. } | Self::NoSuchPartition { .. } | Self::Broken { .. } | Self::Closed => {
                false
            }
        }
    }
}
