//! Groups: joining, staying in and leaving them, and where they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use folio_record::{Offset, Timestamp};
use folio_wire::native::ErrorCode;
use folio_wire::native::groups::{
    CommitEntryV1, CommitOffsetsAnswerV1, CommitOffsetsRequestV1, FetchOffsetsAnswerV1, FetchOffsetsEntryV1,
    FetchOffsetsRequestV1, GroupAssignmentV1, GroupProtocolV1, HeartbeatAnswerV1, HeartbeatRequestV1,
    JoinGroupAnswerV1, JoinGroupRequestV1, LeaveGroupAnswerV1, LeaveGroupRequestV1, LeaverV1,
    SyncGroupAnswerV1, SyncGroupRequestV1,
};

use super::{Answer, Malformed, Then, answers, call, encode, expect_parts, refusal};
use crate::driver::QueuedCall;
use crate::{CallError, CommittedOffset, Refusal, TopicPartition};

answers!(
    SyncGroupAnswerV1,
    HeartbeatAnswerV1,
    LeaveGroupAnswerV1,
    CommitOffsetsAnswerV1,
    FetchOffsetsAnswerV1
);

/// What the members of a consumer group agree about.
const PROTOCOL_TYPE: &str = "consumer";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) group: Arc<str>,
    /// Empty while the broker has given none.
    pub(crate) member: Arc<str>,
    /// Its own name that outlives restarts.
    pub(crate) instance: Option<Arc<str>>,
    /// -1: in none.
    pub(crate) generation: i32,
}

/// A wish to be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    pub(crate) who: Identity,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    /// The assignors, the best first, with what the member says to each.
    pub(crate) protocols: Vec<(&'static str, Bytes)>,
    /// Why, for people.
    pub(crate) reason: &'static str,
}

impl Join {
    /// Whether it will be told an id to come again with, at once. One with a name of its own is let in as it is.
    pub(crate) fn is_nameless(&self) -> bool {
        self.who.member.is_empty() && self.who.instance.is_none()
    }
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JoinOutcome {
    /// It is to come again with this id.
    ComeAgain(Arc<str>),
    Joined(Joined),
}

/// A member of a new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) member: Arc<str>,
    pub(crate) generation: i32,
    /// The assignor that was chosen.
    pub(crate) protocol: String,
    pub(crate) is_leader: bool,
    /// The leader need not divide the work: all stays as it is.
    pub(crate) skip_assignment: bool,
    /// All members, for the leader.
    pub(crate) members: Vec<JoinedMember>,
}

/// What the leader learns of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) metadata: Vec<u8>,
}

/// One for each partition that was asked for, in order; `None`: nothing is committed.
pub(crate) type FetchedOffsets = Vec<Option<CommittedOffset>>;

/// It is no failure to be told an id to come again with.
impl Answer for JoinGroupAnswerV1 {
    fn outcome(&mut self) -> (ErrorCode, Option<String>) {
        match self.error {
            ErrorCode::MEMBER_ID_REQUIRED => (ErrorCode::NONE, None),
            error => (error, self.message.take()),
        }
    }
}

pub(crate) fn join_group(
    join: Join,
    client_id: Arc<str>,
    deadline: Instant,
    then: Then<JoinOutcome>,
) -> QueuedCall {
    let waits = if join.is_nameless() { Duration::ZERO } else { join.rebalance_timeout };
    let request = move |correlation, out: &mut BytesMut| {
        let protocols = join.protocols.iter();
        let request = JoinGroupRequestV1 {
            group: &join.who.group,
            member: &join.who.member,
            instance: join.who.instance.as_deref(),
            client_id: &client_id,
            session_timeout_ms: millis(join.session_timeout),
            rebalance_timeout_ms: millis(join.rebalance_timeout),
            protocol_type: PROTOCOL_TYPE,
            protocols: protocols.map(|(name, metadata)| GroupProtocolV1 { name, metadata }).collect(),
            reason: Some(join.reason),
        };
        encode(correlation, &request, out)
    };
    let read = |answer: JoinGroupAnswerV1| {
        let member: Arc<str> = answer.member.into();
        if answer.error == ErrorCode::MEMBER_ID_REQUIRED {
            return Ok(Ok(JoinOutcome::ComeAgain(member)));
        }
        let members = answer.members.into_iter();
        let members = members.map(|one| JoinedMember {
            id: one.member,
            instance: one.instance,
            metadata: one.metadata,
        });
        Ok(Ok(JoinOutcome::Joined(Joined {
            is_leader: *answer.leader == *member,
            member,
            generation: answer.generation,
            protocol: answer.protocol,
            skip_assignment: answer.skip_assignment,
            members: members.collect(),
        })))
    };
    // Repeated, it could make a second member of the first that asked.
    call(deadline, false, request, read, then).parked_for(waits)
}

