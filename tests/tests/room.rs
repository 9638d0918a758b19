//! Room on the disk: what is deleted gives it back, also what was written by an earlier run, and producers do not take
//! what is to stay free.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::path::Path;

use folio_client::{Client, ClientConfig, ConfigChange, ConfigResource};
use folio_tests::cache::closed_logs;
use folio_tests::daemon::Daemon;
use folio_tests::disk::TinyDisk;
use folio_tests::native::{Peer, batch, keyed};
use folio_tests::rig::until;
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;
use folio_wire::native::records::{RecordsDeleteEntryV1, RecordsDeleteRequestV1};

/// A daemon whose topic `t` has ten closed segments of an earlier run, none of which anybody has read in this one.
fn written_before(dir: &Path) -> Daemon {
    let settings = ["--set", "topic.segment.bytes=20000", "--set", "maintenance.interval.ms=20"];
    let daemon = Daemon::on(dir, &settings);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    for _ in 0..21 {
        let sent = keyed(b"the only key", &[7; 9_000]);
        assert_eq!(peer.produce("t", 0, Acks::All, &sent).error, ErrorCode::NONE);
    }
    assert!(daemon.stop().success());
    Daemon::on(dir, &settings)
}

/// Waits until no more than `most` closed segments are left, and what they had is free.
fn until_gone(dir: &Path, most: usize) {
    let data = dir.join("data");
    until("the segments are closed no more", || closed_logs(&data, "t").len() <= most);
    until("the trash is empty", || std::fs::read_dir(data.join("trash")).unwrap().next().is_none());
}

fn set(daemon: &Daemon, key: &str, value: &str) {
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    let change = ConfigChange::Set(key.to_owned(), value.to_owned());
    client.admin().alter_configs(ConfigResource::Topic("t".to_owned()), [change]).wait().unwrap();
}

#[test]
fn what_retention_takes_of_an_earlier_run_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = written_before(dir.path());
    set(&daemon, "retention.bytes", "40000");
    until_gone(dir.path(), 2);
}

#[test]
fn what_a_compaction_replaces_of_an_earlier_run_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = written_before(dir.path());
    set(&daemon, "min.cleanable.dirty.ratio", "0");
    set(&daemon, "cleanup.policy", "compact");
    until_gone(dir.path(), 1);
}

#[test]
fn records_of_an_earlier_run_that_are_deleted_are_free() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = written_before(dir.path());
    let entries = vec![RecordsDeleteEntryV1 { topic: "t", partition: 0, before: 20 }];
    Peer::connect(daemon.address()).call(&RecordsDeleteRequestV1 { entries }, &[]);
    until_gone(dir.path(), 1);
}

#[test]
fn who_produces_faster_than_anybody_looks_leaves_free_what_is_to_stay_free() {
    let disk = TinyDisk::mount(96);
    let settings = ["disk.min.free=33554432", "topic.segment.bytes=1048576", "topic.durability=os"];
    let arguments: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let daemon = Daemon::on(disk.path(), &arguments);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    let sent = batch(&[7; 900_000]);
    // No more can be under way than fits in memory; all of it comes before the next look.
    let all: Vec<_> = (0..110).map(|_| peer.submit_produce("t", 0, Acks::All, &sent)).collect();
    let refused = all.into_iter().filter(|one| peer.produced(*one).error == ErrorCode::STORAGE_FULL).count();
    assert!((25..60).contains(&refused), "{refused} refused");
    let stat = rustix::fs::statvfs(disk.path()).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    assert!(free > 24 << 20, "{free} bytes free");
}
