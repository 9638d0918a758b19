//! What holds of topics that do not say: the broker's configuration, covered by what was set while brokers ran.

use crate::config::TopicSettings;
use crate::config::topic_keys;

/// Settings by the names that topics have for them, as they were set.
pub(crate) type Settings = Vec<(String, String)>;

/// The defaults of all topics at one moment.
#[derive(Debug)]
pub(crate) struct Defaults {
    /// Set for all brokers.
    pub(crate) of_all: Settings,
    /// Set for this one; covers what was set for all.
    pub(crate) of_this: Settings,
    /// What they make of the configuration.
    pub(crate) topic: TopicSettings,
}

impl Defaults {
    /// A setting that this build refuses was accepted by another: then the configuration alone holds, and the log says
    /// so.
    pub(crate) fn new(configured: &TopicSettings, of_all: Settings, of_this: Settings) -> Self {
        let topic = topic_keys::settings_of(configured, &of_all)
            .and_then(|all| topic_keys::settings_of(&all, &of_this))
            .unwrap_or_else(|error| {
                tracing::error!(
                    error,
                    "what was set for brokers is not understood; their configuration holds"
                );
                configured.clone()
            });
        Self { of_all, of_this, topic }
    }
}

/// The value that `settings` have for `name`.
pub(crate) fn value_in<'a>(settings: &'a [(String, String)], name: &str) -> Option<&'a str> {
    settings.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
