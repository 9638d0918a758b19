//! DeleteGroups: groups away, with their offsets.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Removes groups.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DeleteGroups, versions = 0..=3, flexible = 2..)]
pub struct DeleteGroupsRequest<'a> {
    /// The groups.
    pub groups_names: Vec<&'a str>,
}

/// How removing them went.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DeleteGroups, versions = 0..=3, flexible = 2..)]
pub struct DeleteGroupsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// The groups.
    pub results: Vec<DeletableGroupResult<'a>>,
}

/// A group, removed or not.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DeletableGroupResult<'a> {
    /// The group.
    pub group_id: Cow<'a, str>,
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(versions = 3.., nullable, default = None, ignorable)]
    pub error_message: Option<Cow<'a, str>>,
}
