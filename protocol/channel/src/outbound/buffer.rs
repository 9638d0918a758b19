//! The outbound buffer of one channel: parts that the socket has not taken yet, and the water marks.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use folio_mapped::Part;

use crate::ChannelLimits;
use crate::outbound::{Outbound, OutboundQueue};

/// Parts in order, counted. Not writable from the moment that a high mark is reached until all counts are down to
/// their low marks.
#[derive(Debug, Default)]
pub(crate) struct OutboundBuffer {
    parts: VecDeque<Outbound>,
    bytes: usize,
    heap_bytes: usize,
    above_high: bool,
    /// Bytes that were ever queued; the place of the end of the buffer in the channel's output.
    queued: u64,
    last_sent: Option<Instant>,
}

/// What one call offers to the socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered {
    pub(crate) parts: usize,
    pub(crate) bytes: usize,
    pub(crate) has_mapped: bool,
}

impl OutboundBuffer {
    /// Whether a high mark was reached, and the low ones were not since.
    pub(crate) fn is_above_high(&self) -> bool {
        self.above_high
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// The place in the output behind everything that is queued.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// The place in the output behind everything that was sent.
    pub(crate) fn sent(&self) -> u64 {
        self.queued - self.bytes as u64
    }

    /// When the socket last took bytes.
    pub(crate) fn last_sent(&self) -> Option<Instant> {
        self.last_sent
    }

    pub(crate) fn push(&mut self, part: Outbound) {
        if part.is_empty() {
            return;
        }
        self.bytes += part.len();
        self.heap_bytes += part.heap_len();
        self.queued += part.len() as u64;
        self.parts.push_back(part);
    }

    pub(crate) fn take_from(&mut self, queue: &mut OutboundQueue) {
        while let Some(part) = queue.pop() {
            self.push(part);
        }
    }

    /// Whether more may be queued, with `queue` on its way here already.
    pub(crate) fn has_room_beside(&self, queue: &OutboundQueue, limits: &ChannelLimits) -> bool {
        !self.above_high
            && self.bytes + queue.len() < limits.outbound_bytes_high
            && self.heap_bytes + queue.heap_len() < limits.outbound_heap_bytes_high
            && self.parts.len() + queue.part_count() < limits.outbound_parts_high
    }

    /// Whether all counts are down to their low marks.
    pub(crate) fn is_low(&self, limits: &ChannelLimits) -> bool {
        self.bytes <= limits.outbound_bytes_low
            && self.heap_bytes <= limits.outbound_heap_bytes_high / 2
            && self.parts.len() <= limits.outbound_parts_high / 2
    }

    /// Whether all counts are below their low marks, with `queue` on its way here already.
    pub(crate) fn is_low_beside(&self, queue: &OutboundQueue, limits: &ChannelLimits) -> bool {
        !self.above_high
            && self.bytes + queue.len() < limits.outbound_bytes_low
            && self.heap_bytes + queue.heap_len() < limits.outbound_heap_bytes_high / 2
            && self.parts.len() + queue.part_count() < limits.outbound_parts_high / 2
    }

    /// Compares the counts with the marks; returns whether the channel is writable, and whether that changed.
    pub(crate) fn update_writability(&mut self, limits: &ChannelLimits) -> (bool, bool) {
        let before = self.above_high;
        if before {
            self.above_high = !self.is_low(limits);
        } else {
            self.above_high = self.bytes >= limits.outbound_bytes_high
                || self.heap_bytes >= limits.outbound_heap_bytes_high
                || self.parts.len() >= limits.outbound_parts_high;
        }
        (!self.above_high, before != self.above_high)
    }

    /// What waits, in order.
    pub(crate) fn parts(&self) -> &VecDeque<Outbound> {
        &self.parts
    }

    /// The first `most` bytes of it.
    pub(crate) fn front(&self, most: usize) -> Vec<Outbound> {
        let mut left = most;
        let fitting = self.parts.iter().map_while(|part| {
            let mut part = part.clone();
            part.truncate(left);
            left -= part.len();
            (!part.is_empty()).then_some(part)
        });
        fitting.collect()
    }

    /// Drops the first `count` bytes: they were sent.
    pub(crate) fn advance(&mut self, mut count: usize, now: Instant) {
        self.last_sent = Some(now);
        assert!(count <= self.bytes, "the socket took {count} of {} bytes", self.bytes);
        self.bytes -= count;
        while let Some(front) = self.parts.front_mut() {
            let len = front.len();
            if count < len {
                self.heap_bytes -= if front.heap_len() > 0 { count } else { 0 };
                front.advance(count);
                break;
            }
            count -= len;
            self.heap_bytes -= front.heap_len();
            self.parts.pop_front();
        }
        if self.parts.is_empty() && self.parts.capacity() > PARTS_KEPT {
            self.parts = VecDeque::new();
        }
    }

    /// Copies what lies in memory that others use as well into memory of its own. Called when a peer is slow: a few
    /// bytes that wait for it must not keep the loop's large encode buffer alive.
    pub(crate) fn detach(&mut self) {
        for part in &mut self.parts {
            if let Outbound::Bytes(bytes) = part
                && bytes.len() <= DETACHED_MAX
                && !bytes.is_unique()
            {
                *bytes = Bytes::copy_from_slice(bytes);
            }
        }
    }
}

/// The first of these parts, at most as many as `into` has room for.
pub(crate) fn gather<'a>(parts: impl IntoIterator<Item = &'a Outbound>, into: &mut [Part<'a>]) -> Offered {
    let mut offered = Offered { parts: 0, bytes: 0, has_mapped: false };
    for (slot, part) in into.iter_mut().zip(parts) {
        *slot = part.part();
        offered.parts += 1;
        offered.bytes += part.len();
        offered.has_mapped |= matches!(part, Outbound::Mapped(_));
    }
    offered
}

/// Room for this many parts stays allocated when a channel has nothing to send.
const PARTS_KEPT: usize = 16;

/// A larger part is not worth a copy: it is not one of many in the loop's encode buffer.
const DETACHED_MAX: usize = 64 << 10;
