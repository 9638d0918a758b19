//! A page that is gone is touched, and the process has a guard. Each in a process of its own: a handler is everybody's.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use folio_mapped::{CopyError, MapSlice, Part, SegmentMap, guard_against_sigbus, writev};

use crate::{MIB, again, directory, new_map};

/// Runs `claim` in another process, and wants that to end well.
fn guarded(name: &str, claim: impl FnOnce(&Path)) {
    if again::is_child() {
        guard_against_sigbus().unwrap();
        guard_against_sigbus().unwrap();
        claim(directory().path());
    } else {
        again::run(&format!("guard::{name}"), "ulimit -c 0").expect_success();
    }
}

/// A map of `pages` pages of `0x55`.
fn written(path: &Path, pages: usize) -> Arc<SegmentMap> {
    let map = new_map(path, MIB);
    map.appender().unwrap().append(&[IoSlice::new(&vec![0x55; pages * PAGE])]).unwrap();
    map.slice(0..map.end()).unwrap().populate().unwrap();
    map
}

fn truncate(path: &Path, len: usize) {
    File::options().write(true).open(path).unwrap().set_len(len as u64).unwrap();
}

fn all(map: &Arc<SegmentMap>) -> MapSlice {
    map.slice(0..map.end()).unwrap()
}

#[track_caller]
fn expect_poisoned(outcome: Result<(), CopyError>, from: usize) {
    match outcome {
        Err(CopyError::Poisoned { position }) => assert_eq!(position, from as u64),
        other => panic!("{other:?}"),
    }
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_touch_of_a_page_that_is_gone_is_an_error_that_names_where_the_loss_begins() {
    guarded("a_touch_of_a_page_that_is_gone_is_an_error_that_names_where_the_loss_begins", |dir| {
        let map = written(&dir.join("log"), 4);
        truncate(&dir.join("log"), PAGE + 100);
        let slice = all(&map);
        // The third page is touched; it is the second one in which the loss begins.
        expect_poisoned(slice.copy_to(2 * PAGE + 7, &mut [0; 20]), PAGE + 100);
        assert_eq!(map.poisoned(), Some(PAGE as u64 + 100));
        expect_poisoned(slice.copy_to(3 * PAGE, &mut [0]), PAGE + 100);
        expect_poisoned(slice.populate(), PAGE + 100);
        let mut front = slice;
        front.truncate(PAGE);
        let mut byte = [0];
        front.copy_to(PAGE - 1, &mut byte).unwrap();
        assert_eq!(byte, [0x55], "what lies before is as it was");
    });
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn only_the_map_that_was_touched_is_poisoned() {
    guarded("only_the_map_that_was_touched_is_poisoned", |dir| {
        let [before, lost, after] = ["a", "b", "c"].map(|name| written(&dir.join(name), 4));
        truncate(&dir.join("b"), 0);
        assert!(all(&lost).copy_to(0, &mut [0]).is_err());
        for map in [before, after] {
            assert_eq!(map.poisoned(), None);
            let mut bytes = vec![0; 4 * PAGE];
            all(&map).copy_to(0, &mut bytes).unwrap();
            assert!(bytes.iter().all(|&byte| byte == 0x55));
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_range_that_is_mapped_where_a_poisoned_one_was_is_good() {
    guarded("a_range_that_is_mapped_where_a_poisoned_one_was_is_good", |dir| {
        for round in 0..50 {
            let path = dir.join(round.to_string());
            let map = written(&path, 4);
            let mut byte = [0];
            all(&map).copy_to(3 * PAGE, &mut byte).unwrap();
            assert_eq!(byte, [0x55], "round {round}");
            truncate(&path, 0);
            assert!(all(&map).copy_to(3 * PAGE, &mut byte).is_err(), "round {round}");
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn nothing_is_sent_of_zeros_that_stand_where_a_page_was() {
    guarded("nothing_is_sent_of_zeros_that_stand_where_a_page_was", |dir| {
        let map = written(&dir.join("log"), 4);
        let sent_later = all(&map);
        truncate(&dir.join("log"), 0);
        assert!(all(&map).copy_to(0, &mut [0]).is_err());
        // The kernel would find the page of zeros, and no fault.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let parts = [Part::Heap(b"header"), Part::Map(&sent_later)];
        assert!(writev(ours.as_fd(), &parts).is_err());
        theirs.set_nonblocking(true).unwrap();
        let error = std::io::Read::read(&mut &theirs, &mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "not even the header");
    });
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn readers_on_many_threads_get_true_bytes_or_an_error_while_the_file_shrinks() {
    guarded("readers_on_many_threads_get_true_bytes_or_an_error_while_the_file_shrinks", |dir| {
        let path = dir.join("log");
        let map = written(&path, 16);
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let (slice, mut bytes) = (all(&map), vec![0; 512]);
                        let mut errors = 0;
                        while !is_done.load(Ordering::Relaxed) || errors == 0 {
                            for at in (0..16 * PAGE - 512).step_by(PAGE / 2) {
                                match slice.copy_to(at, &mut bytes) {
                                    Ok(()) => assert!(bytes.iter().all(|&byte| byte == 0x55), "at {at}"),
                                    Err(_) => errors += 1,
                                }
                            }
                        }
                        errors
                    })
                })
                .collect();
            for pages in (0..16).rev() {
                truncate(&path, pages * PAGE);
                thread::yield_now();
            }
            is_done.store(true, Ordering::Relaxed);
            for reader in readers {
                assert!(reader.join().unwrap() > 0);
            }
        });
    });
}

#[test]
#[cfg_attr(miri, ignore = "needs signals")]
fn a_signal_that_has_nothing_to_do_with_maps_goes_to_who_was_there_before() {
    let name = "a_signal_that_has_nothing_to_do_with_maps_goes_to_who_was_there_before";
    if !again::is_child() {
        again::run(&format!("guard::{name}"), "ulimit -c 0").expect_success();
        return;
    }
    let was_heard = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(libc::SIGBUS, Arc::clone(&was_heard)).unwrap();
    guard_against_sigbus().unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::BUS).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !was_heard.load(Ordering::Relaxed) {
        assert!(Instant::now() < deadline, "nobody was told");
        thread::yield_now();
    }
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_signal_that_somebody_sends_and_nobody_dies_of_leaves_the_guard_in_its_place() {
    guarded("a_signal_that_somebody_sends_and_nobody_dies_of_leaves_the_guard_in_its_place", |dir| {
        // To this very thread: it is over when the call returns. The standard library handles it.
        signal_hook::low_level::raise(libc::SIGBUS).unwrap();
        let map = written(&dir.join("log"), 4);
        truncate(&dir.join("log"), 0);
        expect_poisoned(all(&map).copy_to(0, &mut [0]), 0);
    });
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_file_that_was_truncated_before_it_is_mapped_to_be_read_has_what_is_left() {
    guarded("a_file_that_was_truncated_before_it_is_mapped_to_be_read_has_what_is_left", |dir| {
        drop(written(&dir.join("log"), 4));
        truncate(&dir.join("log"), 2 * PAGE + 5);
        let file = File::open(dir.join("log")).unwrap();
        let end = 4 * PAGE as u64;
        let map = SegmentMap::open_as_left(folio_mapped::map_budget(), file, end, end).unwrap();
        assert_eq!(map.poisoned(), Some(2 * PAGE as u64 + 5));
        let mut front = all(&map);
        let front = front.split_to(2 * PAGE);
        let mut bytes = vec![0; 2 * PAGE];
        front.copy_to(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 0x55));
    });
}

const PAGE: usize = 64 << 10; // a multiple of every page size
