//! A peer that speaks the native protocol by hand, so that a claim decides what stands on the wire and when.

mod subscriber;

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_record::{BatchBuilder, Compression, NewRecord, ProducerId, Timestamp};
use folio_wire::native::fetch::{FetchEntryV1, FetchRequestV1, FetchedV1};
use folio_wire::native::preface::PREFACE_SIZE;
use folio_wire::native::produce::{Acks, ProduceEntryV1, ProduceRequestV1, ProducedV1};
use folio_wire::native::status::StatusRequestV1;
use folio_wire::native::topics::{PartitionDescriptionV1, TopicCreateRequestV1, TopicDescribeRequestV1};
use folio_wire::native::{Flags, Head, Message, Preface, Request, decode_frame, encode_frame};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use subscriber::Push;

/// One connection; prefaces have gone both ways.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    preface: Preface,
    received: Vec<u8>,
    correlation: u32,
    /// Answers that have overtaken the one that was waited for.
    overtaking: BTreeMap<u32, Vec<u8>>,
    /// Frames that answer nothing, and came while an answer was waited for.
    pushed: VecDeque<Vec<u8>>,
    /// The correlation ids with which subscriptions were begun.
    subscribed: BTreeMap<u32, u32>,
}

/// The names of a request that was sent: its answer is asked for with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent(u32);

/// How long a broker may take to answer when nothing is in its way.
const LIMIT: Duration = Duration::from_secs(60);

impl Peer {
    /// Connects.
    ///
    /// # Panics
    /// When nobody answers with a preface.
    pub fn connect(address: &str) -> Self {
        Self::connect_as(address, Preface::ours(100 << 20))
    }

    /// Connects, and says this of itself.
    ///
    /// # Panics
    /// When nobody answers with a preface.
    pub fn connect_as(address: &str, preface: Preface) -> Self {
        let mut stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_nodelay(true).expect("an option of every socket");
        stream.set_read_timeout(Some(LIMIT)).expect("an option of every socket");
        stream.write_all(&preface.encode()).expect("the preface is taken");
        let mut preface = [0; PREFACE_SIZE];
        stream.read_exact(&mut preface).expect("a preface comes");
        let preface = Preface::decode(&preface).expect("it is one").expect("it is whole");
        Self {
            stream,
            preface,
            received: Vec::new(),
            correlation: 0,
            overtaking: BTreeMap::new(),
            pushed: VecDeque::new(),
            subscribed: BTreeMap::new(),
        }
    }

    /// What the other side said of itself.
    pub fn preface(&self) -> Preface {
        self.preface
    }

