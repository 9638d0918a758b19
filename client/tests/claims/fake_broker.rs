//! A broker in memory that serves the native protocol over plain blocking sockets, and does what it is told to do wrong.
//!
//! Before each request it asks its [`Plan`]; what the plan does not decide is served as a good broker would.

mod streams;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_client::{ErrorCode, Offset};
use folio_record::{BatchHeader, LeaderEpoch, ProducerId, UnverifiedBatch, stamp};
use folio_wire::native::fetch::{FetchAnswerV1, FetchRequestV1, FetchedV1};
use folio_wire::native::header::decode;
use folio_wire::native::metadata::{MetadataAnswerV1, MetadataRequestV1, TopicMetadataV1};
use folio_wire::native::offsets::{ListOffsetsAnswerV1, ListOffsetsRequestV1, ListedOffsetV1, OffsetSpec};
use folio_wire::native::preface::{PREFACE_SIZE, Preface};
use folio_wire::native::produce::{ProduceAnswerV1, ProduceRequestV1, ProducedV1};
use folio_wire::native::producers::InitProducerAnswerV1;
use folio_wire::native::status::{StatusAnswerV1, StatusRequestV1};
use folio_wire::native::topics::{
    ListedTopicV1, TopicCreateAnswerV1, TopicCreateRequestV1, TopicDeleteAnswerV1, TopicDeleteRequestV1,
    TopicDescribeAnswerV1, TopicDescribeRequestV1, TopicListAnswerV1,
};
use folio_wire::native::{Flags, Frame, Head, Kind, Message, UnsupportedV1, decode_frame, encode_frame};
use serde::Serialize;

use crate::fake_groups::FakeGroup;

/// What the broker does with a request.
pub(crate) enum Deed {
    /// What a good broker does.
    Serve,
    /// Every part of it is refused; nothing is done.
    Refuse(ErrorCode),
    /// Neither done nor answered.
    Ignore,
    /// The connection ends; nothing is done.
    Close,
    /// It is done, and the connection ends without an answer.
    ServeAndClose,
    /// It is done; of the answer, only so many bytes are sent before the connection ends.
    CutAnswer(usize),
    /// It is done; the answer is changed on its way.
    Spoil(fn(&mut Vec<u8>)),
    /// It is done once [`FakeBroker::release`] is called.
    Hold,
}

/// A request as the plan sees it.
pub(crate) struct Asked {
    pub(crate) kind: Kind,
    /// How many of this kind came before it, over all connections.
    pub(crate) before: usize,
}

type Plan = Box<dyn FnMut(&Asked) -> Deed + Send>;

pub(crate) struct FakeBroker {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    plan: Mutex<Plan>,
    held: Mutex<bool>,
    released: Condvar,
    connections: AtomicUsize,
    /// It knows subscriptions.
    streams: AtomicBool,
    frame_max: u32,
    ended: AtomicBool,
    group: FakeGroup,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<String, Vec<Partition>>,
    asked: BTreeMap<u16, usize>,
    open: Vec<TcpStream>,
    /// How many producers have asked for an id.
    producers: i64,
}

/// One partition: batches, each with the offset behind it.
#[derive(Clone, Default)]
struct Partition {
    batches: Vec<(i64, Vec<u8>)>,
    log_start: i64,
    message_bytes_max: Option<usize>,
}

impl FakeBroker {
    pub(crate) fn start() -> Self {
        Self::start_with_plan(|_| Deed::Serve)
    }

