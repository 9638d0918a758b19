//! Produce. One batch for a partition, in the format of today.
//!
//! The record bytes stay where they were received: what is appended is a part of the request's own memory.

use std::borrow::Cow;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use folio_record::Compression;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceResponse,
};
use uuid::Uuid;

use super::codec::KafkaResponse;
use super::{KafkaResponder, KafkaService, Request};
use crate::engine::Engine;
use crate::error::{Fault, ServiceError};
use crate::service::produce::{Admitted, UnpackBudget, admit_to};
use crate::service::topics;
use crate::shard::{AnswerProduce, Produced, Shard};

pub(super) fn call(
    kafka: &mut KafkaService,
    shard: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    kafka.has_produced = true;
    let Some((message, reply)) = request.decode::<ProduceRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let (acks, timeout_ms) = (message.acks, u64::try_from(message.timeout_ms).unwrap_or(0));
    let (mut named, pieces) = taken_apart(&message, &request.body);
    if !matches!(acks, ACKS_ALL | ACKS_NONE | ACKS_ONE) {
        let answer = named.answer(pieces.iter().map(|_| refused_as(KafkaError::INVALID_REQUIRED_ACKS)));
        return asked.respond(reply, &answer);
    }
    let entries =
        admitted(&kafka.engine, &mut named, pieces, std::mem::take(&mut request.body), asked.version);
    let reply = reply.later();
    let answer: AnswerProduce = Box::new(move |produced| {
        if acks != ACKS_NONE {
            return asked.respond_later(reply, &named.answer(produced.into_iter().map(outcome)));
        }
        match produced.into_iter().find_map(Result::err) {
            None => reply.none(),
            // Nobody waits for an answer: hanging up is the one way to tell.
            Some(error) => {
                let why = format!("a produce without acknowledgement failed: {}", error.text);
                reply.send(KafkaResponse::Close(why.into()));
            }
        }
    });
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    shard.produce(entries, acks == ACKS_ALL, deadline, answer);
}

const ACKS_ALL: i16 = -1;
const ACKS_NONE: i16 = 0;
const ACKS_ONE: i16 = 1;

/// What the request names, in its order, for the answer to repeat.
struct Named(Vec<NamedTopic>);

struct NamedTopic {
    /// Empty where it is named by its id.
    name: String,
    id: Uuid,
    partitions: Vec<NamedPartition>,
}

struct NamedPartition {
    index: i32,
    /// Where its log began when its records were looked at; -1: nobody looked.
    log_start: i64,
}

/// Where in the request's bytes the records of one partition lie; `None`: there are none.
type Piece = Option<Range<usize>>;

/// What is asked for, without its bytes: those are still to be taken out of `body`.
fn taken_apart(message: &ProduceRequest<'_>, body: &[u8]) -> (Named, Vec<Piece>) {
    let mut pieces = Vec::new();
    let topics = message.topic_data.iter().map(|topic| {
        let ranges = topic.partition_data.iter().map(|partition| {
            let records = partition.records?;
            // They borrow from the body, so this is where they begin in it.
            let start = records.as_ptr().addr() - body.as_ptr().addr();
            Some(start..start + records.len())
        });
        pieces.extend(ranges);
        let named =
            |partition: &PartitionProduceData<'_>| NamedPartition { index: partition.index, log_start: -1 };
        let partitions = topic.partition_data.iter().map(named).collect();
        NamedTopic { name: topic.name.to_owned(), id: topic.topic_id, partitions }
    });
    let named = Named(topics.collect());
    (named, pieces)
}

/// Takes the records of each partition out of the request, and what may be appended with it.
fn admitted(
    engine: &Engine,
    named: &mut Named,
    pieces: Vec<Piece>,
    body: BytesMut,
    version: i16,
) -> Vec<Result<Admitted, ServiceError>> {
    let mut budget = UnpackBudget::new(engine);
    let mut pieces = Pieces { rest: body, at: 0, pieces: pieces.into_iter() };
    let mut entries = Vec::new();
    for topic in &mut named.0 {
        let found = match version {
            VERSION_OF_IDS.. => topics::with_id(engine, topic.id),
            _ => topics::find(engine, &topic.name),
        };
        entries.extend(topic.partitions.iter_mut().map(|named| {
            let batch = pieces.take();
            let topic = found.as_ref().map_err(ServiceError::clone)?;
            let partition = topics::partition_of(topic, named.index)?;
            check_form(&batch, version)?;
            named.log_start = partition.log.log_start().get();
            admit_to(engine, partition, batch, &mut budget)
        }));
    }
    entries
}

/// From here on topics are named by their ids.
const VERSION_OF_IDS: i16 = 13;

