//! One group: its members and how far they are with dividing the work, its offsets, and what of it is stored.
//!
//! ```text
//!                     a first member                 all have joined, or the time is over
//!            +-----+ ----------------> +---------+ -------------------------------------> +----------+
//!   new ---> |Empty|                   | Joining |                                        | Dividing |
//!            +-----+ <---------------- +---------+ <------------------------------------- +----------+
//!                     nobody is left     ^          somebody joined, left or was silent        |
//!                                        |                                                     | the leader's work
//!                                        +------------------- +--------+ <---------------------+ is stored
//!                              the same                       | Stable |
//!                                                             +--------+
//! ```
//!
//! Invariants: what waits (a join, a sync) waits in a member, and is answered when that member goes; the generation
//! counts up by one when `Joining` ends; what of a group is stored changes only when a write has ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use folio_record::Timestamp;
use folio_wire::consumer_protocol::Subscription;

use super::answer::{Answer, GroupState, NotJoined};
use super::history::{History, Rebalance};
use super::member::Member;
use super::offsets::Offsets;
use super::pending::Pending;
use super::record::{GroupRecord, GroupValue};
use super::roster::{Roster, unknown_member};
use super::timers::TimerKey;
use super::writes::Context;
use crate::error::{Fault, ServiceError};

/// The protocol type whose members say which topics they want.
const CONSUMER: &str = "consumer";

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Arc<str>,
    pub(super) phase: Phase,
    /// Since when; `NONE` if an old record did not say.
    pub(super) since: Timestamp,
    pub(super) generation: i32,
    /// `None`: there has never been a member.
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol: Option<Arc<str>>,
    pub(super) roster: Roster,
    /// Newcomers who have been given an id and have yet to come with it.
    pub(super) pending: Pending,
    /// Members of this generation who have not asked for their work yet.
    pub(super) unsynced: BTreeSet<Arc<str>>,
    /// The topics that the members of this generation want; `None` if that is not known.
    subscribed: Option<BTreeSet<Arc<str>>>,
    pub(super) join_timer: Option<TimerKey>,
    pub(super) sync_timer: Option<TimerKey>,
    pub(super) history: History,
    /// When the rebalance that is going on began.
    pub(super) rebalancing_since: Option<Instant>,
    pub(super) offsets: Offsets,
    /// Its record is below the high watermark.
    is_stored: bool,
    /// Records of it that are on their way; tombstones as well.
    records_in_flight: u32,
    /// Its tombstone is on its way, and nothing has happened since.
    pub(super) is_going: bool,
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Empty,
    /// Members join.
    Joining(Joining),
    /// The leader divides the work. `is_writing`: it has, and that is being stored.
    Dividing {
        is_writing: bool,
    },
    Stable,
}

/// How long members may join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joining {
    /// The group was empty: it waits for more, from the first on. `came`: another one has, since the timer was set;
    /// `delay` is what it was set to, `left` how long it may be set to again in all.
    First { came: bool, delay: Duration, left: Duration },
    /// Until all members have come again, or the rebalance timeout is over.
    Again,
}

impl Group {
    /// One that nobody is in, with no record.
    pub(super) fn new(id: Arc<str>, now: Timestamp) -> Self {
        Self {
            id,
            phase: Phase::Empty,
            since: now,
            generation: 0,
            protocol_type: None,
            protocol: None,
            roster: Roster::default(),
            pending: Pending::default(),
            unsynced: BTreeSet::new(),
            subscribed: None,
            join_timer: None,
            sync_timer: None,
            history: History::default(),
            rebalancing_since: None,
            offsets: Offsets::default(),
            is_stored: false,
            records_in_flight: 0,
            is_going: false,
        }
    }

