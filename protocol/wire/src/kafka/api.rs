//! The table of APIs: key, the versions that Kafka 4.4 tells its clients of, the first flexible one, and the
//! largest request.
//!
//! It holds what a Kafka broker offers to clients; what belongs to its controllers is not here. Which of
//! these this broker has is the broker's to say. Kafka tells clients that Produce begins at 0, and serves it
//! from 3 on: librdkafka before 2.11 takes a higher beginning for a broker that cannot compress.

use std::fmt;

/// A range of versions, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    /// The first.
    pub oldest: i16,
    /// The last.
    pub newest: i16,
}

impl Versions {
    /// Whether `version` lies inside.
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.oldest <= version && version <= self.newest
    }
}

/// What the table knows of an API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApiSpec {
    /// Which API.
    pub api: ApiKey,
    /// Its versions, as an ApiVersions answer names them.
    pub versions: Versions,
    /// The first flexible version, if there is one.
    pub flexible_from: Option<i16>,
    /// The largest request, in bytes behind the length of its frame. Enough for every honest client; a larger
    /// one need not be read.
    pub request_size_max: usize,
}

impl ApiSpec {
    /// Whether a version is written with compact lengths and tagged fields, its header included.
    #[must_use]
    pub const fn is_flexible(&self, version: i16) -> bool {
        match self.flexible_from {
            Some(first) => version >= first,
            None => false,
        }
    }
}

macro_rules! apis {
    ($($key:literal $api:ident $oldest:literal $newest:literal $flexible:expr, $size:ident $about:literal;)*) => {
        /// The key of an API, by its name in Kafka.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i16)]
        pub enum ApiKey {
            $(#[doc = concat!(stringify!($key), ": ", $about, ".")] $api = $key,)*
        }

        /// Every API, in order of keys.
        pub const VERSIONS: &[ApiSpec] = &[$(ApiKey::$api.spec()),*];

        impl ApiKey {
            /// The API of a key; `None` if no client has a use for it.
            #[must_use]
            pub const fn new(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$api),)*
                    _ => None,
                }
            }

            /// The key.
            #[must_use]
            pub const fn number(self) -> i16 {
                self as i16
            }

            /// Kafka's name of it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$api => stringify!($api),)*
                }
            }

            /// Its line of the table.
            #[must_use]
            pub const fn spec(self) -> ApiSpec {
                match self {
                    $(Self::$api => ApiSpec {
                        api: self,
                        versions: Versions { oldest: $oldest, newest: $newest },
                        flexible_from: $flexible,
                        request_size_max: $size,
                    },)*
                }
            }
        }
    };
}

/// As Kafka's own default for every request (`socket.request.max.bytes`).
const PRODUCE: usize = 100 << 20;
/// What a client says of each of its partitions, or a group of each of its members.
const MANY: usize = 16 << 20;
/// Lists of topics and settings.
const LISTS: usize = 4 << 20;
/// A few fields.
const FEW: usize = 128 << 10;

