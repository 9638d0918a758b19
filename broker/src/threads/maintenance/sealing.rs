//! Sealing in its turn: segments that are closed are verified, and get the footers that the next start trusts; one after
//! the other, of all partitions in turn.
//!
//! No faster than others allow would be too slow: what is appended is to be sealed as fast. But it goes in short moments, and
//! between two of them a stop is heard, the space is looked at, and the next segments are made ready.
//!
//! By the time at which it is sealed a segment of records without a time goes one day. So nothing is sealed while nobody
//! knows what time it is, and for an hour after the clock has jumped the one that it told before goes on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use folio_storage::{AppendError, Seal, Sealed};

use crate::engine::{Disk, Engine};
use crate::partition::Partition;

#[derive(Default)]
pub(super) struct Sealer {
    /// Those that had something to seal when they were looked at.
    waiting: VecDeque<Arc<Partition<Disk>>>,
    current: Option<(Arc<Partition<Disk>>, Seal<Disk>)>,
}

impl Sealer {
    /// How long until there is something to do; `None` if nothing waits.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.is_busy().then_some(Duration::ZERO)
    }

    /// Begins with those of `partitions` that have something to seal, if nothing waits.
    pub(super) fn look<'p>(&mut self, partitions: impl Iterator<Item = &'p Arc<Partition<Disk>>>) {
        if !self.is_busy() {
            self.waiting.extend(partitions.filter(|partition| partition.log.wants_seal()).cloned());
        }
    }

    /// Goes on with what waits, for a moment; whether that has just come to its end.
    pub(super) fn work(&mut self, engine: &Engine) -> bool {
        if !self.is_busy() {
            return false;
        }
        let Some(time) = engine.clock.look().steady else {
            // Whoever has something to seal is asked again.
            *self = Self::default();
            return false;
        };
        let begun = Instant::now();
        while begun.elapsed() < MOMENT {
            let Some((partition, mut seal)) = self.current.take().or_else(|| self.next()) else { break };
            match seal.step(STEP, time) {
                Ok(None) => self.current = Some((partition, seal)),
                Ok(Some(sealed)) => {
                    tell(&partition, &sealed);
                    self.waiting.push_back(partition);
                }
                Err(AppendError::Io { path, source }) => engine.fail_of(&partition, &path, &source),
                // A full disk or no descriptor: later.
                Err(_) => {}
            }
        }
        !self.is_busy()
    }

    fn is_busy(&self) -> bool {
        self.current.is_some() || !self.waiting.is_empty()
    }

    fn next(&mut self) -> Option<(Arc<Partition<Disk>>, Seal<Disk>)> {
        loop {
            let partition = self.waiting.pop_front()?;
            if let Some(seal) = partition.log.seal() {
                return Some((partition, seal));
            }
        }
    }
}

fn tell(partition: &Partition<Disk>, sealed: &Sealed) {
    if let Sealed::Rotten(rotten) = sealed {
        tracing::error!(
            topic = &*partition.topic,
            partition = partition.number,
            %rotten,
            "a segment is damaged: stop the broker and look with `folio log verify`"
        );
    }
}

/// About what one step reads.
const STEP: u64 = 4 * 1024 * 1024;
/// Others have their turn after that.
const MOMENT: Duration = Duration::from_millis(50);
