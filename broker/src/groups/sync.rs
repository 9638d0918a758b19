//! Dividing the work: the leader brings it, it is stored, and then everybody who asks is given theirs.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::answer::{Answer, Synced};
use super::event::{Caller, Sync};
use super::group::{Group, Phase};
use super::history::RebalanceCause;
use super::rebalance::{Why, rebalancing};
use super::record::GroupRecord;
use super::roster::unknown_member;
use super::writes::{Context, Then, not_written};
use crate::error::{Fault, ServiceError};

impl Group {
    /// A member asks for its work; the leader brings everybody's.
    pub(super) fn sync(&mut self, context: &mut Context<'_>, caller: Caller, sync: Sync) {
        if let Err(error) = self.check_sync(&sync) {
            return context.answer(caller, Answer::Sync(Err(error)));
        }
        let Some(member) = self.roster.get_mut(&sync.member) else { return };
        member.last_heard = context.now.mono;
        match self.phase {
            Phase::Empty | Phase::Joining(_) => context.answer(caller, Answer::Sync(Err(rebalancing()))),
            Phase::Stable => {
                let assignment = member.assignment.clone();
                self.has_synced(context, &sync.member);
                let synced = self.synced(assignment);
                context.answer(caller, Answer::Sync(Ok(synced)));
            }
            Phase::Dividing { is_writing } => {
                if let Some(waited) = member.syncing.replace(caller) {
                    let text = "the member has asked again since";
                    let error = ServiceError::new(Fault::RebalanceInProgress, text);
                    context.answer(waited, Answer::Sync(Err(error)));
                }
                self.has_synced(context, &sync.member);
                if self.roster.leads(&sync.member) && !is_writing {
                    self.divide(context, sync.assignments);
                }
            }
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), ServiceError> {
        if self.is_empty() {
            return Err(unknown_member(&sync.member));
        }
        self.check(&sync.member, sync.instance.as_deref(), sync.generation)?;
        let differs =
            |said: &Option<Arc<str>>, is: &Option<Arc<str>>| said.is_some() && is.is_some() && said != is;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            let text = "the group has another protocol";
            return Err(ServiceError::new(Fault::InconsistentProtocol, text));
        }
        Ok(())
    }

    /// A member has asked for its work; the last one ends the time to.
    fn has_synced(&mut self, context: &mut Context<'_>, member: &str) {
        self.unsynced.remove(member);
        if self.unsynced.is_empty() {
            context.timers.cancel(self.sync_timer.take());
        }
    }

    /// Has the work stored. Who is not named has none.
    fn divide(&mut self, context: &mut Context<'_>, assignments: Vec<(Arc<str>, Bytes)>) {
        let work: HashMap<Arc<str>, Bytes> = assignments.into_iter().collect();
        let record = self.record(|member| work.get(&member.id).cloned().unwrap_or_default());
        let size = record.value_size();
        let max = context.settings.group_bytes_max;
        if size > max {
            self.settle(&record, false);
            let text = format!("the group would take {size} bytes, and may take {max}");
            return self.not_divided(context, &ServiceError::new(Fault::MessageTooLarge, text));
        }
        self.phase = Phase::Dividing { is_writing: true };
        let then = Then::Assigned { group: self.id.clone(), generation: self.generation };
        context.write(vec![record], then);
    }

    /// The work of a generation has been stored, or has not. If the group has moved on meanwhile, nobody waits for it.
    pub(super) fn assigned(
        &mut self,
        context: &mut Context<'_>,
        generation: i32,
        records: &[GroupRecord],
        result: Result<(), ServiceError>,
    ) {
        if generation != self.generation || !matches!(self.phase, Phase::Dividing { .. }) {
            return;
        }
        if let Err(error) = result {
            return self.not_divided(context, &not_written(&error));
        }
        if let Some(GroupRecord::Group { value: Some(value), .. }) = records.first() {
            self.roster.assign(value.members.iter().map(|member| (&member.member, &member.assignment)));
        }
        self.enter(Phase::Stable, context.now.wall);
        self.end_rebalance(context.now.mono);
        self.hand_out(context);
    }

    fn hand_out(&mut self, context: &mut Context<'_>) {
        let (protocol_type, protocol) = self.protocols();
        for member in self.roster.iter_mut() {
            if let Some(caller) = member.syncing.take() {
                let assignment = member.assignment.clone();
                let synced =
                    Synced { protocol_type: protocol_type.clone(), protocol: protocol.clone(), assignment };
                context.answer(caller, Answer::Sync(Ok(synced)));
                // While it waited nothing was expected of it.
                member.expect_within(context, &self.id, member.session_timeout());
            }
        }
    }

    fn not_divided(&mut self, context: &mut Context<'_>, error: &ServiceError) {
        self.roster.forget_assignments();
        self.refuse_syncs(context, error);
        self.rebalance(context, Why::new(RebalanceCause::WriteFailed, None, None));
    }

    /// The time to ask for work is over: who has not is no member any more.
    pub(super) fn sync_timer_ran_out(&mut self, context: &mut Context<'_>) {
        self.sync_timer = None;
        let late = std::mem::take(&mut self.unsynced);
        let Some(first) = late.first() else { return };
        let who = self.roster.get(first).map(super::member::Member::name);
        for member in &late {
            self.remove(context, member);
        }
        self.rebalance(context, Why::new(RebalanceCause::SyncTimeout, who, None));
        if let Some(rebalance) = self.rebalance_mut() {
            rebalance.dropped += u32::try_from(late.len()).unwrap_or(u32::MAX);
        }
    }

    fn synced(&self, assignment: Bytes) -> Synced {
        let (protocol_type, protocol) = self.protocols();
        Synced { protocol_type, protocol, assignment }
    }

    fn protocols(&self) -> (Arc<str>, Arc<str>) {
        let or_nothing = |name: &Option<Arc<str>>| name.clone().unwrap_or_else(|| Arc::from(""));
        (or_nothing(&self.protocol_type), or_nothing(&self.protocol))
    }
}
