//! Where a life can be hit: every call about a file of the data directory, found by counting those of a life without a
//! fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use folio_tests::strace::Call;

use crate::judge::Run;
use crate::life::LAST_MOMENT;

/// A part of a daemon's life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// From the first call of the program on, on a new directory.
    New,
    /// One of its threads, from when it listens until it has stopped.
    Thread(String),
    /// All threads, from when it is asked to stop.
    Stop,
    /// From the first call of the program on, on what an earlier life has left.
    Again(usize),
    /// All threads but the flusher, from the moment of this number on: the rounds of a life, when it waits for
    /// compaction, and when all is done.
    From(usize),
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) phase: Phase,
    pub(crate) call: String,
    /// The how many-th of a thread in this phase.
    pub(crate) number: u32,
}

/// What happens there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The process is killed instead of the call.
    Kill,
    /// The call is not made, and this is what it says.
    Says(&'static str),
    /// From this call on none of its name is made by this thread, and this is what they say.
    SaysEver(&'static str),
    /// From its so many-th call of each name on no thread finds room for anything, be it to take something away: a disk
    /// that is full for good. Only durable points are written where they are, by the flusher, and what a start writes.
    Full,
}

/// What a disk that is full for good does not do: to give a name, to take one or to change it, to reserve, to cut.
const OF_NAMES: &str = "fallocate,ftruncate,mkdir,mkdirat,rename,renameat,renameat2,rmdir,unlink,unlinkat";
/// And to write.
const OF_BYTES: &str = "pwrite64,pwritev,pwritev2";
/// In place of the name of a call: all of these.
const ALL: &str = "all";

/// The calls that are hit: those that do something with a file, its name, or its bytes.
pub(crate) const CALLS: &[&str] = &[
    "openat",
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "pread64",
    "preadv",
    "preadv2",
    "read",
    "ftruncate",
    "fallocate",
    "fdatasync",
    "fsync",
    "syncfs",
    "sync_file_range",
    "fadvise64",
    "statx",
    "newfstatat",
    "fstat",
    "statfs",
    "fstatfs",
    "getdents64",
    "mmap",
    "flock",
    "lseek",
];

/// What each of them may say when it fails.
pub(crate) fn errors(call: &str) -> &'static [&'static str] {
    match call {
        // A short write of nothing: strace can leave a call out, and not make half of it.
        "pwrite64" | "pwritev" | "pwritev2" => {
            &["error=EIO", "error=ENOSPC", "error=EDQUOT", "error=EROFS", "retval=0"]
        }
        "fdatasync" | "fsync" | "syncfs" => &["error=EIO", "error=ENOSPC", "error=EDQUOT"],
        "fallocate" => &["error=ENOSPC", "error=EIO", "error=EDQUOT", "error=EOPNOTSUPP"],
        "openat" => &["error=EIO", "error=ENOSPC", "error=EROFS", "error=EMFILE"],
        // A file system that copies on write, or has a journal to write to, needs room to take something away, too.
        "mkdir" | "mkdirat" | "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat" | "rmdir"
        | "ftruncate" => &["error=EIO", "error=ENOSPC", "error=EROFS"],
        "mmap" => &["error=ENOMEM"],
        _ => &["error=EIO"],
    }
}

/// Whether it is a call after whose failure nothing may be written or acknowledged any more.
pub(crate) fn is_sync(call: &str) -> bool {
    matches!(call, "fdatasync" | "fsync" | "syncfs")
}

/// The points of a phase, from what was told of one without a fault: calls that name the data directory. Those of one
/// thread, or of all.
pub(crate) fn points(phase: &Phase, told: &[Call], thread: Option<u32>, data: &Path) -> BTreeSet<Point> {
    let data = data.display().to_string();
    let ours = told.iter().filter(|call| thread.is_none_or(|thread| call.thread == thread));
    let ours = ours.filter(|call| call.line.contains(&data) && CALLS.contains(&call.name.as_str()));
    // A mapping that is no file's is memory, without which a thread or a program does not even begin.
    let is_memory = |number| {
        let same = |call: &&Call| call.name == "mmap" && call.number == number && !call.line.contains(&data);
        thread.is_none() && told.iter().any(|call| same(&call))
    };
    let ours = ours.filter(|call| call.name != "mmap" || !is_memory(call.number));
    ours.map(|call| Point { phase: phase.clone(), call: call.name.clone(), number: call.number }).collect()
}

impl Fault {
    /// As strace wants to hear it.
    pub(crate) fn expressions(&self, point: &Point) -> Vec<String> {
        let Point { call, number, phase } = point;
        let inject = match self {
            Self::Full => {
                let calls = match phase {
                    // A start writes durable points by the thread that does all else.
                    Phase::Again(_) => OF_NAMES.to_owned(),
                    _ => format!("{OF_NAMES},{OF_BYTES}"),
                };
                return vec![format!("trace={calls}"), format!("inject={calls}:error=ENOSPC:when={number}+")];
            }
            Self::Kill => format!("inject={call}:signal=KILL:when={number}"),
            Self::Says(what) => format!("inject={call}:{what}:when={number}"),
            Self::SaysEver(what) => format!("inject={call}:{what}:when={number}+"),
        };
        vec![format!("trace={call}"), inject]
    }

