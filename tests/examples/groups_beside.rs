//! Random sequences of what members ask for, at two brokers at once, which must answer alike:
//!
//! ```sh
//! cargo run -p folio-tests --example groups_beside -- FOLIO KAFKA [SEQUENCES [FIRST]]
//! ```
//!
//! Both are `HOST:PORT`, of brokers with `group.initial.rebalance.delay.ms = 0` that make topics by themselves. A
//! sequence is drawn from its number, so one that told a difference can be run again alone. It ends with 1 when there
//! was one.
//!
//! What differs on purpose is kept out: a group is asked for only while it has had a member, since here nothing is left
//! of one that nobody came to; nobody leaves whose sync is waiting, since there it is never answered; and a sequence
//! ends where another member leads, since Kafka takes any and Folio the first.

#![allow(clippy::unwrap_used, reason = "it stops at whatever it did not expect")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use folio_tests::kafka::KafkaPeer;
use folio_tests::kafka::groups::{
    JOIN, Joined, Member, SYNC, commit, commit_codes, delete, read_synced, stored,
};
use folio_wire::consumer_protocol::Subscription;
use folio_wire::kafka::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use folio_wire::kafka::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use folio_wire::kafka::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use folio_wire::kafka::{ApiKey, KafkaError};

const CLIENTS: usize = 5;
/// The clients from here on have instance ids.
const FIRST_STATIC: usize = 3;
const STEPS: usize = 70;
/// A join of this version needs no id.
const OLD_JOIN: i16 = 3;
/// Answers that would come at once have come by then.
const QUIET: Duration = Duration::from_millis(60);
/// One broker may be so much later than the other.
const LAG_MAX: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folio, kafka, rest @ ..] = &arguments[..] else {
        eprintln!("groups_beside FOLIO KAFKA [SEQUENCES [FIRST]]");
        return ExitCode::from(2);
    };
    let number = |at: usize, default| rest.get(at).map_or(default, |text| text.parse().unwrap());
    let (count, first) = (number(0, 20), number(1, 1));
    [folio, kafka].into_iter().for_each(|address| prepare(address));
    let differ = (first..first + count).filter(|seed| !is_alike(folio, kafka, *seed)).count();
    println!("{count} sequences, {differ} with a difference");
    ExitCode::from(u8::from(differ > 0))
}

/// Makes the topics, and waits for the one of groups.
fn prepare(address: &str) {
    let mut peer = KafkaPeer::connect(address);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        ["t", "u"].into_iter().for_each(|topic| drop(peer.metadata(topic)));
        let request =
            FindCoordinatorRequest { coordinator_keys: vec!["any"], ..FindCoordinatorRequest::default() };
        let answer = peer.call(4, &request);
        let found = answer.message::<FindCoordinatorResponse<'_>>().coordinators[0].error_code;
        let offset = stored(&mut peer, "any", "t", &[0]).remove(0);
        if found == KafkaError::NONE && offset.error == KafkaError::NONE {
            return;
        }
        assert!(Instant::now() < deadline, "{address} has no groups: {found}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What is asked for next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Anew, or under the id that it has; what it says differs by `says`.
    Join {
        client: usize,
        anew: bool,
        says: u64,
        version: i16,
    },
    JoinAll,
    Sync(usize),
    SyncAll,
    Heartbeat {
        client: usize,
        earlier: i32,
    },
    Leave {
        client: usize,
        by_instance: bool,
    },
    Commit {
        client: usize,
        earlier: i32,
    },
    CommitAsNobody,
    Describe,
    Delete,
    OffsetDelete,
    Fetch,
}

/// Numbers that follow from a seed (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % bound
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn step(&mut self) -> Step {
        let client = self.below(CLIENTS);
        match self.below(40) {
            0..=9 => Step::Join {
                client,
                anew: self.one_in(6),
                says: if self.one_in(4) { self.below(5) as u64 } else { 0 },
                version: if self.one_in(5) && client < FIRST_STATIC { OLD_JOIN } else { JOIN },
            },
            10..=13 => Step::JoinAll,
            14..=20 => Step::SyncAll,
            21 => Step::Sync(client),
            22..=24 => Step::Heartbeat { client, earlier: i32::from(self.one_in(5)) },
            25..=26 => Step::Leave { client, by_instance: false },
            27 => Step::Leave { client, by_instance: true },
            28..=29 => Step::Commit { client, earlier: i32::from(self.one_in(4)) },
            30 => Step::CommitAsNobody,
            31..=34 => Step::Describe,
            35 => Step::Delete,
            36 => Step::OffsetDelete,
            _ => Step::Fetch,
        }
    }
}

