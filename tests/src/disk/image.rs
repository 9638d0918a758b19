//! File systems in a file, mounted over a loop device.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::crash::SECTOR;
use crate::rig::until;

/// A kind of file system, as it is made and mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// What to call it.
    pub name: &'static str,
    kind: &'static str,
    mib: u64,
    made_with: &'static [&'static str],
    options: &'static str,
    /// Bytes that it takes for granted to be written as a whole.
    pub(super) atom: usize,
}

/// ext4, which every Linux has.
#[derive(Debug)]
pub struct Ext4;

/// XFS, of the package xfsprogs.
#[derive(Debug)]
pub struct Xfs;

/// btrfs, of the package btrfs-progs.
#[derive(Debug)]
pub struct Btrfs;

const LAZILY: &str = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";

impl Ext4 {
    /// As it is made by default.
    pub const DEFAULT: FileSystem = FileSystem {
        name: "ext4",
        kind: "ext4",
        mib: 160,
        made_with: &["-q", "-F", "-E", LAZILY],
        options: "loop",
        atom: SECTOR,
    };
    /// An older one, of the same driver: it cannot reserve room.
    pub const EXT3: FileSystem = FileSystem { name: "ext3", kind: "ext3", ..Self::DEFAULT };
    /// With the smallest blocks.
    pub const SMALL_BLOCKS: FileSystem = FileSystem {
        name: "ext4, 1 KiB blocks",
        made_with: &["-q", "-F", "-b", "1024", "-E", LAZILY],
        ..Self::DEFAULT
    };
    /// Data may reach the disk after what names it.
    pub const WRITEBACK: FileSystem =
        FileSystem { name: "ext4, data=writeback", options: "loop,data=writeback", ..Self::DEFAULT };
    /// The same, and what was in a block before may be seen in a new one.
    pub const SHOWS_OLD_BLOCKS: FileSystem = FileSystem {
        name: "ext4, data=writeback, dioread_lock",
        options: "loop,data=writeback,dioread_lock",
        ..Self::DEFAULT
    };
    /// Nothing of what changes is written down beforehand.
    pub const WITHOUT_JOURNAL: FileSystem = FileSystem {
        name: "ext4 without a journal",
        made_with: &["-q", "-F", "-O", "^has_journal", "-E", "nodiscard,lazy_itable_init=0"],
        ..Self::DEFAULT
    };
    /// Blocks are chosen as the bytes are written.
    pub const NODELALLOC: FileSystem =
        FileSystem { name: "ext4, nodelalloc", options: "loop,nodelalloc", ..Self::DEFAULT };
}

impl Xfs {
    /// As it is made by default.
    pub const DEFAULT: FileSystem = FileSystem {
        name: "XFS",
        kind: "xfs",
        mib: 320,
        made_with: &["-q", "-f", "-K"],
        atom: 4096,
        ..Ext4::DEFAULT
    };

    /// Lets nothing that has not reached the disk reach it any more: as if the power went away, but for what was given
    /// to the disk already. XFS has brought it, ext4 has it too.
    ///
    /// # Panics
    /// When the file system cannot.
    pub fn shut_down(mounted: &Mounted) {
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(mounted.path()));
    }
}

impl Btrfs {
    /// As it is made by default.
    pub const DEFAULT: FileSystem =
        FileSystem { name: "btrfs", kind: "btrfs", mib: 256, atom: 4096, ..Xfs::DEFAULT };
}

impl FileSystem {
    /// Makes one in `file`, which need not be there.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn make(&self, file: &Path) {
        let image = std::fs::File::create(file).expect("there is room for an image");
        image.set_len(self.mib << 20).expect("an image is mostly a hole");
        run(Command::new(format!("mkfs.{}", self.kind)).args(self.made_with).arg(file));
    }

    /// Mounts what is in `file` at `dir`, which is made when missing. The loop device is a free one, and detaches
    /// itself with the mount.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn mount(&self, file: &Path, dir: &Path) -> Mounted {
        std::fs::create_dir_all(dir).expect("a place to mount");
        run(Command::new("mount").args(["-t", self.kind, "-o", self.options]).arg(file).arg(dir));
        Mounted { dir: dir.to_owned(), image: file.to_owned() }
    }
}

/// A mounted file system. Dropped, it is unmounted.
#[derive(Debug)]
pub struct Mounted {
    dir: PathBuf,
    image: PathBuf,
}

impl Mounted {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Mounts it anew in place, with other options: `ro`.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn remount(&self, options: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.dir));
    }

    /// Makes it read-only as an error of the disk does: files that are open for writing stay so, and every write fails.
    /// ext4 only.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn read_only(&self) {
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.dir));
    }

    /// Unmounts it, and waits until its loop device has let go of the image.
    ///
    /// # Panics
    /// When somebody still uses it.
    pub fn unmount(self) {
        // Whoever was killed a moment ago may hold a file of it for as long as its memory is taken down.
        until("it can be unmounted", || {
            Command::new("umount").arg(&self.dir).output().is_ok_and(|umount| umount.status.success())
        });
        until("the loop device lets go", || {
            let devices = Command::new("losetup").arg("-a").output().expect("there is a program `losetup`");
            !String::from_utf8_lossy(&devices.stdout).contains(&*self.image.to_string_lossy())
        });
        std::mem::forget(self);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for _ in 0..20 {
            if Command::new("umount").arg(&self.dir).output().is_ok_and(|umount| umount.status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Which bytes of its disk hold a file, in the order of the file: reserved ones, too.
///
/// # Panics
/// When the file system does not say.
pub fn extents(file: &Path) -> Vec<Range<u64>> {
    let listed = Command::new("filefrag").args(["-v", "-b512"]).arg(file).output();
    let listed = String::from_utf8(listed.expect("there is a program `filefrag`").stdout).expect("text");
    // `0:        0..       7:      34816..     34823:      8: ...`, in sectors
    let extents = listed.lines().filter_map(|line| {
        let physical =
            line.trim_start().strip_prefix(|digit: char| digit.is_ascii_digit())?.split(':').nth(2)?;
        let (first, last) = physical.split_once("..")?;
        let sector = |text: &str| text.trim().parse::<u64>().ok();
        Some(sector(first)? * SECTOR as u64..(sector(last)? + 1) * SECTOR as u64)
    });
    let extents: Vec<_> = extents.collect();
    assert!(!extents.is_empty(), "{listed}");
    extents
}

/// Runs a program that has to succeed.
pub(super) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
