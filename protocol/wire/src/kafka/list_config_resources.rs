//! ListConfigResources: what has settings. Version 0 knew client metrics only.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for what has settings.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ListConfigResources, versions = 0..=1, flexible = 0..)]
pub struct ListConfigResourcesRequest {
    /// The types, as in DescribeConfigs; empty: all.
    #[kafka(versions = 1..)]
    pub resource_types: Vec<i8>,
}

/// What has settings.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ListConfigResources, versions = 0..=1, flexible = 0..)]
pub struct ListConfigResourcesResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// The resources.
    pub config_resources: Vec<ConfigResource<'a>>,
}

/// Something with settings.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ConfigResource<'a> {
    /// Its name.
    pub resource_name: Cow<'a, str>,
    /// What it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    #[kafka(versions = 1.., default = 16, ignorable)]
    pub resource_type: i8,
}
