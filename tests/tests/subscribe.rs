//! Subscriptions as a reader sees them on the wire: what comes, in which order, for how much credit, and how they end.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::{Duration, Instant};

use folio_broker::Outcome;
use folio_record::{BatchHeader, HEADER_SIZE};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::native::{Peer, Push, batch};
use folio_tests::rig::{Rig, until};
use folio_tests::strace::Strace;
use folio_wire::native::produce::Acks;
use folio_wire::native::subscribe::{CreditRequestV1, SubscribeFrom, SubscribeRequestV1};
use folio_wire::native::topics::TopicDeleteRequestV1;
use folio_wire::native::{ErrorCode, Preface};

const LIMIT: Duration = Duration::from_secs(60);
const PLENTY: u64 = 1 << 40;
/// A flush that lingers so long has not happened by the time that anything else has.
const FLUSH_NEVER: (&str, &str) = ("flush.linger.us", "3600000000");

fn rig() -> (Rig, Peer) {
    let rig = Rig::new(&[("topic.durability", "os"), ("shutdown.timeout.ms", "60000")]);
    let peer = rig.peer();
    (rig, peer)
}

/// Where each of these batches begins and what its one value is; they follow one another.
fn values(bytes: &[u8], into: &mut Vec<(i64, Vec<u8>)>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let header = BatchHeader::parse(rest.first_chunk::<HEADER_SIZE>().unwrap()).unwrap();
        let (batch, behind) = rest.split_at(header.total_size());
        // A record of one value: its last byte is the number of headers.
        into.push((header.base_offset.get(), batch[..batch.len() - 1].to_vec()));
        rest = behind;
    }
}

/// Takes what is pushed to one subscription until it has `count` batches.
fn take(peer: &mut Peer, subscription: u32, count: usize) -> Vec<(i64, Vec<u8>)> {
    let mut taken = Vec::new();
    while taken.len() < count {
        values(&peer.next_batches(subscription), &mut taken);
    }
    taken
}

/// Takes `count` batches of subscriptions 0 to `N`, each of which begins at offset 0: how many came of each.
fn take_of_each<const N: usize>(peer: &mut Peer, count: i64) -> [i64; N] {
    let mut next = [0; N];
    while next.iter().sum::<i64>() < count {
        let Some(Push::Batches(batches, bytes)) = peer.next_push(LIMIT) else { panic!("it goes on") };
        let mut taken = Vec::new();
        values(&bytes, &mut taken);
        for (offset, _) in taken {
            let next = &mut next[batches.subscription as usize];
            assert_eq!(offset, *next);
            *next += 1;
        }
    }
    next
}

#[test]
fn batches_come_in_order_and_none_twice_those_there_before_and_those_from_then_on() {
    for durability in ["os", "fsync"] {
        for loops in ["1", "3"] {
            let rig = Rig::new(&[("loop.threads", loops), ("topic.durability", durability)]);
            let mut peers = [rig.peer(), rig.peer(), rig.peer()];
            peers[0].create("t", 1, &[]);
            let produce = |count, first: usize| {
                let mut producer = rig.peer();
                for number in first..first + count {
                    producer.produce("t", 0, Acks::All, &batch(format!("{number:06}").as_bytes()));
                }
            };
            produce(50, 0);
            for (number, peer) in (0..).zip(&mut peers) {
                let answer = peer.subscribe(number, "t", SubscribeFrom::Earliest, PLENTY);
                assert_eq!((answer.error, answer.offset, answer.high_watermark), (ErrorCode::NONE, 0, 50));
            }
            std::thread::scope(|scope| {
                for (number, peer) in (0..).zip(&mut peers) {
                    scope.spawn(move || {
                        for (expected, (offset, batch)) in take(peer, number, 250).into_iter().enumerate() {
                            assert_eq!(offset, i64::try_from(expected).unwrap());
                            assert!(batch.ends_with(format!("{expected:06}").as_bytes()));
                        }
                    });
                }
                produce(200, 50);
            });
        }
    }
}

