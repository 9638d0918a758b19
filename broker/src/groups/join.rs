//! Joining: newcomers, members that come again, and static members that come back under another id.

use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, Joined, NotJoined};
use super::event::{Caller, Join};
use super::group::{Group, Joining, Phase, answer_waiting};
use super::history::RebalanceCause;
use super::member::{Member, member_size, milliseconds};
use super::rebalance::{Why, overtaken};
use super::record::TEXT_MAX;
use super::settings::GroupSettings;
use super::writes::{Context, Replaced, Then, not_written};
use crate::error::{Fault, ServiceError};

/// A newcomer whose join waits is taken for gone after this long: it sends no heartbeats yet, and nobody can see
/// whether its client has given up. If it is still there, it asks again.
const NEWCOMER_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// A hyphen and a UUID.
const FRESH_SIZE: usize = 37;
/// Members of a group may say this many times as much as its record may hold: only what they say to the chosen
/// protocol goes into that.
const SAID_PER_STORED: usize = 4;

/// That a join is one that can be taken at all.
pub(super) fn check(join: &Join, settings: &GroupSettings) -> Result<(), ServiceError> {
    let session_timeout = milliseconds(join.session_timeout_ms);
    let (min, max) = (settings.session_timeout_min, settings.session_timeout_max);
    if join.session_timeout_ms < 0 || !(min..=max).contains(&session_timeout) {
        let text = format!("the session timeout is {session_timeout:?}, not between {min:?} and {max:?}");
        return Err(ServiceError::new(Fault::InvalidSessionTimeout, text));
    }
    let instance = join.instance.as_deref().unwrap_or("");
    let names = [&*join.member, &join.client_host, &join.protocol_type].into_iter();
    let names = names.chain(join.protocols.iter().map(|protocol| &*protocol.name));
    let fits = |name: &str| name.len() <= TEXT_MAX - FRESH_SIZE;
    if !names.chain([instance, &join.client_id]).all(fits) {
        return Err(ServiceError::new(Fault::InvalidRequest, "a name is longer than a record can hold"));
    }
    Ok(())
}

impl Group {
    /// Takes a join that was found to be one.
    pub(super) fn join(&mut self, context: &mut Context<'_>, caller: Caller, mut join: Join) {
        keep_first_of_each_name(&mut join);
        let told = join.member.clone();
        if !self.has_room(&join.member, context.settings.members_max) {
            self.pending.remove(context, &join.member);
            self.remove(context, &join.member);
            self.complete_join_if_all(context);
            let text = format!("the group has {} members, and may not have more", self.roster.len());
            return refuse(context, caller, &Arc::from(""), ServiceError::new(Fault::GroupFull, text));
        }
        if !self.agrees(&join) {
            let text =
                "the members of the group have another protocol type, or no protocol in common with it";
            let error = ServiceError::new(Fault::InconsistentProtocol, text);
            return refuse(context, caller, &told, error);
        }
        if let Err(error) = self.check_size(&join, context.settings) {
            return refuse(context, caller, &told, error);
        }
        self.is_going = false;
        if join.member.is_empty() {
            self.join_as_newcomer(context, caller, join);
        } else if self.pending.contains(&join.member) {
            if join.instance.is_some() {
                let text = "the id was given to a dynamic member";
                return refuse(context, caller, &told, ServiceError::new(Fault::InvalidRequest, text));
            }
            self.add(context, caller, told, join);
        } else if let Err(error) = self.roster.check(&join.member, join.instance.as_deref()) {
            refuse(context, caller, &told, error);
        } else {
            self.join_again(context, caller, &join);
        }
    }

    /// Whether there is room for whoever joins. Of members that join again, those are counted that have: so the last to
    /// come go when the limit was lowered.
    fn has_room(&self, member: &str, members_max: usize) -> bool {
        let known = self.roster.get(member);
        match self.phase {
            Phase::Empty => true,
            Phase::Joining(_) => {
                known.is_some_and(|member| member.joining.is_some()) || self.roster.joining() < members_max
            }
            Phase::Dividing { .. } | Phase::Stable => known.is_some() || self.roster.len() < members_max,
        }
    }

