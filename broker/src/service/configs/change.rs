//! Changing settings: request -> transaction -> event -> view. All or none of a request.

use folio_storage::metadata::{Compare, Entry, Key, Operation as Put, Range, Transaction, Value};

use super::{Resource, Scope, describe};
use crate::config::keys::TOPIC_PREFIX;
use crate::config::kind::Kind;
use crate::config::topic_keys::{self, TOPIC_KEYS, TopicKey, broker_named, topic_key};
use crate::defaults::{Settings, value_in};
use crate::engine::{Engine, NODE_ID};
use crate::error::{Fault, ServiceError};
use crate::metadata::MetadataStore;
use crate::service::topics;

/// A change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    pub(crate) value: Option<String>,
}

/// What is done with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Set,
    /// From then on it is what it is where nobody sets it.
    Delete,
    /// Adds to a list what is not in it.
    Append,
    /// Takes from a list what is in it.
    Subtract,
}

/// Sets what is named, and nothing else any more.
///
/// # Errors
/// There is no such topic or setting; a value that it cannot have; the disk.
pub(crate) fn alter(
    engine: &Engine,
    resource: &Resource,
    settings: Vec<(String, Option<String>)>,
    validate_only: bool,
) -> Result<(), ServiceError> {
    change(engine, resource, validate_only, |place, _| {
        let mut set = Settings::new();
        for (name, value) in settings {
            let Some(value) = value else { return Err(null(&name)) };
            set.push((place.known(engine, &name)?, value));
        }
        Ok(set)
    })
}

/// Changes what is named, and leaves all else as it is.
///
/// # Errors
/// As [`alter`]; a setting named twice; a list's operation on a setting that is none.
pub(crate) fn alter_incrementally(
    engine: &Engine,
    resource: &Resource,
    changes: Vec<Change>,
    validate_only: bool,
) -> Result<(), ServiceError> {
    let mut names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ServiceError::new(Fault::InvalidRequest, "Error due to duplicate config keys"));
    }
    change(engine, resource, validate_only, |place, mut set| {
        for change in changes {
            place.apply(engine, &mut set, change)?;
        }
        Ok(set)
    })
}

/// Where settings are stored.
struct Place<'a> {
    resource: &'a Resource,
    key: Key,
}

