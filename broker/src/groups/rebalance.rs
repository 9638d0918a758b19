//! Rebalances: how they begin, how long members may join, and how a generation comes of it.
//!
//! As Kafka's `GroupMetadataManager` does it: a group that was empty waits `group.initial.rebalance.delay.ms` for more
//! members, again and again while more come, but no longer than the longest rebalance timeout. Any other waits until
//! all members have joined again, at most the longest rebalance timeout; then dynamic members that have not are none
//! any more, while static ones have until their session ends, or until the time to sync is over.

use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, Joined, JoinedMember, NotJoined};
use super::event::{Caller, WriteId};
use super::group::{Group, Joining, Phase};
use super::history::{Rebalance, RebalanceCause};
use super::timers::Timer;
use super::writes::{Context, Then};
use crate::error::{Fault, ServiceError};

/// While no member of a group comes, it is looked again after this long at the earliest.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Bytes kept of what a client says about its reasons.
const REASON_MAX: usize = 255;

/// Why a rebalance begins.
#[derive(Clone, Debug)]
pub(super) struct Why {
    pub(super) cause: RebalanceCause,
    pub(super) who: Option<Arc<str>>,
    pub(super) reason: Option<Arc<str>>,
}

impl Why {
    pub(super) fn new(cause: RebalanceCause, who: Option<Arc<str>>, reason: Option<&Arc<str>>) -> Self {
        Self { cause, who, reason: reason.map(shortened) }
    }
}

/// The beginning of what may be long.
fn shortened(reason: &Arc<str>) -> Arc<str> {
    match reason.len() {
        0..=REASON_MAX => reason.clone(),
        _ => Arc::from(&reason[..reason.floor_char_boundary(REASON_MAX)]),
    }
}

impl Group {
    /// Begins a rebalance; where members are joining already, looks whether all have. A write is asked for if nobody is
    /// left.
    pub(super) fn rebalance(&mut self, context: &mut Context<'_>, why: Why) -> Option<WriteId> {
        match self.phase {
            Phase::Joining(_) => self.complete_join_if_all(context),
            Phase::Empty | Phase::Dividing { .. } | Phase::Stable => self.begin_rebalance(context, why),
        }
    }

    fn begin_rebalance(&mut self, context: &mut Context<'_>, why: Why) -> Option<WriteId> {
        if matches!(self.phase, Phase::Dividing { .. }) {
            self.roster.forget_assignments();
            self.refuse_syncs(context, &rebalancing());
        }
        self.unsynced.clear();
        context.timers.cancel(self.sync_timer.take());
        self.rebalancing_since = Some(context.now.mono);
        self.history.push(Rebalance {
            at: context.now.wall,
            cause: why.cause,
            who: why.who,
            reason: why.reason,
            generation: None,
            dropped: 0,
            took: None,
        });
        let is_first = self.is_empty();
        if is_first {
            let delay = context.settings.initial_rebalance_delay;
            let left = self.roster.rebalance_timeout().saturating_sub(delay);
            self.enter(Phase::Joining(Joining::First { came: false, delay, left }), context.now.wall);
            self.set_join_timer(context, delay);
            return None;
        }
        self.enter(Phase::Joining(Joining::Again), context.now.wall);
        if self.have_all_joined() {
            return self.complete_join(context);
        }
        self.set_join_timer(context, self.roster.rebalance_timeout());
        None
    }

    fn have_all_joined(&self) -> bool {
        self.roster.joining() == self.roster.len() && self.pending.is_empty()
    }

    /// Ends joining if nobody is waited for any more.
    pub(super) fn complete_join_if_all(&mut self, context: &mut Context<'_>) -> Option<WriteId> {
        match self.phase {
            Phase::Joining(Joining::Again) if self.have_all_joined() => self.complete_join(context),
            _ => None,
        }
    }

    /// The time to join is over.
    pub(super) fn join_timer_ran_out(&mut self, context: &mut Context<'_>) {
        self.join_timer = None;
        if let Phase::Joining(Joining::First { came: true, delay, left }) = self.phase
            && !left.is_zero()
        {
            let next = context.settings.initial_rebalance_delay.min(left);
            let left = left.saturating_sub(delay);
            self.phase = Phase::Joining(Joining::First { came: false, delay: next, left });
            self.set_join_timer(context, next);
            return;
        }
        if matches!(self.phase, Phase::Joining(_)) {
            self.complete_join(context);
        }
    }

