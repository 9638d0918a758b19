//! One partition as the broker serves it: its log, its role, and who waits for it.
//!
//! Three small protocols between threads meet here, each on atomics of its own:
//!
//! * *Order of appends.* `in_lane` counts the batches that are on their way through the partition's lane.
//!   While there are any, every further batch takes the lane too, so that a producer's batches are stored
//!   in the order in which its loop received them.
//! * *Who is told of an advance.* Each thread with a request waiting here has its bit in `waiters`. It
//!   sets its bit and then looks at the high watermark once more; whoever moved the watermark looks at
//!   the bits afterwards. With a fence between on either side, at least one of the two sees the other.
//! * *Who is flushed.* The first append after a flush turns `is_dirty` on and reports the partition to
//!   the flusher; the flusher turns it off before it looks where the log ends.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};

use crate::config::{DurabilityClass, TopicSettings};
use crate::error::{Fault, ServiceError};
use arc_swap::ArcSwap;
use folio_record::{LeaderEpoch, Offset};
use folio_storage::{Files, Log, ReadError};

/// Names a partition within this run of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartitionKey(u64);

impl PartitionKey {
    /// Before that of every partition.
    pub(crate) const FIRST: Self = Self(0);

    #[cfg(test)]
    pub(crate) const fn new(key: u64) -> Self {
        Self(key)
    }

    /// The next key of this process.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

/// A partition as it is served.
#[derive(Debug)]
pub(crate) struct Partition<F: Files> {
    pub(crate) key: PartitionKey,
    pub(crate) topic: Arc<str>,
    pub(crate) number: u32,
    pub(crate) log: Arc<Log<F>>,
    pub(crate) settings: Arc<ArcSwap<TopicSettings>>,
    /// Why it takes no appends, and its log ends where it does: it is only what lies below damage, or its files were
    /// taken away.
    damage: OnceLock<Arc<str>>,
    /// Which lane takes its appends when a lane must.
    pub(crate) lane: usize,
    in_lane: AtomicUsize,
    waiters: AtomicU64,
    is_dirty: AtomicBool,
    is_deleted: AtomicBool,
    /// The byte of a segment that could not be read when somebody last tried.
    unreadable: AtomicU64,
    /// Where the log ended when maintenance last looked for its files.
    looked_for_at: AtomicI64,
    appended_bytes: AtomicU64,
    flushed_bytes: AtomicU64,
}

/// Who appends, and waits for high watermarks to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// The event loop of this number.
    Loop(usize),
    /// The thread of groups.
    Groups,
}

impl Waiter {
    fn bit(self) -> u64 {
        match self {
            Self::Loop(index) => 1 << index,
            Self::Groups => 1 << LOOPS_MAX,
        }
    }
}

/// At most so many event loops: a bit each in `waiters`, and one for the thread of groups.
pub(crate) const LOOPS_MAX: usize = u64::BITS as usize - 1;

impl<F: Files> Partition<F> {
    pub(crate) fn new(
        topic: Arc<str>,
        number: u32,
        log: Arc<Log<F>>,
        settings: Arc<ArcSwap<TopicSettings>>,
        lanes: usize,
    ) -> Self {
        let key = PartitionKey::next();
        let lane = usize::try_from(key.get() % lanes as u64).unwrap_or(0);
        Self {
            key,
            topic,
            number,
            log,
            settings,
            damage: OnceLock::new(),
            lane,
            in_lane: AtomicUsize::new(0),
            waiters: AtomicU64::new(0),
            is_dirty: AtomicBool::new(false),
            is_deleted: AtomicBool::new(false),
            unreadable: AtomicU64::new(u64::MAX),
            looked_for_at: AtomicI64::new(-1),
            appended_bytes: AtomicU64::new(0),
            flushed_bytes: AtomicU64::new(0),
        }
    }

    /// Whether something was appended since this was last asked. For the maintenance thread.
    pub(crate) fn has_grown(&self) -> bool {
        let end = self.log.log_end().get();
        self.looked_for_at.swap(end, Ordering::Relaxed) != end
    }

    /// As this, of a partition that is offline: the log is what lies below its damage, which `why` tells.
    pub(crate) fn below(self, why: Arc<str>) -> Self {
        self.take_offline(why);
        self
    }

    /// Appends are refused from here on, and so is who reads on at the end, because of `why`. `false` if it was so
    /// before.
    pub(crate) fn take_offline(&self, why: Arc<str>) -> bool {
        self.damage.set(why).is_ok()
    }

    /// Whether it takes no appends.
    pub(crate) fn is_offline(&self) -> bool {
        self.damage.get().is_some()
    }

    /// Why it takes no appends, if it does not: it was deleted, or is offline.
    pub(crate) fn refusal(&self) -> Option<ServiceError> {
        if self.is_deleted() {
            return Some(ServiceError::unknown_topic(&self.topic));
        }
        let why = self.damage.get()?;
        Some(ServiceError::partition_offline(&self.topic, self.number, why))
    }

