//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup, CommitOffsets and FetchOffsets: for the members of groups.

use std::sync::Arc;

use bytes::Bytes;
use folio_channel::Responder;
use folio_record::Timestamp;
use folio_wire::native::ErrorCode;
use folio_wire::native::groups::{
    CommitOffsetsAnswerV1, CommitOffsetsRequestV1, CommittedV1, FetchOffsetsAnswerV1, FetchOffsetsRequestV1,
    FetchedOffsetV1, HeartbeatAnswerV1, HeartbeatRequestV1, JoinGroupAnswerV1, JoinGroupRequestV1,
    JoinedMemberV1, LeaveGroupAnswerV1, LeaveGroupRequestV1, LeftV1, SyncGroupAnswerV1, SyncGroupRequestV1,
};
use uuid::Uuid;

use super::codec::{NativeRequest, NativeResponse};
use super::{code, header, header_of_many, respond_later};
use crate::engine::Engine;
use crate::groups::answer::{FetchedOffset, Joined, NotJoined};
use crate::groups::event::{
    Commit, Fetch, Heartbeat, Join, Leave, Leaver, OffsetToCommit, Protocol, Sync as SyncEvent,
};
use crate::service::groups;

/// `host`: where the member has come from.
pub(super) fn join(
    engine: &Engine,
    host: &Arc<str>,
    request: &NativeRequest,
    reply: Responder<'_, NativeResponse>,
) {
    let Some((message, reply)) = header::<JoinGroupRequestV1<'_>>(request, reply) else { return };
    let protocols = message.protocols.iter().map(|protocol| Protocol {
        name: protocol.name.into(),
        metadata: Bytes::copy_from_slice(protocol.metadata),
    });
    let join = Join {
        group: message.group.into(),
        member: message.member.into(),
        instance: message.instance.map(Into::into),
        client_id: message.client_id.into(),
        client_host: Arc::clone(host),
        session_timeout_ms: millis(message.session_timeout_ms),
        rebalance_timeout_ms: millis(message.rebalance_timeout_ms),
        protocol_type: message.protocol_type.into(),
        protocols: protocols.collect(),
        reason: message.reason.map(Into::into),
        fresh: Uuid::new_v4(),
        member_id_required: true,
        may_skip_assignment: true,
    };
    let (head, reply) = (request.head, reply.later());
    groups::join(engine, join, move |outcome| {
        let answer = match outcome {
            Ok(joined) => joined_as(&joined),
            Err(refused) => refused_as(refused),
        };
        respond_later(head, &answer, reply);
    });
}

fn joined_as(joined: &Joined) -> JoinGroupAnswerV1 {
    let members = joined.members.iter().map(|member| JoinedMemberV1 {
        member: member.member.as_ref().to_owned(),
        instance: member.instance.as_deref().map(str::to_owned),
        metadata: member.metadata.to_vec(),
    });
    JoinGroupAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        member: joined.member.as_ref().to_owned(),
        generation: joined.generation,
        protocol: joined.protocol.as_ref().to_owned(),
        leader: joined.leader.as_ref().to_owned(),
        skip_assignment: joined.skip_assignment,
        members: members.collect(),
    }
}

fn refused_as(refused: NotJoined) -> JoinGroupAnswerV1 {
    JoinGroupAnswerV1 {
        error: refused.error.native(),
        message: Some(refused.error.text),
        member: refused.member.as_ref().to_owned(),
        ..JoinGroupAnswerV1::default()
    }
}

pub(super) fn sync(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let count = |message: &SyncGroupRequestV1<'_>| message.assignments.len();
    let Some((message, reply)) = header_of_many(request, reply, count) else { return };
    let assignments = message.assignments.iter();
    let assignments = assignments.map(|of| (of.member.into(), Bytes::copy_from_slice(of.assignment)));
    let sync = SyncEvent {
        group: message.group.into(),
        member: message.member.into(),
        instance: message.instance.map(Into::into),
        generation: message.generation,
        protocol_type: Some(message.protocol_type.into()),
        protocol: Some(message.protocol.into()),
        assignments: assignments.collect(),
    };
    let (head, reply) = (request.head, reply.later());
    groups::sync(engine, sync, move |outcome| {
        let (error, message) = code(&outcome);
        let assignment = outcome.map(|synced| synced.assignment.to_vec()).unwrap_or_default();
        respond_later(head, &SyncGroupAnswerV1 { error, message, assignment }, reply);
    });
}

