//! What produce refuses, whichever protocol asked. Stored bytes stay as they were sent.

use folio_record::{
    Batch, BatchError, DecompressLimit, Offset, ProducerId, Timestamp, TimestampType, UnverifiedBatch,
};

use crate::config::TopicSettings;
use crate::error::{Fault, ServiceError};

/// What the checks need to know besides the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checks<'a> {
    pub(crate) settings: &'a TopicSettings,
    /// What one compressed batch may unpack to.
    pub(crate) decompress_max: usize,
    pub(crate) now: Timestamp,
}

impl Checks<'_> {
    /// Whether `bytes` are one or more whole batches that may be stored as they are.
    ///
    /// # Errors
    /// The first thing wrong with the first batch that has something wrong; none may be stored then.
    pub(crate) fn all(&self, bytes: &[u8]) -> Result<(), ServiceError> {
        let mut rest = bytes;
        loop {
            let (batch, behind) = UnverifiedBatch::split_first(rest).map_err(|e| refused(&e))?;
            let size = batch.bytes().len();
            if size > self.settings.max_message_bytes as usize {
                return Err(ServiceError::new(
                    Fault::MessageTooLarge,
                    format!(
                        "a batch of {size} bytes; max.message.bytes is {}",
                        self.settings.max_message_bytes
                    ),
                ));
            }
            self.one(&batch.verify().map_err(|e| refused(&e))?)?;
            if behind.is_empty() {
                return Ok(());
            }
            rest = behind;
        }
    }

    fn one(&self, batch: &Batch<'_>) -> Result<(), ServiceError> {
        let header = batch.header();
        let attributes = header.attributes;
        let broken = [
            (header.base_offset != Offset::new(0), "its base offset is not 0"),
            (!header.is_dense(), "its records are not counted from 0 without a gap"),
            (attributes.is_control(), "control batches are the broker's own"),
            (attributes.has_delete_horizon(), "the delete horizon is the broker's own"),
            (attributes.is_transactional(), "there are no transactions yet"),
            (header.producer_id != ProducerId::NONE, "there is no producer state yet"),
        ];
        if let Some((_, why)) = broken.iter().find(|(is_broken, _)| *is_broken) {
            return Err(ServiceError::new(Fault::InvalidRecord, format!("the batch is refused: {why}")));
        }
        if attributes.timestamp_type() == TimestampType::LogAppend {
            return Err(ServiceError::new(
                Fault::InvalidTimestamp,
                "the broker alone gives log append times",
            ));
        }
        let checked =
            batch.check_records(DecompressLimit::new(self.decompress_max)).map_err(|e| refused(&e))?;
        self.timestamps(checked.min_timestamp, checked.max_timestamp)
    }

    fn timestamps(&self, min: Timestamp, max: Timestamp) -> Result<(), ServiceError> {
        let limit = |limit: Option<std::time::Duration>| {
            limit.and_then(|limit| i64::try_from(limit.as_millis()).ok()).unwrap_or(i64::MAX)
        };
        let now = self.now.get();
        let before = limit(self.settings.timestamp_before_max);
        let after = limit(self.settings.timestamp_after_max);
        let wrong = if max.get() > now.saturating_add(after) {
            max
        } else if min.get() < now.saturating_sub(before) {
            min
        } else {
            return Ok(());
        };
        Err(ServiceError::new(
            Fault::InvalidTimestamp,
            format!("the record time {} ms is too far from the broker's, {now} ms", wrong.get()),
        ))
    }
}

fn refused(error: &BatchError) -> ServiceError {
    let fault = match error {
        BatchError::UnsupportedCompression(_) => Fault::UnsupportedCompression,
        BatchError::Checksum { .. } | BatchError::Incomplete { .. } | BatchError::Magic { .. } => {
            Fault::CorruptBatch
        }
        _ => Fault::InvalidRecord,
    };
    ServiceError::new(fault, error.to_string())
}
