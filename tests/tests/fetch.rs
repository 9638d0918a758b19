//! Reads as consumers see them: what is answered at once, what waits and for whom, and who goes first.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::{Duration, Instant};

use folio_tests::daemon::{Daemon, signal};
use folio_tests::native::{Peer, Sent, batch};
use folio_tests::rig::{Rig, until};
use folio_wire::native::fetch::{FetchEntryV1, FetchRequestV1};
use folio_wire::native::produce::Acks;
use folio_wire::native::topics::TopicDeleteRequestV1;
use folio_wire::native::{ErrorCode, Preface};

/// Long enough for nobody to believe that it has passed.
const AGES: Duration = Duration::from_secs(3600);
const NOW: Duration = Duration::ZERO;
/// A flush that lingers so long has not happened by the time that anything else has.
const FLUSH_NEVER: (&str, &str) = ("flush.linger.us", "3600000000");

fn rig() -> (Rig, Peer) {
    let rig = Rig::new(&[("topic.durability", "os")]);
    let peer = rig.peer();
    (rig, peer)
}

/// Offset 0 of partitions 0 to `partitions` of "t", with these limits.
fn submit(peer: &mut Peer, partitions: u32, [min, each, all]: [u32; 3], wait: Duration) -> Sent {
    let want =
        |partition| FetchEntryV1 { topic: "t", partition, offset: 0, max_bytes: each, leader_epoch: -1 };
    let max_wait_ms = u32::try_from(wait.as_millis()).unwrap();
    let entries = (0..partitions).map(want).collect();
    peer.submit(&FetchRequestV1 { max_wait_ms, min_bytes: min, max_bytes: all, entries }, &[])
}

/// How many bytes each partition had.
fn sizes(peer: &mut Peer, sent: Sent) -> Vec<usize> {
    peer.fetched(sent)
        .into_iter()
        .map(|(entry, records)| {
            assert_eq!(entry.error, ErrorCode::NONE, "{:?}", entry.message);
            records.len()
        })
        .collect()
}

/// Whether a request waits: those sent after it have been answered, but it has not.
fn waits(peer: &mut Peer, sent: Sent) -> bool {
    peer.counter("appends");
    !peer.has_answer_to(sent)
}

#[test]
fn a_fetch_waits_until_its_partitions_together_have_the_bytes_it_asked_for() {
    let (rig, mut peer) = rig();
    peer.create("t", 3, &[]);
    let batch = batch(&[7; 1000]);
    let size = batch.len();
    let least = u32::try_from(3 * size).unwrap();
    peer.produce("t", 0, Acks::All, &batch);
    let sent = submit(&mut peer, 3, [least, 1 << 20, 1 << 20], AGES);
    let mut producer = rig.peer();
    assert!(waits(&mut peer, sent), "a third is there");
    producer.produce("t", 2, Acks::All, &batch);
    assert!(waits(&mut peer, sent), "two thirds are there");
    producer.produce("t", 2, Acks::All, &batch);
    assert_eq!(sizes(&mut peer, sent), [size, 0, 2 * size]);
}

