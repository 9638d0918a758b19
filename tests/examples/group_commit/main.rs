//! What group commit costs and brings, in one run.
//!
//! ```text
//! cargo run --release -p folio-tests --example group_commit [-- [small] [records] [batches] [flush] [DIRECTORY]]
//! ```
//! * `records`: 1 to 256 producers, each a connection with one record of 1 KiB in flight, acks=all, on topics with
//!   `durability = fsync`; beside a bare loop of the same shape (the same sockets and clients; a thread that reads, and
//!   one that writes what has come together with one `pwritev`, calls `fdatasync`, and hands it back to those who
//!   wait), and beside `durability = os`.
//! * `batches`: 64 producers with five batches of 16 KiB in flight each, in bytes; beside the lesser of
//!   `durability = os` and a loop of nothing but `pwritev` and `fdatasync` with groups of the same size.
//! * `flush`: 64 producers over 1 and 8 partitions, beside a loop that flushes each record by itself.
//!
//! Rounds of all take turns, and each is compared with those of its own turn: a disk that others use too is not the
//! same from one second to the next. Without a part all are run; `small` makes a few short rounds. DIRECTORY is where
//! the data goes: a place on the disk in question, not a tmpfs.

mod clients;
mod floor;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::BytesMut;
use folio_broker::{Broker, Config};
use folio_client::{Client, ClientConfig, NewTopic};
use folio_tests::benchmark::{Words, median};
use folio_tests::native::batch;
use folio_wire::native::produce::{Acks, ProduceEntryV1, ProduceRequestV1};
use folio_wire::native::{Head, encode_frame};

use clients::Load;

type Outcome<T> = Result<T, Box<dyn Error>>;

const KIB: usize = 1024;
const FRAME_SIZE_MAX: u32 = 64 << 20;

/// A broker, and what is measured beside it.
struct Bench {
    dir: PathBuf,
    address: SocketAddr,
    client: Client,
    rounds: usize,
    round: Duration,
}

fn main() -> Outcome<()> {
    let mut words = Words::given();
    let is_small = words.has("small");
    let [records, batches, flush] = words.parts(["records", "batches", "flush"]);
    let dir = words.new_directory()?;
    let mut config = Config::new(dir.path().join("data"));
    config.listen = vec!["127.0.0.1:0".parse()?];
    let broker = Broker::start(config)?;
    let address = broker.local_addrs()[0];
    let bench = Bench {
        dir: dir.path().to_owned(),
        address,
        client: Client::connect(ClientConfig::new(&address.to_string()))?,
        rounds: if is_small { 3 } else { 7 },
        round: Duration::from_millis(if is_small { 200 } else { 500 }),
    };
    if records {
        for producers in [1, 4, 16, 64, 256] {
            bench.records(producers)?;
        }
    }
    if batches {
        bench.batches()?;
    }
    if flush {
        for partitions in [1, 8] {
            bench.flush_each(partitions)?;
        }
    }
    drop(bench);
    broker.shutdown();
    println!("{:?}", broker.wait());
    Ok(())
}

impl Bench {
    fn records(&self, producers: usize) -> Outcome<()> {
        let load = Load { producers, window: 1, round: self.round };
        let batch = batch(&[b'x'; KIB]);
        let [fsync, paged] = ["fsync", "os"].map(|durability| format!("{durability}-{producers}"));
        self.create(&fsync, "fsync", 1)?;
        self.create(&paged, "os", 1)?;
        let [frames, os_frames] = [&fsync, &paged].map(|topic| frames(topic, 1, producers, &batch));
        let (frames, os_frames) = (frames?, os_frames?);
        let mut all = Figures::default();
        for _ in 0..self.rounds {
            let (ours, group) = self.grouped(|| clients::run(self.address, &frames, &load))?;
            let bare = floor::same_shape(&self.dir.join("floor"), &frames, &batch, &load)?;
            let os = clients::run(self.address, &os_frames, &load)?;
            all.push([ours, bare, os, group, ours / bare, ours / os]);
        }
        let [ours, bare, os, group, of_bare, of_os] = all.medians();
        println!(
            "{producers} producers, 1 KiB, one in flight: {ours:.0} records/s acknowledged, {group:.1} a flush; a bare loop of \
             the same shape: {bare:.0}: {:.0} % of it (goal 70 %); durability = os: {os:.0}: {:.0} % of it",
            of_bare * 100.0,
            of_os * 100.0
        );
        self.client.admin().delete_topic(&fsync).wait()?;
        self.client.admin().delete_topic(&paged).wait()?;
        Ok(())
    }

