//! Settings as they are told and changed while a broker runs, and topics that grow.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::Duration;

use folio_client::{
    Acks, CallError, Client, ClientConfig, ConfigChange, ConfigEntry, ConfigResource, ConfigSource,
    ConsumerConfig, ErrorCode, NewTopic, Position, ProducerConfig, ProducerRecord, TopicPartition,
};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::rig::{Rig, until};
use folio_tests::strace::Strace;

fn connect(address: &str) -> Client {
    Client::connect(ClientConfig::new(address)).unwrap()
}

fn topic() -> ConfigResource {
    ConfigResource::Topic("t".to_owned())
}

fn set(name: &str, value: &str) -> ConfigChange {
    ConfigChange::Set(name.to_owned(), value.to_owned())
}

fn delete(name: &str) -> ConfigChange {
    ConfigChange::Delete(name.to_owned())
}

fn alter(client: &Client, of: ConfigResource, change: ConfigChange) -> Result<(), CallError> {
    client.admin().alter_configs(of, [change]).wait()
}

fn entry(client: &Client, of: ConfigResource, name: &str) -> ConfigEntry {
    let mut entries = client.admin().describe_configs(of, Some(&[name])).wait().unwrap();
    assert_eq!(entries.len(), 1, "{name}");
    entries.swap_remove(0)
}

/// Value and source.
fn told(client: &Client, of: ConfigResource, name: &str) -> (String, ConfigSource) {
    let entry = entry(client, of, name);
    (entry.value.unwrap_or_default(), entry.source)
}

fn refused(result: Result<(), CallError>) -> (ErrorCode, String) {
    match result.unwrap_err() {
        CallError::Refused(refusal) => (refusal.code, refusal.message.to_string()),
        error => panic!("{error}"),
    }
}

fn send(client: &Client, value: &[u8]) -> Result<(), folio_client::DeliveryError> {
    let producer = client.producer(ProducerConfig::new().retries(0)).unwrap();
    producer.send(ProducerRecord::to("t").partition(0).value(value)).unwrap().wait().map(drop)
}

#[test]
fn a_changed_setting_holds_at_once_and_after_a_death() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), &[]);
    let client = connect(daemon.address());
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    send(&client, &[7; 5000]).unwrap();
    alter(&client, topic(), set("max.message.bytes", "1000")).unwrap();
    assert!(send(&client, &[7; 5000]).is_err());
    signal(&daemon.pid().to_string(), "KILL");
    daemon = daemon.restart_after_death();
    let client = connect(daemon.address());
    assert_eq!(told(&client, topic(), "max.message.bytes"), ("1000".to_owned(), ConfigSource::Topic));
    assert!(send(&client, &[7; 5000]).is_err());
    alter(&client, topic(), delete("max.message.bytes")).unwrap();
    assert_eq!(told(&client, topic(), "max.message.bytes"), ("1048588".to_owned(), ConfigSource::Default));
    send(&client, &[7; 5000]).unwrap();
}

