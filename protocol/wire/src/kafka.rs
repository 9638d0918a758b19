//! Kafka's protocol: every message is a struct, declared field by field as its bytes stand.
//!
//! Invariants: nothing is allocated by a number that a peer sent, only by the bytes that are there; no
//! input panics; record bytes are neither copied by decoding nor, if they are [`Records::Spliced`], by
//! encoding; what a version lacks reads as Kafka's default.

pub mod alter_configs;
pub mod alter_configs_answer;
pub mod api;
pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod current_leader;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod error_code;
pub mod fetch;
pub mod field;
pub mod find_coordinator;
pub mod header;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod message;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod reader;
pub mod records;
pub mod request;
pub mod sync_group;
pub mod writer;

pub use api::{ApiKey, ApiSpec, VERSIONS, Versions};
pub use error_code::KafkaError;
pub use field::{Field, Form, Nullable};
pub use header::{HeaderError, RequestHeader, ResponseHeader};
pub use message::{Message, encode_request, encode_response};
pub use reader::{DecodeError, DecodeFault, Reader};
pub use records::Records;
pub use request::Request;
pub use writer::{EncodeError, Encoded, Part, Writer};

#[cfg(test)]
mod specimen;
#[cfg(test)]
mod tests;
