//! Fetches of what is in memory beside another consumer's of what is not.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_broker::{Broker, Config};
use folio_client::{Client, ClientConfig, NewTopic, ProducerConfig, ProducerRecord};
use folio_wire::native::fetch::{FetchAnswerV1, FetchEntryV1, FetchRequestV1};
use folio_wire::native::{ErrorCode, Head, encode_frame};
use rustix::fs::Advice;

use crate::connection::Connection;
use crate::{Extent, Outcome, Times, tell};

const RECORD_BYTES: usize = 16 << 10;
const STEP_BYTES: u32 = 1 << 20;
const HOT: &str = "hot";
const COLD: &str = "cold";

pub(crate) fn measure(path: &Path, extent: Extent) -> Outcome<()> {
    let data = path.join("fetches");
    let mut config = Config::new(&data);
    config.listen = vec!["127.0.0.1:0".parse()?];
    let broker = Broker::start(config)?;
    let address = broker.local_addrs()[0];
    let client = Client::connect(ClientConfig::new(&address.to_string()))?;
    let cold_records = (extent.cold_bytes / RECORD_BYTES) as i64;
    for (topic, records) in [(HOT, 100), (COLD, cold_records)] {
        client.admin().create_topic(NewTopic::new(topic, 1).setting("durability", "os")).wait()?;
        fill(&client, topic, records)?;
    }
    let (mut alone, mut beside) = (Times::default(), Times::default());
    let scanned = AtomicU64::new(0);
    for _ in 0..extent.rounds {
        alone.extend(fetch_hot(address, extent.round)?);
        drop_cache(&data.join("topics").join(format!("{COLD}-0")))?;
        let is_over = AtomicBool::new(false);
        let times = std::thread::scope(|scope| {
            let scan = || scan(address, cold_records, &is_over, &scanned).map_err(|error| error.to_string());
            let scan = scope.spawn(scan);
            let times = fetch_hot(address, extent.round);
            is_over.store(true, Ordering::Relaxed);
            scan.join().map_err(|_| "the scan panicked")??;
            times
        })?;
        beside.extend(times);
    }
    tell("a fetch of what is in memory, beside a consumer that reads from the disk:", &alone, &beside);
    println!("  that one read {} MB cold", scanned.load(Ordering::Relaxed) / 1_000_000);
    drop(client);
    broker.shutdown();
    println!("{:?}", broker.wait());
    Ok(())
}

fn fill(client: &Client, topic: &str, records: i64) -> Outcome<()> {
    let producer = client.producer(ProducerConfig::new().batch_bytes(RECORD_BYTES))?;
    let value = vec![b'x'; RECORD_BYTES - 256];
    for _ in 0..records {
        drop(producer.send(ProducerRecord::to(topic).partition(0).value(&value))?);
    }
    producer.flush().wait()?;
    producer.close()?;
    Ok(())
}

/// Writes the logs of a partition back, and has the kernel forget them.
fn drop_cache(dir: &Path) -> Outcome<()> {
    for entry in std::fs::read_dir(dir)? {
        let file = std::fs::File::open(entry?.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Fetches the last record of the hot topic again and again; how long each took.
fn fetch_hot(address: SocketAddr, round: Duration) -> Outcome<Vec<Duration>> {
    let mut connection = Connection::open(address)?;
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < round {
        let began = Instant::now();
        fetch(&mut connection, HOT, 99, RECORD_BYTES as u32)?;
        times.push(began.elapsed());
    }
    Ok(times)
}

/// Reads the cold topic from its beginning, once, or until it is told to stop.
fn scan(address: SocketAddr, records: i64, is_over: &AtomicBool, scanned: &AtomicU64) -> Outcome<()> {
    let mut connection = Connection::open(address)?;
    let mut offset = 0;
    while offset < records && !is_over.load(Ordering::Relaxed) {
        let (bytes, batch_bytes) = fetch(&mut connection, COLD, offset, STEP_BYTES)?;
        scanned.fetch_add(bytes as u64, Ordering::Relaxed);
        // One record a batch, all of one size.
        offset += (bytes / batch_bytes) as i64;
    }
    Ok(())
}

/// Fetches once; how many bytes of records that brought, and how many the first batch has.
fn fetch(connection: &mut Connection, topic: &str, offset: i64, max_bytes: u32) -> Outcome<(usize, usize)> {
    let entry = FetchEntryV1 { topic, partition: 0, offset, max_bytes, leader_epoch: -1 };
    let request = FetchRequestV1 { max_wait_ms: 500, min_bytes: 1, max_bytes, entries: vec![entry] };
    let mut frame = BytesMut::new();
    encode_frame(&mut frame, Head::request::<FetchRequestV1<'_>>(1), &request, 0)?;
    let frame = connection.exchange(&frame)?;
    let answer: FetchAnswerV1 = frame.header()?;
    if answer.error != ErrorCode::NONE || answer.entries.iter().any(|one| one.error != ErrorCode::NONE) {
        return Err(format!("refused: {answer:?}").into());
    }
    let length = frame.records.get(8..12).and_then(|bytes| bytes.try_into().ok()).ok_or("no batch")?;
    Ok((frame.records.len(), 12 + u32::from_be_bytes(length) as usize))
}
