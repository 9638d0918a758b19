//! The members of a group: who they are, who leads, and which protocols all of them know.
//!
//! Invariants: an instance id belongs to one member at most; while there are members, one of them leads, and there is a
//! protocol that all know (every change of a member keeps one that all others know).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::event::{Caller, Join, Protocol};
use super::member::{Member, rebalance_timeout};
use crate::error::{Fault, ServiceError};

/// The members of a group.
#[derive(Debug, Default)]
pub(super) struct Roster {
    members: BTreeMap<Arc<str>, Member>,
    /// Member ids by instance id.
    instances: HashMap<Arc<str>, Arc<str>>,
    /// How many members know a protocol.
    known: HashMap<Arc<str>, usize>,
    leader: Option<Arc<str>>,
    /// How many wait for the others to join.
    joining: usize,
    /// Bytes that they take.
    size: usize,
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// How many joins are waiting.
    pub(super) fn joining(&self) -> usize {
        self.joining
    }

    pub(super) fn get(&self, member: &str) -> Option<&Member> {
        self.members.get(member)
    }

    /// A member, to change what is not counted here: its timer, its sync, whether it is new.
    pub(super) fn get_mut(&mut self, member: &str) -> Option<&mut Member> {
        self.members.get_mut(member)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// All, to change what is not counted here.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut()
    }

    pub(super) fn leader(&self) -> Option<&Arc<str>> {
        self.leader.as_ref()
    }

    pub(super) fn leads(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// Takes over the leader of a stored group, if it is a member.
    pub(super) fn set_leader(&mut self, member: Option<Arc<str>>) {
        if let Some(leader) = member.filter(|leader| self.members.contains_key(leader)) {
            self.leader = Some(leader);
        }
    }

    /// The member that an instance id stands for.
    pub(super) fn of_instance(&self, instance: &str) -> Option<&Arc<str>> {
        self.instances.get(instance)
    }

    /// The longest time that a member asks for to come again.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.iter().map(Member::rebalance_timeout).max().unwrap_or_default()
    }

