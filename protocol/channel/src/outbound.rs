//! Bytes on their way to the socket: what a stage queues, and what the channel holds until the socket takes it.

mod buffer;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use folio_mapped::{MapSlice, Part};

pub(crate) use buffer::{OutboundBuffer, gather};

/// Something to send. Closed, so that a stage which transforms bytes must say what it does with a mapped range.
#[derive(Clone, Debug)]
pub enum Outbound {
    /// Bytes on the heap.
    Bytes(Bytes),
    /// Bytes of a file, sent from its mapping without passing through memory of ours.
    Mapped(MapSlice),
}

impl Outbound {
    /// How many bytes it is.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Mapped(slice) => slice.len(),
        }
    }

    /// Whether it is no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of our own memory it occupies.
    pub(crate) fn heap_len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Mapped(slice) if slice.is_on_heap() => slice.len(),
            Self::Mapped(_) => 0,
        }
    }

    /// The range of a mapping, if it is one.
    pub(crate) fn mapped(&self) -> Option<&MapSlice> {
        match self {
            Self::Bytes(_) => None,
            Self::Mapped(slice) => Some(slice),
        }
    }

    /// Drops all but the first `bytes` bytes.
    pub(crate) fn truncate(&mut self, bytes: usize) {
        match self {
            Self::Bytes(all) => all.truncate(bytes),
            Self::Mapped(slice) => slice.truncate(bytes),
        }
    }

    pub(crate) fn part(&self) -> Part<'_> {
        match self {
            Self::Bytes(bytes) => Part::Heap(bytes),
            Self::Mapped(slice) => Part::Map(slice),
        }
    }

    pub(crate) fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes::Buf::advance(bytes, count),
            Self::Mapped(slice) => slice.advance(count),
        }
    }
}

impl From<Bytes> for Outbound {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<BytesMut> for Outbound {
    fn from(bytes: BytesMut) -> Self {
        Self::Bytes(bytes.freeze())
    }
}

impl From<&'static [u8]> for Outbound {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Bytes(Bytes::from_static(bytes))
    }
}

impl From<MapSlice> for Outbound {
    fn from(slice: MapSlice) -> Self {
        Self::Mapped(slice)
    }
}

/// What one stage sends in one call: encoded bytes and parts, in order.
///
/// ```text
///   parts: | Bytes | Mapped | Bytes | ...     tail: bytes being encoded; sealed into a part by the next push
/// ```
///
/// Small things are encoded into [`tail`](Self::tail), which is memory that the loop uses again and again: a
/// hundred small answers become one part, and none costs an allocation.
#[derive(Debug, Default)]
pub struct OutboundQueue {
    parts: VecDeque<Outbound>,
    /// Bytes of `parts`.
    parts_len: usize,
    parts_heap_len: usize,
    tail: BytesMut,
}

impl OutboundQueue {
    /// Where to encode. Append only: what is there already is the end of an earlier frame.
    pub fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends a part behind what was encoded so far. An empty one is dropped.
    pub fn push(&mut self, item: impl Into<Outbound>) {
        self.seal();
        self.push_part(item.into());
    }

    /// How many bytes are queued.
    pub fn len(&self) -> usize {
        self.parts_len + self.tail.len()
    }

    /// How many of them occupy memory of ours.
    pub fn heap_len(&self) -> usize {
        self.parts_heap_len + self.tail.len()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many parts are queued.
    pub(crate) fn part_count(&self) -> usize {
        self.parts.len() + usize::from(!self.tail.is_empty())
    }

    /// Takes the oldest part out.
    pub(crate) fn pop(&mut self) -> Option<Outbound> {
        if self.parts.is_empty() {
            self.seal();
        }
        let part = self.parts.pop_front()?;
        self.parts_len -= part.len();
        self.parts_heap_len -= part.heap_len();
        Some(part)
    }

    pub(crate) fn with_capacity(tail: usize) -> Self {
        Self { tail: BytesMut::with_capacity(tail), ..Self::default() }
    }

    pub(crate) fn clear(&mut self) {
        self.parts.clear();
        self.parts_len = 0;
        self.parts_heap_len = 0;
        self.tail.clear();
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let sealed = self.tail.split().freeze();
            self.push_part(Outbound::Bytes(sealed));
        }
    }

    fn push_part(&mut self, part: Outbound) {
        if !part.is_empty() {
            self.parts_len += part.len();
            self.parts_heap_len += part.heap_len();
            self.parts.push_back(part);
        }
    }
}
