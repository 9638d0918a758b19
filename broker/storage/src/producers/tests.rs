//! Claims about producers: what is next, what is a copy, what is neither; and their snapshots, byte by byte.

use folio_record::{BatchBuilder, Compression, HEADER_SIZE, LeaderEpoch, NewRecord, stamp};
use proptest::prelude::*;

use super::*;
use crate::envelope::EnvelopeError;

const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

/// The header of a batch of `count` records with these numbers, at `offset`.
fn header(id: i64, epoch: i16, sequence: i32, count: i64, offset: i64) -> BatchHeader {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    builder.producer(ProducerId::new(id), epoch, sequence);
    for number in 0..count {
        let timestamp = Timestamp::new(1000 + offset + number);
        builder.append(&NewRecord { timestamp, key: None, value: None, headers: &[] }).unwrap();
    }
    let mut batch = builder.build().unwrap();
    stamp(&mut batch, Offset::new(offset), LeaderEpoch::new(0));
    BatchHeader::parse(batch.first_chunk::<HEADER_SIZE>().unwrap()).unwrap()
}

/// A log's producers, and where it ends.
struct Log {
    producers: Producers,
    end: i64,
}

impl Log {
    fn new() -> Self {
        Self { producers: Producers::new(1000), end: 0 }
    }

    /// Appends a batch if it may be; its first offset.
    fn append(&mut self, id: i64, epoch: i16, sequence: i32, count: i64) -> Result<i64, SequenceError> {
        let header = header(id, epoch, sequence, count, self.end);
        let checked = self.producers.check(&header, NOW)?;
        self.producers.settle();
        Ok(match checked {
            Sequenced::Next => {
                let base = self.end;
                self.end += count;
                base
            }
            Sequenced::Duplicate { base_offset, last_offset, .. } => {
                assert_eq!(last_offset.get(), base_offset.get() + count - 1);
                base_offset.get()
            }
        })
    }

    fn out_of_order(&mut self, id: i64, epoch: i16, sequence: i32) -> Option<(i32, i32)> {
        match self.append(id, epoch, sequence, 1) {
            Err(SequenceError::OutOfOrder { expected, found, .. }) => Some((expected, found)),
            _ => None,
        }
    }
}

#[test]
fn batches_follow_one_another_and_a_gap_is_refused() {
    let mut log = Log::new();
    assert_eq!(log.append(7, 0, 0, 3), Ok(0));
    assert_eq!(log.append(7, 0, 3, 2), Ok(3));
    assert_eq!(log.out_of_order(7, 0, 6), Some((5, 6)));
    assert_eq!(log.append(7, 0, 5, 1), Ok(5), "a batch that was refused changes nothing");
    assert_eq!(log.append(8, 0, 0, 1), Ok(6), "each producer counts for itself");
}

#[test]
fn any_of_the_last_five_batches_that_comes_again_has_its_offset_of_then() {
    let mut log = Log::new();
    for number in 0..7 {
        log.append(7, 0, 10 * number, 10).unwrap();
    }
    for number in 2..7 {
        assert_eq!(log.append(7, 0, 10 * number, 10), Ok(i64::from(10 * number)), "batch {number}");
    }
    assert_eq!(log.end, 70, "nothing was appended again");
    assert_eq!(log.append(7, 0, 70, 1), Ok(70));
}

#[test]
fn a_copy_from_before_the_last_five_is_a_duplicate_whose_offset_is_forgotten() {
    let mut log = Log::new();
    for number in 0..7 {
        log.append(7, 0, 10 * number, 10).unwrap();
    }
    let (producer, found) = (ProducerId::new(7), 10);
    assert_eq!(log.append(7, 0, 10, 10), Err(SequenceError::Duplicate { producer, found }));
    assert_eq!(log.out_of_order(7, 0, 25), Some((70, 25)), "no copy of any batch, but a part of one");
}

#[test]
fn what_is_older_than_all_batches_of_a_short_history_was_never_appended() {
    let mut log = Log::new();
    // The first batch was lost on the way, and the second was taken, for nobody knew the producer.
    log.append(7, 0, 5, 5).unwrap();
    log.append(7, 0, 10, 5).unwrap();
    assert_eq!(log.out_of_order(7, 0, 0), Some((15, 0)));
}

