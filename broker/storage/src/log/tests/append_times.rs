//! Claims about the times that records have because they were appended then.

use folio_record::{TimestampType, set_log_append_time};

use super::*;

/// Appends a batch that was given this time before anybody knew its place: what it is answered with.
fn append_at<F: Files>(log: &Log<F>, time: i64) -> i64 {
    let mut batch = batch(&["a", "b"], 5);
    set_log_append_time(&mut batch, Timestamp::new(time));
    let appended = log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
    appended.outcomes[0].as_ref().unwrap().append_time.get()
}

/// The times of all batches, as they are stored.
fn stored(files: &SimFiles, log: &Log<SimFiles>) -> Vec<i64> {
    let snapshot = files.snapshot();
    let view = log.view.load_full();
    let mut times = Vec::new();
    for segment in view.iter() {
        let path = crate::partition_files::SegmentFile::Log.path(log.dir(), segment.base());
        let mut rest = &snapshot[&path][..segment.end() as usize];
        while !rest.is_empty() {
            let (batch, behind) = UnverifiedBatch::split_first(rest).unwrap();
            let header = *batch.verify().unwrap().header();
            assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppend);
            times.push(header.max_timestamp.get());
            rest = behind;
        }
    }
    times
}

const HOUR: i64 = 3600 * 1000;

#[test]
fn append_times_do_not_fall_from_batch_to_batch_unless_the_clock_was_far_ahead_and_the_answer_tells_what_is_stored()
 {
    let files = SimFiles::new();
    let (dir, log) = open(&Arc::new(files.clone()), &small());
    let now = NOW.get();
    // Two loops that look at the clock before either appends; and a clock that is put back.
    let given =
        [now, now + 2, now + 1, now + 2, now + 3, now + 3 - HOUR, now + 2, now + 2 - HOUR, now - HOUR + 5];
    let expected =
        [now, now + 2, now + 2, now + 2, now + 3, now + 3, now + 3, now + 2 - HOUR, now - HOUR + 5];
    let told: Vec<i64> = given.iter().map(|time| append_at(&log, *time)).collect();
    assert_eq!(told, expected);
    assert_eq!(stored(&files, &log), expected);

    // Nor over a roll, nor over a restart.
    assert_eq!(append_at(&log, now + 9), now + 9);
    log.roll_if_expired(Timestamp::new(now + 8 * 24 * HOUR)).unwrap();
    assert!(log.segment_count() > 1);
    assert_eq!(append_at(&log, now + 8), now + 9);
    drop(log);
    dir.close_clean(NOW, Instant::now()).unwrap();
    let (_dir, log) = open(&Arc::new(files.clone()), &small());
    assert_eq!(append_at(&log, now + 7), now + 9);
}

#[test]
fn records_that_have_their_producers_time_keep_it_and_are_told_no_other() {
    let files = SimFiles::new();
    let (_dir, log) = open(&Arc::new(files), &small());
    for timestamp in [50, 40] {
        let sent = batch(&["a"], timestamp);
        let mut buffers = [sent.clone()];
        let appended = log.writer().append(&mut buffers, Mode::MayBlock, NOW).unwrap();
        assert_eq!(appended.outcomes[0].as_ref().unwrap().append_time, Timestamp::NONE);
        assert_eq!(buffers[0][12 + 4..], sent[12 + 4..]);
    }
}

#[test]
fn a_copy_is_told_the_time_at_which_the_first_one_was_appended() {
    let (_dir, log) = open(&Arc::new(SimFiles::new()), &small());
    let mut told = [NOW.get(), NOW.get() + 7].map(|time| {
        let mut batch = numbered((7, 0, 0), &["a"], 5);
        set_log_append_time(&mut batch, Timestamp::new(time));
        let appended = log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
        let range = *appended.outcomes[0].as_ref().unwrap();
        (range.is_duplicate, range.append_time)
    });
    told.sort_unstable();
    assert_eq!(told, [(false, NOW), (true, NOW)]);
}
