//! The order in which the engine does things, call by call: what has to be on the disk before what.

use std::time::Instant;

use folio_storage::{Compacting, Sealed};

use crate::rig::{NOW, append, flush, log_path, open, with_topic};
use crate::seam::Seam;
use crate::weakness::Weakness;

/// The calls since the trace was `before` bytes long.
struct Calls(Vec<String>);

impl Calls {
    fn since(seam: &Seam, before: usize) -> Self {
        Self(seam.trace()[before..].lines().map(|line| line.trim().to_owned()).collect())
    }

    fn first(&self, what: &str) -> usize {
        self.0.iter().position(|call| call.starts_with(what)).unwrap_or_else(|| panic!("no {what}: {self}"))
    }

    fn last(&self, what: &str) -> usize {
        self.0.iter().rposition(|call| call.starts_with(what)).unwrap_or_else(|| panic!("no {what}: {self}"))
    }

    /// What is called from the first of these on.
    fn from(&self, what: &str) -> Self {
        Self(self.0[self.first(what)..].to_vec())
    }

    /// Each of these is called first behind the last call of the one before it.
    fn are_in_order(&self, calls: &[&str]) {
        for pair in calls.windows(2) {
            assert!(self.last(pair[0]) < self.first(pair[1]), "{} before {}: {self}", pair[0], pair[1]);
        }
    }
}

impl std::fmt::Display for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

#[test]
fn a_flush_syncs_the_log_before_it_writes_the_slot_and_older_segments_before_newer_ones() {
    let seam = Seam::new(Weakness::None, false, true);
    let (dir, log) = with_topic(&seam);
    append(&log, 12);
    let bases: Vec<i64> =
        (0..12).filter(|base| seam.machine.snapshot().contains_key(&log_path(*base))).collect();
    assert!(bases.len() >= 2, "{bases:?}");
    let before = seam.trace().len();
    flush(&dir, &log);
    let calls = Calls::since(&seam, before);
    // A segment has passing names until it is begun, and its handle is known by those.
    let logs = |call: &&String| call.starts_with("sync topics/t-0/") && call.contains(".log");
    let syncs: Vec<&String> = calls.0.iter().filter(logs).collect();
    assert_eq!(syncs.len(), bases.len(), "each segment: {calls}");
    assert!(syncs.is_sorted(), "{calls}");
    calls.are_in_order(&["sync topics/t-0", "write slots"]);
}

#[test]
fn what_a_start_reads_back_is_synced_and_out_of_the_cache_first_and_nothing_is_mapped_before_somebody_needs_it()
 {
    let seam = Seam::new(Weakness::None, false, true);
    let (dir, log) = with_topic(&seam);
    append(&log, 3);
    flush(&dir, &log);
    let durable = log.durable_tail().pos;
    append(&log, 2);
    drop((dir, log));
    seam.machine.kill();
    seam.died();
    seam.show_reads();
    let before = seam.trace().len();
    let (dir, report) = open(&seam, 2);
    assert!(report.partitions[0].state.as_ref().unwrap().1.bytes_scanned > 0);
    let is_map = |call: &String| call.starts_with("map ") || call.starts_with("append to");
    assert!(!Calls::since(&seam, before).0.iter().any(is_map));
    append(&report.partitions[0].state.as_ref().unwrap().0, 1);
    let calls = Calls::since(&seam, before);
    let path = log_path(0).display().to_string();
    let above = |call: &&String| {
        let place = call.strip_prefix(&format!("read {path} "))?;
        let (at, len) = place.split_once(" +")?;
        let end = at.parse::<u64>().unwrap() + len.parse::<u64>().unwrap();
        (end > durable).then_some(())
    };
    let first_read = calls.0.iter().position(|call| above(&call).is_some()).expect("the rest is read");
    assert!(calls.first(&format!("sync {path}")) < first_read, "{calls}");
    assert!(calls.first(&format!("drop cache of {path}")) < first_read, "{calls}");
    // The slot, and with it the epoch, is on the disk before anybody can append, the one copy before the other. Its
    // file follows when there is time.
    calls.are_in_order(&[&format!("read {path}"), "write slots"]);
    let (copy, other) = (calls.first("write slots"), calls.last("write slots"));
    let (synced, last) = (calls.first("sync slots"), calls.last("sync slots"));
    let append = calls.first(&format!("append to {path}"));
    assert!(copy < synced && synced < other && other < last && last < append, "{calls}");
    let before = seam.trace().len();
    dir.save_epochs(1).unwrap();
    Calls::since(&seam, before).are_in_order(&[
        "sync topics/t-0/epochs.tmp",
        "rename topics/t-0/epochs.tmp",
        "sync names of topics/t-0",
    ]);
}

