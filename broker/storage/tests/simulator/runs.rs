//! Runs of many seeds, of one, and of those that once found something.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use folio_storage::files::sim::{Fault, Room};

use crate::environment::told;
use crate::stats::Stats;
use crate::trouble::Trouble;
use crate::weakness::Weakness;
use crate::world::World;

/// What a seed has found.
pub(crate) struct Found {
    pub(crate) seed: u64,
    pub(crate) what: String,
    pub(crate) trace: String,
}

/// Runs one seed.
pub(crate) fn run(seed: u64, weakness: Weakness, is_traced: bool) -> Result<(Stats, String), Found> {
    let mut world = World::new(seed, weakness, is_traced);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let trace = world.seam.trace();
    match ended {
        Ok(Ok(())) => Ok((world.stats, trace)),
        Ok(Err(what)) => Err(Found { seed, what, trace }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Found { seed, what: format!("a panic: {}", text.unwrap_or_default()), trace })
        }
    }
}

/// Runs these seeds on so many threads; adds up what they came to.
fn run_all(seeds: std::ops::Range<u64>, threads: usize) -> Stats {
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Stats::default());
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match run(seed, Weakness::None, false) {
                        Ok((stats, _)) => {
                            total.lock().unwrap_or_else(PoisonError::into_inner).add(&stats);
                        }
                        Err(failed) => found.lock().unwrap_or_else(PoisonError::into_inner).push(failed),
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|found| found.seed);
    let shown = if env::var_os("FOLIO_SIM_ALL").is_some() { usize::MAX } else { 20 };
    for found in found.iter().take(shown) {
        eprintln!("seed {}: {}", found.seed, found.what);
    }
    if let Some(first) = found.first() {
        panic!("{} of {} seeds found something; {}", found.len(), seeds.end - seeds.start, repeat(first));
    }
    total.into_inner().unwrap()
}

fn repeat(found: &Found) -> String {
    format!(
        "seed {}: {}\nrepeat it with: FOLIO_SIM_SEED={} cargo test -p folio-storage --test simulator one_seed -- --nocapture",
        found.seed, found.what, found.seed
    )
}

/// As many seeds as `FOLIO_SIM_RUNS` says, from `FOLIO_SIM_FROM` on, on `FOLIO_SIM_THREADS` threads.
#[test]
fn whatever_is_promised_survives_power_cuts_kills_and_failing_disks() {
    let runs = told("FOLIO_SIM_RUNS").unwrap_or(ENOUGH_RUNS);
    let from = told("FOLIO_SIM_FROM").unwrap_or(0);
    let threads = told("FOLIO_SIM_THREADS").unwrap_or(2);
    let begun = Instant::now();
    let stats = run_all(from..from + runs, threads);
    let crashes = stats.power_cuts + stats.kills;
    let rate = crashes as f64 / begun.elapsed().as_secs_f64() * 60.0;
    println!("{runs} runs, {crashes} crashes, {rate:.0} a minute on {threads} threads; {stats:#?}");
    if runs < ENOUGH_RUNS {
        return;
    }
    // A run in which nothing goes wrong proves nothing.
    assert!(stats.power_cuts > 500 && stats.kills > 100 && stats.clean_stops > 150, "{stats:?}");
    assert!(stats.deaths_in_recovery > 100 && stats.tails_cut > 50 && stats.sealed > 100, "{stats:?}");
    assert!(stats.compacted > 5 && stats.slept > 50 && stats.gave_way > 50, "{stats:?}");
    assert!(stats.sectors_broken > 50 && stats.offline_for_sectors > 20, "{stats:?}");
    assert!(stats.left_uncut > 0, "{stats:?}");
    // Rarer: in the long run.
    assert!(stats.offline_for_calls > 0 && stats.ranges_refused > 0 || runs < 1000, "{stats:?}");
    assert!(stats.served_below > 0 && stats.slots_torn > 5, "{stats:?}");
    assert!(stats.faults > 50 && stats.stuck > 50 && stats.promised > 5000, "{stats:?}");
    // Every kind of a full disk has refused something.
    let refused = [stats.cuts_refused, stats.renames_refused, stats.removals_refused];
    let of_few = [stats.refused_but_removals, stats.refused_but_renames];
    assert!(refused.iter().chain(&of_few).all(|count| *count > 0), "{stats:?}");
}

