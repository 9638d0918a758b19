//! DescribeGroups: classic groups and their members.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for groups.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeGroups, versions = 0..=6, flexible = 5..)]
pub struct DescribeGroupsRequest<'a> {
    /// The groups.
    pub groups: Vec<&'a str>,
    /// Whether to tell what the client may do with each.
    #[kafka(versions = 3..)]
    pub include_authorized_operations: bool,
}

/// The groups.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeGroups, versions = 0..=6, flexible = 5..)]
pub struct DescribeGroupsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 1.., ignorable)]
    pub throttle_time_ms: i32,
    /// The groups.
    pub groups: Vec<DescribedGroup<'a>>,
}

/// A group.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribedGroup<'a> {
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(versions = 6.., nullable, default = None)]
    pub error_message: Option<Cow<'a, str>>,
    /// The group.
    pub group_id: Cow<'a, str>,
    /// What it is doing: "Stable", "PreparingRebalance" and so on.
    pub group_state: Cow<'a, str>,
    /// What the members agree about: "consumer", "connect" and so on.
    pub protocol_type: Cow<'a, str>,
    /// The way to divide the work that was chosen, or empty.
    pub protocol_data: Cow<'a, str>,
    /// The members.
    pub members: Vec<DescribedGroupMember<'a>>,
    /// Bits of what the client may do with it; `i32::MIN` if nobody asked.
    #[kafka(versions = 3.., default = i32::MIN)]
    pub authorized_operations: i32,
}

/// A member.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribedGroupMember<'a> {
    /// The member.
    pub member_id: Cow<'a, str>,
    /// The member's own name that outlives restarts, if it has one (static membership).
    #[kafka(versions = 4.., nullable, default = None, ignorable)]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// The client id of its JoinGroup.
    pub client_id: Cow<'a, str>,
    /// The address that it came from.
    pub client_host: Cow<'a, str>,
    /// What it says to the chosen way.
    pub member_metadata: Cow<'a, [u8]>,
    /// Its work.
    pub member_assignment: Cow<'a, [u8]>,
}
