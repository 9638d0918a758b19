//! What a broker does with its directory, one thing at a time, as chance has it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use folio_record::Offset;
use folio_storage::log::Compacting;
use folio_storage::{AppendError, Appended, Log, Mode, ReadError, Sealed, Visibility, Wakefulness};

use crate::model::{Content, Draft};
use crate::seam::{Interlude, Seam};
use crate::trouble::Kind;
use crate::weakness::Weakness;
use crate::world::{Outcome, World, ensure};

/// An append that another thread made meanwhile.
type Meanwhile = Arc<Mutex<Vec<(usize, usize, Vec<Draft>, Result<Appended, AppendError>)>>>;

impl World {
    /// Does one thing.
    pub(crate) fn step(&mut self) -> Outcome {
        self.may_free();
        if self.may_resume()? {
            return Ok(());
        }
        let online = self.online();
        let chance = self.random.up_to(99);
        if online.is_empty() || chance < 3 {
            return self.create_topic();
        }
        let (topic, place, log) = online[self.random.up_to(online.len() as u64 - 1) as usize].clone();
        match chance {
            3..43 => self.append(topic, place, &log),
            43..58 if self.chances.compacted < 100 => self.flush(),
            43..62 => {
                let is_compacted =
                    |(topic, ..): &&(usize, usize, _)| self.topics[*topic].options.compaction.is_some();
                match online.iter().find(is_compacted) {
                    Some((topic, place, log)) => self.compact(*topic, *place, log),
                    None => self.flush(),
                }
            }
            62..64 => self.maintain(topic, place, &log, true),
            64..72 => self.maintain(topic, place, &log, false),
            72..76 => self.delete_records(topic, place, &log),
            76..79 => self.roll_by_age(&log),
            79..83 => self.snapshot(&log),
            83..85 => self.delete_topic(topic),
            85..87 => self.grow_topic(topic),
            87..90 => self.put_setting(),
            90..92 => self.alter(topic),
            92..94 => self.purge(),
            94..96 => {
                let seed = self.random.next();
                self.seam.machine.write_back(seed);
                log.start_writeback().map_err(|error| error.to_string())
            }
            96..98 => {
                let is_full = !self.life.is_full && self.random.percent(self.chances.full * 20);
                if is_full != self.life.is_full {
                    self.fill(is_full);
                }
                Ok(())
            }
            98 if self.random.percent(50) => self.save_epochs(),
            98 => self.let_sleep(&online),
            _ => self.sync_slots(),
        }
    }

