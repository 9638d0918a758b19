//! Death of the daemon in the middle of a produce: what was acknowledged is there, in order, once.
//!
//! `FOLIO_KILLS=200 cargo test -p folio-tests --test kill deaths -- --nocapture` lets it die so often in each test.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use folio_client::{
    Acks, Backoff, Client, ClientConfig, ConsumerConfig, Delivery, NewTopic, Offset, Position,
    ProducerConfig, ProducerRecord, TopicPartition,
};
use folio_tests::campaign;
use folio_tests::control::finding;
use folio_tests::daemon::{Daemon, signal};
use folio_tests::rig::until;

/// Deaths in each test of the short form.
const KILLS: usize = 10;

#[test]
fn deaths_of_the_daemon_lose_nothing_acknowledged_and_double_nothing() {
    let kills = campaign::length("FOLIO_KILLS", KILLS);
    for (durability, acks) in [("fsync", Acks::All), ("os", Acks::Leader)] {
        let mut run = Run::new(durability);
        let mut stored = Vec::new();
        for kill in 0..kills {
            run = run.die(acks, kill);
            // All of it is read now and then; in between what is new.
            if kill % 10 == 9 || kill + 1 == kills {
                let all = before(&run.daemon, 0);
                assert!(all.starts_with(&stored), "{durability}, kill {kill}: the log is not what it was");
                stored = all;
            } else {
                let known = stored.len();
                stored.extend(before(&run.daemon, known));
            }
            check(&stored, &run.acknowledged, &format!("{durability}, kill {kill}"));
        }
        let (acknowledged, stored) = (run.acknowledged.len(), stored.len());
        println!("{durability}: {kills} deaths, {acknowledged} lines acknowledged, {stored} stored");
        assert!(acknowledged > kills, "{durability}: {acknowledged} lines were acknowledged");
        run.daemon.stop();
    }
}

/// Nobody answers with acks=0: what has left the client is taken for acknowledged.
#[test]
fn lines_that_count_as_acknowledged_once_they_are_sent_are_found_lost() {
    for durability in ["fsync", "os"] {
        let mut run = Run::new(durability);
        let mut is_found = false;
        for kill in 0..KILLS {
            run = run.die(Acks::None, kill);
            let stored = before(&run.daemon, 0);
            let lost = run.acknowledged.iter().any(|number| !stored.contains(number));
            if lost {
                let said = finding("acks=0", || check(&stored, &run.acknowledged, durability));
                assert!(said.contains("was acknowledged and is gone"), "{said}");
                is_found = true;
                break;
            }
        }
        assert!(is_found, "{durability}: {KILLS} deaths took nothing of what was on its way");
        run.daemon.stop();
    }
}

#[test]
fn lines_that_are_missing_doubled_or_out_of_order_are_found() {
    check(&[0, 1, 2, 3], &[0, 2, 3], "with one that was not acknowledged");
    for (stored, says) in [
        (&[0, 1, 3][..], "line 2 was acknowledged and is gone"),
        (&[0, 1, 1, 2, 3], "out of order, or doubled"),
        (&[0, 2, 1, 3], "out of order, or doubled"),
    ] {
        let said = finding(says, || check(stored, &[0, 2, 3], "by hand"));
        assert!(said.contains(says), "{said}");
    }
}

/// A start names the epoch in the slots; the file follows when there is time.
#[test]
fn the_epoch_that_a_start_after_a_death_begins_is_written_down_while_the_daemon_serves() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    create(&daemon, "fsync", 3);
    let epochs =
        |partition| std::fs::read(dir.path().join(format!("data/topics/t-{partition}/epochs"))).unwrap();
    let before: Vec<_> = (0..3).map(epochs).collect();
    signal(&daemon.pid().to_string(), "KILL");
    let daemon = daemon.restart_after_death();
    until("all are written down", || (0..3).map(epochs).zip(&before).all(|(now, before)| now != *before));
    daemon.stop();
}

/// Producers that do not know that the daemon dies: they send again until everything is confirmed.
#[test]
fn deaths_under_idempotent_producers_lose_nothing_double_nothing_and_keep_the_order() {
    let kills = campaign::length("FOLIO_KILLS", KILLS);
    for (durability, acks) in [("fsync", Acks::All), ("os", Acks::Leader)] {
        let (stored, expected) = deaths_under_producers(durability, acks, kills, true);
        let confirmed: usize = expected.values().map(Vec::len).sum();
        println!("{durability}: {kills} deaths, {confirmed} records of idempotent producers confirmed");
        assert_eq!(stored, expected, "{durability}");
    }
}

