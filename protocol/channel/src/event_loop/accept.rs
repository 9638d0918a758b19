//! Accepting connections, and giving them to the loops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Token;
use mio::net::TcpStream;

use super::{Adoption, Command, Entry, EventLoop, Listening, Served};
use crate::channel::{ACTIVE, ChannelCore, ChannelMetadata, OPEN, REGISTERED, TransportKind};
use crate::connection::Connection;
use crate::future::Promise;
use crate::permit::Permit;
use crate::transport::{Accepted, ServerSocketChannel, SocketChannel, Transport};
use crate::{BindError, Channel, ChannelId, ChannelInitializer, CloseCause, LoopHandle, LoopLocal};

/// A server channel on its loop.
pub(crate) struct Listener<L: LoopLocal> {
    socket: ServerSocketChannel,
    channel: Channel<L>,
    closed: Promise<CloseCause>,
    initializer: Arc<dyn ChannelInitializer<L>>,
    in_ready: bool,
    /// The system lacked something: until then nothing is accepted.
    paused_until: Option<Instant>,
    /// The loop that got the last connection.
    last_loop: usize,
    last_complaint: Option<Instant>,
}

impl<L: LoopLocal> Listener<L> {
    /// Somebody waits. Returns whether it is to be put into the ready queue.
    pub(super) fn set_ready(&mut self) -> bool {
        !std::mem::replace(&mut self.in_ready, true) && self.paused_until.is_none()
    }

    /// The pause is over. Returns whether it is to be put into the ready queue.
    pub(super) fn resume(&mut self) -> bool {
        self.paused_until = None;
        self.in_ready
    }

    pub(super) fn timer(&self) -> Option<Instant> {
        self.paused_until
    }

    pub(super) fn finish(self) {
        self.channel.core().set(OPEN | REGISTERED | ACTIVE, false);
        tracing::debug!(address = %self.socket.address(), "no longer listening");
        // Whoever waits for the end may want the address.
        drop(self.socket);
        self.closed.complete(CloseCause::Local);
    }

    /// A log line, at most one a second: those who cause it could cause any number.
    fn complain(&mut self, now: Instant, what: impl FnOnce(SocketAddr)) {
        if self.last_complaint.is_none_or(|last| now >= last + Duration::from_secs(1)) {
            self.last_complaint = Some(now);
            what(self.socket.address());
        }
    }
}

impl<L: LoopLocal> EventLoop<L> {
    pub(super) fn listen(&mut self, listening: Listening<L>) {
        let Listening { mut socket, initializer, promise } = listening;
        let address = socket.address();
        let Some(registry) = &self.registry else { return };
        if self.shutdown.is_some() {
            return; // the promise says so when it is dropped
        }
        let token = self.entries.next_token();
        if let Err(error) = socket.register(registry, token) {
            promise.complete(Err(BindError::new(address, error)));
            return;
        }
        let (channel, closed) =
            self.new_channel(token, None, Some(address), None, TransportKind::TcpListener);
        channel.core().set(OPEN | REGISTERED | ACTIVE, true);
        let last_loop = self.shared.core.index();
        self.entries.insert(Entry::Listener(Box::new(Listener {
            socket,
            channel: channel.clone(),
            closed,
            initializer,
            in_ready: false,
            paused_until: None,
            last_loop,
            last_complaint: None,
        })));
        promise.complete(Ok(channel));
    }