/// Runs a sequence, and tells the first difference.
fn is_alike(folio: &str, kafka: &str, seed: u64) -> bool {
    let mut draw = Draw(seed);
    let group = format!("beside-{seed}-{}", std::process::id());
    let mut sides = [Side::new(folio, &group), Side::new(kafka, &group)];
    let mut past = Vec::new();
    for number in 0..STEPS {
        let step = draw.step();
        let told = run(&mut sides, step);
        if told[0] != told[1] {
            println!(
                "sequence {seed}, step {number}: {step:?}\nFolio: {:#?}\nKafka: {:#?}",
                told[0], told[1]
            );
            past.iter().rev().take(12).rev().for_each(|line| println!("  {line}"));
            return false;
        }
        past.push(format!("{number} {step:?}: {:?}", told[0]));
        if sides[0].leader != sides[1].leader {
            break;
        }
    }
    true
}

/// Asks both for the same, and waits until as many have been answered.
fn run(sides: &mut [Side; 2], step: Step) -> [Vec<String>; 2] {
    let mut told = [Vec::new(), Vec::new()];
    for (side, told) in sides.iter_mut().zip(&mut told) {
        side.ask(step, told);
    }
    let mut late = [BTreeMap::new(), BTreeMap::new()];
    let began = Instant::now();
    let mut quiet_since = began;
    loop {
        for (side, late) in sides.iter_mut().zip(&mut late) {
            if side.listen(late) {
                quiet_since = Instant::now();
            }
        }
        let is_even = late[0].keys().eq(late[1].keys());
        let is_quiet = sides.iter().all(Side::waits_for_nothing) || quiet_since.elapsed() > QUIET;
        if (is_even && is_quiet) || began.elapsed() > LAG_MAX {
            break;
        }
    }
    for (told, late) in told.iter_mut().zip(late) {
        told.extend(late.into_values());
    }
    told
}

/// One of the brokers, and its members. What it makes up, ids of members, goes by other names here.
struct Side {
    address: String,
    members: Vec<Member>,
    /// What a member's connection owes it.
    owed: [Option<(ApiKey, i16)>; CLIENTS],
    has_joined: [bool; CLIENTS],
    /// Ids of members to names that both sides have.
    names: HashMap<String, String>,
    ids: [usize; CLIENTS],
    /// The members of the last generation, as its leader was told.
    roster: Vec<String>,
    leader: String,
}

impl Side {
    fn new(address: &str, group: &str) -> Self {
        let member = |client: usize| match client {
            FIRST_STATIC.. => Member::connect_static(address, group, &format!("static-{client}")),
            _ => Member::connect(address, group),
        };
        Self {
            address: address.to_owned(),
            members: (0..CLIENTS).map(member).collect(),
            owed: [None; CLIENTS],
            has_joined: [false; CLIENTS],
            names: HashMap::new(),
            ids: [0; CLIENTS],
            roster: Vec::new(),
            leader: String::new(),
        }
    }

    fn name(&self, id: &str) -> String {
        self.names.get(id).cloned().unwrap_or_else(|| if id.is_empty() { "" } else { "unheard" }.to_owned())
    }

    fn waits_for_nothing(&self) -> bool {
        self.owed.iter().all(Option::is_none)
    }

    fn ask(&mut self, step: Step, told: &mut Vec<String>) {
        let mut tell = |what: &str, answer: &dyn Debug| told.push(format!("{what}: {answer:?}"));
        let mut peer = KafkaPeer::connect(&self.address);
        let group = self.members[0].group.clone();
        match step {
            Step::Join { client, anew, says, version } => self.join(client, anew, says, version),
            Step::JoinAll => self.each_in_turn(|side, client| side.join(client, false, 0, JOIN)),
            Step::Sync(client) => self.sync(client),
            Step::SyncAll => self.each_in_turn(Self::sync),
            Step::Heartbeat { client, earlier } if self.owed[client].is_none() => {
                let member = &mut self.members[client];
                member.generation -= earlier;
                tell("heartbeat", &member.heartbeat());
                member.generation += earlier;
            }
            Step::Leave { client, by_instance } if self.owed[client].is_none() => {
                let member = &mut self.members[client];
                let id = member.id.clone();
                if by_instance {
                    member.id.clear();
                }
                tell("leave", &member.leave());
                member.id = id;
            }
            Step::Commit { client, earlier } if self.owed[client].is_none() => {
                let member = &mut self.members[client];
                member.generation -= earlier;
                tell("commit", &member.commit("t", 0, 5));
                member.generation += earlier;
            }
            Step::CommitAsNobody => {
                tell("commit", &commit_codes(&mut peer, 8, &commit(&group, "t", &[(0, 6)])));
            }
            Step::Describe if !self.roster.is_empty() => tell("group", &self.describe(&mut peer, &group)),
            Step::Delete if !self.roster.is_empty() => {
                let deleted = delete(&mut peer, &group);
                tell("delete", &deleted);
                if deleted == KafkaError::NONE {
                    self.roster.clear();
                }
            }
            Step::OffsetDelete => tell("offsets", &delete_offsets(&mut peer, &group)),
            Step::Fetch => tell("stored", &stored(&mut peer, &group, "t", &[0])),
            _ => {}
        }
    }

