#![doc = include_str!("../README.md")]

mod broker;
mod clock;
pub mod config;
mod counters;
mod defaults;
mod engine;
mod error;
mod groups;
mod health;
mod kafka;
mod metadata;
mod native;
mod partition;
mod pressure;
mod purgatory;
mod recovered;
mod service;
mod shard;
mod space;
mod standing;
mod threads;
mod view;

pub use broker::{Broker, Outcome, ShutdownHandle, StartError, StartReport, data_dir_options};
pub use config::{Config, TopicSettings};
