//! Kafka's protocol: message -> service call -> message, one file per API.
//!
//! Invariants: what ApiVersions tells is what [`SERVED`] has, and nothing else is answered; a request that Kafka would
//! not answer closes the connection with a line in the log.

mod api_versions;
pub(crate) mod codec;
mod fetch;
mod list_offsets;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
pub(crate) mod session;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf, BytesMut};
use folio_channel::{Reply, Responder, Service};
use folio_mapped::MapSlice;
use folio_record::LeaderEpoch;
use folio_wire::kafka::header::RequestHeader;
use folio_wire::kafka::{ApiKey, Message, Reader, encode_response};

use crate::config::Endpoint;
use crate::engine::Engine;
use crate::purgatory::Ticket;
use crate::service::fetch::Places;
use crate::shard::Shard;
use codec::{KafkaRequest, KafkaResponse};
use session::sitting::Sessions;

/// One Kafka connection's requests.
pub(crate) struct KafkaService {
    engine: Arc<Engine>,
    /// Where this client is told that the broker is.
    endpoint: Endpoint,
    /// Only who produces is held back when too much waits for the disk.
    has_produced: bool,
    places: Places,
    sessions: Arc<Sessions>,
    /// The fetch that waits. It goes with the connection.
    waiting: Option<Ticket>,
}

/// Serves one API.
type Adapter = fn(&mut KafkaService, &mut Shard, &mut Request, KafkaResponder<'_>);

type KafkaResponder<'a> = Responder<'a, KafkaResponse>;

/// Every API that there is here. Its versions are those of Kafka 4.4.
const SERVED: &[(ApiKey, Adapter)] = &[
    (ApiKey::Produce, produce::call),
    (ApiKey::Fetch, fetch::call),
    (ApiKey::ListOffsets, list_offsets::call),
    (ApiKey::Metadata, metadata::call),
    (ApiKey::ApiVersions, api_versions::call),
    (ApiKey::OffsetForLeaderEpoch, offset_for_leader_epoch::call),
];

/// This broker's number in its cluster of one.
const NODE_ID: i32 = 1;

/// A request whose header was read.
struct Request {
    asked: Asked,
    /// The message.
    body: BytesMut,
}

/// What the answer needs to know of the request.
#[derive(Clone, Copy, Debug)]
struct Asked {
    version: i16,
    correlation_id: i32,
}

impl KafkaService {
    /// The service of a client that is told to come back to `endpoint`.
    pub(crate) fn new(engine: Arc<Engine>, endpoint: Endpoint, sessions: Arc<Sessions>) -> Self {
        Self { engine, endpoint, has_produced: false, places: Places::default(), sessions, waiting: None }
    }
}

impl Service<Shard> for KafkaService {
    type Request = KafkaRequest;
    type Response = KafkaResponse;

    fn call(&mut self, shard: &mut Shard, request: KafkaRequest, reply: KafkaResponder<'_>) {
        if let Some(answer) = api_versions::of_another_time(&request.frame) {
            return reply.send(answer);
        }
        match open(request) {
            Ok((adapter, mut request)) => adapter(self, shard, &mut request, reply),
            Err(why) => reply.send(KafkaResponse::Close(why.into())),
        }
    }

    fn poll_ready(&mut self, _shard: &mut Shard) -> bool {
        !(self.has_produced && self.engine.pressure.is_on())
    }

    fn closed(&mut self, shard: &mut Shard) {
        self.waiting.take().into_iter().for_each(|ticket| shard.forget_fetch(ticket));
    }
}

/// The cluster's name, in Kafka's letters.
fn cluster_id(engine: &Engine) -> String {
    URL_SAFE_NO_PAD.encode(engine.dir.node().cluster.as_bytes())
}

/// A leader epoch; clients that know of none say -1.
fn epoch(number: i32) -> Option<LeaderEpoch> {
    (number >= 0).then(|| LeaderEpoch::new(number))
}

/// Reads the header, and says who serves the rest, or why nobody does.
fn open(request: KafkaRequest) -> Result<(Adapter, Request), String> {
    let mut body = request.frame;
    let mut reader = Reader::new(&body);
    let header = RequestHeader::decode(&mut reader).map_err(|error| error.to_string())?;
    let RequestHeader { api, version, correlation_id, client_id } = header;
    let served = SERVED.iter().find(|(key, _)| *key == api);
    let Some((_, adapter)) = served.filter(|_| api.spec().versions.contains(version)) else {
        return Err(format!("{api:?} version {version} is not served here (client id {client_id:?})"));
    };
    let size = reader.at();
    body.advance(size);
    Ok((*adapter, Request { asked: Asked { version, correlation_id }, body }))
}

impl Request {
    /// Reads the message. One that cannot be read closes the connection.
    fn decode<'a, 'r, T: Message<'a>>(
        &'a self,
        reply: KafkaResponder<'r>,
    ) -> Option<(T, KafkaResponder<'r>)> {
        match T::decode(&mut Reader::new(&self.body), self.asked.version) {
            Ok(message) => Some((message, reply)),
            Err(error) => {
                let what = (T::API, self.asked.version);
                reply.send(KafkaResponse::Close(format!("{:?} version {}: {error}", what.0, what.1).into()));
                None
            }
        }
    }
}

impl Asked {
    /// Answers now.
    fn respond<'a, T: Message<'a>>(self, reply: KafkaResponder<'_>, message: &T) {
        reply.send(self.answer(message, Vec::new()));
    }

    /// Answers a request that was kept.
    fn respond_later<'a, T: Message<'a>>(self, reply: Reply<KafkaResponse>, message: &T) {
        reply.send(self.answer(message, Vec::new()));
    }

    /// The answer, with the record bytes that are left out of `message`. One that cannot be encoded closes the connection.
    fn answer<'a, T: Message<'a>>(self, message: &T, records: Vec<MapSlice>) -> KafkaResponse {
        match encode_response(self.version, self.correlation_id, message) {
            Ok(encoded) => KafkaResponse::Answer { encoded, records },
            Err(error) => {
                tracing::error!(api = ?T::API, version = self.version, %error, "an answer cannot be encoded");
                KafkaResponse::Close("its request has no answer that can be encoded".into())
            }
        }
    }
}
