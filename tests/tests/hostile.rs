//! Peers that break the protocol, by accident or on purpose: their connection is closed with a line in the log, the
//! daemon's memory does not follow the numbers that they send, and everybody else is served.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_client::{Client, ClientConfig, ErrorCode, NewTopic, Producer, ProducerConfig, ProducerRecord};
use folio_tests::daemon::Daemon;
use folio_tests::native::{Peer, batch};
use folio_tests::rig::{Rig, until};
use folio_wire::native::fetch::{FetchEntryV1, FetchRequestV1};
use folio_wire::native::group_admin::{GroupResetEntryV1, GroupResetRequestV1, GroupTargetV1};
use folio_wire::native::metadata::MetadataRequestV1;
use folio_wire::native::offsets::{ListOffsetsEntryV1, ListOffsetsRequestV1, OffsetSpec};
use folio_wire::native::preface::PREFACE_SIZE;
use folio_wire::native::produce::{Acks, ProduceEntryV1, ProduceRequestV1};
use folio_wire::native::{Flags, Head, Kind, Message, Preface, UnsupportedV1, decode_frame, encode_frame};

const LIMIT: Duration = Duration::from_secs(60);
const RSS_GROWTH_MAX: u64 = 32 << 20;

#[test]
fn peers_that_break_the_protocol_cost_a_connection_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1).setting("durability", "os")).wait().unwrap();
    let records = client.producer(ProducerConfig::new()).unwrap();
    send(&records);
    let before = daemon.anonymous_bytes();
    let (done, mut most) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut served = 0;
            loop {
                send(&records);
                served += 1;
                if done.load(Ordering::Relaxed) {
                    return served;
                }
            }
        });
        for (what, bytes) in attacks() {
            let mut stream = TcpStream::connect(daemon.address()).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            // The daemon may close before it has taken everything.
            let _ = stream.write_all(&bytes);
            let mut answer = Vec::new();
            let end = stream.read_to_end(&mut answer);
            assert!(!matches!(&end, Err(error) if is_timeout(error)), "{what}: the connection stays open");
            most = most.max(daemon.anonymous_bytes());
        }
        done.store(true, Ordering::Relaxed);
        assert!(others.join().unwrap() > 0, "others are served meanwhile");
    });
    assert!(most.saturating_sub(before) < RSS_GROWTH_MAX, "{before} bytes of memory became {most}");
    let said = daemon.said();
    for reason in ["checksum", "a frame of", "a header of", "unknown flags", "belongs to no protocol"] {
        assert!(said.contains(reason), "the log says why a connection was closed: {reason:?} in\n{said}");
    }
    assert!(said.contains("127.0.0.1:"), "the log names the peer");
    send(&records);
    drop((records, client));
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn fetches_of_connections_that_are_gone_take_nobodys_place() {
    let rig = Rig::new(&[("loop.threads", "1"), ("fetch.waiting.max", "3")]);
    rig.peer().create("t", 1, &[("durability", "os")]);
    for _ in 0..5 {
        let mut goes = rig.peer();
        for _ in 0..3 {
            goes.submit_fetch(&[("t", 0, 0)], 1, Duration::from_secs(3600));
        }
        assert_eq!(goes.counter("bytes.out"), 0, "what was sent before has been taken");
    }
    let (mut stays, wait) = (rig.peer(), Duration::from_millis(200));
    until("a fetch has a place to wait in", || {
        let asked = Instant::now();
        let sent = stays.submit_fetch(&[("t", 0, 0)], 1, wait);
        stays.fetched(sent);
        asked.elapsed() >= wait
    });
}

