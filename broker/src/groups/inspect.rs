//! Groups as people and tools ask for them, and take them away.

use std::time::Instant;

use bytes::Bytes;

use super::answer::{Answer, DescribedGroup, DescribedMember, GroupState, ListedGroup};
use super::event::{Caller, List};
use super::group::Group;
use super::member::Member;
use super::record::GroupRecord;
use super::writes::{Context, Then};
use crate::error::{Fault, ServiceError};

/// What Kafka calls groups of this protocol.
const TYPE: &str = "classic";

impl Group {
    pub(super) fn describe(&self, now: Instant) -> DescribedGroup {
        let state = self.state();
        let is_stable = state == GroupState::Stable;
        let mut rebalances = self.history.to_vec();
        let rebalancing = self.rebalancing_since.and_then(|_| rebalances.pop());
        DescribedGroup {
            state,
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| "".into()),
            protocol: self.protocol.clone().filter(|_| is_stable),
            generation: self.generation,
            leader: self.roster.leader().cloned(),
            members: self.roster.iter().map(|member| self.describe_member(member, is_stable, now)).collect(),
            rebalances,
            rebalancing,
        }
    }

    fn describe_member(&self, member: &Member, is_stable: bool, now: Instant) -> DescribedMember {
        let protocol = self.protocol.as_deref().unwrap_or("");
        DescribedMember {
            member: member.id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if is_stable { member.metadata(protocol) } else { Bytes::new() },
            assignment: member.assignment.clone(),
            session_timeout: member.session_timeout(),
            rebalance_timeout: member.rebalance_timeout(),
            silent_for: now.saturating_duration_since(member.last_heard),
            is_waiting: member.joining.is_some() || member.syncing.is_some(),
        }
    }

    /// The group in a list, if it is one of those that are asked for.
    pub(super) fn list(&self, list: &List) -> Option<ListedGroup> {
        let state = self.state();
        let is_named = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|named| named.eq_ignore_ascii_case(name))
        };
        if !self.is_visible() || !is_named(&list.states, state.name()) || !is_named(&list.types, TYPE) {
            return None;
        }
        let protocol_type = self.protocol_type.clone().unwrap_or_else(|| "".into());
        Some(ListedGroup { group: self.id.clone(), protocol_type, state })
    }

    /// Has the group taken away with its offsets, if nobody is in it.
    pub(super) fn delete(&mut self, context: &mut Context<'_>, caller: Caller) {
        if self.is_going {
            return context.answer(caller, Answer::Delete(Err(unknown_group(&self.id))));
        }
        if !self.is_empty() {
            let error =
                ServiceError::new(Fault::GroupNotEmpty, format!("the group {:?} has members", self.id));
            return context.answer(caller, Answer::Delete(Err(error)));
        }
        let records = self.take_away(context);
        context.write(records, Then::Deleted { caller });
    }

    /// The tombstones of all that a group without members has. Newcomers that have not come yet are forgotten.
    pub(super) fn take_away(&mut self, context: &mut Context<'_>) -> Vec<GroupRecord> {
        self.pending.clear(context);
        let offsets = self.offsets.all();
        let mut records: Vec<_> =
            offsets.into_iter().map(|(topic, partition)| self.offset_tombstone(topic, partition)).collect();
        records.push(self.tombstone());
        records
    }
}

/// There is no such group.
pub(super) fn unknown_group(group: &str) -> ServiceError {
    ServiceError::new(Fault::UnknownGroup, format!("there is no group {group:?}"))
}
