//! Errors, one small enum per verb, and the one word for how a channel ended.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Why a handler gives its channel up. Whoever returns it logs nothing: the loop writes one line that names the
/// peer, sends what was queued before if the socket takes it at once, and closes.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The peer's fault: what it sent or did is outside of the protocol or beyond a limit.
    #[error("the peer broke the protocol: {0}")]
    Peer(Cow<'static, str>),
    /// The network's fault, or that of the file behind a mapped range.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Nothing was received, or nothing could be sent, for that long.
    #[error("idle for {} ms", .0.as_millis())]
    Idle(Duration),
    /// Our fault: a handler found what only a bug can bring about.
    #[error("internal: {0}")]
    Internal(Cow<'static, str>),
}

impl ChannelError {
    /// The peer's fault: `what` completes "the peer broke the protocol: ..".
    pub fn peer(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Peer(what.into())
    }

    /// Our fault: `what` completes "internal: ..".
    pub fn internal(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Internal(what.into())
    }
}

/// How a channel ended; what its close future resolves to.
#[derive(Clone, Debug)]
pub enum CloseCause {
    /// This side closed it ([`Channel::close`](crate::Channel::close), or a handler).
    Local,
    /// The peer ended the connection in good order.
    Peer,
    /// The group was shut down.
    Shutdown,
    /// It failed; the error was logged.
    Failed(Arc<ChannelError>),
    /// Its event loop ended without closing it: a panic on the loop's thread.
    LoopEnded,
}

impl std::fmt::Display for CloseCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local => f.write_str("closed by this side"),
            Self::Peer => f.write_str("closed by the peer"),
            Self::Shutdown => f.write_str("closed by the shutdown"),
            Self::Failed(error) => error.fmt(f),
            Self::LoopEnded => f.write_str("its event loop has ended"),
        }
    }
}

/// Why no server socket listens.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BindError {
    /// Another socket has the address.
    #[error("cannot listen on {0}: the address is in use")]
    InUse(SocketAddr),
    /// This user may not have the port.
    #[error("cannot listen on {0}: permission denied")]
    Forbidden(SocketAddr),
    /// This machine does not have the address.
    #[error("cannot listen on {0}: this machine has no such address")]
    NoSuchAddress(SocketAddr),
    /// The group is shutting down.
    #[error("cannot listen on {0}: the event loops have ended")]
    LoopEnded(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

impl BindError {
    pub(crate) fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::PermissionDenied => Self::Forbidden(address),
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress(address),
            _ => Self::Io { address, source: Arc::new(source) },
        }
    }
}

/// Why no connection came about.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The machine answered that nobody listens there.
    #[error("{0} refused the connection: nobody listens there")]
    Refused(SocketAddr),
    /// No answer within the limit.
    #[error("no answer from {address} within {} ms", .after.as_millis())]
    TimedOut {
        /// Whom we called.
        address: SocketAddr,
        /// For how long.
        after: Duration,
    },
    /// No way there.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// Whom we called.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The initializer of the channel refused.
    #[error("the channel to {address} could not be set up: {source}")]
    Initializer {
        /// Whom we called.
        address: SocketAddr,
        /// What it said.
        source: Arc<ChannelError>,
    },
    /// The group is shutting down, or its loop has died.
    #[error("cannot connect to {0}: the event loop has ended")]
    LoopEnded(SocketAddr),
    /// Anything else (no descriptors left, ..).
    #[error("cannot connect to {address}: {source}")]
    Io {
        /// Whom we called.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

impl ConnectError {
    pub(crate) fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused(address),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => Self::Unreachable { address, source: Arc::new(source) },
            _ => Self::Io { address, source: Arc::new(source) },
        }
    }
}

/// What became of something written through a [`Channel`](crate::Channel) handle.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The channel closed before everything had been handed to the kernel.
    #[error("the channel closed before it was written")]
    Closed,
}

/// A thread of the group has panicked. Its channels are closed, and the other loops have been told to stop.
#[derive(Clone, Debug, thiserror::Error)]
#[error("event loop {index} panicked: {message}")]
pub struct LoopPanicked {
    /// Which loop it was.
    pub index: usize,
    /// What the panic said.
    pub message: String,
}
