//! The one table of configuration keys; the file, the environment, the flags and the documentation follow it.
//!
//! Invariants: names are dotted lower case and none is a prefix of another (so that each is a value in
//! the file and not also a table); no two share a name in the environment.

mod table;
#[cfg(test)]
mod tests;

use super::Config;
use super::kind::Kind;
use super::topic_keys::{self, TopicKey};

pub use table::BROKER_KEYS;
pub(crate) use table::MAPPED_FILES_LEAST;

/// One key of a `T`: its name, what it is for, and how it is read and written.
pub struct Key<T> {
    /// The dotted name.
    pub name: &'static str,
    /// One line: the unit, and why one would change it.
    pub reason: &'static str,
    kind: fn(&T) -> Kind,
    get: fn(&T) -> String,
    set: fn(&mut T, &str) -> Result<(), String>,
}

impl<T> Key<T> {
    /// What kind of value it takes.
    #[must_use]
    pub fn kind(&self, of: &T) -> Kind {
        (self.kind)(of)
    }

    /// The value as it would be written in a file.
    #[must_use]
    pub fn get(&self, of: &T) -> String {
        (self.get)(of)
    }

    /// Reads `text` into its place.
    ///
    /// # Errors
    /// What was expected instead; nothing is changed.
    pub fn set(&self, of: &mut T, text: &str) -> Result<(), String> {
        (self.set)(of, text)
    }
}

/// Where the data is when nobody says.
pub const DEFAULT_DATA_DIR: &str = "folio-data";

/// Where the defaults of topics stand among the broker's keys.
pub const TOPIC_PREFIX: &str = "topic.";

/// Every full name, in the order of the tables.
pub fn names() -> impl Iterator<Item = String> {
    let broker = BROKER_KEYS.iter().map(|key| key.name.to_owned());
    broker.chain(topic_keys::acting().map(|key| format!("{TOPIC_PREFIX}{}", key.name)))
}

/// The value of `name`, or `None` when there is no such key.
#[must_use]
pub fn get(config: &Config, name: &str) -> Option<String> {
    match name.strip_prefix(TOPIC_PREFIX) {
        Some(name) => acting(name).map(|key| key.get(&config.topic)),
        None => broker_key(name).map(|key| key.get(config)),
    }
}

/// Sets `name`.
///
/// # Errors
/// See [`SetError`]; nothing is changed.
pub fn set(config: &mut Config, name: &str, text: &str) -> Result<(), SetError> {
    let set = match name.strip_prefix(TOPIC_PREFIX) {
        Some(name) => acting(name).map(|key| key.set_default(&mut config.topic, text)),
        None => broker_key(name).map(|key| key.set(config, text)),
    };
    set.ok_or_else(|| SetError::Unknown { nearest: nearest(name, names()) })?
        .map_err(|expected| SetError::Value { expected })
}

/// Why a key was not set.
#[derive(Debug, PartialEq, Eq)]
pub enum SetError {
    /// There is no such key; `nearest` is the one most like it.
    Unknown {
        /// The known name with the fewest differences.
        nearest: String,
    },
    /// The value is not one of its kind.
    Value {
        /// What would be.
        expected: String,
    },
}

/// What `name` is for: a line for whoever sets it.
#[must_use]
pub fn reason(name: &str) -> Option<&'static str> {
    match name.strip_prefix(TOPIC_PREFIX) {
        Some(name) => acting(name).map(|key| key.doc),
        None => broker_key(name).map(|key| key.reason),
    }
}

/// The name most like `name`.
pub fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    known.min_by_key(|known| strsim::damerau_levenshtein(name, known)).unwrap_or_default()
}

fn acting(name: &str) -> Option<&'static TopicKey> {
    topic_keys::acting().find(|key| key.name == name)
}

fn broker_key(name: &str) -> Option<&'static Key<Config>> {
    BROKER_KEYS.iter().find(|key| key.name == name)
}
