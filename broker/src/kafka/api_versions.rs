//! ApiVersions: what this broker speaks. Every connection begins with it.

use folio_wire::kafka::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use folio_wire::kafka::{ApiKey, KafkaError};

use super::codec::KafkaResponse;
use super::{Asked, KafkaResponder, KafkaService, NODE_ID, Request, SERVED, cluster_id};
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<ApiVersionsRequest<'_>>(reply) else { return };
    let version = request.asked.version;
    let is_elsewhere = || {
        let meant = (message.cluster_id, message.node_id);
        meant.0.is_some() && meant != (Some(cluster_id(&kafka.engine).as_str()), NODE_ID)
    };
    let error = if !is_sound(&message, version) {
        KafkaError::INVALID_REQUEST
    } else if is_elsewhere() {
        KafkaError::REBOOTSTRAP_REQUIRED
    } else {
        return request.asked.respond(reply, &spoken());
    };
    request
        .asked
        .respond(reply, &ApiVersionsResponse { error_code: error, ..ApiVersionsResponse::default() });
}

/// The answer to ApiVersions in a version that is not known here, whatever else the request says (KIP-511): in the
/// oldest form, with the versions to try. `None` for every other request.
pub(super) fn of_another_time(frame: &[u8]) -> Option<KafkaResponse> {
    let (head, _) = frame.split_first_chunk::<8>()?;
    let [k0, k1, v0, v1, c0, c1, c2, c3] = *head;
    let (key, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
    let api = ApiKey::ApiVersions;
    if key != api.number() || api.spec().versions.contains(version) {
        return None;
    }
    let asked = Asked { version: 0, correlation_id: i32::from_be_bytes([c0, c1, c2, c3]) };
    let answer = ApiVersionsResponse {
        error_code: KafkaError::UNSUPPORTED_VERSION,
        api_keys: vec![spoken_of(api)],
        ..ApiVersionsResponse::default()
    };
    Some(asked.answer(&answer, Vec::new()))
}

fn spoken() -> ApiVersionsResponse<'static> {
    ApiVersionsResponse {
        api_keys: SERVED.iter().map(|(api, _)| spoken_of(*api)).collect(),
        supported_features: vec![SupportedFeatureKey {
            name: METADATA_VERSION.into(),
            min_version: METADATA_VERSION_FIRST,
            max_version: METADATA_VERSION_LAST,
        }],
        finalized_features_epoch: 0,
        finalized_features: vec![FinalizedFeatureKey {
            name: METADATA_VERSION.into(),
            min_version_level: METADATA_VERSION_LAST,
            max_version_level: METADATA_VERSION_LAST,
        }],
        ..ApiVersionsResponse::default()
    }
}

fn spoken_of(api: ApiKey) -> ApiVersion {
    let versions = api.spec().versions;
    ApiVersion { api_key: api.number(), min_version: versions.oldest, max_version: versions.newest }
}

/// Whether the client says of itself, and of whom it means to speak with, what Kafka takes. Answers keep the form of
/// the version, so a client that is refused for it can read why.
fn is_sound(message: &ApiVersionsRequest<'_>, version: i16) -> bool {
    let names_both_or_none = message.cluster_id.is_some() == (message.node_id != -1);
    let names_itself = is_word(message.client_software_name) && is_word(message.client_software_version);
    names_both_or_none && (version < 3 || names_itself)
}

/// Letters and digits; within them also `-` and `.` (KIP-511).
fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte))
}

/// The one feature that says nothing of what a client may do: tools take Kafka's release from it.
const METADATA_VERSION: &str = "metadata.version";
/// Of Kafka 3.3.
const METADATA_VERSION_FIRST: i16 = 7;
/// Of Kafka 4.4.
const METADATA_VERSION_LAST: i16 = 33;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_call_themselves_by_words_of_letters_and_digits() {
        for word in ["a", "librdkafka", "2.15.0", "apache-kafka-java", "4.4.0-SNAPSHOT", "7"] {
            assert!(is_word(word), "{word}");
        }
        for text in ["", "-", ".a", "a-", "two words", "grüße", "a_b", "a\n"] {
            assert!(!is_word(text), "{text:?}");
        }
    }
}
