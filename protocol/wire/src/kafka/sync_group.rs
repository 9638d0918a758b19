//! SyncGroup: the leader's assignment to the members of a classic group.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Hands out or asks for the work.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = SyncGroup, versions = 0..=5, flexible = 4..)]
pub struct SyncGroupRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The generation of the group.
    pub generation_id: i32,
    /// The member.
    pub member_id: &'a str,
    /// The member's own name that outlives restarts, if it has one (static membership).
    #[kafka(versions = 3.., nullable, default = None)]
    pub group_instance_id: Option<&'a str>,
    /// What the members agree about: "consumer", "connect" and so on.
    #[kafka(versions = 5.., nullable, default = None, ignorable)]
    pub protocol_type: Option<&'a str>,
    /// The way that was chosen to divide the work.
    #[kafka(versions = 5.., nullable, default = None, ignorable)]
    pub protocol_name: Option<&'a str>,
    /// By member, from the leader; else empty.
    pub assignments: Vec<SyncGroupRequestAssignment<'a>>,
}

/// The work of one member.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct SyncGroupRequestAssignment<'a> {
    /// The member.
    pub member_id: &'a str,
    /// The work; only members read this.
    pub assignment: &'a [u8],
}

/// The work of the member that asked.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = SyncGroup, versions = 0..=5, flexible = 4..)]
pub struct SyncGroupResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 1.., ignorable)]
    pub throttle_time_ms: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// What the members agree about: "consumer", "connect" and so on.
    #[kafka(versions = 5.., nullable, default = None, ignorable)]
    pub protocol_type: Option<Cow<'a, str>>,
    /// The way that was chosen to divide the work.
    #[kafka(versions = 5.., nullable, default = None, ignorable)]
    pub protocol_name: Option<Cow<'a, str>>,
    /// The work; only members read this.
    pub assignment: Cow<'a, [u8]>,
}
