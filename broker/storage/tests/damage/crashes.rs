//! What a crash leaves is not damage: `verify` tells the two apart wherever the power goes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use folio_storage::files::SimFiles;
use folio_storage::verify::{Severity, VerifyError, VerifyOptions, verify};
use folio_storage::{DataDir, Files, Mode};

use crate::rig::{NOW, batch, findings, open, options, topic};

#[test]
fn a_crash_at_any_operation_leaves_no_damage_and_what_the_next_start_makes_of_it_is_clean() {
    let whole = SimFiles::new();
    work(&whole).expect("nothing is in the way");
    let operations = whole.operations();
    assert!(operations > 150, "{operations}");
    let mut interrupted = 0;
    for at in 0..operations {
        for seed in [at, at + 1000] {
            let files = SimFiles::new();
            files.cut_power_at(at);
            let _ = work(&files);
            files.crash(seed);
            // Before anything is there that could be damaged.
            if files.entry(Path::new("topics")).unwrap().is_none() {
                continue;
            }
            let (found, summary) = findings(&files);
            assert_eq!(summary.damage, 0, "power cut at operation {at}, seed {seed}: {found:#?}");
            interrupted += summary.interrupted;

            let (dir, report) = open(&Arc::new(files.clone())).unwrap();
            assert!(report.partitions.iter().all(|partition| partition.state.is_ok()), "operation {at}");
            drop(report);
            dir.close_clean(NOW, Instant::now()).unwrap();
            let (found, _) = findings(&files);
            let left: Vec<_> = found.iter().filter(|finding| finding.severity > Severity::Harmless).collect();
            assert!(left.is_empty(), "operation {at}, seed {seed}: {left:#?}");
        }
    }
    assert!(interrupted > 50, "{interrupted}: the crashes were no crashes");
}

#[test]
fn a_directory_that_a_daemon_holds_is_not_looked_at_and_the_daemon_is_named() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone())).unwrap();
    let look = || verify(&files, &VerifyOptions::default(), &mut |_| {});
    let Err(VerifyError::Locked { holder, .. }) = look() else { panic!("it was looked at") };
    assert_eq!(holder.to_string(), "process 1 on box");
    dir.close_clean(NOW, Instant::now()).unwrap();
    look().unwrap();
}

#[test]
fn an_empty_directory_and_an_unknown_partition_are_refused() {
    let files = SimFiles::new();
    let look = |partition: Option<&str>| {
        let options = VerifyOptions { partition: partition.map(str::to_owned) };
        verify(&files, &options, &mut |_| {})
    };
    assert!(matches!(look(None), Err(VerifyError::NotOurs { .. })));
    work(&files).unwrap();
    assert!(matches!(look(Some("t-0")), Err(VerifyError::NoSuchPartition { .. })), "t is deleted");
    let summary = look(Some("t2-1")).unwrap();
    assert_eq!((summary.partitions, summary.damage), (1, 0));
}

/// Makes two topics, fills them over several segments with flushes in between, deletes one, and stops.
fn work(files: &SimFiles) -> Option<()> {
    let (dir, _): (DataDir<SimFiles>, _) = open(&Arc::new(files.clone())).ok()?;
    let mut logs = dir.create_topic(topic(9), &options(), NOW).ok()?;
    logs.extend(dir.create_topic(topic(2), &options(), NOW).ok()?);
    for round in 0..8 {
        for log in &logs {
            for _ in 0..4 {
                let offset = log.log_end().get();
                log.writer().append(&mut [batch(log, offset)], Mode::MayBlock, NOW).ok()?;
            }
        }
        if round % 3 == 1 {
            dir.flush(&logs, NOW, Instant::now()).ok()?;
            for log in &logs {
                log.seal_next(NOW).ok()?;
            }
        }
    }
    drop(logs);
    dir.delete_topic("t", NOW).ok()?;
    dir.close_clean(NOW, Instant::now()).ok()?;
    Some(())
}
