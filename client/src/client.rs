//! The handle of a client, and its thread's beginning and end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use folio_channel::{ChannelLimits, EventLoopConfig, EventLoopGroup, LoopHandle, PreparedGroup};

use crate::call::Call;
use crate::driver::{Brokers, Driver, Message, QueuedCall, Trouble};
use crate::{
    Admin, BuildError, CallError, ClientConfig, Consumer, ConsumerConfig, Producer, ProducerConfig,
    StartError, protocol,
};

/// A connection to a broker, kept up by one thread in the background. Cheap to clone; producers, consumers and admins
/// made from it share the connection and the thread.
///
/// The connection is made when it is first needed and made again when it breaks, with growing pauses in between.
/// Requests and answers of all who share it travel side by side, and a parked fetch delays nobody. Those who move so
/// many bytes that they would be in each other's way take a client each.
///
/// The thread ends by itself when the last handle, producer, consumer and admin has been dropped and everything that
/// producers had accepted has been dealt with.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
}

struct Core {
    config: Arc<ClientConfig>,
    event_loop: LoopHandle<Driver>,
    trouble: Arc<Trouble>,
    next_id: AtomicU64,
}

impl Client {
    /// Starts a client and connects. Blocks until there is a connection, or until every broker was tried once.
    ///
    /// # Errors
    ///
    /// The configuration cannot work, or no broker can be reached.
    pub fn connect(config: ClientConfig) -> Result<Self, StartError> {
        let client = Self::start(config)?;
        client.ready().wait()?;
        Ok(client)
    }

    /// Starts a client, without connecting yet. Does not block.
    ///
    /// # Errors
    ///
    /// The configuration cannot work, or this machine has no thread or descriptor left.
    pub fn start(config: ClientConfig) -> Result<Self, StartError> {
        let brokers = Brokers::parse(&config)?;
        let config = Arc::new(config);
        let trouble = Arc::new(Trouble::default());
        let prepared = PreparedGroup::new(loop_config(&config)).map_err(thread_error)?;
        let event_loop = prepared.handles()[0].clone();
        let core = Core {
            config: Arc::clone(&config),
            event_loop,
            trouble: Arc::clone(&trouble),
            next_id: AtomicU64::new(1),
        };
        let group = prepared.start(move |_, event_loop| {
            Driver::new(Arc::clone(&config), brokers.clone(), event_loop, Arc::clone(&trouble))
        });
        let client = Self { core: Arc::new(core) };
        let group: EventLoopGroup<Driver> = group.map_err(thread_error)?;
        client.tell(Message::Started(Arc::new(group))).map_err(|_| StartError::Connect(CallError::Closed))?;
        Ok(client)
    }

    /// Done when there is a connection, or when every broker was tried once in vain. Gives the broker's address.
    pub fn ready(&self) -> Call<Arc<str>> {
        let (completer, call) = Call::new();
        // A completer that is not delivered completes its call with `Closed`.
        let _ = self.tell(Message::WhenReady(completer));
        call
    }

    /// A producer on this connection.
    ///
    /// # Errors
    ///
    /// The configuration cannot work.
    pub fn producer(&self, config: ProducerConfig) -> Result<Producer, BuildError> {
        Producer::new(self, config)
    }

    /// A consumer on this connection.
    ///
    /// # Errors
    ///
    /// The configuration cannot work.
    pub fn consumer(&self, config: ConsumerConfig) -> Result<Consumer, BuildError> {
        Consumer::new(self, config)
    }

    /// Topics, offsets and status, on this connection.
    pub fn admin(&self) -> Admin {
        Admin::new(self)
    }

    /// How it was configured.
    pub fn config(&self) -> &ClientConfig {
        &self.core.config
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.core.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn tell(&self, message: Message) -> Result<(), Closed> {
        self.core.event_loop.send(message).map_err(|_| Closed)
    }

    /// Sends a call, or lets it fail if the client's thread has ended.
    pub(crate) fn call(&self, call: QueuedCall) {
        if let Err(Message::Call(call)) = self.core.event_loop.send(Message::Call(Box::new(call))) {
            call.fail(CallError::Closed);
        }
    }

    /// When a call is given up that could not be sent.
    pub(crate) fn call_deadline(&self) -> Instant {
        Instant::now() + self.core.config.request_timeout
    }

    /// Why a call that was waited for, for so long, has no answer.
    pub(crate) fn no_answer(&self, after: Duration) -> CallError {
        self.core.trouble.get().unwrap_or_else(|| CallError::TimedOut {
            broker: self.core.config.brokers.join(", ").into(),
            after,
        })
    }

    pub(crate) fn partition_count(&self, topic: &str) -> Call<u32> {
        let (completer, call) = Call::new();
        self.partition_count_then(topic, move |partitions| completer.complete(partitions));
        call
    }

    /// `then` runs on the client's thread.
    pub(crate) fn partition_count_then(
        &self,
        topic: &str,
        then: impl FnOnce(Result<u32, CallError>) + Send + 'static,
    ) {
        self.call(protocol::partition_count(topic, self.call_deadline(), Box::new(then)));
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // A thread that has ended already needs no telling.
        let _ = self.event_loop.send(Message::ShutDown);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("brokers", &self.core.config.brokers).finish_non_exhaustive()
    }
}

/// The client's thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

fn thread_error(error: std::io::Error) -> StartError {
    StartError::Thread(Arc::new(error))
}

fn loop_config(config: &ClientConfig) -> EventLoopConfig {
    EventLoopConfig {
        loops: 1,
        thread_name: config.client_id.clone(),
        limits: ChannelLimits {
            unfinished_bytes_max: config.frame_bytes_max.saturating_add(1 << 20),
            outbound_bytes_high: OUTBOUND_BYTES_HIGH,
            outbound_bytes_low: OUTBOUND_BYTES_HIGH / 2,
            outbound_heap_bytes_high: OUTBOUND_BYTES_HIGH,
            outbound_parts_high: 4096,
            connect_timeout: config.connect_timeout,
            close_linger: Duration::from_millis(100),
            ..ChannelLimits::default()
        },
        ..EventLoopConfig::default()
    }
}

/// Bytes that may wait for the socket to take them. The rest waits with its producer, where it still gathers others.
const OUTBOUND_BYTES_HIGH: usize = 2 << 20;
