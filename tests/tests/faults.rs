//! Faults of the machine below the daemon, and mistakes of who starts it: a clean end with a clear line, or service
//! that goes on; never a false acknowledgement.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use folio_client::{
    Acks, Client, ClientConfig, ConsumerConfig, DeliveryError, ErrorCode, NewTopic, OffsetSpec, Position,
    Producer, ProducerConfig, ProducerRecord, TopicPartition,
};
use folio_tests::control::finding;
use folio_tests::daemon::{Daemon, signal};
use folio_tests::disk::TinyDisk;
use folio_tests::rig::until;
use folio_tests::strace::Strace;

const LIMIT: Duration = Duration::from_secs(60);
/// So long does a flush take that takes for ever.
const HANGS: Duration = Duration::from_secs(40);

#[test]
fn the_start_line_says_how_long_it_took_where_it_listens_where_the_data_is_and_what_was_recovered() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let said = daemon.said();
    let data = dir.path().join("data").display().to_string();
    for part in ["started in ", " ms", "listening on 127.", &data, "new directory"] {
        assert!(said.contains(part), "{part:?} in {said:?}");
    }
    let client = connect(&daemon);
    create(&client, "t", "fsync");
    send(&producer(&client), "t", b"kept").unwrap();
    drop(client);
    assert_eq!(daemon.stop().code(), Some(0));

    let daemon = Daemon::on(dir.path(), &[]);
    let said = daemon.said();
    assert!(said.contains("clean stop, 1 partitions, 0 bytes scanned, 0 bytes cut, 0 offline"), "{said}");
    assert_eq!(stored(&connect(&daemon), "t"), [b"kept"]);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn nobody_who_reads_what_the_daemon_says_is_no_reason_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = std::process::Command::new(folio_tests::binary("foliod"));
    command.env("FOLIOD_DATA_DIR", &data).env("FOLIOD_LISTEN", &address);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    let deadline = Instant::now() + LIMIT;
    let client = loop {
        match Client::connect(ClientConfig::new(&address)) {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    create(&client, "t", "fsync");
    send(&producer(&client), "t", b"kept").unwrap();
    drop(client);
    signal(&child.id().to_string(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let daemon = Daemon::on(dir.path(), &[]);
    assert!(daemon.said().contains("clean stop"), "{}", daemon.said());
    assert_eq!(stored(&connect(&daemon), "t"), [b"kept"]);
    daemon.stop();
}

#[test]
fn the_data_directory_is_made_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mode = |path: &str| std::fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("data"), mode("data/node.meta")), (0o700, 0o600));
    daemon.stop();
}

#[test]
fn mistakes_at_the_start_are_one_clear_line_and_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let refusal = |dir: &Path, arguments: &[&str]| Daemon::try_on(dir, arguments).unwrap_err();

    let said = refusal(dir.path(), &[]);
    let holder = format!("/data is in use by process {}", daemon.pid());
    assert!(said.contains(&holder) && said.contains("(exit code Some(1))"), "{said}");

    let elsewhere = tempfile::tempdir().unwrap();
    let said = refusal(elsewhere.path(), &["--listen", daemon.address()]);
    assert!(said.contains(&format!("cannot listen on {}", daemon.address())), "{said}");
    assert!(said.contains("in use") && said.contains("(exit code Some(1))"), "{said}");

    std::fs::write(elsewhere.path().join("file"), b"").unwrap();
    let file = elsewhere.path().join("file").display().to_string();
    let said = refusal(elsewhere.path(), &["--data-dir", &file]);
    assert!(said.contains(&file) && said.contains("(exit code Some(1))"), "{said}");

    for (arguments, says) in [
        (&["--set", "topic.retention.mss=1"][..], "did you mean topic.retention.ms?"),
        (&["--set", "lane.threads=many"], "expected a whole number, 1 or more"),
        (&["--config", "/nowhere/foliod.toml"], "/nowhere/foliod.toml"),
        (&["--lissen", "127.0.0.1:0"], "--listen"),
    ] {
        let said = refusal(elsewhere.path(), arguments);
        assert!(said.contains(says) && said.contains("(exit code Some(2))"), "{arguments:?}: {said}");
    }
    daemon.stop();
}

#[test]
fn after_a_flush_that_failed_nothing_is_acknowledged_and_the_daemon_ends_with_70() {
    failing("fdatasync,fsync,syncfs", "fsync");
}

#[test]
fn after_a_write_that_failed_nothing_is_acknowledged_and_the_daemon_ends_with_70() {
    failing("pwrite64,pwritev,pwritev2", "os");
}

