//! The end of a log: its topic was deleted, another log has its files, or somebody has taken them away.

use std::sync::atomic::Ordering;

use super::{Log, ReadError};
use crate::files::Files;

impl<F: Files> Log<F> {
    /// The topic was deleted, and its directory is about to move: nothing is appended, and no file is opened, made
    /// or moved by its name any more. A new topic may soon have a directory of the same name.
    pub fn retire(&self) {
        let _names = self.names();
        let mut writer = self.lock();
        self.is_retired.store(true, Ordering::Release);
        let mut maps = writer.retire();
        // Whoever is being sent something of the others holds them longer than this log lives, and must not unmap them.
        maps.extend(self.view.load().iter().flat_map(|segment| segment.take_maps()));
        self.open.retire(maps);
    }

    /// Its files are about to be those of another log: nothing is done by their names any more. Readers are told to ask
    /// once more.
    pub(crate) fn make_way(&self) {
        self.has_made_way.store(true, Ordering::Release);
        self.retire();
    }

    /// Whether anything may be read.
    pub(super) fn check_readable(&self) -> Result<(), ReadError> {
        if !self.is_retired() {
            return Ok(());
        }
        let has_made_way = self.has_made_way.load(Ordering::Acquire);
        Err(if has_made_way { ReadError::Replaced } else { ReadError::Retired })
    }

    /// Whether its topic was deleted, or another log has its files.
    pub fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// Somebody else has taken files of it away: no durable point speaks of it any more, nor does a clean marker, so
    /// that the next start looks.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Release);
    }

    /// Whether its files were found to be taken away.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }
}
