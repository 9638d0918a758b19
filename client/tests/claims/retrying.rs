//! Claims about producers that send again: the order holds, nothing is stored twice, and numbers are what it is known
//! by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use folio_client::{DeliveryError, ErrorCode, ProducerConfig, ProducerRecord, SendError};
use folio_wire::native::Kind;

use crate::eventually;
use crate::fake_broker::{Deed, FakeBroker};
use crate::producing::{numbers, producer, send};

/// Whatever goes wrong on the way, the log has every record, in order; and once, unless that was turned off.
#[test]
fn retries_keep_the_order_and_store_nothing_twice() {
    let deeds: [fn(usize) -> Deed; 4] = [
        |n| if n.is_multiple_of(3) { Deed::Refuse(ErrorCode::NOT_READY) } else { Deed::Serve },
        |n| if n % 3 == 1 { Deed::Close } else { Deed::Serve },
        |n| if n % 4 == 1 { Deed::CutAnswer(11) } else { Deed::Serve },
        |n| if n % 4 == 2 { Deed::ServeAndClose } else { Deed::Serve },
    ];
    let cases =
        deeds.into_iter().enumerate().flat_map(|(which, deed)| [(which, deed, true), (which, deed, false)]);
    for (which, deed, idempotent) in cases {
        let broker = FakeBroker::start_with_plan(move |asked| match asked.kind {
            Kind::Produce => deed(asked.before),
            _ => Deed::Serve,
        })
        .with_topic("t", 1);
        let config = ProducerConfig::new().batch_bytes(400).request_bytes(2000).idempotent(idempotent);
        let producer = producer(&broker, config);
        let sent = numbers(600);
        let mut deliveries = Vec::new();
        for chunk in sent.chunks(20) {
            deliveries.extend(chunk.iter().map(|value| send(&producer, value)));
            producer.flush().wait().unwrap();
        }
        for (delivery, value) in deliveries.into_iter().zip(&sent) {
            let offset = delivery.wait().unwrap().offset.unwrap().get() as usize;
            assert_eq!(&broker.values("t", 0)[offset], value, "case {which}");
        }
        let stored = broker.values("t", 0);
        let mut seen = std::collections::BTreeSet::new();
        let first_times: Vec<_> =
            stored.iter().filter(|value| seen.insert((*value).clone())).cloned().collect();
        assert_eq!(first_times, sent, "case {which}");
        // The first two fail before anything is appended.
        assert_eq!(stored == sent, idempotent || which < 2, "case {which}");
        assert!(broker.asked(Kind::Produce) > 30, "case {which}: some were sent again");
        assert_eq!(broker.asked(Kind::InitProducer), usize::from(idempotent));
    }
}

#[test]
fn a_producer_learns_who_it_is_before_its_first_batch_and_asks_until_it_is_told() {
    let broker = FakeBroker::start_with_plan(|asked| match (asked.kind, asked.before) {
        (Kind::InitProducer, 0) => Deed::Refuse(ErrorCode::TOO_BUSY),
        (Kind::InitProducer, 1) => Deed::Close,
        _ => Deed::Serve,
    })
    .with_topic("t", 1);
    let producer = producer(&broker, ProducerConfig::new());
    assert_eq!(broker.asked(Kind::InitProducer), 0, "nobody needs to know yet");
    send(&producer, "x").wait().unwrap();
    assert!(broker.asked(Kind::InitProducer) >= 3);
    send(&producer, "y").wait().unwrap();
    assert_eq!(broker.values("t", 0), ["x", "y"]);
}

#[test]
fn a_producer_that_is_given_no_id_says_so_and_what_to_do() {
    let broker = FakeBroker::start_with_plan(|asked| match asked.kind {
        Kind::InitProducer => Deed::Refuse(ErrorCode::UNSUPPORTED),
        _ => Deed::Serve,
    })
    .with_topic("t", 1);
    let without = producer(&broker, ProducerConfig::new());
    let error = send(&without, "x").wait().unwrap_err();
    assert!(error.to_string().contains("idempotent"), "{error}");
    let error = without.send(ProducerRecord::to("t").value("y")).unwrap_err();
    let SendError::Broken { source } = &error else { panic!("{error}") };
    assert_eq!(source.code(), Some(ErrorCode::UNSUPPORTED));
    assert!(!error.is_retriable());
    eventually("the buffer is empty", || without.buffered_bytes() == 0);
    let with = producer(&broker, ProducerConfig::new().idempotent(false));
    send(&with, "x").wait().unwrap();
}

