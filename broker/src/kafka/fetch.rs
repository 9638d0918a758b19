//! Fetch. Records go from the mapping to the socket; the answer says around them what it has to.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use folio_channel::Reply;
use folio_mapped::MapSlice;
use folio_record::{LeaderEpoch, Offset};
use folio_wire::kafka::current_leader::{LeaderIdAndEpoch, NodeEndpoint};
use folio_wire::kafka::fetch::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use folio_wire::kafka::{KafkaError, Records};
use uuid::Uuid;

use super::codec::KafkaResponse;
use super::{Asked, KafkaResponder, KafkaService, NODE_ID, Request};
use crate::config::Endpoint;
use crate::error::ServiceError;
use crate::service::fetch::{
    AnswerFetch, ENTRIES_MAX, Fetch, Found, Limits, Outcome, Standing, Want, cold_job,
};
use crate::service::topics;
use crate::shard::{Shard, WaitingFetch};

pub(super) fn call(
    kafka: &mut KafkaService,
    shard: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<FetchRequest<'_>>(reply) else { return };
    let asked = request.asked;
    if message.session_id != 0 {
        // Nothing is kept between two requests, so there is no session to go on with: the client begins anew.
        let error_code = KafkaError::FETCH_SESSION_ID_NOT_FOUND;
        return asked.respond(reply, &FetchResponse { error_code, ..FetchResponse::default() });
    }
    let topics = merged(&message);
    if topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() > ENTRIES_MAX {
        let why = format!("a fetch of more than {ENTRIES_MAX} partitions");
        return reply.send(KafkaResponse::Close(why.into()));
    }
    let wants = wants(kafka, &topics, asked.version);
    let bytes_max = shard.engine.config.fetch_max_bytes;
    let limits = Limits {
        min_bytes: size(message.min_bytes).min(bytes_max),
        max_bytes: size(message.max_bytes).min(bytes_max),
        batch_max: usize::MAX,
    };
    let mut fetch = Fetch::new(limits, wants);
    let answering = Answering {
        asked,
        endpoint: kafka.endpoint.clone(),
        is_read_committed: message.isolation_level == READ_COMMITTED,
        topics: topics.into_iter().map(NamedTopic::from).collect(),
    };
    if shard.engine.health.has_failed() {
        let refused = fetch.refused(&ServiceError::storage_failed());
        return reply.send(answering.with(refused));
    }
    let later = |reply: Reply<KafkaResponse>, answering: Answering| -> AnswerFetch {
        Box::new(move |found| reply.send(answering.with(found)))
    };
    match fetch.begin(message.max_wait_ms > 0) {
        Standing::Enough => reply.send(answering.with(fetch.finish(&shard.engine))),
        Standing::Cold => shard.engine.readers.run(cold_job(fetch, later(reply.later(), answering))),
        Standing::TooLittle => {
            let wait = Duration::from_millis(u64::try_from(message.max_wait_ms).unwrap_or(0));
            let waiting = WaitingFetch::new(fetch, later(reply.later(), answering));
            kafka.waiting = shard.park_fetch(Instant::now() + wait, waiting);
        }
    }
}

const READ_COMMITTED: i8 = 1;
/// From here on topics are named by their ids.
const VERSION_OF_IDS: i16 = 13;
/// From here on an answer may say where a leader is.
const VERSION_OF_ENDPOINTS: i16 = 16;

fn size(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

/// A topic of the request.
struct FetchedTopic<'m> {
    name: &'m str,
    id: Uuid,
    partitions: Vec<&'m FetchPartition>,
}

/// The topics in the order in which they are first named, each once: clients lose what an answer tells of a topic in two
/// places. Of a partition that is named twice the first holds.
fn merged<'m>(message: &'m FetchRequest<'_>) -> Vec<FetchedTopic<'m>> {
    let mut topics: Vec<FetchedTopic<'m>> = Vec::with_capacity(message.topics.len());
    let mut places = HashMap::with_capacity(message.topics.len());
    for topic in &message.topics {
        let place = *places.entry((topic.topic, topic.topic_id)).or_insert_with(|| {
            topics.push(FetchedTopic { name: topic.topic, id: topic.topic_id, partitions: Vec::new() });
            topics.len() - 1
        });
        topics[place].partitions.extend(&topic.partitions);
    }
    for topic in &mut topics {
        let mut seen = HashSet::with_capacity(topic.partitions.len());
        topic.partitions.retain(|partition| seen.insert(partition.partition));
    }
    topics
}

