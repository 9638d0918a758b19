//! What carries a channel's bytes.

mod embedded;
mod server_socket;
mod socket;

use std::io;

use bytes::BytesMut;
use folio_mapped::Part;

pub(crate) use embedded::EmbeddedSocket;
pub(crate) use server_socket::{Accepted, ServerSocketChannel};
pub(crate) use socket::SocketChannel;

/// A closed set: the choice is a branch and not a pointer, and a test's socket runs the code of a real one.
#[derive(Debug)]
pub(crate) enum Transport {
    Socket(SocketChannel),
    Embedded(EmbeddedSocket),
}

impl Transport {
    /// Receives at most `at_most` bytes into the spare capacity of `into`. `Ok(0)`: the peer has finished.
    pub(crate) fn receive(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => socket.receive(into, at_most),
            Self::Embedded(socket) => socket.receive(into, at_most),
        }
    }

    /// Whether the peer has finished, and nothing that it sent before is left to receive.
    pub(crate) fn has_finished(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.has_finished(),
            Self::Embedded(socket) => socket.has_finished(),
        }
    }

    /// Sends as much of `parts` as the socket takes.
    pub(crate) fn send(&mut self, parts: &[Part<'_>]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => socket.send(parts),
            Self::Embedded(socket) => socket.send(parts),
        }
    }

    /// The error that the socket is in, if it is in one. Asking clears it.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        match self {
            Self::Socket(socket) => socket.take_error(),
            Self::Embedded(_) => None,
        }
    }
}
