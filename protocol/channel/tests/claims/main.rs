//! Claims about the channel: in an embedded channel, where time and sockets obey the test, and over loopback.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod connections;
mod detector;
mod endings;
mod frames;
mod idle;
mod loopback;
mod pipeline;
mod properties;
mod pushes;
mod requests;
mod stages;
mod turns;
mod waiting_parts;
mod wake_ups;
mod water_marks;
