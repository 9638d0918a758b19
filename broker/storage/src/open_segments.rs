//! Which segments of a data directory are open, and which give way when too many are.
//!
//! A map costs a descriptor and a place in the kernel's list of mappings, and both come to an end: beyond that limit
//! not even `malloc` gets memory. So all logs of a directory share what they may hold.
//!
//! ```text
//!  0              3/4 of the budget      4/5              all of it
//!  | stays open    | the least recently   | who operates   | an error to whoever asks
//!  | once read     | used one gives way   | is warned      | for one more
//! ```
//! A segment that is appended to gives way as well, if it is durable and nobody needs it just now; one that an answer
//! is being sent from does not.
//!
//! Invariants:
//! * What is counted is what is held: the count goes down when a map is gone, and not when nobody finds it any more.
//! * Nothing is unmapped here while there is somebody whose work that is (see [`OpenSegments::on_retired`]).
//! * Nobody waits for a lock of a log while it is looked for something that may give way, nor for the list of those
//!   while one does.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use folio_mapped::{MapBudget, SegmentMap};

use crate::files::is_exhausted;

/// What the logs of one data directory hold open together.
pub struct OpenSegments {
    budget: Arc<MapBudget>,
    /// Moves on whenever something is opened: by it is told who was used last.
    clock: AtomicU64,
    /// Those that may give way, by when each was used last as far as was known when it was put here. One that was used
    /// since is put further back when its turn comes.
    holders: Mutex<BTreeMap<(u64, u64), Weak<dyn Holder>>>,
    /// What nobody finds any more, until its last holder has let go.
    retired: Mutex<Vec<Arc<SegmentMap>>>,
    /// How many of those had no other holder when they were retired: they are as good as gone.
    leaving: AtomicUsize,
    reaped: Condvar,
    announce: OnceLock<Box<dyn Fn() + Send + Sync>>,
    refused: AtomicU64,
    gave_way: AtomicU64,
}

/// Somebody who holds maps that can be made again.
pub(crate) trait Holder: Send + Sync {
    /// When it was used last, by [`OpenSegments::clock`].
    fn last_used(&self) -> u64;

    /// Gives its maps up; `None` if they are needed.
    fn give_way(&self) -> Option<Vec<Arc<SegmentMap>>>;

    /// Whether it is among those that may give way. Changed only by who has the list of those.
    fn is_listed(&self) -> &AtomicBool;
}

/// How much is held, and what became of who wanted more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTotals {
    /// Files that are mapped now, or still open to be synced.
    pub maps: usize,
    /// How many may be.
    pub limit: usize,
    /// How often there was no room for another one.
    pub refused: u64,
    /// How often one gave way to another.
    pub gave_way: u64,
}

impl OpenTotals {
    /// Whether so much is held that somebody should know: four fifths of what may be, although everything has given way
    /// that could.
    pub fn is_tight(&self) -> bool {
        self.maps >= self.limit - self.limit / 5
    }
}

