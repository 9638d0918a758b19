//! Every bound of a channel and of its loop, by name.

use std::time::Duration;

/// What a channel, and the loop that serves it, holds or does at most. Each bound is reached sooner or later; the
/// comments say what happens then.
///
/// A connection therefore never holds more than `unfinished_bytes_max` and one read of input, `in_flight_bytes_max` and
/// one more of requests, and `outbound_heap_bytes_high` of answers, besides those to the requests in flight.
#[derive(Clone, Debug)]
pub struct ChannelLimits {
    /// Bytes that one `read` takes at most; the size of a loop's one read buffer; at least 512. Default
    /// 256 KiB.
    pub read_buffer_bytes: usize,
    /// Bytes read from one channel in one turn; then it queues behind the others that are ready. Default 512 KiB.
    pub read_bytes_per_turn: usize,
    /// Bytes of a unit that is not complete, of one stage. Beyond, the channel closes. A codec's own limit on the
    /// size of a unit should be lower and say more. Default 101 MiB (Kafka's largest request is 100 MiB).
    pub unfinished_bytes_max: usize,
    /// The same for all channels of a group together. Above it, a channel that holds more than an even part of it
    /// closes as it receives more; the others go on, so that all together stay below twice the bound. Default 64 MiB.
    pub unfinished_bytes_total_max: usize,

    /// Outbound bytes, heap and mapped, above which the channel is not writable: it is not read from any more, and
    /// its requests are not decoded any more. Default 1 MiB.
    pub outbound_bytes_high: usize,
    /// Outbound bytes at or below which it becomes writable again. Default 256 KiB.
    pub outbound_bytes_low: usize,
    /// The same for the bytes that occupy memory of ours; low is half of it. Default 128 KiB.
    pub outbound_heap_bytes_high: usize,
    /// The same for the number of parts; low is half of it. Default 512.
    pub outbound_parts_high: usize,

    /// Requests of one channel that wait for their answers; above, no more are decoded and the socket is not read.
    /// Default 1024.
    pub in_flight_max: usize,
    /// Bytes of those requests; the one that goes beyond is the last. Default 8 MiB.
    pub in_flight_bytes_max: usize,
    /// Frames pushed from anywhere that the loop has not taken over yet; one more is given back. Default 1024.
    pub pushed_max: usize,

    /// Connections accepted by a group that are open at the same time. One more is closed at once, with a log line
    /// and a counter. Default 10,000.
    pub connections_max: usize,
    /// Connections that one listener accepts in one turn; more wait for the next. Default 64.
    pub accepts_per_turn: usize,
    /// Connections that the kernel keeps for a listener until they are accepted. Default 1024.
    pub backlog: u32,

    /// How long a connection may take to come about. Default 10 s.
    pub connect_timeout: Duration,
    /// How long a channel whose peer has finished sending stays open for answers that it is still owed. Default 5 s.
    pub half_close_linger: Duration,
    /// How long a closing channel tries to send what was queued before. Default 5 s.
    pub close_linger: Duration,
}

impl Default for ChannelLimits {
    fn default() -> Self {
        Self {
            read_buffer_bytes: 256 * KIB,
            read_bytes_per_turn: 512 * KIB,
            unfinished_bytes_max: 101 * MIB,
            unfinished_bytes_total_max: 64 * MIB,
            outbound_bytes_high: MIB,
            outbound_bytes_low: 256 * KIB,
            outbound_heap_bytes_high: 128 * KIB,
            outbound_parts_high: 512,
            in_flight_max: 1024,
            in_flight_bytes_max: 8 * MIB,
            pushed_max: 1024,
            connections_max: 10_000,
            accepts_per_turn: 64,
            backlog: 1024,
            connect_timeout: Duration::from_secs(10),
            half_close_linger: Duration::from_secs(5),
            close_linger: Duration::from_secs(5),
        }
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
