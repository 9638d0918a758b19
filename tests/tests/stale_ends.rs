//! What a power cut leaves behind the end of a file: bytes that reached the disk before the length that would show
//! them.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::path::Path;
use std::process::Command;

use folio_tests::daemon::{Daemon, signal};
use folio_tests::disk::image::Ext4;
use folio_tests::isolated::Isolated;
use folio_tests::native::{Peer, batch};
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;

const LOG: &str = "data/topics/t-0/00000000000000000000.log";

/// Sets the length of a file of an image that is not mounted, and nothing else of it: as a cut between both leaves it.
fn set_length(image: &Path, file: &str, length: u64) {
    let request = format!("set_inode_field /{file} size {length}");
    let done = Command::new("debugfs").args(["-w", "-R", &request]).arg(image).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn start(dir: &Path) -> Daemon {
    Daemon::on(dir, &["--set", "disk.min.free=1000000"])
}

#[test]
fn batches_that_a_cut_has_left_behind_the_end_of_a_log_do_not_come_back_with_the_next_one() {
    Isolated::run(
        "batches_that_a_cut_has_left_behind_the_end_of_a_log_do_not_come_back_with_the_next_one",
        || {
            let dir = tempfile::tempdir().unwrap();
            let (image, mnt) = (dir.path().join("image"), dir.path().join("mnt"));
            Ext4::DEFAULT.make(&image);
            let mounted = Ext4::DEFAULT.mount(&image, &mnt);
            let mut daemon = start(&mnt);
            let mut peer = Peer::connect(daemon.address());
            peer.create("t", 1, &[("durability", "os")]);
            let (first, second) = (batch(b"kept"), batch(b"lost with the first cut"));
            for bytes in [&first, &second] {
                assert_eq!(peer.produce("t", 0, Acks::All, bytes).error, ErrorCode::NONE);
            }
            signal(&daemon.pid().to_string(), "KILL");
            daemon.wait();
            let whole = std::fs::metadata(mnt.join(LOG)).unwrap().len();
            mounted.unmount();

            // The bytes of the second batch are on the disk, and its length is not.
            let kept = first.len() as u64;
            assert_eq!(whole, kept + second.len() as u64);
            set_length(&image, LOG, kept);
            let mounted = Ext4::DEFAULT.mount(&image, &mnt);
            let mut daemon = start(&mnt);
            assert!(daemon.said().contains("0 bytes cut, 0 offline"), "{}", daemon.said());
            let (_, records) = Peer::connect(daemon.address()).fetch_now("t", 0);
            assert_eq!(records.len() as u64, kept);
            // The next one takes the bytes of whatever is appended now, and not the length.
            signal(&daemon.pid().to_string(), "KILL");
            daemon.wait();
            mounted.unmount();
            set_length(&image, LOG, whole);
            let mounted = Ext4::DEFAULT.mount(&image, &mnt);
            let log = std::fs::read(mnt.join(LOG)).unwrap();
            assert!(log[kept as usize..].iter().all(|byte| *byte == 0), "what was given up is back");
            let daemon = start(&mnt);
            assert!(daemon.said().contains(" 0 offline"), "{}", daemon.said());
            let (_, records) = Peer::connect(daemon.address()).fetch_now("t", 0);
            assert_eq!(records.len() as u64, kept);
            daemon.stop();
            mounted.unmount();
        },
    );
}