impl OpenSegments {
    pub(crate) fn new(budget: Arc<MapBudget>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            clock: AtomicU64::new(0),
            holders: Mutex::default(),
            retired: Mutex::default(),
            leaving: AtomicUsize::new(0),
            reaped: Condvar::new(),
            announce: OnceLock::new(),
            refused: AtomicU64::new(0),
            gave_way: AtomicU64::new(0),
        })
    }

    /// From now on somebody else unmaps: `announce` is called when there is something to [`reap`](Self::reap).
    /// Without that, whoever makes something give way unmaps it.
    pub fn on_retired(&self, announce: impl Fn() + Send + Sync + 'static) {
        let _ = self.announce.set(Box::new(announce));
    }

    /// Unmaps what nobody holds any more, which may take long. Says how much is left for later, because it is still
    /// being sent or looked at.
    pub fn reap(&self) -> usize {
        let all = std::mem::take(&mut *lock(&self.retired));
        let (held, free): (Vec<_>, Vec<_>) = all.into_iter().partition(|map| Arc::strong_count(map) > 1);
        let gone = free.len();
        drop(free);
        let left = {
            let mut retired = lock(&self.retired);
            retired.extend(held);
            retired.len()
        };
        let fewer = |leaving: usize| Some(leaving.saturating_sub(gone));
        let _ = self.leaving.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        self.reaped.notify_all();
        left
    }

    /// How much is held.
    pub fn totals(&self) -> OpenTotals {
        OpenTotals {
            maps: self.budget.in_use(),
            limit: self.budget.limit(),
            refused: self.refused.load(Ordering::Relaxed),
            gave_way: self.gave_way.load(Ordering::Relaxed),
        }
    }

    /// Makes room for so many maps, as far as others can give way. May wait for those to be unmapped.
    pub(crate) fn make_room(&self, maps: usize) {
        let limit = self.budget.limit();
        let ample = limit - limit / 4;
        let held = self.budget.in_use().saturating_sub(self.leaving.load(Ordering::Relaxed));
        let too_many = (held + maps).saturating_sub(ample);
        if too_many > 0 {
            let gone = self.have_give_way(too_many);
            self.gave_way.fetch_add(gone.len() as u64, Ordering::Relaxed);
            let free = gone.iter().filter(|map| Arc::strong_count(map) == 1).count();
            self.leaving.fetch_add(free, Ordering::Relaxed);
            self.retire(gone);
        }
        let mut retired = lock(&self.retired);
        let mut patience = PATIENCE;
        while self.budget.left() < maps && self.leaving.load(Ordering::Relaxed) > 0 && !patience.is_zero() {
            let step = patience.min(LOOK_AGAIN);
            retired = self.reaped.wait_timeout(retired, step).unwrap_or_else(PoisonError::into_inner).0;
            patience -= step;
        }
    }

    /// The present moment, for those who note when they were used.
    pub(crate) fn clock(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// `holder` has opened something that can give way.
    pub(crate) fn opened(&self, holder: Weak<dyn Holder>) {
        let mut holders = lock(&self.holders);
        // Nobody else has this number: it tells those apart that were used at the same moment.
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        let is_new = holder.upgrade().is_some_and(|holder| !holder.is_listed().swap(true, Ordering::Relaxed));
        if is_new {
            holders.insert((now, now), holder);
        }
    }

    /// Nobody finds these any more: they are unmapped once nobody holds them.
    pub(crate) fn retire(&self, maps: Vec<Arc<SegmentMap>>) {
        if maps.is_empty() {
            return;
        }
        lock(&self.retired).extend(maps);
        match self.announce.get() {
            Some(announce) => announce(),
            None => drop(self.reap()),
        }
    }

    /// Something could not be opened: takes down whether it was for want of room, and gives the error on.
    pub(crate) fn refused(&self, error: io::Error) -> io::Error {
        if is_exhausted(&error) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        error
    }

    /// Has about so many maps given up, of those who were not used the longest. Nobody who opens something waits
    /// meanwhile.
    fn have_give_way(&self, maps: usize) -> Vec<Arc<SegmentMap>> {
        let (mut gone, mut needed) = (Vec::new(), Vec::new());
        while gone.len() < maps {
            let Some((number, holder)) = self.take_least_used() else { break };
            match holder.give_way() {
                Some(maps) => gone.extend(maps),
                None => needed.push((number, holder)),
            }
        }
        let mut holders = lock(&self.holders);
        for (number, holder) in needed {
            // Its turn comes again when everybody else has had theirs.
            if !holder.is_listed().swap(true, Ordering::Relaxed) {
                holders.insert((self.clock(), number), Arc::downgrade(&holder));
            }
        }
        gone
    }

    /// Takes the one who was not used the longest off the list, with its number there.
    fn take_least_used(&self) -> Option<(u64, Arc<dyn Holder>)> {
        let mut holders = lock(&self.holders);
        loop {
            let ((known, number), next) = holders.pop_first()?;
            let Some(holder) = next.upgrade() else { continue };
            let used = holder.last_used();
            if used > known {
                holders.insert((used, number), next);
                continue;
            }
            holder.is_listed().store(false, Ordering::Relaxed);
            return Some((number, holder));
        }
    }
}

impl fmt::Debug for OpenSegments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSegments").field("totals", &self.totals()).finish_non_exhaustive()
    }
}

/// So long is waited for maps that are as good as gone.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one insert or remove.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
