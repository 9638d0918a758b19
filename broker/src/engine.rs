//! What all threads of a broker share.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fmt, io};

use arc_swap::ArcSwap;
use folio_channel::LoopHandle;
use folio_record::Timestamp;
use folio_storage::files::OsFiles;
use folio_storage::partition::PartitionId;
use folio_storage::{CompactionOptions, DataDir, LogOptions, Visibility};

use crate::clock::Clock;
use crate::config::{Config, DurabilityClass, TopicSettings};
use crate::counters::Counters;
use crate::health::{Failure, Health, told_as};
use crate::metadata::Follower;
use crate::partition::{Partition, Waiter};
use crate::pressure::Pressure;
use crate::service::producers::ProducerIds;
use crate::shard::{LoopMessage, Shard};
use crate::space::DiskSpace;
use crate::threads::flusher::FlushRequest;
use crate::threads::groups::{GroupJob, Hosts};
use crate::threads::inbox::Inbox;
use crate::threads::jobs::Job;
use crate::threads::lane::LaneJob;
use crate::threads::reaper::Retired;
use crate::view::View;

/// The number of this broker: there is one.
pub(crate) const NODE_ID: u32 = 1;

/// The file system below the broker.
pub(crate) type Disk = OsFiles;

/// Shared by loops and storage threads.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) dir: DataDir<Disk>,
    pub(crate) view: ArcSwap<View<Disk>>,
    /// What the view has seen of the metadata. Only who changes topics waits for it: never a loop.
    pub(crate) follower: Mutex<Follower>,
    /// Partitions that the start could not recover, and why.
    pub(crate) offline: HashMap<PartitionId, Arc<str>>,
    pub(crate) health: Arc<Health>,
    pub(crate) pressure: Pressure,
    pub(crate) counters: Counters,
    pub(crate) started: Instant,
    /// What the start recovered, for a person to read.
    pub(crate) recovered: String,
    pub(crate) flusher: Inbox<FlushRequest>,
    pub(crate) lanes: Vec<Inbox<LaneJob>>,
    /// What is asked of groups, and what they wait for.
    pub(crate) groups: Inbox<GroupJob>,
    /// The coordinators, once there are any. Only heartbeats look in there by themselves.
    pub(crate) group_hosts: ArcSwap<Hosts>,
    /// Cold reads.
    pub(crate) readers: Inbox<Job>,
    /// Topics made and deleted, one after the other.
    pub(crate) admin: Inbox<Job>,
    pub(crate) producer_ids: ProducerIds,
    /// What nobody is to find any more, to be dropped where that may take its time.
    pub(crate) reaper: Inbox<Retired>,
    /// Whether the disk has room for more records.
    pub(crate) space: DiskSpace,
    /// Whether anything may go by its age.
    pub(crate) clock: Clock,
    /// Closed when maintenance is to stop.
    pub(crate) stop: Inbox<()>,
    /// Known once the loops exist, before they run.
    pub(crate) loops: OnceLock<Vec<LoopHandle<Shard>>>,
}

impl Engine {
    /// The loops, in order; none before they exist.
    pub(crate) fn loops(&self) -> &[LoopHandle<Shard>] {
        self.loops.get().map_or(&[], Vec::as_slice)
    }

    /// Sends `message` to loop `index`. A loop that has ended needs none.
    pub(crate) fn tell(&self, index: usize, message: LoopMessage) {
        if let Some(handle) = self.loops().get(index) {
            let _ = handle.send(message);
        }
    }

    /// Leaves `message` for loop `index`, which sleeps on. If `is_awaited` says then that it can do something with it,
    /// it is woken after all.
    pub(crate) fn leave(&self, index: usize, message: LoopMessage, is_awaited: impl FnOnce() -> bool) {
        if let Some(handle) = self.loops().get(index)
            && handle.leave(message).is_ok()
            && is_awaited()
        {
            handle.wake();
        }
    }

    /// Sends a message to every loop.
    pub(crate) fn tell_all(&self, message: impl Fn() -> LoopMessage) {
        for index in 0..self.loops().len() {
            self.tell(index, message());
        }
    }

    /// A write failed: nothing is acknowledged any more.
    pub(crate) fn fail(&self, file: &Path, error: &dyn fmt::Display) {
        self.dir.fail();
        // Paths of a log are relative to the data directory.
        let file = told_as(&self.config.data_dir, file);
        self.health.fail(Failure { file: Some(file), error: error.to_string() });
    }

