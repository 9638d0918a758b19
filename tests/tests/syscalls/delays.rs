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

/// A call would take so long, which is longer than anybody waits for an answer; it goes on when it is let go.
const HANGS: Duration = Duration::from_secs(120);
const LIMIT: Duration = Duration::from_secs(60);
/// What does not hang is over by then.
const WHILE: Duration = Duration::from_secs(1);

/// So many answers of each kind have to come meanwhile.
const ANSWERS: usize = 5;

#[test]
fn while_a_sync_hangs_it_is_waited_for_and_metadata_hot_reads_and_os_topics_go_on() {
    while_hung("fdatasync,fsync,syncfs", true);
}

#[test]
fn while_a_write_of_a_lane_hangs_metadata_and_hot_reads_go_on() {
    while_hung("pwrite64,pwritev,pwritev2", false);
}

/// A loop that waited for a lock that somebody holds through a sync would make no call that tells of it.
#[test]
fn while_a_change_of_the_metadata_is_synced_whoever_only_asks_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "loop.threads=1"]);
    let config = ClientConfig::new(daemon.address()).request_timeout(2 * HANGS);
    let client = Client::connect(config).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
    let mut peer = KafkaPeer::connect(daemon.address());
    ask_everything(&mut peer);

    let admin = daemon.thread("folio-admin");
    let hang = format!("inject=fdatasync,fsync:delay_enter={}", HANGS.as_micros());
    let strace = Strace::watch(admin, false, &[hang], &dir.path().join("trace"));
    let change = ConfigChange::Set("retention.ms".to_owned(), "1000000000".to_owned());
    let mut changing = client.admin().alter_configs(ConfigResource::Topic("t".to_owned()), [change]);
    let (begun, mut rounds) = (Instant::now(), 0);
    while rounds < ANSWERS || begun.elapsed() < WHILE {
        ask_everything(&mut peer);
        rounds += 1;
    }
    assert!(
        changing.wait_for(Duration::ZERO).is_none(),
        "it was changed after {:?}, and nothing hung",
        begun.elapsed()
    );
    drop(strace);
    changing.wait().unwrap();
    assert_eq!(daemon.stop().code(), Some(0));
}

/// Everything that changes nothing.
#[expect(clippy::needless_update, reason = "some requests have no other fields")]
fn ask_everything(peer: &mut KafkaPeer) {
    let configs = DescribeConfigsResource {
        resource_type: 2,
        resource_name: "t",
        ..DescribeConfigsResource::default()
    };
    let quorum =
        RequestTopic { topic_name: "__cluster_metadata", partitions: vec![RequestPartition::default()] };
    let partitions = TopicRequest { name: "t" };
    macro_rules! ask {
        ($version:literal, $request:ident { $($field:ident: $value:expr),* }) => {
            peer.call($version, &$request { $($field: $value,)* ..$request::default() });
        };
    }
    peer.metadata("t");
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
}

/// A record waits for its acknowledgement on an fsync topic while these calls hang, and all else is answered meanwhile.
fn while_hung(calls: &str, appends: bool) {
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
    let pending = send(&all, "fsync");
    let (begun, mut answers) = (Instant::now(), 0);
    while answers < ANSWERS || begun.elapsed() < WHILE {
        client.admin().metadata(None).wait().unwrap();
        consumer.assign([(place.clone(), Position::Earliest)]);
        let records = consumer.poll(LIMIT).unwrap().expect("a hot read is answered");
        assert_eq!(records.len(), 1, "what is not flushed is not seen");
        if appends {
            send(&leader, "os").wait().unwrap();
        }
        answers += 1;
    }
    assert!(pending.get().is_none(), "acks=all was answered after {:?}, though it hung", begun.elapsed());
    drop(strace);
    pending.wait().unwrap();
    assert_eq!(daemon.stop().code(), Some(0));
}

fn producer(client: &Client, acks: Acks) -> Producer {
    client.producer(ProducerConfig::new().acks(acks)).unwrap()
}

fn send(producer: &Producer, topic: &str) -> Delivery {
    producer.send(ProducerRecord::to(topic).partition(0).value("x")).unwrap()
}
