//! What group commit brings, in one run: `cargo run --release -p folio-tests --example group_commit [DIRECTORY]`.
//!
//! 64 producers, each a connection with one record of 1 KiB in flight, acks=all, on topics with `durability = fsync`;
//! beside a loop that writes one such batch and flushes it (`pwrite`, `fdatasync`) before the next one, on the same file
//! system. Rounds of both take turns. DIRECTORY is where the data goes: a place on the disk in question, not a tmpfs.

use std::error::Error;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use folio_broker::{Broker, Config};
use folio_client::{Client, ClientConfig, NewTopic};
use folio_record::{BatchBuilder, Compression, NewRecord, Timestamp};
use folio_wire::native::preface::PREFACE_SIZE;
use folio_wire::native::produce::{Acks, ProduceAnswerV1, ProduceEntryV1, ProduceRequestV1};
use folio_wire::native::{ErrorCode, Head, Preface, decode_frame, encode_frame};
use mio::{Events, Interest, Poll, Token};

type Outcome<T> = Result<T, Box<dyn Error>>;

const PRODUCERS: usize = 64;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(1);
const FRAME_SIZE_MAX: u32 = 64 << 20;
const FLOOR_FILE_SIZE: u64 = 256 << 20;

fn main() -> Outcome<()> {
    let parent = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let dir = tempfile::tempdir_in(parent)?;
    let mut config = Config::new(dir.path().join("data"));
    config.listen = vec!["127.0.0.1:0".parse()?];
    let broker = Broker::start(config)?;
    let address = broker.local_addrs()[0];
    let client = Client::connect(ClientConfig::new(&address.to_string()))?;

    for partitions in [1, 8] {
        let topic = format!("group-commit-{partitions}");
        let new = NewTopic::new(&topic, partitions).setting("durability", "fsync");
        client.admin().create_topic(new).wait()?;
        let (mut ours, mut floors, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floors.push(one_flush_per_record(&dir.path().join("floor"))?);
            let before = flushes(&client)?;
            ours.push(group_commit(address, &topic, partitions)?);
            let after = flushes(&client)?;
            groups.push((after.1 - before.1) as f64 / (after.0 - before.0).max(1) as f64);
        }
        // A disk that others use too is not the same from one second to the next: each pair is compared by itself.
        let times = median(ours.iter().zip(&floors).map(|(ours, floor)| ours / floor).collect());
        let [ours, floor, group] = [ours, floors, groups].map(median);
        println!(
            "{PRODUCERS} producers, {partitions} partitions: {ours:.0} records/s acknowledged, {group:.1} records a \
             flush; one flush per record: {floor:.0} records/s: {times:.1}x"
        );
    }
    drop(client);
    broker.shutdown();
    println!("{:?}", broker.wait());
    Ok(())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Flush rounds so far, and records that they made durable.
fn flushes(client: &Client) -> Outcome<(u64, u64)> {
    let counters = client.admin().status(true).wait()?.counters;
    let value = |name| counters.iter().find(|(found, _)| found == name).map(|(_, value)| *value);
    value("flushes").zip(value("records.flushed")).ok_or_else(|| "status has no such counters".into())
}

/// Acknowledged records per second.
fn group_commit(address: SocketAddr, topic: &str, partitions: u32) -> Outcome<f64> {
    let mut poll = Poll::new()?;
    let mut producers = Vec::new();
    for number in 0..PRODUCERS {
        let frame = produce_frame(topic, number as u32 % partitions)?;
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(&Preface::ours(FRAME_SIZE_MAX).encode())?;
        stream.read_exact(&mut [0; PREFACE_SIZE])?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
        producers.push(Producer { stream, frame, answer: Vec::new() });
    }
    let begun = Instant::now();
    for producer in &mut producers {
        producer.send()?;
    }
    let (mut events, mut acknowledged, mut in_flight) = (Events::with_capacity(PRODUCERS), 0_u64, PRODUCERS);
    while in_flight > 0 {
        poll.poll(&mut events, Some(Duration::from_secs(30)))?;
        if events.is_empty() {
            return Err("no answer for 30 s".into());
        }
        for event in &events {
            let producer = &mut producers[event.token().0];
            if producer.is_answered()? {
                acknowledged += 1;
                if begun.elapsed() < ROUND {
                    producer.send()?;
                } else {
                    in_flight -= 1;
                }
            }
        }
    }
    Ok(acknowledged as f64 / begun.elapsed().as_secs_f64())
}

/// One connection with at most one record in flight.
struct Producer {
    stream: mio::net::TcpStream,
    frame: Vec<u8>,
    answer: Vec<u8>,
}

impl Producer {
    fn send(&mut self) -> Outcome<()> {
        // It fits into an empty socket buffer.
        Ok(self.stream.write_all(&self.frame)?)
    }

    /// Reads what is there; whether that completes an answer, which has to be a good one.
    fn is_answered(&mut self) -> Outcome<bool> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the connection was closed".into()),
                Ok(got) => self.answer.extend_from_slice(&buffer[..got]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let Some(frame) = decode_frame(&self.answer, FRAME_SIZE_MAX)? else { return Ok(false) };
        let answer: ProduceAnswerV1 = frame.header()?;
        let is_stored = answer.error == ErrorCode::NONE
            && answer.entries.iter().all(|entry| entry.error == ErrorCode::NONE);
        if !is_stored {
            return Err(format!("refused: {answer:?}").into());
        }
        self.answer.clear();
        Ok(true)
    }
}

/// A frame with one batch of one record.
fn produce_frame(topic: &str, partition: u32) -> Outcome<Vec<u8>> {
    let records = batch()?;
    let entry = ProduceEntryV1 { topic, partition, record_bytes: u32::try_from(records.len())? };
    let request = ProduceRequestV1 { acks: Acks::All, timeout_ms: 30_000, entries: vec![entry] };
    let mut frame = BytesMut::new();
    encode_frame(&mut frame, Head::request::<ProduceRequestV1<'_>>(1), &request, records.len())?;
    frame.extend_from_slice(&records);
    Ok(frame.into())
}

fn batch() -> Outcome<Vec<u8>> {
    let mut builder = BatchBuilder::new(Compression::None, 4096);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let timestamp = Timestamp::new(i64::try_from(now)?);
    builder.append(&NewRecord { timestamp, key: None, value: Some(&[b'x'; 1024]), headers: &[] })?;
    builder.build().ok_or_else(|| "an empty batch".into())
}

/// Batches per second when each is flushed by itself.
fn one_flush_per_record(path: &Path) -> Outcome<f64> {
    let _ = std::fs::remove_file(path);
    let file = File::create_new(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, FLOOR_FILE_SIZE)?;
    let batch = batch()?;
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < ROUND {
        file.write_all_at(&batch, count * batch.len() as u64)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
