//! Topics, settings, offsets, status.

pub(crate) mod groups;

use std::fmt;
use std::time::Duration;

use folio_record::{Offset, Timestamp};

use crate::client::Client;
use crate::{Call, CallError, ConfigChange, ConfigEntry, ConfigResource, Refusal, TopicPartition, protocol};

/// Makes, names, describes, changes and deletes topics, tells and changes settings, deletes records, and asks where
/// partitions begin and end and how the broker is. Every call can be waited for, or awaited by any executor. Cheap to
/// clone.
///
/// ```no_run
/// use folio_client::{Client, ClientConfig, NewTopic};
///
/// let admin = Client::connect(ClientConfig::default())?.admin();
/// admin.create_topic(NewTopic::new("clicks", 3).setting("retention.ms", "86400000")).wait()?;
/// for topic in admin.list_topics(false).wait()? {
///     println!("{} has {} partitions", topic.name, topic.partitions);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

/// A topic to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name: letters, digits, `.`, `_` and `-`, at most 249.
    pub name: String,
    /// How many partitions it has; 0: as many as the broker gives a topic that does not say.
    pub partitions: u32,
    /// Settings that differ from the broker's defaults.
    pub settings: Vec<(String, String)>,
}

/// What a topic is, whatever it is called: one that was made anew under the same name has another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

/// A topic of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListing {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: u32,
}

/// Everything about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: TopicId,
    /// Every setting.
    pub settings: Vec<TopicSetting>,
    /// Every partition, from 0 on.
    pub partitions: Vec<PartitionDescription>,
}

/// A topic's setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSetting {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether the topic sets it itself; otherwise it is the broker's default.
    pub is_own: bool,
}

/// Everything about a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: u32,
    /// Why it takes no records, if it does not.
    pub trouble: Option<Refusal>,
    /// Rises whenever the broker starts without having stopped cleanly.
    pub leader_epoch: i32,
    /// The oldest offset there is.
    pub log_start: Offset,
    /// Everything before it has been flushed.
    pub durable: Offset,
    /// Everything before it may be read.
    pub high_watermark: Offset,
    /// The offset of the next record.
    pub log_end: Offset,
    /// Bytes of its segments.
    pub size_bytes: u64,
    /// How many segments it has.
    pub segments: u32,
}

/// What producers and consumers must know of topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMetadata {
    /// Which cluster it is.
    pub cluster_id: [u8; 16],
    /// Each topic; or its name and why nothing is known of it.
    pub topics: Vec<Result<TopicMetadata, (String, Refusal)>>,
}

/// What producers and consumers must know of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: TopicId,
    /// The leader epoch of each partition, from partition 0 on; there is at least one.
    pub leader_epochs: Vec<i32>,
}

/// A place that only the broker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The oldest record.
    Earliest,
    /// Behind the newest record that may be read: the high watermark.
    Latest,
    /// The first record that is not older than this.
    Since(Timestamp),
}

/// An offset that the broker has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset.
    pub offset: Offset,
    /// The time of its record, if it was asked for by time.
    pub timestamp: Option<Timestamp>,
    /// The partition's leader epoch.
    pub leader_epoch: i32,
}

/// An idempotent producer that a partition remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub producer_id: i64,
    /// The latest of its epochs.
    pub epoch: i16,
    /// The number of its last record, if one is known.
    pub last_sequence: Option<i32>,
    /// The latest time in its last batch, if one is known.
    pub last_timestamp: Option<Timestamp>,
}

/// How the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerStatus {
    /// Its version.
    pub version: String,
    /// Its process, on its machine.
    pub pid: u32,
    /// Another with every start.
    pub run_id: u64,
    /// For how long it has been serving.
    pub uptime: Duration,
    /// Where its data is.
    pub data_dir: String,
    /// What its start recovered, for people.
    pub recovered: String,
    /// How many topics it has.
    pub topics: u32,
    /// How many partitions.
    pub partitions: u32,
    /// Counters since its start, by name.
    pub counters: Vec<(String, u64)>,
}

