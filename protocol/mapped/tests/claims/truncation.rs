//! A foreign hand truncates a file under its map.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use folio_mapped::{CopyError, MapSlice, Part, writev};

use crate::{MIB, again, directory, new_map};

/// A slice of `pages` pages of `0x55`, whose file was then cut to `len` bytes behind its back.
fn truncated(path: &Path, pages: usize, len: u64) -> MapSlice {
    let map = new_map(path, MIB);
    let bytes = vec![0x55; pages * PAGE];
    map.appender().unwrap().append(&[IoSlice::new(&bytes)]).unwrap();
    let slice = map.slice(0..map.end()).unwrap();
    // Every page is in the page table: the truncation has to take it out again.
    slice.populate().unwrap();
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
    slice
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn sending_a_truncated_file_is_an_error_and_not_a_signal() {
    let directory = directory();
    let slice = truncated(&directory.path().join("log"), 4, 0);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let error = writev(ours.as_fd(), &[Part::Map(&slice)]).unwrap_err();
    assert_eq!(lost_from(&error), Some(0));
    assert_eq!(slice.map().poisoned(), Some(0));
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn sending_goes_up_to_the_truncation_and_then_says_so() {
    let directory = directory();
    let mut slice = truncated(&directory.path().join("log"), 8, 2 * PAGE as u64);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut theirs = listener.accept().unwrap().0;
    let received = thread::spawn(move || {
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).unwrap();
        received
    });

    let before = slice.len();
    let error = loop {
        match writev(ours.as_fd(), &[Part::Map(&slice)]) {
            Ok(sent) => slice.advance(sent),
            Err(error) => break error,
        }
    };
    assert_eq!(lost_from(&error), Some(2 * PAGE as u64));
    drop(ours);
    let received = received.join().unwrap();
    assert_eq!(received.len(), before - slice.len(), "what was counted as sent arrived");
    assert!((1..=2 * PAGE).contains(&received.len()), "{}", received.len());
    assert!(received.iter().all(|&byte| byte == 0x55));
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn populating_a_truncated_file_is_an_error_and_not_a_signal() {
    let directory = directory();
    let slice = truncated(&directory.path().join("log"), 4, 2 * PAGE as u64);
    match slice.populate() {
        Err(CopyError::Poisoned { position }) => assert_eq!(position, 2 * PAGE as u64),
        other => panic!("{other:?}"),
    }
    let mut front = slice;
    front.truncate(2 * PAGE);
    front.populate().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_checked_copy_of_a_truncated_file_names_the_first_missing_byte() {
    let directory = directory();
    let slice = truncated(&directory.path().join("log"), 4, PAGE as u64 + 100);
    let mut bytes = vec![0; 3 * PAGE];
    match slice.read_to(50, &mut bytes) {
        Err(CopyError::Poisoned { position }) => assert_eq!(position, PAGE as u64 + 100),
        other => panic!("{other:?}"),
    }
    slice.read_to(50, &mut bytes[..PAGE]).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn what_lies_before_the_loss_is_sent_and_copied_as_before_also_once_it_is_known() {
    let directory = directory();
    let mut slice = truncated(&directory.path().join("log"), 4, PAGE as u64);
    assert!(slice.read_to(PAGE, &mut [0]).is_err());
    assert_eq!(slice.map().poisoned(), Some(PAGE as u64));
    let front = slice.split_to(1000);
    let mut bytes = [0; 1000];
    front.copy_to(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0x55; 1000]);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    assert_eq!(writev(ours.as_fd(), &[Part::Map(&front)]).unwrap(), 1000);
    theirs.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [0x55; 1000]);
    assert!(writev(ours.as_fd(), &[Part::Map(&slice)]).is_err(), "nothing is sent of the rest");
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_cut_of_a_file_that_was_truncated_makes_up_no_bytes() {
    let directory = directory();
    let path = directory.path().join("log");
    let map = new_map(&path, MIB);
    let mut appender = map.appender().unwrap();
    appender.append(&[IoSlice::new(&[0x55; 1000])]).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(600).unwrap();
    assert_eq!(map.poisoned(), None, "nobody has looked");
    appender.cut().unwrap();
    assert_eq!(path.metadata().unwrap().len(), 600);
    assert_eq!(map.poisoned(), Some(600));
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn asking_for_the_residency_of_a_truncated_file_is_no_signal_and_says_no() {
    let directory = directory();
    let slice = truncated(&directory.path().join("log"), 4, 0);
    assert!(!slice.resident().unwrap());
    assert_eq!(folio_mapped::mincore(&slice).unwrap(), 0);
}

/// The control: without it the tests above could pass because the pages are still there.
#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_touch_of_the_same_page_is_a_signal() {
    if again::is_child() {
        let directory = directory();
        let slice = truncated(&directory.path().join("log"), 4, 0);
        // Nobody will tidy up behind a process that dies.
        directory.close().unwrap();
        let _ = slice.copy_to(0, &mut [0]);
        return;
    }
    let ended = again::run("truncation::a_touch_of_the_same_page_is_a_signal", "ulimit -c 0");
    assert_eq!(ended.signal(), Some(libc::SIGBUS));
}

/// What the error says is gone, if it is that.
fn lost_from(error: &io::Error) -> Option<u64> {
    match error.get_ref()?.downcast_ref()? {
        CopyError::Poisoned { position } => Some(*position),
        _ => None,
    }
}

const PAGE: usize = 64 << 10; // a multiple of every page size
