//! When loops stop reading producers: more bytes wait for an append, or for the disk, than is allowed.
//!
//! ```text
//!  take_in            settle             flushed
//!  ------> unappended ------> unflushed ------->
//!          \________ unsettled ________/
//! ```
//!
//! Loops ask before they decode a producer's next request, and take in what is in it at once: so no more than a bound
//! and one request of each loop is held. Whoever takes a gauge back below its bound tells the loops that had stopped.
//! Nobody blocks here.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count of bytes with a bound.
#[derive(Debug)]
struct Gauge {
    bytes: AtomicU64,
    bytes_max: u64,
}

impl Gauge {
    fn new(bytes_max: u64) -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max }
    }

    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes `bytes` off; whether that brought the gauge from over its bound to within it.
    fn sub(&self, bytes: u64) -> bool {
        let before = self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        assert!(before >= bytes, "a gauge gave back more than it took");
        before > self.bytes_max && before - bytes <= self.bytes_max
    }

    fn is_over(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) > self.bytes_max
    }
}

/// What makes loops stop reading producers.
#[derive(Debug)]
pub(crate) struct Pressure {
    /// Bytes taken from producers and not yet appended.
    unappended: Gauge,
    /// Bytes appended and not yet flushed, of the whole directory.
    unflushed: AtomicU64,
    /// Both together: what a loss of power would take, of all that was taken in.
    unsettled: Gauge,
}

impl Pressure {
    /// `writeback_bytes_max` forces a flush; only at twice that are producers held back.
    pub(crate) fn new(unappended_bytes_max: u64, writeback_bytes_max: u64) -> Self {
        Self {
            unappended: Gauge::new(unappended_bytes_max),
            unflushed: AtomicU64::new(0),
            unsettled: Gauge::new(writeback_bytes_max.saturating_mul(2)),
        }
    }

    /// Whether producers are to wait.
    pub(crate) fn is_on(&self) -> bool {
        self.unappended.is_over() || self.unsettled.is_over()
    }

    /// `bytes` wait for their append.
    pub(crate) fn take_in(&self, bytes: u64) {
        self.unappended.add(bytes);
        self.unsettled.add(bytes);
    }

    /// Of what was taken in, `bytes` were appended: how many are unflushed now. They are [settled](Self::settle) after
    /// that.
    pub(crate) fn appended(&self, bytes: u64) -> u64 {
        self.unflushed.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// `taken` bytes wait no longer: `appended` of them were appended, the others never will be. Whether producers are
    /// to be told.
    #[must_use]
    pub(crate) fn settle(&self, taken: u64, appended: u64) -> bool {
        self.unappended.sub(taken) | self.unsettled.sub(taken - appended)
    }

    /// `bytes` of the appended ones were flushed. Whether producers are to be told.
    #[must_use]
    pub(crate) fn flushed(&self, bytes: u64) -> bool {
        self.unflushed.fetch_sub(bytes, Ordering::Relaxed);
        self.unsettled.sub(bytes)
    }

    /// Bytes appended and not yet flushed.
    pub(crate) fn unflushed(&self) -> u64 {
        self.unflushed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_step_back_within_the_bound_is_a_relief() {
        let gauge = Gauge::new(100);
        gauge.add(150);
        assert!(gauge.is_over());
        assert!(!gauge.sub(10), "140 is still over");
        assert!(gauge.sub(40), "100 is within");
        assert!(!gauge.sub(50), "it already was");
        assert!(!gauge.is_over());
    }

    #[test]
    fn what_is_appended_counts_until_it_is_flushed_and_what_is_refused_no_longer() {
        let pressure = Pressure::new(1000, 10);
        pressure.take_in(20);
        assert!(!pressure.is_on(), "at twice the bound nothing is held back yet");
        pressure.take_in(5);
        assert!(pressure.is_on());
        assert_eq!(pressure.appended(15), 15);
        assert!(!pressure.settle(15, 15), "where it waits makes no difference");
        assert!(pressure.is_on());
        assert!(pressure.settle(10, 0), "15 are within");
        assert!(!pressure.is_on());
        assert!(!pressure.flushed(15), "it already was");
        assert_eq!(pressure.unflushed(), 0);
    }

    #[test]
    fn what_waits_for_its_append_alone_holds_producers_back() {
        let pressure = Pressure::new(10, 1000);
        pressure.take_in(11);
        assert!(pressure.is_on());
        pressure.appended(11);
        assert!(pressure.settle(11, 11));
        assert!(!pressure.is_on());
    }
}
