//! One run: a machine, a broker that lives and dies on it again and again, and what it has promised.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use folio_record::Timestamp;
use folio_storage::files::sim::{Fault, Random, Room};
use folio_storage::metadata::{self, Value};
use folio_storage::{DataDir, DataDirOptions, Log, LogOptions, OpenError, OpenReport, Visibility};
use uuid::Uuid;

use crate::model::Partition;
use crate::seam::Seam;
use crate::stats::Stats;
use crate::trouble::{Kind, Trouble};
use crate::weakness::Weakness;

/// What was found, in words.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Ends the run with a finding unless something holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}
pub(crate) use ensure;

/// A machine, the broker on it, and the model.
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) seam: Seam,
    pub(crate) dir: Option<DataDir<Seam>>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) settings: BTreeMap<u32, Setting>,
    pub(crate) life: Life,
    pub(crate) stats: Stats,
    pub(crate) chances: Chances,
    pub(crate) clock: i64,
    pub(crate) number: u64,
    /// What goes wrong at one operation of a run in which nothing else does.
    pub(crate) preset: Option<(u64, Trouble)>,
    pub(crate) lives: usize,
    started: Instant,
    run: u64,
    /// What was cut off, and is in quarantine.
    pub(crate) kept: BTreeMap<PathBuf, Vec<u8>>,
    /// A sync has failed at some time: indexes, which are believed as the cache shows them, may have holes on the disk.
    pub(crate) has_ever_lied: bool,
    /// Copies of slots could not be read.
    pub(crate) has_lost_slots: bool,
    /// The directory was opened once: it can be opened again, however full the disk is.
    is_set_up: bool,
}

/// A topic that may exist.
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) uuid: Uuid,
    pub(crate) created_ms: i64,
    pub(crate) options: LogOptions,
    /// If it is compacted: how long tombstones stay.
    pub(crate) tombstones_ms: Option<i64>,
    /// Its records have no time.
    pub(crate) is_timeless: bool,
    pub(crate) partitions: Vec<Partition>,
    /// A growth to so many partitions failed with the process.
    pub(crate) attempted_partitions: Option<usize>,
    /// Its creation or its deletion has failed: there it is, or not, after the next start.
    pub(crate) is_unsure: bool,
}

/// A key of the metadata log that belongs to no topic.
#[derive(Default)]
pub(crate) struct Setting {
    pub(crate) promised: Option<Value>,
    pub(crate) attempted: Option<Value>,
}

/// The present run of the broker, and how the last one ended.
#[derive(Default)]
pub(crate) struct Life {
    /// A write has failed: the run writes nothing any more.
    pub(crate) has_failed: bool,
    /// The operation that is to fail, and how.
    pub(crate) armed: Option<(u64, Fault)>,
    pub(crate) is_full: bool,
    /// Something may have found no room since the last recovery began: a clean stop names no log that it has left
    /// something of.
    pub(crate) was_full: bool,
    /// A sync has failed since the cache was last dropped: what it was about may be gone without a power cut.
    pub(crate) has_lied: bool,
    /// An operation failed, and nobody was told.
    pub(crate) has_failed_unheard: bool,
    /// The power went since the last recovery.
    pub(crate) lost_power: bool,
    /// With a copy of a slot half-written.
    pub(crate) has_torn_slots: bool,
    pub(crate) stopped_cleanly: bool,
    /// Whether that was tried: the marker may stand, although the last sync of it has failed.
    pub(crate) tried_to_stop: bool,
}

/// How likely things are in this run, in percent.
pub(crate) struct Chances {
    pub(crate) cut: u64,
    pub(crate) fault: u64,
    pub(crate) full: u64,
    pub(crate) again: u64,
    pub(crate) clean: u64,
    pub(crate) kill: u64,
    pub(crate) broken: u64,
    pub(crate) steps: u64,
    /// That a power cut leaves a copy of a slot half-written, which never was before.
    pub(crate) torn: u64,
    /// That a record has many zeros.
    pub(crate) zeros: u64,
    /// That a topic is compacted; if it is certain, a flush gives way to a pass.
    pub(crate) compacted: u64,
    /// What goes wrong, one as likely as the other.
    pub(crate) faults: &'static [Fault],
    /// What a disk that is full has room for, if it is an odd one.
    pub(crate) rooms: &'static [Room],
    /// A replacement of segments that finds no room to be finished finds none at the next start either.
    pub(crate) is_short: bool,
}

