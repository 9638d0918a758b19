//! A consumer in its group: what the application's thread does of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use folio_record::{LeaderEpoch, Offset};

use super::state::Shared;
use super::{Consumer, Position};
use crate::client::Client;
use crate::driver::Message;
use crate::group::desk::Event;
use crate::group::member::{Input, Member};
use crate::{
    BuildError, Call, CallError, CommittedOffset, GroupConfig, PollError, RebalanceListener, TopicPartition,
    protocol,
};

/// The application's side of a group.
pub(super) struct Membership {
    group: Arc<str>,
    topics: Vec<Arc<str>>,
    /// Counts subscriptions: what a listener does may end one.
    subscriptions: u64,
    listener: Option<Box<dyn RebalanceListener>>,
    begin: Position,
    auto_commit: Option<Duration>,
    /// When positions are committed automatically.
    commit_due: Instant,
    /// What was committed automatically: the same is not committed twice.
    committed: HashMap<TopicPartition, Offset>,
}

impl Membership {
    /// Of a consumer that belongs to a group.
    pub(super) fn of(client: &Client, shared: &Arc<Shared>) -> Result<Option<Self>, BuildError> {
        let Some(config) = shared.config.group.clone() else { return Ok(None) };
        let GroupConfig { begin, auto_commit, .. } = config;
        let group = config.name.as_str().into();
        let member = Member::new(Arc::clone(shared), config, client.config().retry_backoff);
        client.tell(Message::AddMember(Box::new(member))).map_err(|_| BuildError::Closed)?;
        Ok(Some(Self {
            group,
            topics: Vec::new(),
            subscriptions: 0,
            listener: None,
            begin,
            auto_commit,
            commit_due: Instant::now(),
            committed: HashMap::new(),
        }))
    }
}

/// In a group.
impl Consumer {
    /// Shares these topics with the other members of its [group](crate::ConsumerConfig::group), in place of what it
    /// read before. Returns at once: partitions come and go while it [polls](Self::poll), and each begins where the
    /// group has committed, else at [`begin`](GroupConfig::begin). Topics that are not there yet are read once they
    /// are.
    ///
    /// The client's thread joins, stays in touch and joins again by itself while the application works, so that
    /// [`session_timeout`](GroupConfig::session_timeout) bounds only how long the process may be gone. The application
    /// has to poll every [`max_poll_interval`](GroupConfig::max_poll_interval); a wait for records within a poll counts
    /// as that, however long. What is committed before partitions are given up is waited for within the poll, also by a
    /// task.
    ///
    /// # Errors
    ///
    /// It has no group, or no topic is named.
    pub fn subscribe<T: Into<Arc<str>>>(
        &mut self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), BuildError> {
        self.subscribe_as(topics.into_iter().map(Into::into).collect(), None)
    }

