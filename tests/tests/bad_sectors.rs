//! A disk some sectors of which cannot be written, or not be read, under a real file system and the daemon: what cannot
//! be written is not acknowledged and ends the daemon; what cannot be read is refused, and nothing else is.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::ops::Range;
use std::path::Path;

use folio_record::UnverifiedBatch;
use folio_tests::cache;
use folio_tests::daemon::Daemon;
use folio_tests::disk::crash::CrashDisk;
use folio_tests::disk::image::{Ext4, FileSystem, Xfs, extents};
use folio_tests::isolated::Isolated;
use folio_tests::native::{Peer, batch};
use folio_tests::rig::until;
use folio_wire::native::ErrorCode;
use folio_wire::native::fetch::FetchedV1;
use folio_wire::native::produce::Acks;

const SETTINGS: &[&str] = &[
    "--set",
    "disk.min.free=1000000",
    "--set",
    "topic.segment.bytes=262144",
    "--set",
    "maintenance.interval.ms=20",
];

const RECORDS: usize = 600;

/// The byte of a segment from which on a block cannot be read, and how many bytes on either side may be refused with
/// it.
const BAD_AT: usize = 128 << 10;
const AROUND: usize = 64 << 10;

#[test]
fn a_disk_that_cannot_be_written_any_more_is_the_end_and_nothing_acknowledged_is_missing_on_ext4() {
    Isolated::run(
        "a_disk_that_cannot_be_written_any_more_is_the_end_and_nothing_acknowledged_is_missing_on_ext4",
        || {
            unwritable(Ext4::DEFAULT, |disk, _| disk.fail_writes(0..u64::MAX));
            unwritable(Ext4::DEFAULT, |disk, log| {
                extents(log).into_iter().for_each(|one| disk.fail_writes(one));
            });
        },
    );
}

#[test]
fn a_disk_that_cannot_be_written_any_more_is_the_end_and_nothing_acknowledged_is_missing_on_xfs() {
    Isolated::run(
        "a_disk_that_cannot_be_written_any_more_is_the_end_and_nothing_acknowledged_is_missing_on_xfs",
        || {
            unwritable(Xfs::DEFAULT, |disk, _| disk.fail_writes(0..u64::MAX));
            unwritable(Xfs::DEFAULT, |disk, log| {
                extents(log).into_iter().for_each(|one| disk.fail_writes(one));
            });
        },
    );
}

#[test]
fn a_block_that_cannot_be_read_is_refused_and_all_others_are_served_on_ext4() {
    Isolated::run("a_block_that_cannot_be_read_is_refused_and_all_others_are_served_on_ext4", || {
        unreadable(Ext4::DEFAULT);
    });
}

#[test]
fn a_block_that_cannot_be_read_is_refused_and_all_others_are_served_on_xfs() {
    Isolated::run("a_block_that_cannot_be_read_is_refused_and_all_others_are_served_on_xfs", || {
        unreadable(Xfs::DEFAULT);
    });
}

fn value(number: usize) -> Vec<u8> {
    let mut value = number.to_string().into_bytes();
    value.resize(1000, b'.');
    value
}

fn produce(peer: &mut Peer, numbers: Range<usize>) {
    for number in numbers {
        let produced = peer.produce("t", 0, Acks::All, &batch(&value(number)));
        assert_eq!((produced.error, produced.base_offset), (ErrorCode::NONE, number as i64));
    }
}

/// What a new connection is answered. One that is closed under an answer, because a page of it could not be read, is
/// asked anew, as every client does.
fn answered(daemon: &Daemon, offset: usize) -> (FetchedV1, Vec<u8>) {
    let mut answer = None;
    until("there is an answer, at last", || {
        answer = Peer::connect(daemon.address()).fetch_unless_closed("t", offset as i64);
        answer.is_some()
    });
    answer.unwrap()
}

/// What is answered for an offset: records that begin with this one, or an error.
fn fetch(daemon: &Daemon, offset: usize) -> Result<(), ErrorCode> {
    let (entry, records) = answered(daemon, offset);
    if entry.error != ErrorCode::NONE {
        return Err(entry.error);
    }
    let value = value(offset);
    let first = &records[..records.len().min(value.len() + 100)];
    assert!(first.windows(value.len()).any(|one| one == value), "something else at {offset}");
    Ok(())
}

/// Asks for everything from an offset on, again and again from where the answer before ended: how far that goes, and
/// the error that ends it.
fn read_through(daemon: &Daemon, from: usize, upto: usize) -> (usize, Option<ErrorCode>) {
    let mut next = from;
    while next < upto {
        let (entry, records) = answered(daemon, next);
        if entry.error != ErrorCode::NONE {
            return (next, Some(entry.error));
        }
        let mut rest = &records[..];
        while let Ok((batch, behind)) = UnverifiedBatch::split_first(rest) {
            let value = value(next);
            assert_eq!(batch.verify().unwrap().header().base_offset.get(), next as i64);
            assert!(rest[..rest.len() - behind.len()].windows(value.len()).any(|one| one == value));
            (next, rest) = (next + 1, behind);
        }
    }
    (next, None)
}

