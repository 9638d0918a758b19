//! The log: segments, indexes, recovery and retention, without sockets, threads or clocks.
