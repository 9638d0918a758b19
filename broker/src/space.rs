//! Whether the disk has room for more records.
//!
//! Produce is refused before the disk is full to the last byte, so that deletes, retention and metadata still work. It
//! is taken again only well above the bound: at the same one, every freed megabyte would bring a burst of half-done
//! appends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use folio_storage::DataDir;

use crate::engine::Disk;
use crate::error::{Fault, ServiceError};

/// What was last seen of the disk.
#[derive(Debug, Default)]
pub(crate) struct DiskSpace {
    is_low: AtomicBool,
    free: AtomicU64,
    needed: AtomicU64,
}

impl DiskSpace {
    /// Looks at the disk. A look that fails changes nothing: the append will say what is wrong.
    pub(crate) fn look(&self, dir: &DataDir<Disk>, min_free: Option<u64>) {
        if let Ok(space) = dir.free_space() {
            self.seen(space.free, min_free.unwrap_or_else(|| default_min_free(space.total)));
        }
    }

    fn seen(&self, free: u64, min_free: u64) {
        let was_low = self.is_low.load(Ordering::Relaxed);
        let needed = if was_low { min_free.saturating_add(min_free / 2) } else { min_free };
        let is_low = free < needed;
        self.free.store(free, Ordering::Relaxed);
        self.needed.store(min_free.saturating_add(min_free / 2), Ordering::Relaxed);
        self.is_low.store(is_low, Ordering::Relaxed);
        match (was_low, is_low) {
            (false, true) => tracing::error!(free, min_free, "the disk is nearly full: produce is refused"),
            (true, false) => tracing::info!(free, "the disk has room again: produce is taken"),
            _ => {}
        }
    }

    /// Whether so many bytes can be written besides, and produce is still taken.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        let (free, needed) = (self.free.load(Ordering::Relaxed), self.needed.load(Ordering::Relaxed));
        !self.is_low.load(Ordering::Relaxed) && free.saturating_sub(bytes) >= needed
    }

    /// Whether records may be added.
    ///
    /// # Errors
    /// The disk is too full.
    pub(crate) fn check(&self) -> Result<(), ServiceError> {
        if !self.is_low.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (free, needed) = (self.free.load(Ordering::Relaxed), self.needed.load(Ordering::Relaxed));
        Err(ServiceError::new(
            Fault::StorageFull,
            format!("the disk is nearly full: {free} bytes are free, {needed} are needed"),
        ))
    }
}

/// min(max(2 %, 64 MiB), 1 GiB).
fn default_min_free(total: u64) -> u64 {
    (total / 50).clamp(64 << 20, 1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn produce_stops_at_the_bound_and_goes_on_only_well_above_it() {
        let space = DiskSpace::default();
        for (free, is_taken) in
            [(100, true), (99, false), (100, false), (149, false), (150, true), (100, true)]
        {
            space.seen(free, 100);
            assert_eq!(space.check().is_ok(), is_taken, "{free} bytes free");
        }
    }

    #[test]
    fn what_is_written_besides_leaves_room_for_producers() {
        let space = DiskSpace::default();
        space.seen(400, 100);
        assert!(space.has_room_for(250) && !space.has_room_for(251));
        space.seen(90, 100);
        assert!(!space.has_room_for(0));
    }

    #[test]
    fn the_refusal_is_retriable_and_says_what_is_free_and_needed() {
        let space = DiskSpace::default();
        space.seen(10, 100);
        let error = space.check().unwrap_err();
        assert!(error.native().is_retriable());
        assert!(error.text.contains("10 bytes") && error.text.contains("150"), "{}", error.text);
    }

    #[test]
    fn the_default_bound_is_two_percent_within_limits() {
        assert_eq!(default_min_free(1 << 30), 64 << 20);
        assert_eq!(default_min_free(10 << 30), (10 << 30) / 50);
        assert_eq!(default_min_free(1 << 40), 1 << 30);
    }
}
