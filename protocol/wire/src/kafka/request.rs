//! Any request: what a frame turns into before anybody knows which it is.

use super::alter_configs::AlterConfigsRequest;
use super::api::ApiKey;
use super::api_versions::ApiVersionsRequest;
use super::create_partitions::CreatePartitionsRequest;
use super::create_topics::CreateTopicsRequest;
use super::delete_groups::DeleteGroupsRequest;
use super::delete_records::DeleteRecordsRequest;
use super::delete_topics::DeleteTopicsRequest;
use super::describe_acls::DescribeAclsRequest;
use super::describe_cluster::DescribeClusterRequest;
use super::describe_configs::DescribeConfigsRequest;
use super::describe_groups::DescribeGroupsRequest;
use super::describe_log_dirs::DescribeLogDirsRequest;
use super::describe_producers::DescribeProducersRequest;
use super::describe_quorum::DescribeQuorumRequest;
use super::describe_topic_partitions::DescribeTopicPartitionsRequest;
use super::elect_leaders::ElectLeadersRequest;
use super::fetch::FetchRequest;
use super::find_coordinator::FindCoordinatorRequest;
use super::heartbeat::HeartbeatRequest;
use super::incremental_alter_configs::IncrementalAlterConfigsRequest;
use super::init_producer_id::InitProducerIdRequest;
use super::join_group::JoinGroupRequest;
use super::leave_group::LeaveGroupRequest;
use super::list_config_resources::ListConfigResourcesRequest;
use super::list_groups::ListGroupsRequest;
use super::list_offsets::ListOffsetsRequest;
use super::list_partition_reassignments::ListPartitionReassignmentsRequest;
use super::message::Message;
use super::metadata::MetadataRequest;
use super::offset_commit::OffsetCommitRequest;
use super::offset_delete::OffsetDeleteRequest;
use super::offset_fetch::OffsetFetchRequest;
use super::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use super::produce::ProduceRequest;
use super::reader::{DecodeError, DecodeFault, Reader};
use super::sync_group::SyncGroupRequest;
use super::writer::Writer;

macro_rules! requests {
    ($($api:ident($request:ty);)*) => {
        /// A request of one of the APIs that are declared here.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Request<'a> {
            $(#[doc = concat!("A request of [`", stringify!($api), "`](ApiKey::", stringify!($api), ").")] $api($request),)*
        }

        impl<'a> Request<'a> {
            /// The APIs that are declared here.
            pub const APIS: &'static [ApiKey] = &[$(ApiKey::$api),*];

            /// Reads the request behind a header. An API or a version that is not declared here is
            /// [`DecodeFault::Version`].
            pub fn decode(reader: &mut Reader<'a>, api: ApiKey, version: i16) -> Result<Self, DecodeError> {
                match api {
                    $(ApiKey::$api => <$request>::decode(reader, version).map(Self::$api),)*
                    _ => Err(reader.error(DecodeFault::Version { version })),
                }
            }

            /// Writes the request, without a header.
            pub fn encode(&self, writer: &mut Writer, version: i16) {
                match self {
                    $(Self::$api(request) => request.encode(writer, version),)*
                }
            }

            /// Its API.
            #[must_use]
            pub const fn api(&self) -> ApiKey {
                match self {
                    $(Self::$api(_) => ApiKey::$api,)*
                }
            }
        }
    };
}

requests! {
    AlterConfigs(AlterConfigsRequest<'a>);
    ApiVersions(ApiVersionsRequest<'a>);
    CreatePartitions(CreatePartitionsRequest<'a>);
    CreateTopics(CreateTopicsRequest<'a>);
    DeleteGroups(DeleteGroupsRequest<'a>);
    DeleteRecords(DeleteRecordsRequest<'a>);
    DeleteTopics(DeleteTopicsRequest<'a>);
    DescribeAcls(DescribeAclsRequest<'a>);
    DescribeCluster(DescribeClusterRequest);
    DescribeConfigs(DescribeConfigsRequest<'a>);
    DescribeGroups(DescribeGroupsRequest<'a>);
    DescribeLogDirs(DescribeLogDirsRequest<'a>);
    DescribeProducers(DescribeProducersRequest<'a>);
    DescribeQuorum(DescribeQuorumRequest<'a>);
    DescribeTopicPartitions(DescribeTopicPartitionsRequest<'a>);
    ElectLeaders(ElectLeadersRequest<'a>);
    Fetch(FetchRequest<'a>);
    FindCoordinator(FindCoordinatorRequest<'a>);
    Heartbeat(HeartbeatRequest<'a>);
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest<'a>);
    InitProducerId(InitProducerIdRequest<'a>);
    JoinGroup(JoinGroupRequest<'a>);
    LeaveGroup(LeaveGroupRequest<'a>);
    ListConfigResources(ListConfigResourcesRequest);
    ListGroups(ListGroupsRequest<'a>);
    ListOffsets(ListOffsetsRequest<'a>);
    ListPartitionReassignments(ListPartitionReassignmentsRequest<'a>);
    Metadata(MetadataRequest<'a>);
    OffsetCommit(OffsetCommitRequest<'a>);
    OffsetDelete(OffsetDeleteRequest<'a>);
    OffsetFetch(OffsetFetchRequest<'a>);
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest<'a>);
    Produce(ProduceRequest<'a>);
    SyncGroup(SyncGroupRequest<'a>);
}
