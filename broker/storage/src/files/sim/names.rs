//! The directory tree of a simulated disk: what processes see, what is on the disk, and the changes in between.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Component, Path};

use super::machine::InodeId;
use super::random::Random;

/// The data directory.
pub(super) const ROOT: InodeId = InodeId(0);

/// Directories with their names.
#[derive(Debug, Default)]
pub(super) struct Names {
    seen: Tree,
    disk: Tree,
    unsynced: Vec<Change>,
}

type Tree = HashMap<InodeId, BTreeMap<String, InodeId>>;

/// A change of names, atomic: it is on the disk as a whole or not at all.
#[derive(Debug)]
struct Change {
    removed: Option<(InodeId, String, InodeId)>,
    added: Option<(InodeId, String, InodeId)>,
    /// Directories that have to be synced before it is surely on the disk.
    waits_for: Vec<InodeId>,
}

impl Names {
    pub(super) fn new() -> Self {
        let tree = Tree::from([(ROOT, BTreeMap::new())]);
        Self { seen: tree.clone(), disk: tree, unsynced: Vec::new() }
    }

    /// The directory that `path` lies in, and its last name.
    pub(super) fn place(&self, path: &Path) -> io::Result<(InodeId, String)> {
        let parent = self.find(path.parent().unwrap_or(Path::new("")))?.ok_or(io::ErrorKind::NotFound)?;
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        if !self.is_dir(parent) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok((parent, name.to_owned()))
    }

    /// What has this path.
    pub(super) fn find(&self, path: &Path) -> io::Result<Option<InodeId>> {
        let mut at = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let Some(next) = self.seen.get(&at).and_then(|names| names.get(name.to_str()?)) else {
                return Ok(None);
            };
            at = *next;
        }
        Ok(Some(at))
    }

    pub(super) fn is_dir(&self, inode: InodeId) -> bool {
        self.seen.contains_key(&inode)
    }

    /// Whether some directory names it.
    pub(super) fn has(&self, inode: InodeId) -> bool {
        self.seen.values().any(|names| names.values().any(|named| *named == inode))
    }

    pub(super) fn list(&self, dir: InodeId) -> Option<&BTreeMap<String, InodeId>> {
        self.seen.get(&dir)
    }

    pub(super) fn add(&mut self, dir: InodeId, name: String, inode: InodeId, is_dir: bool) {
        if is_dir {
            // The directory itself comes with its name; what is in it does not.
            self.seen.insert(inode, BTreeMap::new());
            self.disk.insert(inode, BTreeMap::new());
        }
        self.change(None, Some((dir, name, inode)));
    }

    pub(super) fn remove(&mut self, dir: InodeId, name: String, inode: InodeId) {
        self.change(Some((dir, name, inode)), None);
    }

    pub(super) fn rename(&mut self, from: (InodeId, String), to: (InodeId, String), inode: InodeId) {
        self.change(Some((from.0, from.1, inode)), Some((to.0, to.1, inode)));
    }

    pub(super) fn sync(&mut self, dir: InodeId) {
        let (disk, unsynced) = (&mut self.disk, &mut self.unsynced);
        unsynced.retain_mut(|change| {
            change.waits_for.retain(|waits_for| *waits_for != dir);
            if change.waits_for.is_empty() {
                apply(disk, change);
            }
            !change.waits_for.is_empty()
        });
    }

    pub(super) fn sync_everything(&mut self) {
        for change in self.unsynced.drain(..) {
            apply(&mut self.disk, &change);
        }
    }

    /// What is left after the power went: everything synced, and of the rest what chance has it. Gives all that has a
    /// name then.
    pub(super) fn crash(&mut self, random: &mut Random) -> HashSet<InodeId> {
        let in_order = random.percent(50);
        let first_lost = random.up_to(self.unsynced.len() as u64) as usize;
        for (number, change) in self.unsynced.drain(..).enumerate() {
            let survives = if in_order { number < first_lost } else { random.percent(50) };
            if survives {
                apply(&mut self.disk, &change);
            }
        }
        let mut reached = HashSet::from([ROOT]);
        let mut dirs = vec![ROOT];
        while let Some(dir) = dirs.pop() {
            for id in self.disk.get(&dir).into_iter().flat_map(BTreeMap::values) {
                reached.insert(*id);
                dirs.push(*id);
            }
        }
        self.disk.retain(|dir, _| reached.contains(dir));
        self.seen = self.disk.clone();
        reached
    }

    /// Chance has the kernel write the first so many changes.
    pub(super) fn write_back(&mut self, random: &mut Random) {
        let count = random.up_to(self.unsynced.len() as u64) as usize;
        for change in self.unsynced.drain(..count) {
            apply(&mut self.disk, &change);
        }
    }

    fn change(
        &mut self,
        removed: Option<(InodeId, String, InodeId)>,
        added: Option<(InodeId, String, InodeId)>,
    ) {
        let mut waits_for: Vec<InodeId> = removed.iter().chain(&added).map(|(dir, ..)| *dir).collect();
        waits_for.dedup();
        let change = Change { removed, added, waits_for };
        apply(&mut self.seen, &change);
        self.unsynced.push(change);
    }
}

fn apply(tree: &mut Tree, change: &Change) {
    if let Some((dir, name, inode)) = &change.removed
        && let Some(names) = tree.get_mut(dir)
        && names.get(name) == Some(inode)
    {
        names.remove(name);
    }
    if let Some((dir, name, inode)) = &change.added
        && let Some(names) = tree.get_mut(dir)
    {
        names.insert(name.clone(), *inode);
    }
}