    /// So that they arrive in this order.
    fn each_in_turn(&mut self, act: impl Fn(&mut Self, usize)) {
        for client in (0..CLIENTS).filter(|client| self.has_joined[*client]).collect::<Vec<_>>() {
            act(self, client);
            std::thread::sleep(Duration::from_millis(12));
        }
    }

    fn join(&mut self, client: usize, anew: bool, says: u64, version: i16) {
        if self.owed[client].take().is_some() {
            self.members[client].peer = KafkaPeer::connect(&self.address);
        }
        let member = &mut self.members[client];
        if anew {
            member.id.clear();
        }
        let topics = if says == 1 { vec!["t", "u"] } else { vec!["t"] };
        let metadata = Subscription { topics, ..Subscription::default() }.encode(1).unwrap().to_vec();
        let names: &[&str] = match says {
            2 => &["a"],
            3 => &["b"],
            _ => &["a", "b"],
        };
        member.protocols = names.iter().map(|name| ((*name).to_owned(), metadata.clone())).collect();
        member.protocol_type = if says == 4 { "other" } else { "consumer" }.to_owned();
        (member.session, member.rebalance) = (Duration::from_secs(60), Duration::from_secs(60));
        member.submit_join(version);
        self.owed[client] = Some((ApiKey::JoinGroup, version));
    }

    /// Everybody brings everybody's work: whoever leads, it is the same.
    fn sync(&mut self, client: usize) {
        if self.owed[client].is_some() {
            return;
        }
        let work: Vec<_> = self.roster.iter().map(|id| (id.clone(), self.name(id))).collect();
        let work: Vec<_> = work.iter().map(|(id, name)| (id.as_str(), name.as_bytes())).collect();
        self.members[client].submit_sync(&work);
        self.owed[client] = Some((ApiKey::SyncGroup, SYNC));
    }

    /// Reads what is owed; whether there was anything.
    fn listen(&mut self, late: &mut BTreeMap<usize, String>) -> bool {
        let before = late.len();
        for client in 0..CLIENTS {
            let Some((api, version)) = self.owed[client] else { continue };
            let member = &mut self.members[client];
            let Some(answer) = member.peer.answer_within(api, version, Duration::from_millis(2)) else {
                continue;
            };
            self.owed[client] = None;
            let told = if api == ApiKey::SyncGroup {
                format!(
                    "{client} syncs: {:?}",
                    read_synced(&answer).map(|work| String::from_utf8(work).unwrap())
                )
            } else {
                let joined = self.members[client].read_joined(&answer);
                self.joined(client, &joined)
            };
            late.insert(client, told);
        }
        late.len() > before
    }

    fn joined(&mut self, client: usize, joined: &Joined) -> String {
        if !joined.member.is_empty() && !self.names.contains_key(&joined.member) {
            self.ids[client] += 1;
            self.names.insert(joined.member.clone(), format!("{client}.{}", self.ids[client]));
        }
        let name = self.name(&joined.member);
        if joined.error == KafkaError::NONE {
            self.has_joined[client] = true;
            self.leader = self.name(&joined.leader);
            if !joined.members.is_empty() {
                self.roster = joined.members.iter().map(|(id, ..)| id.clone()).collect();
            }
        }
        let (error, generation, skips) = (joined.error, joined.generation, joined.skip_assignment);
        format!(
            "{client} joins: {error}, generation {generation}, {:?}, skips {skips}, is {name}",
            joined.protocol
        )
    }

    fn describe(&self, peer: &mut KafkaPeer, group: &str) -> String {
        let answer = peer.call(6, &DescribeGroupsRequest { groups: vec![group], ..Default::default() });
        let message: DescribeGroupsResponse<'_> = answer.message();
        let told = &message.groups[0];
        let members = told.members.iter().map(|member| {
            let (instance, host) = (&member.group_instance_id, &member.client_host);
            let (metadata, work) = (&member.member_metadata, &member.member_assignment);
            format!(
                "{} {instance:?} {} {host} {metadata:?} {work:?}",
                self.name(&member.member_id),
                member.client_id
            )
        });
        let mut members: Vec<_> = members.collect();
        members.sort();
        let message = told.error_message.as_ref().map(|message| message.replace(group, "it"));
        let (state, kind, protocol) = (&told.group_state, &told.protocol_type, &told.protocol_data);
        format!("{} {message:?} {state} {kind} {protocol} {members:?}", told.error_code)
    }
}

fn delete_offsets(peer: &mut KafkaPeer, group_id: &str) -> (KafkaError, BTreeMap<String, KafkaError>) {
    let topic = |name| OffsetDeleteRequestTopic {
        name,
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
    };
    let answer = peer.call(0, &OffsetDeleteRequest { group_id, topics: vec![topic("t"), topic("u")] });
    let message: OffsetDeleteResponse<'_> = answer.message();
    let each = message.topics.iter().map(|topic| (topic.name.to_string(), topic.partitions[0].error_code));
    (message.error_code, each.collect())
}
