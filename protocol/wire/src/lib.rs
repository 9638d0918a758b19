#![doc = include_str!("../README.md")]

pub mod consumer_protocol;
mod error_table;
pub mod kafka;
pub mod native;

// What the derive macro writes names this crate by its name, also inside of it.
extern crate self as folio_wire;
