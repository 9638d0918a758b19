//! Claims about consumers.

use std::pin::Pin;
use std::time::{Duration, Instant};

use folio_client::{
    BatchError, Client, Compression, Consumer, ConsumerConfig, ConsumerRecord, ErrorCode, Offset, OutOfRange,
    PollError, Position, Timestamp, TopicPartition,
};
use folio_record::{BatchBuilder, NewRecord};
use folio_wire::native::Kind;

use crate::fake_broker::{Deed, FakeBroker};
use crate::{SOON, block_on, connect, eventually};

/// A batch of these values; the time of each is its number.
pub(crate) fn batch_at(first_time: i64, values: &[String], compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression, 1 << 20);
    for (time, value) in (first_time..).zip(values) {
        let value = Some(value.as_bytes());
        builder.append(&NewRecord { value, ..NewRecord::at(Timestamp::new(time)) }).unwrap();
    }
    builder.build().unwrap()
}

pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{n:05}")).collect()
}

/// A broker with `count` numbered records in one partition, ten in a batch.
pub(crate) fn filled(count: usize) -> FakeBroker {
    let broker = FakeBroker::start().with_topic("t", 1);
    fill(&broker, 0..count);
    broker
}

pub(crate) fn fill(broker: &FakeBroker, range: std::ops::Range<usize>) {
    for first in range.clone().step_by(10) {
        let compression = Compression::ALL[first / 10 % Compression::ALL.len()];
        let values = numbers(first..(first + 10).min(range.end));
        broker.append("t", 0, batch_at(first as i64, &values, compression));
    }
}

pub(crate) fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

pub(crate) fn consumer_at(client: &Client, config: ConsumerConfig, position: Position) -> Consumer {
    let mut consumer = client.consumer(config).unwrap();
    consumer.assign([(partition(), position)]);
    consumer
}

/// As many values as there are to come.
pub(crate) fn read(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    let deadline = Instant::now() + SOON;
    while values.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records came", values.len());
        if let Some(records) = consumer.poll(SOON).unwrap() {
            assert_eq!(records.len(), records.iter().count());
            for record in &records {
                values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
            }
        }
    }
    values
}

/// `count` records of a partition, from its beginning.
pub(crate) fn read_all(client: &Client, topic: &str, partition: u32, count: usize) -> Vec<ConsumerRecord> {
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(TopicPartition::new(topic, partition), Position::Earliest)]);
    consumer.iter().take(count).map(Result::unwrap).collect()
}

#[test]
fn it_begins_where_it_is_told_to() {
    let broker = filled(100);
    let client = connect(&broker);
    for (position, first) in [
        (Position::Earliest, 0),
        (Position::At(Offset::new(37)), 37),
        (Position::Since(Timestamp::new(55)), 55),
        (Position::BeforeEnd(3), 97),
        (Position::BeforeEnd(1_000_000), 0),
    ] {
        let mut consumer = consumer_at(&client, ConsumerConfig::new(), position);
        assert_eq!(read(&mut consumer, 100 - first), numbers(first..100), "{position:?}");
        assert_eq!(consumer.position(&partition()).unwrap().get(), 100);
        assert_eq!(consumer.high_watermark(&partition()).unwrap().get(), 100);
        assert_eq!(consumer.log_start(&partition()).unwrap().get(), 0);
    }
    for position in [Position::Latest, Position::Since(Timestamp::new(1_000_000))] {
        let mut consumer = consumer_at(&client, ConsumerConfig::new(), position);
        eventually("it knows where it is", || consumer.position(&partition()).is_some());
        assert!(consumer.poll(Duration::ZERO).unwrap().is_none());
        let behind = consumer.position(&partition()).unwrap().get() as usize;
        fill(&broker, behind..behind + 10);
        assert_eq!(read(&mut consumer, 10), numbers(behind..behind + 10), "{position:?}");
    }
}

#[test]
fn counting_back_beyond_what_retention_has_left_begins_at_the_oldest_record() {
    let broker = filled(100);
    broker.raise_log_start("t", 0, 60);
    let client = connect(&broker);
    let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::BeforeEnd(70));
    assert_eq!(read(&mut consumer, 40), numbers(60..100));
}

#[test]
fn a_seek_goes_on_elsewhere_though_more_was_fetched_ahead() {
    let broker = filled(300);
    let client = connect(&broker);
    let settings = ConsumerConfig::new().partition_bytes_max(500);
    let mut consumer = consumer_at(&client, settings, Position::Earliest);
    assert_eq!(read(&mut consumer, 10)[..10], numbers(0..10));
    for first in [250, 3, 199, 250] {
        assert!(consumer.seek(&partition(), Position::At(Offset::new(first))));
        let first = first as usize;
        assert_eq!(read(&mut consumer, 20)[..20], numbers(first..first + 20));
    }
    assert!(!consumer.seek(&TopicPartition::new("t", 5), Position::Earliest), "that is not assigned");
}

