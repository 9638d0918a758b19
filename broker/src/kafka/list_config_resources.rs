//! ListConfigResources: what has settings.

use std::borrow::Cow;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use super::{KafkaResponder, KafkaService, NODE_ID, Request, resource};
use crate::service::topics;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<ListConfigResourcesRequest>(reply) else { return };
    let all = [
        resource::TOPIC,
        resource::BROKER,
        resource::BROKER_LOGGER,
        resource::CLIENT_METRICS,
        resource::GROUP,
    ];
    let wanted = match request.asked.version {
        // It asks for the settings of client metrics, of which there are none.
        0 => Vec::new(),
        _ if message.resource_types.is_empty() => all.to_vec(),
        _ => message.resource_types,
    };
    let mut answer = ListConfigResourcesResponse::default();
    if wanted.iter().any(|kind| !all.contains(kind)) {
        answer.error_code = KafkaError::UNSUPPORTED_VERSION;
        return request.asked.respond(reply, &answer);
    }
    let mut tell = |resource_type, name: String| {
        answer.config_resources.push(ConfigResource { resource_name: Cow::Owned(name), resource_type });
    };
    if wanted.contains(&resource::TOPIC) {
        topics::list(&kafka.engine).keys().for_each(|name| tell(resource::TOPIC, name.to_string()));
    }
    for kind in [resource::BROKER, resource::BROKER_LOGGER] {
        if wanted.contains(&kind) {
            tell(kind, NODE_ID.to_string());
        }
    }
    request.asked.respond(reply, &answer);
}
