//! The thread of groups: it has the coordinators, one for each partition of `__consumer_offsets`.
//!
//! ```text
//!  loops: questions --+                                  +--> answers, by the protocol that asked
//!                     v                                  |
//!                  inbox --> Coordinator::step --> effects --> one batch a partition and turn --> its lane
//!                     ^                                                                            |
//!                     +-- what was placed, and what the flusher has made durable <-----------------+
//! ```
//!
//! Heartbeats alone do not come here: they are most of what members ask, and change nothing but when a member is to be
//! missed. To wake this thread for one, and the loop for its answer, costs more than twice what the rest of it does. So
//! a loop looks into the coordinator itself, if nobody is in there ([`Hosts::heartbeat`]); it never waits.
//!
//! Invariants: every question is answered once, or its connection ends; what is answered after a write is below the
//! high watermark; a partition's groups are asked nothing before its log is replayed to the end.

mod host;
mod loading;
mod writes;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Time;
use crate::engine::{Disk, Engine};
use crate::error::{Fault, ServiceError};
use crate::groups::answer::{Answer, ListedGroup};
use crate::groups::event::{Caller, Event, List, Now};
use crate::partition::Partition;
use crate::shard::Placed;
use crate::threads::inbox::Taken;
use crate::view::Topic;
pub(crate) use host::Hosts;
use loading::Census;

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum GroupJob {
    /// Groups are kept in this topic.
    Host(Arc<Topic<Disk>>),
    /// A partition of it was offline, and is not any more.
    Reopened(Arc<Partition<Disk>>),
    /// Something is asked of one group.
    Ask(Question),
    /// Something is asked of all groups.
    List(List, AnswerList),
    /// What became of batches.
    Placed(Arc<Partition<Disk>>, Vec<Placed>),
    /// High watermarks have moved.
    Advanced(Vec<Arc<Partition<Disk>>>),
    /// A topic is gone, and its offsets with it.
    TopicDeleted(Arc<str>),
    /// The data directory has failed: everybody who waits is told.
    Failed,
    /// The broker is ending: nobody waits for other members any more.
    Drain,
}

/// Something that is asked of one group.
pub(crate) struct Question {
    pub(crate) group: Arc<str>,
    pub(crate) caller: Caller,
    pub(crate) event: Event,
    pub(crate) answer: AnswerGroup,
}

/// Tells whoever asked, in the protocol that asked. Dropped unused, it closes the connection.
pub(crate) type AnswerGroup = Box<dyn FnOnce(Result<Answer, ServiceError>) + Send>;

/// As [`AnswerGroup`].
pub(crate) struct AnswerList(pub(crate) Box<dyn FnOnce(Result<Vec<ListedGroup>, ServiceError>) + Send>);

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("event", &self.event).finish_non_exhaustive()
    }
}

impl fmt::Debug for AnswerList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerList").finish_non_exhaustive()
    }
}

/// Works until the inbox is closed.
pub(crate) fn run(engine: &Engine) {
    let mut groups = Groups::new(engine);
    let mut jobs = VecDeque::new();
    loop {
        let taken = engine.groups.take_all(&mut jobs, groups.deadline());
        if taken == Taken::Closed {
            return;
        }
        let Time { wall, is_believed, .. } = engine.clock.look();
        let at = Now { mono: Instant::now(), wall, is_believed };
        for job in jobs.drain(..) {
            groups.work(job, at);
        }
        groups.hosts.each(|host| host.tick(at, &mut groups.waiting));
        groups.load(at);
        groups.hosts.each(|host| host.write(engine, at, &mut groups.waiting));
    }
}

/// Who waits for an answer. As in Kafka nobody looks whether their connections are still there: a member that comes
/// back by another one takes the place of its join that waits, and whoever does not is missed when its session ends.
/// Until then there is a `Reply` for it, one for a member; the connection itself goes some seconds after the peer.
pub(super) struct Waiting {
    callers: HashMap<Caller, Waiter>,
}

struct Waiter {
    answer: AnswerGroup,
    /// It waits for other members, and not for the disk.
    is_patient: bool,
}

impl Waiting {
    /// Tells `caller`, if it still waits.
    fn answer(&mut self, caller: Caller, answer: Result<Answer, ServiceError>) {
        if let Some(waiter) = self.callers.remove(&caller) {
            (waiter.answer)(answer);
        }
    }

    /// Tells `error` to those who wait like that.
    fn refuse(&mut self, error: &ServiceError, only_patient: bool) {
        for (_, waiter) in self.callers.extract_if(|_, waiter| waiter.is_patient || !only_patient) {
            (waiter.answer)(Err(error.clone()));
        }
    }
}

struct Groups<'a> {
    engine: &'a Engine,
    /// None before the topic is there.
    hosts: Arc<Hosts>,
    waiting: Waiting,
    /// What was loaded, until all of it is.
    census: Option<Census>,
    is_draining: bool,
}

