//! A listening TCP socket.

use std::fs::File;
use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::BindError;

/// The socket, and a descriptor in reserve: when the process has none left, a peer is told so by a connection that
/// ends, instead of waiting in the kernel's queue, and the edge that announced it is not lost.
#[derive(Debug)]
pub(crate) struct ServerSocketChannel {
    listener: TcpListener,
    address: SocketAddr,
    spare: Option<File>,
}

/// What one `accept` came to.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection(TcpStream, SocketAddr),
    /// Nobody waits.
    None,
    /// The connection was gone before it was accepted; another may wait.
    Gone,
    /// No descriptor was left; the connection was accepted with the spare one and closed.
    Dropped,
    /// The system lacks something, and nothing could be done: try again later.
    Exhausted(io::Error),
}

impl ServerSocketChannel {
    pub(crate) fn bind(address: SocketAddr, backlog: u32) -> Result<Self, BindError> {
        let listener = Self::listen(address, backlog).map_err(|error| BindError::new(address, error))?;
        let address = listener.local_addr().map_err(|error| BindError::new(address, error))?;
        Ok(Self { listener, address, spare: open_spare() })
    }

    fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted daemon may listen again while connections of its predecessor are in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(TcpListener::from_std(socket.into()))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.listener, token, Interest::READABLE)
    }

    pub(crate) fn accept(&mut self) -> Accepted {
        match self.listener.accept() {
            Ok((stream, peer)) => Accepted::Connection(stream, peer),
            Err(error) => match (error.kind(), error.raw_os_error()) {
                (io::ErrorKind::WouldBlock, _) => Accepted::None,
                (io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted, _) => Accepted::Gone,
                (_, Some(EMFILE | ENFILE)) => self.drop_one(error),
                _ => Accepted::Exhausted(error),
            },
        }
    }

    fn drop_one(&mut self, error: io::Error) -> Accepted {
        if self.spare.take().is_none() {
            self.spare = open_spare();
            return Accepted::Exhausted(error);
        }
        let accepted = self.listener.accept();
        let result = match accepted {
            Ok((stream, _)) => {
                drop(stream);
                Accepted::Dropped
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Accepted::None,
            Err(error) => Accepted::Exhausted(error),
        };
        self.spare = open_spare();
        result
    }
}

fn open_spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Too many open files: in this process, in this system. The same numbers on every Linux.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
