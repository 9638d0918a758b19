//! Disks that are soon full, lose power, or fail.

pub mod crash;
mod fuse;
pub mod image;

use std::path::Path;
use std::process::Command;

/// A file system in memory of a few MiB. Dropped, it is gone.
#[derive(Debug)]
pub struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    /// Mounts one of this size.
    ///
    /// # Panics
    /// When that is not allowed.
    pub fn mount(mib: u32) -> Self {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let size = format!("size={mib}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).status();
        assert!(mounted.is_ok_and(|status| status.success()), "this claim needs the right to mount a tmpfs");
        Self(dir)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}
