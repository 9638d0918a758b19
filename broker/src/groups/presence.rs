//! Being there: heartbeats, members that leave, and members that are silent for too long.

use std::sync::Arc;

use super::answer::{Answer, Left};
use super::event::{Caller, Heartbeat, Leave, Leaver};
use super::group::{Group, Phase};
use super::history::RebalanceCause;
use super::member::Member;
use super::rebalance::{Why, rebalancing};
use super::roster::unknown_member;
use super::writes::{Context, Then};
use crate::error::ServiceError;

impl Group {
    /// A member is still there.
    pub(super) fn heartbeat(
        &mut self,
        context: &mut Context<'_>,
        heartbeat: &Heartbeat,
    ) -> Result<(), ServiceError> {
        self.check(&heartbeat.member, heartbeat.instance.as_deref(), heartbeat.generation)?;
        let id = self.id.clone();
        let member = self.roster.get_mut(&heartbeat.member);
        member.ok_or_else(|| unknown_member(&heartbeat.member))?.heard(context, &id);
        match self.phase {
            Phase::Empty => Err(unknown_member(&heartbeat.member)),
            Phase::Joining(_) => Err(rebalancing()),
            Phase::Dividing { .. } | Phase::Stable => Ok(()),
        }
    }

    /// Members leave. If nobody is left the answer comes when that is stored.
    pub(super) fn leave(&mut self, context: &mut Context<'_>, caller: Caller, leave: &Leave) {
        let mut left = Vec::with_capacity(leave.members.len());
        let mut why = None;
        for leaver in &leave.members {
            let result = self.leave_one(context, leaver);
            let result = result.map(|who| {
                why = Some(Why::new(RebalanceCause::Left, Some(who), leaver.reason.as_ref()));
            });
            left.push(Left { member: leaver.member.clone(), instance: leaver.instance.clone(), result });
        }
        let write = match why {
            Some(why) if !self.is_empty() => self.rebalance(context, why),
            _ => None,
        };
        match write {
            Some(id) => context.then(id, Then::Left { caller, left }),
            None => context.answer(caller, Answer::Leave(Ok(left))),
        }
    }

    /// Takes one out; what people know it by.
    fn leave_one(&mut self, context: &mut Context<'_>, leaver: &Leaver) -> Result<Arc<str>, ServiceError> {
        let member = match &leaver.instance {
            // An administrator names the instance alone.
            Some(instance) if leaver.member.is_empty() => {
                self.roster.of_instance(instance).cloned().ok_or_else(|| unknown_member(instance))?
            }
            _ if self.pending.remove(context, &leaver.member) => return Ok(leaver.member.clone()),
            instance => {
                self.roster.check(&leaver.member, instance.as_deref())?;
                leaver.member.clone()
            }
        };
        let removed = self.remove(context, &member);
        removed.map(|member| member.name()).ok_or_else(|| unknown_member(&leaver.member))
    }

    /// The timer of a member or a newcomer has run out.
    pub(super) fn member_timer_ran_out(&mut self, context: &mut Context<'_>, id: &Arc<str>) {
        if self.pending.remove(context, id) {
            // The others have waited for it.
            self.complete_join_if_all(context);
            return;
        }
        let group = self.id.clone();
        if !self.roster.get_mut(id).is_some_and(|member| member.has_expired(context, &group)) {
            return;
        }
        let who = self.roster.get(id).map(Member::name);
        self.remove(context, id);
        if !self.is_empty() {
            self.rebalance(context, Why::new(RebalanceCause::SessionTimeout, who, None));
        }
    }
}
