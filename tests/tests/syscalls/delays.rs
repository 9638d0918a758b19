//! A disk that hangs: whoever needs it waits, and nobody else does.

use std::time::{Duration, Instant};

use folio_client::{
    Acks, Client, ClientConfig, ConsumerConfig, Delivery, NewTopic, Position, Producer, ProducerConfig,
    ProducerRecord, TopicPartition,
};
use folio_tests::daemon::Daemon;
use folio_tests::strace::Strace;

/// So long does a call take.
const HANGS: Duration = Duration::from_secs(4);

/// So many answers of each kind have to come meanwhile.
const ANSWERS: usize = 5;

#[test]
fn while_a_sync_hangs_it_is_waited_for_and_metadata_hot_reads_and_os_topics_go_on() {
    let (pending, answers) = while_hung("fdatasync,fsync,syncfs", true);
    assert!(pending >= HANGS, "acks=all was answered after {pending:?}, before the sync was over");
    assert!(answers >= ANSWERS, "{answers} answers in {pending:?}");
}

#[test]
fn while_a_write_of_a_lane_hangs_metadata_and_hot_reads_go_on() {
    let (pending, answers) = while_hung("pwrite64,pwritev,pwritev2", false);
    assert!(pending >= HANGS, "acks=all was answered after {pending:?}, before the write was over");
    assert!(answers >= ANSWERS, "{answers} answers in {pending:?}");
}

/// How long a record waits for its acknowledgement on an fsync topic while these calls hang, and how often all else was
/// answered meanwhile.
fn while_hung(calls: &str, appends: bool) -> (Duration, usize) {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "loop.threads=1"]);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    for durability in ["fsync", "os"] {
        let topic = NewTopic::new(durability, 1).setting("durability", durability);
        client.admin().create_topic(topic).wait().unwrap();
    }
    let (all, leader) = (producer(&client, Acks::All), producer(&client, Acks::Leader));
    send(&all, "fsync").wait().unwrap();
    send(&leader, "os").wait().unwrap();
    let mut consumer = client.consumer(ConsumerConfig::new().streaming(false)).unwrap();
    let place = TopicPartition::new("fsync", 0);

    let strace = Strace::attach(daemon.pid(), &format!("inject={calls}:delay_enter={}", HANGS.as_micros()));
    let begun = Instant::now();
    let pending = send(&all, "fsync");
    let (mut answers, mut ended) = (0, None);
    while ended.is_none() {
        client.admin().metadata(None).wait().unwrap();
        consumer.assign([(place.clone(), Position::Earliest)]);
        let records = consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
        let is_early = records.len() > 1 && begun.elapsed() < HANGS;
        assert!(!is_early, "what is not flushed is seen");
        if appends {
            send(&leader, "os").wait().unwrap();
        }
        ended = pending.get().map(|_| begun.elapsed());
        answers += usize::from(ended.is_none());
    }
    pending.wait().unwrap();
    drop(strace);
    assert_eq!(daemon.stop().code(), Some(0));
    (ended.unwrap_or_default(), answers)
}

fn producer(client: &Client, acks: Acks) -> Producer {
    client.producer(ProducerConfig::new().acks(acks)).unwrap()
}

fn send(producer: &Producer, topic: &str) -> Delivery {
    producer.send(ProducerRecord::to(topic).partition(0).value("x")).unwrap()
}
