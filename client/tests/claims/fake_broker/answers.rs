//! What a good broker answers.

use bytes::BytesMut;
use folio_client::ErrorCode;
use folio_wire::native::fetch::{FetchAnswerV1, FetchRequestV1, FetchedV1};
use folio_wire::native::header::decode;
use folio_wire::native::metadata::{MetadataAnswerV1, MetadataRequestV1, TopicMetadataV1};
use folio_wire::native::offsets::{ListOffsetsAnswerV1, ListOffsetsRequestV1, ListedOffsetV1, OffsetSpec};
use folio_wire::native::produce::{ProduceAnswerV1, ProduceRequestV1, ProducedV1};
use folio_wire::native::producers::InitProducerAnswerV1;
use folio_wire::native::status::{StatusAnswerV1, StatusRequestV1};
use folio_wire::native::topics::{
    ListedTopicV1, TopicCreateAnswerV1, TopicCreateRequestV1, TopicDeleteAnswerV1, TopicDeleteRequestV1,
    TopicDescribeAnswerV1, TopicDescribeRequestV1, TopicListAnswerV1,
};
use folio_wire::native::{Head, Kind, Message, encode_frame};
use serde::Serialize;

use super::Shared;
use super::partition::{Partition, append_all};

impl Shared {
    pub(super) fn metadata(&self, request: &MetadataRequestV1<'_>, error: ErrorCode) -> MetadataAnswerV1 {
        let state = self.state();
        let names: Vec<_> = match &request.topics {
            Some(topics) => topics.iter().map(|&name| name.to_owned()).collect(),
            None => state.topics.keys().cloned().collect(),
        };
        let topics = names.into_iter().map(|name| {
            let partitions = state.topics.get(&name).map(Vec::len);
            TopicMetadataV1 {
                error: if partitions.is_some() { ErrorCode::NONE } else { ErrorCode::UNKNOWN_TOPIC },
                name,
                id: [7; 16],
                leader_epochs: vec![0; partitions.unwrap_or(0)],
            }
        });
        MetadataAnswerV1 { error, message: None, cluster_id: [1; 16], topics: topics.collect() }
    }

    pub(super) fn produce(
        &self,
        request: &ProduceRequestV1<'_>,
        mut records: &[u8],
        error: ErrorCode,
    ) -> ProduceAnswerV1 {
        let mut state = self.state();
        let entries = request.entries.iter().map(|entry| {
            let own = records.split_off(..entry.record_bytes as usize).unwrap();
            let partition =
                state.topics.get_mut(entry.topic).and_then(|t| t.get_mut(entry.partition as usize));
            let (error, base_offset) = match partition {
                _ if !error.is_none() => (error, -1),
                None => (ErrorCode::UNKNOWN_PARTITION, -1),
                Some(partition) => append_all(partition, own),
            };
            ProducedV1 { error, message: None, base_offset, log_append_time: -1, log_start: 0 }
        });
        let entries = entries.collect();
        drop(state);
        self.changed.notify_all();
        ProduceAnswerV1 { error: ErrorCode::NONE, message: None, entries }
    }

    pub(super) fn init_producer(&self, error: ErrorCode) -> InitProducerAnswerV1 {
        let mut state = self.state();
        state.producers += i64::from(error.is_none());
        let producer_id = if error.is_none() { state.producers } else { -1 };
        let producer_epoch = if error.is_none() { 0 } else { -1 };
        InitProducerAnswerV1 { error, message: None, producer_id, producer_epoch }
    }

    pub(super) fn list_offsets(
        &self,
        request: &ListOffsetsRequestV1<'_>,
        error: ErrorCode,
    ) -> ListOffsetsAnswerV1 {
        let state = self.state();
        let entries = request.entries.iter().map(|entry| {
            let partition = state.topics.get(entry.topic).and_then(|t| t.get(entry.partition as usize));
            let (error, offset, timestamp) = match (partition, entry.spec) {
                _ if !error.is_none() => (error, -1, -1),
                (None, _) => (ErrorCode::UNKNOWN_PARTITION, -1, -1),
                (Some(partition), OffsetSpec::Earliest) => (ErrorCode::NONE, partition.log_start, -1),
                (Some(partition), OffsetSpec::Latest) => (ErrorCode::NONE, partition.log_end(), -1),
                (Some(partition), OffsetSpec::AtTime(time)) => {
                    let (offset, timestamp) = partition.find(time).unwrap_or((-1, -1));
                    (ErrorCode::NONE, offset, timestamp)
                }
            };
            ListedOffsetV1 { error, message: None, offset, timestamp, leader_epoch: 0 }
        });
        ListOffsetsAnswerV1 { error: ErrorCode::NONE, message: None, entries: entries.collect() }
    }

