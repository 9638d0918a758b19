//! Claims about batches that carry numbers, against a broker that judges them as Folio's does.

use std::collections::VecDeque;

use folio_record::{BatchHeader, ProducerId};

use super::*;
use crate::producer::numbers::BATCHES_IN_FLIGHT_MAX;

const NUMBERED: QueueRules = QueueRules { numbered: true, ..RULES };
const WHO: Identity = Identity { id: ProducerId::new(7), epoch: 0 };

/// What is sent together: the flight, and the batches.
type Sent = (u64, Vec<Bytes>);

fn take(queue: &PartitionQueue, now: Instant) -> Sent {
    match queue.look(now, 1 << 20, Some(WHO)) {
        Look::Send { flight, batches, apart: true } => (flight, batches),
        _ => panic!("nothing to send"),
    }
}

fn header(batch: &[u8]) -> BatchHeader {
    *UnverifiedBatch::split_first(batch).unwrap().0.verify().unwrap().header()
}

/// Epoch and first number of each batch.
fn numbers(batches: &[Bytes]) -> Vec<(i16, i32)> {
    let number = |batch: &Bytes| {
        let header = header(batch);
        assert_eq!(header.producer_id, WHO.id);
        (header.producer_epoch, header.base_sequence)
    };
    batches.iter().map(number).collect()
}

fn answer(queue: &PartitionQueue, flight: u64, answers: &[Result<i64, Failure>]) -> Result<(), Refusal> {
    let answers: Vec<_> = answers.iter().map(|one| one.clone().map(Offset::new)).collect();
    queue.answered(flight, &answers, Instant::now(), no_wait)
}

fn early() -> Failure {
    refused(ErrorCode::OUT_OF_ORDER_SEQUENCE, false)
}

/// A queue whose first batch of one record is stored, so that more may travel together.
fn begun() -> PartitionQueue {
    let queue = queue(NUMBERED);
    append(&queue, "begun");
    let (flight, batches) = take(&queue, Instant::now());
    assert_eq!(numbers(&batches), [(0, 0)]);
    answer(&queue, flight, &[Ok(0)]).unwrap();
    queue
}

/// Batches of two records each.
fn append_batches(queue: &PartitionQueue, count: usize) -> Vec<Appended> {
    let mut first = Vec::new();
    for number in 0..count {
        first.push(append(queue, &format!("{number:0450}")));
        append(queue, &format!("{number:0450}"));
    }
    first
}

#[test]
fn numbers_follow_one_another_and_five_batches_are_in_flight() {
    let queue = queue(NUMBERED);
    append_batches(&queue, 8);
    let now = Instant::now();
    let (flight, batches) = take(&queue, now);
    assert_eq!(numbers(&batches), [(0, 0)], "the first one travels alone");
    answer(&queue, flight, &[Ok(0)]).unwrap();
    let (flight, batches) = take(&queue, now);
    assert_eq!(numbers(&batches), [(0, 2), (0, 4), (0, 6), (0, 8), (0, 10)]);
    assert!(matches!(queue.look(now, 1 << 20, Some(WHO)), Look::Nothing));
    answer(&queue, flight, &[Ok(2), Ok(4), Ok(6), Ok(8), Ok(10)]).unwrap();
    assert_eq!(numbers(&take(&queue, now).1), [(0, 12), (0, 14)]);
}

#[test]
fn what_is_sent_again_is_the_same_to_the_byte() {
    let queue = begun();
    append_batches(&queue, 3);
    let (flight, first) = take(&queue, Instant::now());
    queue.answered(flight, &vec![Err(for_the_moment()); 3], Instant::now(), no_wait).unwrap();
    append_batches(&queue, 4);
    let (_, again) = take(&queue, Instant::now());
    assert_eq!(again[..3], first);
    assert_eq!(again.len(), BATCHES_IN_FLIGHT_MAX);
}

