//! From what is needed to what is done: one plan for each partition, and the rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use folio_record::{LeaderEpoch, Offset};

use super::{RepairError, RepairOptions, Step, at};
use crate::data_dir::TOPICS_NAME;
use crate::files::{Files, OpenMode};
use crate::metadata::METADATA_LOG_NAME;
use crate::node::NODE_META_NAME;
use crate::partition::{PARTITION_META_NAME, PartitionId};
use crate::recovery::{Survey, survey_all};
use crate::scan::HeaderWalk;
use crate::slots::SLOTS_NAME;
use crate::verify::{Known, Need, Needs, Offsets, Place};

/// What is done, in the order of its fields.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) needs: Needs,
    pub(super) node: bool,
    pub(super) marker: bool,
    pub(super) aside: Vec<PathBuf>,
    pub(super) slots: bool,
    pub(super) slots_header: bool,
    pub(super) slot_copies: Vec<u64>,
    /// The metadata log is rebuilt.
    pub(super) metadata: bool,
    /// It can be read, but does not know every topic.
    pub(super) knows_too_little: bool,
    pub(super) logs: BTreeMap<PathBuf, LogPlan>,
    pub(super) missing: Vec<(PathBuf, PartitionId)>,
    pub(super) renames: Vec<(PathBuf, PathBuf)>,
}

/// What becomes of one log. Whatever it is, all of it is read anew afterwards.
#[derive(Debug, Default)]
pub(super) struct LogPlan {
    /// `partition.meta` is written anew.
    pub(super) identity: bool,
    /// Epochs that are put right, and where the batches begin.
    pub(super) epochs: Vec<(PathBuf, u64, LeaderEpoch)>,
    /// From here on it is given up.
    pub(super) cut: Option<Place>,
}

impl Plan {
    pub(super) fn new<F: Files>(
        files: &F,
        mut needs: Needs,
        options: &RepairOptions,
    ) -> Result<Self, RepairError> {
        let list = std::mem::take(&mut needs.list);
        let mut plan = Self {
            needs,
            node: false,
            marker: false,
            aside: Vec::new(),
            slots: false,
            slots_header: false,
            slot_copies: Vec::new(),
            metadata: false,
            knows_too_little: false,
            logs: BTreeMap::new(),
            missing: Vec::new(),
            renames: Vec::new(),
        };
        for need in list {
            match need {
                Need::Node => plan.node = true,
                Need::Marker => plan.marker = true,
                Need::Metadata => plan.metadata = true,
                Need::Aside(path) => plan.aside.push(path),
                Need::Stranger(dir, meta) if options.metadata => {
                    plan.knows_too_little = true;
                    let known = Known { meta, slot: None, end: None };
                    plan.needs.partitions.insert(dir, known);
                }
                Need::Stranger(dir, _) => plan.aside.push(dir),
                Need::Unreadable(file, error) => {
                    return Err(RepairError::Unreadable { file: files.root().join(file), error });
                }
                Need::Slots => plan.slots = true,
                Need::SlotsHeader => plan.slots_header = true,
                Need::SlotCopy(at) => plan.slot_copies.push(at),
                Need::Missing(dir, id) => plan.missing.push((dir, id)),
                Need::Identity(dir) => plan.log(dir).identity = true,
                Need::Rename(from, to) => plan.renames.push((from, to)),
                Need::Log(dir) => _ = plan.log(dir),
                Need::Cut(dir, place) => {
                    let log = plan.log(dir);
                    log.cut = Some(log.cut.map_or(place, |cut| cut.min(place)));
                }
                Need::Epoch(dir, file, at, epoch) => plan.log(dir).epochs.push((file, at, epoch)),
            }
        }
        if plan.metadata && !options.metadata {
            return Err(RepairError::NeedsMetadata);
        }
        plan.knows_too_little &= !plan.metadata;
        plan.metadata |= plan.knows_too_little;
        if plan.slots {
            // Nothing tells any more how far any log was durable: each is read from end to end.
            for dir in plan.needs.partitions.keys() {
                plan.logs.entry(dir.clone()).or_default();
            }
        }
        if let (Some(accepted), Some(name)) = (options.accept_loss_from, &options.partition) {
            plan.accept(files, Path::new(TOPICS_NAME).join(name), accepted)?;
        }
        Ok(plan)
    }