#[test]
fn a_subscription_begins_where_it_is_told_to() {
    let (_rig, mut peer) = rig();
    peer.create("t", 1, &[]);
    for _ in 0..3 {
        peer.produce("t", 0, Acks::All, &folio_tests::native::batch_of((-1, -1, -1), &[b"a", b"b"]));
    }
    for (from, offset, first) in [
        (SubscribeFrom::Earliest, 0, Some(0)),
        (SubscribeFrom::Offset(2), 2, Some(2)),
        // The batch that holds it goes whole.
        (SubscribeFrom::Offset(3), 3, Some(2)),
        (SubscribeFrom::Offset(6), 6, None),
        (SubscribeFrom::Latest, 6, None),
    ] {
        let answer = peer.subscribe(1, "t", from, 1);
        assert_eq!((answer.error, answer.offset, answer.log_start), (ErrorCode::NONE, offset, 0));
        match first {
            Some(first) => assert_eq!(take(&mut peer, 1, 1)[0].0, first, "{from:?}"),
            None => assert!(peer.hears_nothing(), "{from:?}"),
        }
        assert_eq!(peer.unsubscribe(1).next_offset, first.map_or(6, |first| first + 2));
    }
}

#[test]
fn with_any_credit_the_next_batch_goes_and_what_was_sent_is_taken_off() {
    let (_rig, mut peer) = rig();
    peer.create("t", 1, &[]);
    let batch = batch(&[7; 1000]);
    let size = batch.len() as u64;
    for _ in 0..10 {
        peer.produce("t", 0, Acks::All, &batch);
    }
    let mut credit_left = |credit: u64| {
        assert_eq!(peer.subscribe(9, "t", SubscribeFrom::Earliest, credit).error, ErrorCode::NONE);
        let left = peer.credit(9, 0).credit;
        let mut batches = 0;
        while let Some(push) = (!peer.hears_nothing()).then(|| peer.next_push(LIMIT).unwrap()) {
            let Push::Batches(_, bytes) = push else { panic!("it has ended") };
            batches += bytes.len() as u64 / size;
        }
        peer.unsubscribe(9);
        (batches, left)
    };
    assert_eq!(credit_left(0), (0, 0));
    assert_eq!(credit_left(1), (1, 0), "larger than the grant");
    assert_eq!(credit_left(size), (1, 0));
    assert_eq!(credit_left(size + 1), (2, 0));
    assert_eq!(credit_left(2 * size), (2, 0));
    assert_eq!(credit_left(3 * size - 1), (3, 0));
    assert_eq!(credit_left(100 * size), (10, 90 * size));

    // Credit that comes later, with and without an answer.
    peer.subscribe(9, "t", SubscribeFrom::Earliest, size);
    assert_eq!(take(&mut peer, 9, 1)[0].0, 0);
    assert!(peer.hears_nothing());
    assert_eq!(peer.credit(9, 0).credit, 0);
    assert!(peer.hears_nothing(), "nothing more is still nothing");
    peer.submit_without_answer(&CreditRequestV1 { subscription: 9, add: size }, &[]);
    assert_eq!(take(&mut peer, 9, 1)[0].0, 1);
    assert_eq!(peer.credit(9, 1).credit, 1);
    assert_eq!(take(&mut peer, 9, 1)[0].0, 2);
}

#[test]
fn credit_stays_at_the_greatest_number_and_never_wraps() {
    let (rig, mut peer) = rig();
    peer.create("t", 1, &[]);
    assert_eq!(peer.subscribe(0, "t", SubscribeFrom::Earliest, u64::MAX - 1).error, ErrorCode::NONE);
    for add in [1, 1, u64::MAX] {
        assert_eq!(peer.credit(0, add).credit, u64::MAX);
    }
    let batch = batch(b"x");
    rig.peer().produce("t", 0, Acks::All, &batch);
    assert_eq!(peer.next_batches(0).len(), batch.len());
    assert_eq!(peer.credit(0, 0).credit, u64::MAX - batch.len() as u64);
}

#[test]
fn the_answer_to_unsubscribe_comes_behind_the_last_batch_and_the_number_is_free_again() {
    let (_rig, mut peer) = rig();
    peer.create("t", 1, &[("segment.bytes", "1048576")]);
    for _ in 0..30 {
        peer.produce("t", 0, Acks::All, &batch(&[7; 100_000]));
    }
    for round in 0..20 {
        assert_eq!(peer.subscribe(5, "t", SubscribeFrom::Earliest, PLENTY).error, ErrorCode::NONE);
        // What comes before the answer is set aside by the peer, what comes behind it would be seen by the next round.
        let next = peer.unsubscribe(5).next_offset;
        let mut taken = Vec::new();
        while !peer.hears_nothing() {
            values(&peer.next_batches(5), &mut taken);
        }
        let offsets: Vec<_> = taken.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, (0..next).collect::<Vec<_>>(), "round {round}");
    }
}

