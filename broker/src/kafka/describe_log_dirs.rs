//! DescribeLogDirs: the one data directory, and how large each partition in it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

use super::{KafkaResponder, KafkaService, Request};
use crate::engine::{Disk, Engine};
use crate::service::topics;
use crate::shard::Shard;
use crate::view::Topic;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<DescribeLogDirsRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let wanted: Option<BTreeMap<String, Vec<i32>>> = message
        .topics
        .map(|topics| topics.into_iter().map(|topic| (topic.topic.to_owned(), topic.partitions)).collect());
    let reply = reply.later();
    // The file system is asked, and may take its time.
    kafka.engine.readers.run(move |engine| {
        let topics = topics::list(engine);
        let told = topics.values().filter_map(|topic| told(topic, wanted.as_ref()));
        let results = vec![directory(engine, told.collect())];
        asked
            .respond_later(reply, &DescribeLogDirsResponse { results, ..DescribeLogDirsResponse::default() });
    });
}

fn directory(engine: &Engine, topics: Vec<DescribeLogDirsTopic<'static>>) -> DescribeLogDirsResult<'static> {
    let path = &engine.config.data_dir;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let space = engine.dir.free_space();
    DescribeLogDirsResult {
        error_code: if space.is_ok() { KafkaError::NONE } else { KafkaError::KAFKA_STORAGE_ERROR },
        log_dir: Cow::Owned(path.display().to_string()),
        topics,
        total_bytes: space.as_ref().map_or(-1, |space| bytes(space.total)),
        usable_bytes: space.as_ref().map_or(-1, |space| bytes(space.free)),
        ..DescribeLogDirsResult::default()
    }
}

/// The partitions of a topic that are asked for: of `None` all.
fn told(
    topic: &Arc<Topic<Disk>>,
    wanted: Option<&BTreeMap<String, Vec<i32>>>,
) -> Option<DescribeLogDirsTopic<'static>> {
    let wanted = match wanted {
        Some(wanted) => Some(wanted.get(&*topic.name)?),
        None => None,
    };
    let partitions = topic.online().filter_map(|partition| {
        let partition_index = i32::try_from(partition.number).ok()?;
        wanted.is_none_or(|wanted| wanted.contains(&partition_index)).then(|| DescribeLogDirsPartition {
            partition_index,
            partition_size: i64::try_from(partition.log.size()).unwrap_or(i64::MAX),
            ..DescribeLogDirsPartition::default()
        })
    });
    Some(DescribeLogDirsTopic { name: Cow::Owned(topic.name.to_string()), partitions: partitions.collect() })
}
