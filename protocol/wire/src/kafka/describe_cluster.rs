//! DescribeCluster: brokers and controller.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for the brokers.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeCluster, versions = 0..=2, flexible = 0..)]
pub struct DescribeClusterRequest {
    /// Whether to tell what the client may do with the cluster.
    pub include_cluster_authorized_operations: bool,
    /// 1: brokers; 2: controllers.
    #[kafka(versions = 1.., default = 1)]
    pub endpoint_type: i8,
    /// Whether to tell of brokers that are shut out as well.
    #[kafka(versions = 2..)]
    pub include_fenced_brokers: bool,
}

/// The brokers.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeCluster, versions = 0..=2, flexible = 0..)]
pub struct DescribeClusterResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(nullable, default = None)]
    pub error_message: Option<Cow<'a, str>>,
    /// 1: brokers; 2: controllers.
    #[kafka(versions = 1.., default = 1)]
    pub endpoint_type: i8,
    /// The id of the cluster.
    pub cluster_id: Cow<'a, str>,
    /// The broker that administers, or -1.
    #[kafka(default = -1)]
    pub controller_id: i32,
    /// The brokers.
    pub brokers: Vec<DescribeClusterBroker<'a>>,
    /// Bits of what the client may do with the cluster; `i32::MIN` if nobody asked.
    #[kafka(default = i32::MIN)]
    pub cluster_authorized_operations: i32,
}

/// A broker.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribeClusterBroker<'a> {
    /// Its id.
    pub broker_id: i32,
    /// The host to connect to.
    pub host: Cow<'a, str>,
    /// The port to connect to.
    pub port: i32,
    /// The rack of the broker, if it has one.
    #[kafka(nullable, default = None)]
    pub rack: Option<Cow<'a, str>>,
    /// Whether it is shut out.
    #[kafka(versions = 2..)]
    pub is_fenced: bool,
}
