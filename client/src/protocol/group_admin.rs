//! GroupList, GroupDescribe, GroupReset, GroupUndo, GroupDelete.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_record::{Offset, Timestamp};
use folio_wire::native::group_admin::{
    GroupChangeV1, GroupDeleteAnswerV1, GroupDeleteRequestV1, GroupDescribeAnswerV1, GroupDescribeRequestV1,
    GroupListAnswerV1, GroupListRequestV1, GroupMemberV1, GroupMoveV1, GroupOffsetV1, GroupResetAnswerV1,
    GroupResetEntryV1, GroupResetRequestV1, GroupTargetV1, GroupUndoAnswerV1, GroupUndoRequestV1,
    ListedGroupV1, RebalanceV1,
};

use super::{Malformed, Then, answers, call, encode, expect_parts, refusal};
use crate::driver::QueuedCall;
use crate::{
    GroupChange, GroupCommit, GroupDescription, GroupListing, GroupLog, GroupMember, GroupOffset, OffsetMove,
    Rebalance, ResetTo, TopicPartition, Undone,
};

answers!(
    GroupListAnswerV1,
    GroupDescribeAnswerV1,
    GroupResetAnswerV1,
    GroupUndoAnswerV1,
    GroupDeleteAnswerV1,
);

pub(crate) fn list_groups(
    states: Vec<String>,
    deadline: Instant,
    then: Then<Vec<GroupListing>>,
) -> QueuedCall {
    let request = move |id, out: &mut BytesMut| {
        encode(id, &GroupListRequestV1 { states: states.iter().map(String::as_str).collect() }, out)
    };
    let listing = |one: ListedGroupV1| GroupListing {
        group: one.group,
        state: one.state,
        protocol_type: one.protocol_type,
        members: one.members,
        partitions: one.partitions,
        lag: one.lag,
        above_end: one.above_end,
    };
    let read = move |answer: GroupListAnswerV1| Ok(Ok(answer.groups.into_iter().map(listing).collect()));
    call(deadline, true, request, read, then)
}

pub(crate) fn describe_group(group: String, deadline: Instant, then: Then<GroupDescription>) -> QueuedCall {
    let request = move |id, out: &mut BytesMut| encode(id, &GroupDescribeRequestV1 { group: &group }, out);
    let read = |answer: GroupDescribeAnswerV1| {
        Ok(Ok(GroupDescription {
            state: answer.state,
            protocol_type: answer.protocol_type,
            protocol: answer.protocol,
            generation: answer.generation,
            leader: Some(answer.leader).filter(|leader| !leader.is_empty()),
            members: answer.members.into_iter().map(member).collect(),
            offsets: answer.offsets.into_iter().map(offset).collect(),
            rebalances: answer.rebalances.into_iter().map(rebalance).collect(),
            changes: answer.changes.into_iter().map(change).collect(),
        }))
    };
    call(deadline, true, request, read, then)
}

pub(crate) fn reset_group(
    group: String,
    who: String,
    to: Vec<(TopicPartition, ResetTo)>,
    is_dry_run: bool,
    deadline: Instant,
    then: Then<Vec<OffsetMove>>,
) -> QueuedCall {
    let asked = to.len();
    let request = move |id, out: &mut BytesMut| {
        let entries = to.iter().map(|(place, to)| GroupResetEntryV1 {
            topic: &place.topic,
            partition: place.partition,
            to: target(*to),
        });
        let entries = entries.collect();
        encode(id, &GroupResetRequestV1 { group: &group, who: &who, is_dry_run, entries }, out)
    };
    let read = move |answer: GroupResetAnswerV1| {
        expect_parts(answer.entries.len(), asked)?;
        Ok(Ok(moves(answer.entries)))
    };
    call(deadline, is_dry_run, request, read, then)
}

