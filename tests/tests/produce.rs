//! Appends as producers see them: their order, what an acknowledgement says, and what holds them back.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::BTreeMap;
use std::time::Duration;

use folio_record::{
    BatchBuilder, Compression, DecompressLimit, HEADER_SIZE, NewRecord, Timestamp, UnverifiedBatch, seal,
};
use folio_tests::native::{Peer, batch};
use folio_tests::rig::{Rig, until};
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::{Acks, ProduceEntryV1, ProduceRequestV1};
use folio_wire::native::status::StatusRequestV1;
use folio_wire::native::topics::TopicDeleteRequestV1;

/// A flush that lingers so long has not happened by the time that anything else has.
const FLUSH_NEVER: (&str, &str) = ("flush.linger.us", "3600000000");
/// A flush that lingers so long leaves time to look at what holds before it.
const FLUSH_LATE: (&str, &str) = ("flush.linger.us", "6000000");

#[test]
fn producers_keep_their_order_while_appends_move_between_loops_and_lanes() {
    // A segment holds a few dozen of these batches, so that every few turns an append has to roll, in a lane, while
    // the ones behind it could be done at once.
    let rig = Rig::new(&[("topic.durability", "os"), ("topic.segment.bytes", "8192"), ("loop.threads", "3")]);
    rig.peer().create("t", 1, &[]);
    const PRODUCERS: u32 = 4;
    const EACH: u32 = 3000;
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let mut peer = rig.peer();
            scope.spawn(move || {
                let (mut sent, mut last) = (Vec::new(), -1);
                for number in 0..EACH {
                    let value = [producer.to_be_bytes(), number.to_be_bytes()].concat();
                    sent.push(peer.submit_produce("t", 0, Acks::One, &batch(&value)));
                    if sent.len() == 50 || number + 1 == EACH {
                        for sent in sent.drain(..) {
                            let produced = peer.produced(sent);
                            assert_eq!(produced.error, ErrorCode::NONE, "{:?}", produced.message);
                            assert!(produced.base_offset > last, "acknowledged out of order");
                            last = produced.base_offset;
                        }
                    }
                }
            });
        }
    });
    assert!(rig.peer().describe("t").segments > 20, "appends had to roll");
    let mut next = BTreeMap::new();
    for value in values(&mut rig.peer(), "t") {
        let field = |at: usize| u32::from_be_bytes(value[at..at + 4].try_into().unwrap());
        let due = next.entry(field(0)).or_insert(0);
        assert_eq!(field(4), *due, "of producer {}", field(0));
        *due += 1;
    }
    assert_eq!(next, (0..PRODUCERS).map(|producer| (producer, EACH)).collect());
}

#[test]
fn an_fsync_topic_acknowledges_all_and_shows_consumers_only_what_the_disk_has() {
    let rig = Rig::new(&[FLUSH_LATE]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[("durability", "fsync")]);
    let all = peer.submit_produce("t", 0, Acks::All, &batch(b"a"));
    assert_eq!(peer.produce("t", 0, Acks::One, &batch(b"b")).base_offset, 1, "the leader has it");
    let described = peer.describe("t");
    assert_eq!((described.log_end, described.durable, described.high_watermark), (2, 0, 0));
    let (nothing, records) = peer.fetch_now("t", 0);
    assert_eq!((nothing.error, nothing.high_watermark, records.len()), (ErrorCode::NONE, 0, 0));
    assert!(!peer.has_answer_to(all), "nobody has flushed it yet");

    assert_eq!(peer.produced(all).base_offset, 0);
    assert!(peer.describe("t").durable >= 1);
    until("the other one is flushed too", || peer.describe("t").durable == 2);
    assert_eq!(values(&mut peer, "t"), [b"a", b"b"]);
}

#[test]
fn topics_that_trust_the_page_cache_acknowledge_and_show_what_it_has() {
    let rig = Rig::new(&[FLUSH_NEVER, ("shutdown.timeout.ms", "1")]);
    for (durability, acks) in [("os", Acks::All), ("interval", Acks::All), ("os", Acks::One)] {
        let name = format!("{durability}-{acks:?}");
        let mut peer = rig.peer();
        peer.create(&name, 1, &[("durability", durability)]);
        assert_eq!(peer.produce(&name, 0, acks, &batch(b"x")).base_offset, 0);
        let described = peer.describe(&name);
        assert_eq!((described.high_watermark, described.durable), (1, 0), "{name}");
        assert_eq!(values(&mut peer, &name), [b"x"], "{name}");
    }
}