    /// That there is such a member, and that nobody else goes by its instance id.
    pub(super) fn check(&self, member: &str, instance: Option<&str>) -> Result<(), ServiceError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(unknown_member(instance)),
                Some(current) if **current != *member => {
                    let text = format!("{instance:?} is the member {current:?} by now, not {member:?}");
                    return Err(ServiceError::new(Fault::FencedInstance, text));
                }
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(unknown_member(member)) }
    }

    /// Whether somebody who knows these protocols could be a member beside those that there are.
    pub(super) fn agrees(&self, protocols: &[Protocol]) -> bool {
        protocols.iter().any(|protocol| self.known.get(&protocol.name).copied().unwrap_or(0) == self.len())
    }

    pub(super) fn add(&mut self, member: Member) {
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.count(&member);
        // A damaged record may name a member twice.
        if let Some(twin) = self.members.insert(member.id.clone(), member) {
            self.discount(&twin);
        }
    }

    /// Takes a member out; if it led, another one does.
    pub(super) fn remove(&mut self, member: &str) -> Option<Member> {
        let removed = self.members.remove(member)?;
        self.discount(&removed);
        if let Some(instance) = &removed.instance {
            self.instances.remove(instance);
        }
        if self.leads(member) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(removed)
    }

    /// Gives a static member another id. What waits under the old one is handed back with it.
    pub(super) fn rename(&mut self, old: &str, new: Arc<str>) -> Option<Member> {
        let before = self.members.remove(old)?;
        self.discount(&before);
        if self.leads(old) {
            self.leader = Some(new.clone());
        }
        self.add(before.renamed(new));
        Some(before)
    }

    /// Puts a static member back as it was before it was renamed; nothing of it waits.
    pub(super) fn restore(&mut self, new: &str, old: Member) {
        let led = self.leads(new);
        if let Some(renamed) = self.members.remove(new) {
            self.discount(&renamed);
            if led {
                self.leader = Some(old.id.clone());
            }
            self.add(old);
        }
    }

    /// A member has joined again, and waits. Whoever waited before in its name is handed back.
    pub(super) fn update(&mut self, member: &str, join: &Join, caller: Caller) -> Option<Caller> {
        let mut updated = self.members.remove(member)?;
        self.discount(&updated);
        updated.protocols.clone_from(&join.protocols);
        updated.session_timeout_ms = join.session_timeout_ms;
        updated.rebalance_timeout_ms = rebalance_timeout(join.rebalance_timeout_ms, join.session_timeout_ms);
        updated.client_id = join.client_id.clone();
        updated.client_host = join.client_host.clone();
        let waited = updated.joining.replace(caller);
        self.count(&updated);
        self.members.insert(updated.id.clone(), updated);
        waited
    }

    /// Ends the waiting of a member's join.
    pub(super) fn take_joining(&mut self, member: &str) -> Option<Caller> {
        let caller = self.members.get_mut(member)?.joining.take()?;
        self.joining -= 1;
        Some(caller)
    }

    /// Hands out work: by member id, nothing to whom is not named.
    pub(super) fn assign<'a>(&mut self, work: impl Iterator<Item = (&'a Arc<str>, &'a bytes::Bytes)>) {
        self.forget_assignments();
        for (member, assignment) in work {
            if let Some(member) = self.members.get_mut(member) {
                self.size += assignment.len();
                member.assignment = assignment.clone();
            }
        }
    }

    /// Nobody has work any more.
    pub(super) fn forget_assignments(&mut self) {
        for member in self.members.values_mut() {
            self.size -= member.assignment.len();
            member.assignment = bytes::Bytes::new();
        }
    }

    /// Lets somebody lead who has joined, if the leader has not. Whether one leads who has.
    pub(super) fn elect(&mut self) -> bool {
        let has_joined = |member: &&Member| member.joining.is_some();
        if self.leader.as_ref().and_then(|leader| self.members.get(leader)).filter(has_joined).is_some() {
            return true;
        }
        let elected = self.members.values().find(has_joined).map(|member| member.id.clone());
        let is_elected = elected.is_some();
        if is_elected {
            self.leader = elected;
        }
        is_elected
    }

    /// The protocol that most members like best of those that all know; where votes are even, the leader's choice.
    pub(super) fn choose_protocol(&self) -> Option<Arc<str>> {
        let all_know = |name: &Arc<str>| self.known.get(name) == Some(&self.len());
        let mut votes: HashMap<&Arc<str>, usize> = HashMap::new();
        for member in self.iter() {
            let names = member.protocols.iter().map(|protocol| &protocol.name);
            if let Some(vote) = names.into_iter().find(|name| all_know(name)) {
                *votes.entry(vote).or_default() += 1;
            }
        }
        let most = votes.values().max().copied()?;
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader))?;
        let liked = leader.protocols.iter().map(|protocol| &protocol.name);
        let mut ordered = liked.chain(votes.keys().copied().collect::<std::collections::BTreeSet<_>>());
        ordered.find(|name| votes.get(*name) == Some(&most)).cloned()
    }

    fn count(&mut self, member: &Member) {
        for protocol in &member.protocols {
            *self.known.entry(protocol.name.clone()).or_default() += 1;
        }
        self.joining += usize::from(member.joining.is_some());
        self.size += member.size();
    }

    fn discount(&mut self, member: &Member) {
        for protocol in &member.protocols {
            if let Some(known) = self.known.get_mut(&protocol.name) {
                *known -= 1;
                if *known == 0 {
                    self.known.remove(&protocol.name);
                }
            }
        }
        self.joining -= usize::from(member.joining.is_some());
        self.size -= member.size();
    }
}

/// Nobody of that name is a member.
pub(super) fn unknown_member(member: &str) -> ServiceError {
    ServiceError::new(Fault::UnknownMember, format!("{member:?} is no member of the group"))
}
