//! Heartbeat: a member of a classic group is still there.

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Says that a member is there.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = Heartbeat, versions = 0..=4, flexible = 4..)]
pub struct HeartbeatRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The generation of the group.
    pub generation_id: i32,
    /// The member.
    pub member_id: &'a str,
    /// The member's own name that outlives restarts, if it has one (static membership).
    #[kafka(versions = 3.., nullable, default = None)]
    pub group_instance_id: Option<&'a str>,
}

/// Whether it may go on.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = Heartbeat, versions = 0..=4, flexible = 4..)]
pub struct HeartbeatResponse {
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 1.., ignorable)]
    pub throttle_time_ms: i32,
    /// How it went.
    pub error_code: KafkaError,
}
