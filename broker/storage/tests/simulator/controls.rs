//! Negative controls: the same runs over an engine from which one protection is taken away. What it protects against
//! has to be found, or the checks prove nothing.

use crate::runs::run;
use crate::weakness::Weakness;
use crate::world::World;

/// Runs seeds without a protection until something is found that bears one of the `marks` of the loss, in a life in
/// which the engine as it is finds nothing.
fn is_found(weakness: Weakness, marks: &[&str]) {
    let mut others = Vec::new();
    for seed in 0..SEEDS {
        match run(seed, weakness, false) {
            Err(found) if marks.iter().any(|mark| found.what.contains(mark)) && is_sound(seed, weakness) => {
                return;
            }
            Err(found) => others.push(found.what),
            Ok(_) => {}
        }
    }
    panic!("{weakness:?} is not found; but {others:#?}");
}

/// Whether the same chances come to nothing with all protections.
fn is_sound(seed: u64, weakness: Weakness) -> bool {
    World::beside(seed, weakness).run().is_ok()
}

const SEEDS: u64 = 2000;

#[test]
fn an_acknowledgement_before_the_flush_is_found() {
    is_found(Weakness::AcknowledgesEarly, &["was promised"]);
}

#[test]
fn segments_whose_names_are_not_synced_are_found() {
    is_found(Weakness::ForgetsNames, &["offline", "was promised"]);
}

#[test]
fn a_durable_point_that_is_written_before_the_flush_is_found() {
    is_found(Weakness::SlotsFirst, &["offline", "was promised"]);
}

#[test]
fn a_torn_tail_that_is_not_cut_off_is_found() {
    is_found(Weakness::LeavesTornTails, &["a crash cannot explain it", "it ends at"]);
}

#[test]
fn what_a_power_cut_left_behind_the_end_of_a_log_and_is_not_cleared_is_found() {
    is_found(Weakness::KeepsBehindEnds, &["offline", "differ", "it ends at"]);
}

#[test]
fn a_failed_sync_that_is_tried_again_is_found() {
    is_found(Weakness::RetriesSyncs, &["was promised", "offline", "is lost"]);
}

#[test]
fn a_log_start_that_is_not_durable_before_files_go_is_found() {
    is_found(Weakness::ForgetsLogStarts, &["offline", "it begins at"]);
}

#[test]
fn a_start_that_reads_from_the_cache_what_a_failed_sync_has_lost_is_found() {
    is_found(Weakness::TrustsTheCache, &["was promised", "offline", "is lost", "cannot be opened"]);
}

#[test]
fn a_file_that_is_not_synced_before_it_takes_the_place_of_another_is_found() {
    is_found(Weakness::RenamesFirst, &["offline", "cannot be opened"]);
}

#[test]
fn a_metadata_transaction_that_is_not_synced_is_found() {
    is_found(Weakness::ForgetsTransactions, &["is lost", "is missing", "has 0 partitions"]);
}

#[test]
fn a_clean_marker_that_comes_back_is_found() {
    is_found(Weakness::KeepsTheMarker, &["taken for a clean stop", "epoch"]);
}

#[test]
fn partitions_whose_names_are_not_synced_are_found() {
    is_found(Weakness::ForgetsPartitions, &["offline", "is missing"]);
}

#[test]
fn a_durable_point_that_mixes_two_moments_is_found() {
    is_found(Weakness::MixesSlots, &["a slot of"]);
}

#[test]
fn a_durable_point_that_is_written_over_the_one_before_it_is_found() {
    // A copy that is half-written is none, and there is no other: where the log begins is forgotten, and its epoch.
    is_found(Weakness::OverwritesSlots, &["it begins at", "epoch"]);
}

#[test]
fn a_torn_copy_of_a_slot_that_is_nobodys_and_stays_is_found() {
    is_found(Weakness::KeepsTornSlots, &["of slot 0 is damaged", "of slot 1 is damaged"]);
}

#[test]
fn what_is_left_of_a_short_write_and_not_cut_off_is_found() {
    is_found(Weakness::LeavesShortWrites, &["offline", "for no reason"]);
}

#[test]
fn a_segment_that_begins_behind_bytes_that_could_not_be_cut_off_is_found() {
    is_found(Weakness::RollsOverRests, &["offline", "rotten"]);
}

#[test]
fn a_start_that_takes_for_durable_what_it_finds_without_a_sync_is_found() {
    is_found(Weakness::TakesFoundForDurable, &["was promised", "offline"]);
}

#[test]
fn an_epoch_that_does_not_rise_after_a_crash_is_found() {
    is_found(Weakness::KeepsTheEpoch, &["epoch"]);
}

#[test]
fn a_compacted_segment_that_is_not_synced_before_its_intent_is_found() {
    is_found(Weakness::ForgetsCompacted, &["offline", "is gone"]);
}

#[test]
fn a_copy_of_what_is_cut_off_that_is_not_synced_is_found() {
    is_found(Weakness::ForgetsCopies, &["is not kept any more"]);
}

#[test]
fn a_hole_that_does_not_pass_for_an_interrupted_write_is_found() {
    is_found(Weakness::SeesNoHoles, &["offline"]);
}

#[test]
fn a_hole_that_is_cut_off_although_no_power_was_lost_is_found() {
    is_found(Weakness::ForgetsTheBoot, &["that no power cut has made"]);
}

#[test]
fn a_tombstone_that_goes_before_its_time_is_found() {
    is_found(Weakness::ForgetsHorizons, &["is gone early"]);
}

#[test]
fn a_snapshot_of_producers_that_outlives_what_it_tells_of_is_found() {
    is_found(Weakness::KeepsSnapshots, &["producer", "a copy of"]);
}

#[test]
fn bytes_that_cannot_be_read_and_are_taken_for_the_end_of_the_file_are_found() {
    is_found(
        Weakness::TakesErrorsForTheEnd,
        &["was promised", "it ends at", "it begins at", "a scrub finds"],
    );
}
