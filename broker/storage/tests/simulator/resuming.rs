//! Partitions that a start has found no room to recover, and that the same run recovers: with the disk still full, with
//! room, while the disk fails, and with the power cut in between. Others are in use meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use folio_record::Offset;
use folio_storage::data_dir::OpenedPartition;
use folio_storage::files::sim::Room;
use folio_storage::partition::PartitionId;
use folio_storage::recovery::Damage;
use folio_storage::verdict::Reason;
use folio_storage::{Cursor, Log, OpenReport, ReadError, Touch};

use crate::environment::told;
use crate::model::{Before, Partition, Waits};
use crate::seam::Seam;
use crate::stats::Stats;
use crate::trouble::Kind;
use crate::weakness::Weakness;
use crate::world::{Chances, Outcome, World, ensure};

impl World {
    /// Whether the broker goes on after this start, in which nothing but room was missing.
    pub(crate) fn can_wait(&self, report: &OpenReport<Seam>) -> bool {
        let lacks_more = |found: &OpenedPartition<Seam>| {
            found.state.as_ref().is_err_and(|damage| !matches!(damage, Damage::NoRoom { .. }))
        };
        // Nothing that chance decides, so that what a seed once found stays what it is.
        !self.seam.machine.operations().is_multiple_of(4)
            && !self.has_broken_sectors()
            && !self.life.has_lied
            && !report.partitions.iter().any(lacks_more)
    }

    /// Whether a replacement has found no room to be finished, in a run in which the next start is to find none either.
    pub(crate) fn is_stuck(&self) -> bool {
        let is_intent = |path: &PathBuf| {
            path.file_stem().is_some_and(|stem| stem == "replace")
                && path.extension().is_some_and(|end| end != "tmp")
        };
        self.chances.is_short && self.seam.machine.snapshot().keys().any(is_intent)
    }

    /// And it finds none.
    pub(crate) fn may_stay_full(&mut self) {
        if self.is_stuck() {
            self.seam.note(|| "the disk stays full".to_owned());
            self.seam.machine.set_room(Room::Nothing);
            (self.life.is_full, self.life.was_full) = (true, true);
        }
    }

    /// A start has not recovered this partition for want of room.
    pub(crate) fn waits(
        &mut self,
        partition: &mut Partition,
        damage: &Damage,
        below: Option<Arc<Log<Seam>>>,
    ) -> Outcome {
        self.check_below(partition, damage, below.as_ref())?;
        partition.waits = Some(Waits { below, before: self.since_recovery(partition) });
        Ok(())
    }

    /// What has happened since this partition was recovered.
    pub(crate) fn since_recovery(&self, partition: &Partition) -> Before {
        let before = partition.waits.as_ref().map(|waits| waits.before).unwrap_or_default();
        Before {
            lost_power: before.lost_power || self.life.lost_power,
            has_lied: before.has_lied || self.life.has_lied,
            tried_to_stop: before.tried_to_stop || self.life.tried_to_stop,
        }
    }

