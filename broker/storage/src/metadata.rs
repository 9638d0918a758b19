//! The metadata log: the truth about which topics exist and how they are set.
//!
//! It is a log like any other, of v2 record batches; one batch is one *transaction* and is synced before anybody
//! hears of it. Read from its beginning it gives a map from [`Key`] to [`Value`] with etcd's semantics:
//!
//! * every transaction has a [`Revision`], higher than all before it (its base offset plus one);
//! * a transaction names what it expects, and is refused whole if anything differs ([`Compare`]);
//! * the map can be read as it was at an earlier revision, and [`Event`]s can be followed from any revision, in
//!   order, until a rewrite forgets them ([`Compacted`]: list again, and follow from there).
//!
//! Invariants:
//! * A transaction is in the map only after it is on disk, and on disk as a whole or not at all.
//! * Only the last transaction can be torn, because none is written before the one ahead of it is synced. Anything
//!   else that is wrong in the file is damage, and damage refuses to start.
//! * Before anybody is answered, a slot says how far the log is durable ([`METADATA`](crate::slots::METADATA)). So only
//!   what nobody was answered can be cut off; but where no slot could be given to it, or a copy-on-write file system
//!   had no room to write it, the last transaction has none that vouches for it.

mod group_history;
mod log;
mod record;
mod replay;
mod state;

pub use group_history::{GroupChange, GroupChangeKind, OldOffset, ReplacedOffset};
pub use log::{CommitError, METADATA_LOG_NAME, MetadataLog};
pub(crate) use log::{FoundLog, MetadataOpenError};
pub use record::{
    Key, PARTITIONS_MAX, RecordError, TOPIC_NAME_LEN_MAX, Topic, TopicPhase, VALUE_SIZE_MAX, Value,
    ValueTooLarge, is_topic_name,
};
pub use replay::{MetadataDamage, TornTransaction};
pub(crate) use replay::{ReadTopics, Vouched, read_topics, salvage};
pub use state::{Compacted, Compare, Conflict, Entry, Event, Operation, Range, Revision, State, Transaction};
