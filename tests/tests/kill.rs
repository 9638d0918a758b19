//! Death of the daemon in the middle of a produce: what was acknowledged is there, in order, once.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use folio_client::{
    Acks, Client, ClientConfig, ConsumerConfig, Delivery, NewTopic, Position, ProducerConfig, ProducerRecord,
    TopicPartition,
};
use folio_tests::daemon::{Daemon, signal};

const KILLS: usize = 10;

#[test]
fn ten_deaths_of_the_daemon_lose_nothing_acknowledged_and_double_nothing() {
    for (durability, acks) in [("fsync", Acks::All), ("os", Acks::Leader)] {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::on(dir.path(), &[]);
        create(&daemon, durability);
        let lines = lines();
        // The next line to be sent, and those that were acknowledged.
        let (mut next, mut acknowledged) = (0, Vec::new());
        for kill in 0..KILLS {
            let stored = before(&daemon);
            let victim = daemon.pid();
            let killer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(15 + 7 * kill as u64));
                signal(&victim.to_string(), "KILL");
            });
            produce_until_death(&daemon, acks, &lines, &mut next, &mut acknowledged);
            killer.join().unwrap();
            daemon = daemon.restart_after_death();
            let after = before(&daemon);
            assert!(after.len() >= stored.len(), "{durability}, kill {kill}: the log became shorter");
            check(&after, &acknowledged, &format!("{durability}, kill {kill}"));
        }
        assert!(acknowledged.len() > KILLS, "{durability}: {} lines were acknowledged", acknowledged.len());
        daemon.stop();
    }
}

/// A line with its number before it: so each is unlike any other.
fn lines() -> Vec<String> {
    let log = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/data/access.log")).unwrap();
    (0..20).flat_map(|_| log.lines()).enumerate().map(|(number, line)| format!("{number} {line}")).collect()
}

fn create(daemon: &Daemon, durability: &str) {
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1).setting("durability", durability)).wait().unwrap();
}

/// Sends lines from `next` on until the daemon is gone, without retries: so nothing is ever sent twice.
fn produce_until_death(
    daemon: &Daemon,
    acks: Acks,
    lines: &[String],
    next: &mut usize,
    acknowledged: &mut Vec<usize>,
) {
    let config =
        ClientConfig { request_timeout: Duration::from_secs(1), ..ClientConfig::new(daemon.address()) };
    let Ok(client) = Client::connect(config) else { return };
    let config = ProducerConfig::new()
        .acks(acks)
        .retries(0)
        .batch_bytes(4 << 10)
        .delivery_timeout(Duration::from_secs(1));
    let producer = client.producer(config).unwrap();
    let mut under_way: VecDeque<(usize, Delivery)> = VecDeque::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while *next < lines.len() && Instant::now() < deadline {
        let Ok(delivery) = producer.send(ProducerRecord::to("t").partition(0).value(&lines[*next])) else {
            break;
        };
        under_way.push_back((*next, delivery));
        *next += 1;
        while let Some((number, result)) =
            under_way.front().and_then(|(number, one)| Some((*number, one.get()?)))
        {
            under_way.pop_front();
            match result {
                Ok(_) => acknowledged.push(number),
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

/// The numbers of the lines that are stored, in order.
fn before(daemon: &Daemon) -> Vec<usize> {
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    let partition = TopicPartition::new("t", 0);
    let offset =
        client.admin().list_offsets([(partition.clone(), folio_client::OffsetSpec::Latest)]).wait().unwrap();
    let end = offset[0].clone().unwrap().unwrap().offset.get();
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(partition, Position::Earliest)]);
    let mut numbers = Vec::new();
    while (numbers.len() as i64) < end {
        let records = consumer.poll(Duration::from_secs(20)).unwrap().expect("the records are there");
        numbers.extend(records.iter().map(|record| {
            let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            text.split(' ').next().unwrap().parse::<usize>().unwrap()
        }));
    }
    numbers
}

fn check(stored: &[usize], acknowledged: &[usize], when: &str) {
    assert!(stored.is_sorted_by(|a, b| a < b), "{when}: out of order, or doubled");
    for number in acknowledged {
        assert!(stored.binary_search(number).is_ok(), "{when}: line {number} was acknowledged and is gone");
    }
}
