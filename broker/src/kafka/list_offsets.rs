//! ListOffsets: the ends of partitions, and offsets by time.
//!
//! Nothing is tiered here, which is told as a Kafka without tiering tells it: what is local begins where the log does,
//! and there is no end of what is elsewhere.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use folio_record::Timestamp;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::{Asked, KafkaResponder, KafkaService, Request, epoch};
use crate::engine::Disk;
use crate::partition::Partition;
use crate::service::offsets::{self, Spot};
use crate::service::topics;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _shard: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<ListOffsetsRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let wanted = wanted(kafka, &message, asked);
    let spots = wanted.iter().flat_map(|topic| &topic.partitions).flat_map(|(_, found)| found);
    if !spots.into_iter().any(|place| place.spot.is_some_and(Spot::is_search)) {
        return asked.respond(reply, &answer(wanted, asked));
    }
    let reply = reply.later();
    kafka.engine.readers.run(move |_| asked.respond_later(reply, &answer(wanted, asked)));
}

/// What is wanted of one topic: a number each, and the place or why there is none.
struct Wanted {
    topic: String,
    partitions: Vec<(i32, Result<Place, KafkaError>)>,
}

struct Place {
    partition: Arc<Partition<Disk>>,
    /// `None`: it is where nothing ever is.
    spot: Option<Spot>,
    leader_epoch: i32,
}

fn wanted(kafka: &KafkaService, message: &ListOffsetsRequest<'_>, asked: Asked) -> Vec<Wanted> {
    let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
    for topic in &message.topics {
        for partition in &topic.partitions {
            let place = (topic.name, partition.partition_index);
            if !seen.insert(place) {
                twice.insert(place);
            }
        }
    }
    let place = |topic: &str, partition: &ListOffsetsPartition| {
        if twice.contains(&(topic, partition.partition_index)) {
            return Err(KafkaError::INVALID_REQUEST);
        }
        let found = topics::readable(&kafka.engine, topic, partition.partition_index);
        let found = found.map_err(|error| error.kafka())?;
        let spot = spot(partition.timestamp, asked.version)?;
        Ok(Place { partition: found, spot, leader_epoch: partition.current_leader_epoch })
    };
    let topics = message.topics.iter().map(|topic| Wanted {
        topic: topic.name.to_owned(),
        partitions: (topic.partitions.iter())
            .map(|partition| (partition.partition_index, place(topic.name, partition)))
            .collect(),
    });
    topics.collect()
}

/// What a time, or a number that stands for a place, asks for.
///
/// # Errors
/// No place has this number, or not in this version.
fn spot(timestamp: i64, version: i16) -> Result<Option<Spot>, KafkaError> {
    let (spot, since) = match timestamp {
        0.. => (Some(Spot::AtTime(Timestamp::new(timestamp))), 1),
        -1 => (Some(Spot::Latest), 1),
        -2 => (Some(Spot::Earliest), 1),
        -3 => (Some(Spot::LatestTime), 7),
        -4 => (Some(Spot::Earliest), 8),
        // The end of what is kept elsewhere, and the beginning of what is to go there.
        -5 => (None, 9),
        -6 => (None, 11),
        _ => (None, i16::MAX),
    };
    if version < since { Err(KafkaError::UNSUPPORTED_VERSION) } else { Ok(spot) }
}

fn answer(wanted: Vec<Wanted>, asked: Asked) -> ListOffsetsResponse<'static> {
    let topics = wanted.into_iter().map(|topic| ListOffsetsTopicResponse {
        name: Cow::Owned(topic.topic),
        partitions: (topic.partitions.into_iter())
            .map(|(partition_index, place)| ListOffsetsPartitionResponse {
                partition_index,
                ..place
                    .and_then(|place| found(&place, asked))
                    .unwrap_or_else(|error_code| ListOffsetsPartitionResponse { error_code, ..nothing() })
            })
            .collect(),
    });
    ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() }
}

fn found(place: &Place, asked: Asked) -> Result<ListOffsetsPartitionResponse, KafkaError> {
    let Some(spot) = place.spot else { return Ok(nothing()) };
    let found = offsets::find(&place.partition, spot, epoch(place.leader_epoch));
    let Some(found) = found.map_err(|error| error.kafka())? else { return Ok(nothing()) };
    Ok(ListOffsetsPartitionResponse {
        offset: found.offset.get(),
        timestamp: found.timestamp.map_or(-1, Timestamp::get),
        leader_epoch: if asked.version < VERSION_OF_EPOCHS { -1 } else { found.leader_epoch.get() },
        ..nothing()
    })
}

fn nothing() -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default()
}

/// From here on an answer tells leader epochs.
const VERSION_OF_EPOCHS: i16 = 4;
