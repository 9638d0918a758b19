//! Commits on their way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Ask, Member, State};
use crate::call::Completer;
use crate::consumer::state::Shared;
use crate::protocol::groups::Identity;
use crate::{CallError, CommittedOffset, ErrorCode, Refusal, TopicPartition};

/// By number, so in the order in which they were asked for.
#[derive(Default)]
pub(super) struct Commits {
    next_id: u64,
    waiting: BTreeMap<u64, Commit>,
}

struct Commit {
    who: Identity,
    offsets: Vec<(TopicPartition, CommittedOffset)>,
    /// `None`: nobody waits for it.
    completer: Option<Completer<()>>,
    deadline: Instant,
    /// It was refused for the moment, and is asked again then.
    retry_at: Option<Instant>,
}

impl Commits {
    /// Asks again what was refused for the moment.
    pub(super) fn turn(&mut self, now: Instant, asks: &mut Vec<Ask>) {
        for (id, commit) in &mut self.waiting {
            if commit.retry_at.is_some_and(|at| at <= now) {
                commit.retry_at = None;
                asks.push(commit.ask(*id));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().filter_map(|commit| commit.retry_at).min()
    }
}

impl Commit {
    fn ask(&self, id: u64) -> Ask {
        Ask::Commit { id, who: self.who.clone(), offsets: self.offsets.clone() }
    }

    fn complete(self, result: Result<(), CallError>, shared: &Shared) {
        match (self.completer, result) {
            (Some(completer), result) => completer.complete(result),
            (None, Err(error)) => {
                tracing::warn!(group = %self.who.group, %error, "offsets were not committed");
                shared.lock().desk.commit_failed = true;
            }
            (None, Ok(())) => {}
        }
    }
}

impl Member {
    pub(super) fn commit(
        &mut self,
        offsets: Vec<(TopicPartition, CommittedOffset)>,
        deadline: Instant,
        completer: Option<Completer<()>>,
        asks: &mut Vec<Ask>,
    ) {
        let who = if self.topics.is_empty() {
            // From no member: a group that has none takes it.
            Identity { member: "".into(), instance: None, generation: -1, ..self.who.clone() }
        } else {
            self.who.clone()
        };
        let commit = Commit { who, offsets, completer, deadline, retry_at: None };
        if commit.offsets.is_empty() {
            return commit.complete(Ok(()), &self.shared);
        }
        if !self.topics.is_empty() && self.who.generation < 0 {
            let code = match self.state {
                State::Joining => ErrorCode::REBALANCE_IN_PROGRESS,
                _ => ErrorCode::UNKNOWN_MEMBER,
            };
            let message = "the consumer is no member of its group at present".into();
            return commit.complete(Err(CallError::Refused(Refusal { code, message })), &self.shared);
        }
        let id = self.commits.next_id;
        self.commits.next_id += 1;
        asks.push(commit.ask(id));
        self.commits.waiting.insert(id, commit);
    }

    /// The answer to a commit has come.
    pub(super) fn committed(
        &mut self,
        id: u64,
        result: Result<(), CallError>,
        now: Instant,
        asks: &mut Vec<Ask>,
    ) {
        let Some(mut commit) = self.commits.waiting.remove(&id) else { return };
        let code = result.as_ref().err().and_then(CallError::code);
        let is_for_the_moment = matches!(
            code,
            Some(ErrorCode::COORDINATOR_LOADING | ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::TOO_BUSY)
        );
        if is_for_the_moment && now + RETRY < commit.deadline {
            commit.retry_at = Some(now + RETRY);
            self.commits.waiting.insert(id, commit);
            return;
        }
        let is_mine = commit.who == self.who && !self.topics.is_empty();
        if is_mine
            && let Err(error) = &result
            && is_disowned(error)
        {
            let error = error.clone();
            commit.complete(result, &self.shared);
            return self.disowned(error, asks);
        }
        commit.complete(result, &self.shared);
    }
}

/// Whether the broker says that who asks is no member of this generation.
pub(super) fn is_disowned(error: &CallError) -> bool {
    matches!(
        error.code(),
        Some(ErrorCode::UNKNOWN_MEMBER | ErrorCode::ILLEGAL_GENERATION | ErrorCode::FENCED_INSTANCE)
    )
}

/// How long a coordinator that is not there yet is left alone.
const RETRY: Duration = Duration::from_millis(100);
