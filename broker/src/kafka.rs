//! Kafka's protocol: message -> service call -> message, one file per API.
//!
//! Invariants: what ApiVersions tells is what [`SERVED`] has, and nothing else is answered; a request that Kafka would
//! not answer closes the connection with a line in the log.

mod alter_configs;
mod api_versions;
pub(crate) mod codec;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod resource;
pub(crate) mod session;
mod sync_group;
mod topic_name;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf, BytesMut};
use folio_channel::{Reply, Responder, Service};
use folio_mapped::MapSlice;
use folio_record::LeaderEpoch;
use folio_wire::kafka::header::RequestHeader;
use folio_wire::kafka::{ApiKey, KafkaError, Message, Reader, encode_response};

use crate::config::Endpoint;
use crate::engine::{Disk, Engine};
use crate::error::ServiceError;
use crate::partition::Partition;
use crate::purgatory::Ticket;
use crate::service::fetch::Places;
use crate::service::topics;
use crate::shard::Shard;
use codec::{KafkaRequest, KafkaResponse};
use session::sitting::Sessions;

/// One Kafka connection's requests.
pub(crate) struct KafkaService {
    engine: Arc<Engine>,
    /// Where this client is told that the broker is.
    endpoint: Endpoint,
    /// Where it has come from.
    host: Arc<str>,
    /// What it called itself last.
    client_id: Arc<str>,
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
    (ApiKey::OffsetCommit, offset_commit::call),
    (ApiKey::OffsetFetch, offset_fetch::call),
    (ApiKey::FindCoordinator, find_coordinator::call),
    (ApiKey::JoinGroup, join_group::call),
    (ApiKey::Heartbeat, heartbeat::call),
    (ApiKey::LeaveGroup, leave_group::call),
    (ApiKey::SyncGroup, sync_group::call),
    (ApiKey::DescribeGroups, describe_groups::call),
    (ApiKey::ListGroups, list_groups::call),
    (ApiKey::ApiVersions, api_versions::call),
    (ApiKey::InitProducerId, init_producer_id::call),
    (ApiKey::OffsetForLeaderEpoch, offset_for_leader_epoch::call),
    (ApiKey::CreateTopics, create_topics::call),
    (ApiKey::DeleteTopics, delete_topics::call),
    (ApiKey::DeleteRecords, delete_records::call),
    (ApiKey::DescribeAcls, describe_acls::call),
    (ApiKey::DescribeConfigs, describe_configs::call),
    (ApiKey::AlterConfigs, alter_configs::all),
    (ApiKey::DescribeLogDirs, describe_log_dirs::call),
    (ApiKey::CreatePartitions, create_partitions::call),
    (ApiKey::DeleteGroups, delete_groups::call),
    (ApiKey::ElectLeaders, elect_leaders::call),
    (ApiKey::IncrementalAlterConfigs, alter_configs::single),
    (ApiKey::ListPartitionReassignments, list_partition_reassignments::call),
    (ApiKey::OffsetDelete, offset_delete::call),
    (ApiKey::DescribeQuorum, describe_quorum::call),
    (ApiKey::DescribeCluster, describe_cluster::call),
    (ApiKey::DescribeProducers, describe_producers::call),
    (ApiKey::ListConfigResources, list_config_resources::call),
    (ApiKey::DescribeTopicPartitions, describe_topic_partitions::call),
];

/// Elements of all lists of one request: a few bytes of it can ask for a hundred times as many of memory, and of an
/// answer.
const ELEMENTS_MAX: usize = 100_000;

/// This broker's number in its cluster of one.
const NODE_ID: i32 = crate::engine::NODE_ID as i32;

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
    /// The service of a client that has come from `host` and is told to come back to `endpoint`.
    pub(crate) fn new(
        engine: Arc<Engine>,
        endpoint: Endpoint,
        host: Arc<str>,
        sessions: Arc<Sessions>,
    ) -> Self {
        let (client_id, places) = ("".into(), Places::default());
        Self { engine, endpoint, host, client_id, has_produced: false, places, sessions, waiting: None }
    }
}

impl Service<Shard> for KafkaService {
    type Request = KafkaRequest;
    type Response = KafkaResponse;

    fn call(&mut self, shard: &mut Shard, request: KafkaRequest, reply: KafkaResponder<'_>) {
        if let Some(answer) = api_versions::of_another_time(&request.frame) {
            return reply.send(answer);
        }
        match open(request, &mut self.client_id) {
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

/// A partition by its topic's name and its number.
///
/// # Errors
/// There is none.
fn partition(engine: &Engine, topic: &str, index: i32) -> Result<Arc<Partition<Disk>>, ServiceError> {
    topics::partition(engine, topic, index)
}

/// The cluster's name, in Kafka's letters.
fn cluster_id(engine: &Engine) -> String {
    URL_SAFE_NO_PAD.encode(engine.dir.node().cluster.as_bytes())
}

/// A leader epoch; clients that know of none say -1.
fn epoch(number: i32) -> Option<LeaderEpoch> {
    (number >= 0).then(|| LeaderEpoch::new(number))
}

/// What is wrong with something that was asked of a group, as Kafka's coordinator puts it: what its disk has to do with
/// is for the client to look for the coordinator again.
fn group_error(error: &ServiceError) -> KafkaError {
    match error.kafka() {
        KafkaError::KAFKA_STORAGE_ERROR | KafkaError::REQUEST_TIMED_OUT => {
            KafkaError::COORDINATOR_NOT_AVAILABLE
        }
        KafkaError::MESSAGE_TOO_LARGE => KafkaError::UNKNOWN_SERVER_ERROR,
        error => error,
    }
}

/// As [`group_error`], of an outcome.
fn group_code<T>(outcome: &Result<T, ServiceError>) -> KafkaError {
    outcome.as_ref().err().map_or(KafkaError::NONE, group_error)
}

/// Reads the header, and says who serves the rest, or why nobody does.
fn open(request: KafkaRequest, client: &mut Arc<str>) -> Result<(Adapter, Request), String> {
    let mut body = request.frame;
    let mut reader = Reader::new(&body);
    let header = RequestHeader::decode(&mut reader).map_err(|error| error.to_string())?;
    let RequestHeader { api, version, correlation_id, client_id } = header;
    let served = SERVED.iter().find(|(key, _)| *key == api);
    let Some((_, adapter)) = served.filter(|_| api.spec().versions.contains(version)) else {
        return Err(format!("{api:?} version {version} is not served here (client id {client_id:?})"));
    };
    let size = reader.at();
    let client_id = client_id.unwrap_or_default();
    if **client != *client_id {
        *client = client_id.into();
    }
    body.advance(size);
    Ok((*adapter, Request { asked: Asked { version, correlation_id }, body }))
}

impl Request {
    /// Reads the message. One that cannot be read closes the connection.
    fn decode<'a, 'r, T: Message<'a>>(
        &'a self,
        reply: KafkaResponder<'r>,
    ) -> Option<(T, KafkaResponder<'r>)> {
        let mut reader = Reader::new(&self.body).with_elements_max(ELEMENTS_MAX);
        match T::decode(&mut reader, self.asked.version) {
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

    /// The answer, with the record bytes that are left out of `message`. One that cannot be encoded closes the
    /// connection.
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
