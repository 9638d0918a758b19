//! Which file systems may carry a data directory.
//!
//! The log is read through mappings and written through descriptors, so both must see one page cache; the lock is
//! a `flock`; and recovery relies on bytes that never reached the disk to read as zeros or to lie beyond the end
//! of the file. A file system that gives none of these is refused rather than tried.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A kind of file system, told by the magic number of `statfs(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filesystem {
    magic: u64,
}

/// How it is mounted, as far as the system tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// As `mount -t` has it: `ext4`.
    pub kind: String,
    /// What it was mounted with: `data=writeback`.
    pub options: Vec<String>,
    /// The options are all that hold, also those that are defaults.
    pub is_complete: bool,
}

/// What may be done on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// What this storage was measured on.
    Supported,
    /// Works, with a reservation that belongs in the log.
    Allowed {
        /// The reservation.
        warning: &'static str,
    },
    /// Not without the operator's explicit word.
    Refused {
        /// Why.
        reason: &'static str,
    },
}

impl Filesystem {
    /// By the `f_type` of `statfs(2)`.
    pub const fn from_magic(magic: u64) -> Self {
        // Some kernels sign-extend the 32-bit magic.
        Self { magic: magic & 0xffff_ffff }
    }

    /// Its name, if it is a known one.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|(_, name, _)| *name)
    }

    /// What may be done on it.
    pub fn policy(self) -> Policy {
        self.row()
            .map_or(Policy::Allowed { warning: "an unknown file system; nothing was tried on it" }, |row| {
                row.2
            })
    }

    /// What else is to be said about it, mounted in this way: what recovery relies on, and what such a mount does not
    /// give.
    pub fn reservations(self, mounted: &Mounted) -> Vec<&'static str> {
        if self.magic != EXT4 {
            return Vec::new();
        }
        let has = |option: &str| mounted.options.iter().any(|one| one == option);
        let names_mode = mounted.options.iter().any(|one| one.starts_with("data="));
        let has_no_journal = mounted.kind == "ext2" || mounted.is_complete && !names_mode;
        let locks_reads = has("nodioread_nolock") || has("dioread_lock");
        let reservations = [
            (has_no_journal, WITHOUT_JOURNAL),
            (["ext2", "ext3"].contains(&&*mounted.kind), WITHOUT_RESERVES),
            (has("data=writeback") && locks_reads && !has_no_journal, SHOWS_OLD_BLOCKS),
        ];
        reservations.into_iter().filter(|(holds, _)| *holds).map(|(_, what)| what).collect()
    }

    /// Whether one `syncfs` flushes the whole directory and reports errors.
    pub fn has_syncfs(self) -> bool {
        // On an overlay it flushes the upper layer's file system without reporting its errors.
        self.magic != OVERLAYFS && !matches!(self.policy(), Policy::Refused { .. })
    }

    fn row(self) -> Option<&'static (u64, &'static str, Policy)> {
        TABLE.iter().find(|(magic, ..)| *magic == self.magic)
    }
}

/// Whether `syncfs` of the kernel with this release (`uname -r`) reports that a write failed: Linux 5.8 and later.
/// Before that, it was for `fsync` of the file alone to tell.
pub(crate) fn syncfs_reports_errors(release: &str) -> bool {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 8))
}

impl Mounted {
    /// The file system on this device (`major:minor`), by what `/proc/self/mountinfo` says, and by `all_options` of it
    /// (a line each) if the kernel lists them.
    pub fn find(mountinfo: &str, device: &str, all_options: Option<&str>) -> Option<Self> {
        let of_device = |line: &&str| line.split(' ').nth(2) == Some(device);
        let (_, rest) = mountinfo.lines().find(of_device)?.split_once(" - ")?;
        let mut rest = rest.split(' ');
        let (kind, _, options) = (rest.next()?, rest.next()?, rest.next()?);
        let options: Vec<&str> = match all_options {
            Some(all) => all.lines().collect(),
            None => options.split(',').collect(),
        };
        let options = options.into_iter().map(str::to_owned).collect();
        Some(Self { kind: kind.to_owned(), options, is_complete: all_options.is_some() })
    }
}

/// Where `/proc/self/mountinfo` says that something is mounted below `root`: the paths from there.
pub(crate) fn mount_points_below(mountinfo: &str, root: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    let below = points.filter_map(|point| Some(point.strip_prefix(root).ok()?.to_owned()));
    below.filter(|path| !path.as_os_str().is_empty()).collect()
}

