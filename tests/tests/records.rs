//! Records that are deleted before retention takes them.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::Duration;

use folio_client::{
    Client, ClientConfig, ConsumerConfig, ErrorCode, NewTopic, Offset, OffsetSpec, PartitionDescription,
    Position, ProducerConfig, ProducerRecord, Refusal, TopicPartition,
};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::rig::{Rig, until};

/// A client, and a topic `t` of one partition with ten batches of ten records each.
fn filled(address: &str, topic: NewTopic) -> Client {
    let client = Client::connect(ClientConfig::new(address)).unwrap();
    client.admin().create_topic(topic).wait().unwrap();
    let producer = client.producer(ProducerConfig::new()).unwrap();
    for batch in 0..10 {
        let sent: Vec<_> = (0..10)
            .map(|number| {
                let value = format!("{}", batch * 10 + number);
                let record = ProducerRecord::to("t").partition(0).key(b"k").value(value.as_bytes());
                producer.send(record).unwrap()
            })
            .collect();
        sent.into_iter().for_each(|one| drop(one.wait().unwrap()));
    }
    client
}

fn place() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn delete(client: &Client, before: Option<i64>) -> Result<i64, Refusal> {
    let wanted = [(place(), before.map(Offset::new))];
    client.admin().delete_records(wanted).wait().unwrap().swap_remove(0).map(Offset::get)
}

fn partition(client: &Client) -> PartitionDescription {
    client.admin().describe_topic("t").wait().unwrap().partitions.swap_remove(0)
}

/// The first record that a consumer of the oldest gets.
fn first(client: &Client) -> String {
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(place(), Position::Earliest)]);
    let records = consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
    let value = records.iter().next().unwrap().value.unwrap().to_vec();
    String::from_utf8(value).unwrap()
}

fn earliest(client: &Client) -> i64 {
    let listed = client.admin().list_offsets([(place(), OffsetSpec::Earliest)]).wait().unwrap();
    listed[0].clone().unwrap().unwrap().offset.get()
}

#[test]
fn records_are_deleted_up_to_any_record_and_stay_so_after_a_death() {
    for durability in ["fsync", "os"] {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::on(dir.path(), &[]);
        let client = filled(daemon.address(), NewTopic::new("t", 1).setting("durability", durability));
        assert_eq!(delete(&client, Some(37)), Ok(37), "in the middle of a batch");
        assert_eq!((first(&client).as_str(), earliest(&client)), ("37", 37));
        assert_eq!(delete(&client, Some(5)), Ok(37), "what is gone stays gone");
        signal(&daemon.pid().to_string(), "KILL");
        daemon = daemon.restart_after_death();
        let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
        assert_eq!((first(&client).as_str(), earliest(&client)), ("37", 37), "{durability}");
        assert_eq!(partition(&client).log_end.get(), 100, "{durability}");
        let mut peer = folio_tests::native::Peer::connect(daemon.address());
        let fetch = |offset| folio_wire::native::fetch::FetchRequestV1 {
            max_wait_ms: 0,
            min_bytes: 1,
            max_bytes: 1 << 20,
            entries: vec![folio_wire::native::fetch::FetchEntryV1 {
                topic: "t",
                partition: 0,
                offset,
                max_bytes: 1 << 20,
                leader_epoch: -1,
            }],
        };
        let (answer, _) = peer.call(&fetch(36), b"");
        assert_eq!(answer.entries[0].error, ErrorCode::OFFSET_OUT_OF_RANGE);
        let (answer, _) = peer.call(&fetch(37), b"");
        assert_eq!((answer.entries[0].error, answer.entries[0].log_start), (ErrorCode::NONE, 37));
    }
}

#[test]
fn all_records_can_be_deleted_and_no_more() {
    let rig = Rig::new(&[]);
    let client = filled(rig.address(), NewTopic::new("t", 1));
    assert_eq!(delete(&client, Some(0)), Ok(0));
    for beyond in [101, 1 << 40, -2] {
        assert_eq!(delete(&client, Some(beyond)).unwrap_err().code, ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    assert_eq!(delete(&client, Some(100)), Ok(100), "the high watermark is as good an offset as any");
    assert_eq!(delete(&client, None), Ok(100));
    let producer = client.producer(ProducerConfig::new()).unwrap();
    let record = ProducerRecord::to("t").partition(0).value(b"after");
    assert_eq!(producer.send(record).unwrap().wait().unwrap().offset.unwrap().get(), 100);
    assert_eq!((first(&client).as_str(), earliest(&client)), ("after", 100));
    let nosuch =
        [(TopicPartition::new("t", 7), None), (TopicPartition::new("nosuch", 0), None), (place(), None)];
    let codes = client.admin().delete_records(nosuch).wait().unwrap();
    let codes: Vec<_> =
        codes.into_iter().map(|one| one.map(Offset::get).map_err(|refusal| refusal.code)).collect();
    assert_eq!(codes, [Err(ErrorCode::UNKNOWN_PARTITION), Err(ErrorCode::UNKNOWN_TOPIC), Ok(101)]);
}

#[test]
fn whole_segments_of_deleted_records_go() {
    let rig = Rig::new(&[("maintenance.interval.ms", "20"), ("topic.segment.bytes", "4096")]);
    let client = filled(rig.address(), NewTopic::new("t", 1));
    let producer = client.producer(ProducerConfig::new()).unwrap();
    for _ in 0..5 {
        let record = ProducerRecord::to("t").partition(0).value(&[7; 3000]);
        producer.send(record).unwrap().wait().unwrap();
    }
    let before = partition(&client);
    assert!(before.segments >= 5, "{before:?}");
    delete(&client, Some(104)).unwrap();
    until("the files go", || partition(&client).segments == 1);
    assert!(partition(&client).size_bytes < 4000);
    assert_eq!(partition(&client).log_start.get(), 104);
}

#[test]
fn a_consumer_that_waits_at_the_end_goes_on_when_all_before_it_is_deleted() {
    let rig = Rig::new(&[]);
    let client = filled(rig.address(), NewTopic::new("t", 1));
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(place(), Position::Latest)]);
    assert!(consumer.poll(Duration::from_millis(200)).unwrap().is_none());
    delete(&client, None).unwrap();
    let producer = client.producer(ProducerConfig::new()).unwrap();
    producer.send(ProducerRecord::to("t").partition(0).value(b"after")).unwrap().wait().unwrap();
    let records = consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!(records.iter().next().unwrap().value.unwrap(), b"after");
}

#[test]
fn the_records_of_a_topic_that_only_compacts_are_not_deleted() {
    let rig = Rig::new(&[]);
    let client = filled(rig.address(), NewTopic::new("t", 1).setting("cleanup.policy", "compact"));
    assert_eq!(delete(&client, Some(5)).unwrap_err().code, ErrorCode::NOT_ALLOWED);
    let both = folio_client::ConfigChange::Append("cleanup.policy".to_owned(), "delete".to_owned());
    let of = folio_client::ConfigResource::Topic("t".to_owned());
    client.admin().alter_configs(of, [both]).wait().unwrap();
    assert_eq!(delete(&client, Some(5)), Ok(5));
}
