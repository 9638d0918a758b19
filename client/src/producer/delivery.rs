//! The promise of a delivery report, and the end of a flush.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use folio_record::Offset;

use super::outcome::{Outcome, PartResult};
use crate::{DeliveryError, TopicPartition};

/// What becomes of one record. [`wait`](Self::wait) for it, or await it with any executor, or drop it: the record is
/// sent in any case.
#[must_use = "errors are lost unless it is waited for or awaited"]
pub struct Delivery {
    outcome: Arc<Outcome>,
    index: u32,
}

/// A record is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Where.
    pub topic_partition: TopicPartition,
    /// At which offset. `None` with [`Acks::None`](crate::Acks::None): nobody said.
    pub offset: Option<Offset>,
}

/// The end of everything that had been sent when [`flush`](crate::Producer::flush) was called.
#[must_use = "it is not waited for otherwise"]
pub struct Flush {
    /// The last ones first, for they are taken off the end.
    outcomes: Vec<Arc<Outcome>>,
    first_error: Option<DeliveryError>,
}

impl Delivery {
    pub(crate) fn new(outcome: Arc<Outcome>, index: u32) -> Self {
        Self { outcome, index }
    }

    /// Which partition the record goes to.
    pub fn topic_partition(&self) -> &TopicPartition {
        self.outcome.topic_partition()
    }

    /// Blocks until it is known what became of the record. That is within
    /// [`delivery_timeout`](crate::ProducerConfig::delivery_timeout).
    ///
    /// # Errors
    ///
    /// Why it is not known to be in the log.
    pub fn wait(self) -> Result<Delivered, DeliveryError> {
        let result = self.outcome.wait(self.index);
        self.delivered(result)
    }

    /// Blocks until it is known, for at most `limit`. `None`: it is not.
    pub fn wait_for(&self, limit: Duration) -> Option<Result<Delivered, DeliveryError>> {
        self.outcome.wait_for(self.index, limit).map(|result| self.delivered(result))
    }

    /// What became of the record, if that is known. Does not block.
    pub fn get(&self) -> Option<Result<Delivered, DeliveryError>> {
        self.outcome.get(self.index).map(|result| self.delivered(result))
    }

    fn delivered(&self, result: PartResult) -> Result<Delivered, DeliveryError> {
        result.map(|offset| Delivered { topic_partition: self.topic_partition().clone(), offset })
    }
}

impl Future for Delivery {
    type Output = Result<Delivered, DeliveryError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.outcome.poll(self.index, context).map(|result| self.delivered(result))
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("topic_partition", self.topic_partition())
            .field("result", &self.get())
            .finish()
    }
}

impl Flush {
    pub(crate) fn new(outcomes: Vec<Arc<Outcome>>) -> Self {
        Self { outcomes, first_error: None }
    }

    /// Blocks until everything is known to be in the log, or not to be.
    ///
    /// # Errors
    ///
    /// One of the records is not. Which ones is known to their deliveries.
    pub fn wait(mut self) -> Result<(), DeliveryError> {
        self.wait_until(None).unwrap_or(Ok(()))
    }

    /// Blocks until then for at most `limit`. `None`: some are still on their way.
    pub fn wait_for(&mut self, limit: Duration) -> Option<Result<(), DeliveryError>> {
        self.wait_until(Some(Instant::now() + limit))
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> Option<Result<(), DeliveryError>> {
        while let Some(outcome) = self.outcomes.last() {
            let result = outcome.wait_all(deadline)?;
            self.advance(result);
        }
        Some(self.result())
    }

    fn advance(&mut self, result: Result<(), DeliveryError>) {
        self.outcomes.pop();
        if let (Err(error), None) = (result, &self.first_error) {
            self.first_error = Some(error);
        }
    }

    fn result(&self) -> Result<(), DeliveryError> {
        self.first_error.clone().map_or(Ok(()), Err)
    }
}

impl Future for Flush {
    type Output = Result<(), DeliveryError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(outcome) = self.outcomes.last() {
            match outcome.poll_all(context) {
                Poll::Ready(result) => self.advance(result),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(self.result())
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("batches", &self.outcomes.len()).finish()
    }
}
