//! A member without a broker, a clock or an application: each is what a test says.

use crate::group::assignor::assignment;
use crate::group::member::*;
use crate::protocol::groups::{Joined, JoinedMember};
use crate::{ConsumerConfig, Refusal, TopicId, TopicMetadata};

/// A member, the clock, and the application with what it has.
pub(super) struct Rig {
    pub(super) member: Member,
    pub(super) shared: Arc<Shared>,
    pub(super) now: Instant,
    pub(super) asks: Vec<Ask>,
    pub(super) has: Vec<TopicPartition>,
}

pub(super) const SESSION: Duration = Duration::from_secs(10);
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);
pub(super) const POLL: Duration = Duration::from_secs(60);

pub(super) fn config() -> GroupConfig {
    GroupConfig::new("g")
        .session_timeout(SESSION)
        .heartbeat_interval(HEARTBEAT)
        .max_poll_interval(POLL)
        .topics_interval(Duration::from_secs(30))
}

pub(super) fn cooperative() -> GroupConfig {
    config().assignors([Assignor::CooperativeSticky])
}

pub(super) fn refused(code: ErrorCode) -> CallError {
    CallError::Refused(Refusal { code, message: "".into() })
}

pub(super) fn parts(numbers: impl IntoIterator<Item = u32>) -> Vec<TopicPartition> {
    numbers.into_iter().map(|number| TopicPartition::new("t", number)).collect()
}

pub(super) fn metadata(partitions: usize) -> ClusterMetadata {
    let topic = TopicMetadata { name: "t".into(), id: TopicId([0; 16]), leader_epochs: vec![0; partitions] };
    ClusterMetadata { cluster_id: [0; 16], topics: vec![Ok(topic)] }
}

impl Rig {
    pub(super) fn new(config: GroupConfig) -> Self {
        let shared = Arc::new(Shared::new(1, ConsumerConfig::new().group(config.clone())));
        let backoff = Backoff { first: Duration::from_millis(10), most: Duration::from_millis(100) };
        let member = Member::new(Arc::clone(&shared), config, backoff);
        let mut rig = Self { member, shared, now: Instant::now(), asks: Vec::new(), has: Vec::new() };
        rig.step(Input::Subscribe(vec!["t".into()]));
        rig
    }

    /// One that is stable and has these.
    pub(super) fn stable(config: GroupConfig, numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut rig = Self::new(config);
        rig.enter();
        rig.follow(1, &parts(numbers));
        rig
    }

    pub(super) fn step(&mut self, input: Input) {
        self.member.step(input, self.now, &mut self.asks);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.member.turn(self.now, &mut self.asks);
    }

    /// The next thing that was asked.
    pub(super) fn next(&mut self) -> Ask {
        assert!(!self.asks.is_empty(), "nothing is asked");
        self.asks.remove(0)
    }

    pub(super) fn join(&mut self) -> (u64, Join) {
        match self.next() {
            Ask::Join(round, join) => (round, join),
            other => panic!("{}", name(&other)),
        }
    }

    /// Is given an id, and comes again with it.
    pub(super) fn enter(&mut self) {
        let (round, join) = self.join();
        assert_eq!((&*join.who.member, join.who.generation), ("", -1));
        self.step(Input::Joined(round, Ok(JoinOutcome::ComeAgain("m".into()))));
    }

    pub(super) fn joined(&mut self, generation: i32, members: Option<Vec<JoinedMember>>) {
        let (round, join) = self.join();
        assert_eq!(&*join.who.member, "m");
        let protocol = self.member.config.assignors[0].name().to_owned();
        let joined = Joined {
            member: "m".into(),
            generation,
            protocol,
            is_leader: members.is_some(),
            skip_assignment: false,
            members: members.unwrap_or_default(),
        };
        self.step(Input::Joined(round, Ok(JoinOutcome::Joined(joined))));
    }

    pub(super) fn synced(&mut self, partitions: &[TopicPartition]) {
        let Ask::Sync { round, .. } = self.next() else { panic!("no sync") };
        self.step(Input::Synced(round, Ok(assignment(partitions).to_vec())));
    }

    /// The broker says where the group is in what is new: nowhere.
    pub(super) fn located(&mut self) {
        let Ask::Locate(round, new) = self.next() else { panic!("not asked where") };
        self.step(Input::Located(round, Ok(vec![None; new.len()])));
    }

    /// A round as one that does not lead, until the application has these.
    pub(super) fn follow(&mut self, generation: i32, partitions: &[TopicPartition]) {
        self.joined(generation, None);
        self.synced(partitions);
        if partitions.iter().any(|partition| !self.has.contains(partition)) {
            self.located();
        }
        assert_eq!(self.takes(), partitions);
    }

    pub(super) fn event(&mut self) -> Option<Event> {
        self.shared.lock().desk.take()
    }

    /// The application polls, and takes what it gets.
    pub(super) fn takes(&mut self) -> Vec<TopicPartition> {
        let Some(Event::Take { partitions }) = self.event() else { panic!("nothing to take") };
        self.has = partitions.into_iter().map(|(partition, _)| partition).collect();
        self.step(Input::Seen { owned: self.has.clone() });
        self.has.clone()
    }

    /// The application polls, and gives everything up.
    pub(super) fn gives_up(&mut self) {
        let Some(Event::GiveUp { everything: true }) = self.event() else { panic!("nothing to give up") };
        self.has.clear();
        self.step(Input::Seen { owned: Vec::new() });
    }

    pub(super) fn loses(&mut self) {
        let Some(Event::Lost) = self.event() else { panic!("nothing is lost") };
        self.has.clear();
        self.step(Input::Seen { owned: Vec::new() });
    }

    /// A heartbeat is due, and is answered so.
    pub(super) fn heartbeat(&mut self, answer: Result<(), CallError>) {
        self.pass(HEARTBEAT);
        let Ask::Heartbeat(round, _) = self.next() else { panic!("no heartbeat") };
        self.step(Input::Heard(round, answer));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.asks.is_empty() && !self.shared.lock().desk.is_waiting()
    }
}

pub(super) fn name(ask: &Ask) -> &'static str {
    match ask {
        Ask::Join(..) => "join",
        Ask::Topics(..) => "topics",
        Ask::Sync { .. } => "sync",
        Ask::Locate(..) => "locate",
        Ask::Heartbeat(..) => "heartbeat",
        Ask::Watch(..) => "watch",
        Ask::Commit { .. } => "commit",
        Ask::Leave { .. } => "leave",
    }
}