#[test]
fn a_fetch_is_answered_with_what_there_is_when_it_has_waited_long_enough() {
    let (_rig, mut peer) = rig();
    peer.create("t", 2, &[]);
    let batch = batch(b"x");
    peer.produce("t", 1, Acks::All, &batch);
    let begun = Instant::now();
    let sent = submit(&mut peer, 2, [1 << 20, 1 << 20, 1 << 20], Duration::from_millis(300));
    assert_eq!(sizes(&mut peer, sent), [0, batch.len()]);
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_fetch_of_a_hundred_partitions_gets_what_one_and_then_another_of_them_had() {
    let (rig, mut peer) = rig();
    peer.create("t", 100, &[]);
    let batch = batch(b"x");
    let size = batch.len();
    let sent = submit(&mut peer, 100, [u32::try_from(2 * size).unwrap(), 1 << 20, 1 << 20], AGES);
    let mut producer = rig.peer();
    producer.produce("t", 99, Acks::All, &batch);
    assert!(waits(&mut peer, sent));
    producer.produce("t", 3, Acks::All, &batch);
    let sizes = sizes(&mut peer, sent);
    assert_eq!((sizes[3], sizes[99], sizes.iter().sum::<usize>()), (size, size, 2 * size));
}

#[test]
fn what_does_not_wait_or_asks_for_nothing_is_answered_at_once() {
    let (_rig, mut peer) = rig();
    peer.create("t", 1, &[]);
    let limits = [1 << 20; 3];
    let sent = submit(&mut peer, 1, limits, NOW);
    assert_eq!(sizes(&mut peer, sent), [0]);
    let sent = submit(&mut peer, 0, limits, AGES);
    assert!(sizes(&mut peer, sent).is_empty());
    let sent = submit(&mut peer, 1, [0, 1 << 20, 1 << 20], AGES);
    assert_eq!(sizes(&mut peer, sent), [0], "it asks for no bytes at all");
}

#[test]
fn the_first_batch_goes_whole_whatever_the_limits_and_then_they_hold_in_the_order_asked_for() {
    let (_rig, mut peer) = rig();
    peer.create("t", 4, &[]);
    let (small, large) = (batch(&[7; 100]), batch(&[7; 10_000]));
    let (s, l) = (small.len(), large.len());
    for (partition, batches) in [(1, &[&large, &large]), (2, &[&small, &small]), (3, &[&small, &large])] {
        batches.iter().for_each(|batch| drop(peer.produce("t", partition, Acks::All, batch)));
    }
    let mut sizes_at = |each: usize, all: usize| {
        let limits = [1, u32::try_from(each).unwrap(), u32::try_from(all).unwrap()];
        let sent = submit(&mut peer, 4, limits, AGES);
        sizes(&mut peer, sent)
    };
    assert_eq!(sizes_at(1, 1), [0, l, 0, 0], "its first batch is larger than both");
    assert_eq!(sizes_at(1, 1 << 20), [0, l, 0, 0], "nobody else may have any");
    assert_eq!(sizes_at(s, 1 << 20), [0, l, s, s], "each as many as fit");
    assert_eq!(sizes_at(s, l + s), [0, l, s, 0], "the order decides");
    assert_eq!(sizes_at(2 * s, l + 3 * s - 1), [0, l, 2 * s, 0], "whole batches");
    assert_eq!(sizes_at(2 * l, l + 2 * s), [0, l, 2 * s, 0]);
}

#[test]
fn a_batch_that_the_peers_frames_cannot_hold_is_an_error_of_its_partition() {
    let (rig, mut peer) = rig();
    peer.create("t", 2, &[]);
    let (small, large) = (batch(b"x"), batch(&[7; 100_000]));
    peer.produce("t", 0, Acks::All, &large);
    peer.produce("t", 1, Acks::All, &small);
    let mut narrow = Peer::connect_as(rig.address(), Preface::ours(64 << 10));
    for wait in [NOW, AGES] {
        let sent = submit(&mut narrow, 2, [1 << 20; 3], wait);
        let mut found = narrow.fetched(sent).into_iter();
        let (refused, records) = found.next().unwrap();
        assert_eq!((refused.error, records.len()), (ErrorCode::MESSAGE_TOO_LARGE, 0));
        assert!(refused.message.unwrap().contains(&format!("{} bytes", large.len())));
        let (entry, records) = found.next().unwrap();
        assert_eq!((entry.error, records.len()), (ErrorCode::NONE, small.len()), "the other has its own");
    }
    let sent = submit(&mut peer, 2, [1, 1 << 20, 1 << 20], AGES);
    assert_eq!(sizes(&mut peer, sent), [large.len(), small.len()], "another peer has room for both");
}

#[test]
fn an_offset_out_of_range_is_told_at_once_and_the_end_waits() {
    // A segment a batch, of which retention leaves the last few.
    let rig = Rig::new(&[("maintenance.interval.ms", "50")]);
    let mut peer = rig.peer();
    peer.create(
        "t",
        1,
        &[("segment.bytes", "1048576"), ("retention.bytes", "1048576"), ("durability", "fsync")],
    );
    for _ in 0..5 {
        peer.produce("t", 0, Acks::All, &batch(&[7; 600_000]));
    }
    until("retention takes the first", || peer.describe("t").log_start > 0);
    let (start, end) = (peer.describe("t").log_start, peer.describe("t").log_end);
    for offset in [-1, 0, start - 1, end + 1, i64::MAX] {
        let sent = peer.submit_fetch(&[("t", 0, offset)], 1, AGES);
        let (entry, records) = peer.fetched(sent).swap_remove(0);
        assert_eq!((entry.error, records.len()), (ErrorCode::OFFSET_OUT_OF_RANGE, 0), "offset {offset}");
        assert_eq!((entry.log_start, entry.high_watermark), (start, end), "it says what there is");
    }
    let sent = peer.submit_fetch(&[("t", 0, end)], 1, AGES);
    assert!(waits(&mut peer, sent));
    rig.peer().produce("t", 0, Acks::All, &batch(b"x"));
    assert!(!peer.fetched(sent)[0].1.is_empty());
}

#[test]
fn what_is_appended_but_not_durable_is_neither_shown_nor_out_of_range() {
    let rig = Rig::new(&[FLUSH_NEVER, ("shutdown.timeout.ms", "1")]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[("durability", "fsync")]);
    for end in 1..=3 {
        assert_eq!(peer.produce("t", 0, Acks::One, &batch(b"x")).base_offset, end - 1);
    }
    for offset in 0..=3 {
        let sent = peer.submit_fetch(&[("t", 0, offset)], 1, AGES);
        assert!(waits(&mut peer, sent), "offset {offset}");
    }
    let (refused, _) = peer.fetch_now("t", 4);
    assert_eq!(refused.error, ErrorCode::OFFSET_OUT_OF_RANGE);
}

#[test]
fn a_reader_of_another_leader_epoch_is_told_at_once_whether_it_is_behind_or_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    peer.produce("t", 0, Acks::All, &batch(b"x"));
    let (before, _) = peer.fetch_now("t", 0);
    // Its epoch rises with every start that no clean stop went before.
    signal(&daemon.pid().to_string(), "KILL");
    let daemon = daemon.restart_after_death();
    let mut peer = Peer::connect(daemon.address());
    let (told, _) = peer.fetch_now("t", 0);
    assert!(told.leader_epoch > before.leader_epoch);
    let mut outcome = |leader_epoch| {
        let entry = FetchEntryV1 { topic: "t", partition: 0, offset: 0, max_bytes: 1 << 20, leader_epoch };
        let fetch =
            FetchRequestV1 { max_wait_ms: 1000, min_bytes: 1, max_bytes: 1 << 20, entries: vec![entry] };
        let sent = peer.submit(&fetch, &[]);
        let (entry, records) = peer.fetched(sent).swap_remove(0);
        (entry.error, records.is_empty())
    };
    assert_eq!(outcome(told.leader_epoch), (ErrorCode::NONE, false));
    assert_eq!(outcome(told.leader_epoch + 1), (ErrorCode::UNKNOWN_LEADER_EPOCH, true));
    assert_eq!(outcome(before.leader_epoch), (ErrorCode::FENCED_LEADER_EPOCH, true));
    assert_eq!(outcome(-1), (ErrorCode::NONE, false), "who names none is not checked");
}