#[test]
fn a_crowd_that_sends_nothing_or_half_and_reads_nothing_is_no_burden() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1).setting("durability", "os")).wait().unwrap();
    let records = client.producer(ProducerConfig::new()).unwrap();
    for _ in 0..200 {
        drop(records.send(ProducerRecord::to("t").partition(0).value(&vec![7; 60_000])).unwrap());
    }
    send(&records);
    let before = daemon.anonymous_bytes();
    let mut crowd = Vec::new();
    for number in 0..900 {
        let mut stream = TcpStream::connect(daemon.address()).unwrap();
        match number % 3 {
            0 => {}
            1 => stream.write_all(&preface()[..number % PREFACE_SIZE]).unwrap(),
            // Half a frame that claims to be large.
            _ => {
                stream.write_all(&preface()).unwrap();
                stream.write_all(&(90_u32 << 20).to_le_bytes()).unwrap();
            }
        }
        crowd.push(stream);
    }
    // Fifty that ask for the whole log again and again, and never read it.
    let request = fetch();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(daemon.address()).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        stream.write_all(&preface()).unwrap();
        for _ in 0..100 {
            if stream.write_all(&request).is_err() {
                break;
            }
        }
        crowd.push(stream);
    }
    for _ in 0..20 {
        send(&records);
    }
    let grown = daemon.anonymous_bytes().saturating_sub(before);
    assert!(grown < RSS_GROWTH_MAX, "{} connections cost {grown} bytes", crowd.len());
    drop(crowd);
    send(&records);
    drop((records, client));
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_header_that_is_not_of_its_kind_is_refused_by_name_and_the_connection_stays() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    for kind in Kind::ALL.iter().map(|(kind, ..)| *kind).filter(|kind| kind.is_request()) {
        // No request's header is 300 bytes of ones.
        let mut frame = BytesMut::new();
        let head = Head { kind: kind.number(), version: 1, flags: Flags::NONE, correlation: 7 };
        encode_frame(&mut frame, head, &[u64::MAX; 30], 0).unwrap();
        peer.send_bytes(&frame);
        let answer = peer.answer(LIMIT).unwrap();
        let answer = decode_frame(&answer, 64 << 20).unwrap().unwrap();
        assert_eq!(answer.head, head.answer(), "{kind:?}");
        let error = u16::from_le_bytes([answer.header[0], answer.header[1]]);
        assert_eq!(ErrorCode::new(error), ErrorCode::INVALID_REQUEST, "{kind:?}");
    }
    // And an unknown kind, or one that only ever comes, is told that there are no versions of it.
    for kind in [999, Kind::Batches.number(), Kind::SubscriptionEnd.number()] {
        let mut frame = BytesMut::new();
        let head = Head { kind, version: 1, flags: Flags::NONE, correlation: 8 };
        encode_frame(&mut frame, head, &0_u8, 0).unwrap();
        peer.send_bytes(&frame);
        let answer = peer.answer(LIMIT).unwrap();
        let answer = decode_frame(&answer, 64 << 20).unwrap().unwrap();
        assert_eq!((answer.head.kind, answer.head.correlation), (Kind::Unsupported.number(), 8));
        let lacks = answer.header::<UnsupportedV1>().unwrap();
        assert_eq!((lacks.kind, lacks.lowest, lacks.highest), (kind, 0, 0));
    }
    daemon.stop();
}

#[test]
fn a_request_about_too_many_things_is_refused_before_they_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    let before = daemon.anonymous_bytes();
    let refused = |answer: Vec<u8>| {
        let answer = decode_frame(&answer, 64 << 20).unwrap().unwrap();
        ErrorCode::new(u16::from_le_bytes([answer.header[0], answer.header[1]]))
    };
    for _ in 0..5 {
        peer.send(&MetadataRequestV1 { topics: Some(vec![""; 400_000]) });
        assert_eq!(refused(peer.answer(LIMIT).unwrap()), ErrorCode::INVALID_REQUEST);
        let entry = ListOffsetsEntryV1 { topic: "", partition: 0, spec: OffsetSpec::Latest };
        peer.send(&ListOffsetsRequestV1 { entries: vec![entry; 100_000] });
        assert_eq!(refused(peer.answer(LIMIT).unwrap()), ErrorCode::INVALID_REQUEST);
        let entry = ProduceEntryV1 { topic: "", partition: 0, record_bytes: 0 };
        peer.send(&ProduceRequestV1 { acks: Acks::One, timeout_ms: 1, entries: vec![entry; 100_000] });
        assert_eq!(refused(peer.answer(LIMIT).unwrap()), ErrorCode::INVALID_REQUEST);
        let entry = GroupResetEntryV1 { topic: "", partition: 0, to: GroupTargetV1::Latest };
        let entries = vec![entry; 100_000];
        peer.send(&GroupResetRequestV1 { group: "g", who: "", is_dry_run: false, entries });
        assert_eq!(refused(peer.answer(LIMIT).unwrap()), ErrorCode::INVALID_REQUEST);
    }
    let grown = daemon.anonymous_bytes().saturating_sub(before);
    assert!(grown < RSS_GROWTH_MAX, "{grown} bytes");
    daemon.stop();
}

