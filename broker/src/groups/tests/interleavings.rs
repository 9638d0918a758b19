//! Random interleavings: clients that join, leave, die, come back and commit, while writes are slow, fail, or are cut
//! off by a crash. What must hold is looked at after every step.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::super::answer::{Answer, DescribedGroup, GroupState, Joined, NotJoined, Synced};
use super::super::event::{
    Caller, Delete, Describe, Event, Heartbeat, Join, Leave, Leaver, OffsetDelete, Sync,
};
use super::super::record::GroupRecord;
use super::super::settings::GroupSettings;
use super::bench::*;
use crate::error::{Fault, ServiceError};

const CLIENTS: usize = 6;
/// The last clients have instance ids.
const DYNAMIC: usize = 3;
const PARTITIONS: u8 = 8;
const REBALANCE_TIMEOUT: Duration = seconds(20);

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A client does what comes next in its life.
    Act(usize),
    /// A client is gone without a word.
    Die(usize),
    Leave(usize),
    Commit(usize),
    /// A client says again what it said in an earlier generation.
    Haunt(usize),
    /// A client joins again on another connection, maybe with another subscription.
    Rejoin(usize, bool),
    SimpleCommit,
    Delete,
    DeleteOffset,
    DeleteTopic,
    Pass(u16),
    /// Some writes end, well or badly.
    Write(u8, bool),
    /// The broker dies; writes on their way are lost.
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    prop_oneof![
        20 => client.clone().prop_map(Op::Act),
        2 => client.clone().prop_map(Op::Die),
        2 => client.clone().prop_map(Op::Leave),
        4 => client.clone().prop_map(Op::Commit),
        2 => client.clone().prop_map(Op::Haunt),
        2 => (client, any::<bool>()).prop_map(|(client, changed)| Op::Rejoin(client, changed)),
        1 => Just(Op::SimpleCommit),
        1 => Just(Op::Delete),
        1 => Just(Op::DeleteOffset),
        1 => Just(Op::DeleteTopic),
        8 => (0u16..8_000).prop_map(Op::Pass),
        1 => (8_000u16..60_000).prop_map(Op::Pass),
        8 => (1u8..4, prop::bool::weighted(0.9)).prop_map(|(count, well)| Op::Write(count, well)),
        1 => Just(Op::Crash),
    ]
}

/// A consumer, as it sees itself.
#[derive(Clone, Debug, Default)]
struct Client {
    member: Option<Arc<str>>,
    joined: Option<Joined>,
    /// It has its work.
    is_stable: bool,
    waits: bool,
    /// Generations that it was in, under the ids that it had.
    past: Vec<(Arc<str>, i32)>,
    takes_bills: bool,
}

/// What an answer is waited for.
#[derive(Clone, Debug)]
enum Wait {
    Join(usize),
    Sync(usize),
    Commit { client: Option<usize>, offset: i64 },
    Delete,
    Other,
}

struct World {
    bench: Bench,
    clients: Vec<Client>,
    waits: BTreeMap<Caller, (Wait, Instant)>,
    /// Who was given a partition in a generation: the instance, or the member id.
    owners: HashMap<(i32, u8), Arc<str>>,
    next_offset: i64,
    /// A group's record was lost since the last one that was written.
    is_behind: bool,
}

impl World {
    fn new() -> Self {
        let settings = GroupSettings { offsets_retention: seconds(3_600), ..GroupSettings::default() };
        let mut bench = Bench::with(settings);
        bench.is_swift = false;
        let clients = vec![Client::default(); CLIENTS];
        let waits = BTreeMap::new();
        Self { bench, clients, waits, owners: HashMap::new(), next_offset: 0, is_behind: false }
    }

    fn settings() -> GroupSettings {
        GroupSettings { offsets_retention: seconds(3_600), ..GroupSettings::default() }
    }

    fn instance(client: usize) -> Option<Arc<str>> {
        (client >= DYNAMIC).then(|| Arc::from(format!("static-{client}")))
    }

