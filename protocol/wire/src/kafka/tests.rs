//! Claims about Kafka's messages.

mod every_message;
mod headers;
mod oracles;
mod primitives;
mod splices;