/// A path as the kernel lists it: what would end a word or a line is written as three octal digits.
fn unescaped(listed: &str) -> PathBuf {
    let mut path = Vec::with_capacity(listed.len());
    let mut rest = listed.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let digits =
            behind.get(..3).filter(|_| *byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                path.push(escaped);
                rest = &behind[3..];
            }
            None => {
                path.push(*byte);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "file system {:#x}", self.magic),
        }
    }
}

const EXT4: u64 = 0xef53;
const OVERLAYFS: u64 = 0x794c_7630;

const WITHOUT_JOURNAL: &str =
    "it has no journal: a power cut may take more than what was not flushed, files and directories with it";
const WITHOUT_RESERVES: &str =
    "it reserves no room: every append may wait for the disk, and goes through a lane";
const SHOWS_OLD_BLOCKS: &str = "data=writeback with dioread_lock: after a power cut a file may have bytes of others, \
     where recovery expects zeros; mount it with dioread_nolock or data=ordered";

const COPY_ON_WRITE: Policy = Policy::Allowed {
    warning: "copy on write: the log fragments, and a full disk can fail even an overwrite",
};
const NOT_DURABLE: Policy =
    Policy::Allowed { warning: "kept in memory: nothing on it survives a power cut or a reboot" };
const NETWORK: Policy =
    Policy::Refused { reason: "neither locks nor mappings are coherent between the hosts that share it" };
const FOREIGN: Policy = Policy::Refused {
    reason: "its mappings need not agree with its files, nor its locks with other users of it",
};

