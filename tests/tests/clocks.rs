//! A wall clock that is wrong, and steps: nothing is deleted by age while it cannot be believed, and service goes on.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use folio_client::{
    Client, ClientConfig, ConsumerConfig, DeliveryError, ErrorCode, NewTopic, Position, Producer,
    ProducerConfig, ProducerRecord, Timestamp, TopicPartition,
};
use folio_tests::cache::footer;
use folio_tests::daemon::Daemon;
use folio_tests::limits::Faketime;
use folio_tests::rig::until;

const DAY_MS: i64 = 24 * 3600 * 1000;
const SETTINGS: &[&str] = &["--set", "maintenance.interval.ms=20", "--set", "topic.segment.bytes=16384"];

fn start(dir: &Path, clock: &Faketime) -> (Daemon, Client) {
    let wrapper = clock.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let daemon = Daemon::under(&wrapper, dir, SETTINGS);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    (daemon, client)
}

/// A topic that keeps records for a day.
fn create(client: &Client, topic: &str, of_broker: bool) -> Producer {
    let topic = NewTopic::new(topic, 1).setting("retention.ms", DAY_MS.to_string());
    let stamped = if of_broker { "LogAppendTime" } else { "CreateTime" };
    client.admin().create_topic(topic.setting("message.timestamp.type", stamped)).wait().unwrap();
    client.producer(ProducerConfig::new().batch_bytes(1000).retries(0)).unwrap()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn send(producer: &Producer, topic: &str, age_ms: i64) -> Result<(), DeliveryError> {
    let record = ProducerRecord::to(topic).partition(0).value(&[b'.'; 900]);
    let record = record.timestamp(Timestamp::new(now_ms() - age_ms));
    producer.send(record).unwrap().wait().map(drop)
}

fn fill(producer: &Producer, topic: &str, age_ms: i64) {
    (0..60).for_each(|_| send(producer, topic, age_ms).unwrap());
}

/// The first offset of a topic, and the times of its records.
fn times(client: &Client, topic: &str, count: usize) -> (i64, Vec<i64>) {
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(TopicPartition::new(topic, 0), Position::Earliest)]);
    let (mut first, mut times) = (None, Vec::new());
    while times.len() < count {
        let records = consumer.poll(Duration::from_secs(20)).unwrap().expect("the records are there");
        for record in &records {
            first.get_or_insert(record.offset.get());
            times.push(record.timestamp.get());
        }
    }
    (first.unwrap(), times)
}

fn log_start(client: &Client, topic: &str) -> i64 {
    client.admin().describe_topic(topic).wait().unwrap().partitions[0].log_start.get()
}

/// Waits until maintenance has looked at a topic of records that are too old, whatever the clock says: the control.
fn old_ones_go(client: &Client) {
    let producer = create(client, "old", false);
    fill(&producer, "old", 2 * DAY_MS);
    until("records of two days ago are deleted", || log_start(client, "old") > 30);
}

