//! A broker in memory that serves the native protocol over plain blocking sockets, and does what it is told to do
//! wrong.
//!
//! Before each request it asks its [`Plan`]; what the plan does not decide is served as a good broker would.

mod answers;
mod connection;
mod partition;
mod streams;

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use folio_client::ErrorCode;
use folio_record::UnverifiedBatch;
use folio_wire::native::Kind;

use crate::fake_groups::FakeGroup;

use connection::Connection;
use partition::Partition;

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

    /// What is appended from now on is of a later epoch.
    pub(crate) fn raise_leader_epoch(&self, topic: &str, partition: usize) {
        self.shared.state().topics.get_mut(topic).unwrap()[partition].leader_epoch += 1;
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
