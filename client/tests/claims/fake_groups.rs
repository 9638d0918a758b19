//! The groups of the fake broker: members wait for one another, and offsets are kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use folio_client::ErrorCode;
use folio_wire::native::groups::{
    CommitOffsetsAnswerV1, CommitOffsetsRequestV1, CommittedV1, FetchOffsetsAnswerV1, FetchOffsetsRequestV1,
    FetchedOffsetV1, HeartbeatAnswerV1, HeartbeatRequestV1, JoinGroupAnswerV1, JoinGroupRequestV1,
    JoinedMemberV1, LeaveGroupAnswerV1, LeaveGroupRequestV1, LeftV1, SyncGroupAnswerV1, SyncGroupRequestV1,
};

/// One group; its name does not matter.
#[derive(Default)]
pub(crate) struct FakeGroup {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    generation: i32,
    phase: Phase,
    next_member: usize,
    leader: String,
    members: BTreeMap<String, Member>,
    /// With the leader epoch that was committed.
    offsets: HashMap<(String, u32), (i64, i32)>,
}

#[derive(Default, PartialEq)]
enum Phase {
    #[default]
    Preparing,
    Completing,
    Stable,
}

#[derive(Default)]
struct Member {
    has_joined: bool,
    instance: Option<String>,
    metadata: Vec<u8>,
    protocol: String,
    assignment: Vec<u8>,
}

impl FakeGroup {
    /// Who is a member.
    pub(crate) fn members(&self) -> Vec<String> {
        self.state.lock().unwrap().members.keys().cloned().collect()
    }

    pub(crate) fn committed(&self, topic: &str, partition: u32) -> Option<i64> {
        self.committed_with_epoch(topic, partition).map(|(offset, _)| offset)
    }

    pub(crate) fn committed_with_epoch(&self, topic: &str, partition: u32) -> Option<(i64, i32)> {
        self.state.lock().unwrap().offsets.get(&(topic.to_owned(), partition)).copied()
    }

    pub(crate) fn commit_by_hand(&self, topic: &str, partition: u32, offset: i64) {
        self.state.lock().unwrap().offsets.insert((topic.to_owned(), partition), (offset, -1));
    }

    pub(crate) fn generation(&self) -> i32 {
        self.state.lock().unwrap().generation
    }

    /// All members are forgotten, as if their sessions had ended.
    pub(crate) fn expire_all(&self) {
        let mut state = self.state.lock().unwrap();
        state.members.clear();
        state.phase = Phase::Preparing;
        self.changed.notify_all();
    }

    /// Blocks until all members have asked.
    pub(crate) fn join(&self, request: &JoinGroupRequestV1<'_>, error: ErrorCode) -> JoinGroupAnswerV1 {
        let mut state = self.state.lock().unwrap();
        if !error.is_none() {
            return JoinGroupAnswerV1 { error, ..JoinGroupAnswerV1::default() };
        }
        let mut id = request.member.to_owned();
        if id.is_empty() {
            state.next_member += 1;
            id = format!("{}-{}", request.client_id, state.next_member);
            if request.instance.is_none() {
                let error = ErrorCode::MEMBER_ID_REQUIRED;
                return JoinGroupAnswerV1 { error, member: id, ..JoinGroupAnswerV1::default() };
            }
            let old = request.instance;
            state.members.retain(|_, member| member.instance.as_deref() != old);
        }
        if state.phase != Phase::Preparing {
            state.phase = Phase::Preparing;
            state.members.values_mut().for_each(|member| member.has_joined = false);
        }
        let chosen = &request.protocols[0];
        let joining = Member {
            has_joined: true,
            instance: request.instance.map(str::to_owned),
            metadata: chosen.metadata.to_vec(),
            protocol: chosen.name.to_owned(),
            assignment: Vec::new(),
        };
        state.members.insert(id.clone(), joining);
        let before = state.generation;
        let deadline = Instant::now() + crate::SOON;
        while state.generation == before {
            if state.members.values().all(|member| member.has_joined) {
                state.generation += 1;
                state.phase = Phase::Completing;
                if !state.members.contains_key(&state.leader) {
                    state.leader = id.clone();
                }
                self.changed.notify_all();
                break;
            }
            assert!(Instant::now() < deadline, "a member never joins again");
            state = self.changed.wait_timeout(state, crate::SOON / 300).unwrap().0;
        }
        if !state.members.contains_key(&id) {
            return JoinGroupAnswerV1 { error: ErrorCode::UNKNOWN_MEMBER, ..JoinGroupAnswerV1::default() };
        }
        let members = state.members.iter().map(|(id, member)| JoinedMemberV1 {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata.clone(),
        });
        JoinGroupAnswerV1 {
            protocol: state.members[&id].protocol.clone(),
            generation: state.generation,
            members: if state.leader == id { members.collect() } else { Vec::new() },
            leader: state.leader.clone(),
            member: id,
            ..JoinGroupAnswerV1::default()
        }
    }

