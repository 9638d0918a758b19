//! Making connections.

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

    /// The loop ends.
    pub(super) fn abandon(mut self) {
        self.fail(|call| ConnectError::LoopEnded(call.address));
    }

    fn fail(&mut self, error: impl FnOnce(&Call<L>) -> ConnectError) {
        if let Some(call) = self.call.take() {
            let error = error(&call);
            call.promise.complete(Err(error));
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
                connecting.fail(|call| ConnectError::new(call.address, error));
                self.drop_entry(token);
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
            connecting.fail(|call| ConnectError::TimedOut { address: call.address, after });
            self.drop_entry(token);
        }
    }
}

impl<L: LoopLocal> Served<L> {
    pub(super) fn new(connection: Connection<L>) -> Self {
        Self { connection, in_ready: false, in_flush: false, timer: None }
    }
}
