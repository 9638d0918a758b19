//! Claims about topics, offsets and status.

use std::time::Duration;

use folio_client::{
    ErrorCode, NewTopic, Offset, OffsetSpec, ProducerConfig, ProducerRecord, Timestamp, TopicPartition,
};
use folio_wire::native::Kind;

use crate::fake_broker::FakeBroker;
use crate::{block_on, connect};

#[test]
fn topics_are_made_named_described_and_deleted() {
    let broker = FakeBroker::start();
    let admin = connect(&broker).admin();
    assert_eq!(admin.list_topics(false).wait().unwrap(), []);
    let id = admin.create_topic(NewTopic::new("b", 3).setting("retention.ms", "1")).wait().unwrap();
    assert_eq!(id.to_string(), "09090909-0909-0909-0909-090909090909");
    block_on(admin.create_topic(NewTopic::new("a", 1))).unwrap();
    let names: Vec<_> =
        admin.list_topics(false).wait().unwrap().into_iter().map(|t| (t.name, t.partitions)).collect();
    assert_eq!(names, [("a".to_owned(), 1), ("b".to_owned(), 3)]);
    assert_eq!(admin.describe_topic("b").wait().unwrap().name, "b");
    admin.delete_topic("b").wait().unwrap();
    for error in [admin.delete_topic("b").wait().unwrap_err(), admin.describe_topic("b").wait().unwrap_err()]
    {
        assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC));
    }
}

#[test]
fn metadata_tells_of_each_topic_that_was_asked_for() {
    let broker = FakeBroker::start().with_topic("t", 2);
    let admin = connect(&broker).admin();
    let metadata = admin.metadata(Some(&["nope", "t"])).wait().unwrap();
    let (name, refusal) = metadata.topics[0].clone().unwrap_err();
    assert_eq!((name.as_str(), refusal.code), ("nope", ErrorCode::UNKNOWN_TOPIC));
    assert_eq!(metadata.topics[1].as_ref().unwrap().leader_epochs, [0, 0]);
    assert_eq!(admin.metadata(None).wait().unwrap().topics.len(), 1);
}

#[test]
fn offsets_are_found_for_many_partitions_at_once() {
    let broker = FakeBroker::start().with_topic("t", 2);
    let client = connect(&broker);
    let producer = client.producer(ProducerConfig::new()).unwrap();
    for time in [10, 20, 30] {
        let record = ProducerRecord::to("t").partition(1).value("x").timestamp(Timestamp::new(time));
        producer.send(record).unwrap().wait().unwrap();
    }
    let at = |partition| TopicPartition::new("t", partition);
    let wanted = [
        (at(1), OffsetSpec::Earliest),
        (at(1), OffsetSpec::Latest),
        (at(1), OffsetSpec::Since(Timestamp::new(15))),
        (at(1), OffsetSpec::Since(Timestamp::new(31))),
        (at(0), OffsetSpec::Latest),
        (at(7), OffsetSpec::Latest),
    ];
    let mut listed = client.admin().list_offsets(wanted).wait().unwrap();
    assert_eq!(broker.asked(Kind::ListOffsets), 1);
    assert_eq!(listed.pop().unwrap().unwrap_err().code, ErrorCode::UNKNOWN_PARTITION);
    let found: Vec<_> =
        listed.into_iter().map(|one| one.unwrap().map(|found| (found.offset, found.timestamp))).collect();
    assert_eq!(
        found,
        [
            Some((Offset::new(0), None)),
            Some((Offset::new(3), None)),
            Some((Offset::new(1), Some(Timestamp::new(20)))),
            None,
            Some((Offset::new(0), None)),
        ]
    );
}

#[test]
fn status_comes_with_its_counters_if_they_are_wanted() {
    let broker = FakeBroker::start();
    let admin = connect(&broker).admin();
    let status = admin.status(true).wait().unwrap();
    assert_eq!((status.pid, status.uptime), (1, Duration::from_millis(3)));
    assert_eq!(status.counters.len(), 1);
    assert!(admin.status(false).wait().unwrap().counters.is_empty());
}