fn unwritable(file_system: FileSystem, harm: impl Fn(&CrashDisk, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    let disk = CrashDisk::serve(file_system, dir.path());
    let mounted = file_system.mount(disk.path(), &dir.path().join("mnt"));
    let mut daemon = Daemon::on(mounted.path(), SETTINGS);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    produce(&mut peer, 0..20);
    harm(&disk, &cache::logs(&mounted.path().join("data/topics/t-0"))[0]);
    let sent = peer.submit_produce("t", 0, Acks::All, &batch(&value(20)));
    let produced = peer.produced(sent);
    assert_eq!(produced.error, ErrorCode::STORAGE_FAILED, "{:?}", produced.message);
    assert_eq!(daemon.wait().code(), Some(70), "{}", daemon.said());
    disk.heal();

    // The cache may still show what never reached the disk. If the file system lives, the next start looks at the disk.
    let lives = std::fs::write(mounted.path().join("probe"), b"").is_ok();
    let mounted = if lives {
        mounted
    } else {
        mounted.unmount();
        file_system.mount(disk.path(), &dir.path().join("mnt"))
    };
    let daemon = Daemon::on(mounted.path(), SETTINGS);
    assert!(daemon.said().contains("unclean stop"), "{}", daemon.said());
    for number in 0..20 {
        assert_eq!(fetch(&daemon, number), Ok(()), "{number}: {}", daemon.said());
    }
    daemon.stop();
    mounted.unmount();
}

fn unreadable(file_system: FileSystem) {
    let dir = tempfile::tempdir().unwrap();
    let disk = CrashDisk::serve(file_system, dir.path());
    let mounted = file_system.mount(disk.path(), &dir.path().join("mnt"));
    let daemon = Daemon::on(mounted.path(), SETTINGS);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    produce(&mut peer, 0..RECORDS);
    until("all but the last are sealed", || {
        let said = cache::logs(&mounted.path().join("data/topics/t-0"));
        said.len() > 2 && said[..said.len() - 1].iter().all(|log| cache::is_sealed(log))
    });
    daemon.stop();
    mounted.unmount();

    // Nothing of it is in memory any more.
    let mounted = file_system.mount(disk.path(), &dir.path().join("mnt"));
    let logs = cache::logs(&mounted.path().join("data/topics/t-0"));
    let bad = on_disk(&logs[1], BAD_AT as u64);
    disk.fail_reads(bad..bad + 4096);
    let daemon = Daemon::on(mounted.path(), SETTINGS);
    assert!(
        daemon.said().contains("clean stop") && daemon.said().contains(" 0 offline"),
        "{}",
        daemon.said()
    );
    let first: usize = logs[1].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    // Batches have 1070 bytes. The kernel may read several pages as one, and then all of them are refused.
    let (from, upto) = (first + (BAD_AT - AROUND) / 1070, first + (BAD_AT + AROUND) / 1070 + 1);
    // In the middle of what is asked for at once, none of it in memory: what lies before is served, and what lies
    // behind.
    let (stopped, error) = read_through(&daemon, first, RECORDS);
    assert!(error.is_some() && (from..=upto).contains(&stopped), "{stopped} of {first}: {error:?}");
    assert_eq!(read_through(&daemon, upto + 1, RECORDS), (RECORDS, None));

    let refused: Vec<usize> = (0..RECORDS).filter(|number| fetch(&daemon, *number).is_err()).collect();
    assert!(
        !refused.is_empty() && refused.iter().all(|number| (from..=upto).contains(number)),
        "{refused:?}"
    );
    produce(&mut Peer::connect(daemon.address()), RECORDS..RECORDS + 1);
    let told = format!("topics/t-0: the batch at offset {}", refused[0]);
    assert!(
        daemon.said().contains(&told) && daemon.said().contains("Input/output error"),
        "{}",
        daemon.said()
    );

    disk.heal();
    until("it is read again", || (0..RECORDS).all(|number| fetch(&daemon, number).is_ok()));
    daemon.stop();
    mounted.unmount();
}

/// Where the disk has this byte of a file without holes.
fn on_disk(file: &Path, mut at: u64) -> u64 {
    for extent in extents(file) {
        let len = extent.end - extent.start;
        if at < len {
            return extent.start + at;
        }
        at -= len;
    }
    panic!("{} is shorter", file.display());
}