    /// Accepts those who wait, a bounded number.
    pub(super) fn accept(&mut self, token: Token) {
        let mut ours = Vec::new();
        let Some(Entry::Listener(listener)) = self.entries.get_mut(token) else { return };
        let mut left = self.group.limits.accepts_per_turn.max(1);
        let still_ready = loop {
            if left == 0 {
                break true;
            }
            left -= 1;
            match listener.socket.accept() {
                Accepted::None => break false,
                Accepted::Gone => {}
                Accepted::Connection(stream, peer) => {
                    self.host.counters.accepted.increment();
                    let target = self.group.least_loaded(listener.last_loop);
                    listener.last_loop = target.index();
                    let max = self.group.limits.connections_max;
                    match Permit::below(max, &target.shared().open, &self.group.open) {
                        Some(permit) => {
                            let parent = Some(listener.channel.id());
                            let initializer = Arc::clone(&listener.initializer);
                            let adoption = Adoption { stream, peer, parent, permit, initializer };
                            if target.index() == self.shared.core.index() {
                                ours.push(adoption);
                            } else {
                                target.command(Command::Adopt(adoption));
                            }
                        }
                        None => {
                            self.host.counters.refused_over_limit.increment();
                            listener.complain(self.host.now, |address| {
                                tracing::warn!(%address, %peer, max, "too many connections: closing a new one");
                            });
                        }
                    }
                }
                Accepted::Dropped => {
                    self.host.counters.refused_no_descriptor.increment();
                    listener.complain(self.host.now, |address| {
                        tracing::warn!(%address, "no file descriptor left: closing a new connection");
                    });
                }
                Accepted::Exhausted(error) => {
                    let until = self.host.now + ACCEPT_PAUSE;
                    listener.paused_until = Some(until);
                    listener.complain(self.host.now, |address| {
                        tracing::warn!(%address, %error, "cannot accept connections for the moment");
                    });
                    self.timers.replace(None, until, token);
                    break true;
                }
            }
        };
        listener.in_ready = still_ready;
        if still_ready && listener.paused_until.is_none() {
            self.ready.push_back(token);
        }
        for adoption in ours {
            self.adopt(adoption);
        }
    }

    /// Serves a connection that was accepted.
    pub(super) fn adopt(&mut self, adoption: Adoption<L>) {
        let Adoption { stream, peer, parent, permit, initializer } = adoption;
        if self.shutdown.is_some() {
            return;
        }
        let token = self.entries.next_token();
        match self.register(stream, token) {
            Ok(socket) => {
                self.serve(token, socket, peer, parent, permit, &*initializer);
            }
            Err(error) => {
                self.host.counters.failed.increment();
                tracing::warn!(%peer, %error, "cannot serve a connection: closing it");
            }
        }
    }

    fn register(&self, stream: TcpStream, token: Token) -> std::io::Result<SocketChannel> {
        let mut socket = SocketChannel::new(stream);
        socket.set_options(&self.options)?;
        if let Some(registry) = &self.registry {
            socket.register(registry, token)?;
        }
        Ok(socket)
    }

    /// Opens a channel over a socket that is connected and registered; `token` is the next one.
    pub(super) fn serve(
        &mut self,
        token: Token,
        socket: SocketChannel,
        peer: SocketAddr,
        parent: Option<ChannelId>,
        permit: Permit,
        initializer: &dyn ChannelInitializer<L>,
    ) {
        let local = socket.local_address();
        let (channel, closed) = self.new_channel(token, parent, local, Some(peer), TransportKind::Tcp);
        let transport = Transport::Socket(socket);
        let connection =
            Connection::open(channel, closed, transport, Some(permit), initializer, &mut self.host);
        self.insert(connection);
    }

    pub(crate) fn insert(&mut self, connection: Connection<L>) {
        let token = self.entries.insert(Entry::Connection(Box::new(Served::new(connection))));
        self.settle(token);
    }

    pub(crate) fn new_channel(
        &self,
        token: Token,
        parent: Option<ChannelId>,
        local_address: Option<SocketAddr>,
        remote_address: Option<SocketAddr>,
        transport: TransportKind,
    ) -> (Channel<L>, Promise<CloseCause>) {
        let closed = Promise::new(CloseCause::LoopEnded);
        let core = ChannelCore::new(
            token,
            Arc::clone(&self.shared.core),
            Arc::clone(&self.group.limits),
            ChannelMetadata { transport, has_disconnect: false },
            parent,
            [local_address, remote_address],
            closed.future(),
        );
        (Channel::new(Arc::new(core), LoopHandle::new(Arc::clone(&self.shared))), closed)
    }
}

/// How long nothing is accepted when the system lacks something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