impl<'a> Groups<'a> {
    fn new(engine: &'a Engine) -> Self {
        let waiting = Waiting { callers: HashMap::new() };
        Self { engine, hosts: Arc::default(), waiting, census: None, is_draining: false }
    }

    /// When there is something to do at the latest.
    fn deadline(&self) -> Option<Instant> {
        if self.census.is_some() {
            return Some(Instant::now());
        }
        let mut deadlines = Vec::new();
        self.hosts.each(|host| deadlines.extend(host.next_deadline()));
        deadlines.into_iter().min()
    }

    fn work(&mut self, job: GroupJob, at: Now) {
        match job {
            GroupJob::Host(topic) => self.host(&topic, at),
            GroupJob::Reopened(partition) => {
                self.hosts.reopen(&partition);
                self.census.get_or_insert_with(Census::new);
            }
            GroupJob::Ask(question) => self.ask(question, at),
            GroupJob::List(list, answer) => (answer.0)(self.list(&list, at)),
            GroupJob::Placed(partition, placed) => {
                if let Some(mut host) = self.hosts.of(&partition) {
                    host.placed(placed);
                    host.settle(at, &mut self.waiting);
                }
            }
            GroupJob::Advanced(partitions) => {
                for mut host in partitions.iter().filter_map(|partition| self.hosts.of(partition)) {
                    host.settle(at, &mut self.waiting);
                }
            }
            GroupJob::TopicDeleted(topic) => {
                self.hosts.each(|host| host.topic_deleted(&topic, at, &mut self.waiting));
            }
            GroupJob::Failed => self.waiting.refuse(&ServiceError::storage_failed(), false),
            GroupJob::Drain => {
                self.is_draining = true;
                self.waiting.refuse(&ending(), true);
            }
        }
    }

    /// Begins to load what is kept in the topic. What was made a moment ago is empty: nobody needs to wait for it.
    fn host(&mut self, topic: &Topic<Disk>, at: Now) {
        self.hosts = Arc::new(Hosts::new(self.engine, topic));
        let mut census = Census::new();
        self.hosts.each(|host| {
            if host.is_empty() {
                host.load(self.engine, at, &mut census, &mut self.waiting);
            }
        });
        self.engine.group_hosts.store(Arc::clone(&self.hosts));
        self.census = Some(census);
        self.report();
    }

    fn ask(&mut self, question: Question, at: Now) {
        let Question { group, caller, event, answer } = question;
        let is_patient = matches!(event, Event::Join(..) | Event::Sync(..));
        let refused = if self.engine.health.has_failed() {
            Some(ServiceError::storage_failed())
        } else if is_patient && self.is_draining {
            Some(ending())
        } else {
            None
        };
        if let Some(error) = refused {
            return answer(Err(error));
        }
        let Some(mut host) = self.hosts.of_group(&group) else {
            return answer(Err(not_available("groups have no topic yet")));
        };
        if let Some(error) = host.trouble() {
            return answer(Err(error.clone()));
        }
        self.waiting.callers.insert(caller, Waiter { answer, is_patient });
        host.step(event, at, &mut self.waiting);
    }

    /// All groups, if all of them are known.
    fn list(&mut self, list: &List, at: Now) -> Result<Vec<ListedGroup>, ServiceError> {
        let mut all = Vec::new();
        let mut outcome = Ok(());
        self.hosts.each(|host| {
            // What cannot be read is told to who asks for it by its name.
            if host.trouble().is_none() && outcome.is_ok() {
                outcome = host.list(list.clone(), at).map(|mut listed| all.append(&mut listed));
            }
        });
        outcome.map(|()| all)
    }

    /// Replays a little more of what is not loaded yet: a slice of one log, and all that are at their end.
    fn load(&mut self, at: Now) {
        let Some(census) = &mut self.census else { return };
        let mut has_loaded = false;
        self.hosts.each(|host| {
            if host.is_loading() && !has_loaded {
                has_loaded = host.load(self.engine, at, census, &mut self.waiting);
            }
        });
        self.report();
    }

    /// Says what was loaded, once all of it is.
    fn report(&mut self) {
        let (mut is_loading, mut partitions, mut groups) = (false, 0, 0);
        self.hosts.each(|host| {
            is_loading |= host.is_loading();
            partitions += 1;
            groups += host.group_count();
        });
        if let Some(census) = self.census.take_if(|_| !is_loading) {
            census.report(partitions, groups);
        }
    }
}

/// A group is asked for in vain; whoever asks again later may be lucky.
fn not_available(why: impl Into<String>) -> ServiceError {
    ServiceError::new(Fault::CoordinatorNotAvailable, why)
}

fn ending() -> ServiceError {
    not_available("the broker is ending")
}
