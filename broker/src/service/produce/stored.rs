//! How a batch that was found good is stored: in the codec and with the times that its topic wants.
//!
//! Invariants: a batch that is already as its topic wants it keeps its bytes; none is stored whose header gives another
//! latest time than its records have.

use bytes::{Bytes, BytesMut};
use folio_record::{Records, Timestamp, TimestampType, set_log_append_time, set_max_timestamp};

use super::refused;
use crate::config::TopicSettings;
use crate::error::ServiceError;

/// What is to be changed in a batch.
#[derive(Debug)]
pub(super) struct Change {
    /// The whole batch in another codec.
    recompressed: Option<Vec<u8>>,
    times: Times,
}

#[derive(Debug)]
enum Times {
    Keep,
    /// The header's latest time is not that of the records.
    Latest(Timestamp),
    /// By the clock of now. The log puts it right where another batch comes before it that has a later one.
    Append(Timestamp),
}

impl Change {
    /// What is to be changed in the batch of `records`, the latest of which has the time `latest`.
    ///
    /// A codec costs the loop up to 20 ms for a mebibyte (gzip), more at high levels; a batch is no larger than
    /// `max.message.bytes`, and only topics that ask for a codec other than their producers' pay.
    pub(super) fn of(
        records: &Records<'_>,
        latest: Timestamp,
        settings: &TopicSettings,
        now: Timestamp,
    ) -> Result<Self, ServiceError> {
        let is_in = records.header().attributes.compression();
        let codec = settings.codec().filter(|codec| codec.compression() != is_in);
        let recompressed =
            codec.map(|codec| records.recompressed(codec)).transpose().map_err(|e| refused(&e))?;
        let times = match settings.timestamp_type {
            TimestampType::LogAppend => Times::Append(now),
            TimestampType::Create if latest == records.header().max_timestamp => Times::Keep,
            TimestampType::Create => Times::Latest(latest),
        };
        Ok(Self { recompressed, times })
    }

    /// The batch as it is to be stored.
    pub(super) fn apply(self, sent: BytesMut) -> BytesMut {
        let mut batch = self.recompressed.map_or(sent, |batch| BytesMut::from(Bytes::from(batch)));
        match self.times {
            Times::Keep => {}
            Times::Latest(time) => set_max_timestamp(&mut batch, time),
            Times::Append(time) => set_log_append_time(&mut batch, time),
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use folio_record::{Batch, Compression, DecompressLimit, Offset, UnverifiedBatch, seal};

    use super::super::tests::{NOW, batch, stored};
    use super::*;

    fn verified(bytes: &[u8]) -> Batch<'_> {
        let (batch, behind) = UnverifiedBatch::split_first(bytes).unwrap();
        assert!(behind.is_empty());
        batch.verify().unwrap()
    }

    /// Offset, time and value of each record.
    fn records(bytes: &[u8]) -> Vec<(Offset, Timestamp, Vec<u8>)> {
        let records = verified(bytes).records(DecompressLimit::new(1 << 20)).unwrap();
        records
            .iter()
            .map(Result::unwrap)
            .map(|r| (r.offset, r.timestamp, r.value.unwrap().to_vec()))
            .collect()
    }

    #[test]
    fn a_topic_that_wants_nothing_else_stores_what_was_sent() {
        for codec in Compression::ALL {
            let sent = batch(codec).repeat(2);
            assert_eq!(stored(&sent, &TopicSettings::default()).unwrap(), sent);
            let same = TopicSettings { compression: Some(codec), ..TopicSettings::default() };
            assert_eq!(stored(&sent, &same).unwrap(), sent);
        }
    }

    #[test]
    fn a_batch_of_another_codec_is_stored_in_the_topics() {
        for to in Compression::ALL {
            let settings = TopicSettings { compression: Some(to), ..TopicSettings::default() };
            for from in Compression::ALL {
                let sent = batch(from);
                let stored = stored(&sent, &settings).unwrap();
                assert_eq!(verified(&stored).header().attributes.compression(), to);
                assert_eq!(records(&stored), records(&sent), "{from} to {to}");
            }
        }
    }

    #[test]
    fn a_batch_is_too_large_if_it_is_once_unpacked() {
        let sent = batch(Compression::Gzip);
        let settings = TopicSettings {
            compression: Some(Compression::None),
            max_message_bytes: u32::try_from(sent.len()).unwrap(),
            ..TopicSettings::default()
        };
        let refused = stored(&sent, &settings).unwrap_err();
        assert_eq!(refused.fault, crate::error::Fault::MessageTooLarge);
    }

    #[test]
    fn the_latest_time_in_a_header_is_put_right() {
        for codec in Compression::ALL {
            let right = batch(codec);
            for wrong in [-1, 0, NOW.get(), i64::MAX] {
                let mut sent = right.clone();
                sent[35..43].copy_from_slice(&wrong.to_be_bytes());
                seal(&mut sent);
                assert_eq!(stored(&sent, &TopicSettings::default()).unwrap(), right, "{codec}, {wrong}");
            }
        }
    }

    #[test]
    fn a_topic_with_its_own_time_gives_it_to_records_of_any_time() {
        let settings = TopicSettings {
            timestamp_type: TimestampType::LogAppend,
            timestamp_before_max: Some(std::time::Duration::ZERO),
            timestamp_after_max: Some(std::time::Duration::ZERO),
            ..TopicSettings::default()
        };
        for to in [None, Some(Compression::Snappy)] {
            let settings = TopicSettings { compression: to, ..settings.clone() };
            for from in Compression::ALL {
                let stored = stored(&batch(from), &settings).unwrap();
                let header = *verified(&stored).header();
                assert_eq!(
                    (header.attributes.timestamp_type(), header.max_timestamp),
                    (TimestampType::LogAppend, NOW)
                );
                assert_eq!(verified(&stored).header().attributes.compression(), to.unwrap_or(from));
                assert!(records(&stored).iter().all(|(_, time, _)| *time == NOW));
            }
        }
    }
}
