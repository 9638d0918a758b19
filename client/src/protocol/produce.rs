//! Produce: shipments to a request, its answer to offsets.

use std::time::Duration;

use bytes::BytesMut;
use folio_record::Offset;
use folio_wire::native::produce::{Acks as WireAcks, ProduceAnswerV1, ProduceEntryV1, ProduceRequestV1};
use folio_wire::native::{ErrorCode, Flags};

use super::{Frame, Malformed, answers, encode_with, expect_parts, refusal};
use crate::producer::sender::{Failure, Shipment};
use crate::{Acks, CallError, TopicPartition};

answers!(ProduceAnswerV1);

/// Writes the request; the shipments' batches follow it as they are.
pub(crate) fn encode_produce(
    correlation: u32,
    acks: Acks,
    timeout: Duration,
    shipments: &[Shipment],
    out: &mut BytesMut,
) -> Result<(), CallError> {
    let entries = shipments.iter().flat_map(entries).collect::<Result<Vec<_>, CallError>>()?;
    let record_bytes = entries.iter().map(|entry| entry.record_bytes as usize).sum();
    let (acks, flags) = match acks {
        Acks::None => (WireAcks::None, Flags::NO_ANSWER),
        Acks::Leader => (WireAcks::One, Flags::NONE),
        Acks::All => (WireAcks::All, Flags::NONE),
    };
    let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    encode_with(correlation, flags, &ProduceRequestV1 { acks, timeout_ms, entries }, record_bytes, out)
}

/// What became of each entry, also when the answer is malformed.
pub(crate) fn decode_produce(
    frame: &Frame<'_>,
    entries: usize,
) -> (Vec<Result<Offset, Failure>>, Result<(), Malformed>) {
    match read(frame, entries) {
        Ok(Ok(outcomes)) => (outcomes, Ok(())),
        Ok(Err(error)) => (vec![Err(failure(error)); entries], Ok(())),
        Err(malformed) => {
            let error = Failure::Failed(malformed.error(frame.broker));
            (vec![Err(error); entries], Err(malformed))
        }
    }
}

type Outcomes = Vec<Result<Offset, Failure>>;

fn read(frame: &Frame<'_>, entries: usize) -> Result<Result<Outcomes, CallError>, Malformed> {
    let answer: ProduceAnswerV1 = match frame.answer()? {
        Ok(answer) => answer,
        Err(error) => return Ok(Err(error)),
    };
    expect_parts(answer.entries.len(), entries)?;
    let outcomes = answer.entries.into_iter().map(|entry| match refusal(entry.error, entry.message) {
        Some(refusal) => Ok(Err(failure(CallError::Refused(refusal)))),
        None if entry.base_offset < 0 => {
            Err(Malformed::new(format!("records were appended at offset {}", entry.base_offset)))
        }
        None => Ok(Ok(Offset::new(entry.base_offset))),
    });
    outcomes.collect::<Result<Vec<_>, _>>().map(Ok)
}

fn entries(shipment: &Shipment) -> impl Iterator<Item = Result<ProduceEntryV1<'_>, CallError>> {
    let TopicPartition { topic, partition } = shipment.topic_partition();
    shipment.entries().map(|bytes| {
        let record_bytes = u32::try_from(bytes)
            .map_err(|_| CallError::usage(format!("{bytes} bytes do not fit a request")))?;
        Ok(ProduceEntryV1 { topic, partition: *partition, record_bytes })
    })
}

fn failure(error: CallError) -> Failure {
    match error {
        CallError::Refused(refusal) => {
            let batch_too_large = refusal.code == ErrorCode::MESSAGE_TOO_LARGE;
            Failure::Refused { refusal, batch_too_large }
        }
        error => Failure::Failed(error),
    }
}