/// Record bytes, taken out of a request one after the other.
struct Pieces {
    rest: BytesMut,
    /// How much of the request lies before `rest`.
    at: usize,
    pieces: std::vec::IntoIter<Piece>,
}

impl Pieces {
    /// The next partition's records; no bytes if it has none.
    fn take(&mut self) -> BytesMut {
        let Some(range) = self.pieces.next().flatten() else { return BytesMut::new() };
        self.rest.advance(range.start - self.at);
        self.at = range.end;
        self.rest.split_to(range.len())
    }
}

/// Whether this is one batch in the format that this version of the request carries. What else may be wrong with it is
/// the same for every protocol.
///
/// # Errors
/// It is none, several, or in another format.
fn check_form(batch: &[u8], version: i16) -> Result<(), ServiceError> {
    let invalid = |text: String| Err(ServiceError::new(Fault::InvalidRecord, text));
    let field = |at: usize| batch.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
    let (Some(length), Some(&magic)) = (field(BATCH_LENGTH_AT), batch.get(MAGIC_AT)) else {
        return invalid(format!("a produce of {} bytes has no record batch", batch.len()));
    };
    if magic != MAGIC {
        return invalid(format!("a record batch of format {magic}; only {MAGIC} is taken"));
    }
    let size = u64::from(length) + BATCH_LENGTH_END as u64;
    if size != batch.len() as u64 {
        return invalid(format!(
            "a record batch of {size} bytes in {}: one is taken, and whole",
            batch.len()
        ));
    }
    let codec = batch.get(CODEC_AT).map(|attributes| attributes & CODEC_MASK);
    if version < VERSION_OF_ZSTD && codec == Some(Compression::Zstd.id()) {
        let text = format!("zstd is not carried by Produce version {version}");
        return Err(ServiceError::new(Fault::UnsupportedCompression, text));
    }
    Ok(())
}

/// The format of a record batch that is taken, and where it and its length are told.
const MAGIC: u8 = 2;
const MAGIC_AT: usize = 16;
const BATCH_LENGTH_AT: usize = 8;
const BATCH_LENGTH_END: usize = 12;
/// The lower byte of the attributes.
const CODEC_AT: usize = 22;
const CODEC_MASK: u8 = 7;
const VERSION_OF_ZSTD: i16 = 7;

impl Named {
    /// The answer with these outcomes, one for each partition in order.
    fn answer(
        self,
        outcomes: impl Iterator<Item = PartitionProduceResponse<'static>>,
    ) -> ProduceResponse<'static> {
        let mut outcomes = outcomes;
        let responses = self.0.into_iter().map(|topic| TopicProduceResponse {
            name: Cow::Owned(topic.name),
            topic_id: topic.id,
            partition_responses: topic
                .partitions
                .into_iter()
                .zip(&mut outcomes)
                .map(|(named, outcome)| named.told(outcome))
                .collect(),
        });
        ProduceResponse { responses: responses.collect(), ..ProduceResponse::default() }
    }
}

impl NamedPartition {
    fn told(self, outcome: PartitionProduceResponse<'static>) -> PartitionProduceResponse<'static> {
        let log_start_offset = match outcome.error_code {
            KafkaError::NONE => outcome.log_start_offset,
            error if TOLD_ALONE.contains(&error) => -1,
            // Kafka tells where the log begins also of records that it looked at and does not take.
            _ => self.log_start,
        };
        PartitionProduceResponse { index: self.index, log_start_offset, ..outcome }
    }
}

/// What Kafka tells without saying where the log begins.
const TOLD_ALONE: &[KafkaError] = &[
    KafkaError::MESSAGE_TOO_LARGE,
    KafkaError::CORRUPT_MESSAGE,
    KafkaError::KAFKA_STORAGE_ERROR,
    KafkaError::REQUEST_TIMED_OUT,
];

fn outcome(produced: Produced) -> PartitionProduceResponse<'static> {
    match produced {
        Ok(stored) => PartitionProduceResponse {
            base_offset: stored.base_offset.get(),
            log_append_time_ms: stored.append_time.get(),
            log_start_offset: stored.log_start.get(),
            ..PartitionProduceResponse::default()
        },
        Err(error) => {
            let refused = refused_as(error.kafka());
            let records = error.records.into_iter().map(|(number, why)| BatchIndexAndErrorMessage {
                batch_index: i32::try_from(number).unwrap_or(i32::MAX),
                batch_index_error_message: Some(Cow::Owned(why)),
            });
            PartitionProduceResponse {
                record_errors: records.collect(),
                error_message: Some(Cow::Owned(error.text)),
                ..refused
            }
        }
    }
}

fn refused_as(error_code: KafkaError) -> PartitionProduceResponse<'static> {
    PartitionProduceResponse { error_code, base_offset: -1, ..PartitionProduceResponse::default() }
}
