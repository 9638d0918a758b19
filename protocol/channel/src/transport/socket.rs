//! A connected TCP socket.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;

use bytes::BytesMut;
use folio_mapped::Part;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

use crate::SocketOptions;

/// The socket itself. It is registered once, for both directions, edge-triggered: readiness is remembered by the
/// connection, and cleared only by a call that comes back short or with `WouldBlock`.
#[derive(Debug)]
pub(crate) struct SocketChannel {
    stream: TcpStream,
}

impl SocketChannel {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream }
    }

    /// Begins to connect. Whether it worked is known when the socket becomes writable.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect(address).map(Self::new)
    }

    /// After an event on a connecting socket: `None` if it is still connecting.
    pub(crate) fn connected(&self) -> io::Result<Option<SocketAddr>> {
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(peer) => Ok(Some(peer)),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Applies the options. What the system refuses is an error: an option that silently does nothing is a lie.
    pub(crate) fn set_options(&self, options: &SocketOptions) -> io::Result<()> {
        let socket = SockRef::from(&self.stream);
        socket.set_tcp_nodelay(options.nodelay)?;
        if let Some(after) = options.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(after))?;
        }
        if let Some(bytes) = options.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = options.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        Ok(())
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    pub(crate) fn receive(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        self.stream.try_io(|| folio_mapped::receive(self.stream.as_fd(), into, at_most))
    }

    pub(crate) fn has_finished(&self) -> bool {
        matches!(self.stream.peek(&mut [0]), Ok(0))
    }

    pub(crate) fn send(&mut self, parts: &[Part<'_>]) -> io::Result<usize> {
        // A plain `send` costs less than a `writev` of one part: some 150 ns of a small request.
        if let [Part::Heap(bytes)] = parts {
            return loop {
                match self.stream.write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result,
                }
            };
        }
        self.stream.try_io(|| folio_mapped::writev(self.stream.as_fd(), parts))
    }

    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.stream.take_error().unwrap_or_else(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_option_reaches_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = SocketChannel::connect(listener.local_addr().unwrap()).unwrap();
        let (_peer, _) = listener.accept().unwrap();
        let options = SocketOptions {
            nodelay: true,
            keepalive: Some(Duration::from_secs(77)),
            send_buffer_bytes: Some(50_000),
            receive_buffer_bytes: Some(60_000),
        };
        socket.set_options(&options).unwrap();
        let seen = SockRef::from(&socket.stream);
        assert!(seen.tcp_nodelay().unwrap());
        assert!(seen.keepalive().unwrap());
        assert_eq!(seen.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
        // The kernel doubles them, for its own needs.
        assert_eq!(seen.send_buffer_size().unwrap(), 100_000);
        assert_eq!(seen.recv_buffer_size().unwrap(), 120_000);

        let none = SocketOptions { nodelay: false, keepalive: None, ..SocketOptions::default() };
        let socket = SocketChannel::connect(listener.local_addr().unwrap()).unwrap();
        socket.set_options(&none).unwrap();
        assert!(!SockRef::from(&socket.stream).tcp_nodelay().unwrap());
        assert!(!SockRef::from(&socket.stream).keepalive().unwrap());
    }
}
