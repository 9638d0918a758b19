//! The keys of segments: how large and old they get, their indexes, and when they go.

use folio_client::{NewTopic, ProducerConfig, ProducerRecord};
use folio_tests::rig::until;

use super::{Served, WHILE};

effects! {
    "scrub.bytes.per.second" rot_is_looked_for_so_fast
    "scrub.interval.ms" rot_is_looked_for_so_often
    "partition.dormant.ms" a_partition_that_nobody_needs_holds_no_file_open
    "mapped.files.max" so_many_files_are_mapped_at_once
    "maintenance.interval.ms" retention_is_looked_at_in_intervals
    "topic.retention.ms" old_records_go
    "topic.retention.bytes" too_many_bytes_go
    "topic.segment.bytes" segments_are_no_larger
    "topic.segment.ms" segments_are_no_older
    "topic.segment.jitter.ms" some_segments_are_closed_earlier_than_others
    "topic.segment.index.bytes" a_segment_whose_index_is_full_is_closed
    "topic.index.interval.bytes" index_entries_are_so_far_apart
}

/// How many files of the topic's partition this process has mapped, and how many open.
fn held(rig: &Served) -> (usize, usize) {
    let dir = format!("{}/", rig.rig.dir().join("data/topics/t-0").display());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let maps = maps.lines().filter(|line| line.contains(&dir)).count();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    (maps, open.filter(|path| path.to_string_lossy().starts_with(&dir)).count())
}

fn a_partition_that_nobody_needs_holds_no_file_open() {
    let settings = [("maintenance.interval.ms", "20"), ("partition.dormant.ms", "50")];
    for durability in ["fsync", "os"] {
        let rig = Served::with_topic(&[&settings[..], &[("topic.durability", durability)]].concat());
        for number in 0..3 {
            rig.send(b"x").unwrap();
            until("it holds nothing", || held(&rig) == (0, 0));
            assert_eq!(rig.counter("partitions.dormant"), 1);
            let (found, bytes) = rig.peer().fetch_now("t", 0);
            assert!(found.high_watermark == number + 1 && !bytes.is_empty(), "{found:?}");
            until("the map of its log goes, too", || held(&rig) == (0, 0));
        }
    }
    let rig = Served::with_topic(&[("maintenance.interval.ms", "20")]);
    rig.send(b"x").unwrap();
    std::thread::sleep(WHILE);
    assert_eq!(held(&rig), (3, 3));
}

fn so_many_files_are_mapped_at_once() {
    let most = |files| {
        let rig = Served::with_topic(&[("mapped.files.max", files), ("topic.segment.bytes", "4096")]);
        (0..40).for_each(|_| rig.send(&[7; 3000]).unwrap());
        let mut most = 0;
        for round in 0..2 {
            for offset in 0..40 {
                let (found, bytes) = rig.peer().fetch_now("t", offset);
                assert!(bytes.len() > 3000, "round {round}, offset {offset}: {found:?}");
                most = most.max(held(&rig).0);
            }
        }
        (most, rig.counter("mapped.files.gave.way"), rig.counter("mapped.files.max"))
    };
    let (held, gave_way, limit) = most("16");
    assert!(held <= 16 && gave_way > 40 && limit == 16, "{held} held, {gave_way} gave way");
    let (held, gave_way, limit) = most("-1");
    assert!(held >= 40 && gave_way == 0 && limit > 100, "{held} held, {gave_way} gave way");
}

fn retention_is_looked_at_in_intervals() {
    let settings = |interval| {
        [
            ("maintenance.interval.ms", interval),
            ("topic.retention.bytes", "1"),
            ("topic.segment.bytes", "4096"),
        ]
    };
    let rig = Served::with_topic(&settings("20"));
    (0..10).for_each(|_| rig.send(&[7; 3000]).unwrap());
    until("retention takes the old segments", || rig.partition().log_start.get() > 5);
    let rig = Served::with_topic(&settings("3600000"));
    (0..10).for_each(|_| rig.send(&[7; 3000]).unwrap());
    std::thread::sleep(WHILE);
    assert_eq!(rig.partition().log_start.get(), 0);
}

fn old_records_go() {
    let settings = |age| [("maintenance.interval.ms", "20"), ("topic.retention.ms", age)];
    let rig = Served::with_topic(&settings("50"));
    rig.send(b"x").unwrap();
    until("the record goes", || rig.partition().log_start.get() == 1);
    let rig = Served::with_topic(&settings("-1"));
    rig.send(b"x").unwrap();
    std::thread::sleep(WHILE);
    assert_eq!(rig.partition().log_start.get(), 0);
}

fn too_many_bytes_go() {
    let start = |most: &str| {
        let settings = [
            ("maintenance.interval.ms", "20"),
            ("topic.retention.bytes", most),
            ("topic.segment.bytes", "4096"),
        ];
        let rig = Served::with_topic(&settings);
        (0..20).for_each(|_| rig.send(&[7; 3000]).unwrap());
        if most == "10000" {
            until("old segments go", || rig.partition().log_start.get() >= 15);
        } else {
            std::thread::sleep(WHILE);
        }
        rig.partition().log_start.get()
    };
    assert!(start("10000") < 20);
    assert_eq!(start("-1"), 0);
}