    /// All that can happen at a call.
    fn all(call: &str) -> Vec<Self> {
        if call == ALL {
            return vec![Self::Full];
        }
        let lasting = errors(call).iter().filter(|what| **what == "error=ENOSPC" || **what == "error=EIO");
        [Self::Kill]
            .into_iter()
            .chain(errors(call).iter().map(|what| Self::Says(what)))
            .chain(lasting.map(|what| Self::SaysEver(what)))
            .collect()
    }
}

impl Point {
    /// What is done here. Death, unless the call changes nothing, for then the next one that does is the same; the
    /// first two errors, one of the others, and now and then an error that stays.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let case = |fault| Case { point: self.clone(), fault };
        let changes = is_sync(&self.call) || !matches!(errors(&self.call), ["error=EIO" | "error=ENOMEM"]);
        let mut faults = Vec::new();
        if changes {
            faults.push(Fault::Kill);
        }
        // What the later starts read they read alike; of what they change each call fails in one way.
        if matches!(self.phase, Phase::Again(number) if number > 1) {
            let errors = errors(&self.call);
            faults.extend(changes.then(|| Fault::Says(errors[self.number as usize % errors.len()])));
            return faults.into_iter().map(case).collect();
        }
        let (always, seldom) = errors(&self.call).split_at(errors(&self.call).len().min(2));
        faults.extend(always.iter().map(|what| Fault::Says(what)));
        let turn = self.number as usize;
        faults.extend(seldom.get(turn % seldom.len().max(1)).map(|what| Fault::Says(what)));
        if turn.is_multiple_of(4) && changes {
            faults.push(Fault::SaysEver(always[turn / 4 % always.len()]));
        }
        faults.into_iter().map(case).collect()
    }
}

/// Lives on a disk that is full for good, from every moment on but the first, before which no group can have committed
/// anything, so that every commit is waited for in vain; and starts on what so many lives have left.
pub(crate) fn full_for_good(lives: usize) -> Vec<Case> {
    let case =
        |phase, number| Case { point: Point { phase, call: ALL.to_owned(), number }, fault: Fault::Full };
    let moments =
        (1..=LAST_MOMENT).flat_map(|moment| [1, 2, 5].map(|number| case(Phase::From(moment), number)));
    moments.chain((0..lives).map(|life| case(Phase::Again(life), 1))).collect()
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::Thread(name) => f.write_str(name),
            Self::Stop => f.write_str("stop"),
            Self::Again(number) => write!(f, "again-{number}"),
            Self::From(moment) => write!(f, "from-{moment}"),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.phase, self.call, self.number)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill"),
            Self::Says(what) => f.write_str(what),
            Self::SaysEver(what) => write!(f, "{what}+"),
            Self::Full => f.write_str("error=ENOSPC*"),
        }
    }
}

/// A point and a fault as they are printed: `folio-lane-0 pwrite64 3 error=EIO`.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) point: Point,
    pub(crate) fault: Fault,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.point, self.fault)
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [phase, call, number, fault] = words[..] else { return Err(format!("{text:?} is no case")) };
        let numbered = |number: &str| number.parse().map_err(|_| format!("{phase:?} is no phase"));
        let phase = match (phase, phase.split_once('-')) {
            ("new", _) => Phase::New,
            ("stop", _) => Phase::Stop,
            (_, Some(("again", number))) => Phase::Again(numbered(number)?),
            (_, Some(("from", number))) => Phase::From(numbered(number)?),
            (thread, _) => Phase::Thread(thread.to_owned()),
        };
        let number = number.parse().map_err(|_| format!("{number:?} is no number"))?;
        let known = Fault::all(call).into_iter().find(|one| one.to_string() == fault);
        let fault = known.ok_or_else(|| format!("{call} does not do {fault:?}"))?;
        Ok(Self { point: Point { phase, call: call.to_owned(), number }, fault })
    }
}

/// What came of all the cases of a kind.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: usize,
    /// Runs that came to the point.
    pub(crate) hit: usize,
    /// Runs in which the daemon went on, ended with an error of its data directory, did not start.
    pub(crate) ends: BTreeMap<&'static str, usize>,
    pub(crate) checked: usize,
    pub(crate) refused: usize,
    pub(crate) lost: usize,
    pub(crate) wrong: usize,
    pub(crate) panics: usize,
    pub(crate) hangs: usize,
}

impl Tally {
    /// One more run.
    pub(crate) fn add(&mut self, run: &Run) {
        self.runs += 1;
        self.hit += usize::from(run.is_hit);
        if run.is_hit {
            *self.ends.entry(run.end).or_default() += 1;
        }
        self.checked += run.checked;
        self.refused += run.refused;
        for what in &run.findings {
            match what.split(':').next() {
                Some("lost") => self.lost += 1,
                Some("panic") => self.panics += 1,
                Some("hang") => self.hangs += 1,
                _ => self.wrong += 1,
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, hit, checked, refused, lost, wrong, panics, hangs, .. } = self;
        let ends: Vec<String> = self.ends.iter().map(|(how, count)| format!("{count} {how}")).collect();
        write!(
            f,
            "{runs} runs, {hit} hit ({}), {refused} refusals, {checked} acknowledged checked, ",
            ends.join(", ")
        )?;
        write!(f, "{lost} lost, {wrong} wrong, {panics} panics, {hangs} hangs")
    }
}
