//! DescribeConfigs: settings, with where their values come from.

use std::borrow::Cow;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym,
};

use super::{KafkaResponder, KafkaService, Request, resource};
use crate::config::kind::Kind;
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::service::configs::{self, Source, Told};
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<DescribeConfigsRequest<'_>>(reply) else { return };
    let with = With { synonyms: message.include_synonyms, documentation: message.include_documentation };
    let results = message.resources.iter().map(|wanted| {
        let names: Option<Vec<String>> = wanted
            .configuration_keys
            .as_ref()
            .map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let told = told(&kafka.engine, wanted.resource_type, wanted.resource_name, names.as_deref());
        let (error_code, why, configs) = match told {
            Ok(told) => (KafkaError::NONE, None, told),
            Err(error) => (error.kafka(), Some(Cow::Owned(error.text)), Vec::new()),
        };
        DescribeConfigsResult {
            error_code,
            error_message: why,
            resource_type: wanted.resource_type,
            resource_name: Cow::Borrowed(wanted.resource_name),
            configs: configs.into_iter().map(|told| with.setting(told)).collect(),
        }
    });
    let answer = DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() };
    request.asked.respond(reply, &answer);
}

fn told(engine: &Engine, kind: i8, name: &str, names: Option<&[String]>) -> Result<Vec<Told>, ServiceError> {
    match kind {
        // There are none of these, whatever they are called.
        resource::BROKER_LOGGER | resource::CLIENT_METRICS => Ok(Vec::new()),
        _ => configs::describe(engine, &resource::named(kind, name)?, names),
    }
}

/// What is told besides the values.
#[derive(Clone, Copy)]
struct With {
    synonyms: bool,
    documentation: bool,
}

impl With {
    fn setting(self, told: Told) -> DescribeConfigsResourceResult<'static> {
        let synonyms = told.synonyms.into_iter().map(|synonym| DescribeConfigsSynonym {
            name: synonym.name,
            value: Some(Cow::Owned(synonym.value)),
            source: source(synonym.source),
        });
        let doc = match told.does_nothing {
            Some(why) => Cow::Owned(format!("{} ({why})", told.doc)),
            None => Cow::Borrowed(told.doc),
        };
        DescribeConfigsResourceResult {
            name: told.name,
            value: told.value.map(Cow::Owned),
            read_only: told.is_read_only,
            config_source: source(told.source),
            is_sensitive: false,
            synonyms: if self.synonyms { synonyms.collect() } else { Vec::new() },
            config_type: kind(told.kind),
            documentation: self.documentation.then_some(doc),
        }
    }
}

/// Kafka's number for a source.
pub(super) fn source(source: Source) -> i8 {
    match source {
        Source::Topic => 1,
        Source::ThisBroker => 2,
        Source::AllBrokers => 3,
        Source::Configuration => 4,
        Source::Default => 5,
    }
}

/// Kafka's number for a type.
fn kind(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::String => 2,
        Kind::Int => 3,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
    }
}
