//! One disk, and cut after cut: load, cut, mount, verify, start, look everything up.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use folio_storage::files::sim::Random;
use folio_tests::binary;
use folio_tests::daemon::{Daemon, signal};
use folio_tests::disk::crash::Left;
use folio_tests::rig::until;

use crate::groups::Kept;
use crate::ledger::{Found, Kind, Stream, Trust};
use crate::load::{self, Known, Pace};
use crate::machine::Machine;

/// What a campaign has come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cuts: usize,
    /// Cuts while a broker was starting.
    pub(crate) starting: usize,
    /// Cuts after which recovery had something to cut off.
    pub(crate) torn: usize,
    /// Cuts that took something that was promised.
    pub(crate) breaking: usize,
    /// Cuts that took something that was acknowledged without a promise.
    pub(crate) losing: usize,
    /// Records of `interval` topics whose interval was over.
    pub(crate) overdue: usize,
    pub(crate) found: Found,
    pub(crate) kept: Kept,
    pub(crate) left: Left,
}

/// What an `interval` topic was given is flushed by then: the interval, and as long as a flush may take beside others.
const FLUSHED_WITHIN: Duration = Duration::from_millis(load::FLUSH_MS + 2000);

/// What a cut takes is chance: so often more is it cut, if the cuts that were asked for have not come to enough.
const CUTS_MORE: u64 = 16;

/// Cuts the power so often, `first` being the seed of the first time, and looks up what was promised; or, for the
/// negative control, whatever was acknowledged.
pub(crate) fn run(
    machine: &mut Machine,
    cuts: u64,
    first: u64,
    trust: Trust,
    is_enough: fn(&Tally) -> bool,
) -> Tally {
    let (known, mut tally) = (Known::new(trust), Tally::default());
    let mut daemon = start(machine.path(), first);
    load::create_topics(&load::connect_patiently(daemon.address()));
    for seed in first..first + cuts + CUTS_MORE {
        if seed >= first + cuts && is_enough(&tally) {
            break;
        }
        let mut random = Random::new(seed);
        machine.set_flush_time(Duration::from_millis(1 + random.up_to(3) * random.up_to(15)));
        let pace = if random.percent(60) { Pace::Rare } else { Pace::Busy };
        let (stop, before) = (AtomicBool::new(false), known.records());
        // Now and then long enough for an interval to be over.
        let more = if random.percent(25) { FLUSHED_WITHIN } else { Duration::ZERO };
        let after = Duration::from_millis(100 + random.up_to(700)) + more;
        std::thread::scope(|scope| {
            let (address, mount) = (daemon.address(), machine.path());
            scope.spawn(|| load::run(address, mount, &known, pace, seed, &stop));
            // A slow disk takes its time to acknowledge anything.
            until("a record is acknowledged", || known.records() > before);
            std::thread::sleep(after);
            let cut_at = Instant::now();
            machine.cut();
            signal(&daemon.pid().to_string(), "KILL");
            stop.store(true, Ordering::Relaxed);
            let is_interval = |stream: &Stream| stream.kind == Kind::Interval;
            for (_, mut ledger) in known.streams().filter(|(stream, _)| is_interval(stream)) {
                tally.overdue += ledger.expect_flushed(cut_at - FLUSHED_WITHIN);
            }
        });
        daemon.wait();
        let mut left = machine.restore(random.next());
        let mut when = format!("seed {seed} ({pace:?}, {left:?})");
        if random.percent(25) {
            left = cut_while_starting(machine, &mut random);
            when = format!("{when}, then while it started ({left:?})");
            tally.starting += 1;
        }
        verify(machine.path(), &when);
        daemon = start(machine.path(), seed);
        println!("{when}: {}", daemon.start_line());
        assert!(daemon.start_line().contains(" 0 offline"), "{when}: {}", daemon.said());
        tally.torn += usize::from(!daemon.start_line().contains(" 0 bytes cut"));
        let (found, kept) = look_up(&daemon, &known, &when);
        tally.add(&found, kept, left);
    }
    daemon.stop();
    tally
}

impl Tally {
    fn add(&mut self, found: &Found, kept: Kept, left: Left) {
        self.cuts += 1;
        self.breaking += usize::from(found.broken > 0);
        self.losing += usize::from(found.lost > 0);
        self.found.checked += found.checked;
        self.found.broken += found.broken;
        self.found.lost += found.lost;
        self.kept.confirmed += kept.confirmed;
        self.kept.behind += kept.behind;
        self.left.cached += left.cached;
        self.left.whole += left.whole;
        self.left.torn += left.torn;
    }
}

/// A daemon that writes back often and does its chores all the time.
fn start(mount: &Path, seed: u64) -> Daemon {
    Daemon::on(mount, &arguments(seed))
}

fn arguments(seed: u64) -> Vec<&'static str> {
    let step = ["writeback.step.bytes=65536", "writeback.step.bytes=16777216"][(seed % 2) as usize];
    vec![
        "--set",
        step,
        "--set",
        "disk.min.free=1000000",
        "--set",
        "maintenance.interval.ms=50",
        "--set",
        "cleaner.io.max.bytes.per.second=1000000000",
        "--set",
        "group.initial.rebalance.delay.ms=0",
        "--set",
        "group.min.session.timeout.ms=1",
        "--set",
        "offsets.topic.num.partitions=3",
    ]
}

/// Starts a broker, and cuts the power at some moment of its recovery, or soon after.
fn cut_while_starting(machine: &mut Machine, random: &mut Random) -> Left {
    let after = Duration::from_millis(random.up_to(80));
    std::thread::scope(|scope| {
        let started = scope.spawn(|| Daemon::try_on(machine.path(), &arguments(0)));
        std::thread::sleep(after);
        machine.cut();
        // If it has come to listen, it is killed here; otherwise its disk fails, and it ends.
        drop(started.join().unwrap());
    });
    machine.restore(random.next())
}

/// What a cut leaves is clean or interrupted, never damaged.
fn verify(mount: &Path, when: &str) {
    let verified = Command::new(binary("folio")).args(["log", "verify"]).arg(mount.join("data")).output();
    let verified = verified.unwrap();
    let said =
        String::from_utf8_lossy(&verified.stdout).into_owned() + &String::from_utf8_lossy(&verified.stderr);
    if !verified.status.success() {
        if let Some(keep) = std::env::var_os("FOLIO_POWER_KEEP") {
            let _ = Command::new("cp").arg("-r").arg(mount.join("data")).arg(keep).status();
        }
        panic!("{when}: {said}");
    }
}

fn look_up(daemon: &Daemon, known: &Known, when: &str) -> (Found, Kept) {
    let client = load::connect_patiently(daemon.address());
    known.check_topics(&client, when);
    let kept = known.groups.check(&client, when);
    let mut all = Found::default();
    for (stream, mut ledger) in known.streams() {
        let found = ledger.check(stream, &client, when);
        if known.trust == Trust::Promises {
            assert_eq!(
                found.broken,
                0,
                "{when}: {} has lost what it promised: {}",
                stream.place(),
                daemon.said()
            );
        }
        all.checked += found.checked;
        all.broken += found.broken;
        all.lost += found.lost;
    }
    (all, kept)
}
