//! What is in the page cache, and what brings it there.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use folio_mapped::{MapSlice, SegmentMap, cachestat, mincore};
use rustix::fs::Advice;

use crate::{MIB, directory};

/// A file of one MiB of which nothing was ever read or written: cold on every filesystem.
fn cold(path: &std::path::Path) -> File {
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(MIB).unwrap();
    file
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_range_is_resident_once_it_is_populated_and_not_before() {
    let directory = directory();
    let map = SegmentMap::open(cold(&directory.path().join("log")), MIB, MIB).unwrap();
    let all = map.slice(0..MIB).unwrap();
    let mut front = all.clone();
    let front = front.split_to(100_000);
    assert!(!all.resident().unwrap());
    assert_eq!(mincore(&all).unwrap(), 0, "asking touches nothing");

    front.populate().unwrap();
    assert!(front.resident().unwrap());
    assert!(mincore(&front).unwrap() >= 100_000 / rustix::param::page_size());

    all.populate().unwrap();
    assert!(all.resident().unwrap());
    assert_eq!(mincore(&all).unwrap(), MIB as usize / rustix::param::page_size());
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn both_probes_count_the_same_pages_and_a_range_half_of_which_is_cached_is_not_resident() {
    let directory = directory();
    let file = cold(&directory.path().join("log"));
    // Written and never read: these pages are cached, and no read-ahead has brought their neighbours.
    file.write_all_at(&[1; 100_000], 300_000).unwrap();
    let probe = file.try_clone().unwrap();
    let map = SegmentMap::open(file, MIB, MIB).unwrap();
    let page = rustix::param::page_size() as u64;
    let mut partly = 0;
    for (from, to) in [
        (0, MIB),
        (0, 1),
        (299_000, 400_001),
        (300_000, 400_000),
        (300_000, 300_001),
        (0, 300_001),
        (399_999, MIB),
        (MIB - 1, MIB),
        (9, 9),
    ] {
        let slice = map.slice(from..to).unwrap();
        let pages = if from == to { 0 } else { (to - 1) / page - from / page + 1 };
        let cached = mincore(&slice).unwrap() as u64;
        match cachestat(probe.as_fd(), from..to) {
            Ok(stat) => assert_eq!(stat.cached, cached, "{from}..{to}"),
            // Linux before 6.5: only the exact probe is there.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOSYS)),
        }
        assert_eq!(slice.resident().unwrap(), cached == pages, "{from}..{to}");
        partly += u32::from(0 < cached && cached < pages);
    }
    assert!(partly >= 3, "the ranges were to be cached in part");
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_copy_that_may_not_wait_is_made_of_what_is_in_memory_and_of_nothing_else() {
    let directory = directory();
    let file = cold(&directory.path().join("log"));
    let bytes: Vec<u8> = (0..299_000_u32).map(|n| n as u8).collect();
    file.write_all_at(&bytes, 1000).unwrap();
    let disk = file.try_clone().unwrap();
    let map = SegmentMap::open(file, MIB, MIB).unwrap();
    let slice = map.slice(1000..300_000).unwrap();
    let copied = |copy: &folio_mapped::MapSlice| {
        assert!(copy.is_on_heap() && !slice.is_on_heap());
        let mut copied = vec![0; copy.len()];
        copy.copy_to(0, &mut copied).unwrap();
        copied
    };
    // A filesystem that cannot tell says so each time.
    let copy = slice.copied_at_once().unwrap().expect("this one can, and it was just written");
    assert_eq!(copied(&copy), bytes);
    assert_eq!(copy.copied().unwrap().map().end(), 299_000, "a copy is its own");

    // A disk may be so fast that the first part has come by the time that it is asked for.
    let is_cold = (0..100).any(|_| {
        disk.sync_data().unwrap();
        rustix::fs::fadvise(&disk, 0, None, Advice::DontNeed).unwrap();
        slice.copied_at_once().unwrap().is_none()
    });
    assert!(is_cold, "it never says that it would wait");
    assert_eq!(copied(&slice.copied().unwrap()), bytes, "who may wait has it all the same");
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_range_that_is_being_read_is_not_resident_before_it_has_come() {
    /// The least that any disk is asked for at once.
    const AHEAD: u64 = 128 << 10;

    let directory = directory();
    let file = cold(&directory.path().join("log"));
    file.write_all_at(&vec![1; MIB as usize], 0).unwrap();
    let disk = file.try_clone().unwrap();
    let map = SegmentMap::open(file, MIB, MIB).unwrap();
    let by_this_map = |part: &MapSlice| part.read_ahead().unwrap();
    let by_somebody_else = |part: &MapSlice| {
        let len = std::num::NonZeroU64::new(AHEAD);
        rustix::fs::fadvise(&disk, part.range().start, len, Advice::WillNeed).unwrap();
    };
    for (by, begin) in
        [("by this map", &by_this_map as &dyn Fn(&MapSlice)), ("by somebody else", &by_somebody_else)]
    {
        for start in (0..MIB).step_by(AHEAD as usize) {
            let part = map.slice(start..start + AHEAD).unwrap();
            // What comes last.
            let last = map.slice(part.range().end - 1..part.range().end).unwrap();
            // However soon: who is told that it is resident can copy it at once. Where memory is short, or somebody
            // drops caches, what has come may be gone again: once of a few times it is not.
            let is_copied = (0..5).any(|_| {
                disk.sync_data().unwrap();
                rustix::fs::fadvise(&disk, 0, None, Advice::DontNeed).unwrap();
                begin(&part);
                let deadline = Instant::now() + Duration::from_secs(60);
                while !last.resident().unwrap() && Instant::now() < deadline {
                    std::thread::yield_now();
                }
                last.copied_at_once().unwrap().is_some()
            });
            assert!(is_copied, "{start}, {by}: it is said to be resident while it is being read");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn what_follows_a_slice_ends_where_its_map_does() {
    let directory = directory();
    let map = SegmentMap::open(cold(&directory.path().join("log")), MIB, MIB).unwrap();
    let front = map.slice(0..1000).unwrap();
    assert_eq!(front.following(500).range(), 1000..1500);
    assert_eq!(front.following(u64::MAX).range(), 1000..MIB);
}

#[test]
fn memory_is_always_resident() {
    let map = SegmentMap::heap(10_000);
    map.appender().unwrap().append(&[std::io::IoSlice::new(&[1; 9_000])]).unwrap();
    let slice = map.slice(0..9_000).unwrap();
    slice.populate().unwrap();
    assert!(slice.resident().unwrap());
}

#[test]
#[cfg_attr(miri, ignore = "a system call that Miri does not have")]
fn a_reversed_range_has_no_cache_statistics() {
    let file = tempfile::tempfile().unwrap();
    let reversed = std::ops::Range { start: 2, end: 1 };
    assert_eq!(cachestat(file.as_fd(), reversed).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}