    /// What is done, in words.
    pub(super) fn steps<F: Files>(&self, files: &F, options: &RepairOptions) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut step = |is_due: bool, file: &str, what: &str| {
            if is_due {
                steps.push(Step::new(Path::new(file), what));
            }
        };
        step(self.marker, crate::clean::CLEAN_NAME, "is removed: what it says is not so");
        step(self.node, NODE_META_NAME, "is written anew; the cluster gets a new id");
        step(self.slots, SLOTS_NAME, "goes to quarantine, and is made anew from what the logs hold");
        step(self.slots_header, SLOTS_NAME, "its header and its end are written anew");
        let what =
            "goes to quarantine, and is made anew from the partitions; settings that cannot be read are lost";
        step(self.metadata && options.metadata, METADATA_LOG_NAME, what);
        for path in &self.aside {
            let bytes = files.entry(path).ok().flatten().map(|entry| entry.len);
            steps.push(Step { bytes, ..Step::new(path, "goes to quarantine") });
        }
        for at in &self.slot_copies {
            let what = format!("the copy of a slot at byte {at} is blanked");
            steps.push(Step::new(Path::new(SLOTS_NAME), what));
        }
        for (dir, log) in &self.logs {
            self.steps_of_log(files, dir, log, &mut steps);
        }
        for (dir, id) in &self.missing {
            let next = self.needs.slots.get(id).map(|(_, slot)| slot.durable_next_offset);
            let first = self.needs.slots.get(id).map_or(0, |(_, slot)| slot.log_start.get());
            let what = "is made anew and empty, and goes on with the next offset that is known";
            let offsets = Some(Offsets { from: first, to: next.map(Offset::get) });
            steps.push(Step { offsets, ..Step::new(dir, what) });
        }
        for (from, to) in &self.renames {
            steps.push(Step::new(from, format_args!("is renamed to {}, where it belongs", to.display())));
        }
        steps
    }

    fn steps_of_log<F: Files>(&self, files: &F, dir: &Path, log: &LogPlan, steps: &mut Vec<Step>) {
        if log.identity {
            let what = "is written anew, from the directory's name and its slot";
            steps.push(Step::new(&dir.join(PARTITION_META_NAME), what));
        }
        for (file, at, epoch) in &log.epochs {
            let what = format!("the batch at byte {at} gets the epoch {epoch} that it was appended under");
            steps.push(Step::new(file, what));
        }
        if let Some(place) = log.cut
            && let Ok(survey) = survey_all(files, dir)
            && let Some(number) = survey.segments.iter().position(|segment| segment.base == place.segment)
        {
            let behind = &survey.segments[number + 1..];
            let bytes = survey.segments[number].len.saturating_sub(place.at);
            let what = match behind.len() {
                0 => format!("its end, from byte {} on, goes to quarantine", place.at),
                1 => {
                    format!("its end, from byte {} on, and the segment behind it go to quarantine", place.at)
                }
                count => format!(
                    "its end, from byte {} on, and {count} segments behind it go to quarantine",
                    place.at
                ),
            };
            let known = self.needs.partitions.get(dir);
            let durable = known.and_then(|known| known.slot).map(|slot| slot.durable_next_offset);
            let to = known.and_then(|known| known.end).max(durable).filter(|end| *end > place.offset);
            let offsets = Some(Offsets { from: place.offset.get(), to: to.map(Offset::get) });
            let bytes = Some(bytes + behind.iter().map(|segment| segment.len).sum::<u64>());
            steps.push(Step { offsets, bytes, ..Step::new(&survey.log_path(number), what) });
        }
        self.steps_of_loss(files, dir, log, steps);
        let what =
            "all of the log is read, and its indexes, epochs and durable point are written as it tells them";
        steps.push(Step::new(dir, what));
    }

    /// What is not there any more, so that nothing of it can be moved: it is given up all the same.
    fn steps_of_loss<F: Files>(&self, files: &F, dir: &Path, log: &LogPlan, steps: &mut Vec<Step>) {
        let Some(known) = self.needs.partitions.get(dir) else { return };
        let (Some(slot), Ok(survey)) = (known.slot, survey_all(files, dir)) else { return };
        let durable = slot.durable_next_offset;
        let first = survey.segments.first().map_or(durable, |first| first.base);
        let mut lost = |what: &str, from: Offset, to: Offset| {
            if from < to {
                let offsets = Some(Offsets { from: from.get(), to: Some(to.get()) });
                steps.push(Step { offsets, ..Step::new(dir, what) });
            }
        };
        lost("its beginning is missing", slot.log_start, first.min(durable));
        // A cut tells of all that lies behind it.
        if let (Some(end), None) = (known.end, log.cut) {
            lost("its end is missing", end.max(slot.log_start).max(first), durable);
        }
    }

    fn log(&mut self, dir: PathBuf) -> &mut LogPlan {
        self.logs.entry(dir).or_default()
    }

    /// Everything from `accepted` on is given up.
    fn accept<F: Files>(&mut self, files: &F, dir: PathBuf, accepted: Offset) -> Result<(), RepairError> {
        if let Some(cut) = self.logs.get(&dir).and_then(|log| log.cut)
            && cut.offset < accepted
        {
            return Err(RepairError::LosesMore { dir, damaged: cut.offset, accepted });
        }
        let survey = survey_all(files, &dir)
            .map_err(|damage| RepairError::Unmended { path: dir.clone(), reason: damage.to_string() })?;
        if !survey.replacements.is_empty() {
            let reason = "a replacement of segments was interrupted: let the broker start once, or repair \
                          without giving anything up";
            return Err(RepairError::Unmended { path: dir, reason: reason.to_owned() });
        }
        let cut = self.logs.get(&dir).and_then(|log| log.cut);
        let place = match find(files, &survey, accepted)? {
            Some(place) => cut.map_or(place, |cut| cut.min(place)),
            None => cut.ok_or_else(|| RepairError::NotThere { dir: dir.clone(), accepted })?,
        };
        self.log(dir).cut = Some(place);
        Ok(())
    }
}

/// Where the batch begins that holds `offset`, as far as headers lead there.
fn find<F: Files>(files: &F, survey: &Survey, offset: Offset) -> Result<Option<Place>, RepairError> {
    let Some(number) = survey.segments.iter().rposition(|segment| segment.base <= offset) else {
        return Ok(None);
    };
    let (path, segment) = (survey.log_path(number), survey.segments[number].base);
    let io = at(files, &path);
    let file = files.open(&path, OpenMode::Read).map_err(&io)?;
    let mut walk = HeaderWalk::new(&file, 0).map_err(&io)?;
    loop {
        let at = walk.at();
        let Some(header) = walk.next().map_err(&io)? else { return Ok(None) };
        if header.next_offset() > offset {
            return Ok(Some(Place { offset: header.base_offset, segment, at }));
        }
    }
}
