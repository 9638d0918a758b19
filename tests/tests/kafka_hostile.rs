//! Peers that break Kafka's protocol, by accident or on purpose: their connection is closed with a line in the log, the
//! daemon's memory does not follow the numbers that they send, and everybody else is served.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use folio_tests::daemon::Daemon;
use folio_tests::kafka::{KafkaPeer, produce};
use folio_tests::native::{Peer, batch};
use folio_wire::kafka::metadata::{MetadataRequest, MetadataRequestTopic};
use folio_wire::kafka::produce::ProduceResponse;
use folio_wire::kafka::{ApiKey, KafkaError, VERSIONS};

const LIMIT: Duration = Duration::from_secs(60);
const RSS_GROWTH_MAX: u64 = 32 << 20;

/// A daemon with a topic `t`, and a producer that must be served whatever others do.
fn served() -> (Daemon, tempfile::TempDir, KafkaPeer) {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "queued.max.bytes=8000000"]);
    Peer::connect(daemon.address()).create("t", 1, &[("durability", "os")]);
    let mut peer = KafkaPeer::connect(daemon.address());
    send(&mut peer);
    (daemon, dir, peer)
}

fn send(peer: &mut KafkaPeer) {
    let answer = peer.call(9, &produce("t", 0, 1, &batch(b"served")));
    let told: ProduceResponse<'_> = answer.message();
    assert_eq!(told.responses[0].partition_responses[0].error_code, KafkaError::NONE);
}

/// A frame of a request's header, with an empty client id, and `body`.
fn request(api: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&api.number().to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 9, 0, 0]);
    if api.spec().is_flexible(version) {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame].concat()
}

/// What a peer sends, and what it is. Each closes its connection.
fn attacks() -> Vec<(String, Vec<u8>)> {
    let mut attacks = Vec::new();
    for length in [0, 7, (100 << 20) + 1, 0x06ff_ffff] {
        let mut bytes = u32::to_be_bytes(length).to_vec();
        bytes.extend_from_slice(&[0; 64]);
        attacks.push((format!("a frame of {length} bytes"), bytes));
    }
    let metadata = ApiKey::Metadata;
    let header_alone = [0, 0, 0, 8, 0, 3, 0, 1, 0, 0, 0, 1];
    attacks.push(("a header without a client id".to_owned(), header_alone.to_vec()));
    let mut long_name = request(metadata, 1, &[]);
    let name_at = long_name.len() - 2;
    long_name[name_at..].copy_from_slice(&[0x7f, 0xff]);
    attacks.push(("a client id longer than its frame".to_owned(), long_name));
    let too_large = (17_u32 << 20).to_be_bytes();
    attacks.push(("metadata about 17 MiB".to_owned(), [&too_large[..], &[0, 3, 0, 1, 0, 0, 0, 1]].concat()));
    // A list of as many things as can be said, in every place where a request may begin with one.
    for spec in VERSIONS.iter().filter(|spec| spec.api != ApiKey::ApiVersions) {
        for version in [spec.versions.oldest, spec.versions.newest] {
            for body in [&[0x7f, 0xff, 0xff, 0xff, 0x7f][..], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0xff], &[]] {
                let what = format!("{:?} {version} with {body:x?}", spec.api);
                attacks.push((what, request(spec.api, version, body)));
            }
        }
    }
    attacks
}

#[test]
fn peers_that_break_kafkas_protocol_cost_a_connection_and_nothing_else() {
    let (daemon, _dir, mut other) = served();
    let before = daemon.anonymous_bytes();
    let mut most = before;
    for (number, (what, bytes)) in attacks().into_iter().enumerate() {
        let mut stream = TcpStream::connect(daemon.address()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // Some of these are a request by chance, which is answered before the end.
        let end = stream.read_to_end(&mut Vec::new());
        let is_open = matches!(&end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_open, "{what}: the connection stays open");
        most = most.max(daemon.anonymous_bytes());
        if number % 20 == 0 {
            send(&mut other);
        }
    }
    assert!(most.saturating_sub(before) < RSS_GROWTH_MAX, "{before} bytes of memory became {most}");
    send(&mut other);
    assert!(daemon.said().contains("the peer broke the protocol"), "{}", daemon.said());
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_kafka_request_about_too_many_things_is_refused_before_they_are_looked_at() {
    let (daemon, _dir, mut other) = served();
    let before = daemon.anonymous_bytes();
    let mut most = before;
    let empty = || MetadataRequestTopic { name: Some(""), ..MetadataRequestTopic::default() };
    let topics = vec![empty(); 1_000_000];
    let large = MetadataRequest { topics: Some(topics), ..MetadataRequest::default() };
    let frame = KafkaPeer::connect(daemon.address()).frame(1, &large);
    for _ in 0..5 {
        let mut peer = KafkaPeer::connect(daemon.address());
        peer.push(&frame, LIMIT);
        assert!(peer.is_closed(LIMIT));
        most = most.max(daemon.anonymous_bytes());
        send(&mut other);
    }
    assert!(most.saturating_sub(before) < RSS_GROWTH_MAX, "{before} bytes of memory became {most}");
    daemon.stop();
}

#[test]
fn a_crowd_in_the_middle_of_large_produces_is_bounded_together_and_others_are_served() {
    let (daemon, _dir, mut other) = served();
    let before = daemon.anonymous_bytes();
    let piece = vec![7; 1 << 20];
    let mut crowd: Vec<TcpStream> = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(daemon.address()).unwrap();
        // Produce 9, of 90 MiB.
        stream.write_all(&(90_u32 << 20).to_be_bytes()).unwrap();
        stream.write_all(&[0, 0, 0, 9, 0, 0, 0, 1]).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        crowd.push(stream);
    }
    for _ in 0..20 {
        for stream in &mut crowd {
            let _ = stream.write_all(&piece);
        }
        send(&mut other);
    }
    let grown = daemon.anonymous_bytes().saturating_sub(before);
    assert!(grown < RSS_GROWTH_MAX, "{grown} bytes for requests that never end");
    assert!(daemon.said().contains("no whole unit among them"), "{}", daemon.said());
    drop(crowd);
    send(&mut other);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_peer_that_asks_and_never_reads_holds_nothing_of_anybody_elses() {
    let (daemon, _dir, mut other) = served();
    let before = daemon.anonymous_bytes();
    let mut crowd = Vec::new();
    for _ in 0..20 {
        let mut peer = KafkaPeer::connect(daemon.address());
        let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
        let frames: Vec<u8> = (0..2000).flat_map(|_| peer.frame(9, &all)).collect();
        peer.push(&frames, Duration::from_millis(100));
        crowd.push(peer);
        send(&mut other);
    }
    let grown = daemon.anonymous_bytes().saturating_sub(before);
    assert!(grown < RSS_GROWTH_MAX, "{grown} bytes for answers that nobody reads");
    drop(crowd);
    send(&mut other);
    assert_eq!(daemon.stop().code(), Some(0));
}
