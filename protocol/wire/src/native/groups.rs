//! Consumer groups, for their members: JoinGroup, SyncGroup, Heartbeat, LeaveGroup, CommitOffsets and FetchOffsets.
//!
//! They say what Kafka's requests of these names say, so that members of both protocols share a group: what a member
//! says to a protocol, and what it is assigned, are Kafka's bytes ([`consumer_protocol`](crate::consumer_protocol)).
//!
//! ```text
//! member                               broker
//!   | JoinGroup, member ""              |   a new member is given an id first: MEMBER_ID_REQUIRED
//!   | JoinGroup, member id, metadata    |   answered when all members have asked; one of them leads
//!   | SyncGroup, the leader's with work |   answered when the leader's has come
//!   | Heartbeat, again and again        |   REBALANCE_IN_PROGRESS: give up what is to be given up, and join again
//!   | LeaveGroup                        |
//! ```

use serde::{Deserialize, Serialize};

use super::message::messages;
use super::{ErrorCode, list};

/// Wants to be a member, or to stay one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinGroupRequestV1<'a> {
    /// The group.
    pub group: &'a str,
    /// The member's id; empty at first.
    pub member: &'a str,
    /// The member's own name that outlives its restarts, if it has one.
    #[serde(borrow)]
    pub instance: Option<&'a str>,
    /// The name under which people know the client.
    pub client_id: &'a str,
    /// Without a heartbeat for so long, it is taken for gone.
    pub session_timeout_ms: u32,
    /// How long the others wait for it to join again.
    pub rebalance_timeout_ms: u32,
    /// What the members agree about: "consumer".
    pub protocol_type: &'a str,
    /// The ways to divide the work that it knows, the best first.
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub protocols: Vec<GroupProtocolV1<'a>>,
    /// Why, for people.
    #[serde(borrow)]
    pub reason: Option<&'a str>,
}

/// A way to divide the work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupProtocolV1<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the member says to it.
    pub metadata: &'a [u8],
}

/// The new generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinGroupAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The member's id; beside MEMBER_ID_REQUIRED the one to come again with.
    pub member: String,
    /// The group's generation; -1 with an error.
    pub generation: i32,
    /// The way to divide the work that was chosen.
    pub protocol: String,
    /// The member that divides it.
    pub leader: String,
    /// The leader need not divide it: all stays as it is.
    pub skip_assignment: bool,
    /// All members, for the leader; else none.
    #[serde(deserialize_with = "list::deserialize")]
    pub members: Vec<JoinedMemberV1>,
}

/// What the leader learns of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedMemberV1 {
    /// Its id.
    pub member: String,
    /// Its own name, if it has one.
    pub instance: Option<String>,
    /// What it says to the chosen way.
    #[serde(deserialize_with = "list::deserialize")]
    pub metadata: Vec<u8>,
}

/// Wants its work; the leader brings everybody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncGroupRequestV1<'a> {
    /// The group.
    pub group: &'a str,
    /// The member.
    pub member: &'a str,
    /// Its own name, if it has one.
    #[serde(borrow)]
    pub instance: Option<&'a str>,
    /// The generation that it has joined.
    pub generation: i32,
    /// As in its join.
    pub protocol_type: &'a str,
    /// The way to divide the work that was chosen.
    pub protocol: &'a str,
    /// The work of each member, from the leader; else none.
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub assignments: Vec<GroupAssignmentV1<'a>>,
}

/// The work of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupAssignmentV1<'a> {
    /// The member.
    pub member: &'a str,
    /// What it is to do.
    pub assignment: &'a [u8],
}

/// The work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncGroupAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// What the member is to do; empty if the leader named nothing.
    #[serde(deserialize_with = "list::deserialize")]
    pub assignment: Vec<u8>,
}

/// Is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatRequestV1<'a> {
    /// The group.
    pub group: &'a str,
    /// The member.
    pub member: &'a str,
    /// Its own name, if it has one.
    #[serde(borrow)]
    pub instance: Option<&'a str>,
    /// The generation that it is in.
    pub generation: i32,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
}

/// Members go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveGroupRequestV1<'a> {
    /// The group.
    pub group: &'a str,
    /// Who.
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub members: Vec<LeaverV1<'a>>,
}

/// One that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaverV1<'a> {
    /// Its id; may be empty beside its own name.
    pub member: &'a str,
    /// Its own name, if it has one.
    #[serde(borrow)]
    pub instance: Option<&'a str>,
    /// Why, for people.
    #[serde(borrow)]
    pub reason: Option<&'a str>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveGroupAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// That of each, in the order of the request.
    #[serde(deserialize_with = "list::deserialize")]
    pub members: Vec<LeftV1>,
}

/// Whether one has gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
}

/// Stores where the group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitOffsetsRequestV1<'a> {
    /// The group.
    pub group: &'a str,
    /// The member; empty: from no member.
    pub member: &'a str,
    /// Its own name, if it has one.
    #[serde(borrow)]
    pub instance: Option<&'a str>,
    /// The generation that it is in; -1: from no member, which is taken while the group has none.
    pub generation: i32,
    /// Where.
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub entries: Vec<CommitEntryV1<'a>>,
}

/// Where the group is in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitEntryV1<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: u32,
    /// The next record to read.
    pub offset: i64,
    /// The epoch of the last one that was read; -1: not said.
    pub leader_epoch: i32,
    /// A note that is kept beside it.
    pub note: &'a str,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitOffsetsAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// That of each entry, in the order of the request.
    #[serde(deserialize_with = "list::deserialize")]
    pub entries: Vec<CommittedV1>,
}

/// Whether it is stored for one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
}

/// Asks where the group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchOffsetsRequestV1<'a> {
    /// The group.
    pub group: &'a str,
    /// In which partitions; in all that it has offsets of, if none.
    #[serde(borrow, deserialize_with = "list::deserialize_option")]
    pub entries: Option<Vec<FetchOffsetsEntryV1<'a>>>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchOffsetsEntryV1<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: u32,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchOffsetsAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The partitions, in the order of the request if it named some.
    #[serde(deserialize_with = "list::deserialize")]
    pub entries: Vec<FetchedOffsetV1>,
}

/// Where the group is in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedOffsetV1 {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
    /// The next record to read; -1: nothing is stored, which is no error.
    pub offset: i64,
    /// The epoch of the last one that was read; -1: not known.
    pub leader_epoch: i32,
    /// The note that is kept beside it.
    pub note: String,
    /// When it was stored, in milliseconds; -1 if nothing is.
    pub committed_at: i64,
}

impl Default for JoinGroupAnswerV1 {
    fn default() -> Self {
        Self {
            error: ErrorCode::NONE,
            message: None,
            member: String::new(),
            generation: -1,
            protocol: String::new(),
            leader: String::new(),
            skip_assignment: false,
            members: Vec::new(),
        }
    }
}

messages! {
    JoinGroupRequestV1<'_> => JoinGroupAnswerV1: JoinGroup 1;
    SyncGroupRequestV1<'_> => SyncGroupAnswerV1: SyncGroup 1;
    HeartbeatRequestV1<'_> => HeartbeatAnswerV1: Heartbeat 1;
    LeaveGroupRequestV1<'_> => LeaveGroupAnswerV1: LeaveGroup 1;
    CommitOffsetsRequestV1<'_> => CommitOffsetsAnswerV1: CommitOffsets 1;
    FetchOffsetsRequestV1<'_> => FetchOffsetsAnswerV1: FetchOffsets 1;
}
