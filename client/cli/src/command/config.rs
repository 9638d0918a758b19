//! `folio config`.

use std::collections::BTreeMap;

use folio_client::{Admin, CallError, ConfigChange, ConfigEntry, ConfigResource, ConfigSource};
use serde_json::{Value, json};

use super::connect;
use crate::arguments::{ConfigCommand, Output, Whose};
use crate::exit::Failure;
use crate::output::{done, print, print_json, say, table};

pub(crate) fn run(broker: &str, output: Output, command: ConfigCommand) -> Result<(), Failure> {
    let client = connect(broker)?;
    let admin = client.admin();
    match command {
        ConfigCommand::List { whose, changed } => {
            let mut entries = told(&admin, &whose, None)?;
            entries.retain(|entry| !changed || entry.source != ConfigSource::Default);
            match output {
                Output::Json => entries.iter().try_for_each(|entry| print_json(&as_json(entry))),
                Output::Text if entries.is_empty() => Ok(()),
                Output::Text => print(&as_table(&entries)),
            }
        }
        ConfigCommand::Get { key, whose } => {
            let entries = told(&admin, &whose, Some(&[&key]))?;
            let Some(entry) = entries.first() else {
                let text =
                    format!("{} has no setting {key}; `folio config list` names them", name_of(&whose));
                return Err(Failure::failed(text));
            };
            say_what_does_nothing(&entries);
            match output {
                Output::Json => print_json(&as_json(entry)),
                Output::Text => print(&format!("{}\n", entry.value.as_deref().unwrap_or_default())),
            }
        }
        ConfigCommand::Set { settings, whose } => {
            let text = settings.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>();
            let keys: Vec<&str> = settings.iter().map(|(key, _)| key.as_str()).collect();
            let changes = settings.iter().map(|(key, value)| ConfigChange::Set(key.clone(), value.clone()));
            change(&admin, &whose, changes.collect())?;
            say_what_does_nothing(&told(&admin, &whose, Some(&keys))?);
            let text = format!("set {} of {}", text.join(", "), name_of(&whose));
            done(
                output,
                &text,
                &json!({ "of": name_of(&whose), "set": settings.iter().cloned().collect::<BTreeMap<_, _>>() }),
            )
        }
        ConfigCommand::Unset { keys, whose } => {
            let changes = keys.iter().map(|key| ConfigChange::Delete(key.clone()));
            change(&admin, &whose, changes.collect())?;
            let text = format!("unset {} of {}", keys.join(", "), name_of(&whose));
            done(output, &text, &json!({ "of": name_of(&whose), "unset": keys }))
        }
    }
}

/// Says of settings that do nothing why that is so.
pub(super) fn say_what_does_nothing(entries: &[ConfigEntry]) {
    for entry in entries {
        if let Some(why) = &entry.does_nothing {
            say(format_args!("{} is kept and does nothing: {why}", entry.name));
        }
    }
}

/// A setting as a program reads it.
pub(super) fn as_json(entry: &ConfigEntry) -> Value {
    let synonyms = entry
        .synonyms
        .iter()
        .map(|one| json!({ "name": one.name, "value": one.value, "source": one.source.to_string() }));
    json!({
        "key": entry.name,
        "value": entry.value,
        "source": entry.source.to_string(),
        "kind": entry.kind.to_string(),
        "is_read_only": entry.is_read_only,
        "does_nothing": entry.does_nothing,
        "doc": entry.doc,
        "synonyms": synonyms.collect::<Vec<_>>(),
    })
}

/// Settings as a person reads them.
pub(super) fn as_table(entries: &[ConfigEntry]) -> String {
    let rows = entries.iter().map(|entry| {
        let note = match &entry.does_nothing {
            Some(why) => format!("does nothing: {why}"),
            None if entry.is_read_only => "read-only".to_owned(),
            None => String::new(),
        };
        vec![entry.name.clone(), entry.value.clone().unwrap_or_default(), entry.source.to_string(), note]
    });
    table(&["SETTING", "VALUE", "FROM", "NOTE"], rows, &[])
}

fn told(admin: &Admin, whose: &Whose, names: Option<&[&str]>) -> Result<Vec<ConfigEntry>, Failure> {
    admin.describe_configs(resource(whose), names).wait().map_err(|error| about(whose, error))
}

fn change(admin: &Admin, whose: &Whose, changes: Vec<ConfigChange>) -> Result<(), Failure> {
    admin.alter_configs(resource(whose), changes).wait().map_err(|error| about(whose, error))
}

fn about(whose: &Whose, error: CallError) -> Failure {
    let failure = Failure::from(error);
    match &whose.topic {
        Some(topic) => failure.about(topic),
        None => failure,
    }
}

fn resource(whose: &Whose) -> ConfigResource {
    match &whose.topic {
        Some(topic) => ConfigResource::Topic(topic.clone()),
        None if whose.all_brokers => ConfigResource::AllBrokers,
        None => ConfigResource::Broker,
    }
}

fn name_of(whose: &Whose) -> String {
    match &whose.topic {
        Some(topic) => format!("topic {topic}"),
        None if whose.all_brokers => "all brokers".to_owned(),
        None => "the broker".to_owned(),
    }
}
