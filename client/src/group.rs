//! Groups of consumers that share topics: each partition is read by one member, and where the group is in it is stored
//! by the broker.
//!
//! ```text
//!   the application's thread        |               the client's thread
//!                                   |
//!   subscribe, commit, close -- message --> Member: joins, divides, heartbeats, commits <--> broker
//!   poll: callbacks, assign <-- Desk -- what the application has to see to
//! ```
//!
//! [`member`] is a state machine without a socket or a clock. It goes on while the application works; what concerns the
//! application (partitions to give up, partitions that it gets) lies on the [`desk`] until it polls.

mod assignor;
mod config;
pub(crate) mod desk;
pub(crate) mod member;

pub use assignor::Assignor;
pub use config::GroupConfig;

use std::sync::Arc;

use folio_record::{Offset, Timestamp};

use crate::{Consumer, TopicPartition};

/// Where a group is in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to be read.
    pub offset: Offset,
    /// The leader epoch of the last record that was read; -1: not said.
    pub leader_epoch: i32,
    /// A note of whoever committed it.
    pub note: Arc<str>,
    /// When it was committed, as the broker says.
    pub committed_at: Option<Timestamp>,
}

/// Is told what a consumer of a group gets and loses. Called by the thread that polls, from within
/// [`poll`](Consumer::poll) and its kin, before any record of a new partition is handed out.
///
/// The consumer may be asked, moved ([`seek`](Consumer::seek)) and made to commit; it must not be polled. What takes
/// longer than [`max_poll_interval`](GroupConfig::max_poll_interval) costs the membership.
///
/// ```no_run
/// use folio_client::{Consumer, RebalanceListener, TopicPartition};
///
/// struct Report;
///
/// impl RebalanceListener for Report {
///     fn assigned(&mut self, _: &mut Consumer, partitions: &[TopicPartition]) {
///         println!("reading {partitions:?}, too");
///     }
///
///     fn revoked(&mut self, consumer: &mut Consumer, _: &[TopicPartition]) {
///         let _ = consumer.commit().wait(); // the last chance
///     }
/// }
/// ```
pub trait RebalanceListener: Send {
    /// A rebalance is over. These partitions are new; there may be none. Where each begins is settled, but for what
    /// this call changes.
    fn assigned(&mut self, consumer: &mut Consumer, partitions: &[TopicPartition]) {
        let _ = (consumer, partitions);
    }

    /// These partitions will go to others, and can still be committed. What is committed automatically was.
    fn revoked(&mut self, consumer: &mut Consumer, partitions: &[TopicPartition]) {
        let _ = (consumer, partitions);
    }

    /// These partitions went to others already, because the membership ended: nothing was heard of this consumer for
    /// too long, or it did not poll. They cannot be committed any more. Calls [`revoked`](Self::revoked) if not
    /// overridden.
    fn lost(&mut self, consumer: &mut Consumer, partitions: &[TopicPartition]) {
        self.revoked(consumer, partitions);
    }
}

impl CommittedOffset {
    /// This offset, and nothing else to say.
    pub fn at(offset: Offset) -> Self {
        Self { offset, leader_epoch: -1, note: "".into(), committed_at: None }
    }
}
