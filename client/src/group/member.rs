//! A member of a group, as a state machine: what has happened and when goes in, what is to be asked comes out.
//!
//! ```text
//!          +--> Joining --> Dividing (the leader) --> Syncing --> Locating --> AtDesk: take --> Stable --+
//!          |                                                                                             |
//!          +------------------- AtDesk: give up <---------------- the group rebalances, topics changed --+
//!
//!   from anywhere, when the broker or the clock says that it is no member: AtDesk: lost --> Joining
//! ```
//!
//! Each round of it has a number; what was asked in an earlier one is not listened to. Heartbeats go out from the
//! moment the member is in a generation, whatever the application does; if that does not poll for too long, the member
//! leaves. Invariants: the application is at one event at a time; what it has is known here before the member joins;
//! nobody who waits for a commit is forgotten.

mod commits;
mod round;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::assignor::{self, Assignor, Topics};
use super::desk::{Desk, Event};
use super::{CommittedOffset, GroupConfig};
use crate::backoff::Jitter;
use crate::call::Completer;
use crate::consumer::state::Shared;
use crate::protocol::groups::{FetchedOffsets, Identity, Join, JoinOutcome};
use crate::{Backoff, CallError, ClusterMetadata, ErrorCode, TopicPartition};
use commits::Commits;

/// See the module.
pub(crate) struct Member {
    shared: Arc<Shared>,
    config: GroupConfig,
    who: Identity,
    /// What the application wants. Nothing: it is no member, or not of its own will.
    topics: Vec<Arc<str>>,
    state: State,
    round: u64,
    /// What the application has, and the generation in which it got it.
    owned: Vec<TopicPartition>,
    owned_since: i32,
    /// What it got last, in which generation; also after it was given up.
    had: Vec<TopicPartition>,
    had_since: i32,
    /// Why it is to join again.
    rejoin: Option<&'static str>,
    /// It is no member any more, and the application does not know yet.
    is_lost: bool,
    /// Why it will never be one.
    fatal: Option<CallError>,
    heartbeat_due: Option<Instant>,
    heartbeat_asked: bool,
    /// Rounds whose first join is on its way: each may still be given an id.
    nameless: BTreeSet<u64>,
    is_dropped: bool,
    /// Of the leader: the topics of all members, and their sizes when they were divided.
    watch: Option<Watch>,
    retry_at: Option<Instant>,
    failures: u32,
    commits: Commits,
    backoff: Backoff,
    jitter: Jitter,
}

enum State {
    /// Nobody wants it to be a member.
    Out,
    Joining,
    Dividing {
        assignor: Assignor,
        members: Vec<assignor::Member>,
        skip: bool,
    },
    Syncing,
    /// Where the group is in these is asked for, of those that are new.
    Locating {
        partitions: Vec<TopicPartition>,
        new: Vec<TopicPartition>,
    },
    AtDesk(Errand),
    Stable,
}

/// What the application was asked to see to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    GiveUp,
    Take,
    Lost,
    Failed,
}

struct Watch {
    names: Vec<String>,
    sizes: Topics,
    due: Instant,
    is_asked: bool,
}

/// What has happened.
pub(crate) enum Input {
    /// The application wants these topics; none: it does not want to be a member any more.
    Subscribe(Vec<Arc<str>>),
    /// The application has seen to an event, and has these partitions now.
    Seen {
        owned: Vec<TopicPartition>,
    },
    /// The application wants this committed.
    Commit {
        offsets: Vec<(TopicPartition, CommittedOffset)>,
        deadline: Instant,
        completer: Option<Completer<()>>,
    },
    /// The application ends.
    Leave(Completer<()>),
    Joined(u64, Result<JoinOutcome, CallError>),
    Topics(u64, Result<ClusterMetadata, CallError>),
    Synced(u64, Result<Vec<u8>, CallError>),
    Located(u64, Result<FetchedOffsets, CallError>),
    Heard(u64, Result<(), CallError>),
    Watched(u64, Result<ClusterMetadata, CallError>),
    Committed(u64, Result<(), CallError>),
}

/// What is to be asked of the broker. The number goes back with the answer.
pub(crate) enum Ask {
    Join(u64, Join),
    Topics(u64, Vec<String>),
    Sync {
        round: u64,
        who: Identity,
        protocol: String,
        assignments: Vec<(String, Bytes)>,
        waits: Duration,
    },
    Locate(u64, Vec<TopicPartition>),
    Heartbeat(u64, Identity),
    Watch(u64, Vec<String>),
    Commit {
        id: u64,
        who: Identity,
        offsets: Vec<(TopicPartition, CommittedOffset)>,
    },
    /// Nobody but the completer waits for the answer.
    Leave {
        who: Identity,
        reason: &'static str,
        completer: Option<Completer<()>>,
    },
}

