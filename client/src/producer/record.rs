//! A record as it is given to a producer.

use folio_record::{Header, Timestamp};

/// A record to be sent. It borrows everything: the bytes are copied once, into the batch.
///
/// ```
/// use folio_client::ProducerRecord;
///
/// let record = ProducerRecord::to("clicks").key(b"user-17").value(b"home");
/// assert_eq!(record.partition, None); // it goes where its key goes
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ProducerRecord<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; `None`: by key, and without a key by [`Keyless`](crate::Keyless).
    pub partition: Option<u32>,
    /// The key; no key is not an empty key.
    pub key: Option<&'a [u8]>,
    /// The value; no value (a tombstone) is not an empty value.
    pub value: Option<&'a [u8]>,
    /// Headers, in order; a key may repeat.
    pub headers: &'a [Header<'a>],
    /// Its time; `None`: now.
    pub timestamp: Option<Timestamp>,
}

impl<'a> ProducerRecord<'a> {
    /// A record for `topic`, with nothing in it yet.
    pub const fn to(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, headers: &[], timestamp: None }
    }

    /// Sets [`partition`](Self::partition).
    #[must_use]
    pub const fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets [`key`](Self::key).
    #[must_use]
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Sets [`value`](Self::value).
    #[must_use]
    pub fn value<V: AsRef<[u8]> + ?Sized>(mut self, value: &'a V) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Sets [`headers`](Self::headers).
    #[must_use]
    pub const fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// Sets [`timestamp`](Self::timestamp).
    #[must_use]
    pub const fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The most bytes that it can take in a batch, the batch's own included: what the buffer counts.
    pub(crate) fn bytes_max(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len) + HEADER_OVERHEAD_MAX);
        self.key.map_or(0, <[u8]>::len)
            + self.value.map_or(0, <[u8]>::len)
            + headers.sum::<usize>()
            + RECORD_OVERHEAD_MAX
    }
}

/// Length, attributes, timestamp delta, offset delta, two lengths and a count of headers, each as long as it can get.
const RECORD_OVERHEAD_MAX: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
/// Two lengths.
const HEADER_OVERHEAD_MAX: usize = 5 + 5;
