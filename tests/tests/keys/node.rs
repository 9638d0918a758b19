//! The keys of the node: where it listens, which topics it makes, where its data is, with how many threads it works,
//! how it ends.

use std::time::{Duration, Instant};

use folio_broker::Config;
use folio_broker::config::keys;
use folio_client::{Client, ClientConfig, ErrorCode, NewTopic, ProducerConfig, ProducerRecord};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::kafka::KafkaPeer;
use folio_tests::native::{Peer, batch};
use folio_tests::rig::{Rig, until};
use folio_tests::strace::Strace;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::metadata::MetadataResponse;
use folio_wire::native::produce::Acks;

use super::{LIMIT, Served, WHILE, code};

/// So long does a flush take that takes for ever.
const HANGS: Duration = Duration::from_secs(40);

effects! {
    "listen" every_address_is_listened_on
    "advertise" kafkas_clients_are_told_where_to_connect
    "auto.create.topics.enable" a_topic_that_is_asked_for_is_made_or_not
    "num.partitions" a_topic_that_does_not_say_has_so_many_partitions
    "data.dir" the_data_is_where_it_is_told
    "allow.incoherent.fs" a_network_file_system_is_refused_unless_allowed
    "loop.threads" so_many_event_loops_run
    "loop.spin.us" a_spinning_loop_uses_its_core
    "lane.threads" so_many_lanes_run
    "read.threads" so_many_readers_run
    "read.path" records_go_by_way_of_memory_or_not
    "sigbus.handler" a_touch_of_a_page_that_is_gone_ends_the_daemon_or_not
    "disk.min.free" a_disk_below_its_bound_takes_no_records
    "shutdown.timeout.ms" a_shutdown_ends_in_time
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

fn records_go_by_way_of_memory_or_not() {
    let copies = |setting: &str| {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::on(dir.path(), &["--set", setting]);
        let mut peer = Peer::connect(daemon.address());
        peer.create("t", 1, &[]);
        let sent = batch(&[7; 100_000]);
        peer.produce("t", 0, Acks::All, &sent);
        let trace = dir.path().join("trace");
        let strace = Strace::record(daemon.pid(), "preadv2", &trace);
        // The offset and the epoch are the broker's.
        assert_eq!(peer.fetch_now("t", 0).1[16..], sent[16..]);
        drop(strace);
        std::fs::read_to_string(trace).unwrap().matches("preadv2(").count()
    };
    assert!(copies("read.path=copy") > 0);
    assert_eq!(copies("read.path=map"), 0);
}

fn a_touch_of_a_page_that_is_gone_ends_the_daemon_or_not() {
    use std::os::unix::process::ExitStatusExt;
    let touched = |setting: &str| {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::under(&["prlimit", "--core=0"], dir.path(), &["--set", setting]);
        let mut peer = Peer::connect(daemon.address());
        peer.create("t", 1, &[]);
        peer.produce("t", 0, Acks::All, &batch(b"x"));
        let log = dir.path().join("data/topics/t-0/00000000000000000000.log");
        std::fs::File::options().write(true).open(log).unwrap().set_len(0).unwrap();
        peer.send_fetch("t", 0, 1000, Duration::ZERO);
        (daemon, peer)
    };
    let (mut daemon, _peer) = touched("sigbus.handler=off");
    assert_eq!(daemon.wait().signal(), Some(SIGBUS), "{}", daemon.said());
    let (daemon, _peer) = touched("sigbus.handler=on");
    let refused = Peer::connect(daemon.address()).fetch_now("t", 0).0.error;
    assert_eq!(refused, ErrorCode::PARTITION_OFFLINE, "{}", daemon.said());
}

/// What a process dies of.
const SIGBUS: i32 = 7;

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
    let strace = Strace::attach(
        daemon.pid(),
        &format!("inject=fdatasync,fsync,syncfs:delay_enter={}", HANGS.as_micros()),
    );
    signal(&daemon.pid().to_string(), "TERM");
    let deadline = Instant::now() + HANGS / 2;
    while !daemon.said().contains("without the clean mark") {
        assert!(Instant::now() < deadline, "it waits for the disk: {}", daemon.said());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(strace);
    daemon.wait();
}

fn a_topic_that_does_not_say_has_so_many_partitions() {
    let made = |count: &str, asked| {
        let rig = Served::new(&[("num.partitions", count)]);
        rig.client.admin().create_topic(NewTopic::new("t", asked)).wait().unwrap();
        rig.client.admin().describe_topic("t").wait().unwrap().partitions.len()
    };
    assert_eq!((made("3", 0), made("3", 2), made("1", 0)), (3, 2, 1));
}
