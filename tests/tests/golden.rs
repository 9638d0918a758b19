//! A data directory that was written once opens under a whole broker, and its records reach a consumer.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use folio_broker::{Broker, Config, Outcome};
use folio_client::{
    Client, ClientConfig, Consumer, ConsumerConfig, Position, ProducerConfig, ProducerRecord, TopicPartition,
};

#[test]
fn every_golden_directory_is_served_as_the_text_beside_it_says_and_takes_more() {
    is_served("v1", &["packed", "plain"]);
    is_served("v2", &["numbered", "packed", "plain"]);
}

fn is_served(version: &str, topics: &[&str]) {
    let temporary = tempfile::tempdir().unwrap();
    let golden = folio_tests::root().join("tests/data/golden").join(version);
    copy(&golden, &temporary.path().join("data"));
    let expected = std::fs::read_to_string(golden.with_extension("txt")).unwrap();

    let mut config = Config::new(temporary.path().join("data"));
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let broker = Broker::start(config).unwrap();
    let recovered = &broker.started().recovered;
    let clean = format!("clean stop, {} partitions, 0 bytes scanned", topics.len());
    assert!(recovered.starts_with(&clean), "{recovered}");
    let client = Client::connect(ClientConfig::new(&broker.local_addrs()[0].to_string())).unwrap();

    let listed: Vec<_> = client.admin().list_topics(false).wait().unwrap();
    let names: Vec<&str> = listed.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, topics);
    let text: String = names.iter().map(|topic| describe(&client, topic)).collect();
    assert_eq!(text, expected);

    let last = expected.lines().filter(|line| line.starts_with("plain-0 ")).count() as i64 - 1;
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let sent = producer.send(ProducerRecord::to("plain").partition(0).value("one more")).unwrap();
    assert_eq!(sent.wait().unwrap().offset.unwrap().get(), last + 1);
    drop((producer, client));
    broker.shutdown();
    assert!(matches!(broker.wait(), Outcome::Clean));
}

/// One line a record, until the end.
fn describe(client: &Client, topic: &str) -> String {
    let mut consumer: Consumer = client.consumer(ConsumerConfig::default()).unwrap();
    let partition = TopicPartition::new(topic, 0);
    let end = client.admin().describe_topic(topic).wait().unwrap().partitions[0].high_watermark;
    consumer.assign([(partition, Position::Earliest)]);
    let (mut text, mut next) = (String::new(), 0);
    while next < end.get() {
        let records = consumer.poll(Duration::from_secs(30)).unwrap().expect("the records arrive");
        for record in &records {
            let (offset, timestamp) = (record.offset, record.timestamp);
            let (key, value) = (show(record.key), show(record.value));
            write!(text, "{topic}-0 {offset} {timestamp} {key} {value}").unwrap();
            for header in record.headers {
                write!(text, " {}={}", String::from_utf8_lossy(header.key), show(header.value)).unwrap();
            }
            text.push('\n');
            next = offset.get() + 1;
        }
    }
    text
}

fn show(bytes: Option<&[u8]>) -> String {
    bytes.map_or("null".to_owned(), |bytes| format!("{:?}", String::from_utf8_lossy(bytes)))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
