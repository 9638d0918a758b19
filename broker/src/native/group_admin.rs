//! GroupList, GroupDescribe, GroupReset, GroupUndo, GroupDelete.

use std::sync::Arc;
use std::time::Duration;

use folio_channel::{Reply, Responder};
use folio_record::{Offset, Timestamp};
use folio_storage::metadata::{GroupChange, GroupChangeKind};
use folio_wire::native::group_admin::{
    GroupChangeV1, GroupDeleteAnswerV1, GroupDeleteRequestV1, GroupDescribeAnswerV1, GroupDescribeRequestV1,
    GroupListAnswerV1, GroupListRequestV1, GroupMemberV1, GroupMoveV1, GroupOffsetV1, GroupPartitionV1,
    GroupResetAnswerV1, GroupResetRequestV1, GroupTargetV1, GroupUndoAnswerV1, GroupUndoRequestV1,
    ListedGroupV1, RebalanceV1,
};
use folio_wire::native::{ErrorCode, Head};

use super::codec::{NativeRequest, NativeResponse};
use super::{code, header, header_of_many, respond_later};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::groups::answer::{DescribedGroup, DescribedMember};
use crate::groups::history::{Rebalance, RebalanceCause};
use crate::service::group_admin::{self, Listed, Move, Reset, Standing, Target};

pub(super) fn list(engine: &Arc<Engine>, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<GroupListRequestV1<'_>>(request, reply) else { return };
    let states = message.states.iter().map(|&state| state.to_owned()).collect();
    let (head, reply) = (request.head, reply.later());
    group_admin::list(engine, states, move |found| {
        let (error, message) = code(&found);
        let groups = found.unwrap_or_default().iter().map(listed).collect();
        respond_later(head, &GroupListAnswerV1 { error, message, groups }, reply);
    });
}

fn listed(listed: &Listed) -> ListedGroupV1 {
    ListedGroupV1 {
        group: listed.group.group.as_ref().to_owned(),
        state: listed.group.state.name().to_owned(),
        protocol_type: listed.group.protocol_type.as_ref().to_owned(),
        members: count(listed.members),
        partitions: count(listed.partitions),
        lag: listed.lag,
        above_end: count(listed.above_end),
    }
}

pub(super) fn describe(engine: &Arc<Engine>, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<GroupDescribeRequestV1<'_>>(request, reply) else { return };
    let group = message.group.into();
    let (head, reply) = (request.head, reply.later());
    group_admin::describe(engine, group, move |described| {
        let (error, message) = code(&described);
        let answer = GroupDescribeAnswerV1 { error, message, ..GroupDescribeAnswerV1::default() };
        let Ok(described) = described else { return respond_later(head, &answer, reply) };
        let answer = GroupDescribeAnswerV1 {
            offsets: described.offsets.iter().map(standing).collect(),
            changes: described.changes.iter().map(change).collect(),
            ..match &described.group {
                Some(group) => of_group(group),
                None => GroupDescribeAnswerV1 { state: DEAD.to_owned(), ..answer },
            }
        };
        respond_later(head, &answer, reply);
    });
}

/// The state of a group that there is not, in Kafka's words.
const DEAD: &str = "Dead";

fn of_group(group: &DescribedGroup) -> GroupDescribeAnswerV1 {
    let under_way = group.rebalancing.iter().map(|one| rebalance(one, true));
    GroupDescribeAnswerV1 {
        state: group.state.name().to_owned(),
        protocol_type: group.protocol_type.as_ref().to_owned(),
        protocol: group.protocol.as_deref().unwrap_or_default().to_owned(),
        generation: group.generation,
        leader: group.leader.as_deref().unwrap_or_default().to_owned(),
        members: group.members.iter().map(member).collect(),
        rebalances: group.rebalances.iter().map(|one| rebalance(one, false)).chain(under_way).collect(),
        ..GroupDescribeAnswerV1::default()
    }
}

fn member(member: &DescribedMember) -> GroupMemberV1 {
    let partition = |(topic, partition)| GroupPartitionV1 { topic, partition };
    GroupMemberV1 {
        member: member.member.as_ref().to_owned(),
        instance: member.instance.as_deref().map(str::to_owned),
        client_id: member.client_id.as_ref().to_owned(),
        client_host: member.client_host.as_ref().to_owned(),
        session_timeout_ms: millis(member.session_timeout),
        rebalance_timeout_ms: millis(member.rebalance_timeout),
        silent_ms: millis(member.silent_for),
        is_waiting: member.is_waiting,
        topics: group_admin::wants_of(member),
        partitions: group_admin::work_of(member).map(|work| work.into_iter().map(partition).collect()),
    }
}

