//! What is in the page cache, and what brings it there.

use std::fs::File;
use std::os::fd::AsFd;

use folio_mapped::{SegmentMap, cachestat, mincore};

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
fn both_probes_count_the_same_pages() {
    let directory = directory();
    let file = cold(&directory.path().join("log"));
    let probe = file.try_clone().unwrap();
    let map = SegmentMap::open(file, MIB, MIB).unwrap();
    map.slice(300_000..300_001).unwrap().populate().unwrap();
    for (from, to) in
        [(0, MIB), (0, 1), (299_999, 300_001), (300_000, 300_001), (4095, 4097), (MIB - 1, MIB), (9, 9)]
    {
        let counted = mincore(&map.slice(from..to).unwrap()).unwrap() as u64;
        match cachestat(probe.as_fd(), from..to) {
            Ok(stat) => assert_eq!(stat.cached, counted, "{from}..{to}"),
            // Linux before 6.5: then only the exact probe can be right.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOSYS)),
        }
        let whole = map.slice(from..to).unwrap();
        let page = rustix::param::page_size() as u64;
        let pages = if from == to { 0 } else { (to - 1) / page - from / page + 1 };
        assert_eq!(whole.resident().unwrap(), counted == pages, "{from}..{to}");
    }
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