#[test]
fn closed_segments_that_nobody_has_read_yet_are_read_in_and_come_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "topic.segment.bytes=1048576"]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[("durability", "os")]);
    for _ in 0..40 {
        peer.produce("t", 0, Acks::All, &batch(&[7; 300_000]));
    }
    // After a start no closed segment is mapped.
    signal(&daemon.pid().to_string(), "KILL");
    let daemon = daemon.restart_after_death();
    let mut peer = Peer::connect(daemon.address());
    for number in 0..3 {
        assert_eq!(peer.subscribe(number, "t", SubscribeFrom::Earliest, PLENTY).error, ErrorCode::NONE);
    }
    assert_eq!(take_of_each(&mut peer, 3 * 40), [40; 3]);
    assert!(peer.hears_nothing());
}

#[test]
fn what_cannot_be_subscribed_to_is_refused_with_what_there_is() {
    let (rig, mut peer) = rig();
    peer.create("t", 1, &[]);
    peer.produce("t", 0, Acks::All, &batch(b"x"));
    let good = SubscribeRequestV1 {
        subscription: 1,
        topic: "t",
        partition: 0,
        from: SubscribeFrom::Earliest,
        leader_epoch: -1,
        credit: 0,
    };
    let epoch = peer.subscribe_as(&good).leader_epoch;
    for (request, error) in [
        (good.clone(), ErrorCode::SUBSCRIPTION_EXISTS),
        (SubscribeRequestV1 { subscription: 2, topic: "gone", ..good }, ErrorCode::UNKNOWN_TOPIC),
        (SubscribeRequestV1 { subscription: 2, partition: 1, ..good }, ErrorCode::UNKNOWN_PARTITION),
        (SubscribeRequestV1 { subscription: 2, partition: u32::MAX, ..good }, ErrorCode::UNKNOWN_PARTITION),
        (
            SubscribeRequestV1 { subscription: 2, leader_epoch: epoch + 1, ..good },
            ErrorCode::UNKNOWN_LEADER_EPOCH,
        ),
    ] {
        let refused = peer.subscribe_as(&request);
        assert_eq!((refused.error, refused.offset), (error, -1), "{request:?}");
        assert!(refused.message.is_some());
    }
    for offset in [i64::MIN, -1, 2, i64::MAX] {
        let refused = peer.subscribe(2, "t", SubscribeFrom::Offset(offset), 1);
        assert_eq!(refused.error, ErrorCode::OFFSET_OUT_OF_RANGE, "offset {offset}");
        assert_eq!((refused.log_start, refused.high_watermark), (0, 1), "it says what there is");
    }
    for unknown in [0, 2, u32::MAX] {
        assert_eq!(peer.credit(unknown, 1).error, ErrorCode::UNKNOWN_SUBSCRIPTION);
        let refused = peer.unsubscribe(unknown);
        assert_eq!((refused.error, refused.next_offset), (ErrorCode::UNKNOWN_SUBSCRIPTION, -1));
    }
    assert_eq!(rig.peer().credit(1, 1).error, ErrorCode::UNKNOWN_SUBSCRIPTION, "another's is not one's own");
    assert_eq!(peer.counter("subscriptions"), 1);
    assert_eq!(peer.unsubscribe(1).error, ErrorCode::NONE);
    assert_eq!(peer.counter("subscriptions"), 0);
}

#[test]
fn a_batch_that_the_peers_frames_cannot_hold_ends_the_subscription_behind_those_before_it() {
    let (rig, mut peer) = rig();
    peer.create("t", 1, &[]);
    peer.produce("t", 0, Acks::All, &batch(b"x"));
    peer.produce("t", 0, Acks::All, &batch(&[7; 100_000]));
    let mut narrow = Peer::connect_as(rig.address(), Preface::ours(64 << 10));
    narrow.subscribe(1, "t", SubscribeFrom::Earliest, PLENTY);
    assert_eq!(take(&mut narrow, 1, 1).len(), 1);
    let end = narrow.next_end();
    assert_eq!((end.error, end.next_offset), (ErrorCode::MESSAGE_TOO_LARGE, 1));
}

#[test]
fn subscribers_are_told_when_a_topic_is_deleted_and_its_successor_is_another_topic() {
    let (rig, mut peer) = rig();
    peer.create("t", 1, &[]);
    peer.create("u", 1, &[]);
    let mut other = rig.peer();
    other.subscribe(3, "u", SubscribeFrom::Earliest, PLENTY);
    peer.subscribe(1, "t", SubscribeFrom::Earliest, PLENTY);
    peer.subscribe(2, "t", SubscribeFrom::Earliest, 0);
    assert!(peer.hears_nothing());
    let (deleted, _) = rig.peer().call(&TopicDeleteRequestV1 { name: "t" }, &[]);
    assert_eq!(deleted.error, ErrorCode::NONE);
    let end = peer.next_end();
    assert_eq!((end.subscription, end.error, end.next_offset), (1, ErrorCode::UNKNOWN_TOPIC, 0));
    assert!(peer.hears_nothing(), "who has no credit is told when there is some");
    rig.peer().create("t", 1, &[]);
    assert_eq!(peer.credit(2, 1).error, ErrorCode::NONE);
    let end = peer.next_end();
    assert_eq!((end.subscription, end.error), (2, ErrorCode::UNKNOWN_TOPIC));
    assert_eq!(peer.credit(2, 1).error, ErrorCode::UNKNOWN_SUBSCRIPTION);
    assert!(other.hears_nothing(), "another topic's subscribers are none the wiser");
}