impl Admin {
    pub(crate) fn new(client: &Client) -> Self {
        Self { client: client.clone() }
    }

    /// Makes a topic.
    ///
    /// Refused with [`TOPIC_EXISTS`](crate::ErrorCode::TOPIC_EXISTS),
    /// [`INVALID_TOPIC_NAME`](crate::ErrorCode::INVALID_TOPIC_NAME),
    /// [`INVALID_PARTITIONS`](crate::ErrorCode::INVALID_PARTITIONS) or
    /// [`INVALID_CONFIG`](crate::ErrorCode::INVALID_CONFIG). It is asked once only: if the connection breaks before the
    /// answer has come, nobody knows whether there is a topic.
    pub fn create_topic(&self, topic: NewTopic) -> Call<TopicId> {
        self.call(|deadline, then| protocol::create_topic(topic, deadline, then))
    }

    /// Deletes a topic and its records.
    ///
    /// Refused with [`UNKNOWN_TOPIC`](crate::ErrorCode::UNKNOWN_TOPIC). It is asked once only, as is
    /// [`create_topic`](Self::create_topic).
    pub fn delete_topic(&self, name: &str) -> Call<()> {
        self.call(|deadline, then| protocol::delete_topic(name.to_owned(), deadline, then))
    }

    /// Gives a topic more partitions: `partitions` in all. Records that are there stay where they are; keys may go to
    /// other partitions from then on.
    ///
    /// Refused with [`UNKNOWN_TOPIC`](crate::ErrorCode::UNKNOWN_TOPIC) or, if that is no more than it has,
    /// [`INVALID_PARTITIONS`](crate::ErrorCode::INVALID_PARTITIONS). It is asked once only, as is
    /// [`create_topic`](Self::create_topic).
    pub fn create_partitions(&self, topic: &str, partitions: u32) -> Call<()> {
        self.call(|deadline, then| {
            protocol::create_partitions(topic.to_owned(), partitions, false, deadline, then)
        })
    }

    /// Whether [`create_partitions`](Self::create_partitions) could do it. Nothing is changed.
    pub fn validate_partitions(&self, topic: &str, partitions: u32) -> Call<()> {
        self.call(|deadline, then| {
            protocol::create_partitions(topic.to_owned(), partitions, true, deadline, then)
        })
    }

    /// Tells settings: those of these names, or all.
    ///
    /// Refused with [`UNKNOWN_TOPIC`](crate::ErrorCode::UNKNOWN_TOPIC).
    pub fn describe_configs(&self, of: ConfigResource, names: Option<&[&str]>) -> Call<Vec<ConfigEntry>> {
        let names = names.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        self.call(|deadline, then| protocol::describe_configs(of, names, deadline, then))
    }

