//! Golden bytes of what is said about topics, settings and the broker.

use super::*;

#[test]
fn an_unsupported_kind_is_as_drawn() {
    assert_eq!(golden(&Kind::supported(77, 1).unwrap_err()), "01004d000000");
    assert_eq!(golden(&Kind::supported(16, 9).unwrap_err()), "010010000101");
}

#[test]
fn metadata_are_as_drawn() {
    assert_eq!(golden(&MetadataRequestV1 { topics: None }), "00");
    let some = MetadataRequestV1 { topics: Some(vec!["t"]) };
    assert_eq!(golden(&some), format!("010100000000000000{}", text("t")));
    let answer = MetadataAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        cluster_id: ID,
        topics: vec![TopicMetadataV1 {
            error: ErrorCode::UNKNOWN_TOPIC,
            name: "t".to_owned(),
            id: ID,
            leader_epochs: vec![5],
        }],
    };
    let topic = format!("0a00{}{}010000000000000005000000", text("t"), hex(&ID));
    assert_eq!(golden(&answer), format!("000000{}0100000000000000{topic}", hex(&ID)));
}

#[test]
fn making_and_describing_topics_is_as_drawn() {
    let create = TopicCreateRequestV1 { name: "t", partitions: 3, configs: vec![("k", "v")] };
    assert_eq!(golden(&create), format!("{}030000000100000000000000{}{}", text("t"), text("k"), text("v")));
    let answer =
        TopicCreateAnswerV1 { error: ErrorCode::TOPIC_EXISTS, message: Some("m".to_owned()), id: ID };
    assert_eq!(golden(&answer), format!("0c0001{}{}", text("m"), hex(&ID)));

    assert_eq!(golden(&TopicListRequestV1 { internal: true }), "01");
    let topics = vec![ListedTopicV1 { name: "t".to_owned(), id: ID, partitions: 3 }];
    let answer = TopicListAnswerV1 { error: ErrorCode::NONE, message: None, topics };
    assert_eq!(golden(&answer), format!("0000000100000000000000{}{}03000000", text("t"), hex(&ID)));

    assert_eq!(golden(&TopicDescribeRequestV1 { name: "t" }), text("t"));
    let answer = TopicDescribeAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        id: ID,
        configs: vec![TopicConfigV1 { key: "k".to_owned(), value: "v".to_owned(), is_own: true }],
        partitions: vec![PartitionDescriptionV1 {
            error: ErrorCode::PARTITION_OFFLINE,
            message: Some("m".to_owned()),
            partition: 1,
            leader_epoch: 2,
            log_start: 3,
            durable: 4,
            high_watermark: 5,
            log_end: 6,
            size_bytes: 7,
            segments: 8,
        }],
    };
    let config = format!("{}{}01", text("k"), text("v"));
    let offsets = "03000000000000000400000000000000050000000000000006000000000000000700000000000000";
    let partition = format!("200001{}0100000002000000{offsets}08000000", text("m"));
    assert_eq!(golden(&answer), format!("000000{}{ONE}{config}{ONE}{partition}", hex(&ID)));

    assert_eq!(golden(&TopicDeleteRequestV1 { name: "t" }), text("t"));
    assert_eq!(golden(&TopicDeleteAnswerV1 { error: ErrorCode::TOO_BUSY, message: None }), "050000");

    let grow = PartitionsCreateRequestV1 { topic: "t", partitions: 3, validate_only: true };
    assert_eq!(golden(&grow), format!("{}0300000001", text("t")));
    let answer = PartitionsCreateAnswerV1 { error: ErrorCode::INVALID_PARTITIONS, message: None };
    assert_eq!(golden(&answer), "0e0000");

    let entries = vec![RecordsDeleteEntryV1 { topic: "t", partition: 1, before: -1 }];
    let expected = format!("{ONE}{}01000000ffffffffffffffff", text("t"));
    assert_eq!(golden(&RecordsDeleteRequestV1 { entries }), expected);
    let deleted = RecordsDeletedV1 { error: ErrorCode::NOT_ALLOWED, message: None, log_start: 2 };
    let answer = RecordsDeleteAnswerV1 { error: ErrorCode::NONE, message: None, entries: vec![deleted] };
    assert_eq!(golden(&answer), format!("000000{ONE}1200000200000000000000"));
}

#[test]
fn settings_are_as_drawn() {
    for (resource, expected) in [
        (ConfigResource::Topic("t"), format!("00000000{}", text("t"))),
        (ConfigResource::Broker, "01000000".to_owned()),
        (ConfigResource::AllBrokers, "02000000".to_owned()),
    ] {
        let request = ConfigDescribeRequestV1 { resource, names: Some(vec!["k"]) };
        assert_eq!(golden(&request), format!("{expected}01{ONE}{}", text("k")));
    }
    let setting = SettingV1 {
        name: "k".to_owned(),
        value: Some("v".to_owned()),
        source: ConfigSource::Broker,
        kind: ConfigKind::Long,
        is_read_only: true,
        doc: "d".to_owned(),
        does_nothing: None,
        synonyms: vec![SynonymV1 {
            name: "s".to_owned(),
            value: "v".to_owned(),
            source: ConfigSource::Default,
        }],
    };
    let answer = ConfigDescribeAnswerV1 { error: ErrorCode::NONE, message: None, settings: vec![setting] };
    let (k, v, s, d) = (text("k"), text("v"), text("s"), text("d"));
    let expected = format!("000000{ONE}{k}01{v}010000000300000001{d}00{ONE}{s}{v}04000000");
    assert_eq!(golden(&answer), expected);

    for (operation, number) in [
        (ConfigOperation::Set, "00"),
        (ConfigOperation::Delete, "01"),
        (ConfigOperation::Append, "02"),
        (ConfigOperation::Subtract, "03"),
    ] {
        let changes = vec![ConfigChangeV1 { name: "k", operation, value: Some("v") }];
        let request = ConfigAlterRequestV1 {
            resource: ConfigResource::Broker,
            replaces: true,
            validate_only: false,
            changes,
        };
        assert_eq!(golden(&request), format!("010000000100{ONE}{k}{number}00000001{v}"));
    }
    let answer = ConfigAlterAnswerV1 { error: ErrorCode::INVALID_CONFIG, message: None };
    assert_eq!(golden(&answer), "0f0000");
}

#[test]
fn the_status_is_as_drawn() {
    assert_eq!(golden(&StatusRequestV1 { counters: false }), "00");
    let answer = StatusAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        version: "v".to_owned(),
        pid: 1,
        run_id: 2,
        uptime_ms: 3,
        data_dir: "d".to_owned(),
        recovered: "r".to_owned(),
        topics: 4,
        partitions: 5,
        counters: vec![("flushes".to_owned(), 6)],
    };
    let numbers = "0100000002000000000000000300000000000000";
    let counter = format!("{}0600000000000000", text("flushes"));
    let expected =
        format!("000000{}{numbers}{}{}0400000005000000{ONE}{counter}", text("v"), text("d"), text("r"));
    assert_eq!(golden(&answer), expected);
}
