//! DeleteTopics: topics away, by name or, from version 6 on, by id.

use std::borrow::Cow;

use folio_wire_derive::Message;
use uuid::Uuid;

use super::error_code::KafkaError;

/// Removes topics.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DeleteTopics, versions = 1..=6, flexible = 4..)]
pub struct DeleteTopicsRequest<'a> {
    /// The topics, from version 6 on.
    #[kafka(versions = 6..)]
    pub topics: Vec<DeleteTopicState<'a>>,
    /// The topics, before version 6.
    #[kafka(versions = ..=5, ignorable)]
    pub topic_names: Vec<&'a str>,
    /// Milliseconds to wait until they are gone.
    pub timeout_ms: i32,
}

/// A topic, by name or by id.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DeleteTopicState<'a> {
    /// Its name, or null if the id is meant.
    #[kafka(nullable, default = None)]
    pub name: Option<&'a str>,
    /// Its id, or zero.
    pub topic_id: Uuid,
}

/// How removing them went.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DeleteTopics, versions = 1..=6, flexible = 4..)]
pub struct DeleteTopicsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// The topics.
    pub responses: Vec<DeletableTopicResult<'a>>,
}

/// A topic, removed or not.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DeletableTopicResult<'a> {
    /// Its name, or null if an id was asked for that is not known.
    #[kafka(nullable = 6..)]
    pub name: Option<Cow<'a, str>>,
    /// The id of the topic.
    #[kafka(versions = 6.., ignorable)]
    pub topic_id: Uuid,
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(versions = 5.., nullable, default = None, ignorable)]
    pub error_message: Option<Cow<'a, str>>,
}
