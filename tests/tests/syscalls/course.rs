//! The course of one life that strace watches, from its start to its end.

use std::fs;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use folio_tests::daemon::{Daemon, signal};
use folio_tests::strace::{Call, Strace, calls};

use crate::life::{Plan, SETTINGS, SHORT, WHOLE, live};
use crate::points::Phase;
use crate::promises::{Promises, Stored};

/// A life that has ended.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) promises: Promises,
    /// Whether it came to listen.
    pub(crate) has_started: bool,
    /// How it ended; `None` if it did not.
    pub(crate) end: Option<End>,
    /// Everything that it said.
    pub(crate) said: String,
    /// The calls that strace was to tell of.
    pub(crate) calls: Vec<Call>,
    /// The names of its threads that are hit, with their numbers; of a life without a phase.
    pub(crate) threads: Vec<(&'static str, u32)>,
    /// What of its promises it did not serve in the end, on a disk that was full for good.
    pub(crate) unserved: Vec<String>,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal,
}

/// Those that do something with files, by the names that the system gives.
pub(crate) const THREADS: [&str; 8] = [
    "folio-loop-0",
    "folio-lane-0",
    "folio-read-0",
    "folio-groups",
    "folio-admin",
    "folio-reaper",
    "folio-maintain",
    "folio-flusher",
];

/// How long a daemon may take to end.
const LIMIT: Duration = Duration::from_secs(30);

/// Lives in `dir`, where an earlier life may have left `promises`; strace does what the expressions say in this phase.
/// With no phase, in all threads from the moment it listens.
pub(crate) fn lead(dir: &Path, phase: Option<&Phase>, expressions: &[String], promises: Promises) -> Course {
    let plan = match phase {
        Some(Phase::New | Phase::Again(_)) => SHORT,
        Some(Phase::From(_)) => Plan { is_patient: false, ..WHOLE },
        _ => WHOLE,
    };
    lead_as(dir, phase, expressions, promises, plan)
}

/// As [`lead`], with another plan.
pub(crate) fn lead_as(
    dir: &Path,
    phase: Option<&Phase>,
    expressions: &[String],
    promises: Promises,
    plan: Plan,
) -> Course {
    let told = dir.join("told");
    let mut course = Course {
        promises,
        has_started: false,
        end: None,
        said: String::new(),
        calls: Vec::new(),
        threads: Vec::new(),
        unserved: Vec::new(),
    };
    let mut wrapper = Vec::new();
    if matches!(phase, Some(Phase::New | Phase::Again(_))) {
        wrapper = Strace::wrapper(expressions, &told);
    }
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mut daemon = match Daemon::try_under(&wrapper, dir, &SETTINGS) {
        Ok(daemon) => daemon,
        Err(said) => {
            let (said, code) = said.rsplit_once("(exit code ").unwrap_or((&said, ""));
            let code = code.strip_prefix("Some(").and_then(|code| code.split(')').next()?.parse().ok());
            course.end = Some(code.map_or(End::Signal, End::Code));
            said.clone_into(&mut course.said);
            course.calls = told_calls(&told);
            return course;
        }
    };
    course.has_started = true;
    let mut strace = match phase {
        None => Some(Strace::watch(daemon.pid(), true, expressions, &told)),
        Some(Phase::Thread(name)) => Some(Strace::watch(daemon.thread(name), false, expressions, &told)),
        Some(Phase::New | Phase::Again(_) | Phase::Stop | Phase::From(_)) => None,
    };
    if phase.is_none() {
        course.threads = THREADS.iter().map(|name| (*name, daemon.thread(name))).collect();
    }
    let mut comes = |daemon: &Daemon, moment: usize| {
        if phase == Some(&Phase::From(moment)) {
            // Who writes durable points writes them where they are.
            let others = THREADS.iter().filter(|name| **name != "folio-flusher");
            let others: Vec<u32> = others.map(|name| daemon.thread(name)).collect();
            strace = Some(Strace::watch_threads(&others, expressions, &told));
        }
    };
    live(&mut daemon, &mut course.promises, plan, &mut comes);
    if matches!(phase, Some(Phase::From(_))) && daemon.ended_within(Duration::ZERO).is_none() {
        course.unserved = match Stored::of_promises(&daemon, &course.promises) {
            Ok(stored) => course.promises.broken_by(&stored),
            Err(why) => vec![why],
        };
    }
    if phase == Some(&Phase::Stop) {
        strace = Some(Strace::watch(daemon.pid(), true, expressions, &told));
    }
    if daemon.ended_within(Duration::ZERO).is_none() {
        signal(&daemon.pid().to_string(), "TERM");
    }
    course.end = daemon.ended_within(LIMIT).map(end);
    course.said = daemon.said();
    drop(daemon);
    if let Some(strace) = strace {
        strace.ended();
    }
    course.calls = told_calls(&told);
    course
}

fn end(status: ExitStatus) -> End {
    status.code().map_or(End::Signal, End::Code)
}

/// What strace told, once it has told of the end of the last thread that it knew.
fn told_calls(told: &Path) -> Vec<Call> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let text = fs::read_to_string(told).unwrap_or_default();
        if text.lines().last().is_some_and(|line| line.contains("+++")) || Instant::now() > deadline {
            return calls(&text);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
