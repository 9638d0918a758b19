//! What a daemon says of the file system that its data is on, over real ones.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use folio_tests::daemon::Daemon;
use folio_tests::disk::TinyDisk;
use folio_tests::disk::image::{Btrfs, Ext4, FileSystem, Xfs};
use folio_tests::isolated::Isolated;
use folio_tests::native::{Peer, batch};
use folio_tests::strace::Strace;
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;
use folio_wire::native::records::{RecordsDeleteEntryV1, RecordsDeleteRequestV1};

/// What is said about the file system at `dir`, on which a daemon serves.
fn said_of(dir: &Path) -> Vec<String> {
    // Some of them are smaller than what is to stay free.
    said_where(dir, "disk.min.free=1000000")
}

/// The same with a setting.
fn said_where(dir: &Path, setting: &str) -> Vec<String> {
    let daemon = Daemon::on(dir, &["--set", setting]);
    let mut peer = Peer::connect(daemon.address());
    for durability in ["fsync", "os"] {
        peer.create(durability, 1, &[("durability", durability)]);
        for _ in 0..3 {
            let produced = peer.produce(durability, 0, Acks::All, &batch(b"kept"));
            assert_eq!(produced.error, ErrorCode::NONE, "{:?}", produced.message);
        }
        assert_eq!(peer.describe(durability).log_end, 3);
    }
    let about = |line: &&str| line.contains("the file system of the data");
    let said = daemon.said().lines().filter(about).map(str::to_owned).collect();
    assert_eq!(daemon.stop().code(), Some(0));
    said
}

/// The same of one in a file.
fn said_of_image(file_system: FileSystem) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    file_system.make(&image);
    let mounted = file_system.mount(&image, &dir.path().join("mounted"));
    let said = said_of(mounted.path());
    mounted.unmount();
    said
}

#[test]
fn nothing_is_said_of_ext4_as_it_is_made_and_one_without_a_journal_or_with_old_blocks_is_named() {
    Isolated::run(
        "nothing_is_said_of_ext4_as_it_is_made_and_one_without_a_journal_or_with_old_blocks_is_named",
        || {
            assert_eq!(said_of_image(Ext4::DEFAULT), [""; 0]);
            assert_eq!(said_of_image(Ext4::WRITEBACK), [""; 0]);
            let [said] = &said_of_image(Ext4::WITHOUT_JOURNAL)[..] else { panic!("one line is due") };
            assert!(said.contains("WARN") && said.contains("it has no journal"), "{said}");
            let [said] = &said_of_image(Ext4::SHOWS_OLD_BLOCKS)[..] else { panic!("one line is due") };
            assert!(said.contains("data=writeback with dioread_lock"), "{said}");
        },
    );
}

#[test]
fn where_no_room_can_be_reserved_a_daemon_goes_without_and_says_so_of_ext3() {
    Isolated::run("where_no_room_can_be_reserved_a_daemon_goes_without_and_says_so_of_ext3", || {
        let [said] = &said_of_image(Ext4::EXT3)[..] else { panic!("one line is due") };
        assert!(said.contains("it reserves no room"), "{said}");
        let dir = tempfile::tempdir().unwrap();
        let ramfs = Command::new("mount").args(["-t", "ramfs", "ramfs"]).arg(dir.path()).status();
        assert!(ramfs.unwrap().success(), "this claim needs a ramfs");
        // It does not say how much room there is.
        let said = said_where(dir.path(), "disk.min.free=0");
        Command::new("umount").arg(dir.path()).status().unwrap();
        assert!(said.len() == 1 && said[0].contains("kept in memory"), "{said:?}");
    });
}

#[test]
fn nothing_is_said_of_xfs() {
    Isolated::run("nothing_is_said_of_xfs", || assert_eq!(said_of_image(Xfs::DEFAULT), [""; 0]));
}

