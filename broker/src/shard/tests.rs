//! Claims about what a loop is told of.

use arc_swap::ArcSwap;
use folio_storage::LogOptions;
use folio_storage::data_dir::NewTopic;
use uuid::Uuid;

use super::*;
use crate::Config;
use crate::broker::idle_engine;
use crate::config::TopicSettings;
use crate::engine::now;

/// A loop beside which nothing runs, and a partition.
fn alone(data: &std::path::Path) -> (Shard, Arc<Partition<Disk>>) {
    let engine = Arc::new(idle_engine(Config::new(data.to_owned())));
    let topic =
        NewTopic { name: "t".to_owned(), uuid: Uuid::from_u128(1), partitions: 1, settings: Vec::new() };
    let log = engine.dir.create_topic(topic, &LogOptions::default(), now()).unwrap().remove(0);
    let settings = Arc::new(ArcSwap::from_pointee(TopicSettings::default()));
    (Shard::new(0, engine), Arc::new(Partition::new("t".into(), 0, log, settings, 1)))
}

#[test]
fn a_loop_is_told_of_a_partition_as_long_as_something_of_its_own_is_in_the_lane() {
    let dir = tempfile::tempdir().unwrap();
    let (mut shard, partition) = alone(&dir.path().join("data"));
    let is_told = || partition.has_waiter(Waiter::Loop(0));
    let advanced = || LoopMessage::Advanced(vec![Arc::clone(&partition)]);
    let placed =
        |has_moved| LoopMessage::Placed { partition: Arc::clone(&partition), placed: Vec::new(), has_moved };
    partition.register_waiter(shard.waiter());
    (0..2).for_each(|_| shard.send_to_lane(Arc::clone(&partition), Vec::new()));
    // Somebody else's records were flushed, and the loop's own are not placed yet.
    shard.message(advanced());
    assert!(is_told(), "two of its jobs are there");
    shard.message(placed(true));
    assert!(is_told(), "one is there");
    shard.message(placed(false));
    assert!(is_told(), "nobody has looked since");
    shard.message(advanced());
    assert!(!is_told(), "it waits for nothing");
}