fn change(
    engine: &Engine,
    resource: &Resource,
    validate_only: bool,
    change: impl FnOnce(&Place<'_>, Settings) -> Result<Settings, ServiceError>,
) -> Result<(), ServiceError> {
    let place = Place::of(engine, resource)?;
    let before = place.stored(engine)?;
    let set = match before.as_ref().map(|entry| &entry.value) {
        Some(Value::Topic(topic)) => topic.settings.clone(),
        Some(Value::Broker(settings)) => settings.clone(),
        _ => Settings::new(),
    };
    let set = change(&place, set)?;
    let set = place.check(engine, &set)?;
    if validate_only {
        return Ok(());
    }
    let compare = match &before {
        Some(entry) => Compare::Modified(place.key.clone(), entry.modified),
        None => Compare::Absent(place.key.clone()),
    };
    let value = match before.map(|entry| entry.value) {
        Some(Value::Topic(topic)) => Value::Topic(folio_storage::metadata::Topic { settings: set, ..topic }),
        _ => Value::Broker(set),
    };
    let operations = vec![Put::Put(place.key, value)];
    topics::commit(engine, Transaction { compares: vec![compare], operations })?;
    topics::follow(engine)
}

impl<'a> Place<'a> {
    fn of(engine: &Engine, resource: &'a Resource) -> Result<Self, ServiceError> {
        let key = match resource {
            Resource::Topic(name) => {
                topics::check_name(name)?;
                let missing = |mut error: ServiceError| {
                    error.text = format!("The topic '{name}' does not exist.");
                    error
                };
                Key::Topic(topics::find(engine, name).map_err(missing)?.id)
            }
            Resource::Broker(Scope::This) => Key::Broker(Some(NODE_ID)),
            Resource::Broker(Scope::All) => Key::Broker(None),
        };
        Ok(Self { resource, key })
    }

    fn stored(&self, engine: &Engine) -> Result<Option<Entry>, ServiceError> {
        let store: &dyn MetadataStore = &engine.dir;
        // The present is never forgotten.
        let (_, entries) = store.range(&Range::Key(self.key.clone()), None).unwrap_or_default();
        let entry = entries.into_iter().next();
        match (self.resource, &entry) {
            // Deleted since it was found.
            (Resource::Topic(name), None) => Err(ServiceError::unknown_topic(name)),
            _ => Ok(entry),
        }
    }

    /// The name under which a setting is stored.
    fn known(&self, engine: &Engine, name: &str) -> Result<String, ServiceError> {
        match self.resource {
            // The check of all values says what is wrong with it.
            Resource::Topic(_) => Ok(name.to_owned()),
            Resource::Broker(_) => match of_broker(name) {
                Some(key) => Ok(key.name.to_owned()),
                None => Err(fixed(engine, name)),
            },
        }
    }

    fn apply(&self, engine: &Engine, set: &mut Settings, change: Change) -> Result<(), ServiceError> {
        let Change { name, operation, value } = change;
        let name = match self.known(engine, &name) {
            Ok(known) => known,
            // Nothing to do, then.
            Err(error) if operation == Operation::Delete && error.fault == Fault::InvalidConfig => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let value = match (operation, value) {
            (Operation::Delete, _) => {
                set.retain(|(known, _)| *known != name);
                return Ok(());
            }
            (_, None) => return Err(null(&name)),
            (Operation::Set, Some(value)) => value,
            (Operation::Append | Operation::Subtract, Some(value)) => {
                self.list(engine, set, &name, operation, &value)?
            }
        };
        set.retain(|(known, _)| *known != name);
        set.push((name, value));
        Ok(())
    }

    /// What becomes of a list.
    fn list(
        &self,
        engine: &Engine,
        set: &Settings,
        name: &str,
        operation: Operation,
        value: &str,
    ) -> Result<String, ServiceError> {
        if topic_key(name).is_none_or(|key| key.kind != Kind::List) {
            let operation = if operation == Operation::Append { "APPEND" } else { "SUBTRACT" };
            let text = format!("Can't {operation} to key {name} because its type is not LIST.");
            return Err(ServiceError::new(Fault::InvalidConfig, text));
        }
        let parts = |text: &str| -> Vec<String> {
            text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
        };
        let holds = match value_in(set, name) {
            Some(value) => value.to_owned(),
            None => self.holds(engine, name),
        };
        let mut list = parts(&holds);
        for part in parts(value) {
            match operation {
                Operation::Subtract => list.retain(|known| *known != part),
                _ if list.contains(&part) => {}
                _ => list.push(part),
            }
        }
        Ok(list.join(","))
    }

    /// What holds of a setting that is not set here.
    fn holds(&self, engine: &Engine, name: &str) -> String {
        let told = describe(engine, self.resource, Some(&[name.to_owned()])).unwrap_or_default();
        let value = told.into_iter().next().and_then(|told| told.value);
        value.or_else(|| topic_key(name).map(|key| key.default.to_owned())).unwrap_or_default()
    }

    /// All of what is to be set, as it is stored.
    fn check(&self, engine: &Engine, set: &Settings) -> Result<Settings, ServiceError> {
        let fault = match self.resource {
            Resource::Topic(_) => Fault::InvalidConfig,
            Resource::Broker(_) => Fault::InvalidRequest,
        };
        let named = |text: String| ServiceError::new(fault, self.by_its_name(set, text));
        let set = topic_keys::canonical(set).map_err(named)?;
        let view = engine.view.load();
        let defaults = match self.resource {
            Resource::Topic(_) => &view.defaults().topic,
            Resource::Broker(_) => &engine.config.topic,
        };
        topic_keys::settings_of(defaults, &set).map_err(|text| ServiceError::new(fault, text))?;
        Ok(set)
    }

    /// A broker's setting is refused by the name that brokers have for it.
    fn by_its_name(&self, set: &Settings, text: String) -> String {
        if matches!(self.resource, Resource::Topic(_)) {
            return text;
        }
        let keys = set.iter().filter_map(|(name, _)| topic_key(name));
        let at = |key: &TopicKey| format!(" configuration {}:", key.name);
        match keys.into_iter().find(|key| text.contains(&at(key))) {
            Some(key) => {
                text.replacen(&at(key), &format!(" configuration {}:", super::broker_name(key).name), 1)
            }
            None => text,
        }
    }
}

/// The setting of topics whose default is called so, by us or by Kafka.
fn of_broker(name: &str) -> Option<&'static TopicKey> {
    let ours =
        name.strip_prefix(TOPIC_PREFIX).and_then(|name| TOPIC_KEYS.iter().find(|key| key.name == name));
    ours.or_else(|| broker_named(name))
}

/// Why a broker's setting cannot be changed.
fn fixed(engine: &Engine, name: &str) -> ServiceError {
    let known = describe(engine, &Resource::Broker(Scope::This), Some(&[name.to_owned()]));
    if known.is_ok_and(|known| !known.is_empty()) {
        let text = format!("Cannot update these configs dynamically: [{name}]");
        return ServiceError::new(Fault::InvalidRequest, text);
    }
    ServiceError::new(Fault::InvalidConfig, format!("Unknown broker config name: {name}"))
}

fn null(name: &str) -> ServiceError {
    ServiceError::new(Fault::InvalidRequest, format!("Null value not supported for : {name}"))
}