fn segments_are_no_larger() {
    let segments = |bytes: &str| {
        let rig = Served::with_topic(&[("topic.segment.bytes", bytes)]);
        (0..10).for_each(|_| rig.send(&[7; 3000]).unwrap());
        rig.partition().segments
    };
    assert_eq!(segments("4096"), 10);
    assert_eq!(segments("1000000"), 1);
}

fn segments_are_no_older() {
    let settings = |age| [("maintenance.interval.ms", "20"), ("topic.segment.ms", age)];
    let rig = Served::with_topic(&settings("50"));
    rig.send(b"x").unwrap();
    until("a new segment begins", || rig.partition().segments == 2);
    let rig = Served::with_topic(&settings("3600000"));
    rig.send(b"x").unwrap();
    std::thread::sleep(WHILE);
    assert_eq!(rig.partition().segments, 1);
}

fn some_segments_are_closed_earlier_than_others() {
    let segments = |jitter| {
        let settings = [
            ("maintenance.interval.ms", "20"),
            ("topic.segment.ms", "60000"),
            ("topic.segment.jitter.ms", jitter),
        ];
        let rig = Served::new(&settings);
        rig.client.admin().create_topic(NewTopic::new("t", 64)).wait().unwrap();
        let producer = rig.client.producer(ProducerConfig::new()).unwrap();
        let sent: Vec<_> = (0..64)
            .map(|number| producer.send(ProducerRecord::to("t").partition(number).value(b"x")).unwrap())
            .collect();
        sent.into_iter().for_each(|one| drop(one.wait().unwrap()));
        (rig, producer)
    };
    let closed = |rig: &Served| {
        let described = rig.client.admin().describe_topic("t").wait().unwrap();
        described.partitions.iter().filter(|one| one.segments == 2).count()
    };
    // Of 64 the first is due after a second or so.
    let (rig, _producer) = segments("60000");
    until("one is closed", || closed(&rig) > 0);
    assert!(closed(&rig) < 60, "and not all at once");
    let (rig, _producer) = segments("0");
    std::thread::sleep(WHILE);
    assert_eq!(closed(&rig), 0);
}

fn a_segment_whose_index_is_full_is_closed() {
    let segments = |bytes: &str| {
        let settings = [("topic.index.interval.bytes", "500"), ("topic.segment.index.bytes", bytes)];
        let rig = Served::with_topic(&settings);
        (0..30).for_each(|_| rig.send(&[7; 1000]).unwrap());
        rig.partition().segments
    };
    // Ten entries, each for a batch.
    assert!((3..=4).contains(&segments("80")));
    assert_eq!(segments("800"), 1);
}

fn index_entries_are_so_far_apart() {
    let entries = |interval: &str| {
        let served = Served::with_topic(&[("topic.index.interval.bytes", interval)]);
        (0..20).for_each(|_| served.send(&[7; 1000]).unwrap());
        let index = served.rig.dir().join("data/topics/t-0/00000000000000000000.index");
        (std::fs::metadata(index).unwrap().len() - 32) / 16
    };
    assert!(entries("500") > 15);
    assert!(entries("5000") < 6);
}

/// A broker with a few sealed segments.
fn scrubbing(more: &[(&str, &str)]) -> Served {
    let settings = [("maintenance.interval.ms", "20"), ("topic.segment.bytes", "4096")];
    let rig = Served::with_topic(&[&settings, more].concat());
    (0..10).for_each(|_| rig.send(&[7; 3000]).unwrap());
    rig
}

fn rot_is_looked_for_so_fast() {
    let rig = scrubbing(&[("scrub.interval.ms", "1"), ("scrub.bytes.per.second", "0")]);
    std::thread::sleep(WHILE);
    assert_eq!((rig.counter("scrub.passes"), rig.counter("scrub.bytes")), (0, 0));
    let rig = scrubbing(&[("scrub.interval.ms", "1"), ("scrub.bytes.per.second", "1")]);
    until("it begins", || rig.counter("scrub.bytes") > 0);
    std::thread::sleep(WHILE);
    assert!(rig.counter("scrub.bytes") < 8000, "the next segment has to wait");
    let rig = scrubbing(&[("scrub.interval.ms", "1"), ("scrub.bytes.per.second", "10000000")]);
    until("all is read", || rig.counter("scrub.bytes") > 30_000);
}

fn rot_is_looked_for_so_often() {
    let rig = scrubbing(&[("scrub.interval.ms", "1")]);
    until("one pass follows the other", || rig.counter("scrub.passes") > 5);
    let rig = scrubbing(&[]);
    std::thread::sleep(WHILE);
    assert_eq!(rig.counter("scrub.passes"), 0);
}