/// The same life again and again: each of its operations is the one that fails, in each way, or the last.
/// `FOLIO_SIM_EACH=1` takes every operation of six seeds, and not some of two.
#[test]
fn no_operation_is_one_that_may_not_fail() {
    let is_whole = env::var_os("FOLIO_SIM_EACH").is_some();
    // The last one seals, compacts and retains.
    let (seeds, stride): (&[u64], _) = if is_whole { (&[0, 1, 2, 3, 4, 148], 1) } else { (&[0, 148], 67) };
    let troubles = [Fault::Broken, Fault::Full, Fault::Short, Fault::SyncLies].map(Trouble::Fault);
    let rooms =
        [Room::Nothing, Room::NoCuts, Room::NoRenames, Room::NoRemovals, Room::Renames].map(Trouble::Fills);
    let (mut runs, mut total) = (0, Stats::default());
    for &seed in seeds {
        let others = [Trouble::Death].into_iter().chain(rooms);
        for (number, trouble) in troubles.into_iter().chain(others).enumerate() {
            // Each way begins at another operation, so that all are met by some.
            for operation in (number as u64..).step_by(stride) {
                let mut world = World::with(seed, Some((operation, trouble)));
                let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
                let what = format!("seed {seed}, {trouble:?} at operation {operation}");
                ended.unwrap_or_else(|_| panic!("{what}")).unwrap_or_else(|error| panic!("{what}: {error}"));
                runs += 1;
                total.add(&world.stats);
                if world.seam.machine.operations() <= operation {
                    break;
                }
            }
        }
    }
    assert!(runs > 50 && total.faults > 40, "{runs} runs, {total:?}");
    // Whatever a log goes through is among what is met by the troubles.
    let passed = [total.sealed, total.compacted, total.retained, total.recoveries, total.clean_stops];
    assert!(passed.iter().all(|count| *count > 0), "{runs} runs, {total:?}");
    if is_whole {
        println!("{runs} runs, {total:#?}");
    }
}

/// Each once found something: names of indexes that were made anew, one index without the other; a copy of a slot that
/// was torn while the other one, of the run before, was still to be written, or that was nobody's any more; an append
/// that came into the place of one that was refused while the power went; a log that the marker of a clean stop does
/// not name, because there had been no room to cut it; half the indexes of a closed segment, which a clean stop vouched
/// for; a log of a deleted topic that wrote to the directory of the one that had taken its name; a snapshot of producers
/// that a power cut put in the place of the one that was written over it. The last have misled the checks: by what was
/// refused several times, and by records that were deleted from the middle of a segment.
#[test]
fn lives_that_once_found_something_find_nothing_any_more() {
    let of_indexes = [1_001_585, 1_001_878, 1_002_059, 1_002_950];
    let of_slots = [56, 4_000_416, 4_000_972, 4_001_020, 4_001_616, 4_002_568, 6_004_164];
    let of_full_disks = [1_007_839, 1_001_534, 1_010_867, 15_867, 19_576, 3_026_010];
    let of_checks = [3_012_610, 3_032_830, 3_039_540];
    for seed in of_indexes.into_iter().chain(of_slots).chain(of_full_disks).chain(of_checks) {
        if let Err(found) = run(seed, Weakness::None, false) {
            panic!("{}", repeat(&found));
        }
    }
    // A slot had been another partition's, and of its two copies one still was.
    for seed in [2, 194, 1974] {
        assert_eq!(World::beside(seed, Weakness::KeepsTornSlots).run(), Ok(()), "seed {seed}");
    }
    let full = Some((97, Trouble::Fault(Fault::Full)));
    assert_eq!(World::with(2, full).run(), Ok(()));
    // Part of an index entry was left over a clean stop.
    assert_eq!(World::with(148, Some((585, Trouble::Fills(Room::Nothing)))).run(), Ok(()));
}

/// The seed that `FOLIO_SIM_SEED` names, call by call.
#[test]
fn one_seed() {
    let seed = told("FOLIO_SIM_SEED");
    match run(seed.unwrap_or(1), Weakness::None, true) {
        Ok((stats, trace)) => {
            if seed.is_some() {
                println!("{trace}{stats:#?}");
            }
        }
        Err(found) => panic!("{}\n{}", found.trace, repeat(&found)),
    }
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_byte() {
    for seed in 0..12 {
        let traces = [0, 1].map(|_| run(seed, Weakness::None, true).map_err(|found| found.what).unwrap().1);
        assert!(traces[0].len() > 1000, "seed {seed} did nothing");
        for (number, (one, other)) in traces[0].lines().zip(traces[1].lines()).enumerate() {
            assert_eq!(one, other, "seed {seed}, line {number}");
        }
        assert_eq!(traces[0].len(), traces[1].len(), "seed {seed}");
    }
}

/// In so many runs, from the first seed on, all that may go wrong does.
const ENOUGH_RUNS: u64 = 150;