    /// Blocks until the leader has asked.
    pub(crate) fn sync(&self, request: &SyncGroupRequestV1<'_>, error: ErrorCode) -> SyncGroupAnswerV1 {
        let mut state = self.state.lock().unwrap();
        let error = if error.is_none() { state.judge(request.member, request.generation) } else { error };
        if !error.is_none() {
            return SyncGroupAnswerV1 { error, ..SyncGroupAnswerV1::default() };
        }
        if state.leader == request.member {
            for of in &request.assignments {
                if let Some(member) = state.members.get_mut(of.member) {
                    member.assignment = of.assignment.to_vec();
                }
            }
            state.phase = Phase::Stable;
            self.changed.notify_all();
        }
        while state.phase == Phase::Completing && state.generation == request.generation {
            state = self.changed.wait_timeout(state, crate::SOON / 300).unwrap().0;
        }
        match state.judge(request.member, request.generation) {
            ErrorCode::NONE => SyncGroupAnswerV1 {
                assignment: state.members[request.member].assignment.clone(),
                ..SyncGroupAnswerV1::default()
            },
            error => SyncGroupAnswerV1 { error, ..SyncGroupAnswerV1::default() },
        }
    }

    pub(crate) fn heartbeat(&self, request: &HeartbeatRequestV1<'_>, error: ErrorCode) -> HeartbeatAnswerV1 {
        let state = self.state.lock().unwrap();
        let error = if error.is_none() { state.judge(request.member, request.generation) } else { error };
        HeartbeatAnswerV1 { error, message: None }
    }

    pub(crate) fn leave(&self, request: &LeaveGroupRequestV1<'_>) -> LeaveGroupAnswerV1 {
        let mut state = self.state.lock().unwrap();
        let members = request.members.iter().map(|leaver| {
            let gone = state.members.remove(leaver.member).is_some();
            let error = if gone { ErrorCode::NONE } else { ErrorCode::UNKNOWN_MEMBER };
            LeftV1 { error, message: None }
        });
        let members = members.collect();
        state.phase = Phase::Preparing;
        state.members.values_mut().for_each(|member| member.has_joined = false);
        self.changed.notify_all();
        LeaveGroupAnswerV1 { members, ..LeaveGroupAnswerV1::default() }
    }

    pub(crate) fn commit(
        &self,
        request: &CommitOffsetsRequestV1<'_>,
        error: ErrorCode,
    ) -> CommitOffsetsAnswerV1 {
        let mut state = self.state.lock().unwrap();
        let error = match (error, request.generation) {
            (ErrorCode::NONE, -1) if state.members.is_empty() => ErrorCode::NONE,
            (ErrorCode::NONE, generation) => match state.judge(request.member, generation) {
                ErrorCode::REBALANCE_IN_PROGRESS if state.phase == Phase::Preparing => ErrorCode::NONE,
                error => error,
            },
            (error, _) => error,
        };
        if !error.is_none() {
            return CommitOffsetsAnswerV1 { error, ..CommitOffsetsAnswerV1::default() };
        }
        let entries = request.entries.iter().map(|entry| {
            let at = (entry.offset, entry.leader_epoch);
            state.offsets.insert((entry.topic.to_owned(), entry.partition), at);
            CommittedV1 { error: ErrorCode::NONE, message: None }
        });
        let entries = entries.collect();
        CommitOffsetsAnswerV1 { entries, ..CommitOffsetsAnswerV1::default() }
    }

    pub(crate) fn fetch(
        &self,
        request: &FetchOffsetsRequestV1<'_>,
        error: ErrorCode,
    ) -> FetchOffsetsAnswerV1 {
        let state = self.state.lock().unwrap();
        if !error.is_none() {
            return FetchOffsetsAnswerV1 { error, ..FetchOffsetsAnswerV1::default() };
        }
        let entries = request.entries.iter().flatten().map(|entry| {
            let stored = state.offsets.get(&(entry.topic.to_owned(), entry.partition));
            let (offset, leader_epoch) = stored.copied().unwrap_or((-1, -1));
            FetchedOffsetV1 {
                topic: entry.topic.to_owned(),
                partition: entry.partition,
                offset,
                leader_epoch,
                note: String::new(),
                committed_at: -1,
            }
        });
        FetchOffsetsAnswerV1 { entries: entries.collect(), ..FetchOffsetsAnswerV1::default() }
    }
}

impl State {
    fn judge(&self, member: &str, generation: i32) -> ErrorCode {
        if !self.members.contains_key(member) {
            ErrorCode::UNKNOWN_MEMBER
        } else if generation != self.generation {
            ErrorCode::ILLEGAL_GENERATION
        } else if self.phase == Phase::Preparing {
            ErrorCode::REBALANCE_IN_PROGRESS
        } else {
            ErrorCode::NONE
        }
    }
}
