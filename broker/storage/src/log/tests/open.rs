//! Claims about what all logs of a directory hold open together: never more than they may, and nobody is served worse
//! than with an error that goes away.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};

use folio_mapped::SegmentMap;

use super::*;
use crate::open_segments::Holder;

/// A log of so many segments, all of whose records are seen.
fn filled<F: Files>(files: &Arc<F>, segments: usize) -> (DataDir<F>, Arc<Log<F>>) {
    let (dir, log) = open(files, &small());
    while log.segment_count() < segments {
        append(&log, &[&format!("{:0900}", log.log_end().get())]).unwrap();
    }
    flush(&dir, &log);
    (dir, log)
}

fn read_one<F: Files>(log: &Log<F>, offset: i64) -> Result<Fetched, ReadError> {
    match log.read(Offset::new(offset), 1, &mut Cursor::default(), Touch::Any)? {
        Read::Ready(fetched) => Ok(fetched),
        Read::Cold => panic!("cold, although it may wait"),
    }
}

/// The first offset of each closed segment.
fn bases<F: Files>(log: &Log<F>) -> Vec<i64> {
    let view = log.view.load();
    view[..view.len() - 1].iter().map(|segment| segment.base().get()).collect()
}

/// Somebody whose files take long to be given up.
#[derive(Debug)]
struct Slow {
    begun: Sender<()>,
    may_end: Mutex<Receiver<()>>,
    is_listed: AtomicBool,
}

impl Holder for Slow {
    fn last_used(&self) -> u64 {
        0
    }

    fn give_way(&self) -> Option<Vec<Arc<SegmentMap>>> {
        self.begun.send(()).unwrap();
        let _ = self.may_end.lock().unwrap().recv();
        Some(Vec::new())
    }

    fn is_listed(&self) -> &AtomicBool {
        &self.is_listed
    }
}

#[test]
fn whoever_opens_a_segment_does_not_wait_while_others_give_way() {
    let files = Arc::new(SimFiles::with_maps(4));
    let (dir, _) = filled(&files, 1);
    let open = Arc::clone(dir.open_segments());
    let ((begun, has_begun), (end, may_end)) = (channel(), channel());
    let slow: Arc<dyn Holder> =
        Arc::new(Slow { begun, may_end: Mutex::new(may_end), is_listed: AtomicBool::new(false) });
    open.opened(Arc::downgrade(&slow));
    let makes_room = std::thread::spawn({
        let open = Arc::clone(&open);
        move || open.make_room(4)
    });
    has_begun.recv().unwrap();
    let (opened, has_opened) = channel();
    let opens = std::thread::spawn(move || {
        open.opened(Arc::downgrade(&slow));
        opened.send(()).unwrap();
    });
    let is_held_up = has_opened.recv_timeout(Duration::from_secs(20)).is_err();
    end.send(()).unwrap();
    // It may be its turn again.
    drop(end);
    opens.join().unwrap();
    makes_room.join().unwrap();
    assert!(!is_held_up);
}

#[test]
fn a_closed_segment_holds_nothing_until_it_is_read_and_then_its_log_alone() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = filled(&files, 6);
    drop(log);
    drop(dir);
    files.kill();
    let (_dir, log) = open(&files, &small());
    assert_eq!(files.budget().in_use(), 0);
    let bases = bases(&log);
    for (number, base) in bases.iter().enumerate() {
        // In the middle of it: the index is searched, and closed again.
        read_one(&log, base + 2).unwrap();
        assert_eq!(files.budget().in_use(), number + 1);
    }
}

#[test]
fn more_segments_than_may_be_open_are_read_all_the_same_and_the_least_recently_used_gives_way() {
    let files = Arc::new(SimFiles::with_maps(16));
    let (dir, log) = filled(&files, 40);
    let all = values(&log, Offset::ZERO, 1 << 20);
    for _ in 0..3 {
        assert_eq!(values(&log, Offset::ZERO, 1 << 20), all);
        assert!(files.budget().in_use() <= 12, "{:?}", files.budget());
    }
    let totals = dir.open_segments().totals();
    assert!(totals.gave_way > 60 && totals.refused == 0 && !totals.is_tight(), "{totals:?}");

    let is_open = |base: i64| {
        log.view.load().iter().any(|segment| segment.base().get() == base && segment.log().is_some())
    };
    let bases = bases(&log);
    for cold in &bases[1..30] {
        read_one(&log, bases[0]).unwrap();
        read_one(&log, *cold).unwrap();
        assert!(is_open(bases[0]) && is_open(*cold), "what is used again and again stays");
    }
}

