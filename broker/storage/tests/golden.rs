//! Claims about a data directory that was written once and has to open for ever.
//!
//! `tests/data/golden/v1` is such a directory, and `v1.txt` beside it says what is in it; `sealed` is the same with
//! sealed segments, which have footers of the first edition, `sealed-v2` with those of the second; `compacted`, of the
//! first, has a log that was compacted. A state of the project that changes a format writes another one
//! (`FOLIO_WRITE_GOLDEN=1` writes what is not there yet), and keeps these.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs};

use bytes::BytesMut;
use folio_record::{
    BatchBuilder, Compression, DecompressLimit, Header, NewRecord, Offset, ProducerId, Timestamp,
    UnverifiedBatch,
};
use folio_storage::clean::{CLEAN_NAME, CleanMarker};
use folio_storage::data_dir::NewTopic;
use folio_storage::dump::{DumpOptions, Item, dump};
use folio_storage::files::{OsFiles, SimFiles};
use folio_storage::footer::FOOTER_SIZE;
use folio_storage::metadata::{Key, Value};
use folio_storage::slots::{METADATA, SLOT_SIZE, SLOTS_NAME, SlotCopy};
use folio_storage::verify::{Event, Severity, VerifyOptions, verify};
use folio_storage::{
    ActiveProducer, Compacting, CompactionOptions, Cursor, DataDir, DataDirOptions, DirtyRatio, Files, Log,
    LogOptions, Mode, Read, Sealed, Touch,
};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

/// The directories, and which edition of footers the sealed segments in them have.
const GOLDEN: [(&str, Option<Footers>); 3] =
    [("v1", None), ("sealed", Some(Footers::First)), ("sealed-v2", Some(Footers::Second))];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Footers {
    First,
    Second,
}

#[test]
fn the_golden_directories_open_and_hold_what_the_text_beside_them_says() {
    for (name, footers) in GOLDEN {
        opens_and_holds(name, "v1", footers);
    }
    opens_and_holds("v2", "v2", None);
    opens_and_holds("compacted", "compacted", Some(Footers::First));
}

fn opens_and_holds(name: &str, text_of: &str, footers: Option<Footers>) {
    let temporary = tempfile::tempdir().unwrap();
    copy(&golden(name), temporary.path());
    let files = Arc::new(OsFiles::open(temporary.path()).unwrap());
    let (_dir, report) = open(&files);
    assert!(!report.created && report.was_clean);
    let mut text = String::new();
    for partition in &report.partitions {
        let (log, partition_report) = partition.state.as_ref().unwrap();
        assert!(partition_report.was_clean, "nothing was to be recovered");
        assert_eq!(partition_report.bytes_scanned, 0);
        if footers.is_some() {
            assert_eq!(log.seal_next(NOW).unwrap(), Sealed::Nothing, "{name}: every footer is believed");
        }
        text += &describe(&partition.topic, partition.id.partition, log);
    }
    assert_eq!(text, fs::read_to_string(golden(text_of).with_extension("txt")).unwrap(), "{name}");
}

