//! Settings, as Kafka's clients and tools read and change them.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use folio_tests::kafka::KafkaPeer;
use folio_tests::rig::Rig;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::alter_configs::{self, AlterConfigsRequest, AlterConfigsResponse};
use folio_wire::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use folio_wire::kafka::incremental_alter_configs::{
    self as incremental, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn with_topic(rig: &Rig) -> KafkaPeer {
    rig.peer().create("t", 1, &[]);
    KafkaPeer::connect(rig.address())
}

/// A setting: its value, where that comes from, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    name: String,
    value: Option<String>,
    source: i8,
    kind: i8,
    synonyms: usize,
    has_documentation: bool,
    is_read_only: bool,
}

fn describe(
    peer: &mut KafkaPeer,
    version: i16,
    (kind, name): (i8, &str),
    keys: Option<&[&str]>,
    with_all: bool,
) -> Result<Vec<Setting>, KafkaError> {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name,
        configuration_keys: keys.map(<[&str]>::to_vec),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: with_all,
        include_documentation: with_all && version >= 3,
    };
    let answer = peer.call(version, &request);
    let told: DescribeConfigsResponse<'_> = answer.message();
    let told = &told.results[0];
    assert_eq!((told.resource_type, &*told.resource_name), (kind, name));
    if told.error_code != KafkaError::NONE {
        assert!(told.error_message.is_some() && told.configs.is_empty());
        return Err(told.error_code);
    }
    let settings = told.configs.iter().map(|config| Setting {
        name: config.name.to_string(),
        value: config.value.as_ref().map(ToString::to_string),
        source: config.config_source,
        kind: config.config_type,
        synonyms: config.synonyms.len(),
        has_documentation: config.documentation.is_some(),
        is_read_only: config.read_only,
    });
    Ok(settings.collect())
}

/// The value of a topic's setting, and where it comes from.
fn setting(peer: &mut KafkaPeer, name: &str) -> (String, i8) {
    let told = describe(peer, 4, (TOPIC, "t"), Some(&[name]), false).unwrap().remove(0);
    (told.value.unwrap(), told.source)
}

fn change(peer: &mut KafkaPeer, version: i16, name: &str, operation: i8, value: Option<&str>) -> KafkaError {
    change_of(peer, version, (TOPIC, "t"), &[(name, operation, value)], false)
}

fn change_of(
    peer: &mut KafkaPeer,
    version: i16,
    (resource_type, resource_name): (i8, &str),
    changes: &[(&str, i8, Option<&str>)],
    validate_only: bool,
) -> KafkaError {
    let configs = changes.iter().map(|&(name, config_operation, value)| incremental::AlterableConfig {
        name,
        config_operation,
        value,
    });
    let resource =
        incremental::AlterConfigsResource { resource_type, resource_name, configs: configs.collect() };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
    let answer = peer.call(version, &request);
    answer.message::<IncrementalAlterConfigsResponse<'_>>().responses[0].error_code
}

/// Sets these of a topic's settings, and nothing else any more.
fn replace(peer: &mut KafkaPeer, version: i16, topic: &str, settings: &[(&str, &str)]) -> KafkaError {
    let configs =
        settings.iter().map(|&(name, value)| alter_configs::AlterableConfig { name, value: Some(value) });
    let resource = alter_configs::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: topic,
        configs: configs.collect(),
    };
    let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    peer.call(version, &request).message::<AlterConfigsResponse<'_>>().responses[0].error_code
}

#[test]
fn every_setting_of_a_topic_is_told_with_its_source_and_type() {
    let rig = Rig::new(&[]);
    let mut peer = with_topic(&rig);
    for version in 1..=4 {
        let told = describe(&mut peer, version, (TOPIC, "t"), None, true).unwrap();
        assert!(told.len() > 25, "{}", told.len());
        let find = |name: &str| told.iter().find(|one| one.name == name).unwrap();
        // Schema Registry and Connect look at this one.
        assert_eq!(
            (find("cleanup.policy").value.as_deref(), find("cleanup.policy").source),
            (Some("delete"), 5)
        );
        assert_eq!(find("retention.ms").value.as_deref(), Some("604800000"));
        assert!(find("segment.bytes").synonyms > 0);
        if version >= 3 {
            let kinds =
                ["preallocate", "compression.type", "segment.bytes", "retention.ms", "cleanup.policy"];
            assert_eq!(kinds.map(|name| find(name).kind), [1, 2, 3, 5, 7]);
            assert!(told.iter().all(|one| one.has_documentation && one.kind > 0));
        }
    }
    let bare = describe(&mut peer, 4, (TOPIC, "t"), None, false).unwrap();
    assert!(bare.iter().all(|one| one.synonyms == 0 && !one.has_documentation), "only who asks is told more");
}

#[test]
fn who_asks_for_some_settings_is_told_those_that_there_are() {
    let rig = Rig::new(&[]);
    let mut peer = with_topic(&rig);
    let told = describe(&mut peer, 4, (TOPIC, "t"), Some(&["segment.ms", "no.such"]), false).unwrap();
    assert_eq!(told.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["segment.ms"]);
}

#[test]
fn what_has_no_settings_is_an_error_of_that_resource() {
    let rig = Rig::new(&[]);
    let mut peer = with_topic(&rig);
    for (resource, error) in [
        ((TOPIC, "nowhere"), KafkaError::UNKNOWN_TOPIC_OR_PARTITION),
        ((TOPIC, "bad/name"), KafkaError::INVALID_TOPIC_EXCEPTION),
        ((BROKER, "2"), KafkaError::INVALID_REQUEST),
        ((BROKER, "one"), KafkaError::INVALID_REQUEST),
        ((1, "t"), KafkaError::INVALID_REQUEST),
    ] {
        assert_eq!(describe(&mut peer, 4, resource, None, false), Err(error), "{resource:?}");
        let changes = [("retention.ms", SET, Some("1"))];
        assert_eq!(change_of(&mut peer, 1, resource, &changes, false), error, "{resource:?}");
    }
}

