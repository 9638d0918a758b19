//! Claims about Kafka's messages.

mod every_message;
mod headers;
mod primitives;
mod splices;