#[test]
fn who_wants_no_answer_gets_none_and_the_records_are_stored() {
    let rig = Rig::new(&[]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[("durability", "os")]);
    let batch = batch(b"x");
    let record_bytes = u32::try_from(batch.len()).unwrap();
    let entries = vec![ProduceEntryV1 { topic: "t", partition: 0, record_bytes }];
    let produce = |acks| ProduceRequestV1 { acks, timeout_ms: 1000, entries: entries.clone() };
    let silent = [
        peer.submit_without_answer(&produce(Acks::None), &batch),
        // The flag holds for every request, whatever it asks.
        peer.submit_without_answer(&produce(Acks::One), &batch),
        peer.submit_without_answer(&StatusRequestV1 { counters: false }, &[]),
    ];
    // An answer would have come before this one.
    assert_eq!(peer.produce("t", 0, Acks::One, &batch).base_offset, 2);
    peer.counter("appends");
    assert!(silent.iter().all(|&sent| !peer.has_answer_to(sent)));
    assert_eq!(peer.describe("t").log_end, 3);
}

#[test]
fn what_is_not_acknowledged_in_time_is_said_to_be_late_and_may_be_stored_all_the_same() {
    let rig = Rig::new(&[FLUSH_LATE]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[("durability", "fsync")]);
    let batch = batch(b"x");
    let record_bytes = u32::try_from(batch.len()).unwrap();
    let entries = vec![ProduceEntryV1 { topic: "t", partition: 0, record_bytes }];
    let sent = peer.submit(&ProduceRequestV1 { acks: Acks::All, timeout_ms: 20, entries }, &batch);
    let late = peer.produced(sent);
    assert_eq!((late.error, late.base_offset), (ErrorCode::TIMED_OUT, -1));
    assert!(late.message.unwrap().contains("may still be stored"));
    until("it is stored", || peer.describe("t").high_watermark == 1);
}

#[test]
fn each_entry_of_a_produce_has_an_outcome_of_its_own() {
    let rig = Rig::new(&[]);
    let mut peer = rig.peer();
    peer.create("t", 2, &[("durability", "os")]);
    let good = batch(b"x");
    let mut corrupt = good.clone();
    *corrupt.last_mut().unwrap() ^= 1;
    let double = [&good[..], &good].concat();
    let entries: [(&str, u32, &[u8], ErrorCode, i64); 6] = [
        ("t", 0, &good, ErrorCode::NONE, 0),
        ("gone", 0, &good, ErrorCode::UNKNOWN_TOPIC, -1),
        ("t", 1, &double, ErrorCode::NONE, 0),
        ("t", 2, &good, ErrorCode::UNKNOWN_PARTITION, -1),
        ("t", 0, &corrupt, ErrorCode::CORRUPT_BATCH, -1),
        ("t", 0, &good, ErrorCode::NONE, 1),
    ];
    let records: Vec<u8> = entries.iter().flat_map(|(_, _, bytes, ..)| bytes.to_vec()).collect();
    let mut request = ProduceRequestV1 {
        acks: Acks::All,
        timeout_ms: 30_000,
        entries: entries
            .iter()
            .map(|&(topic, partition, bytes, ..)| ProduceEntryV1 {
                topic,
                partition,
                record_bytes: u32::try_from(bytes.len()).unwrap(),
            })
            .collect(),
    };
    let (answer, _) = peer.call(&request, &records);
    let outcomes: Vec<_> = answer.entries.iter().map(|entry| (entry.error, entry.base_offset)).collect();
    assert_eq!(outcomes, entries.map(|(.., error, offset)| (error, offset)));

    // Entries that claim another number of bytes than there are cannot be told apart: none is stored.
    request.entries[0].record_bytes += 1;
    let (answer, _) = peer.call(&request, &records);
    assert!(answer.entries.iter().all(|entry| entry.error == ErrorCode::INVALID_REQUEST), "{answer:?}");
    assert_eq!(peer.describe("t").log_end, 2);
}

