//! The main job on real input: what is produced is consumed, byte for byte, also by the next broker on the directory.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::path::Path;
use std::time::{Duration, Instant};

use folio_broker::{Broker, Config, Outcome};
use folio_client::{
    Acks, Client, ClientConfig, Compression, Consumer, ConsumerConfig, ErrorCode, NewTopic, PollError,
    Position, ProducerConfig, ProducerRecord, TopicPartition,
};
use folio_storage::files::OsFiles;
use folio_storage::verify::{VerifyOptions, verify};
use folio_tests::cache::is_sealed;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn the_access_log_comes_back_byte_for_byte_in_every_durability_class() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path());
    for durability in ["fsync", "interval", "os"] {
        create(&client, durability, &[("durability", durability)]);
        produce(&client, durability, Acks::All, Compression::None);
        assert!(consume(&client, durability, lines().len()) == lines(), "{durability}");
    }
    stop(broker, client);
}

#[test]
fn what_one_broker_took_the_next_one_on_the_directory_serves() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path());
    create(&client, "access", &[("internal.segment.bytes", "300000")]);
    produce(&client, "access", Acks::All, Compression::None);
    stop(broker, client);

    let (broker, client) = start(dir.path());
    assert!(broker.started().recovered.starts_with("clean stop"), "{}", broker.started().recovered);
    assert!(broker.started().recovered.contains(" 0 bytes scanned"), "{}", broker.started().recovered);
    assert!(consume(&client, "access", lines().len()) == lines());
    stop(broker, client);
}

#[test]
fn segments_are_sealed_while_the_broker_runs_and_the_next_one_serves_them() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path());
    create(&client, "access", &[("internal.segment.bytes", "300000")]);
    produce(&client, "access", Acks::All, Compression::None);
    let (partition, deadline) = (dir.path().join("data/topics/access-0"), Instant::now() + LIMIT);
    let unsealed = || {
        let files = std::fs::read_dir(&partition).unwrap().map(|entry| entry.unwrap().path());
        let indexes = files.filter(|path| path.extension().is_some_and(|name| name == "index"));
        indexes.filter(|path| !is_sealed(path)).count()
    };
    while unsealed() > 1 {
        assert!(Instant::now() < deadline, "{} segments are not sealed", unsealed());
        std::thread::sleep(Duration::from_millis(50));
    }
    stop(broker, client);

    let files = OsFiles::open(dir.path().join("data")).unwrap();
    let summary = verify(&files, &VerifyOptions::default(), &mut |_| {}).unwrap();
    assert!(summary.segments > 1 && summary.damage == 0, "{summary:?}");
    let (broker, client) = start(dir.path());
    assert!(consume(&client, "access", lines().len()) == lines());
    stop(broker, client);
}

#[test]
fn compressed_records_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path());
    create(&client, "access", &[]);
    produce(&client, "access", Acks::Leader, Compression::Lz4);
    assert!(consume(&client, "access", lines().len()) == lines());
    stop(broker, client);
}

#[test]
fn a_fetch_at_the_end_waits_for_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path());
    for durability in ["fsync", "os"] {
        create(&client, durability, &[("durability", durability)]);
        let mut consumer = client.consumer(ConsumerConfig::default()).unwrap();
        consumer.assign([(TopicPartition::new(durability, 0), Position::Latest)]);
        assert!(consumer.poll(Duration::from_millis(50)).unwrap().is_none());
        let producer = client.producer(ProducerConfig::default()).unwrap();
        let delivered = producer.send(ProducerRecord::to(durability).partition(0).value(b"late")).unwrap();
        delivered.wait().unwrap();
        let records = consumer.poll(LIMIT).unwrap().expect("the record arrives");
        let values: Vec<_> = records.iter().map(|record| record.value.unwrap().to_vec()).collect();
        assert_eq!(values, [b"late"], "{durability}");
    }
    stop(broker, client);
}

#[test]
fn topics_are_made_listed_described_and_deleted_and_mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path());
    let admin = client.admin();
    let code = |topic: NewTopic| admin.create_topic(topic).wait().unwrap_err().code();
    admin.create_topic(NewTopic::new("a", 3).setting("durability", "os")).wait().unwrap();
    assert_eq!(code(NewTopic::new("a", 3)), Some(ErrorCode::TOPIC_EXISTS));
    assert_eq!(code(NewTopic::new("..", 3)), Some(ErrorCode::INVALID_TOPIC_NAME));
    assert_eq!(code(NewTopic::new("b", u32::MAX)), Some(ErrorCode::INVALID_PARTITIONS));
    assert_eq!(code(NewTopic::new("b", 1).setting("retention.mss", "1")), Some(ErrorCode::INVALID_CONFIG));
    assert_eq!(admin.list_topics(false).wait().unwrap().len(), 1);
    assert_eq!(admin.describe_topic("a").wait().unwrap().partitions.len(), 3);
    admin.delete_topic("a").wait().unwrap();
    assert_eq!(admin.delete_topic("a").wait().unwrap_err().code(), Some(ErrorCode::UNKNOWN_TOPIC));
    assert!(admin.list_topics(false).wait().unwrap().is_empty());
    stop(broker, client);
}