impl World {
    pub(crate) fn new(seed: u64, weakness: Weakness, is_traced: bool) -> Self {
        Self::chanced(seed, weakness, weakness, is_traced)
    }

    /// With the chances of a weakness, and without it.
    pub(crate) fn beside(seed: u64, weakness: Weakness) -> Self {
        Self::chanced(seed, weakness, Weakness::None, false)
    }

    /// The chances are those of one, and the other is taken away.
    fn chanced(seed: u64, weakness: Weakness, taken: Weakness, is_traced: bool) -> Self {
        let mut random = Random::new(seed);
        let has_syncfs = random.percent(50) && weakness == Weakness::None;
        let pick = |random: &mut Random, of: &[u64]| of[random.up_to(of.len() as u64 - 1) as usize];
        let mut chances = Chances {
            cut: pick(&mut random, &[0, 3, 10]),
            fault: pick(&mut random, &[0, 0, 3, 10]),
            full: pick(&mut random, &[0, 0, 3]),
            again: pick(&mut random, &[0, 20, 60]),
            clean: pick(&mut random, &[0, 15, 40]),
            kill: pick(&mut random, &[0, 30, 60]),
            broken: pick(&mut random, &[0, 0, 30]),
            steps: pick(&mut random, &[4, 15, 40]),
            torn: if seed.is_multiple_of(4) { 50 } else { 0 },
            zeros: 20,
            compacted: 30,
            faults: match weakness {
                Weakness::None => {
                    &[Fault::SyncLies, Fault::SyncLies, Fault::Broken, Fault::Full, Fault::Short]
                }
                Weakness::LeavesShortWrites | Weakness::RollsOverRests => &[Fault::Short],
                _ => &[Fault::SyncLies],
            },
            rooms: &[],
            is_short: false,
        };
        match weakness {
            Weakness::None if matches!(seed % 12, 1 | 3 | 9) => {
                (chances.full, chances.rooms) = (3, &ODD_ROOMS);
            }
            Weakness::None => {}
            Weakness::RetriesSyncs
            | Weakness::TrustsTheCache
            | Weakness::LeavesShortWrites
            | Weakness::ForgetsTheBoot => (chances.fault, chances.kill) = (20, 60),
            Weakness::RollsOverRests => {
                (chances.fault, chances.kill) = (20, 60);
                (chances.full, chances.rooms) = (3, &[Room::NoCuts, Room::Nothing]);
            }
            // Nothing but the weakness is to be found.
            _ => (chances.fault, chances.full) = (0, 0),
        }
        match weakness {
            Weakness::None => {}
            Weakness::TakesErrorsForTheEnd => chances.broken = 50,
            _ => chances.broken = 0,
        }
        match weakness {
            Weakness::SeesNoHoles => chances.zeros = 0,
            Weakness::ForgetsHorizons => chances.compacted = 100,
            Weakness::KeepsBehindEnds => (chances.cut, chances.kill, chances.clean) = (10, 0, 0),
            Weakness::OverwritesSlots | Weakness::KeepsTornSlots => {
                (chances.cut, chances.kill, chances.torn) = (10, 0, 100);
            }
            _ => {}
        }
        Self {
            random,
            seam: Seam::new(taken, has_syncfs, is_traced).with_maps(MAPS[seed as usize % MAPS.len()]),
            dir: None,
            topics: Vec::new(),
            settings: BTreeMap::new(),
            life: Life::default(),
            stats: Stats::default(),
            chances,
            clock: 1_700_000_000_000,
            number: 0,
            preset: None,
            lives: LIVES,
            started: Instant::now(),
            run: 0,
            kept: BTreeMap::new(),
            has_ever_lied: false,
            has_lost_slots: false,
            is_set_up: false,
        }
    }

    /// The same life for every trouble that `preset` may bring: what chance adds to it is taken away.
    pub(crate) fn with(seed: u64, preset: Option<(u64, Trouble)>) -> Self {
        let mut world = Self::new(seed, Weakness::None, false);
        (world.preset, world.lives) = (preset, 3);
        let Chances { cut, fault, full, again, kill, broken, .. } = &mut world.chances;
        (*cut, *fault, *full, *again, *kill, *broken) = (0, 0, 0, 0, 50, 0);
        world.meet_preset();
        world
    }

