//! Power cuts over real file systems, under the real daemon: what was promised is there, byte for byte; what was not is
//! a prefix of what was sent, under a new leader epoch; no partition is given up. Groups are where they were told to
//! be.
//!
//! `FOLIO_POWER_CUTS=200 cargo test -p folio-tests --test power -- --nocapture` makes so many cuts in each test, and
//! tries more file systems; `FOLIO_POWER_SEED` is the seed of the first cut, and `FOLIO_POWER_KEEP` where to leave a
//! data directory that `folio log verify` does not like. No run is the same again: the kernel decides what it writes
//! when.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

mod campaign;
mod groups;
mod ledger;
mod load;
mod machine;
mod writeback;

use folio_tests::campaign::{length, told};
use folio_tests::disk::crash::CrashDisk;
use folio_tests::disk::image::{Btrfs, Ext4, FileSystem, Xfs};
use folio_tests::isolated::Isolated;

use campaign::Tally;
use ledger::Trust;
use machine::Machine;

#[test]
fn a_power_cut_on_ext4_takes_nothing_that_was_promised() {
    Isolated::run("a_power_cut_on_ext4_takes_nothing_that_was_promised", || {
        let tally = cut(Ext4::DEFAULT, 4, has_lost);
        assert!(has_lost(&tally), "nothing was lost by any of the cuts: {tally:?}");
        assert!(tally.torn > 0 || tally.cuts < 20, "nothing was torn by any of the cuts: {tally:?}");
        assert!(tally.overdue > 0 || tally.cuts < 20, "no interval was over at any of the cuts: {tally:?}");
        for file_system in long_run(&[Ext4::SMALL_BLOCKS, Ext4::WRITEBACK, Ext4::NODELALLOC]) {
            cut(*file_system, 0, whatever);
        }
    });
}

#[test]
fn a_power_cut_on_xfs_takes_nothing_that_was_promised() {
    Isolated::run("a_power_cut_on_xfs_takes_nothing_that_was_promised", || {
        let tally = cut(Xfs::DEFAULT, 3, has_lost);
        assert!(has_lost(&tally), "nothing was lost by any of the cuts: {tally:?}");
    });
}

#[test]
fn a_power_cut_on_btrfs_takes_nothing_that_was_promised() {
    Isolated::run("a_power_cut_on_btrfs_takes_nothing_that_was_promised", || {
        cut(Btrfs::DEFAULT, 1, whatever);
    });
}

#[test]
fn an_ext4_that_shuts_down_takes_nothing_that_was_promised() {
    Isolated::run("an_ext4_that_shuts_down_takes_nothing_that_was_promised", || {
        shut_down(Ext4::DEFAULT, 2, Trust::Promises, whatever);
    });
}

#[test]
fn an_xfs_that_shuts_down_takes_nothing_that_was_promised() {
    Isolated::run("an_xfs_that_shuts_down_takes_nothing_that_was_promised", || {
        shut_down(Xfs::DEFAULT, 2, Trust::Promises, whatever);
    });
}

/// The negative control: the same run, where acks=1, `interval` and `os` count as promises, and a commit does before it
/// is answered.
#[test]
fn who_takes_every_acknowledgement_for_a_promise_finds_records_lost() {
    Isolated::run("who_takes_every_acknowledgement_for_a_promise_finds_records_lost", || {
        let finds = |tally: &Tally| tally.breaking * 2 > tally.cuts && tally.kept.behind > 0;
        let tally = shut_down(Ext4::DEFAULT, 3, Trust::Anything, finds);
        assert!(finds(&tally), "the check finds nothing, or no commit missing: {tally:?}");
    });
}

#[test]
fn a_power_cut_takes_no_more_of_an_os_topic_than_may_wait_to_be_flushed() {
    Isolated::run("a_power_cut_takes_no_more_of_an_os_topic_than_may_wait_to_be_flushed", || {
        for file_system in [Ext4::DEFAULT, Xfs::DEFAULT] {
            let lost = writeback::lost(file_system, true);
            assert!(lost <= writeback::LOST_MAX, "{}: {lost} bytes are lost", file_system.name);
        }
    });
}

/// The negative control: the same, where more may wait.
#[test]
fn where_more_may_wait_to_be_flushed_a_power_cut_is_found_to_take_more_of_an_os_topic() {
    Isolated::run(
        "where_more_may_wait_to_be_flushed_a_power_cut_is_found_to_take_more_of_an_os_topic",
        || {
            for file_system in [Ext4::DEFAULT, Xfs::DEFAULT] {
                let lost = writeback::lost(file_system, false);
                assert!(lost > writeback::LOST_MAX, "{}: only {lost} bytes are lost", file_system.name);
            }
        },
    );
}

fn has_lost(tally: &Tally) -> bool {
    tally.losing > 0
}

fn whatever(_: &Tally) -> bool {
    true
}

/// With a disk that loses, tears and reorders what no flush has made lasting.
fn cut(file_system: FileSystem, cuts: u64, is_enough: fn(&Tally) -> bool) -> Tally {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = Machine::with_disk(CrashDisk::serve(file_system, dir.path()), dir.path());
    run(&mut machine, cuts, Trust::Promises, is_enough, file_system.name)
}

/// With the file system's own way to lose what it has not written.
fn shut_down(file_system: FileSystem, cuts: u64, trust: Trust, is_enough: fn(&Tally) -> bool) -> Tally {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = Machine::with_shutdown(file_system, dir.path(), Xfs::shut_down);
    run(&mut machine, cuts, trust, is_enough, file_system.name)
}

fn run(machine: &mut Machine, cuts: u64, trust: Trust, is_enough: fn(&Tally) -> bool, name: &str) -> Tally {
    let (cuts, seed) = (length("FOLIO_POWER_CUTS", cuts), length("FOLIO_POWER_SEED", 1));
    let tally = campaign::run(machine, cuts, seed, trust, is_enough);
    println!("{name}: {tally:?}");
    assert!(tally.found.checked > 0, "nothing was acknowledged, so nothing was looked up: {tally:?}");
    tally
}

/// These, where the number of cuts was given.
fn long_run(file_systems: &[FileSystem]) -> &[FileSystem] {
    told::<u64>("FOLIO_POWER_CUTS").map_or(&[], |_| file_systems)
}