#[test]
fn a_pause_holds_a_partition_back_and_not_the_others() {
    let broker = FakeBroker::start().with_topic("t", 2);
    for partition in 0..2 {
        broker.append("t", partition, batch_at(0, &numbers(0..10), Compression::None));
    }
    let client = connect(&broker);
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    let [first, second] = [0, 1].map(|partition| TopicPartition::new("t", partition));
    consumer.assign([first.clone(), second.clone()].map(|partition| (partition, Position::Earliest)));
    assert!(consumer.pause(&first));
    let records = consumer.poll(SOON).unwrap().unwrap();
    assert_eq!(records.topic_partition(), &second);
    assert!(consumer.poll(Duration::from_millis(30)).unwrap().is_none());
    assert!(consumer.resume(&first));
    assert_eq!(consumer.poll(SOON).unwrap().unwrap().topic_partition(), &first);
}

#[test]
fn records_come_one_by_one_to_threads_and_to_tasks_and_the_rest_is_not_lost() {
    let broker = filled(100);
    let client = connect(&broker);
    let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::Earliest);
    let value = |record: ConsumerRecord| String::from_utf8(record.value().unwrap().to_vec()).unwrap();
    let first: Vec<_> = consumer.iter().take(15).map(|record| value(record.unwrap())).collect();
    assert_eq!(first, numbers(0..15));
    let mut second = Vec::new();
    block_on(async {
        let mut stream = consumer.stream();
        while second.len() < 30 {
            let next = std::future::poll_fn(|cx| futures_core::Stream::poll_next(Pin::new(&mut stream), cx));
            second.push(value(next.await.unwrap().unwrap()));
        }
    });
    assert_eq!(second, numbers(15..45));
    assert_eq!(consumer.position(&partition()).unwrap().get(), 45);
    assert_eq!(block_on(consumer.next_records()).unwrap().iter().next().unwrap().offset.get(), 45);
}

#[test]
fn a_task_that_waits_is_woken_by_new_records() {
    let broker = filled(0);
    let client = connect(&broker);
    let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::Earliest);
    let waiting = std::thread::spawn(move || block_on(consumer.next_records()).unwrap().len());
    eventually("it waits at the broker", || broker.asked(Kind::Fetch) > 0);
    fill(&broker, 0..10);
    assert_eq!(waiting.join().unwrap(), 10);
}

#[test]
fn what_is_kept_outlives_consumer_and_client() {
    let kept = {
        let broker = filled(30);
        read_all(&connect(&broker), "t", 0, 30)
    };
    for (n, record) in kept.iter().enumerate() {
        assert_eq!(record.value().unwrap(), format!("{n:05}").as_bytes());
        assert_eq!((record.offset().get(), record.timestamp().get()), (n as i64, n as i64));
    }
}

#[test]
fn no_more_is_fetched_ahead_than_may_be() {
    let broker = filled(2000);
    let client = connect(&broker);
    let settings = ConsumerConfig::new().prefetch_bytes(3000).partition_bytes_max(1000);
    let mut consumer = consumer_at(&client, settings, Position::Earliest);
    eventually("it fetches", || broker.asked(Kind::Fetch) >= 2);
    std::thread::sleep(Duration::from_millis(50)); // it must *not* happen, so there is nothing to wait for
    assert_eq!(broker.asked(Kind::Fetch), 2, "two answers wait, and nobody polls");
    assert_eq!(read(&mut consumer, 2000), numbers(0..2000));
}

#[test]
fn a_batch_larger_than_everything_still_comes() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let value = "x".repeat(100_000);
    broker.append("t", 0, batch_at(0, &[value], Compression::None));
    let client = connect(&broker);
    let settings = ConsumerConfig::new().prefetch_bytes(100).partition_bytes_max(100).fetch_bytes_max(100);
    let mut consumer = consumer_at(&client, settings, Position::Earliest);
    assert_eq!(read(&mut consumer, 1)[0].len(), 100_000);
}

#[test]
fn out_of_range_is_met_as_it_was_chosen() {
    let broker = filled(100);
    broker.raise_log_start("t", 0, 50);
    let client = connect(&broker);
    let begin = Position::At(Offset::new(7));

    let config = ConsumerConfig::new().out_of_range(OutOfRange::Earliest);
    assert_eq!(read(&mut consumer_at(&client, config, begin), 50), numbers(50..100));

    let config = ConsumerConfig::new().out_of_range(OutOfRange::Latest);
    let mut latest = consumer_at(&client, config, begin);
    eventually("it stands at the end", || {
        assert!(latest.poll(Duration::ZERO).unwrap().is_none());
        latest.position(&partition()).is_some_and(|position| position.get() == 100)
    });

    let mut fails = consumer_at(&client, ConsumerConfig::new(), begin);
    let error = fails.poll(SOON).unwrap_err();
    let PollError::OutOfRange { offset, log_start, high_watermark, .. } = error else { panic!("{error}") };
    assert_eq!((offset.get(), log_start.get(), high_watermark.get()), (7, 50, 100));
    assert!(fails.poll(Duration::from_millis(20)).unwrap().is_none(), "it was said once");
    assert!(fails.seek(&partition(), Position::Earliest));
    assert_eq!(read(&mut fails, 50), numbers(50..100));
}

