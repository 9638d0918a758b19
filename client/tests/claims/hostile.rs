//! Claims about brokers that answer with nonsense: an error, in time, and never a panic or a hang.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use folio_client::{
    CallError, Client, ClientConfig, ConsumerConfig, PollError, Position, ProducerConfig, ProducerRecord,
    TopicPartition,
};
use folio_wire::native::Kind;
use folio_wire::native::preface::{PREFACE_SIZE, Preface};

use crate::fake_broker::{Deed, FakeBroker};
use crate::{SOON, config, eventually};

/// Where the parts of a frame lie.
const CRC: std::ops::Range<usize> = 4..8;
const COVERED_FROM: usize = 8;
const KIND: usize = 8;
const VERSION: usize = 10;
const FLAGS: usize = 11;
const CORRELATION: usize = 12;
const HEADER_LENGTH: usize = 16;
const HEADER: usize = 20;

/// A checksum that is right for what was made of the frame.
fn seal(frame: &mut [u8]) {
    let header_length = u32::from_le_bytes(frame[HEADER_LENGTH..HEADER].try_into().unwrap()) as usize;
    let end = (HEADER + header_length).min(frame.len());
    let crc = crc32fast::hash(&frame[COVERED_FROM..end]);
    frame[CRC].copy_from_slice(&crc.to_le_bytes());
}

pub(crate) type Spoil = fn(&mut Vec<u8>);

/// Ways to spoil an answer whose parts are all there.
pub(crate) const SPOILED: &[(&str, Spoil)] = &[
    ("a wrong checksum", |frame| frame[CRC.start] ^= 1),
    ("a flipped bit in the header", |frame| frame[HEADER + 1] ^= 1),
    ("a giant length", |frame| frame[..4].copy_from_slice(&u32::MAX.to_le_bytes())),
    ("a length of nothing", |frame| frame[..4].copy_from_slice(&0_u32.to_le_bytes())),
    ("a giant header", |frame| {
        frame[HEADER_LENGTH..HEADER].copy_from_slice(&u32::MAX.to_le_bytes());
        seal(frame);
    }),
    ("another correlation id", |frame| {
        frame[CORRELATION] ^= 0x55;
        seal(frame);
    }),
    ("another kind", |frame| {
        frame[KIND] ^= 1;
        seal(frame);
    }),
    ("another version", |frame| {
        frame[VERSION] += 1;
        seal(frame);
    }),
    ("flags of a request", |frame| {
        frame[FLAGS] = 0;
        seal(frame);
    }),
    ("unknown flags", |frame| {
        frame[FLAGS] = 0xff;
        seal(frame);
    }),
    ("a header that ends early", |frame| {
        let length = u32::from_le_bytes(frame[HEADER_LENGTH..HEADER].try_into().unwrap()) - 1;
        frame[HEADER_LENGTH..HEADER].copy_from_slice(&length.to_le_bytes());
        seal(frame);
    }),
    ("counts without end", |frame| {
        let end = frame.len();
        frame[HEADER + 3..end].fill(0xff);
        seal(frame);
    }),
    ("zeros", |frame| frame.fill(0)),
    ("noise", |frame| {
        for (at, byte) in frame.iter_mut().enumerate() {
            *byte = (at * 167 + 13) as u8;
        }
    }),
];

fn client(broker: &FakeBroker) -> Client {
    Client::connect(config(broker).request_timeout(Duration::from_millis(1500))).unwrap()
}