fn standing(standing: &Standing) -> GroupOffsetV1 {
    let (error, message) = code(&standing.place);
    let (committed, place) = (standing.committed.as_ref(), standing.place.as_ref().ok());
    let time = |time: Option<Timestamp>| time.map_or(-1, Timestamp::get);
    GroupOffsetV1 {
        topic: standing.topic.as_ref().to_owned(),
        partition: standing.partition,
        offset: committed.map_or(-1, |committed| committed.offset),
        leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: committed.map_or_else(String::new, |committed| committed.metadata.as_ref().to_owned()),
        committed_at: committed.map_or(-1, |committed| committed.committed_at.get()),
        error,
        message,
        log_start: place.map_or(-1, |place| Offset::get(place.log_start)),
        log_end: place.map_or(-1, |place| Offset::get(place.log_end)),
        next_timestamp: time(place.and_then(|place| place.next)),
        last_timestamp: time(place.and_then(|place| place.last)),
        retention_ms: place.and_then(|place| place.retention_ms).unwrap_or(-1),
    }
}

fn rebalance(rebalance: &Rebalance, is_under_way: bool) -> RebalanceV1 {
    RebalanceV1 {
        at: rebalance.at.get(),
        cause: cause(rebalance.cause).to_owned(),
        who: rebalance.who.as_deref().map(str::to_owned),
        reason: rebalance.reason.as_deref().map(str::to_owned),
        generation: rebalance.generation.unwrap_or(-1),
        dropped: rebalance.dropped,
        took_ms: rebalance.took.map_or(-1, |took| i64::try_from(took.as_millis()).unwrap_or(i64::MAX)),
        is_under_way,
    }
}

fn cause(cause: RebalanceCause) -> &'static str {
    match cause {
        RebalanceCause::Joined => "joined",
        RebalanceCause::Rejoined => "rejoined",
        RebalanceCause::StaticReplaced => "static-replaced",
        RebalanceCause::Left => "left",
        RebalanceCause::SessionTimeout => "session-timeout",
        RebalanceCause::SyncTimeout => "sync-timeout",
        RebalanceCause::WriteFailed => "write-failed",
        RebalanceCause::TooManyMembers => "too-many-members",
    }
}

fn change(change: &GroupChange) -> GroupChangeV1 {
    GroupChangeV1 {
        at: change.at_ms,
        who: change.who.clone(),
        kind: match change.kind {
            GroupChangeKind::Reset => "reset",
            GroupChangeKind::Delete => "delete",
        }
        .to_owned(),
        partitions: count(change.replaced.len()),
    }
}

pub(super) fn reset(
    engine: &Arc<Engine>,
    host: &str,
    request: &NativeRequest,
    reply: Responder<'_, NativeResponse>,
) {
    let entries = |message: &GroupResetRequestV1<'_>| message.entries.len();
    let Some((message, reply)) = header_of_many(request, reply, entries) else { return };
    let to = message.entries.iter().map(|entry| (entry.topic.into(), entry.partition, target(entry.to)));
    let (group, who) = (message.group.into(), group_admin::who(message.who, host));
    let asked = Reset { group, who, is_dry_run: message.is_dry_run, to: to.collect() };
    let (head, reply) = (request.head, reply.later());
    group_admin::reset(engine, asked, move |moves| {
        let (error, message, entries) = told(moves);
        respond_later(head, &GroupResetAnswerV1 { error, message, entries }, reply);
    });
}

fn target(to: GroupTargetV1) -> Target {
    match to {
        GroupTargetV1::Earliest => Target::Earliest,
        GroupTargetV1::Latest => Target::Latest,
        GroupTargetV1::Offset(offset) => Target::Offset(offset),
        GroupTargetV1::AtTime(ms) => Target::AtTime(Timestamp::new(ms)),
        GroupTargetV1::ShiftBy(count) => Target::ShiftBy(count),
    }
}

pub(super) fn undo(engine: &Arc<Engine>, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<GroupUndoRequestV1<'_>>(request, reply) else { return };
    let (head, reply) = (request.head, reply.later());
    group_admin::undo(engine, message.group.into(), message.is_dry_run, move |undone| {
        let change = undone.as_ref().ok().map(|undone| change(&undone.change));
        let (error, message, entries) = told(undone.map(|undone| undone.moves));
        respond_later(head, &GroupUndoAnswerV1 { error, message, change, entries }, reply);
    });
}

pub(super) fn delete(
    engine: &Arc<Engine>,
    host: &str,
    request: &NativeRequest,
    reply: Responder<'_, NativeResponse>,
) {
    let Some((message, reply)) = header::<GroupDeleteRequestV1<'_>>(request, reply) else { return };
    let (group, who) = (message.group.into(), group_admin::who(message.who, host));
    let (head, reply): (Head, Reply<NativeResponse>) = (request.head, reply.later());
    group_admin::delete(engine, group, who, message.is_dry_run, move |moves| {
        let (error, message, entries) = told(moves);
        respond_later(head, &GroupDeleteAnswerV1 { error, message, entries }, reply);
    });
}

type Told = (ErrorCode, Option<String>, Vec<GroupMoveV1>);

fn told(moves: Result<Vec<Move>, ServiceError>) -> Told {
    let (error, message) = code(&moves);
    let entries = moves.unwrap_or_default().into_iter().map(|one| {
        let (error, message) = code(&one.to);
        GroupMoveV1 {
            topic: one.topic.as_ref().to_owned(),
            partition: one.partition,
            error,
            message,
            from: one.from.unwrap_or(-1),
            to: one.to.ok().flatten().unwrap_or(-1),
        }
    });
    (error, message, entries.collect())
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