#[test]
fn what_holds_is_the_topics_then_the_brokers_then_all_brokers_then_the_configuration_then_the_default() {
    use ConfigSource::{AllBrokers, Broker, Configuration, Default, Topic};
    let rig = Rig::new(&[("topic.max.message.bytes", "5")]);
    let client = connect(rig.address());
    client.admin().create_topic(NewTopic::new("t", 1).setting("max.message.bytes", "2")).wait().unwrap();
    // Kafka's name and ours are one.
    alter(&client, ConfigResource::AllBrokers, set("message.max.bytes", "4")).unwrap();
    alter(&client, ConfigResource::Broker, set("topic.max.message.bytes", "3")).unwrap();
    let synonyms = || {
        let entry = entry(&client, topic(), "max.message.bytes");
        let values = entry.synonyms.into_iter().map(|one| (one.name, one.value, one.source));
        values.collect::<Vec<_>>()
    };
    let chain = [
        ("max.message.bytes", "2", Topic),
        ("message.max.bytes", "3", Broker),
        ("message.max.bytes", "4", AllBrokers),
        ("message.max.bytes", "5", Configuration),
        ("message.max.bytes", "1048588", Default),
    ];
    let chain = chain.map(|(name, value, source)| (name.to_owned(), value.to_owned(), source));
    assert_eq!(synonyms(), chain);
    for name in ["message.max.bytes", "topic.max.message.bytes"] {
        assert_eq!(told(&client, ConfigResource::Broker, name), ("3".to_owned(), Broker));
    }
    alter(&client, topic(), delete("max.message.bytes")).unwrap();
    assert_eq!(synonyms(), chain[1..]);
    alter(&client, ConfigResource::Broker, delete("message.max.bytes")).unwrap();
    assert_eq!(synonyms(), chain[2..]);
    alter(&client, ConfigResource::AllBrokers, delete("topic.max.message.bytes")).unwrap();
    assert_eq!(synonyms(), chain[3..]);
    assert_eq!(client.admin().describe_configs(ConfigResource::AllBrokers, None).wait().unwrap(), []);
}

#[test]
fn what_is_set_for_brokers_holds_for_topics_that_do_not_say_at_once_and_after_a_death() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), &[]);
    let client = connect(daemon.address());
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    alter(&client, ConfigResource::Broker, set("message.max.bytes", "1000")).unwrap();
    assert!(send(&client, &[7; 5000]).is_err());
    signal(&daemon.pid().to_string(), "KILL");
    daemon = daemon.restart_after_death();
    let client = connect(daemon.address());
    assert!(send(&client, &[7; 5000]).is_err());
    alter(&client, topic(), set("max.message.bytes", "9000")).unwrap();
    send(&client, &[7; 5000]).unwrap();
    alter(&client, topic(), delete("max.message.bytes")).unwrap();
    alter(&client, ConfigResource::Broker, delete("message.max.bytes")).unwrap();
    send(&client, &[7; 5000]).unwrap();
}

#[test]
fn lists_grow_and_shrink_and_a_replacement_leaves_nothing_else() {
    let rig = Rig::new(&[]);
    let client = connect(rig.address());
    client.admin().create_topic(NewTopic::new("t", 1).setting("retention.ms", "77")).wait().unwrap();
    let policy = || told(&client, topic(), "cleanup.policy");
    let append = |value: &str| ConfigChange::Append("cleanup.policy".to_owned(), value.to_owned());
    let subtract = |value: &str| ConfigChange::Subtract("cleanup.policy".to_owned(), value.to_owned());
    for (change, becomes) in [
        (append("compact"), "delete,compact"),
        (append("delete"), "delete,compact"),
        (subtract("delete"), "compact"),
        (subtract("delete"), "compact"),
        (append("delete, delete"), "compact,delete"),
        (subtract("compact,delete"), ""),
    ] {
        alter(&client, topic(), change.clone()).unwrap();
        assert_eq!(policy(), (becomes.to_owned(), ConfigSource::Topic), "{change:?}");
    }
    assert_eq!(told(&client, topic(), "retention.ms").0, "77");
    client.admin().replace_configs(topic(), [("segment.ms".to_owned(), " 5000 ".to_owned())]).wait().unwrap();
    assert_eq!(policy(), ("delete".to_owned(), ConfigSource::Default));
    assert_eq!(told(&client, topic(), "retention.ms"), ("604800000".to_owned(), ConfigSource::Default));
    assert_eq!(told(&client, topic(), "segment.ms"), ("5000".to_owned(), ConfigSource::Topic));
}

