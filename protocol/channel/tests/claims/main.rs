//! Claims about the channel: in an embedded channel, where time and sockets obey the test, and over loopback.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod detector;
mod frames;
mod idle;
mod pipeline;
mod requests;
mod water_marks;