#[test]
fn retention_that_overtakes_a_subscription_ends_it_with_what_there_is() {
    let rig = Rig::new(&[("maintenance.interval.ms", "50")]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[("segment.bytes", "1048576"), ("durability", "fsync")]);
    let batch = batch(&[7; 600_000]);
    peer.produce("t", 0, Acks::All, &batch);
    peer.subscribe(1, "t", SubscribeFrom::Earliest, 1);
    assert_eq!(take(&mut peer, 1, 1)[0].0, 0);
    for _ in 0..5 {
        peer.produce("t", 0, Acks::All, &batch);
    }
    let request = folio_wire::native::records::RecordsDeleteRequestV1 {
        entries: vec![folio_wire::native::records::RecordsDeleteEntryV1 {
            topic: "t",
            partition: 0,
            before: 4,
        }],
    };
    assert_eq!(peer.call(&request, &[]).0.entries[0].log_start, 4);
    peer.credit(1, PLENTY);
    let end = peer.next_end();
    assert_eq!((end.error, end.next_offset), (ErrorCode::OFFSET_OUT_OF_RANGE, 1));
    assert_eq!((end.log_start, end.high_watermark), (4, 6));
    // Who is at the end does not mind.
    peer.subscribe(2, "t", SubscribeFrom::Latest, PLENTY);
    rig.peer().produce("t", 0, Acks::All, &batch);
    assert_eq!(take(&mut peer, 2, 1)[0].0, 6);
}

#[test]
fn what_is_appended_but_not_durable_is_not_pushed() {
    let rig = Rig::new(&[FLUSH_NEVER, ("shutdown.timeout.ms", "1")]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[("durability", "fsync")]);
    peer.subscribe(1, "t", SubscribeFrom::Earliest, PLENTY);
    assert_eq!(rig.peer().produce("t", 0, Acks::One, &batch(b"x")).base_offset, 0);
    assert!(peer.hears_nothing());
    // Between the high watermark and the end there is something to come.
    assert_eq!(peer.subscribe(2, "t", SubscribeFrom::Offset(1), PLENTY).error, ErrorCode::NONE);
    assert!(peer.hears_nothing());
}

#[test]
fn a_hundred_subscriptions_of_one_connection_take_turns() {
    let (rig, mut peer) = rig();
    peer.create("t", 100, &[]);
    for partition in 0..100 {
        let request = SubscribeRequestV1 {
            subscription: partition,
            topic: "t",
            partition,
            from: SubscribeFrom::Latest,
            leader_epoch: -1,
            credit: PLENTY,
        };
        assert_eq!(peer.subscribe_as(&request).error, ErrorCode::NONE);
    }
    let mut producer = rig.peer();
    let sent: Vec<_> = (0..1000_u32)
        .map(|number| producer.submit_produce("t", number * 7 % 100, Acks::All, &batch(b"x")))
        .collect();
    assert_eq!(take_of_each(&mut peer, 1000), [10; 100]);
    sent.into_iter().for_each(|sent| assert_eq!(producer.produced(sent).error, ErrorCode::NONE));
}

#[test]
fn subscriptions_of_one_connection_to_the_same_partition_are_independent() {
    let (rig, mut peer) = rig();
    peer.create("t", 1, &[]);
    for number in 0..10 {
        peer.subscribe(number, "t", SubscribeFrom::Earliest, if number == 5 { 1 } else { PLENTY });
    }
    let mut producer = rig.peer();
    for _ in 0..20 {
        producer.produce("t", 0, Acks::All, &batch(b"x"));
    }
    let mut expected = [20; 10];
    expected[5] = 1;
    assert_eq!(take_of_each(&mut peer, 181), expected);
    assert!(peer.hears_nothing());
}

