//! The keys of what a batch may be, how it is stored, and whose it is.

use std::time::{SystemTime, UNIX_EPOCH};

use folio_client::{Compression, DeliveryError, ErrorCode, ProducerConfig, ProducerRecord, Timestamp};
use folio_record::{BatchHeader, TimestampType, UnverifiedBatch};
use folio_tests::native::{Peer, batch_of};
use folio_tests::rig::until;
use folio_wire::native::produce::Acks as NativeAcks;

use super::{Served, WHILE, code};

const OUT_OF_ORDER: u16 = ErrorCode::OUT_OF_ORDER_SEQUENCE.number();

effects! {
    "decompress.max.bytes" a_batch_that_unpacks_to_more_is_refused
    "producer.id.expiration.ms" a_silent_producer_is_forgotten
    "partition.producers.max" so_many_producers_are_remembered
    "topic.max.message.bytes" a_larger_batch_is_refused
    "topic.max.decompressed.message.bytes" a_larger_record_of_a_compressed_batch_is_refused
    "topic.message.timestamp.before.max.ms" a_record_from_the_past_is_refused
    "topic.message.timestamp.after.max.ms" a_record_from_the_future_is_refused
    "topic.message.timestamp.type" records_have_the_time_that_the_topic_wants
    "topic.compression.type" batches_are_stored_in_the_codec_that_the_topic_wants
    "topic.compression.gzip.level" gzip_is_as_small_as_the_topic_wants
    "topic.compression.zstd.level" zstd_is_as_small_as_the_topic_wants
}

fn a_batch_that_unpacks_to_more_is_refused() {
    let compressed = |most: &str| {
        let rig = Served::with_topic(&[("decompress.max.bytes", most)]);
        let config = ProducerConfig::new().compression(Compression::Lz4);
        rig.send_with(config, ProducerRecord::to("t").partition(0).value(&vec![0; 500_000]))
    };
    assert_eq!(code(compressed("100000")), ErrorCode::INVALID_RECORD);
    compressed("1000000").unwrap();
}

fn a_silent_producer_is_forgotten() {
    let settings = |ms| [("maintenance.interval.ms", "10"), ("producer.id.expiration.ms", ms)];
    let sends = |peer: &mut Peer, sequence| {
        peer.produce("t", 0, NativeAcks::One, &batch_of((7, 0, sequence), &[b"x"])).error.number()
    };
    let rig = Served::with_topic(&settings("86400000"));
    let mut peer = rig.peer();
    assert_eq!(sends(&mut peer, 0), 0);
    std::thread::sleep(WHILE);
    assert_eq!(sends(&mut peer, 17), OUT_OF_ORDER);

    let rig = Served::with_topic(&settings("1"));
    let mut peer = rig.peer();
    assert_eq!(sends(&mut peer, 0), 0);
    until("any number is taken of a producer that is forgotten", || sends(&mut peer, 17) == 0);
}

fn so_many_producers_are_remembered() {
    let remembers_the_first = |max| {
        let rig = Served::with_topic(&[("partition.producers.max", max)]);
        let mut peer = rig.peer();
        for id in 0..9 {
            assert!(peer.produce("t", 0, NativeAcks::One, &batch_of((id, 0, 0), &[b"x"])).error.is_none());
        }
        peer.produce("t", 0, NativeAcks::One, &batch_of((0, 0, 17), &[b"x"])).error.number() == OUT_OF_ORDER
    };
    assert!(remembers_the_first("9"));
    assert!(!remembers_the_first("8"));
}

fn a_larger_batch_is_refused() {
    let rig = Served::with_topic(&[("topic.max.message.bytes", "1000")]);
    assert_eq!(code(rig.send(&[7; 1000])), ErrorCode::MESSAGE_TOO_LARGE);
    rig.send(&[7; 800]).unwrap();
}

