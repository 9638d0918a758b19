//! Claims about producers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use folio_client::{
    Acks, BuildError, CallError, Compression, DeliveryError, ErrorCode, Header, Producer, ProducerConfig,
    ProducerRecord, SendError, Timestamp, partition_for_key,
};
use folio_wire::native::Kind;

use crate::fake_broker::{Deed, FakeBroker};
use crate::{SOON, block_on, connect, eventually};

pub(crate) fn producer(broker: &FakeBroker, config: ProducerConfig) -> Producer {
    connect(broker).producer(config).unwrap()
}

pub(crate) fn send(producer: &Producer, value: &str) -> folio_client::Delivery {
    producer.send(ProducerRecord::to("t").partition(0).value(value)).unwrap()
}

pub(crate) fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:05}")).collect()
}

#[test]
fn a_delivery_tells_partition_and_offset_to_threads_and_to_tasks() {
    let broker = FakeBroker::start().with_topic("t", 3);
    let producer = producer(&broker, ProducerConfig::new());
    for (n, expected) in [(0, 0), (1, 1)] {
        let record = ProducerRecord::to("t").partition(2).value("x");
        let delivered = if n == 0 {
            producer.send(record).unwrap().wait().unwrap()
        } else {
            block_on(async { producer.send_async(record).await.unwrap().await.unwrap() })
        };
        assert_eq!(delivered.offset.unwrap().get(), expected);
        assert_eq!(delivered.topic_partition.to_string(), "t-2");
    }
}

#[test]
fn records_arrive_as_they_were_given() {
    for compression in Compression::ALL {
        let broker = FakeBroker::start().with_topic("t", 1);
        let client = connect(&broker);
        let producer = client.producer(ProducerConfig::new().compression(compression)).unwrap();
        let headers = [Header { key: b"h", value: Some(b"1") }, Header { key: b"h", value: None }];
        let record = ProducerRecord::to("t").key("").headers(&headers).timestamp(Timestamp::new(77));
        producer.send(record).unwrap().wait().unwrap();
        let value = "long and repetitive ".repeat(1000);
        producer.send(ProducerRecord::to("t").value(&value)).unwrap().wait().unwrap();

        let records = crate::consuming::read_all(&client, "t", 0, 2);
        assert_eq!((records[0].key(), records[0].value()), (Some(&b""[..]), None));
        assert_eq!(records[0].timestamp().get(), 77);
        assert_eq!(records[0].headers().collect::<Vec<_>>(), headers);
        assert_eq!((records[1].key(), records[1].value()), (None, Some(value.as_bytes())));
        assert!(records[1].timestamp().get() > 1_600_000_000_000, "now, in milliseconds");
    }
}

#[test]
fn a_key_goes_where_kafkas_clients_send_it() {
    let broker = FakeBroker::start().with_topic("t", 7);
    let producer = producer(&broker, ProducerConfig::new());
    for n in 0..50 {
        let key = format!("key-{n}");
        let record = ProducerRecord::to("t").key(&key).value("x");
        let delivered = producer.send(record).unwrap().wait().unwrap();
        assert_eq!(delivered.topic_partition.partition, partition_for_key(key.as_bytes(), 7));
    }
}

#[test]
fn many_records_travel_in_few_requests_and_in_their_order() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let producer = producer(&broker, ProducerConfig::new());
    let sent = numbers(20_000);
    for value in &sent {
        drop(send(&producer, value));
    }
    producer.flush().wait().unwrap();
    assert_eq!(broker.values("t", 0), sent);
    assert!(broker.asked(Kind::Produce) < 2_000, "{} requests", broker.asked(Kind::Produce));
}

