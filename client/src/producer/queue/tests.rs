//! Claims about the queue of one partition, against a broker that is a `Vec`.

mod numbers;

use folio_record::{Codec, Compression, DecompressLimit, Offset, Timestamp, UnverifiedBatch};

use super::*;
use crate::backoff::Jitter;
use crate::{DeliveryError, ErrorCode};

const RULES: QueueRules = QueueRules {
    batch_bytes: 1000,
    batch_bytes_grown: 1000,
    linger: Duration::ZERO,
    delivery_timeout: Duration::from_secs(60),
    retries: u32::MAX,
    answered: true,
    numbered: false,
    batch_bytes_max: 4000,
};
const OVERHEAD: usize = 10;

fn queue(rules: QueueRules) -> PartitionQueue {
    queue_in(Codec::NONE, rules)
}

fn queue_in(codec: Codec, rules: QueueRules) -> PartitionQueue {
    let (budget, compressors) = (Arc::new(Budget::new(1 << 20)), Arc::new(Compressors::new(codec)));
    PartitionQueue::new(TopicPartition::new("t", 0), rules, budget, compressors)
}

fn record(value: &[u8]) -> NewRecord<'_> {
    NewRecord { value: Some(value), ..NewRecord::at(Timestamp::new(1)) }
}

/// As the producer does: the budget first.
fn append(queue: &PartitionQueue, value: &str) -> Appended {
    let reserved = value.len() + OVERHEAD;
    assert!(queue.budget.try_reserve(reserved));
    queue.append(&record(value.as_bytes()), reserved).unwrap()
}

fn values(batch: &[u8]) -> Vec<String> {
    let (batch, rest) = UnverifiedBatch::split_first(batch).unwrap();
    assert!(rest.is_empty());
    let records = batch.verify().unwrap().records(DecompressLimit::new(1 << 20)).unwrap();
    records.iter().map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap()).collect()
}

fn look(queue: &PartitionQueue, now: Instant, bytes_max: usize) -> Look {
    queue.look(now, bytes_max, None)
}

fn send(queue: &PartitionQueue, now: Instant) -> (u64, Vec<Vec<String>>) {
    match look(queue, now, 1 << 20) {
        Look::Send { flight, batches, .. } => (flight, batches.iter().map(|batch| values(batch)).collect()),
        Look::Later(_) | Look::Nothing | Look::Broken(_) => panic!("nothing to send"),
    }
}

fn offset_of(appended: &Appended) -> Option<i64> {
    appended.outcome.get(appended.index)?.ok().flatten().map(Offset::get)
}

fn refused(code: ErrorCode, batch_too_large: bool) -> Failure {
    Failure::Refused { refusal: Refusal { code, message: "".into() }, batch_too_large }
}

fn for_the_moment() -> Failure {
    Failure::Failed(CallError::Disconnected { broker: "b".into(), reason: "gone".into() })
}

fn for_good() -> Failure {
    refused(FATAL, false)
}

fn no_wait(_attempts: u32) -> Duration {
    Duration::ZERO
}

const FATAL: ErrorCode = ErrorCode::INVALID_RECORD;

#[test]
fn batches_are_cut_by_size_and_keep_the_order() {
    let queue = queue(RULES);
    let sent: Vec<_> = (0..25).map(|n| format!("{n:090}")).collect();
    for value in &sent {
        append(&queue, value);
    }
    let Look::Send { batches, .. } = look(&queue, Instant::now(), 1 << 20) else { panic!("25 records wait") };
    assert_eq!(batches.len(), 3);
    assert!(batches.iter().all(|batch| batch.len() <= RULES.batch_bytes));
    assert_eq!(batches.iter().flat_map(|batch| values(batch)).collect::<Vec<_>>(), sent);
}

