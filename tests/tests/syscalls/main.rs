//! Faults at the level of system calls: the daemon is killed at each call about its files, and each such call fails in
//! each of its ways. What was acknowledged is there afterwards, byte for byte; nothing panics, nothing hangs.
//!
//! ```sh
//! cargo test -p folio-tests --test syscalls                                            # a sample
//! FOLIO_SYSCALLS=all cargo test -p folio-tests --test syscalls campaign -- --nocapture      # every call, every fault
//! FOLIO_SYSCALLS="folio-lane-0 pwrite64 3 kill" cargo test -p folio-tests --test syscalls campaign -- --nocapture
//! ```
//! `FOLIO_SYSCALLS_SEED` chooses another sample and another order, `FOLIO_SYSCALLS_AT_ONCE` how many lives are led at
//! once, `FOLIO_SYSCALLS_SECONDS` after how long no further one begins, and `FOLIO_SYSCALLS="all kill"` leaves out all
//! others.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

mod course;
mod delays;
mod judge;
mod life;
mod points;
mod promises;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use course::lead;
use folio_tests::campaign::length;
use folio_tests::strace::Strace;
use judge::{Remains, Run};
use points::{CALLS, Case, Fault, Phase, Point, Tally, full_for_good, points};
use promises::{Answer, Promises, Sent, Stored};

/// How long the sample goes on.
const SAMPLE: Duration = Duration::from_secs(25);

/// How many lives each phase is given, however long that takes.
const LIVES_PER_PHASE_MIN: usize = 4;

/// A phase with fewer cases consists of calls that come by chance, and need not come again.
const CASES_OF_PHASE_MIN: usize = 20;

/// How often a campaign tells how far it is.
const TOLD: Duration = Duration::from_secs(60);

#[test]
fn campaign_killed_at_any_call_or_failing_at_any_the_daemon_keeps_what_it_acknowledged() {
    assert!(Strace::is_there(), "tests/run leaves this out where there is no strace");
    let wanted = std::env::var("FOLIO_SYSCALLS").unwrap_or_default();
    let seed = length("FOLIO_SYSCALLS_SEED", 1);
    let is_all = wanted.starts_with("all");
    let only = wanted.strip_prefix("all").unwrap_or_default().trim();
    let remains = remains(seed);
    let mut cases: Vec<Case> = match wanted.parse() {
        Ok(case) => vec![case],
        Err(_) => every_case(&remains, if is_all { 2 } else { 1 }),
    };
    if !only.is_empty() {
        cases.retain(|case| only.split(',').any(|part| case.to_string().contains(part)));
    }
    let phases = in_turn(&mut cases, seed);
    println!("{} cases of {} phases", cases.len(), phases.len());
    let limit = if is_all { length("FOLIO_SYSCALLS_SECONDS", u64::MAX >> 32) } else { SAMPLE.as_secs() };
    let deadline = Instant::now() + Duration::from_secs(limit);
    let (hit, findings) = run_all(&cases, &remains, deadline, phases.len() * LIVES_PER_PHASE_MIN);
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    assert!(!hit.is_empty(), "nothing was hit");
    assert!(
        phases.is_subset(&hit),
        "the fault has to come to pass in each of {phases:?}, and did in {hit:?}"
    );
}

#[test]
fn a_disk_that_is_full_for_good_ends_nothing_and_what_was_acknowledged_is_served() {
    assert!(Strace::is_there(), "tests/run leaves this out where there is no strace");
    let hit = std::thread::scope(|scope| {
        let live = |case: Case| {
            let run = case.run(&[]);
            assert!(run.findings.is_empty(), "{case}: {:#?}", run.findings);
            assert!(run.end == "went on" && run.checked > 0, "{case}: {run:?}");
            run.is_hit
        };
        let lives = full_for_good(0).into_iter().step_by(4).map(|case| scope.spawn(move || live(case)));
        lives.collect::<Vec<_>>().into_iter().map(|life| life.join().unwrap()).collect::<Vec<_>>()
    });
    // At the last moments it may be that nothing more is written.
    assert!(hit.iter().filter(|is_hit| **is_hit).count() >= 3, "{hit:?}");
}