#[test]
fn what_lingers_is_sent_when_its_time_is_over_or_at_a_flush() {
    let broker = FakeBroker::start().with_topic("t", 1);
    // Nobody takes so long to send ten.
    let linger = Duration::from_secs(2);
    let lingering = producer(&broker, ProducerConfig::new().linger(linger));
    let begin = Instant::now();
    let deliveries: Vec<_> = numbers(10).iter().map(|value| send(&lingering, value)).collect();
    for delivery in deliveries {
        delivery.wait().unwrap();
    }
    assert!(begin.elapsed() >= linger);
    assert_eq!(broker.batch_count("t", 0), 1);

    let patient = producer(&broker, ProducerConfig::new().linger(Duration::from_secs(60)));
    let delivery = send(&patient, "flushed");
    patient.flush().wait().unwrap();
    assert!(delivery.get().unwrap().is_ok());
}

#[test]
fn the_batches_of_a_partition_travel_together() {
    let broker = FakeBroker::start_with_plan(|asked| match (asked.kind, asked.before) {
        (Kind::Produce, 1) => Deed::Hold,
        _ => Deed::Serve,
    })
    .with_topic("t", 1);
    let settings = ProducerConfig::new().batch_bytes(400).request_bytes(10_000);
    let producer = producer(&broker, settings);
    send(&producer, "first").wait().unwrap();
    let sent = numbers(200);
    let deliveries: Vec<_> = sent.iter().map(|value| send(&producer, value)).collect();
    eventually("one is held", || broker.asked(Kind::Produce) == 2);
    broker.release();
    for delivery in deliveries {
        delivery.wait().unwrap();
    }
    assert_eq!(broker.values("t", 0)[1..], sent);
    assert!(broker.batch_count("t", 0) >= 4 && broker.asked(Kind::Produce) <= 4);
}

#[test]
fn a_refusal_for_good_is_reported_and_not_repeated() {
    let broker = FakeBroker::start_with_plan(|asked| match asked.kind {
        Kind::Produce => Deed::Refuse(ErrorCode::INVALID_TIMESTAMP),
        _ => Deed::Serve,
    })
    .with_topic("t", 1);
    let producer = producer(&broker, ProducerConfig::new());
    let error = send(&producer, "x").wait().unwrap_err();
    let DeliveryError::Refused { refusal, topic_partition } = error else { panic!("{error}") };
    assert_eq!((refusal.code, topic_partition.to_string()), (ErrorCode::INVALID_TIMESTAMP, "t-0".to_owned()));
    assert_eq!(broker.asked(Kind::Produce), 1);
    assert!(matches!(producer.close(), Ok(())), "it was reported before");
}

