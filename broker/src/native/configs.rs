//! Settings: describe, alter.

use folio_channel::Responder;
use folio_wire::native::ErrorCode;
use folio_wire::native::configs::{
    ConfigAlterAnswerV1, ConfigAlterRequestV1, ConfigDescribeAnswerV1, ConfigDescribeRequestV1, ConfigKind,
    ConfigOperation, ConfigResource, ConfigSource, SettingV1, SynonymV1,
};

use super::codec::{NativeRequest, NativeResponse};
use super::{code, header, respond, respond_later};
use crate::config::kind::Kind;
use crate::engine::Engine;
use crate::service::configs::{self, Change, Operation, Resource, Scope, Source, Told};

pub(super) fn describe(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<ConfigDescribeRequestV1<'_>>(request, reply) else { return };
    let names: Option<Vec<String>> =
        message.names.map(|names| names.into_iter().map(str::to_owned).collect());
    let told = configs::describe(engine, &resource(message.resource), names.as_deref());
    let (error, text) = code(&told);
    let settings = told.unwrap_or_default().into_iter().map(setting).collect();
    respond(request.head, &ConfigDescribeAnswerV1 { error, message: text, settings }, reply);
}

pub(super) fn alter(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<ConfigAlterRequestV1<'_>>(request, reply) else { return };
    let ConfigAlterRequestV1 { resource: whose, replaces, validate_only, changes } = message;
    if replaces && changes.iter().any(|change| change.operation != ConfigOperation::Set) {
        let text = "a change that replaces all settings only sets";
        let refused =
            ConfigAlterAnswerV1 { error: ErrorCode::INVALID_REQUEST, message: Some(text.to_owned()) };
        return respond(request.head, &refused, reply);
    }
    let whose = resource(whose);
    let changes: Vec<Change> = changes
        .into_iter()
        .map(|change| Change {
            name: change.name.to_owned(),
            operation: match change.operation {
                ConfigOperation::Set => Operation::Set,
                ConfigOperation::Delete => Operation::Delete,
                ConfigOperation::Append => Operation::Append,
                ConfigOperation::Subtract => Operation::Subtract,
            },
            value: change.value.map(str::to_owned),
        })
        .collect();
    let (head, reply) = (request.head, reply.later());
    engine.admin.run(move |engine| {
        let altered = if replaces {
            let settings = changes.into_iter().map(|change| (change.name, change.value)).collect();
            configs::alter(engine, &whose, settings, validate_only)
        } else {
            configs::alter_incrementally(engine, &whose, changes, validate_only)
        };
        let (error, message) = code(&altered);
        respond_later(head, &ConfigAlterAnswerV1 { error, message }, reply);
    });
}

fn resource(resource: ConfigResource<'_>) -> Resource {
    match resource {
        ConfigResource::Topic(name) => Resource::Topic(name.to_owned()),
        ConfigResource::Broker => Resource::Broker(Scope::This),
        ConfigResource::AllBrokers => Resource::Broker(Scope::All),
    }
}

fn setting(told: Told) -> SettingV1 {
    let synonyms = told.synonyms.into_iter().map(|synonym| SynonymV1 {
        name: synonym.name.into_owned(),
        value: synonym.value,
        source: source(synonym.source),
    });
    SettingV1 {
        name: told.name.into_owned(),
        value: told.value,
        source: source(told.source),
        kind: match told.kind {
            Kind::Boolean => ConfigKind::Boolean,
            Kind::String => ConfigKind::String,
            Kind::Int => ConfigKind::Int,
            Kind::Long => ConfigKind::Long,
            Kind::Double => ConfigKind::Double,
            Kind::List => ConfigKind::List,
        },
        is_read_only: told.is_read_only,
        doc: told.doc.to_owned(),
        does_nothing: told.does_nothing.map(str::to_owned),
        synonyms: synonyms.collect(),
    }
}

fn source(source: Source) -> ConfigSource {
    match source {
        Source::Topic => ConfigSource::Topic,
        Source::ThisBroker => ConfigSource::Broker,
        Source::AllBrokers => ConfigSource::AllBrokers,
        Source::Configuration => ConfigSource::Configuration,
        Source::Default => ConfigSource::Default,
    }
}
