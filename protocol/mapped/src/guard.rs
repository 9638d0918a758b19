//! Which maps have lost pages, and what is done when one is touched.
//!
//! A page of a map is lost when a foreign hand truncates the file, or when the disk cannot read it. Handed to the
//! kernel such a page is an error; touched by us it is a signal, `SIGBUS`, which ends the process. The guard makes of
//! it what it would have been otherwise: the map is *poisoned*, for good, and whoever reads from it is told.
//!
//! ```text
//!            addresses of maps                the handler of SIGBUS
//!   entry:   | start | end | lost from |      finds the entry that the address lies in (or calls who was there before)
//!   entry:   | start | end | lost from |      stores `lost from`
//!     ...                                     maps one page of zeros over the one that is gone, and returns;
//!   chunks of 64, 128, 256, .. entries,       who copied it out looks at `lost from` afterwards
//!   made when they are needed, never freed
//! ```
//!
//! Invariants:
//! * an entry speaks of a range for as long as that is mapped: it is there before the first touch, and gone before the
//!   range is unmapped;
//! * the handler takes no lock and allocates nothing; nobody holds what it would wait for;
//! * nothing is poisoned in a good file: what is poisoned has lost something.

mod signal;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

pub use signal::guard_against_sigbus;

/// The guard's hold on the range of one map, given up when dropped: before the range is unmapped.
#[derive(Debug)]
pub(crate) struct Guarded(&'static Entry);

impl Guarded {
    /// Guards `addresses`, which have just been mapped.
    pub(crate) fn new(addresses: Range<usize>) -> Self {
        let entry = TABLE.take();
        entry.lost_from.store(NOTHING, Ordering::Relaxed);
        // The handler reads the two the other way round, so that it never sees a start with another range's end.
        entry.end.store(addresses.end, Ordering::Release);
        entry.start.store(addresses.start, Ordering::Release);
        Self(entry)
    }

    /// The map has lost its bytes from `position` on.
    pub(crate) fn poison(&self, position: usize) {
        self.0.poison(position);
    }

    /// The first byte that is known to be lost. What was copied before this call is good if there is none.
    pub(crate) fn lost_from(&self) -> Option<usize> {
        // Keeps the loads of a copy before those of the check. On x86-64 it costs no instruction.
        fence(Ordering::Acquire);
        if !is_any_poisoned() {
            return None;
        }
        let position = self.0.lost_from.load(Ordering::Acquire);
        (position != NOTHING).then_some(position)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.start.store(FREE, Ordering::Release);
        TABLE.give_back(self.0);
    }
}

/// Whether any map of this process ever was poisoned: one load of a word that never changes.
pub(crate) fn is_any_poisoned() -> bool {
    IS_ANY_POISONED.load(Ordering::Acquire)
}

static IS_ANY_POISONED: AtomicBool = AtomicBool::new(false);

/// What is known of one range.
#[derive(Debug)]
struct Entry {
    start: AtomicUsize,
    end: AtomicUsize,
    /// A place in the file, which every map begins with.
    lost_from: AtomicUsize,
}

impl Entry {
    const fn free() -> Self {
        Self {
            start: AtomicUsize::new(FREE),
            end: AtomicUsize::new(FREE),
            lost_from: AtomicUsize::new(NOTHING),
        }
    }

    fn poison(&self, position: usize) {
        self.lost_from.fetch_min(position, Ordering::Release);
        IS_ANY_POISONED.store(true, Ordering::Release);
    }

    /// Where in its map `address` is, if it is there.
    fn position(&self, address: usize) -> Option<usize> {
        let start = self.start.load(Ordering::Acquire);
        let end = self.end.load(Ordering::Acquire);
        // An entry that changes hands meanwhile is not of the map that is touched: that one's entry stays.
        let is_whole = start != FREE && self.start.load(Ordering::Acquire) == start;
        (is_whole && (start..end).contains(&address)).then(|| address - start)
    }
}

/// No map begins there.
const FREE: usize = 0;
/// No file is so long.
const NOTHING: usize = usize::MAX;

static TABLE: Table = Table {
    chunks: [const { OnceLock::new() }; CHUNKS],
    free: Mutex::new(Free { entries: Vec::new(), made: 0 }),
};

/// All entries. They are as many as there were maps at once, which the budget bounds.
struct Table {
    /// The n-th holds `FIRST_CHUNK << n` entries.
    chunks: [OnceLock<Box<[Entry]>>; CHUNKS],
    /// Never taken by the handler.
    free: Mutex<Free>,
}

struct Free {
    entries: Vec<&'static Entry>,
    /// How many chunks there are.
    made: usize,
}

impl Table {
    fn take(&'static self) -> &'static Entry {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(entry) = free.entries.pop() {
                return entry;
            }
            let entries = FIRST_CHUNK << free.made;
            let chunk = self.chunks[free.made].get_or_init(|| (0..entries).map(|_| Entry::free()).collect());
            free.made += 1;
            free.entries.extend(chunk.iter());
        }
    }

    fn give_back(&self, entry: &'static Entry) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).entries.push(entry);
    }

    /// The entry that `address` lies in, and where there. Safe in a signal handler.
    fn find(&self, address: usize) -> Option<(&Entry, usize)> {
        let entries = self.chunks.iter().map_while(OnceLock::get).flatten();
        entries.filter_map(|entry| Some((entry, entry.position(address)?))).next()
    }
}

const FIRST_CHUNK: usize = 64;
/// Two thousand million entries: more than a kernel has maps.
const CHUNKS: usize = 25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_by_any_of_its_addresses_until_it_is_given_up() {
        // Addresses that no map of a process has.
        let (start, end) = (usize::MAX - 8191, usize::MAX - 4095);
        let guarded = Guarded::new(start..end);
        let position = |address| TABLE.find(address).map(|(_, position)| position);
        assert_eq!(position(start), Some(0));
        assert_eq!(position(end - 1), Some(4095));
        assert_eq!((position(start - 1), position(end), position(FREE)), (None, None, None));
        drop(guarded);
        assert_eq!(position(start), None);
    }

    #[test]
    fn more_ranges_than_a_chunk_holds_are_found_each() {
        let top = usize::MAX - (1 << 20);
        let ranges: Vec<_> = (0..3 * FIRST_CHUNK).map(|n| top - 16 * n..top - 16 * n + 16).collect();
        let guarded: Vec<_> = ranges.iter().map(|range| Guarded::new(range.clone())).collect();
        for (range, guarded) in ranges.iter().zip(&guarded) {
            let (entry, position) = TABLE.find(range.start + 5).unwrap();
            assert!(std::ptr::eq(entry, guarded.0));
            assert_eq!(position, 5);
        }
    }

    #[test]
    fn what_is_lost_is_known_from_the_earliest_place_and_forgotten_with_the_range() {
        let range = usize::MAX - (2 << 20)..usize::MAX - (2 << 20) + 4096;
        let guarded = Guarded::new(range.clone());
        assert_eq!(guarded.lost_from(), None);
        guarded.poison(300);
        guarded.poison(200);
        guarded.poison(400);
        assert_eq!(guarded.lost_from(), Some(200));
        drop(guarded);
        assert_eq!(Guarded::new(range).lost_from(), None);
    }
}