    /// Whether it is not damage that a reader meets at `offset`.
    ///
    /// # Errors
    /// The partition is offline from there on.
    pub(crate) fn check_damage(&self, offset: Offset) -> Result<(), ServiceError> {
        match self.damage.get() {
            Some(why) if offset >= self.log.log_end() => {
                Err(ServiceError::partition_offline(&self.topic, self.number, why))
            }
            _ => Ok(()),
        }
    }

    /// The byte at `position` of a segment cannot be read; whether it was another one before.
    pub(crate) fn is_news(&self, position: u64) -> bool {
        self.unreadable.swap(position, Ordering::Relaxed) != position
    }

    /// Says what a segment has lost, which nobody was told before.
    pub(crate) fn tell_loss(&self, loss: &ReadError) {
        tracing::error!(topic = &*self.topic, partition = self.number, why = %loss, "a segment is offline");
    }

    pub(crate) fn durability(&self) -> DurabilityClass {
        self.settings.load().durability()
    }

    /// Its topic was deleted. From here on an error of its files is nobody's fault: they are on their way out of the
    /// directory.
    pub(crate) fn set_deleted(&self) {
        self.is_deleted.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.is_deleted.load(Ordering::SeqCst)
    }

    /// Whether it may be read by somebody who knows `theirs` to be its leader epoch.
    ///
    /// # Errors
    /// It was deleted; the epoch is an older one, or one that is not known here yet.
    pub(crate) fn check_reader(&self, theirs: Option<LeaderEpoch>) -> Result<(), ServiceError> {
        if self.is_deleted() {
            return Err(ServiceError::unknown_topic(&self.topic));
        }
        let Some(theirs) = theirs else { return Ok(()) };
        let current = self.log.leader_epoch();
        let fault = match theirs.cmp(&current) {
            std::cmp::Ordering::Less => Fault::FencedLeaderEpoch,
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Greater => Fault::UnknownLeaderEpoch,
        };
        let text = format!("leader epoch {} is asked for, {} holds", theirs.get(), current.get());
        Err(ServiceError::new(fault, text))
    }

    /// Whether the next batch has to follow others through the lane.
    pub(crate) fn is_in_lane(&self) -> bool {
        // Acquire pairs with the Release of `left_lane`: who sees zero sees those appends too.
        self.in_lane.load(Ordering::Acquire) > 0
    }

    /// Before `batches` are handed to the lane.
    pub(crate) fn enters_lane(&self, batches: usize) {
        self.in_lane.fetch_add(batches, Ordering::Relaxed);
    }

    /// After the lane has appended (or refused) `batches`.
    pub(crate) fn left_lane(&self, batches: usize) {
        let before = self.in_lane.fetch_sub(batches, Ordering::Release);
        assert!(before >= batches, "more batches left the lane than entered it");
    }

    /// `waiter` has a request waiting here. The caller looks at the high watermark again afterwards.
    pub(crate) fn register_waiter(&self, waiter: Waiter) {
        let bit = waiter.bit();
        // Most waits follow a wait: spare the shared line the write.
        if self.waiters.load(Ordering::Relaxed) & bit == 0 {
            self.waiters.fetch_or(bit, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
    }

    /// Nothing of `waiter` waits here any more.
    pub(crate) fn unregister_waiter(&self, waiter: Waiter) {
        self.waiters.fetch_and(!waiter.bit(), Ordering::Relaxed);
    }

    /// Whether `waiter` is to be told, after the high watermark has moved.
    pub(crate) fn has_waiter(&self, waiter: Waiter) -> bool {
        fence(Ordering::SeqCst);
        self.waiters.load(Ordering::Relaxed) & waiter.bit() != 0
    }

    /// Counts `bytes` as appended: how many there are now since the start, and whether the partition was clean until
    /// now and is to be reported.
    pub(crate) fn appended(&self, bytes: u64) -> (u64, bool) {
        let appended = self.appended_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (appended, !self.is_dirty.swap(true, Ordering::AcqRel))
    }

    /// Before a flush looks at the log's end: how many bytes it will have covered at least. What is
    /// appended from here on reports the partition again.
    pub(crate) fn begin_flush(&self) -> u64 {
        self.is_dirty.swap(false, Ordering::AcqRel);
        self.appended_bytes.load(Ordering::Relaxed)
    }

    /// After the flush that began with `upto`: how many bytes it took off the unflushed ones.
    pub(crate) fn end_flush(&self, upto: u64) -> u64 {
        let before = self.flushed_bytes.swap(upto, Ordering::Relaxed);
        upto.saturating_sub(before)
    }

    /// Bytes appended and not known to be flushed.
    pub(crate) fn unflushed_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed).saturating_sub(self.flushed_bytes.load(Ordering::Relaxed))
    }

    /// Whether an `interval` topic of these settings has to be flushed for what was appended since the last flush.
    pub(crate) fn has_too_much_unflushed(&self, settings: &TopicSettings) -> bool {
        let records = || (self.log.log_end().get() - self.log.durable().get()).unsigned_abs();
        self.unflushed_bytes() >= settings.flush_bytes
            || settings.flush_messages.is_some_and(|most| records() >= most)
    }
}
