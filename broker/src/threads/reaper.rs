//! The reaper: unmaps, closes and unlinks, which can take tens of milliseconds.
//!
//! What is retired is dropped here, once nobody else holds it: an answer that is still being sent keeps its segment
//! mapped. What lies in the trash is unlinked, first of all what earlier runs have left there; the bytes of a file that
//! is still mapped are freed with its map.

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

/// Has segments unmapped that have given way to others.
#[derive(Debug)]
struct MapsGaveWay;

/// Has the trash emptied.
#[derive(Debug)]
struct TrashFilled;

/// From now on what gives way is unmapped here, and not by whoever needs the room; and the reaper hears of what is
/// thrown away, whoever does.
pub(crate) fn works_for(engine: &Arc<Engine>) {
    engine.dir.open_segments().on_retired(sends(engine, || Arc::new(MapsGaveWay)));
    engine.dir.trash().on_filled(sends(engine, || Arc::new(TrashFilled)));
}

/// Sends the reaper of `engine` a word, as long as there is one.
fn sends(engine: &Arc<Engine>, word: fn() -> Retired) -> impl Fn() + Send + Sync + 'static {
    let engine = Arc::downgrade(engine);
    move || {
        if let Some(engine) = engine.upgrade() {
            engine.reaper.send([word()]);
        }
    }
}

/// Works until its inbox is closed. What is held then is dropped by its holder; the next start empties the trash.
pub(crate) fn run(engine: &Engine) {
    let mut retired: VecDeque<Retired> = VecDeque::new();
    let mut mapped = 0;
    empty_trash(engine);
    loop {
        let next = (!retired.is_empty() || mapped > 0).then(|| Instant::now() + LOOK);
        match engine.reaper.take_all(&mut retired, next) {
            Taken::Items(()) => {
                mapped = engine.dir.open_segments().reap();
                if retired.iter().any(|one| one.is::<TrashFilled>()) {
                    empty_trash(engine);
                }
            }
            Taken::TimedOut => mapped = engine.dir.open_segments().reap(),
            Taken::Closed => return,
        }
        retired.retain(|one| Arc::strong_count(one) > 1);
    }
}

fn empty_trash(engine: &Engine) {
    if engine.health.has_failed() {
        return;
    }
    // Who needs room for a map does not wait until all of it is gone.
    let is_wanted = || {
        engine.dir.open_segments().reap();
        !engine.reaper.is_closed()
    };
    match engine.dir.purge_trash(&is_wanted) {
        Ok(()) => {}
        Err(error) if engine.dir.has_failed() => engine.fail(Path::new("trash"), &error),
        // The bytes stay until the next time; nothing depends on their going.
        Err(error) => tracing::warn!(%error, "the trash cannot be emptied"),
    }
}
