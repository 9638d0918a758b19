//! Mapped parts that have waited for their socket may have left memory meanwhile. They are looked at again before they
//! are sent, some at a time, so that a peer that is slow does not make the loop wait for a disk.
//!
//! ```text
//!            nothing is left                                             the loop's state reads it in
//!   Fresh <------------------- Waited --> looked at: not in memory --> Reading ----------------------+
//!     |   has waited a while     ^   \-------------> in memory: sent                                  |
//!     +--------------------------+ <--------------- sent once, whatever has become of it ------------+
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use folio_mapped::MapSlice;

use crate::outbound::OutboundBuffer;
use crate::{Channel, LoopLocal, Outbound};

/// How much is known of what waits for the socket.
#[derive(Debug, Default)]
pub(super) struct Warmth {
    /// Since when something waits. What came later was looked at later.
    since: Option<Instant>,
    /// Somebody reads in what comes next; set when it is done.
    reading: Option<Arc<AtomicBool>>,
    /// It was read in a moment ago.
    is_read_in: bool,
}

/// What may be sent next.
pub(super) enum Next {
    /// Whatever the socket takes.
    All,
    /// No more than this.
    Some(Vec<Outbound>),
    /// Nothing, until the channel is woken.
    Nothing,
}

/// Held by whoever reads in what a channel has to send next. Dropped, the channel goes on.
#[derive(Debug)]
pub struct Resume<L: LoopLocal> {
    channel: Channel<L>,
    is_done: Arc<AtomicBool>,
}

impl<L: LoopLocal> Drop for Resume<L> {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Release);
        self.channel.wake();
    }
}

impl Warmth {
    /// Somebody reads, and nothing is sent meanwhile.
    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// The channel was woken, perhaps because that is done.
    pub(super) fn woken(&mut self) {
        if self.reading.as_ref().is_some_and(|is_done| is_done.load(Ordering::Acquire)) {
            self.reading = None;
            self.is_read_in = true;
        }
    }

    /// The socket has taken what it would.
    pub(super) fn sent(&mut self, is_empty: bool, now: Instant) {
        if is_empty {
            self.since = None;
            self.is_read_in = false;
        } else {
            self.since.get_or_insert(now);
        }
    }

    /// What of `outbound` may be sent.
    pub(super) fn next<L: LoopLocal>(
        &mut self,
        outbound: &OutboundBuffer,
        now: Instant,
        channel: &Channel<L>,
        local: &mut L,
    ) -> Next {
        let Some(since) = self.since else { return Next::All };
        if now.saturating_duration_since(since) < COOLS_AFTER {
            return Next::All;
        }
        let window = outbound.front(WINDOW);
        // Where memory is so short that it is gone again, the loop waits: nothing would ever be sent otherwise.
        if std::mem::take(&mut self.is_read_in) {
            return Next::Some(window);
        }
        let is_cold = |slice: &&MapSlice| !slice.resident().unwrap_or(false);
        let cold: Vec<MapSlice> =
            window.iter().filter_map(Outbound::mapped).filter(is_cold).cloned().collect();
        if cold.is_empty() {
            return Next::Some(window);
        }
        let is_done = Arc::new(AtomicBool::new(false));
        self.reading = Some(Arc::clone(&is_done));
        local.read_in(cold, Resume { channel: channel.clone(), is_done });
        Next::Nothing
    }
}

/// What was in memory does not leave it so soon.
const COOLS_AFTER: Duration = Duration::from_millis(10);
/// Bytes that are looked at, and sent, at a time.
const WINDOW: usize = 256 << 10;