pub(super) fn heartbeat(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<HeartbeatRequestV1<'_>>(request, reply) else { return };
    let heartbeat = Heartbeat {
        group: message.group.into(),
        member: message.member.into(),
        instance: message.instance.map(Into::into),
        generation: message.generation,
    };
    let (head, reply) = (request.head, reply.later());
    groups::heartbeat(engine, heartbeat, move |outcome| {
        let (error, message) = code(&outcome);
        respond_later(head, &HeartbeatAnswerV1 { error, message }, reply);
    });
}

pub(super) fn leave(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let count = |message: &LeaveGroupRequestV1<'_>| message.members.len();
    let Some((message, reply)) = header_of_many(request, reply, count) else { return };
    let members = message.members.iter().map(|leaver| Leaver {
        member: leaver.member.into(),
        instance: leaver.instance.map(Into::into),
        reason: leaver.reason.map(Into::into),
    });
    let leave = Leave { group: message.group.into(), members: members.collect() };
    let (head, reply) = (request.head, reply.later());
    groups::leave(engine, leave, move |outcome| {
        let (error, message) = code(&outcome);
        let members = outcome.unwrap_or_default().into_iter().map(|left| {
            let (error, message) = code(&left.result);
            LeftV1 { error, message }
        });
        let answer = LeaveGroupAnswerV1 { error, message, members: members.collect() };
        respond_later(head, &answer, reply);
    });
}

pub(super) fn commit(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let count = |message: &CommitOffsetsRequestV1<'_>| message.entries.len();
    let Some((message, reply)) = header_of_many(request, reply, count) else { return };
    let offsets = message.entries.iter().map(|entry| OffsetToCommit {
        topic: entry.topic.into(),
        topic_id: Uuid::nil(),
        partition: number(entry.partition),
        offset: entry.offset,
        leader_epoch: entry.leader_epoch,
        metadata: entry.note.into(),
    });
    let commit = Commit {
        group: message.group.into(),
        member: message.member.into(),
        instance: message.instance.map(Into::into),
        generation: message.generation,
        retention_ms: None,
        offsets: offsets.collect(),
    };
    let (head, reply) = (request.head, reply.later());
    groups::commit(engine, commit, move |outcome| {
        let (error, message) = code(&outcome);
        let entries = outcome.unwrap_or_default().into_iter().map(|outcome| {
            let (error, message) = code(&outcome);
            CommittedV1 { error, message }
        });
        let answer = CommitOffsetsAnswerV1 { error, message, entries: entries.collect() };
        respond_later(head, &answer, reply);
    });
}

pub(super) fn fetch(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let count = |message: &FetchOffsetsRequestV1<'_>| message.entries.as_ref().map_or(0, Vec::len);
    let Some((message, reply)) = header_of_many(request, reply, count) else { return };
    let partitions = message
        .entries
        .as_ref()
        .map(|entries| entries.iter().map(|entry| (entry.topic.into(), number(entry.partition))).collect());
    let fetch = Fetch { group: message.group.into(), partitions, require_stable: true };
    let (head, reply) = (request.head, reply.later());
    groups::fetch(engine, fetch, move |outcome| {
        let (error, message) = code(&outcome);
        let entries = outcome.unwrap_or_default().into_iter().map(fetched_as).collect();
        respond_later(head, &FetchOffsetsAnswerV1 { error, message, entries }, reply);
    });
}

fn fetched_as(fetched: FetchedOffset) -> FetchedOffsetV1 {
    let committed = fetched.committed;
    FetchedOffsetV1 {
        topic: fetched.topic.as_ref().to_owned(),
        partition: u32::try_from(fetched.partition).unwrap_or(u32::MAX),
        offset: committed.as_ref().map_or(-1, |at| at.offset),
        leader_epoch: committed.as_ref().map_or(-1, |at| at.leader_epoch),
        note: committed.as_ref().map(|at| at.metadata.as_ref().to_owned()).unwrap_or_default(),
        committed_at: committed.map_or(Timestamp::NONE, |at| at.committed_at).get(),
    }
}

/// A partition's number as the coordinator has it. There is none of those that do not fit.
fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(-1)
}

/// What is longer than any timeout may be is refused as such.
fn millis(millis: u32) -> i32 {
    i32::try_from(millis).unwrap_or(i32::MAX)
}