    /// Goes on with those who have joined.
    fn complete_join(&mut self, context: &mut Context<'_>) -> Option<WriteId> {
        context.timers.cancel(self.join_timer.take());
        self.drop_who_did_not_join(context);
        if !self.roster.elect() && !self.roster.is_empty() {
            // Only static members are left, and none of them has come: their sessions end it.
            self.set_join_timer(context, self.roster.rebalance_timeout().max(RETRY_MIN));
            return None;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.roster.choose_protocol();
        self.read_topics();
        self.unsynced.clear();
        let generation = self.generation;
        if let Some(rebalance) = self.rebalance_mut() {
            rebalance.generation = Some(generation);
        }
        if self.roster.is_empty() {
            self.enter(Phase::Empty, context.now.wall);
            self.end_rebalance(context.now.mono);
            let record = self.record(|_| bytes::Bytes::new());
            return Some(context.write(vec![record], Then::Nothing));
        }
        self.enter(Phase::Dividing { is_writing: false }, context.now.wall);
        self.tell_joined(context);
        let timer = Timer::Sync { group: self.id.clone() };
        self.sync_timer = Some(context.timers.set(context.after(self.roster.rebalance_timeout()), timer));
        None
    }

    fn drop_who_did_not_join(&mut self, context: &mut Context<'_>) {
        let is_late = |member: &&super::member::Member| member.joining.is_none() && member.instance.is_none();
        let late: Vec<_> = self.roster.iter().filter(is_late).map(|member| member.id.clone()).collect();
        for member in &late {
            self.remove(context, member);
        }
        if let Some(rebalance) = self.rebalance_mut() {
            rebalance.dropped += u32::try_from(late.len()).unwrap_or(u32::MAX);
        }
    }

    /// Tells all who wait that they have joined, and expects them to speak from now on.
    fn tell_joined(&mut self, context: &mut Context<'_>) {
        let ids: Vec<Arc<str>> = self.roster.iter().map(|member| member.id.clone()).collect();
        for id in &ids {
            if let Some(caller) = self.roster.take_joining(id) {
                let members = if self.roster.leads(id) { self.joined_members() } else { Vec::new() };
                context.answer(caller, Answer::Join(Ok(self.joined(id, members, false))));
            }
            if let Some(member) = self.roster.get_mut(id) {
                member.is_new = false;
                member.expect_within(context, &self.id, member.session_timeout());
            }
        }
        self.unsynced.extend(ids);
    }

    /// What a member is told of the generation at hand.
    pub(super) fn joined(
        &self,
        member: &Arc<str>,
        members: Vec<JoinedMember>,
        skip_assignment: bool,
    ) -> Joined {
        let nothing = || Arc::from("");
        Joined {
            member: member.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_else(nothing),
            protocol: self.protocol.clone().unwrap_or_else(nothing),
            leader: self.roster.leader().cloned().unwrap_or_else(nothing),
            skip_assignment,
            members,
        }
    }

    /// What the leader is told of all members.
    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let told = |member: &super::member::Member| JoinedMember {
            member: member.id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol),
        };
        self.roster.iter().map(told).collect()
    }

    /// Tells all who wait for their work why there is none; they are expected to speak again.
    pub(super) fn refuse_syncs(&mut self, context: &mut Context<'_>, error: &ServiceError) {
        for member in self.roster.iter_mut() {
            if let Some(caller) = member.syncing.take() {
                context.answer(caller, Answer::Sync(Err(error.clone())));
                member.expect_within(context, &self.id, member.session_timeout());
            }
        }
    }

    fn set_join_timer(&mut self, context: &mut Context<'_>, time: Duration) {
        context.timers.cancel(self.join_timer.take());
        let timer = Timer::Join { group: self.id.clone() };
        self.join_timer = Some(context.timers.set(context.after(time), timer));
    }
}

/// Members have to join again.
pub(super) fn rebalancing() -> ServiceError {
    ServiceError::new(Fault::RebalanceInProgress, "the group is rebalancing")
}

/// Whoever waited in a member's name has been overtaken by another request of it.
pub(super) fn overtaken(context: &mut Context<'_>, waited: Option<Caller>, member: &Arc<str>) {
    if let Some(caller) = waited {
        let error = ServiceError::new(Fault::RebalanceInProgress, "the member has asked again since");
        context.answer(caller, Answer::Join(Err(NotJoined { member: member.clone(), error })));
    }
}