#[test]
fn a_clock_that_jumps_ten_years_ahead_deletes_nothing_and_is_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Faketime::new(dir.path());
    let (daemon, client) = start(dir.path(), &clock);
    old_ones_go(&client);
    let producer = create(&client, "t", false);
    fill(&producer, "t", 0);
    clock.set("+10y");
    until("it is noticed", || daemon.said().contains("the clock has jumped ahead"));
    fill(&producer, "t", 0);
    assert_eq!(times(&client, "t", 120).0, 0);
    clock.set("+0");
    fill(&producer, "t", 0);
    assert_eq!(log_start(&client, "t"), 0);
    assert_eq!(daemon.said().matches("the clock has jumped ahead").count(), 1, "{}", daemon.said());
    assert!(client.admin().status(false).wait().unwrap().uptime < Duration::from_secs(3600));
    drop((producer, client));
    assert_eq!(daemon.stop().code(), Some(0));

    clock.set("+10y");
    let (daemon, client) = start(dir.path(), &clock);
    assert!(daemon.said().contains("the last run was more than 30 days ago"), "{}", daemon.said());
    let producer = client.producer(ProducerConfig::new()).unwrap();
    fill(&producer, "t", 0);
    assert_eq!(times(&client, "t", 240).0, 0);
    drop((producer, client));
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_clock_that_goes_back_two_days_delays_deletion_and_refuses_only_what_comes_from_its_future() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Faketime::new(dir.path());
    let (daemon, client) = start(dir.path(), &clock);
    let producer = create(&client, "t", false);
    fill(&producer, "t", 0);
    clock.set("-2d");
    let refused = send(&producer, "t", 0).unwrap_err();
    let DeliveryError::Refused { refusal, .. } = &refused else { panic!("{refused}") };
    assert_eq!(refusal.code, ErrorCode::INVALID_TIMESTAMP, "{refusal}");
    fill(&producer, "t", 2 * DAY_MS);
    let stamped = create(&client, "stamped", true);
    fill(&stamped, "stamped", 0);
    assert_eq!(times(&client, "t", 120).0, 0);
    drop((producer, stamped, client));
    assert_eq!(daemon.stop().code(), Some(0));

    let (daemon, client) = start(dir.path(), &clock);
    assert!(daemon.said().contains("clean stop"), "{}", daemon.said());
    assert_eq!(times(&client, "t", 120).0, 0);
    drop(client);
    assert_eq!(daemon.stop().code(), Some(0));
}

/// When the segments of a topic were sealed, as their footers say.
fn sealed_at(dir: &Path, topic: &str) -> Vec<i64> {
    let files = std::fs::read_dir(dir.join(format!("data/topics/{topic}-0"))).unwrap();
    let indexes = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "index"));
    // One may have just gone from a passing name to its own.
    indexes.filter_map(|path| Some(i64::from_be_bytes(*footer(&path)?[80..].first_chunk()?))).collect()
}

#[test]
fn segments_that_are_sealed_after_a_jump_of_the_clock_are_as_old_as_if_it_had_not_jumped() {
    for offset in ["+10y", "-2d"] {
        let dir = tempfile::tempdir().unwrap();
        let clock = Faketime::new(dir.path());
        let (daemon, client) = start(dir.path(), &clock);
        let producer = create(&client, "t", false);
        clock.set(offset);
        for _ in 0..60 {
            // Nothing else tells their age.
            let record = ProducerRecord::to("t").partition(0).value(&[b'.'; 900]).timestamp(Timestamp::NONE);
            producer.send(record).unwrap().wait().unwrap();
        }
        until("segments are sealed", || sealed_at(dir.path(), "t").len() >= 2);
        let now = now_ms();
        for at in sealed_at(dir.path(), "t") {
            assert!((now - DAY_MS / 24..=now).contains(&at), "{offset}: {at} at {now}");
        }
        drop((producer, client));
        assert_eq!(daemon.stop().code(), Some(0));
    }
}

#[test]
fn a_clock_that_swings_deletes_nothing_and_lets_everybody_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Faketime::new(dir.path());
    let (daemon, client) = start(dir.path(), &clock);
    let producer = create(&client, "t", true);
    for offset in ["-2d", "+10y", "+0", "+30m", "-2d", "+1d", "+10y", "-2d", "+0"] {
        clock.set(offset);
        for _ in 0..20 {
            send(&producer, "t", 0).unwrap();
        }
    }
    let (first, times) = times(&client, "t", 180);
    assert_eq!(first, 0, "nothing is deleted: {}", daemon.said());
    // As with Kafka, the broker's times are those of its clock, whatever it said before.
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(most - least > 9 * 365 * DAY_MS, "the clock did not swing: {times:?}");
    let uptime = client.admin().status(false).wait().unwrap().uptime;
    assert!(uptime < Duration::from_secs(600), "{uptime:?}");
    drop((producer, client));
    assert_eq!(daemon.stop().code(), Some(0));
}
