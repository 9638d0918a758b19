//! ListOffsets: for admins, and for consumers that are to begin somewhere that only the broker knows.

use std::time::Instant;

use bytes::BytesMut;
use folio_record::{Offset, Timestamp};
use folio_wire::native::offsets::{
    ListOffsetsAnswerV1, ListOffsetsEntryV1, ListOffsetsRequestV1, ListedOffsetV1, OffsetSpec as WireSpec,
};

use super::{Frame, Malformed, Then, answers, call, encode, expect_parts, refusal};
use crate::consumer::fetcher::Lookup;
use crate::driver::QueuedCall;
use crate::{CallError, ListedOffset, OffsetSpec, Refusal, TopicPartition};

answers!(ListOffsetsAnswerV1);

/// One for each place that was asked for, in order; `None` if there is no such record.
type Listed = Vec<Result<Option<ListedOffset>, Refusal>>;

pub(crate) fn encode_lookup(correlation: u32, lookup: &Lookup, out: &mut BytesMut) -> Result<(), CallError> {
    let entries = lookup.parts.iter().map(|part| entry(&part.topic_partition, part.spec));
    encode(correlation, &ListOffsetsRequestV1 { entries: entries.collect() }, out)
}

/// The offset of each part, `None` if there is no such record; as many as were asked for.
pub(crate) fn decode_lookup(
    frame: &Frame<'_>,
    lookup: &Lookup,
) -> Result<Vec<Result<Option<Offset>, Refusal>>, Malformed> {
    let answer: ListOffsetsAnswerV1 = match frame.answer()? {
        Ok(answer) => answer,
        Err(CallError::Refused(refusal)) => {
            return Ok(lookup.parts.iter().map(|_| Err(refusal.clone())).collect());
        }
        Err(error) => return Err(Malformed::new(error.to_string())),
    };
    let listed = read(answer, lookup.parts.len())?;
    Ok(listed.into_iter().map(|listed| listed.map(|found| found.map(|listed| listed.offset))).collect())
}

/// A call for the offsets of many partitions.
pub(crate) fn list_offsets(
    wanted: Vec<(TopicPartition, OffsetSpec)>,
    deadline: Instant,
    then: Then<Listed>,
) -> QueuedCall {
    let asked = wanted.len();
    let request = move |correlation, out: &mut BytesMut| {
        let entries = wanted.iter().map(|(topic_partition, spec)| entry(topic_partition, *spec)).collect();
        encode(correlation, &ListOffsetsRequestV1 { entries }, out)
    };
    call(deadline, true, request, move |answer| read(answer, asked).map(Ok), then)
}

fn read(answer: ListOffsetsAnswerV1, asked: usize) -> Result<Listed, Malformed> {
    expect_parts(answer.entries.len(), asked)?;
    Ok(answer.entries.into_iter().map(listed).collect())
}

fn listed(entry: ListedOffsetV1) -> Result<Option<ListedOffset>, Refusal> {
    match refusal(entry.error, entry.message) {
        Some(refusal) => Err(refusal),
        None if entry.offset < 0 => Ok(None),
        None => Ok(Some(ListedOffset {
            offset: Offset::new(entry.offset),
            timestamp: Some(Timestamp::new(entry.timestamp)).filter(|time| *time != Timestamp::NONE),
            leader_epoch: entry.leader_epoch,
        })),
    }
}

fn entry(topic_partition: &TopicPartition, spec: OffsetSpec) -> ListOffsetsEntryV1<'_> {
    let spec = match spec {
        OffsetSpec::Earliest => WireSpec::Earliest,
        OffsetSpec::Latest => WireSpec::Latest,
        OffsetSpec::Since(time) => WireSpec::AtTime(time.get()),
    };
    ListOffsetsEntryV1 { topic: &topic_partition.topic, partition: topic_partition.partition, spec }
}
