//! What has to hold: after every recovery, and while the broker lives.

mod reading;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_record::{ProducerId, UnverifiedBatch};
use folio_storage::files::sim::Random;
use folio_storage::metadata::{Key, METADATA_LOG_NAME, Transaction};
use folio_storage::partition::PartitionId;
use folio_storage::recovery::{Cut, Damage, PartitionReport};
use folio_storage::slots::{METADATA, SLOT_SIZE, SLOTS_NAME, Slot, SlotCopy};
use folio_storage::verdict::{Fault, Reason};
use folio_storage::verify::{Event, Finding, Severity, VerifyError, VerifyOptions, verify};
use folio_storage::{AppendError, DataDir, Log, Mode, OpenReport, Visibility};
use uuid::Uuid;

use crate::model::{Content, Draft, Partition};
use crate::seam::Seam;
use crate::weakness::Weakness;
use crate::world::{Outcome, Topic, World, ensure};

use reading::read_all;
pub(crate) use reading::slice_bytes;

impl World {
    /// Whether a partition is offline for holes that only a power cut explains, and a failed sync has made some: with
    /// the cache gone they show, and the operator has to decide, or to reboot.
    pub(crate) fn waits_for_reboot(&self, report: &OpenReport<Seam>) -> bool {
        let is_hole =
            |damage: &Damage| matches!(damage, Damage::Log { reason: Reason::HoleWithoutPowerLoss, .. });
        self.life.has_lied
            && report.partitions.iter().any(|partition| partition.state.as_ref().is_err_and(is_hole))
    }

    /// The directory is open again: everything that was promised is there, and what is there was written.
    pub(crate) fn opened(&mut self, report: OpenReport<Seam>, is_first_try: bool) -> Outcome {
        self.stats.recoveries += 1;
        let is_clean = report.was_clean;
        let has_to = self.life.stopped_cleanly && is_first_try;
        ensure!(is_clean || !has_to, "a clean stop is taken for a crash");
        ensure!(!is_clean || self.life.tried_to_stop, "a crash is taken for a clean stop");
        // A log that had no room to be as a stop leaves it is not named in its marker, nor is one without a slot found
        // to be as that says.
        let may_be_unnamed = self.life.was_full || self.has_lost_slots;
        // A directory of a deleted topic that could not be read at an earlier try may be nobody's by now. What is
        // somebody's is missed below.
        let may_be_nobodys = !is_first_try && self.stats.sectors_broken > 0;
        let has_moved = !report.quarantined.is_empty();
        ensure!(!has_moved || may_be_nobodys, "{:?} went to quarantine", report.quarantined);
        self.check_settings()?;
        self.check_kept()?;
        let mut found = report.partitions;
        let mut topics = std::mem::take(&mut self.topics);
        // What nobody was told about may be there or not, or still be waiting for room.
        let known: BTreeMap<Uuid, u32> = self.dir.iter().flat_map(DataDir::topics).map(wanted).collect();
        topics.retain(|topic| !topic.is_unsure || known.contains_key(&topic.uuid));
        for topic in &mut topics {
            if topic.is_unsure && !found.iter().any(|found| found.id.topic == topic.uuid) {
                continue;
            }
            let there = found.iter().filter(|found| found.id.topic == topic.uuid).count();
            let due = topic.partitions.len();
            let is_due = there == due || Some(there) == topic.attempted_partitions;
            ensure!(is_due, "{} has {there} partitions and not {due}", topic.name);
            topic.partitions.resize_with(there, || Partition::new(topic.tombstones_ms));
            let wanted = known.get(&topic.uuid).map_or(0, |count| *count as usize);
            (topic.is_unsure, topic.attempted_partitions) = (false, (wanted > there).then_some(wanted));
            for (number, partition) in (0..).zip(&mut topic.partitions) {
                let id = PartitionId { topic: topic.uuid, partition: number };
                let place = found.iter().position(|found| found.id == id);
                let place = place.ok_or_else(|| format!("{}-{number} is missing", topic.name))?;
                let found = found.swap_remove(place);
                let (log, report) = match found.state {
                    Ok(opened) => opened,
                    Err(damage) if self.is_of_a_call(&damage) => {
                        self.waits(partition, &damage, found.below)
                            .map_err(|error| format!("{}-{number}: {error}", topic.name))?;
                        continue;
                    }
                    Err(damage) => return Err(format!("offline: {damage}")),
                };
                let is_as_due = report.was_clean || !has_to || may_be_unnamed;
                ensure!(is_as_due, "{}-{number}: the clean stop does not speak of it", topic.name);
                self.online_again(partition, log, report, topic.options.visibility)
                    .map_err(|error| format!("{}-{number}: {error}", topic.name))?;
            }
        }
        self.topics = topics;
        if let Some(found) = found.first() {
            return Err(format!("{}-{} was never made, or is deleted", found.topic, found.id.partition));
        }
        (self.life.lost_power, self.life.has_torn_slots) = (false, false);
        self.life.has_lied = false;
        (self.life.stopped_cleanly, self.life.tried_to_stop) = (false, false);
        self.life.was_full = self.life.is_full || self.anything_waits();
        Ok(())
    }

