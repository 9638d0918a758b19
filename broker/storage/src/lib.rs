//! The log: segments, indexes, recovery and retention, without sockets, threads or clocks.

pub mod envelope;
pub mod files;
pub mod filesystem;
mod layout;

pub use files::Files;