#[test]
fn of_btrfs_it_is_said_that_it_copies_on_write() {
    Isolated::run("of_btrfs_it_is_said_that_it_copies_on_write", || {
        let [said] = &said_of_image(Btrfs::DEFAULT)[..] else { panic!("one line is due") };
        assert!(said.contains("copy on write"), "{said}");
    });
}

#[test]
fn a_tmpfs_is_called_not_durable() {
    let disk = TinyDisk::mount(32);
    let [said] = &said_of(disk.path())[..] else { panic!("one line is due") };
    assert!(said.contains("tmpfs") && said.contains("nothing on it survives a power cut"), "{said}");
}

#[test]
fn an_overlay_serves_and_a_volume_is_recommended() {
    Isolated::run("an_overlay_serves_and_a_volume_is_recommended", || {
        let overlay = mount_overlay();
        let said = said_of(&overlay.merged);
        drop(overlay);
        let [said] = &said[..] else { panic!("one line is due: {said:?}") };
        assert!(said.contains("overlayfs") && said.contains("put the data directory on a volume"), "{said}");
    });
}

/// An overlay over a tmpfs, as long as this lives.
struct Overlay {
    merged: PathBuf,
    _disk: TinyDisk,
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.merged).status();
    }
}

fn mount_overlay() -> Overlay {
    let disk = TinyDisk::mount(32);
    let [lower, upper, work, merged] =
        ["lower", "upper", "work", "merged"].map(|name| disk.path().join(name));
    for dir in [&lower, &upper, &work, &merged] {
        std::fs::create_dir(dir).unwrap();
    }
    let (lower, upper, work) = (lower.display(), upper.display(), work.display());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let mount =
        Command::new("mount").args(["-t", "overlay", "-o", &options, "overlay"]).arg(&merged).status();
    assert!(mount.unwrap().success(), "this claim needs an overlay");
    Overlay { merged, _disk: disk }
}

#[test]
fn records_that_cannot_be_flushed_for_want_of_a_descriptor_are_not_called_deleted() {
    Isolated::run("records_that_cannot_be_flushed_for_want_of_a_descriptor_are_not_called_deleted", || {
        assert!(Strace::is_there(), "this claim needs strace");
        // It has no syncfs that would see to the names of files.
        let overlay = mount_overlay();
        let settings = ["disk.min.free=1000000", "maintenance.interval.ms=20", "topic.segment.bytes=16384"];
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let daemon = Daemon::on(&overlay.merged, &settings);
        let mut peer = Peer::connect(daemon.address());
        peer.create("t", 1, &[("durability", "os")]);
        let dir = overlay.merged.join("data/topics/t-0");
        let produce = |peer: &mut Peer| {
            assert_eq!(peer.produce("t", 0, Acks::All, &batch(&[7; 3000])).error, ErrorCode::NONE);
        };
        // The next segment is made beforehand, and has its name from when it is needed: the flush is to see to that.
        (0..5).for_each(|_| produce(&mut peer));
        let made = Instant::now();
        while !dir.join("next.log.tmp").exists() {
            assert!(made.elapsed() < Duration::from_secs(60), "no next segment is made");
            std::thread::sleep(Duration::from_millis(10));
        }
        let strace = Strace::attach_to(daemon.pid(), "inject=openat,open:error=EMFILE", &dir);
        produce(&mut peer);
        let mut delete = || {
            let entries = vec![RecordsDeleteEntryV1 { topic: "t", partition: 0, before: 3 }];
            let (answer, _) = peer.call(&RecordsDeleteRequestV1 { entries }, &[]);
            answer.entries.into_iter().next().unwrap()
        };
        let refused = delete();
        assert_eq!(refused.error, ErrorCode::TOO_BUSY, "{:?}", refused.message);
        assert!(refused.error.is_retriable() && refused.message.is_some());
        drop(strace);
        let deleted = delete();
        assert_eq!((deleted.error, deleted.log_start), (ErrorCode::NONE, 3), "{:?}", deleted.message);
        assert_eq!(daemon.stop().code(), Some(0));
    });
}
