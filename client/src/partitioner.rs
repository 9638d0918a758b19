//! Which partition a record goes to when its producer did not say.
//!
//! A record with a key goes where its key goes with Kafka's clients: murmur2 of the key, its sign bit cleared, modulo
//! the number of partitions. So producers in any language agree, and a key keeps its order across all of them.
//!
//! A record without a key goes wherever it is cheapest: [`Keyless::Sticky`] fills a batch's worth of one partition
//! before it moves on, [`Keyless::RoundRobin`] takes turns record by record.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Where records without a key go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keyless {
    /// A batch's worth of bytes to one partition, then the same to the next: few, full batches.
    #[default]
    Sticky,
    /// Each record to the next partition: evenly spread even among few records, at the price of small batches.
    RoundRobin,
}

/// The partition, out of `partitions`, that a record with this key belongs to: the same one as with Kafka's clients.
///
/// ```
/// assert_eq!(folio_client::partition_for_key(b"foobar", 4), 2);
/// ```
///
/// # Panics
///
/// If `partitions` is 0.
pub fn partition_for_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// Where the next record without a key of one topic goes. Shared by all threads that send to it; they may race, and
/// then a few records go to the old partition or the new one, which nobody can tell apart.
#[derive(Debug)]
pub(crate) struct KeylessTurn {
    policy: Keyless,
    /// Bytes after which [`Keyless::Sticky`] moves on.
    stint_bytes: usize,
    current: AtomicU32,
    bytes: AtomicUsize,
}

impl KeylessTurn {
    /// `start` spreads producers that begin at the same time.
    pub(crate) fn new(policy: Keyless, stint_bytes: usize, start: u32) -> Self {
        Self { policy, stint_bytes, current: AtomicU32::new(start), bytes: AtomicUsize::new(0) }
    }

    /// The partition, out of `partitions`, for a record of about `record_bytes`.
    pub(crate) fn next(&self, record_bytes: usize, partitions: u32) -> u32 {
        let current = match self.policy {
            Keyless::RoundRobin => self.current.fetch_add(1, Ordering::Relaxed),
            Keyless::Sticky => {
                let before = self.bytes.fetch_add(record_bytes, Ordering::Relaxed);
                if before > 0 && before.saturating_add(record_bytes) > self.stint_bytes {
                    self.bytes.store(record_bytes, Ordering::Relaxed);
                    self.current.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
                } else {
                    self.current.load(Ordering::Relaxed)
                }
            }
        };
        current % partitions
    }
}

/// The 32-bit MurmurHash2 with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Lengths beyond u32 cannot occur: a record is far smaller. The hash is defined modulo 2^32 anyway.
    let mut hash = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_with_kafkas_clients() {
        let golden: &[(&str, i32)] = &[
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("1", -1_993_445_489),
            ("12", 126_087_238),
            ("123", -267_702_483),
            ("1234", -1_614_185_708),
            ("12345", -1_188_365_604),
            ("string-f-24-chars-length", 124_730_809),
            ("string-fo-25-chars-length", 1_269_511_650),
            ("string-foo-26-chars-length", 119_165_628),
            ("string-last-27-chars-length", 1_089_971_754),
            ("kafka", -798_503_068),
        ];
        for (key, hash) in golden {
            assert_eq!(murmur2(key.as_bytes()) as i32, *hash, "{key}");
        }
    }

    #[test]
    fn the_sign_bit_is_cleared_not_negated() {
        // -973932308 & 0x7fffffff = 1173551340; its absolute value would land elsewhere.
        assert_eq!(partition_for_key(b"21", 7), 1_173_551_340 % 7);
        assert_eq!(partition_for_key(b"", 1), 0);
    }

    #[test]
    fn sticky_changes_partition_after_a_batch_of_bytes_and_reaches_all() {
        let turn = KeylessTurn::new(Keyless::Sticky, 1000, 0);
        let partitions: Vec<u32> = (0..40).map(|_| turn.next(100, 4)).collect();
        assert_eq!(partitions, [[0; 10], [1; 10], [2; 10], [3; 10]].concat());
    }

    #[test]
    fn a_record_larger_than_a_stint_does_not_skip_a_partition() {
        let turn = KeylessTurn::new(Keyless::Sticky, 1000, 0);
        let partitions: Vec<u32> = (0..3).map(|_| turn.next(5000, 3)).collect();
        assert_eq!(partitions, [0, 1, 2]);
    }

    #[test]
    fn round_robin_takes_turns_and_survives_the_wrap_of_its_counter() {
        let turn = KeylessTurn::new(Keyless::RoundRobin, 1000, u32::MAX);
        let partitions: Vec<u32> = (0..4).map(|_| turn.next(1, 5)).collect();
        assert_eq!(partitions, [u32::MAX % 5, 0, 1, 2]);
    }
}
