//! What memory a daemon takes for itself, whoever reads slowly: no more than its bounds say. What it has mapped is the
//! page cache's, and told apart.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::{Duration, Instant};

use folio_client::{Client, ClientConfig, NewTopic, ProducerConfig, ProducerRecord};
use folio_tests::daemon::Daemon;
use folio_tests::kafka::{KafkaPeer, fetch};
use folio_tests::native::Peer;
use folio_tests::rig::until;
use folio_wire::native::subscribe::SubscribeFrom;

const MIB: u64 = 1 << 20;

/// Everything that has a bound of its own in this run, as small as it may be.
const BOUNDS: [(&str, u64); 5] = [
    ("queued.max.bytes", 4 * MIB),
    ("lane.queue.bytes", 4 * MIB),
    ("decompress.max.bytes", 4 * MIB),
    ("cleaner.dedupe.buffer.bytes", MIB),
    ("frame.max.bytes", 4 * MIB),
];

/// What one connection may have waiting in our memory for its socket: the channel's bound.
const OUTBOUND_BYTES_MAX: u64 = 128 * 1024;

/// The same where records are copied on their way, two answers at the most: the one that is sent, and the one behind
/// it.
const COPIED_BYTES_MAX: u64 = 2 * MIB;

#[test]
fn two_hundred_readers_that_do_not_read_cost_no_more_than_the_bounds_and_the_log_is_told_apart() {
    readers_cost("map", 200, OUTBOUND_BYTES_MAX, 64 * MIB);
}

#[test]
fn readers_whose_records_are_copied_cost_no_more_than_their_bounds() {
    readers_cost("copy", 40, COPIED_BYTES_MAX, 128 * MIB);
}

/// So many readers that never read, of a log of so many bytes: each may cost so much.
fn readers_cost(read_path: &str, readers: u32, outbound: u64, log_bytes: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = BOUNDS.map(|(key, bytes)| format!("{key}={bytes}")).to_vec();
    settings.push(format!("read.path={read_path}"));
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let daemon = Daemon::on(dir.path(), &arguments);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1).setting("durability", "os")).wait().unwrap();
    let producer = client.producer(ProducerConfig::new()).unwrap();
    let value = vec![7; 60_000];
    let send = |count: u64| {
        let sent: Vec<_> = (0..count)
            .map(|_| producer.send(ProducerRecord::to("t").partition(0).value(&value)).unwrap())
            .collect();
        sent.into_iter().for_each(|one| drop(one.wait().unwrap()));
    };
    send(log_bytes / value.len() as u64);

    let before = daemon.anonymous_bytes();
    let (mut native, mut kafka) = (Vec::new(), Vec::new());
    for number in 0..readers {
        match number % 3 {
            0 => {
                let mut peer = Peer::connect(daemon.address());
                // Again and again, and never an answer read.
                for _ in 0..20 {
                    peer.submit_fetch(&[("t", 0, 0)], 1, Duration::ZERO);
                }
                native.push(peer);
            }
            1 => {
                let mut peer = Peer::connect(daemon.address());
                peer.subscribe(1, "t", SubscribeFrom::Earliest, u64::MAX / 2);
                native.push(peer);
            }
            _ => {
                let mut peer = KafkaPeer::connect(daemon.address());
                for _ in 0..20 {
                    let mut wanted = fetch("t", 0, 0, Duration::ZERO);
                    wanted.topics[0].partitions[0].partition_max_bytes = i32::MAX;
                    peer.submit(12, &wanted);
                }
                kafka.push(peer);
            }
        }
    }
    let connections = (native.len() + kafka.len()) as u64 + 2;
    let bounds: u64 = BOUNDS.iter().map(|(_, bytes)| bytes).sum::<u64>() + connections * outbound;
    assert!(bounds < log_bytes, "a bound that copies of the log would not break proves nothing");

    // Others go on meanwhile.
    let (begun, mut most, mut sent) = (Instant::now(), 0, 0);
    while begun.elapsed() < Duration::from_secs(2) || sent < 50 {
        send(10);
        sent += 10;
        most = most.max(daemon.anonymous_bytes());
    }
    let grown = most.saturating_sub(before);
    println!("{read_path}, {connections} connections: {grown} bytes more, {bounds} may be");
    assert!(grown < bounds, "{grown} bytes more, {bounds} may be");

    // The counters say which memory is whose.
    let mut peer = Peer::connect(daemon.address());
    until("memory is told as the kernel tells it", || {
        let (told, is) = (peer.counter("memory.anonymous"), daemon.anonymous_bytes());
        told.abs_diff(is) < is / 4 + MIB
    });
    assert!(
        read_path == "copy" || peer.counter("memory.mapped") > 4 * MIB,
        "{}",
        peer.counter("memory.mapped")
    );
    drop((native, kafka));
    drop(producer);
    drop(client);
    assert_eq!(daemon.stop().code(), Some(0));
}
