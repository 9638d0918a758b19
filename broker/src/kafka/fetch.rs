//! Fetch: a request to what a session looks at, and what was found to an answer.
//!
//! Every fetch has a session of its own while it lasts: one that asks in full begins with a new one, which is kept if
//! the client wants that, and one that goes on with a session has it lent. What is looked at are the partitions that
//! the session has ready; whoever of the others moves meanwhile joins them.

mod answer;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use folio_channel::Reply;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse};
use uuid::Uuid;

use super::codec::KafkaResponse;
use super::session::cache::SessionError;
use super::session::sitting::{Lease, Sessions, Sitting, Started};
use super::session::{Terms, TopicKey};
use super::{Asked, KafkaResponder, KafkaService, Request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::service::fetch::{Asker, Fetch, Limits, Moved, Outcome, Standing, Want, cold_job};
use crate::shard::{Shard, WaitingFetch};
use crate::standing::WatcherId;
use answer::{Answering, Draft};

pub(super) fn call(
    kafka: &mut KafkaService,
    shard: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<FetchRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let attendance = match attend(kafka, shard, &message, asked) {
        Ok(attendance) => attendance,
        Err(error_code) => {
            return asked.respond(reply, &FetchResponse { error_code, ..FetchResponse::default() });
        }
    };
    let answering = Answering {
        asked,
        endpoint: kafka.endpoint.clone(),
        is_read_committed: message.isolation_level == READ_COMMITTED,
    };
    let mut round = Round::new(Arc::clone(&kafka.engine), attendance, answering);
    let wants = round.wants(kafka);
    let mut fetch = Fetch::new(kafka.engine.config.read_path, limits(&message, &kafka.engine), wants);
    if shard.engine.health.has_failed() {
        let refused = fetch.refused(&ServiceError::storage_failed());
        return reply.send(round.answer(refused));
    }
    match round.begin(shard, &mut fetch, message.max_wait_ms > 0) {
        Standing::Enough => reply.send(round.answer(fetch.finish(&shard.engine))),
        Standing::Cold => shard.engine.readers.run(cold_job(fetch, round.later(reply.later()))),
        Standing::TooLittle => {
            let wait = Duration::from_millis(u64::try_from(message.max_wait_ms).unwrap_or(0));
            let watcher = round.watcher;
            let waiting = WaitingFetch::new(fetch, round.later(reply.later()), watcher);
            kafka.waiting = shard.park_fetch(Instant::now() + wait, waiting);
        }
    }
}

const READ_COMMITTED: i8 = 1;
/// From here on topics are named by their ids.
const VERSION_OF_IDS: i16 = 13;

fn limits(message: &FetchRequest<'_>, engine: &Engine) -> Limits {
    let size = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
    let max_bytes = size(message.max_bytes).min(engine.config.fetch_max_bytes);
    // No batch is larger than a frame.
    Limits { min_bytes: size(message.min_bytes).min(max_bytes), max_bytes, batch_max: usize::MAX }
}

/// The session that a request goes with.
enum Attendance {
    /// For this request only.
    Without(Sitting),
    /// To be opened with the answer.
    Opens(Sitting, Arc<Sessions>),
    /// Lent.
    GoesOn(Lease, WatcherId),
}

impl Attendance {
    fn sitting(&mut self) -> Option<&mut Sitting> {
        match self {
            Self::Without(sitting) | Self::Opens(sitting, _) => Some(sitting),
            Self::GoesOn(lease, _) => lease.sitting(),
        }
    }
}

/// Finds or makes the session, and tells it what the request says.
fn attend(
    kafka: &KafkaService,
    shard: &mut Shard,
    message: &FetchRequest<'_>,
    asked: Asked,
) -> Result<Attendance, KafkaError> {
    let is_by_id = asked.version >= VERSION_OF_IDS;
    let started = kafka.sessions.begin(message.session_id, message.session_epoch, is_by_id);
    let mut lease = match started.map_err(code_of)? {
        Started::GoOn(lease) => lease,
        Started::Without => return Ok(Attendance::Without(new_sitting(message, is_by_id))),
        Started::Full => {
            let sitting = new_sitting(message, is_by_id);
            return Ok(Attendance::Opens(sitting, Arc::clone(&kafka.sessions)));
        }
    };
    let Some(sitting) = lease.sitting() else { return Err(KafkaError::FETCH_SESSION_ID_NOT_FOUND) };
    update(sitting, message, is_by_id);
    for topic in &message.forgotten_topics_data {
        let key = key_of(topic.topic, topic.topic_id, is_by_id);
        topic.partitions.iter().for_each(|partition| sitting.forget(shard, key.clone(), *partition));
    }
    let is_empty = sitting.session.len() == 0;
    let watcher = sitting.attend(shard).ok_or(KafkaError::FETCH_SESSION_ID_NOT_FOUND)?;
    match lease.touch() {
        true => Ok(Attendance::GoesOn(lease, watcher)),
        // The session is over with its last partition.
        false if is_empty => Ok(Attendance::Without(Sitting::new())),
        false => Err(KafkaError::FETCH_SESSION_ID_NOT_FOUND),
    }
}

fn code_of(error: SessionError) -> KafkaError {
    match error {
        SessionError::NotFound => KafkaError::FETCH_SESSION_ID_NOT_FOUND,
        SessionError::Epoch => KafkaError::INVALID_FETCH_SESSION_EPOCH,
        SessionError::TopicNaming => KafkaError::FETCH_SESSION_TOPIC_ID_ERROR,
    }
}

fn new_sitting(message: &FetchRequest<'_>, is_by_id: bool) -> Sitting {
    let mut sitting = Sitting::new();
    update(&mut sitting, message, is_by_id);
    sitting
}

fn update(sitting: &mut Sitting, message: &FetchRequest<'_>, is_by_id: bool) {
    for topic in &message.topics {
        let key = key_of(topic.topic, topic.topic_id, is_by_id);
        for partition in &topic.partitions {
            sitting.session.update(key.clone(), partition.partition, terms(partition));
        }
    }
}

fn key_of(name: &str, id: Uuid, is_by_id: bool) -> TopicKey {
    if is_by_id { TopicKey::Id(id) } else { TopicKey::Name(name.into()) }
}

fn terms(asked: &FetchPartition) -> Terms {
    Terms {
        offset: asked.fetch_offset,
        max_bytes: asked.partition_max_bytes,
        leader_epoch: asked.current_leader_epoch,
        last_epoch: asked.last_fetched_epoch,
    }
}

/// One request on its way to its answer.
struct Round {
    engine: Arc<Engine>,
    attendance: Attendance,
    watcher: Option<WatcherId>,
    answering: Answering,
    /// By want: its number in the session.
    numbers: Vec<u32>,
    /// The other way round, once somebody asks.
    wants: HashMap<u32, u32>,
}

impl Round {
    fn new(engine: Arc<Engine>, mut attendance: Attendance, answering: Answering) -> Self {
        let numbers = attendance.sitting().map(|sitting| sitting.session.ready()).unwrap_or_default();
        let watcher = match &attendance {
            Attendance::GoesOn(_, watcher) => Some(*watcher),
            Attendance::Without(_) | Attendance::Opens(..) => None,
        };
        Self { engine, attendance, watcher, answering, numbers, wants: HashMap::new() }
    }

    fn wants(&mut self, kafka: &mut KafkaService) -> Vec<Want> {
        let Self { engine, attendance, numbers, .. } = self;
        let Some(sitting) = attendance.sitting() else { return Vec::new() };
        let wants =
            numbers.iter().filter_map(|number| sitting.want(engine, Some(&mut kafka.places), *number));
        wants.collect()
    }

    /// Looks at what is ready, and has watched what had nothing; if the request is going to wait, all of it.
    fn begin(&mut self, shard: &mut Shard, fetch: &mut Fetch, may_wait: bool) -> Standing {
        let mut standing = fetch.begin(may_wait);
        let (Some(watcher), Some(sitting)) = (self.watcher, self.attendance.sitting()) else {
            return standing;
        };
        // A session with nothing ready waits for one of its partitions.
        if may_wait && fetch.standing() == Standing::TooLittle {
            standing = Standing::TooLittle;
        }
        let mut is_moved = false;
        for (index, partition, has_nothing) in fetch.looked_at() {
            let number = self.numbers[index as usize];
            let Some(slot) = sitting.session.slot(number) else { continue };
            if !slot.is_watched && (has_nothing || standing == Standing::TooLittle) {
                slot.is_watched = shard.watch(watcher, partition, number);
                is_moved = true;
            }
        }
        if !is_moved {
            return standing;
        }
        // Whoever moved one before it was watched told nobody.
        fetch.look_once_more(standing)
    }

    /// Answers when it is time.
    fn later(self, reply: Reply<KafkaResponse>) -> Box<dyn Asker> {
        Box::new(Later { round: self, reply })
    }

    fn answer(mut self, outcomes: Vec<Outcome>) -> KafkaResponse {
        let is_full = self.watcher.is_none();
        let mut draft = Draft::default();
        if let Some(sitting) = self.attendance.sitting() {
            for (number, outcome) in self.numbers.iter().zip(outcomes) {
                let Some(slot) = sitting.session.slot(*number) else { continue };
                let (topic, partition) = (slot.topic.clone(), slot.partition);
                let (told, seen) = self.answering.tell(partition, outcome);
                if sitting.session.tell(*number, seen, is_full) {
                    draft.add(&topic, told);
                }
            }
        }
        let session_id = match self.attendance {
            Attendance::Without(_) => 0,
            Attendance::Opens(sitting, sessions) if sitting.session.len() > 0 => {
                sessions.open(sitting, self.answering.asked.version >= VERSION_OF_IDS)
            }
            Attendance::Opens(..) => 0,
            Attendance::GoesOn(lease, _) => lease.id,
        };
        self.answering.answer(session_id, draft)
    }
}

/// A request that waits.
struct Later {
    round: Round,
    reply: Reply<KafkaResponse>,
}

impl Asker for Later {
    fn answer(self: Box<Self>, outcomes: Vec<Outcome>) {
        let Self { round, reply } = *self;
        reply.send(round.answer(outcomes));
    }

    fn moved(&mut self, number: u32) -> Moved {
        let Round { engine, attendance, numbers, wants, .. } = &mut self.round;
        let Some(sitting) = attendance.sitting() else { return Moved::Nothing };
        sitting.session.wake(number);
        if wants.is_empty() {
            wants.extend(numbers.iter().copied().zip(0..));
        }
        let moved = match wants.get(&number) {
            Some(index) => Moved::Again(*index),
            None => match sitting.want(engine, None, number) {
                Some(want) => {
                    wants.insert(number, u32::try_from(numbers.len()).unwrap_or(u32::MAX));
                    numbers.push(number);
                    Moved::New(want)
                }
                None => return Moved::Nothing,
            },
        };
        // Who told of this movement tells of the next one, too.
        if let Some(slot) = sitting.session.slot(number) {
            slot.is_watched = true;
        }
        moved
    }
}
