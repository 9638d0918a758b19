//! Topics that are compacted, as clients of both protocols and whoever kills the daemon see them.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use folio_broker::Outcome;
use folio_client::{
    Client, ClientConfig, ConsumerConfig, NewTopic, Offset, OffsetSpec, Position, ProducerConfig,
    ProducerRecord, TopicPartition,
};
use folio_record::{
    BatchBuilder, Compression, DecompressLimit, NewRecord, ProducerId, Timestamp, UnverifiedBatch,
};
use folio_storage::files::OsFiles;
use folio_storage::verify::{Event, Severity, VerifyOptions, verify};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::intents::{intent, killed_with_an_intent};
use folio_tests::kafka::{KafkaPeer, fetch, produce};
use folio_tests::rig::{Rig, until};
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::fetch::FetchResponse;
use folio_wire::kafka::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use folio_wire::kafka::produce::ProduceResponse;

const LIMIT: Duration = Duration::from_secs(60);

/// What compacts a topic as soon as there is something to compact.
const SOON: [(&str, &str); 5] = [
    ("maintenance.interval.ms", "20"),
    ("topic.cleanup.policy", "compact"),
    ("topic.segment.bytes", "4096"),
    ("topic.segment.ms", "100"),
    ("topic.min.cleanable.dirty.ratio", "0"),
];

fn place() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn connect(address: &str) -> Client {
    Client::connect(ClientConfig::new(address)).unwrap()
}

/// Everything that is there: offset, key, value.
fn stored(client: &Client) -> Vec<(i64, String, Option<String>)> {
    let listed = client.admin().list_offsets([(place(), OffsetSpec::Latest)]).wait().unwrap();
    let end = listed[0].clone().unwrap().unwrap().offset.get();
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(place(), Position::Earliest)]);
    let (mut next, mut stored) = (0, Vec::new());
    while next < end {
        let records = consumer.poll(LIMIT).unwrap().expect("the records are there");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        stored.extend(
            records.iter().map(|one| (one.offset.get(), text(one.key.unwrap()), one.value.map(text))),
        );
        next = records.next_offset().get();
    }
    stored
}

fn send(client: &Client, records: impl Iterator<Item = (String, Option<String>)>) {
    let producer = client.producer(ProducerConfig::new().batch_bytes(400)).unwrap();
    let sent: Vec<_> = records
        .map(|(key, value)| {
            let record = ProducerRecord::to("t").partition(0).key(key.as_bytes());
            match &value {
                Some(value) => producer.send(record.value(value.as_bytes())).unwrap(),
                None => producer.send(record).unwrap(),
            }
        })
        .collect();
    sent.into_iter().for_each(|one| drop(one.wait().unwrap()));
}

