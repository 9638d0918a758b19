//! Settings: told and changed.

use std::time::Instant;

use bytes::BytesMut;
use folio_wire::native::configs::{
    ConfigAlterAnswerV1, ConfigAlterRequestV1, ConfigChangeV1, ConfigDescribeAnswerV1,
    ConfigDescribeRequestV1, ConfigKind as WireKind, ConfigOperation, ConfigResource as WireResource,
    ConfigSource as WireSource, SettingV1,
};

use super::{Then, answers, call, encode};
use crate::driver::QueuedCall;
use crate::{ConfigChange, ConfigEntry, ConfigKind, ConfigResource, ConfigSource, ConfigSynonym};

answers!(ConfigDescribeAnswerV1, ConfigAlterAnswerV1);

pub(crate) fn describe_configs(
    whose: ConfigResource,
    names: Option<Vec<String>>,
    deadline: Instant,
    then: Then<Vec<ConfigEntry>>,
) -> QueuedCall {
    let request = move |correlation, out: &mut BytesMut| {
        let names = names.as_ref().map(|names| names.iter().map(String::as_str).collect());
        encode(correlation, &ConfigDescribeRequestV1 { resource: resource(&whose), names }, out)
    };
    let read = |answer: ConfigDescribeAnswerV1| Ok(Ok(answer.settings.into_iter().map(entry).collect()));
    call(deadline, true, request, read, then)
}

/// A call that changes settings; asked twice it changes nothing more.
pub(crate) fn alter_configs(
    whose: ConfigResource,
    changes: Vec<ConfigChange>,
    replaces: bool,
    validate_only: bool,
    deadline: Instant,
    then: Then<()>,
) -> QueuedCall {
    let request = move |correlation, out: &mut BytesMut| {
        let changes = changes.iter().map(change).collect();
        let request = ConfigAlterRequestV1 { resource: resource(&whose), replaces, validate_only, changes };
        encode(correlation, &request, out)
    };
    call(deadline, true, request, |_: ConfigAlterAnswerV1| Ok(Ok(())), then)
}

fn resource(whose: &ConfigResource) -> WireResource<'_> {
    match whose {
        ConfigResource::Topic(name) => WireResource::Topic(name),
        ConfigResource::Broker => WireResource::Broker,
        ConfigResource::AllBrokers => WireResource::AllBrokers,
    }
}

fn change(change: &ConfigChange) -> ConfigChangeV1<'_> {
    let (name, operation, value) = match change {
        ConfigChange::Set(name, value) => (name, ConfigOperation::Set, Some(value)),
        ConfigChange::Delete(name) => (name, ConfigOperation::Delete, None),
        ConfigChange::Append(name, value) => (name, ConfigOperation::Append, Some(value)),
        ConfigChange::Subtract(name, value) => (name, ConfigOperation::Subtract, Some(value)),
    };
    ConfigChangeV1 { name, operation, value: value.map(String::as_str) }
}

fn entry(setting: SettingV1) -> ConfigEntry {
    let synonyms = setting.synonyms.into_iter().map(|synonym| ConfigSynonym {
        name: synonym.name,
        value: synonym.value,
        source: source(synonym.source),
    });
    ConfigEntry {
        name: setting.name,
        value: setting.value,
        source: source(setting.source),
        kind: match setting.kind {
            WireKind::Boolean => ConfigKind::Boolean,
            WireKind::String => ConfigKind::String,
            WireKind::Int => ConfigKind::Int,
            WireKind::Long => ConfigKind::Long,
            WireKind::Double => ConfigKind::Double,
            WireKind::List => ConfigKind::List,
        },
        is_read_only: setting.is_read_only,
        doc: setting.doc,
        does_nothing: setting.does_nothing,
        synonyms: synonyms.collect(),
    }
}

fn source(source: WireSource) -> ConfigSource {
    match source {
        WireSource::Topic => ConfigSource::Topic,
        WireSource::Broker => ConfigSource::Broker,
        WireSource::AllBrokers => ConfigSource::AllBrokers,
        WireSource::Configuration => ConfigSource::Configuration,
        WireSource::Default => ConfigSource::Default,
    }
}