    /// A partition that was recovered, at a start or by the same run: it is in use from here on.
    pub(crate) fn online_again(
        &mut self,
        partition: &mut Partition,
        log: Arc<Log<Seam>>,
        report: PartitionReport,
        visibility: Visibility,
    ) -> Outcome {
        let before = partition.uncut.take();
        if let Some(cut) = report.cut {
            partition.uncut = self.uncut(&cut);
            self.stats.left_uncut += u64::from(partition.uncut.is_some());
            // Without a slot nothing tells of which boot it is.
            let is_of_any_boot = self.since_recovery(partition).lost_power || report.slot_missing;
            let is_told_again = before == Some((cut.file.clone(), cut.position));
            let is_explained = is_of_any_boot || is_told_again || !is_hole(&cut.fault);
            ensure!(is_explained, "a hole is cut off that no power cut has made: {}", cut.fault);
            self.stats.tails_cut += 1;
            self.keep(cut)?;
        }
        self.recovered(partition, &log, visibility, report.was_clean)?;
        partition.log = Some(log);
        Ok(())
    }

    /// One log after recovery.
    pub(crate) fn recovered(
        &mut self,
        partition: &mut Partition,
        log: &Arc<Log<Seam>>,
        visibility: Visibility,
        is_clean: bool,
    ) -> Outcome {
        let (start, end) = (log.log_start().get(), log.log_end().get());
        // A process that dies takes nothing with it, unless a failed sync has made the cache a liar.
        let since = self.since_recovery(partition);
        let is_whole = !since.lost_power && !since.has_lied;
        let least = if is_whole { partition.end() } else { partition.promised.max(partition.seen) };
        ensure!(end >= least, "it ends at {end}, and {least} was promised");
        if end > partition.end() {
            let bytes = read_all(log, partition.end(), end)?;
            partition.find_attempted(&bytes, end);
        }
        let is_boundary = end == 0 || partition.all().any(|batch| batch.next == end);
        ensure!(is_boundary, "it ends at {end}, where no batch ends");
        let is_start = start == partition.start || Some(start) == partition.attempted_start;
        ensure!(is_start, "it begins at {start} and not at {}", partition.start);
        let epoch = log.leader_epoch().get();
        let rises = match is_clean {
            // A copy of its slot that cannot be read may have told of the next epoch; so may the only one that there
            // was.
            _ if self.has_lost_slots => epoch >= partition.epoch,
            true => epoch == partition.epoch,
            false => epoch > partition.epoch,
        };
        let may_rise = since.tried_to_stop && epoch >= partition.epoch;
        let is_new = partition.epoch < 0;
        ensure!(
            rises || is_new || may_rise && !is_clean,
            "epoch {epoch} after {}, clean: {is_clean}",
            partition.epoch
        );
        ensure!(log.durable().get() == end && log.high_watermark().get() == end, "not all of it is visible");

        self.stats.promised +=
            partition.all().filter(|batch| batch.next <= partition.promised).count() as u64;
        partition.start = start;
        partition.attempted_start = None;
        partition.waits = None;
        partition.settle(end, visibility);
        partition.epoch = epoch;
        self.check_log(partition, log)?;
        self.check_producers(partition, log)
    }

