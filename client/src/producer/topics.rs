//! What a producer knows of a topic: its partitions' queues, and whose turn it is.

use std::sync::Arc;

use super::budget::Budget;
use super::compressors::Compressors;
use super::config::ProducerConfig;
use super::queue::{PartitionQueue, QueueRules};
use super::record::ProducerRecord;
use crate::backoff::Jitter;
use crate::partitioner::{KeylessTurn, partition_for_key};
use crate::{SendError, TopicPartition};

/// A topic as a producer sees it. Replaced by a larger one when the topic has got more partitions.
#[derive(Debug)]
pub(crate) struct Topic {
    name: Arc<str>,
    queues: Vec<Arc<PartitionQueue>>,
    keyless: KeylessTurn,
}

impl Topic {
    /// `before`: what is known already. Its queues stay, and so does the order of what is in them.
    pub(crate) fn new(
        name: &Arc<str>,
        partitions: u32,
        before: Option<&Self>,
        config: &ProducerConfig,
        rules: QueueRules,
        budget: &Arc<Budget>,
        compressors: &Arc<Compressors>,
    ) -> Self {
        let mut queues = before.map_or_else(Vec::new, |topic| topic.queues.clone());
        for partition in queues.len() as u32..partitions {
            let topic_partition = TopicPartition::new(Arc::clone(name), partition);
            let (budget, compressors) = (Arc::clone(budget), Arc::clone(compressors));
            queues.push(Arc::new(PartitionQueue::new(topic_partition, rules, budget, compressors)));
        }
        let start = Jitter::random().next() as u32;
        Self {
            name: Arc::clone(name),
            queues,
            keyless: KeylessTurn::new(config.keyless, config.batch_bytes, start),
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn queues(&self) -> &[Arc<PartitionQueue>] {
        &self.queues
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.queues.len() as u32
    }

    /// Where a record goes.
    pub(crate) fn queue_for(
        &self,
        record: &ProducerRecord<'_>,
        bytes: usize,
    ) -> Result<&Arc<PartitionQueue>, SendError> {
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, self.partitions()),
            (None, None) => self.keyless.next(bytes, self.partitions()),
        };
        self.queues.get(partition as usize).ok_or_else(|| SendError::NoSuchPartition {
            topic: Arc::clone(&self.name),
            partition,
            partitions: self.partitions(),
        })
    }
}
