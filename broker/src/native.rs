//! The native protocol's adapters: message -> service call -> message, one file per kind.

pub(crate) mod codec;
mod configs;
mod fetch;
mod group_admin;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod records;
mod status;
mod subscribe;
mod topics;

use std::sync::Arc;

use folio_channel::{Channel, Reply, Responder, Service};
use folio_wire::native::frame::HEADER_AT;
use folio_wire::native::{Answer, ErrorCode, Head, Kind, Request};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::ServiceError;
use crate::service::fetch::Places;
use crate::service::subscribe::Streams;
use crate::shard::Shard;
use codec::{NativeRequest, NativeResponse};

/// One native connection's requests.
pub(crate) struct NativeService {
    engine: Arc<Engine>,
    /// Where the client has come from.
    host: Arc<str>,
    /// Only who produces is held back when too much waits for the disk.
    has_produced: bool,
    places: Places,
    waiting: fetch::Waiting,
    /// Each with the head of the request that began it.
    streams: Streams<Head>,
}

impl NativeService {
    pub(crate) fn new(engine: Arc<Engine>, channel: Channel<Shard>) -> Self {
        let address = channel.remote_address().map(|address| address.ip().to_canonical().to_string());
        Self {
            engine,
            host: address.unwrap_or_default().into(),
            has_produced: false,
            places: Places::default(),
            waiting: fetch::Waiting::default(),
            streams: Streams::new(channel),
        }
    }
}

impl Service<Shard> for NativeService {
    type Request = NativeRequest;
    type Response = NativeResponse;

    fn call(&mut self, shard: &mut Shard, request: NativeRequest, reply: Responder<'_, NativeResponse>) {
        let head = request.head;
        let kind = match Kind::supported(head.kind, head.version) {
            Ok(kind) => kind,
            Err(unsupported) => {
                let head = Head { kind: Kind::Unsupported.number(), version: 1, ..head };
                return respond(head, &unsupported, reply);
            }
        };
        match kind {
            // `supported` never says so of a request.
            Kind::Unsupported | Kind::Batches | Kind::SubscriptionEnd => drop(reply),
            Kind::Metadata => metadata::call(&self.engine, &request, reply),
            Kind::TopicCreate => topics::create(&self.engine, &request, reply),
            Kind::TopicList => topics::list(&self.engine, &request, reply),
            Kind::TopicDescribe => topics::describe(&self.engine, &request, reply),
            Kind::TopicDelete => topics::delete(&self.engine, &request, reply),
            Kind::PartitionsCreate => topics::grow(&self.engine, &request, reply),
            Kind::RecordsDelete => records::delete(&self.engine, &request, reply),
            Kind::ConfigDescribe => configs::describe(&self.engine, &request, reply),
            Kind::ConfigAlter => configs::alter(&self.engine, &request, reply),
            Kind::Produce => {
                self.has_produced = true;
                produce::call(shard, request, reply);
            }
            Kind::Fetch => fetch::call(shard, &mut self.places, &mut self.waiting, &request, reply),
            Kind::ListOffsets => offsets::call(&self.engine, &request, reply),
            Kind::InitProducer => producers::init(&self.engine, &request, reply),
            Kind::DescribeProducers => producers::describe(&self.engine, &request, reply),
            Kind::JoinGroup => groups::join(&self.engine, &self.host, &request, reply),
            Kind::SyncGroup => groups::sync(&self.engine, &request, reply),
            Kind::Heartbeat => groups::heartbeat(&self.engine, &request, reply),
            Kind::LeaveGroup => groups::leave(&self.engine, &request, reply),
            Kind::CommitOffsets => groups::commit(&self.engine, &request, reply),
            Kind::FetchOffsets => groups::fetch(&self.engine, &request, reply),
            Kind::GroupList => group_admin::list(&self.engine, &request, reply),
            Kind::GroupDescribe => group_admin::describe(&self.engine, &request, reply),
            Kind::GroupReset => group_admin::reset(&self.engine, &self.host, &request, reply),
            Kind::GroupUndo => group_admin::undo(&self.engine, &request, reply),
            Kind::GroupDelete => group_admin::delete(&self.engine, &self.host, &request, reply),
            Kind::Status => status::call(&self.engine, &request, reply),
            Kind::Subscribe => subscribe::subscribe(shard, &mut self.streams, &request, reply),
            Kind::Credit => subscribe::credit(&mut self.streams, &request, reply),
            Kind::Unsubscribe => subscribe::unsubscribe(shard, &mut self.streams, &request, reply),
        }
    }

