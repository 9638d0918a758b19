//! Records one by one.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::records::RecordsIntoIter;
use super::{Consumer, ConsumerRecord, Position, Records};
use crate::PollError;

/// The records of a consumer one by one, for a thread: blocks until there is one. Ends only when the client does, or if
/// nothing is assigned; another error does not end it.
///
/// When it is dropped, the consumer stands behind the last record that was taken from it.
pub struct ConsumerIter<'a>(OneByOne<'a>);

/// The records of a consumer one by one, for tasks of any executor. Otherwise as [`ConsumerIter`].
pub struct RecordStream<'a>(OneByOne<'a>);

struct OneByOne<'a> {
    consumer: &'a mut Consumer,
    current: Option<RecordsIntoIter>,
    ended: bool,
}

impl<'a> ConsumerIter<'a> {
    pub(crate) fn new(consumer: &'a mut Consumer) -> Self {
        Self(OneByOne { consumer, current: None, ended: false })
    }
}

impl<'a> RecordStream<'a> {
    pub(crate) fn new(consumer: &'a mut Consumer) -> Self {
        Self(OneByOne { consumer, current: None, ended: false })
    }
}

impl Iterator for ConsumerIter<'_> {
    type Item = Result<ConsumerRecord, PollError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.0.next_of_current() {
                return Some(Ok(record));
            }
            if self.0.ended {
                return None;
            }
            match self.0.consumer.poll(Duration::MAX) {
                Ok(records) => self.0.current = records.map(Records::into_iter),
                Err(error) => return Some(Err(self.0.note(error))),
            }
        }
    }
}

impl Stream for RecordStream<'_> {
    type Item = Result<ConsumerRecord, PollError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(record) = self.0.next_of_current() {
                return Poll::Ready(Some(Ok(record)));
            }
            if self.0.ended {
                return Poll::Ready(None);
            }
            match self.0.consumer.poll_records(context) {
                Poll::Ready(Ok(records)) => self.0.current = Some(records.into_iter()),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(self.0.note(error)))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl OneByOne<'_> {
    fn next_of_current(&mut self) -> Option<ConsumerRecord> {
        self.current.as_mut()?.next()
    }

    fn note(&mut self, error: PollError) -> PollError {
        self.ended = matches!(error, PollError::Closed | PollError::NothingAssigned);
        error
    }
}

/// What was polled and not taken is fetched again.
impl Drop for OneByOne<'_> {
    fn drop(&mut self) {
        if let Some(left) = self.next_of_current() {
            self.consumer.seek(left.topic_partition(), Position::At(left.offset()));
        }
    }
}

impl fmt::Debug for ConsumerIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConsumerIter").field(&self.0.consumer).finish()
    }
}

impl fmt::Debug for RecordStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecordStream").field(&self.0.consumer).finish()
    }
}