#[test]
fn stored_bytes_are_those_that_were_sent_but_for_their_place() {
    let rig = Rig::new(&[]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[("durability", "os")]);
    let mut sent = Vec::new();
    for compression in Compression::ALL {
        let mut builder = BatchBuilder::new(compression, 1 << 20);
        for number in 0..3 {
            // Out of order, with one that has no time at all: a producer may.
            let timestamp = Timestamp::new([1_700_000_000_007, -1, 1_600_000_000_000][number]);
            let record = NewRecord { timestamp, key: Some(b"k"), value: Some(&[b'v'; 400]), headers: &[] };
            builder.append(&record).unwrap();
        }
        let batch = builder.build().unwrap();
        let (stored, _) = UnverifiedBatch::split_first(&batch).unwrap();
        assert_eq!(stored.verify().unwrap().header().attributes.compression(), compression);
        sent.extend(batch);
    }
    assert_eq!(peer.produce("t", 0, Acks::One, &sent).base_offset, 0);
    // The same again, so that offsets are not what they were sent as.
    assert_eq!(peer.produce("t", 0, Acks::One, &sent).base_offset, 15);
    let (fetched, stored) = peer.fetch_now("t", 0);
    assert_eq!(fetched.error, ErrorCode::NONE);
    let (mut stored, mut base) = (&stored[..], 0_i64);
    for sent in [&sent, &sent] {
        let mut sent = &sent[..];
        while !sent.is_empty() {
            let (ours, behind) = UnverifiedBatch::split_first(sent).unwrap();
            let (theirs, stored_behind) = UnverifiedBatch::split_first(stored).unwrap();
            (sent, stored) = (behind, stored_behind);
            let (ours, theirs) = (ours.bytes(), theirs.bytes());
            assert_eq!(theirs[..8], base.to_be_bytes());
            assert_eq!(theirs[12..16], fetched.leader_epoch.to_be_bytes());
            assert_eq!((&theirs[8..12], &theirs[16..]), (&ours[8..12], &ours[16..]));
            base += 3;
        }
    }
    assert!(stored.is_empty());
}

#[test]
fn what_is_inside_of_a_compressed_batch_is_checked_in_every_codec() {
    let rig = Rig::new(&[("decompress.max.bytes", "100000")]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[("durability", "os")]);
    let batch_of = |compression, value: &[u8]| {
        let mut builder = BatchBuilder::new(compression, 1 << 20);
        for _ in 0..3 {
            let timestamp = Timestamp::new(1_700_000_000_000);
            builder.append(&NewRecord { value: Some(value), ..NewRecord::at(timestamp) }).unwrap();
        }
        builder.build().unwrap()
    };
    let mut good = 0;
    for codec in Compression::ALL.into_iter().filter(|codec| *codec != Compression::None) {
        let whole = batch_of(codec, &[b'v'; 400]);
        let mut cut = whole.clone();
        cut.pop();
        let length = i32::try_from(cut.len() - 12).unwrap();
        cut[8..12].copy_from_slice(&length.to_be_bytes());
        let mut one_too_many = whole.clone();
        one_too_many[26] += 1;
        one_too_many[60] += 1;
        let mut other_codec = whole.clone();
        other_codec[22] = codec.id() % 4 + 1;
        for (what, mut batch) in [("cut", cut), ("of four", one_too_many), ("another", other_codec)] {
            seal(&mut batch);
            let produced = peer.produce("t", 0, Acks::One, &batch);
            assert_eq!(produced.error, ErrorCode::INVALID_RECORD, "{codec}, {what}");
        }
        let bomb = batch_of(codec, &[0; 100_000]);
        assert!(bomb.len() < 20_000, "{codec}");
        let produced = peer.produce("t", 0, Acks::One, &bomb);
        assert_eq!(produced.error, ErrorCode::INVALID_RECORD, "{codec}");
        assert!(produced.message.unwrap().contains("100000 bytes"), "{codec}");
        assert_eq!(peer.produce("t", 0, Acks::One, &whole).base_offset, good);
        good += 3;
    }
}

#[test]
fn a_wrong_latest_time_is_put_right_and_a_topic_with_its_own_time_tells_it() {
    let rig = Rig::new(&[]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[("durability", "os")]);
    peer.create("own", 1, &[("durability", "os"), ("message.timestamp.type", "LogAppendTime")]);
    let right = batch(b"x");
    let mut wrong = right.clone();
    wrong[35..43].copy_from_slice(&7_i64.to_be_bytes());
    seal(&mut wrong);
    let produced = peer.produce("t", 0, Acks::One, &wrong);
    assert_eq!((produced.error, produced.log_append_time), (ErrorCode::NONE, -1));
    let (_, stored) = peer.fetch_now("t", 0);
    assert_eq!(stored[16..], right[16..]);

    let produced = peer.produce("own", 0, Acks::One, &wrong);
    let (_, stored) = peer.fetch_now("own", 0);
    let stored = UnverifiedBatch::split_first(&stored).unwrap().0.verify().unwrap();
    assert_eq!(stored.header().max_timestamp.get(), produced.log_append_time);
    let told = stored.records(DecompressLimit::new(0)).unwrap().iter().next().unwrap().unwrap().timestamp;
    assert_eq!(told.get(), produced.log_append_time);
}

