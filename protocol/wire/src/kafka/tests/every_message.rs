//! Claims about every message in every version: all of them stand in one list.

use kafka_protocol::messages;
use kafka_protocol::protocol::{Decodable, Encodable, VersionRange};
use proptest::prelude::*;
use serde_json::Value;

use crate::kafka::specimen::{Dice, Specimen};
use crate::kafka::*;

/// A message whose type is known no more.
pub(super) struct AnyMessage {
    pub(super) name: &'static str,
    pub(super) api: ApiKey,
    pub(super) versions: Versions,
    pub(super) flexible_from: Option<i16>,
    /// The bytes of a random value, which was read again and found the same.
    pub(super) specimen: fn(&mut Dice, i16) -> Vec<u8>,
    /// Reads bytes to their end and writes what they said.
    pub(super) again: fn(&[u8], i16) -> Result<Vec<u8>, DecodeError>,
    /// What bytes say, under Kafka's names.
    pub(super) json: fn(&[u8], i16) -> Value,
    /// The versions that the crate kafka-protocol has of it.
    pub(super) oracle_versions: Versions,
    /// Has that crate read bytes to their end and write what they said.
    pub(super) oracle_again: fn(&[u8], i16) -> Vec<u8>,
}

macro_rules! messages {
    ($($module:ident: $($message:ident),*;)*) => {
        /// Every request and every answer.
        #[expect(elided_lifetimes_in_paths, reason = "half of them have a lifetime")]
        pub(super) const MESSAGES: &[AnyMessage] = &[$($(AnyMessage {
            name: stringify!($message),
            api: <$module::$message as Message>::API,
            versions: <$module::$message as Message>::VERSIONS,
            flexible_from: <$module::$message as Message>::FLEXIBLE_FROM,
            specimen: |dice, version| {
                let form = <$module::$message as Message>::form(version).expect("a version of the message");
                let value = <$module::$message as Specimen>::arbitrary(dice, form);
                let bytes = encoded(&value, version);
                let read: $module::$message = decoded(&bytes, version).unwrap();
                assert_eq!(read, value, "version {version}");
                bytes
            },
            again: |bytes, version| {
                decoded::<$module::$message>(bytes, version).map(|value| encoded(&value, version))
            },
            json: |bytes, version| {
                let form = <$module::$message as Message>::form(version).expect("a version of the message");
                decoded::<$module::$message>(bytes, version).unwrap().json(form)
            },
            oracle_versions: oracle_versions(<messages::$message as kafka_protocol::protocol::Message>::VERSIONS),
            oracle_again: |mut bytes, version| {
                let read = messages::$message::decode(&mut bytes, version).unwrap();
                assert!(bytes.is_empty(), "{} bytes too many", bytes.len());
                let mut written = Vec::new();
                read.encode(&mut written, version).unwrap();
                written
            },
        }),*),*];
    };
}

messages! {
    alter_configs: AlterConfigsRequest, AlterConfigsResponse;
    api_versions: ApiVersionsRequest, ApiVersionsResponse;
    create_partitions: CreatePartitionsRequest, CreatePartitionsResponse;
    create_topics: CreateTopicsRequest, CreateTopicsResponse;
    delete_groups: DeleteGroupsRequest, DeleteGroupsResponse;
    delete_records: DeleteRecordsRequest, DeleteRecordsResponse;
    delete_topics: DeleteTopicsRequest, DeleteTopicsResponse;
    describe_acls: DescribeAclsRequest, DescribeAclsResponse;
    describe_cluster: DescribeClusterRequest, DescribeClusterResponse;
    describe_configs: DescribeConfigsRequest, DescribeConfigsResponse;
    describe_groups: DescribeGroupsRequest, DescribeGroupsResponse;
    describe_log_dirs: DescribeLogDirsRequest, DescribeLogDirsResponse;
    describe_producers: DescribeProducersRequest, DescribeProducersResponse;
    describe_quorum: DescribeQuorumRequest, DescribeQuorumResponse;
    describe_topic_partitions: DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
    elect_leaders: ElectLeadersRequest, ElectLeadersResponse;
    fetch: FetchRequest, FetchResponse;
    find_coordinator: FindCoordinatorRequest, FindCoordinatorResponse;
    heartbeat: HeartbeatRequest, HeartbeatResponse;
    incremental_alter_configs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    init_producer_id: InitProducerIdRequest, InitProducerIdResponse;
    join_group: JoinGroupRequest, JoinGroupResponse;
    leave_group: LeaveGroupRequest, LeaveGroupResponse;
    list_config_resources: ListConfigResourcesRequest, ListConfigResourcesResponse;
    list_groups: ListGroupsRequest, ListGroupsResponse;
    list_offsets: ListOffsetsRequest, ListOffsetsResponse;
    list_partition_reassignments: ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse;
    metadata: MetadataRequest, MetadataResponse;
    offset_commit: OffsetCommitRequest, OffsetCommitResponse;
    offset_delete: OffsetDeleteRequest, OffsetDeleteResponse;
    offset_fetch: OffsetFetchRequest, OffsetFetchResponse;
    offset_for_leader_epoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    produce: ProduceRequest, ProduceResponse;
    sync_group: SyncGroupRequest, SyncGroupResponse;
}

