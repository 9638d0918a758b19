//! Every configuration key is connected: a test sees what it does.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

#[path = "keys/groups.rs"]
mod groups;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use folio_broker::Config;
use folio_broker::config::keys;
use folio_client::{
    Acks, Client, ClientConfig, Compression, DeliveryError, ErrorCode, NewTopic, PartitionDescription,
    ProducerConfig, ProducerRecord, Timestamp,
};
use folio_record::{BatchHeader, TimestampType, UnverifiedBatch};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::kafka::{self, KafkaPeer};
use folio_tests::native::{Peer, batch_of};
use folio_tests::rig::{Rig, until};
use folio_tests::strace::Strace;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use folio_wire::kafka::metadata::MetadataResponse;
use folio_wire::native::produce::Acks as NativeAcks;
use folio_wire::native::subscribe::SubscribeFrom;

use groups::*;

const LIMIT: Duration = Duration::from_secs(20);
const OUT_OF_ORDER: u16 = ErrorCode::OUT_OF_ORDER_SEQUENCE.number();
/// What would come at once has come by then.
const WHILE: Duration = Duration::from_millis(300);

/// A test for each key, and the list of the keys that have one.
macro_rules! effects {
    ($($key:literal $name:ident)*) => {
        const OBSERVED: &[&str] = &[$($key),*];

        mod each {
            $(
                #[test]
                fn $name() {
                    super::$name();
                }
            )*
        }
    };
}

effects! {
    "listen" every_address_is_listened_on
    "advertise" kafkas_clients_are_told_where_to_connect
    "data.dir" the_data_is_where_it_is_told
    "allow.incoherent.fs" a_network_file_system_is_refused_unless_allowed
    "loop.threads" so_many_event_loops_run
    "loop.spin.us" a_spinning_loop_uses_its_core
    "lane.threads" so_many_lanes_run
    "read.threads" so_many_readers_run
    "lane.queue.bytes" producers_wait_for_full_lanes
    "flush.linger.us" a_flush_waits_for_company
    "writeback.step.bytes" write_back_begins_in_steps
    "writeback.max.bytes" unflushed_bytes_force_a_flush
    "slots.sync.ms" durable_points_are_synced_in_time
    "maintenance.interval.ms" retention_is_looked_at_in_intervals
    "cleaner.dedupe.buffer.bytes" so_many_keys_are_compacted_in_one_pass
    "cleaner.io.max.bytes.per.second" compaction_takes_its_time
    "disk.min.free" a_disk_below_its_bound_takes_no_records
    "shutdown.timeout.ms" a_shutdown_ends_in_time
    "frame.max.bytes" the_preface_says_how_large_a_frame_may_be
    "queued.max.bytes" who_holds_the_most_of_too_much_is_closed
    "connections.max" one_connection_too_many_is_closed
    "connection.requests.max" one_request_too_many_waits
    "connection.subscriptions.max" one_subscription_too_many_is_refused
    "connection.idle.ms" an_idle_connection_is_closed
    "fetch.max.bytes" an_answer_holds_no_more_records
    "fetch.waiting.max" one_fetch_too_many_does_not_wait
    "fetch.session.cache.slots" so_many_sessions_are_kept
    "fetch.session.partitions.max" so_many_partitions_are_kept_in_sessions
    "decompress.max.bytes" a_batch_that_unpacks_to_more_is_refused
    "num.partitions" a_topic_that_does_not_say_has_so_many_partitions
    "auto.create.topics.enable" a_topic_that_is_asked_for_is_made_or_not
    "producer.id.expiration.ms" a_silent_producer_is_forgotten
    "partition.producers.max" so_many_producers_are_remembered
    "group.initial.rebalance.delay.ms" a_new_group_waits_for_company
    "group.min.session.timeout.ms" a_shorter_session_is_refused
    "group.max.session.timeout.ms" a_longer_session_is_refused
    "group.history.max" so_many_changes_of_a_group_are_taken_back
    "group.max.size" one_member_too_many_is_turned_away
    "offsets.retention.minutes" offsets_of_an_empty_group_are_kept_so_long
    "offsets.retention.check.interval.ms" old_offsets_are_looked_for_in_intervals
    "offset.metadata.max.bytes" a_longer_note_is_refused
    "offsets.topic.num.partitions" groups_are_kept_in_so_many_partitions
    "topic.durability" durability_decides_about_flushes
    "topic.cleanup.policy" a_compacted_topic_keeps_old_records_and_takes_none_without_a_key
    "topic.retention.ms" old_records_go
    "topic.retention.bytes" too_many_bytes_go
    "topic.segment.bytes" segments_are_no_larger
    "topic.segment.ms" segments_are_no_older
    "topic.segment.jitter.ms" some_segments_are_closed_earlier_than_others
    "topic.segment.index.bytes" a_segment_whose_index_is_full_is_closed
    "topic.index.interval.bytes" index_entries_are_so_far_apart
    "topic.max.message.bytes" a_larger_batch_is_refused
    "topic.max.decompressed.message.bytes" a_larger_record_of_a_compressed_batch_is_refused
    "topic.flush.ms" an_interval_topic_is_flushed_in_time
    "topic.flush.messages" a_topic_is_flushed_by_the_number_of_its_records
    "topic.flush.bytes" an_interval_topic_is_flushed_by_size
    "topic.message.timestamp.before.max.ms" a_record_from_the_past_is_refused
    "topic.message.timestamp.after.max.ms" a_record_from_the_future_is_refused
    "topic.message.timestamp.type" records_have_the_time_that_the_topic_wants
    "topic.compression.type" batches_are_stored_in_the_codec_that_the_topic_wants
    "topic.compression.gzip.level" gzip_is_as_small_as_the_topic_wants
    "topic.compression.zstd.level" zstd_is_as_small_as_the_topic_wants
    "topic.min.cleanable.dirty.ratio" a_log_is_compacted_when_enough_of_it_is_dirty
    "topic.min.compaction.lag.ms" young_records_are_not_compacted
    "topic.max.compaction.lag.ms" old_records_are_compacted_however_few
    "topic.delete.retention.ms" the_mark_of_a_deleted_key_goes
}