/// `waits`: how long the leader may take.
pub(crate) fn sync_group(
    who: Identity,
    protocol: String,
    assignments: Vec<(String, Bytes)>,
    waits: Duration,
    deadline: Instant,
    then: Then<Vec<u8>>,
) -> QueuedCall {
    let request = move |correlation, out: &mut BytesMut| {
        let assignments = assignments.iter();
        let request = SyncGroupRequestV1 {
            group: &who.group,
            member: &who.member,
            instance: who.instance.as_deref(),
            generation: who.generation,
            protocol_type: PROTOCOL_TYPE,
            protocol: &protocol,
            assignments: assignments
                .map(|(member, assignment)| GroupAssignmentV1 { member, assignment })
                .collect(),
        };
        encode(correlation, &request, out)
    };
    let read = |answer: SyncGroupAnswerV1| Ok(Ok(answer.assignment));
    call(deadline, true, request, read, then).parked_for(waits)
}

pub(crate) fn heartbeat(who: Identity, deadline: Instant, then: Then<()>) -> QueuedCall {
    let request = move |correlation, out: &mut BytesMut| {
        let (group, member, instance) = (&*who.group, &*who.member, who.instance.as_deref());
        encode(correlation, &HeartbeatRequestV1 { group, member, instance, generation: who.generation }, out)
    };
    call(deadline, false, request, |_: HeartbeatAnswerV1| Ok(Ok(())), then)
}

pub(crate) fn leave_group(
    who: Identity,
    reason: &'static str,
    deadline: Instant,
    then: Then<()>,
) -> QueuedCall {
    let request = move |correlation, out: &mut BytesMut| {
        let instance = who.instance.as_deref();
        let members = vec![LeaverV1 { member: &who.member, instance, reason: Some(reason) }];
        encode(correlation, &LeaveGroupRequestV1 { group: &who.group, members }, out)
    };
    let read = |answer: LeaveGroupAnswerV1| {
        expect_parts(answer.members.len(), 1)?;
        let refused = answer.members.into_iter().find_map(|left| refusal(left.error, left.message));
        Ok(refused.map_or(Ok(()), |refusal| Err(CallError::Refused(refusal))))
    };
    call(deadline, true, request, read, then)
}

/// The first partition that is refused fails the whole.
pub(crate) fn commit_offsets(
    who: Identity,
    offsets: Vec<(TopicPartition, CommittedOffset)>,
    deadline: Instant,
    then: Then<()>,
) -> QueuedCall {
    let asked: Vec<TopicPartition> = offsets.iter().map(|(partition, _)| partition.clone()).collect();
    let request = move |correlation, out: &mut BytesMut| {
        let entries = offsets.iter().map(|(at, committed)| CommitEntryV1 {
            topic: &at.topic,
            partition: at.partition,
            offset: committed.offset.get(),
            leader_epoch: committed.leader_epoch,
            note: &committed.note,
        });
        let request = CommitOffsetsRequestV1 {
            group: &who.group,
            member: &who.member,
            instance: who.instance.as_deref(),
            generation: who.generation,
            entries: entries.collect(),
        };
        encode(correlation, &request, out)
    };
    let read = move |answer: CommitOffsetsAnswerV1| {
        expect_parts(answer.entries.len(), asked.len())?;
        let mut outcomes = asked.iter().zip(answer.entries);
        let refused = outcomes
            .find_map(|(at, entry)| refusal(entry.error, entry.message).map(|refusal| about(at, &refusal)));
        Ok(refused.map_or(Ok(()), |refusal| Err(CallError::Refused(refusal))))
    };
    call(deadline, true, request, read, then)
}

pub(crate) fn fetch_offsets(
    group: Arc<str>,
    partitions: Vec<TopicPartition>,
    deadline: Instant,
    then: Then<FetchedOffsets>,
) -> QueuedCall {
    let asked = partitions.clone();
    let request = move |correlation, out: &mut BytesMut| {
        let entries = partitions.iter();
        let entries = entries.map(|at| FetchOffsetsEntryV1 { topic: &at.topic, partition: at.partition });
        encode(correlation, &FetchOffsetsRequestV1 { group: &group, entries: Some(entries.collect()) }, out)
    };
    let read = move |answer: FetchOffsetsAnswerV1| {
        expect_parts(answer.entries.len(), asked.len())?;
        let both = asked.iter().zip(answer.entries);
        let offsets = both.map(|(at, entry)| {
            if (&*at.topic, at.partition) != (entry.topic.as_str(), entry.partition) {
                return Err(Malformed::new(format!(
                    "an offset of {}-{}, not of {at}",
                    entry.topic, entry.partition
                )));
            }
            Ok((entry.offset >= 0).then(|| CommittedOffset {
                offset: Offset::new(entry.offset),
                leader_epoch: entry.leader_epoch,
                note: entry.note.into(),
                committed_at: Some(Timestamp::new(entry.committed_at))
                    .filter(|time| *time != Timestamp::NONE),
            }))
        });
        offsets.collect::<Result<_, _>>().map(Ok)
    };
    call(deadline, true, request, read, then)
}

/// As it is, with its partition before it.
fn about(partition: &TopicPartition, refusal: &Refusal) -> Refusal {
    let message = match &*refusal.message {
        "" => partition.to_string(),
        message => format!("{partition}: {message}"),
    };
    Refusal { code: refusal.code, message: message.into() }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
