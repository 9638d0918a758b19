//! ApiVersions: the first question of a connection: what does the broker speak?
//!
//! The client asks in its newest version. A broker that lacks it answers in version 0 with UNSUPPORTED_VERSION
//! and the range of this API, and the client asks again (KIP-511).

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks what the broker speaks.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ApiVersions, versions = 0..=5, flexible = 3..)]
pub struct ApiVersionsRequest<'a> {
    /// The client library: letters, digits, `-` and `.` inside.
    #[kafka(versions = 3.., ignorable)]
    pub client_software_name: &'a str,
    /// Its version: letters, digits, `-` and `.` inside.
    #[kafka(versions = 3.., ignorable)]
    pub client_software_version: &'a str,
    /// The cluster that the client believes to be connected to, if any.
    #[kafka(versions = 5.., nullable, default = None, ignorable)]
    pub cluster_id: Option<&'a str>,
    /// The broker that the client believes to be connected to, or -1.
    #[kafka(versions = 5.., default = -1, ignorable)]
    pub node_id: i32,
}

/// What the broker speaks.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ApiVersions, versions = 0..=5, flexible = 3..)]
pub struct ApiVersionsResponse<'a> {
    /// How it went.
    pub error_code: KafkaError,
    /// The APIs.
    pub api_keys: Vec<ApiVersion>,
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 1.., ignorable)]
    pub throttle_time_ms: i32,
    /// Features of a cluster that the broker can take part in.
    #[kafka(tag = 0, versions = 3.., ignorable)]
    pub supported_features: Vec<SupportedFeatureKey<'a>>,
    /// Rises with every change of `finalized_features`; -1 if there are none.
    #[kafka(tag = 1, versions = 3.., default = -1, ignorable)]
    pub finalized_features_epoch: i64,
    /// Features that the cluster has agreed on.
    #[kafka(tag = 2, versions = 3.., ignorable)]
    pub finalized_features: Vec<FinalizedFeatureKey<'a>>,
    /// Of clusters of old: whether they can leave ZooKeeper.
    #[kafka(tag = 3, versions = 3.., ignorable)]
    pub zk_migration_ready: bool,
}

/// An API and its versions.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ApiVersion {
    /// The key of the API.
    pub api_key: i16,
    /// The oldest version.
    pub min_version: i16,
    /// The newest version.
    pub max_version: i16,
}

/// A feature and the levels that the broker knows.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct SupportedFeatureKey<'a> {
    /// The feature.
    pub name: Cow<'a, str>,
    /// The lowest level. Before version 4 a feature with 0 here is left out: old clients refuse it.
    pub min_version: i16,
    /// The highest level.
    pub max_version: i16,
}

/// A feature and the levels that are agreed on.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct FinalizedFeatureKey<'a> {
    /// The feature.
    pub name: Cow<'a, str>,
    /// The highest level.
    pub max_version_level: i16,
    /// The lowest level.
    pub min_version_level: i16,
}
