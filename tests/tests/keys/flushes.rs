//! The keys of the way of records to stable storage.

use std::time::{Duration, Instant};

use folio_broker::Config;
use folio_broker::config::keys;
use folio_client::{Acks, Client, ClientConfig, NewTopic, ProducerConfig, ProducerRecord};
use folio_tests::daemon::Daemon;
use folio_tests::native::Peer;
use folio_tests::rig::until;
use folio_tests::strace::Strace;

use super::{LIMIT, Served, WHILE};

effects! {
    "lane.queue.bytes" producers_wait_for_full_lanes
    "flush.linger.us" a_flush_waits_for_company
    "writeback.step.bytes" write_back_begins_in_steps
    "writeback.max.bytes" unflushed_bytes_force_a_flush
    "slots.sync.ms" durable_points_are_synced_in_time
    "topic.durability" durability_decides_about_flushes
    "topic.flush.ms" an_interval_topic_is_flushed_in_time
    "topic.flush.messages" a_topic_is_flushed_by_the_number_of_its_records
    "topic.flush.bytes" an_interval_topic_is_flushed_by_size
}

fn durable_points_are_synced_in_time() {
    let mut config = Config::new("data");
    keys::set(&mut config, "slots.sync.ms", "77").unwrap();
    assert_eq!(folio_broker::data_dir_options(&config).slots_sync, Duration::from_millis(77));
}

/// How much a daemon takes of a producer that does not wait for answers, while each of these calls takes a second; at
/// most so much, and until nothing was taken for so long.
fn taken_while_slow(
    settings: &[&str],
    calls: &str,
    durability: &str,
    (most, patience): (usize, Duration),
) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), settings);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1).setting("durability", durability)).wait().unwrap();
    let mut peer = Peer::connect(daemon.address());
    let strace = Strace::attach(daemon.pid(), &format!("inject={calls}:delay_enter=1000000"));
    let frame = peer.produce_frame("t", 64 << 10);
    let taken = peer.push(&frame.repeat(16), most, patience);
    drop(strace);
    taken
}

fn producers_wait_for_full_lanes() {
    let calls = "pwrite64,pwritev,pwritev2";
    let few = taken_while_slow(&["--set", "lane.queue.bytes=65536"], calls, "fsync", (64 << 20, 2 * WHILE));
    // The socket's own buffers take some, and what one connection may have in flight bounds the other.
    let more = 2 * few + 1;
    let many = taken_while_slow(&["--set", "lane.queue.bytes=1000000000"], calls, "fsync", (more, LIMIT));
    assert!(many >= more, "{few} bytes and {many}");
}

fn a_flush_waits_for_company() {
    let took = |linger: &str| {
        let rig = Served::with_topic(&[("flush.linger.us", linger)]);
        let since = Instant::now();
        rig.send(b"x").unwrap();
        since.elapsed()
    };
    assert!(took("3000000") >= Duration::from_secs(3));
    // A slow disk may take as long now and then.
    until("it is flushed at once", || took("0") < Duration::from_secs(3));
}

fn write_back_begins_in_steps() {
    let begun = |step: &str, least: usize| {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::on(dir.path(), &["--set", step, "--set", "topic.durability=os"]);
        let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
        client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
        let trace = dir.path().join("trace");
        let strace = Strace::record(daemon.pid(), "sync_file_range", &trace);
        let producer = client.producer(ProducerConfig::new().acks(Acks::Leader)).unwrap();
        for _ in 0..40 {
            producer
                .send(ProducerRecord::to("t").partition(0).value(&vec![7; 100_000]))
                .unwrap()
                .wait()
                .unwrap();
        }
        let told = || std::fs::read_to_string(&trace).unwrap().matches("sync_file_range(").count();
        until("so many are begun", || told() >= least);
        std::thread::sleep(WHILE);
        drop(strace);
        told()
    };
    begun("writeback.step.bytes=1000000", 2);
    assert_eq!(begun("writeback.step.bytes=100000000", 0), 0);
}

fn unflushed_bytes_force_a_flush() {
    let flushes = |max: &str| {
        let rig = Served::with_topic(&[("topic.durability", "os"), ("writeback.max.bytes", max)]);
        for _ in 0..10 {
            rig.send(&vec![7; 100_000]).unwrap();
        }
        if max == "300000" {
            until("it is flushed", || rig.counter("flushes") > 0);
        }
        rig.counter("flushes")
    };
    assert!(flushes("300000") >= 1);
    assert_eq!(flushes("100000000"), 0);
}

fn durability_decides_about_flushes() {
    for (durability, is_flushed) in [("fsync", true), ("os", false)] {
        let rig = Served::with_topic(&[("topic.durability", durability)]);
        rig.send(b"x").unwrap();
        assert_eq!(rig.partition().durable.get() > 0, is_flushed, "{durability}");
        if is_flushed {
            // It is counted a moment after it is answered for.
            until("the flush is counted", || rig.counter("flushes") > 0);
        } else {
            assert_eq!(rig.counter("flushes"), 0);
        }
    }
}

fn an_interval_topic_is_flushed_in_time() {
    let settings = |age| [("topic.durability", "interval"), ("topic.flush.ms", age)];
    let rig = Served::with_topic(&settings("20"));
    rig.send(b"x").unwrap();
    until("it is flushed", || rig.partition().durable.get() == 1);
    let rig = Served::with_topic(&settings("3600000"));
    rig.send(b"x").unwrap();
    std::thread::sleep(WHILE);
    assert_eq!(rig.partition().durable.get(), 0);
}

fn a_topic_is_flushed_by_the_number_of_its_records() {
    let settings = |messages, durability| {
        [("topic.durability", durability), ("topic.flush.ms", "3600000"), ("topic.flush.messages", messages)]
    };
    for durability in ["interval", "os"] {
        let rig = Served::with_topic(&settings("5", durability));
        (0..4).for_each(|_| rig.send(b"x").unwrap());
        std::thread::sleep(WHILE);
        assert_eq!(rig.partition().durable.get(), 0, "{durability}");
        rig.send(b"x").unwrap();
        until("the fifth record makes it due", || rig.partition().durable.get() == 5);
    }
    let rig = Served::with_topic(&settings("1", "os"));
    rig.send(b"x").unwrap();
    assert_eq!(rig.partition().durable.get(), 1, "1 is fsync");
}

fn an_interval_topic_is_flushed_by_size() {
    let settings = |bytes| {
        [("topic.durability", "interval"), ("topic.flush.ms", "3600000"), ("topic.flush.bytes", bytes)]
    };
    let rig = Served::with_topic(&settings("5000"));
    (0..10).for_each(|_| rig.send(&[7; 1000]).unwrap());
    until("it is flushed", || rig.partition().durable.get() > 0);
    let rig = Served::with_topic(&settings("1000000"));
    (0..10).for_each(|_| rig.send(&[7; 1000]).unwrap());
    std::thread::sleep(WHILE);
    assert_eq!(rig.partition().durable.get(), 0);
}
