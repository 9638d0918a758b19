//! The reaper: unmaps, closes and unlinks, which can take tens of milliseconds.
//!
//! What is retired is dropped here, once nobody else holds it: an answer that is still being sent keeps its segment
//! mapped. What lies in the trash is unlinked; the bytes of a file that is still mapped are freed with its map.

use std::any::Any;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::threads::inbox::Taken;

/// Something that nobody finds any more.
pub(crate) type Retired = Arc<dyn Any + Send + Sync>;

/// How often the reaper looks whether the last holder of something has let go.
const LOOK: Duration = Duration::from_millis(100);

/// Works until its inbox is closed. What is held then is dropped by its holder; the next start empties the trash.
pub(crate) fn run(engine: &Engine) {
    let mut retired: VecDeque<Retired> = VecDeque::new();
    loop {
        let next = (!retired.is_empty()).then(|| Instant::now() + LOOK);
        match engine.reaper.take_all(&mut retired, next) {
            Taken::Items(()) => empty_trash(engine),
            Taken::TimedOut => {}
            Taken::Closed => return,
        }
        retired.retain(|one| Arc::strong_count(one) > 1);
    }
}

fn empty_trash(engine: &Engine) {
    if engine.health.has_failed() {
        return;
    }
    match engine.dir.purge_trash() {
        Ok(_) => {}
        Err(error) if engine.dir.has_failed() => engine.fail(Path::new("trash"), &error),
        // The bytes stay until the next time; nothing depends on their going.
        Err(error) => tracing::warn!(%error, "the trash cannot be emptied"),
    }
}