/// Every one of these system calls fails from some moment on, while a producer waits for each record.
fn failing(calls: &str, durability: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), &[]);
    let client = connect(&daemon);
    create(&client, "t", durability);
    let records = producer(&client);
    for number in 0..20 {
        send(&records, "t", number.to_string().as_bytes()).unwrap();
    }
    let strace = Strace::attach(daemon.pid(), &format!("inject={calls}:error=EIO"));
    let refused = send(&records, "t", b"after the fault").unwrap_err();
    assert!(
        matches!(&refused, DeliveryError::Refused { refusal, .. } if refusal.code == ErrorCode::STORAGE_FAILED)
            || matches!(&refused, DeliveryError::Failed { .. }),
        "{refused}"
    );
    assert_eq!(daemon.wait().code(), Some(70), "{}", daemon.said());
    let said = daemon.said();
    let last = said.lines().last().unwrap();
    assert!(last.contains("the data directory failed") && last.contains("Input/output error"), "{said}");
    assert!(last.contains(&dir.path().display().to_string()), "it names the file: {said}");
    drop(strace);

    let daemon = Daemon::on(dir.path(), &[]);
    assert!(daemon.said().contains("unclean stop"), "{}", daemon.said());
    let found = stored(&connect(&daemon), "t");
    let acknowledged: Vec<Vec<u8>> = (0..20).map(|number| number.to_string().into_bytes()).collect();
    assert!(found.starts_with(&acknowledged), "every acknowledged record is there: {found:?}");
    assert!(found.len() <= 21);
    daemon.stop();
}

#[test]
fn a_full_disk_refuses_produce_serves_reads_and_resumes_by_itself() {
    let mount = TinyDisk::mount(24);
    for min_free in ["0", "1048576"] {
        let (acknowledged, _, stored) = filled_and_freed(&mount, min_free);
        check(&stored, &acknowledged);
    }
}

#[test]
fn a_record_that_a_full_disk_refused_and_that_counts_as_acknowledged_is_found_missing() {
    let mount = TinyDisk::mount(24);
    let (mut acknowledged, refused, stored) = filled_and_freed(&mount, "0");
    acknowledged.push(refused[0]);
    acknowledged.sort_unstable();
    let said = finding("a refusal", || check(&stored, &acknowledged));
    assert!(said.contains(&format!("{} was acknowledged and is gone", refused[0])), "{said}");
    let said = finding("a record too many", || check(&[0, 1, 1], &[0, 1]));
    assert!(said.contains("nobody was told of it, or it is there twice"), "{said}");
}