#[test]
fn every_key_has_a_test_that_sees_its_effect() {
    let observed: Vec<String> = OBSERVED.iter().map(|&key| key.to_owned()).collect();
    let mut known: Vec<String> = keys::names().collect();
    let mut sorted = observed;
    sorted.sort();
    known.sort();
    assert_eq!(sorted, known);
}

/// A broker in this process with some keys set, and a client of it.
struct Served {
    rig: Rig,
    client: Client,
}

impl Served {
    fn new(settings: &[(&str, &str)]) -> Self {
        let rig = Rig::new(settings);
        let client = Client::connect(ClientConfig::new(rig.address())).unwrap();
        Self { rig, client }
    }

    /// With a topic `t` of one partition.
    fn with_topic(settings: &[(&str, &str)]) -> Self {
        let served = Self::new(settings);
        served.client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
        served
    }

    fn peer(&self) -> Peer {
        self.rig.peer()
    }

    fn send(&self, value: &[u8]) -> Result<(), DeliveryError> {
        self.send_with(ProducerConfig::new(), ProducerRecord::to("t").partition(0).value(value))
    }

    fn send_with(&self, config: ProducerConfig, record: ProducerRecord<'_>) -> Result<(), DeliveryError> {
        let producer = self.client.producer(config.retries(0)).unwrap();
        producer.send(record).unwrap().wait().map(drop)
    }

    fn partition(&self) -> PartitionDescription {
        self.client.admin().describe_topic("t").wait().unwrap().partitions.swap_remove(0)
    }

    fn counter(&self, name: &str) -> u64 {
        let status = self.client.admin().status(true).wait().unwrap();
        status.counters.into_iter().find(|(known, _)| known == name).unwrap().1
    }
}

fn code(refused: Result<(), DeliveryError>) -> ErrorCode {
    match refused.unwrap_err() {
        DeliveryError::Refused { refusal, .. } => refusal.code,
        error => panic!("{error}"),
    }
}

fn every_address_is_listened_on() {
    let rig = Rig::new(&[("listen", "127.0.0.1:0,127.0.0.2:0")]);
    let addresses = rig.broker().local_addrs();
    assert_eq!(
        addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>(),
        ["127.0.0.1", "127.0.0.2"]
    );
    addresses.iter().for_each(|address| drop(Peer::connect(&address.to_string())));
}

/// What a Kafka client is told when it asks for a topic.
fn told_of(topic: &str, settings: &[(&str, &str)]) -> (String, KafkaError, usize) {
    let rig = Rig::new(settings);
    let answer = KafkaPeer::connect(rig.address()).metadata(topic);
    let told: MetadataResponse<'_> = answer.message();
    let broker = format!("{}:{}", told.brokers[0].host, told.brokers[0].port);
    (broker, told.topics[0].error_code, told.topics[0].partitions.len())
}

fn kafkas_clients_are_told_where_to_connect() {
    let told = |settings: &[(&str, &str)]| told_of("t", settings).0;
    assert_eq!(told(&[("advertise", "folio.example:1234")]), "folio.example:1234");
    assert_eq!(told(&[("advertise", "[fd00::1]:9092")]), "fd00::1:9092");
    assert!(told(&[]).starts_with("127.0.0.1:"));
}

fn a_topic_that_is_asked_for_is_made_or_not() {
    assert_eq!(told_of("t", &[]).1, KafkaError::NONE);
    let told = told_of("t", &[("auto.create.topics.enable", "false")]);
    assert_eq!((told.1, told.2), (KafkaError::UNKNOWN_TOPIC_OR_PARTITION, 0));
}

