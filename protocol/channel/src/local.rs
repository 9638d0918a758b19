//! What a program keeps on each event loop.

use std::time::Instant;

use folio_mapped::MapSlice;

use crate::Resume;

/// The state that one event loop owns, for all its channels: made on the loop's thread, used on no other.
/// Handlers reach it as [`ctx.local()`](crate::ChannelHandlerContext::local).
///
/// `()` is the state of a loop that needs none.
pub trait LoopLocal: Sized + 'static {
    /// What other threads send to the loop, through [`LoopHandle::send`](crate::LoopHandle::send).
    type Message: Send + 'static;

    /// A message has arrived. All that have are handed over at the beginning of a turn, before any channel is read.
    fn message(&mut self, message: Self::Message);

    /// Once a turn: after all ready channels were read, before any is written. What was collected during the turn
    /// is dealt with here, once for all channels; answers that are sent from here leave in the same turn. A turn
    /// that only brought messages, or the deadline, ends with it as well.
    fn turn_end(&mut self, _now: Instant) {}

    /// What is to be sent next on some channel has left memory while it waited for its socket: sending it would wait
    /// for a disk. Whoever takes it brings it back on a thread that may wait, and drops `resume`; until then nothing is
    /// sent on that channel. By default it is the loop that waits.
    fn read_in(&mut self, _slices: Vec<MapSlice>, resume: Resume<Self>) {
        drop(resume);
    }

    /// When the next turn must come at the latest, though nothing else happens. Asked after
    /// [`turn_end`](Self::turn_end); must be cheap.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }
}

impl LoopLocal for () {
    type Message = ();

    fn message(&mut self, (): ()) {}
}
