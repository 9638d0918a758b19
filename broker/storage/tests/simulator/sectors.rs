//! Sectors that the disk does not give any more, found by a start: it is one partition that suffers, or one range, and
//! nothing that was acknowledged is given up. Once they can be read again, everything is there. So it is with room that
//! a recovery does not find.
//!
//! They break between two runs of the broker, and are healed before a later one; what a start in between may do is less
//! than what `check` asks of one on a good disk, and held against it here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_record::Offset;
use folio_storage::files::sim::{Fault, Random};
use folio_storage::log::{DamageKind, Scrubbed};
use folio_storage::recovery::Damage;
use folio_storage::slots::SLOTS_NAME;
use folio_storage::{Cursor, Log, OpenReport, Read, ReadError, Touch};

use crate::check::slice_bytes;
use crate::model::{Content, Draft, Partition, Stored, rows};
use crate::seam::Seam;
use crate::weakness::Weakness;
use crate::world::{Outcome, World, ensure};

impl World {
    /// By chance, sectors of a file break; never where a sync has lied, which is trouble enough to tell apart.
    pub(crate) fn break_sectors(&mut self) {
        if !self.random.percent(self.chances.broken) || self.life.has_lied || !self.is_set_up() {
            return;
        }
        let of_topics = self.random.percent(85);
        let files: Vec<(PathBuf, u64)> = self
            .seam
            .machine
            .snapshot()
            .into_iter()
            .filter(|(path, bytes)| !bytes.is_empty() && (!of_topics || path.starts_with("topics")))
            .map(|(path, bytes)| (path, bytes.len() as u64))
            .collect();
        let Some(last) = (files.len() as u64).checked_sub(1) else { return };
        let (path, len) = &files[self.random.up_to(last) as usize];
        let at = self.random.up_to(len - 1);
        let most = [1, 2000][self.random.up_to(1) as usize];
        let mut to = at + 1 + self.random.up_to(most);
        if path.as_os_str() == SLOTS_NAME {
            // Both copies of one slot are more than a bad place.
            if self.life.has_torn_slots || self.seam.machine.broken_files().contains(path) {
                return;
            }
            to = to.min((at / PAGE + 1) * PAGE);
            self.has_lost_slots = true;
        }
        self.seam.note(|| format!("{} cannot be read from {at} to {to}", path.display()));
        self.seam.machine.break_sectors(path, at..to);
        // A marker that cannot be read vouches for nothing.
        self.life.stopped_cleanly &= path.as_os_str() != "clean";
        self.stats.sectors_broken += 1;
    }

    pub(crate) fn has_broken_sectors(&self) -> bool {
        !self.seam.machine.broken_files().is_empty()
    }

    /// Whether some lie in a file that the whole directory depends on.
    pub(crate) fn are_all_concerned(&self) -> bool {
        self.seam
            .machine
            .broken_files()
            .iter()
            .any(|path| !path.starts_with("topics") && path.as_os_str() != SLOTS_NAME)
    }

    pub(crate) fn heal_sectors(&mut self) {
        self.seam.note(|| "all can be read again".to_owned());
        self.seam.machine.heal_sectors();
    }

    /// Whether a partition is offline for a call of this start that has failed, or for room that it did not find.
    pub(crate) fn lacks_a_call(&self, report: &OpenReport<Seam>) -> bool {
        report
            .partitions
            .iter()
            .any(|found| found.state.as_ref().is_err_and(|damage| self.is_of_a_call(damage)))
    }

    /// Whether this is the word of a call that has failed, and of nothing that lies on the disk.
    pub(crate) fn is_of_a_call(&self, damage: &Damage) -> bool {
        match damage {
            // All else that finds no room waits for the next append.
            Damage::NoRoom { file, .. } => {
                let is_intent = file.file_stem().is_some_and(|stem| stem == "replace");
                is_intent && (self.life.is_full || matches!(self.fired(), Some(Fault::Full | Fault::Short)))
            }
            Damage::UnreadableLog { .. } => matches!(self.fired(), Some(Fault::Broken | Fault::SyncLies)),
            _ => false,
        }
    }

