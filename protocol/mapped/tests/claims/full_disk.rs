//! The disk is full in the middle of an append.
//!
//! Two kinds of full: a limit on the size of files, which every process can set for a child, and a tiny filesystem
//! in a namespace of its own, which needs the right to mount.

use std::fs;
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{MIB, again, directory, new_map, published};

/// No divisor of a page or a block: an append ends in the middle of one.
const CHUNK: usize = 3_000;

/// Appends until it fails; checks that the failed append left no trace that a reader or a later append could see.
/// Returns the error.
fn append_until_full(path: &Path) -> io::Error {
    let map = new_map(path, MIB);
    let mut appender = map.appender().unwrap();
    let mut expected = Vec::new();
    let error = loop {
        let chunk = [(expected.len() / CHUNK) as u8; CHUNK];
        let (front, back) = chunk.split_at(1_000);
        match appender.append(&[IoSlice::new(front), IoSlice::new(back)]) {
            Ok(_) => expected.extend(chunk),
            Err(error) => break error,
        }
    };
    let end = expected.len() as u64;
    assert!(end > 0, "the first append failed: {error}");
    assert_eq!((map.end(), appender.end()), (end, end));
    assert!(map.slice(0..end + 1).is_none());
    assert!(fs::metadata(path).unwrap().len() > end, "this was to be a short write");

    appender.append(&[IoSlice::new(b"x")]).expect_err("appended over the rest of a failed append");
    assert_eq!(map.end(), end);
    appender.cut().unwrap();
    assert_eq!(fs::read(path).unwrap(), expected, "the file is what was published");

    appender.append(&[IoSlice::new(b"small")]).unwrap();
    expected.extend(b"small");
    assert_eq!(published(&map), expected);
    error
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn a_write_cut_short_by_a_limit_publishes_nothing_and_can_be_cut_off() {
    if again::is_child() {
        let directory = directory();
        let error = append_until_full(&directory.path().join("log"));
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
        return;
    }
    // Above the limit a write gives EFBIG, if the signal that comes with it is ignored.
    let limit = "trap '' XFSZ; ulimit -f 32";
    again::run("full_disk::a_write_cut_short_by_a_limit_publishes_nothing_and_can_be_cut_off", limit)
        .expect_success();
}

#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn on_a_full_filesystem_nothing_torn_is_published_and_what_was_reserved_is_there() {
    if again::is_child() {
        let directory = PathBuf::from(std::env::var_os("FULL_DIRECTORY").unwrap());
        let error = append_until_full(&directory.join("log"));
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        fs::remove_file(directory.join("log")).unwrap();
        reserve_then_fill(&directory);
        return;
    }
    let name = "full_disk::on_a_full_filesystem_nothing_torn_is_published_and_what_was_reserved_is_there";
    let directory = directory();
    let mount = "mount -t tmpfs -o size=256k none \"$FULL_DIRECTORY\" || exit 1";
    let namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh"]).env("FULL_DIRECTORY", directory.path());
        command
    };
    again::run_by(namespace(), name, mount).expect_success();
}

/// What is reserved can be appended to when the disk has become full since, and not a byte more.
fn reserve_then_fill(directory: &Path) {
    const RESERVE: u64 = 64 << 10;
    let map = new_map(&directory.join("reserved"), MIB);
    let mut appender = map.appender().unwrap();
    appender.allocate(RESERVE).unwrap();
    let mut ballast = fs::File::create(directory.join("ballast")).unwrap();
    while ballast.write_all(&[1; 4096]).is_ok() {}

    assert_eq!(appender.allocate(2 * RESERVE).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(appender.allocated(), RESERVE, "a refused reserve changes nothing");
    for _ in 0..RESERVE / 1024 {
        appender.append(&[IoSlice::new(&[2; 1024])]).unwrap();
    }
    let error = appender.append(&[IoSlice::new(&[2; 1024])]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(map.end(), RESERVE);
    assert!(published(&map).iter().all(|&byte| byte == 2));

    fs::remove_file(directory.join("ballast")).unwrap();
    drop(ballast);
    appender.cut().unwrap();
    appender.append(&[IoSlice::new(&[2; 1024])]).unwrap();
}
