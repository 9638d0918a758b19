//! Consumer groups for who administers them: listed, described with all that explains them, sent elsewhere, taken back,
//! removed.

use serde::{Deserialize, Serialize};

use super::message::messages;
use super::{ErrorCode, list};

/// Asks for all groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupListRequestV1<'a> {
    /// Only those in one of these states, in Kafka's words, in any case; empty: all.
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub states: Vec<&'a str>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupListAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The groups, by name.
    #[serde(deserialize_with = "list::deserialize")]
    pub groups: Vec<ListedGroupV1>,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedGroupV1 {
    /// Its name.
    pub group: String,
    /// What it is doing, in Kafka's words.
    pub state: String,
    /// "consumer", "connect" and so on; empty while nobody said.
    pub protocol_type: String,
    /// How many members it has.
    pub members: u32,
    /// In how many partitions it has an offset.
    pub partitions: u32,
    /// Records that it has still to read in these.
    pub lag: u64,
    /// Partitions that end before its offset.
    pub above_end: u32,
}

/// Asks for everything about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDescribeRequestV1<'a> {
    /// Its name.
    pub group: &'a str,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDescribeAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// What it is doing, in Kafka's words.
    pub state: String,
    /// "consumer", "connect" and so on; empty while nobody said.
    pub protocol_type: String,
    /// The way to divide the work that was chosen; empty while none is.
    pub protocol: String,
    /// Counts the times that the work was divided.
    pub generation: i32,
    /// The member that divides it; empty: nobody.
    pub leader: String,
    /// Its members.
    #[serde(deserialize_with = "list::deserialize")]
    pub members: Vec<GroupMemberV1>,
    /// Where it is, by topic and partition.
    #[serde(deserialize_with = "list::deserialize")]
    pub offsets: Vec<GroupOffsetV1>,
    /// The last rebalances, oldest first, with the one that is going on.
    #[serde(deserialize_with = "list::deserialize")]
    pub rebalances: Vec<RebalanceV1>,
    /// What administrators changed, oldest first.
    #[serde(deserialize_with = "list::deserialize")]
    pub changes: Vec<GroupChangeV1>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMemberV1 {
    /// Its id.
    pub member: String,
    /// Its own name that outlives restarts.
    pub instance: Option<String>,
    /// What its program calls itself.
    pub client_id: String,
    /// Where it is.
    pub client_host: String,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: u64,
    /// How long it may take to join again, in milliseconds.
    pub rebalance_timeout_ms: u64,
    /// For how long it has been silent, in milliseconds.
    pub silent_ms: u64,
    /// It waits for the others.
    pub is_waiting: bool,
    /// The topics that it wants, if it says so in a way that the broker understands.
    #[serde(deserialize_with = "list::deserialize_option")]
    pub topics: Option<Vec<String>>,
    /// The partitions that it has, if they are told in a way that the broker understands.
    #[serde(deserialize_with = "list::deserialize_option")]
    pub partitions: Option<Vec<GroupPartitionV1>>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupPartitionV1 {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
}

/// Where a group is in a partition, and how the partition is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOffsetV1 {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The next record to read; -1: nobody has committed any, but a member has the partition.
    pub offset: i64,
    /// The epoch of the record before it; -1 if nobody said.
    pub leader_epoch: i32,
    /// A note of the client.
    pub metadata: String,
    /// When it was committed, in milliseconds; -1 with no offset.
    pub committed_at: i64,
    /// Why the partition cannot be read; none if it can.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The first offset that can be read; -1 with an error.
    pub log_start: i64,
    /// Behind the last that can be read; -1 with an error.
    pub log_end: i64,
    /// The time of the next record to read, in milliseconds; -1 if there is none.
    pub next_timestamp: i64,
    /// The time of the last record that can be read, in milliseconds; -1 if there is none.
    pub last_timestamp: i64,
    /// For how long the topic keeps records, in milliseconds; -1: for ever.
    pub retention_ms: i64,
}

