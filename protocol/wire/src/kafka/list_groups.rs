//! ListGroups: all groups of a broker.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for all groups.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ListGroups, versions = 0..=5, flexible = 3..)]
pub struct ListGroupsRequest<'a> {
    /// Only those in one of these states; empty: all.
    #[kafka(versions = 4..)]
    pub states_filter: Vec<&'a str>,
    /// Only those of one of these types; empty: all.
    #[kafka(versions = 5..)]
    pub types_filter: Vec<&'a str>,
}

/// All groups.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ListGroups, versions = 0..=5, flexible = 3..)]
pub struct ListGroupsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 1.., ignorable)]
    pub throttle_time_ms: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// The groups.
    pub groups: Vec<ListedGroup<'a>>,
}

/// A group.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ListedGroup<'a> {
    /// The group.
    pub group_id: Cow<'a, str>,
    /// What the members agree about: "consumer", "connect" and so on.
    pub protocol_type: Cow<'a, str>,
    /// What it is doing: "Stable", "PreparingRebalance" and so on.
    #[kafka(versions = 4.., ignorable)]
    pub group_state: Cow<'a, str>,
    /// "classic", "consumer" and so on.
    #[kafka(versions = 5.., ignorable)]
    pub group_type: Cow<'a, str>,
}
