#![doc = include_str!("../README.md")]

mod admin;
mod backoff;
mod call;
mod client;
mod config;
mod consumer;
mod driver;
mod error;
mod group;
mod partitioner;
mod producer;
mod protocol;
mod settings;
mod topic_partition;

pub use folio_record::{
    BatchError, Codec, Compression, Header, Headers, Levels, Offset, Record, Timestamp, UnknownCodec,
    UnknownLevel,
};
pub use folio_wire::native::ErrorCode;

pub use admin::groups::{
    GroupChange, GroupCommit, GroupDescription, GroupListing, GroupLog, GroupMember, GroupOffset, OffsetMove,
    Rebalance, ResetTo, Undone,
};
pub use admin::{
    ActiveProducer, Admin, BrokerStatus, ClusterMetadata, ListedOffset, NewTopic, OffsetSpec,
    PartitionDescription, TopicDescription, TopicId, TopicListing, TopicMetadata, TopicSetting,
};
pub use backoff::Backoff;
pub use call::Call;
pub use client::Client;
pub use config::{ClientConfig, DEFAULT_PORT};
pub use consumer::{
    Consumer, ConsumerConfig, ConsumerIter, ConsumerRecord, OutOfRange, Position, RecordStream, Records,
    RecordsIntoIter, RecordsIter,
};
pub use error::{BuildError, CallError, DeliveryError, PollError, Refusal, SendError, StartError};
pub use group::{Assignor, CommittedOffset, GroupConfig, RebalanceListener};
pub use partitioner::{Keyless, partition_for_key};
pub use producer::{Acks, Delivered, Delivery, Flush, Producer, ProducerConfig, ProducerRecord};
pub use settings::{ConfigChange, ConfigEntry, ConfigKind, ConfigResource, ConfigSource, ConfigSynonym};
pub use topic_partition::TopicPartition;