#[test]
fn an_error_of_one_partition_answers_for_all_of_them_at_once() {
    let (_rig, mut peer) = rig();
    peer.create("t", 1, &[]);
    let wants = [("t", 0, 0), ("gone", 0, 0), ("t", 1, 0)];
    let sent = peer.submit_fetch(&wants, 1, AGES);
    let errors: Vec<_> = peer.fetched(sent).into_iter().map(|(entry, _)| entry.error).collect();
    assert_eq!(errors, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC, ErrorCode::UNKNOWN_PARTITION]);
}

#[test]
fn who_waits_for_a_topic_is_told_when_it_is_deleted() {
    let (rig, mut peer) = rig();
    peer.create("t", 2, &[]);
    peer.create("u", 1, &[]);
    let both = peer.submit_fetch(&[("u", 0, 0), ("t", 1, 0)], 1, AGES);
    let other = peer.submit_fetch(&[("u", 0, 0)], 1, AGES);
    assert!(waits(&mut peer, both));
    let (deleted, _) = rig.peer().call(&TopicDeleteRequestV1 { name: "t" }, &[]);
    assert_eq!(deleted.error, ErrorCode::NONE);
    let errors: Vec<_> = peer.fetched(both).into_iter().map(|(entry, _)| entry.error).collect();
    assert_eq!(errors, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC]);
    assert!(waits(&mut peer, other));
}

#[test]
fn consumers_that_wait_are_woken_while_producers_are_held_back() {
    let rig = Rig::new(&[FLUSH_NEVER, ("writeback.max.bytes", "100000"), ("shutdown.timeout.ms", "1")]);
    let mut consumer = rig.peer();
    consumer.create("t", 2, &[("durability", "os")]);
    let mut producer = rig.peer();
    // What is over the bound is seen when the next frame is read: these are two.
    for _ in 0..2 {
        producer.produce("t", 0, Acks::One, &batch(&[7; 60_000]));
    }
    let frame = producer.produce_frame("t", 60_000);
    let all = 400 * frame.len();
    assert!(producer.push(&frame, all, Duration::from_millis(300)) < all, "nothing held the producer back");
    let waiting = consumer.submit_fetch(&[("t", 1, 0)], 1, AGES);
    assert!(waits(&mut consumer, waiting));
    // A connection that has not produced before is read until it has.
    assert_eq!(rig.peer().produce("t", 1, Acks::One, &batch(b"x")).error, ErrorCode::NONE);
    assert!(!consumer.fetched(waiting)[0].1.is_empty());
}