/// Records are sent to a disk until it is full, and again when it has room: those that were acknowledged, those that
/// were refused, and what the next daemon finds.
fn filled_and_freed(mount: &TinyDisk, min_free: &str) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    let ballast = mount.path().join("ballast");
    std::fs::write(&ballast, vec![1; 12 << 20]).unwrap();
    let data = tempfile::tempdir_in(mount.path()).unwrap();
    let setting = format!("disk.min.free={min_free}");
    let daemon = Daemon::on(data.path(), &["--set", &setting]);
    let client = connect(&daemon);
    create(&client, "t", "fsync");
    let records = producer(&client);
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + LIMIT;
    let mut next = 0;
    let mut send_next = || {
        next += 1;
        send(&records, "t", &numbered(next - 1, 100_000))
            .map_err(|error| (next - 1, error))
            .map(|()| next - 1)
    };
    let error = loop {
        match send_next() {
            Ok(number) => acknowledged.push(number),
            Err((number, error)) => {
                refused.push(number);
                break error;
            }
        }
        assert!(Instant::now() < deadline, "the disk never fills");
    };
    let DeliveryError::Refused { refusal, .. } = &error else { panic!("{error}") };
    assert_eq!(refusal.code, ErrorCode::STORAGE_FULL, "{refusal}");
    let count = acknowledged.len();
    assert!(refusal.code.is_retriable() && count > 20, "{count} before: {refusal}");
    check(&numbers(&client), &acknowledged);

    std::fs::remove_file(&ballast).unwrap();
    loop {
        match send_next() {
            Ok(number) => break acknowledged.push(number),
            Err((number, error)) => {
                refused.push(number);
                assert!(Instant::now() < deadline, "it does not resume: {error}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    check(&numbers(&client), &acknowledged);
    drop((records, client));
    assert_eq!(daemon.stop().code(), Some(0));

    let daemon = Daemon::on(data.path(), &["--set", &setting]);
    let stored = numbers(&connect(&daemon));
    daemon.stop();
    (acknowledged, refused, stored)
}

/// A value that begins with its number.
fn numbered(number: usize, size: usize) -> Vec<u8> {
    let mut value = format!("{number} ").into_bytes();
    value.resize(size, b'.');
    value
}

/// The numbers of all records of `t`, in order.
fn numbers(client: &Client) -> Vec<usize> {
    let number = |value: &Vec<u8>| {
        String::from_utf8_lossy(value).split_once(' ').and_then(|(number, _)| number.parse().ok())
    };
    stored(client, "t").iter().map(|value| number(value).expect("a number")).collect()
}

/// What was acknowledged is stored, in its order, and nothing else.
fn check(stored: &[usize], acknowledged: &[usize]) {
    for number in acknowledged {
        assert!(stored.contains(number), "{number} was acknowledged and is gone");
    }
    assert_eq!(stored, acknowledged, "nobody was told of it, or it is there twice");
}

/// As many connections as there are descriptors, and more.
const CROWD: usize = 120;

#[test]
fn few_descriptors_refuse_connections_and_not_the_ones_that_are_there() {
    let (is_refused, acknowledged, stored) = crowded("80");
    assert!(is_refused, "everybody was let in");
    check(&stored, &acknowledged);
}

#[test]
fn with_enough_descriptors_the_same_crowd_is_let_in_and_a_record_that_nobody_sent_is_found_missing() {
    let (is_refused, mut acknowledged, stored) = crowded("4096");
    assert!(!is_refused, "somebody was refused");
    check(&stored, &acknowledged);
    acknowledged.push(acknowledged.len());
    finding("it was never sent", || check(&stored, &acknowledged));
}

/// A crowd comes, while somebody who was there before produces: whether anybody else was refused, what was
/// acknowledged, and what is stored.
fn crowded(descriptors: &str) -> (bool, Vec<usize>, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let limit = format!("--nofile={descriptors}:{descriptors}");
    let daemon = Daemon::under(&["prlimit", &limit], dir.path(), &[]);
    let client = connect(&daemon);
    create(&client, "t", "os");
    let crowd: Vec<_> =
        (0..CROWD).filter_map(|_| std::net::TcpStream::connect(daemon.address()).ok()).collect();
    let records = producer(&client);
    let mut acknowledged = Vec::new();
    for number in 0..10 {
        send(&records, "t", &numbered(number, 20)).unwrap();
        acknowledged.push(number);
    }
    let config = ClientConfig::new(daemon.address()).request_timeout(Duration::from_secs(15));
    let is_refused = Client::connect(config).is_err();
    drop(crowd);
    let deadline = Instant::now() + LIMIT;
    while Client::connect(ClientConfig::new(daemon.address())).is_err() {
        assert!(Instant::now() < deadline, "nobody new is served after the crowd has gone");
    }
    let stored = numbers(&client);
    drop((records, client));
    daemon.stop();
    (is_refused, acknowledged, stored)
}

#[test]
fn a_second_signal_ends_the_daemon_at_once_and_the_next_start_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), &["--set", "shutdown.timeout.ms=60000"]);
    let client = connect(&daemon);
    create(&client, "t", "os");
    send(&producer(&client), "t", b"kept").unwrap();
    // A flush that takes for ever: only the second signal ends the wait for it.
    let strace = Strace::attach(
        daemon.pid(),
        &format!("inject=fdatasync,fsync,syncfs:delay_enter={}", HANGS.as_micros()),
    );
    signal(&daemon.pid().to_string(), "TERM");
    // Two signals that arrive together are one.
    until("the first has arrived", || TcpStream::connect(daemon.address()).is_err());
    signal(&daemon.pid().to_string(), "TERM");
    drop(client);
    // The process is gone only when strace lets go of the thread that it holds; the last words come before.
    let deadline = Instant::now() + HANGS / 2;
    while !daemon.said().contains("without the clean mark") {
        assert!(Instant::now() < deadline, "it did not end at once: {}", daemon.said());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(strace);
    assert_eq!(daemon.wait().code(), Some(0));
    let daemon = Daemon::on(dir.path(), &[]);
    assert!(daemon.said().contains("unclean stop"), "{}", daemon.said());
    assert_eq!(stored(&connect(&daemon), "t"), [b"kept"]);
    daemon.stop();
}

fn connect(daemon: &Daemon) -> Client {
    Client::connect(ClientConfig::new(daemon.address())).unwrap()
}

fn create(client: &Client, topic: &str, durability: &str) {
    client.admin().create_topic(NewTopic::new(topic, 1).setting("durability", durability)).wait().unwrap();
}

fn producer(client: &Client) -> Producer {
    let config = ProducerConfig::new().acks(Acks::All).retries(0).delivery_timeout(Duration::from_secs(20));
    client.producer(config).unwrap()
}

fn send(producer: &Producer, topic: &str, value: &[u8]) -> Result<(), DeliveryError> {
    producer.send(ProducerRecord::to(topic).partition(0).value(value)).unwrap().wait().map(drop)
}

fn stored(client: &Client, topic: &str) -> Vec<Vec<u8>> {
    let partition = TopicPartition::new(topic, 0);
    let end = client.admin().list_offsets([(partition.clone(), OffsetSpec::Latest)]).wait().unwrap();
    let end = end[0].clone().unwrap().unwrap().offset.get();
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(partition, Position::Earliest)]);
    let mut values = Vec::new();
    while (values.len() as i64) < end {
        let records = consumer.poll(LIMIT).unwrap().expect("the records are there");
        values.extend(records.iter().map(|record| record.value.unwrap().to_vec()));
    }
    values
}