fn the_data_is_where_it_is_told() {
    let elsewhere = tempfile::tempdir().unwrap();
    let data = elsewhere.path().join("over/there").display().to_string();
    let _rig = Rig::new(&[("data.dir", &data)]);
    assert!(std::path::Path::new(&data).join("node.meta").exists());
}

fn a_network_file_system_is_refused_unless_allowed() {
    // What is refused is a matter of the storage's own claims; the key is what lifts it.
    let options = |text: &str| {
        let mut config = Config::new("data");
        keys::set(&mut config, "allow.incoherent.fs", text).unwrap();
        folio_broker::data_dir_options(&config).allow_incoherent_fs
    };
    assert!(options("true") && !options("false"));
}

fn durable_points_are_synced_in_time() {
    let mut config = Config::new("data");
    keys::set(&mut config, "slots.sync.ms", "77").unwrap();
    assert_eq!(folio_broker::data_dir_options(&config).slots_sync, Duration::from_millis(77));
}

/// Waits until a daemon with this setting has so many threads of this name; one with the defaults has fewer.
fn has_threads(setting: &str, name: &str, count: usize) {
    let threads = |daemon: &Daemon| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let is_named = |task: &std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(name))
        };
        tasks.flatten().filter(is_named).count()
    };
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", setting]);
    let deadline = Instant::now() + LIMIT;
    // A thread takes its name a moment after it has begun.
    while threads(&daemon) != count {
        assert!(Instant::now() < deadline, "{} threads {name}*", threads(&daemon));
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn so_many_event_loops_run() {
    has_threads("loop.threads=5", "folio-loop-", 5);
}

fn so_many_lanes_run() {
    has_threads("lane.threads=5", "folio-lane-", 5);
}

fn so_many_readers_run() {
    has_threads("read.threads=5", "folio-read-", 5);
}

fn a_spinning_loop_uses_its_core() {
    let uses_a_third = |spin: &str, within: Duration| {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::on(dir.path(), &["--set", spin]);
        let _peer = Peer::connect(daemon.address());
        let (before, deadline) = (daemon.cpu(), Instant::now() + within);
        loop {
            if daemon.cpu() - before > WHILE / 3 {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // On a busy machine a spinning loop gets its core late.
    assert!(uses_a_third("loop.spin.us=30000000", Duration::from_secs(30)), "a spinning loop polls on");
    assert!(!uses_a_third("loop.spin.us=0", WHILE), "one that does not spin sleeps");
}

/// How much a daemon takes of a producer that does not wait for answers, while each of these calls takes a second.
fn taken_while_slow(settings: &[&str], calls: &str, durability: &str) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), settings);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1).setting("durability", durability)).wait().unwrap();
    let mut peer = Peer::connect(daemon.address());
    let strace = Strace::attach(daemon.pid(), &format!("inject={calls}:delay_enter=1000000"));
    let frame = peer.produce_frame("t", 64 << 10);
    let taken = peer.push(&frame.repeat(16), 64 << 20, 2 * WHILE);
    drop(strace);
    taken
}

fn producers_wait_for_full_lanes() {
    let calls = "pwrite64,pwritev,pwritev2";
    let few = taken_while_slow(&["--set", "lane.queue.bytes=65536"], calls, "fsync");
    let many = taken_while_slow(&["--set", "lane.queue.bytes=1000000000"], calls, "fsync");
    // The socket's own buffers take some, and what one connection may have in flight bounds the other.
    assert!(few * 2 < many, "{few} bytes and {many}");
}

fn a_flush_waits_for_company() {
    let took = |linger: &str| {
        let rig = Served::with_topic(&[("flush.linger.us", linger)]);
        let since = Instant::now();
        rig.send(b"x").unwrap();
        since.elapsed()
    };
    assert!(took("400000") >= Duration::from_millis(400));
    assert!(took("0") < Duration::from_millis(400));
}

fn write_back_begins_in_steps() {
    let begun = |step: &str| {
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
        std::thread::sleep(WHILE);
        drop(strace);
        std::fs::read_to_string(trace).unwrap().matches("sync_file_range(").count()
    };
    assert!(begun("writeback.step.bytes=1000000") >= 2);
    assert_eq!(begun("writeback.step.bytes=100000000"), 0);
}

fn unflushed_bytes_force_a_flush() {
    let flushes = |max: &str| {
        let rig = Served::with_topic(&[("topic.durability", "os"), ("writeback.max.bytes", max)]);
        for _ in 0..10 {
            rig.send(&vec![7; 100_000]).unwrap();
        }
        if max == "300000" {
            until("it is flushed", || rig.partition().durable.get() > 0);
        }
        rig.counter("flushes")
    };
    assert!(flushes("300000") >= 1);
    assert_eq!(flushes("100000000"), 0);
}

