//! Topics: their number of partitions for producers, everything else for admins.

use std::time::Instant;

use bytes::BytesMut;
use folio_record::Offset;
use folio_wire::native::metadata::{MetadataAnswerV1, MetadataRequestV1};
use folio_wire::native::topics::{
    PartitionDescriptionV1, PartitionsCreateAnswerV1, PartitionsCreateRequestV1, TopicCreateAnswerV1,
    TopicCreateRequestV1, TopicDeleteAnswerV1, TopicDeleteRequestV1, TopicDescribeAnswerV1,
    TopicDescribeRequestV1, TopicListAnswerV1, TopicListRequestV1,
};

use super::{Malformed, Then, answers, call, encode, expect_parts, refusal};
use crate::driver::QueuedCall;
use crate::{
    CallError, ClusterMetadata, NewTopic, PartitionDescription, TopicDescription, TopicId, TopicListing,
    TopicMetadata, TopicSetting,
};

answers!(
    MetadataAnswerV1,
    TopicCreateAnswerV1,
    TopicListAnswerV1,
    TopicDescribeAnswerV1,
    TopicDeleteAnswerV1,
    PartitionsCreateAnswerV1
);

/// A call for the number of a topic's partitions; at least one.
pub(crate) fn partition_count(topic: &str, deadline: Instant, then: Then<u32>) -> QueuedCall {
    let topics = Some(vec![topic.to_owned()]);
    let then = move |metadata: Result<ClusterMetadata, CallError>| {
        then(metadata.and_then(|mut metadata| match metadata.topics.pop() {
            Some(Ok(topic)) => Ok(topic.leader_epochs.len() as u32),
            Some(Err((_, refusal))) => Err(CallError::Refused(refusal)),
            None => Err(CallError::Closed), // `metadata` gives as many topics as were asked for
        }));
    };
    metadata(topics, deadline, Box::new(then))
}

/// A call for what producers and consumers must know of some topics, or of all.
pub(crate) fn metadata(
    topics: Option<Vec<String>>,
    deadline: Instant,
    then: Then<ClusterMetadata>,
) -> QueuedCall {
    let asked = topics.as_ref().map(Vec::len);
    let request = move |correlation, out: &mut BytesMut| {
        let topics = topics.as_ref().map(|topics| topics.iter().map(String::as_str).collect());
        encode(correlation, &MetadataRequestV1 { topics }, out)
    };
    let read = move |answer: MetadataAnswerV1| {
        if let Some(asked) = asked {
            expect_parts(answer.topics.len(), asked)?;
        }
        let topics = answer.topics.into_iter().map(|topic| match refusal(topic.error, None) {
            Some(refusal) => Ok(Err((topic.name, refusal))),
            None if topic.leader_epochs.is_empty() => {
                Err(Malformed::new(format!("topic {:?} has no partition", topic.name)))
            }
            None => Ok(Ok(TopicMetadata {
                name: topic.name,
                id: TopicId(topic.id),
                leader_epochs: topic.leader_epochs,
            })),
        });
        let topics = topics.collect::<Result<_, _>>()?;
        Ok(Ok(ClusterMetadata { cluster_id: answer.cluster_id, topics }))
    };
    call(deadline, true, request, read, then)
}

pub(crate) fn create_topic(topic: NewTopic, deadline: Instant, then: Then<TopicId>) -> QueuedCall {
    let request = move |correlation, out: &mut BytesMut| {
        let configs = topic.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        encode(
            correlation,
            &TopicCreateRequestV1 { name: &topic.name, partitions: topic.partitions, configs },
            out,
        )
    };
    // Sent twice, it could report that the topic exists: because of itself.
    call(deadline, false, request, |answer: TopicCreateAnswerV1| Ok(Ok(TopicId(answer.id))), then)
}

/// A call that gives a topic more partitions: so many in all.
pub(crate) fn create_partitions(
    topic: String,
    partitions: u32,
    validate_only: bool,
    deadline: Instant,
    then: Then<()>,
) -> QueuedCall {
    let request = move |correlation, out: &mut BytesMut| {
        encode(correlation, &PartitionsCreateRequestV1 { topic: &topic, partitions, validate_only }, out)
    };
    // Sent twice, it could report that it has so many: because of itself.
    call(deadline, false, request, |_: PartitionsCreateAnswerV1| Ok(Ok(())), then)
}

pub(crate) fn delete_topic(name: String, deadline: Instant, then: Then<()>) -> QueuedCall {
    let request = move |correlation, out: &mut BytesMut| {
        encode(correlation, &TopicDeleteRequestV1 { name: &name }, out)
    };
    call(deadline, false, request, |_: TopicDeleteAnswerV1| Ok(Ok(())), then)
}

pub(crate) fn list_topics(internal: bool, deadline: Instant, then: Then<Vec<TopicListing>>) -> QueuedCall {
    let request =
        move |correlation, out: &mut BytesMut| encode(correlation, &TopicListRequestV1 { internal }, out);
    let read = |answer: TopicListAnswerV1| {
        let topics = answer.topics.into_iter();
        let topics = topics.map(|topic| TopicListing {
            name: topic.name,
            id: TopicId(topic.id),
            partitions: topic.partitions,
        });
        Ok(Ok(topics.collect()))
    };
    call(deadline, true, request, read, then)
}

pub(crate) fn describe_topic(name: String, deadline: Instant, then: Then<TopicDescription>) -> QueuedCall {
    let of = name.clone();
    let request = move |correlation, out: &mut BytesMut| {
        encode(correlation, &TopicDescribeRequestV1 { name: &of }, out)
    };
    let read = |answer: TopicDescribeAnswerV1| {
        let settings = answer.configs.into_iter();
        let settings = settings.map(|config| TopicSetting {
            key: config.key,
            value: config.value,
            is_own: config.is_own,
        });
        Ok(Ok(TopicDescription {
            name,
            id: TopicId(answer.id),
            settings: settings.collect(),
            partitions: answer.partitions.into_iter().map(partition).collect(),
        }))
    };
    call(deadline, true, request, read, then)
}

fn partition(described: PartitionDescriptionV1) -> PartitionDescription {
    PartitionDescription {
        partition: described.partition,
        trouble: refusal(described.error, described.message),
        leader_epoch: described.leader_epoch,
        log_start: Offset::new(described.log_start),
        durable: Offset::new(described.durable),
        high_watermark: Offset::new(described.high_watermark),
        log_end: Offset::new(described.log_end),
        size_bytes: described.size_bytes,
        segments: described.segments,
    }
}