    /// A whole frame of `message` with these record bytes behind it.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn frame<T: Message + Serialize>(&mut self, message: &T, records: &[u8]) -> Vec<u8> {
        self.correlation += 1;
        let mut frame = BytesMut::new();
        let head = Head::request::<T>(self.correlation);
        encode_frame(&mut frame, head, message, records.len()).expect("it fits a frame");
        frame.extend_from_slice(records);
        frame.to_vec()
    }

    /// Sends a request and takes its answer, with the record bytes behind it.
    ///
    /// # Panics
    /// When there is none.
    pub fn call<T>(&mut self, request: &T, records: &[u8]) -> (T::Answer, Vec<u8>)
    where
        T: Request + Serialize,
        T::Answer: DeserializeOwned,
    {
        let sent = self.submit(request, records);
        self.answer_to::<T>(sent)
    }

    /// Sends a request, whose answer is taken later.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn submit<T: Request + Serialize>(&mut self, request: &T, records: &[u8]) -> Sent {
        let frame = self.frame(request, records);
        self.stream.write_all(&frame).expect("the request is taken");
        Sent(self.correlation)
    }

    /// Sends a request that says that it wants no answer.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn submit_without_answer<T: Request + Serialize>(&mut self, request: &T, records: &[u8]) -> Sent {
        self.correlation += 1;
        let mut frame = BytesMut::new();
        let head = Head { flags: Flags::NO_ANSWER, ..Head::request::<T>(self.correlation) };
        encode_frame(&mut frame, head, request, records.len()).expect("it fits a frame");
        frame.extend_from_slice(records);
        self.stream.write_all(&frame).expect("the request is taken");
        Sent(self.correlation)
    }

    /// The answer to a request, with the record bytes behind it; what overtakes it is kept.
    ///
    /// # Panics
    /// When it does not come.
    pub fn answer_to<T>(&mut self, sent: Sent) -> (T::Answer, Vec<u8>)
    where
        T: Request,
        T::Answer: DeserializeOwned,
    {
        let frame = loop {
            if let Some(frame) = self.overtaking.remove(&sent.0) {
                break frame;
            }
            let frame = self.answer(LIMIT).expect("an answer comes");
            let Head { correlation, flags, .. } =
                decode_frame(&frame, u32::MAX).ok().flatten().expect("a frame").head;
            if flags.contains(Flags::PUSHED) {
                self.pushed.push_back(frame);
                continue;
            }
            assert!(self.overtaking.insert(correlation, frame).is_none(), "{correlation} is answered twice");
        };
        let frame = decode_frame(&frame, u32::MAX).ok().flatten().expect("it was one just now");
        assert_eq!(frame.head, Head::request::<T>(sent.0).answer());
        (decoded(frame.header), frame.records.to_vec())
    }

    /// Whether the answer to this request is among what has come so far.
    pub fn has_answer_to(&self, sent: Sent) -> bool {
        self.overtaking.contains_key(&sent.0)
    }

    /// Appends batches to one partition.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn produce(&mut self, topic: &str, partition: u32, acks: Acks, batches: &[u8]) -> ProducedV1 {
        let sent = self.submit_produce(topic, partition, acks, batches);
        self.produced(sent)
    }

    /// As [`produce`](Self::produce); the answer is taken later.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn submit_produce(&mut self, topic: &str, partition: u32, acks: Acks, batches: &[u8]) -> Sent {
        let record_bytes = u32::try_from(batches.len()).expect("they fit a frame");
        let entries = vec![ProduceEntryV1 { topic, partition, record_bytes }];
        self.submit(&ProduceRequestV1 { acks, timeout_ms: 30_000, entries }, batches)
    }

    /// What became of the one entry of a produce.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn produced(&mut self, sent: Sent) -> ProducedV1 {
        let (answer, _) = self.answer_to::<ProduceRequestV1<'_>>(sent);
        assert!(answer.error.is_none());
        assert_eq!(answer.entries.len(), 1);
        answer.entries.into_iter().next().expect("it is one")
    }

    /// Asks for (topic, partition, offset) each; the answer is taken later.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn submit_fetch(&mut self, wants: &[(&str, u32, i64)], min_bytes: u32, wait: Duration) -> Sent {
        let want = |&(topic, partition, offset)| FetchEntryV1 {
            topic,
            partition,
            offset,
            max_bytes: 64 << 20,
            leader_epoch: -1,
        };
        let max_wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let entries = wants.iter().map(want).collect();
        self.submit(&FetchRequestV1 { max_wait_ms, min_bytes, max_bytes: 64 << 20, entries }, &[])
    }

    /// The outcomes of a fetch, with the record bytes of each.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn fetched(&mut self, sent: Sent) -> Vec<(FetchedV1, Vec<u8>)> {
        let (answer, records) = self.answer_to::<FetchRequestV1<'_>>(sent);
        assert!(answer.error.is_none());
        let mut rest = &records[..];
        let mut cut = |entry: FetchedV1| {
            let (own, behind) = rest.split_at(entry.record_bytes as usize);
            rest = behind;
            (entry, own.to_vec())
        };
        let entries = answer.entries.into_iter().map(&mut cut).collect();
        assert!(rest.is_empty(), "the entries say less than there is");
        entries
    }

    /// What partition 0 has from `offset` on, right now.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn fetch_now(&mut self, topic: &str, offset: i64) -> (FetchedV1, Vec<u8>) {
        let entry = FetchEntryV1 { topic, partition: 0, offset, max_bytes: 64 << 20, leader_epoch: -1 };
        let fetch =
            FetchRequestV1 { max_wait_ms: 0, min_bytes: 1, max_bytes: 64 << 20, entries: vec![entry] };
        let sent = self.submit(&fetch, &[]);
        self.fetched(sent).swap_remove(0)
    }

    /// As [`fetch_now`](Self::fetch_now); `None` if the connection is closed instead, maybe in the middle of the
    /// answer.
    ///
    /// # Panics
    /// When neither happens.
    pub fn fetch_unless_closed(&mut self, topic: &str, offset: i64) -> Option<(FetchedV1, Vec<u8>)> {
        self.send_fetch(topic, offset, 64 << 20, Duration::ZERO);
        let deadline = Instant::now() + LIMIT;
        while !self.has_whole_frame() {
            if !receive(&mut self.stream, &mut self.received, deadline).expect("an answer, or the end") {
                return None;
            }
        }
        Some(self.fetched(Sent(self.correlation)).swap_remove(0))
    }

    fn has_whole_frame(&self) -> bool {
        let length = self.received.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize);
        length.is_some_and(|length| self.received.len() >= 4 + length)
    }

    /// Makes a topic.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn create(&mut self, name: &str, partitions: u32, configs: &[(&str, &str)]) {
        let request = TopicCreateRequestV1 { name, partitions, configs: configs.to_vec() };
        let (answer, _) = self.call(&request, &[]);
        assert!(answer.error.is_none(), "{:?}", answer.message);
    }

    /// How partition 0 of a topic is.
    ///
    /// # Panics
    /// When there is none.
    pub fn describe(&mut self, name: &str) -> PartitionDescriptionV1 {
        let (answer, _) = self.call(&TopicDescribeRequestV1 { name }, &[]);
        answer.partitions.into_iter().next().expect("there is such a topic")
    }

    /// One of the broker's counters.
    ///
    /// # Panics
    /// When it has none of that name.
    pub fn counter(&mut self, name: &str) -> u64 {
        let (answer, _) = self.call(&StatusRequestV1 { counters: true }, &[]);
        answer.counters.into_iter().find(|(known, _)| known == name).expect("a counter of that name").1
    }

    /// How many turns of loops have taken about `micros` microseconds or more: up to half of that.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn turns_of(&mut self, micros: u64) -> u64 {
        let (answer, _) = self.call(&StatusRequestV1 { counters: true }, &[]);
        let times = answer.counters.iter().filter_map(|(name, count)| {
            let from: u64 = name.strip_prefix("loop.turns.us.")?.parse().ok()?;
            (from > micros / 2).then_some(*count)
        });
        times.sum()
    }

    /// A produce with acks=1 of one batch of about `size` bytes to partition 0.
    pub fn produce_frame(&mut self, topic: &str, size: usize) -> Vec<u8> {
        let batch = batch(&vec![7; size]);
        let record_bytes = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let entries = vec![ProduceEntryV1 { topic, partition: 0, record_bytes }];
        self.frame(&ProduceRequestV1 { acks: Acks::One, timeout_ms: 30_000, entries }, &batch)
    }

    /// Asks for partition 0 from `offset` on.
    pub fn send_fetch(&mut self, topic: &str, offset: i64, max_bytes: u32, wait: Duration) {
        let entry = FetchEntryV1 { topic, partition: 0, offset, max_bytes, leader_epoch: -1 };
        let max_wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let fetch = FetchRequestV1 { max_wait_ms, min_bytes: 1, max_bytes, entries: vec![entry] };
        self.send(&fetch);
    }

    /// Asks how the broker is.
    pub fn send_status(&mut self) {
        self.send(&StatusRequestV1 { counters: false });
    }

    /// Sends a request without record bytes.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn send<T: Message + Serialize>(&mut self, message: &T) {
        let frame = self.frame(message, &[]);
        self.send_bytes(&frame);
    }

    /// Sends bytes as they are, once; unlike with [`push`](Self::push) their answer stays to be read.
    ///
    /// # Panics
    /// When they are not taken.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the request is taken");
    }

    /// Sends bytes again and again, up to `most` of them, until nothing has been taken for `patience`; how many were.
    /// Answers that come meanwhile are lost.
    pub fn push(&mut self, bytes: &[u8], most: usize, patience: Duration) -> usize {
        self.stream.set_nonblocking(true).expect("an option of every socket");
        let (mut taken, mut last) = (0, Instant::now());
        while taken < most && last.elapsed() < patience {
            match self.stream.write(&bytes[taken % bytes.len()..]) {
                Ok(count) => {
                    taken += count;
                    last = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(_) => break,
            }
            // Answers nobody reads would hold the broker back.
            while self.stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
        }
        let _ = self.stream.set_nonblocking(false);
        taken
    }

    /// The next whole frame, if one comes in time.
    ///
    /// # Panics
    /// When the connection ends instead.
    pub fn answer(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(length) = self.received.first_chunk::<4>() {
                let size = 4 + u32::from_le_bytes(*length) as usize;
                if self.received.len() >= size {
                    return Some(self.received.drain(..size).collect());
                }
            }
            assert!(receive(&mut self.stream, &mut self.received, deadline)?, "the connection ended");
        }
    }

    /// Waits until something has come that nobody has read, and leaves it there.
    ///
    /// # Panics
    /// When nothing does.
    pub fn until_readable(&self) {
        assert!(self.stream.peek(&mut [0]).expect("something comes") > 0, "the connection ended");
    }

    /// Whether the other side ends the connection in time.
    pub fn is_closed(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while let Some(is_open) = receive(&mut self.stream, &mut self.received, deadline) {
            if !is_open {
                return true;
            }
        }
        false
    }
}