#[test]
fn what_is_being_sent_stays_and_who_finds_no_room_beside_it_is_told_so_and_served_later() {
    let files = Arc::new(SimFiles::with_maps(16));
    let (dir, log) = filled(&files, 40);
    let (mut held, mut refused) = (Vec::new(), 0);
    for base in bases(&log) {
        match read_one(&log, base) {
            Ok(fetched) => held.push(fetched.slice.unwrap()),
            Err(ReadError::Exhausted { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(files.budget().in_use() <= 16);
    }
    assert!(held.len() >= 13 && refused >= 20, "{} held, {refused} refused", held.len());
    let totals = dir.open_segments().totals();
    assert!(totals.is_tight() && totals.refused >= refused, "{totals:?}");
    for slice in &held {
        let mut bytes = vec![0; slice.len()];
        slice.copy_to(0, &mut bytes).unwrap();
        UnverifiedBatch::split_first(&bytes).unwrap().0.verify().unwrap();
    }
    held.clear();
    assert_eq!(values(&log, Offset::ZERO, 1 << 20).len() as i64, log.log_end().get());
    assert!(!dir.open_segments().totals().is_tight());
}

#[test]
fn a_durable_log_that_is_appended_to_gives_way_to_others_and_one_that_is_not_durable_stays() {
    let files = Arc::new(SimFiles::with_maps(10));
    let (dir, first) = open(&files, &small());
    let topic = |number: u128| NewTopic {
        name: format!("t{number}"),
        uuid: Uuid::from_u128(100 + number),
        partitions: 1,
        settings: Vec::new(),
    };
    let mut logs = vec![first];
    logs.extend((0..20).map(|number| dir.create_topic(topic(number), &small(), NOW).unwrap().remove(0)));
    for round in 0..3 {
        for log in &logs {
            append(log, &["x"]).unwrap();
            flush(&dir, log);
            assert!(files.budget().in_use() <= 10, "round {round}");
        }
    }
    assert!(logs.iter().filter(|log| !log.is_dormant()).count() <= 3);
    assert!(logs.iter().all(|log| values(log, Offset::ZERO, 1 << 20).len() == 3));

    let unflushed = logs.iter().take_while(|log| append(log, &["y"]).is_ok()).count();
    assert_eq!(unflushed, 3, "three times three maps fit");
    assert!(matches!(append(&logs[9], &["y"]), Err(AppendError::Exhausted { .. })));
    assert!(dir.open_segments().totals().refused > 0 && !dir.has_failed());
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    append(&logs[9], &["y"]).unwrap();
}

#[test]
fn a_log_whose_tail_is_being_sent_does_not_give_way_and_holds_nobody_up() {
    let files = Arc::new(SimFiles::with_maps(20));
    let (dir, log) = filled(&files, 12);
    let topic = |number: u128| NewTopic {
        name: format!("t{number}"),
        uuid: Uuid::from_u128(100 + number),
        partitions: 1,
        settings: Vec::new(),
    };
    let mut held = Vec::new();
    for number in 0..4 {
        let log = dir.create_topic(topic(number), &small(), NOW).unwrap().remove(0);
        append(&log, &["x"]).unwrap();
        flush(&dir, &log);
        held.push((read_one(&log, 0).unwrap().slice.unwrap(), log));
    }
    let begun = Instant::now();
    for base in bases(&log).into_iter().take(8) {
        read_one(&log, base).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "somebody waited for what was not on its way");
    assert!(held.iter().all(|(_, log)| !log.is_dormant()));
    assert!(files.budget().in_use() <= 20);
}

#[test]
fn a_log_that_falls_asleep_while_its_next_segment_is_made_ready_keeps_nothing_open() {
    let files = Arc::new(SimFiles::with_maps(6));
    let (dir, log) = open(&files, &small());
    while !log.wants_next_segment() {
        append(&log, &[&"x".repeat(500)]).unwrap();
    }
    flush(&dir, &log);
    log.prepare_next().unwrap();
    assert!(log.is_dormant() && files.budget().in_use() == 0, "{:?}", files.budget());
    let left = files.list(log.dir()).unwrap();
    assert!(!left.iter().any(|entry| entry.name.ends_with(".tmp")), "{left:?}");
    append(&log, &["woken"]).unwrap();
}

#[test]
fn a_cut_that_fails_before_a_log_sleeps_or_when_it_wakes_is_the_end_of_writing() {
    for wakes in [false, true] {
        let files = Arc::new(SimFiles::new());
        let (dir, log) = open(&files, &small());
        append(&log, &["x"]).unwrap();
        flush(&dir, &log);
        if wakes {
            log.sleep_if_idle(Instant::now(), Duration::ZERO).unwrap();
            assert!(log.is_dormant());
            let path = crate::partition_files::SegmentFile::Log.path(log.dir(), Offset::ZERO);
            files.tamper(&path, |bytes| bytes.extend(b"foreign"));
        }
        files.fail_at(files.operations(), Fault::Broken);
        if !wakes {
            assert!(Holder::give_way(&*log).is_none());
        }
        assert!(matches!(append(&log, &["y"]), Err(AppendError::Io { .. })), "wakes: {wakes}");
    }
}

#[test]
fn where_somebody_unmaps_nobody_else_does() {
    let files = Arc::new(SimFiles::new());
    let (dir, log) = filled(&files, 4);
    let open = Arc::clone(dir.open_segments());
    let told = Arc::new(AtomicUsize::new(0));
    open.on_retired({
        let told = Arc::clone(&told);
        move || {
            told.fetch_add(1, Ordering::Relaxed);
        }
    });
    let slice = read_one(&log, 0).unwrap().slice.unwrap();
    let held = files.budget().in_use();
    log.retire();
    drop(log);
    assert!(told.load(Ordering::Relaxed) > 0 && files.budget().in_use() == held);
    open.reap();
    assert!(files.budget().in_use() < held);
    drop(dir);
    open.reap();
    assert_eq!(files.budget().in_use(), 1, "what is being sent is still mapped");
    drop(slice);
    assert_eq!(open.reap(), 0);
    assert_eq!(files.budget().in_use(), 0);
}

#[test]
fn readers_beside_an_appender_that_sleeps_and_segments_that_give_way_read_every_record_once_and_in_order() {
    let root = tempfile::tempdir().unwrap();
    let files = Arc::new(OsFiles::open_or_create(root.path().join("data")).unwrap().with_maps(14));
    let (dir, log) = open(&files, &small());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for max_bytes in [1, 3000, 1 << 20] {
            let (log, is_over, files) = (&log, &is_over, &files);
            scope.spawn(move || {
                let (mut from, mut cursor) = (0, Cursor::default());
                let mut was_over = false;
                while !(was_over && from == log.log_end().get()) {
                    was_over = is_over.load(Ordering::Acquire);
                    let read = log.read(Offset::new(from), max_bytes, &mut cursor, Touch::Any);
                    assert!(files.budget().in_use() <= 14);
                    let fetched = match read {
                        Ok(Read::Ready(fetched)) => fetched,
                        Ok(Read::Cold) => panic!("cold"),
                        Err(ReadError::Exhausted { .. } | ReadError::Replaced) => continue,
                        Err(error) => panic!("{error}"),
                    };
                    let Some(slice) = fetched.slice else { continue };
                    let mut bytes = vec![0; slice.len()];
                    slice.read_to(0, &mut bytes).unwrap();
                    let first = UnverifiedBatch::split_first(&bytes).unwrap().0.verify().unwrap();
                    assert_eq!(first.header().base_offset.get(), from);
                    from = fetched.next_offset.get();
                    if max_bytes == 1 && from % 97 == 0 {
                        from = 0; // Over again, through everything that was closed.
                        cursor = Cursor::default();
                        was_over = false;
                    }
                    if was_over && max_bytes == 1 {
                        break;
                    }
                }
            });
        }
        let mut at = Instant::now();
        for number in 0..400 {
            while let Err(error) = append(&log, &[&format!("{number:0700}")]) {
                assert!(matches!(error, AppendError::Exhausted { .. }), "{error}");
            }
            flush(&dir, &log);
            if number % 3 == 0 {
                at += Duration::from_secs(1);
                let _ = log.sleep_if_idle(at, Duration::ZERO).unwrap();
                let _ = log.sleep_if_idle(at, Duration::ZERO).unwrap();
            }
            if number % 7 == 0 {
                log.prepare_next().ok();
            }
        }
        is_over.store(true, Ordering::Release);
    });
    assert_eq!(values(&log, Offset::ZERO, 1 << 20).len(), 400);
}