    /// Every producer goes on where it was, and what it sends again is recognised.
    fn check_producers(&mut self, partition: &Partition, log: &Log<Seam>) -> Outcome {
        let known = log.producers();
        for id in partition.producers() {
            let found = known.iter().find(|known| known.id == ProducerId::new(id));
            let (epoch, next) = partition.next_of(id);
            let window = partition.window(id);
            match found {
                Some(found) => {
                    let found = (found.epoch, found.last_sequence + 1);
                    ensure!(found == (epoch, next), "producer {id} at {found:?}, not at {epoch}, {next}");
                }
                None => ensure!(window.is_empty(), "producer {id} is forgotten"),
            }
            for batch in window {
                let mut buffers = [batch.again()];
                let appended = log.writer().append(&mut buffers, Mode::MayBlock, self.now());
                let appended = appended.map_err(|error| error.to_string())?;
                let Some(Ok(range)) = appended.outcomes.first() else {
                    return Err(format!("a copy of {} is refused: {appended:?}", batch.base));
                };
                let is_same = range.is_duplicate && range.base_offset.get() == batch.base;
                ensure!(is_same, "a copy of {} is taken for {range:?}", batch.base);
            }
        }
        Ok(())
    }

    fn check_settings(&mut self) -> Outcome {
        let Some(dir) = &self.dir else { return Ok(()) };
        for (node, setting) in &mut self.settings {
            let value = dir.with_metadata(|state| state.get(&Key::Broker(Some(*node))));
            let value = value.map(|entry| entry.value);
            let is_due = value == setting.promised || value == setting.attempted;
            ensure!(is_due, "the setting of node {node} is lost");
            (setting.promised, setting.attempted) = (value, None);
        }
        Ok(())
    }

    /// What was cut off is in quarantine, unless there is no room for it.
    fn keep(&mut self, cut: Cut) -> Outcome {
        if let Some(path) = cut.kept {
            let bytes = self.seam.machine.snapshot().remove(&path);
            let bytes = bytes.ok_or_else(|| format!("{} is not there", path.display()))?;
            ensure!(bytes.len() as u64 == cut.bytes, "of {} bytes {} are kept", cut.bytes, bytes.len());
            self.kept.insert(path, bytes);
        } else {
            let is_excused = cut.bytes == 0 || self.life.is_full || self.fired().is_some();
            ensure!(is_excused, "what was cut off {} is not kept", cut.file.display());
        }
        Ok(())
    }

    /// The place, if what lies behind it is still there.
    fn uncut(&self, cut: &Cut) -> Option<(PathBuf, u64)> {
        let is_behind = |path: &Path, len: u64| {
            let is_later = path.parent() == cut.file.parent() && path.extension() == cut.file.extension();
            path == cut.file && len > cut.position || is_later && path > cut.file.as_path()
        };
        let files = self.seam.machine.snapshot();
        let is_there = files.iter().any(|(path, bytes)| is_behind(path, bytes.len() as u64));
        is_there.then(|| (cut.file.clone(), cut.position))
    }

    /// And stays there.
    fn check_kept(&self) -> Outcome {
        if self.kept.is_empty() {
            return Ok(());
        }
        let files = self.seam.machine.snapshot();
        for (path, bytes) in &self.kept {
            ensure!(files.get(path) == Some(bytes), "{} is not kept any more", path.display());
        }
        Ok(())
    }