pub(crate) fn undo_group(
    group: String,
    is_dry_run: bool,
    deadline: Instant,
    then: Then<Undone>,
) -> QueuedCall {
    let request =
        move |id, out: &mut BytesMut| encode(id, &GroupUndoRequestV1 { group: &group, is_dry_run }, out);
    let read = |answer: GroupUndoAnswerV1| {
        let change = answer.change.ok_or_else(|| Malformed::new("what was taken back is not told"))?;
        Ok(Ok(Undone { change: self::change(change), moves: moves(answer.entries) }))
    };
    call(deadline, is_dry_run, request, read, then)
}

pub(crate) fn delete_group(
    group: String,
    who: String,
    is_dry_run: bool,
    deadline: Instant,
    then: Then<Vec<OffsetMove>>,
) -> QueuedCall {
    let request = move |id, out: &mut BytesMut| {
        encode(id, &GroupDeleteRequestV1 { group: &group, who: &who, is_dry_run }, out)
    };
    let read = |answer: GroupDeleteAnswerV1| Ok(Ok(moves(answer.entries)));
    call(deadline, is_dry_run, request, read, then)
}

fn target(to: ResetTo) -> GroupTargetV1 {
    match to {
        ResetTo::Earliest => GroupTargetV1::Earliest,
        ResetTo::Latest => GroupTargetV1::Latest,
        ResetTo::Offset(offset) => GroupTargetV1::Offset(offset.get()),
        ResetTo::Since(time) => GroupTargetV1::AtTime(time.get()),
        ResetTo::ShiftBy(count) => GroupTargetV1::ShiftBy(count),
    }
}

fn member(member: GroupMemberV1) -> GroupMember {
    GroupMember {
        member: member.member,
        instance: member.instance,
        client_id: member.client_id,
        client_host: member.client_host,
        session_timeout: Duration::from_millis(member.session_timeout_ms),
        rebalance_timeout: Duration::from_millis(member.rebalance_timeout_ms),
        silent_for: Duration::from_millis(member.silent_ms),
        is_waiting: member.is_waiting,
        topics: member.topics,
        partitions: member
            .partitions
            .map(|partitions| partitions.into_iter().map(|one| (one.topic, one.partition)).collect()),
    }
}

fn offset(offset: GroupOffsetV1) -> GroupOffset {
    let committed = (offset.offset >= 0).then(|| GroupCommit {
        offset: Offset::new(offset.offset),
        leader_epoch: (offset.leader_epoch >= 0).then_some(offset.leader_epoch),
        metadata: offset.metadata,
        at: Timestamp::new(offset.committed_at),
    });
    let log = match refusal(offset.error, offset.message) {
        Some(refusal) => Err(refusal),
        None => Ok(GroupLog {
            start: Offset::new(offset.log_start),
            end: Offset::new(offset.log_end),
            next_time: time(offset.next_timestamp),
            last_time: time(offset.last_timestamp),
            retention: millis(offset.retention_ms),
        }),
    };
    GroupOffset { topic: offset.topic, partition: offset.partition, committed, log }
}

fn rebalance(rebalance: RebalanceV1) -> Rebalance {
    Rebalance {
        at: Timestamp::new(rebalance.at),
        cause: rebalance.cause,
        who: rebalance.who,
        reason: rebalance.reason,
        generation: (rebalance.generation >= 0).then_some(rebalance.generation),
        dropped: rebalance.dropped,
        took: millis(rebalance.took_ms),
        is_under_way: rebalance.is_under_way,
    }
}

fn change(change: GroupChangeV1) -> GroupChange {
    let GroupChangeV1 { at, who, kind, partitions } = change;
    GroupChange { at: Timestamp::new(at), who, kind, partitions }
}

fn moves(entries: Vec<GroupMoveV1>) -> Vec<OffsetMove> {
    let known = |offset: i64| (offset >= 0).then(|| Offset::new(offset));
    let moves = entries.into_iter().map(|entry| OffsetMove {
        topic_partition: TopicPartition::new(entry.topic, entry.partition),
        from: known(entry.from),
        to: refusal(entry.error, entry.message).map_or_else(|| Ok(known(entry.to)), Err),
    });
    moves.collect()
}

fn time(ms: i64) -> Option<Timestamp> {
    (ms >= 0).then(|| Timestamp::new(ms))
}

fn millis(ms: i64) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}
