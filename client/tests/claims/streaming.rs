//! Claims about consumers whose broker pushes.

use std::time::Duration;

use folio_client::{Client, ConsumerConfig, ErrorCode, OutOfRange, PollError, Position, TopicPartition};
use folio_wire::native::Kind;

use crate::consuming::{consumer_at, fill, filled, numbers, partition, read};
use crate::fake_broker::{Asked, Deed, FakeBroker};
use crate::{SOON, config, connect, eventually};

/// What has not come by then does not come.
const WHILE: Duration = Duration::from_millis(100);

/// A broker that pushes `count` records of one partition, or does as the plan says.
fn pushing(count: usize, plan: impl FnMut(&Asked) -> Deed + Send + 'static) -> FakeBroker {
    let broker = FakeBroker::start_with_plan(plan).with_topic("t", 1).streaming();
    fill(&broker, 0..count);
    broker
}

#[test]
fn records_come_as_they_become_visible_and_nothing_is_fetched() {
    let broker = filled(100).streaming();
    let client = connect(&broker);
    let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::Earliest);
    assert_eq!(read(&mut consumer, 100), numbers(0..100));
    fill(&broker, 100..150);
    assert_eq!(read(&mut consumer, 50), numbers(100..150));
    assert_eq!(consumer.high_watermark(&partition()).unwrap().get(), 150);
    assert_eq!((broker.asked(Kind::Subscribe), broker.asked(Kind::Fetch)), (1, 0));
}

#[test]
fn who_wants_to_fetch_or_has_too_many_partitions_fetches() {
    for (config, partitions) in [
        (ConsumerConfig::new().streaming(false), 1),
        (ConsumerConfig::new().bytes_min(2), 1),
        (ConsumerConfig::new(), 257),
    ] {
        let broker = FakeBroker::start().with_topic("t", partitions as usize).streaming();
        fill(&broker, 0..10);
        let client = connect(&broker);
        let mut consumer = client.consumer(config).unwrap();
        consumer.assign((0..partitions).map(|number| (TopicPartition::new("t", number), Position::Earliest)));
        assert_eq!(read(&mut consumer, 10), numbers(0..10));
        assert_eq!(broker.asked(Kind::Subscribe), 0);
    }
}

#[test]
fn a_broker_that_has_no_room_for_subscriptions_is_fetched_from() {
    let broker = FakeBroker::start_with_plan(|asked| match (asked.kind, asked.before) {
        (Kind::Subscribe, 1) => Deed::Refuse(ErrorCode::LIMIT_REACHED),
        _ => Deed::Serve,
    })
    .with_topic("t", 3)
    .streaming();
    fill(&broker, 0..50);
    let client = connect(&broker);
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign((0..3).map(|number| (TopicPartition::new("t", number), Position::Earliest)));
    assert_eq!(read(&mut consumer, 50), numbers(0..50));
    fill(&broker, 50..80);
    assert_eq!(read(&mut consumer, 30), numbers(50..80));
    eventually("the others are given up", || broker.asked(Kind::Unsubscribe) == 2);
    assert!(broker.asked(Kind::Fetch) > 0);
}

#[test]
fn what_waits_to_be_handed_out_is_bounded_and_goes_on_as_it_is() {
    let broker = filled(2000).streaming();
    let client = connect(&broker);
    for window in [1, 1000, 4000] {
        let before = broker.asked(Kind::Batches);
        let config = ConsumerConfig::new().prefetch_bytes(window);
        let mut consumer = consumer_at(&client, config, Position::Earliest);
        eventually("the window is full", || broker.asked(Kind::Batches) > before);
        std::thread::sleep(WHILE);
        // A batch here has 80 bytes at least.
        let pushed = broker.asked(Kind::Batches) - before;
        assert!(pushed <= window / 80 + 1, "{pushed} batches of a window of {window} bytes");
        assert_eq!(read(&mut consumer, 2000), numbers(0..2000));
    }
    assert!(broker.asked(Kind::Credit) > 100);
}

