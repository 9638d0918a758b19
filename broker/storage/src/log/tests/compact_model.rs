//! A compacted log beside a list of what was appended to it, through passes that are interrupted anywhere.

use std::collections::BTreeMap;

use super::compact::{RETENTION, Row, check_lookups, compact_at, compacting, found, keyed, rows, settle};
use super::*;
use crate::log::compact::Compacting;

/// What is done to a log.
#[derive(Debug, Clone)]
enum Step {
    /// A batch of records: the number of each key, and whether it has a value; by one of three producers, perhaps.
    Append(Vec<(u8, bool)>, Option<u8>),
    /// What there is becomes what can be compacted.
    Settle,
    /// Time goes on, and a pass is made with a table of so many keys.
    Compact(u16, usize),
    /// The same, and so many operations into it the process dies, or with a seed the power goes.
    DieWithin(u64, Option<u64>),
    Retain,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (0_u8..7, prop::bool::weighted(0.75));
    let records = prop::collection::vec(record, 1..5);
    let step = prop_oneof![
        12 => (records, prop::option::of(0_u8..3)).prop_map(|(records, by)| Step::Append(records, by)),
        4 => Just(Step::Settle),
        3 => (0_u16..900, prop_oneof![Just(3_usize), Just(1000)]).prop_map(|(by, keys)| Step::Compact(by, keys)),
        3 => (0_u64..70, prop::option::of(any::<u64>())).prop_map(|(at, power)| Step::DieWithin(at, power)),
        1 => Just(Step::Retain),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Debug, Clone)]
struct Entry {
    row: Row,
    /// The last offset of its batch.
    batch_end: i64,
    /// From when on it may be gone, if it is a tombstone and some pass has come by it.
    horizon: Option<i64>,
}

struct Model {
    files: Arc<SimFiles>,
    dir: DataDir<SimFiles>,
    log: Arc<Log<SimFiles>>,
    entries: Vec<Entry>,
    sequences: [i32; 3],
    now: i64,
    /// Up to here everything superseded is gone; and the time of the pass that did it.
    compacted: (i64, i64),
    /// A tombstone that had expired by then may be gone.
    latest: i64,
}

impl Model {
    fn new() -> Self {
        let files = Arc::new(SimFiles::new());
        let options = LogOptions { retention_bytes: Some(4000), segment_bytes: 900, ..compacting() };
        let (dir, log) = open(&files, &options);
        let (now, latest) = (NOW.get(), NOW.get());
        Self { files, dir, log, entries: Vec::new(), sequences: [0; 3], now, compacted: (0, now), latest }
    }

    fn options() -> LogOptions {
        LogOptions { retention_bytes: Some(4000), segment_bytes: 900, ..compacting() }
    }

    fn append(&mut self, records: &[(u8, bool)], by: Option<u8>) {
        let base = self.log.log_end().get();
        let keys: Vec<String> = records.iter().map(|(key, _)| format!("k{key}")).collect();
        let values: Vec<String> = (base..)
            .zip(records)
            .map(|(offset, _)| format!("{offset} {}", "v".repeat(offset as usize % 90)))
            .collect();
        let each = keys.iter().zip(&values).zip(records);
        let records: Vec<(&str, Option<&str>)> = each
            .map(|((key, value), (_, is_put))| (key.as_str(), is_put.then_some(value.as_str())))
            .collect();
        // Times go up and down.
        let time = 1000 + (base * 37) % 400;
        let numbers = by.map(|by| (i64::from(by), 0, self.sequences[usize::from(by)]));
        if let Some(by) = by {
            self.sequences[usize::from(by)] += records.len() as i32;
        }
        let batch = keyed(Compression::None, numbers, &records, time);
        self.log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
        let batch_end = base + records.len() as i64 - 1;
        for ((offset, time), (key, value)) in (base..).zip(time..).zip(&records) {
            let row = (offset, (*key).to_owned(), value.map(str::to_owned), time);
            self.entries.push(Entry { row, batch_end, horizon: None });
        }
        flush(&self.dir, &self.log);
    }

    /// A pass begins, or has come to `upto`: the horizons that it may have set.
    fn note_horizons(&mut self, upto: i64) {
        for entry in self.entries.iter_mut().filter(|entry| entry.row.2.is_none() && entry.batch_end < upto) {
            entry.horizon.get_or_insert(self.now + RETENTION);
        }
        self.latest = self.latest.max(self.now);
    }

    fn compact(&mut self, keys: usize) {
        if compact_at(&self.dir, &self.log, self.now, keys * 24 * 10 / 9).is_some() {
            let upto = self.log.compacted.load().upto.get();
            self.note_horizons(upto);
            self.compacted = (upto, self.now);
        }
    }

    fn reopen(&mut self) {
        let (dir, log) = open(&self.files, &Self::options());
        (self.dir, self.log) = (dir, log);
    }