#[test]
fn one_record_that_is_too_large_for_the_topic_leaves_those_around_it_alone() {
    let broker = FakeBroker::start().with_topic("t", 1);
    broker.set_message_bytes_max("t", 500);
    let producer = producer(&broker, ProducerConfig::new().linger(Duration::from_secs(60)));
    let mut deliveries = Vec::new();
    let mut expected = Vec::new();
    for n in 0..40 {
        let value = if n == 23 { "x".repeat(1000) } else { format!("{n:030}") };
        deliveries.push(send(&producer, &value));
        if n != 23 {
            expected.push(value);
        }
    }
    assert!(producer.flush().wait().is_err(), "one of them is not in the log");
    for (n, delivery) in deliveries.into_iter().enumerate() {
        match delivery.wait() {
            Ok(delivered) => {
                let offset = delivered.offset.unwrap().get() as usize;
                assert_eq!(expected[offset], format!("{n:030}"));
            }
            Err(DeliveryError::Refused { refusal, .. }) => {
                assert_eq!((n, refusal.code), (23, ErrorCode::MESSAGE_TOO_LARGE));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(broker.values("t", 0), expected);
}

#[test]
fn a_batch_larger_than_any_frame_of_the_brokers_is_cut_too() {
    let broker = FakeBroker::start_at("127.0.0.1:0".parse().unwrap(), 80 << 10, |_| Deed::Serve);
    let broker = broker.with_topic("t", 1);
    let producer = producer(&broker, ProducerConfig::new().linger(Duration::from_secs(60)));
    let sent: Vec<_> = (0..100).map(|n| format!("{n:0600}")).collect();
    for value in &sent {
        drop(send(&producer, value));
    }
    producer.flush().wait().unwrap();
    assert_eq!(broker.values("t", 0), sent);
}

#[test]
fn a_full_buffer_blocks_or_refuses_and_goes_on_when_there_is_room() {
    let broker = FakeBroker::start_with_plan(|asked| match asked.kind {
        Kind::Produce => Deed::Hold,
        _ => Deed::Serve,
    })
    .with_topic("t", 1);
    let settings = ProducerConfig::new()
        .batch_bytes(1000)
        .batch_bytes_max(2000)
        .buffer_bytes(5000)
        .block_max(Duration::from_millis(50));
    let producer = Arc::new(producer(&broker, settings));
    let value = "v".repeat(400);
    let record = ProducerRecord::to("t").value(&value);
    let mut accepted = 0;
    let refused = loop {
        match producer.send(record) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SendError::BufferFull { buffer_bytes: 5000 }), "{refused}");
    assert!((5..=12).contains(&accepted), "{accepted} records of 400 bytes in 5000");
    assert!(producer.buffered_bytes() <= 5000);
    // Others run beside this: the quickest of some is what it takes.
    let quickest = (0..20).map(|_| {
        let begin = Instant::now();
        assert!(producer.try_send(record).unwrap_err().is_retriable());
        begin.elapsed()
    });
    assert!(quickest.min().unwrap() < Duration::from_millis(50), "it does not block");

    let task = {
        let producer = Arc::clone(&producer);
        std::thread::spawn(move || {
            let value = "a".repeat(400);
            block_on(async {
                producer.send_async(ProducerRecord::to("t").value(&value)).await.unwrap().await
            })
        })
    };
    broker.release();
    task.join().unwrap().unwrap();
    eventually("there is room again", || producer.try_send(record).is_ok());
    producer.flush().wait().unwrap();
    eventually("the buffer is empty", || producer.buffered_bytes() == 0);
}

#[test]
fn closing_delivers_what_was_accepted() {
    let broker = FakeBroker::start().with_topic("t", 2);
    let producer = producer(&broker, ProducerConfig::new().linger(Duration::from_secs(60)));
    for value in numbers(1000) {
        drop(producer.send(ProducerRecord::to("t").value(&value)).unwrap());
    }
    producer.close().unwrap();
    assert_eq!(broker.values("t", 0).len() + broker.values("t", 1).len(), 1000);
}

#[test]
fn dropping_everything_still_sends_what_was_accepted() {
    let broker = FakeBroker::start().with_topic("t", 1);
    {
        let producer = producer(&broker, ProducerConfig::new());
        for value in numbers(1000) {
            drop(send(&producer, &value));
        }
    }
    eventually("all records arrive", || broker.values("t", 0).len() == 1000);
}

#[test]
fn without_acknowledgements_nobody_knows_offsets_and_order_holds() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let producer = producer(&broker, ProducerConfig::new().acks(Acks::None));
    let sent = numbers(5000);
    let deliveries: Vec<_> = sent.iter().map(|value| send(&producer, value)).collect();
    for delivery in deliveries {
        assert_eq!(delivery.wait().unwrap().offset, None);
    }
    eventually("all records arrive", || broker.values("t", 0).len() == sent.len());
    assert_eq!(broker.values("t", 0), sent);
}

#[test]
fn what_cannot_be_delivered_in_time_is_given_up_with_the_reason() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let settings = ProducerConfig::new().delivery_timeout(Duration::from_secs(3));
    let producer = producer(&broker, settings);
    send(&producer, "x").wait().unwrap();
    drop(broker);
    let begin = Instant::now();
    let error = send(&producer, "y").wait().unwrap_err();
    assert!(begin.elapsed() < SOON / 4);
    let DeliveryError::Failed { source, .. } = error else { panic!("{error}") };
    assert!(
        matches!(
            source,
            CallError::Unreachable { .. } | CallError::NotGreeted { .. } | CallError::Disconnected { .. }
        ),
        "{source}"
    );
    eventually("the buffer is empty", || producer.buffered_bytes() == 0);
    // And so is what comes once everything before it has been given up.
    for _ in 0..2 {
        let next = send(&producer, "z");
        eventually("it is given up as well", || next.get().is_some());
        assert!(next.wait().is_err());
    }
}

