//! One partition: its small files, its names, and its log.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use folio_record::{LeaderEpoch, Offset, Timestamp};

use super::segment::{self, Ended, Expected};
use super::slots::Known;
use super::{Finding, Findings, Need, Place, Severity};
use crate::clean::{CLEAN_NAME, CleanPartition};
use crate::compacted::compacted_path;
use crate::envelope::ENVELOPE_SIZE_MAX;
use crate::epochs::{EPOCHS_NAME, Epochs};
use crate::files::{Files, OpenMode, is_exhausted, read_file};
use crate::partition::{PARTITION_META_NAME, PartitionMeta};
use crate::partition_files::{PartitionFile, snapshot_path};
use crate::producers::{Producers, SNAPSHOT_PRODUCERS_MAX, SNAPSHOT_SIZE_MAX};
use crate::recovery::{Damage, Survey, is_same_boot, read_compacted, sealed_upto, survey_all};
use crate::replacement::{intent_path, read_intent};
use crate::scan::{ANY_EPOCH, BATCH_SIZE_LIMIT, Rules, Scan, Step};
use crate::slots::{SLOT_SIZE, SLOTS_NAME, Slot, slot_position};
use crate::verdict::Fault;

/// A directory that is a partition's.
pub(super) struct Partition {
    pub(super) dir: PathBuf,
    pub(super) meta: PartitionMeta,
}

/// Looks at a partition. `row` is what the marker of a clean stop says of it.
pub(super) fn look<F: Files>(
    files: &F,
    partition: &Partition,
    known: Known,
    row: Option<&CleanPartition>,
    findings: &mut Findings<'_>,
) {
    findings.summary.partitions += 1;
    let mut survey = match survey_all(files, &partition.dir) {
        Ok(survey) => survey,
        Err(damage) => return findings.about(Severity::Damage, &partition.dir, damage),
    };
    let replaced = replacements(files, &mut survey, findings);
    compacted(files, &partition.dir, findings);
    let slot = slot(partition, known, &survey, row.is_some(), findings);
    let epochs = epochs(files, &partition.dir, slot.as_ref(), findings);
    names(&survey, slot.as_ref(), row.is_some(), findings);
    snapshots(files, &survey, findings);
    let survey = survey.without_expired(slot.as_ref());
    let known = Beside { slot: slot.as_ref(), epochs: epochs.as_ref(), replaced, was_closed: row.is_some() };
    let end = log(files, partition, &survey, &known, findings);
    if let Some(known) = findings.needs.partitions.get_mut(&partition.dir) {
        known.end = end;
    }
    if let (Some(row), Some(end)) = (row, end) {
        marker(partition, row, &survey, end, findings);
    }
}

/// What is known of its durable point.
fn slot(
    partition: &Partition,
    known: Known,
    survey: &Survey,
    was_closed: bool,
    findings: &mut Findings<'_>,
) -> Option<Slot> {
    let has_data = survey.segments.iter().any(|segment| segment.len > 0);
    let number = partition.meta.slot;
    let path = partition.dir.join(PARTITION_META_NAME);
    let what = match known {
        Known::Slot(slot) => return Some(slot),
        Known::NoSuchSlot => {
            let what = format!("the file ends before slot {number}, which {} names", path.display());
            let finding = Finding::new(Severity::Damage, Path::new(SLOTS_NAME), what);
            let finding = finding.at(slot_position(number, 0)).of_bytes(SLOT_SIZE as u64);
            findings.add_with(finding, Need::Log(partition.dir.clone()));
            return None;
        }
        Known::Lost if has_data => {
            format!("slot {number}, which it names, is damaged: nothing tells how far the log was durable")
        }
        Known::Nothing if was_closed && has_data => {
            format!("slot {number}, which it names, says nothing of this partition")
        }
        Known::Lost | Known::Nothing | Known::Unreadable => return None,
    };
    findings.damage(&path, what, Need::Log(partition.dir.clone()));
    None
}