fn wants(kafka: &mut KafkaService, topics: &[FetchedTopic<'_>], version: i16) -> Vec<Want> {
    let mut wants = Vec::new();
    for topic in topics {
        let found = match version {
            VERSION_OF_IDS.. => topics::with_id(&kafka.engine, topic.id),
            _ => topics::find(&kafka.engine, topic.name),
        };
        for asked in &topic.partitions {
            let partition = found.as_ref().map_err(ServiceError::clone).and_then(|topic| {
                topics::partition_of(topic, u32::try_from(asked.partition).unwrap_or(u32::MAX))
            });
            wants.push(Want {
                place: kafka.places.of(&partition),
                partition,
                offset: Offset::new(asked.fetch_offset),
                max_bytes: size(asked.partition_max_bytes),
                leader_epoch: epoch(asked.current_leader_epoch),
                last_epoch: epoch(asked.last_fetched_epoch),
            });
        }
    }
    wants
}

/// Clients that know of none say -1.
fn epoch(number: i32) -> Option<LeaderEpoch> {
    (number >= 0).then(|| LeaderEpoch::new(number))
}

/// What the answer repeats of the request.
struct NamedTopic {
    name: String,
    id: Uuid,
    partitions: Vec<i32>,
}

impl From<FetchedTopic<'_>> for NamedTopic {
    fn from(topic: FetchedTopic<'_>) -> Self {
        let partitions = topic.partitions.iter().map(|partition| partition.partition).collect();
        Self { name: topic.name.to_owned(), id: topic.id, partitions }
    }
}

/// What the answer says besides what was found.
struct Answering {
    asked: Asked,
    endpoint: Endpoint,
    is_read_committed: bool,
    topics: Vec<NamedTopic>,
}

impl Answering {
    fn with(self, found: Vec<Outcome>) -> KafkaResponse {
        let mut records = Vec::new();
        let mut found = found.into_iter();
        let mut names_leader = false;
        let responses = self.topics.iter().map(|topic| FetchableTopicResponse {
            topic: Cow::Borrowed(&topic.name),
            topic_id: topic.id,
            partitions: (topic.partitions.iter().zip(&mut found))
                .map(|(&index, outcome)| {
                    let data = self.partition(outcome, &mut records);
                    names_leader |= data.current_leader.leader_id == NODE_ID;
                    PartitionData { partition_index: index, ..data }
                })
                .collect(),
        });
        let responses = responses.collect();
        let this_node = || NodeEndpoint {
            node_id: NODE_ID,
            host: Cow::Borrowed(&self.endpoint.host),
            port: i32::from(self.endpoint.port),
            rack: None,
        };
        let node_endpoints = names_leader.then(this_node).into_iter().collect();
        let answer = FetchResponse { responses, node_endpoints, ..FetchResponse::default() };
        self.asked.answer(&answer, records)
    }

    fn partition(&self, outcome: Outcome, records: &mut Vec<MapSlice>) -> PartitionData<'static> {
        // Some clients look at the size of the records before they look at the error: never null.
        let nothing = PartitionData {
            high_watermark: -1,
            records: Some(Records::default()),
            ..PartitionData::default()
        };
        let (error, found) = match outcome {
            Err(error) => (error, None),
            Ok(mut found) => match found.error.take() {
                Some(error) => (error, Some(found)),
                None => return self.found(found, nothing, records),
            },
        };
        let error_code = error.kafka();
        let mut refused = PartitionData { error_code, ..nothing };
        if let Some(found) = found
            && error_code == KafkaError::FENCED_LEADER_EPOCH
            && self.asked.version >= VERSION_OF_ENDPOINTS
        {
            refused.current_leader =
                LeaderIdAndEpoch { leader_id: NODE_ID, leader_epoch: found.leader_epoch.get() };
        }
        refused
    }

    fn found(
        &self,
        found: Found,
        nothing: PartitionData<'static>,
        records: &mut Vec<MapSlice>,
    ) -> PartitionData<'static> {
        let size = found.slice.as_ref().map_or(0, MapSlice::len);
        records.extend(found.slice);
        let diverging =
            found.diverging.map(|(epoch, end)| EpochEndOffset { epoch: epoch.get(), end_offset: end.get() });
        PartitionData {
            high_watermark: found.high_watermark.get(),
            last_stable_offset: found.high_watermark.get(),
            log_start_offset: found.log_start.get(),
            diverging_epoch: diverging.unwrap_or_default(),
            // Nothing was ever aborted; who does not ask is told so by a null.
            aborted_transactions: self.is_read_committed.then(Vec::new),
            records: Some(Records::Spliced(size)),
            ..nothing
        }
    }
}
