//! The clean marker at a start: it is read, and its word is taken from it before anything else is written.

use std::io;
use std::path::Path;

use super::OpenError;
use super::open::Opening;
use crate::clean::{CLEAN_NAME, CLEAN_SIZE_MAX, CleanMarker};
#[cfg(test)]
use crate::controls::{Protection, is_taken};
use crate::files::{FileHandle, Files, OpenMode, is_exhausted, is_full, read_file};
use crate::node::NodeMeta;

impl<F: Files> Opening<'_, F> {
    pub(super) fn clean_marker(&self, node: &NodeMeta) -> Result<Option<CleanMarker>, OpenError> {
        if !self.exists(CLEAN_NAME)? {
            return Ok(None);
        }
        let bytes = match read_file(self.files, Path::new(CLEAN_NAME), CLEAN_SIZE_MAX) {
            Err(error) if is_exhausted(&error) => return Err(self.io(CLEAN_NAME, error)),
            // A marker that cannot be read vouches for nothing.
            read => read.ok().flatten(),
        };
        Ok(bytes.and_then(|bytes| CleanMarker::decode(&bytes)).filter(|marker| marker.dir == node.dir))
    }

    /// A start after this one, however this one ends, finds no marker that it would believe.
    pub(super) fn remove_clean_marker(&self) -> Result<(), OpenError> {
        if !self.exists(CLEAN_NAME)? {
            return Ok(());
        }
        match self.files.remove_file(Path::new(CLEAN_NAME)) {
            Err(error) if is_full(&error) => {
                self.void_clean_marker().map_err(|source| match is_full(&source) {
                    true => OpenError::MarkerStays { file: self.path(CLEAN_NAME), source },
                    false => self.io(CLEAN_NAME, source),
                })?;
            }
            removed => removed.map_err(|source| self.io(CLEAN_NAME, source))?,
        }
        self.files.sync_dir(Path::new("")).map_err(|source| self.io("", source))
    }

    /// Where there is no room even to take its name away, its bytes go; or where that needs room as well, the first of
    /// them are written over, which are within one sector, and come to the disk together.
    fn void_clean_marker(&self) -> io::Result<()> {
        #[cfg(test)]
        if is_taken(Protection::MarkersAreVoided) {
            return Ok(());
        }
        let file = self.files.open(Path::new(CLEAN_NAME), OpenMode::Write)?;
        if !file.is_empty()? {
            match file.set_len(0) {
                Err(error) if is_full(&error) => file.write_at(&CleanMarker::VOID, 0)?,
                cut => cut?,
            }
        }
        // Also what an earlier start did, and may have died before it was on the disk.
        file.sync()
    }
}