fn retention_is_looked_at_in_intervals() {
    let settings = |interval| {
        [
            ("maintenance.interval.ms", interval),
            ("topic.retention.bytes", "1"),
            ("topic.segment.bytes", "4096"),
        ]
    };
    let rig = Served::with_topic(&settings("20"));
    (0..10).for_each(|_| rig.send(&[7; 3000]).unwrap());
    until("retention takes the old segments", || rig.partition().log_start.get() > 5);
    let rig = Served::with_topic(&settings("3600000"));
    (0..10).for_each(|_| rig.send(&[7; 3000]).unwrap());
    std::thread::sleep(WHILE);
    assert_eq!(rig.partition().log_start.get(), 0);
}

fn a_disk_below_its_bound_takes_no_records() {
    let rig = Served::with_topic(&[("disk.min.free", "1000000000000000")]);
    until("the disk counts as full", || rig.send(b"x").is_err());
    assert_eq!(code(rig.send(b"x")), ErrorCode::STORAGE_FULL);
    Served::with_topic(&[("disk.min.free", "0")]).send(b"x").unwrap();
}

fn a_shutdown_ends_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon =
        Daemon::on(dir.path(), &["--set", "shutdown.timeout.ms=300", "--set", "topic.durability=os"]);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    let producer = client.producer(ProducerConfig::new()).unwrap();
    producer.send(ProducerRecord::to("t").partition(0).value(b"x")).unwrap().wait().unwrap();
    drop((producer, client));
    let strace = Strace::attach(daemon.pid(), "inject=fdatasync,fsync,syncfs:delay_enter=20000000");
    signal(&daemon.pid().to_string(), "TERM");
    let deadline = Instant::now() + Duration::from_secs(5);
    while !daemon.said().contains("without the clean mark") {
        assert!(Instant::now() < deadline, "it waits for the disk: {}", daemon.said());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(strace);
    daemon.wait();
}

fn the_preface_says_how_large_a_frame_may_be() {
    let rig = Served::with_topic(&[("frame.max.bytes", "100000")]);
    let mut peer = rig.peer();
    assert_eq!(peer.preface().frame_max, 100_000);
    let frame = peer.produce_frame("t", 200_000);
    peer.push(&frame, frame.len(), LIMIT);
    assert!(peer.is_closed(LIMIT), "a larger frame closes the connection");
}

fn who_holds_the_most_of_too_much_is_closed() {
    let rig = Served::with_topic(&[("queued.max.bytes", "1000000"), ("loop.threads", "1")]);
    let mut hungry = rig.peer();
    let frame = hungry.produce_frame("t", 10_000_000);
    hungry.push(&frame[..2_000_000], 2_000_000, WHILE);
    assert!(hungry.is_closed(LIMIT));
    // With room for both, a small one and a large one may take their time.
    let rig = Served::with_topic(&[("queued.max.bytes", "10000000"), ("loop.threads", "1")]);
    let (mut large, mut small) = (rig.peer(), rig.peer());
    large.push(&frame[..2_000_000], 2_000_000, WHILE);
    small.push(&frame[..1000], 1000, WHILE);
    assert!(!large.is_closed(WHILE) && !small.is_closed(WHILE));
}

fn one_connection_too_many_is_closed() {
    let rig = Rig::new(&[("connections.max", "2"), ("loop.threads", "1")]);
    let _two = (rig.peer(), rig.peer());
    let mut third = TcpStream::connect(rig.address()).unwrap();
    third.set_read_timeout(Some(LIMIT)).unwrap();
    let _ = third.write_all(&[0x89]);
    assert!(matches!(third.read(&mut [0; 16]), Ok(0) | Err(_)));
}

fn one_request_too_many_waits() {
    let answered_behind_a_long_poll = |most: &str| {
        let rig = Served::with_topic(&[("connection.requests.max", most)]);
        let mut peer = rig.peer();
        peer.send_fetch("t", 0, 1 << 20, Duration::from_secs(5));
        peer.send_status();
        peer.answer(WHILE).is_some()
    };
    assert!(answered_behind_a_long_poll("2"));
    assert!(!answered_behind_a_long_poll("1"));
}

fn an_idle_connection_is_closed() {
    assert!(Rig::new(&[("connection.idle.ms", "200")]).peer().is_closed(LIMIT));
    assert!(!Rig::new(&[]).peer().is_closed(WHILE));
}

fn an_answer_holds_no_more_records() {
    let fetched = |most: &str| {
        let rig = Served::with_topic(&[("fetch.max.bytes", most)]);
        (0..20).for_each(|_| rig.send(&[7; 1000]).unwrap());
        let mut peer = rig.peer();
        peer.send_fetch("t", 0, 1 << 20, Duration::ZERO);
        peer.answer(LIMIT).unwrap().len()
    };
    assert!(fetched("5000") < 6000);
    assert!(fetched("1000000") > 20_000);
}

/// How many of three sessions of two partitions each are opened.
fn sessions_opened(key: &str, value: &str) -> usize {
    let rig = Rig::new(&[(key, value)]);
    rig.peer().create("t", 2, &[]);
    let mut peer = KafkaPeer::connect(rig.address());
    let asked =
        |partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topics =
        vec![FetchTopic { topic: "t", partitions: vec![asked(0), asked(1)], ..FetchTopic::default() }];
    let request = FetchRequest { topics, session_epoch: 0, ..kafka::fetch("t", 0, 0, Duration::ZERO) };
    let mut opens = || peer.call(11, &request).message::<FetchResponse<'_>>().session_id > 0;
    (0..3).filter(|_| opens()).count()
}