#[test]
fn a_topic_that_is_not_there_and_a_partition_that_is_not_are_told_apart() {
    let broker = FakeBroker::start().with_topic("t", 2);
    let producer = producer(&broker, ProducerConfig::new());
    let error = producer.send(ProducerRecord::to("nope").value("x")).unwrap_err();
    let SendError::Topic { topic, source } = error else { panic!("{error}") };
    assert_eq!((&*topic, source.code()), ("nope", Some(ErrorCode::UNKNOWN_TOPIC)));
    let error = producer.send(ProducerRecord::to("t").partition(2).value("x")).unwrap_err();
    assert!(matches!(error, SendError::NoSuchPartition { partition: 2, partitions: 2, .. }), "{error}");
    assert_eq!(producer.partition_count("t").unwrap(), 2);
}

#[test]
fn a_record_beyond_the_limit_is_refused_at_once_with_its_size() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let producer = producer(&broker, ProducerConfig::new().batch_bytes(1000).batch_bytes_max(1000));
    let value = "x".repeat(1000);
    let error = producer.send(ProducerRecord::to("t").value(&value)).unwrap_err();
    assert!(matches!(error, SendError::TooLarge { size: 1001.., size_max: 1000 }), "{error}");
    eventually("the buffer is empty", || producer.buffered_bytes() == 0);
}

#[test]
fn trying_to_send_to_an_unknown_topic_asks_for_it_meanwhile() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let producer = producer(&broker, ProducerConfig::new());
    let record = ProducerRecord::to("t").value("x");
    assert!(matches!(producer.try_send(record), Err(SendError::TopicNotKnownYet(_))));
    eventually("the topic is known", || producer.try_send(record).is_ok());
}

#[test]
fn new_partitions_come_into_use_after_a_while() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let settings = ProducerConfig::new().metadata_age_max(Duration::from_millis(20));
    let producer = producer(&broker, settings);
    producer.send(ProducerRecord::to("t").value("x")).unwrap().wait().unwrap();
    let broker = broker.with_topic("t", 3);
    eventually("it has three", || producer.partition_count("t").unwrap() == 3);
    producer.send(ProducerRecord::to("t").partition(2).value("x")).unwrap().wait().unwrap();
    assert_eq!(broker.values("t", 2), ["x"]);
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let broker = FakeBroker::start();
    let client = connect(&broker);
    for (settings, named) in [
        (ProducerConfig::new().batch_bytes(2 << 20), "batch_bytes_max"),
        (ProducerConfig::new().buffer_bytes(1 << 10), "buffer_bytes"),
        (ProducerConfig::new().linger(Duration::from_secs(500)), "linger"),
        (ProducerConfig::new().requests_in_flight_max(0), "requests_in_flight_max"),
    ] {
        let error: BuildError = client.producer(settings).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn threads_that_share_a_producer_each_keep_their_order() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let producer = Arc::new(producer(&broker, ProducerConfig::new().buffer_bytes(2 << 20)));
    let sent = Arc::new(Mutex::new(Vec::new()));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (producer, sent) = (Arc::clone(&producer), Arc::clone(&sent));
            std::thread::spawn(move || {
                for n in 0..3000 {
                    let value = format!("{thread}:{n:05}");
                    drop(send(&producer, &value));
                    sent.lock().unwrap().push(value);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    producer.flush().wait().unwrap();
    let stored = broker.values("t", 0);
    assert_eq!(stored.len(), sent.lock().unwrap().len());
    for thread in 0..4 {
        let prefix = format!("{thread}:");
        let own: Vec<_> = stored.iter().filter(|value| value.starts_with(&prefix)).collect();
        assert!(own.is_sorted(), "thread {thread}");
    }
}
