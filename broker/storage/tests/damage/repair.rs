//! A repair gives up no more than is lost, keeps a copy of it, and leaves a directory that is served.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_record::Offset;
use folio_storage::files::{Files, SimFiles};
use folio_storage::metadata::{GroupChange, GroupChangeKind, Key, Operation, Transaction, Value};
use folio_storage::repair::{RepairError, RepairOptions, Repaired, Step, repair};
use folio_storage::slots::SLOTS_NAME;
use folio_storage::verify::{Offsets, Severity, VerifyError};
use proptest::prelude::*;
use uuid::Uuid;

use crate::rig::{
    Change, End, NOW, RECORDS, batches, directory, findings, is_log, kept, open, read, restore,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_changed_what_is_intact_before_it_is_served_again_and_the_rest_is_in_quarantine(
        end in prop_oneof![Just(End::Clean), Just(End::Killed)],
        file in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        place in any::<prop::sample::Index>(),
        power_cut in prop::option::of(0_u64..60),
    ) {
        let good = directory(end);
        let path = file.get(&good.keys().collect::<Vec<_>>()).to_path_buf();
        prop_assume!(!good[&path].is_empty());
        let change = Change::of(&good[&path], is_cut, place);
        let files = restore(good);
        change.make(&files, &path);
        let logs_before = log_bytes(&files.snapshot());
        if let Some(after) = power_cut {
            files.cut_power_at(files.operations() + after);
            let _ = run(&files, &options());
            files.crash(after);
        }

        let (repaired, steps) = run(&files, &options()).unwrap();
        let (found, _) = findings(&files);
        prop_assert_eq!(repaired.left.damage, 0, "{:?} of {:?}: {:?}", change, path, found);
        prop_assert!(found.iter().all(|finding| finding.severity < Severity::Damage), "{:?}", found);
        // A cut that the power went out under may have gone half of the way: what was copied then is copied once more.
        let logs_after = log_bytes(&files.snapshot());
        prop_assert!(logs_after >= logs_before, "bytes of logs were lost");
        prop_assert!(logs_after == logs_before || power_cut.is_some(), "{} bytes too many", logs_after - logs_before);

        let (_dir, report) = open(&Arc::new(files)).unwrap();
        prop_assert_eq!(report.partitions.len(), 2);
        for partition in &report.partitions {
            let (log, _) = partition.state.as_ref().unwrap();
            let number = partition.id.partition;
            let kept = kept(good, &path, change, number);
            let (start, end) = (log.log_start(), log.log_end());
            prop_assert_eq!((start, end), (Offset::ZERO, Offset::new(kept)), "{:?} of {:?}", change, path);
            let dir = format!("topics/t-{number}");
            let is_told = |step: &Step| {
                step.file.starts_with(&dir) && step.offsets == Some(Offsets { from: kept, to: Some(RECORDS) })
            };
            let is_lost = kept < RECORDS && power_cut.is_none();
            prop_assert!(!is_lost || steps.iter().any(is_told), "{:?} of {:?}: {:#?}", change, path, steps);
            prop_assert!(read(log, number)?);
        }
    }
}

#[test]
fn an_epoch_that_a_bit_has_made_negative_is_put_right() {
    let good = directory(End::Clean);
    let path = good.keys().filter(|path| is_log(path)).nth(1).unwrap();
    let files = restore(good);
    let (at, _) = batches(&good[path])[2];
    Change::Flip((at + 12) * 8 + 7).make(&files, path);
    let (repaired, _) = run(&files, &options()).unwrap();
    assert_eq!(repaired.left.damage, 0);
    assert_eq!(files.snapshot()[path], good[path]);
}

#[test]
fn without_leave_a_repair_shows_what_would_go_and_writes_nothing() {
    let (files, path) = damaged();
    let before = files.snapshot();
    let (repaired, steps) = run(&files, &RepairOptions { apply: false, ..options() }).unwrap();
    assert!(!repaired.is_done && repaired.left.damage > 0);
    assert_eq!(files.snapshot(), before);
    let step = steps.iter().find(|step| step.file == path).unwrap();
    let offsets = step.offsets.unwrap();
    assert_eq!((offsets.from, offsets.to), (2, Some(RECORDS)));
    let all: u64 = before
        .iter()
        .filter(|(path, _)| is_log(path) && path.starts_with("topics/t-0"))
        .map(|(_, log)| log.len() as u64)
        .sum();
    assert_eq!(step.bytes, Some(all - batches(&before[&path])[1].0 as u64));
}

