//! How much of an `os` topic a power cut takes: what was not flushed yet, which `writeback.max.bytes` bounds.

use folio_client::{Acks, NewTopic, OffsetSpec, ProducerConfig, ProducerRecord, TopicPartition};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::disk::image::{FileSystem, Xfs};

use crate::load::connect_patiently;
use crate::machine::Machine;

/// Bytes that force a flush, where they are bounded.
const WRITEBACK_MAX: usize = 256 << 10;
/// Beyond twice that producers are not read any more: the request that went beyond is the last.
pub(crate) const LOST_MAX: usize = 2 * WRITEBACK_MAX + BATCH_BYTES;

const BATCH_BYTES: usize = 4 << 10;
const RECORD_SIZE: usize = 1024;
/// Four times as many as may be lost, and some.
const RECORDS: [usize; 3] = [2500, 3100, 4000];

/// The most bytes of acknowledged records that one of a few cuts takes, if so many bytes may wait to be flushed.
pub(crate) fn lost(file_system: FileSystem, is_bounded: bool) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = Machine::with_shutdown(file_system, dir.path(), Xfs::shut_down);
    let max = if is_bounded { WRITEBACK_MAX } else { 1 << 30 };
    let arguments = [format!("writeback.max.bytes={max}"), "disk.min.free=1000000".to_owned()];
    let start =
        |machine: &Machine| Daemon::on(machine.path(), &["--set", &arguments[0], "--set", &arguments[1]]);
    let mut most = 0;
    for (number, records) in RECORDS.into_iter().enumerate() {
        let (topic, mut daemon) = (format!("os-{number}"), start(&machine));
        acknowledge(&daemon, &topic, records);
        machine.cut();
        signal(&daemon.pid().to_string(), "KILL");
        daemon.wait();
        machine.restore(number as u64);
        let daemon = start(&machine);
        let place = TopicPartition::new(topic.as_str(), 0);
        let client = connect_patiently(daemon.address());
        let listed = client.admin().list_offsets([(place, OffsetSpec::Latest)]).wait().unwrap();
        let end = listed[0].clone().unwrap().unwrap().offset.get();
        let lost = (records - end as usize) * RECORD_SIZE;
        println!(
            "{}, bounded: {is_bounded}: {lost} of {} bytes lost",
            file_system.name,
            records * RECORD_SIZE
        );
        most = most.max(lost);
        daemon.stop();
    }
    most
}

/// So many records are acknowledged.
fn acknowledge(daemon: &Daemon, topic: &str, records: usize) {
    let client = connect_patiently(daemon.address());
    client.admin().create_topic(NewTopic::new(topic, 1).setting("durability", "os")).wait().unwrap();
    // A batch a request, or one would be as large as what waits while the disk is slow; and more of them under way
    // than may be lost, so that whatever is taken in is.
    let config = ProducerConfig::new().acks(Acks::Leader).batch_bytes(BATCH_BYTES).request_bytes(BATCH_BYTES);
    let config = config.requests_in_flight_max(2 * LOST_MAX / BATCH_BYTES);
    let producer = client.producer(config).unwrap();
    let value = vec![b'x'; RECORD_SIZE];
    let under_way: Vec<_> = (0..records)
        .map(|_| producer.send(ProducerRecord::to(topic).partition(0).value(&value)).unwrap())
        .collect();
    for delivery in under_way {
        delivery.wait().unwrap();
    }
}