    /// Changes settings, all that are named or none. They hold at once, also for what is on its way.
    ///
    /// Refused with [`UNKNOWN_TOPIC`](crate::ErrorCode::UNKNOWN_TOPIC),
    /// [`INVALID_CONFIG`](crate::ErrorCode::INVALID_CONFIG) or
    /// [`INVALID_REQUEST`](crate::ErrorCode::INVALID_REQUEST).
    ///
    /// ```no_run
    /// use folio_client::{Client, ClientConfig, ConfigChange, ConfigResource};
    ///
    /// let admin = Client::connect(ClientConfig::default())?.admin();
    /// let keep = ConfigChange::Set("retention.ms".into(), "3600000".into());
    /// admin.alter_configs(ConfigResource::Topic("clicks".into()), [keep]).wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn alter_configs(
        &self,
        of: ConfigResource,
        changes: impl IntoIterator<Item = ConfigChange>,
    ) -> Call<()> {
        let changes = changes.into_iter().collect();
        self.call(|deadline, then| protocol::alter_configs(of, changes, false, false, deadline, then))
    }

    /// Whether [`alter_configs`](Self::alter_configs) could do it. Nothing is changed.
    pub fn validate_configs(
        &self,
        of: ConfigResource,
        changes: impl IntoIterator<Item = ConfigChange>,
    ) -> Call<()> {
        let changes = changes.into_iter().collect();
        self.call(|deadline, then| protocol::alter_configs(of, changes, false, true, deadline, then))
    }

    /// Sets these settings and no others: what was set before and is not named is not set any more.
    ///
    /// Refused as [`alter_configs`](Self::alter_configs).
    pub fn replace_configs(
        &self,
        of: ConfigResource,
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Call<()> {
        let changes = settings.into_iter().map(|(name, value)| ConfigChange::Set(name, value)).collect();
        self.call(|deadline, then| protocol::alter_configs(of, changes, true, false, deadline, then))
    }

    /// Deletes the records before an offset in each of these partitions; all that can be read, where it is `None`.
    /// Tells, in their order, from where on there are records then, or why nothing was deleted.
    pub fn delete_records(
        &self,
        wanted: impl IntoIterator<Item = (TopicPartition, Option<Offset>)>,
    ) -> Call<Vec<Result<Offset, Refusal>>> {
        let wanted = wanted.into_iter().collect();
        self.call(|deadline, then| protocol::delete_records(wanted, deadline, then))
    }

    /// Names all topics; those that the broker keeps for itself only if `internal`.
    pub fn list_topics(&self, internal: bool) -> Call<Vec<TopicListing>> {
        self.call(|deadline, then| protocol::list_topics(internal, deadline, then))
    }

    /// Tells everything about a topic.
    ///
    /// Refused with [`UNKNOWN_TOPIC`](crate::ErrorCode::UNKNOWN_TOPIC).
    pub fn describe_topic(&self, name: &str) -> Call<TopicDescription> {
        self.call(|deadline, then| protocol::describe_topic(name.to_owned(), deadline, then))
    }

    /// Tells what producers and consumers must know of these topics, in their order; of all, if `None`.
    pub fn metadata(&self, topics: Option<&[&str]>) -> Call<ClusterMetadata> {
        let topics = topics.map(|topics| topics.iter().map(|&name| name.to_owned()).collect());
        self.call(|deadline, then| protocol::metadata(topics, deadline, then))
    }

    /// Finds offsets, one for each that is wanted and in their order: where it is, `None` if there is no such record,
    /// or why it cannot be told.
    pub fn list_offsets(
        &self,
        wanted: impl IntoIterator<Item = (TopicPartition, OffsetSpec)>,
    ) -> Call<Vec<Result<Option<ListedOffset>, Refusal>>> {
        let wanted = wanted.into_iter().collect();
        self.call(|deadline, then| protocol::list_offsets(wanted, deadline, then))
    }

    /// Names the idempotent producers that a partition remembers, by id.
    ///
    /// Refused with [`UNKNOWN_TOPIC`](crate::ErrorCode::UNKNOWN_TOPIC) or
    /// [`UNKNOWN_PARTITION`](crate::ErrorCode::UNKNOWN_PARTITION).
    pub fn describe_producers(&self, of: TopicPartition) -> Call<Vec<ActiveProducer>> {
        self.call(|deadline, then| protocol::describe_producers(of, deadline, then))
    }

    /// Tells how the broker is, with its counters if wanted.
    pub fn status(&self, counters: bool) -> Call<BrokerStatus> {
        self.call(|deadline, then| protocol::status(counters, deadline, then))
    }

    fn call<T: Send + 'static>(
        &self,
        make: impl FnOnce(std::time::Instant, protocol::Then<T>) -> crate::driver::QueuedCall,
    ) -> Call<T> {
        let (completer, call) = Call::new();
        let then = move |result: Result<T, CallError>| completer.complete(result);
        self.client.call(make(self.client.call_deadline(), Box::new(then)));
        call
    }
}

impl NewTopic {
    /// A topic of this name and so many partitions (0: as many as the broker thinks right), with the broker's defaults
    /// for all else.
    pub fn new(name: impl Into<String>, partitions: u32) -> Self {
        Self { name: name.into(), partitions, settings: Vec::new() }
    }

    /// Adds a setting, `retention.ms` say.
    #[must_use]
    pub fn setting(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((key.into(), value.into()));
        self
    }
}

/// As a UUID is written.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}