fn so_many_sessions_are_kept() {
    assert_eq!(sessions_opened("fetch.session.cache.slots", "2"), 2);
    assert_eq!(sessions_opened("fetch.session.cache.slots", "9"), 3);
}

fn so_many_partitions_are_kept_in_sessions() {
    assert_eq!(sessions_opened("fetch.session.partitions.max", "3"), 1);
    assert_eq!(sessions_opened("fetch.session.partitions.max", "6"), 3);
}

fn one_fetch_too_many_does_not_wait() {
    let waits = |most: &str| {
        let rig = Served::with_topic(&[("fetch.waiting.max", most)]);
        let mut peer = rig.peer();
        peer.send_fetch("t", 0, 1 << 20, Duration::from_secs(5));
        peer.answer(WHILE).is_none()
    };
    assert!(waits("1"));
    assert!(!waits("0"));
}

fn one_subscription_too_many_is_refused() {
    for most in [0, 3] {
        let rig = Served::with_topic(&[("connection.subscriptions.max", &most.to_string())]);
        let mut peer = rig.peer();
        let mut subscribe = |number| peer.subscribe(number, "t", SubscribeFrom::Earliest, 1);
        for number in 0..most {
            assert_eq!(subscribe(number).error, ErrorCode::NONE);
        }
        let refused = subscribe(most);
        assert_eq!(refused.error, ErrorCode::LIMIT_REACHED);
        assert!(refused.message.unwrap().contains("connection.subscriptions.max"));
    }
}

fn a_batch_that_unpacks_to_more_is_refused() {
    let compressed = |most: &str| {
        let rig = Served::with_topic(&[("decompress.max.bytes", most)]);
        let config = ProducerConfig::new().compression(Compression::Lz4);
        rig.send_with(config, ProducerRecord::to("t").partition(0).value(&vec![0; 500_000]))
    };
    assert_eq!(code(compressed("100000")), ErrorCode::INVALID_RECORD);
    compressed("1000000").unwrap();
}

fn a_topic_that_does_not_say_has_so_many_partitions() {
    let made = |count: &str, asked| {
        let rig = Served::new(&[("num.partitions", count)]);
        rig.client.admin().create_topic(NewTopic::new("t", asked)).wait().unwrap();
        rig.client.admin().describe_topic("t").wait().unwrap().partitions.len()
    };
    assert_eq!((made("3", 0), made("3", 2), made("1", 0)), (3, 2, 1));
}

fn a_silent_producer_is_forgotten() {
    let settings = |ms| [("maintenance.interval.ms", "10"), ("producer.id.expiration.ms", ms)];
    let sends = |peer: &mut Peer, sequence| {
        peer.produce("t", 0, NativeAcks::One, &batch_of((7, 0, sequence), &[b"x"])).error.number()
    };
    let rig = Served::with_topic(&settings("86400000"));
    let mut peer = rig.peer();
    assert_eq!(sends(&mut peer, 0), 0);
    std::thread::sleep(WHILE);
    assert_eq!(sends(&mut peer, 17), OUT_OF_ORDER);

    let rig = Served::with_topic(&settings("1"));
    let mut peer = rig.peer();
    assert_eq!(sends(&mut peer, 0), 0);
    until("any number is taken of a producer that is forgotten", || sends(&mut peer, 17) == 0);
}

fn so_many_producers_are_remembered() {
    let remembers_the_first = |max| {
        let rig = Served::with_topic(&[("partition.producers.max", max)]);
        let mut peer = rig.peer();
        for id in 0..9 {
            assert!(peer.produce("t", 0, NativeAcks::One, &batch_of((id, 0, 0), &[b"x"])).error.is_none());
        }
        peer.produce("t", 0, NativeAcks::One, &batch_of((0, 0, 17), &[b"x"])).error.number() == OUT_OF_ORDER
    };
    assert!(remembers_the_first("9"));
    assert!(!remembers_the_first("8"));
}

fn durability_decides_about_flushes() {
    for (durability, is_flushed) in [("fsync", true), ("os", false)] {
        let rig = Served::with_topic(&[("topic.durability", durability)]);
        rig.send(b"x").unwrap();
        assert_eq!(rig.counter("flushes") > 0, is_flushed, "{durability}");
        assert_eq!(rig.partition().durable.get() > 0, is_flushed, "{durability}");
    }
}

