//! Deleting the oldest records.

use std::time::Instant;

use bytes::BytesMut;
use folio_record::Offset;
use folio_wire::native::records::{RecordsDeleteAnswerV1, RecordsDeleteEntryV1, RecordsDeleteRequestV1};

use super::{Then, answers, call, encode, expect_parts, refusal};
use crate::driver::QueuedCall;
use crate::{Refusal, TopicPartition};

answers!(RecordsDeleteAnswerV1);

/// A call that deletes what lies before an offset in each partition, all of it where there is none.
pub(crate) fn delete_records(
    wanted: Vec<(TopicPartition, Option<Offset>)>,
    deadline: Instant,
    then: Then<Vec<Result<Offset, Refusal>>>,
) -> QueuedCall {
    let asked = wanted.len();
    let request = move |correlation, out: &mut BytesMut| {
        let entries = wanted.iter().map(|(topic_partition, before)| RecordsDeleteEntryV1 {
            topic: &topic_partition.topic,
            partition: topic_partition.partition,
            before: before.map_or(-1, Offset::get),
        });
        encode(correlation, &RecordsDeleteRequestV1 { entries: entries.collect() }, out)
    };
    let read = move |answer: RecordsDeleteAnswerV1| {
        expect_parts(answer.entries.len(), asked)?;
        let entries = answer.entries.into_iter().map(|entry| match refusal(entry.error, entry.message) {
            Some(refusal) => Err(refusal),
            None => Ok(Offset::new(entry.log_start)),
        });
        Ok(Ok(entries.collect()))
    };
    call(deadline, true, request, read, then)
}