#[test]
fn kafkas_fetch_goes_over_the_gaps_and_finds_by_offset_and_by_time_what_a_scan_does() {
    let rig = Rig::new(&SOON);
    rig.peer().create("t", 1, &[]);
    let mut peer = KafkaPeer::connect(rig.address());
    // Of the producer nothing but its batches' headers stays.
    for number in 0..40_i32 {
        let mut builder = BatchBuilder::new(Compression::Lz4, 1 << 20);
        let id = i64::from(number % 4);
        builder.producer(ProducerId::new(id), 0, 2 * (number / 4));
        for part in 0..2 {
            let (key, value) =
                (format!("k{}", (number * 3 + part) % 7), format!("{number} {}", "x".repeat(300)));
            let timestamp = Timestamp::new(1_000_000 + i64::from(number) * 10 + i64::from(part));
            let record = NewRecord {
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                ..NewRecord::at(timestamp)
            };
            builder.append(&record).unwrap();
        }
        let batch = builder.build().unwrap();
        let answer = peer.call(7, &produce("t", 0, -1, &batch));
        assert_eq!(
            answer.message::<ProduceResponse<'_>>().responses[0].partition_responses[0].error_code,
            KafkaError::NONE
        );
    }
    until("all but the last of seven keys went", || rig.peer().counter("compaction.records.removed") == 73);
    let mut scan = |mut offset: i64| {
        let mut seen = Vec::new();
        loop {
            let answer = peer.call(12, &fetch("t", 0, offset, Duration::ZERO));
            let told: FetchResponse<'_> = answer.message();
            let data = &told.responses[0].partitions[0];
            assert_eq!(data.error_code, KafkaError::NONE);
            let mut rest = data.records.unwrap().held().unwrap();
            if offset == data.high_watermark {
                return seen;
            }
            assert!(!rest.is_empty(), "a reader at {offset} of {} is left behind", data.high_watermark);
            while !rest.is_empty() {
                let (batch, after) = UnverifiedBatch::split_first(rest).unwrap();
                let batch = batch.verify().unwrap();
                let records = batch.records(DecompressLimit::new(1 << 20)).unwrap();
                let records = records
                    .iter()
                    .map(|record| record.unwrap())
                    .filter(|record| record.offset.get() >= offset);
                seen.extend(records.map(|record| (record.offset.get(), record.timestamp.get())));
                offset = batch.header().next_offset().get();
                rest = after;
            }
        }
    };
    let all = scan(0);
    assert_eq!(all.len(), 7);
    for offset in 0..=80 {
        let expected: Vec<_> = all.iter().copied().filter(|row| row.0 >= offset).collect();
        assert_eq!(scan(offset), expected, "from {offset}");
    }
    for time in (999_990..1_000_420).step_by(5) {
        let wanted =
            ListOffsetsPartition { partition_index: 0, timestamp: time, ..ListOffsetsPartition::default() };
        let topics = vec![ListOffsetsTopic { name: "t", partitions: vec![wanted] }];
        let answer = peer.call(5, &ListOffsetsRequest { topics, ..ListOffsetsRequest::default() });
        let told: ListOffsetsResponse<'_> = answer.message();
        let found = &told.topics[0].partitions[0];
        let expected = all.iter().find(|row| row.1 >= time).copied().unwrap_or((-1, -1));
        assert_eq!((found.offset, found.timestamp), expected, "time {time}");
    }
}

#[test]
fn a_consumer_that_reads_on_while_its_segments_are_replaced_misses_no_last_record() {
    let rig = Rig::new(&SOON);
    let client = connect(rig.address());
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(place(), Position::Earliest)]);
    let (mut seen, mut next) = (BTreeMap::new(), 0);
    let mut last = BTreeMap::new();
    for round in 0..30_i64 {
        let records = (0..20).map(|number| (format!("k{}", number % 9), Some(format!("{round}.{number}"))));
        last.extend(records.clone());
        send(&client, records);
        // Slower than it is written.
        if round % 3 == 0
            && let Some(records) = consumer.poll(LIMIT).unwrap()
        {
            next = records.next_offset().get();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            seen.extend(records.iter().map(|one| (text(one.key.unwrap()), one.value.map(text))));
        }
    }
    until("it is compacted", || rig.peer().counter("compaction.records.removed") > 100);
    while next < 600 {
        let records = consumer.poll(LIMIT).unwrap().expect("there is more");
        assert!(records.next_offset() > Offset::new(next));
        next = records.next_offset().get();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        seen.extend(records.iter().map(|one| (text(one.key.unwrap()), one.value.map(text))));
    }
    assert_eq!(seen, last);
}