    pub(crate) fn anything_waits(&self) -> bool {
        self.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.waits.is_some())
    }

    /// If a partition waits for room, it may be recovered again now. Whether that was tried.
    pub(crate) fn may_resume(&mut self) -> Outcome<bool> {
        let Some(dir) = &self.dir else { return Ok(false) };
        let at = self.seam.machine.operations();
        let waiting = dir.waiting_for_room();
        let Some(id) = waiting.get(at as usize % waiting.len().max(1)).copied() else { return Ok(false) };
        let place = self.topics.iter().position(|topic| topic.uuid == id.topic);
        let Some(topic) = place.filter(|topic| !self.topics[*topic].is_unsure) else { return Ok(false) };
        if at.is_multiple_of(3) {
            // Others are busy meanwhile.
            return Ok(false);
        }
        if at % 8 < 5 {
            self.fill(false);
        }
        if at.is_multiple_of(7) && self.chances.cut + self.chances.fault > 0 {
            self.arm(40);
        }
        let number = id.partition as usize;
        let mut partition =
            std::mem::replace(&mut self.topics[topic].partitions[number], Partition::new(None));
        let resumed = self.resume(topic, id, &mut partition);
        self.topics[topic].partitions[number] = partition;
        resumed.map_err(|error| format!("{}-{number}, resumed: {error}", self.topics[topic].name))?;
        Ok(true)
    }

    fn resume(&mut self, topic: usize, id: PartitionId, partition: &mut Partition) -> Outcome {
        self.seam.note(|| format!("resume {} {}", self.topics[topic].name, id.partition));
        let waits = partition.waits.clone().ok_or("it waits, and was recovered")?;
        if let Some(below) = &waits.below {
            self.check_what_is_left(partition, below)?;
        }
        let dir = self.dir.as_ref().ok_or("no directory")?;
        self.seam.opens(true);
        let resumed = dir.resume(id, |topic| self.options_of(topic), self.now());
        self.seam.opens(false);
        let still_waits = dir.waiting_for_room().contains(&id);
        let opened = match resumed {
            Ok(opened) => opened.ok_or("it waits, and is not known to")?,
            Err(error) => {
                return self.trouble("a recovery in the same run", Kind::Fatal, &error).map(drop);
            }
        };
        if let Some(below) = &waits.below {
            let read = below.read(Offset::ZERO, 1, &mut Cursor::default(), Touch::Any);
            ensure!(matches!(read, Err(ReadError::Replaced)), "its readers are not told: {read:?}");
        }
        let (damage, below) = match opened.state {
            Ok((log, report)) => {
                ensure!(!still_waits && opened.below.is_none(), "it is recovered, and waits");
                if self.seam.machine.is_down() {
                    return Ok(());
                }
                self.stats.resumed += 1;
                return self.online_again(partition, log, report, self.visibility(topic));
            }
            Err(damage) => (damage, opened.below),
        };
        self.seam.note(|| format!("it is offline: {damage}"));
        let is_for_room = matches!(damage, Damage::NoRoom { .. });
        ensure!(still_waits == is_for_room, "whether it waits is {still_waits}: {damage}");
        partition.waits = Some(Waits { below: below.clone(), before: waits.before });
        if self.seam.machine.is_down() {
            return Ok(());
        }
        let is_hole = matches!(damage, Damage::Log { reason: Reason::HoleWithoutPowerLoss, .. });
        if is_hole && self.since_recovery(partition).has_lied {
            // The operator has to decide, or to reboot.
            self.life.has_lied = true;
            return Ok(());
        }
        ensure!(self.is_of_a_call(&damage), "{damage}");
        self.check_below(partition, &damage, below.as_ref())?;
        if is_for_room {
            self.stats.resumed_in_vain += 1;
            let served = [&waits.below, &below].map(|log| log.as_ref().map(|log| log.log_end()));
            ensure!(served[0] <= served[1], "less is served of it than before: {served:?}");
        }
        Ok(())
    }
}

/// Lives on disks that are full every now and then, and with logs that are compacted all the time.
/// `FOLIO_SIM_RUNS` takes more of them, and `FOLIO_SIM_FROM` others; of a single one the calls are shown.
#[test]
fn what_a_start_had_no_room_to_recover_comes_back_in_the_same_run_whatever_goes_wrong_meanwhile() {
    let (from, runs) = (told("FOLIO_SIM_FROM").unwrap_or(0), told("FOLIO_SIM_RUNS").unwrap_or(60));
    let mut total = Stats::default();
    // The last two once found that a partition which a start had made, and had no room to call ready, was made again
    // with another slot than its directory names.
    let kept = [2058, 101_804].into_iter().filter(|_| runs == 60);
    for seed in (from..from + runs).chain(kept) {
        let mut world = World::new(seed, Weakness::None, runs == 1);
        world.chances = Chances {
            full: 10,
            rooms: &[Room::Nothing, Room::NoRemovals, Room::NoRenames, Room::NoBytes],
            compacted: 100,
            kill: 80,
            broken: 0,
            steps: 40,
            is_short: true,
            ..world.chances
        };
        let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
        let trace = || world.seam.trace();
        let ended = ended.unwrap_or_else(|_| panic!("{}seed {seed}", trace()));
        ended.unwrap_or_else(|what| panic!("{}seed {seed}: {what}", trace()));
        total.add(&world.stats);
    }
    println!("{total:#?}");
    assert!(total.resumed > 5 && total.resumed_in_vain > 0 || runs < 60, "{total:?}");
}