#[test]
fn zero_follows_the_largest_number_also_inside_a_batch() {
    let mut log = Log::new();
    log.append(7, 0, i32::MAX - 4, 3).unwrap();
    assert_eq!(log.append(7, 0, i32::MAX - 1, 4), Ok(3), "two before the turn and two after it");
    assert_eq!(log.out_of_order(7, 0, 3), Some((2, 3)));
    assert_eq!(log.append(7, 0, i32::MAX - 1, 4), Ok(3), "a copy across the turn");
    assert_eq!(log.append(7, 0, 2, 1), Ok(7));

    log.append(8, 0, i32::MAX, 1).unwrap();
    assert_eq!(log.append(8, 0, 0, 1), Ok(9));
    for number in 1..5 {
        log.append(8, 0, number, 1).unwrap();
    }
    let (producer, found) = (ProducerId::new(8), i32::MAX);
    assert_eq!(log.append(8, 0, i32::MAX, 1), Err(SequenceError::Duplicate { producer, found }));
}

#[test]
fn a_new_epoch_begins_with_zero_and_ends_the_one_before() {
    let mut log = Log::new();
    log.append(7, 1, 0, 5).unwrap();
    assert_eq!(log.out_of_order(7, 2, 5), Some((0, 5)));
    assert_eq!(log.append(7, 1, 5, 1), Ok(5), "the old one still holds");
    assert_eq!(log.append(7, 2, 0, 5), Ok(6));
    let (producer, current, found) = (ProducerId::new(7), 2, 1);
    let refused = Err(SequenceError::InvalidEpoch { producer, current, found });
    assert_eq!(log.append(7, 1, 6, 1), refused);
    assert_eq!(log.append(7, 1, 0, 5), refused, "nor is it a copy any more");
    assert_eq!(log.append(7, 2, 0, 5), Ok(6));
}

#[test]
fn of_a_producer_that_nobody_knows_any_number_is_taken() {
    let mut log = Log::new();
    assert_eq!(log.append(7, 3, 1234, 1), Ok(0));
    assert_eq!(log.out_of_order(7, 3, 1234 + 2), Some((1235, 1236)));
}

#[test]
fn batches_without_numbers_leave_no_trace() {
    let mut log = Log::new();
    for _ in 0..3 {
        log.append(-1, -1, -1, 2).unwrap();
    }
    assert!(log.producers.is_empty());
    assert_eq!(log.end, 6);
}

#[test]
fn a_producer_expires_once_it_has_been_silent_for_long_enough_and_goes_on_with_any_number() {
    let mut log = Log::new();
    log.append(7, 0, 0, 5).unwrap();
    let after = |ms: i64| Timestamp::new(NOW.get() + ms);
    assert_eq!(log.producers.expire(after(999), 1000), 0);
    // A clock that goes backward expires nobody.
    assert_eq!(log.producers.expire(after(-5000), 1000), 0);
    assert_eq!(log.producers.expire(after(1000), 1000), 1);
    assert_eq!(log.append(7, 0, 17, 1), Ok(5));
}

#[test]
fn more_producers_than_are_remembered_let_the_most_silent_be_forgotten() {
    let mut log = Log { producers: Producers::new(16), end: 0 };
    for id in 0..16 {
        log.append(id, 0, 0, 1).unwrap();
    }
    log.append(0, 0, 1, 1).unwrap();
    log.append(16, 0, 0, 1).unwrap();
    let ids: Vec<i64> = log.producers.active().iter().map(|producer| producer.id.get()).collect();
    assert_eq!(
        ids,
        [&[0][..], &(3..=16).collect::<Vec<_>>()].concat(),
        "0 has spoken since, 1 and 2 have not"
    );
    for id in 1000..5000 {
        log.append(id, 0, 0, 1).unwrap();
        assert!(log.producers.len() <= 16);
    }
}

#[test]
fn what_was_checked_and_not_written_is_as_if_it_had_never_come() {
    let mut log = Log { producers: Producers::new(8), end: 0 };
    for id in 0..8 {
        log.append(id, 0, 0, 1).unwrap();
    }
    let before = log.producers.clone();
    for (id, epoch, sequence) in [(0, 0, 1), (0, 0, 2), (3, 1, 0), (100, 0, 0), (101, 0, 5), (0, 0, 3)] {
        let header = header(id, epoch, sequence, 1, log.end);
        assert_eq!(log.producers.check(&header, NOW), Ok(Sequenced::Next));
    }
    assert!(!log.producers.is_same_as(&before));
    log.producers.take_back();
    assert!(log.producers.is_same_as(&before));
}

#[test]
fn active_producers_are_told_with_their_last_number_and_time() {
    let mut log = Log::new();
    log.append(9, 4, 0, 3).unwrap();
    log.append(7, 0, i32::MAX, 2).unwrap();
    let active = |id, epoch, last_sequence, time| ActiveProducer {
        id: ProducerId::new(id),
        epoch,
        last_sequence,
        last_timestamp: Timestamp::new(time),
    };
    assert_eq!(log.producers.active(), [active(7, 0, 0, 1004), active(9, 4, 2, 1002)]);
}