    fn die_within(&mut self, operations: u64, power: Option<u64>) -> Result<(), TestCaseError> {
        let before = rows(&self.log, self.log.log_start().get(), 1 << 20);
        self.files.cut_power_at(self.files.operations() + operations);
        if let Some(mut pass) = self.log.compact([5, 6], 1 << 20, Timestamp::new(self.now)) {
            while let Ok(progress) = pass.step(&self.dir, 700) {
                if progress.state != Compacting::Working {
                    break;
                }
            }
        }
        self.note_horizons(i64::MAX);
        match power {
            Some(seed) => self.files.crash(seed),
            None => self.files.kill(),
        }
        let interrupted = found(&self.files);
        prop_assert!(interrupted.iter().all(|finding| !finding.starts_with("damage")), "{:?}", interrupted);
        self.reopen();
        let after = rows(&self.log, self.log.log_start().get(), 1 << 20);
        prop_assert!(after.iter().all(|row| before.contains(row)), "nothing is new");
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Append(records, by) => self.append(&records, by),
            Step::Settle => settle(&self.dir, &self.log),
            Step::Compact(later, keys) => {
                self.now += i64::from(later);
                self.compact(keys);
            }
            Step::DieWithin(operations, power) => self.die_within(operations, power)?,
            Step::Retain => {
                if let Some(start) = self.log.expired(NOW) {
                    self.dir.raise_log_start(&self.log, start, NOW, Instant::now()).unwrap();
                    self.log.drop_below_start(self.dir.trash()).unwrap();
                }
            }
            Step::Restart => {
                let other = Arc::new(SimFiles::new());
                let (spare_dir, spare_log) = open(&other, &compacting());
                let dir = std::mem::replace(&mut self.dir, spare_dir);
                drop(std::mem::replace(&mut self.log, spare_log));
                dir.close_clean(NOW, Instant::now()).unwrap();
                prop_assert_eq!(found(&self.files), [""; 0]);
                self.reopen();
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let (start, end) = (self.log.log_start().get(), self.log.log_end().get());
        prop_assert_eq!(end as usize, self.entries.len(), "nothing that was flushed is lost");
        let there: BTreeMap<i64, Row> =
            rows(&self.log, start, 600).into_iter().map(|row| (row.0, row)).collect();
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for entry in &self.entries {
            last.insert(&entry.row.1, entry.row.0);
        }
        let (upto, at) = self.compacted;
        for entry in self.entries.iter().filter(|entry| entry.row.0 >= start) {
            let offset = entry.row.0;
            match there.get(&offset) {
                Some(row) => {
                    prop_assert_eq!(row, &entry.row);
                    let newer = self.entries.iter().any(|other| {
                        other.row.1 == entry.row.1 && other.row.0 > offset && other.row.0 < upto
                    });
                    prop_assert!(!newer, "offset {offset} is superseded below {upto}");
                    let has_expired =
                        entry.batch_end < upto && entry.horizon.is_some_and(|horizon| horizon <= at);
                    // A pass that was interrupted may have noted no horizon.
                    prop_assert!(
                        entry.row.2.is_some() || !has_expired || self.has_died(),
                        "tombstone {offset}"
                    );
                }
                None => {
                    let is_expired =
                        entry.row.2.is_none() && entry.horizon.is_some_and(|horizon| horizon <= self.latest);
                    prop_assert!(
                        last[entry.row.1.as_str()] != offset || is_expired,
                        "offset {offset} is lost"
                    );
                }
            }
        }
        Ok(())
    }

    fn has_died(&self) -> bool {
        self.log.leader_epoch() > LeaderEpoch::new(0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    /// Of each key the last record is there, whatever happens, and below what was compacted no other one.
    #[test]
    fn a_compacted_log_has_the_last_record_of_each_key_through_any_number_of_crashes(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            model.step(step)?;
            model.check()?;
        }
        check_lookups(&model.log);
    }
}

#[test]
fn a_crash_at_any_operation_of_a_pass_leaves_the_old_segments_or_the_new_ones() {
    let build = || {
        let files = Arc::new(SimFiles::new());
        let (dir, log) = open(&files, &compacting());
        for number in 0..40 {
            let key = format!("k{}", number % 7);
            let batch = keyed(Compression::None, None, &[(&key, Some(&"x".repeat(400)))], 1000 + number);
            log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
        }
        settle(&dir, &log);
        log.take_snapshot().unwrap();
        flush(&dir, &log);
        (files, dir, log)
    };
    let (files, dir, log) = build();
    let (before, begun) = (rows(&log, 0, 1 << 20), files.operations());
    compact_at(&dir, &log, NOW.get(), 1 << 20).unwrap();
    let after = rows(&log, 0, 1 << 20);
    let operations = files.operations() - begun;
    assert!(operations > 25 && after.len() < before.len(), "{operations}");
    let mut outcomes = [0, 0];
    for at in 0..=operations {
        for seed in 0..7 {
            let (files, dir, log) = build();
            files.cut_power_at(files.operations() + at);
            let mut pass = log.compact([7, 9], 1 << 20, NOW).unwrap();
            while pass.step(&dir, 700).is_ok_and(|progress| progress.state == Compacting::Working) {}
            drop((pass, dir, log));
            if seed < 2 {
                files.kill();
            } else {
                files.crash(seed);
            }
            let findings = found(&files);
            assert!(findings.iter().all(|finding| finding.starts_with("interrupted")), "{at}: {findings:?}");
            // And again, with a crash in what the start does about it.
            if seed % 2 == 1 {
                files.cut_power_at(files.operations() + (at + seed) % 13);
                let files = Arc::clone(&files);
                let _ =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| open(&files, &compacting())));
                files.crash(seed + at);
            }
            let (dir, log) = open(&files, &compacting());
            let left = rows(&log, 0, 1 << 20);
            let is_new = left == after;
            assert!(is_new || left == before, "operation {at}, seed {seed}: {left:?}");
            outcomes[usize::from(is_new)] += 1;
            check_lookups(&log);
            compact_at(&dir, &log, NOW.get(), 1 << 20);
            assert_eq!(rows(&log, 0, 1 << 20), after);
            drop(log);
            dir.close_clean(NOW, Instant::now()).unwrap();
            assert_eq!(found(&files), [""; 0], "operation {at}, seed {seed}");
        }
    }
    assert!(outcomes.iter().all(|count| *count > 20), "{outcomes:?}");
}