#[test]
fn what_is_cut_off_is_copied_and_the_copy_synced_before_the_file_is_cut_and_that_synced() {
    let seam = Seam::new(Weakness::None, false, true);
    let (dir, log) = with_topic(&seam);
    append(&log, 3);
    flush(&dir, &log);
    append(&log, 2);
    drop((dir, log));
    let path = log_path(0);
    seam.machine.tamper(&path, |bytes| bytes.truncate(bytes.len() - 10));
    seam.machine.kill();
    seam.died();
    let before = seam.trace().len();
    let (_dir, report) = open(&seam, 2);
    let kept = report.partitions[0].state.as_ref().unwrap().1.cut.clone().unwrap().kept.unwrap();
    let calls = Calls::since(&seam, before);
    let copy = "quarantine/topics_t-0_00000000000000000000.log.tmp";
    calls.are_in_order(&[
        &format!("write {copy}"),
        &format!("sync {copy}"),
        &format!("rename {copy} {}", kept.display()),
        &format!("cut {}", path.display()),
        "write slots",
    ]);
    let after_cut = calls.from(&format!("cut {}", path.display()));
    after_cut.are_in_order(&[
        &format!("cut {}", path.display()),
        &format!("sync {}", path.display()),
        "write slots",
    ]);
    let names = calls.0[..calls.first(&format!("cut {}", path.display()))].iter();
    assert_eq!(names.last().map(String::as_str), Some("sync names of quarantine"), "{calls}");
}

#[test]
fn the_start_of_a_log_is_synced_before_a_file_below_it_goes() {
    let seam = Seam::new(Weakness::None, false, true);
    let (dir, log) = with_topic(&seam);
    append(&log, 12);
    flush(&dir, &log);
    let before = seam.trace().len();
    let to = log.durable();
    dir.raise_log_start(&log, to, NOW, Instant::now()).unwrap();
    assert!(!log.drop_below_start(dir.trash()).unwrap().is_empty());
    let calls = Calls::since(&seam, before);
    // One copy after the other, and both before.
    let of_slots: Vec<&str> =
        calls.0.iter().filter(|call| call.contains(" slots")).map(|call| &call[..5]).collect();
    assert_eq!(of_slots, ["write", "sync ", "write", "sync "], "{calls}");
    calls.are_in_order(&["sync slots", "rename topics/t-0/"]);
}

#[test]
fn segments_are_replaced_behind_an_intent_that_is_on_the_disk_with_all_that_it_names() {
    let seam = Seam::new(Weakness::None, false, true);
    let (dir, log) = with_topic(&seam);
    append(&log, 30);
    flush(&dir, &log);
    while let Sealed::Segment(..) = log.seal_next(NOW).unwrap() {}
    let before = seam.trace().len();
    let mut pass = log.compact([1, 2], 1 << 16, NOW).unwrap();
    while let Compacting::Working = pass.step(&dir, 1 << 20).unwrap().state {}
    let calls = Calls::since(&seam, before);
    let cleaned = "topics/t-0/00000000000000000000.log.cleaned";
    let intent = "topics/t-0/replace.1";
    calls.are_in_order(&[
        &format!("sync {cleaned}"),
        "sync slots",
        &format!("write {intent}.tmp"),
        &format!("sync {intent}.tmp"),
        &format!("rename {intent}.tmp"),
        &format!("rename {cleaned}"),
        &format!("remove {intent}"),
    ]);
    let named = calls.from(&format!("rename {intent}.tmp"));
    assert!(named.first("sync names of topics/t-0") < named.first(&format!("rename {cleaned}")), "{calls}");
    let placed = named.from(&format!("rename {cleaned}"));
    assert!(placed.first("sync names of trash") < placed.first(&format!("remove {intent}")), "{calls}");
    assert!(placed.first("sync names of topics/t-0") < placed.first(&format!("remove {intent}")), "{calls}");
}
