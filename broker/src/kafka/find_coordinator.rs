//! FindCoordinator: who looks after a group. All of them are looked after here.
//!
//! What there is no coordinator for is refused with a code that no client tries again on: one that does would hang.

use std::borrow::Cow;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

use super::{KafkaResponder, KafkaService, NODE_ID, Request, group_code};
use crate::config::Endpoint;
use crate::service::groups::{self, Gather};
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<FindCoordinatorRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let is_batch = asked.version >= VERSION_OF_BATCHES;
    let keys = if is_batch { message.coordinator_keys } else { vec![message.key] };
    let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
    let (key_type, endpoint, reply) = (message.key_type, kafka.endpoint.clone(), reply.later());
    let named = keys.clone();
    let gather = Gather::new(keys.len(), move |found: Vec<(KafkaError, String)>| {
        let coordinators = named.into_iter().zip(found).map(|(key, (error, why))| {
            let coordinator = Coordinator { key: Cow::Owned(key), error_code: error, ..nowhere() };
            match error {
                KafkaError::NONE => at(&endpoint, coordinator),
                _ => Coordinator { error_message: Some(Cow::Owned(why)), ..coordinator },
            }
        });
        let answer = if is_batch { batch(coordinators.collect()) } else { single(coordinators) };
        asked.respond_later(reply, &answer);
    });
    for (number, key) in keys.iter().enumerate() {
        match key_type {
            GROUP => {
                let gather = gather.clone();
                groups::find(&kafka.engine, key, move |found| {
                    gather
                        .put(number, (group_code(&found), found.err().map_or_else(String::new, |e| e.text)));
                });
            }
            TRANSACTION => gather.put(number, no_transactions()),
            _ => gather.put(number, no_coordinators()),
        }
    }
}

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const VERSION_OF_BATCHES: i16 = 4;

/// Clients tell their users of it at once.
fn no_transactions() -> (KafkaError, String) {
    let why = "this broker has no transactions yet".to_owned();
    (KafkaError::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, why)
}

fn no_coordinators() -> (KafkaError, String) {
    (KafkaError::INVALID_REQUEST, "there are no such coordinators".to_owned())
}

fn nowhere() -> Coordinator<'static> {
    Coordinator { node_id: -1, port: -1, ..Coordinator::default() }
}

fn at<'a>(endpoint: &Endpoint, coordinator: Coordinator<'a>) -> Coordinator<'a> {
    let host = Cow::Owned(endpoint.host.clone());
    Coordinator { node_id: NODE_ID, host, port: i32::from(endpoint.port), ..coordinator }
}

fn batch(coordinators: Vec<Coordinator<'static>>) -> FindCoordinatorResponse<'static> {
    FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() }
}

fn single(coordinators: impl Iterator<Item = Coordinator<'static>>) -> FindCoordinatorResponse<'static> {
    let mut coordinators = coordinators;
    let Coordinator { node_id, host, port, error_code, error_message, .. } =
        coordinators.next().unwrap_or_else(nowhere);
    FindCoordinatorResponse {
        error_code,
        // Without an error, Kafka says that it is none.
        error_message: error_message.or(Some(Cow::Borrowed("NONE"))),
        node_id,
        host,
        port,
        ..FindCoordinatorResponse::default()
    }
}
