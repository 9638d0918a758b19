//! The answer to a fetch. Record bytes go from their mapping to the socket; what is encoded here says around them what
//! it has to.

use std::borrow::Cow;
use std::collections::HashMap;

use folio_mapped::MapSlice;
use folio_wire::kafka::current_leader::{LeaderIdAndEpoch, NodeEndpoint};
use folio_wire::kafka::fetch::{EpochEndOffset, FetchResponse, FetchableTopicResponse, PartitionData};
use folio_wire::kafka::{KafkaError, Records};
use uuid::Uuid;

use crate::config::Endpoint;
use crate::kafka::codec::KafkaResponse;
use crate::kafka::session::{Seen, TopicKey};
use crate::kafka::{Asked, NODE_ID};
use crate::service::fetch::{Found, Outcome};

/// What an answer depends on, besides what was found.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) asked: Asked,
    pub(super) endpoint: Endpoint,
    pub(super) is_read_committed: bool,
}

/// What a partition had, in words of the answer, and the records that go with it.
pub(super) type Told = (PartitionData<'static>, Option<MapSlice>);

/// An answer in the making. A topic stands in it once, however its partitions come: clients lose what is told of it in
/// two places.
#[derive(Debug, Default)]
pub(super) struct Draft {
    topics: Vec<(TopicKey, Vec<Told>)>,
    places: HashMap<TopicKey, usize>,
}

/// From here on an answer may say where a leader is.
const VERSION_OF_ENDPOINTS: i16 = 16;

impl Draft {
    pub(super) fn add(&mut self, topic: &TopicKey, told: Told) {
        // Most partitions stand beside others of their topic.
        let place = match self.topics.last() {
            Some((last, _)) if last == topic => self.topics.len() - 1,
            _ => *self.places.entry(topic.clone()).or_insert_with(|| {
                self.topics.push((topic.clone(), Vec::new()));
                self.topics.len() - 1
            }),
        };
        self.topics[place].1.push(told);
    }
}

impl Answering {
    /// The answer to the request. The session is the one to go on with, or 0.
    pub(super) fn answer(&self, session_id: i32, draft: Draft) -> KafkaResponse {
        let mut records = Vec::new();
        let mut names_leader = false;
        let responses = draft.topics.into_iter().map(|(key, told)| {
            let partitions = told.into_iter().map(|(data, slice)| {
                records.extend(slice);
                names_leader |= data.current_leader.leader_id == NODE_ID;
                data
            });
            let partitions = partitions.collect();
            let (topic, topic_id) = match key {
                TopicKey::Name(name) => (Cow::Owned(name.to_string()), Uuid::nil()),
                TopicKey::Id(id) => (Cow::Borrowed(""), id),
            };
            FetchableTopicResponse { topic, topic_id, partitions }
        });
        let responses = responses.collect();
        let this_node = || NodeEndpoint {
            node_id: NODE_ID,
            host: Cow::Borrowed(&self.endpoint.host),
            port: i32::from(self.endpoint.port),
            rack: None,
        };
        let node_endpoints = names_leader.then(this_node).into_iter().collect();
        let answer = FetchResponse { session_id, responses, node_endpoints, ..FetchResponse::default() };
        self.asked.answer(&answer, records)
    }

    /// What one partition had, for the client and for its session.
    pub(super) fn tell(&self, partition: i32, outcome: Outcome) -> (Told, Seen) {
        let (mut data, slice, is_held_back) = self.partition(outcome);
        data.partition_index = partition;
        let seen = Seen {
            has_records: slice.is_some(),
            is_held_back,
            high_watermark: data.high_watermark,
            log_start: data.log_start_offset,
            is_odd: data.error_code != KafkaError::NONE || data.diverging_epoch.epoch >= 0,
        };
        ((data, slice), seen)
    }

    fn partition(&self, outcome: Outcome) -> (PartitionData<'static>, Option<MapSlice>, bool) {
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
                None => return self.found(found, nothing),
            },
        };
        let error_code = error.kafka();
        // Where Kafka finds out only as it reads, it tells of no transactions, and not that there are none.
        let is_late = matches!(
            error_code,
            KafkaError::OFFSET_OUT_OF_RANGE
                | KafkaError::FENCED_LEADER_EPOCH
                | KafkaError::UNKNOWN_LEADER_EPOCH
        );
        let aborted_transactions = (!is_late).then(Vec::new);
        let mut refused = PartitionData { error_code, aborted_transactions, ..nothing };
        if let Some(found) = found
            && error_code == KafkaError::FENCED_LEADER_EPOCH
            && self.asked.version >= VERSION_OF_ENDPOINTS
        {
            refused.current_leader =
                LeaderIdAndEpoch { leader_id: NODE_ID, leader_epoch: found.leader_epoch.get() };
        }
        (refused, None, false)
    }

    fn found(
        &self,
        found: Found,
        nothing: PartitionData<'static>,
    ) -> (PartitionData<'static>, Option<MapSlice>, bool) {
        let size = found.slice.as_ref().map_or(0, MapSlice::len);
        let diverging =
            found.diverging.map(|(epoch, end)| EpochEndOffset { epoch: epoch.get(), end_offset: end.get() });
        let data = PartitionData {
            high_watermark: found.high_watermark.get(),
            last_stable_offset: found.high_watermark.get(),
            log_start_offset: found.log_start.get(),
            diverging_epoch: diverging.unwrap_or_default(),
            // Nothing was ever aborted; who does not ask is told so by a null.
            aborted_transactions: self.is_read_committed.then(Vec::new),
            records: Some(Records::Spliced(size)),
            ..nothing
        };
        (data, found.slice, found.is_held_back)
    }
}
