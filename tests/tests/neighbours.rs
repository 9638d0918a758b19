//! Others on the machine, while a daemon runs: who writes into its directory, takes files away, makes the disk
//! read-only, starts another daemon, or stops the process. All that can be served is, nothing false is acknowledged,
//! and what is gone is named.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use folio_client::{
    Acks, Client, ClientConfig, ConsumerConfig, DeliveryError, ErrorCode, NewTopic, OffsetSpec, PollError,
    Position, Producer, ProducerConfig, ProducerRecord, TopicPartition,
};
use folio_tests::control::finding;
use folio_tests::daemon::{Daemon, signal};
use folio_tests::disk::image::Ext4;
use folio_tests::isolated::Isolated;
use folio_tests::rig::until;
use folio_tests::{binary, cache, campaign};

const LIMIT: Duration = Duration::from_secs(60);
/// For what is not going to come.
const SOON: Duration = Duration::from_secs(2);
const SMALL: &[&str] = &["--set", "topic.segment.bytes=65536", "--set", "maintenance.interval.ms=50"];

const SMALL_DISK: &[&str] = &["--set", "disk.min.free=1000000"];

/// A daemon with topics `t` and `u`, and so many records of 1 kB in both.
struct Served {
    dir: tempfile::TempDir,
    daemon: Daemon,
    client: Client,
    producer: Producer,
}

impl Served {
    fn new(records: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::on(dir.path(), SMALL);
        let client = connect(&daemon);
        for topic in ["t", "u"] {
            client.admin().create_topic(NewTopic::new(topic, 1)).wait().unwrap();
        }
        let producer = producer(&client);
        let served = Self { dir, daemon, client, producer };
        for topic in ["t", "u"] {
            served.fill(topic, 0, records);
        }
        served
    }

    fn fill(&self, topic: &str, from: usize, records: usize) {
        let deliveries: Vec<_> = (from..from + records)
            .map(|number| self.producer.send(ProducerRecord::to(topic).partition(0).value(&value(number))))
            .collect();
        for delivery in deliveries {
            delivery.unwrap().wait().unwrap();
        }
    }

    fn send(&self, topic: &str, number: usize) -> Result<(), DeliveryError> {
        send(&self.producer, topic, &value(number))
    }

    fn partition(&self, topic: &str) -> PathBuf {
        self.dir.path().join(format!("data/topics/{topic}-0"))
    }

    /// The logs of a topic's segments, oldest first.
    fn logs(&self, topic: &str) -> Vec<PathBuf> {
        cache::logs(&self.partition(topic))
    }

    /// Copies the data directory into `dir`, once no file gets another name meanwhile: that of a segment that is made
    /// ready, or sealed.
    fn copy(&self, how: &str, dir: &Path) {
        until("everything is there while it is copied", || {
            let _ = std::fs::remove_dir_all(dir.join("data"));
            let mut copy = Command::new("cp");
            copy.arg(how).arg(self.dir.path().join("data")).arg(dir).stderr(Stdio::null());
            copy.status().unwrap().success()
        });
    }

    fn restart(self) -> (tempfile::TempDir, Daemon) {
        let Self { dir, daemon, client, producer } = self;
        drop((client, producer));
        daemon.stop();
        let daemon = Daemon::on(dir.path(), SMALL);
        (dir, daemon)
    }
}

fn connect(daemon: &Daemon) -> Client {
    Client::connect(ClientConfig::new(daemon.address())).unwrap()
}

fn producer(client: &Client) -> Producer {
    let config = ProducerConfig::new().acks(Acks::All).retries(0).batch_bytes(2000);
    client.producer(config.delivery_timeout(Duration::from_secs(20))).unwrap()
}

fn send(producer: &Producer, topic: &str, value: &[u8]) -> Result<(), DeliveryError> {
    producer.send(ProducerRecord::to(topic).partition(0).value(value)).unwrap().wait().map(drop)
}

fn value(number: usize) -> Vec<u8> {
    let mut value = number.to_string().into_bytes();
    value.resize(1000, b'.');
    value
}

/// Reads a topic from `from` on until `upto`, or an error; every record is as it was sent, and in its place.
fn read(client: &Client, topic: &str, from: i64, upto: usize) -> Result<usize, PollError> {
    read_within(LIMIT, client, topic, from, upto)
}

