//! Every configuration key is connected: a test sees what it does.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::Duration;

use folio_broker::config::keys;
use folio_client::{
    Client, ClientConfig, DeliveryError, ErrorCode, NewTopic, PartitionDescription, ProducerConfig,
    ProducerRecord,
};
use folio_tests::native::Peer;
use folio_tests::rig::Rig;

/// A test for each key of a room, and the list of the keys that have one.
macro_rules! effects {
    ($($key:literal $name:ident)*) => {
        pub(super) const OBSERVED: &[&str] = &[$($key),*];

        mod each {
            $(
                #[test]
                fn $name() {
                    super::$name();
                }
            )*
        }
    };
}

mod batches;
mod compaction;
mod connections;
mod flushes;
mod groups;
mod node;
mod segments;

const OBSERVED: &[&[&str]] = &[
    batches::OBSERVED,
    compaction::OBSERVED,
    connections::OBSERVED,
    flushes::OBSERVED,
    groups::OBSERVED,
    node::OBSERVED,
    segments::OBSERVED,
];

const LIMIT: Duration = Duration::from_secs(60);
/// What would come at once has come by then.
const WHILE: Duration = Duration::from_millis(300);

#[test]
fn every_key_has_a_test_that_sees_its_effect() {
    let mut observed: Vec<String> = OBSERVED.concat().iter().map(|&key| key.to_owned()).collect();
    let mut known: Vec<String> = keys::names().collect();
    observed.sort();
    known.sort();
    assert_eq!(observed, known);
}

/// A broker in this process with some keys set, and a client of it.
struct Served {
    rig: Rig,
    client: Client,
}

impl Served {
    fn new(settings: &[(&str, &str)]) -> Self {
        let rig = Rig::new(settings);
        let client = Client::connect(ClientConfig::new(rig.address())).unwrap();
        Self { rig, client }
    }

    /// With a topic `t` of one partition.
    fn with_topic(settings: &[(&str, &str)]) -> Self {
        let served = Self::new(settings);
        served.client.admin().create_topic(NewTopic::new("t", 1)).wait().unwrap();
        served
    }

    fn peer(&self) -> Peer {
        self.rig.peer()
    }

    fn send(&self, value: &[u8]) -> Result<(), DeliveryError> {
        self.send_with(ProducerConfig::new(), ProducerRecord::to("t").partition(0).value(value))
    }

    fn send_with(&self, config: ProducerConfig, record: ProducerRecord<'_>) -> Result<(), DeliveryError> {
        let producer = self.client.producer(config.retries(0)).unwrap();
        producer.send(record).unwrap().wait().map(drop)
    }

    fn partition(&self) -> PartitionDescription {
        self.client.admin().describe_topic("t").wait().unwrap().partitions.swap_remove(0)
    }

    fn counter(&self, name: &str) -> u64 {
        let status = self.client.admin().status(true).wait().unwrap();
        status.counters.into_iter().find(|(known, _)| known == name).unwrap().1
    }
}

fn code(refused: Result<(), DeliveryError>) -> ErrorCode {
    match refused.unwrap_err() {
        DeliveryError::Refused { refusal, .. } => refusal.code,
        error => panic!("{error}"),
    }
}
