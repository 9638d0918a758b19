//! Jobs: work for a thread that may wait for a disk, put into a closure where it comes up.
//!
//! Several threads may share an inbox of jobs (cold reads); with one thread, jobs are done in their order (topics).

use crate::engine::Engine;
use crate::threads::inbox::{Inbox, Taken};

/// Work, and telling whoever waits for it.
pub(crate) type Job = Box<dyn FnOnce(&Engine) + Send>;

impl Inbox<Job> {
    /// Has `job` done. A job that comes after the close is dropped, and with it the request that it would have
    /// answered.
    pub(crate) fn run(&self, job: impl FnOnce(&Engine) + Send + 'static) {
        self.send([Box::new(job) as Job]);
    }
}

/// Works until `jobs` is closed.
pub(crate) fn run(engine: &Engine, jobs: &Inbox<Job>) {
    while let Taken::Items(job) = jobs.take_one() {
        job(engine);
    }
}
