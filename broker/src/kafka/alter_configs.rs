//! AlterConfigs and IncrementalAlterConfigs. A resource's settings change together or not at all.

use std::borrow::Cow;
use std::collections::HashMap;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
use folio_wire::kafka::alter_configs_answer::AlterConfigsResourceResponse;
use folio_wire::kafka::incremental_alter_configs::{
    AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::{KafkaResponder, KafkaService, Request, resource};
use crate::error::{Fault, ServiceError};
use crate::service::configs::{self, Change, Operation, Resource};
use crate::shard::Shard;

/// Everything at once: what is not named goes back to its default.
pub(super) fn all(kafka: &mut KafkaService, _: &mut Shard, request: &mut Request, reply: KafkaResponder<'_>) {
    let Some((message, reply)) = request.decode::<AlterConfigsRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let validate_only = message.validate_only;
    let wanted = message.resources.iter().map(|one| {
        let setting = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        let settings: Vec<_> = one.configs.iter().map(|config| setting(config.name, config.value)).collect();
        (one.resource_type, one.resource_name.to_owned(), settings)
    });
    let wanted: Vec<_> = wanted.collect();
    let reply = reply.later();
    kafka.engine.admin.run(move |engine| {
        let responses =
            each(wanted, |resource, settings| configs::alter(engine, resource, settings, validate_only));
        asked.respond_later(reply, &AlterConfigsResponse { responses, ..AlterConfigsResponse::default() });
    });
}

/// Single settings: all else stays.
pub(super) fn single(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<IncrementalAlterConfigsRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let validate_only = message.validate_only;
    let wanted = message.resources.iter().map(|one| {
        let changes: Result<Vec<Change>, ServiceError> = one.configs.iter().map(change).collect();
        (one.resource_type, one.resource_name.to_owned(), changes)
    });
    let wanted: Vec<_> = wanted.collect();
    let reply = reply.later();
    kafka.engine.admin.run(move |engine| {
        let responses = each(wanted, |resource, changes| {
            configs::alter_incrementally(engine, resource, changes?, validate_only)
        });
        let answer =
            IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() };
        asked.respond_later(reply, &answer);
    });
}

fn change(config: &AlterableConfig<'_>) -> Result<Change, ServiceError> {
    let operation = match config.config_operation {
        0 => Operation::Set,
        1 => Operation::Delete,
        2 => Operation::Append,
        3 => Operation::Subtract,
        number => {
            let text = format!("Unknown operation {number} of setting {}", config.name);
            return Err(ServiceError::new(Fault::InvalidRequest, text));
        }
    };
    Ok(Change { name: config.name.to_owned(), operation, value: config.value.map(str::to_owned) })
}

/// Does something to each resource. One that is named twice is refused.
fn each<T>(
    wanted: Vec<(i8, String, T)>,
    mut alter: impl FnMut(&Resource, T) -> Result<(), ServiceError>,
) -> Vec<AlterConfigsResourceResponse<'static>> {
    let mut named: HashMap<(i8, String), usize> = HashMap::new();
    wanted.iter().for_each(|(kind, name, _)| *named.entry((*kind, name.clone())).or_default() += 1);
    let responses = wanted.into_iter().map(|(kind, name, change)| {
        let is_twice = named.get(&(kind, name.clone())).is_some_and(|&times| times > 1);
        let altered = match is_twice {
            true => Err(ServiceError::new(Fault::InvalidRequest, "Each resource must appear at most once.")),
            false => resource::named(kind, &name).and_then(|resource| alter(&resource, change)),
        };
        let (error_code, why) = match altered {
            Ok(()) => (KafkaError::NONE, None),
            Err(error) => (error.kafka(), Some(Cow::Owned(error.text))),
        };
        AlterConfigsResourceResponse {
            error_code,
            error_message: why,
            resource_type: kind,
            resource_name: Cow::Owned(name),
        }
    });
    responses.collect()
}
