//! How a consumer is a member of its group.

use std::time::Duration;

use super::Assignor;
use crate::{BuildError, Position};

/// Which group a [`Consumer`](crate::Consumer) belongs to, and how. Only the group's name has no default.
///
/// ```
/// use std::time::Duration;
/// use folio_client::{Assignor, ConsumerConfig, GroupConfig};
///
/// let group = GroupConfig::new("billing")
///     .assignors([Assignor::CooperativeSticky])
///     .auto_commit(Some(Duration::from_secs(1)));
/// let config = ConsumerConfig::new().group(group);
/// ```
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group's name.
    pub name: String,
    /// A name of this member that outlives its restarts (static membership): as long as it is back within
    /// `session_timeout`, it gets its partitions again and nobody else notices. No two members may share it: the later
    /// one fences the earlier. Such a member does not leave when it is closed. Default none.
    pub instance: Option<String>,
    /// How it can divide partitions if it leads, the best first. Default [`Range`](Assignor::Range) and
    /// [`CooperativeSticky`](Assignor::CooperativeSticky), as Kafka's.
    pub assignors: Vec<Assignor>,
    /// The broker hears nothing for so long: the member is gone. Default 45 s.
    pub session_timeout: Duration,
    /// How often it is heard of. Default 3 s.
    pub heartbeat_interval: Duration,
    /// The application may work for so long between two polls. If it takes longer, the member leaves, others get its
    /// partitions, and it joins again when it polls. Also how long others wait for it to join again. Default 5 min.
    pub max_poll_interval: Duration,
    /// How often what was handed out by earlier polls is committed, by the poll that follows; also before partitions
    /// are given up, and by `close`. `None`: only when told to. Default 5 s.
    pub auto_commit: Option<Duration>,
    /// Where to begin in a partition of which the group has committed nothing. Default [`Position::Earliest`], so that
    /// nothing is missed (Kafka's clients: the latest). What happens where that is not in the log any more,
    /// [`out_of_range`](crate::ConsumerConfig::out_of_range) says.
    pub begin: Position,
    /// How often the leader looks whether topics have come, grown or gone. Default 30 s.
    pub topics_interval: Duration,
}

impl GroupConfig {
    /// The group of this name, and defaults for all else.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            instance: None,
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            auto_commit: Some(Duration::from_secs(5)),
            begin: Position::Earliest,
            topics_interval: Duration::from_secs(30),
        }
    }

    /// Sets [`instance`](Self::instance).
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Sets [`assignors`](Self::assignors).
    #[must_use]
    pub fn assignors(mut self, assignors: impl Into<Vec<Assignor>>) -> Self {
        self.assignors = assignors.into();
        self
    }

    /// Sets [`session_timeout`](Self::session_timeout).
    #[must_use]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// Sets [`heartbeat_interval`](Self::heartbeat_interval).
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// Sets [`max_poll_interval`](Self::max_poll_interval).
    #[must_use]
    pub fn max_poll_interval(mut self, interval: Duration) -> Self {
        self.max_poll_interval = interval;
        self
    }

    /// Sets [`auto_commit`](Self::auto_commit).
    #[must_use]
    pub fn auto_commit(mut self, interval: Option<Duration>) -> Self {
        self.auto_commit = interval;
        self
    }

    /// Sets [`begin`](Self::begin).
    #[must_use]
    pub fn begin(mut self, position: Position) -> Self {
        self.begin = position;
        self
    }

    /// Sets [`topics_interval`](Self::topics_interval).
    #[must_use]
    pub fn topics_interval(mut self, interval: Duration) -> Self {
        self.topics_interval = interval;
        self
    }

    /// Whether the members go on reading while the group rebalances: every assignor must allow it.
    pub(crate) fn is_cooperative(&self) -> bool {
        self.assignors.iter().all(|assignor| assignor.is_cooperative())
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let wrong = if self.name.is_empty() {
            "a group needs a name"
        } else if self.assignors.is_empty() {
            "a group needs an assignor"
        } else if self.heartbeat_interval.is_zero() || self.heartbeat_interval >= self.session_timeout {
            "heartbeat_interval must be more than 0 and less than session_timeout"
        } else if self.topics_interval.is_zero() || self.max_poll_interval.is_zero() {
            "topics_interval and max_poll_interval must be more than 0"
        } else {
            return Ok(());
        };
        Err(BuildError::Config(wrong.to_owned()))
    }
}