    /// The directory is open although something in it cannot be read, or written: whoever is not concerned has
    /// everything.
    pub(crate) fn opened_in_part(&mut self, mut report: OpenReport<Seam>) -> Outcome {
        self.stats.recoveries += 1;
        let broken = self.seam.machine.broken_files();
        let mut topics = std::mem::take(&mut self.topics);
        for found in report.partitions.drain(..) {
            let what = format!("{}-{}", found.topic, found.id.partition);
            let dir = Path::new("topics").join(&what);
            let is_of_a_call = found.state.as_ref().is_err_and(|damage| self.is_of_a_call(damage));
            let is_concerned = is_of_a_call || broken.iter().any(|path| path.starts_with(&dir));
            let topic = topics.iter_mut().find(|topic| topic.uuid == found.id.topic && !topic.is_unsure);
            let visibility = topic.as_ref().map(|topic| topic.options.visibility);
            let partition = topic.and_then(|topic| topic.partitions.get_mut(found.id.partition as usize));
            let checked = match found.state {
                Err(damage) if is_concerned => {
                    self.stats.offline_for_calls += u64::from(is_of_a_call);
                    self.stats.offline_for_sectors += u64::from(!is_of_a_call);
                    self.seam.note(|| format!("{what} is offline: {damage}"));
                    let partition = partition.as_deref();
                    partition.map_or(Ok(()), |partition| {
                        self.check_below(partition, &damage, found.below.as_ref())
                    })
                }
                Err(damage) => Err(format!("is offline, and nothing of it is broken: {damage}")),
                Ok((log, report)) => match (partition, visibility) {
                    (Some(partition), _) if is_concerned => self.check_what_is_left(partition, &log),
                    (Some(partition), Some(visibility)) => {
                        self.recovered(partition, &log, visibility, report.was_clean)
                    }
                    _ => Ok(()),
                },
            };
            checked.map_err(|error| format!("{what}, with broken sectors: {error}"))?;
        }
        self.topics = topics;
        Ok(())
    }

    /// Of a partition that is offline because some of its log cannot be read: what lies before that segment is served,
    /// and whatever is served is right.
    pub(crate) fn check_below(
        &mut self,
        partition: &Partition,
        damage: &Damage,
        below: Option<&Arc<Log<Seam>>>,
    ) -> Outcome {
        if let Some(below) = below {
            self.check_what_is_left(partition, below)?;
        }
        if let Damage::Unreadable { file, .. } = damage {
            ensure!(file.ends_with("partition.meta"), "all of it is offline: {damage}");
        }
        let start = partition.attempted_start.unwrap_or(partition.start).max(partition.start);
        let served = below.map_or(Offset::new(start), |below| below.log_end());
        if let Damage::NoRoom { offset, file, .. } = damage {
            let is_whole =
                served.get() >= partition.promised.min(offset.get()) && offset.get() >= partition.promised;
            // Some of it may not even be read.
            let is_broken =
                |dir: &Path| self.seam.machine.broken_files().iter().any(|path| path.starts_with(dir));
            let is_excused = file.parent().is_some_and(is_broken);
            ensure!(
                is_whole || is_excused,
                "{served} is served of {} promised: {damage}",
                partition.promised
            );
        }
        let Damage::UnreadableLog { file, .. } = damage else { return Ok(()) };
        let base = file.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let due = Offset::new(base.ok_or("a log without a name")?);
        ensure!(served >= due, "of what lies below {due}, all from {served} on is offline: {damage}");
        self.stats.served_below += u64::from(below.is_some());
        Ok(())
    }

