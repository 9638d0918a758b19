//! A peer that speaks Kafka's protocol by hand, so that a claim decides what stands on the wire and when.

pub mod groups;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use folio_wire::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic};
use folio_wire::kafka::header::ResponseHeader;
use folio_wire::kafka::metadata::{MetadataRequest, MetadataRequestTopic};
use folio_wire::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use folio_wire::kafka::{ApiKey, Message, Reader, encode_request};

use crate::native::receive;

/// One connection.
#[derive(Debug)]
pub struct KafkaPeer {
    stream: TcpStream,
    received: Vec<u8>,
    correlation: i32,
}

/// An answer, to be read in the version that was asked in.
#[derive(Debug)]
pub struct Answer {
    frame: Vec<u8>,
    api: ApiKey,
    version: i16,
    correlation: i32,
}

/// How long a broker may take to answer when nothing is in its way.
const LIMIT: Duration = Duration::from_secs(60);

impl KafkaPeer {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn connect(address: &str) -> Self {
        Self::over(TcpStream::connect(address).expect("somebody listens"))
    }

    /// Over a connection that is there.
    ///
    /// # Panics
    /// When it has options of its own.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option of every socket");
        Self { stream, received: Vec::new(), correlation: 0 }
    }

    /// Asks, and takes the answer.
    ///
    /// # Panics
    /// When there is none.
    pub fn call<'a, T: Message<'a>>(&mut self, version: i16, request: &T) -> Answer {
        self.submit(version, request);
        self.answer(T::API, version)
    }

    /// Asks, and takes the answer, unless the connection ends instead.
    ///
    /// # Panics
    /// When neither happens.
    pub fn try_call<'a, T: Message<'a>>(&mut self, version: i16, request: &T) -> Option<Answer> {
        let frame = self.frame(version, request);
        self.stream.write_all(&frame).ok()?;
        self.next_answer(T::API, version, LIMIT).expect("an answer comes, or the end")
    }

    /// Asks for a topic, which may be made for that.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn metadata(&mut self, topic: &str) -> Answer {
        let topics = vec![MetadataRequestTopic { name: Some(topic), ..MetadataRequestTopic::default() }];
        self.call(12, &MetadataRequest { topics: Some(topics), ..MetadataRequest::default() })
    }

    /// Asks; the answer is taken later, in order.
    ///
    /// # Panics
    /// When the request is not taken.
    pub fn submit<'a, T: Message<'a>>(&mut self, version: i16, request: &T) -> i32 {
        let frame = self.frame(version, request);
        self.send(&frame);
        self.correlation
    }

    /// A whole request.
    ///
    /// # Panics
    /// When its version has no way to say it.
    pub fn frame<'a, T: Message<'a>>(&mut self, version: i16, request: &T) -> Vec<u8> {
        self.correlation += 1;
        let encoded = encode_request(version, self.correlation, Some("peer"), request);
        encoded.expect("a request of that version").heap().to_vec()
    }

    /// Sends these bytes.
    ///
    /// # Panics
    /// When they are not taken.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the request is taken");
    }

    /// Sends as much of these bytes as is taken, until nothing has been for `patience`.
    pub fn push(&mut self, bytes: &[u8], patience: Duration) {
        let _ = self.stream.set_write_timeout(Some(patience));
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.set_write_timeout(None);
    }

    /// The next answer, which must be to a request of this API and version.
    ///
    /// # Panics
    /// When it does not come.
    pub fn answer(&mut self, api: ApiKey, version: i16) -> Answer {
        self.answer_within(api, version, LIMIT).expect("an answer comes")
    }

    /// As [`answer`](Self::answer), if it comes in time.
    ///
    /// # Panics
    /// When the connection ends instead.
    pub fn answer_within(&mut self, api: ApiKey, version: i16, limit: Duration) -> Option<Answer> {
        let answer = self.next_answer(api, version, limit)?;
        Some(answer.expect("the connection ended"))
    }

    /// The next answer, if it comes in time; none if the connection ends instead.
    fn next_answer(&mut self, api: ApiKey, version: i16, limit: Duration) -> Option<Option<Answer>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(length) = self.received.first_chunk::<4>() {
                let size = 4 + usize::try_from(i32::from_be_bytes(*length)).expect("a length");
                if self.received.len() >= size {
                    let frame: Vec<u8> = self.received.drain(..size).collect();
                    let header = ResponseHeader::decode(&mut Reader::new(&frame[4..]), api, version);
                    let correlation = header.expect("a header").correlation_id;
                    return Some(Some(Answer { frame, api, version, correlation }));
                }
            }
            if !receive(&mut self.stream, &mut self.received, deadline)? {
                return Some(None);
            }
        }
    }

    /// Whether the other side ends the connection in time, without another word.
    pub fn is_closed(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while let Some(is_open) = receive(&mut self.stream, &mut self.received, deadline) {
            if !is_open {
                return self.received.is_empty();
            }
        }
        false
    }
}

impl Answer {
    /// The id of the request that it answers.
    pub fn correlation(&self) -> i32 {
        self.correlation
    }

    /// The message.
    ///
    /// # Panics
    /// When it is another one, or has bytes behind it.
    pub fn message<'a, T: Message<'a>>(&'a self) -> T {
        self.message_of(self.version)
    }

    /// The message, read in another version than the one that was asked in.
    ///
    /// # Panics
    /// When it is another one, or has bytes behind it.
    pub fn message_of<'a, T: Message<'a>>(&'a self, version: i16) -> T {
        assert_eq!(T::API, self.api);
        let mut reader = Reader::new(&self.frame[4..]);
        ResponseHeader::decode(&mut reader, self.api, version).expect("a header");
        let message = T::decode(&mut reader, version).expect("the message that was asked for");
        reader.expect_end().expect("nothing behind it");
        message
    }
}

/// A fetch of one partition from `offset` on, that waits for a byte.
pub fn fetch(topic: &str, partition: i32, offset: i64, wait: Duration) -> FetchRequest<'_> {
    let wanted = FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: 64 << 20,
        topics: vec![FetchTopic { topic, partitions: vec![wanted], ..FetchTopic::default() }],
        ..FetchRequest::default()
    }
}

/// A produce of these batches to one partition.
pub fn produce<'a>(topic: &'a str, partition: i32, acks: i16, records: &'a [u8]) -> ProduceRequest<'a> {
    let data = PartitionProduceData { index: partition, records: Some(records) };
    let topic = TopicProduceData { name: topic, partition_data: vec![data], ..TopicProduceData::default() };
    ProduceRequest { acks, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() }
}
