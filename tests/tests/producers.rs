//! Idempotent producers against a whole broker: what is sent twice is stored once, whatever happened in between.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::BTreeSet;
use std::path::Path;

use folio_client::{Client, ClientConfig, NewTopic, ProducerConfig, ProducerRecord, TopicPartition};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::native::{Peer, batch_of};
use folio_tests::rig::Rig;
use folio_tests::terminal::Terminal;
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::{Acks, ProduceEntryV1, ProduceRequestV1, ProducedV1};
use folio_wire::native::producers::{DescribeProducersRequestV1, InitProducerRequestV1};

const DURABILITIES: [&str; 2] = ["fsync", "os"];

/// Two records with these numbers, and those after them.
fn pair(sequence: i32) -> Vec<u8> {
    batch_of((7, 0, sequence), &[b"one", b"two"])
}

fn send(peer: &mut Peer, sequence: i32) -> ProducedV1 {
    peer.produce("t", 0, Acks::All, &pair(sequence))
}

fn offset(produced: &ProducedV1) -> i64 {
    assert!(produced.error.is_none(), "{:?}", produced.message);
    produced.base_offset
}

#[test]
fn a_batch_whose_answer_was_lost_has_its_offset_of_then_when_it_comes_again_and_the_log_grows_once() {
    for durability in DURABILITIES {
        let rig = Rig::new(&[("topic.durability", durability)]);
        let mut peer = rig.peer();
        peer.create("t", 1, &[]);
        // The connection is given up before the answers come, with five batches on their way.
        for number in 0..5 {
            peer.submit_produce("t", 0, Acks::All, &pair(2 * number));
        }
        drop(peer);
        let mut peer = rig.peer();
        for number in 0..5 {
            assert_eq!(offset(&send(&mut peer, 2 * number)), i64::from(2 * number), "{durability}");
        }
        for number in 0..5 {
            assert_eq!(offset(&send(&mut peer, 2 * number)), i64::from(2 * number), "{durability}");
        }
        let partition = peer.describe("t");
        assert_eq!((partition.log_end, partition.high_watermark), (10, 10), "{durability}");
    }
}

#[test]
fn what_is_not_next_is_refused_with_its_code_and_what_is_next_goes_on() {
    let rig = Rig::new(&[("topic.durability", "os")]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[]);
    for number in 0..7 {
        assert_eq!(offset(&send(&mut peer, 2 * number)), i64::from(2 * number));
    }
    assert_eq!(send(&mut peer, 16).error, ErrorCode::OUT_OF_ORDER_SEQUENCE);
    assert_eq!(send(&mut peer, 2).error, ErrorCode::DUPLICATE_SEQUENCE);
    assert_eq!(offset(&peer.produce("t", 0, Acks::All, &batch_of((7, 1, 0), &[b"next"]))), 14);
    assert_eq!(send(&mut peer, 14).error, ErrorCode::INVALID_PRODUCER_EPOCH);
    let refused = peer.produce("t", 0, Acks::All, &[pair(0), pair(2)].concat());
    assert_eq!(refused.error, ErrorCode::INVALID_RECORD);
    assert_eq!(peer.describe("t").log_end, 15);
}

#[test]
fn the_batches_of_one_request_are_judged_in_their_order() {
    for durability in DURABILITIES {
        let rig = Rig::new(&[("topic.durability", durability)]);
        let mut peer = rig.peer();
        peer.create("t", 1, &[]);
        let batches = [pair(0), pair(2), pair(0), pair(8), pair(4)];
        let entry = |batch: &Vec<u8>| ProduceEntryV1 {
            topic: "t",
            partition: 0,
            record_bytes: u32::try_from(batch.len()).unwrap(),
        };
        let entries = batches.iter().map(entry).collect();
        let request = ProduceRequestV1 { acks: Acks::All, timeout_ms: 30_000, entries };
        let (answer, _) = peer.call(&request, &batches.concat());
        let told: Vec<_> = answer.entries.iter().map(|entry| (entry.error, entry.base_offset)).collect();
        let none = ErrorCode::NONE;
        let out_of_order = (ErrorCode::OUT_OF_ORDER_SEQUENCE, -1);
        assert_eq!(told, [(none, 0), (none, 2), (none, 0), out_of_order, (none, 4)], "{durability}");
        assert_eq!(peer.describe("t").log_end, 6, "{durability}");
    }
}

