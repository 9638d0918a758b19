//! How a group is made.

use std::time::Duration;

use crate::ChannelLimits;

/// How a group is made.
#[derive(Clone, Debug)]
pub struct EventLoopConfig {
    /// Loops, each a thread. Default: one per core.
    pub loops: usize,
    /// The threads are called this, a dash, and the loop's index. Default `folio-loop`.
    pub thread_name: String,
    /// How long a loop polls without sleeping after it had something to do: trades a core for latency. Default 0.
    pub spin: Duration,
    /// The bounds of all channels.
    pub limits: ChannelLimits,
    /// What every connected socket is set to.
    pub socket: SocketOptions,
}

impl Default for EventLoopConfig {
    fn default() -> Self {
        Self {
            loops: std::thread::available_parallelism().map_or(1, usize::from),
            thread_name: "folio-loop".to_owned(),
            spin: Duration::ZERO,
            limits: ChannelLimits::default(),
            socket: SocketOptions::default(),
        }
    }
}

/// What every connected socket is set to.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Send small segments at once (`TCP_NODELAY`). Default on: a turn's answers leave in one call anyway.
    pub nodelay: bool,
    /// Probe a silent peer after that time (`SO_KEEPALIVE`). Default 60 s.
    pub keepalive: Option<Duration>,
    /// The kernel's send buffer in bytes (`SO_SNDBUF`). Default: the kernel's choice.
    pub send_buffer_bytes: Option<usize>,
    /// The kernel's receive buffer in bytes (`SO_RCVBUF`). Default: the kernel's choice.
    pub receive_buffer_bytes: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Some(Duration::from_secs(60)),
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
        }
    }
}