fn a_compacted_topic_keeps_old_records_and_takes_none_without_a_key() {
    let settings = |policy| {
        [("maintenance.interval.ms", "20"), ("topic.retention.ms", "50"), ("topic.cleanup.policy", policy)]
    };
    let keyed = |rig: &Served| {
        rig.send_with(ProducerConfig::new(), ProducerRecord::to("t").partition(0).key(b"k").value(b"x"))
    };
    let rig = Served::with_topic(&settings("compact"));
    keyed(&rig).unwrap();
    assert_eq!(code(rig.send(b"x")), ErrorCode::INVALID_RECORD);
    std::thread::sleep(WHILE);
    assert_eq!((rig.partition().log_start.get(), rig.partition().log_end.get()), (0, 1));
    let rig = Served::with_topic(&settings("compact,delete"));
    keyed(&rig).unwrap();
    assert_eq!(code(rig.send(b"x")), ErrorCode::INVALID_RECORD);
    until("the record goes", || rig.partition().log_start.get() == 1);
    let rig = Served::with_topic(&settings("delete"));
    rig.send(b"x").unwrap();
    until("the record goes", || rig.partition().log_start.get() == 1);
}

/// A broker whose topic is compacted as soon as `more` allows.
fn compacting(more: &[(&str, &str)]) -> Served {
    let mut settings = vec![
        ("maintenance.interval.ms", "20"),
        ("topic.cleanup.policy", "compact"),
        ("topic.segment.ms", "30"),
        ("topic.min.cleanable.dirty.ratio", "0"),
    ];
    settings.retain(|(key, _)| !more.iter().any(|(other, _)| other == key));
    settings.extend(more);
    Served::with_topic(&settings)
}

/// Sends one record after the other with the same key.
fn send_same_key(rig: &Served, records: usize) {
    for number in 0..records {
        let value = number.to_string();
        let record = ProducerRecord::to("t").partition(0).key(b"k").value(value.as_bytes());
        rig.send_with(ProducerConfig::new(), record).unwrap();
    }
}

fn removed(rig: &Served) -> u64 {
    rig.counter("compaction.records.removed")
}

fn so_many_keys_are_compacted_in_one_pass() {
    let passes = |buffer| {
        let rig = compacting(&[("cleaner.dedupe.buffer.bytes", buffer), ("topic.segment.ms", "300")]);
        let producer = rig.client.producer(ProducerConfig::new()).unwrap();
        let sent: Vec<_> = (0..400_u32)
            .map(|number| {
                let key = (number % 200).to_be_bytes();
                producer.send(ProducerRecord::to("t").partition(0).key(&key).value(b"x")).unwrap()
            })
            .collect();
        sent.into_iter().for_each(|one| drop(one.wait().unwrap()));
        until("every key is there once", || removed(&rig) == 200);
        rig.counter("compactions")
    };
    let (many, few) = (passes("1024"), passes("134217728"));
    assert!(many >= 6 && few <= 3, "{many}, {few}");
}

fn compaction_takes_its_time() {
    let rig = compacting(&[("cleaner.io.max.bytes.per.second", "1")]);
    send_same_key(&rig, 3);
    until("a first step is made", || rig.counter("compaction.bytes.read") > 0);
    std::thread::sleep(WHILE);
    assert_eq!((removed(&rig), rig.counter("compactions")), (0, 0));
    let rig = compacting(&[("cleaner.io.max.bytes.per.second", "1000000")]);
    send_same_key(&rig, 3);
    until("it is compacted", || removed(&rig) == 2);
}

fn a_log_is_compacted_when_enough_of_it_is_dirty() {
    let rig = compacting(&[("topic.min.cleanable.dirty.ratio", "1")]);
    send_same_key(&rig, 3);
    std::thread::sleep(WHILE);
    assert_eq!(removed(&rig), 0, "more than all of it never is");
    let rig = compacting(&[("topic.min.cleanable.dirty.ratio", "0.9")]);
    send_same_key(&rig, 3);
    until("it is compacted", || removed(&rig) > 0);
}

fn young_records_are_not_compacted() {
    let rig = compacting(&[("topic.min.compaction.lag.ms", "3600000")]);
    send_same_key(&rig, 3);
    std::thread::sleep(WHILE);
    assert_eq!(removed(&rig), 0);
    let rig = compacting(&[("topic.min.compaction.lag.ms", "50")]);
    send_same_key(&rig, 3);
    until("they are old enough", || removed(&rig) == 2);
}

fn old_records_are_compacted_however_few() {
    let settings = |most| {
        [
            ("topic.min.cleanable.dirty.ratio", "1"),
            ("topic.segment.ms", "3600000"),
            ("topic.max.compaction.lag.ms", most),
        ]
    };
    let rig = compacting(&settings("100"));
    send_same_key(&rig, 3);
    until("they are too old", || removed(&rig) > 0);
    assert!(rig.partition().segments >= 2, "and were closed for it");
    let rig = compacting(&settings("3600000"));
    send_same_key(&rig, 3);
    std::thread::sleep(WHILE);
    assert_eq!(removed(&rig), 0);
}