apis! {
    0 Produce 0 13 Some(9), PRODUCE "appends record batches";
    1 Fetch 4 18 Some(12), MANY "reads record batches, and waits for them";
    2 ListOffsets 1 11 Some(6), MANY "offsets by time, and the two ends";
    3 Metadata 0 13 Some(9), LISTS "brokers, topics, leaders";
    8 OffsetCommit 2 10 Some(8), MANY "stores a group's offsets";
    9 OffsetFetch 1 10 Some(6), MANY "reads a group's offsets";
    10 FindCoordinator 0 6 Some(3), LISTS "who coordinates a group or a transactional id";
    11 JoinGroup 0 9 Some(6), MANY "enters a classic group";
    12 Heartbeat 0 4 Some(4), FEW "stays in a classic group";
    13 LeaveGroup 0 5 Some(4), LISTS "leaves a classic group";
    14 SyncGroup 0 5 Some(4), MANY "hands out the assignment of a classic group";
    15 DescribeGroups 0 6 Some(5), LISTS "members of classic groups";
    16 ListGroups 0 5 Some(3), LISTS "all groups";
    17 SaslHandshake 0 1 None, FEW "chooses a way to log in";
    18 ApiVersions 0 5 Some(3), FEW "what the broker speaks";
    19 CreateTopics 2 7 Some(5), LISTS "makes topics";
    20 DeleteTopics 1 6 Some(4), LISTS "removes topics";
    21 DeleteRecords 0 2 Some(2), LISTS "raises the start of a log";
    22 InitProducerId 0 5 Some(2), FEW "a producer id and epoch";
    23 OffsetForLeaderEpoch 2 4 Some(4), LISTS "where a leader epoch ended";
    24 AddPartitionsToTxn 0 5 Some(3), LISTS "partitions that a transaction writes to";
    25 AddOffsetsToTxn 0 4 Some(3), FEW "a group whose offsets a transaction commits";
    26 EndTxn 0 5 Some(3), FEW "commits or aborts a transaction";
    27 WriteTxnMarkers 1 2 Some(1), LISTS "puts the end of a transaction into logs";
    28 TxnOffsetCommit 0 6 Some(3), MANY "offsets that a transaction commits";
    29 DescribeAcls 1 3 Some(2), LISTS "who may do what";
    30 CreateAcls 1 3 Some(2), LISTS "allows or denies";
    31 DeleteAcls 1 3 Some(2), LISTS "forgets what was allowed or denied";
    32 DescribeConfigs 1 4 Some(4), LISTS "settings of topics and brokers";
    33 AlterConfigs 0 2 Some(2), LISTS "replaces all settings of a resource";
    34 AlterReplicaLogDirs 1 2 Some(2), LISTS "moves replicas between directories";
    35 DescribeLogDirs 1 5 Some(2), LISTS "sizes of replicas";
    36 SaslAuthenticate 0 2 Some(2), LISTS "logs in";
    37 CreatePartitions 0 3 Some(2), LISTS "adds partitions to topics";
    38 CreateDelegationToken 1 3 Some(2), LISTS "a token to log in with";
    39 RenewDelegationToken 1 2 Some(2), LISTS "prolongs a token";
    40 ExpireDelegationToken 1 2 Some(2), LISTS "ends a token";
    41 DescribeDelegationToken 1 3 Some(2), LISTS "the tokens there are";
    42 DeleteGroups 0 3 Some(2), LISTS "removes groups";
    43 ElectLeaders 0 2 Some(2), LISTS "moves leadership";
    44 IncrementalAlterConfigs 0 1 Some(1), LISTS "changes single settings";
    45 AlterPartitionReassignments 0 1 Some(0), LISTS "moves partitions between brokers";
    46 ListPartitionReassignments 0 0 Some(0), LISTS "the moves under way";
    47 OffsetDelete 0 0 None, LISTS "forgets a group's offsets";
    48 DescribeClientQuotas 0 1 Some(1), LISTS "the quotas there are";
    49 AlterClientQuotas 0 1 Some(1), LISTS "sets quotas";
    50 DescribeUserScramCredentials 0 0 Some(0), LISTS "users that log in by SCRAM";
    51 AlterUserScramCredentials 0 0 Some(0), LISTS "sets their secrets";
    55 DescribeQuorum 0 2 Some(0), LISTS "the metadata quorum";
    57 UpdateFeatures 0 2 Some(0), LISTS "finalizes features of the cluster";
    60 DescribeCluster 0 2 Some(0), FEW "brokers and controller";
    61 DescribeProducers 0 0 Some(0), LISTS "who writes to a partition";
    64 UnregisterBroker 0 0 Some(0), FEW "forgets a broker";
    65 DescribeTransactions 0 0 Some(0), LISTS "the state of transactions";
    66 ListTransactions 0 2 Some(0), LISTS "all transactions";
    68 ConsumerGroupHeartbeat 0 1 Some(0), LISTS "joins, stays in and leaves a group of the newer kind";
    69 ConsumerGroupDescribe 0 1 Some(0), LISTS "members of groups of the newer kind";
    71 GetTelemetrySubscriptions 0 0 Some(0), FEW "which client metrics are wanted";
    72 PushTelemetry 0 0 Some(0), LISTS "client metrics";
    74 ListConfigResources 0 1 Some(0), LISTS "what has settings";
    75 DescribeTopicPartitions 0 0 Some(0), LISTS "topics and partitions, page by page";
    76 ShareGroupHeartbeat 1 1 Some(1), LISTS "joins, stays in and leaves a share group";
    77 ShareGroupDescribe 1 1 Some(1), LISTS "members of share groups";
    78 ShareFetch 1 2 Some(1), MANY "reads records for a share group";
    79 ShareAcknowledge 1 2 Some(1), MANY "settles records of a share group";
    80 AddRaftVoter 0 1 Some(0), LISTS "a voter more in the metadata quorum";
    81 RemoveRaftVoter 0 0 Some(0), LISTS "a voter less in the metadata quorum";
    83 InitializeShareGroupState 0 0 Some(0), LISTS "between brokers";
    84 ReadShareGroupState 0 0 Some(0), LISTS "between brokers";
    85 WriteShareGroupState 0 1 Some(0), LISTS "between brokers";
    86 DeleteShareGroupState 0 0 Some(0), LISTS "between brokers";
    87 ReadShareGroupStateSummary 0 1 Some(0), LISTS "between brokers";
    88 StreamsGroupHeartbeat 0 1 Some(0), LISTS "joins, stays in and leaves a streams group";
    89 StreamsGroupDescribe 0 1 Some(0), LISTS "members of streams groups";
    90 DescribeShareGroupOffsets 0 1 Some(0), LISTS "where share groups are";
    91 AlterShareGroupOffsets 0 0 Some(0), LISTS "moves share groups";
    92 DeleteShareGroupOffsets 0 0 Some(0), LISTS "forgets where share groups are";
    93 StreamsGroupTopologyDescriptionUpdate 0 0 Some(0), LISTS "what a streams application is made of";
    94 UnregisterController 0 0 Some(0), FEW "forgets a controller";
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_rise_and_every_line_is_found_by_its_key() {
        assert!(VERSIONS.is_sorted_by_key(|spec| spec.api));
        for spec in VERSIONS {
            assert_eq!(ApiKey::new(spec.api.number()), Some(spec.api));
            assert!(spec.versions.oldest <= spec.versions.newest, "{}", spec.api);
            assert!(spec.flexible_from.is_none_or(|first| spec.versions.contains(first)), "{}", spec.api);
        }
    }

    #[test]
    fn keys_that_kafka_has_removed_or_keeps_among_its_controllers_are_none() {
        for key in [-1, 4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82, 95, i16::MAX] {
            assert_eq!(ApiKey::new(key), None, "{key}");
        }
    }

    #[test]
    fn produce_is_told_from_0_on_so_that_old_clients_compress() {
        assert_eq!(ApiKey::Produce.spec().versions, Versions { oldest: 0, newest: 13 });
    }
}
