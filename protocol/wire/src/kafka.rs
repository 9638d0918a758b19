//! Kafka's protocol: every message is a struct, declared field by field as its bytes stand.
//!
//! Invariants: nothing is allocated by a number that a peer sent, only by the bytes that are there; no
//! input panics; record bytes are neither copied by decoding nor, if they are [`Records::Spliced`], by
//! encoding; what a version lacks reads as Kafka's default.

pub mod api;
pub mod api_versions;
pub mod current_leader;
pub mod error_code;
pub mod fetch;
pub mod field;
pub mod header;
pub mod init_producer_id;
pub mod list_offsets;
pub mod message;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod reader;
pub mod records;
pub mod writer;

pub use api::{ApiKey, ApiSpec, VERSIONS, Versions};
pub use error_code::KafkaError;
pub use field::{Field, Form, Nullable};
pub use header::{HeaderError, RequestHeader, ResponseHeader};
pub use message::{Message, encode_request, encode_response};
pub use reader::{DecodeError, DecodeFault, Reader};
pub use records::Records;
pub use writer::{EncodeError, Encoded, Part, Writer};

#[cfg(test)]
mod specimen;
#[cfg(test)]
mod tests;
