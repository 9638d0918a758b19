//! Metadata: where topics are and how many partitions they have.

use serde::{Deserialize, Serialize};

use super::message::messages;
use super::{ErrorCode, list};

/// Asks for some topics or for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataRequestV1<'a> {
    /// Their names; `None` asks for all.
    #[serde(borrow, deserialize_with = "list::deserialize_option")]
    pub topics: Option<Vec<&'a str>>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataAnswerV1 {
    /// Of the whole request.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// Identity of the cluster.
    pub cluster_id: [u8; 16],
    /// A topic each, in the order asked for.
    #[serde(deserialize_with = "list::deserialize")]
    pub topics: Vec<TopicMetadataV1>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicMetadataV1 {
    /// Of this topic; with one, the rest is empty.
    pub error: ErrorCode,
    /// Its name.
    pub name: String,
    /// Its identity; a topic made anew under the same name has another.
    pub id: [u8; 16],
    /// The leader epoch of each partition, from partition 0 on.
    #[serde(deserialize_with = "list::deserialize")]
    pub leader_epochs: Vec<i32>,
}

messages! { MetadataRequestV1<'_> => MetadataAnswerV1: Metadata 1; }
