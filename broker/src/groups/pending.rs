//! Newcomers who have been given an id and have yet to come with it.

use std::collections::HashMap;
use std::sync::Arc;

use super::member::Member;
use super::timers::{Timer, TimerKey};
use super::writes::Context;

/// The newcomers of a group, with the timer by which each has to come.
#[derive(Debug, Default)]
pub(super) struct Pending {
    timers: HashMap<Arc<str>, TimerKey>,
    size: usize,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.timers.contains_key(id)
    }

    /// About what they would take as members, without what they say.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// One has been given an id, which no other has. `ms`: how long it has to come with it.
    pub(super) fn add(&mut self, context: &mut Context<'_>, group: &Arc<str>, id: Arc<str>, ms: i32) {
        let timer = Timer::Member { group: group.clone(), member: id.clone() };
        let at = context.after(super::member::milliseconds(ms));
        self.size += size(&id);
        self.timers.insert(id, context.timers.set(at, timer));
    }

    /// One has come, or will not. Whether it was one.
    pub(super) fn remove(&mut self, context: &mut Context<'_>, id: &str) -> bool {
        let Some(timer) = self.timers.remove(id) else { return false };
        context.timers.cancel(Some(timer));
        self.size -= size(id);
        true
    }

    /// Nobody is expected any more.
    pub(super) fn clear(&mut self, context: &mut Context<'_>) {
        self.timers.drain().for_each(|(_, timer)| context.timers.cancel(Some(timer)));
        self.size = 0;
    }
}

fn size(id: &str) -> usize {
    id.len() + size_of::<Member>()
}