const TABLE: [(u64, &str, Policy); 18] = [
    (EXT4, "ext4", Policy::Supported),
    (0x5846_5342, "xfs", Policy::Supported),
    (0x9123_683e, "btrfs", COPY_ON_WRITE),
    (0xf2f5_2010, "f2fs", COPY_ON_WRITE),
    (0x2fc1_2fc1, "zfs", COPY_ON_WRITE),
    (0xca45_1a4e, "bcachefs", COPY_ON_WRITE),
    (0x0102_1994, "tmpfs", NOT_DURABLE),
    (0x8584_58f6, "ramfs", NOT_DURABLE),
    (
        OVERLAYFS,
        "overlayfs",
        Policy::Allowed {
            warning: "many files cannot be flushed at once on it; put the data directory on a volume",
        },
    ),
    (0x6969, "nfs", NETWORK),
    (0x517b, "smb", NETWORK),
    (0xfe53_4d42, "smb2", NETWORK),
    (0xff53_4d42, "cifs", NETWORK),
    (0x00c3_6400, "ceph", NETWORK),
    (0x0161_1970, "gfs2", NETWORK),
    (0x0102_1997, "9p", FOREIGN),
    (0x6573_5546, "fuse or virtiofs", FOREIGN),
    (0x786f_4256, "vboxsf", FOREIGN),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ext4_and_xfs_are_supported() {
        for (magic, name) in [(0xef53, "ext4"), (0x5846_5342, "xfs")] {
            let filesystem = Filesystem::from_magic(magic);
            assert_eq!((filesystem.name(), filesystem.policy()), (Some(name), Policy::Supported));
        }
    }

    fn warning(magic: u64) -> &'static str {
        match Filesystem::from_magic(magic).policy() {
            Policy::Allowed { warning } => warning,
            other => panic!("{magic:#x}: {other:?}"),
        }
    }

    #[test]
    fn those_that_copy_on_write_are_allowed_with_a_warning() {
        for magic in [0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e] {
            assert!(warning(magic).contains("copy on write"), "{magic:#x}");
        }
    }

    #[test]
    fn those_in_memory_are_allowed_and_called_not_durable() {
        for magic in [0x0102_1994, 0x8584_58f6] {
            assert!(warning(magic).contains("nothing on it survives"), "{magic:#x}");
        }
    }

    #[test]
    fn an_overlay_is_allowed_and_a_volume_recommended() {
        assert!(warning(OVERLAYFS).contains("put the data directory on a volume"));
    }

    #[test]
    fn those_of_networks_and_other_systems_are_refused_with_a_reason() {
        let refused = [
            0x6573_5546,
            0x0102_1997,
            0x6969,
            0x517b,
            0xfe53_4d42,
            0xff53_4d42,
            0x00c3_6400,
            0x0161_1970,
            0x786f_4256,
        ];
        for magic in refused {
            let policy = Filesystem::from_magic(magic).policy();
            assert!(matches!(policy, Policy::Refused { reason } if !reason.is_empty()), "{magic:#x}");
        }
    }

    #[test]
    fn one_that_nobody_knows_is_allowed_and_called_unknown() {
        assert!(warning(0x1234_5678).contains("unknown"));
    }

    #[test]
    fn ext4_without_a_journal_and_one_that_shows_old_blocks_are_named() {
        let ext4 = Filesystem::from_magic(0xef53);
        let mounted = |kind: &str, options: &[&str], is_complete| Mounted {
            kind: kind.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            is_complete,
        };
        for (kind, options, is_complete, due) in [
            ("ext4", &["rw", "data=ordered", "dioread_nolock"][..], true, &[][..]),
            ("ext4", &["rw", "dioread_nolock"], true, &[WITHOUT_JOURNAL]),
            ("ext4", &["rw", "nodioread_nolock"], true, &[WITHOUT_JOURNAL]),
            // Defaults are not told: there may be one.
            ("ext4", &["rw", "relatime"], false, &[]),
            ("ext2", &["rw"], false, &[WITHOUT_JOURNAL, WITHOUT_RESERVES]),
            ("ext3", &["rw"], false, &[WITHOUT_RESERVES]),
            ("ext4", &["rw", "data=writeback"], false, &[]),
            ("ext4", &["rw", "data=writeback", "dioread_nolock"], true, &[]),
            ("ext4", &["rw", "nodioread_nolock", "data=writeback"], false, &[SHOWS_OLD_BLOCKS]),
            ("ext4", &["rw", "data=writeback", "dioread_lock"], true, &[SHOWS_OLD_BLOCKS]),
            ("ext4", &["rw", "data=ordered", "dioread_lock"], true, &[]),
            ("ext4", &["rw", "data=journal", "dioread_lock"], true, &[]),
        ] {
            assert_eq!(ext4.reservations(&mounted(kind, options, is_complete)), due, "{kind} {options:?}");
        }
        let xfs = Filesystem::from_magic(0x5846_5342);
        assert_eq!(xfs.reservations(&mounted("xfs", &["rw"], true)), [""; 0]);
    }

    #[test]
    fn a_mount_is_found_by_its_device() {
        let mountinfo = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
             27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n\
             43 27 7:0 / /data\\040dir rw,relatime - ext4 /dev/loop0 rw,nodioread_nolock,data=writeback\n";
        let found = Mounted::find(mountinfo, "7:0", None).unwrap();
        assert_eq!((&*found.kind, found.is_complete), ("ext4", false));
        assert_eq!(found.options, ["rw", "nodioread_nolock", "data=writeback"]);
        let found = Mounted::find(mountinfo, "254:0", Some("rw\ndata=ordered\n")).unwrap();
        assert!(found.is_complete && found.options == ["rw", "data=ordered"]);
        assert_eq!(Mounted::find(mountinfo, "7:1", None), None);
        assert_eq!(Mounted::find("garbage", "7:1", None), None);
    }

    #[test]
    fn a_kernel_before_5_8_or_one_that_nobody_knows_is_flushed_file_by_file() {
        for (release, is_honest) in [
            ("5.8.0-43-generic\n", true),
            ("5.8", true),
            ("5.10.102.1-microsoft-standard-WSL2", true),
            ("6.1.0-18-amd64", true),
            ("6.18.0", true),
            ("10.0.1", true),
            ("5.7.19", false),
            ("5.4.0-200-generic", false),
            ("4.18.0-513.el8.x86_64", false),
            ("4.19.0", false),
            ("3.10.0-1160.el7", false),
            ("5", false),
            ("5.x", false),
            ("", false),
        ] {
            assert_eq!(syncfs_reports_errors(release), is_honest, "{release}");
        }
    }

    #[test]
    fn an_overlay_is_flushed_file_by_file() {
        assert!(!Filesystem::from_magic(OVERLAYFS).has_syncfs());
        assert!(Filesystem::from_magic(0xef53).has_syncfs());
    }

    #[test]
    fn a_sign_extended_magic_is_the_same_file_system() {
        assert_eq!(Filesystem::from_magic(0xffff_ffff_9123_683e).name(), Some("btrfs"));
    }

    #[test]
    fn mounts_below_a_directory_are_told_from_others_whatever_they_are_called() {
        let mountinfo = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 8:2 / /data rw - ext4 /dev/sdb rw\n\
            31 30 8:3 / /data/topics rw - xfs /dev/sdc rw\n\
            32 31 8:3 /x /data/topics/t\\040t-0 rw - xfs /dev/sdc rw\n\
            33 22 8:4 / /database/topics rw - xfs /dev/sdd rw\n";
        let below = mount_points_below(mountinfo, Path::new("/data"));
        assert_eq!(below, ["topics", "topics/t t-0"].map(PathBuf::from));
        assert!(mount_points_below(mountinfo, Path::new("/data/metadata")).is_empty());
    }
}