#[test]
fn a_batch_behind_one_that_failed_keeps_its_number_and_comes_again_behind_it() {
    let queue = begun();
    let appended = append_batches(&queue, 2);
    let (flight, first) = take(&queue, Instant::now());
    answer(&queue, flight, &[Err(refused(ErrorCode::NOT_READY, false)), Err(early())]).unwrap();
    let (flight, again) = take(&queue, Instant::now());
    assert_eq!(again, first);
    answer(&queue, flight, &[Ok(1), Ok(3)]).unwrap();
    assert_eq!(appended.iter().map(offset_of).collect::<Vec<_>>(), [Some(1), Some(3)]);
}

#[test]
fn a_copy_that_the_broker_no_longer_remembers_counts_as_delivered_without_an_offset() {
    let queue = begun();
    let appended = append_batches(&queue, 1);
    let (flight, _) = take(&queue, Instant::now());
    answer(&queue, flight, &[Err(refused(ErrorCode::DUPLICATE_SEQUENCE, false))]).unwrap();
    assert!(matches!(appended[0].outcome.get(0), Some(Ok(None))));
    assert!(queue.is_idle());
}

#[test]
fn the_number_of_a_batch_that_is_refused_for_good_is_given_to_the_next() {
    let queue = begun();
    let appended = append_batches(&queue, 3);
    let (flight, _) = take(&queue, Instant::now());
    answer(&queue, flight, &[Err(for_good()), Err(early()), Err(early())]).unwrap();
    let (flight, batches) = take(&queue, Instant::now());
    assert_eq!(numbers(&batches), [(0, 1), (0, 3)]);
    answer(&queue, flight, &[Ok(1), Ok(3)]).unwrap();
    assert!(matches!(appended[0].outcome.get(0), Some(Err(DeliveryError::Refused { .. }))));
    assert_eq!(appended[1..].iter().map(offset_of).collect::<Vec<_>>(), [Some(1), Some(3)]);
}

#[test]
fn where_a_copy_may_still_be_on_its_way_the_epoch_rises_and_the_batch_is_given_up() {
    let queue = begun();
    let appended = append_batches(&queue, 2);
    for answers in [[Err(for_the_moment()), Err(for_the_moment())], [Err(for_good()), Err(early())]] {
        let (flight, batches) = take(&queue, Instant::now());
        assert_eq!(numbers(&batches), [(0, 1), (0, 3)]);
        answer(&queue, flight, &answers).unwrap();
    }
    append_batches(&queue, 2);
    let (flight, batches) = take(&queue, Instant::now());
    assert_eq!(numbers(&batches), [(1, 0)]);
    let error = appended[1].outcome.get(0).unwrap().unwrap_err();
    assert!(matches!(error, DeliveryError::Failed { .. }), "{error}");
    answer(&queue, flight, &[Ok(1)]).unwrap();
    assert_eq!(numbers(&take(&queue, Instant::now()).1), [(1, 2)]);
}

#[test]
fn what_waits_for_a_batch_whose_fate_is_not_known_is_sent_again_as_it_was() {
    let queue = queue(QueueRules { retries: 1, ..NUMBERED });
    append_batches(&queue, 1);
    let (flight, _) = take(&queue, Instant::now());
    answer(&queue, flight, &[Ok(0)]).unwrap();
    let given_up = append_batches(&queue, 1);
    for _ in 0..2 {
        let (flight, _) = take(&queue, Instant::now());
        answer(&queue, flight, &[Err(for_the_moment())]).unwrap();
    }
    assert!(matches!(given_up[0].outcome.get(0), Some(Err(_))));
    // It may be stored; if it is, what follows it is next.
    append_batches(&queue, 1);
    let (flight, batches) = take(&queue, Instant::now());
    assert_eq!(numbers(&batches), [(0, 4)]);
    answer(&queue, flight, &[Err(early())]).unwrap();
    assert_eq!(numbers(&take(&queue, Instant::now()).1), [(1, 0)]);
}

#[test]
fn a_broker_that_lost_what_it_had_acknowledged_takes_what_follows_in_a_new_epoch() {
    let queue = begun();
    append_batches(&queue, 2);
    let (flight, _) = take(&queue, Instant::now());
    answer(&queue, flight, &[Err(early()), Err(early())]).unwrap();
    let (flight, batches) = take(&queue, Instant::now());
    assert_eq!(numbers(&batches), [(1, 0)]);
    answer(&queue, flight, &[Ok(0)]).unwrap();
    assert_eq!(numbers(&take(&queue, Instant::now()).1), [(1, 2)]);
}

