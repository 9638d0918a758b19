//! Settings of topics and of brokers, told and changed.
//!
//! What holds of a setting is the first of: what the topic says; what was set for this broker, then for all brokers,
//! while they ran; the broker's configuration; the default. Only what was set is stored, under the names that topics
//! have for settings; a broker's defaults of them are called by our names (`topic.retention.ms`) or by Kafka's
//! (`log.retention.ms`).

mod change;
mod fixed;

use std::borrow::Cow;

use super::topics;
use crate::config::keys::{self, BROKER_KEYS, TOPIC_PREFIX};
use crate::config::kind::Kind;
use crate::config::topic_keys::{self, BrokerName, Effect, TOPIC_KEYS, TopicKey, topic_key};
use crate::config::{Config, TopicSettings};
use crate::defaults::{Defaults, value_in};
use crate::engine::Engine;
use crate::error::ServiceError;

pub(crate) use change::{Change, Operation, alter, alter_incrementally};

/// Whose settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Topic(String),
    Broker(Scope),
}

/// Which brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    This,
    /// What was set for all of them, and nothing else.
    All,
}

/// Where a value was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Topic,
    /// While this broker ran.
    ThisBroker,
    /// For all brokers, while one ran.
    AllBrokers,
    /// In the broker's configuration.
    Configuration,
    Default,
}

/// One setting, as it is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) name: Cow<'static, str>,
    /// `None`: it has none of its own, see its synonyms.
    pub(crate) value: Option<String>,
    pub(crate) source: Source,
    pub(crate) kind: Kind,
    /// It can only be set where the broker is started.
    pub(crate) is_read_only: bool,
    /// What it is for.
    pub(crate) doc: &'static str,
    /// Why nothing follows from it, if that is so.
    pub(crate) does_nothing: Option<&'static str>,
    /// Every value that it has somewhere, the one that holds first.
    pub(crate) synonyms: Vec<Synonym>,
}

/// A value that a setting has somewhere, and what the setting is called there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Synonym {
    pub(crate) name: Cow<'static, str>,
    pub(crate) value: String,
    pub(crate) source: Source,
}

/// Tells the settings of these names, or all; a name that there is not is left out.
///
/// # Errors
/// There is no such topic.
pub(crate) fn describe(
    engine: &Engine,
    resource: &Resource,
    names: Option<&[String]>,
) -> Result<Vec<Told>, ServiceError> {
    let is_wanted = |name: &str| names.is_none_or(|names| names.iter().any(|wanted| wanted == name));
    let told = match resource {
        Resource::Topic(name) => {
            topics::check_name(name)?;
            of_topic(engine, &topics::find(engine, name)?.own)
        }
        Resource::Broker(Scope::This) => of_this_broker(engine),
        Resource::Broker(Scope::All) => of_all_brokers(engine),
    };
    Ok(told.into_iter().filter(|told| is_wanted(&told.name)).collect())
}

/// The settings of a topic that sets `own` itself.
pub(crate) fn of_topic(engine: &Engine, own: &[(String, String)]) -> Vec<Told> {
    let view = engine.view.load();
    let hidden = own.iter().filter_map(|(name, _)| topic_key(name)).filter(|key| key.is_hidden());
    let keys = TOPIC_KEYS.iter().chain(hidden);
    keys.map(|key| {
        let own = value_in(own, key.name).map(|value| Synonym {
            name: Cow::Borrowed(key.name),
            value: value.to_owned(),
            source: Source::Topic,
        });
        let of_broker =
            Chain { config: &engine.config, defaults: view.defaults(), key, name: broker_name(key) };
        let mut synonyms: Vec<Synonym> = own.into_iter().chain(of_broker.synonyms()).collect();
        let (value, source) = match synonyms.first() {
            Some(first) => (first.value.clone(), first.source),
            None => (key.default.to_owned(), Source::Default),
        };
        // Kafka's clients know of no other name for these.
        if key.broker_name.is_none() {
            synonyms.retain(|synonym| synonym.source != Source::Default);
        }
        told(key, Cow::Borrowed(key.name), Some(value), source, synonyms)
    })
    .collect()
}