fn a_larger_record_of_a_compressed_batch_is_refused() {
    let rig = Served::with_topic(&[("topic.max.decompressed.message.bytes", "1000")]);
    let send = |compression, bytes| {
        let record = ProducerRecord::to("t").partition(0).value(&[7; 2000][..bytes]);
        rig.send_with(ProducerConfig::new().compression(compression), record)
    };
    assert_eq!(code(send(Compression::Lz4, 1000)), ErrorCode::INVALID_RECORD);
    send(Compression::Lz4, 900).unwrap();
    send(Compression::None, 1000).unwrap();
}

/// A record stamped so many milliseconds after now.
fn stamped(rig: &Served, ms: i64) -> Result<(), DeliveryError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let timestamp = Timestamp::new(i64::try_from(now.as_millis()).unwrap() + ms);
    rig.send_with(
        ProducerConfig::new(),
        ProducerRecord::to("t").partition(0).value(b"x").timestamp(timestamp),
    )
}

fn a_record_from_the_past_is_refused() {
    let rig = Served::with_topic(&[("topic.message.timestamp.before.max.ms", "60000")]);
    assert_eq!(code(stamped(&rig, -120_000)), ErrorCode::INVALID_TIMESTAMP);
    stamped(&rig, -30_000).unwrap();
    stamped(&Served::with_topic(&[]), -120_000).unwrap();
}

fn a_record_from_the_future_is_refused() {
    let rig = Served::with_topic(&[("topic.message.timestamp.after.max.ms", "60000")]);
    assert_eq!(code(stamped(&rig, 120_000)), ErrorCode::INVALID_TIMESTAMP);
    stamped(&rig, 30_000).unwrap();
    stamped(&Served::with_topic(&[]), 120_000).unwrap();
}

/// The first batch that is stored.
fn first_batch(rig: &Served) -> Vec<u8> {
    let (fetched, bytes) = rig.peer().fetch_now("t", 0);
    assert_eq!(fetched.error, ErrorCode::NONE);
    let (batch, _) = UnverifiedBatch::split_first(&bytes).unwrap();
    batch.verify().unwrap().bytes().to_vec()
}

fn records_have_the_time_that_the_topic_wants() {
    let time_of = |whose| {
        let rig = Served::with_topic(&[("topic.message.timestamp.type", whose)]);
        stamped(&rig, -120_000).unwrap();
        let batch = first_batch(&rig);
        let header = BatchHeader::parse(batch.first_chunk().unwrap()).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = i64::try_from(now.as_millis()).unwrap() - header.max_timestamp.get();
        (header.attributes.timestamp_type(), age > 110_000)
    };
    assert_eq!(time_of("CreateTime"), (TimestampType::Create, true));
    assert_eq!(time_of("LogAppendTime"), (TimestampType::LogAppend, false));
}

fn batches_are_stored_in_the_codec_that_the_topic_wants() {
    for (setting, stored) in [
        ("producer", Compression::Lz4),
        ("uncompressed", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ] {
        let rig = Served::with_topic(&[("topic.compression.type", setting)]);
        let record = ProducerRecord::to("t").partition(0).value(&[7; 1000]);
        rig.send_with(ProducerConfig::new().compression(Compression::Lz4), record).unwrap();
        let batch = first_batch(&rig);
        let header = BatchHeader::parse(batch.first_chunk().unwrap()).unwrap();
        assert_eq!(header.attributes.compression(), stored, "{setting}");
    }
}

/// How large a batch of log lines is, stored in this codec at this level.
fn stored_size(codec: &str, level: &str) -> usize {
    let level_key = format!("topic.compression.{codec}.level");
    let rig = Served::with_topic(&[("topic.compression.type", codec), (&level_key, level)]);
    let line = |i: u32| format!("GET /page/{} 200 {}\n", i * i % 977, i.wrapping_mul(0x9e37_79b1) % 10_007);
    let lines: Vec<u8> = (0..3000).flat_map(|i| line(i).into_bytes()).collect();
    rig.send(&lines).unwrap();
    first_batch(&rig).len()
}

fn gzip_is_as_small_as_the_topic_wants() {
    assert!(stored_size("gzip", "9") < stored_size("gzip", "1"));
}

fn zstd_is_as_small_as_the_topic_wants() {
    assert!(stored_size("zstd", "19") < stored_size("zstd", "-5"));
}