#[test]
fn calls_end_with_an_error_and_the_next_one_is_answered() {
    for (what, spoil) in SPOILED {
        let broker = FakeBroker::start_with_plan(move |asked| match (asked.kind, asked.before) {
            (Kind::Status, 0) => Deed::Spoil(*spoil),
            _ => Deed::Serve,
        });
        let client = client(&broker);
        let begin = Instant::now();
        let result = client.admin().status(true).wait();
        assert!(begin.elapsed() < SOON / 2, "{what}");
        // Whoever asks for the status may ask again; who answers a request that was not asked leaves one open.
        match result {
            Ok(status) => assert_eq!(status.version, "fake", "{what}: the second attempt"),
            Err(error) => assert!(
                matches!(
                    error,
                    CallError::Protocol { .. } | CallError::TimedOut { .. } | CallError::Disconnected { .. }
                ),
                "{what}: {error}"
            ),
        }
        assert_eq!(client.admin().status(true).wait().unwrap().version, "fake", "{what}");
        assert!(broker.connections() >= 2, "{what}: the connection is given up");
    }
}

#[test]
fn records_are_delivered_all_the_same_and_in_order() {
    for (what, spoil) in SPOILED {
        let broker = FakeBroker::start_with_plan(move |asked| match (asked.kind, asked.before % 3) {
            (Kind::Produce, 1) => Deed::Spoil(*spoil),
            _ => Deed::Serve,
        })
        .with_topic("t", 1);
        let producer = client(&broker).producer(ProducerConfig::new()).unwrap();
        for n in 0..6 {
            let value = format!("{n}");
            let delivery = producer.send(ProducerRecord::to("t").value(&value)).unwrap();
            delivery.wait().unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        let mut values = broker.values("t", 0);
        values.dedup(); // an answer that cannot be read is as good as none
        assert_eq!(values, ["0", "1", "2", "3", "4", "5"], "{what}");
    }
}

#[test]
fn consumers_get_every_record_all_the_same() {
    for (what, spoil) in SPOILED {
        let broker = FakeBroker::start_with_plan(move |asked| match (asked.kind, asked.before) {
            (Kind::ListOffsets, 0) | (Kind::Fetch, 0 | 2) => Deed::Spoil(*spoil),
            _ => Deed::Serve,
        })
        .with_topic("t", 1);
        let client = client(&broker);
        let producer = client.producer(ProducerConfig::new()).unwrap();
        for n in 0..5 {
            drop(producer.send(ProducerRecord::to("t").value(&format!("{n}"))).unwrap());
        }
        producer.flush().wait().unwrap();
        let mut consumer = client.consumer(ConsumerConfig::new().partition_bytes_max(1)).unwrap();
        consumer.assign([(TopicPartition::new("t", 0), Position::Earliest)]);
        let mut values = Vec::new();
        let deadline = Instant::now() + SOON;
        while values.len() < 5 {
            assert!(Instant::now() < deadline, "{what}");
            match consumer.poll(SOON) {
                Ok(records) => {
                    values.extend(records.unwrap().iter().map(|record| record.value.unwrap()[0]));
                }
                Err(PollError::Away(_)) => {}
                Err(error) => panic!("{what}: {error}"),
            }
        }
        assert_eq!(values, b"01234", "{what}");
    }
}

#[test]
fn record_bytes_that_do_not_add_up_do_not_get_through() {
    let cases: [(&str, Spoil); 2] = [
        ("fewer than announced", |frame| {
            frame.pop();
            let length = (frame.len() - 4) as u32;
            frame[..4].copy_from_slice(&length.to_le_bytes());
        }),
        ("more than announced", |frame| {
            frame.push(0);
            let length = (frame.len() - 4) as u32;
            frame[..4].copy_from_slice(&length.to_le_bytes());
        }),
    ];
    for (what, spoil) in cases {
        let broker = FakeBroker::start_with_plan(move |asked| match (asked.kind, asked.before) {
            (Kind::Fetch, 0..3) => Deed::Spoil(spoil),
            _ => Deed::Serve,
        })
        .with_topic("t", 1);
        let client = client(&broker);
        let producer = client.producer(ProducerConfig::new()).unwrap();
        producer.send(ProducerRecord::to("t").value("whole")).unwrap().wait().unwrap();
        let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
        consumer.assign([(TopicPartition::new("t", 0), Position::Earliest)]);
        let records = consumer.poll(SOON).unwrap().unwrap_or_else(|| panic!("{what}"));
        assert_eq!(records.iter().next().unwrap().value, Some(&b"whole"[..]), "{what}");
        assert!(
            broker.asked(Kind::Fetch) >= 4,
            "{what}: the first three were dropped with their connections"
        );
    }
}

#[test]
fn an_answer_cut_anywhere_is_an_error() {
    let whole = 190; // more than the answer has bytes: then it is whole
    for size in (0..whole).step_by(7) {
        let broker = FakeBroker::start_with_plan(move |asked| match (asked.kind, asked.before) {
            (Kind::TopicCreate, 0) => Deed::CutAnswer(size),
            _ => Deed::Serve,
        });
        let admin = client(&broker).admin();
        let begin = Instant::now();
        let result = admin.create_topic(folio_client::NewTopic::new("t", 1)).wait();
        assert!(begin.elapsed() < SOON / 2);
        match result {
            Ok(_) => assert!(size > HEADER, "cut to {size}"),
            Err(error) => assert!(matches!(error, CallError::Disconnected { .. }), "cut to {size}: {error}"),
        }
    }
}

/// A broker that greets and then sends whatever it likes.
fn babbler(babble: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, babble) = (stream.unwrap(), babble.clone());
            std::thread::spawn(move || {
                let _ = stream.write_all(&babble);
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    address
}

#[test]
fn prefaces_of_all_kinds_end_in_an_error_or_a_connection() {
    let good = Preface::ours(1 << 20).encode();
    let newer = Preface { lowest: 2, highest: 9, frame_max: 1 << 20 }.encode();
    let reversed = Preface { lowest: 3, highest: 1, frame_max: 1 << 20 }.encode();
    for (what, bytes) in [
        ("nothing", vec![]),
        ("half a preface", good[..PREFACE_SIZE / 2].to_vec()),
        ("a newer protocol only", newer.to_vec()),
        ("versions that are no range", reversed.to_vec()),
        ("a line feed changed on the way", good.iter().copied().filter(|byte| *byte != b'\r').collect()),
        ("Kafka", vec![0, 0, 0, 9, 0, 0, 0, 0, 0, 35, 0, 0, 0]),
    ] {
        let config = ClientConfig::new(&babbler(bytes)).connect_timeout(Duration::from_millis(200));
        let error = Client::connect(config).unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:"), "{what}: {error}");
    }
}

#[test]
fn a_broker_that_talks_unasked_is_left() {
    let mut babble = Preface::ours(1 << 20).encode().to_vec();
    babble.extend_from_slice(&[0x20; 4096]);
    let config = ClientConfig::new(&babbler(babble)).request_timeout(Duration::from_millis(200));
    let client = Client::start(config).unwrap();
    let error = client.admin().status(false).wait().unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Protocol { .. } | CallError::Disconnected { .. } | CallError::TimedOut { .. }
        ),
        "{error}"
    );
}

#[test]
fn offsets_that_cannot_be_do_not_send_a_consumer_round_in_circles() {
    let broker = FakeBroker::start_with_plan(|asked| match asked.kind {
        Kind::Fetch => Deed::Refuse(folio_client::ErrorCode::OFFSET_OUT_OF_RANGE),
        _ => Deed::Serve,
    })
    .with_topic("t", 1);
    let client = client(&broker);
    let settings = ConsumerConfig::new().out_of_range(folio_client::OutOfRange::Earliest);
    let mut consumer = client.consumer(settings).unwrap();
    let begin = Instant::now();
    consumer.assign([(TopicPartition::new("t", 0), Position::At(folio_client::Offset::ZERO))]);
    eventually("it asks", || broker.asked(Kind::Fetch) > 1);
    assert!(consumer.poll(Duration::from_millis(200)).unwrap().is_none());
    let (asked, within) = (broker.asked(Kind::Fetch), begin.elapsed());
    assert!(asked as u128 <= 60 * within.as_millis() / 200, "{asked} fetches in {within:?}");
}