impl Member {
    pub(crate) fn new(shared: Arc<Shared>, config: GroupConfig, backoff: Backoff) -> Self {
        let who = Identity {
            group: config.name.as_str().into(),
            member: "".into(),
            instance: config.instance.as_deref().map(Into::into),
            generation: -1,
        };
        Self {
            shared,
            config,
            who,
            topics: Vec::new(),
            state: State::Out,
            round: 0,
            owned: Vec::new(),
            owned_since: -1,
            had: Vec::new(),
            had_since: -1,
            rejoin: None,
            is_lost: false,
            fatal: None,
            heartbeat_due: None,
            heartbeat_asked: false,
            nameless: BTreeSet::new(),
            is_dropped: false,
            watch: None,
            retry_at: None,
            failures: 0,
            commits: Commits::default(),
            backoff,
            jitter: Jitter::random(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.shared.id
    }

    pub(crate) fn group(&self) -> Arc<str> {
        Arc::clone(&self.who.group)
    }

    /// Takes what has happened, and adds what is to be asked.
    pub(crate) fn step(&mut self, input: Input, now: Instant, asks: &mut Vec<Ask>) {
        match input {
            Input::Subscribe(topics) if topics.is_empty() => self.leave("unsubscribed", None, asks),
            Input::Subscribe(topics) => {
                self.topics = topics;
                self.rejoin = Some("the topics of a member have changed");
                self.advance(asks);
            }
            Input::Seen { owned } => self.seen(owned, now, asks),
            Input::Commit { offsets, deadline, completer } => {
                self.commit(offsets, deadline, completer, asks);
            }
            Input::Leave(completer) => self.leave("the consumer is closed", Some(completer), asks),
            Input::Joined(round, result) => {
                self.nameless.remove(&round);
                match result {
                    result if round == self.round => self.joined(result, now, asks),
                    Ok(JoinOutcome::ComeAgain(member)) => self.decline(member, asks),
                    _ => {}
                }
            }
            Input::Topics(round, result) if round == self.round => self.divided(result, now, asks),
            Input::Synced(round, result) if round == self.round => self.synced(result, now, asks),
            Input::Located(round, result) if round == self.round => self.located(result, now),
            Input::Heard(round, result) if round == self.round => self.heard(result, now, asks),
            Input::Watched(round, result) if round == self.round => self.watched(result, now, asks),
            Input::Committed(id, result) => self.committed(id, result, now, asks),
            Input::Topics(..)
            | Input::Synced(..)
            | Input::Located(..)
            | Input::Heard(..)
            | Input::Watched(..) => {} // of an earlier round
        }
    }

    /// Looks at the clock, and adds what is to be asked.
    pub(crate) fn turn(&mut self, now: Instant, asks: &mut Vec<Ask>) {
        if self.poll_deadline().is_some_and(|deadline| deadline <= now) {
            self.lapse(asks);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.ask(asks);
        }
        if self.heartbeat_due().is_some_and(|due| due <= now) {
            self.heartbeat_asked = true;
            self.heartbeat_due = Some(now + self.config.heartbeat_interval);
            asks.push(Ask::Heartbeat(self.round, self.who.clone()));
        }
        if self.watch_due().is_some_and(|due| due <= now)
            && let Some(watch) = &mut self.watch
        {
            watch.is_asked = true;
            asks.push(Ask::Watch(self.round, watch.names.clone()));
        }
        self.commits.turn(now, asks);
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.poll_deadline(), self.retry_at, self.heartbeat_due(), self.watch_due()];
        deadlines.into_iter().flatten().chain(self.commits.next_deadline()).min()
    }

    /// Nobody could be reached for a long time: whoever polls is told, once.
    pub(crate) fn nothing_comes(&self, trouble: &CallError) {
        if self.topics.is_empty() {
            return;
        }
        self.shared.lock().away = Some(trouble.clone());
        self.shared.notify();
    }

    /// Whether nobody has its consumer any more, and everything has been said for it.
    pub(crate) fn is_over(&self) -> bool {
        self.is_dropped && self.nameless.is_empty() && self.commits.is_empty()
    }

    /// The application has dropped its consumer: the others need not wait for the session to end.
    pub(crate) fn dropped(&mut self, asks: &mut Vec<Ask>) {
        self.is_dropped = true;
        self.leave("the consumer was dropped", None, asks);
    }

    /// Ends what is asked of it, as far as it can be: an application that is at an event ends that first.
    fn advance(&mut self, asks: &mut Vec<Ask>) {
        if self.topics.is_empty() {
            return;
        }
        if matches!(self.state, State::AtDesk(_)) && !self.with_desk(Desk::retract) {
            return; // it goes on when the application has seen to it
        }
        if self.is_lost {
            return self.put(Errand::Lost, Event::Lost);
        }
        if let Some(fatal) = self.fatal.clone() {
            return self.put(Errand::Failed, Event::Failed(fatal));
        }
        let everything = !self.config.is_cooperative();
        if self.owned.iter().any(|partition| everything || !self.topics.contains(&partition.topic)) {
            return self.put(Errand::GiveUp, Event::GiveUp { everything });
        }
        self.round += 1;
        self.heartbeat_asked = false;
        self.retry_at = None;
        self.watch = None;
        self.state = State::Joining;
        self.ask(asks);
    }

    /// The application has seen to what lay on its desk.
    fn seen(&mut self, owned: Vec<TopicPartition>, now: Instant, asks: &mut Vec<Ask>) {
        let State::AtDesk(errand) = self.state else { return };
        let gave_up = self.owned.iter().any(|partition| !owned.contains(partition));
        self.owned = owned;
        self.state = State::Stable;
        match errand {
            Errand::GiveUp => {}
            Errand::Take => {
                self.owned_since = self.who.generation;
                self.had.clone_from(&self.owned);
                self.had_since = self.who.generation;
                if gave_up {
                    // Others get it only now.
                    self.rejoin.get_or_insert("a member has given up what others get");
                }
            }
            Errand::Lost => {
                self.is_lost = false;
                self.owned_since = -1;
            }
            Errand::Failed if self.fatal.is_none() => {
                self.state = State::Joining;
                self.try_again(now);
                return;
            }
            Errand::Failed => {}
        }
        if self.is_lost || self.rejoin.is_some() || self.fatal.is_some() {
            self.advance(asks);
        }
    }

    /// The broker says that it is no member of this generation.
    fn disowned(&mut self, error: CallError, asks: &mut Vec<Ask>) {
        tracing::warn!(group = %self.who.group, member = %self.who.member, %error, "no member of the group any more");
        self.who.generation = -1;
        match error.code() {
            Some(ErrorCode::FENCED_INSTANCE) => self.fatal = Some(error),
            Some(ErrorCode::ILLEGAL_GENERATION) => {}
            _ => self.who.member = "".into(),
        }
        self.is_lost = true;
        self.rejoin = Some("it was no member any more");
        self.advance(asks);
    }

    /// The application has not polled for too long.
    fn lapse(&mut self, asks: &mut Vec<Ask>) {
        let after = self.config.max_poll_interval;
        tracing::warn!(group = %self.who.group, ?after, "the application does not poll: the member leaves its group");
        self.ask_to_leave("it did not poll within max_poll_interval", None, asks);
        self.is_lost = true;
        self.rejoin = Some("it polls again");
        self.round += 1;
        self.advance(asks);
    }

    fn leave(&mut self, reason: &'static str, completer: Option<Completer<()>>, asks: &mut Vec<Ask>) {
        self.ask_to_leave(reason, completer, asks);
        self.with_desk(Desk::retract);
        self.round += 1;
        self.state = State::Out;
        self.topics.clear();
        self.owned.clear();
        (self.rejoin, self.is_lost, self.fatal) = (None, false, None);
        (self.watch, self.retry_at, self.failures) = (None, None, 0);
    }

    /// A member with a name of its own stays until its session ends: it may be back before.
    fn ask_to_leave(&mut self, reason: &'static str, completer: Option<Completer<()>>, asks: &mut Vec<Ask>) {
        let who = self.who.clone();
        self.who.generation = -1;
        self.who.member = "".into();
        if !who.member.is_empty() && who.instance.is_none() {
            asks.push(Ask::Leave { who, reason, completer });
        } else if let Some(completer) = completer {
            completer.complete(Ok(()));
        }
    }

    /// It was given an id that it does not want any more. The group waits for whoever has one.
    fn decline(&mut self, member: Arc<str>, asks: &mut Vec<Ask>) {
        let who = Identity { member, generation: -1, ..self.who.clone() };
        asks.push(Ask::Leave { who, reason: "it has changed its mind", completer: None });
    }

    fn put(&mut self, errand: Errand, event: Event) {
        self.round += 1;
        self.heartbeat_asked = false;
        self.retry_at = None;
        self.state = State::AtDesk(errand);
        self.with_desk(|desk| desk.put(event));
        self.shared.notify();
    }

    fn with_desk<T>(&self, f: impl FnOnce(&mut Desk) -> T) -> T {
        f(&mut self.shared.lock().desk)
    }

    /// Asks again what the state waits for, after a pause.
    fn try_again(&mut self, now: Instant) {
        self.failures += 1;
        self.retry_at = Some(now + self.backoff.after(self.failures, &mut self.jitter));
    }

    fn is_in_generation(&self) -> bool {
        self.who.generation >= 0 && !matches!(self.state, State::Out | State::Joining)
    }

    fn heartbeat_due(&self) -> Option<Instant> {
        self.heartbeat_due.filter(|_| self.is_in_generation() && !self.heartbeat_asked)
    }

    fn watch_due(&self) -> Option<Instant> {
        let is_stable = matches!(self.state, State::Stable);
        self.watch.as_ref().filter(|watch| is_stable && !watch.is_asked).map(|watch| watch.due)
    }

    /// When the application will have worked for too long.
    fn poll_deadline(&self) -> Option<Instant> {
        if self.who.member.is_empty() || self.topics.is_empty() {
            return None;
        }
        let since = self.with_desk(|desk| desk.busy_since)?;
        Some(since + self.config.max_poll_interval)
    }
}

#[cfg(test)]
mod tests;