    /// Lives so many lives, and stops.
    pub(crate) fn run(&mut self) -> Outcome {
        for _ in 0..self.lives {
            self.recover()?;
            self.live()?;
            self.die()?;
        }
        self.fill(false);
        self.stats.met(&self.seam.machine);
        (self.chances.again, self.chances.broken) = (0, 0);
        self.recover()?;
        self.stop()?;
        if self.seam.machine.is_down() {
            self.end_process();
        }
        self.look_for_damage(self.life.stopped_cleanly)
    }

    /// Opens the directory, however often that fails or is interrupted.
    fn recover(&mut self) -> Outcome {
        self.break_sectors();
        self.may_fill(60);
        self.may_stay_full();
        for attempt in 0.. {
            self.clock += 1000;
            if self.random.percent(30) && !self.has_broken_sectors() {
                self.look_for_damage(false)?;
            }
            if attempt < 3 && self.random.percent(self.chances.again) {
                self.arm(60);
            }
            self.run += 1;
            self.seam.note(|| format!("open, run {}", self.run));
            let opened = self.open();
            if self.seam.machine.is_down() {
                self.stats.deaths_in_recovery += 1;
                self.end_process();
                continue;
            }
            match opened {
                Ok((dir, report)) => {
                    self.is_set_up = true;
                    if self.waits_for_reboot(&report) {
                        self.stats.offline_until_reboot += 1;
                        drop((dir, report));
                        self.cut_power();
                        continue;
                    }
                    let is_in_part = self.has_broken_sectors() || self.lacks_a_call(&report);
                    if is_in_part && !self.can_wait(&report) {
                        let checked = self.opened_in_part(report);
                        drop(dir);
                        checked?;
                        if self.random.percent(60) {
                            self.heal_sectors();
                        }
                        if self.life.is_full {
                            self.fill(false);
                        }
                        self.end_process();
                        continue;
                    }
                    self.dir = Some(dir);
                    return self.opened(report, attempt == 0);
                }
                Err(error) => {
                    // Only a directory that is new needs room.
                    let may_be_full = !self.is_set_up;
                    let is_unreadable = self.are_all_concerned();
                    let is_expected =
                        self.fired().is_some() || self.life.is_full && may_be_full || is_unreadable;
                    ensure!(is_expected, "the directory cannot be opened: {error}");
                    self.stats.deaths_in_recovery += 1;
                    if self.life.is_full {
                        self.fill(false);
                    }
                    if is_unreadable {
                        self.heal_sectors();
                    }
                    self.end_process();
                }
            }
        }
        Ok(())
    }

    /// The directory was opened once.
    pub(crate) fn is_set_up(&self) -> bool {
        self.is_set_up
    }

    fn open(&self) -> Result<(DataDir<Seam>, OpenReport<Seam>), OpenError> {
        let options = DataDirOptions::fixed(self.run);
        let of_topic = |topic: &metadata::Topic| self.options_of(topic);
        self.seam.opens(true);
        let opened = DataDir::open(Arc::new(self.seam.clone()), &options, of_topic, self.now());
        self.seam.opens(false);
        opened
    }

    pub(crate) fn options_of(&self, topic: &metadata::Topic) -> LogOptions {
        // The last that was made then and has this name: one that was deleted needs no log.
        let is_it = |known: &&Topic| known.name == topic.name && known.created_ms == topic.created_ms;
        self.topics.iter().rfind(is_it).map_or_else(LogOptions::default, |known| known.options.clone())
    }

