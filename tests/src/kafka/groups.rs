//! A member of a group that speaks Kafka's protocol by hand.

use std::borrow::Cow;
use std::time::Duration;

use folio_wire::kafka::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use folio_wire::kafka::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use folio_wire::kafka::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use folio_wire::kafka::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use folio_wire::kafka::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use folio_wire::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use folio_wire::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use folio_wire::kafka::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use folio_wire::kafka::{ApiKey, KafkaError};

use super::{Answer, KafkaPeer};

/// One member, on a connection of its own.
#[derive(Debug)]
pub struct Member {
    /// Its connection.
    pub peer: KafkaPeer,
    /// The group.
    pub group: String,
    /// What the coordinator calls it; empty at first.
    pub id: String,
    /// Its own name, if it is a static one.
    pub instance: Option<String>,
    /// Of the group, when it joined last.
    pub generation: i32,
    /// After so long without a word it is dead.
    pub session: Duration,
    /// So long it may take to come again.
    pub rebalance: Duration,
    /// "consumer", if nobody says otherwise.
    pub protocol_type: String,
    /// How it can divide the work, and what it says to that.
    pub protocols: Vec<(String, Vec<u8>)>,
}

/// What came of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Whether it did.
    pub error: KafkaError,
    /// Of the group.
    pub generation: i32,
    /// How the work is divided.
    pub protocol: Option<String>,
    /// Who divides it.
    pub leader: String,
    /// Whether it need not.
    pub skip_assignment: bool,
    /// What the coordinator calls the member.
    pub member: String,
    /// For the leader: each with its instance and what it says.
    pub members: Vec<(String, Option<String>, Vec<u8>)>,
}

/// What is stored of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// -1: nothing.
    pub offset: i64,
    /// -1: nobody said.
    pub epoch: i32,
    /// A note.
    pub metadata: String,
    /// Of the group, or of the partition.
    pub error: KafkaError,
}

impl Stored {
    /// Where a group is that has stored nothing but an offset.
    pub fn at(offset: i64) -> Self {
        Self { offset, epoch: -1, metadata: String::new(), error: KafkaError::NONE }
    }
}

/// The newest versions, in which members speak if nobody says otherwise.
pub const JOIN: i16 = 9;
/// As [`JOIN`].
pub const SYNC: i16 = 5;
const HEARTBEAT: i16 = 4;
const LEAVE: i16 = 5;
const COMMIT: i16 = 9;
const FETCH: i16 = 9;