#[test]
fn a_restart_of_either_kind_forgets_no_producer() {
    for durability in DURABILITIES {
        let dir = tempfile::tempdir().unwrap();
        let setting = format!("topic.durability={durability}");
        let mut daemon = Daemon::on(dir.path(), &["--set", &setting]);
        let mut peer = Peer::connect(daemon.address());
        peer.create("t", 1, &[]);
        for number in 0..7 {
            send(&mut peer, 2 * number);
        }
        for is_clean in [false, true, false] {
            drop(peer);
            daemon = restarted(daemon, dir.path(), is_clean);
            peer = Peer::connect(daemon.address());
            for number in 2..7 {
                assert_eq!(offset(&send(&mut peer, 2 * number)), i64::from(2 * number), "{durability}");
            }
            assert_eq!(send(&mut peer, 2).error, ErrorCode::DUPLICATE_SEQUENCE);
            assert_eq!(send(&mut peer, 16).error, ErrorCode::OUT_OF_ORDER_SEQUENCE);
        }
        assert_eq!(offset(&send(&mut peer, 14)), 14);
    }
}

#[test]
fn no_producer_id_is_given_twice_whatever_becomes_of_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), &[]);
    let mut given = BTreeSet::new();
    for is_clean in [false, true] {
        let mut peer = Peer::connect(daemon.address());
        for _ in 0..1200 {
            let (answer, _) = peer.call(&InitProducerRequestV1 { transactional_id: None }, &[]);
            assert_eq!((answer.error, answer.producer_epoch), (ErrorCode::NONE, 0));
            assert!(given.insert(answer.producer_id), "{} is somebody else's", answer.producer_id);
        }
        daemon = restarted(daemon, dir.path(), is_clean);
    }
    assert!(given.iter().all(|id| *id >= 0));
}

#[test]
fn a_transactional_id_is_refused_for_good() {
    let rig = Rig::new(&[]);
    let request = InitProducerRequestV1 { transactional_id: Some("mine") };
    let (answer, _) = rig.peer().call(&request, &[]);
    assert_eq!(answer.error, ErrorCode::TRANSACTIONS_UNSUPPORTED);
    assert!(!answer.error.is_retriable());
    assert_eq!((answer.producer_id, answer.producer_epoch), (-1, -1));
}

#[test]
fn the_producers_of_a_partition_are_told() {
    let rig = Rig::new(&[]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[]);
    let describe = DescribeProducersRequestV1 { topic: "t", partition: 0 };
    assert!(peer.call(&describe, &[]).0.producers.is_empty());
    send(&mut peer, 0);
    peer.produce("t", 0, Acks::All, &batch_of((3, 5, 0), &[b"x"]));
    let (answer, _) = peer.call(&describe, &[]);
    let told = answer.producers.iter();
    let told: Vec<_> = told.map(|one| (one.producer_id, one.producer_epoch, one.last_sequence)).collect();
    assert_eq!(told, [(3, 5, 0), (7, 0, 1)]);
    assert!(answer.producers.iter().all(|one| one.last_timestamp > 0));
    let (answer, _) = peer.call(&DescribeProducersRequestV1 { topic: "t", partition: 1 }, &[]);
    assert_eq!(answer.error, ErrorCode::UNKNOWN_PARTITION);
}

#[test]
fn the_clients_producers_are_among_them_unless_they_do_without() {
    let rig = Rig::new(&[]);
    let client = Client::connect(ClientConfig::new(rig.address())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    let describe = || client.admin().describe_producers(TopicPartition::new("t", 0)).wait();
    for (config, known) in [
        (ProducerConfig::new().idempotent(false), 0),
        (ProducerConfig::new().retries(0), 0),
        (ProducerConfig::new(), 1),
        (ProducerConfig::new(), 2),
    ] {
        let producer = client.producer(config).unwrap();
        for value in ["a", "b"] {
            producer.send(ProducerRecord::to("t").value(value)).unwrap().wait().unwrap();
        }
        let producers = describe().unwrap();
        assert_eq!(producers.len(), known);
        let told = producers.iter().map(|one| (one.epoch, one.last_sequence, one.last_timestamp.is_some()));
        assert!(told.clone().all(|one| one == (0, Some(1), true)), "{producers:?}");
    }
    let missing = client.admin().describe_producers(TopicPartition::new("t", 1)).wait();
    assert_eq!(missing.unwrap_err().code(), Some(ErrorCode::UNKNOWN_PARTITION));
}

#[test]
fn the_command_line_is_idempotent_unless_it_is_told_not_to_be() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    let client = Client::connect(ClientConfig::new(terminal.rig().address())).unwrap();
    for (options, known) in [(&["produce", "t", "--no-idempotent"][..], 0), (&["produce", "t"], 1)] {
        assert!(terminal.feed(options, b"a\nb\n").status.success());
        let producers = client.admin().describe_producers(TopicPartition::new("t", 0)).wait().unwrap();
        assert_eq!(producers.len(), known);
    }
    for bench in ["produce", "latency"] {
        terminal.done(&["bench", bench, "--records", "10", "--no-idempotent"]);
    }
}

fn restarted(daemon: Daemon, dir: &Path, is_clean: bool) -> Daemon {
    if is_clean {
        assert!(daemon.stop().success());
        return Daemon::on(dir, &[]);
    }
    signal(&daemon.pid().to_string(), "KILL");
    daemon.restart_after_death()
}