    /// Of a log some of which cannot be read: whatever is read is right, and a scrub finds what is not.
    pub(crate) fn check_what_is_left(&mut self, partition: &Partition, log: &Arc<Log<Seam>>) -> Outcome {
        let broken = self.seam.machine.broken_files();
        let found = scrub(log)?;
        for range in found.iter().flat_map(|done| &done.found) {
            let is_due = matches!(range.kind, DamageKind::Unreadable { .. });
            ensure!(is_due && broken.contains(&range.file), "a scrub finds {range}");
            self.stats.ranges_refused += 1;
        }
        let (mut offset, end) = (log.log_start(), log.high_watermark());
        while offset < end {
            offset = match log.read(offset, 1, &mut Cursor::default(), Touch::Any) {
                Ok(Read::Ready(fetched)) => {
                    let Some(slice) = fetched.slice else { break };
                    self.check_batch(partition, &slice_bytes(&slice)?)?;
                    fetched.next_offset
                }
                Ok(Read::Cold) => return Err("cold, although it may wait".to_owned()),
                Err(ReadError::Damaged(range)) => {
                    ensure!(range.offsets.contains(&offset), "{offset} is refused for {range}");
                    range.offsets.end
                }
                Err(ReadError::Io { .. }) => Offset::new(offset.get() + 1),
                Err(error) => return Err(error.to_string()),
            };
        }
        Ok(())
    }

    /// Where nothing is broken, a scrub finds nothing.
    pub(crate) fn scrub(&self, log: &Arc<Log<Seam>>) -> Outcome {
        let found = scrub(log)?;
        if self.seam.machine.is_down() {
            return Ok(());
        }
        for done in found {
            // Where a sync has lied, an index may have a hole.
            let is_right = done.found.is_empty() && !done.is_index_damaged || self.has_ever_lied;
            ensure!(is_right && done.unsteady == 0 && done.surplus == 0, "a scrub finds {done:?}");
        }
        Ok(())
    }

    fn check_batch(&self, partition: &Partition, bytes: &[u8]) -> Outcome {
        if partition.compacted.is_none() {
            ensure!(partition.all().any(|batch| batch.bytes == bytes), "a batch that nobody wrote");
            return Ok(());
        }
        for row in rows(bytes)? {
            // Several appends may have been refused that would have had the same offset.
            let written = partition.all().filter(|batch| (batch.base..batch.next).contains(&row.offset));
            let written = written.map(|batch| rows(&batch.bytes)).collect::<Outcome<Vec<_>>>()?;
            let is_it = written.iter().any(|rows| rows.contains(&row));
            ensure!(is_it, "a record that nobody wrote at {}", row.offset);
        }
        Ok(())
    }
}

/// The copies of one slot lie on different ones.
const PAGE: u64 = 4096;

/// What a scrub of all sealed segments of a log finds, step by step.
fn scrub(log: &Arc<Log<Seam>>) -> Outcome<Vec<Scrubbed>> {
    let (mut from, mut found) = (Offset::ZERO, Vec::new());
    while let Some(mut scrub) = log.scrub(from) {
        loop {
            let step = scrub.step(4096).map_err(|error| error.to_string())?;
            let is_done = step.is_done;
            found.push(step);
            if is_done {
                break;
            }
        }
        from = scrub.next_base();
    }
    Ok(found)
}

#[test]
fn of_several_batches_that_were_refused_the_same_offset_any_may_be_there() {
    let (world, mut random) = (World::new(0, Weakness::None, false), Random::new(1));
    let mut partition = Partition::new(Some(0));
    let content = Content { is_keyed: true, is_timeless: false, zeros: 0 };
    for number in 1..4 {
        let Draft { at, bytes, by, records } = Draft::new(&mut random, number, None, 0, content);
        let (base, next, bytes) = (0, i64::from(records), bytes.to_vec());
        partition.refused.push(vec![Stored { base, next, epoch: 0, bytes, by, at }]);
    }
    for batch in partition.all() {
        assert_eq!(world.check_batch(&partition, &batch.bytes), Ok(()));
    }
}