    /// Nobody has needed these logs for long.
    fn let_sleep(&mut self, online: &[(usize, usize, Arc<Log<Seam>>)]) -> Outcome {
        if self.random.percent(60) {
            self.flush()?;
        }
        let mut at = self.instant();
        for (topic, place, log) in online {
            if self.life.has_failed || self.seam.machine.is_down() {
                return Ok(());
            }
            self.seam.note(|| format!("let {} {place} sleep", self.topics[*topic].name));
            for _ in 0..2 {
                at += Duration::from_secs(1);
                match log.sleep_if_idle(at, Duration::from_secs(1)) {
                    Ok(wakefulness) => self.stats.slept += u64::from(wakefulness == Wakefulness::Asleep),
                    Err(error) => return self.append_trouble("falling asleep", &error).map(drop),
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, topic: usize, place: usize, log: &Arc<Log<Seam>>) -> Outcome {
        let drafts = self.drafts(topic, place, true);
        let mut buffers: Vec<BytesMut> = drafts.iter().map(|draft| draft.bytes.clone()).collect();
        self.seam.note(|| format!("append {} batches to {} {place}", drafts.len(), self.topics[topic].name));
        let mode = if self.random.percent(30) { Mode::Inline } else { Mode::MayBlock };
        let mut appended = log.writer().append(&mut buffers, mode, self.now());
        if let Err(AppendError::NeedsLane) = appended {
            ensure!(mode == Mode::Inline, "an append that may wait needs a lane");
            let again = log.writer().append(&mut buffers, Mode::MayBlock, self.now());
            appended = again;
        }
        self.appended(topic, place, &drafts, appended, log)
    }

    /// One to three batches for a partition; numbered ones are its producers' next.
    fn drafts(&mut self, topic: usize, place: usize, may_be_numbered: bool) -> Vec<Draft> {
        let count = if self.random.percent(70) { 1 } else { 1 + self.random.up_to(2) };
        let mut drafts: Vec<Draft> = Vec::new();
        for _ in 0..count {
            self.number += 1;
            let by = if may_be_numbered && self.random.percent(60) {
                let id = self.random.up_to(2) as i64;
                let partition = &self.topics[topic].partitions[place];
                let own = drafts.iter().rev().filter_map(|draft| draft.by).find(|by| by.id == id);
                let (epoch, next) = own.map_or_else(|| partition.next_of(id), |by| (by.epoch, by.last + 1));
                let is_new = self.random.percent(10);
                Some(if is_new { (id, epoch + 1, 0) } else { (id, epoch, next) })
            } else {
                None
            };
            let is_keyed = self.topics[topic].options.compaction.is_some();
            let is_timeless = self.topics[topic].is_timeless;
            let content = Content { is_keyed, is_timeless, zeros: self.chances.zeros };
            drafts.push(Draft::new(&mut self.random, self.number, by, self.clock, content));
        }
        drafts
    }

    /// Takes down what an append came to.
    fn appended(
        &mut self,
        topic: usize,
        place: usize,
        drafts: &[Draft],
        appended: Result<Appended, AppendError>,
        log: &Log<Seam>,
    ) -> Outcome {
        let placed = self.topics[topic].partitions[place].place(drafts, log);
        let (outcomes, stopped) = match appended {
            Ok(appended) => (appended.outcomes, appended.stopped),
            Err(error) => (Vec::new(), Some(error)),
        };
        ensure!(stopped.is_some() || outcomes.len() == placed.len(), "a batch was left out");
        for (outcome, stored) in outcomes.iter().zip(&placed) {
            let range = outcome.as_ref().map_err(|error| format!("a batch was refused: {error}"))?;
            let given = (range.base_offset.get(), range.last_offset.get() + 1, range.is_duplicate);
            let due = (stored.base, stored.next, false);
            ensure!(given == due, "offsets {given:?} where {due:?} are due");
        }
        let written = outcomes.len();
        let mut placed = placed.into_iter();
        let weakness = self.seam.weakness();
        let is_flushed = self.visibility(topic) == Visibility::Flushed;
        let partition = &mut self.topics[topic].partitions[place];
        if written > 0 {
            // Whatever was attempted in this place before, something else is there now.
            partition.refused.clear();
            partition.attempted.clear();
        }
        for stored in placed.by_ref().take(written) {
            self.stats.appended += 1;
            partition.batches.push(stored);
        }
        if weakness == Weakness::AcknowledgesEarly && is_flushed {
            partition.promised = partition.end();
        }
        let Some(error) = stopped else { return Ok(()) };
        let rest: Vec<_> = placed.collect();
        let kind = self.append_trouble("an append", &error)?;
        let partition = &mut self.topics[topic].partitions[place];
        match kind {
            Kind::Fatal => partition.attempted = rest,
            Kind::Full => partition.refused.push(rest),
        }
        Ok(())
    }

    /// One round over all logs or some, while others append.
    fn flush(&mut self) -> Outcome {
        let mut online = self.online();
        if self.random.percent(40) {
            let chosen = self.random.up_to(online.len() as u64 - 1) as usize;
            online = vec![online.swap_remove(chosen)];
        }
        self.seam.note(|| format!("flush {} logs", online.len()));
        let ends: Vec<i64> = online.iter().map(|(.., log)| log.log_end().get()).collect();
        let meanwhile = self.append_meanwhile();
        let logs: Vec<_> = online.iter().map(|(.., log)| Arc::clone(log)).collect();
        let dir = self.dir.as_ref().ok_or("no directory")?;
        let flushed = dir.flush(&logs, self.now(), self.instant());
        self.came_between(&meanwhile)?;
        match flushed {
            Ok(advanced) => {
                let advanced: BTreeMap<_, _> = advanced.iter().map(|one| (one.partition, one)).collect();
                for ((topic, place, log), end) in online.iter().zip(ends) {
                    let Some(advanced) = advanced.get(&log.id()) else {
                        // There was no room for its slot, or no descriptor for its names.
                        ensure!(self.fired().is_some(), "{:?} is left out of a flush", log.id());
                        continue;
                    };
                    ensure!(advanced.durable.get() == end, "{advanced:?} where {end} was captured");
                    ensure!(log.durable().get() >= end, "durable is {}", log.durable());
                    let partition = &mut self.topics[*topic].partitions[*place];
                    partition.promised = partition.promised.max(end);
                }
                Ok(())
            }
            Err(error) => self.trouble("a flush", Kind::Fatal, &error).map(drop),
        }
    }

    /// Has others append while syncs are under way.
    fn append_meanwhile(&mut self) -> Meanwhile {
        let meanwhile = Meanwhile::default();
        let mut interludes = Vec::new();
        if self.random.percent(40) {
            let online = self.online();
            for _ in 0..=self.random.up_to(2) {
                let (topic, place, log) = online[self.random.up_to(online.len() as u64 - 1) as usize].clone();
                let drafts = self.drafts(topic, place, false);
                let (done, now) = (Arc::clone(&meanwhile), self.now());
                let run = Box::new(move || {
                    let has_failed = {
                        let done = done.lock().unwrap_or_else(PoisonError::into_inner);
                        done.iter().any(|(.., appended)| matches!(appended, Err(AppendError::Io { .. })))
                    };
                    if has_failed {
                        return;
                    }
                    // Whoever has the right to append keeps it.
                    let Some(mut writer) = log.try_writer() else { return };
                    let mut buffers: Vec<_> = drafts.iter().map(|draft| draft.bytes.clone()).collect();
                    let appended = writer.append(&mut buffers, Mode::MayBlock, now);
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((topic, place, drafts, appended));
                });
                let is_before = self.random.percent(50);
                interludes.push(if is_before { Interlude::Before(run) } else { Interlude::After(run) });
            }
        }
        self.seam.interpose(interludes);
        meanwhile
    }

    fn came_between(&mut self, meanwhile: &Meanwhile) -> Outcome {
        self.seam.clear_interludes();
        let all = std::mem::take(&mut *meanwhile.lock().unwrap_or_else(PoisonError::into_inner));
        for (topic, place, drafts, appended) in all {
            let log = self.topics[topic].partitions[place].log.clone();
            if let Some(log) = log {
                self.appended(topic, place, &drafts, appended, &log)?;
            }
        }
        Ok(())
    }

    /// What the maintenance thread does with a log; `seals`: or only that.
    fn maintain(&mut self, topic: usize, place: usize, log: &Arc<Log<Seam>>, seals: bool) -> Outcome {
        let meanwhile = self.append_meanwhile();
        let done = self.maintain_log(topic, place, log, seals);
        self.came_between(&meanwhile)?;
        done
    }

    fn maintain_log(&mut self, topic: usize, place: usize, log: &Arc<Log<Seam>>, seals: bool) -> Outcome {
        self.seam.note(|| format!("maintain {} {place}, seals: {seals}", self.topics[topic].name));
        loop {
            match log.seal_next(self.now()) {
                Ok(Sealed::Nothing) => break,
                Ok(Sealed::Segment(..)) => self.stats.sealed += 1,
                // Without power nothing can be read.
                Ok(Sealed::Rotten(_)) if self.seam.machine.is_down() => break,
                Ok(Sealed::Rotten(rotten)) => return Err(format!("rotten: {rotten}")),
                Err(error) => return self.append_trouble("sealing", &error).map(drop),
            }
        }
        if seals {
            return Ok(());
        }
        if let Err(error) = log.prepare_next() {
            return self.append_trouble("making a segment ready", &error).map(drop);
        }
        if let Err(error) = log.learn_timestamps() {
            let is_out = matches!(error, ReadError::Exhausted { .. });
            let kind = if is_out { Kind::Full } else { Kind::Fatal };
            return self.trouble("reading times", kind, &error).map(drop);
        }
        if let Err(error) = log.mend_indexes() {
            return self.append_trouble("mending", &error).map(drop);
        }
        self.scrub(log)?;
        self.retain(topic, place, log)
    }

    /// A pass over a log, while others append; some are given up half-way.
    fn compact(&mut self, topic: usize, place: usize, log: &Arc<Log<Seam>>) -> Outcome {
        if self.random.percent(70) {
            self.flush()?;
            if !self.life.has_failed && !self.seam.machine.is_down() {
                self.maintain(topic, place, log, true)?;
            }
        }
        if self.life.has_failed || self.seam.machine.is_down() {
            return Ok(());
        }
        self.may_fill(80);
        let key = [self.random.next(), self.random.next()];
        let map_bytes = [100, 1 << 16][self.random.up_to(1) as usize];
        let Some(mut pass) = log.compact(key, map_bytes, self.now()) else { return Ok(()) };
        self.seam.note(|| format!("compact {} {place}", self.topics[topic].name));
        let durable = log.durable().get();
        let partition = &mut self.topics[topic].partitions[place];
        partition.compacted = partition.compacted.map(|compacted| compacted.max(durable));
        let meanwhile = self.append_meanwhile();
        let mut outcome = Ok(());
        while self.random.percent(97) {
            let budget = 1 << self.random.up_to(12);
            let dir = self.dir.as_ref().ok_or("no directory")?;
            match pass.step(dir, budget) {
                Ok(progress) => match progress.state {
                    Compacting::Working => continue,
                    Compacting::Done(_) => self.stats.compacted += 1,
                    Compacting::Abandoned => {}
                    // Without power nothing can be read.
                    Compacting::Rotten(_) if self.seam.machine.is_down() => {}
                    Compacting::Rotten(rotten) => outcome = Err(format!("rotten: {rotten}")),
                },
                Err(error) => outcome = self.append_trouble("a compaction", &error).map(drop),
            }
            break;
        }
        pass.give_up();
        self.came_between(&meanwhile)?;
        outcome
    }

    fn delete_records(&mut self, topic: usize, place: usize, log: &Arc<Log<Seam>>) -> Outcome {
        let (start, end) = (log.log_start().get(), log.high_watermark().get());
        let to = start + self.random.up_to(u64::try_from(end - start).unwrap_or(0)) as i64;
        self.raise(topic, place, log, to)
    }

    pub(crate) fn raise(&mut self, topic: usize, place: usize, log: &Arc<Log<Seam>>, to: i64) -> Outcome {
        self.seam.note(|| format!("raise the start of {} {place} to {to}", self.topics[topic].name));
        let end = log.log_end().get();
        let flushes = to > log.durable().get();
        let dir = self.dir.as_ref().ok_or("no directory")?;
        match dir.raise_log_start(log, Offset::new(to), self.now(), self.instant()) {
            Ok(start) => {
                let partition = &mut self.topics[topic].partitions[place];
                ensure!(start.get() >= partition.start, "it begins at {start}, before {}", partition.start);
                if start.get() < to {
                    (partition.start, partition.attempted_start) = (start.get(), Some(to));
                    let why = "there is no room to write it down";
                    return self.trouble("a raise of the start", Kind::Full, &why).map(drop);
                }
                ensure!(start.get() == to.max(partition.start), "it begins at {start} and not at {to}");
                partition.start = start.get();
                partition.attempted_start = None;
                if flushes {
                    partition.promised = end;
                }
            }
            Err(error) => {
                self.topics[topic].partitions[place].attempted_start = Some(to);
                return self.trouble("a raise of the start", Kind::Fatal, &error).map(drop);
            }
        }
        if log.has_segments_below_start() && self.random.percent(70) {
            let trash = self.dir.as_ref().ok_or("no directory")?.trash();
            match log.drop_below_start(trash) {
                Ok(dropped) => self.stats.retained += dropped.len() as u64,
                Err(error) => return self.trouble("dropping segments", Kind::Fatal, &error).map(drop),
            }
        }
        Ok(())
    }

    fn roll_by_age(&mut self, log: &Arc<Log<Seam>>) -> Outcome {
        self.clock += self.random.up_to(30_000) as i64;
        self.may_fill(20);
        match log.roll_if_expired(self.now()) {
            Ok(_) => Ok(()),
            Err(error) => self.append_trouble("a roll", &error).map(drop),
        }
    }

    fn snapshot(&mut self, log: &Arc<Log<Seam>>) -> Outcome {
        match log.take_snapshot() {
            Ok(()) => Ok(()),
            Err(error) => self.append_trouble("a snapshot", &error).map(drop),
        }
    }

    fn sync_slots(&mut self) -> Outcome {
        let dir = self.dir.as_ref().ok_or("no directory")?;
        if !dir.slots_are_due(self.instant(), self.random.percent(50)) {
            return Ok(());
        }
        match dir.sync_slots() {
            Ok(()) => Ok(()),
            Err(error) => self.trouble("a sync of the slots", Kind::Fatal, &error).map(drop),
        }
    }

    /// What the maintenance thread does some time after a start.
    fn save_epochs(&mut self) -> Outcome {
        let dir = self.dir.as_ref().ok_or("no directory")?;
        match dir.save_epochs(self.random.up_to(5) as usize) {
            Ok(_) => Ok(()),
            Err(error) => self.trouble("writing epochs down", Kind::Fatal, &error).map(drop),
        }
    }

    fn purge(&mut self) -> Outcome {
        match self.dir.as_ref().ok_or("no directory")?.purge_trash(&|| true) {
            Ok(_) => Ok(()),
            // What is left waits for the next time, as a broker has it.
            Err(_) if self.life.is_full => Ok(()),
            Err(error) => self.trouble("emptying the trash", Kind::Fatal, &error).map(drop),
        }
    }
}