#[test]
fn numbers_that_mean_nothing_to_the_broker_are_the_end() {
    for (code, rounds) in [(ErrorCode::INVALID_PRODUCER_EPOCH, 1), (ErrorCode::OUT_OF_ORDER_SEQUENCE, 2)] {
        let queue = begun();
        append_batches(&queue, 1);
        for round in 1..=rounds {
            let (flight, _) = take(&queue, Instant::now());
            let answered = answer(&queue, flight, &[Err(refused(code, false))]);
            assert_eq!(answered.err().map(|refusal| refusal.code), (round == rounds).then_some(code));
        }
    }
    let queue = queue(NUMBERED);
    append(&queue, "x");
    let last = Identity { epoch: i16::MAX, ..WHO };
    let Look::Send { flight, .. } = queue.look(Instant::now(), 1 << 20, Some(last)) else {
        panic!("one waits")
    };
    answer(&queue, flight, &[Err(early())]).unwrap();
    assert!(matches!(queue.look(Instant::now(), 1 << 20, Some(last)), Look::Broken(_)));
}

#[test]
fn numbers_go_on_with_0_behind_the_last_there_is() {
    let queue = begun();
    queue.lock().numbers.as_mut().unwrap().set_next(i32::MAX);
    append_batches(&queue, 2);
    assert_eq!(numbers(&take(&queue, Instant::now()).1), [(0, i32::MAX), (0, 1)]);
}

#[test]
fn a_batch_that_is_too_large_is_cut_unless_it_may_be_stored() {
    let too_large = || refused(ErrorCode::MESSAGE_TOO_LARGE, true);
    let queue = begun();
    append_batches(&queue, 2);
    let (flight, _) = take(&queue, Instant::now());
    answer(&queue, flight, &[Err(too_large()), Err(early())]).unwrap();
    let (flight, batches) = take(&queue, Instant::now());
    assert_eq!(numbers(&batches), [(0, 1), (0, 2), (0, 3)]);

    answer(&queue, flight, &[Ok(1), Ok(2), Err(for_the_moment())]).unwrap();
    let (flight, _) = take(&queue, Instant::now());
    answer(&queue, flight, &[Err(too_large())]).unwrap();
    assert!(queue.is_idle(), "the log may have it, so it is not sent in another shape");
}

#[test]
fn batches_grow_while_others_wait_before_them() {
    let queue = queue(QueueRules { batch_bytes_grown: 3000, ..NUMBERED });
    for n in 0..70 {
        append(&queue, &format!("{n:090}"));
    }
    let Look::Send { batches, .. } = queue.look(Instant::now(), 1 << 20, None) else { panic!("they wait") };
    let sizes: Vec<_> = batches.iter().map(Bytes::len).collect();
    assert!(sizes[0] <= 1000 && sizes[1] > 2000 && sizes.iter().all(|size| *size <= 3000), "{sizes:?}");
}

/// One partition of a broker: it judges numbers, and remembers five batches.
#[derive(Default)]
struct Log {
    values: Vec<String>,
    epoch: i16,
    /// First and last number, and offset.
    kept: VecDeque<(i32, i32, i64)>,
}

impl Log {
    fn append(&mut self, batch: &[u8]) -> Result<i64, Failure> {
        let header = header(batch);
        let (epoch, first) = (header.producer_epoch, header.base_sequence);
        let last = first + header.last_offset_delta;
        if epoch < self.epoch {
            return Err(refused(ErrorCode::INVALID_PRODUCER_EPOCH, false));
        }
        if epoch > self.epoch {
            if first != 0 {
                return Err(early());
            }
            (self.epoch, self.kept) = (epoch, VecDeque::new());
        } else if let Some(copy) = self.kept.iter().find(|kept| (kept.0, kept.1) == (first, last)) {
            return Ok(copy.2);
        } else if self.kept.back().is_some_and(|kept| kept.1 + 1 != first) {
            return Err(early());
        }
        let base = self.values.len() as i64;
        self.kept.push_back((first, last, base));
        if self.kept.len() > BATCHES_IN_FLIGHT_MAX {
            self.kept.pop_front();
        }
        self.values.extend(values(batch));
        Ok(base)
    }
}