    fn agrees(&self, join: &Join) -> bool {
        if self.is_empty() {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        self.protocol_type.as_ref() == Some(&join.protocol_type) && self.roster.agrees(&join.protocols)
    }

    fn check_size(&self, join: &Join, settings: &GroupSettings) -> Result<(), ServiceError> {
        let instance = join.instance.as_deref();
        let more = member_size(&join.member, instance, &join.client_id, &join.protocols) + FRESH_SIZE;
        let before = self.roster.get(&join.member).map_or(0, Member::size);
        let size = self.roster.size() - before + self.pending.size() + more;
        if size <= settings.group_bytes_max.saturating_mul(SAID_PER_STORED) {
            return Ok(());
        }
        let text = format!("the members of the group would take {size} bytes");
        Err(ServiceError::new(Fault::GroupFull, text))
    }

    fn join_as_newcomer(&mut self, context: &mut Context<'_>, caller: Caller, join: Join) {
        let prefix = join.instance.as_ref().unwrap_or(&join.client_id);
        let id: Arc<str> = Arc::from(format!("{prefix}-{}", join.fresh));
        let current = join.instance.as_ref().and_then(|instance| self.roster.of_instance(instance));
        if let Some(current) = current.cloned() {
            self.replace(context, caller, &current, id, &join);
        } else if join.instance.is_none() && join.member_id_required {
            self.pending.add(context, &self.id, id.clone(), join.session_timeout_ms);
            let text = "come again with this member id";
            refuse(context, caller, &id, ServiceError::new(Fault::MemberIdRequired, text));
        } else {
            self.add(context, caller, id, join);
        }
    }

    fn add(&mut self, context: &mut Context<'_>, caller: Caller, id: Arc<str>, join: Join) {
        self.pending.remove(context, &id);
        if let Phase::Joining(Joining::First { came, .. }) = &mut self.phase {
            *came = true;
        }
        if self.roster.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        let reason = join.reason.clone();
        let mut member = Member::new(id, join, caller, context.now.mono);
        member.expect_within(context, &self.id, NEWCOMER_TIMEOUT);
        let why = Why::new(RebalanceCause::Joined, Some(member.name()), reason.as_ref());
        self.roster.add(member);
        self.rebalance(context, why);
    }

    /// A member joins again.
    fn join_again(&mut self, context: &mut Context<'_>, caller: Caller, join: &Join) {
        let id = &join.member;
        let Some(member) = self.roster.get_mut(id) else { return };
        member.last_heard = context.now.mono;
        let is_same = member.protocols == join.protocols;
        let leads = self.roster.leads(id);
        match self.phase {
            // It may have missed the answer: it is told again.
            Phase::Dividing { .. } if is_same => {
                let members = if leads { self.joined_members() } else { Vec::new() };
                let joined = self.joined(id, members, false);
                context.answer(caller, Answer::Join(Ok(joined)));
            }
            // A leader asks for a rebalance by joining: topics may have changed.
            Phase::Stable if is_same && !leads => {
                let joined = self.joined(id, Vec::new(), false);
                context.answer(caller, Answer::Join(Ok(joined)));
            }
            Phase::Empty => refuse(context, caller, id, super::roster::unknown_member(id)),
            Phase::Joining(_) | Phase::Dividing { .. } | Phase::Stable => {
                let waited = self.roster.update(id, join, caller);
                overtaken(context, waited, id);
                let who = self.roster.get(id).map(Member::name);
                self.rebalance(context, Why::new(RebalanceCause::Rejoined, who, join.reason.as_ref()));
            }
        }
    }

    /// A static member comes back under a new id; the old one is fenced.
    fn replace(&mut self, context: &mut Context<'_>, caller: Caller, old: &str, new: Arc<str>, join: &Join) {
        let leader = self.roster.leader().cloned();
        let Some(mut before) = self.roster.rename(old, new.clone()) else { return };
        before.expect_nothing(context);
        let error = ServiceError::new(Fault::FencedInstance, format!("the static member is {new:?} by now"));
        let told = before.id.clone();
        answer_waiting(context, &mut before, &told, &error);
        if self.unsynced.remove(old) {
            self.unsynced.insert(new.clone());
        }
        if let Some(member) = self.roster.get_mut(&new) {
            member.heard(context, &self.id);
        }
        self.roster.update(&new, join, caller);
        let who = self.roster.get(&new).map(Member::name);
        let why = Why::new(RebalanceCause::StaticReplaced, who, join.reason.as_ref());
        if self.phase != Phase::Stable || self.roster.choose_protocol() != self.protocol {
            self.rebalance(context, why);
            return;
        }
        // Nothing changes for the others: the work stays as it is, and the new id is stored with it.
        let record = self.record(|member| member.assignment.clone());
        let replaced = Replaced {
            group: self.id.clone(),
            caller,
            new,
            old: before,
            leader,
            may_skip_assignment: join.may_skip_assignment,
        };
        context.write(vec![record], Then::Replaced(Box::new(replaced)));
    }

    /// The new id of a static member has been stored, or has not. If a rebalance has begun meanwhile, it waits for
    /// that.
    pub(super) fn replaced(
        &mut self,
        context: &mut Context<'_>,
        replaced: Replaced,
        result: Result<(), ServiceError>,
    ) {
        let Replaced { caller, new, old, leader, may_skip_assignment, .. } = replaced;
        let waits = self.roster.get(&new).is_some_and(|member| member.joining == Some(caller));
        if !waits || self.phase != Phase::Stable {
            return;
        }
        self.roster.take_joining(&new);
        let answer = match result {
            Ok(()) => Ok(self.joined_in_place(&new, leader, may_skip_assignment)),
            Err(error) => {
                self.put_back(context, &new, old);
                Err(NotJoined { member: Arc::from(""), error: not_written(&error) })
            }
        };
        context.answer(caller, Answer::Join(answer));
    }

    /// What a static member is told that comes back and finds its work as it was. One that led, and does not understand
    /// that it need not divide the work anew, is told that its old id leads: so it leaves it as it is.
    fn joined_in_place(&self, member: &Arc<str>, leader: Option<Arc<str>>, may_skip: bool) -> Joined {
        let leads = may_skip && self.roster.leads(member);
        let members = if leads { self.joined_members() } else { Vec::new() };
        let mut joined = self.joined(member, members, leads);
        if !may_skip {
            joined.leader = leader.unwrap_or_else(|| Arc::from(""));
        }
        joined
    }

    fn put_back(&mut self, context: &mut Context<'_>, new: &Arc<str>, old: Member) {
        if let Some(member) = self.roster.get_mut(new) {
            member.expect_nothing(context);
        }
        let id = old.id.clone();
        self.roster.restore(new, old);
        if let Some(member) = self.roster.get_mut(&id) {
            member.expect_within(context, &self.id, member.session_timeout());
        }
    }
}

fn refuse(context: &mut Context<'_>, caller: Caller, member: &Arc<str>, error: ServiceError) {
    context.answer(caller, Answer::Join(Err(NotJoined { member: member.clone(), error })));
}

/// A protocol that is named twice counts once, as it was named first.
fn keep_first_of_each_name(join: &mut Join) {
    let mut seen = std::collections::HashSet::new();
    join.protocols.retain(|protocol| seen.insert(protocol.name.clone()));
}
