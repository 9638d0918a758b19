//! Members of groups: what they ask becomes calls, whose answers come back as messages.

use std::sync::Arc;
use std::time::Instant;

use super::{Driver, Message};
use crate::group::member::{Ask, Input, Member};
use crate::protocol::{self, Then, groups};

impl Driver {
    pub(super) fn member(&mut self, id: u64, input: Input, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let mut asks = Vec::new();
        member.step(input, now, &mut asks);
        self.queue(id, asks, now);
        self.forget_if_over(id);
    }

    /// Nobody has this consumer any more. It goes when everything has been said for it.
    pub(super) fn drop_member(&mut self, id: u64, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let mut asks = Vec::new();
        member.dropped(&mut asks);
        self.queue(id, asks, now);
        self.forget_if_over(id);
    }

    fn forget_if_over(&mut self, id: u64) {
        if self.members.get(&id).is_some_and(Member::is_over) {
            self.members.remove(&id);
        }
    }

    pub(super) fn turn_members(&mut self, now: Instant) {
        let mut asks = Vec::new();
        for (id, member) in &mut self.members {
            let mut of_this = Vec::new();
            member.turn(now, &mut of_this);
            asks.push((*id, of_this));
        }
        asks.into_iter().for_each(|(id, asks)| self.queue(id, asks, now));
    }

    fn queue(&mut self, id: u64, asks: Vec<Ask>, now: Instant) {
        let Some(group) = self.members.get(&id).map(Member::group) else { return };
        asks.into_iter().for_each(|ask| self.queue_one(id, &group, ask, now));
    }

    fn queue_one(&mut self, id: u64, group: &Arc<str>, ask: Ask, now: Instant) {
        let deadline = now + self.config.request_timeout;
        let call = match ask {
            Ask::Join(round, join) => {
                let client_id = self.config.client_id.as_str().into();
                let then = self.back_to(id, move |result| Input::Joined(round, result));
                groups::join_group(join, client_id, deadline, then)
            }
            Ask::Topics(round, names) => {
                let then = self.back_to(id, move |result| Input::Topics(round, result));
                protocol::metadata(Some(names), deadline, then)
            }
            Ask::Sync { round, who, protocol, assignments, waits } => {
                let then = self.back_to(id, move |result| Input::Synced(round, result));
                groups::sync_group(who, protocol, assignments, waits, deadline, then)
            }
            Ask::Locate(round, partitions) => {
                let then = self.back_to(id, move |result| Input::Located(round, result));
                groups::fetch_offsets(Arc::clone(group), partitions, deadline, then)
            }
            Ask::Heartbeat(round, who) => {
                let then = self.back_to(id, move |result| Input::Heard(round, result));
                groups::heartbeat(who, deadline, then)
            }
            Ask::Watch(round, names) => {
                let then = self.back_to(id, move |result| Input::Watched(round, result));
                protocol::metadata(Some(names), deadline, then)
            }
            Ask::Commit { id: commit, who, offsets } => {
                let then = self.back_to(id, move |result| Input::Committed(commit, result));
                groups::commit_offsets(who, offsets, deadline, then)
            }
            Ask::Leave { who, reason, completer } => {
                let then: Then<()> = Box::new(move |result| {
                    if let Some(completer) = completer {
                        completer.complete(result);
                    }
                });
                groups::leave_group(who, reason, deadline, then)
            }
        };
        self.calls.push_back(call);
    }

    /// Sends what comes of a call back to the member, as a message: it is not at hand where answers are read.
    fn back_to<T: Send + 'static>(
        &self,
        id: u64,
        input: impl FnOnce(Result<T, crate::CallError>) -> Input + Send + 'static,
    ) -> Then<T> {
        let event_loop = self.event_loop.clone();
        Box::new(move |result| {
            // A loop that has ended has no members any more.
            let _ = event_loop.send(Message::Member(id, Box::new(input(result))));
        })
    }
}
