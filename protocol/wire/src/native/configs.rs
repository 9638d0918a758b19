//! Settings: of topics and of brokers, told and changed.

use serde::{Deserialize, Serialize};

use super::message::messages;
use super::{ErrorCode, list};

/// Whose settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigResource<'a> {
    /// Of the topic of this name.
    Topic(&'a str),
    /// Of the broker that is asked.
    Broker,
    /// What was set for all brokers while they ran.
    AllBrokers,
}

/// What kind of value a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigKind {
    /// `true` or `false`.
    Boolean,
    /// A text.
    String,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A number.
    Double,
    /// Texts, separated by commas.
    List,
}

/// Where a value was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigSource {
    /// By the topic.
    Topic,
    /// For this broker, while it ran.
    Broker,
    /// For all brokers, while one ran.
    AllBrokers,
    /// In the broker's configuration.
    Configuration,
    /// Nowhere.
    Default,
}

/// Asks for settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDescribeRequestV1<'a> {
    /// Whose.
    #[serde(borrow)]
    pub resource: ConfigResource<'a>,
    /// Of these names only.
    #[serde(borrow, deserialize_with = "list::deserialize_option")]
    pub names: Option<Vec<&'a str>>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDescribeAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The settings that there are.
    #[serde(deserialize_with = "list::deserialize")]
    pub settings: Vec<SettingV1>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingV1 {
    /// Its name.
    pub name: String,
    /// What holds; none: another setting counts, see its documentation.
    pub value: Option<String>,
    /// Where that was set.
    pub source: ConfigSource,
    /// What kind of value it takes.
    pub kind: ConfigKind,
    /// It can be set only where the broker is started.
    pub is_read_only: bool,
    /// What it is for.
    pub doc: String,
    /// Why nothing follows from it, if that is so.
    pub does_nothing: Option<String>,
    /// Every value that it has somewhere, the one that holds first.
    #[serde(deserialize_with = "list::deserialize")]
    pub synonyms: Vec<SynonymV1>,
}

/// A value that a setting has somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynonymV1 {
    /// What the setting is called there.
    pub name: String,
    /// The value.
    pub value: String,
    /// Where.
    pub source: ConfigSource,
}

/// What is done with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigOperation {
    /// It has the value from then on.
    Set,
    /// It is not set any more: what is behind it holds.
    Delete,
    /// The parts of the value are added to a list that lacks them.
    Append,
    /// The parts of the value are taken from a list.
    Subtract,
}

/// Changes settings, all of them or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigAlterRequestV1<'a> {
    /// Whose.
    #[serde(borrow)]
    pub resource: ConfigResource<'a>,
    /// Settings that are not named are not set any more; every change is [`ConfigOperation::Set`] then.
    pub replaces: bool,
    /// Only look whether it could be done.
    pub validate_only: bool,
    /// The changes, none of a setting twice.
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub changes: Vec<ConfigChangeV1<'a>>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChangeV1<'a> {
    /// The setting.
    pub name: &'a str,
    /// What is done with it.
    pub operation: ConfigOperation,
    /// With what; none where it is deleted.
    pub value: Option<&'a str>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigAlterAnswerV1 {
    /// The outcome; with an error nothing has changed.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
}

messages! {
    ConfigDescribeRequestV1<'_> => ConfigDescribeAnswerV1: ConfigDescribe 1;
    ConfigAlterRequestV1<'_> => ConfigAlterAnswerV1: ConfigAlter 1;
}
