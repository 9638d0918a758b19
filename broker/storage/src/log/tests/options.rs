//! Claims about settings that change, and about what closes a segment.

use super::*;

fn with(change: impl FnOnce(&mut LogOptions)) -> LogOptions {
    let mut options = small();
    change(&mut options);
    options
}

#[test]
fn records_that_wait_for_a_flush_are_seen_at_once_when_nobody_asks_for_one_any_more() {
    let (dir, log) = open(&Arc::new(SimFiles::new()), &small());
    append(&log, &["a"]).unwrap();
    let flush = log.to_flush();
    log.set_options(with(|options| options.visibility = Visibility::Appended));
    assert_eq!(log.high_watermark(), Offset::new(1));
    append(&log, &["b"]).unwrap();
    // A flush that was under way takes nothing back.
    log.flushed(&flush.tail);
    assert_eq!((log.durable(), log.high_watermark()), (Offset::new(1), Offset::new(2)));
    log.set_options(small());
    append(&log, &["c"]).unwrap();
    assert_eq!(log.high_watermark(), Offset::new(2), "from here on they wait again");
    super::flush(&dir, &log);
    assert_eq!(log.high_watermark(), Offset::new(3));
}

#[test]
fn a_smaller_segment_and_a_larger_one_hold_from_the_next_on() {
    let (dir, log) = open(&Arc::new(SimFiles::new()), &small());
    let value = "x".repeat(1000);
    let fill = |count| {
        for _ in 0..count {
            append(&log, &[&value]).unwrap();
        }
    };
    fill(3);
    assert_eq!(log.segment_count(), 1);
    log.set_options(with(|options| options.segment_bytes = 2000));
    fill(3);
    assert_eq!(log.segment_count(), 4, "one record each");
    log.set_options(with(|options| options.segment_bytes = 100_000));
    fill(20);
    assert_eq!(log.segment_count(), 5, "the one that was begun small is closed once");
    super::flush(&dir, &log);
    assert_eq!(values(&log, Offset::ZERO, 1 << 20).len(), 26);
}

#[test]
fn a_segment_whose_index_is_full_is_closed() {
    let options = with(|options| {
        options.segment_bytes = 1 << 20;
        options.segment_index_bytes = 40;
    });
    let (dir, log) = open(&Arc::new(SimFiles::new()), &options);
    for number in 0..60 {
        append(&log, &[&format!("{number} {}", "x".repeat(600))]).unwrap();
    }
    let segments = log.segment_count();
    assert!((8..=12).contains(&segments), "an entry for each batch but the first: {segments}");
    super::flush(&dir, &log);
    assert_eq!(values(&log, Offset::ZERO, 1 << 20).len(), 60);
}

#[test]
fn jitter_closes_a_segment_earlier_and_never_later() {
    let after = |jitter: u64, age: i64| {
        let options = with(|options| {
            options.segment_ms = Some(1000);
            options.retention_ms = None;
            options.segment_jitter_ms = jitter;
        });
        let (_dir, log) = open(&Arc::new(SimFiles::new()), &options);
        append(&log, &["a"]).unwrap();
        log.roll_if_expired(Timestamp::new(NOW.get() + age)).unwrap()
    };
    let due = |jitter| (0..=1000).find(|age| after(jitter, *age)).unwrap();
    assert_eq!(due(0), 1000);
    // More than there is to take off counts as all of it.
    let (some, all) = (due(300), due(1 << 40));
    assert!((700..1000).contains(&some), "{some}");
    assert!(all < 1000 && due(1000) == all, "{all}");
}
