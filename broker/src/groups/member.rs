//! A member of a group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::event::{Caller, Join, Protocol};
use super::record::MemberValue;
use super::timers::{Timer, TimerKey};
use super::writes::Context;

/// A member, from the join that is taken until it leaves, is silent for too long, or is replaced.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: Arc<str>,
    pub(super) instance: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    /// The best first; none twice.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// Whose join is waiting for the other members; the roster counts them.
    pub(super) joining: Option<Caller>,
    /// Whose sync is waiting for the leader.
    pub(super) syncing: Option<Caller>,
    /// It has not been told yet that it is a member.
    pub(super) is_new: bool,
    pub(super) last_heard: Instant,
    /// When it is taken for gone; may be later than its timer, which looks here then.
    deadline: Instant,
    timer: Option<TimerKey>,
}

impl Member {
    /// A new one, whose join waits.
    pub(super) fn new(id: Arc<str>, join: Join, caller: Caller, now: Instant) -> Self {
        Self {
            id,
            instance: join.instance,
            client_id: join.client_id,
            client_host: join.client_host,
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: rebalance_timeout(join.rebalance_timeout_ms, join.session_timeout_ms),
            protocols: join.protocols,
            assignment: Bytes::new(),
            joining: Some(caller),
            syncing: None,
            is_new: true,
            last_heard: now,
            deadline: now,
            timer: None,
        }
    }

    /// One of a stored group.
    pub(super) fn stored(value: MemberValue, protocol: Arc<str>, now: Instant) -> Self {
        Self {
            id: value.member,
            instance: value.instance,
            client_id: value.client_id,
            client_host: value.client_host,
            session_timeout_ms: value.session_timeout_ms,
            rebalance_timeout_ms: rebalance_timeout(value.rebalance_timeout_ms, value.session_timeout_ms),
            protocols: vec![Protocol { name: protocol, metadata: value.subscription }],
            assignment: value.assignment,
            joining: None,
            syncing: None,
            is_new: false,
            last_heard: now,
            deadline: now,
            timer: None,
        }
    }

    /// The same under another id; nothing waits for it or is expected of it yet.
    pub(super) fn renamed(&self, id: Arc<str>) -> Self {
        Self { id, joining: None, syncing: None, timer: None, ..self.clone() }
    }

    /// As it is stored, with this for its work.
    pub(super) fn value(&self, protocol: &str, assignment: Bytes) -> MemberValue {
        MemberValue {
            member: self.id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment,
        }
    }

    pub(super) fn session_timeout(&self) -> Duration {
        milliseconds(self.session_timeout_ms)
    }

    pub(super) fn rebalance_timeout(&self) -> Duration {
        milliseconds(self.rebalance_timeout_ms)
    }

    /// What it says to a protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|known| &*known.name == protocol);
        found.map_or_else(Bytes::new, |protocol| protocol.metadata.clone())
    }

    /// What people know it by.
    pub(super) fn name(&self) -> Arc<str> {
        self.instance.as_ref().unwrap_or(&self.id).clone()
    }

    /// Whether the silence of its client says nothing: it waits for others.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        member_size(&self.id, self.instance.as_deref(), &self.client_id, &self.protocols)
            + self.assignment.len()
    }

    /// It has spoken: its session begins anew.
    pub(super) fn heard(&mut self, context: &mut Context<'_>, group: &Arc<str>) {
        self.last_heard = context.now.mono;
        self.expect_within(context, group, self.session_timeout());
    }

    /// It has to speak within this time.
    pub(super) fn expect_within(&mut self, context: &mut Context<'_>, group: &Arc<str>, time: Duration) {
        self.deadline = context.after(time);
        if self.timer.is_none_or(|timer| timer.at() > self.deadline) {
            self.set_timer(context, group);
        }
    }

    /// Its timer has run out. Whether its time has, too; if not, the timer is set again.
    pub(super) fn has_expired(&mut self, context: &mut Context<'_>, group: &Arc<str>) -> bool {
        self.timer = None;
        if self.is_excused() {
            self.deadline = context.after(self.session_timeout());
        }
        if self.deadline <= context.now.mono {
            return true;
        }
        self.set_timer(context, group);
        false
    }

    /// Nothing is expected of it any more.
    pub(super) fn expect_nothing(&mut self, context: &mut Context<'_>) {
        context.timers.cancel(self.timer.take());
    }

    fn set_timer(&mut self, context: &mut Context<'_>, group: &Arc<str>) {
        context.timers.cancel(self.timer);
        let timer = Timer::Member { group: group.clone(), member: self.id.clone() };
        self.timer = Some(context.timers.set(self.deadline, timer));
    }
}

/// Bytes that a member takes, beside its work.
pub(super) fn member_size(
    id: &str,
    instance: Option<&str>,
    client_id: &str,
    protocols: &[Protocol],
) -> usize {
    let said: usize = protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum();
    size_of::<Member>() + id.len() + instance.map_or(0, str::len) + client_id.len() + said
}

/// A time of a peer; none is below 0.
pub(super) fn milliseconds(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// What holds if the member did not say.
pub(super) fn rebalance_timeout(rebalance_timeout_ms: i32, session_timeout_ms: i32) -> i32 {
    if rebalance_timeout_ms < 0 { session_timeout_ms } else { rebalance_timeout_ms }
}
