//! Whether the disk has room for more records.
//!
//! Produce is refused before the disk is full to the last byte, so that deletes, retention and metadata still work. It
//! is taken again only well above the bound: at the same one, every freed megabyte would bring a burst of half-done
//! appends. A write that finds no room all the same, for a quota or because others were faster, has the same effect,
//! until the next look.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use folio_storage::DataDir;

use crate::engine::Disk;
use crate::error::{Fault, ServiceError};

/// What was last seen of the disk.
#[derive(Debug)]
pub(crate) struct DiskSpace {
    dir: PathBuf,
    is_low: AtomicBool,
    free: AtomicU64,
    needed: AtomicU64,
    /// What lanes have written since the last look,
    written: AtomicU64,
    /// and how much of that makes the next one due.
    step: AtomicU64,
    /// The last refusal of a write was not told: one was, a moment before.
    is_quiet: AtomicBool,
    /// When one was told.
    told: Mutex<Option<Instant>>,
}

impl DiskSpace {
    /// Of the disk that has this directory, about which nothing is known yet.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            is_low: AtomicBool::new(false),
            free: AtomicU64::new(0),
            needed: AtomicU64::new(0),
            written: AtomicU64::new(0),
            step: AtomicU64::new(0),
            is_quiet: AtomicBool::new(false),
            told: Mutex::new(None),
        }
    }

    /// Looks at the disk. A look that fails changes nothing: the append will say what is wrong.
    pub(crate) fn look(&self, dir: &DataDir<Disk>, min_free: Option<u64>) {
        self.written.store(0, Ordering::Relaxed);
        if let Ok(space) = dir.free_space() {
            self.seen(space.free, min_free.unwrap_or_else(|| default_min_free(space.total)));
        }
    }

    fn seen(&self, free: u64, min_free: u64) {
        let was_low = self.is_low.load(Ordering::Relaxed);
        let needed = if was_low { min_free.saturating_add(min_free / 2) } else { min_free };
        let is_low = free < needed;
        self.free.store(free, Ordering::Relaxed);
        // Where no bound is set, nobody can overrun it.
        let step = if min_free == 0 { u64::MAX } else { min_free / LOOKS_PER_BOUND };
        self.step.store(step, Ordering::Relaxed);
        self.needed.store(min_free.saturating_add(min_free / 2), Ordering::Relaxed);
        self.is_low.store(is_low, Ordering::Relaxed);
        match (was_low, is_low) {
            (false, true) => {
                tracing::error!(dir = %self.dir.display(), free, min_free, "the disk is nearly full: produce is refused");
            }
            (true, false) if !self.is_quiet.swap(false, Ordering::Relaxed) => {
                tracing::info!(dir = %self.dir.display(), free, "the disk has room again: produce is taken");
            }
            _ => {}
        }
    }

    /// Whether so many bytes can be written besides, and produce is still taken.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        !self.is_low.load(Ordering::Relaxed) && self.free() >= self.needed_for(bytes)
    }

    /// How much has to be free for so many bytes to be written besides.
    pub(crate) fn needed_for(&self, bytes: u64) -> u64 {
        self.needed.load(Ordering::Relaxed).saturating_add(bytes)
    }

    /// How much was free when last looked at.
    pub(crate) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// A lane has written so much: whether it is to look before it goes on. What is appended elsewhere goes into room
    /// that a lane has reserved.
    pub(crate) fn wrote(&self, bytes: u64) -> bool {
        self.written.fetch_add(bytes, Ordering::Relaxed) + bytes > self.step.load(Ordering::Relaxed)
    }

    /// Whether records may be added.
    ///
    /// # Errors
    /// The disk is too full.
    pub(crate) fn check(&self) -> Result<(), ServiceError> {
        if !self.is_low.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(self.refusal())
    }

    /// A write found no room: until the next look nothing more is tried. Gives what is to be said about it.
    pub(crate) fn filled(&self) -> ServiceError {
        if !self.is_low.swap(true, Ordering::Relaxed) && self.may_tell(Instant::now()) {
            let free = self.free.load(Ordering::Relaxed);
            tracing::error!(dir = %self.dir.display(), free, "a write found no room: produce is refused");
        }
        self.refusal()
    }

    /// A quota has it refuse a write, take produce again, and refuse the next write, at every look: once a while is
    /// enough.
    fn may_tell(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|told| now.duration_since(told) >= TELL_EACH);
        if is_due {
            *told = Some(now);
        }
        self.is_quiet.store(!is_due, Ordering::Relaxed);
        is_due
    }

    fn refusal(&self) -> ServiceError {
        let (free, needed) = (self.free.load(Ordering::Relaxed), self.needed.load(Ordering::Relaxed));
        let dir = self.dir.display();
        let text = if free < needed {
            format!("disk full on {dir}: {free} bytes free, need {needed}")
        } else {
            format!("disk full on {dir}: {free} bytes free when last looked at, and a write found no room")
        };
        ServiceError::new(Fault::StorageFull, text)
    }
}

