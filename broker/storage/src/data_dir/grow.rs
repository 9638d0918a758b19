//! More partitions for a topic that there is, in an order in which a crash at any point leaves the old or the new.
//!
//! As when a topic is made: the transaction is durable; directories are made; a second transaction says that they are
//! ready. Until then the topic has as many partitions as before.

use folio_record::Timestamp;
use uuid::Uuid;

use super::{DataDir, TopicError};
use crate::files::Files;
use crate::metadata::{Compare, Key, Operation, Topic, TopicPhase, Transaction, Value};

impl<F: Files> DataDir<F> {
    /// The transaction after which a living topic is to have so many partitions. Directories follow by
    /// [`make_partitions`](Self::make_partitions).
    ///
    /// # Errors
    /// There is no such topic.
    pub fn growth(&self, uuid: Uuid, partitions: u32) -> Result<Transaction, TopicError> {
        self.change(uuid, |topic| Topic { partitions, ..topic })
    }

    /// Leaves a topic with the partitions that are ready, after others could not be made: what there is of those goes.
    /// If even this fails, the next start makes them.
    ///
    /// # Errors
    /// The disk.
    pub fn give_up_growth(&self, uuid: Uuid, now: Timestamp) -> Result<(), TopicError> {
        let Some(topic) = self.topic(uuid) else { return Ok(()) };
        self.take_away(uuid, &topic.name, topic.partitions_ready..topic.partitions)?;
        let back = self.change(uuid, |topic| Topic { partitions: topic.partitions_ready, ..topic })?;
        self.commit(back, now).map(drop).map_err(|error| self.metadata_error(error))
    }

    fn change(&self, uuid: Uuid, change: impl FnOnce(Topic) -> Topic) -> Result<Transaction, TopicError> {
        let key = Key::Topic(uuid);
        let entry = self.metadata().state().get(&key);
        let (topic, modified) = match entry.map(|entry| (entry.value, entry.modified)) {
            Some((Value::Topic(topic), modified)) if topic.phase == TopicPhase::Live => (topic, modified),
            _ => return Err(TopicError::Unknown { name: uuid.to_string() }),
        };
        Ok(Transaction {
            compares: vec![Compare::Modified(key.clone(), modified)],
            operations: vec![Operation::Put(key, Value::Topic(change(topic)))],
        })
    }
}
