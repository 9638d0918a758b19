//! One round of a member: what it says, and what it makes of each answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::commits::is_disowned;
use super::{Ask, Errand, Event, Member, State, Watch};
use crate::group::assignor::{self, Assignor, Topics};
use crate::protocol::groups::{FetchedOffsets, Join, JoinOutcome, Joined};
use crate::{CallError, ClusterMetadata, ErrorCode, Refusal, TopicPartition};

impl Member {
    /// Asks what the state waits for.
    pub(super) fn ask(&mut self, asks: &mut Vec<Ask>) {
        match &self.state {
            State::Joining => {
                let reason = self.rejoin.take().unwrap_or("it is to be a member");
                let join = Join {
                    who: self.who.clone(),
                    session_timeout: self.config.session_timeout,
                    rebalance_timeout: self.config.max_poll_interval,
                    protocols: self
                        .config
                        .assignors
                        .iter()
                        .map(|one| (one.name(), self.says(*one)))
                        .collect(),
                    reason,
                };
                if join.is_nameless() {
                    self.nameless.insert(self.round);
                }
                asks.push(Ask::Join(self.round, join));
            }
            State::Dividing { members, .. } => asks.push(Ask::Topics(self.round, wanted(members))),
            State::Locating { new, .. } => asks.push(Ask::Locate(self.round, new.clone())),
            State::Out | State::Syncing | State::AtDesk(_) | State::Stable => {}
        }
    }

    /// What it says to an assignor.
    fn says(&self, assignor: Assignor) -> bytes::Bytes {
        let generation = match assignor {
            Assignor::Sticky => self.had_since,
            Assignor::Range | Assignor::CooperativeSticky => self.owned_since,
        };
        assignor.metadata(&self.topics, &self.owned, &self.had, generation)
    }

    pub(super) fn joined(
        &mut self,
        result: Result<JoinOutcome, CallError>,
        now: Instant,
        asks: &mut Vec<Ask>,
    ) {
        let error = match result {
            Ok(JoinOutcome::ComeAgain(member)) => {
                self.who.member = member;
                return self.ask(asks);
            }
            Ok(JoinOutcome::Joined(joined)) => return self.begin(joined, now, asks),
            Err(error) => error,
        };
        if is_disowned(&error) {
            return self.disowned(error, asks);
        }
        if is_for_now(&error) {
            tracing::debug!(group = %self.who.group, %error, "joining again soon");
            return self.try_again(now);
        }
        self.put(Errand::Failed, Event::Failed(error));
    }

    fn begin(&mut self, joined: Joined, now: Instant, asks: &mut Vec<Ask>) {
        self.failures = 0;
        self.who.member = joined.member;
        self.who.generation = joined.generation;
        self.heartbeat_due = Some(now + self.config.heartbeat_interval);
        let Some(assignor) = Assignor::of_name(&joined.protocol) else {
            let message = format!("the group divides its work by {:?}", joined.protocol).into();
            let refusal = Refusal { code: ErrorCode::INCONSISTENT_PROTOCOL, message };
            return self.put(Errand::Failed, Event::Failed(CallError::Refused(refusal)));
        };
        if !joined.is_leader {
            return self.sync(joined.protocol, Vec::new(), asks);
        }
        let members = joined.members.into_iter();
        let members = members.map(|one| assignor.read(one.id, one.instance, &one.metadata)).collect();
        self.state = State::Dividing { assignor, members, skip: joined.skip_assignment };
        self.ask(asks);
    }

    /// What the topics of all members are like is known: the leader divides them.
    pub(super) fn divided(
        &mut self,
        result: Result<ClusterMetadata, CallError>,
        now: Instant,
        asks: &mut Vec<Ask>,
    ) {
        let State::Dividing { assignor, members, skip } = &self.state else { return };
        let sizes = match result {
            Ok(metadata) => sizes(metadata),
            Err(error) if is_for_now(&error) => return self.try_again(now),
            Err(error) => return self.put(Errand::Failed, Event::Failed(error)),
        };
        let division = if *skip { Vec::new() } else { assignor.divide(&sizes, members) };
        let ids = members.iter().map(|member| member.id.clone());
        let assignments = ids.zip(division.iter().map(|partitions| assignor::assignment(partitions)));
        let (assignments, protocol) = (assignments.collect(), assignor.name().to_owned());
        let due = now + self.config.topics_interval;
        self.watch = Some(Watch { names: wanted(members), sizes, due, is_asked: false });
        self.sync(protocol, assignments, asks);
    }

    fn sync(&mut self, protocol: String, assignments: Vec<(String, bytes::Bytes)>, asks: &mut Vec<Ask>) {
        self.state = State::Syncing;
        let (who, waits) = (self.who.clone(), self.config.max_poll_interval);
        asks.push(Ask::Sync { round: self.round, who, protocol, assignments, waits });
    }

