//! Which file systems may carry a data directory.
//!
//! The log is read through mappings and written through descriptors, so both must see one page cache; the lock is
//! a `flock`; and recovery relies on bytes that never reached the disk to read as zeros or to lie beyond the end
//! of the file. A file system that gives none of these is refused rather than tried.

use std::fmt;

/// A kind of file system, told by the magic number of `statfs(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filesystem {
    magic: u64,
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

    /// Whether one `syncfs` flushes the whole directory and reports errors.
    pub fn has_syncfs(self) -> bool {
        // On an overlay it flushes the upper layer's file system without reporting its errors.
        self.magic != OVERLAYFS && !matches!(self.policy(), Policy::Refused { .. })
    }

    fn row(self) -> Option<&'static (u64, &'static str, Policy)> {
        TABLE.iter().find(|(magic, ..)| *magic == self.magic)
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "file system {:#x}", self.magic),
        }
    }
}

const OVERLAYFS: u64 = 0x794c_7630;

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
    (0xef53, "ext4", Policy::Supported),
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
    fn each_file_system_has_the_policy_that_is_documented() {
        let policy = |magic| Filesystem::from_magic(magic).policy();
        for supported in [0xef53, 0x5846_5342] {
            assert_eq!(policy(supported), Policy::Supported);
        }
        for allowed in [0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e, 0x0102_1994, OVERLAYFS] {
            assert!(matches!(policy(allowed), Policy::Allowed { .. }), "{allowed:#x}");
        }
        for refused in [0x6573_5546, 0x0102_1997, 0x6969, 0x517b, 0xfe53_4d42, 0xff53_4d42] {
            assert!(matches!(policy(refused), Policy::Refused { .. }), "{refused:#x}");
        }
        assert!(matches!(policy(0x1234_5678), Policy::Allowed { .. }));
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
}