    /// While the broker lives.
    pub(crate) fn check_live(&mut self) -> Outcome {
        let violations = self.seam.violations();
        ensure!(violations.is_empty(), "what readers may have: {violations:#?}");
        for (topic, place, log) in self.online() {
            let (durable, visible) = (log.durable().get(), log.high_watermark().get());
            let is_flushed = self.visibility(topic) == Visibility::Flushed;
            let partition = &mut self.topics[topic].partitions[place];
            let (start, end) = (log.log_start().get(), log.log_end().get());
            ensure!(end == partition.end(), "it ends at {end} and not at {}", partition.end());
            ensure!(start <= durable && durable <= end, "{start}, {durable}, {end} are out of order");
            let least = if is_flushed { 0 } else { end };
            let most = if is_flushed { durable } else { end };
            ensure!((least..=most).contains(&visible), "{visible} is visible, {durable} durable");
            if is_flushed {
                partition.seen = partition.seen.max(visible);
            }
        }
        let online = self.online();
        if !online.is_empty() && self.random.percent(5) {
            let (topic, place, log) = &online[self.random.up_to(online.len() as u64 - 1) as usize];
            let partition =
                std::mem::replace(&mut self.topics[*topic].partitions[*place], Partition::new(None));
            let checked = self.check_log(&partition, log);
            self.topics[*topic].partitions[*place] = partition;
            // Unflushed logs may have all the room there is.
            // And the first reader of a log that slept may give files of others back, and meet what goes wrong.
            let is_excused = |error: &str| self.is_out_of_maps(error) || self.seam.machine.is_down();
            return checked.or_else(|error| if is_excused(&error) { Ok(()) } else { Err(error) });
        }
        Ok(())
    }

    /// After a failed write nothing is acknowledged any more, and nothing is written, whoever tries.
    pub(crate) fn check_failed(&mut self) -> Outcome {
        let Some(dir) = self.dir.take() else { return Ok(()) };
        let logs: Vec<_> = self.online().into_iter().map(|(.., log)| log).collect();
        let before: Vec<_> = logs.iter().map(|log| log.durable()).collect();
        let operations = self.seam.machine.operations();
        ensure!(dir.flush(&logs, self.now(), self.instant()).is_err(), "flushed after a failure");
        ensure!(dir.sync_slots().is_err(), "slots are synced after a failure");
        ensure!(dir.commit(Transaction::default(), self.now()).is_err(), "committed after a failure");
        ensure!(dir.purge_trash(&|| true).is_err(), "the trash is emptied after a failure");
        for id in dir.waiting_for_room() {
            let resumed = dir.resume(id, |topic| self.options_of(topic), self.now());
            ensure!(resumed.is_err(), "{id:?} is recovered after a failure");
        }
        for (_, topic) in dir.topics() {
            let deleted = dir.delete_topic(&topic.name, self.now());
            ensure!(deleted.is_err(), "{} is deleted after a failure", topic.name);
        }
        let content = Content { is_keyed: true, is_timeless: false, zeros: 0 };
        for log in &logs {
            let mut batch = [Draft::new(&mut Random::new(0), 0, None, self.clock, content).bytes];
            let appended = log.writer().append(&mut batch, Mode::MayBlock, self.now());
            ensure!(matches!(appended, Err(AppendError::Io { .. })), "{appended:?} after a failure");
            let raised = dir.raise_log_start(log, log.log_end(), self.now(), self.instant());
            ensure!(
                raised.is_err() || log.log_start() == log.log_end(),
                "a start was raised after a failure"
            );
            // What there is nothing to do for may say so.
            let _ = (log.seal_next(self.now()), log.prepare_next(), log.mend_indexes());
            let _ = (log.roll_if_expired(self.now()), log.drop_below_start(dir.trash()));
            ensure!(log.take_snapshot().is_err(), "a snapshot after a failure");
        }
        let after: Vec<_> = logs.iter().map(|log| log.durable()).collect();
        ensure!(before == after, "durable after a failure");
        ensure!(dir.close_clean(self.now(), self.instant()).is_err(), "a clean stop after a failure");
        let more = self.seam.machine.operations() - operations;
        ensure!(more == 0, "{more} operations after a failure");
        Ok(())
    }

