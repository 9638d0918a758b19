//! A log beside a plain list of what was appended to it, through crashes at any time.

use std::collections::BTreeSet;

use folio_record::BatchHeader;

use super::*;
use crate::producers::Producers;

/// What is done to a log.
#[derive(Debug, Clone, Copy)]
enum Step {
    Append(usize, i64),
    /// The next batch of a producer, behind a copy of one of its last five if it has so many.
    Produce(i64, usize, i64, Option<usize>),
    /// The producer begins a new epoch.
    Bump(i64),
    Snapshot,
    Flush,
    Roll,
    Prepare,
    Retain,
    Restart,
    /// The process dies, or with a seed the power goes.
    Die(Option<u64>),
    /// The same, so many operations into an append and a flush.
    DieWithin(u64, usize, i64, Option<u64>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = 1_usize..700;
    let timestamp = prop_oneof![3 => 1000_i64..1100, 1 => -10_i64..5000];
    let power = prop::option::of(any::<u64>());
    let step = prop_oneof![
        8 => (size.clone(), timestamp.clone()).prop_map(|(size, timestamp)| Step::Append(size, timestamp)),
        8 => (0_i64..3, size.clone(), timestamp.clone(), prop::option::of(0_usize..5))
            .prop_map(|(who, size, timestamp, copy)| Step::Produce(who, size, timestamp, copy)),
        1 => (0_i64..3).prop_map(Step::Bump),
        1 => Just(Step::Snapshot),
        3 => Just(Step::Flush),
        1 => Just(Step::Roll),
        2 => Just(Step::Prepare),
        1 => Just(Step::Retain),
        1 => Just(Step::Restart),
        2 => power.clone().prop_map(Step::Die),
        2 => (0_u64..20, size, timestamp, power)
            .prop_map(|(operations, size, timestamp, power)| Step::DieWithin(operations, size, timestamp, power)),
    ];
    prop::collection::vec(step, 1..60)
}

/// A record, alone in its batch.
#[derive(Debug, Clone)]
struct Entry {
    timestamp: i64,
    value: String,
    /// Producer, epoch and number.
    by: Option<(i64, i16, i32)>,
}

impl Entry {
    fn batch(&self) -> BytesMut {
        match self.by {
            Some(by) => numbered(by, &[&self.value], self.timestamp),
            None => batch(&[&self.value], self.timestamp),
        }
    }
}

/// The log under test, and what it may hold.
struct Model {
    files: Arc<SimFiles>,
    options: LogOptions,
    dir: DataDir<SimFiles>,
    log: Arc<Log<SimFiles>>,
    /// Everything that may be in the log, from offset 0 on.
    records: Vec<Entry>,
    /// How many of them have to be.
    flushed: usize,
    /// Appended or not: the process died over it.
    attempted: Option<Entry>,
    epochs: BTreeSet<i32>,
    number: usize,
    producer_epochs: [i16; 3],
    /// Offsets from which on the log may remember its producers: where it began whenever no snapshot had survived.
    remembers_from: BTreeSet<i64>,
}

impl Model {
    fn new() -> Self {
        let files = Arc::new(SimFiles::new());
        let options = LogOptions { retention_bytes: Some(6000), ..small() };
        let (dir, log) = open(&files, &options);
        let (records, epochs) = (Vec::new(), BTreeSet::new());
        let (producer_epochs, remembers_from) = ([0; 3], BTreeSet::from([0]));
        let (attempted, flushed, number) = (None, 0, 0);
        Self {
            files,
            options,
            dir,
            log,
            records,
            flushed,
            attempted,
            epochs,
            number,
            producer_epochs,
            remembers_from,
        }
    }

    fn append(&mut self, size: usize, timestamp: i64) -> Result<Offset, AppendError> {
        let (copied, appended) = self.append_by(None, size, timestamp, None)?;
        assert!(copied.is_none());
        Ok(appended)
    }

    /// Appends a record, behind a copy of record `copy`; gives the offsets of both.
    fn append_by(
        &mut self,
        by: Option<(i64, i16, i32)>,
        size: usize,
        timestamp: i64,
        copy: Option<usize>,
    ) -> Result<(Option<AppendedRange>, Offset), AppendError> {
        self.number += 1;
        let value = format!("{} {}", self.number, "x".repeat(size));
        let entry = Entry { timestamp, value, by };
        let copy = copy.map(|copy| self.records[copy].batch());
        let mut buffers: Vec<BytesMut> = copy.into_iter().chain([entry.batch()]).collect();
        self.attempted = Some(entry);
        let mut outcomes = self.log.writer().append(&mut buffers, Mode::MayBlock, NOW)?.outcomes;
        self.records.extend(self.attempted.take());
        let appended = outcomes.pop().unwrap().unwrap();
        assert!(!appended.is_duplicate);
        Ok((outcomes.pop().map(|copy| copy.expect("a copy is known")), appended.base_offset))
    }

    fn produce(
        &mut self,
        who: i64,
        size: usize,
        timestamp: i64,
        copy: Option<usize>,
    ) -> Result<(), TestCaseError> {
        let start = self.first_base();
        let epoch = self.producer_epochs[who as usize];
        let is_own = |entry: &Entry| entry.by.is_some_and(|(id, in_epoch, _)| (id, in_epoch) == (who, epoch));
        let own: Vec<usize> = (0..self.records.len()).filter(|at| is_own(&self.records[*at])).collect();
        let last = own.last().and_then(|at| self.records[*at].by).map_or(-1, |(.., number)| number);
        let copy = copy.and_then(|back| own.iter().rev().nth(back).copied());
        let copy = copy.filter(|at| *at as i64 >= start);
        let next = self.records.len() as i64;
        let (copied, appended) = self.append_by(Some((who, epoch, last + 1)), size, timestamp, copy).unwrap();
        prop_assert_eq!(appended, Offset::new(next), "a copy took the place of a batch");
        prop_assert_eq!(
            copied.map(|range| (range.is_duplicate, range.base_offset.get() as usize)),
            copy.map(|at| (true, at))
        );
        Ok(())
    }