#[test]
fn a_damaged_partition_takes_nothing_and_is_read_below_the_damage_and_the_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path());
    client.admin().create_topic(NewTopic::new("t", 2)).wait().unwrap();
    let producer = client.producer(ProducerConfig::default()).unwrap();
    for partition in [0, 1] {
        for value in ["kept", "damaged"] {
            let record = ProducerRecord::to("t").partition(partition).value(value);
            producer.send(record).unwrap().wait().unwrap();
        }
    }
    drop(producer);
    stop(broker, client);
    let log = dir.path().join("data/topics/t-0/00000000000000000000.log");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();

    let (broker, client) = start(dir.path());
    assert!(broker.started().recovered.ends_with("1 offline"), "{}", broker.started().recovered);
    let described = client.admin().describe_topic("t").wait().unwrap();
    let trouble = described.partitions[0].trouble.clone().expect("partition 0 is offline");
    assert_eq!(trouble.code, ErrorCode::PARTITION_OFFLINE);
    for part in ["t-0/00000000000000000000.log", "served below offset 1", "folio log repair "] {
        assert!(trouble.message.contains(part), "{part:?} in {}", trouble.message);
    }
    assert_eq!(described.partitions[0].high_watermark.get(), 1);
    assert!(described.partitions[1].trouble.is_none());
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let refused = producer.send(ProducerRecord::to("t").partition(0).value(b"more")).unwrap().wait();
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("offline") && refused.contains("folio log repair "), "{refused}");
    let mut consumer: Consumer = client.consumer(ConsumerConfig::default()).unwrap();
    consumer.assign([(TopicPartition::new("t", 0), Position::Earliest)]);
    let records = consumer.poll(Duration::from_secs(30)).unwrap().expect("what lies below the damage");
    assert_eq!(records.iter().map(|record| record.value).collect::<Vec<_>>(), [Some(&b"kept"[..])]);
    let Err(PollError::Refused { refusal, .. }) = consumer.poll(Duration::from_secs(30)) else {
        panic!("the damage was served, or nothing said")
    };
    assert_eq!(refusal.code, ErrorCode::PARTITION_OFFLINE);
    drop(consumer);
    producer.send(ProducerRecord::to("t").partition(1).value(b"more")).unwrap().wait().unwrap();
    drop(producer);
    stop(broker, client);
    assert_eq!(std::fs::read(&log).unwrap(), bytes[..bytes.len() - 1], "nothing was touched");
}

fn start(dir: &Path) -> (Broker, Client) {
    let mut config = Config::new(dir.join("data"));
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let broker = Broker::start(config).unwrap();
    let client = Client::connect(ClientConfig::new(&broker.local_addrs()[0].to_string())).unwrap();
    (broker, client)
}

fn stop(broker: Broker, client: Client) {
    drop(client);
    broker.shutdown();
    let outcome = broker.wait();
    assert!(matches!(outcome, Outcome::Clean), "{outcome:?}");
}

fn create(client: &Client, topic: &str, settings: &[(&str, &str)]) {
    let topic =
        settings.iter().fold(NewTopic::new(topic, 1), |topic, &(key, value)| topic.setting(key, value));
    client.admin().create_topic(topic).wait().unwrap();
}

fn lines() -> Vec<Vec<u8>> {
    let log = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/access.log")).unwrap();
    let lines: Vec<Vec<u8>> =
        log.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    assert_eq!(lines.len(), 10_000);
    lines
}

fn produce(client: &Client, topic: &str, acks: Acks, compression: Compression) {
    let config = ProducerConfig::default().acks(acks).compression(compression);
    let producer = client.producer(config).unwrap();
    for line in lines() {
        drop(producer.send(ProducerRecord::to(topic).partition(0).value(&line)).unwrap());
    }
    producer.close().unwrap();
}

fn consume(client: &Client, topic: &str, count: usize) -> Vec<Vec<u8>> {
    let mut consumer = client.consumer(ConsumerConfig::default()).unwrap();
    consumer.assign([(TopicPartition::new(topic, 0), Position::Earliest)]);
    let (mut values, deadline) = (Vec::new(), Instant::now() + LIMIT);
    while values.len() < count && Instant::now() < deadline {
        let Some(records) = consumer.poll(Duration::from_secs(1)).unwrap() else { continue };
        values.extend(records.iter().map(|record| record.value.unwrap().to_vec()));
    }
    values
}