#[test]
fn nothing_is_written_into_a_directory_of_something_else_not_even_a_lock() {
    for apply in [false, true] {
        let files = SimFiles::new();
        let refused = run(&files, &RepairOptions { apply, ..options() });
        assert!(matches!(refused, Err(RepairError::Verify(VerifyError::NotOurs { .. }))));
        assert!(files.list(Path::new("")).unwrap().is_empty());
    }
}

#[test]
fn what_is_not_there_any_more_is_given_up_with_its_offsets_shown_before() {
    let log = |base: i64| PathBuf::from(format!("topics/t-0/{base:020}.log"));
    let good = directory(End::Clean);
    let bases: Vec<i64> = good
        .keys()
        .filter(|path| is_log(path) && path.starts_with("topics/t-0"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().parse().unwrap())
        .collect();
    let (first, last) = (log(bases[0]), log(*bases.last().unwrap()));
    let all: Vec<PathBuf> = bases.iter().map(|base| log(*base)).collect();
    let of_last = batches(&good[&last]);
    for (gone, lost) in [
        (vec![first], 0..bases[1]),
        (vec![last.clone()], *bases.last().unwrap()..RECORDS),
        (all, 0..RECORDS),
        // Not a file, but the end of one.
        (Vec::new(), of_last.last().unwrap().1..RECORDS),
    ] {
        let mut left = good.clone();
        left.retain(|path, _| !gone.contains(path));
        if gone.is_empty() {
            left.get_mut(&last).unwrap().truncate(of_last.last().unwrap().0 + 70);
        }
        let files = restore(&left);
        let (_, steps) = run(&files, &RepairOptions { apply: false, ..options() }).unwrap();
        let shown: Vec<_> = steps.iter().filter_map(|step| step.offsets).collect();
        let due = vec![Offsets { from: lost.start, to: Some(lost.end) }];
        assert_eq!(shown, due, "{gone:?}: {steps:#?}");
        assert_eq!(run(&files, &options()).unwrap().0.left.damage, 0);
    }
}

#[test]
fn more_than_is_lost_goes_only_if_it_is_said_so_and_never_less() {
    let accept = |offset: i64| RepairOptions {
        partition: Some("t-0".to_owned()),
        accept_loss_from: Some(Offset::new(offset)),
        ..options()
    };
    let (files, _) = damaged();
    let Err(RepairError::LosesMore { damaged, .. }) = run(&files, &accept(7)) else {
        panic!("7 is lost too")
    };
    assert_eq!(damaged, Offset::new(2));

    let files = restore(directory(End::Clean));
    let Err(RepairError::NotThere { .. }) = run(&files, &accept(RECORDS)) else {
        panic!("there is no such offset")
    };
    run(&files, &accept(31)).unwrap();
    let (_dir, report) = open(&Arc::new(files)).unwrap();
    let ends: Vec<i64> = report
        .partitions
        .iter()
        .map(|partition| partition.state.as_ref().unwrap().0.log_end().get())
        .collect();
    assert_eq!(
        ends,
        [30, RECORDS],
        "31 is in the batch that begins with 30; the other partition is not concerned"
    );
}

#[test]
fn a_damaged_metadata_log_is_rebuilt_only_if_it_is_said_so() {
    let files = restore(directory(End::Clean));
    Change::Flip(800).make(&files, Path::new("metadata/00000000000000000000.log"));
    let without = RepairOptions { metadata: false, ..options() };
    assert!(matches!(run(&files, &without), Err(RepairError::NeedsMetadata)));
    run(&files, &options()).unwrap();
    let (dir, report) = open(&Arc::new(files.clone())).unwrap();
    assert!(report.partitions.iter().all(|partition| partition.topic == "t" && partition.state.is_ok()));
    assert_eq!(dir.topics()[0].0, Uuid::from_u128(9));
    assert!(files.snapshot().keys().any(|path| path.starts_with("quarantine") && is_metadata_log(path)));
}

#[test]
fn a_flushed_transaction_that_looks_interrupted_is_given_up_only_by_a_repair_and_the_new_log_is_opened() {
    let log = Path::new("metadata/00000000000000000000.log");
    for end in [End::Clean, End::Killed] {
        let good = directory(end);
        for len in [good[log].len() - 5, batches(&good[log]).last().unwrap().0] {
            let files = restore(good);
            Change::Cut(len).make(&files, log);
            assert!(open(&Arc::new(files.clone())).is_err());
            let without = RepairOptions { metadata: false, ..options() };
            assert!(matches!(run(&files, &without), Err(RepairError::NeedsMetadata)));
            assert_eq!(run(&files, &options()).unwrap().0.left.damage, 0);
            // The new one has fewer offsets, and what was known of the old one is not held against it.
            for _ in 0..2 {
                let (dir, report) = open(&Arc::new(files.clone())).unwrap();
                assert_eq!(report.torn_transaction, None);
                assert!(report.partitions.iter().all(|partition| partition.state.is_ok()));
                let ids = vec![Operation::Put(Key::ProducerIds, Value::ProducerIds(i64::MAX))];
                dir.commit(Transaction { compares: Vec::new(), operations: ids }, NOW).unwrap();
                drop(dir);
                files.kill();
            }
        }
    }
}

#[test]
fn a_rebuilt_metadata_log_gives_no_producer_id_again_and_keeps_what_brokers_were_told() {
    let files = restore(directory(End::Clean));
    let (dir, _) = open(&Arc::new(files.clone())).unwrap();
    let told = Value::Broker(vec![("topic.retention.ms".to_owned(), "5".to_owned())]);
    let change =
        GroupChange { at_ms: 7, who: "me".to_owned(), kind: GroupChangeKind::Delete, replaced: Vec::new() };
    let replaced = Value::GroupHistory(vec![change]);
    let operations = vec![
        Operation::Put(Key::Broker(None), told.clone()),
        Operation::Put(Key::ProducerIds, Value::ProducerIds(5000)),
        Operation::Put(Key::GroupHistory("g".to_owned()), replaced.clone()),
    ];
    dir.commit(Transaction { compares: Vec::new(), operations }, NOW).unwrap();
    // A topic that is deleted leaves something behind the rest that can be damaged.
    let (_, deletion) = dir.deletion("t").unwrap();
    dir.commit(Transaction { compares: Vec::new(), ..deletion }, NOW).unwrap();
    drop(dir);
    let log = Path::new("metadata/00000000000000000000.log");
    let last = files.snapshot()[log].len() - 20;
    Change::Flip(last * 8).make(&files, log);
    run(&files, &options()).unwrap();
    let (dir, _) = open(&Arc::new(files)).unwrap();
    let value = |key: Key| dir.with_metadata(|state| state.get(&key).map(|entry| entry.value));
    assert_eq!(value(Key::Broker(None)), Some(told));
    assert_eq!(value(Key::GroupHistory("g".to_owned())), Some(replaced));
    let Some(Value::ProducerIds(next)) = value(Key::ProducerIds) else { panic!("ids begin at 0 again") };
    assert!(next > NOW.get() << 20, "{next}");
}

#[test]
fn a_partition_whose_directory_is_gone_goes_on_empty_behind_the_offsets_that_were_given() {
    let mut good = directory(End::Clean).clone();
    good.retain(|path, _| !path.starts_with("topics/t-1"));
    let files = restore(&good);
    let (repaired, _) = run(&files, &options()).unwrap();
    assert_eq!(repaired.left.damage, 0);
    let (_dir, report) = open(&Arc::new(files)).unwrap();
    let (log, _) = report.partitions[1].state.as_ref().unwrap();
    assert_eq!((log.log_start(), log.log_end()), (Offset::new(RECORDS), Offset::new(RECORDS)));
}

#[test]
fn directories_that_have_each_others_names_get_their_own_and_nothing_is_given_up() {
    let good = directory(End::Clean);
    let swapped = |path: &PathBuf| match (path.strip_prefix("topics/t-0"), path.strip_prefix("topics/t-1")) {
        (Ok(rest), _) => Path::new("topics/t-1").join(rest),
        (_, Ok(rest)) => Path::new("topics/t-0").join(rest),
        _ => path.clone(),
    };
    let bad: BTreeMap<PathBuf, Vec<u8>> =
        good.iter().map(|(path, bytes)| (swapped(path), bytes.clone())).collect();
    let files = restore(&bad);
    let begun = files.operations();
    run(&files, &options()).unwrap();
    let whole = files.operations() - begun;
    let mut are_between = 0;
    for power_cut in (0..whole).map(Some).chain([None]) {
        let files = restore(&bad);
        if let Some(after) = power_cut {
            files.cut_power_at(files.operations() + after);
            let _ = run(&files, &options());
            files.crash(after);
            are_between += u32::from(!files.snapshot().keys().any(|path| path.starts_with("topics/t-0")));
        }
        let (repaired, steps) = run(&files, &options()).unwrap();
        assert!(steps.iter().all(|step| step.offsets.is_none()), "{power_cut:?}: {steps:#?}");
        assert_eq!(repaired.left.damage, 0, "{power_cut:?}");
        let after = files.snapshot();
        assert!(good.iter().filter(|(path, _)| is_log(path)).all(|(path, log)| after[path] == *log));
        let (_dir, report) = open(&Arc::new(files)).unwrap();
        for partition in &report.partitions {
            let (log, _) = partition.state.as_ref().unwrap();
            assert_eq!(log.log_end(), Offset::new(RECORDS), "{power_cut:?}");
        }
    }
    assert!(are_between > 0, "no power cut of {whole} has come in between");
}

#[test]
fn nothing_is_repaired_over_durable_points_that_cannot_be_read() {
    let slots = Path::new(SLOTS_NAME);
    let of_one = RepairOptions { partition: Some("t-1".to_owned()), ..options() };
    let to_be_shown = RepairOptions { apply: false, ..options() };
    for page in [0, 4096, 8192] {
        // There is something else to mend.
        let (files, _) = damaged();
        files.break_sectors(slots, page..page + 4096);
        let before = files.snapshot();
        for options in [&options(), &of_one, &to_be_shown] {
            let Err(error) = run(&files, options) else { panic!("repaired over page {page}") };
            assert!(matches!(error, RepairError::Unreadable { .. }), "{error}");
            assert!(error.to_string().contains("slots cannot be read"), "{error}");
            let mut after = files.snapshot();
            after.retain(|path, _| path != Path::new("LOCK") || before.contains_key(path));
            assert_eq!(after, before);
        }
        // Whoever knows that it is lost for good moves it away.
        files.remove_file(slots).unwrap();
        assert_eq!(run(&files, &options()).unwrap().0.left.damage, 0);
    }
}

#[test]
fn a_log_that_only_this_process_cannot_read_is_not_given_up() {
    let (files, log) = damaged();
    let before = files.snapshot();
    files.set_exhausted_at(&log);
    let Err(error) = run(&files, &options()) else { panic!("repaired without a look at the log") };
    assert!(matches!(&error, RepairError::Unreadable { file, .. } if file.ends_with(&log)), "{error}");
    let mut after = files.snapshot();
    after.retain(|path, _| path != Path::new("LOCK") || before.contains_key(path));
    assert_eq!(after, before);
    files.set_exhausted(false);
    assert_eq!(run(&files, &options()).unwrap().0.left.damage, 0);
}

/// Bytes of the logs of partitions, wherever they are now.
fn log_bytes(snapshot: &BTreeMap<PathBuf, Vec<u8>>) -> usize {
    let is_copy = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        path.starts_with("quarantine")
            && name.contains("topics_")
            && name.contains(".log")
            && ![".json", ".tmp"].iter().any(|end| name.ends_with(end))
    };
    snapshot.iter().filter(|(path, _)| is_log(path) || is_copy(path)).map(|(_, bytes)| bytes.len()).sum()
}

fn is_metadata_log(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("metadata_"))
}

/// A directory in which the second batch of a partition is damaged, and that log.
fn damaged() -> (SimFiles, PathBuf) {
    let good = directory(End::Clean);
    let path = PathBuf::from("topics/t-0/00000000000000000000.log");
    let files = restore(good);
    Change::Flip((batches(&good[&path])[1].0 + 70) * 8).make(&files, &path);
    (files, path)
}

pub(crate) fn run(files: &SimFiles, options: &RepairOptions) -> Result<(Repaired, Vec<Step>), RepairError> {
    let mut steps = Vec::new();
    let repaired =
        repair(&Arc::new(files.clone()), options, &mut |_, _, _| {}, &mut |step| steps.push(step.clone()))?;
    Ok((repaired, steps))
}

pub(crate) fn options() -> RepairOptions {
    RepairOptions {
        partition: None,
        metadata: true,
        accept_loss_from: None,
        apply: true,
        build: "folio test".to_owned(),
        new_dir: Uuid::from_u128(3),
        new_cluster: Uuid::from_u128(4),
        now: NOW,
    }
}
