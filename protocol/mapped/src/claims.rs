//! Which files have an appender, process-wide: two maps of one file must not both append.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

/// What a file is, whatever its names are: device and inode.
///
/// The claim is held by someone who holds the descriptor, so the inode cannot be given to another file meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// The right to append to a file, given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim(FileId);

impl Claim {
    /// `None` if someone has it.
    pub(crate) fn take(file: FileId) -> Option<Self> {
        held(|claims| claims.insert(file)).then_some(Self(file))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        held(|claims| claims.remove(&self.0));
    }
}

fn held<T>(change: impl FnOnce(&mut HashSet<FileId>) -> T) -> T {
    static CLAIMS: LazyLock<Mutex<HashSet<FileId>>> = LazyLock::new(Mutex::default);
    // One insert or remove: a panic elsewhere cannot have left the set half changed.
    change(&mut CLAIMS.lock().unwrap_or_else(PoisonError::into_inner))
}