#[test]
fn mistakes_are_told_and_change_nothing() {
    let rig = Rig::new(&[]);
    let client = connect(rig.address());
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    use ErrorCode as Code;
    let nosuch = || ConfigResource::Topic("nosuch".to_owned());
    let append = |name: &str| ConfigChange::Append(name.to_owned(), "5".to_owned());
    for (of, change, code, text) in [
        (
            topic(),
            set("retention.ms", "soon"),
            Code::INVALID_CONFIG,
            "Invalid value soon for configuration retention.ms: Not a number of type LONG",
        ),
        (topic(), set("no.such", "5"), Code::INVALID_CONFIG, "Unknown topic config name: no.such"),
        (
            topic(),
            append("retention.ms"),
            Code::INVALID_CONFIG,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            topic(),
            set("max.compaction.lag.ms", "0"),
            Code::INVALID_CONFIG,
            "Invalid value 0 for configuration max.compaction.lag.ms: Value must be at least 1",
        ),
        (nosuch(), set("retention.ms", "5"), Code::UNKNOWN_TOPIC, "The topic 'nosuch' does not exist."),
        (
            ConfigResource::Broker,
            set("data.dir", "/x"),
            Code::INVALID_REQUEST,
            "Cannot update these configs dynamically: [data.dir]",
        ),
        (
            ConfigResource::Broker,
            set("log.dirs", "/x"),
            Code::INVALID_REQUEST,
            "Cannot update these configs dynamically: [log.dirs]",
        ),
        (
            ConfigResource::Broker,
            set("log.segment.bytes", "5"),
            Code::INVALID_REQUEST,
            "Invalid value 5 for configuration log.segment.bytes: Value must be at least 1048576",
        ),
        (
            ConfigResource::AllBrokers,
            set("no.such", "5"),
            Code::INVALID_CONFIG,
            "Unknown broker config name: no.such",
        ),
    ] {
        let both = [set("segment.ms", "5000"), change.clone()];
        let of_broker = [set("log.roll.ms", "5000"), change.clone()];
        let changes = if of == topic() || of == nosuch() { both } else { of_broker };
        let result = client.admin().alter_configs(of, changes).wait();
        assert_eq!(refused(result), (code, text.to_owned()), "{change:?}");
        assert_eq!(told(&client, topic(), "segment.ms").1, ConfigSource::Default, "all or none: {change:?}");
    }
    let twice = [set("retention.ms", "5"), delete("retention.ms")];
    assert_eq!(refused(client.admin().alter_configs(topic(), twice).wait()).0, Code::INVALID_REQUEST);
    client.admin().validate_configs(topic(), [set("retention.ms", "5")]).wait().unwrap();
    assert!(client.admin().validate_configs(topic(), [set("retention.ms", "x")]).wait().is_err());
    assert_eq!(told(&client, topic(), "retention.ms").1, ConfigSource::Default);
    // What is not there is not set either.
    alter(&client, topic(), delete("no.such")).unwrap();
}

#[test]
fn settings_that_do_nothing_are_kept_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let client = connect(daemon.address());
    let new = NewTopic::new("t", 1).setting("min.insync.replicas", "2").setting("cleanup.policy", "compact");
    client.admin().create_topic(new).wait().unwrap();
    let replicas = entry(&client, topic(), "min.insync.replicas");
    assert_eq!(replicas.value.as_deref(), Some("2"));
    assert!(replicas.does_nothing.unwrap().contains("one node"));
    assert_eq!(entry(&client, topic(), "retention.ms").does_nothing, None);
    for _ in 0..2 {
        alter(&client, topic(), set("segment.ms", "5000")).unwrap();
    }
    until("the log says so", || daemon.said().contains("min.insync.replicas = 2 is kept and does nothing"));
    let ratio = entry(&client, topic(), "min.cleanable.dirty.ratio");
    assert_eq!((ratio.value.as_deref(), ratio.does_nothing), (Some("0.5"), None));
    assert!(!daemon.said().contains("cleanup.policy"), "{}", daemon.said());
}

