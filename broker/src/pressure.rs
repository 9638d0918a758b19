//! When loops stop reading producers: more bytes wait for an append, or for the disk, than is allowed.
//!
//! Two gauges, each with one bound. Loops ask before they decode a producer's next request; whoever
//! takes a gauge back below its bound tells the loops that had stopped. Nobody blocks here.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count of bytes with a bound.
#[derive(Debug)]
pub(crate) struct Gauge {
    bytes: AtomicU64,
    bytes_max: u64,
}

impl Gauge {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max }
    }

    /// Adds `bytes` and returns how many there are now.
    pub(crate) fn add(&self, bytes: u64) -> u64 {
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Takes `bytes` off; whether that brought the gauge from over its bound to within it.
    pub(crate) fn sub(&self, bytes: u64) -> bool {
        let before = self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        assert!(before >= bytes, "a gauge gave back more than it took");
        before > self.bytes_max && before - bytes <= self.bytes_max
    }

    pub(crate) fn get(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) > self.bytes_max
    }
}

/// What makes loops stop reading producers.
#[derive(Debug)]
pub(crate) struct Pressure {
    /// Bytes handed to lanes and not yet appended.
    pub(crate) lanes: Gauge,
    /// Bytes appended and not yet flushed, of the whole directory.
    pub(crate) unflushed: Gauge,
}

impl Pressure {
    /// `writeback_bytes_max` forces a flush; only at twice that are producers held back.
    pub(crate) fn new(lane_bytes_max: u64, writeback_bytes_max: u64) -> Self {
        Self {
            lanes: Gauge::new(lane_bytes_max),
            unflushed: Gauge::new(writeback_bytes_max.saturating_mul(2)),
        }
    }

    /// Whether producers are to wait.
    pub(crate) fn is_on(&self) -> bool {
        self.lanes.is_over() || self.unflushed.is_over()
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
    fn either_gauge_alone_holds_producers_back() {
        let pressure = Pressure::new(10, 10);
        pressure.unflushed.add(20);
        assert!(!pressure.is_on(), "at twice the bound nothing is held back yet");
        pressure.unflushed.add(1);
        assert!(pressure.is_on());
        pressure.unflushed.sub(21);
        pressure.lanes.add(11);
        assert!(pressure.is_on());
    }
}
