//! A coordinator with a clock that is set by hand, and a log that writes when it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use folio_record::Timestamp;
use folio_wire::consumer_protocol::Subscription;
use uuid::Uuid;

use super::super::answer::{Answer, Committed, FetchedOffset, Joined, NotJoined, Synced};
use super::super::coordinator::Coordinator;
use super::super::event::{
    Caller, Commit, Effect, Event, Fetch, Heartbeat, Join, Now, OffsetToCommit, Protocol, Sync, WriteId,
};
use super::super::record::GroupRecord;
use super::super::settings::GroupSettings;
use crate::error::{Fault, ServiceError};

pub(super) const GROUP: &str = "readers";

pub(super) struct Bench {
    pub(super) coordinator: Coordinator,
    pub(super) now: Now,
    /// Answers that nobody has looked at.
    answers: BTreeMap<Caller, Answer>,
    /// Writes that have not ended.
    pub(super) writes: VecDeque<(WriteId, Arc<[GroupRecord]>)>,
    /// What was written.
    pub(super) log: Vec<GroupRecord>,
    /// Whether writes end at once.
    pub(super) is_swift: bool,
    asked: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(GroupSettings::default())
    }

    pub(super) fn with(settings: GroupSettings) -> Self {
        let mut bench = Self::loading(settings);
        bench.step(Event::Loaded);
        bench
    }

    pub(super) fn loading(settings: GroupSettings) -> Self {
        Self {
            coordinator: Coordinator::new(settings),
            now: Now { mono: Instant::now(), wall: Timestamp::new(1_000_000), is_believed: true },
            answers: BTreeMap::new(),
            writes: VecDeque::new(),
            log: Vec::new(),
            is_swift: true,
            asked: 0,
        }
    }

    /// A coordinator that loads what this one has written.
    pub(super) fn restarted(&self, settings: GroupSettings) -> Self {
        let mut bench = Self::loading(settings);
        bench.now = self.now;
        bench.log = self.log.clone();
        self.log.iter().cloned().for_each(|record| bench.step(Event::Replay(record)));
        bench.step(Event::Loaded);
        bench
    }

    pub(super) fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.coordinator.step(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Answer(caller, answer) => {
                    assert!(caller.0 < self.asked, "nobody has asked");
                    assert!(self.answers.insert(caller, answer).is_none(), "answered twice");
                }
                Effect::Write { id, records } => self.writes.push_back((id, records)),
            }
        }
        if self.is_swift {
            self.write_all();
        }
    }

    pub(super) fn write_all(&mut self) {
        while self.end_write(Ok(())) {}
    }

    /// Ends the oldest write.
    pub(super) fn end_write(&mut self, result: Result<(), ServiceError>) -> bool {
        let Some((id, records)) = self.writes.pop_front() else { return false };
        if result.is_ok() {
            self.log.extend(records.iter().cloned());
        }
        self.step(Event::Written(id, result));
        true
    }

    pub(super) fn ask(&mut self, event: impl FnOnce(Caller) -> Event) -> Caller {
        let caller = Caller(self.asked);
        self.asked += 1;
        self.step(event(caller));
        caller
    }

    /// Takes the answer, if there is one by now.
    pub(super) fn answer(&mut self, caller: Caller) -> Option<Answer> {
        self.answers.remove(&caller)
    }

    /// Lets time go by; timers run out on their way.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(at) = self.coordinator.next_deadline().filter(|at| *at <= end) {
            self.set_time(at.max(self.now.mono));
            self.step(Event::Tick);
        }
        self.set_time(end);
    }

    /// Whether the clock is believed from here on.
    pub(super) fn believe(&mut self, is_believed: bool) {
        self.now.is_believed = is_believed;
    }

    fn set_time(&mut self, mono: Instant) {
        let passed = mono - self.now.mono;
        let wall = self.now.wall.get() + i64::try_from(passed.as_millis()).unwrap();
        self.now = Now { mono, wall: Timestamp::new(wall), ..self.now };
    }

    pub(super) fn join(&mut self, join: Join) -> Caller {
        self.ask(|caller| Event::Join(caller, join))
    }

    /// The answer to a join that has come to its end.
    pub(super) fn joined(&mut self, caller: Caller) -> Joined {
        self.join_answer(caller).expect("it has joined")
    }

    pub(super) fn not_joined(&mut self, caller: Caller) -> NotJoined {
        self.join_answer(caller).expect_err("it has not joined")
    }

    fn join_answer(&mut self, caller: Caller) -> Result<Joined, NotJoined> {
        match self.answer(caller) {
            Some(Answer::Join(answer)) => answer,
            other => panic!("no answer to a join: {other:?}"),
        }
    }

    pub(super) fn sync(&mut self, joined: &Joined, work: &[(&Arc<str>, &'static str)]) -> Caller {
        let assignments = work.iter().map(|(id, work)| ((*id).clone(), Bytes::from_static(work.as_bytes())));
        let sync = Sync {
            group: Arc::from(GROUP),
            member: joined.member.clone(),
            instance: None,
            generation: joined.generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        };
        self.ask(|caller| Event::Sync(caller, sync))
    }

    pub(super) fn synced(&mut self, caller: Caller) -> Result<Synced, Fault> {
        match self.answer(caller) {
            Some(Answer::Sync(answer)) => answer.map_err(|error| error.fault),
            other => panic!("no answer to a sync: {other:?}"),
        }
    }

    pub(super) fn heartbeat(&mut self, joined: &Joined) -> Result<(), Fault> {
        self.heartbeat_as(&joined.member, None, joined.generation)
    }

    pub(super) fn heartbeat_as(
        &mut self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), Fault> {
        let heartbeat = Heartbeat {
            group: Arc::from(GROUP),
            member: Arc::from(member),
            instance: instance.map(Arc::from),
            generation,
        };
        let caller = self.ask(|caller| Event::Heartbeat(caller, heartbeat));
        match self.answer(caller) {
            Some(Answer::Heartbeat(answer)) => answer.map_err(|error| error.fault),
            other => panic!("no answer to a heartbeat: {other:?}"),
        }
    }

    pub(super) fn commit(&mut self, commit: Commit) -> Caller {
        self.ask(|caller| Event::Commit(caller, commit))
    }

    pub(super) fn committed(&mut self, caller: Caller) -> Result<Vec<Result<(), Fault>>, Fault> {
        match self.answer(caller) {
            Some(Answer::Commit(answer)) => faults(answer),
            other => panic!("no answer to a commit: {other:?}"),
        }
    }

    pub(super) fn fetch(&mut self, partitions: Option<&[(&str, i32)]>) -> Vec<FetchedOffset> {
        let own = |partitions: &[(&str, i32)]| {
            partitions.iter().map(|(topic, at)| (Arc::from(*topic), *at)).collect()
        };
        let fetch = Fetch { group: Arc::from(GROUP), partitions: partitions.map(own), require_stable: false };
        let caller = self.ask(|caller| Event::Fetch(caller, fetch));
        match self.answer(caller) {
            Some(Answer::Fetch(answer)) => answer.unwrap(),
            other => panic!("no answer to a fetch: {other:?}"),
        }
    }

    /// What is stored of one partition.
    pub(super) fn offset(&mut self, topic: &str, partition: i32) -> Option<Committed> {
        self.fetch(Some(&[(topic, partition)])).remove(0).committed
    }

    /// A stable group of dynamic members, the leader first.
    pub(super) fn stable(&mut self, members: usize) -> Vec<Joined> {
        let callers: Vec<_> = (0..members).map(|_| self.join(newcomer())).collect();
        self.pass(Duration::from_secs(3) * u32::try_from(members).unwrap());
        let mut joined: Vec<_> = callers.into_iter().map(|caller| self.joined(caller)).collect();
        joined.sort_by_key(|joined| joined.members.is_empty());
        let leader = joined[0].clone();
        let work: Vec<_> = leader.members.iter().map(|member| (&member.member, "work")).collect();
        let callers: Vec<_> = joined.iter().map(|joined| self.sync(joined, &work)).collect();
        callers.into_iter().for_each(|caller| assert!(self.synced(caller).is_ok()));
        joined
    }
}

/// Of the whole, or of each part.
pub(super) fn faults(
    answer: Result<Vec<Result<(), ServiceError>>, ServiceError>,
) -> Result<Vec<Result<(), Fault>>, Fault> {
    let fault = |error: ServiceError| error.fault;
    answer.map(|parts| parts.into_iter().map(|part| part.map_err(fault)).collect()).map_err(fault)
}

/// The join of a new dynamic member, in the oldest form: it is a member at once.
pub(super) fn newcomer() -> Join {
    Join {
        group: Arc::from(GROUP),
        member: Arc::from(""),
        instance: None,
        client_id: Arc::from("app"),
        client_host: Arc::from("127.0.0.1"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: Arc::from("consumer"),
        protocols: vec![protocol("range", &["orders"])],
        reason: None,
        fresh: Uuid::new_v4(),
        member_id_required: false,
        may_skip_assignment: false,
    }
}

/// The join of a new static member.
pub(super) fn static_newcomer(instance: &str) -> Join {
    Join { instance: Some(Arc::from(instance)), ..newcomer() }
}

/// The join of a member that comes again.
pub(super) fn again(member: &str) -> Join {
    Join { member: Arc::from(member), ..newcomer() }
}

pub(super) fn protocol(name: &str, topics: &[&str]) -> Protocol {
    let subscription = Subscription { topics: topics.to_vec(), ..Subscription::default() };
    Protocol { name: Arc::from(name), metadata: subscription.encode(1).unwrap() }
}

/// A commit of somebody who is no member.
pub(super) fn simple_commit(offsets: &[(&str, i32, i64)]) -> Commit {
    let offsets = offsets.iter().map(|(topic, partition, offset)| OffsetToCommit {
        topic: Arc::from(*topic),
        topic_id: Uuid::nil(),
        partition: *partition,
        offset: *offset,
        leader_epoch: 2,
        metadata: Arc::from("note"),
    });
    Commit {
        group: Arc::from(GROUP),
        member: Arc::from(""),
        instance: None,
        generation: -1,
        retention_ms: None,
        offsets: offsets.collect(),
    }
}

pub(super) fn member_commit(joined: &Joined, offsets: &[(&str, i32, i64)]) -> Commit {
    Commit { member: joined.member.clone(), generation: joined.generation, ..simple_commit(offsets) }
}

pub(super) fn failure() -> ServiceError {
    ServiceError::new(Fault::TooBusy, "the disk is far behind")
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