    fn batches(&self) -> Outcome<()> {
        let load = Load { producers: 64, window: 5, round: self.round };
        let batch = batch(&[b'x'; 16 * KIB]);
        let mut all = Figures::default();
        for round in 0..self.rounds {
            let rates = ["fsync", "os"].map(|durability| -> Outcome<_> {
                let topic = format!("batches-{durability}-{round}");
                self.create(&topic, durability, 1)?;
                let frames = frames(&topic, 1, load.producers, &batch)?;
                let rate = self.grouped(|| clients::run(self.address, &frames, &load))?;
                self.client.admin().delete_topic(&topic).wait()?;
                Ok(rate)
            });
            let [fsync, os] = rates;
            let ((ours, group), (os, _)) = (fsync?, os?);
            let bare = floor::grouped(&self.dir.join("floor"), &batch, group.max(1.0) as usize, self.round)?;
            let mb = |rate: f64| rate * batch.len() as f64 / 1e6;
            all.push([mb(ours), mb(bare), mb(os), group, ours / bare.min(os)]);
        }
        let [ours, bare, os, group, of_lesser] = all.medians();
        println!(
            "{} producers, 16 KiB, five in flight: {ours:.0} MB/s acknowledged, {group:.1} batches a flush; bare groups of the \
             same size: {bare:.0} MB/s, durability = os: {os:.0} MB/s: {:.0} % of the lesser (goal 90 %)",
            load.producers,
            of_lesser * 100.0
        );
        Ok(())
    }

    fn flush_each(&self, partitions: u32) -> Outcome<()> {
        let load = Load { producers: 64, window: 1, round: self.round };
        let batch = batch(&[b'x'; KIB]);
        let topic = format!("flush-{partitions}");
        self.create(&topic, "fsync", partitions)?;
        let frames = frames(&topic, partitions, load.producers, &batch)?;
        let mut all = Figures::default();
        for _ in 0..self.rounds {
            let single = floor::one_flush_per_record(&self.dir.join("floor"), &batch, self.round)?;
            let (ours, group) = self.grouped(|| clients::run(self.address, &frames, &load))?;
            all.push([ours, single, group, ours / single]);
        }
        let [ours, single, group, times] = all.medians();
        println!(
            "{} producers, {partitions} partitions: {ours:.0} records/s acknowledged, {group:.1} a flush; one flush per record: \
             {single:.0} records/s: {times:.1}x",
            load.producers
        );
        self.client.admin().delete_topic(&topic).wait()?;
        Ok(())
    }

    fn create(&self, topic: &str, durability: &str, partitions: u32) -> Outcome<()> {
        let new = NewTopic::new(topic, partitions).setting("durability", durability);
        self.client.admin().create_topic(new).wait()?;
        Ok(())
    }

    /// What `run` measures, and how many records each flush made durable meanwhile.
    fn grouped(&self, run: impl FnOnce() -> Outcome<f64>) -> Outcome<(f64, f64)> {
        let before = self.flushes()?;
        let rate = run()?;
        let after = self.flushes()?;
        Ok((rate, (after.1 - before.1) as f64 / (after.0 - before.0).max(1) as f64))
    }

    /// Flush rounds so far, and records that they made durable.
    fn flushes(&self) -> Outcome<(u64, u64)> {
        let counters = self.client.admin().status(true).wait()?.counters;
        let value = |name| counters.iter().find(|(found, _)| found == name).map(|(_, value)| *value);
        value("flushes").zip(value("records.flushed")).ok_or_else(|| "status has no such counters".into())
    }
}

/// Rounds of figures that belong together.
struct Figures<const N: usize>(Vec<[f64; N]>);

impl<const N: usize> Default for Figures<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<const N: usize> Figures<N> {
    fn push(&mut self, round: [f64; N]) {
        self.0.push(round);
    }

    fn medians(&self) -> [f64; N] {
        std::array::from_fn(|at| median(self.0.iter().map(|round| round[at]).collect()))
    }
}

/// For each producer the frame that it sends again and again: a batch to one of the partitions.
fn frames(topic: &str, partitions: u32, producers: usize, batch: &[u8]) -> Outcome<Vec<Vec<u8>>> {
    let numbers = (0..partitions).cycle().take(producers);
    numbers.map(|partition| frame(topic, partition, batch)).collect()
}

fn frame(topic: &str, partition: u32, batch: &[u8]) -> Outcome<Vec<u8>> {
    let entry = ProduceEntryV1 { topic, partition, record_bytes: u32::try_from(batch.len())? };
    let request = ProduceRequestV1 { acks: Acks::All, timeout_ms: 30_000, entries: vec![entry] };
    let mut frame = BytesMut::new();
    encode_frame(&mut frame, Head::request::<ProduceRequestV1<'_>>(1), &request, batch.len())?;
    frame.extend_from_slice(batch);
    Ok(frame.into())
}
