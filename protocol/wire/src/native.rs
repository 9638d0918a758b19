//! Folio's own protocol: a preface both ways, then frames whose headers are bincode and whose record
//! bytes stand verbatim behind them.
//!
//! Invariants: nothing is allocated by a length that a peer sent; a message struct of a (kind, version)
//! is never edited once released, a new version is a new struct; record bytes are never copied here.

pub mod configs;
pub mod error_code;
pub mod fetch;
pub mod frame;
pub mod group_admin;
pub mod groups;
pub mod header;
mod list;
pub mod message;
pub mod metadata;
pub mod offsets;
pub mod preface;
pub mod produce;
pub mod producers;
pub mod records;
pub mod status;
pub mod subscribe;
pub mod topics;

pub use error_code::ErrorCode;
pub use frame::{Flags, Frame, FrameError, Head, decode_frame, encode_frame};
pub use header::HeaderError;
pub use message::{Answer, Kind, Message, Request, UnsupportedV1};
pub use preface::{Preface, PrefaceError};

#[cfg(test)]
mod tests;