    pub(crate) fn start_with_plan(plan: impl FnMut(&Asked) -> Deed + Send + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), 16 << 20, plan)
    }

    pub(crate) fn start_at(
        address: SocketAddr,
        frame_max: u32,
        plan: impl FnMut(&Asked) -> Deed + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            plan: Mutex::new(Box::new(plan)),
            held: Mutex::new(true),
            released: Condvar::new(),
            connections: AtomicUsize::new(0),
            streams: AtomicBool::new(false),
            frame_max,
            ended: AtomicBool::new(false),
            group: FakeGroup::default(),
        });
        let accepting = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                accepting.state().open.push(stream.try_clone().unwrap());
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    // An error is the end of the connection, whoever ended it.
                    let _ = Connection::serve(&shared, &stream);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { shared, address, accepting: Some(accepting) }
    }

    /// As this; it pushes to who subscribes.
    pub(crate) fn streaming(self) -> Self {
        self.shared.streams.store(true, Ordering::SeqCst);
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn with_topic(self, name: &str, partitions: usize) -> Self {
        self.shared.state().topics.insert(name.to_owned(), vec![Partition::default(); partitions]);
        self
    }

    pub(crate) fn set_message_bytes_max(&self, topic: &str, bytes: usize) {
        for partition in self.shared.state().topics.get_mut(topic).unwrap() {
            partition.message_bytes_max = Some(bytes);
        }
    }

    /// Drops everything before `offset`, which is the first of a batch.
    pub(crate) fn raise_log_start(&self, topic: &str, partition: usize, offset: i64) {
        let mut state = self.shared.state();
        let partition = &mut state.topics.get_mut(topic).unwrap()[partition];
        partition.batches.retain(|(end, _)| *end > offset);
        partition.log_start = offset;
    }

    /// Appends batches as they are, stamped.
    pub(crate) fn append(&self, topic: &str, partition: usize, batch: Vec<u8>) {
        self.shared.state().topics.get_mut(topic).unwrap()[partition].append(batch);
        self.shared.changed.notify_all();
    }

    /// Changes a byte of what is stored.
    pub(crate) fn flip(&self, topic: &str, partition: usize, batch: usize, byte: usize) {
        self.shared.state().topics.get_mut(topic).unwrap()[partition].batches[batch].1[byte] ^= 0x10;
    }

    /// The values in a partition, in order.
    pub(crate) fn values(&self, topic: &str, partition: usize) -> Vec<String> {
        let partition = self.shared.state().topics[topic][partition].clone();
        let limit = folio_record::DecompressLimit::new(1 << 24);
        let mut values = Vec::new();
        for (_, batch) in &partition.batches {
            let batch = UnverifiedBatch::split_first(batch).unwrap().0.verify().unwrap();
            for record in &batch.records(limit).unwrap() {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
        values
    }

    pub(crate) fn batch_count(&self, topic: &str, partition: usize) -> usize {
        self.shared.state().topics[topic][partition].batches.len()
    }

    /// Bytes of the first batch.
    pub(crate) fn batch_bytes(&self, topic: &str, partition: usize) -> usize {
        self.shared.state().topics[topic][partition].batches[0].1.len()
    }

    pub(crate) fn group(&self) -> &FakeGroup {
        &self.shared.group
    }

    /// Gives a topic more partitions.
    pub(crate) fn grow(&self, topic: &str, partitions: usize) {
        self.shared.state().topics.get_mut(topic).unwrap().resize(partitions, Partition::default());
    }

    /// How often a kind of request has come.
    pub(crate) fn asked(&self, kind: Kind) -> usize {
        self.shared.state().asked.get(&kind.number()).copied().unwrap_or(0)
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn plan(&self, plan: impl FnMut(&Asked) -> Deed + Send + 'static) {
        *self.shared.plan.lock().unwrap() = Box::new(plan);
    }

    /// Serves what is held, and holds nothing any more.
    pub(crate) fn release(&self) {
        *self.shared.held.lock().unwrap() = false;
        self.shared.released.notify_all();
    }

    pub(crate) fn close_all_connections(&self) {
        for stream in self.shared.state().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Nobody listens any more, and all connections end.
impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.release();
        self.close_all_connections();
        let _ = TcpStream::connect(self.address); // so that the accepting thread sees it
        let _ = self.accepting.take().map(JoinHandle::join);
        self.close_all_connections();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What is done about something of this kind, and with which error.
    fn decide(&self, kind: Kind) -> (Deed, ErrorCode) {
        let before = {
            let mut state = self.state();
            let count = state.asked.entry(kind.number()).or_default();
            *count += 1;
            *count - 1
        };
        let deed = (self.plan.lock().unwrap())(&Asked { kind, before });
        let error = if let Deed::Refuse(error) = deed { error } else { ErrorCode::NONE };
        (deed, error)
    }
}

impl Partition {
    fn log_end(&self) -> i64 {
        self.batches.last().map_or(self.log_start, |(end, _)| *end)
    }

    /// Appends one whole batch; returns its base offset.
    fn append(&mut self, mut batch: Vec<u8>) -> i64 {
        let base = self.log_end();
        let count =
            UnverifiedBatch::split_first(&batch).unwrap().0.verify().unwrap().header().last_offset_delta;
        stamp(&mut batch, Offset::new(base), LeaderEpoch::new(0));
        self.batches.push((base + i64::from(count) + 1, batch));
        base
    }
}

struct Connection<'a> {
    shared: &'a Arc<Shared>,
    stream: &'a TcpStream,
    writer: Arc<Mutex<TcpStream>>,
    streams: streams::Streams,
}

type Io<T> = std::io::Result<T>;

impl<'a> Connection<'a> {
    fn serve(shared: &'a Arc<Shared>, stream: &'a TcpStream) -> Io<()> {
        let writer = Arc::new(Mutex::new(stream.try_clone()?));
        let mut connection = Self { shared, stream, writer, streams: Arc::default() };
        let mut preface = [0; PREFACE_SIZE];
        connection.stream.read_exact(&mut preface)?;
        assert!(Preface::decode(&preface).unwrap().is_some(), "the client sends a preface");
        connection.writer.lock().unwrap().write_all(&Preface::ours(shared.frame_max).encode())?;
        loop {
            let mut bytes = vec![0; 4];
            connection.stream.read_exact(&mut bytes)?;
            let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            bytes.resize(4 + length as usize, 0);
            connection.stream.read_exact(&mut bytes[4..])?;
            let frame = decode_frame(&bytes, shared.frame_max).unwrap().unwrap();
            connection.request(&frame)?;
        }
    }

    fn request(&mut self, frame: &Frame<'_>) -> Io<()> {
        let kind = Kind::supported(frame.head.kind, frame.head.version).unwrap();
        let (deed, error) = self.shared.decide(kind);
        match deed {
            Deed::Ignore => return Ok(()),
            Deed::Close => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            Deed::Hold => {
                let held = self.shared.held.lock().unwrap();
                let wait = self.shared.released.wait_timeout_while(held, crate::SOON, |held| *held);
                assert!(!*wait.unwrap().0, "nobody released what is held");
            }
            Deed::Refuse(_) | Deed::Serve | Deed::ServeAndClose | Deed::CutAnswer(_) | Deed::Spoil(_) => {}
        }
        if kind == Kind::Fetch && matches!(deed, Deed::Serve | Deed::Hold) {
            return self.fetch_later(frame);
        }
        if matches!(kind, Kind::JoinGroup | Kind::SyncGroup) && matches!(deed, Deed::Serve) {
            self.meet_later(kind, frame);
            return Ok(());
        }
        let answer = self.answer(kind, frame, error);
        match deed {
            Deed::ServeAndClose => Err(std::io::ErrorKind::ConnectionAborted.into()),
            Deed::CutAnswer(size) => {
                self.writer.lock().unwrap().write_all(&answer[..size.min(answer.len())])?;
                Err(std::io::ErrorKind::ConnectionAborted.into())
            }
            Deed::Spoil(spoil) => {
                let mut answer = answer;
                spoil(&mut answer);
                self.writer.lock().unwrap().write_all(&answer)
            }
            _ if frame.head.flags.contains(Flags::NO_ANSWER) => Ok(()),
            _ => self.writer.lock().unwrap().write_all(&answer),
        }
    }

    fn answer(&self, kind: Kind, frame: &Frame<'_>, error: ErrorCode) -> Vec<u8> {
        let (head, records) = (frame.head, frame.records);
        match kind {
            Kind::Metadata => encode(head, &self.metadata(&frame.header().unwrap(), error), &[]),
            Kind::Produce => encode(head, &self.produce(&frame.header().unwrap(), records, error), &[]),
            Kind::Fetch => {
                let (answer, records) = self.shared.fetch(&frame.header().unwrap(), error);
                encode(head, &answer, &records)
            }
            Kind::ListOffsets => encode(head, &self.list_offsets(&frame.header().unwrap(), error), &[]),
            Kind::TopicCreate => encode(head, &self.topic_create(&frame.header().unwrap()), &[]),
            Kind::TopicList => encode(head, &self.topic_list(), &[]),
            Kind::TopicDescribe => encode(head, &self.topic_describe(&frame.header().unwrap()), &[]),
            Kind::TopicDelete => encode(head, &self.topic_delete(&frame.header().unwrap()), &[]),
            Kind::Status => encode(head, &status(&frame.header().unwrap()), &[]),
            Kind::PartitionsCreate
            | Kind::RecordsDelete
            | Kind::ConfigDescribe
            | Kind::ConfigAlter
            | Kind::GroupList
            | Kind::GroupDescribe
            | Kind::GroupReset
            | Kind::GroupUndo
            | Kind::GroupDelete => {
                unreachable!("claims about these are made with a real broker")
            }
            Kind::InitProducer => encode(head, &self.init_producer(error), &[]),
            Kind::Subscribe | Kind::Credit | Kind::Unsubscribe
                if self.shared.streams.load(Ordering::SeqCst) =>
            {
                streams::answer(self.shared, &self.streams, &self.writer, frame, error)
            }
            Kind::Subscribe => {
                let head = Head { kind: Kind::Unsupported.number(), ..head };
                let (kind, lowest, highest) = (Kind::Subscribe.number(), 0, 0);
                encode(head, &UnsupportedV1 { error: ErrorCode::UNSUPPORTED, kind, lowest, highest }, &[])
            }
            Kind::JoinGroup
            | Kind::SyncGroup
            | Kind::Heartbeat
            | Kind::LeaveGroup
            | Kind::CommitOffsets
            | Kind::FetchOffsets => self.shared.of_group(kind, head, frame.header, error),
            Kind::Unsupported
            | Kind::DescribeProducers
            | Kind::Batches
            | Kind::Credit
            | Kind::Unsubscribe
            | Kind::SubscriptionEnd => unreachable!("nobody asks for that"),
        }
    }

    /// Members wait for one another beside the connection, which reads on.
    fn meet_later(&self, kind: Kind, frame: &Frame<'_>) {
        let (head, header) = (frame.head, frame.header.to_vec());
        let (shared, writer) = (Arc::clone(self.shared), Arc::clone(&self.writer));
        std::thread::spawn(move || {
            let answer = shared.of_group(kind, head, &header, ErrorCode::NONE);
            let _ = writer.lock().unwrap().write_all(&answer);
        });
    }

    /// Fetches wait beside the connection, which reads on.
    fn fetch_later(&self, frame: &Frame<'_>) -> Io<()> {
        let (head, header) = (frame.head, frame.header.to_vec());
        let (shared, writer) = (Arc::clone(self.shared), Arc::clone(&self.writer));
        std::thread::spawn(move || {
            let request: FetchRequestV1<'_> = decode(&header).unwrap();
            let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.into());
            loop {
                let (answer, records) = shared.fetch(&request, ErrorCode::NONE);
                let left = deadline.saturating_duration_since(Instant::now());
                let failed = answer.entries.iter().any(|entry| !entry.error.is_none());
                if failed || records.len() >= request.min_bytes as usize || left.is_zero() {
                    let _ = writer.lock().unwrap().write_all(&encode(head, &answer, &records));
                    return;
                }
                let left = left.min(Duration::from_millis(10));
                drop(shared.changed.wait_timeout(shared.state(), left).unwrap());
            }
        });
        Ok(())
    }

    fn metadata(&self, request: &MetadataRequestV1<'_>, error: ErrorCode) -> MetadataAnswerV1 {
        let state = self.shared.state();
        let names: Vec<_> = match &request.topics {
            Some(topics) => topics.iter().map(|&name| name.to_owned()).collect(),
            None => state.topics.keys().cloned().collect(),
        };
        let topics = names.into_iter().map(|name| {
            let partitions = state.topics.get(&name).map(Vec::len);
            TopicMetadataV1 {
                error: if partitions.is_some() { ErrorCode::NONE } else { ErrorCode::UNKNOWN_TOPIC },
                name,
                id: [7; 16],
                leader_epochs: vec![0; partitions.unwrap_or(0)],
            }
        });
        MetadataAnswerV1 { error, message: None, cluster_id: [1; 16], topics: topics.collect() }
    }

    fn produce(
        &self,
        request: &ProduceRequestV1<'_>,
        mut records: &[u8],
        error: ErrorCode,
    ) -> ProduceAnswerV1 {
        let mut state = self.shared.state();
        let entries = request.entries.iter().map(|entry| {
            let own = records.split_off(..entry.record_bytes as usize).unwrap();
            let partition =
                state.topics.get_mut(entry.topic).and_then(|t| t.get_mut(entry.partition as usize));
            let (error, base_offset) = match partition {
                _ if !error.is_none() => (error, -1),
                None => (ErrorCode::UNKNOWN_PARTITION, -1),
                Some(partition) => append_all(partition, own),
            };
            ProducedV1 { error, message: None, base_offset, log_append_time: -1, log_start: 0 }
        });
        let entries = entries.collect();
        drop(state);
        self.shared.changed.notify_all();
        ProduceAnswerV1 { error: ErrorCode::NONE, message: None, entries }
    }

    fn init_producer(&self, error: ErrorCode) -> InitProducerAnswerV1 {
        let mut state = self.shared.state();
        state.producers += i64::from(error.is_none());
        let producer_id = if error.is_none() { state.producers } else { -1 };
        let producer_epoch = if error.is_none() { 0 } else { -1 };
        InitProducerAnswerV1 { error, message: None, producer_id, producer_epoch }
    }

    fn list_offsets(&self, request: &ListOffsetsRequestV1<'_>, error: ErrorCode) -> ListOffsetsAnswerV1 {
        let state = self.shared.state();
        let entries = request.entries.iter().map(|entry| {
            let partition = state.topics.get(entry.topic).and_then(|t| t.get(entry.partition as usize));
            let (error, offset, timestamp) = match (partition, entry.spec) {
                _ if !error.is_none() => (error, -1, -1),
                (None, _) => (ErrorCode::UNKNOWN_PARTITION, -1, -1),
                (Some(partition), OffsetSpec::Earliest) => (ErrorCode::NONE, partition.log_start, -1),
                (Some(partition), OffsetSpec::Latest) => (ErrorCode::NONE, partition.log_end(), -1),
                (Some(partition), OffsetSpec::AtTime(time)) => {
                    let (offset, timestamp) = partition.find(time).unwrap_or((-1, -1));
                    (ErrorCode::NONE, offset, timestamp)
                }
            };
            ListedOffsetV1 { error, message: None, offset, timestamp, leader_epoch: 0 }
        });
        ListOffsetsAnswerV1 { error: ErrorCode::NONE, message: None, entries: entries.collect() }
    }

    fn topic_create(&self, request: &TopicCreateRequestV1<'_>) -> TopicCreateAnswerV1 {
        let mut state = self.shared.state();
        let exists = state.topics.contains_key(request.name);
        if !exists {
            let partitions = vec![Partition::default(); request.partitions as usize];
            state.topics.insert(request.name.to_owned(), partitions);
        }
        let error = if exists { ErrorCode::TOPIC_EXISTS } else { ErrorCode::NONE };
        let message = exists.then(|| format!("topic {} exists", request.name));
        TopicCreateAnswerV1 { error, message, id: [9; 16] }
    }

    fn topic_list(&self) -> TopicListAnswerV1 {
        let state = self.shared.state();
        let topics = state.topics.iter().map(|(name, partitions)| ListedTopicV1 {
            name: name.clone(),
            id: [9; 16],
            partitions: partitions.len() as u32,
        });
        TopicListAnswerV1 { error: ErrorCode::NONE, message: None, topics: topics.collect() }
    }

    fn topic_describe(&self, request: &TopicDescribeRequestV1<'_>) -> TopicDescribeAnswerV1 {
        let known = self.shared.state().topics.contains_key(request.name);
        let error = if known { ErrorCode::NONE } else { ErrorCode::UNKNOWN_TOPIC };
        TopicDescribeAnswerV1 {
            error,
            message: None,
            id: [9; 16],
            configs: Vec::new(),
            partitions: Vec::new(),
        }
    }

    fn topic_delete(&self, request: &TopicDeleteRequestV1<'_>) -> TopicDeleteAnswerV1 {
        let known = self.shared.state().topics.remove(request.name).is_some();
        let error = if known { ErrorCode::NONE } else { ErrorCode::UNKNOWN_TOPIC };
        TopicDeleteAnswerV1 { error, message: None }
    }
}

impl Partition {
    /// What a numbered batch is answered that is not next: all that were stored are remembered.
    fn judge(&self, batch: &[u8]) -> Option<(ErrorCode, i64)> {
        let header =
            |batch: &[u8]| *UnverifiedBatch::split_first(batch).unwrap().0.verify().unwrap().header();
        let new = header(batch);
        let stored = self.batches.iter().map(|(_, batch)| header(batch));
        let own =
            stored.filter(|of| of.producer_id == new.producer_id && new.producer_id != ProducerId::NONE);
        let own: Vec<_> = own.collect();
        let last = own.last()?;
        if new.producer_epoch < last.producer_epoch {
            return Some((ErrorCode::INVALID_PRODUCER_EPOCH, -1));
        }
        let mut own = own.iter().filter(|of| of.producer_epoch == new.producer_epoch);
        let range = |of: &BatchHeader| (of.base_sequence, of.count);
        if let Some(copied) = own.clone().find(|of| range(of) == range(&new)) {
            return Some((ErrorCode::NONE, copied.base_offset.get()));
        }
        let due = own.next_back().map_or(0, |last| (last.base_sequence + last.count as i32) & i32::MAX);
        (new.base_sequence != due).then_some((ErrorCode::OUT_OF_ORDER_SEQUENCE, -1))
    }

    fn find(&self, time: i64) -> Option<(i64, i64)> {
        let limit = folio_record::DecompressLimit::new(1 << 24);
        self.batches.iter().find_map(|(_, batch)| {
            let batch = UnverifiedBatch::split_first(batch).unwrap().0.verify().unwrap();
            let records = batch.records(limit).unwrap();
            let found = records.iter().map(Result::unwrap).find(|record| record.timestamp.get() >= time);
            found.map(|record| (record.offset.get(), record.timestamp.get()))
        })
    }
}

impl Shared {
    fn of_group(&self, kind: Kind, head: Head, header: &[u8], error: ErrorCode) -> Vec<u8> {
        let group = &self.group;
        match kind {
            Kind::JoinGroup => encode(head, &group.join(&decode(header).unwrap(), error), &[]),
            Kind::SyncGroup => encode(head, &group.sync(&decode(header).unwrap(), error), &[]),
            Kind::Heartbeat => encode(head, &group.heartbeat(&decode(header).unwrap(), error), &[]),
            Kind::LeaveGroup => encode(head, &group.leave(&decode(header).unwrap()), &[]),
            Kind::CommitOffsets => encode(head, &group.commit(&decode(header).unwrap(), error), &[]),
            _ => encode(head, &group.fetch(&decode(header).unwrap(), error), &[]),
        }
    }

    fn fetch(&self, request: &FetchRequestV1<'_>, error: ErrorCode) -> (FetchAnswerV1, Vec<u8>) {
        let state = self.state();
        let mut all = Vec::new();
        let entries = request.entries.iter().map(|entry| {
            let partition = state.topics.get(entry.topic).and_then(|t| t.get(entry.partition as usize));
            let mut fetched = FetchedV1 {
                error,
                message: None,
                high_watermark: partition.map_or(-1, Partition::log_end),
                log_start: partition.map_or(-1, |partition| partition.log_start),
                leader_epoch: 0,
                record_bytes: 0,
            };
            match partition {
                _ if !error.is_none() => {}
                None => fetched.error = ErrorCode::UNKNOWN_PARTITION,
                Some(partition) if !(partition.log_start..=partition.log_end()).contains(&entry.offset) => {
                    fetched.error = ErrorCode::OFFSET_OUT_OF_RANGE;
                }
                Some(partition) => {
                    let start = all.len();
                    for (end, batch) in &partition.batches {
                        let size = all.len() - start + batch.len();
                        let first = all.is_empty();
                        if *end > entry.offset
                            && (first
                                || size <= entry.max_bytes as usize
                                    && all.len() <= request.max_bytes as usize)
                        {
                            all.extend_from_slice(batch);
                        } else if *end > entry.offset {
                            break;
                        }
                    }
                    fetched.record_bytes = (all.len() - start) as u32;
                }
            }
            fetched
        });
        let entries = entries.collect();
        (FetchAnswerV1 { error: ErrorCode::NONE, message: None, entries }, all)
    }
}

fn append_all(partition: &mut Partition, mut bytes: &[u8]) -> (ErrorCode, i64) {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let (batch, rest) = UnverifiedBatch::split_first(bytes).unwrap();
        if partition.message_bytes_max.is_some_and(|most| batch.bytes().len() > most) {
            return (ErrorCode::MESSAGE_TOO_LARGE, -1);
        }
        batches.push(batch.bytes().to_vec());
        bytes = rest;
    }
    if let Some(known) = batches.first().and_then(|batch| partition.judge(batch)) {
        assert_eq!(batches.len(), 1, "a numbered batch comes alone");
        return known;
    }
    let base = partition.log_end();
    batches.into_iter().for_each(|batch| {
        partition.append(batch);
    });
    (ErrorCode::NONE, base)
}

fn status(request: &StatusRequestV1) -> StatusAnswerV1 {
    StatusAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        version: "fake".to_owned(),
        pid: 1,
        run_id: 2,
        uptime_ms: 3,
        data_dir: "nowhere".to_owned(),
        recovered: String::new(),
        topics: 0,
        partitions: 0,
        counters: if request.counters { vec![("answers".to_owned(), 42)] } else { Vec::new() },
    }
}

fn encode<A: Message + Serialize>(head: Head, answer: &A, records: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode_frame(&mut bytes, head.answer(), answer, records.len()).unwrap();
    bytes.extend_from_slice(records);
    bytes.to_vec()
}
