//! JoinGroup: into a group of the classic kind; the answer comes once all its members have asked.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Enters a group.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = JoinGroup, versions = 0..=9, flexible = 6..)]
pub struct JoinGroupRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// Milliseconds without a heartbeat after which the member is taken for gone.
    pub session_timeout_ms: i32,
    /// Milliseconds to wait for the member to enter again; -1: as `session_timeout_ms`.
    #[kafka(versions = 1.., default = -1, ignorable)]
    pub rebalance_timeout_ms: i32,
    /// The member's id, or empty at first.
    pub member_id: &'a str,
    /// The member's own name that outlives restarts, if it has one (static membership).
    #[kafka(versions = 5.., nullable, default = None)]
    pub group_instance_id: Option<&'a str>,
    /// What the members agree about: "consumer", "connect" and so on.
    pub protocol_type: &'a str,
    /// The ways to divide the work that it knows, the best first.
    pub protocols: Vec<JoinGroupRequestProtocol<'a>>,
    /// Why, for people.
    #[kafka(versions = 8.., nullable, default = None, ignorable)]
    pub reason: Option<&'a str>,
}

/// A way to divide the work.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct JoinGroupRequestProtocol<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the member says to it; only members read this.
    pub metadata: &'a [u8],
}

/// The new generation of the group.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = JoinGroup, versions = 0..=9, flexible = 6..)]
pub struct JoinGroupResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 2.., ignorable)]
    pub throttle_time_ms: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// The generation of the group.
    #[kafka(default = -1)]
    pub generation_id: i32,
    /// What the members agree about: "consumer", "connect" and so on.
    #[kafka(versions = 7.., nullable, default = None, ignorable)]
    pub protocol_type: Option<Cow<'a, str>>,
    /// The way that was chosen to divide the work.
    #[kafka(nullable = 7..)]
    pub protocol_name: Option<Cow<'a, str>>,
    /// The member that divides the work.
    pub leader: Cow<'a, str>,
    /// Whether the leader need not divide the work anew.
    #[kafka(versions = 9..)]
    pub skip_assignment: bool,
    /// The id of the member that asked.
    pub member_id: Cow<'a, str>,
    /// All members, for the leader; else empty.
    pub members: Vec<JoinGroupResponseMember<'a>>,
}

/// A member.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct JoinGroupResponseMember<'a> {
    /// The member.
    pub member_id: Cow<'a, str>,
    /// The member's own name that outlives restarts, if it has one (static membership).
    #[kafka(versions = 5.., nullable, default = None, ignorable)]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// What it says to the chosen way.
    pub metadata: Cow<'a, [u8]>,
}