fn decoded<T: DeserializeOwned>(header: &[u8]) -> T {
    folio_wire::native::header::decode(header).expect("a header of its kind")
}

/// A batch of one record, stamped now.
///
/// # Panics
/// When the value does not fit a batch.
pub fn batch(value: &[u8]) -> Vec<u8> {
    batch_of((-1, -1, -1), &[value])
}

/// A batch of these records, stamped now, of a producer: its id, epoch, and number of the first record.
///
/// # Panics
/// When the values do not fit a batch.
pub fn batch_of((id, epoch, sequence): (i64, i16, i32), values: &[&[u8]]) -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let timestamp = Timestamp::new(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    let mut builder = BatchBuilder::new(Compression::None, 64 << 20);
    builder.producer(ProducerId::new(id), epoch, sequence);
    for value in values {
        let record = NewRecord { timestamp, key: None, value: Some(value), headers: &[] };
        builder.append(&record).expect("it fits");
    }
    builder.build().expect("it has a record").to_vec()
}

/// A batch of one record with a key, as old as it can be: what is compacted by age is.
///
/// # Panics
/// When it does not fit a batch.
pub fn keyed(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None, 64 << 20);
    let timestamp = Timestamp::new(1_000_000);
    let record = NewRecord { timestamp, key: Some(key), value: Some(value), headers: &[] };
    builder.append(&record).expect("it fits");
    builder.build().expect("it has a record").to_vec()
}

/// Waits for bytes and puts them behind `received`: whether some came (not the end), `None` at the deadline.
pub(crate) fn receive(stream: &mut TcpStream, received: &mut Vec<u8>, deadline: Instant) -> Option<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return None;
    }
    let _ = stream.set_read_timeout(Some(left));
    let mut buffer = [0; 64 << 10];
    match stream.read(&mut buffer) {
        Ok(count) => {
            received.extend_from_slice(&buffer[..count]);
            Some(count > 0)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        // Who waits with a limit is interrupted also by what no handler hears of, as when the process is frozen and
        // thawed.
        Err(error) if error.kind() == ErrorKind::Interrupted => Some(true),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(false),
        Err(error) => panic!("a connection: {error}"),
    }
}
