//! The keys that bound connections and what they ask for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use folio_client::ErrorCode;
use folio_tests::kafka::{self, KafkaPeer};
use folio_tests::rig::Rig;
use folio_wire::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use folio_wire::native::subscribe::SubscribeFrom;

use super::{LIMIT, Served, WHILE};

effects! {
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
    hungry.push(&frame[..2_000_000], 2_000_000, LIMIT);
    assert!(hungry.is_closed(LIMIT));
    // With room for both, a small one and a large one may take their time.
    let rig = Served::with_topic(&[("queued.max.bytes", "10000000"), ("loop.threads", "1")]);
    let (mut large, mut small) = (rig.peer(), rig.peer());
    large.push(&frame[..2_000_000], 2_000_000, LIMIT);
    small.push(&frame[..1000], 1000, LIMIT);
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
    let overtakes_a_long_poll = |most: &str, wait| {
        let rig = Served::with_topic(&[("connection.requests.max", most)]);
        let mut peer = rig.peer();
        let fetch = peer.submit_fetch(&[("t", 0, 0)], 1, wait);
        peer.counter("bytes.in");
        !peer.has_answer_to(fetch)
    };
    assert!(overtakes_a_long_poll("2", 2 * LIMIT));
    assert!(!overtakes_a_long_poll("1", WHILE));
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
    let waits = |most: &str, within| {
        let rig = Served::with_topic(&[("fetch.waiting.max", most)]);
        let mut peer = rig.peer();
        peer.send_fetch("t", 0, 1 << 20, 2 * LIMIT);
        peer.answer(within).is_none()
    };
    assert!(waits("1", WHILE));
    assert!(!waits("0", LIMIT));
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