    /// As [`subscribe`](Self::subscribe), and tells `listener` what comes and goes.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with<T: Into<Arc<str>>>(
        &mut self,
        topics: impl IntoIterator<Item = T>,
        listener: impl RebalanceListener + 'static,
    ) -> Result<(), BuildError> {
        self.subscribe_as(topics.into_iter().map(Into::into).collect(), Some(Box::new(listener)))
    }

    fn subscribe_as(
        &mut self,
        mut topics: Vec<Arc<str>>,
        listener: Option<Box<dyn RebalanceListener>>,
    ) -> Result<(), BuildError> {
        topics.sort_unstable();
        topics.dedup();
        let Some(membership) = &mut self.membership else {
            return Err(BuildError::Config("to subscribe, a consumer needs a group".to_owned()));
        };
        if topics.is_empty() {
            return Err(BuildError::Config("a subscription needs a topic".to_owned()));
        }
        membership.topics.clone_from(&topics);
        membership.subscriptions += 1;
        membership.listener = listener;
        let mut state = self.shared.lock();
        if !state.desk.is_subscribed {
            state.assign(Vec::new()); // what was assigned by hand
            state.desk.is_subscribed = true;
        }
        state.desk.busy_since.get_or_insert_with(Instant::now);
        drop(state);
        self.tell_member(Input::Subscribe(topics));
        Ok(())
    }

    /// Leaves the group, as far as partitions go: they are given up (what is committed automatically is first) and
    /// go to others. Nothing, if it is not subscribed.
    pub fn unsubscribe(&mut self) {
        if !self.shared.lock().desk.is_subscribed {
            return;
        }
        self.give_up(&self.assignment());
        self.end_subscription();
        self.tell_member(Input::Subscribe(Vec::new()));
    }

    /// Commits the positions of all partitions: everything that was handed out counts as dealt with. Wait for it, await
    /// it, or let it go on by itself. Beside each stands the leader epoch of the last record that was handed out, where
    /// that is known (KIP-320): not after a seek.
    ///
    /// Refused with [`REBALANCE_IN_PROGRESS`](crate::ErrorCode::REBALANCE_IN_PROGRESS),
    /// [`ILLEGAL_GENERATION`](crate::ErrorCode::ILLEGAL_GENERATION) or
    /// [`UNKNOWN_MEMBER`](crate::ErrorCode::UNKNOWN_MEMBER) if the partitions are, or will soon be, others'; polling
    /// goes on with what this consumer gets. A consumer that is not subscribed can commit while the group has no
    /// members.
    pub fn commit(&self) -> Call<()> {
        self.commit_offsets(self.positions())
    }

    /// Commits these offsets, each the next record to be read. Otherwise as [`commit`](Self::commit).
    pub fn commit_offsets(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, CommittedOffset)>,
    ) -> Call<()> {
        let (completer, call) = Call::new();
        if self.membership.is_none() {
            completer.complete(Err(CallError::usage("to commit, a consumer needs a group")));
            return call;
        }
        let (offsets, deadline) = (offsets.into_iter().collect(), self.client.call_deadline());
        self.tell_member(Input::Commit { offsets, deadline, completer: Some(completer) });
        call
    }

    /// Where the group is in these partitions, in their order; `None` where nothing is committed.
    pub fn committed(&self, partitions: &[TopicPartition]) -> Call<Vec<Option<CommittedOffset>>> {
        let (completer, call) = Call::new();
        let Some(membership) = &self.membership else {
            completer.complete(Err(CallError::usage("only groups commit offsets")));
            return call;
        };
        let then = Box::new(move |result| completer.complete(result));
        let (group, partitions) = (Arc::clone(&membership.group), partitions.to_vec());
        self.client.call(protocol::groups::fetch_offsets(
            group,
            partitions,
            self.client.call_deadline(),
            then,
        ));
        call
    }

    /// Gives everything up, commits it first if that is automatic, and leaves the group, so that the others need not
    /// wait for its session to end. (A consumer with an [`instance`](GroupConfig::instance) name stays a member until
    /// then: it may be back before.) Blocks for as long as the broker takes, for
    /// [`request_timeout`](crate::ClientConfig::request_timeout) each at most. Dropping a consumer leaves as well, but
    /// commits nothing and waits for nothing; commits that it was told before still go out.
    ///
    /// # Errors
    ///
    /// The broker could not be told. The consumer is gone all the same.
    pub fn close(mut self) -> Result<(), CallError> {
        if self.membership.is_none() {
            return Ok(());
        }
        self.give_up(&self.assignment());
        self.end_subscription();
        let (completer, call) = Call::new();
        self.tell_member(Input::Leave(completer));
        call.wait()
    }

    /// Does what the group wants of the application, if it wants something.
    pub(super) fn see_to_desk(&mut self) -> Result<(), PollError> {
        let event = self.shared.lock().desk.take();
        event.map_or(Ok(()), |event| self.see_to(event))
    }

    fn see_to(&mut self, event: Event) -> Result<(), PollError> {
        let Some(membership) = &self.membership else { return Ok(()) };
        let subscriptions = membership.subscriptions;
        match event {
            Event::GiveUp { everything } => {
                let wanted = &membership.topics;
                let mut gone = self.assignment();
                gone.retain(|partition| everything || !wanted.contains(&partition.topic));
                self.give_up(&gone);
                if self.is_still(subscriptions) {
                    self.shared.lock().change(&gone, Vec::new());
                }
            }
            Event::Take { partitions } => self.take_over(partitions, subscriptions),
            Event::Lost => {
                let gone = self.assignment();
                if !gone.is_empty() {
                    self.tell_listener(|listener, consumer| listener.lost(consumer, &gone));
                }
                if self.is_still(subscriptions) {
                    self.shared.lock().change(&gone, Vec::new());
                }
            }
            Event::Failed(source) => {
                let group = Arc::clone(&membership.group);
                self.tell_member(Input::Seen { owned: self.assignment() });
                return Err(PollError::Group { group, source });
            }
        }
        if self.is_still(subscriptions) {
            self.tell_member(Input::Seen { owned: self.assignment() });
            self.tell_fetcher();
        }
        Ok(())
    }

    /// From now on it has these partitions, and no others. What was committed of any may have been moved by others.
    fn take_over(&mut self, partitions: Vec<(TopicPartition, Option<CommittedOffset>)>, subscriptions: u64) {
        let mut gone = self.assignment();
        let before = gone.clone();
        gone.retain(|had| !partitions.iter().any(|(partition, _)| partition == had));
        if !gone.is_empty() {
            self.give_up(&gone);
        }
        let Some(membership) = &mut self.membership else { return };
        membership.committed.clear();
        let begin = membership.begin;
        let new = partitions.into_iter().filter(|(partition, _)| !before.contains(partition));
        let read: Vec<(TopicPartition, LeaderEpoch)> = new
            .clone()
            .filter_map(|(partition, at)| Some((partition, LeaderEpoch::new(at?.leader_epoch))))
            .collect();
        let new: Vec<(TopicPartition, Position)> = new
            .map(|(partition, committed)| (partition, committed.map_or(begin, |at| Position::At(at.offset))))
            .collect();
        if !self.is_still(subscriptions) {
            return;
        }
        let names: Vec<TopicPartition> = new.iter().map(|(partition, _)| partition.clone()).collect();
        let mut state = self.shared.lock();
        state.change(&gone, new);
        read.iter().for_each(|(partition, epoch)| state.has_read(partition, *epoch));
        drop(state);
        self.tell_listener(|listener, consumer| listener.assigned(consumer, &names));
    }

    /// Others will get these: the last that is done with them.
    fn give_up(&mut self, partitions: &[TopicPartition]) {
        let Some(membership) = &self.membership else { return };
        if membership.auto_commit.is_some() {
            let (completer, call) = Call::new();
            self.commit_positions(Some(completer));
            if let Err(error) = call.wait() {
                tracing::warn!(%error, "what was handed out was not committed: others will get it again");
            }
        }
        if !partitions.is_empty() {
            self.tell_listener(|listener, consumer| listener.revoked(consumer, partitions));
        }
    }

    /// Commits what earlier polls have handed out, if it is time to.
    pub(super) fn commit_if_due(&mut self) {
        let Some(membership) = &mut self.membership else { return };
        let Some(interval) = membership.auto_commit else { return };
        let now = Instant::now();
        if now < membership.commit_due {
            return;
        }
        membership.commit_due = now + interval;
        self.commit_positions(None);
    }

    /// Commits the positions that have moved.
    fn commit_positions(&mut self, completer: Option<crate::call::Completer<()>>) {
        let mut offsets = self.positions();
        let failed = std::mem::take(&mut self.shared.lock().desk.commit_failed);
        let Some(membership) = &mut self.membership else { return };
        if failed {
            membership.committed.clear();
        }
        offsets.retain(|(partition, at)| membership.committed.get(partition) != Some(&at.offset));
        membership.committed.extend(offsets.iter().map(|(partition, at)| (partition.clone(), at.offset)));
        if offsets.is_empty() && completer.is_none() {
            return;
        }
        let deadline = self.client.call_deadline();
        self.tell_member(Input::Commit { offsets, deadline, completer });
    }

    fn positions(&self) -> Vec<(TopicPartition, CommittedOffset)> {
        let state = self.shared.lock();
        let known = state.slots.iter().filter_map(|slot| {
            let leader_epoch = slot.read_epoch.get();
            let at = CommittedOffset { leader_epoch, ..CommittedOffset::at(slot.position?) };
            Some((slot.topic_partition.clone(), at))
        });
        known.collect()
    }

    fn end_subscription(&mut self) {
        if let Some(membership) = &mut self.membership {
            membership.subscriptions += 1;
            membership.topics.clear();
            membership.listener = None;
        }
        let mut state = self.shared.lock();
        state.assign(Vec::new());
        state.desk.is_subscribed = false;
        state.desk.retract();
        drop(state);
        self.tell_fetcher();
    }

    /// Whether the subscription is the one of then: a listener may have ended it.
    fn is_still(&self, subscriptions: u64) -> bool {
        self.membership.as_ref().is_some_and(|membership| membership.subscriptions == subscriptions)
    }

    /// While it is called, the listener is not at hand: it is not called from within itself.
    fn tell_listener(&mut self, tell: impl FnOnce(&mut dyn RebalanceListener, &mut Self)) {
        let Some(membership) = &mut self.membership else { return };
        let Some(mut listener) = membership.listener.take() else { return };
        let subscriptions = membership.subscriptions;
        tell(&mut *listener, self);
        if let Some(membership) = &mut self.membership
            && membership.subscriptions == subscriptions
        {
            membership.listener = Some(listener);
        }
    }

    fn tell_member(&self, input: Input) {
        if self.client.tell(Message::Member(self.shared.id, Box::new(input))).is_err() {
            self.shared.lock().closed = true;
        }
    }
}
