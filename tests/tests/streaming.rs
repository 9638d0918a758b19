//! Consumers whose records are pushed, against the daemon: nothing is left out and nothing comes twice, whatever
//! happens between.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::{Duration, Instant};

use folio_client::{
    Acks, Client, ClientConfig, Consumer, ConsumerConfig, ErrorCode, NewTopic, PollError, Position, Producer,
    ProducerConfig, ProducerRecord, TopicPartition,
};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::native::Peer;
use folio_tests::rig::{Rig, until};

const LIMIT: Duration = Duration::from_secs(60);

fn client(address: &str) -> Client {
    let config = ClientConfig::new(address).request_timeout(Duration::from_secs(20));
    Client::connect(config).unwrap()
}

fn consumer(client: &Client, partitions: u32, config: ConsumerConfig) -> Consumer {
    let mut consumer = client.consumer(config).unwrap();
    consumer.assign((0..partitions).map(|number| (TopicPartition::new("t", number), Position::Earliest)));
    consumer
}

/// The next offset of each partition, when so many records have come of all together; each follows the one before it.
fn follow(consumer: &mut Consumer, next: &mut [i64], count: i64) {
    let deadline = Instant::now() + LIMIT;
    while next.iter().sum::<i64>() < count {
        assert!(Instant::now() < deadline, "{next:?} of {count} together");
        match consumer.poll(LIMIT) {
            Ok(records) => {
                let records = records.expect("more comes");
                let next = &mut next[records.topic_partition().partition as usize];
                for record in &records {
                    assert_eq!(record.offset.get(), *next);
                    *next += 1;
                }
            }
            Err(PollError::Away(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn send(producer: &Producer, partition: u32, size: usize, count: usize) {
    let value = vec![7; size];
    let sent: Vec<_> = (0..count)
        .map(|_| producer.send(ProducerRecord::to("t").partition(partition).value(&value)).unwrap())
        .collect();
    sent.into_iter().for_each(|sent| drop(sent.wait().unwrap()));
}

#[test]
fn under_load_every_record_of_every_partition_comes_once_and_in_order() {
    for durability in ["os", "fsync"] {
        let rig = Rig::new(&[("topic.durability", durability), ("topic.segment.bytes", "1048576")]);
        let client = client(rig.address());
        client.admin().create_topic(NewTopic::new("t", 20)).wait().unwrap();
        let window = ConsumerConfig::new().prefetch_bytes(400_000);
        let mut consumers = [ConsumerConfig::new(), window, ConsumerConfig::new().streaming(false)]
            .map(|config| consumer(&client, 20, config));
        std::thread::scope(|scope| {
            for consumer in &mut consumers {
                scope.spawn(|| {
                    let mut next = [0; 20];
                    follow(consumer, &mut next, 4 * 20 * 250);
                    assert_eq!(next, [1000; 20]);
                });
            }
            for first in 0..4_u32 {
                let client = &client;
                scope.spawn(move || {
                    let producer = client.producer(ProducerConfig::new().batch_bytes(10_000)).unwrap();
                    (0..20).for_each(|number| send(&producer, (number + 5 * first) % 20, 1000, 250));
                });
            }
        });
        assert_eq!(rig.peer().counter("subscriptions"), 40);
        drop(consumers);
        until("dropped consumers are unsubscribed", || rig.peer().counter("subscriptions") == 0);
    }
}

#[test]
fn five_deaths_of_the_daemon_are_survived_without_a_gap_or_a_repetition() {
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut daemon = Daemon::on(dir.path(), &["--listen", &free]);
    let client = client(&free);
    client.admin().create_topic(NewTopic::new("t", 3).setting("durability", "fsync")).wait().unwrap();
    let mut follower = consumer(&client, 3, ConsumerConfig::new());
    let producer = client.producer(ProducerConfig::new().acks(Acks::All)).unwrap();
    let mut next = [0; 3];
    for death in 1..=5 {
        (0..3).for_each(|partition| send(&producer, partition, 100, 50));
        follow(&mut follower, &mut next, death * 150 - 75);
        signal(&daemon.pid().to_string(), "KILL");
        daemon = daemon.restart_after_death();
    }
    send(&producer, 0, 100, 1);
    follow(&mut follower, &mut next, 5 * 150 + 1);
    assert_eq!(next, [251, 250, 250]);
}

#[test]
fn a_topic_that_is_deleted_under_a_consumer_is_told_once_and_the_others_go_on() {
    let rig = Rig::new(&[("topic.durability", "os")]);
    let client = client(rig.address());
    for topic in ["t", "u"] {
        client.admin().create_topic(NewTopic::new(topic, 1)).wait().unwrap();
    }
    let producer = client.producer(ProducerConfig::new()).unwrap();
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign(["t", "u"].map(|topic| (TopicPartition::new(topic, 0), Position::Earliest)));
    send(&producer, 0, 10, 1);
    assert_eq!(consumer.poll(LIMIT).unwrap().unwrap().len(), 1);
    client.admin().delete_topic("t").wait().unwrap();
    let error = consumer.poll(LIMIT).unwrap_err();
    let PollError::Refused { topic_partition, refusal } = &error else { panic!("{error}") };
    assert_eq!((&*topic_partition.topic, refusal.code), ("t", ErrorCode::UNKNOWN_TOPIC));
    producer.send(ProducerRecord::to("u").value("x")).unwrap().wait().unwrap();
    assert_eq!(&*consumer.poll(LIMIT).unwrap().unwrap().topic_partition().topic, "u");
}

#[test]
fn a_consumer_that_stands_still_costs_the_daemon_nothing_and_itself_a_window() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let client = client(daemon.address());
    client.admin().create_topic(NewTopic::new("t", 1).setting("durability", "os")).wait().unwrap();
    let config = ConsumerConfig::new().prefetch_bytes(1_000_000);
    let mut still: Vec<_> = (0..50).map(|_| consumer(&client, 1, config.clone())).collect();
    let mut peer = Peer::connect(daemon.address());
    until("all have subscribed", || peer.counter("subscriptions") == 50);
    let (before, sent) = (daemon.anonymous_bytes(), peer.counter("bytes.out"));
    let producer = client.producer(ProducerConfig::new()).unwrap();
    send(&producer, 0, 100_000, 300);
    let grown = daemon.anonymous_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "fifty consumers that stand still cost {grown} bytes");
    let out = peer.counter("bytes.out") - sent;
    assert!(out < 50 * 2_500_000, "{out} bytes were sent to consumers that have room for a million each");
    let mut next = [0];
    follow(&mut still[7], &mut next, 300);
}
