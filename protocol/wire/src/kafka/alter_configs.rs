//! AlterConfigs: all settings of a resource at once; what is not named goes back to its default.

use folio_wire_derive::Message;

use super::alter_configs_answer::AlterConfigsResourceResponse;

/// Replaces settings.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = AlterConfigs, versions = 0..=2, flexible = 2..)]
pub struct AlterConfigsRequest<'a> {
    /// Whose settings.
    pub resources: Vec<AlterConfigsResource<'a>>,
    /// Whether to check only, and change nothing.
    pub validate_only: bool,
}

/// Something with settings.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct AlterConfigsResource<'a> {
    /// What it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    pub resource_type: i8,
    /// Its name: a topic, a broker's id, or empty for all brokers.
    pub resource_name: &'a str,
    /// The settings.
    pub configs: Vec<AlterableConfig<'a>>,
}

/// A setting.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct AlterableConfig<'a> {
    /// Its key.
    pub name: &'a str,
    /// Its value.
    #[kafka(nullable)]
    pub value: Option<&'a str>,
}

/// How it went.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = AlterConfigs, versions = 0..=2, flexible = 2..)]
pub struct AlterConfigsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// By resource.
    pub responses: Vec<AlterConfigsResourceResponse<'a>>,
}
