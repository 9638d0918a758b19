//! The rule of the zero sector from its other side: what bears no trace of an interrupted write may have been promised
//! to somebody, although no durable point that came to the disk says so.

use folio_storage::recovery::Damage;
use folio_storage::verdict::Reason;

use crate::rig::{append, flush, log_path, open, with_topic};
use crate::seam::Seam;
use crate::weakness::Weakness;

/// What a start made of a byte that is wrong in the last batch that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// It lies below a durable point that had come to the disk: that is not read again at a start.
    NotLookedAt,
    /// Nothing tells that it was, and it is kept all the same.
    Kept,
    /// It was acknowledged, and is cut off.
    CutOff,
}

/// Batches are flushed, which is when their producers are answered; the power goes, and a bit of the last one has
/// changed.
fn start(weakness: Weakness, seed: u64) -> Made {
    let seam = Seam::new(weakness, false, false);
    let (dir, log) = with_topic(&seam);
    append(&log, 2);
    flush(&dir, &log);
    dir.sync_slots().unwrap();
    append(&log, 4);
    flush(&dir, &log);
    let (durable, len) = (log.durable(), log.durable_tail().pos);
    drop((dir, log));
    seam.machine.crash(seed);
    seam.died();
    seam.rot(&log_path(0), len - 100);
    let (_dir, report) = open(&seam, 2);
    match &report.partitions[0].state {
        Err(Damage::Log { reason: Reason::NotTorn, offset, .. }) => {
            assert!(*offset < durable, "{offset} of {durable}");
            Made::Kept
        }
        Err(damage) => panic!("{damage}"),
        Ok((log, _)) if log.log_end() < durable => Made::CutOff,
        Ok(_) => Made::NotLookedAt,
    }
}

#[test]
fn what_is_wrong_without_a_zero_sector_is_kept_and_taken_for_a_hole_it_is_lost() {
    let mut kept = 0;
    for seed in 0..40 {
        let made = start(Weakness::None, seed);
        assert_ne!(made, Made::CutOff, "seed {seed}");
        if made == Made::Kept {
            assert_eq!(start(Weakness::SeesHolesOnly, seed), Made::CutOff, "seed {seed}");
            kept += 1;
        }
    }
    assert!(kept > 5, "the durable point was lost {kept} times");
}