#[test]
fn a_record_that_was_acknowledged_before_it_was_written_is_found_lost() {
    assert!(Strace::is_there(), "tests/run leaves this out where there is no strace");
    let mut others = Vec::new();
    for number in 2..12 {
        let point =
            Point { phase: Phase::Thread("folio-lane-0".to_owned()), call: "pwrite64".to_owned(), number };
        let expressions = Fault::Kill.expressions(&point);
        let dir = tempfile::tempdir().unwrap();
        // Nothing is answered: what was sent counts as acknowledged.
        let plan = life::Plan { is_answered: false, ..life::WHOLE };
        let course = course::lead_as(dir.path(), Some(&point.phase), &expressions, Promises::default(), plan);
        let mut run = Run::default();
        judge::look_at(dir.path(), &course.promises, &mut run);
        if run.findings.iter().any(|what| what.contains("was acknowledged Stored")) {
            return;
        }
        others.extend(run.findings);
    }
    panic!("it is not found: {others:#?}");
}

#[test]
fn an_acknowledgement_too_many_and_one_after_a_failed_sync_are_found() {
    let sent = |number: i64| Sent {
        key: "k".to_owned(),
        value: number.to_string(),
        at: number as f64,
        answer: Answer::At(number),
    };
    let mut promises = Promises::default();
    promises.sent.insert(("synced", 0), (0..3).map(sent).collect());
    let records: Vec<_> = (0..3).map(|number| (number, "k".to_owned(), number.to_string())).collect();
    let stored = |count: usize| {
        let log = (0, count as i64, records[..count].to_vec());
        Stored { logs: BTreeMap::from([(("synced".to_owned(), 0), log)]), committed: None }
    };
    assert!(promises.broken_by(&stored(3)).is_empty());
    assert!(promises.broken_by(&stored(2)).iter().any(|what| what.contains("2 was acknowledged At(2)")));
    assert!(judge::false_answers(&promises, 2.5).is_empty());
    assert_eq!(judge::false_answers(&promises, 1.5).len(), 1);
    let said = "2026-11-28T19:04:16.5Z ERROR health: the data directory failed; the broker ends file=None";
    // 19:04:14 of some day.
    assert_eq!(judge::known_at(said, 1_795_892_654.0), Some(1_795_892_656.5));
    assert_eq!(judge::known_at("foliod listens", 1_795_892_654.0), None);
}

/// Every fault at every point of a life, as so many lives without a fault show them.
fn every_case(remains: &[Remains], lives: usize) -> Vec<Case> {
    let trace = [format!("trace={}", CALLS.join(","))];
    let mut found = BTreeSet::new();
    let from_the_first = [Phase::New].into_iter().chain((0..remains.len()).map(Phase::Again));
    for phase in from_the_first {
        let dir = tempfile::tempdir().unwrap();
        let before = judge::before(&phase, remains, dir.path());
        let course = lead(dir.path(), Some(&phase), &trace, before);
        assert_eq!(course.end, Some(course::End::Code(0)), "{}", course.said);
        let data = dir.path().join("data");
        let of_data = |call: &folio_tests::strace::Call| call.line.contains(&*data.to_string_lossy());
        // What comes before belongs to the loader of programs.
        let begin = course.calls.iter().position(of_data).unwrap_or_default();
        let loading = |point: &Point| {
            course.calls[..begin].iter().any(|call| call.name == point.call && call.number >= point.number)
        };
        found.extend(points(&phase, &course.calls, None, &data).into_iter().filter(|point| !loading(point)));
    }
    for _ in 0..lives {
        let dir = tempfile::tempdir().unwrap();
        let course = lead(dir.path(), None, &trace, Promises::default());
        assert_eq!(course.end, Some(course::End::Code(0)), "{}", course.said);
        assert_eq!(course.promises.refused, 0);
        for (name, thread) in &course.threads {
            let phase = Phase::Thread((*name).to_owned());
            found.extend(points(&phase, &course.calls, Some(*thread), &dir.path().join("data")));
        }
        let dir = tempfile::tempdir().unwrap();
        let course = lead(dir.path(), Some(&Phase::Stop), &trace, Promises::default());
        found.extend(points(&Phase::Stop, &course.calls, None, &dir.path().join("data")));
    }
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for point in &found {
        *counts.entry((point.phase.to_string(), point.call.as_str())).or_default() += 1;
    }
    println!("points: {counts:?}");
    found.iter().flat_map(Point::cases).chain(full_for_good(remains.len())).collect()
}