const fn oracle_versions(range: VersionRange) -> Versions {
    Versions { oldest: range.min, newest: range.max }
}

fn encoded<'a, M: Message<'a>>(message: &M, version: i16) -> Vec<u8> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    let encoded = writer.finish().unwrap();
    assert_eq!(encoded.size(), encoded.heap().len());
    encoded.heap().to_vec()
}

fn decoded<'a, M: Message<'a>>(bytes: &'a [u8], version: i16) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, version)?;
    reader.expect_end()?;
    Ok(message)
}

impl AnyMessage {
    pub(super) fn each_version(&self) -> impl Iterator<Item = i16> {
        self.versions.oldest..=self.versions.newest
    }
}

#[test]
fn a_message_and_the_table_agree_about_versions() {
    for message in MESSAGES {
        let spec = message.api.spec();
        let name = message.name;
        // Kafka tells of three Produce versions more than it has.
        let oldest = if message.api == ApiKey::Produce { 3 } else { spec.versions.oldest };
        assert_eq!(message.versions, Versions { oldest, ..spec.versions }, "{name}");
        assert_eq!(message.flexible_from, spec.flexible_from, "{name}");
        let kind = name.strip_prefix(spec.api.name());
        assert!(matches!(kind, Some("Request" | "Response")), "{name} of {}", spec.api);
    }
}

#[test]
fn a_version_that_a_message_lacks_is_an_error() {
    for message in MESSAGES {
        for version in [message.versions.oldest - 1, message.versions.newest + 1, i16::MIN, i16::MAX] {
            let error = (message.again)(&[0; 64], version).unwrap_err();
            assert_eq!(error.fault, DecodeFault::Version { version }, "{}", message.name);
        }
    }
}

#[test]
fn every_truncation_of_a_message_is_an_error() {
    for message in MESSAGES {
        for version in message.each_version() {
            for seed in 0..4 {
                let bytes = (message.specimen)(&mut Dice(seed), version);
                for end in 0..bytes.len() {
                    let cut = (message.again)(&bytes[..end], version);
                    assert!(cut.is_err(), "{} {version}, {end} of {} bytes", message.name, bytes.len());
                }
            }
        }
    }
}

#[test]
fn a_byte_too_many_is_an_error() {
    for message in MESSAGES {
        let version = message.versions.newest;
        let mut bytes = (message.specimen)(&mut Dice(1), version);
        bytes.push(0);
        let fault = (message.again)(&bytes, version).unwrap_err().fault;
        assert_eq!(fault, DecodeFault::Trailing { left: 1 }, "{}", message.name);
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(seed: u64) {
        for message in MESSAGES {
            for version in message.each_version() {
                let bytes = (message.specimen)(&mut Dice(seed), version);
                prop_assert_eq!((message.again)(&bytes, version).unwrap(), bytes, "{} {}", message.name, version);
            }
        }
    }

    #[test]
    fn what_any_bytes_say_is_written_and_read_the_same(seed: u64, flips in prop::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
        for message in MESSAGES {
            for version in message.each_version() {
                let mut bytes = (message.specimen)(&mut Dice(seed), version);
                for &(at, to) in &flips {
                    if !bytes.is_empty() {
                        let at = usize::from(at) % bytes.len();
                        bytes[at] = to;
                    }
                }
                if let Ok(first) = (message.again)(&bytes, version) {
                    prop_assert_eq!((message.again)(&first, version).unwrap(), first);
                }
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for message in MESSAGES {
            for version in message.each_version() {
                let _ = (message.again)(&bytes, version);
            }
        }
    }
}
