//! FindCoordinator: the broker that looks after a group or a transactional id.
//!
//! Until version 3 one key a request, with the answer on top; from version 4 on a list of keys.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for coordinators.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = FindCoordinator, versions = 0..=6, flexible = 3..)]
pub struct FindCoordinatorRequest<'a> {
    /// The group or transactional id, until version 3.
    #[kafka(versions = ..=3)]
    pub key: &'a str,
    /// 0: groups; 1: transactional ids; 2: share groups.
    #[kafka(versions = 1..)]
    pub key_type: i8,
    /// The groups or transactional ids, from version 4 on.
    #[kafka(versions = 4..)]
    pub coordinator_keys: Vec<&'a str>,
}

/// The coordinators.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = FindCoordinator, versions = 0..=6, flexible = 3..)]
pub struct FindCoordinatorResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 1.., ignorable)]
    pub throttle_time_ms: i32,
    /// How it went.
    #[kafka(versions = ..=3)]
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(versions = 1..=3, nullable, ignorable)]
    pub error_message: Option<Cow<'a, str>>,
    /// The id of the broker.
    #[kafka(versions = ..=3)]
    pub node_id: i32,
    /// The host to connect to.
    #[kafka(versions = ..=3)]
    pub host: Cow<'a, str>,
    /// The port to connect to.
    #[kafka(versions = ..=3)]
    pub port: i32,
    /// One for each key, from version 4 on.
    #[kafka(versions = 4..)]
    pub coordinators: Vec<Coordinator<'a>>,
}

/// The coordinator of one key.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct Coordinator<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// The id of the broker.
    pub node_id: i32,
    /// The host to connect to.
    pub host: Cow<'a, str>,
    /// The port to connect to.
    pub port: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
}