/// The same, where a record behind what there is may take so long.
fn read_within(
    limit: Duration,
    client: &Client,
    topic: &str,
    from: i64,
    upto: usize,
) -> Result<usize, PollError> {
    let mut consumer = client.consumer(ConsumerConfig::new().prefetch_bytes(100_000)).unwrap();
    let from_offset = Position::At(folio_record::Offset::new(from));
    let place = TopicPartition::new(topic, 0);
    consumer.assign([(place.clone(), from_offset)]);
    let listed = client.admin().list_offsets([(place, OffsetSpec::Latest)]).wait().unwrap();
    // Of a partition that is offline nothing is told, and nothing comes.
    let end = listed[0].as_ref().map_or(0, |latest| latest.unwrap().offset.get() as usize);
    let mut next = from as usize;
    while next < upto {
        let patience = if next < end { LIMIT } else { limit };
        let records = consumer.poll(patience)?.unwrap_or_else(|| panic!("{topic}: nothing comes at {next}"));
        for record in &records {
            assert_eq!(record.offset.get(), next as i64, "{topic}");
            assert_eq!(record.value.unwrap(), value(next), "{topic} at {next}");
            next += 1;
        }
    }
    Ok(next)
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn verify(dir: &Path) -> (bool, String) {
    let output =
        Command::new(binary("folio")).args(["log", "verify"]).arg(dir.join("data")).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first offset of a segment, by the name of its log.
fn base(log: &Path) -> usize {
    log.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// What every claim here goes by.
#[test]
fn a_record_that_is_missing_doubled_or_changed_is_found_by_its_reader() {
    let served = Served::new(0);
    for (topic, numbers, says) in [
        ("missing", &[0, 1, 3, 4][..], "missing at 2"),
        ("doubled", &[0, 1, 1, 2], "doubled at 2"),
        ("swapped", &[0, 2, 1, 3], "swapped at 1"),
        ("short", &[0, 1, 2], "short: nothing comes at 3"),
    ] {
        served.client.admin().create_topic(NewTopic::new(topic, 1)).wait().unwrap();
        numbers.iter().for_each(|number| served.send(topic, *number).unwrap());
        let said = finding(topic, || drop(read_within(SOON, &served.client, topic, 0, 4)));
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_hole_that_is_punched_into_a_segment_is_found_by_its_reader_and_by_verify_and_all_else_is_served() {
    let served = Served::new(300);
    let logs = served.logs("t");
    run(Command::new("fallocate")
        .args(["--punch-hole", "--offset", "8192", "--length", "4096"])
        .arg(&logs[1]));
    let (first, after) = (base(&logs[1]), base(&logs[2]));
    let error = read(&served.client, "t", first as i64, 300).unwrap_err();
    assert!(error.to_string().contains("t-0"), "{error}");
    for (topic, from, upto) in [("t", 0, first), ("t", after, 300), ("u", 0, 300)] {
        assert_eq!(read(&served.client, topic, from as i64, upto).unwrap(), upto);
    }
    served.fill("t", 300, 5);
    let (dir, daemon) = served.restart();
    assert_eq!(read(&connect(&daemon), "u", 0, 300).unwrap(), 300);
    daemon.stop();
    let (is_clean, said) = verify(dir.path());
    let name = logs[1].file_name().unwrap().to_str().unwrap();
    assert!(!is_clean && said.contains(name), "{said}");
}

#[test]
fn a_segment_that_is_unlinked_is_missed_at_the_latest_by_the_next_start_and_all_else_is_served() {
    for which in [0, 1, 3] {
        let served = Served::new(300);
        let logs = served.logs("t");
        std::fs::remove_file(&logs[which]).unwrap();
        let first = base(&logs[which]);
        for (topic, upto) in [("t", first), ("u", 300)] {
            assert_eq!(read(&served.client, topic, 0, upto).unwrap(), upto);
        }
        served.send("u", 300).unwrap();
        let (_dir, daemon) = served.restart();
        let said = daemon.said();
        assert!(said.contains("1 offline") && said.contains("topics/t-0/"), "segment {which}: {said}");
        let client = connect(&daemon);
        for (topic, upto) in [("t", first), ("u", 301)] {
            assert_eq!(read(&client, topic, 0, upto).unwrap(), upto);
        }
        daemon.stop();
    }
}

/// Nobody need look for it: who is about to acknowledge does.
#[test]
fn what_is_appended_to_a_segment_that_was_unlinked_is_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "maintenance.interval.ms=3600000"]);
    let client = connect(&daemon);
    for topic in ["t", "u"] {
        client.admin().create_topic(NewTopic::new(topic, 1)).wait().unwrap();
    }
    let producer = producer(&client);
    for topic in ["t", "u"] {
        send(&producer, topic, &value(0)).unwrap();
    }
    std::fs::remove_file(dir.path().join("data/topics/t-0/00000000000000000000.log")).unwrap();
    let refused = send(&producer, "t", &value(1)).unwrap_err();
    let DeliveryError::Refused { refusal, .. } = &refused else { panic!("{refused}") };
    assert_eq!(refusal.code, ErrorCode::PARTITION_OFFLINE, "{refusal}");
    send(&producer, "u", &value(1)).unwrap();
    assert_eq!(read(&client, "u", 0, 2).unwrap(), 2);
    assert_eq!(read(&client, "t", 0, 1).unwrap(), 1);
    drop((producer, client));
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_partition_whose_directory_is_removed_goes_offline_with_one_line_and_no_other_does() {
    let served = Served::new(300);
    // The daemon may make files there meanwhile.
    until("it is removed", || {
        let _ = std::fs::remove_dir_all(served.partition("t"));
        !served.partition("t").exists()
    });
    let mut number = 300;
    until("it is noticed", || {
        number += 1;
        served.send("t", number).is_err()
    });
    let refused = served.send("t", number).unwrap_err();
    let DeliveryError::Refused { refusal, .. } = &refused else { panic!("{refused}") };
    assert_eq!(refusal.code, ErrorCode::PARTITION_OFFLINE, "{refusal}");
    assert!(refusal.message.contains("was taken away"), "{refusal}");
    let described = served.client.admin().describe_topic("t").wait().unwrap();
    assert!(described.partitions[0].trouble.is_some(), "{described:?}");
    served.fill("u", 300, 200);
    assert_eq!(read(&served.client, "u", 0, 500).unwrap(), 500);
    let said = served.daemon.said();
    assert_eq!(said.matches("a partition is offline").count(), 1, "{said}");
    let (_dir, daemon) = served.restart();
    let said = daemon.said();
    assert!(said.contains("clean stop") && said.contains("1 offline"), "{said}");
    assert!(said.contains("topics/t-0 is missing"), "{said}");
    assert_eq!(read(&connect(&daemon), "u", 0, 500).unwrap(), 500);
    daemon.stop();
}

#[test]
fn a_disk_that_becomes_read_only_ends_the_daemon_with_70_and_nothing_acknowledged_is_missing() {
    Isolated::run(
        "a_disk_that_becomes_read_only_ends_the_daemon_with_70_and_nothing_acknowledged_is_missing",
        || {
            let dir = tempfile::tempdir().unwrap();
            let image = dir.path().join("image");
            Ext4::DEFAULT.make(&image);
            let mounted = Ext4::DEFAULT.mount(&image, &dir.path().join("mnt"));
            let mut daemon = Daemon::on(mounted.path(), SMALL_DISK);
            let client = connect(&daemon);
            client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
            let records = producer(&client);
            for number in 0..20 {
                send(&records, "t", &value(number)).unwrap();
            }
            // As after an error: the daemon's files stay open for writing, and every write fails.
            mounted.read_only();
            send(&records, "t", &value(20)).unwrap_err();
            assert_eq!(daemon.wait().code(), Some(70), "{}", daemon.said());
            let said = daemon.said();
            assert!(said.lines().last().unwrap().contains("the data directory failed"), "{said}");
            mounted.unmount();

            let mounted = Ext4::DEFAULT.mount(&image, &dir.path().join("mnt"));
            mounted.remount("ro");
            let refused = Daemon::try_on(mounted.path(), SMALL_DISK).unwrap_err();
            assert!(refused.contains("Read-only") && refused.contains("(exit code Some(1))"), "{refused}");
            assert_eq!(refused.lines().count(), 2, "{refused}");
            mounted.remount("rw");
            let daemon = Daemon::on(mounted.path(), SMALL_DISK);
            assert!(daemon.said().contains(" 0 offline"), "{}", daemon.said());
            read(&connect(&daemon), "t", 0, 20).unwrap();
            // The record that was refused, counted as acknowledged.
            let all = || drop(read_within(SOON, &connect(&daemon), "t", 0, 21));
            let said = finding("a refusal", all);
            assert!(said.contains("t: nothing comes at 20"), "{said}");
            daemon.stop();
            mounted.unmount();
        },
    );
}

#[test]
fn a_directory_of_somebody_else_is_refused_with_a_line_that_says_so() {
    Isolated::run("a_directory_of_somebody_else_is_refused_with_a_line_that_says_so", || {
        let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        Daemon::on(dir.path(), &[]).stop();
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let refused = Daemon::try_under(&nobody, dir.path(), &[]).unwrap_err();
        assert!(
            refused.contains("Permission denied") && refused.contains("(exit code Some(1))"),
            "{refused}"
        );
        assert!(refused.contains(&dir.path().join("data").display().to_string()), "{refused}");

        let data = dir.path().join("data");
        run(Command::new("chown").arg("-R").arg("65534:65534").arg(&data));
        run(Command::new("chmod").arg("0500").arg(&data));
        let refused = Daemon::try_under(&nobody, dir.path(), &[]).unwrap_err();
        assert!(
            refused.contains("Permission denied") && refused.contains("(exit code Some(1))"),
            "{refused}"
        );
    });
}

#[test]
fn a_copy_of_a_directory_in_use_is_served_by_a_second_daemon_that_leaves_the_first_alone() {
    let served = Served::new(200);
    let copy = tempfile::tempdir().unwrap();
    served.copy("-r", copy.path());
    let second = Daemon::on(copy.path(), SMALL);
    let said = second.said();
    assert!(said.contains("unclean stop") && said.contains(" 0 offline"), "{said}");
    let client = connect(&second);
    for topic in ["t", "u"] {
        assert_eq!(read(&client, topic, 0, 200).unwrap(), 200);
    }
    send(&producer(&client), "t", b"only in the copy").unwrap();
    served.fill("t", 200, 100);
    assert_eq!(read(&served.client, "t", 0, 300).unwrap(), 300);
    assert_eq!(second.stop().code(), Some(0));
    let refused = Daemon::try_on(served.dir.path(), &[]).unwrap_err();
    assert!(refused.contains(&format!("is in use by process {}", served.daemon.pid())), "{refused}");
    let (_dir, daemon) = served.restart();
    assert!(daemon.said().contains("clean stop"), "{}", daemon.said());
    daemon.stop();
}

/// No copy, but the same files under other names, and a lock of its own.
#[test]
fn a_second_daemon_on_the_very_same_files_is_found_by_the_readers_of_the_first() {
    let served = Served::new(20);
    let same = tempfile::tempdir().unwrap();
    served.copy("-rl", same.path());
    std::fs::remove_file(same.path().join("data/LOCK")).unwrap();
    let second = Daemon::on(same.path(), SMALL);
    served.fill("t", 20, 10);
    assert_eq!(read(&served.client, "t", 0, 30).unwrap(), 30);
    send(&producer(&connect(&second)), "t", &value(99)).unwrap();
    finding("two write to one file", || {
        assert_eq!(read_within(SOON, &served.client, "t", 0, 30).unwrap(), 30);
    });
}

/// `FOLIO_PAUSE_S=60` for the long run.
#[test]
fn a_daemon_that_is_stopped_for_a_while_goes_on_and_so_do_its_clients() {
    let pause = campaign::length("FOLIO_PAUSE_S", 3);
    let served = Served::new(10);
    let config = ClientConfig::new(served.daemon.address()).request_timeout(Duration::from_secs(1));
    let client = Client::connect(config).unwrap();
    let producer = client.producer(ProducerConfig::new().batch_bytes(2000)).unwrap();
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(TopicPartition::new("t", 0), Position::Latest)]);
    let (done, confirmed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let sent = std::thread::scope(|scope| {
        let producing = scope.spawn(|| {
            let mut number = 10;
            while !done.load(Ordering::Relaxed) {
                // They are sent again until they are confirmed, and stored once.
                send(&producer, "t", &value(number)).unwrap();
                number += 1;
                confirmed.store(number, Ordering::Relaxed);
            }
            number
        });
        until("it produces", || confirmed.load(Ordering::Relaxed) > 20);
        let pid = served.daemon.pid().to_string();
        signal(&pid, "STOP");
        std::thread::sleep(Duration::from_secs(pause));
        let before = confirmed.load(Ordering::Relaxed);
        signal(&pid, "CONT");
        until("it goes on", || confirmed.load(Ordering::Relaxed) > before + 20);
        done.store(true, Ordering::Relaxed);
        producing.join().unwrap()
    });
    let mut next = 10;
    while next < sent {
        // An answer may have come too late, which a consumer tells and gets over.
        let Ok(Some(records)) = consumer.poll(LIMIT) else { continue };
        for record in &records {
            assert_eq!(record.value.unwrap(), value(next));
            next += 1;
        }
    }
    assert_eq!(read(&served.client, "t", 0, sent).unwrap(), sent);
    let described = served.client.admin().describe_topic("t").wait().unwrap();
    assert!(described.partitions[0].trouble.is_none());
    assert_eq!(described.partitions[0].leader_epoch, 0);
    let (_dir, daemon) = served.restart();
    assert!(daemon.said().contains("clean stop"), "{}", daemon.said());
    daemon.stop();
}
