//! The broker: policy above the log and the wire, and the daemon `foliod`.
//!
//! Only this crate joins sockets, files, clocks and threads. Its rooms:
//!
//! * [`broker`] starts and stops everything and says how it ended;
//! * [`config`] is every setting, with its unit and default;
//! * [`metadata`] is the one store of topics, and how its changes reach the view;
//! * [`view`] and [`partition`] are what the services see of topics;
//! * [`shard`] is what one event loop owns: the turn's appends, the requests that wait;
//! * [`purgatory`] keeps waiting requests with their deadlines, without a clock or a thread;
//! * [`threads`] are the threads that may wait on a disk;
//! * [`service`] has one file per verb, in house words: it does not know which protocol asked;
//! * [`native`] translates the native protocol's messages to service calls and back;
//! * [`error`] is the one table from service errors to protocol codes.
//!
//! Invariants: no event loop ever waits on a disk; no message struct of a protocol passes below an
//! adapter; after a failed write or flush nothing is acknowledged or served any more.

pub mod broker;
pub mod config;
pub mod counters;
pub(crate) mod engine;
pub(crate) mod error;
pub(crate) mod health;
pub(crate) mod metadata;
pub(crate) mod native;
pub(crate) mod partition;
pub(crate) mod pressure;
pub(crate) mod purgatory;
pub(crate) mod service;
pub(crate) mod shard;
pub(crate) mod space;
pub(crate) mod threads;
pub(crate) mod view;

pub use broker::{Broker, Outcome, ShutdownHandle, StartError, StartReport, data_dir_options};
pub use config::{Config, TopicSettings};
