//! Groups from the log: each record in its order, and then the sessions of all members begin anew.

use super::group::{Group, Phase};
use super::history::RebalanceCause;
use super::member::Member;
use super::rebalance::Why;
use super::record::GroupValue;
use super::writes::Context;

impl Group {
    /// What a group's record says; without a value nothing but its offsets is left.
    pub(super) fn replay(&mut self, value: Option<GroupValue>, context: &Context<'_>) {
        self.begin_anew();
        self.set_stored(value.is_some());
        let Some(value) = value else { return };
        let is_empty = value.members.is_empty();
        self.phase = if is_empty { Phase::Empty } else { Phase::Stable };
        self.since = value.state_since;
        self.generation = value.generation;
        self.protocol_type = Some(value.protocol_type).filter(|name| !name.is_empty());
        self.protocol = value.protocol;
        for member in value.members {
            let protocol = self.protocol.clone().unwrap_or_else(|| "".into());
            self.roster.add(Member::stored(member, protocol, context.now.mono));
        }
        self.roster.set_leader(value.leader);
        self.read_topics();
    }

    /// All records have been read.
    pub(super) fn loaded(&mut self, context: &mut Context<'_>) {
        for member in self.roster.iter_mut() {
            member.heard(context, &self.id);
        }
        if self.roster.len() > context.settings.members_max {
            // The limit was lowered: the last to come again have to go.
            self.rebalance(context, Why::new(RebalanceCause::TooManyMembers, None, None));
        }
    }
}