/// What was stored by a daemon that died before it could say so is sent again, and nobody knows it.
#[test]
fn under_producers_that_are_not_idempotent_records_are_found_doubled() {
    // Between an append and its acknowledgement lies a flush, in which a death is likely to fall.
    let (stored, expected) = deaths_under_producers("fsync", Acks::All, 4, false);
    assert_ne!(stored, expected);
    let total = |numbers: &Numbers| numbers.values().map(Vec::len).sum::<usize>();
    assert!(total(&stored) > total(&expected), "{} of {}", total(&stored), total(&expected));
}

/// By partition and producer.
type Numbers = BTreeMap<(usize, usize), Vec<usize>>;

/// The daemon dies so often while producers are at work; what is stored then, and what they were told.
fn deaths_under_producers(
    durability: &str,
    acks: Acks,
    kills: usize,
    is_idempotent: bool,
) -> (Numbers, Numbers) {
    let dir = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let daemon = Daemon::on(dir.path(), &["--listen", &address]);
    create(&daemon, durability, PARTITIONS);
    let (done, confirmed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let config = ProducerConfig::new().acks(acks).batch_bytes(300).request_bytes(4 << 10);
    let config = config.idempotent(is_idempotent);
    let (daemon, sent) = std::thread::scope(|scope| {
        let sending = (0..PRODUCERS).map(|producer| {
            let (address, config, done, confirmed) = (&address, config.clone(), &done, &confirmed);
            scope.spawn(move || produce_until(producer, address, config, done, confirmed))
        });
        let sending: Vec<_> = sending.collect();
        let mut daemon = daemon;
        for kill in 0..kills {
            let before = confirmed.load(Ordering::Relaxed);
            until("records are confirmed", || {
                confirmed.load(Ordering::Relaxed) > before + 40 * (kill % 10 + 1)
            });
            signal(&daemon.pid().to_string(), "KILL");
            daemon = daemon.restart_after_death();
        }
        done.store(true, Ordering::Relaxed);
        let sent: Vec<_> = sending.into_iter().map(|thread| thread.join().unwrap()).collect();
        (daemon, sent)
    });
    let mut expected = Numbers::new();
    for (producer, count) in sent.into_iter().enumerate() {
        for number in 0..count {
            let place = (number % PARTITIONS as usize, producer);
            expected.entry(place).or_default().push(number);
        }
    }
    let mut stored = Numbers::new();
    for partition in 0..PARTITIONS {
        for text in values(&daemon, partition, 0) {
            let (producer, number) = text.split_once(':').unwrap();
            let place = (partition as usize, producer.parse().unwrap());
            stored.entry(place).or_default().push(number.parse().unwrap());
        }
    }
    daemon.stop();
    (stored, expected)
}

const PRODUCERS: usize = 3;
const PARTITIONS: u32 = 3;

/// Sends numbers, to each partition in turn, until it is enough; how many. All of them are confirmed.
fn produce_until(
    producer: usize,
    address: &str,
    config: ProducerConfig,
    done: &AtomicBool,
    confirmed: &AtomicUsize,
) -> usize {
    let quick = Backoff { first: Duration::from_millis(2), most: Duration::from_millis(50) };
    let of_client = ClientConfig::new(address).reconnect_backoff(quick).retry_backoff(quick);
    let client = Client::connect(of_client.request_timeout(Duration::from_secs(5))).unwrap();
    let sender = client.producer(config).unwrap();
    let mut under_way: VecDeque<Delivery> = VecDeque::new();
    let mut next = 0;
    while !done.load(Ordering::Relaxed) {
        let value = format!("{producer}:{next}");
        let partition = (next % PARTITIONS as usize) as u32;
        under_way.push_back(sender.send(ProducerRecord::to("t").partition(partition).value(&value)).unwrap());
        next += 1;
        while under_way.len() > 400 || under_way.front().is_some_and(|first| first.get().is_some()) {
            under_way.pop_front().unwrap().wait().unwrap();
            confirmed.fetch_add(1, Ordering::Relaxed);
        }
    }
    for delivery in under_way {
        delivery.wait().unwrap();
    }
    next
}

/// A daemon that dies again and again in the middle of what it is sent.
struct Run {
    _dir: tempfile::TempDir,
    daemon: Daemon,
    lines: Lines,
    /// The next line to be sent.
    next: usize,
    acknowledged: Vec<usize>,
}

impl Run {
    fn new(durability: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::on(dir.path(), &[]);
        create(&daemon, durability, 1);
        Self { _dir: dir, daemon, lines: Lines::read(), next: 0, acknowledged: Vec::new() }
    }

    fn die(mut self, acks: Acks, kill: usize) -> Self {
        let victim = self.daemon.pid();
        let (acknowledging, begins) = channel();
        let killer = std::thread::spawn(move || {
            // Nothing at all may be acknowledged, if the producer cannot even send.
            let _ = begins.recv();
            std::thread::sleep(Duration::from_millis(15 + 7 * (kill % 10) as u64));
            signal(&victim.to_string(), "KILL");
        });
        let acknowledged = &mut self.acknowledged;
        produce_until_death(&self.daemon, acks, &self.lines, &mut self.next, acknowledged, &acknowledging);
        // He need not wait for it any more.
        drop(acknowledging);
        killer.join().unwrap();
        Self { daemon: self.daemon.restart_after_death(), ..self }
    }
}

/// Lines of an access log, over and over.
struct Lines(Vec<String>);

impl Lines {
    fn read() -> Self {
        let log = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/data/access.log")).unwrap();
        Self(log.lines().map(str::to_owned).collect())
    }

    /// A line with its number before it: so each is unlike any other.
    fn line(&self, number: usize) -> String {
        format!("{number} {}", self.0[number % self.0.len()])
    }
}

fn create(daemon: &Daemon, durability: &str, partitions: u32) {
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client
        .admin()
        .create_topic(NewTopic::new("t", partitions).setting("durability", durability))
        .wait()
        .unwrap();
}

/// Sends lines from `next` on until the daemon is gone, without retries: so nothing is ever sent twice. Says that
/// something is acknowledged, to who kills the daemon.
fn produce_until_death(
    daemon: &Daemon,
    acks: Acks,
    lines: &Lines,
    next: &mut usize,
    acknowledged: &mut Vec<usize>,
    acknowledging: &Sender<()>,
) {
    let config =
        ClientConfig { request_timeout: Duration::from_secs(2), ..ClientConfig::new(daemon.address()) };
    let Ok(client) = Client::connect(config) else { return };
    let config = ProducerConfig::new()
        .acks(acks)
        .retries(0)
        .batch_bytes(4 << 10)
        .delivery_timeout(Duration::from_secs(2));
    let producer = client.producer(config).unwrap();
    let mut under_way: VecDeque<(usize, Delivery)> = VecDeque::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let line = lines.line(*next);
        let Ok(delivery) = producer.send(ProducerRecord::to("t").partition(0).value(&line)) else {
            break;
        };
        under_way.push_back((*next, delivery));
        *next += 1;
        while let Some((number, result)) =
            under_way.front().and_then(|(number, one)| Some((*number, one.get()?)))
        {
            under_way.pop_front();
            match result {
                Ok(_) => {
                    acknowledged.push(number);
                    let _ = acknowledging.send(());
                }
                Err(_) => {
                    acknowledged.extend(settled(under_way));
                    return;
                }
            }
        }
    }
    acknowledged.extend(settled(under_way));
}