impl Member {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn connect(address: &str, group: &str) -> Self {
        Self {
            peer: KafkaPeer::connect(address),
            group: group.to_owned(),
            id: String::new(),
            instance: None,
            generation: -1,
            session: Duration::from_secs(60),
            rebalance: Duration::from_secs(60),
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), b"wants".to_vec())],
        }
    }

    /// As [`connect`](Self::connect), under a name of its own.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn connect_static(address: &str, group: &str, instance: &str) -> Self {
        Self { instance: Some(instance.to_owned()), ..Self::connect(address, group) }
    }

    /// Sends a join; the answer may take until others have come.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn submit_join(&mut self, version: i16) {
        let ms = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        let protocols = self.protocols.iter();
        let protocols = protocols.map(|(name, metadata)| JoinGroupRequestProtocol { name, metadata });
        let request = JoinGroupRequest {
            group_id: &self.group,
            session_timeout_ms: ms(self.session),
            rebalance_timeout_ms: ms(self.rebalance),
            member_id: &self.id,
            group_instance_id: self.instance.as_deref(),
            protocol_type: &self.protocol_type,
            protocols: protocols.collect(),
            ..JoinGroupRequest::default()
        };
        self.peer.submit(version, &request);
    }

    /// The answer to a join.
    ///
    /// # Panics
    /// When it does not come.
    pub fn joined(&mut self, version: i16) -> Joined {
        let answer = self.peer.answer(ApiKey::JoinGroup, version);
        self.read_joined(&answer)
    }

    /// Takes over what an answer to a join says.
    ///
    /// # Panics
    /// When the answer is to something else.
    pub fn read_joined(&mut self, answer: &Answer) -> Joined {
        let message: JoinGroupResponse<'_> = answer.message();
        let members = message.members.into_iter().map(|member| {
            let instance = member.group_instance_id.map(Cow::into_owned);
            (member.member_id.into_owned(), instance, member.metadata.into_owned())
        });
        let joined = Joined {
            error: message.error_code,
            generation: message.generation_id,
            protocol: message.protocol_name.map(Cow::into_owned),
            leader: message.leader.into_owned(),
            skip_assignment: message.skip_assignment,
            member: message.member_id.into_owned(),
            members: members.collect(),
        };
        if matches!(joined.error, KafkaError::NONE | KafkaError::MEMBER_ID_REQUIRED) {
            self.id.clone_from(&joined.member);
        }
        if joined.error == KafkaError::NONE {
            self.generation = joined.generation;
        }
        joined
    }

    /// Sends a join that is not refused for the want of an id.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn begin_join(&mut self) {
        self.submit_join(JOIN);
        if self.id.is_empty() && self.instance.is_none() {
            assert_eq!(self.joined(JOIN).error, KafkaError::MEMBER_ID_REQUIRED);
            self.submit_join(JOIN);
        }
    }

    /// The answer to [`begin_join`](Self::begin_join).
    ///
    /// # Panics
    /// When it does not come.
    pub fn end_join(&mut self) -> Joined {
        self.joined(JOIN)
    }

    /// Joins.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn join(&mut self) -> Joined {
        self.begin_join();
        self.end_join()
    }

    /// Sends a sync, from the leader with what everybody gets.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn submit_sync(&mut self, assignments: &[(&str, &[u8])]) {
        let assignments = assignments.iter();
        let assignments =
            assignments.map(|&(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment });
        let request = SyncGroupRequest {
            group_id: &self.group,
            generation_id: self.generation,
            member_id: &self.id,
            group_instance_id: self.instance.as_deref(),
            protocol_type: Some(&self.protocol_type),
            protocol_name: Some(&self.protocols[0].0),
            assignments: assignments.collect(),
        };
        self.peer.submit(SYNC, &request);
    }

    /// The answer to a sync: what the member gets.
    ///
    /// # Panics
    /// When it does not come.
    pub fn synced(&mut self) -> Result<Vec<u8>, KafkaError> {
        read_synced(&self.peer.answer(ApiKey::SyncGroup, SYNC))
    }

    /// Asks for its work, as a leader with what everybody gets.
    ///
    /// # Errors
    /// There is none.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn sync(&mut self, assignments: &[(&str, &[u8])]) -> Result<Vec<u8>, KafkaError> {
        self.submit_sync(assignments);
        self.synced()
    }

    /// Is still there.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn heartbeat(&mut self) -> KafkaError {
        let request = HeartbeatRequest {
            group_id: &self.group,
            generation_id: self.generation,
            member_id: &self.id,
            group_instance_id: self.instance.as_deref(),
        };
        let answer = self.peer.call(HEARTBEAT, &request);
        answer.message::<HeartbeatResponse>().error_code
    }

    /// Goes.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn leave(&mut self) -> KafkaError {
        let leaver = MemberIdentity {
            member_id: &self.id,
            group_instance_id: self.instance.as_deref(),
            reason: Some("it is over"),
        };
        let request = LeaveGroupRequest {
            group_id: &self.group,
            members: vec![leaver],
            ..LeaveGroupRequest::default()
        };
        let answer = self.peer.call(LEAVE, &request);
        let message: LeaveGroupResponse<'_> = answer.message();
        let of_each = message.members.iter().map(|member| member.error_code);
        [message.error_code].into_iter().chain(of_each).find(|e| *e != KafkaError::NONE).unwrap_or_default()
    }

    /// Stores where it is in a partition.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn commit(&mut self, topic: &str, partition: i32, offset: i64) -> KafkaError {
        let request = OffsetCommitRequest {
            generation_id_or_member_epoch: self.generation,
            member_id: &self.id,
            group_instance_id: self.instance.as_deref(),
            ..commit(&self.group, topic, &[(partition, offset)])
        };
        commit_codes(&mut self.peer, COMMIT, &request)[0]
    }

    /// Joins and is the only one: has all the work.
    ///
    /// # Panics
    /// When it is not.
    pub fn join_alone(&mut self) {
        let joined = self.join();
        assert_eq!((joined.error, &joined.leader), (KafkaError::NONE, &joined.member));
        let id = self.id.clone();
        assert_eq!(self.sync(&[(&id, b"all")]), Ok(b"all".to_vec()));
    }
}

