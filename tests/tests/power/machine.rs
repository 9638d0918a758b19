//! A file system whose power can be cut, in either way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use folio_tests::disk::crash::{CrashDisk, Left};
use folio_tests::disk::image::{FileSystem, Mounted};

/// Where the data is, and what is below it.
pub(crate) struct Machine {
    below: Below,
    mounted: Option<Mounted>,
    /// Where it is mounted.
    path: PathBuf,
}

enum Below {
    /// The file system's own way to stop: nothing is torn.
    Image { file_system: FileSystem, image: PathBuf, shut_down: fn(&Mounted) },
    /// A disk with a cache: any part of what no flush has made lasting is lost.
    Disk(Box<CrashDisk>),
}

impl Machine {
    pub(crate) fn with_shutdown(file_system: FileSystem, dir: &Path, shut_down: fn(&Mounted)) -> Self {
        let image = dir.join("image");
        file_system.make(&image);
        Self::on(Below::Image { file_system, image, shut_down }, dir)
    }

    pub(crate) fn with_disk(disk: CrashDisk, dir: &Path) -> Self {
        Self::on(Below::Disk(Box::new(disk)), dir)
    }

    fn on(below: Below, dir: &Path) -> Self {
        let mut machine = Self { below, mounted: None, path: dir.join("mnt") };
        machine.mount();
        machine
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How long a flush of the disk takes, if it is ours.
    pub(crate) fn set_flush_time(&self, flush_time: Duration) {
        if let Below::Disk(disk) = &self.below {
            disk.set_flush_time(flush_time);
        }
    }

    /// From now on nothing reaches the disk.
    pub(crate) fn cut(&self) {
        match &self.below {
            Below::Disk(disk) => disk.cut(),
            Below::Image { shut_down, .. } => shut_down(self.mounted.as_ref().unwrap()),
        }
    }

    /// Comes back with what `seed` has left. Nobody may use it any more.
    pub(crate) fn restore(&mut self, seed: u64) -> Left {
        self.mounted.take().unwrap().unmount();
        let left = match &self.below {
            Below::Disk(disk) => disk.restore(seed),
            Below::Image { .. } => Left::default(),
        };
        self.mount();
        left
    }

    fn mount(&mut self) {
        self.mounted = Some(match &self.below {
            Below::Image { file_system, image, .. } => file_system.mount(image, &self.path),
            Below::Disk(disk) => disk.file_system().mount(disk.path(), &self.path),
        });
    }
}