    /// Nobody has the directory: `verify` finds what a crash explains, and after a clean stop nothing; and the slots
    /// are true.
    pub(crate) fn look_for_damage(&mut self, was_stopped: bool) -> Outcome {
        let machine = &self.seam.machine;
        let mut worst = Vec::new();
        // What a stop has found no room to take away waits for a start that does.
        let is_tidy = was_stopped && !self.life.is_full && !self.anything_waits();
        let least = if is_tidy { Severity::Interrupted } else { Severity::Damage };
        // For want of room, or of a disk, something was begun and not finished; that it lies there is no harm.
        let may_be_unfinished = self.life.has_failed_unheard;
        let looked = verify(machine, &VerifyOptions::default(), &mut |event| {
            if let Event::Found(finding) = event
                && finding.severity >= least
                && !(self.has_ever_lied && is_index(&finding.file))
                && !self.is_about_two_places(&finding)
                && !(may_be_unfinished && finding.file.extension().is_some_and(|found| found == "tmp"))
            {
                worst.push(finding.to_string());
            }
        });
        match looked {
            Err(VerifyError::NotOurs { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
            Ok(_) => {}
        }
        let files = machine.snapshot();
        if !files.contains_key(Path::new("node.meta")) || !files.contains_key(Path::new(METADATA_LOG_NAME)) {
            return Ok(());
        }
        // A failed sync leaves holes behind a cache that shows none.
        ensure!(worst.is_empty() || self.life.has_lied, "damage: {worst:#?}");
        let Some(slots) = files.get(Path::new(SLOTS_NAME)) else { return Ok(()) };
        let copies =
            slots.chunks_exact(SLOT_SIZE).filter_map(|copy| match SlotCopy::decode(copy.try_into().ok()?) {
                SlotCopy::Valid(slot) => Some(slot),
                _ => None,
            });
        let metadata = &files[Path::new(METADATA_LOG_NAME)];
        for slot in copies {
            if slot.partition == METADATA {
                check_metadata_slot(&slot, metadata)?;
            } else {
                self.check_slot(&slot)?;
            }
        }
        Ok(())
    }

    /// Whether it says no more than what this control has taken away, and nothing of what comes of it.
    fn is_about_two_places(&self, finding: &Finding) -> bool {
        self.seam.weakness() == Weakness::OverwritesSlots
            && finding.what.contains("in the place of the other")
    }

    /// Whatever copy of a slot can be read tells of bytes that were on the disk.
    fn check_slot(&self, slot: &Slot) -> Outcome {
        let is_of = |topic: &&Topic| topic.uuid == slot.partition.topic && !topic.is_unsure;
        let Some(topic) = self.topics.iter().find(is_of) else { return Ok(()) };
        let Some(partition) = topic.partitions.get(slot.partition.partition as usize) else { return Ok(()) };
        if partition.compacted.is_some() {
            // Where its offsets lie is its own affair.
            return Ok(());
        }
        let (base, next) = (slot.durable_segment_base.get(), slot.durable_next_offset.get());
        // Of what was tried and refused, at most one is there.
        let sizes = partition.refused.iter().chain([&partition.attempted]).map(|tried| {
            let all = partition.batches.iter().chain(tried);
            let within = all.filter(|batch| batch.base >= base && batch.next <= next);
            within.map(|batch| batch.bytes.len() as u64).sum::<u64>()
        });
        let sizes: Vec<u64> = sizes.collect();
        ensure!(
            sizes.contains(&slot.durable_pos),
            "a slot of {}-{} has offset {next} at {} of segment {base}, and it is at {sizes:?}",
            topic.name,
            slot.partition.partition,
            slot.durable_pos
        );
        ensure!(slot.log_start <= slot.durable_next_offset, "a slot begins behind its end");
        Ok(())
    }
}

/// What a slot says of the metadata log is in it.
fn check_metadata_slot(slot: &Slot, mut log: &[u8]) -> Outcome {
    let mut end = 0;
    while let Ok((batch, rest)) = UnverifiedBatch::split_first(log) {
        let Ok(batch) = batch.verify() else { break };
        end = batch.header().next_offset().get();
        log = rest;
    }
    let next = slot.durable_next_offset.get();
    ensure!(next <= end, "a slot of the metadata log has offset {next}, and it ends at {end}");
    Ok(())
}

/// Whether sectors of what was written are missing.
fn is_hole(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::BadBatch { zero_chunk: true }
            | Fault::UnusableHeader { zero_chunk: true }
            | Fault::Discontinuous { zero_chunk: true, .. }
    )
}

fn is_index(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "index" || extension == "timeindex")
}

/// How many partitions a topic is to have.
fn wanted((uuid, topic): (Uuid, folio_storage::metadata::Topic)) -> (Uuid, u32) {
    (uuid, topic.partitions)
}