#[test]
fn the_bytes_of_a_snapshot_are_golden() {
    let mut log = Log::new();
    log.append(7, 2, 40, 5).unwrap();
    log.append(7, 2, 45, 1).unwrap();
    let mut payload = b"\0\0\0\x01".to_vec();
    payload.extend_from_slice(b"\0\0\0\0\0\0\0\x07\0\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    payload.extend_from_slice(b"\0\0\0\0\0\0\x03\xed\x02");
    payload.extend_from_slice(b"\0\0\0\x28\0\0\0\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\x03\xec");
    payload
        .extend_from_slice(b"\0\0\0\x2d\0\0\0\x2d\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\x03\xed");
    let mut bytes = b"LPS1\0\x01\0\0".to_vec();
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&payload);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    assert_eq!(log.producers.encode(), bytes);
}

#[test]
fn every_flipped_bit_of_a_snapshot_and_every_cut_is_found() {
    let mut log = Log::new();
    log.append(7, 2, 40, 5).unwrap();
    let bytes = log.producers.encode();
    let read = |bytes: &[u8]| Producers::decode(bytes, Offset::new(5), 10, NOW);
    assert!(read(&bytes).unwrap().is_same_as(&log.producers));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&flipped).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_snapshot_that_cannot_be_of_its_log_is_refused() {
    let mut log = Log::new();
    log.append(7, 2, 40, 5).unwrap();
    let bytes = log.producers.encode();
    let refused = Producers::decode(&bytes, Offset::new(4), 10, NOW).map(|_| ());
    assert_eq!(refused, Err(EnvelopeError::Payload), "a batch beyond the end");
}

#[test]
fn a_snapshot_of_more_producers_than_are_remembered_now_keeps_the_latest() {
    let mut log = Log::new();
    for id in 0..100 {
        log.append(id, 0, 0, 1).unwrap();
    }
    let read = Producers::decode(&log.producers.encode(), Offset::new(100), 10, NOW).unwrap();
    assert!((1..=10).contains(&read.len()));
    assert_eq!(read.active().last().unwrap().id.get(), 99);
}

proptest! {
    /// Whoever goes through the log knows the same as whoever appended to it, also from a snapshot on; and what is in
    /// the log is each producer's batches in their order, each once.
    #[test]
    fn the_state_is_a_function_of_the_log(
        attempts in prop::collection::vec((0_i64..4, 0_i16..3, prop::option::of(0_i32..20), 1_i64..4, any::<bool>()), 1..120),
        cut in 0_usize..120,
        max in 1_usize..6,
    ) {
        let mut live = Producers::new(max);
        let mut headers: Vec<BatchHeader> = Vec::new();
        let mut next: HashMap<(i64, i16), i32> = HashMap::new();
        for (id, epoch, sequence, count, is_written) in attempts {
            let end = headers.last().map_or(0, |header| header.next_offset().get());
            // Mostly what is due, so that there is something to be a copy of.
            let due = next.get(&(id, epoch)).copied().unwrap_or(0);
            let header = header(id, epoch, sequence.unwrap_or(due), count, end);
            match live.check(&header, NOW) {
                Ok(Sequenced::Next) if is_written => {
                    live.settle();
                    next.insert((id, epoch), sequence_after(header.base_sequence, count as i32));
                    headers.push(header);
                }
                Ok(Sequenced::Duplicate { base_offset, last_offset, .. }) => {
                    let is_copied = |of: &&BatchHeader| (of.base_offset, of.last_offset()) == (base_offset, last_offset);
                    let of = headers.iter().find(is_copied).expect("a copy of something");
                    prop_assert_eq!(
                        (of.producer_id, of.producer_epoch, of.base_sequence, of.count),
                        (header.producer_id, header.producer_epoch, header.base_sequence, header.count)
                    );
                }
                _ => live.take_back(),
            }
        }
        let (before, after) = headers.split_at(cut.min(headers.len()));
        let mut replayed = Producers::new(max);
        before.iter().for_each(|header| replayed.replay(header, NOW));
        let end = before.last().map_or(Offset::ZERO, BatchHeader::next_offset);
        let mut replayed = Producers::decode(&replayed.encode(), end, max, NOW).unwrap();
        after.iter().for_each(|header| replayed.replay(header, NOW));
        prop_assert!(replayed.is_same_as(&live));
    }
}
