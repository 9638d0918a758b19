//! What a life with a fault may end like, and what has to be there afterwards.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use folio_tests::binary;
use folio_tests::daemon::{Daemon, signal};
use folio_tests::strace::Call;

use crate::course::{Course, End, lead};
use crate::life::{SETTINGS, now};
use crate::points::{Case, Fault, Phase, is_sync};
use crate::promises::{Answer, Promises, Stored};

/// What came of a case.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) is_hit: bool,
    pub(crate) end: &'static str,
    /// The last that the daemon said of itself.
    pub(crate) said: String,
    pub(crate) checked: usize,
    pub(crate) refused: usize,
    /// What is wrong, as `kind: what`: lost, wrong, panic or hang.
    pub(crate) findings: Vec<String>,
}

/// What an earlier life has left, with what it promised.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) promises: Promises,
}

/// How long a daemon may take to end.
const LIMIT: Duration = Duration::from_secs(30);

impl Run {
    /// Something did not come in the time that the harness gives it.
    pub(crate) fn given_up() -> Self {
        Self { end: "given up", findings: vec!["hang: the harness gave up".to_owned()], ..Self::default() }
    }
}

impl Case {
    /// Lives, with the fault, and looks at what is left.
    pub(crate) fn run(&self, remains: &[Remains]) -> Run {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let before = before(&self.point.phase, remains, dir.path());
        let course = lead(dir.path(), Some(&self.point.phase), &self.fault.expressions(&self.point), before);
        let mut run = Run { refused: course.promises.refused, ..Run::default() };
        run.findings.extend(course.promises.unanswered.iter().map(|what| format!("hang: {what}")));
        run.findings.extend(course.unserved.iter().map(|what| format!("{what} (while the disk was full)")));
        let hit = self.hit(&course);
        run.is_hit = hit.is_some();
        run.end = self.judge_end(&course, &mut run.findings);
        let own = course.said.lines().rfind(|line| line.starts_with("foliod: "));
        run.said = own.unwrap_or_default().to_owned();
        if let (Some(hit), true) = (hit, is_sync(&self.point.call) && self.fault != Fault::Kill) {
            let known = known_at(&course.said, hit);
            run.findings.extend(false_answers(&course.promises, known.unwrap_or(hit)));
            if known.is_some_and(|known| known > hit + 5.0) {
                run.findings.push("wrong: it took long to say that a sync had failed".to_owned());
            }
            if course.end == Some(End::Code(0)) {
                let call = course.calls.iter().find(|call| call.is_injected).map(|call| &call.line);
                run.findings.push(format!("wrong: it ended as if nothing were the matter after {call:?}"));
            }
        }
        look_at(dir.path(), &course.promises, &mut run);
        run
    }

    /// When the fault happened, in seconds since 1970; `None` if the life did not come to it.
    fn hit(&self, course: &Course) -> Option<f64> {
        match self.fault {
            Fault::Kill => (course.end == Some(End::Signal)).then(now),
            _ => course.calls.iter().find(|call| call.is_injected).map(|call| call.at),
        }
    }

    /// Whether nothing is broken: there are no descriptors, no mappings or no room, which is waited out. A sync that
    /// finds no room has lost what was written.
    fn is_want(&self, course: &Course) -> bool {
        let what = match self.fault {
            Fault::Says(what) | Fault::SaysEver(what) => what,
            Fault::Full => "error=ENOSPC",
            Fault::Kill => return false,
        };
        match what {
            "error=EMFILE" | "error=ENOMEM" => true,
            "error=ENOSPC" | "error=EDQUOT" => {
                course.calls.iter().filter(|call| call.is_injected).all(takes_room)
            }
            _ => false,
        }
    }

    /// Whether all that failed is reads of what partitions have, of which there are others.
    fn is_read_of_records(&self, course: &Course) -> bool {
        let mut hit = course.calls.iter().filter(|call| call.is_injected).peekable();
        hit.peek().is_some()
            && hit.all(|call| {
                matches!(call.name.as_str(), "pread64" | "preadv" | "preadv2" | "read")
                    && call.line.contains("/topics/")
            })
    }

    /// How it ended, and whether it may end like that.
    fn judge_end(&self, course: &Course, findings: &mut Vec<String>) -> &'static str {
        let said = &course.said;
        if let Some(line) = said.lines().find(|line| line.contains("panicked")) {
            findings.push(format!("panic: {line}"));
        }
        let (how, begins) = match course.end {
            None => {
                findings.push(format!("hang: it does not end; it said: {said}"));
                return "do not end";
            }
            Some(End::Signal) if self.fault == Fault::Kill => return "killed",
            Some(End::Code(0)) => return "went on",
            Some(End::Code(70)) => ("ended with 70", "foliod: the data directory failed: "),
            Some(End::Code(1)) if !course.has_started => ("did not start", "foliod: "),
            Some(other) => {
                findings.push(format!("panic: it ended with {other:?} and said: {said}"));
                return "ended otherwise";
            }
        };
        // A thread that was at work may have something to say after it.
        let last = said.lines().rfind(|line| line.starts_with(begins)).unwrap_or_default();
        // A new directory needs room, and any start needs descriptors and memory.
        let is_of_process = matches!(self.fault, Fault::Says("error=EMFILE" | "error=ENOMEM"));
        let has_to_start = matches!(self.point.phase, Phase::Again(_)) && !is_of_process;
        if self.is_want(course) && (how == "ended with 70" || has_to_start) {
            findings.push(format!("wrong: no disk is at fault, and it {how}: {last:?}"));
        }
        if self.is_read_of_records(course) {
            findings.push(format!("wrong: it could not read one place, and {how}: {last:?}"));
        }
        if last.is_empty() {
            findings.push(format!("wrong: it {how} and does not say why: {said}"));
        }
        how
    }
}

