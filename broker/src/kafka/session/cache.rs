//! The sessions of a broker: so many, with so many partitions, and who has to go for a new one.
//!
//! A session that was not used for two minutes may always go. Otherwise one that is older than that gives way to one
//! that has more partitions: clients that open a session with each request do not push out those that keep
//! theirs. Who gets no session is answered all the same, and asks in full the next time.
//!
//! Invariant: an epoch is answered once; a session that is being worked on is lent out, and nobody else gets it.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Sessions by id, each with a body `B`.
#[derive(Debug)]
pub(in crate::kafka) struct Cache<B> {
    sessions: HashMap<i32, Entry<B>>,
    by_use: BTreeSet<(Instant, i32)>,
    /// Of sessions that are not young any more.
    by_size: BTreeSet<(usize, i32)>,
    /// Of all sessions.
    partitions: usize,
    sessions_max: usize,
    partitions_max: usize,
}

/// Why a request does not go with its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum SessionError {
    /// There is none of that id; it may have had to go.
    NotFound,
    /// Another epoch is due, or the one before is still being worked on.
    Epoch,
    /// It names topics by id and the request by name, or the other way round.
    TopicNaming,
}

/// What a request begins with.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Begin<B> {
    /// No session, now and afterwards.
    Without,
    /// The request names everything, and its answer may open a session.
    Full,
    /// The request goes on with this session, which is lent.
    GoOn(B),
}

#[derive(Debug)]
struct Entry<B> {
    /// The one that is due.
    epoch: i32,
    is_by_id: bool,
    created: Instant,
    used: Instant,
    size: usize,
    /// `None`: it is lent.
    body: Option<B>,
}

/// See the head of the file; Kafka's `min.incremental.fetch.session.eviction.ms`.
const STALE_AFTER: Duration = Duration::from_secs(120);

impl<B> Cache<B> {
    pub(in crate::kafka) fn new(sessions_max: usize, partitions_max: usize) -> Self {
        Self {
            sessions: HashMap::new(),
            by_use: BTreeSet::new(),
            by_size: BTreeSet::new(),
            partitions: 0,
            sessions_max,
            partitions_max,
        }
    }

    /// What a request with this session id and epoch is about. Session and epoch of a full request close what they
    /// name; it is returned beside it.
    ///
    /// # Errors
    /// There is no such session, or not for this request.
    pub(in crate::kafka) fn begin(
        &mut self,
        id: i32,
        epoch: i32,
        is_by_id: bool,
    ) -> Result<(Begin<B>, Option<B>), SessionError> {
        if epoch == EPOCH_FINAL || epoch == EPOCH_FULL {
            let closed = self.remove(id);
            return Ok((if epoch == EPOCH_FULL { Begin::Full } else { Begin::Without }, closed));
        }
        let entry = self.sessions.get_mut(&id).ok_or(SessionError::NotFound)?;
        if entry.epoch != epoch {
            return Err(SessionError::Epoch);
        }
        if entry.is_by_id != is_by_id {
            return Err(SessionError::TopicNaming);
        }
        let body = entry.body.take().ok_or(SessionError::Epoch)?;
        entry.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        Ok((Begin::GoOn(body), None))
    }

    /// A session was used, and has so many partitions now. One that does not fit any more is gone.
    pub(in crate::kafka) fn touch(&mut self, id: i32, size: usize, now: Instant) -> bool {
        let Some(entry) = self.sessions.get_mut(&id) else { return false };
        if self.partitions - entry.size + size > self.partitions_max {
            self.remove(id);
            return false;
        }
        self.by_use.remove(&(entry.used, id));
        self.by_size.remove(&(entry.size, id));
        self.partitions = self.partitions - entry.size + size;
        (entry.used, entry.size) = (now, size);
        self.by_use.insert((now, id));
        if now.saturating_duration_since(entry.created) > STALE_AFTER {
            self.by_size.insert((size, id));
        }
        true
    }

    /// Gives a lent body back; also gives it back to the caller, if the session is gone meanwhile.
    pub(in crate::kafka) fn give_back(&mut self, id: i32, body: B) -> Option<B> {
        match self.sessions.get_mut(&id) {
            Some(entry) => entry.body.replace(body),
            None => Some(body),
        }
    }

    /// Opens a session of so many partitions, if there is room or can be made: its id, and what had to go for it.
    /// Random numbers come from `random`.
    pub(in crate::kafka) fn create(
        &mut self,
        size: usize,
        is_by_id: bool,
        now: Instant,
        mut random: impl FnMut() -> u32,
        body: impl FnOnce() -> B,
    ) -> (Option<i32>, Vec<B>) {
        let mut gone = Vec::new();
        while self.sessions.len() >= self.sessions_max || self.partitions + size > self.partitions_max {
            let Some(id) = self.replaceable(size, now) else { return (None, gone) };
            gone.extend(self.remove(id));
        }
        let id = loop {
            let id = i32::try_from(random() >> 1).unwrap_or(0);
            if id != 0 && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let entry = Entry { epoch: 1, is_by_id, created: now, used: now, size, body: Some(body()) };
        self.sessions.insert(id, entry);
        self.by_use.insert((now, id));
        self.partitions += size;
        (Some(id), gone)
    }

    /// Closes a session. One that is lent is gone, too, and its body goes when it is given back.
    pub(in crate::kafka) fn remove(&mut self, id: i32) -> Option<B> {
        let entry = self.sessions.remove(&id)?;
        self.by_use.remove(&(entry.used, id));
        self.by_size.remove(&(entry.size, id));
        self.partitions -= entry.size;
        entry.body
    }

    #[cfg(test)]
    pub(super) fn set_epoch(&mut self, id: i32, epoch: i32) {
        self.sessions.get_mut(&id).into_iter().for_each(|entry| entry.epoch = epoch);
    }

    /// The session that has to go for a new one of `size` partitions.
    fn replaceable(&self, size: usize, now: Instant) -> Option<i32> {
        let &(used, oldest) = self.by_use.first()?;
        if now.saturating_duration_since(used) > STALE_AFTER {
            return Some(oldest);
        }
        self.by_size.first().filter(|(smallest, _)| *smallest < size).map(|(_, id)| *id)
    }
}

/// Asks in full, and for a session.
const EPOCH_FULL: i32 = 0;
/// Asks in full, and for no session.
const EPOCH_FINAL: i32 = -1;
