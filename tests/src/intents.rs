//! A replacement of segments that is decided, and finds no room to be finished: in one daemon, and in the next.

use std::path::{Path, PathBuf};

use crate::daemon::{Daemon, signal};
use crate::rig::until;
use crate::strace::Strace;

/// Lets `daemon`, which compacts this partition as soon as it can, find no room to take an intent away, calls `write`
/// until there is one, and kills the daemon. Gives what the next one is to be started by, so that no thread of it finds
/// room for that at the first attempts.
///
/// # Panics
/// When there is no intent in time.
pub fn killed_with_an_intent(mut daemon: Daemon, partition: &Path, mut write: impl FnMut()) -> Vec<String> {
    let strace = Strace::attach(daemon.pid(), "inject=unlink,unlinkat:error=ENOSPC");
    until("an intent stands", || {
        write();
        intent(partition).is_some()
    });
    signal(&daemon.pid().to_string(), "KILL");
    daemon.wait();
    drop(strace);
    let intent = intent(partition).expect("it stands still");
    let inject = "inject=unlink,unlinkat:error=ENOSPC:when=1..3";
    let mut wrapper = Strace::wrapper(&[inject.to_owned()], Path::new("/dev/null"));
    wrapper.extend(["-P".to_owned(), intent.display().to_string()]);
    wrapper
}

/// The intent in the directory of this partition.
pub fn intent(partition: &Path) -> Option<PathBuf> {
    let paths = std::fs::read_dir(partition).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_intent = |path: &PathBuf| {
        path.file_stem().is_some_and(|stem| stem == "replace")
            && path.extension().is_some_and(|end| end != "tmp")
    };
    paths.into_iter().find(is_intent)
}