#[test]
fn the_windows_of_all_partitions_share_what_may_be_fetched_ahead() {
    let broker = FakeBroker::start().with_topic("t", 10).streaming();
    for number in 0..10 {
        for first in 0..100 {
            broker.append(
                "t",
                number,
                crate::consuming::batch_at(first, &numbers(0..1), folio_client::Compression::None),
            );
        }
    }
    let size = broker.batch_bytes("t", 0);
    let client = connect(&broker);
    let config = ConsumerConfig::new().prefetch_bytes(40 * size);
    let mut consumer = client.consumer(config).unwrap();
    consumer.assign((0..10).map(|number| (TopicPartition::new("t", number), Position::Earliest)));
    eventually("the windows are full", || broker.asked(Kind::Batches) >= 40);
    std::thread::sleep(WHILE);
    assert_eq!(broker.asked(Kind::Batches), 40);
    assert_eq!(read(&mut consumer, 1000).len(), 1000);
}

#[test]
fn after_a_seek_nothing_comes_of_where_it_was_before() {
    let broker = filled(1000).streaming();
    let client = connect(&broker);
    let config = ConsumerConfig::new().prefetch_bytes(2000);
    let mut consumer = consumer_at(&client, config, Position::Earliest);
    for start in [0, 500, 30, 990, 0, 20, 20] {
        let from = folio_client::Offset::new(start);
        assert!(consumer.seek(&partition(), Position::At(from)));
        assert_eq!(read(&mut consumer, 10), numbers(start as usize..start as usize + 10), "from {start}");
    }
    // Faster than anything can come.
    for start in 0..50 {
        consumer.seek(&partition(), Position::At(folio_client::Offset::new(start * 10)));
    }
    assert_eq!(read(&mut consumer, 10), numbers(490..500));
    eventually("all but one are given up", || {
        broker.asked(Kind::Subscribe) == broker.asked(Kind::Unsubscribe) + 1
    });
}

#[test]
fn a_pause_keeps_what_is_here_and_lets_no_more_than_a_window_come() {
    let broker = filled(1000).streaming();
    let client = connect(&broker);
    let config = ConsumerConfig::new().prefetch_bytes(1000);
    let mut consumer = consumer_at(&client, config, Position::Earliest);
    assert_eq!(read(&mut consumer, 10), numbers(0..10));
    assert!(consumer.pause(&partition()));
    assert!(consumer.poll(WHILE).unwrap().is_none());
    let pushed = broker.asked(Kind::Batches);
    assert!(pushed <= 30, "{pushed}");
    assert!(consumer.poll(WHILE).unwrap().is_none());
    assert_eq!(broker.asked(Kind::Batches), pushed);
    assert!(consumer.resume(&partition()));
    assert_eq!(read(&mut consumer, 990), numbers(10..1000));
}

#[test]
fn a_connection_that_breaks_is_made_again_and_nothing_is_skipped_or_repeated() {
    let broker = pushing(500, |asked| match (asked.kind, asked.before % 7) {
        (Kind::Batches, 3) => Deed::Close,
        (Kind::Batches, 5) => Deed::CutAnswer(50),
        (Kind::Credit, 6) => Deed::Close,
        _ => Deed::Serve,
    });
    let client = connect(&broker);
    let config = ConsumerConfig::new().prefetch_bytes(3000);
    let mut consumer = consumer_at(&client, config, Position::Earliest);
    assert_eq!(read(&mut consumer, 500), numbers(0..500));
    assert!(broker.connections() > 10);
}

#[test]
fn an_end_for_the_moment_is_followed_by_a_new_beginning() {
    let broker = pushing(100, |asked| match (asked.kind, asked.before % 4) {
        (Kind::Batches, 2) => Deed::Refuse(ErrorCode::SHUTTING_DOWN),
        (Kind::Subscribe, 1) => Deed::Refuse(ErrorCode::NOT_READY),
        _ => Deed::Serve,
    });
    let client = connect(&broker);
    let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::Earliest);
    assert_eq!(read(&mut consumer, 100), numbers(0..100));
    assert!(broker.asked(Kind::Subscribe) > 4);
    assert_eq!(broker.connections(), 1);
}

#[test]
fn an_end_for_good_is_told_behind_what_came_before_it_and_a_seek_begins_anew() {
    let broker = pushing(100, |asked| match (asked.kind, asked.before) {
        (Kind::Batches, 3) => Deed::Refuse(ErrorCode::PARTITION_OFFLINE),
        _ => Deed::Serve,
    });
    let client = connect(&broker);
    let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::Earliest);
    assert_eq!(read(&mut consumer, 30), numbers(0..30));
    let error = consumer.poll(SOON).unwrap_err();
    let PollError::Refused { refusal, .. } = &error else { panic!("{error}") };
    assert_eq!((refusal.code, &*refusal.message), (ErrorCode::PARTITION_OFFLINE, "it ends"));
    assert!(consumer.poll(WHILE).unwrap().is_none(), "it is told once");
    consumer.seek(&partition(), Position::At(folio_client::Offset::new(90)));
    assert_eq!(read(&mut consumer, 10), numbers(90..100));
}