/// Whether a call may find the disk full, so that it has to be waited out. Who opens a file that is there takes
/// nothing, and durable points are written over where they are: a disk without room for that has broken its promise.
fn takes_room(call: &Call) -> bool {
    match call.name.as_str() {
        "openat" => {
            let is_there = ["/LOCK\"", "/slots\""].iter().any(|name| call.line.contains(name));
            call.line.contains("O_CREAT") && !is_there
        }
        "pwrite64" | "pwritev" | "pwritev2" => !call.line.contains("/slots>"),
        name => !is_sync(name),
    }
}

/// What a phase goes on from, put into `dir`, and what was promised of it.
pub(crate) fn before(phase: &Phase, remains: &[Remains], dir: &Path) -> Promises {
    let Phase::Again(number) = phase else { return Promises::default() };
    let Remains { dir: from, promises } = &remains[*number];
    copy(&from.path().join("data"), &dir.join("data"));
    promises.clone()
}

/// When the daemon said that its directory had failed, after a call that began at `hit`: what others had under way in
/// between is no false answer. (Of the time of its log only that of the day is read.)
pub(crate) fn known_at(said: &str, hit: f64) -> Option<f64> {
    let line = said.lines().find(|line| line.contains("the data directory failed; the broker ends"))?;
    let (_, time) = line.split_whitespace().next()?.trim_end_matches('Z').split_once('T')?;
    let parts: Vec<f64> = time.split(':').filter_map(|part| part.parse().ok()).collect();
    let [hours, minutes, seconds] = parts[..] else { return None };
    Some(hit + (hours * 3600.0 + minutes * 60.0 + seconds - hit).rem_euclid(86_400.0))
}

/// Records that were sent after a sync had failed, and acknowledged all the same.
pub(crate) fn false_answers(promises: &Promises, failed_at: f64) -> Vec<String> {
    let all = promises.sent.iter().flat_map(|(place, sent)| sent.iter().map(move |one| (place, one)));
    let false_ones = all.filter(|(_, one)| one.at > failed_at && one.answer != Answer::None);
    let told = |(place, one): (&(&str, u32), &crate::promises::Sent)| {
        format!("lost: {place:?}: {:?} was sent after a sync had failed, and acknowledged", one.answer)
    };
    false_ones.map(told).collect()
}

/// What a life has left: to `verify`, to the next daemon, and to the one after it, which finds nothing to do.
pub(crate) fn look_at(dir: &Path, promises: &Promises, run: &mut Run) {
    run.checked = promises.acknowledged();
    verified(dir, false, "afterwards", &mut run.findings);
    let Some((daemon, first)) = started(dir, promises, "the next start", &mut run.findings) else { return };
    signal(&daemon.pid().to_string(), "KILL");
    drop(daemon);
    let Some((daemon, second)) = started(dir, promises, "the second start", &mut run.findings) else {
        return;
    };
    let line = daemon.start_line();
    if !line.contains(" 0 bytes cut, ") {
        run.findings.push(format!("wrong: the second start finds something to cut: {line}"));
    }
    if !second.is_as(&first) {
        run.findings.push(format!("wrong: the second start changes something: {first:?}, then {second:?}"));
    }
    let mut daemon = daemon;
    signal(&daemon.pid().to_string(), "TERM");
    match daemon.ended_within(LIMIT) {
        Some(status) if status.code() == Some(0) => verified(dir, true, "in the end", &mut run.findings),
        other => run.findings.push(format!("wrong: the second start ends with {other:?}: {}", daemon.said())),
    }
}

/// Starts a daemon without a fault, and reads everything.
fn started(
    dir: &Path,
    promises: &Promises,
    which: &str,
    findings: &mut Vec<String>,
) -> Option<(Daemon, Stored)> {
    let daemon = match Daemon::try_on(dir, &SETTINGS) {
        Ok(daemon) => daemon,
        Err(said) => {
            findings.push(format!("lost: {which} fails: {said}"));
            return None;
        }
    };
    let line = daemon.start_line();
    if !line.contains(" 0 offline") && !line.contains("new directory") {
        findings.push(format!("lost: after {which} something is offline: {}", daemon.said()));
    }
    let stored = match Stored::of(&daemon) {
        Ok(stored) => stored,
        Err(why) => {
            findings.push(format!("{why} (at {which}, which said {})", daemon.said()));
            return None;
        }
    };
    let broken = promises.broken_by(&stored).into_iter();
    findings.extend(broken.map(|what| format!("{what} (at {which}: {line})")));
    if daemon.said().contains("panicked") {
        findings.push(format!("panic: {which}: {}", daemon.said()));
    }
    Some((daemon, stored))
}

/// What `folio log verify` says: no damage, and after a clean stop nothing at all. (In a process of its own: a lock
/// that this one takes would be held for a moment by whatever it starts meanwhile.)
fn verified(dir: &Path, is_clean: bool, when: &str, findings: &mut Vec<String>) {
    let data = dir.join("data");
    if !data.exists() {
        return;
    }
    let told = Command::new(binary("folio")).args(["log", "verify"]).arg(&data).output();
    let told = told.expect("a program of ours can be started");
    let said = [told.stdout, told.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    // The life ended before there was anything.
    if said.contains("is no data directory") {
        return;
    }
    if told.status.code() != Some(0) || (is_clean && said.contains("interrupted: ")) {
        findings.push(format!("wrong: verify {when}: {:?}: {said}", told.status.code()));
    }
}

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("it is new");
    for entry in fs::read_dir(from).expect("it is there").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a file can be copied");
        }
    }
}
