//! A log beside a plain list of what was appended to it, through crashes at any time.

use std::collections::BTreeSet;

use super::*;

/// What is done to a log.
#[derive(Debug, Clone, Copy)]
enum Step {
    Append(usize, i64),
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

/// The log under test, and what it may hold.
struct Model {
    files: Arc<SimFiles>,
    options: LogOptions,
    dir: DataDir<SimFiles>,
    log: Arc<Log<SimFiles>>,
    /// Everything that may be in the log, from offset 0 on: timestamp and value.
    records: Vec<(i64, String)>,
    /// How many of them have to be.
    flushed: usize,
    /// Appended or not: the process died over it.
    attempted: Option<(i64, String)>,
    epochs: BTreeSet<i32>,
    number: usize,
}

impl Model {
    fn new() -> Self {
        let files = Arc::new(SimFiles::new());
        let options = LogOptions { retention_bytes: Some(6000), ..small() };
        let (dir, log) = open(&files, &options);
        let (records, epochs) = (Vec::new(), BTreeSet::new());
        Self { files, options, dir, log, records, flushed: 0, attempted: None, epochs, number: 0 }
    }

    fn append(&mut self, size: usize, timestamp: i64) -> Result<Offset, AppendError> {
        self.number += 1;
        let value = format!("{} {}", self.number, "x".repeat(size));
        self.attempted = Some((timestamp, value.clone()));
        let appended =
            self.log.writer().append(&mut [batch(&[&value], timestamp)], Mode::MayBlock, NOW)?.ranges[0];
        self.records.extend(self.attempted.take());
        Ok(appended.base_offset)
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
            prop_assert_eq!(&value, &self.records[offset as usize].1);
        }
        let visible = self.records[..end].iter().map(|(timestamp, _)| *timestamp);
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
