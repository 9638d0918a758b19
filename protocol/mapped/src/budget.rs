//! How many maps the process may hold.
//!
//! Beyond `vm.max_map_count` the kernel refuses not only the next `mmap` but also the one that `malloc` needs,
//! and a Rust program aborts. So maps are counted here, and half of the limit is left to everyone else.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of maps that may be held at once, and how many are.
#[derive(Debug)]
pub struct MapBudget {
    limit: usize,
    in_use: AtomicUsize,
}

/// The budget of this process: half of `vm.max_map_count` as it was at the first look.
pub fn map_budget() -> &'static MapBudget {
    MapBudget::process()
}

impl MapBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, in_use: AtomicUsize::new(0) }
    }

    pub(crate) fn process() -> &'static Self {
        static PROCESS: LazyLock<MapBudget> = LazyLock::new(|| {
            let max = std::fs::read_to_string("/proc/sys/vm/max_map_count")
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(MAX_MAP_COUNT_DEFAULT);
            MapBudget::new(max / 2)
        });
        &PROCESS
    }

    /// How many maps may be held at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many are held now.
    pub fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// One map's share, given back when dropped; `None` if all are in use.
    pub(crate) fn take(&'static self) -> Option<MapTicket> {
        let one_more = |held| (held < self.limit).then_some(held + 1);
        // Relaxed: the count guards no memory.
        self.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(MapTicket(self))
    }
}

/// The right to hold one map.
pub(crate) struct MapTicket(&'static MapBudget);

impl Drop for MapTicket {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What Linux allows unless told otherwise.
const MAX_MAP_COUNT_DEFAULT: usize = 65_530;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MapError, SegmentMap};

    fn budget_of(limit: usize) -> &'static MapBudget {
        Box::leak(Box::new(MapBudget::new(limit)))
    }

    #[test]
    #[cfg_attr(miri, ignore = "maps a file")]
    fn a_map_above_the_budget_is_an_error_and_dropping_one_makes_room() {
        let budget = budget_of(2);
        let open = || SegmentMap::open_within(budget, tempfile::tempfile().unwrap(), 4096, 0);
        let first = open().unwrap();
        let _second = open().unwrap();
        assert!(matches!(open(), Err(MapError::BudgetSpent { limit: 2 })));
        assert_eq!(budget.in_use(), 2, "a refused map holds no share");

        drop(first);
        assert!(open().is_ok());
    }

    #[test]
    #[cfg_attr(miri, ignore = "maps a file")]
    fn a_map_that_fails_gives_its_share_back() {
        let budget = budget_of(1);
        let write_only = std::fs::File::create(tempfile::tempdir().unwrap().path().join("w")).unwrap();
        assert!(matches!(SegmentMap::open_within(budget, write_only, 4096, 0), Err(MapError::Io(_))));
        assert_eq!(budget.in_use(), 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads /proc")]
    fn the_process_leaves_half_of_the_kernels_maps_alone() {
        let max: usize =
            std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
        assert_eq!(map_budget().limit(), max / 2);
    }
}