/// Who writes faster than anybody looks would overrun the bound; so there is a look for each such part of it.
const LOOKS_PER_BOUND: u64 = 16;

/// A write that is refused again and again is told so often.
const TELL_EACH: Duration = Duration::from_secs(60);

/// min(max(2 %, 64 MiB), 1 GiB).
fn default_min_free(total: u64) -> u64 {
    (total / 50).clamp(64 << 20, 1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn produce_stops_at_the_bound_and_goes_on_only_well_above_it() {
        let space = DiskSpace::new("/data".into());
        for (free, is_taken) in
            [(100, true), (99, false), (100, false), (149, false), (150, true), (100, true)]
        {
            space.seen(free, 100);
            assert_eq!(space.check().is_ok(), is_taken, "{free} bytes free");
        }
    }

    /// How often produce is refused anew by a disk that hovers at the bound of 100 bytes.
    fn refusals(mut is_taken: impl FnMut(u64) -> bool) -> usize {
        let looks: Vec<bool> = (0..100).map(|look| is_taken(95 + look * 7 % 10)).collect();
        looks.windows(2).filter(|looks| looks[0] && !looks[1]).count() + usize::from(!looks[0])
    }

    #[test]
    fn a_disk_that_hovers_at_the_bound_is_full_once_and_with_one_bound_for_both_again_and_again() {
        let space = DiskSpace::new("/data".into());
        let seen = |free| {
            space.seen(free, 100);
            space.check().is_ok()
        };
        assert_eq!(refusals(seen), 1);
        assert!(refusals(|free| free >= 100) > 20, "the control finds nothing");
    }

    #[test]
    fn a_look_is_due_for_each_part_of_the_bound_that_was_written() {
        let space = DiskSpace::new("/data".into());
        space.seen(1000, 160);
        assert!(!space.wrote(9) && !space.wrote(1) && space.wrote(1));
    }

    #[test]
    fn without_a_bound_no_write_makes_a_look_due() {
        let space = DiskSpace::new("/data".into());
        space.seen(1000, 0);
        assert!(!space.wrote(0) && !space.wrote(1 << 40));
    }

    #[test]
    fn a_write_that_is_refused_at_every_look_is_told_once_a_minute() {
        let space = DiskSpace::new("/data".into());
        let begun = Instant::now();
        let told = |seconds| space.may_tell(begun + Duration::from_secs(seconds));
        assert!(told(0) && !told(1) && !told(59) && told(60) && !told(61));
        assert!(space.is_quiet.load(Ordering::Relaxed));
    }

    #[test]
    fn what_is_written_besides_leaves_room_for_producers() {
        let space = DiskSpace::new("/data".into());
        space.seen(400, 100);
        assert!(space.has_room_for(250) && !space.has_room_for(251));
        space.seen(90, 100);
        assert!(!space.has_room_for(0));
    }

    #[test]
    fn the_refusal_is_retriable_and_says_what_is_free_and_needed() {
        let space = DiskSpace::new("/data".into());
        space.seen(10, 100);
        let error = space.check().unwrap_err();
        assert!(error.native().is_retriable());
        assert_eq!(error.text, "disk full on /data: 10 bytes free, need 150");
    }

    #[test]
    fn a_write_that_finds_no_room_stops_produce_until_the_next_look() {
        let space = DiskSpace::new("/data".into());
        space.seen(1000, 100);
        let error = space.filled();
        assert_eq!(
            error.text,
            "disk full on /data: 1000 bytes free when last looked at, and a write found no room"
        );
        assert_eq!(space.check(), Err(error));
        space.seen(149, 100);
        assert!(space.check().is_err(), "well above the bound, as ever");
        space.seen(150, 100);
        assert!(space.check().is_ok());
    }

    #[test]
    fn the_default_bound_is_two_percent_within_limits() {
        assert_eq!(default_min_free(1 << 30), 64 << 20);
        assert_eq!(default_min_free(10 << 30), (10 << 30) / 50);
        assert_eq!(default_min_free(1 << 40), 1 << 30);
    }
}
