//! The keys of compaction.

use std::time::Duration;

use folio_client::{ConsumerConfig, ErrorCode, Position, ProducerConfig, ProducerRecord, TopicPartition};
use folio_tests::rig::until;

use super::{LIMIT, Served, WHILE, code};

effects! {
    "cleaner.dedupe.buffer.bytes" so_many_keys_are_compacted_in_one_pass
    "cleaner.io.max.bytes.per.second" compaction_takes_its_time
    "topic.cleanup.policy" a_compacted_topic_keeps_old_records_and_takes_none_without_a_key
    "topic.min.cleanable.dirty.ratio" a_log_is_compacted_when_enough_of_it_is_dirty
    "topic.min.compaction.lag.ms" young_records_are_not_compacted
    "topic.max.compaction.lag.ms" old_records_are_compacted_however_few
    "topic.delete.retention.ms" the_mark_of_a_deleted_key_goes
}

fn a_compacted_topic_keeps_old_records_and_takes_none_without_a_key() {
    let settings = |policy| {
        [("maintenance.interval.ms", "20"), ("topic.retention.ms", "50"), ("topic.cleanup.policy", policy)]
    };
    let keyed = |rig: &Served| {
        rig.send_with(ProducerConfig::new(), ProducerRecord::to("t").partition(0).key(b"k").value(b"x"))
    };
    let rig = Served::with_topic(&settings("compact"));
    keyed(&rig).unwrap();
    assert_eq!(code(rig.send(b"x")), ErrorCode::INVALID_RECORD);
    std::thread::sleep(WHILE);
    assert_eq!((rig.partition().log_start.get(), rig.partition().log_end.get()), (0, 1));
    let rig = Served::with_topic(&settings("compact,delete"));
    keyed(&rig).unwrap();
    assert_eq!(code(rig.send(b"x")), ErrorCode::INVALID_RECORD);
    until("the record goes", || rig.partition().log_start.get() == 1);
    let rig = Served::with_topic(&settings("delete"));
    rig.send(b"x").unwrap();
    until("the record goes", || rig.partition().log_start.get() == 1);
}

/// A broker whose topic is compacted as soon as `more` allows.
fn compacting(more: &[(&str, &str)]) -> Served {
    let mut settings = vec![
        ("maintenance.interval.ms", "20"),
        ("topic.cleanup.policy", "compact"),
        ("topic.segment.ms", "30"),
        ("topic.min.cleanable.dirty.ratio", "0"),
    ];
    settings.retain(|(key, _)| !more.iter().any(|(other, _)| other == key));
    settings.extend(more);
    Served::with_topic(&settings)
}

/// Sends one record after the other with the same key.
fn send_same_key(rig: &Served, records: usize) {
    for number in 0..records {
        let value = number.to_string();
        let record = ProducerRecord::to("t").partition(0).key(b"k").value(value.as_bytes());
        rig.send_with(ProducerConfig::new(), record).unwrap();
    }
}

fn removed(rig: &Served) -> u64 {
    rig.counter("compaction.records.removed")
}

fn so_many_keys_are_compacted_in_one_pass() {
    let passes = |buffer| {
        let rig = compacting(&[("cleaner.dedupe.buffer.bytes", buffer), ("topic.segment.ms", "300")]);
        // All in one batch: what is closed meanwhile would be compacted by itself.
        let producer = rig.client.producer(ProducerConfig::new().linger(LIMIT)).unwrap();
        let sent: Vec<_> = (0..400_u32)
            .map(|number| {
                let key = (number % 200).to_be_bytes();
                producer.send(ProducerRecord::to("t").partition(0).key(&key).value(b"x")).unwrap()
            })
            .collect();
        producer.flush().wait().unwrap();
        sent.into_iter().for_each(|one| drop(one.wait().unwrap()));
        until("every key is there once", || removed(&rig) == 200);
        rig.counter("compactions")
    };
    let (many, few) = (passes("1024"), passes("134217728"));
    assert!(many >= 6 && few <= 3, "{many}, {few}");
}

fn compaction_takes_its_time() {
    let rig = compacting(&[("cleaner.io.max.bytes.per.second", "1")]);
    send_same_key(&rig, 3);
    until("a first step is made", || rig.counter("compaction.bytes.read") > 0);
    std::thread::sleep(WHILE);
    assert_eq!((removed(&rig), rig.counter("compactions")), (0, 0));
    let rig = compacting(&[("cleaner.io.max.bytes.per.second", "1000000")]);
    send_same_key(&rig, 3);
    until("it is compacted", || removed(&rig) == 2);
}

fn a_log_is_compacted_when_enough_of_it_is_dirty() {
    let rig = compacting(&[("topic.min.cleanable.dirty.ratio", "1")]);
    send_same_key(&rig, 3);
    std::thread::sleep(WHILE);
    assert_eq!(removed(&rig), 0, "more than all of it never is");
    let rig = compacting(&[("topic.min.cleanable.dirty.ratio", "0.9")]);
    // Where what was sent first was looked at alone, more has to be dirty than that.
    until("it is compacted", || {
        send_same_key(&rig, 3);
        removed(&rig) > 0
    });
}

fn young_records_are_not_compacted() {
    let rig = compacting(&[("topic.min.compaction.lag.ms", "3600000")]);
    send_same_key(&rig, 3);
    std::thread::sleep(WHILE);
    assert_eq!(removed(&rig), 0);
    let rig = compacting(&[("topic.min.compaction.lag.ms", "50")]);
    send_same_key(&rig, 3);
    until("they are old enough", || removed(&rig) == 2);
}

fn old_records_are_compacted_however_few() {
    let settings = |most| {
        [
            ("topic.min.cleanable.dirty.ratio", "1"),
            ("topic.segment.ms", "3600000"),
            ("topic.max.compaction.lag.ms", most),
        ]
    };
    let rig = compacting(&settings("100"));
    send_same_key(&rig, 3);
    until("they are too old", || removed(&rig) > 0);
    assert!(rig.partition().segments >= 2, "and were closed for it");
    let rig = compacting(&settings("3600000"));
    send_same_key(&rig, 3);
    std::thread::sleep(WHILE);
    assert_eq!(removed(&rig), 0);
}

fn the_mark_of_a_deleted_key_goes() {
    // The first pass marks it, and a later one takes it; each wants something new.
    let passes = |keep: &str, most: u64| {
        let rig = compacting(&[("topic.delete.retention.ms", keep)]);
        let deletion = ProducerRecord::to("t").partition(0).key(b"gone");
        rig.send_with(ProducerConfig::new(), deletion).unwrap();
        let mut sent = 0;
        until("compactions come and go", || {
            send_same_key(&rig, 1);
            sent += 1;
            std::thread::sleep(Duration::from_millis(20));
            removed(&rig) >= sent || rig.counter("compactions") >= most
        });
        let mut consumer = rig.client.consumer(ConsumerConfig::new()).unwrap();
        consumer.assign([(TopicPartition::new("t", 0), Position::Earliest)]);
        let records = consumer.poll(LIMIT).unwrap().unwrap();
        records.iter().next().unwrap().key.unwrap().to_vec()
    };
    assert_eq!(passes("3600000", 4), b"gone");
    assert_ne!(passes("0", 20), b"gone");
}