    pub(super) fn synced(&mut self, result: Result<Vec<u8>, CallError>, now: Instant, asks: &mut Vec<Ask>) {
        let partitions = match result.map(|bytes| assignor::read_assignment(&bytes)) {
            Ok(Ok(partitions)) => partitions,
            Ok(Err(error)) => {
                let message = format!("the leader's assignment makes no sense: {error}").into();
                let refusal = Refusal { code: ErrorCode::INCONSISTENT_PROTOCOL, message };
                return self.put(Errand::Failed, Event::Failed(CallError::Refused(refusal)));
            }
            Err(error) if is_disowned(&error) => return self.disowned(error, asks),
            // Something has come between; the others are told the same.
            Err(error) if is_for_now(&error) => {
                self.round += 1;
                self.rejoin = Some("its sync failed");
                self.state = State::Joining;
                return self.try_again(now);
            }
            Err(error) => return self.put(Errand::Failed, Event::Failed(error)),
        };
        let (partitions, unwanted): (Vec<_>, Vec<_>) =
            partitions.into_iter().partition(|partition| self.topics.contains(&partition.topic));
        if !unwanted.is_empty() {
            tracing::warn!(group = %self.who.group, ?unwanted, "assigned, but not asked for: left alone");
        }
        let new: Vec<TopicPartition> =
            partitions.iter().filter(|partition| !self.owned.contains(partition)).cloned().collect();
        let nothing_new = new.is_empty();
        self.state = State::Locating { partitions, new };
        if nothing_new {
            return self.located(Ok(Vec::new()), now);
        }
        self.ask(asks);
    }

    pub(super) fn located(&mut self, result: Result<FetchedOffsets, CallError>, now: Instant) {
        let State::Locating { partitions, new } = &self.state else { return };
        let mut places = match result {
            Ok(places) => new.iter().zip(places),
            Err(error) if is_for_now(&error) => return self.try_again(now),
            Err(error) => return self.put(Errand::Failed, Event::Failed(error)),
        };
        let mut next = places.next();
        // `new` is in the order of `partitions`.
        let all = partitions.iter().map(|partition| match &next {
            Some((new, place)) if *new == partition => {
                let place = place.clone();
                next = places.next();
                (partition.clone(), place)
            }
            _ => (partition.clone(), None),
        });
        let partitions = all.collect();
        self.failures = 0;
        self.errand_of_this_round(Event::Take { partitions });
    }

    /// As `put`, in the round that is going on: its heartbeats go on to be listened to.
    fn errand_of_this_round(&mut self, event: Event) {
        self.state = State::AtDesk(Errand::Take);
        self.with_desk(|desk| desk.put(event));
        self.shared.notify();
    }

    pub(super) fn heard(&mut self, result: Result<(), CallError>, now: Instant, asks: &mut Vec<Ask>) {
        self.heartbeat_asked = false;
        let Err(error) = result else { return };
        if is_disowned(&error) {
            return self.disowned(error, asks);
        }
        if error.code() == Some(ErrorCode::REBALANCE_IN_PROGRESS) {
            // Before it has its work it will be told by its sync.
            if matches!(self.state, State::Stable | State::AtDesk(Errand::Take) | State::Locating { .. }) {
                self.rejoin.get_or_insert("the group rebalances");
                self.advance(asks);
            }
            return;
        }
        tracing::debug!(group = %self.who.group, %error, "a heartbeat was not heard");
        self.failures += 1;
        let pause = self.backoff.after(self.failures, &mut self.jitter);
        self.heartbeat_due = Some(now + pause.min(self.config.heartbeat_interval));
    }

    /// What the topics of all members are like, again.
    pub(super) fn watched(
        &mut self,
        result: Result<ClusterMetadata, CallError>,
        now: Instant,
        asks: &mut Vec<Ask>,
    ) {
        let Some(watch) = &mut self.watch else { return };
        watch.is_asked = false;
        watch.due = now + self.config.topics_interval;
        // What cannot be learned now, the next look will tell.
        let Ok(metadata) = result else { return };
        if sizes(metadata) != watch.sizes {
            self.rejoin.get_or_insert("topics have come, grown or gone");
            self.advance(asks);
        }
    }
}

/// Whether it may be better soon: a connection that broke, or was given up for what came of it, comes back, and a
/// broker that is starting will be there.
fn is_for_now(error: &CallError) -> bool {
    error.is_retriable() || matches!(error, CallError::Protocol { .. })
}

/// The topics that the members want, each once.
fn wanted(members: &[assignor::Member]) -> Vec<String> {
    let topics: BTreeSet<&Arc<str>> = members.iter().flat_map(|member| &member.topics).collect();
    topics.into_iter().map(ToString::to_string).collect()
}

/// Those that there are.
fn sizes(metadata: ClusterMetadata) -> Topics {
    let known = metadata.topics.into_iter().filter_map(Result::ok);
    known.map(|topic| (topic.name.into(), topic.leader_epochs.len() as u32)).collect()
}
