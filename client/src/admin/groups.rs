//! Consumer groups as who administers them sees and changes them.

use std::time::Duration;

use folio_record::{Offset, Timestamp};
use folio_wire::native::group_admin::lag;

use super::Admin;
use crate::{Call, Refusal, TopicPartition, protocol};

/// A group of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
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
    /// Partitions that end before its offset: what it has read is gone.
    pub above_end: u32,
}

/// Everything about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// What it is doing, in Kafka's words; `Dead`: there is none any more.
    pub state: String,
    /// "consumer", "connect" and so on; empty while nobody said.
    pub protocol_type: String,
    /// The assignor that was chosen; empty while none is.
    pub protocol: String,
    /// Counts the times that the work was divided.
    pub generation: i32,
    /// The member that divides it.
    pub leader: Option<String>,
    /// Its members.
    pub members: Vec<GroupMember>,
    /// Where it is, by topic and partition: each that it has an offset of, or that a member has.
    pub offsets: Vec<GroupOffset>,
    /// The last rebalances since the broker's start, oldest first, with the one that is going on.
    pub rebalances: Vec<Rebalance>,
    /// What administrators changed and can be taken back, oldest first.
    pub changes: Vec<GroupChange>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member: String,
    /// Its own name that outlives restarts (static membership).
    pub instance: Option<String>,
    /// What its program calls itself.
    pub client_id: String,
    /// Where it is.
    pub client_host: String,
    /// How long it may be silent.
    pub session_timeout: Duration,
    /// How long it may take to join again.
    pub rebalance_timeout: Duration,
    /// For how long it has been silent.
    pub silent_for: Duration,
    /// It waits for the others.
    pub is_waiting: bool,
    /// The topics that it wants, if it says so in a way that the broker understands.
    pub topics: Option<Vec<String>>,
    /// The partitions that it has, if they are told in a way that the broker understands.
    pub partitions: Option<Vec<(String, i32)>>,
}

/// Where a group is in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// What was committed, if anything was.
    pub committed: Option<GroupCommit>,
    /// How the partition is; or why that is not known.
    pub log: Result<GroupLog, Refusal>,
}

/// What a group has committed of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCommit {
    /// The next record to read.
    pub offset: Offset,
    /// The epoch of the record before it, if somebody said.
    pub leader_epoch: Option<i32>,
    /// A note of the client.
    pub metadata: String,
    /// When.
    pub at: Timestamp,
}

/// A partition as a group sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLog {
    /// The oldest offset there is.
    pub start: Offset,
    /// Behind the newest record that may be read.
    pub end: Offset,
    /// The time of the next record that the group reads, if there is one.
    pub next_time: Option<Timestamp>,
    /// The time of the newest record, if there is one.
    pub last_time: Option<Timestamp>,
    /// For how long the topic keeps records; `None`: for ever.
    pub retention: Option<Duration>,
}

/// A time at which the work was divided anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalance {
    /// When it began.
    pub at: Timestamp,
    /// Why: `joined`, `rejoined`, `left`, `session-timeout`, `sync-timeout` and so on.
    pub cause: String,
    /// The member that gave cause, if one did.
    pub who: Option<String>,
    /// What it said about why.
    pub reason: Option<String>,
    /// The generation that came of it, if one has.
    pub generation: Option<i32>,
    /// Members that did not come again in time.
    pub dropped: u32,
    /// How long it took; `None` while it goes on, or if the next one came first.
    pub took: Option<Duration>,
    /// It is going on.
    pub is_under_way: bool,
}

/// What an administrator did to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupChange {
    /// When.
    pub at: Timestamp,
    /// Who, in its own words, and from where.
    pub who: String,
    /// What: `reset` or `delete`.
    pub kind: String,
    /// How many partitions it was about.
    pub partitions: u32,
}

/// Where a group is sent in a partition. What lies outside of the log becomes its nearest end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetTo {
    /// The first record.
    Earliest,
    /// Behind the last.
    Latest,
    /// This offset.
    Offset(Offset),
    /// The first record of this time or later; behind the last if there is none.
    Since(Timestamp),
    /// So many records on from where it is, or back.
    ShiftBy(i64),
}

/// What becomes of a group's offset in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetMove {
    /// Where.
    pub topic_partition: TopicPartition,
    /// Where it was, if anywhere.
    pub from: Option<Offset>,
    /// Where it is then, if anywhere; or why it stays.
    pub to: Result<Option<Offset>, Refusal>,
}

/// A change that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// Which.
    pub change: GroupChange,
    /// What that does to the group's offsets.
    pub moves: Vec<OffsetMove>,
}