#[test]
fn a_partition_that_is_not_there_does_not_stop_the_others() {
    let broker = filled(10);
    let client = connect(&broker);
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    let missing = TopicPartition::new("t", 9);
    consumer.assign([(missing.clone(), Position::Earliest), (partition(), Position::Earliest)]);
    let (mut refused, mut values) = (0, 0);
    while refused == 0 || values < 10 {
        match consumer.poll(SOON) {
            Ok(records) => values += records.unwrap().len(),
            Err(PollError::Refused { topic_partition, refusal }) => {
                assert_eq!((topic_partition, refusal.code), (missing.clone(), ErrorCode::UNKNOWN_PARTITION));
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((refused, values), (1, 10));
}

#[test]
fn refusals_for_the_moment_and_broken_connections_are_not_noticed() {
    let broker = filled(1000);
    broker.plan(|asked| match (asked.kind, asked.before % 5) {
        (Kind::Fetch | Kind::ListOffsets, 1) => Deed::Refuse(ErrorCode::NOT_READY),
        (Kind::Fetch | Kind::ListOffsets, 2) => Deed::Close,
        (Kind::Fetch, 4) => Deed::CutAnswer(200),
        (Kind::ListOffsets, 0) => Deed::Close,
        _ => Deed::Serve,
    });
    let client = connect(&broker);
    let settings = ConsumerConfig::new().partition_bytes_max(1000);
    let mut consumer = consumer_at(&client, settings, Position::Earliest);
    assert_eq!(read(&mut consumer, 1000), numbers(0..1000));
    assert!(broker.connections() > 5);
}

#[test]
fn damage_is_reported_where_it_is_and_what_stands_before_it_is_handed_out() {
    let broker = filled(100);
    broker.flip("t", 0, 4, 70);
    let client = connect(&broker);
    let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::Earliest);
    assert_eq!(read(&mut consumer, 40), numbers(0..40));
    let error = consumer.poll(SOON).unwrap_err();
    let PollError::Damaged { offset, source, .. } = &error else { panic!("{error}") };
    assert_eq!(offset.get(), 40);
    assert!(matches!(source, BatchError::Checksum { .. }), "{source}");
    assert!(consumer.poll(Duration::from_millis(20)).unwrap().is_none(), "it was said once");
    assert!(consumer.seek(&partition(), Position::At(Offset::new(50))));
    assert_eq!(read(&mut consumer, 50), numbers(50..100));
}

#[test]
fn a_base_offset_that_the_checksum_does_not_cover_cannot_move_records() {
    for bit_of in [6, 7] {
        let broker = filled(100);
        broker.flip("t", 0, 4, bit_of);
        let client = connect(&broker);
        let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::Earliest);
        let mut offsets: Vec<i64> = Vec::new();
        let error = loop {
            match consumer.poll(SOON) {
                Ok(Some(records)) => offsets.extend(records.iter().map(|record| record.offset.get())),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
        assert!(matches!(error, Some(PollError::Damaged { .. })), "byte {bit_of}: {error:?}");
    }
}

#[test]
fn with_nothing_assigned_it_says_so_and_ends() {
    let broker = filled(0);
    let mut consumer = connect(&broker).consumer(ConsumerConfig::new()).unwrap();
    assert!(matches!(consumer.poll(SOON), Err(PollError::NothingAssigned)));
    assert_eq!(consumer.iter().count(), 1);
}

#[test]
fn a_broker_that_stays_away_is_reported_and_the_consumer_goes_on_when_it_is_back() {
    let broker = filled(10);
    let address = broker.address();
    let client = Client::connect(crate::config(&broker).request_timeout(Duration::from_secs(2))).unwrap();
    let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::Earliest);
    assert_eq!(read(&mut consumer, 10), numbers(0..10));
    drop(broker);
    let error = consumer.poll(SOON).unwrap_err();
    assert!(matches!(error, PollError::Away(_)), "{error}");

    let broker = FakeBroker::start_at(address, 16 << 20, |_| Deed::Serve).with_topic("t", 1);
    fill(&broker, 0..20);
    let deadline = Instant::now() + SOON;
    loop {
        assert!(Instant::now() < deadline);
        match consumer.poll(SOON) {
            Ok(Some(records)) => {
                assert_eq!(records.iter().next().unwrap().offset.get(), 10, "nothing is repeated or skipped");
                return;
            }
            Ok(None) | Err(PollError::Away(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn many_partitions_are_fetched_together() {
    let broker = FakeBroker::start().with_topic("t", 200);
    for partition in 0..200 {
        broker.append("t", partition, batch_at(0, &numbers(0..10), Compression::None));
    }
    let client = connect(&broker);
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign((0..200).map(|partition| (TopicPartition::new("t", partition), Position::Earliest)));
    assert_eq!(read(&mut consumer, 2000).len(), 2000);
    assert!(broker.asked(Kind::Fetch) <= 10, "{} fetches", broker.asked(Kind::Fetch));
    assert_eq!(broker.asked(Kind::ListOffsets), 1);
}
