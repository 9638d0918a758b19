//! Doing what is planned, in an order in which an interrupted repair can be begun anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::plan::Plan;
use super::{RepairError, RepairOptions, at, log, metadata};
use crate::clean::CLEAN_NAME;
use crate::data_dir::{TOPICS_NAME, make_directories};
use crate::envelope::replace;
use crate::files::{FileHandle, Files, OpenMode};
use crate::node::{FORMAT, NODE_META_NAME, NodeMeta};
use crate::partition::{PARTITION_META_NAME, PartitionMeta};
use crate::quarantine::{Note, QUARANTINE_NAME, move_here};
use crate::slots::{AdoptError, METADATA, SLOT_SIZE, SLOTS_NAME, SlotsError, SlotsFile};
use crate::trash::TRASH_NAME;
use crate::verify::Known;

pub(super) fn apply<F: Files>(
    files: &Arc<F>,
    plan: &Plan,
    options: &RepairOptions,
) -> Result<(), RepairError> {
    let root = Path::new("");
    remove_if_there(&**files, Path::new(CLEAN_NAME)).map_err(at(&**files, Path::new(CLEAN_NAME)))?;
    files.sync_dir(root).map_err(at(&**files, root))?;
    for name in [TOPICS_NAME, TRASH_NAME, QUARANTINE_NAME].map(Path::new) {
        if files.entry(name).map_err(at(&**files, name))?.is_none() {
            files.create_dir(name).map_err(at(&**files, name))?;
        }
    }
    files.sync_dir(root).map_err(at(&**files, root))?;
    for path in &plan.aside {
        aside(&**files, path, "it does not belong there, or is damaged", options)?;
    }
    if plan.slots && files.entry(Path::new(SLOTS_NAME)).map_err(at(&**files, root))?.is_some() {
        aside(&**files, Path::new(SLOTS_NAME), "the slots of another directory", options)?;
    }
    let dir = node(&**files, plan, options)?;
    let mut slots = slots(&**files, plan, dir)?;
    if plan.metadata {
        metadata::rebuild(files, plan, &mut slots, options)?;
    }
    partitions(&**files, plan, &mut slots, options)?;
    // Where two have each other's name, both are out of the way first; their own files say whose they are meanwhile.
    let passing = |from: &Path| {
        let mut name = from.as_os_str().to_owned();
        name.push(".moved");
        PathBuf::from(name)
    };
    for (from, _) in &plan.renames {
        files.rename(from, &passing(from)).map_err(at(&**files, from))?;
    }
    for (from, to) in &plan.renames {
        files.rename(&passing(from), to).map_err(at(&**files, from))?;
    }
    files.sync_dir(Path::new(TOPICS_NAME)).map_err(at(&**files, Path::new(TOPICS_NAME)))
}

/// What the directory is called, after `node.meta` says it.
fn node<F: Files>(files: &F, plan: &Plan, options: &RepairOptions) -> Result<Uuid, RepairError> {
    if let Some(node) = plan.needs.node {
        return Ok(node.dir);
    }
    let dir = plan.needs.slots_dir.filter(|_| !plan.slots).unwrap_or(options.new_dir);
    let node = NodeMeta { dir, cluster: options.new_cluster, format: FORMAT, created: options.now };
    let path = Path::new(NODE_META_NAME);
    replace(files, path, &node.encode()).map_err(at(files, path))?;
    Ok(dir)
}

fn slots<F: Files>(files: &F, plan: &Plan, dir: Uuid) -> Result<SlotsFile<F>, RepairError> {
    let path = Path::new(SLOTS_NAME);
    let io = at(files, path);
    if !plan.slot_copies.is_empty() {
        let file = files.open(path, OpenMode::Write).map_err(&io)?;
        for position in &plan.slot_copies {
            file.write_at(&[0; SLOT_SIZE], *position).map_err(&io)?;
        }
        file.sync().map_err(&io)?;
    }
    match SlotsFile::open(files, dir) {
        Ok((slots, _)) => Ok(slots),
        Err(SlotsError::Io(source)) => Err(io(source)),
        Err(error) => Err(RepairError::Unmended { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn partitions<F: Files>(
    files: &F,
    plan: &Plan,
    slots: &mut SlotsFile<F>,
    options: &RepairOptions,
) -> Result<(), RepairError> {
    // Those that keep their slots first, so that nobody else is given one of them.
    let mut homeless = Vec::new();
    for (dir, known) in &plan.needs.partitions {
        match slots.adopt(known.meta.slot, known.meta.id) {
            Ok(_) => {}
            Err(AdoptError::Io(source)) => return Err(at(files, Path::new(SLOTS_NAME))(source)),
            Err(_) => homeless.push(dir),
        }
    }
    slots.take_own(METADATA);
    for (dir, log) in &plan.logs {
        let Some(mut known) = plan.needs.partitions.get(dir).cloned() else { continue };
        if homeless.contains(&dir) || log.identity {
            known.meta = identity(files, slots, dir, &known, homeless.contains(&dir), options)?;
        }
        log::mend(files, dir, &known, log, slots, options.now)?;
    }
    for (dir, id) in &plan.missing {
        let known = plan.needs.slots.get(id);
        let number = match known.map(|(number, _)| slots.adopt(*number, *id)) {
            Some(Ok(_)) => known.map(|(number, _)| *number),
            _ => None,
        };
        let slot = number.map_or_else(|| slots.claim(*id), Ok).map_err(at(files, Path::new(SLOTS_NAME)))?;
        let meta = PartitionMeta { id: *id, slot, created: options.now };
        make_directories(files, &[(dir.clone(), meta)]).map_err(at(files, dir))?;
        let known = Known { meta, slot: known.map(|(_, slot)| *slot), end: None };
        log::mend(files, dir, &known, &super::plan::LogPlan::default(), slots, options.now)?;
    }
    Ok(())
}

/// Writes `partition.meta`; with a slot that is free, if it has none.
fn identity<F: Files>(
    files: &F,
    slots: &mut SlotsFile<F>,
    dir: &Path,
    known: &Known,
    is_homeless: bool,
    options: &RepairOptions,
) -> Result<PartitionMeta, RepairError> {
    let PartitionMeta { id, slot, .. } = known.meta;
    let slot = if is_homeless { slots.claim(id) } else { Ok(slot) };
    let slot = slot.map_err(at(files, Path::new(SLOTS_NAME)))?;
    let meta = PartitionMeta { id, slot, created: options.now };
    let path = dir.join(PARTITION_META_NAME);
    replace(files, &path, &meta.encode()).map_err(at(files, &path))?;
    Ok(meta)
}

/// Moves it to quarantine.
pub(super) fn aside<F: Files>(
    files: &F,
    path: &Path,
    reason: &str,
    options: &RepairOptions,
) -> Result<(), RepairError> {
    let note = Note::new(path, 0, reason.to_owned(), options.now);
    // An earlier attempt has moved it, or what it lies in.
    if files.entry(path).map_err(at(files, path))?.is_some() {
        move_here(files, path, note).map_err(at(files, path))?;
    }
    Ok(())
}

fn remove_if_there<F: Files>(files: &F, path: &Path) -> io::Result<()> {
    match files.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