#[test]
fn a_record_without_a_time_is_never_too_old_and_hides_none_that_is() {
    let rig = Rig::new(&[("topic.message.timestamp.before.max.ms", "60000")]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[("durability", "os")]);
    for (times, code) in
        [(&[-1, -1][..], ErrorCode::NONE), (&[-1, 1_600_000_000_000], ErrorCode::INVALID_TIMESTAMP)]
    {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
        for &time in times {
            builder.append(&NewRecord::at(Timestamp::new(time))).unwrap();
        }
        assert_eq!(peer.produce("t", 0, Acks::One, &builder.build().unwrap()).error, code, "{times:?}");
    }
}

#[test]
fn records_of_many_producers_share_a_flush_and_status_says_how_many() {
    let rig = Rig::new(&[("flush.linger.us", "20000")]);
    rig.peer().create("t", 4, &[("durability", "fsync")]);
    const PRODUCERS: u32 = 16;
    const EACH: u64 = 20;
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let mut peer = rig.peer();
            scope.spawn(move || {
                for _ in 0..EACH {
                    let produced = peer.produce("t", producer % 4, Acks::All, &batch(b"x"));
                    assert_eq!(produced.error, ErrorCode::NONE);
                }
            });
        }
    });
    let mut peer = rig.peer();
    let (records, flushes) = (peer.counter("records.flushed"), peer.counter("flushes"));
    assert_eq!(records, u64::from(PRODUCERS) * EACH);
    assert!(flushes >= EACH && flushes < records / 4, "{records} records in {flushes} flushes");
}

#[test]
fn producers_wait_while_too_much_is_unflushed_and_consumers_do_not() {
    // The flush comes long after the look at what was held back, on a busy machine too.
    let rig = Rig::new(&[("flush.linger.us", "8000000"), ("writeback.max.bytes", "1000000")]);
    let mut consumer = rig.peer();
    consumer.create("full", 1, &[("durability", "os")]);
    let mut producer = rig.peer();
    // Of the many that come in one turn of a loop, none is taken in once it is too much.
    let frame = producer.produce_frame("full", 4000);
    let all = 10_000 * frame.len();
    let taken = producer.push(&frame, all, Duration::from_millis(1000));
    assert!(taken < all, "nothing held the producer back");
    let (fetched, records) = consumer.fetch_now("full", 0);
    assert_eq!(fetched.error, ErrorCode::NONE);
    assert!(!records.is_empty(), "consumers read on");
    let end = consumer.describe("full").log_end;
    let within = 2_000_000 / i64::try_from(batch(&[7; 4000]).len()).unwrap();
    assert_eq!(end, within + 1, "batches are taken until twice the bound is exceeded");
    until("the flush lets on what waits", || consumer.describe("full").log_end > end);
}

#[test]
fn a_produce_that_waits_on_a_deleted_topic_is_told_so() {
    let rig = Rig::new(&[FLUSH_LATE]);
    let mut peer = rig.peer();
    peer.create("t", 1, &[("durability", "fsync")]);
    let sent = peer.submit_produce("t", 0, Acks::All, &batch(b"x"));
    until("it is appended", || peer.describe("t").log_end == 1);
    let (deleted, _) = peer.call(&TopicDeleteRequestV1 { name: "t" }, &[]);
    assert_eq!(deleted.error, ErrorCode::NONE);
    assert_eq!(peer.produced(sent).error, ErrorCode::UNKNOWN_TOPIC);
}

/// The value of every record of partition 0 that a consumer may see, in the order of their offsets.
fn values(peer: &mut Peer, topic: &str) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    loop {
        let next = i64::try_from(values.len()).unwrap();
        let (fetched, bytes) = peer.fetch_now(topic, next);
        assert_eq!(fetched.error, ErrorCode::NONE, "{:?}", fetched.message);
        if bytes.is_empty() {
            assert_eq!(fetched.high_watermark, next);
            return values;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            assert!(rest.len() > HEADER_SIZE);
            let (batch, behind) = UnverifiedBatch::split_first(rest).unwrap();
            rest = behind;
            let batch = batch.verify().unwrap();
            let records = batch.records(DecompressLimit::new(1 << 20)).unwrap();
            for record in &records {
                let record = record.unwrap();
                assert_eq!(record.offset.get(), i64::try_from(values.len()).unwrap());
                values.push(record.value.unwrap().to_vec());
            }
        }
    }
}
