//! A disk that hangs: whoever needs it waits, and nobody else does.

use std::time::{Duration, Instant};

use folio_client::{
    Acks, Client, ClientConfig, ConfigChange, ConfigResource, ConsumerConfig, Delivery, NewTopic, Position,
    Producer, ProducerConfig, ProducerRecord, TopicPartition,
};
use folio_tests::daemon::Daemon;
use folio_tests::kafka::KafkaPeer;
use folio_tests::strace::Strace;
use folio_wire::kafka::api_versions::ApiVersionsRequest;
use folio_wire::kafka::describe_cluster::DescribeClusterRequest;
use folio_wire::kafka::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use folio_wire::kafka::describe_groups::DescribeGroupsRequest;
use folio_wire::kafka::describe_log_dirs::DescribeLogDirsRequest;
use folio_wire::kafka::describe_quorum::{DescribeQuorumRequest, RequestPartition, RequestTopic};
use folio_wire::kafka::describe_topic_partitions::{DescribeTopicPartitionsRequest, TopicRequest};
use folio_wire::kafka::find_coordinator::FindCoordinatorRequest;
use folio_wire::kafka::list_config_resources::ListConfigResourcesRequest;
use folio_wire::kafka::list_groups::ListGroupsRequest;
use folio_wire::kafka::list_partition_reassignments::ListPartitionReassignmentsRequest;

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

/// A loop that waited for a lock that somebody holds through a sync would make no call that tells of it.
#[test]
fn while_a_change_of_the_metadata_is_synced_whoever_only_asks_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "loop.threads=1"]);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    let mut peer = KafkaPeer::connect(daemon.address());
    ask_everything(&mut peer);

    let admin = daemon.thread("folio-admin");
    let hang = format!("inject=fdatasync,fsync:delay_enter={}", HANGS.as_micros());
    let strace = Strace::watch(admin, false, &[hang], &dir.path().join("trace"));
    let begun = Instant::now();
    let change = ConfigChange::Set("retention.ms".to_owned(), "1000000000".to_owned());
    let (rounds, longest, changed_after) = std::thread::scope(|scope| {
        let changing = scope
            .spawn(|| client.admin().alter_configs(ConfigResource::Topic("t".to_owned()), [change]).wait());
        let (mut rounds, mut longest) = (0, (Duration::ZERO, ""));
        while !changing.is_finished() {
            longest = longest.max(ask_everything(&mut peer));
            rounds += 1;
        }
        changing.join().unwrap().unwrap();
        (rounds, longest, begun.elapsed())
    });
    drop(strace);
    println!("{rounds} rounds of questions in {changed_after:?}, the longest wait: {longest:?}");
    assert!(changed_after >= HANGS, "nothing hung: {changed_after:?}");
    assert!(rounds >= ANSWERS && longest.0 < HANGS * 3 / 4, "{rounds} rounds, {longest:?}");
    assert_eq!(daemon.stop().code(), Some(0));
}

/// Everything that changes nothing; the longest that one of them took, and which.
#[expect(clippy::needless_update, reason = "some requests have no other fields")]
fn ask_everything(peer: &mut KafkaPeer) -> (Duration, &'static str) {
    let configs = DescribeConfigsResource {
        resource_type: 2,
        resource_name: "t",
        ..DescribeConfigsResource::default()
    };
    let quorum =
        RequestTopic { topic_name: "__cluster_metadata", partitions: vec![RequestPartition::default()] };
    let partitions = TopicRequest { name: "t" };
    let mut longest = (Duration::ZERO, "");
    macro_rules! ask {
        ($version:literal, $request:ident { $($field:ident: $value:expr),* }) => {
            let begun = Instant::now();
            peer.call($version, &$request { $($field: $value,)* ..$request::default() });
            longest = longest.max((begun.elapsed(), stringify!($request)));
        };
    }
    let begun = Instant::now();
    peer.metadata("t");
    longest = longest.max((begun.elapsed(), "MetadataRequest"));
    ask!(3, ApiVersionsRequest { client_software_name: "a", client_software_version: "1" });
    ask!(1, DescribeClusterRequest { endpoint_type: 1 });
    ask!(4, DescribeConfigsRequest { resources: vec![configs.clone()] });
    ask!(5, DescribeGroupsRequest { groups: vec!["g"] });
    ask!(4, DescribeLogDirsRequest { topics: None });
    ask!(2, DescribeQuorumRequest { topics: vec![quorum.clone()] });
    ask!(
        0,
        DescribeTopicPartitionsRequest { topics: vec![partitions.clone()], response_partition_limit: 10 }
    );
    ask!(4, FindCoordinatorRequest { coordinator_keys: vec!["g"] });
    ask!(1, ListConfigResourcesRequest { resource_types: vec![2] });
    ask!(5, ListGroupsRequest { states_filter: Vec::new() });
    ask!(0, ListPartitionReassignmentsRequest { topics: None });
    longest
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
