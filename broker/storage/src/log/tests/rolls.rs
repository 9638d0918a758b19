//! An empty segment that gives way to a larger one, and cannot.

use super::*;

/// A log of one record and an empty segment behind it, which the durable point names, and which is too small for what
/// these options let in.
fn with_an_empty_end(files: &SimFiles) -> (DataDir<SimFiles>, Arc<Log<SimFiles>>, LogOptions) {
    let (dir, log) = open(&Arc::new(files.clone()), &small());
    append(&log, &["a"]).unwrap();
    flush(&dir, &log);
    assert!(log.roll_if_expired(NOW).unwrap());
    flush(&dir, &log);
    assert_eq!(
        log.durable_tail(),
        Tail { segment_base: Offset::new(1), pos: 0, next_offset: Offset::new(1) }
    );
    let larger = LogOptions { batch_size_max: 100_000, ..small() };
    log.set_options(larger.clone());
    (dir, log, larger)
}

#[test]
fn an_empty_segment_that_cannot_be_replaced_stays_because_the_durable_point_may_name_it() {
    let operations = {
        let files = SimFiles::new();
        let (_dir, log, _) = with_an_empty_end(&files);
        let before = files.operations();
        append(&log, &[&"y".repeat(90_000)]).unwrap();
        files.operations() - before
    };
    let mut refused = 0;
    for operation in 0..operations {
        for (is_clean, goes_on) in [(true, false), (true, true), (false, false), (false, true)] {
            let files = SimFiles::new();
            let (dir, log, larger) = with_an_empty_end(&files);
            files.fail_at(files.operations() + operation, Fault::Full);
            let replaced = append(&log, &[&"y".repeat(90_000)]);
            if let Err(AppendError::Io { .. }) = replaced {
                // A sync has failed, which is final.
                drop((dir, log));
                files.crash(operation);
                let (_dir, log) = open(&Arc::new(files), &larger);
                assert_eq!(log.log_end(), Offset::new(1), "operation {operation}");
                continue;
            }
            assert!(matches!(replaced, Ok(_) | Err(AppendError::Full { .. })), "{replaced:?}");
            refused += usize::from(replaced.is_err());
            let is_left = |path: &PathBuf| path.extension() == Some("tmp".as_ref());
            assert!(!files.snapshot().keys().any(is_left), "operation {operation}");
            if goes_on {
                append(&log, &["b"]).unwrap();
            }
            flush(&dir, &log);
            let expected = values(&log, Offset::ZERO, 1 << 20);
            assert_eq!(expected.len(), 1 + usize::from(replaced.is_ok()) + usize::from(goes_on));
            if is_clean {
                dir.close_clean(NOW, Instant::now()).unwrap();
            } else {
                drop(dir);
                files.crash(operation);
            }
            drop(log);
            let (_dir, log) = open(&Arc::new(files), &larger);
            assert_eq!(values(&log, Offset::ZERO, 1 << 20), expected, "operation {operation}");
        }
    }
    assert!(refused > 12, "{refused} of {operations} operations");
}

#[test]
fn an_empty_segment_is_appended_to_after_no_descriptor_was_left_to_replace_it() {
    let files = SimFiles::new();
    let (dir, log, larger) = with_an_empty_end(&files);
    files.set_exhausted(true);
    let refused = append(&log, &[&"y".repeat(90_000)]);
    assert!(matches!(refused, Err(AppendError::Exhausted { .. })), "{refused:?}");
    files.set_exhausted(false);
    append(&log, &["b"]).unwrap();
    append(&log, &[&"y".repeat(90_000)]).unwrap();
    flush(&dir, &log);
    dir.close_clean(NOW, Instant::now()).unwrap();
    drop(log);
    let (_dir, log) = open(&Arc::new(files), &larger);
    assert_eq!((log.log_end(), log.segment_count()), (Offset::new(3), 3));
}