impl GroupOffset {
    /// Records that are still to be read: from the committed offset on, or all, if nothing was committed.
    pub fn lag(&self) -> Option<u64> {
        let log = self.log.as_ref().ok()?;
        let committed = self.committed.as_ref().map(|committed| committed.offset.get());
        Some(lag(committed, log.start.get(), log.end.get()))
    }

    /// How far the next record to be read is behind the newest one; zero if there is none. `None`: nobody knows.
    pub fn lag_time(&self) -> Option<Duration> {
        let log = self.log.as_ref().ok()?;
        if self.lag() == Some(0) {
            return Some(Duration::ZERO);
        }
        let behind = log.last_time?.get().saturating_sub(log.next_time?.get());
        Some(Duration::from_millis(u64::try_from(behind).unwrap_or(0)))
    }

    /// The log ends before the committed offset: what was read is gone.
    pub fn is_above_end(&self) -> bool {
        self.ends().is_some_and(|(offset, log)| offset > log.end)
    }

    /// The log begins behind the committed offset: what was to be read is gone.
    pub fn is_below_start(&self) -> bool {
        self.ends().is_some_and(|(offset, log)| offset < log.start)
    }

    fn ends(&self) -> Option<(Offset, &GroupLog)> {
        Some((self.committed.as_ref()?.offset, self.log.as_ref().ok()?))
    }
}

impl Admin {
    /// Names all consumer groups; only those in one of `states`, in Kafka's words, if there are any.
    pub fn list_groups(&self, states: &[&str]) -> Call<Vec<GroupListing>> {
        let states = states.iter().map(|&state| state.to_owned()).collect();
        self.call(|deadline, then| protocol::list_groups(states, deadline, then))
    }

    /// Tells everything about a group.
    ///
    /// Refused with [`UNKNOWN_GROUP`](crate::ErrorCode::UNKNOWN_GROUP).
    pub fn describe_group(&self, group: &str) -> Call<GroupDescription> {
        self.call(|deadline, then| protocol::describe_group(group.to_owned(), deadline, then))
    }

    /// Sends a group without members to other offsets, in all of these partitions or, where one of them is refused, in
    /// none. The group need not exist. `who` asks, for the history; the broker keeps what was replaced, so that
    /// [`undo_group`](Self::undo_group) can take it back. With `dry_run` nothing is changed.
    ///
    /// Refused with [`GROUP_NOT_EMPTY`](crate::ErrorCode::GROUP_NOT_EMPTY). It is asked once only, as is
    /// [`create_topic`](Self::create_topic).
    ///
    /// ```no_run
    /// use folio_client::{Client, ClientConfig, ResetTo, TopicPartition};
    ///
    /// let admin = Client::connect(ClientConfig::default())?.admin();
    /// let to = [(TopicPartition::new("clicks", 0), ResetTo::Earliest)];
    /// for moved in admin.reset_group("shop", "me", to, true).wait()? {
    ///     println!("{}: {:?} -> {:?}", moved.topic_partition, moved.from, moved.to);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reset_group(
        &self,
        group: &str,
        who: &str,
        to: impl IntoIterator<Item = (TopicPartition, ResetTo)>,
        dry_run: bool,
    ) -> Call<Vec<OffsetMove>> {
        let (group, who, to) = (group.to_owned(), who.to_owned(), to.into_iter().collect());
        self.call(|deadline, then| protocol::reset_group(group, who, to, dry_run, deadline, then))
    }

    /// Takes back the latest reset or delete of a group that has no members now. What was before it can be taken back
    /// next. A topic that was made anew meanwhile is left alone. With `dry_run` nothing is changed.
    ///
    /// Refused with [`GROUP_NOT_EMPTY`](crate::ErrorCode::GROUP_NOT_EMPTY) or, if there is nothing to take back,
    /// [`INVALID_REQUEST`](crate::ErrorCode::INVALID_REQUEST). It is asked once only.
    pub fn undo_group(&self, group: &str, dry_run: bool) -> Call<Undone> {
        self.call(|deadline, then| protocol::undo_group(group.to_owned(), dry_run, deadline, then))
    }

    /// Removes a group without members, with its offsets; [`undo_group`](Self::undo_group) brings them back. Tells
    /// which. With `dry_run` nothing is changed.
    ///
    /// Refused with [`UNKNOWN_GROUP`](crate::ErrorCode::UNKNOWN_GROUP) or
    /// [`GROUP_NOT_EMPTY`](crate::ErrorCode::GROUP_NOT_EMPTY). It is asked once only.
    pub fn delete_group(&self, group: &str, who: &str, dry_run: bool) -> Call<Vec<OffsetMove>> {
        let (group, who) = (group.to_owned(), who.to_owned());
        self.call(|deadline, then| protocol::delete_group(group, who, dry_run, deadline, then))
    }
}