    pub(super) fn topic_create(&self, request: &TopicCreateRequestV1<'_>) -> TopicCreateAnswerV1 {
        let mut state = self.state();
        let exists = state.topics.contains_key(request.name);
        if !exists {
            let partitions = vec![Partition::default(); request.partitions as usize];
            state.topics.insert(request.name.to_owned(), partitions);
        }
        let error = if exists { ErrorCode::TOPIC_EXISTS } else { ErrorCode::NONE };
        let message = exists.then(|| format!("topic {} exists", request.name));
        TopicCreateAnswerV1 { error, message, id: [9; 16] }
    }

    pub(super) fn topic_list(&self) -> TopicListAnswerV1 {
        let state = self.state();
        let topics = state.topics.iter().map(|(name, partitions)| ListedTopicV1 {
            name: name.clone(),
            id: [9; 16],
            partitions: partitions.len() as u32,
        });
        TopicListAnswerV1 { error: ErrorCode::NONE, message: None, topics: topics.collect() }
    }

    pub(super) fn topic_describe(&self, request: &TopicDescribeRequestV1<'_>) -> TopicDescribeAnswerV1 {
        let known = self.state().topics.contains_key(request.name);
        let error = if known { ErrorCode::NONE } else { ErrorCode::UNKNOWN_TOPIC };
        TopicDescribeAnswerV1 {
            error,
            message: None,
            id: [9; 16],
            configs: Vec::new(),
            partitions: Vec::new(),
        }
    }

    pub(super) fn topic_delete(&self, request: &TopicDeleteRequestV1<'_>) -> TopicDeleteAnswerV1 {
        let known = self.state().topics.remove(request.name).is_some();
        let error = if known { ErrorCode::NONE } else { ErrorCode::UNKNOWN_TOPIC };
        TopicDeleteAnswerV1 { error, message: None }
    }

    pub(super) fn of_group(&self, kind: Kind, head: Head, header: &[u8], error: ErrorCode) -> Vec<u8> {
        let group = &self.group;
        match kind {
            Kind::JoinGroup => encode(head, &group.join(&decode(header).unwrap(), error), &[]),
            Kind::SyncGroup => encode(head, &group.sync(&decode(header).unwrap(), error), &[]),
            Kind::Heartbeat => encode(head, &group.heartbeat(&decode(header).unwrap(), error), &[]),
            Kind::LeaveGroup => encode(head, &group.leave(&decode(header).unwrap()), &[]),
            Kind::CommitOffsets => encode(head, &group.commit(&decode(header).unwrap(), error), &[]),
            _ => encode(head, &group.fetch(&decode(header).unwrap(), error), &[]),
        }
    }

    pub(super) fn fetch(&self, request: &FetchRequestV1<'_>, error: ErrorCode) -> (FetchAnswerV1, Vec<u8>) {
        let state = self.state();
        let mut all = Vec::new();
        let entries = request.entries.iter().map(|entry| {
            let partition = state.topics.get(entry.topic).and_then(|t| t.get(entry.partition as usize));
            let mut fetched = FetchedV1 {
                error,
                message: None,
                high_watermark: partition.map_or(-1, Partition::log_end),
                log_start: partition.map_or(-1, |partition| partition.log_start),
                leader_epoch: 0,
                record_bytes: 0,
            };
            match partition {
                _ if !error.is_none() => {}
                None => fetched.error = ErrorCode::UNKNOWN_PARTITION,
                Some(partition) if !(partition.log_start..=partition.log_end()).contains(&entry.offset) => {
                    fetched.error = ErrorCode::OFFSET_OUT_OF_RANGE;
                }
                Some(partition) => {
                    let start = all.len();
                    for (end, batch) in &partition.batches {
                        let size = all.len() - start + batch.len();
                        let first = all.is_empty();
                        if *end > entry.offset
                            && (first
                                || size <= entry.max_bytes as usize
                                    && all.len() <= request.max_bytes as usize)
                        {
                            all.extend_from_slice(batch);
                        } else if *end > entry.offset {
                            break;
                        }
                    }
                    fetched.record_bytes = (all.len() - start) as u32;
                }
            }
            fetched
        });
        let entries = entries.collect();
        (FetchAnswerV1 { error: ErrorCode::NONE, message: None, entries }, all)
    }
}

pub(super) fn status(request: &StatusRequestV1) -> StatusAnswerV1 {
    StatusAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        version: "fake".to_owned(),
        pid: 1,
        run_id: 2,
        uptime_ms: 3,
        data_dir: "nowhere".to_owned(),
        recovered: String::new(),
        topics: 0,
        partitions: 0,
        counters: if request.counters { vec![("answers".to_owned(), 42)] } else { Vec::new() },
    }
}

pub(super) fn encode<A: Message + Serialize>(head: Head, answer: &A, records: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode_frame(&mut bytes, head.answer(), answer, records.len()).unwrap();
    bytes.extend_from_slice(records);
    bytes.to_vec()
}
