//! LeaveGroup: members leave a classic group; several at once from version 3 on.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Leaves a group.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = LeaveGroup, versions = 0..=5, flexible = 4..)]
pub struct LeaveGroupRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The member, until version 2.
    #[kafka(versions = ..=2)]
    pub member_id: &'a str,
    /// The members, from version 3 on.
    #[kafka(versions = 3..)]
    pub members: Vec<MemberIdentity<'a>>,
}

/// A member that leaves.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct MemberIdentity<'a> {
    /// The member.
    pub member_id: &'a str,
    /// The member's own name that outlives restarts, if it has one (static membership).
    #[kafka(nullable, default = None)]
    pub group_instance_id: Option<&'a str>,
    /// Why, for people.
    #[kafka(versions = 5.., nullable, default = None, ignorable)]
    pub reason: Option<&'a str>,
}

/// Who has left.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = LeaveGroup, versions = 0..=5, flexible = 4..)]
pub struct LeaveGroupResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 1.., ignorable)]
    pub throttle_time_ms: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// The members.
    #[kafka(versions = 3..)]
    pub members: Vec<MemberResponse<'a>>,
}

/// A member that left, or not.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct MemberResponse<'a> {
    /// The member.
    pub member_id: Cow<'a, str>,
    /// The member's own name that outlives restarts, if it has one (static membership).
    #[kafka(nullable)]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// How it went.
    pub error_code: KafkaError,
}