/// What an answer to a sync gives its member.
///
/// # Errors
/// Nothing, and why.
///
/// # Panics
/// When the answer is to something else.
pub fn read_synced(answer: &Answer) -> Result<Vec<u8>, KafkaError> {
    let message: SyncGroupResponse<'_> = answer.message();
    match message.error_code {
        KafkaError::NONE => Ok(message.assignment.into_owned()),
        error => Err(error),
    }
}

/// A commit of no member.
pub fn commit<'a>(group: &'a str, topic: &'a str, offsets: &[(i32, i64)]) -> OffsetCommitRequest<'a> {
    let partitions =
        offsets.iter().map(|&(partition_index, committed_offset)| OffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(""),
        });
    let topic = OffsetCommitRequestTopic {
        name: topic,
        partitions: partitions.collect(),
        ..OffsetCommitRequestTopic::default()
    };
    OffsetCommitRequest { group_id: group, topics: vec![topic], ..OffsetCommitRequest::default() }
}

/// Commits, and says what became of each partition.
///
/// # Panics
/// When there is no answer.
pub fn commit_codes(
    peer: &mut KafkaPeer,
    version: i16,
    request: &OffsetCommitRequest<'_>,
) -> Vec<KafkaError> {
    codes(&peer.call(version, request))
}

/// What became of each partition of a commit.
///
/// # Panics
/// When the answer is to something else.
pub fn codes(answer: &Answer) -> Vec<KafkaError> {
    let message: OffsetCommitResponse<'_> = answer.message();
    message.topics.iter().flat_map(|topic| &topic.partitions).map(|one| one.error_code).collect()
}

/// What a group has stored of these partitions of a topic.
///
/// # Panics
/// When there is no answer.
pub fn stored(peer: &mut KafkaPeer, group: &str, topic: &str, partitions: &[i32]) -> Vec<Stored> {
    let topic = OffsetFetchRequestTopics {
        name: topic,
        partition_indexes: partitions.to_vec(),
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup { group_id: group, topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
    let answer = peer.call(FETCH, &request);
    let message: OffsetFetchResponse<'_> = answer.message();
    let [group] = &message.groups[..] else { panic!("one group was asked for: {message:?}") };
    if group.error_code != KafkaError::NONE {
        return vec![Stored { error: group.error_code, ..Stored::at(-1) }; partitions.len()];
    }
    let told = group.topics.iter().flat_map(|topic| &topic.partitions).map(|one| Stored {
        offset: one.committed_offset,
        epoch: one.committed_leader_epoch,
        metadata: one.metadata.as_deref().unwrap_or("null").to_owned(),
        error: one.error_code,
    });
    told.collect()
}

/// The state of a group, and the ids of its members.
///
/// # Panics
/// When there is no answer.
pub fn state(peer: &mut KafkaPeer, group: &str) -> (KafkaError, String, Vec<String>) {
    let request = DescribeGroupsRequest { groups: vec![group], ..DescribeGroupsRequest::default() };
    let answer = peer.call(6, &request);
    let message: DescribeGroupsResponse<'_> = answer.message();
    let [group] = &message.groups[..] else { panic!("one group was asked for: {message:?}") };
    let members = group.members.iter().map(|member| member.member_id.to_string()).collect();
    (group.error_code, group.group_state.to_string(), members)
}

/// Deletes a group.
///
/// # Panics
/// When there is no answer.
pub fn delete(peer: &mut KafkaPeer, group: &str) -> KafkaError {
    let answer = peer.call(3, &DeleteGroupsRequest { groups_names: vec![group] });
    answer.message::<DeleteGroupsResponse<'_>>().results[0].error_code
}
