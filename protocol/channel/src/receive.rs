//! The memory that sockets are read into.
//!
//! A loop has one large buffer for all its channels. What is consumed in place leaves it as it was; what is split off
//! takes its part of it along, and reading goes on behind that part:
//!
//! ```text
//!    split off, alive somewhere                 received now        spare
//!  | unit | unit | .............. | unit | unit | unfinished |....................|
//!                                  \__ front of the buffer moves to here
//! ```
//!
//! When little room is left, the buffer is used again from its first byte if nothing that was split off is alive; else
//! it is put aside until that is so, and another takes its place.

use std::collections::VecDeque;

use bytes::BytesMut;

#[derive(Debug)]
pub(crate) struct ReceiveBuffers {
    size: usize,
    current: BytesMut,
    /// Used up, but parts of them are alive.
    aside: VecDeque<BytesMut>,
}

impl ReceiveBuffers {
    pub(crate) fn new(size: usize) -> Self {
        Self { size: size.max(SIZE_MIN), current: BytesMut::new(), aside: VecDeque::new() }
    }

    /// What one read takes at most.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// An empty buffer with room for a worthwhile read.
    pub(crate) fn take(&mut self) -> BytesMut {
        let mut buffer = std::mem::take(&mut self.current);
        debug_assert!(buffer.is_empty());
        if buffer.capacity() >= self.worthwhile() || (buffer.capacity() > 0 && buffer.try_reclaim(self.size))
        {
            return buffer;
        }
        if buffer.capacity() > 0 {
            // The oldest is the likeliest to be free again. Beyond the bound it is left to those who hold its parts.
            self.aside.push_back(buffer);
            if self.aside.len() > ASIDE_MAX {
                self.aside.pop_front();
            }
        }
        let free = self.aside.iter_mut().position(|buffer| buffer.try_reclaim(self.size));
        free.and_then(|at| self.aside.remove(at)).unwrap_or_else(|| BytesMut::with_capacity(self.size))
    }

    /// Gives back what is left of a buffer that was taken: it is empty.
    pub(crate) fn give_back(&mut self, buffer: BytesMut) {
        debug_assert!(buffer.is_empty());
        if buffer.capacity() >= self.current.capacity() {
            self.current = buffer;
        }
    }

    /// Room for less than that is not worth a system call while more could be had.
    fn worthwhile(&self) -> usize {
        self.size / 4
    }
}

const ASIDE_MAX: usize = 16;

/// A smaller buffer would make a system call of every few requests.
const SIZE_MIN: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_was_consumed_in_place_is_used_again_from_its_first_byte() {
        let mut buffers = ReceiveBuffers::new(1024);
        let mut buffer = buffers.take();
        let front = buffer.as_ptr();
        buffer.extend_from_slice(b"request");
        buffer.clear();
        buffers.give_back(buffer);
        assert_eq!(buffers.take().as_ptr(), front);
    }

    #[test]
    fn split_off_bytes_stay_whole_while_the_loop_reads_on() {
        let mut buffers = ReceiveBuffers::new(1024);
        let mut kept = Vec::new();
        for round in 0..200_u8 {
            let mut buffer = buffers.take();
            assert!(buffer.is_empty() && buffer.capacity() >= 256);
            buffer.extend_from_slice(&[round; 100]);
            kept.push(buffer.split_to(100));
            buffers.give_back(buffer);
        }
        for (round, unit) in kept.iter().enumerate() {
            assert!(unit.iter().all(|byte| usize::from(*byte) == round));
        }
    }

    #[test]
    fn a_buffer_whose_parts_are_gone_is_used_again_instead_of_a_new_one() {
        let mut buffers = ReceiveBuffers::new(1024);
        let mut fronts = std::collections::HashSet::new();
        for _ in 0..1000 {
            let mut buffer = buffers.take();
            fronts.insert(buffer.as_ptr() as usize / 64);
            buffer.extend_from_slice(&[7; 128]);
            let unit = buffer.split_to(128);
            buffers.give_back(buffer);
            drop(unit); // at the end of the turn, say
        }
        assert!(fronts.len() <= 16, "{} places in memory for one buffer's worth of bytes", fronts.len());
    }
}
