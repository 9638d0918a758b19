//! A disk that says to every sync of a log or a slot that it was done, and does nothing: nobody can promise anything on
//! it. Whatever it loses then, what a reader takes, who looks at checksums, was appended, and in this order, with
//! nothing left out in between.

use std::panic::{AssertUnwindSafe, catch_unwind};

use folio_storage::{Cursor, Log, Read, Sealed, Touch};

use crate::check::slice_bytes;
use crate::model::{Row, rows};
use crate::rig::{NOW, append, flush, read, try_open, with_topic};
use crate::seam::Seam;
use crate::weakness::Weakness;

/// How a power cut over such a disk ended, for the topic there was.
#[derive(Debug, Default)]
struct Ends {
    whole: u32,
    shorter: u32,
    /// Its log takes nothing, or is not there, or the directory is not opened.
    refused: u32,
}

/// Some lives on it, until one cannot be gone on with.
fn lives(seed: u64, ends: &mut Ends) {
    let seam = Seam::new(Weakness::NeverSyncs, false, false);
    let (mut dir, mut log) = with_topic(&seam);
    for life in 0..4 {
        append(&log, 1 + (seed as usize + life) % 12);
        flush(&dir, &log);
        while let Sealed::Segment(..) = log.seal_next(NOW).unwrap() {}
        let before = read(&log).unwrap();
        drop((dir, log));
        seam.machine.crash(seed * 10 + life as u64);
        seam.died();
        let (opened, partition) =
            match try_open(&seam, 2).map(|(dir, mut report)| (dir, report.partitions.pop())) {
                Ok((opened, Some(partition))) => (opened, partition),
                _ => {
                    ends.refused += 1;
                    return;
                }
            };
        let Ok((found, _)) = partition.state else {
            if let Some(below) = &partition.below {
                served(below, &before);
            }
            ends.refused += 1;
            return;
        };
        let left = served(&found, &before);
        *if left == before.len() { &mut ends.whole } else { &mut ends.shorter } += 1;
        (dir, log) = (opened, found);
    }
}

/// So many of `before` are served, one after the other; behind them is the end, an error, or a batch whose checksum
/// fails. Those at the beginning are missing if the name of their segment is, and the slot that knows of it.
fn served(log: &Log<Seam>, before: &[Row]) -> usize {
    let (mut offset, mut cursor, mut found) = (log.log_start(), Cursor::default(), Vec::new());
    while let Ok(Read::Ready(fetched)) = log.read(offset, 1, &mut cursor, Touch::Any) {
        let Some(slice) = fetched.slice else { break };
        let Ok(batch) = rows(&slice_bytes(&slice).unwrap()) else { break };
        found.extend(batch);
        offset = fetched.next_offset;
    }
    let offsets = |rows: &[Row]| rows.iter().map(|row| row.offset).collect::<Vec<_>>();
    let from = before.iter().position(|row| Some(row) == found.first()).unwrap_or(0);
    assert!(before[from..].starts_with(&found), "{:?} of {:?}", offsets(&found), offsets(before));
    found.len()
}

#[test]
fn a_disk_that_lies_about_flushes_may_lose_what_was_promised_and_nothing_wrong_is_served() {
    let mut ends = Ends::default();
    for seed in 0..150 {
        let ended = catch_unwind(AssertUnwindSafe(|| lives(seed, &mut ends)));
        assert!(ended.is_ok(), "seed {seed}");
    }
    assert!(ends.whole > 10 && ends.shorter > 10 && ends.refused > 10, "{ends:?}");
}