#[test]
fn whoever_kills_the_daemon_while_it_compacts_loses_no_last_record() {
    let dir = tempfile::tempdir().unwrap();
    let settings: Vec<String> =
        SOON.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect();
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut last: BTreeMap<String, Option<String>> = BTreeMap::new();
    for round in 0..12_u64 {
        let daemon = Daemon::on(dir.path(), &settings);
        let client = connect(daemon.address());
        if round == 0 {
            client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
        }
        let records = (0..60).map(|number| {
            let is_deleted = (number + round) % 11 == 0;
            (
                format!("k{}", (number * round) % 13),
                (!is_deleted).then(|| format!("{round}.{number} {}", "x".repeat(90))),
            )
        });
        last.extend(records.clone());
        send(&client, records);
        let there: BTreeMap<_, _> = stored(&client).into_iter().map(|(_, key, value)| (key, value)).collect();
        assert_eq!(there, last, "round {round}");
        let counter = |wanted| {
            let counters = client.admin().status(true).wait().unwrap().counters;
            counters.into_iter().find(|(name, _)| name == wanted).unwrap().1
        };
        // At another moment each time: with a pass under way, or behind one.
        let what = if round % 2 == 0 { "compaction.bytes.read" } else { "compactions" };
        until("it is compacted", || counter(what) > 0);
        std::thread::sleep(Duration::from_millis(2 * round));
        signal(&daemon.pid().to_string(), "KILL");
        let mut daemon = daemon;
        daemon.wait();
    }
    let daemon = Daemon::on(dir.path(), &settings);
    let there = stored(&connect(daemon.address()));
    assert!(there.len() < 500, "{} of 720", there.len());
    assert_eq!(there.into_iter().map(|(_, key, value)| (key, value)).collect::<BTreeMap<_, _>>(), last);
    assert!(daemon.stop().success());
    nothing_is_wrong(&dir.path().join("data"));
}

#[test]
fn a_partition_that_a_start_had_no_room_to_finish_a_compaction_of_comes_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let settings: Vec<String> =
        SOON.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect();
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let daemon = Daemon::on(dir.path(), &settings);
    let client = connect(daemon.address());
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    let mut last: BTreeMap<String, Option<String>> = BTreeMap::new();
    let records = |round: u64| {
        (0..60).map(move |number| (format!("k{}", number % 13), Some(format!("{round} {}", "x".repeat(90)))))
    };
    let (partition, mut round) = (dir.path().join("data/topics/t-0"), 0);
    let wrapper = killed_with_an_intent(daemon, &partition, || {
        round += 1;
        last.extend(records(round));
        send(&client, records(round));
    });
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();

    let daemon = Daemon::under(&wrapper, dir.path(), &settings);
    let said = daemon.said();
    assert!(said.contains("1 offline") && said.contains("once there is room"), "{said}");
    let client = connect(daemon.address());
    until("it is back", || daemon.said().contains("a partition is back"));
    let of_key =
        || stored(&client).into_iter().map(|(_, key, value)| (key, value)).collect::<BTreeMap<_, _>>();
    assert_eq!(of_key(), last);
    last.extend(records(round + 1));
    send(&client, records(round + 1));
    assert_eq!(of_key(), last);
    until("it is compacted", || {
        let counters = client.admin().status(true).wait().unwrap().counters;
        counters.into_iter().any(|(name, count)| name == "compactions" && count > 0)
    });
    assert!(intent(&partition).is_none());
    assert_eq!(of_key(), last);
    assert!(daemon.stop().success());
    nothing_is_wrong(&dir.path().join("data"));
}

fn nothing_is_wrong(dir: &Path) {
    let files = Arc::new(OsFiles::open(dir).unwrap());
    verify(&*files, &VerifyOptions::default(), &mut |event| {
        if let Event::Found(finding) = event {
            assert_eq!(finding.severity, Severity::Harmless, "{finding}");
        }
    })
    .unwrap();
}

#[test]
fn a_topic_that_is_deleted_while_it_is_compacted_is_gone_and_one_of_its_name_is_another() {
    let settings = [&SOON[..], &[("cleaner.io.max.bytes.per.second", "30000")]].concat();
    let mut rig = Rig::new(&settings);
    let client = connect(rig.address());
    for round in 0..3 {
        client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
        send(
            &client,
            (0..200).map(|number| {
                (format!("k{}", number % 5), Some(format!("{round} {number} {}", "x".repeat(90))))
            }),
        );
        let before = rig.peer().counter("compaction.bytes.read");
        until(&format!("it is under way in round {round}"), || {
            rig.peer().counter("compaction.bytes.read") > before
        });
        client.admin().delete_topic("t").wait().unwrap();
    }
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    send(&client, [("a".to_owned(), Some("1".to_owned()))].into_iter());
    assert_eq!(stored(&client), [(0, "a".to_owned(), Some("1".to_owned()))]);
    assert!(matches!(rig.stop(), Outcome::Clean));
    nothing_is_wrong(&rig.dir().join("data"));
}