#[test]
fn retention_under_a_subscription_is_out_of_range_as_the_consumer_wants_it() {
    for (policy, expected) in [
        (OutOfRange::Fail, None),
        (OutOfRange::Earliest, Some(numbers(800..900))),
        (OutOfRange::Latest, Some(numbers(900..1000))),
    ] {
        let broker = filled(900).streaming();
        let client = connect(&broker);
        let config = ConsumerConfig::new().prefetch_bytes(1).out_of_range(policy);
        let mut consumer = consumer_at(&client, config, Position::Earliest);
        eventually("one batch is here", || broker.asked(Kind::Batches) == 1);
        broker.raise_log_start("t", 0, 800);
        assert_eq!(read(&mut consumer, 10), numbers(0..10), "what was here is handed out");
        match expected {
            Some(expected) => {
                if policy == OutOfRange::Latest {
                    eventually("it is at the end", || broker.asked(Kind::Subscribe) == 2);
                    fill(&broker, 900..1000);
                }
                assert_eq!(read(&mut consumer, 100), expected);
            }
            None => {
                let error = consumer.poll(SOON).unwrap_err();
                let PollError::OutOfRange { offset, log_start, .. } = error else { panic!("{error}") };
                assert_eq!((offset.get(), log_start.get()), (10, 800));
            }
        }
    }
}

#[test]
fn a_consumer_that_is_dropped_is_unsubscribed_and_the_client_goes_on() {
    let broker = filled(1000).streaming();
    let client = connect(&broker);
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(partition(), Position::Earliest)]);
    assert_eq!(read(&mut consumer, 10).len(), 10);
    drop(consumer);
    eventually("it is unsubscribed", || broker.asked(Kind::Unsubscribe) == 1);
    let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::Earliest);
    assert_eq!(read(&mut consumer, 1000), numbers(0..1000));
    assert_eq!(broker.connections(), 1);
}

#[test]
fn a_broker_that_falls_silent_is_found_out_and_one_that_has_nothing_to_say_is_kept() {
    let silent = Duration::from_secs(2);
    let connect = |broker: &FakeBroker| Client::connect(config(broker).request_timeout(silent)).unwrap();
    let broker = filled(10).streaming();
    let client = connect(&broker);
    let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::Earliest);
    assert_eq!(read(&mut consumer, 10), numbers(0..10));
    eventually("it is asked whether it is there", || broker.asked(Kind::Credit) >= 4);
    assert_eq!(broker.connections(), 1);
    // Nothing is answered any more, and nothing pushed: as if the cable had been pulled.
    broker.plan(|asked| match asked.kind {
        Kind::Credit | Kind::Batches => Deed::Ignore,
        _ => Deed::Serve,
    });
    eventually("the connection is given up", || broker.connections() > 1);
    broker.plan(|_| Deed::Serve);
    fill(&broker, 10..20);
    assert_eq!(read(&mut consumer, 10), numbers(10..20));
}

#[test]
fn pushes_that_make_no_sense_end_the_connection_and_every_record_comes_all_the_same() {
    for (what, spoil) in crate::hostile::SPOILED {
        let broker = pushing(50, move |asked| match (asked.kind, asked.before) {
            (Kind::Batches, 1) => Deed::Spoil(*spoil),
            _ => Deed::Serve,
        });
        let client = Client::connect(config(&broker).request_timeout(Duration::from_millis(1500))).unwrap();
        let mut consumer = consumer_at(&client, ConsumerConfig::new(), Position::Earliest);
        let mut values = Vec::new();
        while values.len() < 50 {
            match consumer.poll(SOON) {
                Ok(records) => {
                    values.extend(
                        records.unwrap_or_else(|| panic!("{what}")).iter().map(|record| record.offset.get()),
                    );
                }
                Err(PollError::Away(_)) => {}
                Err(error) => panic!("{what}: {error}"),
            }
        }
        assert_eq!(values, (0..50).collect::<Vec<_>>(), "{what}");
    }
}
