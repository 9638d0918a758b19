//! Files as they live: growing, reserved, unlinked, mapped.

use std::fs::{self, File};
use std::io::{IoSlice, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use folio_mapped::{MapError, Part, SegmentMap, writev};

use crate::{MIB, directory, frames, new_map, published};

/// The lines of `/proc/self/maps` that map a file below `directory`.
fn mappings(directory: &Path) -> Vec<String> {
    let below = directory.to_str().unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(below)).map(str::to_owned).collect()
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn no_mapping_of_a_data_file_is_writable_and_the_last_slice_unmaps() {
    let directory = directory();
    let map = new_map(&directory.path().join("log"), 64 * MIB);
    let mut appender = map.appender().unwrap();
    frames::append(&mut appender, 1);
    let slice = map.slice(0..map.end()).unwrap();
    slice.populate().unwrap();

    let lines = mappings(directory.path());
    assert_eq!(lines.len(), 1);
    assert!(lines[0].split(' ').nth(1) == Some("r--s"), "{lines:?}");

    drop(appender);
    drop(map);
    assert_eq!(mappings(directory.path()).len(), 1, "the slice keeps it");
    drop(slice);
    assert!(mappings(directory.path()).is_empty());
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn an_unlinked_file_is_read_and_sent_to_its_last_byte() {
    let directory = directory();
    let path = directory.path().join("log");
    let map = new_map(&path, MIB);
    frames::append(&mut map.appender().unwrap(), 7);
    fs::remove_file(&path).unwrap();

    let slice = map.slice(0..map.end()).unwrap();
    assert!(slice.resident().unwrap());
    slice.populate().unwrap();
    assert_eq!(published(&map), frames::frame(7));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    writev(ours.as_fd(), &[Part::Map(&slice)]).unwrap();
    let mut received = vec![0; slice.len()];
    theirs.read_exact(&mut received).unwrap();
    assert_eq!(received, frames::frame(7));
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn the_file_is_as_long_as_what_was_written_whatever_is_reserved_and_a_cut_frees_the_reserve() {
    let directory = directory();
    let path = directory.path().join("log");
    let map = new_map(&path, 64 * MIB);
    let mut appender = map.appender().unwrap();
    appender.allocate(16 * MIB).unwrap();
    assert_eq!(appender.allocated(), 16 * MIB);
    let reserved = || fs::metadata(&path).unwrap().blocks() * 512;
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    assert!(reserved() >= 16 * MIB);

    frames::append(&mut appender, 5);
    let slice = map.slice(0..map.end()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), map.end());
    appender.allocate(4 * MIB).unwrap();
    assert_eq!(appender.allocated(), 16 * MIB, "a smaller reserve takes nothing back");

    appender.cut().unwrap();
    assert_eq!(appender.allocated(), map.end(), "the next append knows that it may find no space");
    assert_eq!(fs::metadata(&path).unwrap().len(), map.end());
    map.sync_data().unwrap(); // some filesystems count late
    assert!(reserved() <= MIB, "{}", reserved());
    frames::check(&slice, 5, |slice, at, out| slice.copy_to(at, out).unwrap());
    appender.allocate(MIB).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), map.end(), "one can reserve again");
    let map = appender.finish().unwrap();
    map.appender().expect("who has finished is no appender any more");
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_reserve_beyond_the_capacity_is_refused() {
    let directory = directory();
    let mut appender = new_map(&directory.path().join("log"), MIB).appender().unwrap();
    assert!(appender.allocate(MIB + 1).is_err());
    assert_eq!(appender.allocated(), 0);
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn bytes_above_the_published_end_are_hidden_and_have_to_be_cut_before_an_append() {
    let directory = directory();
    let path = directory.path().join("log");
    fs::write(&path, b"published+torn").unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let map = SegmentMap::open(file, MIB, 9).unwrap();
    assert!(map.slice(0..10).is_none());

    let mut appender = map.appender().unwrap();
    assert!(appender.append(&[IoSlice::new(b"!")]).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"published+torn");
    appender.cut().unwrap();
    appender.append(&[IoSlice::new(b"!")]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"published!");
    assert_eq!(published(&map), b"published!");
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn what_cannot_be_mapped_is_refused_by_name() {
    let file = || tempfile::tempfile().unwrap();
    assert!(matches!(SegmentMap::open(file(), 0, 0), Err(MapError::Capacity { .. })));
    assert!(matches!(SegmentMap::open(file(), u64::MAX, 0), Err(MapError::Capacity { .. })));
    assert!(matches!(SegmentMap::open(file(), 10, 11), Err(MapError::Capacity { .. })));
    assert!(matches!(SegmentMap::open(file(), 10, 1), Err(MapError::ShortFile { len: 0, end: 1 })));
    let above_the_address_space = SegmentMap::open(file(), 1 << 62, 0);
    assert!(matches!(above_the_address_space, Err(MapError::Io(_))));
    let as_io = std::io::Error::from(above_the_address_space.unwrap_err());
    assert_eq!(as_io.raw_os_error(), Some(libc::ENOMEM), "the kernel's error keeps its number");
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn an_append_to_a_read_only_descriptor_is_an_error_and_publishes_nothing() {
    let directory = directory();
    let path = directory.path().join("log");
    fs::write(&path, b"sealed").unwrap();
    let map = SegmentMap::open(File::open(&path).unwrap(), MIB, 6).unwrap();
    let mut appender = map.appender().unwrap();
    assert!(appender.append(&[IoSlice::new(b"no")]).is_err());
    assert_eq!(map.end(), 6);
    assert_eq!(fs::read(&path).unwrap(), b"sealed");
}