#[test]
fn a_producer_whose_numbers_mean_nothing_gives_up_all_that_it_has_and_says_what_to_do() {
    let broker = FakeBroker::start_with_plan(|asked| match (asked.kind, asked.before) {
        (Kind::Produce, 1) => Deed::Refuse(ErrorCode::INVALID_PRODUCER_EPOCH),
        _ => Deed::Serve,
    })
    .with_topic("t", 2);
    let producer = producer(&broker, ProducerConfig::new());
    send(&producer, "stored").wait().unwrap();
    let refused = send(&producer, "refused").wait().unwrap_err();
    assert!(matches!(refused, DeliveryError::Refused { .. }), "{refused}");
    let mut error = None;
    eventually("it takes no more", || {
        error = producer.send(ProducerRecord::to("t").partition(1).value("x")).err();
        error.is_some()
    });
    let error = error.unwrap();
    assert!(
        matches!(error, SendError::Broken { .. }) && error.to_string().contains("another producer"),
        "{error}"
    );
}

#[test]
fn without_retries_requests_of_a_partition_do_not_wait_for_one_another() {
    let broker = FakeBroker::start_with_plan(|asked| match asked.kind {
        Kind::Produce => Deed::Ignore,
        _ => Deed::Serve,
    })
    .with_topic("t", 1);
    let producer = producer(&broker, ProducerConfig::new().retries(0).requests_in_flight_max(3));
    for n in 0..5 {
        drop(send(&producer, "x"));
        eventually("the next request comes", || broker.asked(Kind::Produce) >= (n + 1).min(3));
    }
    assert_eq!(broker.asked(Kind::Produce), 3, "as many as may be in flight");
}

#[test]
fn with_retries_one_request_of_a_partition_is_in_flight_and_other_partitions_do_not_wait() {
    let broker = FakeBroker::start_with_plan(|asked| match (asked.kind, asked.before) {
        (Kind::Produce, 0) => Deed::Ignore,
        _ => Deed::Serve,
    })
    .with_topic("t", 2);
    let producer = producer(&broker, ProducerConfig::new());
    let first = send(&producer, "first");
    eventually("it is sent", || broker.asked(Kind::Produce) == 1);
    let second = send(&producer, "second");
    for _ in 0..20 {
        producer.send(ProducerRecord::to("t").partition(1).value("beside")).unwrap().wait().unwrap();
    }
    assert!(second.get().is_none());
    // The connection is given up in time, and both arrive by the next one.
    first.wait().unwrap();
    second.wait().unwrap();
    assert_eq!(broker.values("t", 0), ["first", "second"]);
    assert_eq!(broker.connections(), 2);
}

#[test]
fn what_keeps_records_on_their_way_is_told_until_they_are_stored() {
    let is_full = Arc::new(AtomicBool::new(true));
    let plan = Arc::clone(&is_full);
    let broker = FakeBroker::start_with_plan(move |asked| match asked.kind {
        Kind::Produce if plan.load(Ordering::Relaxed) => Deed::Refuse(ErrorCode::NOT_READY),
        _ => Deed::Serve,
    })
    .with_topic("t", 1);
    for idempotent in [true, false] {
        is_full.store(true, Ordering::Relaxed);
        let producer = producer(&broker, ProducerConfig::new().idempotent(idempotent));
        assert!(producer.trouble().is_none());
        let delivery = send(&producer, "x");
        eventually("it is told", || {
            producer.trouble().is_some_and(|trouble| trouble.code() == Some(ErrorCode::NOT_READY))
        });
        is_full.store(false, Ordering::Relaxed);
        delivery.wait().unwrap();
        assert!(producer.trouble().is_none());
    }
}
