//! How many maps the process may hold.
//!
//! Beyond `vm.max_map_count` the kernel refuses not only the next `mmap` but also the one that `malloc` needs,
//! and a Rust program aborts. So maps are counted here, and half of the limit is left to everyone else.

use std::fmt;
use std::iter::successors;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

/// A number of maps that may be held at once, and how many are. Each is of one file and holds its descriptor too.
#[derive(Debug)]
pub struct MapBudget {
    limit: usize,
    in_use: AtomicUsize,
    /// What counts here counts there too.
    within: Option<Arc<MapBudget>>,
}

/// The budget of this process: half of `vm.max_map_count` as it was at the first look.
pub fn map_budget() -> &'static Arc<MapBudget> {
    static PROCESS: LazyLock<Arc<MapBudget>> = LazyLock::new(|| {
        let max = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(MAX_MAP_COUNT_DEFAULT);
        MapBudget::new(max / 2)
    });
    &PROCESS
}

impl MapBudget {
    /// One of its own, for what is no map of the kernel's: memory that stands in for files.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, in_use: AtomicUsize::new(0), within: None })
    }

    /// A part of that of the process.
    pub fn of_process(limit: usize) -> Arc<Self> {
        let process = Arc::clone(map_budget());
        Arc::new(Self { limit: limit.min(process.limit), in_use: AtomicUsize::new(0), within: Some(process) })
    }

    /// How many maps may be held at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many are held now.
    pub fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// How many more may be held.
    pub fn left(&self) -> usize {
        self.all().map(|budget| budget.limit.saturating_sub(budget.in_use())).min().unwrap_or(0)
    }

    /// One map's share, given back when dropped; `None` if all are in use.
    pub(crate) fn take(self: &Arc<Self>) -> Option<MapTicket> {
        let within = match &self.within {
            Some(within) => Some(Box::new(within.take()?)),
            None => None,
        };
        let one_more = |held| (held < self.limit).then_some(held + 1);
        // Relaxed: the count guards no memory.
        self.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(MapTicket { budget: Arc::clone(self), _within: within })
    }

    fn all(&self) -> impl Iterator<Item = &Self> {
        successors(Some(self), |budget| budget.within.as_deref())
    }
}

/// The right to hold one map. Whoever keeps its descriptor open beyond the map keeps this too.
pub struct MapTicket {
    budget: Arc<MapBudget>,
    _within: Option<Box<MapTicket>>,
}

impl fmt::Debug for MapTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapTicket").finish_non_exhaustive()
    }
}

impl Drop for MapTicket {
    fn drop(&mut self) {
        self.budget.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What Linux allows unless told otherwise.
const MAX_MAP_COUNT_DEFAULT: usize = 65_530;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MapError, SegmentMap};

    #[test]
    #[cfg_attr(miri, ignore = "maps a file")]
    fn a_map_above_the_budget_is_an_error_and_dropping_one_makes_room() {
        let budget = MapBudget::new(2);
        let open = || SegmentMap::open_within(&budget, tempfile::tempfile().unwrap(), 4096, 0);
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
        let budget = MapBudget::new(1);
        let write_only = std::fs::File::create(tempfile::tempdir().unwrap().path().join("w")).unwrap();
        assert!(matches!(SegmentMap::open_within(&budget, write_only, 4096, 0), Err(MapError::Io(_))));
        assert_eq!(budget.in_use(), 0);
    }

    #[test]
    fn a_part_of_a_budget_counts_in_the_whole_and_is_held_to_both() {
        let whole = MapBudget::new(3);
        let part = |limit| {
            Arc::new(MapBudget { limit, in_use: AtomicUsize::new(0), within: Some(Arc::clone(&whole)) })
        };
        let (one, other) = (part(2), part(9));
        let first = [one.take().unwrap(), one.take().unwrap()];
        assert!(one.take().is_none() && whole.in_use() == 2 && other.left() == 1);
        let _last = other.take().unwrap();
        assert!(other.take().is_none() && other.in_use() == 1 && whole.left() == 0);
        drop(first);
        assert!(one.in_use() == 0 && whole.in_use() == 1 && one.left() == 2);
    }

    #[test]
    fn memory_that_stands_in_for_files_is_counted_where_that_is_wanted() {
        let budget = MapBudget::new(1);
        let map = SegmentMap::heap_within(&budget, 10).unwrap();
        assert!(matches!(SegmentMap::heap_within(&budget, 10), Err(MapError::BudgetSpent { limit: 1 })));
        drop(map);
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