    /// A file of `partition` could not be used. If somebody has taken it away, that partition is offline from here on,
    /// and the others go on; anything else is the disk's fault.
    pub(crate) fn fail_of(&self, partition: &Partition<Disk>, file: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            return self.fail(file, error);
        }
        // The files of a deleted topic may go under our hands.
        if !partition.is_deleted() {
            self.taken_away(partition, file);
        }
    }

    /// Somebody else has taken `file` of `partition` away: it takes no more appends.
    pub(crate) fn taken_away(&self, partition: &Partition<Disk>, file: &Path) {
        let file = self.config.data_dir.join(file);
        self.take_offline(partition, &format!("{} was taken away while it was in use", file.display()));
    }

    /// The disk does not say whether the files of `partition` are there: it takes no more appends.
    pub(crate) fn not_told(&self, partition: &Partition<Disk>, error: &io::Error) {
        let dir = self.config.data_dir.join(partition.log.dir());
        self.take_offline(partition, &format!("{} cannot be looked at: {error}", dir.display()));
    }

    fn take_offline(&self, partition: &Partition<Disk>, why: &str) {
        let why = format!("{why}. What can still be read is served; nothing is appended");
        let why: Arc<str> = why.into();
        if !partition.take_offline(Arc::clone(&why)) {
            return;
        }
        partition.log.give_up();
        let (topic, number) = (&*partition.topic, partition.number);
        tracing::error!(topic, partition = number, why = &*why, "a partition is offline");
        // Whoever changes topics begins with the view that it finds.
        let _follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        self.view.rcu(|view| view.with_offline(partition, &why));
        let view = self.view.load();
        let mut served = view.topics().flat_map(|topic| topic.readable());
        if let Some(partition) = served.find(|one| one.key == partition.key) {
            // Whoever waits for it waits for nothing.
            self.announce(std::slice::from_ref(partition), None);
        }
    }

    /// The partitions' high watermarks have moved: tells the threads where somebody waits, each once.
    pub(crate) fn announce(&self, partitions: &[Arc<Partition<Disk>>], except: Option<Waiter>) {
        let waiters = (0..self.loops().len()).map(Waiter::Loop).chain([Waiter::Groups]);
        for waiter in waiters.filter(|waiter| Some(*waiter) != except) {
            let waited_for: Vec<_> =
                partitions.iter().filter(|partition| partition.has_waiter(waiter)).cloned().collect();
            match waiter {
                _ if waited_for.is_empty() => {}
                Waiter::Loop(index) => self.tell(index, LoopMessage::Advanced(waited_for)),
                Waiter::Groups => self.groups.send([GroupJob::Advanced(waited_for)]),
            }
        }
    }

    /// Of `taken` bytes that waited for their append, `appended` were appended and the others refused: producers may go
    /// on if that was too much before.
    pub(crate) fn settle(&self, taken: u64, appended: u64) {
        if self.pressure.settle(taken, appended) {
            self.wake_producers();
        }
    }

    /// What there is to be counted, as (name, value).
    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        let open = self.dir.open_segments().totals();
        let view = self.view.load();
        let dormant = view
            .topics()
            .flat_map(|topic| topic.online())
            .filter(|partition| partition.log.is_dormant())
            .count();
        let now = [
            ("mapped.files", open.maps as u64),
            ("mapped.files.max", open.limit as u64),
            ("mapped.files.gave.way", open.gave_way),
            ("mapped.files.refused", open.refused),
            ("partitions.dormant", dormant as u64),
        ];
        let now = now.into_iter().map(|(name, value)| (name.to_owned(), value));
        self.counters.list().into_iter().chain(now).collect()
    }

    /// The pressure is off: the loops read their producers again.
    pub(crate) fn wake_producers(&self) {
        self.loops().iter().for_each(LoopHandle::wake_paused);
    }

    /// No thread but the flusher gets any more work.
    pub(crate) fn close_inboxes(&self) {
        self.groups.close();
        self.lanes.iter().for_each(Inbox::close);
        self.readers.close();
        self.admin.close();
        self.reaper.close();
        self.stop.close();
    }

    /// `buffers` were appended to `partition`: counts them, and reports the partition to the flusher.
    pub(crate) fn appended(&self, partition: &Arc<Partition<Disk>>, bytes: u64, buffers: u64) {
        let unflushed = self.pressure.appended(bytes);
        self.counters.bytes_in.add(bytes);
        self.counters.appends.add(buffers);
        let (appended, was_clean) = partition.appended(bytes);
        if was_clean {
            self.flusher.send([FlushRequest::Dirty(Arc::clone(partition))]);
            return;
        }
        // The flusher sleeps while it has nothing to do: it is woken at each step, not at each append.
        let crosses = |step: u64, count: u64| step > 0 && count / step != (count - bytes) / step;
        let settings = partition.settings.load();
        let is_interval = settings.durability() == DurabilityClass::Interval;
        if crosses(self.config.writeback_step_bytes, appended)
            || crosses(self.config.writeback_max_bytes, unflushed)
            || is_interval && partition.has_too_much_unflushed(&settings)
        {
            self.flusher.send([FlushRequest::Look]);
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("dir", &self.config.data_dir).finish_non_exhaustive()
    }
}

/// How a log is kept by these settings.
pub(crate) fn log_options(config: &Config, settings: &TopicSettings) -> LogOptions {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let deletes = settings.cleanup.deletes;
    let compaction = settings.cleanup.compacts.then(|| CompactionOptions {
        min_lag_ms: millis(settings.compaction_lag_min),
        max_lag_ms: settings.compaction_lag_max.map(millis),
        dirty_ratio_min: settings.dirty_ratio_min,
        delete_retention_ms: millis(settings.delete_retention),
    });
    // Only what is closed is compacted.
    let age = compaction.and_then(|options| options.max_lag_ms).unwrap_or(u64::MAX);
    LogOptions {
        segment_bytes: settings.segment_bytes,
        segment_ms: Some(millis(settings.segment_age).min(age)),
        segment_jitter_ms: millis(settings.segment_jitter),
        segment_index_bytes: settings.segment_index_bytes,
        retention_bytes: settings.retention_bytes.filter(|_| deletes),
        retention_ms: settings.retention.filter(|_| deletes).map(millis),
        batch_size_max: settings.max_message_bytes,
        index_interval: settings.index_interval_bytes.max(1),
        visibility: match settings.durability() {
            DurabilityClass::Fsync => Visibility::Flushed,
            DurabilityClass::Interval | DurabilityClass::Os => Visibility::Appended,
        },
        producer_expiration_ms: millis(config.producer_expiration),
        producers_max: config.partition_producers_max,
        compaction,
        ..LogOptions::default()
    }
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
