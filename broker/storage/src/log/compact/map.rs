//! For each record key of the dirty part of a log, the offset of its last record.
//!
//! Open addressing over a table of fixed size; of a key only its keyed hash is kept, of 128 bits. A table that is full
//! takes no new key: then only the part of the log that it knows is compacted.

use std::fmt;

use super::hash::hash;

/// The table.
pub(super) struct OffsetMap {
    key: [u64; 2],
    slots: Vec<Slot>,
    len: usize,
    /// So many keys at most: beyond it, looking for a place would take long.
    limit: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    hash: [u64; 2],
    /// -1: nobody's.
    offset: i64,
}

impl OffsetMap {
    /// Room for `keys` keys, in at most `bytes` bytes, under a hash key that nobody knows.
    pub(super) fn new(key: [u64; 2], bytes: usize, keys: u64) -> Self {
        let wanted = usize::try_from(keys.saturating_mul(10) / 9).unwrap_or(usize::MAX).saturating_add(1);
        let count = (bytes / size_of::<Slot>()).min(wanted).max(2);
        let slots = vec![Slot { hash: [0; 2], offset: -1 }; count];
        Self { key, slots, len: 0, limit: (count - 1).min(count / 10 * 9 + count % 10 * 9 / 10).max(1) }
    }

    /// The record with this key lies at `offset`, behind all that were told. `false`: there is no room for another key.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let hash = hash(self.key, key);
        let at = self.find(hash);
        let is_new = self.slots[at].offset < 0;
        if is_new && self.len == self.limit {
            return false;
        }
        self.slots[at] = Slot { hash, offset };
        self.len += usize::from(is_new);
        true
    }

    /// The offset of the last record with this key, if there is one.
    pub(super) fn get(&self, key: &[u8]) -> Option<i64> {
        let slot = &self.slots[self.find(hash(self.key, key))];
        (slot.offset >= 0).then_some(slot.offset)
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slot of this hash, or the one where it goes. There is always a free one.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len();
        // The high half of the product spreads hashes over the table without a division.
        let mut at = ((u128::from(hash[0]) * count as u128) >> 64) as usize;
        while self.slots[at].offset >= 0 && self.slots[at].hash != hash {
            at = if at + 1 == count { 0 } else { at + 1 };
        }
        at
    }
}

impl fmt::Debug for OffsetMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffsetMap")
            .field("len", &self.len)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_offset_of_each_key_is_found_and_no_other_key_is() {
        let mut map = OffsetMap::new([3, 4], 1 << 20, 1000);
        for offset in 0..3000_i64 {
            assert!(map.put(&(offset % 1000).to_be_bytes(), offset));
        }
        assert_eq!(map.len(), 1000);
        for key in 0..1000_i64 {
            assert_eq!(map.get(&key.to_be_bytes()), Some(2000 + key));
        }
        assert_eq!(map.get(b"another"), None);
    }

    #[test]
    fn where_keys_lie_in_a_table_depends_on_what_nobody_knows() {
        let places = |key| {
            let mut map = OffsetMap::new(key, 1 << 20, 100);
            assert!((0..100_i64).all(|offset| map.put(&offset.to_be_bytes(), offset)));
            map.slots.iter().map(|slot| (slot.hash, slot.offset)).collect::<Vec<_>>()
        };
        assert_eq!(places([1, 2]), places([1, 2]));
        for another in [[1, 3], [2, 2]] {
            let hashes = places(another);
            let is_same = |slot: &&([u64; 2], i64)| slot.1 >= 0 && hashes.contains(slot);
            assert_eq!(places([1, 2]).iter().filter(is_same).count(), 0, "{another:?}");
        }
    }

    #[test]
    fn a_full_table_takes_no_new_key_and_still_learns_of_those_it_has() {
        for bytes in [0, 24, 48, 24 * 100] {
            let mut map = OffsetMap::new([1, 2], bytes, 1 << 40);
            let taken = (0..1000_i64).take_while(|key| map.put(&key.to_be_bytes(), *key)).count();
            assert!(taken >= 1 && (bytes < 2400 || taken == 90), "{taken} keys in {bytes} bytes");
            assert!(map.put(&0_i64.to_be_bytes(), 5000));
            assert!(!map.put(b"new", 5001));
            assert_eq!((map.get(&0_i64.to_be_bytes()), map.get(b"new")), (Some(5000), None));
        }
    }

    #[test]
    fn a_table_is_no_larger_than_what_is_to_come() {
        assert!(OffsetMap::new([1, 2], 1 << 30, 10).slots.len() < 20);
        let mut map = OffsetMap::new([1, 2], 1 << 30, 10);
        assert!((0..10_i64).all(|key| map.put(&key.to_be_bytes(), key)));
    }
}