fn the_mark_of_a_deleted_key_goes() {
    // The first pass marks it, and a later one takes it; each wants something new.
    let passes = |keep: &str, most: u64| {
        let rig = compacting(&[("topic.delete.retention.ms", keep)]);
        let deletion = ProducerRecord::to("t").partition(0).key(b"gone");
        rig.send_with(ProducerConfig::new(), deletion).unwrap();
        let mut sent = 0;
        until("compactions come and go", || {
            send_same_key(&rig, 1);
            sent += 1;
            std::thread::sleep(Duration::from_millis(20));
            removed(&rig) >= sent || rig.counter("compactions") >= most
        });
        let mut consumer = rig.client.consumer(folio_client::ConsumerConfig::new()).unwrap();
        consumer.assign([(folio_client::TopicPartition::new("t", 0), folio_client::Position::Earliest)]);
        let records = consumer.poll(LIMIT).unwrap().unwrap();
        records.iter().next().unwrap().key.unwrap().to_vec()
    };
    assert_eq!(passes("3600000", 4), b"gone");
    assert_ne!(passes("0", 20), b"gone");
}

fn old_records_go() {
    let settings = |age| [("maintenance.interval.ms", "20"), ("topic.retention.ms", age)];
    let rig = Served::with_topic(&settings("50"));
    rig.send(b"x").unwrap();
    until("the record goes", || rig.partition().log_start.get() == 1);
    let rig = Served::with_topic(&settings("-1"));
    rig.send(b"x").unwrap();
    std::thread::sleep(WHILE);
    assert_eq!(rig.partition().log_start.get(), 0);
}

fn too_many_bytes_go() {
    let start = |most: &str| {
        let settings = [
            ("maintenance.interval.ms", "20"),
            ("topic.retention.bytes", most),
            ("topic.segment.bytes", "4096"),
        ];
        let rig = Served::with_topic(&settings);
        (0..20).for_each(|_| rig.send(&[7; 3000]).unwrap());
        if most == "10000" {
            until("old segments go", || rig.partition().log_start.get() >= 15);
        } else {
            std::thread::sleep(WHILE);
        }
        rig.partition().log_start.get()
    };
    assert!(start("10000") < 20);
    assert_eq!(start("-1"), 0);
}

fn segments_are_no_larger() {
    let segments = |bytes: &str| {
        let rig = Served::with_topic(&[("topic.segment.bytes", bytes)]);
        (0..10).for_each(|_| rig.send(&[7; 3000]).unwrap());
        rig.partition().segments
    };
    assert_eq!(segments("4096"), 10);
    assert_eq!(segments("1000000"), 1);
}

fn segments_are_no_older() {
    let settings = |age| [("maintenance.interval.ms", "20"), ("topic.segment.ms", age)];
    let rig = Served::with_topic(&settings("50"));
    rig.send(b"x").unwrap();
    until("a new segment begins", || rig.partition().segments == 2);
    let rig = Served::with_topic(&settings("3600000"));
    rig.send(b"x").unwrap();
    std::thread::sleep(WHILE);
    assert_eq!(rig.partition().segments, 1);
}

fn some_segments_are_closed_earlier_than_others() {
    let segments = |jitter| {
        let settings = [
            ("maintenance.interval.ms", "20"),
            ("topic.segment.ms", "60000"),
            ("topic.segment.jitter.ms", jitter),
        ];
        let rig = Served::new(&settings);
        rig.client.admin().create_topic(NewTopic::new("t", 64)).wait().unwrap();
        let producer = rig.client.producer(ProducerConfig::new()).unwrap();
        let sent: Vec<_> = (0..64)
            .map(|number| producer.send(ProducerRecord::to("t").partition(number).value(b"x")).unwrap())
            .collect();
        sent.into_iter().for_each(|one| drop(one.wait().unwrap()));
        (rig, producer)
    };
    let closed = |rig: &Served| {
        let described = rig.client.admin().describe_topic("t").wait().unwrap();
        described.partitions.iter().filter(|one| one.segments == 2).count()
    };
    // Of 64 the first is due after a second or so.
    let (rig, _producer) = segments("60000");
    until("one is closed", || closed(&rig) > 0);
    assert!(closed(&rig) < 60, "and not all at once");
    let (rig, _producer) = segments("0");
    std::thread::sleep(WHILE);
    assert_eq!(closed(&rig), 0);
}

fn a_segment_whose_index_is_full_is_closed() {
    let segments = |bytes: &str| {
        let settings = [("topic.index.interval.bytes", "500"), ("topic.segment.index.bytes", bytes)];
        let rig = Served::with_topic(&settings);
        (0..30).for_each(|_| rig.send(&[7; 1000]).unwrap());
        rig.partition().segments
    };
    // Ten entries, each for a batch.
    assert!((3..=4).contains(&segments("80")));
    assert_eq!(segments("800"), 1);
}