#[test]
fn the_broker_tells_its_settings_under_kafkas_names_too() {
    let rig = Rig::new(&[]);
    let mut peer = with_topic(&rig);
    let told = describe(&mut peer, 4, (BROKER, "1"), None, true).unwrap();
    let find = |name: &str| told.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(find("log.retention.ms").value, None, "as in Kafka, whose default stands under hours");
    assert_eq!(find("num.partitions").value.as_deref(), Some("1"));
    assert!(find("num.partitions").is_read_only);
    // Set for all brokers, it is what topics have that set nothing themselves.
    let for_all = [("log.retention.ms", SET, Some("77000"))];
    assert_eq!(change_of(&mut peer, 1, (BROKER, ""), &for_all, false), KafkaError::NONE);
    assert_eq!(setting(&mut peer, "retention.ms"), ("77000".to_owned(), 3));
    let for_this = [("log.retention.ms", SET, Some("78000"))];
    assert_eq!(change_of(&mut peer, 1, (BROKER, "1"), &for_this, false), KafkaError::NONE);
    assert_eq!(setting(&mut peer, "retention.ms"), ("78000".to_owned(), 2));
}

#[test]
fn settings_change_one_by_one_and_all_else_stays() {
    let rig = Rig::new(&[]);
    let mut peer = with_topic(&rig);
    for version in 0..=1 {
        assert_eq!(change(&mut peer, version, "retention.ms", SET, Some("60000")), KafkaError::NONE);
        assert_eq!(change(&mut peer, version, "segment.ms", SET, Some("50000")), KafkaError::NONE);
        assert_eq!(setting(&mut peer, "retention.ms"), ("60000".to_owned(), 1));
        assert_eq!(change(&mut peer, version, "retention.ms", DELETE, None), KafkaError::NONE);
        assert_eq!(setting(&mut peer, "retention.ms"), ("604800000".to_owned(), 5));
        assert_eq!(setting(&mut peer, "segment.ms"), ("50000".to_owned(), 1));
    }
}

#[test]
fn lists_grow_and_shrink_and_nothing_else_does() {
    let rig = Rig::new(&[]);
    let mut peer = with_topic(&rig);
    assert_eq!(change(&mut peer, 1, "cleanup.policy", APPEND, Some("compact")), KafkaError::NONE);
    assert_eq!(setting(&mut peer, "cleanup.policy").0, "delete,compact");
    assert_eq!(change(&mut peer, 1, "cleanup.policy", SUBTRACT, Some("delete")), KafkaError::NONE);
    assert_eq!(setting(&mut peer, "cleanup.policy").0, "compact");
    assert_eq!(change(&mut peer, 1, "retention.ms", APPEND, Some("1")), KafkaError::INVALID_CONFIG);
    assert_eq!(change(&mut peer, 1, "retention.ms", 9, Some("1")), KafkaError::INVALID_REQUEST);
}

#[test]
fn settings_that_are_replaced_leave_nothing_of_the_old_ones() {
    let rig = Rig::new(&[]);
    let mut peer = with_topic(&rig);
    for version in 0..=2 {
        let settings = [("retention.ms", "60000"), ("segment.ms", "50000")];
        assert_eq!(replace(&mut peer, version, "t", &settings), KafkaError::NONE);
        assert_eq!(setting(&mut peer, "retention.ms"), ("60000".to_owned(), 1));
        assert_eq!(replace(&mut peer, version, "t", &[("segment.ms", "40000")]), KafkaError::NONE);
        assert_eq!(setting(&mut peer, "retention.ms"), ("604800000".to_owned(), 5));
        assert_eq!(setting(&mut peer, "segment.ms"), ("40000".to_owned(), 1));
    }
    assert_eq!(replace(&mut peer, 2, "nowhere", &[]), KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn what_cannot_be_set_is_refused_and_what_is_only_looked_at_is_not_set() {
    let rig = Rig::new(&[]);
    let mut peer = with_topic(&rig);
    for (name, value) in [
        ("no.such", "1"),
        ("retention.ms", "soon"),
        ("retention.ms", "-2"),
        ("cleanup.policy", "keep"),
        ("compression.type", "brotli"),
    ] {
        assert_eq!(
            change(&mut peer, 1, name, SET, Some(value)),
            KafkaError::INVALID_CONFIG,
            "{name}={value}"
        );
        assert_eq!(
            replace(&mut peer, 2, "t", &[(name, value)]),
            KafkaError::INVALID_CONFIG,
            "{name}={value}"
        );
        let changes = [(name, SET, Some(value))];
        assert_eq!(change_of(&mut peer, 1, (TOPIC, "t"), &changes, true), KafkaError::INVALID_CONFIG);
    }
    let fine = [("retention.ms", SET, Some("60000"))];
    assert_eq!(change_of(&mut peer, 1, (TOPIC, "t"), &fine, true), KafkaError::NONE);
    assert_eq!(setting(&mut peer, "retention.ms").1, 5);
    let twice = [("retention.ms", SET, Some("1")), ("retention.ms", SET, Some("2"))];
    assert_eq!(change_of(&mut peer, 1, (TOPIC, "t"), &twice, false), KafkaError::INVALID_REQUEST);
    // All of a request or nothing.
    let half = [("segment.ms", SET, Some("1000")), ("no.such", SET, Some("1"))];
    assert_eq!(change_of(&mut peer, 1, (TOPIC, "t"), &half, false), KafkaError::INVALID_CONFIG);
    assert_eq!(setting(&mut peer, "segment.ms").1, 5);
}
