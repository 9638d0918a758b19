//! A socket made of vectors.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use folio_mapped::Part;

use crate::Outbound;

/// Two ends of one thing: the connection has one, and whoever plays the peer a clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct EmbeddedSocket {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    inbound: VecDeque<u8>,
    peer_finished: bool,
    /// How many bytes the peer will still take.
    room: usize,
    /// What was taken, one element for each call.
    writes: Vec<Vec<Outbound>>,
}

impl Default for State {
    fn default() -> Self {
        Self { inbound: VecDeque::new(), peer_finished: false, room: usize::MAX, writes: Vec::new() }
    }
}

impl EmbeddedSocket {
    pub(crate) fn push(&self, bytes: &[u8]) {
        self.lock().inbound.extend(bytes);
    }

    pub(crate) fn finish(&self) {
        self.lock().peer_finished = true;
    }

    pub(crate) fn set_room(&self, bytes: usize) {
        self.lock().room = bytes;
    }

    pub(crate) fn take_writes(&self) -> Vec<Vec<Outbound>> {
        std::mem::take(&mut self.lock().writes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn receive(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        let mut state = self.lock();
        let room = at_most.min(into.capacity() - into.len());
        let count = room.min(state.inbound.len());
        if count == 0 && !state.peer_finished {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken: Vec<u8> = state.inbound.drain(..count).collect();
        into.extend_from_slice(&taken);
        Ok(count)
    }

    pub(crate) fn has_finished(&self) -> bool {
        let state = self.lock();
        state.peer_finished && state.inbound.is_empty()
    }

    pub(crate) fn send(&mut self, parts: &[Part<'_>]) -> io::Result<usize> {
        let mut state = self.lock();
        if state.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut taken = Vec::new();
        let mut sent = 0;
        for part in parts {
            let count = part.len().min(state.room - sent);
            if count > 0 {
                taken.push(match part {
                    Part::Heap(bytes) => Outbound::Bytes(Bytes::copy_from_slice(&bytes[..count])),
                    Part::Map(slice) => {
                        let mut slice = (*slice).clone();
                        slice.truncate(count);
                        Outbound::Mapped(slice)
                    }
                });
            }
            sent += count;
        }
        if state.room != usize::MAX {
            state.room -= sent;
        }
        state.writes.push(taken);
        Ok(sent)
    }
}