/// Puts the cases in an order that is the seed's, in which the phases take turns; says which phases have to be met.
fn in_turn(cases: &mut Vec<Case>, seed: u64) -> BTreeSet<String> {
    cases.sort_by_cached_key(|case| {
        let mut hasher = DefaultHasher::new();
        (seed, case.to_string()).hash(&mut hasher);
        hasher.finish()
    });
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let turns = cases.iter().map(|case| {
        let turn = seen.entry(case.point.phase.to_string()).or_default();
        *turn += 1;
        *turn
    });
    let mut numbered: Vec<(usize, Case)> = turns.zip(cases.iter().cloned()).collect();
    numbered.sort_by_key(|(turn, _)| *turn);
    *cases = numbered.into_iter().map(|(_, case)| case).collect();
    seen.into_iter().filter(|(_, cases)| *cases >= CASES_OF_PHASE_MIN).map(|(phase, _)| phase).collect()
}

/// What lives leave that were killed at the end, where the broker was about to rename or remove something, and one that
/// was not killed.
fn remains(seed: u64) -> Vec<Remains> {
    let killed = |thread: &str, call: &str, number: u64| {
        let (phase, call) = (Phase::Thread(thread.to_owned()), call.to_owned());
        let point = Point { phase, call, number: u32::try_from(number).unwrap() };
        (Some(point.phase.clone()), Fault::Kill.expressions(&point))
    };
    let courses = [
        (None, vec!["trace=none".to_owned()]),
        killed("folio-flusher", "pwrite64", 15 + seed % 5),
        killed("folio-maintain", "rename", 22 + seed % 7),
        killed("folio-admin", "rename", 4 + seed % 3),
    ];
    let left = courses.into_iter().map(|(phase, expressions)| {
        let dir = tempfile::tempdir().unwrap();
        let course = lead(dir.path(), phase.as_ref(), &expressions, Promises::default());
        let end = if phase.is_some() { course::End::Signal } else { course::End::Code(0) };
        assert_eq!(course.end, Some(end), "{phase:?}: {}", course.said);
        Remains { dir, promises: course.promises }
    });
    left.collect()
}

/// Runs cases side by side until all are done or the time is over, but so many at least; in which phases a fault came
/// to pass, and everything that is wrong. Who watches is told of what is wrong at once, and now and then how far it is.
fn run_all(
    cases: &[Case],
    remains: &[Remains],
    deadline: Instant,
    at_least: usize,
) -> (BTreeSet<String>, Vec<String>) {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Results::default());
    let at_once = length("FOLIO_SYSCALLS_AT_ONCE", 3);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { break };
                    if index >= at_least && Instant::now() > deadline {
                        break;
                    }
                    let run = catch_unwind(|| case.run(remains)).unwrap_or_else(|_| Run::given_up());
                    results.lock().unwrap().add(case, run, cases.len());
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    tell(&results.tallies, cases.len());
    (results.hit, results.findings)
}

/// What has come of a campaign so far.
#[derive(Default)]
struct Results {
    tallies: BTreeMap<String, Tally>,
    hit: BTreeSet<String>,
    findings: Vec<String>,
    told: Option<Instant>,
}

impl Results {
    fn add(&mut self, case: &Case, run: Run, of: usize) {
        self.tallies.entry(case.fault.to_string()).or_default().add(&run);
        if run.is_hit {
            self.hit.insert(case.point.phase.to_string());
        }
        for what in run.findings {
            println!("FOLIO_SYSCALLS=\"{case}\": {what}");
            self.findings.push(format!("{case}: {what}"));
        }
        if self.told.get_or_insert_with(Instant::now).elapsed() > TOLD {
            self.told = Some(Instant::now());
            tell(&self.tallies, of);
        }
    }
}

/// How far a campaign is, with what has come of each kind.
fn tell(tallies: &BTreeMap<String, Tally>, cases: usize) {
    let sum = |part: fn(&Tally) -> usize| tallies.values().map(part).sum::<usize>();
    println!("{} of {cases} cases, {} hit:", sum(|tally| tally.runs), sum(|tally| tally.hit));
    for (kind, tally) in tallies {
        println!("{kind:<18} {tally}");
    }
}
