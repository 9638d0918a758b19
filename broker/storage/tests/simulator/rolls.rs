//! A roll that comes to its last call and no further.

use folio_storage::AppendError;

use crate::rig::{append, append_value, flush, open, read, with_topic};
use crate::seam::{Interlude, Seam};
use crate::weakness::Weakness;

#[test]
fn a_roll_without_a_descriptor_for_its_last_sync_leaves_nothing_that_a_later_append_could_overlap() {
    for seed in 0..8 {
        let seam = Seam::new(Weakness::None, false, false);
        let (dir, log) = with_topic(&seam);
        append(&log, 6);
        // All files are made by then, and have their names.
        let machine = seam.machine.clone();
        seam.interpose(vec![Interlude::Before(Box::new(move || machine.set_exhausted(true)))]);
        let rolled = append_value(&log, b"large", &[7; 600]);
        assert!(matches!(rolled, Err(AppendError::Exhausted { .. })), "{rolled:?}");
        assert_eq!(seam.clear_interludes(), 0, "nothing was synced");
        seam.machine.set_exhausted(false);
        append_value(&log, b"small", &[8; 50]).unwrap();
        flush(&dir, &log);
        let before = read(&log).unwrap();
        assert_eq!((before.len(), log.segment_count()), (7, 1));
        drop((dir, log));
        if seed == 0 {
            seam.machine.kill();
        } else {
            seam.machine.crash(seed);
        }
        seam.died();
        let (_dir, report) = open(&seam, 2);
        let (log, _) = report.partitions[0].state.as_ref().unwrap();
        assert_eq!(read(log).unwrap(), before, "seed {seed}");
    }
}