fn index_entries_are_so_far_apart() {
    let entries = |interval: &str| {
        let served = Served::with_topic(&[("topic.index.interval.bytes", interval)]);
        (0..20).for_each(|_| served.send(&[7; 1000]).unwrap());
        let index = served.rig.dir().join("data/topics/t-0/00000000000000000000.index");
        (std::fs::metadata(index).unwrap().len() - 32) / 16
    };
    assert!(entries("500") > 15);
    assert!(entries("5000") < 6);
}

fn a_larger_batch_is_refused() {
    let rig = Served::with_topic(&[("topic.max.message.bytes", "1000")]);
    assert_eq!(code(rig.send(&[7; 1000])), ErrorCode::MESSAGE_TOO_LARGE);
    rig.send(&[7; 800]).unwrap();
}

fn a_larger_record_of_a_compressed_batch_is_refused() {
    let rig = Served::with_topic(&[("topic.max.decompressed.message.bytes", "1000")]);
    let send = |compression, bytes| {
        let record = ProducerRecord::to("t").partition(0).value(&[7; 2000][..bytes]);
        rig.send_with(ProducerConfig::new().compression(compression), record)
    };
    assert_eq!(code(send(Compression::Lz4, 1000)), ErrorCode::INVALID_RECORD);
    send(Compression::Lz4, 900).unwrap();
    send(Compression::None, 1000).unwrap();
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

/// A record stamped so many milliseconds after now.
fn stamped(rig: &Served, ms: i64) -> Result<(), DeliveryError> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let timestamp = Timestamp::new(i64::try_from(now.as_millis()).unwrap() + ms);
    rig.send_with(
        ProducerConfig::new(),
        ProducerRecord::to("t").partition(0).value(b"x").timestamp(timestamp),
    )
}

fn a_record_from_the_past_is_refused() {
    let rig = Served::with_topic(&[("topic.message.timestamp.before.max.ms", "60000")]);
    assert_eq!(code(stamped(&rig, -120_000)), ErrorCode::INVALID_TIMESTAMP);
    stamped(&rig, -30_000).unwrap();
    stamped(&Served::with_topic(&[]), -120_000).unwrap();
}

fn a_record_from_the_future_is_refused() {
    let rig = Served::with_topic(&[("topic.message.timestamp.after.max.ms", "60000")]);
    assert_eq!(code(stamped(&rig, 120_000)), ErrorCode::INVALID_TIMESTAMP);
    stamped(&rig, 30_000).unwrap();
    stamped(&Served::with_topic(&[]), 120_000).unwrap();
}

/// The first batch that is stored.
fn first_batch(rig: &Served) -> Vec<u8> {
    let (fetched, bytes) = rig.peer().fetch_now("t", 0);
    assert_eq!(fetched.error, ErrorCode::NONE);
    let (batch, _) = UnverifiedBatch::split_first(&bytes).unwrap();
    batch.verify().unwrap().bytes().to_vec()
}

fn records_have_the_time_that_the_topic_wants() {
    let time_of = |whose| {
        let rig = Served::with_topic(&[("topic.message.timestamp.type", whose)]);
        stamped(&rig, -120_000).unwrap();
        let batch = first_batch(&rig);
        let header = BatchHeader::parse(batch.first_chunk().unwrap()).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = i64::try_from(now.as_millis()).unwrap() - header.max_timestamp.get();
        (header.attributes.timestamp_type(), age > 110_000)
    };
    assert_eq!(time_of("CreateTime"), (TimestampType::Create, true));
    assert_eq!(time_of("LogAppendTime"), (TimestampType::LogAppend, false));
}

fn batches_are_stored_in_the_codec_that_the_topic_wants() {
    for (setting, stored) in [
        ("producer", Compression::Lz4),
        ("uncompressed", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ] {
        let rig = Served::with_topic(&[("topic.compression.type", setting)]);
        let record = ProducerRecord::to("t").partition(0).value(&[7; 1000]);
        rig.send_with(ProducerConfig::new().compression(Compression::Lz4), record).unwrap();
        let batch = first_batch(&rig);
        let header = BatchHeader::parse(batch.first_chunk().unwrap()).unwrap();
        assert_eq!(header.attributes.compression(), stored, "{setting}");
    }
}

/// How large a batch of log lines is, stored in this codec at this level.
fn stored_size(codec: &str, level: &str) -> usize {
    let level_key = format!("topic.compression.{codec}.level");
    let rig = Served::with_topic(&[("topic.compression.type", codec), (&level_key, level)]);
    let line = |i: u32| format!("GET /page/{} 200 {}\n", i * i % 977, i.wrapping_mul(0x9e37_79b1) % 10_007);
    let lines: Vec<u8> = (0..3000).flat_map(|i| line(i).into_bytes()).collect();
    rig.send(&lines).unwrap();
    first_batch(&rig).len()
}

fn gzip_is_as_small_as_the_topic_wants() {
    assert!(stored_size("gzip", "9") < stored_size("gzip", "1"));
}

fn zstd_is_as_small_as_the_topic_wants() {
    assert!(stored_size("zstd", "19") < stored_size("zstd", "-5"));
}
