//! Offsets and groups that nobody needs any more.
//!
//! An offset that says when it goes, goes then. Else it is kept `offsets.retention.minutes`, which begin
//!
//! | group | with |
//! |---|---|
//! | that never had members | the commit |
//! | without members | the end of the last member; the commit, if an old record does not say when that was |
//! | of consumers, stable, whose topics are known | the commit, if nobody wants the topic |
//! | any other | never |
//!
//! A group without members and offsets goes at the next look.

use std::time::Duration;

use folio_record::Timestamp;

use super::answer::{Committed, GroupState};
use super::group::Group;
use super::record::GroupRecord;
use super::writes::Context;

/// When the time begins that an offset is kept for.
#[derive(Clone, Copy)]
enum Since {
    Commit,
    Moment(Timestamp),
}

impl Group {
    /// The tombstones of what has gone.
    pub(super) fn expire(&mut self, context: &mut Context<'_>) -> Vec<GroupRecord> {
        let now = context.now.wall;
        let expired = match self.kept_since() {
            Some(since) => {
                let retention = context.settings.offsets_retention;
                let is_over = |topic: &str, committed: &Committed| {
                    !self.is_subscribed(topic) && is_over(committed, since, retention, now)
                };
                self.offsets.settled(is_over)
            }
            None => Vec::new(),
        };
        let is_all = expired.len() == self.offsets.len();
        let nobody_comes = self.pending.is_empty() && self.records_in_flight() == 0 && !self.is_going;
        if self.is_empty() && is_all && nobody_comes {
            return self.take_away(context);
        }
        expired.into_iter().map(|(topic, partition)| self.offset_tombstone(topic, partition)).collect()
    }

    fn kept_since(&self) -> Option<Since> {
        match self.state() {
            _ if self.protocol_type.is_none() => Some(Since::Commit),
            GroupState::Empty if self.since == Timestamp::NONE => Some(Since::Commit),
            GroupState::Empty => Some(Since::Moment(self.since)),
            GroupState::Stable if self.is_of_consumers() && self.knows_topics() => Some(Since::Commit),
            _ => None,
        }
    }
}

fn is_over(committed: &Committed, since: Since, retention: Duration, now: Timestamp) -> bool {
    if let Some(expires_at) = committed.expires_at {
        return now >= expires_at;
    }
    let since = match since {
        Since::Commit => committed.committed_at,
        Since::Moment(moment) => moment,
    };
    let age = now.get().saturating_sub(since.get());
    u128::try_from(age).is_ok_and(|age| age >= retention.as_millis())
}