fn settled(under_way: VecDeque<(usize, Delivery)>) -> Vec<usize> {
    under_way.into_iter().filter_map(|(number, delivery)| delivery.wait().is_ok().then_some(number)).collect()
}

/// The numbers of the lines that are stored from an offset on, in order.
fn before(daemon: &Daemon, from: usize) -> Vec<usize> {
    values(daemon, 0, from as i64)
        .iter()
        .map(|text| text.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

/// All values of a partition from an offset on, in order.
fn values(daemon: &Daemon, partition: u32, from: i64) -> Vec<String> {
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    let partition = TopicPartition::new("t", partition);
    let offset =
        client.admin().list_offsets([(partition.clone(), folio_client::OffsetSpec::Latest)]).wait().unwrap();
    let end = offset[0].clone().unwrap().unwrap().offset.get();
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    assert!(end >= from, "the log became shorter: {end} of {from}");
    consumer.assign([(partition, Position::At(Offset::new(from)))]);
    let mut values = Vec::new();
    while (values.len() as i64) < end - from {
        let records = consumer.poll(Duration::from_secs(20)).unwrap().expect("the records are there");
        values
            .extend(records.iter().map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
    }
    values
}

fn check(stored: &[usize], acknowledged: &[usize], when: &str) {
    assert!(stored.is_sorted_by(|a, b| a < b), "{when}: out of order, or doubled");
    for number in acknowledged {
        assert!(stored.binary_search(number).is_ok(), "{when}: line {number} was acknowledged and is gone");
    }
}