    /// Does things until the run is over.
    fn live(&mut self) -> Outcome {
        let steps = self.random.up_to(self.chances.steps);
        for _ in 0..steps {
            if self.random.percent(self.chances.cut + self.chances.fault) {
                self.arm(20);
            }
            self.clock += self.random.up_to(2000) as i64;
            self.step()?;
            self.note_fired();
            if self.seam.machine.is_down() {
                return Ok(());
            }
            self.check_live()?;
            if self.life.has_failed {
                return self.check_failed();
            }
            if self.is_stuck() && !self.anything_waits() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn die(&mut self) -> Outcome {
        if !self.life.has_failed && !self.seam.machine.is_down() && self.random.percent(self.chances.clean) {
            self.stop()?;
            if self.life.stopped_cleanly && self.random.percent(50) {
                // The process has ended by itself.
                self.seam.machine.kill();
                self.forget_process();
                return Ok(());
            }
        }
        self.end_process();
        Ok(())
    }

    /// Stops as a broker is told to.
    fn stop(&mut self) -> Outcome {
        self.seam.note(|| "stop".to_owned());
        for partition in self.partitions_mut() {
            partition.log = None;
            partition.waits.iter_mut().for_each(|waits| waits.below = None);
        }
        let Some(dir) = self.dir.take() else { return Ok(()) };
        self.life.tried_to_stop = true;
        match dir.close_clean(self.now(), self.instant()) {
            Ok(closed) => {
                self.stats.clean_stops += 1;
                self.life.stopped_cleanly = matches!(closed, folio_storage::data_dir::Closed::Clean);
                let is_excused = self.fired().is_some() || self.life.is_full;
                ensure!(self.life.stopped_cleanly || is_excused, "no marker: {closed:?}");
                for topic in self.topics.iter_mut().filter(|topic| !topic.is_unsure) {
                    let is_online = |partition: &&mut Partition| partition.waits.is_none();
                    for partition in topic.partitions.iter_mut().filter(is_online) {
                        partition.promised = partition.end();
                    }
                }
                self.note_fired();
                Ok(())
            }
            Err(error) => {
                let error = error.to_string();
                self.trouble("the clean stop", Kind::Fatal, &error).map(drop)
            }
        }
    }

    /// The process is gone: killed, or with all the power.
    fn end_process(&mut self) {
        if self.random.percent(self.chances.kill) {
            self.note_fired();
            self.seam.note(|| "kill".to_owned());
            self.stats.kills += 1;
            self.seam.machine.kill();
            self.forget_process();
        } else {
            self.cut_power();
        }
    }

    fn cut_power(&mut self) {
        let seed = self.random.next();
        self.seam.note(|| format!("power cut {seed}"));
        self.stats.power_cuts += 1;
        let slots = self.slots_if_torn(seed);
        self.seam.machine.crash(seed);
        if let Some(slots) = slots {
            self.tear_slots(&slots, seed);
        }
        self.forget_process();
        self.life.lost_power = true;
        self.life.has_lied = false;
    }

    fn forget_process(&mut self) {
        self.note_fired();
        self.life.has_failed_unheard = false;
        self.stats.gave_way += self.dir.as_ref().map_or(0, |dir| dir.open_segments().totals().gave_way);
        self.seam.died();
        self.dir = None;
        for partition in self.partitions_mut() {
            partition.log = None;
            partition.waits.iter_mut().for_each(|waits| waits.below = None);
        }
        self.life.has_failed = false;
        self.life.armed = None;
        self.meet_preset();
    }

    /// Partitions that are in use: topic, partition, and its log.
    pub(crate) fn online(&self) -> Vec<(usize, usize, Arc<Log<Seam>>)> {
        let mut online = Vec::new();
        for (number, topic) in self.topics.iter().enumerate().filter(|(_, topic)| !topic.is_unsure) {
            for (place, partition) in topic.partitions.iter().enumerate() {
                online.extend(partition.log.iter().map(|log| (number, place, Arc::clone(log))));
            }
        }
        online
    }

    pub(crate) fn partitions_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.topics.iter_mut().flat_map(|topic| &mut topic.partitions)
    }

    pub(crate) fn visibility(&self, topic: usize) -> Visibility {
        self.topics[topic].options.visibility
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::new(self.clock)
    }

    pub(crate) fn instant(&self) -> Instant {
        let since = u64::try_from(self.clock - 1_700_000_000_000).unwrap_or(0);
        self.started + Duration::from_millis(since)
    }
}

/// How often the broker of one run dies.
const LIVES: usize = 8;

/// How many files may be mapped at once: as many as there are, or fewer than all partitions would have.
const MAPS: [usize; 4] = [usize::MAX, 40, usize::MAX, 16];

/// What the odd ones among full disks have room for, at one time or another.
const ODD_ROOMS: [Room; 7] = [
    Room::NoCuts,
    Room::NoRenames,
    Room::NoRemovals,
    Room::Renames,
    Room::Removals,
    Room::Nothing,
    Room::NoBytes,
];
