//! Settings of topics and of brokers, as they are told and changed.

use std::fmt;

/// Whose settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    /// Of the topic of this name.
    Topic(String),
    /// Of the broker that is asked.
    Broker,
    /// What was set for all brokers while they ran.
    AllBrokers,
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// What holds; `None`: another setting counts, see its documentation.
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
    pub synonyms: Vec<ConfigSynonym>,
}

/// A value that a setting has somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// What the setting is called there.
    pub name: String,
    /// The value.
    pub value: String,
    /// Where.
    pub source: ConfigSource,
}

/// Where a value was set. Of several, the first holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What kind of value a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A change of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// It has this value from then on.
    Set(String, String),
    /// It is not set any more: what is behind it holds.
    Delete(String),
    /// What a list lacks of these parts is added to it.
    Append(String, String),
    /// What a list has of these parts is taken from it.
    Subtract(String, String),
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::AllBrokers => "all brokers",
            Self::Configuration => "configuration",
            Self::Default => "default",
        })
    }
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
        })
    }
}