#[test]
fn a_crowd_in_the_middle_of_large_requests_is_bounded_together_and_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "queued.max.bytes=8000000"]);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1).setting("durability", "os")).wait().unwrap();
    let records = client.producer(ProducerConfig::new()).unwrap();
    send(&records);
    let before = daemon.anonymous_bytes();
    let mut crowd = Vec::new();
    let piece = vec![7; 1 << 20];
    for _ in 0..20 {
        let mut stream = TcpStream::connect(daemon.address()).unwrap();
        stream.write_all(&preface()).unwrap();
        stream.write_all(&(90_u32 << 20).to_le_bytes()).unwrap();
        // A header's length that may be, so that only the length of the whole is in its way.
        stream.write_all(&[0; 16]).unwrap();
        crowd.push(stream);
    }
    for _ in 0..20 {
        for stream in &mut crowd {
            stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
            let _ = stream.write_all(&piece);
        }
        send(&records);
    }
    let grown = daemon.anonymous_bytes().saturating_sub(before);
    assert!(grown < RSS_GROWTH_MAX, "{grown} bytes for requests that never end");
    assert!(daemon.said().contains("no whole unit among them"), "{}", daemon.said());
    drop(crowd);
    send(&records);
    drop((records, client));
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_peer_that_leaves_in_the_middle_of_a_request_is_a_line_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    for (number, cut) in [3, PREFACE_SIZE + 3, PREFACE_SIZE + 30].into_iter().enumerate() {
        let mut stream = TcpStream::connect(daemon.address()).unwrap();
        let whole = [&preface()[..], &produce(&batch(b"value"))].concat();
        stream.write_all(&whole[..cut]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        let line = "the peer ended in the middle of a unit";
        let deadline = Instant::now() + LIMIT;
        while daemon.said().matches(line).count() <= number {
            assert!(Instant::now() < deadline, "cut at {cut}: {}", daemon.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    daemon.stop();
}

/// What a peer sends, and what it is.
fn attacks() -> Vec<(String, Vec<u8>)> {
    let good = produce(&batch(b"value"));
    let mut attacks: Vec<(String, Vec<u8>)> = Vec::new();
    let mut attack = |what: String, bytes: Vec<u8>| attacks.push((what, bytes));
    let behind_preface = |frame: &[u8]| [&preface()[..], frame].concat();

    for first in [0x00, 0x03, 0x16, b'G', 0x7f, 0xff] {
        attack(format!("first byte {first:#04x}"), vec![first; 64]);
    }
    let mut wrong = preface();
    wrong[3] ^= 1;
    attack("a preface with a flip".to_owned(), wrong.to_vec());
    attack(
        "versions that are no range".to_owned(),
        Preface { lowest: 9, highest: 1, frame_max: 1 << 20 }.encode().to_vec(),
    );
    attack(
        "a version from the future".to_owned(),
        Preface { lowest: 9, highest: 9, frame_max: 1 << 20 }.encode().to_vec(),
    );

    for length in [0, 15, (100 << 20) + 1, u32::MAX] {
        let mut frame = good.clone();
        frame[..4].copy_from_slice(&length.to_le_bytes());
        attack(format!("a frame of {length} bytes"), behind_preface(&frame));
    }
    for header_length in [5 << 20, u32::MAX] {
        let mut frame = good.clone();
        frame[16..20].copy_from_slice(&header_length.to_le_bytes());
        attack(format!("a header of {header_length} bytes"), behind_preface(&frame));
    }
    let mut frame = good.clone();
    frame[11] |= 0x80;
    attack("unknown flags".to_owned(), behind_preface(&frame));
    for flag in [Flags::ANSWER, Flags::PUSHED] {
        let mut frame = BytesMut::new();
        let head = Head { flags: flag, ..Head::request::<FetchRequestV1<'_>>(1) };
        encode_frame(&mut frame, head, &0_u64, 0).unwrap();
        attack(format!("a client that answers ({:#x})", flag.bits()), behind_preface(&frame));
    }
    // One flip anywhere in what the checksum covers.
    let covered = good.len() - batch(b"value").len();
    for at in (8..covered).step_by(3) {
        let mut frame = good.clone();
        frame[at] ^= 0x10;
        attack(format!("a flip at byte {at}"), behind_preface(&frame));
    }
    attacks
}

fn preface() -> [u8; PREFACE_SIZE] {
    Preface::ours(64 << 20).encode()
}

fn produce(records: &[u8]) -> Vec<u8> {
    let record_bytes = u32::try_from(records.len()).unwrap();
    let entries = vec![ProduceEntryV1 { topic: "t", partition: 0, record_bytes }];
    frame(&ProduceRequestV1 { acks: Acks::One, timeout_ms: 1000, entries }, records)
}

fn fetch() -> Vec<u8> {
    let entry = FetchEntryV1 { topic: "t", partition: 0, offset: 0, max_bytes: 1 << 20, leader_epoch: -1 };
    frame(&FetchRequestV1 { max_wait_ms: 0, min_bytes: 1, max_bytes: 1 << 20, entries: vec![entry] }, &[])
}

fn frame<T: Message + serde::Serialize>(header: &T, records: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    encode_frame(&mut frame, Head::request::<T>(1), header, records.len()).unwrap();
    frame.extend_from_slice(records);
    frame.to_vec()
}

fn send(producer: &Producer) {
    let since = Instant::now();
    producer.send(ProducerRecord::to("t").partition(0).value(b"served")).unwrap().wait().unwrap();
    assert!(since.elapsed() < Duration::from_secs(20), "others wait");
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