#[test]
fn a_request_takes_no_more_bytes_than_it_may_but_at_least_one_batch() {
    let queue = queue(RULES);
    for n in 0..40 {
        append(&queue, &format!("{n:090}"));
    }
    let now = Instant::now();
    let Look::Send { flight, batches, .. } = look(&queue, now, 2500) else { panic!("40 records wait") };
    assert_eq!(batches.len(), 2);
    queue.delivered(flight, Some(Offset::ZERO));
    let Look::Send { batches, .. } = look(&queue, now, 1) else { panic!("more wait") };
    assert_eq!(batches.len(), 1);
}

#[test]
fn a_record_beyond_the_batch_size_travels_alone_and_one_beyond_the_limit_not_at_all() {
    let queue = queue(RULES);
    append(&queue, "before");
    append(&queue, &"x".repeat(3000));
    append(&queue, "after");
    let giant = queue.append(&record(&[0; 4000]), 4000);
    assert!(matches!(giant, Err(NotAppended::DoesNotFit(DoesNotFit { size_max: 4000, .. }))));
    let (_, batches) = send(&queue, Instant::now());
    let counts: Vec<_> = batches.iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn an_open_batch_lingers_until_it_is_full_or_flushed() {
    let rules = QueueRules { linger: Duration::from_secs(5), ..RULES };
    let queue = queue(rules);
    assert!(append(&queue, "a").tell, "the loop must set a timer");
    let now = Instant::now();
    let Look::Later(due) = look(&queue, now, 1 << 20) else { panic!("it lingers") };
    assert!(due > now + Duration::from_secs(4) && due <= now + Duration::from_secs(5));
    assert!(!append(&queue, "b").tell, "the timer is set already");
    assert!(append(&queue, &"c".repeat(1000)).tell, "a batch is full");
    // The batch of a and b goes at once; that of c was full by itself.
    let (flight, batches) = send(&queue, now);
    assert_eq!(batches.len(), 2);
    queue.delivered(flight, Some(Offset::ZERO));

    assert!(matches!(look(&queue, now, 1 << 20), Look::Nothing));
    assert!(append(&queue, "d").tell);
    assert!(matches!(look(&queue, now, 1 << 20), Look::Later(_)));
    let mut outcomes = Vec::new();
    assert!(queue.flush(&mut outcomes), "the loop must be told");
    assert_eq!(outcomes.len(), 1);
    assert_eq!(send(&queue, now).1, [["d"]]);
}

#[test]
fn nothing_overtakes_a_batch_whose_fate_is_not_known() {
    let queue = queue(RULES);
    let now = Instant::now();
    let first = append(&queue, "first");
    let (flight, _) = send(&queue, now);
    let second = append(&queue, "second");
    assert!(!second.tell, "the answer makes the loop look");
    assert!(matches!(look(&queue, now, 1 << 20), Look::Nothing));

    queue.failed(flight, &for_the_moment(), now, |attempts| Duration::from_millis(u64::from(attempts)));
    let Look::Later(retry) = look(&queue, now, 1 << 20) else { panic!("it waits before it tries again") };
    assert_eq!(retry, now + Duration::from_millis(1));
    let (flight, batches) = send(&queue, retry);
    assert_eq!(batches, [["first"], ["second"]]);
    queue.delivered(flight, Some(Offset::new(7)));
    assert_eq!((offset_of(&first), offset_of(&second)), (Some(7), Some(8)));
    assert_eq!(queue.budget.used(), 0);
}

#[test]
fn without_retries_requests_follow_one_another_without_waiting() {
    let queue = queue(QueueRules { retries: 0, ..RULES });
    let now = Instant::now();
    let first = append(&queue, "first");
    let (first_flight, _) = send(&queue, now);
    let second = append(&queue, "second");
    let (second_flight, _) = send(&queue, now);
    queue.failed(first_flight, &for_the_moment(), now, no_wait);
    queue.delivered(second_flight, Some(Offset::ZERO));
    assert!(matches!(first.outcome.get(0), Some(Err(DeliveryError::Failed { .. }))));
    assert_eq!(offset_of(&second), Some(0));
    assert!(queue.is_idle());
    assert_eq!(queue.budget.used(), 0);
}

#[test]
fn retries_come_to_an_end() {
    let queue = queue(QueueRules { retries: 2, ..RULES });
    let now = Instant::now();
    let appended = append(&queue, "a");
    for _ in 0..3 {
        assert!(appended.outcome.get(0).is_none());
        let (flight, _) = send(&queue, now);
        queue.failed(flight, &for_the_moment(), now, no_wait);
    }
    assert!(matches!(appended.outcome.get(0), Some(Err(_))));
    assert!(queue.is_idle());
}

#[test]
fn the_batch_that_the_broker_refuses_does_not_take_its_neighbours_with_it() {
    let queue = queue(RULES);
    let now = Instant::now();
    let appended: Vec<_> = ["good", "bad", "fine"].map(|v| append(&queue, &format!("{v:>950}"))).into();
    let (flight, batches) = send(&queue, now);
    assert_eq!(batches.len(), 3);
    queue.failed(flight, &for_good(), now, no_wait);
    for base in 0..3 {
        let (flight, batches) = send(&queue, now);
        assert_eq!(batches.len(), 1);
        if batches[0][0].ends_with("bad") {
            queue.failed(flight, &for_good(), now, no_wait);
        } else {
            queue.delivered(flight, Some(Offset::new(base)));
        }
    }
    assert_eq!(offset_of(&appended[0]), Some(0));
    assert!(matches!(appended[1].outcome.get(0), Some(Err(DeliveryError::Refused { .. }))));
    assert_eq!(offset_of(&appended[2]), Some(2));
    append(&queue, "later");
    append(&queue, &"later".repeat(190));
    assert_eq!(send(&queue, now).1.len(), 2, "and then they travel together again");
}

#[test]
fn a_batch_too_large_for_the_broker_is_halved_until_only_the_record_at_fault_is_left() {
    let queue = queue_in(Compression::Lz4.into(), RULES);
    let now = Instant::now();
    let appended: Vec<_> =
        (0..11).map(|n| append(&queue, if n == 7 { "one that is far too large" } else { "small" })).collect();
    let mut log = Vec::new();
    while !queue.is_idle() {
        let (flight, batches) = send(&queue, now);
        let all: Vec<_> = batches.concat();
        if all.len() > 3 || all.iter().any(|value| value.contains("large")) {
            queue.failed(flight, &refused(FATAL, true), now, no_wait);
        } else {
            queue.delivered(flight, Some(Offset::new(log.len() as i64)));
            log.extend(all);
        }
    }
    assert_eq!(log, ["small"; 10]);
    let offsets: Vec<_> = appended.iter().map(offset_of).collect();
    let expected: Vec<_> =
        (0..11_i64).map(|n| if n == 7 { None } else { Some(n - i64::from(n > 7)) }).collect();
    assert_eq!(offsets, expected);
    assert_eq!(queue.budget.used(), 0);
}

#[test]
fn what_waited_too_long_is_given_up_but_holds_its_place_while_it_is_in_flight() {
    let queue = queue(RULES);
    let begin = Instant::now();
    let first = append(&queue, "first");
    let (flight, _) = send(&queue, begin);
    let second = append(&queue, "second");
    let because = CallError::Unreachable { reason: "nobody listens".into() };
    let next = queue.expire(begin, &because).unwrap();
    assert!(next >= begin + RULES.delivery_timeout - Duration::from_secs(1));

    let late = Instant::now() + RULES.delivery_timeout;
    queue.expire(late, &because);
    for appended in [&first, &second] {
        let error = appended.outcome.get(0).unwrap().unwrap_err();
        assert!(
            matches!(error, DeliveryError::Failed { source: CallError::Unreachable { .. }, .. }),
            "{error}"
        );
    }
    assert_eq!(queue.budget.used(), "first".len() + OVERHEAD, "the first may still be read by the network");
    append(&queue, "third");
    assert!(matches!(look(&queue, late, 1 << 20), Look::Nothing), "the first may still be appended");
    queue.delivered(flight, Some(Offset::ZERO));
    assert!(offset_of(&first).is_none(), "what was said stands");
    assert_eq!(send(&queue, late).1, [["third"]]);
}

#[test]
fn everything_is_given_up_and_given_back_when_nobody_sends_any_more() {
    let queue = queue(RULES);
    let appended: Vec<_> = (0..3)
        .map(|n| {
            let appended = append(&queue, &format!("{n}"));
            if n == 0 {
                send(&queue, Instant::now());
            }
            appended
        })
        .collect();
    queue.abandon(&CallError::Closed);
    assert!(appended.iter().all(|one| matches!(one.outcome.get(one.index), Some(Err(_)))));
    assert_eq!(queue.budget.used(), 0);
    assert!(matches!(queue.append(&record(b"more"), 4), Err(NotAppended::Closed)));
}

/// The broker appends, refuses for the moment, refuses for good, finds batches too large, or appends and then loses the
/// answer; the clock jumps. Whatever it does, the log holds the records in the order of their appends (doubled only
/// where an answer was lost), every delivery has an end, and the budget is whole again.
#[test]
fn order_holds_whatever_the_broker_does() {
    for seed in 0..300 {
        let mut dice = Jitter::new(seed * 7919 + 1);
        let linger = Duration::from_millis(dice.next() % 2 * 3);
        let queue = queue(QueueRules { linger, batch_bytes: 300, ..RULES });
        let mut now = Instant::now();
        let (mut appended, mut log, mut expected_offsets) = (Vec::new(), Vec::new(), Vec::new());
        let (mut flying, mut lost_answers) = (None, false);
        for step in 0_u64.. {
            now += Duration::from_millis(dice.next() % 3);
            if step < 200 && !dice.next().is_multiple_of(3) {
                appended.push(append(&queue, &format!("{:06}", appended.len())));
            }
            if flying.is_none()
                && let Look::Send { flight, batches, .. } = look(&queue, now, 700)
            {
                flying = Some((flight, batches));
            } else if let Some((flight, batches)) = flying.take() {
                let all: Vec<_> = batches.iter().flat_map(|batch| values(batch)).collect();
                match dice.next() % if step < 400 { 8 } else { 1 } {
                    4 => queue.failed(flight, &for_the_moment(), now, |_| Duration::from_millis(1)),
                    5 => {
                        log.extend(all);
                        lost_answers = true;
                        queue.failed(flight, &for_the_moment(), now, no_wait);
                    }
                    6 => queue.failed(flight, &for_good(), now, no_wait),
                    7 => queue.failed(flight, &refused(FATAL, true), now, no_wait),
                    _ => {
                        let base = log.len() as i64;
                        expected_offsets.extend((base..).zip(all.iter().cloned()));
                        queue.delivered(flight, Some(Offset::new(base)));
                        log.extend(all);
                    }
                }
            }
            if step > 200 && queue.is_idle() {
                break;
            }
            assert!(step < 10_000, "seed {seed}: it does not come to an end");
        }
        // Without the repetitions that a lost answer causes, the log rises strictly.
        let mut seen = std::collections::BTreeSet::new();
        let first_times: Vec<_> = log.iter().filter(|value| seen.insert((*value).clone())).collect();
        assert!(first_times.is_sorted(), "seed {seed}: {log:?}");
        assert!(lost_answers || first_times.len() == log.len(), "seed {seed}: doubled for no reason");
        for (number, appended) in appended.iter().enumerate() {
            match appended.outcome.get(appended.index) {
                Some(Ok(offset)) => {
                    let at = offset.unwrap().get();
                    assert!(
                        expected_offsets.contains(&(at, format!("{number:06}"))),
                        "seed {seed}: {number} at {at}"
                    );
                }
                Some(Err(_)) => {}
                None => panic!("seed {seed}: nobody knows what became of record {number}"),
            }
        }
        assert_eq!(queue.budget.used(), 0, "seed {seed}");
    }
}