/// Records that are still to be read of a log that holds `log_start` to `log_end`: from the committed offset on, or
/// all, if nothing was committed. What is gone unread is not to be read any more.
pub fn lag(committed: Option<i64>, log_start: i64, log_end: i64) -> u64 {
    let next = committed.map_or(log_start, |committed| committed.max(log_start));
    u64::try_from(log_end.saturating_sub(next)).unwrap_or(0)
}

/// A rebalance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebalanceV1 {
    /// When it began, in milliseconds.
    pub at: i64,
    /// Why, as a name: `joined`, `session-timeout` and so on.
    pub cause: String,
    /// The member that gave cause, if one did.
    pub who: Option<String>,
    /// What it said about why.
    pub reason: Option<String>,
    /// The generation that came of it; -1 if none has.
    pub generation: i32,
    /// Members that did not come again in time.
    pub dropped: u32,
    /// How long it took, in milliseconds; -1 while it goes on, or if the next one came first.
    pub took_ms: i64,
    /// It is going on.
    pub is_under_way: bool,
}

/// What an administrator did to a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupChangeV1 {
    /// When, in milliseconds.
    pub at: i64,
    /// Who.
    pub who: String,
    /// What: `reset` or `delete`.
    pub kind: String,
    /// How many partitions it was about.
    pub partitions: u32,
}

/// Sends a group without members to other offsets. What it replaces is kept, so that it can be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupResetRequestV1<'a> {
    /// Its name. It need not exist.
    pub group: &'a str,
    /// Who asks, for the history.
    pub who: &'a str,
    /// Nothing is changed; the answer says what would be.
    pub is_dry_run: bool,
    /// A partition each.
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub entries: Vec<GroupResetEntryV1<'a>>,
}

/// Where to in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupResetEntryV1<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: u32,
    /// Where to.
    pub to: GroupTargetV1,
}

/// Where a group is sent. What lies outside of the log becomes its nearest end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupTargetV1 {
    /// The first record.
    Earliest,
    /// Behind the last.
    Latest,
    /// This offset.
    Offset(i64),
    /// The first record of this time or later, in milliseconds; behind the last if there is none.
    AtTime(i64),
    /// So many records on from where it is, or back.
    ShiftBy(i64),
}

/// Takes back the latest change that an administrator made to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupUndoRequestV1<'a> {
    /// Its name.
    pub group: &'a str,
    /// Nothing is changed; the answer says what would be.
    pub is_dry_run: bool,
}

/// Removes a group without members, with its offsets. What it replaces is kept, so that it can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDeleteRequestV1<'a> {
    /// Its name.
    pub group: &'a str,
    /// Who asks, for the history.
    pub who: &'a str,
    /// Nothing is changed; the answer says what would be.
    pub is_dry_run: bool,
}

/// The answer to a reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupResetAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// An outcome for each partition, in their order. If one of them is an error nothing is changed.
    #[serde(deserialize_with = "list::deserialize")]
    pub entries: Vec<GroupMoveV1>,
}

/// The answer to an undo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupUndoAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// What is taken back.
    pub change: Option<GroupChangeV1>,
    /// Where the group goes. What cannot be taken back is an error, and stays as it is.
    #[serde(deserialize_with = "list::deserialize")]
    pub entries: Vec<GroupMoveV1>,
}

/// The answer to a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDeleteAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// What goes.
    #[serde(deserialize_with = "list::deserialize")]
    pub entries: Vec<GroupMoveV1>,
}

/// What becomes of a group's offset in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMoveV1 {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
    /// Why nothing does.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// Where it was; -1: nowhere.
    pub from: i64,
    /// Where it is then; -1: nowhere.
    pub to: i64,
}

messages! {
    GroupListRequestV1<'_> => GroupListAnswerV1: GroupList 1;
    GroupDescribeRequestV1<'_> => GroupDescribeAnswerV1: GroupDescribe 1;
    GroupResetRequestV1<'_> => GroupResetAnswerV1: GroupReset 1;
    GroupUndoRequestV1<'_> => GroupUndoAnswerV1: GroupUndo 1;
    GroupDeleteRequestV1<'_> => GroupDeleteAnswerV1: GroupDelete 1;
}
