//! Fetch: places to a request, its answer to records.

use bytes::{Bytes, BytesMut};
use folio_record::Offset;
use folio_wire::native::ErrorCode;
use folio_wire::native::fetch::{FetchAnswerV1, FetchEntryV1, FetchRequestV1};

use super::{Frame, Malformed, answers, encode, expect_parts, refusal};
use crate::CallError;
use crate::consumer::fetcher::{Fetch, Fetched};

answers!(FetchAnswerV1);

pub(crate) fn encode_fetch(correlation: u32, fetch: &Fetch, out: &mut BytesMut) -> Result<(), CallError> {
    let entries = fetch.parts.iter().map(|part| FetchEntryV1 {
        topic: &part.topic_partition.topic,
        partition: part.topic_partition.partition,
        offset: part.offset.get(),
        max_bytes: saturated(fetch.partition_bytes_max),
        leader_epoch: ANY_EPOCH,
    });
    let request = FetchRequestV1 {
        max_wait_ms: u32::try_from(fetch.wait_max.as_millis()).unwrap_or(u32::MAX),
        min_bytes: saturated(fetch.bytes_min),
        max_bytes: saturated(fetch.bytes_max),
        entries: entries.collect(),
    };
    encode(correlation, &request, out)
}

/// What the answer says of each part; as many as were asked for.
pub(crate) fn decode_fetch(frame: &Frame<'_>, fetch: &Fetch) -> Result<Vec<Fetched>, Malformed> {
    let answer: FetchAnswerV1 = match frame.answer()? {
        Ok(answer) => answer,
        Err(CallError::Refused(refusal)) => {
            return Ok(fetch.parts.iter().map(|_| Fetched::Refused(refusal.clone())).collect());
        }
        Err(error) => return Err(Malformed::new(error.to_string())),
    };
    expect_parts(answer.entries.len(), fetch.parts.len())?;
    let mut records = frame.records.clone();
    let mut parts = Vec::with_capacity(fetch.parts.len());
    for entry in answer.entries {
        let size = entry.record_bytes as usize;
        if size > records.len() {
            return Err(Malformed::new(format!(
                "{size} record bytes are announced, {} are there",
                records.len()
            )));
        }
        let bytes = records.split_to(size);
        let offsets = (Offset::new(entry.high_watermark), Offset::new(entry.log_start));
        parts.push(fetched(entry.error, entry.message, offsets, bytes)?);
    }
    if !records.is_empty() {
        return Err(Malformed::new(format!("{} record bytes are nobody's", records.len())));
    }
    Ok(parts)
}

/// What there was of one partition, which has these offsets: high watermark, log start.
pub(super) fn fetched(
    error: ErrorCode,
    message: Option<String>,
    (high_watermark, log_start): (Offset, Offset),
    bytes: Bytes,
) -> Result<Fetched, Malformed> {
    let out_of_range = error == ErrorCode::OFFSET_OUT_OF_RANGE;
    if (out_of_range || error.is_none()) && (log_start < Offset::ZERO || high_watermark < log_start) {
        return Err(Malformed::new(format!("a log that goes from {log_start} to {high_watermark}")));
    }
    Ok(match refusal(error, message) {
        Some(_) if out_of_range => Fetched::OutOfRange { high_watermark, log_start },
        Some(refusal) => Fetched::Refused(refusal),
        None => Fetched::Records { bytes, high_watermark, log_start },
    })
}

fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The reader does not compare leader epochs.
pub(super) const ANY_EPOCH: i32 = -1;