/// The broker appends, refuses for the moment or for good, finds batches too large, loses answers, or gets a request
/// that was given up long ago after others that were sent later; the clock jumps. Whatever happens, the log holds the
/// records in the order of their appends and none twice, what was delivered is where the delivery says, and all else is
/// known to have failed.
#[test]
fn nothing_is_stored_twice_or_out_of_order_whatever_happens() {
    for seed in 0..600 {
        let mut dice = Jitter::new(seed * 6151 + 3);
        let delivery_timeout = Duration::from_millis([60_000, 40][(dice.next() % 2) as usize]);
        let retries = [u32::MAX, 3][(dice.next() % 2) as usize];
        let queue = queue(QueueRules { batch_bytes: 300, delivery_timeout, retries, ..NUMBERED });
        let begin = Instant::now();
        let (mut now, mut log) = (begin, Log::default());
        let (mut appended, mut flying, mut strays) = (Vec::new(), None::<Sent>, Vec::<Vec<Bytes>>::new());
        for step in 0_u64.. {
            now = (now + Duration::from_millis(dice.next() % 3)).max(Instant::now());
            if step < 200 && !dice.next().is_multiple_of(3) {
                appended.push(append(&queue, &format!("{:06}", appended.len())));
            }
            queue.expire(now, &CallError::Closed);
            let calm = step >= 400;
            if dice.next().is_multiple_of(4) && !strays.is_empty() {
                let stray = strays.swap_remove((dice.next() % strays.len() as u64) as usize);
                stray.iter().for_each(|batch| drop(log.append(batch)));
            }
            if flying.is_none() {
                match queue.look(now, [700, 4000][(dice.next() % 2) as usize], Some(WHO)) {
                    Look::Send { flight, batches, apart: true } => flying = Some((flight, batches)),
                    Look::Broken(refusal) => panic!("seed {seed}: {refusal}"),
                    _ => {}
                }
            } else if let Some((flight, batches)) = flying.take() {
                let fate = if calm { 9 } else { dice.next() % 10 };
                let mut answers = Vec::new();
                match fate {
                    0 => {
                        answers = vec![Err(for_the_moment()); batches.len()];
                        strays.push(batches);
                    }
                    1 => {
                        batches.iter().for_each(|batch| drop(log.append(batch)));
                        answers = vec![Err(for_the_moment()); batches.len()];
                    }
                    _ => {
                        for batch in &batches {
                            let refusal = match (fate, dice.next() % 3) {
                                (2, 0) => Some(refused(ErrorCode::NOT_READY, false)),
                                (3, 0) => Some(for_good()),
                                (4, 0) => Some(refused(ErrorCode::MESSAGE_TOO_LARGE, true)),
                                _ => None,
                            };
                            answers.push(refusal.map_or_else(|| log.append(batch), Err));
                        }
                    }
                }
                let answers: Vec<_> = answers.into_iter().map(|one| one.map(Offset::new)).collect();
                let answered = queue.answered(flight, &answers, now, |_| Duration::from_millis(1));
                assert_eq!(answered, Ok(()), "seed {seed}, step {step}");
            }
            if step > 200 && queue.is_idle() {
                break;
            }
            assert!(step < 10_000, "seed {seed}: it does not come to an end");
        }
        strays.iter().flatten().for_each(|batch| drop(log.append(batch)));
        assert!(log.values.is_sorted_by(|a, b| a < b), "seed {seed}: {:?}", log.values);
        for (number, appended) in appended.iter().enumerate() {
            match appended.outcome.get(appended.index) {
                Some(Ok(offset)) => {
                    let at = usize::try_from(offset.unwrap().get()).unwrap();
                    assert_eq!(log.values.get(at), Some(&format!("{number:06}")), "seed {seed}");
                }
                Some(Err(_)) => {}
                None => panic!("seed {seed}: nobody knows what became of record {number}"),
            }
        }
        assert_eq!(queue.budget.used(), 0, "seed {seed}");
    }
}