    fn first_base(&self) -> i64 {
        self.log.view.load().first().map_or(self.log.log_end(), |segment| segment.base()).get()
    }

    /// What a log remembers that knows all batches from offset `from` on.
    fn remembered(&self, from: i64) -> Producers {
        let mut producers = Producers::new(100);
        for (offset, entry) in (0..).zip(&self.records).skip(from as usize) {
            let mut bytes = entry.batch();
            folio_record::stamp(&mut bytes, Offset::new(offset), LeaderEpoch::new(0));
            producers.replay(&BatchHeader::parse(bytes.first_chunk().unwrap()).unwrap(), NOW);
        }
        producers
    }

    fn flush(&mut self) -> bool {
        let is_flushed = self.dir.flush(std::slice::from_ref(&self.log), NOW, Instant::now()).is_ok();
        if is_flushed {
            self.flushed = self.records.len();
        }
        is_flushed
    }

    fn reopen(self) -> Self {
        let Self { files, options, dir, log, .. } = self;
        drop((dir, log));
        let (dir, log) = open(&files, &options);
        Self { files, options, dir, log, ..self }
    }

    fn restart(mut self) -> Result<Self, TestCaseError> {
        let epoch = self.log.leader_epoch();
        self.flush();
        let Self { files, options, dir, log, .. } = self;
        drop(log);
        dir.close_clean(NOW, Instant::now()).unwrap();
        let (dir, log) = open(&files, &options);
        prop_assert_eq!(log.leader_epoch(), epoch, "a clean stop keeps the epoch");
        Ok(Self { files, options, dir, log, ..self })
    }

    fn die(mut self, power: Option<u64>) -> Result<Self, TestCaseError> {
        let start = self.log.log_start();
        match power {
            Some(seed) => self.files.crash(seed),
            None => {
                self.files.kill();
                self.flushed = self.records.len();
            }
        }
        self = self.reopen();
        let end = self.log.log_end().get() as usize;
        if end > self.records.len() {
            self.records.extend(self.attempted.take());
        }
        let may_be = self.flushed..=self.records.len();
        prop_assert!(may_be.contains(&end), "{end} is not within {may_be:?}");
        prop_assert_eq!(self.log.log_start(), start);
        self.records.truncate(end);
        self.flushed = end;
        self.attempted = None;
        self.remembers_from.insert(self.first_base());
        prop_assert!(self.epochs.insert(self.log.leader_epoch().get()), "an epoch is used once");
        Ok(self)
    }

    fn step(mut self, step: Step) -> Result<Self, TestCaseError> {
        match step {
            Step::Append(size, timestamp) => {
                let next = self.records.len() as i64;
                prop_assert_eq!(self.append(size, timestamp).unwrap(), Offset::new(next));
            }
            Step::Flush => prop_assert!(self.flush()),
            Step::Produce(who, size, timestamp, copy) => self.produce(who, size, timestamp, copy)?,
            Step::Bump(who) => self.producer_epochs[who as usize] += 1,
            Step::Snapshot => self.log.take_snapshot().unwrap(),
            // Records from 1970 have always expired.
            Step::Roll => drop(self.log.roll_if_expired(NOW).unwrap()),
            Step::Prepare => self.log.prepare_next().unwrap(),
            Step::Retain => {
                if let Some(start) = self.log.expired(Timestamp::new(0)) {
                    self.dir.raise_log_start(&self.log, start, NOW, Instant::now()).unwrap();
                    self.log.drop_below_start(self.dir.trash()).unwrap();
                }
            }
            Step::Restart => return self.restart(),
            Step::Die(power) => return self.die(power),
            Step::DieWithin(operations, size, timestamp, power) => {
                self.files.cut_power_at(self.files.operations() + operations);
                if self.append(size, timestamp).is_ok() {
                    self.flush();
                }
                return self.die(power);
            }
        }
        Ok(self)
    }

    /// What consumers see is what was appended, from every place that is looked for.
    fn check(&self) -> Result<(), TestCaseError> {
        let start = self.log.log_start();
        let seen = values(&self.log, start, 900);
        let end = start.get() as usize + seen.len();
        prop_assert!(end >= self.flushed);
        for (offset, value) in seen {
            prop_assert_eq!(&value, &self.records[offset as usize].value);
        }
        let known = self.log.lock().producers.clone();
        let is_known = self.remembers_from.iter().any(|from| self.remembered(*from).is_same_as(&known));
        prop_assert!(
            is_known,
            "{:?}, where the batches in the log make it {:?}",
            known.active(),
            self.remembered(0).active()
        );
        let visible = self.records[..end].iter().map(|entry| entry.timestamp);
        let visible: Vec<(i64, i64)> = (0..).zip(visible).skip(start.get() as usize).collect();
        for (_, time) in &visible {
            let first = visible.iter().find(|(_, timestamp)| timestamp >= time).copied();
            let found = self.log.offset_for_time(Timestamp::new(*time)).unwrap();
            prop_assert_eq!(found.map(|hit| (hit.offset.get(), hit.timestamp.get())), first, "time {}", time);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever happens, a log is a prefix of what was appended, holds all that was flushed, and goes on.
    #[test]
    fn a_log_keeps_what_it_has_flushed_through_any_number_of_crashes(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            model = model.step(step)?;
            model.check()?;
        }
    }
}
