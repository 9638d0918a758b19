//! Status: how the broker is.

use serde::{Deserialize, Serialize};

use super::message::messages;
use super::{ErrorCode, list};

/// Asks for the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRequestV1 {
    /// Whether counters are wanted.
    pub counters: bool,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The broker's version.
    pub version: String,
    /// Its process, on its machine.
    pub pid: u32,
    /// Changes with every start.
    pub run_id: u64,
    /// Since it serves, in milliseconds.
    pub uptime_ms: u64,
    /// Where its data is.
    pub data_dir: String,
    /// What the start recovered, for a person to read.
    pub recovered: String,
    /// How many topics.
    pub topics: u32,
    /// How many partitions.
    pub partitions: u32,
    /// Counters since the start as (name, value); a newer broker may have more.
    #[serde(deserialize_with = "list::deserialize")]
    pub counters: Vec<(String, u64)>,
}

messages! { StatusRequestV1 => StatusAnswerV1: Status 1; }
