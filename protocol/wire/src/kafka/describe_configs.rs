//! DescribeConfigs: the settings of topics and brokers, with where each value comes from.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for settings.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeConfigs, versions = 1..=4, flexible = 4..)]
pub struct DescribeConfigsRequest<'a> {
    /// Whose settings.
    pub resources: Vec<DescribeConfigsResource<'a>>,
    /// Whether to tell all values that a key has, not only the one that counts.
    pub include_synonyms: bool,
    /// Whether to tell what keys mean.
    #[kafka(versions = 3..)]
    pub include_documentation: bool,
}

/// Something with settings.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribeConfigsResource<'a> {
    /// What it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    pub resource_type: i8,
    /// Its name: a topic, a broker's id, or empty for all brokers.
    pub resource_name: &'a str,
    /// The keys, or null: all.
    #[kafka(nullable)]
    pub configuration_keys: Option<Vec<&'a str>>,
}

/// Settings.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeConfigs, versions = 1..=4, flexible = 4..)]
pub struct DescribeConfigsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// By resource.
    pub results: Vec<DescribeConfigsResult<'a>>,
}

/// The settings of one resource.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribeConfigsResult<'a> {
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// What it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    pub resource_type: i8,
    /// Its name: a topic, a broker's id, or empty for all brokers.
    pub resource_name: Cow<'a, str>,
    /// The settings.
    pub configs: Vec<DescribeConfigsResourceResult<'a>>,
}

/// A setting.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribeConfigsResourceResult<'a> {
    /// Its key.
    pub name: Cow<'a, str>,
    /// Its value.
    #[kafka(nullable)]
    pub value: Option<Cow<'a, str>>,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// Where the value comes from: 1 the topic, 2 this broker at run time, 3 all brokers at run time, 4 the broker's
    /// file, 5 the default; -1 unknown.
    #[kafka(default = -1)]
    pub config_source: i8,
    /// Whether the value is kept secret, and null here.
    pub is_sensitive: bool,
    /// All values that the key has, the one that counts first.
    pub synonyms: Vec<DescribeConfigsSynonym<'a>>,
    /// 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password; 0 unknown.
    #[kafka(versions = 3.., ignorable)]
    pub config_type: i8,
    /// What the key means.
    #[kafka(versions = 3.., nullable, ignorable)]
    pub documentation: Option<Cow<'a, str>>,
}

/// A value that a key has somewhere.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribeConfigsSynonym<'a> {
    /// The key there.
    pub name: Cow<'a, str>,
    /// The value there.
    #[kafka(nullable)]
    pub value: Option<Cow<'a, str>>,
    /// Where that is, as `config_source`.
    pub source: i8,
}