#[test]
fn requests_of_the_same_connection_are_answered_in_the_middle_of_a_long_log() {
    let (_rig, mut peer) = rig();
    peer.create("t", 1, &[]);
    let batch = batch(&[7; 1_000_000]);
    for _ in 0..100 {
        peer.produce("t", 0, Acks::All, &batch);
    }
    peer.subscribe(1, "t", SubscribeFrom::Earliest, PLENTY);
    peer.next_batches(1);
    // The answer comes behind what the socket has taken by now, but not behind the log.
    let next = peer.unsubscribe(1).next_offset;
    assert!(next < 60, "it was answered at offset {next}");
}

#[test]
fn readers_that_do_not_read_cost_next_to_nothing_and_get_everything_later() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut producer = Peer::connect(daemon.address());
    producer.create("t", 1, &[("durability", "os")]);
    let batch = batch(&[7; 100_000]);
    for _ in 0..100 {
        producer.produce("t", 0, Acks::All, &batch);
    }
    let before = daemon.anonymous_bytes();
    let mut slow: Vec<_> = (0..100).map(|_| Peer::connect(daemon.address())).collect();
    for peer in &mut slow {
        peer.subscribe(1, "t", SubscribeFrom::Earliest, u64::MAX);
    }
    for _ in 0..500 {
        producer.produce("t", 0, Acks::All, &batch);
    }
    let grown = daemon.anonymous_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "a hundred readers that do not read cost {grown} bytes");
    assert_eq!(producer.counter("subscriptions"), 100);
    let offsets: Vec<_> = take(&mut slow[42], 1, 600).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, (0..600).collect::<Vec<_>>());
    drop(slow);
    until("closed connections are noticed", || producer.counter("subscriptions") == 0);
    drop(producer);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn subscriptions_end_when_the_broker_does_and_keep_it_from_nothing() {
    let (mut rig, mut peer) = rig();
    peer.create("t", 1, &[]);
    let mut idle = rig.peer();
    idle.subscribe(7, "t", SubscribeFrom::Latest, 0);
    idle.subscribe(8, "t", SubscribeFrom::Latest, PLENTY);
    peer.produce("t", 0, Acks::All, &batch(b"x"));
    assert_eq!(take(&mut idle, 8, 1)[0].0, 0);
    let mut poor = rig.peer();
    poor.subscribe(9, "t", SubscribeFrom::Earliest, 0);
    let asked = Instant::now();
    assert!(matches!(rig.stop(), Outcome::Clean));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    let mut ends = [idle.next_end(), idle.next_end()];
    ends.sort_by_key(|end| end.subscription);
    assert_eq!(ends.clone().map(|end| end.subscription), [7, 8]);
    assert_eq!(ends.clone().map(|end| end.error), [ErrorCode::SHUTTING_DOWN; 2]);
    assert_eq!(ends.map(|end| end.next_offset), [0, 1]);
    assert!(idle.is_closed(LIMIT));
    assert_eq!(poor.next_end().error, ErrorCode::SHUTTING_DOWN);
}

#[test]
fn a_subscription_ends_at_damage_behind_what_lies_below_it() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    for value in [b"kept", b"lost"] {
        peer.produce("t", 0, Acks::All, &batch(value));
    }
    drop(peer);
    assert_eq!(daemon.stop().code(), Some(0));
    let log = dir.path().join("data/topics/t-0/00000000000000000000.log");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();

    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    assert_eq!(peer.subscribe(1, "t", SubscribeFrom::Earliest, PLENTY).error, ErrorCode::NONE);
    assert_eq!(take(&mut peer, 1, 1)[0].0, 0);
    let end = peer.next_end();
    assert_eq!((end.error, end.next_offset), (ErrorCode::PARTITION_OFFLINE, 1));
    drop(peer);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn subscribers_are_told_that_the_storage_has_failed_and_of_nothing_that_was_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), &[]);
    let (mut peer, mut producer) = (Peer::connect(daemon.address()), Peer::connect(daemon.address()));
    producer.create("t", 1, &[("durability", "fsync")]);
    peer.subscribe(1, "t", SubscribeFrom::Earliest, PLENTY);
    producer.produce("t", 0, Acks::All, &batch(b"x"));
    assert_eq!(take(&mut peer, 1, 1)[0].0, 0);
    let strace = Strace::attach(daemon.pid(), "inject=fdatasync,fsync,syncfs:error=EIO");
    producer.submit_produce("t", 0, Acks::All, &batch(b"not stored"));
    let end = peer.next_end();
    assert_eq!((end.error, end.next_offset), (ErrorCode::STORAGE_FAILED, 1));
    assert_eq!(daemon.wait().code(), Some(70), "{}", daemon.said());
    drop(strace);
}