#[test]
fn every_setting_of_topics_is_told_with_what_it_is_for() {
    let rig = Rig::new(&[]);
    let client = connect(rig.address());
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    let entries = client.admin().describe_configs(topic(), None).wait().unwrap();
    assert_eq!(entries.len(), 39, "Kafka's 37, durability and flush.bytes");
    for entry in &entries {
        assert!(entry.value.is_some() && !entry.doc.is_empty() && !entry.is_read_only, "{entry:?}");
        assert_eq!(entry.source, ConfigSource::Default, "{entry:?}");
    }
    // As Kafka tells it where nothing is set: hours count, under another name.
    assert_eq!(entry(&client, topic(), "retention.ms").synonyms, []);
    let broker = client.admin().describe_configs(ConfigResource::Broker, None).wait().unwrap();
    let find = |name: &str| broker.iter().find(|entry| entry.name == name).unwrap();
    assert_eq!(find("log.retention.ms").value, None);
    assert_eq!(find("log.retention.hours").value.as_deref(), Some("168"));
    assert_eq!(find("topic.retention.ms").value.as_deref(), Some("604800000"));
    assert!(find("data.dir").is_read_only && !find("log.segment.bytes").is_read_only);
    for name in ["data.dir", "log.dirs", "listeners"] {
        assert_eq!(find(name).source, ConfigSource::Configuration, "{name}");
    }
    assert_eq!(find("node.id").source, ConfigSource::Default);
    let mut names: Vec<&str> = broker.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "no name twice");
}

#[test]
fn durability_changes_while_records_are_on_their_way_and_their_order_stays() {
    let rig = Rig::new(&[("loop.threads", "2")]);
    let client = connect(rig.address());
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    let producer = connect(rig.address()).producer(ProducerConfig::new().acks(Acks::All)).unwrap();
    let mut sent = Vec::new();
    for round in 0..40 {
        let durability = ["os", "fsync", "interval", "fsync"][round % 4];
        let change = client.admin().alter_configs(topic(), [set("durability", durability)]);
        for number in 0..100 {
            let value = format!("{}", round * 100 + number);
            sent.push(producer.send(ProducerRecord::to("t").partition(0).value(value.as_bytes())).unwrap());
        }
        change.wait().unwrap();
    }
    for (number, delivery) in sent.into_iter().enumerate() {
        assert_eq!(delivery.wait().unwrap().offset.unwrap().get(), number as i64);
    }
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(TopicPartition::new("t", 0), Position::Earliest)]);
    let mut next = 0;
    while next < 4000 {
        let records = consumer.poll(Duration::from_secs(20)).unwrap().expect("all of them come");
        for record in &records {
            assert_eq!(record.value.unwrap(), next.to_string().as_bytes());
            next += 1;
        }
    }
    // The last word was fsync.
    until("all is flushed", || {
        let described = client.admin().describe_topic("t").wait().unwrap();
        described.partitions[0].durable.get() == 4000
    });
}

#[test]
fn retention_and_the_size_of_segments_change_under_a_topic_with_records() {
    let rig = Rig::new(&[("maintenance.interval.ms", "20")]);
    let client = connect(rig.address());
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    let partition = || client.admin().describe_topic("t").wait().unwrap().partitions.swap_remove(0);
    let fill = || (0..10).for_each(|_| send(&client, &[7; 3000]).unwrap());
    fill();
    assert_eq!(partition().segments, 1);
    alter(&client, topic(), set("internal.segment.bytes", "5000")).unwrap();
    fill();
    assert_eq!(partition().segments, 11);
    alter(&client, topic(), set("retention.bytes", "10000")).unwrap();
    until("old segments go", || partition().log_start.get() >= 16);
    alter(&client, topic(), set("retention.bytes", "-1")).unwrap();
    alter(&client, topic(), set("retention.ms", "1")).unwrap();
    until("all records go", || partition().log_start.get() == 20);
}