#[test]
fn the_golden_directory_with_a_compacted_log_can_still_be_written_and_nothing_is_wrong_with_it() {
    let (written, text) = write_compacted();
    if env::var_os("FOLIO_WRITE_GOLDEN").is_some() && !golden("compacted").exists() {
        fs::write(golden("compacted").with_extension("txt"), &text).unwrap();
        put_golden("compacted", &written);
    }
    assert_eq!(text, fs::read_to_string(golden("compacted").with_extension("txt")).unwrap());
    for (path, bytes) in &written {
        let bytes = with_first_footers(path, without_metadata(path, bytes));
        assert_eq!(fs::read(golden("compacted").join(path)).unwrap(), bytes, "{}", path.display());
    }
    let files = OsFiles::open(golden("compacted")).unwrap();
    let summary = verify(&files, &VerifyOptions::default(), &mut |event| {
        if let Event::Found(finding) = event {
            assert_eq!(finding.severity, Severity::Harmless, "{finding}");
        }
    });
    let summary = summary.unwrap();
    assert_eq!((summary.partitions, summary.segments), (1, 3), "compacted, closed since, and appended to");
    let mut shown = BTreeMap::new();
    dump(&files, &DumpOptions { records: false, partition: Some("keyed-0".to_owned()) }, &mut |item| {
        assert!(!matches!(item, Item::Broken { .. }), "{item:?}");
        let json = serde_json::to_value(&item).unwrap();
        if json["item"] == "batch" && json["records"] == 0 {
            *shown.entry("a header without records".to_owned()).or_insert(0) += 1;
        }
        *shown.entry(json["item"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    })
    .unwrap();
    assert_eq!((shown["compacted"], shown["footer"]), (1, 2));
    assert!(shown["a header without records"] > 0);
}

#[test]
fn the_producers_of_the_golden_directory_that_has_some_are_still_known() {
    let temporary = tempfile::tempdir().unwrap();
    copy(&golden("v2"), temporary.path());
    let files = Arc::new(OsFiles::open(temporary.path()).unwrap());
    let mut shown = BTreeMap::new();
    let options = DumpOptions { records: false, partition: Some("numbered-0".to_owned()) };
    dump(&*files, &options, &mut |item| {
        assert!(!matches!(item, Item::Broken { .. }), "{item:?}");
        let json = serde_json::to_value(&item).unwrap();
        *shown.entry(json["item"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    })
    .unwrap();
    assert_eq!((shown["snapshot"], shown["producer"], shown["producer_batch"]), (1, 1, 5));

    let stored = fs::read(temporary.path().join("topics/numbered-0/00000000000000000000.log")).unwrap();
    let mut rest = &stored[..];
    let mut last = rest;
    while !rest.is_empty() {
        let (batch, after) = UnverifiedBatch::split_first(rest).unwrap();
        (last, rest) = (batch.bytes(), after);
    }
    let (dir, report) = open(&files);
    let log = &report.partitions[0].state.as_ref().unwrap().0;
    let last_timestamp = Timestamp::new(NOW.get() + 29_002);
    let id = ProducerId::new(1000);
    assert_eq!(log.producers(), [ActiveProducer { id, epoch: 2, last_sequence: 89, last_timestamp }]);
    let mut copied = [BytesMut::from(last)];
    let range = log.writer().append(&mut copied, Mode::MayBlock, NOW).unwrap().outcomes.remove(0).unwrap();
    assert_eq!((range.base_offset, range.is_duplicate), (Offset::new(87), true));
    let ids = dir.with_metadata(|state| state.get(&Key::ProducerIds)).unwrap();
    assert_eq!(ids.value, Value::ProducerIds(2000));
}

#[test]
fn the_golden_directories_can_still_be_written_byte_for_byte() {
    for (name, footers) in GOLDEN {
        can_be_written(name, footers);
    }
}

fn can_be_written(name: &str, footers: Option<Footers>) {
    let (written, text) = write(footers.is_some());
    if env::var_os("FOLIO_WRITE_GOLDEN").is_some() && !golden(name).exists() {
        put_golden(name, &written);
    }
    assert_eq!(text, fs::read_to_string(golden("v1").with_extension("txt")).unwrap());
    let mut compared = 0;
    for (path, bytes) in &written {
        // What a compressor makes of the same input is its own affair, and these files know its length.
        if path.starts_with("topics/packed-0") || path == Path::new("slots") || path == Path::new("clean") {
            continue;
        }
        // Those that were written first have none.
        if path.extension() == Some("snapshot".as_ref()) {
            continue;
        }
        let mut bytes = bytes.clone();
        if footers == Some(Footers::First) {
            bytes = with_first_footers(path, bytes);
        }
        assert_eq!(fs::read(golden(name).join(path)).unwrap(), bytes, "{name}: {}", path.display());
        compared += 1;
    }
    assert!(compared >= 9, "{compared}");
}

#[test]
fn a_dump_of_the_golden_directories_shows_every_kind_of_thing_and_nothing_broken() {
    shows_every_kind_of_thing("sealed");
    shows_every_kind_of_thing("sealed-v2");
}

fn shows_every_kind_of_thing(name: &str) {
    let files = OsFiles::open(golden(name)).unwrap();
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let options = DumpOptions { records: true, partition: None };
    dump(&files, &options, &mut |item| {
        assert!(!matches!(item, Item::Broken { .. }), "{item:?}");
        let json = serde_json::to_value(&item).unwrap();
        *kinds.entry(json["item"].as_str().unwrap().to_owned()).or_default() += 1;
    })
    .unwrap();
    let has_none = kinds.remove("snapshot").is_none();
    assert_eq!(has_none, name == "sealed", "{name}: those that were written first have none");
    let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "batch",
            "clean",
            "clean_partition",
            "epoch",
            "footer",
            "metadata",
            "node",
            "offset_entry",
            "partition",
            "record",
            "segment",
            "slot",
            "time_entry"
        ]
    );
    let records = fs::read_to_string(golden("v1").with_extension("txt")).unwrap().lines().count() as u64;
    assert_eq!(kinds["record"], records);

    let mut count = 0;
    let options = DumpOptions { records: true, partition: Some("packed-0".to_owned()) };
    dump(&files, &options, &mut |item| count += u64::from(matches!(item, Item::Record { .. }))).unwrap();
    assert!(count > 0 && count < records);
}

#[test]
fn nothing_is_found_to_be_damaged_in_the_golden_directories() {
    for (name, _) in GOLDEN {
        let files = OsFiles::open(golden(name)).unwrap();
        let summary = verify(&files, &VerifyOptions::default(), &mut |event| {
            if let Event::Found(finding) = event {
                // Few copies carry directories that are empty.
                assert_eq!(finding.severity, Severity::Harmless, "{finding}");
            }
        });
        let summary = summary.unwrap();
        assert_eq!((summary.partitions, summary.segments, summary.batches), (2, 4, 70));
    }
}

/// A file without what it says of the metadata log, which was not said when these directories were written.
fn without_metadata(path: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if path == Path::new(SLOTS_NAME) {
        for copy in bytes.chunks_exact_mut(SLOT_SIZE) {
            let slot = SlotCopy::decode((&*copy).try_into().unwrap()).valid();
            if slot.is_some_and(|slot| slot.partition == METADATA) {
                copy.fill(0);
            }
        }
    }
    if path == Path::new(CLEAN_NAME) {
        let mut marker = CleanMarker::decode(&bytes).unwrap();
        marker.partitions.retain(|row| row.partition != METADATA);
        bytes = marker.encode();
    }
    bytes
}

/// An index whose footer, if it has one, is of the first edition: its checksum does not say whose it is.
fn with_first_footers(path: &Path, mut bytes: Vec<u8>) -> Vec<u8> {
    let footer = bytes.last_chunk_mut::<FOOTER_SIZE>();
    let is_index = path.extension() == Some("index".as_ref());
    if let Some(footer) = footer.filter(|footer| is_index && footer.starts_with(b"LFT2")) {
        footer[3] = b'1';
        let crc = crc32fast::hash(&footer[..FOOTER_SIZE - 4]);
        footer[FOOTER_SIZE - 4..].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

/// Two topics, plain and compressed, the second with three segments.
fn write(is_sealed: bool) -> (BTreeMap<PathBuf, Vec<u8>>, String) {
    let files = SimFiles::new();
    let shared = Arc::new(files.clone());
    let (dir, _) = open(&shared);
    let mut text = String::new();
    for (name, uuid, compression) in [("packed", 1, Compression::Lz4), ("plain", 2, Compression::None)] {
        let topic = NewTopic {
            name: name.to_owned(),
            uuid: Uuid::from_u128(0xF011_0000 + uuid),
            partitions: 1,
            settings: vec![("retention.ms".to_owned(), "-1".to_owned())],
        };
        let log = dir.create_topic(topic, &options(), NOW).unwrap().remove(0);
        let count = if compression == Compression::None { 60 } else { 10 };
        for number in 0..count {
            let mut builder = BatchBuilder::new(compression, 1 << 16);
            for part in 0..3 {
                let key = format!("key-{}", number % 7);
                let value = format!("{name} record {number}.{part} {}", "abc".repeat(number));
                let header = [
                    Header { key: b"part", value: Some(&[b'0' + part]) },
                    Header { key: b"none", value: None },
                ];
                let record = NewRecord {
                    timestamp: Timestamp::new(NOW.get() + 1000 * number as i64 + i64::from(part)),
                    key: (part != 1).then_some(key.as_bytes()),
                    value: (part != 2).then_some(value.as_bytes()),
                    headers: if part == 0 { &header } else { &[] },
                };
                builder.append(&record).unwrap();
            }
            let batch = BytesMut::from(builder.build().unwrap().as_slice());
            log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
        }
        dir.flush(&[Arc::clone(&log)], NOW, Instant::now()).unwrap();
        if is_sealed {
            while log.seal_next(NOW).unwrap() != Sealed::Nothing {}
        }
        text += &describe(name, 0, &log);
    }
    dir.close_clean(NOW, Instant::now()).unwrap();
    let mut written = files.snapshot();
    // It names whoever holds it.
    written.remove(Path::new("LOCK"));
    (written, text)
}

/// A topic of keys that are written again and deleted, by nobody and by a producer; compacted, and appended to since.
fn write_compacted() -> (BTreeMap<PathBuf, Vec<u8>>, String) {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    let topic = NewTopic {
        name: "keyed".to_owned(),
        uuid: Uuid::from_u128(0xF011_0004),
        partitions: 1,
        settings: vec![("cleanup.policy".to_owned(), "compact".to_owned())],
    };
    let log = dir.create_topic(topic, &options(), NOW).unwrap().remove(0);
    let compaction = CompactionOptions {
        min_lag_ms: 0,
        max_lag_ms: None,
        dirty_ratio_min: DirtyRatio::new(0.5),
        delete_retention_ms: 86_400_000,
    };
    log.set_options(LogOptions { compaction: Some(compaction), segment_ms: Some(5), ..options() });
    let append = |number: i64| {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 16);
        if number % 3 == 0 {
            builder.producer(ProducerId::new(1000), 2, i32::try_from(number).unwrap());
        }
        for part in 0..3 {
            let (key, value) = (
                format!("key-{}", (number * 5 + part) % 17),
                format!("{number}.{part} {}", "abc".repeat(40)),
            );
            let record = NewRecord {
                timestamp: Timestamp::new(NOW.get() + 1000 * number + part),
                key: Some(key.as_bytes()),
                value: (number % 13 != 7).then_some(value.as_bytes()),
                headers: &[],
            };
            builder.append(&record).unwrap();
        }
        let batch = BytesMut::from(builder.build().unwrap().as_slice());
        log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap().outcomes.remove(0).unwrap();
    };
    let close = || {
        log.roll_if_expired(Timestamp::new(NOW.get() + 10)).unwrap();
        log.take_snapshot().unwrap();
        dir.flush(std::slice::from_ref(&log), NOW, Instant::now()).unwrap();
        while log.seal_next(NOW).unwrap() != Sealed::Nothing {}
    };
    (0..60).for_each(append);
    close();
    let mut pass = log.compact([1, 2], 1 << 20, NOW).unwrap();
    while pass.step(&dir, 1 << 20).unwrap().state == Compacting::Working {}
    (60..63).for_each(append);
    close();
    (63..65).for_each(append);
    dir.flush(std::slice::from_ref(&log), NOW, Instant::now()).unwrap();
    let text = describe("keyed", 0, &log);
    dir.close_clean(NOW, Instant::now()).unwrap();
    let mut written = files.snapshot();
    written.remove(Path::new("LOCK"));
    // What was replaced lies in the trash of a directory that is not started again.
    written.retain(|path, _| !path.starts_with("trash"));
    (written, text)
}

fn put_golden(name: &str, written: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in written {
        let path = golden(name).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 8192, batch_size_max: 4096, index_interval: 1024, ..LogOptions::default() }
}

fn open<F: Files>(files: &Arc<F>) -> (DataDir<F>, folio_storage::OpenReport<F>) {
    let dir_options = DataDirOptions {
        build: "folio golden".to_owned(),
        new_dir: Uuid::from_u128(0xD1),
        new_cluster: Uuid::from_u128(0xC1),
        host: "golden".to_owned(),
        allow_incoherent_fs: true,
        ..DataDirOptions::fixed(0x601D)
    };
    DataDir::open(Arc::clone(files), &dir_options, |_| options(), NOW).unwrap()
}

/// One line a record.
fn describe<F: Files>(topic: &str, partition: u32, log: &Log<F>) -> String {
    let (mut text, mut cursor, mut offset) = (String::new(), Cursor::default(), Offset::ZERO);
    loop {
        let Read::Ready(fetched) = log.read(offset, 1 << 20, &mut cursor, Touch::Any).unwrap() else {
            panic!("cold, although it may wait")
        };
        let Some(slice) = fetched.slice else { return text };
        let mut bytes = vec![0; slice.len()];
        slice.copy_to(0, &mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (batch, after) = UnverifiedBatch::split_first(rest).unwrap();
            let records = batch.verify().unwrap().records(DecompressLimit::new(1 << 20)).unwrap();
            for record in &records {
                let record = record.unwrap();
                let show = |bytes: Option<&[u8]>| {
                    bytes.map_or("null".to_owned(), |b| format!("{:?}", String::from_utf8_lossy(b)))
                };
                let headers =
                    record.headers.map(|h| format!(" {}={}", String::from_utf8_lossy(h.key), show(h.value)));
                text += &format!(
                    "{topic}-{partition} {} {} {} {}{}\n",
                    record.offset,
                    record.timestamp,
                    show(record.key),
                    show(record.value),
                    headers.collect::<String>()
                );
            }
            rest = after;
        }
        offset = fetched.next_offset;
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/golden").join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
