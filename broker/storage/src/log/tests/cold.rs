//! Reads that must not wait, beside what is not in memory.

use std::ops::Range;

use folio_mapped::MapSlice;

use super::compact::{compact, compacting, keyed, settle};
use super::*;
use crate::controls::{Protection, without};
use crate::files::{FileHandle, OpenMode};
use crate::log::cursor::COOLS_AFTER;
use crate::partition_files::SegmentFile;

const NEEDS: &str = "this claim needs a file system that drops what it has cached";

/// A log of so many batches of about 100 KB, all of them flushed, in one segment on a disk.
const BATCHES: u64 = 40;

struct Rig {
    log: Arc<Log<OsFiles>>,
    file: <OsFiles as Files>::File,
    dir: DataDir<OsFiles>,
    batch_size: u64,
    _temporary: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        Self::with(&LogOptions::default())
    }

    fn with(options: &LogOptions) -> Self {
        // Beside the program of the tests: where others may live in memory, that one is on a disk.
        let temporary = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let files = Arc::new(OsFiles::open_or_create(temporary.path()).unwrap());
        let options = LogOptions { segment_bytes: 16 << 20, batch_size_max: 1 << 20, ..options.clone() };
        let (dir, log) = open(&files, &options);
        for number in 0..BATCHES {
            let (key, value) = (format!("{number:2}"), "x".repeat(100_000));
            let batch = keyed(Compression::None, None, &[(&key, Some(&value))], 1000);
            log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap().outcomes.remove(0).unwrap();
        }
        flush(&dir, &log);
        let path = SegmentFile::Log.path(log.dir(), Offset::ZERO);
        let file = files.open(&path, OpenMode::Read).unwrap();
        let batch_size = log.tail().pos / BATCHES;
        Self { log, file, dir, batch_size, _temporary: temporary }
    }

    fn read(&self, offset: i64, touch: Touch) -> Read {
        self.log.read(Offset::new(offset), 1000, &mut Cursor::default(), touch).unwrap()
    }

    fn batches(&self, numbers: Range<u64>) -> MapSlice {
        let size = self.batch_size;
        let map = self.log.view.load()[0].log().unwrap();
        map.slice(numbers.start * size..numbers.end * size).unwrap()
    }

    /// Nothing of the log is in memory but what stands in the page table.
    fn forget(&self) {
        self.file.drop_cache().unwrap();
    }
}

#[test]
fn a_read_that_must_not_wait_gives_up_before_it_touches_what_is_not_in_memory() {
    let rig = Rig::new();
    assert!(matches!(rig.read(3, Touch::warm_now()), Read::Ready(_)), "it was just written");
    rig.forget();
    assert!(!rig.batches(0..1).resident().unwrap(), "{NEEDS}");
    assert!(matches!(rig.read(3, Touch::warm_now()), Read::Cold));
    assert!(matches!(rig.read(39, Touch::warm_now()), Read::Ready(Fetched { is_near_tail: true, .. })));
    let Read::Ready(Fetched { slice: Some(slice), .. }) = rig.read(3, Touch::Any) else {
        panic!("it may wait")
    };
    slice.populate().unwrap();
    assert!(matches!(rig.read(3, Touch::warm_now()), Read::Ready(Fetched { is_near_tail: false, .. })));
}

#[test]
fn a_read_that_must_not_wait_brings_nothing_into_memory_and_without_the_look_at_what_is_there_it_does() {
    for is_gated in [true, false] {
        let rig = Rig::new();
        let is_there = || {
            let mut header = rig.batches(3..4);
            header.truncate(61);
            header.resident().unwrap()
        };
        rig.forget();
        assert!(!is_there(), "{NEEDS}");
        let read = || rig.read(3, Touch::warm_now());
        let given = if is_gated { read() } else { without(Protection::ColdIsLeftAlone, read) };
        assert_eq!(matches!(given, Read::Cold), is_gated, "{given:?}");
        assert_eq!(is_there(), !is_gated, "a page was waited for, or none");
    }
}

#[test]
fn what_a_sequential_reader_was_told_of_memory_holds_for_a_moment_and_no_longer() {
    let rig = Rig::new();
    rig.forget();
    // In memory, and not in the page table, which would keep it there.
    rig.batches(0..20).copied().unwrap();
    let (mut cursor, now) = (Cursor::default(), Instant::now());
    let mut read = |offset, touch| rig.log.read(Offset::new(offset), 150_000, &mut cursor, touch).unwrap();
    assert!(matches!(read(3, Touch::Any), Read::Ready(_)));
    assert!(matches!(read(4, Touch::Warm(now)), Read::Ready(_)));
    rig.forget();
    assert!(!rig.batches(5..6).resident().unwrap() && !rig.batches(6..8).resident().unwrap(), "{NEEDS}");
    assert!(matches!(read(5, Touch::Warm(now)), Read::Ready(_)), "it was asked for again");
    // The kernel may have read more than what was touched.
    rig.forget();
    assert!(matches!(read(6, Touch::Warm(now + COOLS_AFTER)), Read::Cold));
}

#[test]
fn a_compaction_that_reads_a_log_brings_nothing_into_memory() {
    let rig = Rig::with(&compacting());
    settle(&rig.dir, &rig.log);
    let each: Vec<_> = (0..BATCHES).map(|number| rig.batches(number..number + 1)).collect();
    let is_there = || each.iter().any(|batch| batch.resident().unwrap());
    rig.forget();
    assert!(!is_there(), "{NEEDS}");
    let report = compact(&rig.dir, &rig.log);
    assert!(report.bytes_read >= 2 * BATCHES * rig.batch_size, "{report:?}");
    assert!(!is_there());
}