/// By our names, by Kafka's, and what cannot be changed.
fn of_this_broker(engine: &Engine) -> Vec<Told> {
    let view = engine.view.load();
    let chain = |key, name| Chain { config: &engine.config, defaults: view.defaults(), key, name };
    let ours = topic_keys::acting().map(|key| (key, our_name(key)));
    let kafkas = TOPIC_KEYS.iter().filter(|key| key.broker_name.is_some()).map(|key| (key, broker_name(key)));
    let settings = ours.chain(kafkas).map(|(key, name)| {
        let synonyms = chain(key, name.clone()).synonyms();
        let (value, source) = match synonyms.first() {
            Some(first) => (Some(first.value.clone()), first.source),
            None => (None, Source::Default),
        };
        told(key, name.name, value, source, synonyms)
    });
    let own = BROKER_KEYS.iter().map(|key| {
        let value = key.get(&engine.config);
        let default = key.get(&Config::new(keys::DEFAULT_DATA_DIR));
        fixed::told(key.name, key.kind(&engine.config), value, default, key.reason)
    });
    settings.chain(own).chain(fixed::of_kafka(&engine.config)).collect()
}

/// Only what was set for them, by Kafka's names.
fn of_all_brokers(engine: &Engine) -> Vec<Told> {
    let view = engine.view.load();
    let set = view.defaults().of_all.iter().filter_map(|(name, value)| Some((topic_key(name)?, value)));
    set.map(|(key, value)| {
        let Named { name, .. } = broker_name(key);
        let synonym = Synonym { name: name.clone(), value: value.clone(), source: Source::AllBrokers };
        told(key, name, Some(value.clone()), Source::AllBrokers, vec![synonym])
    })
    .collect()
}

/// What a setting of brokers is called, and what counts where it has no value.
#[derive(Clone, Debug)]
struct Named {
    name: Cow<'static, str>,
    instead: Option<(&'static str, &'static str)>,
}

/// As Kafka's clients call it; as we do, where they have no name.
fn broker_name(key: &TopicKey) -> Named {
    match key.broker_name {
        Some(BrokerName { name, instead }) => Named { name: Cow::Borrowed(name), instead },
        None => our_name(key),
    }
}

fn our_name(key: &TopicKey) -> Named {
    Named { name: Cow::Owned(format!("{TOPIC_PREFIX}{}", key.name)), instead: None }
}

/// A setting of topics as brokers have it.
struct Chain<'a> {
    config: &'a Config,
    defaults: &'a Defaults,
    key: &'static TopicKey,
    name: Named,
}

impl Chain<'_> {
    /// Its values, the one that holds first; none, where Kafka's clients are told another setting instead.
    fn synonyms(self) -> Vec<Synonym> {
        let Self { config, defaults, key, name } = self;
        let configured = key.get(&config.topic);
        let is_configured = configured != key.get(&TopicSettings::default());
        let set = [
            (value_in(&defaults.of_this, key.name), Source::ThisBroker),
            (value_in(&defaults.of_all, key.name), Source::AllBrokers),
            (is_configured.then_some(configured.as_str()), Source::Configuration),
        ];
        let set = set.into_iter().filter_map(|(value, source)| Some((value?.to_owned(), source)));
        let mut synonyms: Vec<Synonym> =
            set.map(|(value, source)| Synonym { name: name.name.clone(), value, source }).collect();
        let default = match name.instead {
            None => Some((name.name, key.default)),
            Some(_) if synonyms.is_empty() => None,
            Some((other, value)) => Some((Cow::Borrowed(other), value)),
        };
        synonyms.extend(default.map(|(name, value)| Synonym {
            name,
            value: value.to_owned(),
            source: Source::Default,
        }));
        synonyms
    }
}

fn told(
    key: &TopicKey,
    name: Cow<'static, str>,
    value: Option<String>,
    source: Source,
    synonyms: Vec<Synonym>,
) -> Told {
    let does_nothing = match key.effect {
        Effect::Acts(_) => None,
        Effect::Kept(why) => Some(why),
    };
    Told { name, value, source, kind: key.kind, is_read_only: false, doc: key.doc, does_nothing, synonyms }
}
