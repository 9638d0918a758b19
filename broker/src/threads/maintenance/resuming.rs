//! Recovers partitions that are offline because the start had no room for it, once there is some.

use crate::engine::Engine;
use crate::service::topics;

/// When it is tried.
#[derive(Debug, Default)]
pub(super) struct Resumer {
    /// So many rounds were left out after the last time that it was tried in vain,
    pause: u32,
    /// and so many are yet to be.
    left: u32,
}

impl Resumer {
    /// Tries it in this round, if producers have room. Whether a partition is back.
    pub(super) fn look(&mut self, engine: &Engine) -> bool {
        let waiting = engine.dir.waiting_for_room();
        if waiting.is_empty() || engine.space.check().is_err() {
            return false;
        }
        if self.left > 0 {
            self.left -= 1;
            return false;
        }
        let (mut is_back, mut is_in_vain) = (false, false);
        for id in waiting {
            // Each may take its time.
            if engine.stop.is_closed() {
                break;
            }
            match topics::resume(engine, id) {
                Ok(done) => (is_back, is_in_vain) = (is_back | done, is_in_vain | !done),
                Err(error) => {
                    engine.fail(&error.path, &error.source);
                    break;
                }
            }
        }
        self.pause = if is_in_vain { (2 * self.pause).clamp(1, PAUSE_ROUNDS_MAX) } else { 0 };
        self.left = self.pause;
        is_back
    }
}

/// A quota may leave no room where the disk has some, and each attempt reads what is to be put in its place.
const PAUSE_ROUNDS_MAX: u32 = 16;