/// The epochs, if they can be relied on.
fn epochs<F: Files>(
    files: &F,
    dir: &Path,
    slot: Option<&Slot>,
    findings: &mut Findings<'_>,
) -> Option<Epochs> {
    let path = dir.join(EPOCHS_NAME);
    let what = match read_file(files, &path, ENVELOPE_SIZE_MAX) {
        Ok(Some(bytes)) => match Epochs::decode(&bytes) {
            Ok(epochs) if slot.is_some_and(|slot| slot.leader_epoch <= epochs.current()) => {
                return Some(epochs);
            }
            // They may be behind, and nothing says how far.
            Ok(_) if slot.is_none() => return None,
            Ok(_) => {
                let what = "the latest epoch is not written down yet; batches and slot tell it";
                findings.about(Severity::Harmless, &path, what);
                return None;
            }
            Err(error) => error.to_string(),
        },
        Ok(None) => "the file is missing".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    findings.damage(&path, what, Need::Log(dir.to_owned()));
    None
}

/// Files that do not belong, and files that are on their way out.
fn names(survey: &Survey, slot: Option<&Slot>, was_closed: bool, findings: &mut Findings<'_>) {
    for path in &survey.foreign {
        let what = "does not belong in a partition: move it away, or start the build that made it";
        findings.damage(path, what, Need::Aside(path.clone()));
    }
    let expired = survey.expired(slot);
    let mut unfinished = Vec::new();
    for path in survey.garbage.iter().chain(&expired) {
        let name = path.file_name().and_then(|name| name.to_str());
        match name.and_then(PartitionFile::parse) {
            Some(PartitionFile::Unfinished) => unfinished.push(path.as_path()),
            Some(PartitionFile::Segment(base, _)) if slot.is_some_and(|slot| base < slot.log_start) => {
                findings.about(
                    Severity::Interrupted,
                    path,
                    "it lies below the start of the log, and was to be deleted",
                );
            }
            _ => {
                let severity = Severity::unless_crashed(!was_closed);
                let finding = Finding::new(severity, path, "the log that it belongs to is missing");
                findings.add_with(finding, Need::Aside(path.clone()));
            }
        }
    }
    unfinished_files(&unfinished, findings);
}

/// Files of something that did not finish: one line for all of a partition. There are three for each segment that was
/// being made ready, which is what every kill leaves.
fn unfinished_files(paths: &[&Path], findings: &mut Findings<'_>) {
    let Some(first) = paths.first() else { return };
    let others = match paths.len() - 1 {
        0 => String::new(),
        1 => ", and one other file beside it".to_owned(),
        others => format!(", and {others} other files beside it"),
    };
    let what = format!("left by something that did not finish{others}; the next start removes what is left");
    findings.about(Severity::Interrupted, first, what);
}

/// Snapshots of producers. One that is no good goes with the next start, which has to go through more of the log then.
fn snapshots<F: Files>(files: &F, survey: &Survey, findings: &mut Findings<'_>) {
    for end in &survey.snapshots {
        let path = snapshot_path(&survey.dir, *end);
        let what = match read_file(files, &path, SNAPSHOT_SIZE_MAX) {
            Ok(Some(bytes)) => {
                match Producers::decode(&bytes, *end, SNAPSHOT_PRODUCERS_MAX, Timestamp::NONE) {
                    Ok(_) => continue,
                    Err(error) => error.to_string(),
                }
            }
            Ok(None) => continue,
            Err(error) => format!("cannot be read: {error}"),
        };
        findings.about(Severity::Harmless, &path, what);
    }
}

/// Replacements of segments that were interrupted: the log is looked at as the next start will make it. Gives the bases
/// of the segments that are new, each with where it ends; their bytes are what was written.
fn replacements<F: Files>(
    files: &F,
    survey: &mut Survey,
    findings: &mut Findings<'_>,
) -> BTreeMap<Offset, Offset> {
    let mut replaced = BTreeMap::new();
    for number in survey.replacements.clone() {
        let path = intent_path(&survey.dir, number);
        let found = read_intent(files, &path).map_err(|what| (path.clone(), what)).and_then(|replacement| {
            let found = replacement.find(files, &survey.dir);
            found.map_err(|error| (path.clone(), format!("cannot be read: {error}")))?.map(|_| replacement)
        });
        match found {
            Ok(replacement) => {
                let what = "a replacement of segments was interrupted, which the next start finishes";
                findings.about(Severity::Interrupted, &path, what);
                survey.finished(&replacement);
                replaced.insert(replacement.base, replacement.next_base);
            }
            Err((file, what)) => {
                findings.damage(&file, what, Need::Aside(path));
                findings.need(Need::Log(survey.dir.clone()));
            }
        }
    }
    replaced
}

/// How far the log was compacted. Without a word of it the next compaction begins at the start.
fn compacted<F: Files>(files: &F, dir: &Path, findings: &mut Findings<'_>) {
    if let Err(what) = read_compacted(files, dir) {
        findings.about(Severity::Harmless, &compacted_path(dir), what);
    }
}

/// What is known of a log beside its files.
struct Beside<'a> {
    slot: Option<&'a Slot>,
    epochs: Option<&'a Epochs>,
    replaced: BTreeMap<Offset, Offset>,
    was_closed: bool,
}