    fn ask(&mut self, wait: Wait, event: impl FnOnce(Caller) -> Event) {
        if let Wait::Join(client) | Wait::Sync(client) = wait {
            self.clients[client].waits = true;
        }
        let asked = self.bench.now.mono;
        let caller = self.bench.ask(event);
        self.waits.insert(caller, (wait, asked));
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Act(client) => self.act(client),
            Op::Die(client) => self.clients[client] = Client::default(),
            Op::Leave(client) => self.leave(client),
            Op::Commit(client) => self.commit(client),
            Op::Haunt(client) => self.haunt(client),
            Op::Rejoin(client, changed) => {
                self.clients[client].takes_bills ^= changed;
                self.join(client);
            }
            Op::SimpleCommit => {
                self.next_offset += 1;
                let offset = self.next_offset;
                let commit = simple_commit(&[("orders", 0, offset)]);
                self.ask(Wait::Commit { client: None, offset }, |caller| Event::Commit(caller, commit));
            }
            Op::Delete => {
                let delete = Delete { group: Arc::from(GROUP) };
                self.ask(Wait::Delete, |caller| Event::Delete(caller, delete));
            }
            Op::DeleteOffset => {
                let partitions = vec![(Arc::from("orders"), 0), (Arc::from("bills"), 0)];
                let delete = OffsetDelete { group: Arc::from(GROUP), partitions };
                self.ask(Wait::Other, |caller| Event::OffsetDelete(caller, delete));
            }
            Op::DeleteTopic => self.bench.step(Event::TopicDeleted(Arc::from("orders"))),
            Op::Pass(ms) => self.bench.pass(Duration::from_millis(u64::from(ms))),
            Op::Write(count, well) => (0..count).for_each(|_| self.end_write(well)),
            Op::Crash => self.crash(),
        }
        self.read_answers();
        self.check();
    }

    fn end_write(&mut self, well: bool) {
        let Some((_, records)) = self.bench.writes.front() else { return };
        for record in records.clone().iter() {
            if let GroupRecord::Group { value, .. } = record {
                self.is_behind = !well;
                if value.is_none() && well {
                    self.owners.clear();
                }
            }
        }
        let result = if well { Ok(()) } else { Err(failure()) };
        self.bench.end_write(result);
    }

    fn crash(&mut self) {
        self.bench = self.bench.restarted(Self::settings());
        self.bench.is_swift = false;
        self.waits.clear();
        self.is_behind = false;
        for client in &mut self.clients {
            client.waits = false;
            client.is_stable &= client.joined.is_some();
        }
    }

    fn act(&mut self, client: usize) {
        let state = &self.clients[client];
        if state.waits {
            return;
        }
        match (&state.joined, state.is_stable) {
            (None, _) => self.join(client),
            (Some(_), false) => self.sync(client),
            (Some(joined), true) => {
                let (member, generation) = (joined.member.clone(), joined.generation);
                let instance = Self::instance(client);
                match self.bench.heartbeat_as(&member, instance.as_deref(), generation) {
                    Ok(()) => {}
                    Err(fault) => self.told(client, fault),
                }
            }
        }
    }

    /// A client learns why it is not what it took itself for.
    fn told(&mut self, client: usize, fault: Fault) {
        let state = &mut self.clients[client];
        state.joined = None;
        state.is_stable = false;
        match fault {
            Fault::RebalanceInProgress | Fault::CoordinatorNotAvailable | Fault::IllegalGeneration => {}
            Fault::UnknownMember | Fault::FencedInstance => state.member = None,
            other => panic!("nobody should be told {other:?}"),
        }
    }

    fn join(&mut self, client: usize) {
        let state = &self.clients[client];
        let topics: &[&str] = if state.takes_bills { &["orders", "bills"] } else { &["orders"] };
        let join = Join {
            member: state.member.clone().unwrap_or_else(|| Arc::from("")),
            instance: Self::instance(client),
            rebalance_timeout_ms: 20_000,
            protocols: vec![protocol("range", topics)],
            member_id_required: client.is_multiple_of(2),
            may_skip_assignment: client == DYNAMIC,
            ..newcomer()
        };
        self.ask(Wait::Join(client), |caller| Event::Join(caller, join));
    }

    fn sync(&mut self, client: usize) {
        let Some(joined) = self.clients[client].joined.clone() else { return };
        let members = joined.members.len().max(1);
        let work = |at: usize| (0..PARTITIONS).filter(move |number| usize::from(*number) % members == at);
        let assignments = joined.members.iter().enumerate();
        let assignments =
            assignments.map(|(at, member)| (member.member.clone(), work(at).collect::<Bytes>()));
        let sync = Sync {
            group: Arc::from(GROUP),
            member: joined.member.clone(),
            instance: Self::instance(client),
            generation: joined.generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        };
        self.ask(Wait::Sync(client), |caller| Event::Sync(caller, sync));
    }

    fn leave(&mut self, client: usize) {
        let Some(member) = self.clients[client].member.clone() else { return };
        let leaver = Leaver { member, instance: Self::instance(client), reason: None };
        let leave = Leave { group: Arc::from(GROUP), members: vec![leaver] };
        self.clients[client] = Client::default();
        self.ask(Wait::Other, |caller| Event::Leave(caller, leave));
    }

    fn commit(&mut self, client: usize) {
        let Some(joined) = self.clients[client].joined.clone() else { return };
        self.next_offset += 1;
        let offset = self.next_offset;
        let mut commit = member_commit(&joined, &[("orders", i32::try_from(client).unwrap(), offset)]);
        commit.instance = Self::instance(client);
        self.ask(Wait::Commit { client: Some(client), offset }, |caller| Event::Commit(caller, commit));
    }

    /// Nobody is listened to in a generation that is gone.
    fn haunt(&mut self, client: usize) {
        let Some((member, generation)) = self.clients[client].past.last().cloned() else { return };
        let Some(current) = self.described() else { return };
        let is_current = current.generation == generation
            && current.members.iter().any(|described| described.member == member);
        if is_current {
            return;
        }
        let heartbeat = Heartbeat {
            group: Arc::from(GROUP),
            member: member.clone(),
            instance: Self::instance(client),
            generation,
        };
        let caller = self.bench.ask(|caller| Event::Heartbeat(caller, heartbeat));
        let answer = self.bench.answer(caller);
        assert!(matches!(answer, Some(Answer::Heartbeat(Err(_)))), "{answer:?}");
        let mut commit = simple_commit(&[("orders", 0, -5)]);
        (commit.member, commit.generation) = (member, generation);
        commit.instance = Self::instance(client);
        let caller = self.bench.commit(commit);
        assert!(self.bench.committed(caller).is_err());
    }

    fn described(&mut self) -> Option<DescribedGroup> {
        described(&mut self.bench)
    }

    fn read_answers(&mut self) {
        let callers: Vec<_> = self.waits.keys().copied().collect();
        for caller in callers {
            let Some(answer) = self.bench.answer(caller) else { continue };
            let Some((wait, _)) = self.waits.remove(&caller) else { continue };
            match (wait, answer) {
                (Wait::Join(client), Answer::Join(answer)) => self.joined(client, caller, answer),
                (Wait::Sync(client), Answer::Sync(answer)) => self.synced(client, answer),
                (Wait::Commit { client, offset }, Answer::Commit(answer)) => {
                    self.committed(client, offset, &answer);
                }
                (Wait::Delete, Answer::Delete(_)) | (Wait::Other, _) => {}
                (wait, answer) => panic!("{wait:?} was answered with {answer:?}"),
            }
        }
    }

    /// Whether a later join or sync of the same client is under way, or it has died since.
    fn is_stale(&self, client: usize) -> bool {
        let is_newer =
            |(wait, _): &(Wait, Instant)| matches!(wait, Wait::Join(of) | Wait::Sync(of) if *of == client);
        !self.clients[client].waits || self.waits.values().any(is_newer)
    }

    fn joined(&mut self, client: usize, _: Caller, answer: Result<Joined, NotJoined>) {
        if self.is_stale(client) {
            return;
        }
        self.clients[client].waits = false;
        match answer {
            Ok(joined) => {
                let state = &mut self.clients[client];
                state.member = Some(joined.member.clone());
                state.past.push((joined.member.clone(), joined.generation));
                state.joined = Some(joined);
                state.is_stable = false;
            }
            Err(refused) if refused.error.fault == Fault::MemberIdRequired => {
                self.clients[client].member = Some(refused.member);
            }
            Err(refused) => self.told(client, refused.error.fault),
        }
    }

    fn synced(&mut self, client: usize, answer: Result<Synced, ServiceError>) {
        let is_stale = self.is_stale(client);
        let Some(joined) = self.clients[client].joined.clone().filter(|_| !is_stale) else { return };
        self.clients[client].waits = false;
        match answer {
            Ok(synced) => {
                let owner = Self::instance(client).unwrap_or(joined.member);
                for partition in &synced.assignment {
                    let given = self.owners.entry((joined.generation, *partition)).or_insert(owner.clone());
                    assert_eq!(*given, owner, "partition {partition} in generation {}", joined.generation);
                }
                self.clients[client].is_stable = true;
            }
            Err(error) => self.told(client, error.fault),
        }
    }

    fn committed(
        &mut self,
        client: Option<usize>,
        offset: i64,
        answer: &Result<Vec<Result<(), ServiceError>>, ServiceError>,
    ) {
        let is_it = |record: &GroupRecord| matches!(record, GroupRecord::Offset { committed: Some(committed), .. } if committed.offset == offset);
        let is_written = self.bench.log.iter().any(is_it);
        assert_eq!(answer.is_ok(), is_written, "a commit that is said to be stored is, and no other");
        if let (Some(client), Err(error)) = (client, answer)
            && error.fault != Fault::CoordinatorNotAvailable
            && error.fault != Fault::UnknownGroup
            && !self.clients[client].waits
        {
            self.told(client, error.fault);
        }
    }

    fn check(&mut self) {
        self.check_offsets();
        self.check_waits();
        if self.bench.writes.is_empty() && !self.is_behind {
            self.check_replay();
        }
    }

    /// What is fetched is what the log says.
    fn check_offsets(&mut self) {
        let mut stored = BTreeMap::new();
        for record in &self.bench.log {
            let GroupRecord::Offset { topic, partition, committed, .. } = record else { continue };
            match committed {
                Some(committed) => stored.insert((topic.clone(), *partition), committed.offset),
                None => stored.remove(&(topic.clone(), *partition)),
            };
        }
        let fetched = self.bench.fetch(None).into_iter();
        let fetched: BTreeMap<_, _> = fetched
            .map(|fetched| ((fetched.topic, fetched.partition), fetched.committed.unwrap().offset))
            .collect();
        assert_eq!(fetched, stored);
    }

    /// Nobody waits for longer than the rebalance timeout, unless for a write.
    fn check_waits(&self) {
        if !self.bench.writes.is_empty() {
            return;
        }
        for (wait, asked) in self.waits.values() {
            assert!(
                matches!(wait, Wait::Join(_) | Wait::Sync(_)),
                "{wait:?} waits for a write that has ended"
            );
            assert!(self.bench.now.mono - *asked <= REBALANCE_TIMEOUT, "{wait:?} is forgotten");
        }
    }

    /// What a restart makes of the log is what there is.
    fn check_replay(&mut self) {
        let Some(live) = self.described() else { return };
        if !matches!(live.state, GroupState::Empty | GroupState::Stable) {
            return;
        }
        let told = |group: &DescribedGroup| {
            let members = group.members.iter();
            let members: Vec<_> =
                members.map(|member| (member.member.clone(), member.assignment.clone())).collect();
            (group.state, group.generation, group.protocol_type.clone(), group.leader.clone(), members)
        };
        match described(&mut self.bench.restarted(Self::settings())) {
            Some(replayed) => assert_eq!(told(&replayed), told(&live)),
            None => assert!(live.members.is_empty() && self.bench.fetch(None).is_empty()),
        }
    }

    /// All clients are gone, and time passes: nothing is left, and nobody was forgotten.
    fn end(&mut self) {
        while !self.bench.writes.is_empty() {
            self.end_write(true);
        }
        self.bench.is_swift = true;
        self.bench.pass(seconds(900));
        self.read_answers();
        assert!(self.waits.is_empty(), "never answered: {:?}", self.waits);
        self.bench.pass(seconds(3 * 3_600));
        assert_eq!(self.bench.coordinator.group_count(), 0);
        assert_eq!(self.bench.coordinator.timer_count(), 1, "the one that looks for what has expired");
    }
}

fn described(bench: &mut Bench) -> Option<DescribedGroup> {
    let caller = bench.ask(|caller| Event::Describe(caller, Describe { group: Arc::from(GROUP) }));
    match bench.answer(caller) {
        Some(Answer::Describe(answer)) => answer.ok(),
        other => panic!("no answer to a question: {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_happens_what_a_group_promises_holds(ops in prop::collection::vec(op(), 1..160)) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        world.end();
    }
}