#[test]
fn a_topic_grows_and_stays_so_after_a_death() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), &[]);
    let client = connect(daemon.address());
    let admin = client.admin();
    let id = admin.create_topic(NewTopic::new("t", 1)).wait().unwrap();
    send(&client, b"before").unwrap();
    admin.validate_partitions("t", 3).wait().unwrap();
    assert_eq!(admin.describe_topic("t").wait().unwrap().partitions.len(), 1);
    admin.create_partitions("t", 3).wait().unwrap();
    let producer = client.producer(ProducerConfig::new()).unwrap();
    producer.send(ProducerRecord::to("t").partition(2).value(b"after")).unwrap().wait().unwrap();
    for (partitions, text) in [
        (3, "Topic already has 3 partition(s)."),
        (2, "The topic t currently has 3 partition(s); 2 would not be an increase."),
        (10_001, "10001 partitions; 1 to 10000 are possible"),
    ] {
        let result = admin.create_partitions("t", partitions).wait();
        assert_eq!(refused(result), (ErrorCode::INVALID_PARTITIONS, text.to_owned()));
    }
    assert_eq!(refused(admin.create_partitions("nosuch", 2).wait()).0, ErrorCode::UNKNOWN_TOPIC);
    signal(&daemon.pid().to_string(), "KILL");
    daemon = daemon.restart_after_death();
    let described = connect(daemon.address()).admin().describe_topic("t").wait().unwrap();
    assert_eq!(described.id, id, "a topic is the same for life");
    let ends: Vec<i64> = described.partitions.iter().map(|one| one.log_end.get()).collect();
    assert_eq!(ends, [1, 0, 1]);
}

#[test]
fn a_topic_that_cannot_grow_for_want_of_room_stays_as_it_is_and_grows_later() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let client = connect(daemon.address());
    let admin = client.admin();
    admin.create_topic(NewTopic::new("t", 1)).wait().unwrap();
    // There is room for one more directory, and not for the next.
    let strace = Strace::attach(daemon.pid(), "inject=mkdir,mkdirat:error=ENOSPC:when=2+");
    assert_eq!(refused(admin.create_partitions("t", 4).wait()).0, ErrorCode::STORAGE_FULL);
    drop(strace);
    assert_eq!(admin.describe_topic("t").wait().unwrap().partitions.len(), 1);
    send(&client, b"x").unwrap();
    admin.create_partitions("t", 3).wait().unwrap();
    let producer = client.producer(ProducerConfig::new()).unwrap();
    producer.send(ProducerRecord::to("t").partition(2).value(b"x")).unwrap().wait().unwrap();
    drop((producer, client));
    assert_eq!(daemon.stop().code(), Some(0));
    let daemon = Daemon::on(dir.path(), &[]);
    assert!(daemon.said().contains("3 partitions"), "{}", daemon.said());
    assert!(daemon.said().contains(" 0 offline"), "{}", daemon.said());
}

#[test]
fn names_that_look_alike_in_metrics_are_refused() {
    let rig = Rig::new(&[("num.partitions", "4")]);
    let admin = connect(rig.address()).admin();
    for name in ["a.b", "c_d.e"] {
        admin.create_topic(NewTopic::new(name, 0)).wait().unwrap();
    }
    assert_eq!(admin.describe_topic("a.b").wait().unwrap().partitions.len(), 4, "as the broker thinks right");
    let create = |name: &str| refused(admin.create_topic(NewTopic::new(name, 1)).wait().map(drop));
    for (name, code, text) in [
        ("a_b", ErrorCode::INVALID_TOPIC_NAME, "Topic 'a_b' collides with existing topic: a.b"),
        ("c.d_e", ErrorCode::INVALID_TOPIC_NAME, "Topic 'c.d_e' collides with existing topic: c_d.e"),
        ("a.b", ErrorCode::TOPIC_EXISTS, "Topic 'a.b' already exists."),
        ("..", ErrorCode::INVALID_TOPIC_NAME, "Topic name is invalid: '..' is not allowed"),
    ] {
        assert_eq!(create(name), (code, text.to_owned()));
    }
}