/// Reads the log; gives its end, if it can be read up to there.
fn log<F: Files>(
    files: &F,
    partition: &Partition,
    survey: &Survey,
    known: &Beside<'_>,
    findings: &mut Findings<'_>,
) -> Option<Offset> {
    let Beside { slot, epochs, was_closed, .. } = *known;
    let id = partition.meta.id;
    let durable = match survey.durable(files, id, slot) {
        Ok(Some(durable)) => durable,
        Ok(None) => return slot.map(|slot| slot.durable_next_offset),
        Err(damage) => {
            match where_it_ends(files, survey, &damage) {
                Some((finding, place)) => {
                    findings.add_with(finding, Need::Cut(partition.dir.clone(), place));
                }
                None => {
                    let finding = about_log(&partition.dir, &damage);
                    findings.add_with(finding, Need::Log(partition.dir.clone()));
                }
            }
            // What is there is read all the same, as if nothing were known of it.
            survey.durable(files, id, None).ok().flatten()?
        }
    };
    let sealed = sealed_upto(files, survey, id).ok().flatten();
    let durable = sealed.filter(|sealed| sealed.segment > durable.segment).unwrap_or(durable);
    let rules = Rules {
        batch_size_max: BATCH_SIZE_LIMIT,
        gaps_upto: None,
        epoch_max: match (epochs, slot) {
            // Each batch is held against these by itself.
            (Some(_), _) | (None, None) => LeaderEpoch::new(i32::MAX),
            (None, Some(slot)) => slot.leader_epoch,
        },
    };
    let same_boot = is_same_boot(slot, files.boot());
    let expected = Expected { id, survey, durable, same_boot, rules, epochs, was_closed };
    let mut epoch_min = LeaderEpoch::NONE;
    let mut end = None;
    for number in 0..survey.segments.len() {
        findings.summary.segments += 1;
        if let Some(next_base) = known.replaced.get(&survey.segments[number].base) {
            end = Some(*next_base);
            continue;
        }
        if epochs.is_some() {
            epoch_min = ANY_EPOCH;
        }
        end = match segment::look(files, &expected, number, &mut epoch_min, findings) {
            Ok(Ended::At(end)) => Some(end),
            Ok(Ended::Damaged) => None,
            Ok(Ended::Torn) => return None,
            Err(error) => {
                let finding = Finding::new(
                    Severity::Damage,
                    &survey.log_path(number),
                    format_args!("cannot be read: {error}"),
                );
                let segment = survey.segments[number].base;
                // What this process may not read, or cannot for want of descriptors, is not lost.
                let need = if error.kind() == io::ErrorKind::PermissionDenied || is_exhausted(&error) {
                    Need::Unreadable(survey.log_path(number), error.to_string())
                } else {
                    Need::Cut(partition.dir.clone(), Place { offset: segment, segment, at: 0 })
                };
                findings.add_with(finding.affecting(segment, survey.next_base(number)), need);
                None
            }
        };
    }
    end
}

fn about_log(dir: &Path, damage: &Damage) -> Finding {
    match damage {
        Damage::Log { file, position, offset, fault, reason } => {
            Finding::new(Severity::Damage, file, format_args!("{fault}; {reason}"))
                .at(*position)
                .affecting(*offset, None)
        }
        damage => Finding::new(Severity::Damage, dir, damage),
    }
}

/// A log that is shorter than it was durable has lost what comes behind its last intact batch, which is this place.
fn where_it_ends<F: Files>(files: &F, survey: &Survey, damage: &Damage) -> Option<(Finding, Place)> {
    let Damage::Log { file, fault: fault @ Fault::ShortFile { durable, .. }, reason, .. } = damage else {
        return None;
    };
    let number = (0..survey.segments.len()).find(|number| survey.log_path(*number) == *file)?;
    let log = files.open(file, OpenMode::Read).ok()?;
    let epoch_max = LeaderEpoch::new(i32::MAX);
    let rules = Rules { batch_size_max: BATCH_SIZE_LIMIT, gaps_upto: None, epoch_max };
    let mut scan = Scan::new(&log, 0, survey.segments[number].base, ANY_EPOCH, rules).ok()?;
    let (at, due) = loop {
        let here = (scan.at(), scan.expected());
        if !matches!(scan.next().ok()?, Step::Batch { .. }) {
            break here;
        }
        scan.forget_epoch();
    };
    let finding = Finding::new(Severity::Damage, file, format_args!("{fault}; {reason}"));
    let place = Place { offset: due, segment: survey.segments[number].base, at };
    Some((finding.at(at).of_bytes(durable.saturating_sub(at)).affecting(due, None), place))
}

/// The marker of a clean stop against what is there.
fn marker(
    partition: &Partition,
    row: &CleanPartition,
    survey: &Survey,
    end: Offset,
    findings: &mut Findings<'_>,
) {
    let (base, len) = survey.segments.last().map_or((end, 0), |active| (active.base, active.len));
    if (row.active_base, row.log_len, row.next_offset) != (base, len, end) {
        let what = format!(
            "it says that {} ends at byte {} of segment {} with offset {}, and it ends at byte \
             {len} of segment {base} with offset {end}",
            partition.dir.display(),
            row.log_len,
            row.active_base,
            row.next_offset,
        );
        findings.damage(Path::new(CLEAN_NAME), what, Need::Marker);
    }
}
