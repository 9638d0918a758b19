//! Making connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::Token;

use super::handle::Call;
use super::{Entry, EventLoop, Served};
use crate::channel::TransportKind;
use crate::connection::{Connection, Readiness};
use crate::permit::Permit;
use crate::transport::{SocketChannel, Transport};
use crate::{ConnectError, LoopLocal};

/// A socket that is being connected.
pub(crate) struct Connecting<L: LoopLocal> {
    /// `None` only while it is moved into its connection.
    socket: Option<SocketChannel>,
    call: Option<Call<L>>,
    deadline: Instant,
    after: Duration,
    permit: Option<Permit>,
}

impl<L: LoopLocal> Connecting<L> {
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// It did not come about. The socket is closed, and counted as such, before anybody hears of it.
    pub(super) fn fail(mut self, error: impl FnOnce(SocketAddr) -> ConnectError) {
        let call = self.call.take();
        drop(self);
        if let Some(call) = call {
            call.promise.complete(Err(error(call.address)));
        }
    }
}

impl<L: LoopLocal> EventLoop<L> {
    /// Begins to connect.
    pub(super) fn connect(&mut self, call: Call<L>) {
        let Some(registry) = &self.registry else { return };
        if self.shutdown.is_some() {
            return; // the promise says so when it is dropped
        }
        let token = self.entries.next_token();
        let begun = SocketChannel::connect(call.address).and_then(|mut socket| {
            socket.set_options(&self.options)?;
            socket.register(registry, token)?;
            Ok(socket)
        });
        let socket = match begun {
            Ok(socket) => socket,
            Err(error) => {
                let error = ConnectError::new(call.address, error);
                call.promise.complete(Err(error));
                return;
            }
        };
        let after = self.host.limits.connect_timeout;
        let deadline = self.host.now + after;
        let permit = Permit::new(&self.shared.open, &self.group.open);
        self.entries.insert(Entry::Connecting(Box::new(Connecting {
            socket: Some(socket),
            call: Some(call),
            deadline,
            after,
            permit: Some(permit),
        })));
        self.timers.replace(None, deadline, token);
    }

    /// An event on a socket that is being connected: it is, or it cannot be.
    pub(super) fn advance_connecting(&mut self, token: Token, readiness: Readiness) {
        let Some(Entry::Connecting(connecting)) = self.entries.get_mut(token) else { return };
        let Some(socket) = &connecting.socket else { return };
        let peer = match socket.connected() {
            Ok(None) => return,
            Ok(Some(peer)) => peer,
            Err(error) => {
                self.give_up(token, |address| ConnectError::new(address, error));
                return;
            }
        };
        let (socket, call, permit) =
            (connecting.socket.take(), connecting.call.take(), connecting.permit.take());
        self.timers.remove(Some(connecting.deadline), token);
        let (Some(socket), Some(call)) = (socket, call) else { return };
        let local = socket.local_address();
        let (channel, closed) = self.new_channel(token, None, local, Some(peer), TransportKind::Tcp);
        let transport = Transport::Socket(socket);
        let initializer = &*call.initializer;
        let mut connection =
            Connection::open(channel.clone(), closed, transport, permit, initializer, &mut self.host);
        // The same edge may have told that there is something to read.
        connection.set_ready(readiness, &mut self.host);
        let result = match connection.failure() {
            Some(source) => Err(ConnectError::Initializer { address: call.address, source }),
            None => Ok(channel),
        };
        if let Some(entry) = self.entries.get_mut(token) {
            *entry = Entry::Connection(Box::new(Served::new(connection)));
        }
        self.settle(token);
        call.promise.complete(result);
    }

    /// No answer came.
    pub(super) fn time_out_connecting(&mut self, token: Token) {
        if let Some(Entry::Connecting(connecting)) = self.entries.get_mut(token) {
            let after = connecting.after;
            self.give_up(token, |address| ConnectError::TimedOut { address, after });
        }
    }

    fn give_up(&mut self, token: Token, error: impl FnOnce(SocketAddr) -> ConnectError) {
        if let Some(Entry::Connecting(connecting)) = self.entries.remove(token) {
            self.timers.remove(Some(connecting.deadline()), token);
            connecting.fail(error);
        }
    }
}

impl<L: LoopLocal> Served<L> {
    pub(super) fn new(connection: Connection<L>) -> Self {
        Self { connection, in_ready: false, in_flush: false, timer: None }
    }
}