    /// What it is doing, in Kafka's words.
    pub(super) fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::Joining(_) => GroupState::PreparingRebalance,
            Phase::Dividing { .. } => GroupState::CompletingRebalance,
            Phase::Stable => GroupState::Stable,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.phase == Phase::Empty
    }

    /// Nothing of it is left to be remembered.
    pub(super) fn is_vacant(&self) -> bool {
        self.is_empty()
            && self.roster.is_empty()
            && self.pending.is_empty()
            && self.offsets.is_empty()
            && !self.is_stored
            && self.records_in_flight == 0
    }

    /// Whether who asks for groups sees it: not while the first thing of it is on its way to the log.
    pub(super) fn is_visible(&self) -> bool {
        let has_somebody = !self.is_empty() || !self.pending.is_empty();
        self.is_stored || has_somebody || self.offsets.has_durable()
    }

    pub(super) fn records_in_flight(&self) -> u32 {
        self.records_in_flight
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Timestamp) {
        self.phase = phase;
        self.since = now;
    }

    /// Whether its members are Kafka's consumers, who say which topics they want.
    pub(super) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether it is known which topics its members want.
    pub(super) fn knows_topics(&self) -> bool {
        self.subscribed.is_some()
    }

    /// Whether members want a topic. Of consumers whose topics are not known, all are taken to be wanted.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or_else(|| self.is_of_consumers(), |topics| topics.contains(topic))
    }

    /// Looks anew which topics the members want.
    pub(super) fn read_topics(&mut self) {
        self.subscribed = if self.is_of_consumers() { self.topics() } else { None };
    }

    fn topics(&self) -> Option<BTreeSet<Arc<str>>> {
        let mut topics = BTreeSet::new();
        for member in self.roster.iter() {
            let metadata = member.metadata(self.protocol.as_deref()?);
            let wanted = Subscription::decode_topics(&metadata).ok()?;
            for topic in wanted {
                if !topics.contains(topic) {
                    topics.insert(Arc::from(topic));
                }
            }
        }
        Some(topics)
    }

    /// That a member may speak for this generation.
    pub(super) fn check(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ServiceError> {
        self.roster.check(member, instance)?;
        if generation == self.generation {
            return Ok(());
        }
        let text = format!("the group is in generation {}, not {generation}", self.generation);
        Err(ServiceError::new(Fault::IllegalGeneration, text))
    }

    /// Its record, with the work that members are given; who is not named has none.
    pub(super) fn record(&mut self, assignment: impl Fn(&Member) -> Bytes) -> GroupRecord {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let members = self.roster.iter().map(|member| member.value(protocol, assignment(member))).collect();
        let value = GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.roster.leader().cloned(),
            state_since: self.since,
            members,
        };
        self.records_in_flight += 1;
        GroupRecord::Group { group: self.id.clone(), value: Some(value) }
    }

    /// Its tombstone.
    pub(super) fn tombstone(&mut self) -> GroupRecord {
        self.records_in_flight += 1;
        self.is_going = true;
        GroupRecord::Group { group: self.id.clone(), value: None }
    }

    /// A record of it has ended on its way, below the high watermark or nowhere.
    pub(super) fn settle(&mut self, record: &GroupRecord, is_written: bool) {
        match record {
            GroupRecord::Offset { topic, partition, committed, .. } => {
                self.offsets.settle(topic, *partition, is_written.then_some(committed));
            }
            GroupRecord::Group { value, .. } => {
                self.records_in_flight -= 1;
                if is_written {
                    self.is_stored = value.is_some();
                }
                if value.is_none() {
                    self.is_going = false;
                }
                // What came to life again meanwhile has a later record on its way.
                if !self.is_stored && self.is_empty() && self.records_in_flight == 0 {
                    self.begin_anew();
                }
            }
        }
    }

    /// Its record was read.
    pub(super) fn set_stored(&mut self, is_stored: bool) {
        self.is_stored = is_stored;
    }

    /// Forgets what it was; its offsets and its newcomers stay.
    pub(super) fn begin_anew(&mut self) {
        let blank = Self::new(self.id.clone(), Timestamp::NONE);
        let before = std::mem::replace(self, blank);
        self.offsets = before.offsets;
        self.pending = before.pending;
        self.is_stored = before.is_stored;
        self.records_in_flight = before.records_in_flight;
    }

    /// Takes a member out. Who waits in its name is told that it is none any more.
    pub(super) fn remove(&mut self, context: &mut Context<'_>, member: &str) -> Option<Member> {
        let mut removed = self.roster.remove(member)?;
        removed.expect_nothing(context);
        self.unsynced.remove(member);
        answer_waiting(context, &mut removed, &Arc::from(""), &unknown_member(member));
        Some(removed)
    }

    /// The rebalance that is going on, to note what comes of it.
    pub(super) fn rebalance_mut(&mut self) -> Option<&mut Rebalance> {
        self.rebalancing_since?;
        self.history.latest_mut()
    }

    /// The rebalance that was going on has ended.
    pub(super) fn end_rebalance(&mut self, now: Instant) {
        if let Some(since) = self.rebalancing_since.take()
            && let Some(rebalance) = self.history.latest_mut()
        {
            rebalance.took = Some(now.saturating_duration_since(since));
        }
    }
}

/// Tells everybody who waits in a member's name why they wait in vain.
pub(super) fn answer_waiting(
    context: &mut Context<'_>,
    member: &mut Member,
    told: &Arc<str>,
    error: &ServiceError,
) {
    if let Some(caller) = member.joining.take() {
        let refused = NotJoined { member: told.clone(), error: error.clone() };
        context.answer(caller, Answer::Join(Err(refused)));
    }
    if let Some(caller) = member.syncing.take() {
        context.answer(caller, Answer::Sync(Err(error.clone())));
    }
}
