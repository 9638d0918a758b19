//! Produces beside the compaction of another topic.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_broker::{Broker, Config};
use folio_client::{
    Client, ClientConfig, ConfigChange, ConfigResource, NewTopic, ProducerConfig, ProducerRecord,
};
use folio_tests::native::batch;
use folio_wire::native::produce::{Acks, ProduceAnswerV1, ProduceEntryV1, ProduceRequestV1};
use folio_wire::native::{ErrorCode, Head, encode_frame};

use crate::connection::Connection;
use crate::{Extent, Outcome, Times, tell};

const HOT: &str = "hot";
const KEYED: &str = "keyed";
const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 200;
const SEGMENT_BYTES: u64 = 4 << 20;
/// Between two produces: the broker is not to be busy with them alone.
const PAUSE: Duration = Duration::from_micros(200);
const NEVER: &str = "9223372036854775807";

pub(crate) fn measure(path: &Path, extent: Extent) -> Outcome<()> {
    let mut config = Config::new(path.join("compaction"));
    config.listen = vec!["127.0.0.1:0".parse()?];
    config.maintenance_interval = Duration::from_millis(100);
    let broker = Broker::start(config)?;
    let address = broker.local_addrs()[0];
    let client = Client::connect(ClientConfig::new(&address.to_string()))?;
    client.admin().create_topic(NewTopic::new(HOT, 1).setting("durability", "os")).wait()?;
    let keyed = NewTopic::new(KEYED, 1)
        .setting("durability", "os")
        .setting("cleanup.policy", "compact")
        .setting("segment.bytes", SEGMENT_BYTES.to_string())
        .setting("min.cleanable.dirty.ratio", "0")
        .setting("min.compaction.lag.ms", NEVER);
    client.admin().create_topic(keyed).wait()?;
    let mut connection = Connection::open(address)?;
    let request = request()?;
    let (mut alone, mut beside) = (Times::default(), Times::default());
    let before = counters(&client)?;
    for _ in 0..extent.rounds {
        // As much as is read and written in a round at the rate that compaction keeps to.
        fill(&client, extent.round.as_secs() * (32 << 20) + SEGMENT_BYTES * 2)?;
        alone.extend(produce(&mut connection, &request, extent.round)?);
        lag(&client, "0")?;
        beside.extend(produce(&mut connection, &request, extent.round)?);
        lag(&client, NEVER)?;
    }
    let [read, written] = counters(&client)?;
    tell("a produce of 1 KiB, beside the compaction of another topic:", &alone, &beside);
    let [read, written] = [read - before[0], written - before[1]].map(|bytes| bytes / 1_000_000);
    let seconds = extent.round.as_secs_f64() * extent.rounds as f64;
    println!("  compaction read {read} MB and wrote {written} MB in {seconds:.0} s");
    drop(client);
    broker.shutdown();
    println!("{:?}", broker.wait());
    Ok(())
}

fn lag(client: &Client, ms: &str) -> Outcome<()> {
    let change = ConfigChange::Set("min.compaction.lag.ms".to_owned(), ms.to_owned());
    client.admin().alter_configs(ConfigResource::Topic(KEYED.to_owned()), [change]).wait()?;
    Ok(())
}

/// Bytes that compaction has read and written so far.
fn counters(client: &Client) -> Outcome<[u64; 2]> {
    let counters = client.admin().status(true).wait()?.counters;
    let value = |name| counters.iter().find(|(found, _)| found == name).map(|(_, value)| *value);
    let both = value("compaction.bytes.read").zip(value("compaction.bytes.written"));
    both.map(|(read, written)| [read, written]).ok_or_else(|| "status has no such counters".into())
}

/// Overwrites keys at random, so many bytes.
fn fill(client: &Client, bytes: u64) -> Outcome<()> {
    let producer = client.producer(ProducerConfig::new())?;
    let (value, mut random) = ([b'x'; VALUE_BYTES], 1_u64);
    for _ in 0..bytes / VALUE_BYTES as u64 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let key = (random % KEYS).to_be_bytes();
        drop(producer.send(ProducerRecord::to(KEYED).partition(0).key(&key).value(&value))?);
    }
    producer.flush().wait()?;
    producer.close()?;
    Ok(())
}

fn produce(connection: &mut Connection, request: &[u8], round: Duration) -> Outcome<Vec<Duration>> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < round {
        let began = Instant::now();
        let answer: ProduceAnswerV1 = connection.exchange(request)?.header()?;
        times.push(began.elapsed());
        if answer.error != ErrorCode::NONE || answer.entries.iter().any(|one| one.error != ErrorCode::NONE) {
            return Err(format!("refused: {answer:?}").into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}

fn request() -> Outcome<Vec<u8>> {
    let batch = batch(&[b'x'; 1024]);
    let entry = ProduceEntryV1 { topic: HOT, partition: 0, record_bytes: u32::try_from(batch.len())? };
    let request = ProduceRequestV1 { acks: Acks::All, timeout_ms: 30_000, entries: vec![entry] };
    let mut frame = BytesMut::new();
    encode_frame(&mut frame, Head::request::<ProduceRequestV1<'_>>(1), &request, batch.len())?;
    frame.extend_from_slice(&batch);
    Ok(frame.into())
}