    fn poll_ready(&mut self, _shard: &mut Shard) -> bool {
        !(self.has_produced && self.engine.pressure.is_on())
    }

    fn next_push(&mut self, shard: &mut Shard) -> Option<NativeResponse> {
        subscribe::frame(self.streams.next(shard)?)
    }

    fn closed(&mut self, shard: &mut Shard) {
        self.waiting.forget(shard);
        self.streams.close(shard);
    }
}

/// Reads the header of a request. One that is not of its kind, although its checksum is right, is refused with what is
/// wrong with it; where it ends is known, so the connection stays.
fn header<'a, 'r, T: Request + Deserialize<'a>>(
    request: &'a NativeRequest,
    reply: Responder<'r, NativeResponse>,
) -> Option<(T, Responder<'r, NativeResponse>)> {
    match folio_wire::native::header::decode(&request.front[HEADER_AT..]) {
        Ok(header) => Some((header, reply)),
        Err(error) => {
            let refused = T::Answer::refused(ErrorCode::INVALID_REQUEST, error.to_string());
            respond(request.head, &refused, reply);
            None
        }
    }
}

/// As [`header`], of a request about many things; more of them than [`ENTRIES_MAX`] are refused.
fn header_of_many<'a, 'r, T: Request + Deserialize<'a>>(
    request: &'a NativeRequest,
    reply: Responder<'r, NativeResponse>,
    count: impl Fn(&T) -> usize,
) -> Option<(T, Responder<'r, NativeResponse>)> {
    let (message, reply) = header::<T>(request, reply)?;
    let count = count(&message);
    if count > ENTRIES_MAX {
        let text = format!("{count} entries in one request; {ENTRIES_MAX} are the limit");
        respond(request.head, &T::Answer::refused(ErrorCode::INVALID_REQUEST, text), reply);
        return None;
    }
    Some((message, reply))
}

/// Entries of one request: a few bytes of it can ask for a hundred times as many of an answer.
const ENTRIES_MAX: usize = 10_000;

/// Answers now.
fn respond<T: Serialize>(head: Head, header: &T, reply: Responder<'_, NativeResponse>) {
    send(reply, encoded(head, header, Vec::new()));
}

/// Answers a request that was kept.
fn respond_later<T: Serialize>(head: Head, header: &T, reply: Reply<NativeResponse>) {
    send_later(reply, encoded(head, header, Vec::new()));
}

/// An answer that could not be encoded closes the connection.
fn send(reply: Responder<'_, NativeResponse>, response: Option<NativeResponse>) {
    if let Some(response) = response {
        reply.send(response);
    }
}

/// See [`send`].
fn send_later(reply: Reply<NativeResponse>, response: Option<NativeResponse>) {
    if let Some(response) = response {
        reply.send(response);
    }
}

/// An answer that is too large to encode closes the connection, with a line in the log.
fn encoded<T: Serialize>(
    head: Head,
    header: &T,
    records: Vec<folio_mapped::MapSlice>,
) -> Option<NativeResponse> {
    NativeResponse::new(head, header, records)
        .inspect_err(|error| tracing::error!(kind = head.kind, %error, "an answer cannot be encoded"))
        .ok()
}

/// The code and text of an outcome.
fn code<T>(outcome: &Result<T, ServiceError>) -> (ErrorCode, Option<String>) {
    match outcome {
        Ok(_) => (ErrorCode::NONE, None),
        Err(error) => (error.native(), Some(error.text.clone())),
    }
}
