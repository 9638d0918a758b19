//! Looking into a data directory, offline or beside a running daemon: everything in it, item by item, decoded.
//!
//! Nothing is written and nothing locked. Beside a running daemon the end of a log may be a batch that is just being
//! written: it is looked at again for some moments, before it passes for one that was cut.

mod directory;
mod item;
mod metadata;
mod partition;
mod segment;

use std::fmt;
use std::io;
use std::path::Path;

use crate::data_dir::TOPICS_NAME;
use crate::envelope::ENVELOPE_SIZE_MAX;
use crate::files::{EntryKind, Files, read_file};
use crate::node::NODE_META_NAME;

pub use item::Item;
pub use metadata::{GroupChangeEntry, MetadataEntry, TopicState};

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct DumpOptions {
    /// Also the records inside of batches.
    pub records: bool,
    /// Only the partition with this directory name (`access-0`).
    pub partition: Option<String>,
}

/// Shows everything in the directory to `show`, in a fixed order.
///
/// # Errors
/// Those of reading the directory itself, and that it is none of ours. What is wrong with a file in it is an
/// [`Item::Broken`].
pub fn dump<F: Files>(files: &F, options: &DumpOptions, show: &mut dyn FnMut(Item)) -> io::Result<()> {
    let has = |name: &str| files.entry(Path::new(name)).map(|entry| entry.is_some());
    if !has(NODE_META_NAME)? && !has(TOPICS_NAME)? {
        let what = "it is no data directory: it has neither node.meta nor topics";
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    let mut dump = Dump { files, options, show };
    if options.partition.is_none() {
        dump.lock();
        dump.node();
        dump.clean();
        dump.slots();
        dump.metadata();
    }
    for entry in files.list(Path::new(TOPICS_NAME))? {
        let is_wanted = options.partition.as_ref().is_none_or(|wanted| *wanted == entry.name);
        let dir = Path::new(TOPICS_NAME).join(&entry.name);
        match entry.kind {
            EntryKind::Directory if !is_wanted => {}
            // Of a partition that is being made, or that nobody was told of.
            EntryKind::Directory if entry.name.ends_with(".tmp") => {
                (dump.show)(Item::Unfinished { file: dir, bytes: entry.len });
            }
            EntryKind::Directory => dump.partition(&dir),
            _ => {}
        }
    }
    dump.quarantine();
    if options.partition.is_none() {
        dump.trash();
    }
    Ok(())
}

struct Dump<'a, F> {
    files: &'a F,
    options: &'a DumpOptions,
    show: &'a mut dyn FnMut(Item),
}

impl<F: Files> Dump<'_, F> {
    fn envelope(&mut self, path: &Path, decode: impl FnOnce(&[u8]) -> Result<Vec<Item>, String>) {
        match read_file(self.files, path, ENVELOPE_SIZE_MAX) {
            Ok(Some(bytes)) => match decode(&bytes) {
                Ok(items) => items.into_iter().for_each(&mut *self.show),
                Err(error) => self.broken(path, 0, error),
            },
            Ok(None) if self.is_gone(path) => {}
            Ok(None) => self.broken(path, 0, "missing"),
            Err(error) => self.broken(path, 0, error),
        }
    }

    /// Whether a running daemon has taken the directory of this file away, since it was listed.
    fn is_gone(&self, path: &Path) -> bool {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        dir.is_some_and(|dir| matches!(self.files.entry(dir), Ok(None)))
    }

    fn broken(&mut self, file: &Path, position: u64, reason: impl fmt::Display) {
        (self.show)(Item::Broken { file: file.to_owned(), position, reason: reason.to_string() });
    }
}
