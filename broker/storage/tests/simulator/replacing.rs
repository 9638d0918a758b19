//! Compacted segments that take the places of others, while the process dies or the power goes at each operation of it:
//! behind an intent there are the old ones or the new ones afterwards; without it, the control, some of either.

use std::collections::BTreeMap;
use std::path::PathBuf;

use folio_storage::{Compacting, Sealed};

use crate::model::Row;
use crate::rig::{NOW, append, flush, open, read, try_open, with_topic};
use crate::seam::Seam;
use crate::weakness::Weakness;

/// What is left of a log whose broker died in a pass over it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Old,
    New,
    /// It is served, and some of it is missing, or there twice.
    Mixed,
    /// It is not served any more, and why.
    Offline(String),
}

/// A log of many segments, and what is in it before a pass and after.
struct Pass {
    before: Vec<Row>,
    after: Vec<Row>,
    operations: u64,
}

impl Pass {
    /// Without interruption.
    fn whole() -> Self {
        let (seam, before, operations) = interrupted(Weakness::None, None);
        let (_dir, report) = {
            seam.machine.kill();
            seam.died();
            open(&seam, 2)
        };
        let after = read(&report.partitions[0].state.as_ref().unwrap().0).unwrap();
        assert!(after.len() < before.len(), "nothing was compacted");
        Self { before, after, operations }
    }

    /// The process dies at operation `at` of it; or the power goes, and `seed` decides what with it.
    fn dies(&self, weakness: Weakness, at: u64, seed: Option<u64>) -> Left {
        let (seam, ..) = interrupted(weakness, Some(at));
        match seed {
            Some(seed) => seam.machine.crash(seed),
            None => seam.machine.kill(),
        }
        seam.died();
        self.left(&seam)
    }

    /// It dies at operation `at`; the start that comes to what it left loses the power at `then`, and `seed` decides
    /// what of both goes.
    fn dies_twice(&self, weakness: Weakness, at: u64, then: u64, seed: u64) -> Left {
        let (seam, ..) = interrupted(weakness, Some(at));
        seam.machine.kill();
        seam.died();
        seam.machine.cut_power_at(seam.machine.operations() + then);
        drop(try_open(&seam, 2));
        seam.machine.crash(seed);
        seam.died();
        self.left(&seam)
    }

    fn left(&self, seam: &Seam) -> Left {
        let (_dir, mut report) = open(seam, 3);
        let log = match report.partitions.remove(0).state {
            Ok((log, _)) => log,
            Err(damage) => return Left::Offline(damage.to_string()),
        };
        match read(&log) {
            Ok(rows) if rows == self.after => Left::New,
            Ok(rows) if rows == self.before => Left::Old,
            _ => Left::Mixed,
        }
    }

    /// At each operation, as a death of the process and as some power cuts.
    fn dies_everywhere(&self, weakness: Weakness) -> BTreeMap<Left, u32> {
        let each = |at| [None, Some(1), Some(2), Some(3), Some(4)].map(|seed| self.dies(weakness, at, seed));
        tally((0..=self.operations).flat_map(each))
    }

    /// While there is an intent, and in the start that goes on with that.
    fn dies_twice_everywhere(&self, weakness: Weakness) -> BTreeMap<Left, u32> {
        let is_intent = |path: &PathBuf| path.to_string_lossy().contains("replace.");
        let has_intent =
            |at: &u64| interrupted(weakness, Some(*at)).0.machine.snapshot().keys().any(is_intent);
        let places = (self.operations / 2..=self.operations).filter(has_intent);
        let pairs = places.flat_map(|at| (0..20).map(move |then| (at, then)));
        tally(pairs.map(|(at, then)| self.dies_twice(weakness, at, then, 100 * at + then)))
    }
}

/// How often each was left.
fn tally(left: impl Iterator<Item = Left>) -> BTreeMap<Left, u32> {
    let mut tally = BTreeMap::new();
    left.for_each(|left| *tally.entry(left).or_default() += 1);
    tally
}

/// A pass that is interrupted at this operation, if at any: the machine, what was in the log, and how many operations
/// it took.
fn interrupted(weakness: Weakness, at: Option<u64>) -> (Seam, Vec<Row>, u64) {
    let seam = Seam::new(weakness, false, false);
    let (dir, log) = with_topic(&seam);
    append(&log, 30);
    flush(&dir, &log);
    while let Sealed::Segment(..) = log.seal_next(NOW).unwrap() {}
    let before = read(&log).unwrap();
    let begun = seam.machine.operations();
    if let Some(at) = at {
        seam.machine.cut_power_at(begun + at);
    }
    let mut pass = log.compact([1, 2], 1 << 16, NOW).unwrap();
    while pass.step(&dir, 1 << 20).is_ok_and(|progress| progress.state == Compacting::Working) {}
    let operations = seam.machine.operations() - begun;
    (seam, before, operations)
}

#[test]
fn segments_that_are_replaced_without_an_intent_are_found_half_replaced() {
    let pass = Pass::whole();
    let left = pass.dies_everywhere(Weakness::None);
    assert!(left[&Left::Old] > 20 && left[&Left::New] > 5 && left.len() == 2, "{left:#?}");

    let left = pass.dies_everywhere(Weakness::SwapsWithoutIntent);
    let is_found = |what: &str| {
        let found = left.keys().any(|left| matches!(left, Left::Offline(damage) if damage.contains(what)));
        assert!(found, "{what}: {left:#?}");
    };
    // A log with the index of the one before it, and old segments within the new one or gone before it is there.
    is_found("is not what its footer says");
    is_found("and the next begins at");
}

#[test]
fn what_a_start_does_about_a_replacement_does_not_outlive_the_intent_of_a_killed_run() {
    let pass = Pass::whole();
    let left = pass.dies_twice_everywhere(Weakness::None);
    assert!(left[&Left::Old] > 20 && left[&Left::New] > 20 && left.len() == 2, "{left:#?}");

    let left = pass.dies_twice_everywhere(Weakness::TakesFoundForDurable);
    assert!(left.keys().any(|left| matches!(left, Left::Offline(_) | Left::Mixed)), "{left:#?}");
}
