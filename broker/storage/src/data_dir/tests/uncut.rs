//! Claims about what a write has left that found no room: it is cut off, and it may be on the disk. Mixed by a power
//! cut with what is written in its place, it would be a batch that is whole and wrong.

use super::*;
use crate::controls::{Protection, without};
use crate::log::Wakefulness;
use crate::metadata::{CommitError, Key};

/// A batch of one record of so many of these bytes.
fn batch_of(byte: u8, size: usize) -> bytes::BytesMut {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    let value = vec![byte; size];
    builder.append(&NewRecord { timestamp: NOW, key: None, value: Some(&value), headers: &[] }).unwrap();
    builder.build().unwrap().as_slice().into()
}

/// A directory with a log that is awake.
fn with_log() -> (Arc<SimFiles>, DataDir<SimFiles>, Arc<Log<SimFiles>>) {
    let files = Arc::new(SimFiles::new());
    let dir = open(&files).0;
    create(&dir, 1).unwrap();
    let log = Arc::clone(&dir.logs()[0]);
    log.writer().append(&mut [batch_of(1, 100)], Mode::MayBlock, NOW).unwrap();
    (files, dir, log)
}

/// The next write finds room for a part of it; `seed` decides for how much, and what of it comes to the disk at once.
fn fails_short(files: &SimFiles, seed: u64) {
    (0..seed % 100).for_each(|_| files.sync_everything().unwrap());
    files.fail_at(files.operations(), Fault::Short);
}

/// An append finds no room, and the next one, which is shorter, does; the power goes while that is written or flushed.
/// Whether a start serves the log.
fn is_served(seed: u64) -> bool {
    let (files, dir, log) = with_log();
    let append = |batch| log.writer().append(&mut [batch], Mode::MayBlock, NOW);
    dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
    let promised = log.log_end();
    fails_short(&files, seed);
    let refused = append(batch_of(2, 5000));
    assert!(matches!(refused, Err(AppendError::Full { .. })), "{refused:?}");
    files.cut_power_at(files.operations() + 2 + seed % 3);
    if append(batch_of(3, 3000)).is_ok() {
        drop(dir.flush(&dir.logs(), NOW, Instant::now()));
    }
    drop((log, dir));
    files.crash(seed);
    let (dir, report) = open(&files);
    assert!(dir.logs().iter().any(|log| log.log_end() >= promised) || online(&report).len() < 2);
    online(&report).len() == 2
}

#[test]
fn what_an_append_without_room_has_left_is_cut_for_good_before_another_comes_there_and_unsynced_it_is_damage()
{
    let damaged = |seeds: std::ops::Range<u64>| seeds.filter(|seed| !is_served(*seed)).collect::<Vec<_>>();
    assert_eq!(damaged(0..500), [0_u64; 0]);
    let found = without(Protection::CutsAreSynced, || damaged(0..500));
    assert!(!found.is_empty(), "the control finds nothing");
}

#[test]
fn a_log_that_was_refused_for_want_of_room_and_is_not_written_to_again_falls_asleep() {
    let (files, dir, log) = with_log();
    let append = |batch| log.writer().append(&mut [batch], Mode::MayBlock, NOW);
    fails_short(&files, 1);
    append(batch_of(2, 5000)).unwrap_err();
    let sleep = || log.sleep_if_idle(Instant::now(), Duration::ZERO).unwrap();
    sleep();
    assert_eq!(sleep(), Wakefulness::Unflushed);
    dir.flush(&dir.logs(), NOW, Instant::now()).unwrap();
    assert_eq!(sleep(), Wakefulness::Asleep);
    append(batch_of(3, 100)).unwrap();
}

/// The same of a transaction; what a start says to it.
fn is_opened(seed: u64) -> Result<(), OpenError> {
    let files = Arc::new(SimFiles::new());
    let dir = open(&files).0;
    let set = |node, size| set_broker(&dir, node, size);
    set(1, 10).unwrap();
    fails_short(&files, seed);
    let refused = set(2, 5000);
    assert!(matches!(refused, Err(CommitError::Full { .. })), "{refused:?}");
    files.cut_power_at(files.operations() + 1 + seed % 3);
    let is_made = set(3, 3000).is_ok();
    drop(dir);
    files.crash(seed);
    let dir = try_open(&files)?.0;
    let known = |node| dir.metadata().state().get(&Key::Broker(Some(node))).is_some();
    assert!(known(1) && !known(2) && (known(3) || !is_made), "seed {seed}");
    Ok(())
}

#[test]
fn what_a_transaction_without_room_has_left_is_cut_for_good_before_another_comes_there_and_unsynced_it_ends_a_start()
 {
    for seed in 0..500 {
        assert!(is_opened(seed).is_ok(), "seed {seed}: {:?}", is_opened(seed));
    }
    let refused =
        without(Protection::CutsAreSynced, || (0..500).filter(|seed| is_opened(*seed).is_err()).count());
    assert!(refused > 0, "the control finds nothing");
}
