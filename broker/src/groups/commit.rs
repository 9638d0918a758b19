//! Committing, fetching and deleting offsets, as Kafka's `OffsetMetadataManager` does it.

use std::sync::Arc;

use folio_record::Timestamp;

use super::answer::{Answer, Committed, FetchedOffset};
use super::event::{Caller, Commit, Fetch, OffsetDelete, OffsetToCommit};
use super::group::{Group, Phase};
use super::rebalance::rebalancing;
use super::record::{GroupRecord, TEXT_MAX};
use super::roster::unknown_member;
use super::settings::GroupSettings;
use super::writes::{Context, Then};
use crate::error::{Fault, ServiceError};

impl Group {
    /// Has offsets stored; the answer comes when they are.
    pub(super) fn commit(&mut self, context: &mut Context<'_>, caller: Caller, commit: Commit) {
        if let Err(error) = self.check_commit(&commit) {
            return context.answer(caller, Answer::Commit(Err(error)));
        }
        self.is_going = false;
        if matches!(self.phase, Phase::Stable | Phase::Joining(_))
            && let Some(member) = self.roster.get_mut(&commit.member)
        {
            member.heard(context, &self.id);
        }
        let expires_at = commit.retention_ms.map(|ms| context.now.wall.get().saturating_add(ms));
        let mut records = Vec::with_capacity(commit.offsets.len());
        let mut results = Vec::with_capacity(commit.offsets.len());
        for offset in commit.offsets {
            let result = self.check_offset(&offset, context.settings);
            if result.is_ok() {
                self.offsets.stage(&offset.topic, offset.partition);
                records.push(self.offset_record(offset, context.now.wall, expires_at));
            }
            results.push(result);
        }
        if records.is_empty() {
            return context.answer(caller, Answer::Commit(Ok(results)));
        }
        context.write(records, Then::Committed { caller, results });
    }

    /// Whether who commits may. From nobody in particular it is taken while there are no members.
    fn check_commit(&self, commit: &Commit) -> Result<(), ServiceError> {
        if commit.generation < 0 && self.is_empty() {
            return Ok(());
        }
        if commit.generation < 0 && commit.member.is_empty() && commit.instance.is_none() {
            return Err(unknown_member(""));
        }
        self.check(&commit.member, commit.instance.as_deref(), commit.generation)?;
        // It has learned of the new generation, but not of its work in it.
        if matches!(self.phase, Phase::Dividing { .. }) { Err(rebalancing()) } else { Ok(()) }
    }

    fn check_offset(&self, offset: &OffsetToCommit, settings: &GroupSettings) -> Result<(), ServiceError> {
        let max = settings.offset_metadata_max;
        let note = &offset.metadata;
        // Kafka counts as Java does.
        if note.len() > TEXT_MAX || (note.len() > max && note.encode_utf16().count() > max) {
            let text = format!("the note beside an offset is longer than {max} characters");
            return Err(ServiceError::new(Fault::OffsetMetadataTooLarge, text));
        }
        let is_more = || !self.offsets.knows(&offset.topic, offset.partition);
        if self.offsets.len() >= settings.group_offsets_max && is_more() {
            let max = settings.group_offsets_max;
            let text =
                format!("the group has offsets of {max} partitions, as many as group.offsets.max allows");
            return Err(ServiceError::new(Fault::GroupFull, text));
        }
        Ok(())
    }

    fn offset_record(&self, offset: OffsetToCommit, now: Timestamp, expires_at: Option<i64>) -> GroupRecord {
        let committed = Committed {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata,
            committed_at: now,
            expires_at: expires_at.map(Timestamp::new),
            topic_id: offset.topic_id,
        };
        GroupRecord::Offset {
            group: self.id.clone(),
            topic: offset.topic,
            partition: offset.partition,
            committed: Some(committed),
        }
    }

    /// What is stored of partitions, or of all.
    pub(super) fn fetch(&self, fetch: Fetch) -> Vec<FetchedOffset> {
        let Some(partitions) = fetch.partitions else { return self.offsets.durable().collect() };
        let fetched = |(topic, partition): (Arc<str>, i32)| {
            let committed = self.offsets.get(&topic, partition).cloned();
            FetchedOffset { topic, partition, committed }
        };
        partitions.into_iter().map(fetched).collect()
    }

    /// Has offsets taken away that no member is subscribed to.
    pub(super) fn delete_offsets(
        &mut self,
        context: &mut Context<'_>,
        caller: Caller,
        delete: &OffsetDelete,
    ) {
        if !self.is_empty() && !self.is_of_consumers() {
            let text = "the group has members, and nobody can tell what they read";
            let error = ServiceError::new(Fault::GroupNotEmpty, text);
            return context.answer(caller, Answer::OffsetDelete(Err(error)));
        }
        let mut records = Vec::new();
        let mut results = Vec::with_capacity(delete.partitions.len());
        for (topic, partition) in &delete.partitions {
            if self.is_subscribed(topic) {
                let text = format!("the group is subscribed to {topic:?}");
                results.push(Err(ServiceError::new(Fault::GroupSubscribed, text)));
                continue;
            }
            if self.offsets.knows(topic, *partition) {
                records.push(self.offset_tombstone(topic.clone(), *partition));
            }
            results.push(Ok(()));
        }
        if records.is_empty() {
            return context.answer(caller, Answer::OffsetDelete(Ok(results)));
        }
        context.write(records, Then::OffsetsDeleted { caller, results });
    }

    /// A tombstone for a partition's offset.
    pub(super) fn offset_tombstone(&mut self, topic: Arc<str>, partition: i32) -> GroupRecord {
        self.offsets.stage(&topic, partition);
        GroupRecord::Offset { group: self.id.clone(), topic, partition, committed: None }
    }
}

/// What is answered where there is no such group: it has nothing.
pub(super) fn fetch_of_none(fetch: Fetch) -> Vec<FetchedOffset> {
    let nothing = |(topic, partition)| FetchedOffset { topic, partition, committed: None };
    fetch.partitions.unwrap_or_default().into_iter().map(nothing).collect()
}
