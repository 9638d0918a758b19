//! What readers see beside an appender.

use std::io::{IoSlice, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use folio_mapped::{AppenderError, MapSlice, Part, SegmentMap, writev};
use rustix::fs::{Advice, fadvise};

use crate::{MIB, directory, frames, new_map, published};

/// How long a reader waits for an appender that may have failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Appends `count` frames while every reader of `copies` follows and checks them.
fn read_beside_an_appender(map: &Arc<SegmentMap>, count: u32, copies: [fn(&MapSlice, usize, &mut [u8]); 2]) {
    thread::scope(|scope| {
        for copy in copies {
            scope.spawn(move || {
                let (mut seen, mut next, deadline) = (0, 0, Instant::now() + PATIENCE);
                while next < count {
                    assert!(Instant::now() < deadline, "the appender is gone");
                    let end = map.end();
                    next = frames::check(&map.slice(seen..end).unwrap(), next, copy);
                    seen = end;
                    thread::yield_now();
                }
            });
        }
        let mut appender = map.appender().unwrap();
        for number in 0..count {
            frames::append(&mut appender, number);
            if number % 16 == 0 {
                thread::yield_now();
            }
        }
    });
}

fn by_load(slice: &MapSlice, at: usize, out: &mut [u8]) {
    slice.copy_to(at, out).unwrap();
}

fn by_read(slice: &MapSlice, at: usize, out: &mut [u8]) {
    slice.read_to(at, out).unwrap();
}

fn by_socket(slice: &MapSlice, at: usize, out: &mut [u8]) {
    let mut part = slice.clone();
    part.advance(at);
    part.truncate(out.len());
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    assert_eq!(writev(ours.as_fd(), &[Part::Map(&part)]).unwrap(), out.len());
    theirs.read_exact(out).unwrap();
}

#[test]
fn readers_of_memory_never_see_a_torn_frame() {
    let count = if cfg!(miri) { 20 } else { 3_000 };
    read_beside_an_appender(&SegmentMap::heap(8 << 20), count, [by_load, by_load]);
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn readers_of_a_file_never_see_a_torn_frame_while_its_pages_are_flushed_and_dropped() {
    let directory = directory();
    for (name, copies) in [("load", [by_load as _, by_read as _]), ("socket", [by_socket as _, by_load as _])]
    {
        let path = directory.path().join(name);
        let map = new_map(&path, 8 * MIB);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let file = std::fs::File::open(&path).unwrap();
                while !done.load(Ordering::Relaxed) {
                    map.start_writeback(0..map.end()).unwrap();
                    map.sync_data().unwrap();
                    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
                }
            });
            read_beside_an_appender(&map, 3_000, copies);
            done.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn nothing_at_or_above_the_end_can_be_sliced() {
    let map = SegmentMap::heap(100);
    assert_eq!(map.slice(0..0).unwrap().len(), 0);
    assert!(map.slice(0..1).is_none());
    let mut appender = map.appender().unwrap();
    appender.append(&[IoSlice::new(&[1; 10])]).unwrap();
    assert_eq!(map.slice(3..10).unwrap().range(), 3..10);
    assert!(map.slice(3..11).is_none());
    assert!(map.slice(11..11).is_none());
    assert!(map.slice(0..u64::MAX).is_none());
    #[expect(clippy::reversed_empty_ranges, reason = "that it is refused is the claim")]
    let reversed = map.slice(7..6);
    assert!(reversed.is_none());
}

#[test]
fn a_slice_outlives_every_other_handle() {
    let map = SegmentMap::heap(100);
    map.appender().unwrap().append(&[IoSlice::new(b"kept alive")]).unwrap();
    let slice = map.slice(5..10).unwrap();
    drop(map);
    let read = thread::spawn(move || {
        let mut bytes = [0; 5];
        slice.copy_to(0, &mut bytes).unwrap();
        bytes
    });
    assert_eq!(&read.join().unwrap(), b"alive");
}

#[test]
fn a_copy_outside_of_a_slice_is_an_error() {
    let map = SegmentMap::heap(100);
    map.appender().unwrap().append(&[IoSlice::new(&[1; 50])]).unwrap();
    let slice = map.slice(10..20).unwrap();
    for (at, wanted) in [(0, 11), (10, 1), (11, 0), (usize::MAX, 2)] {
        assert!(slice.copy_to(at, &mut vec![0; wanted]).is_err(), "{at} {wanted}");
        assert!(slice.read_to(at, &mut vec![0; wanted]).is_err(), "{at} {wanted}");
    }
    slice.copy_to(10, &mut []).unwrap();
}

#[test]
fn an_append_without_room_writes_nothing_and_the_next_that_fits_goes_in() {
    let map = SegmentMap::heap(10);
    let mut appender = map.appender().unwrap();
    appender.append(&[IoSlice::new(b"1234")]).unwrap();
    assert!(appender.append(&[IoSlice::new(b"567"), IoSlice::new(b"89ab")]).is_err());
    assert_eq!((map.end(), appender.room()), (4, 6));
    appender.append(&[IoSlice::new(b"56789a")]).unwrap();
    assert_eq!(published(&map), b"123456789a");
    assert_eq!(appender.append(&[]).unwrap(), 10..10);
}

#[test]
fn a_map_has_one_appender_at_a_time_and_the_next_goes_on_where_it_ended() {
    let map = SegmentMap::heap(10);
    let mut first = map.appender().unwrap();
    assert!(matches!(map.appender(), Err(AppenderError::Taken)));
    first.append(&[IoSlice::new(b"one")]).unwrap();
    drop(first);
    let mut second = map.appender().unwrap();
    assert_eq!(second.append(&[IoSlice::new(b"two")]).unwrap(), 3..6);
    assert_eq!(published(&map), b"onetwo");
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_file_has_one_appender_whatever_its_maps_and_names() {
    let directory = directory();
    let (path, alias) = (directory.path().join("a"), directory.path().join("b"));
    let map = new_map(&path, MIB);
    std::fs::hard_link(&path, &alias).unwrap();
    let open = || std::fs::File::options().read(true).write(true).open(&alias).unwrap();
    let other = SegmentMap::open(open(), MIB, 0).unwrap();

    let first = map.appender().unwrap();
    assert!(matches!(other.appender(), Err(AppenderError::Taken)));
    drop(first);
    other.appender().unwrap().append(&[IoSlice::new(b"x")]).unwrap();
    // The first map did not see that: its end is behind the file, so it has to cut before it may append.
    assert!(map.appender().unwrap().append(&[IoSlice::new(b"y")]).is_err());
}

#[test]
#[cfg_attr(miri, ignore = "a socket")]
fn one_writev_sends_heap_and_mapped_parts_in_order_and_no_more_than_the_kernel_takes() {
    let map = SegmentMap::heap(8 << 10);
    map.appender().unwrap().append(&[IoSlice::new(&[b'm'; 5000])]).unwrap();
    let slice = map.slice(0..3).unwrap();
    let empty = map.slice(9..9).unwrap();
    let parts: Vec<_> = [Part::Heap(b"h"), Part::Map(&empty), Part::Heap(b""), Part::Map(&slice)].repeat(600);
    let (ours, mut theirs) = UnixStream::pair().unwrap();

    let sent = writev(ours.as_fd(), &parts).unwrap();
    assert_eq!(sent, folio_mapped::PARTS_MAX / 2 * 4, "empty parts take no place");
    let mut received = vec![0; sent];
    theirs.read_exact(&mut received).unwrap();
    assert_eq!(received, b"hmmm".repeat(sent / 4));
    assert_eq!(writev(ours.as_fd(), &[]).unwrap(), 0);
}
