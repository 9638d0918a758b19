//! `folio bench`: what a broker does on this machine.

use std::time::{Duration, Instant};

use folio_client::{
    Acks, Client, ConsumerConfig, Delivery, NewTopic, Position, ProducerConfig, ProducerRecord,
    TopicPartition,
};
use hdrhistogram::Histogram;
use serde_json::json;

use super::connect;
use crate::arguments::{BenchCommand, BenchOptions, Output};
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::output::{print, print_json};

pub(crate) fn run(broker: &str, output: Output, command: &BenchCommand) -> Result<(), Failure> {
    let client = connect(broker)?;
    let (name, options, records) = match command {
        BenchCommand::Produce(options) => ("produce", options, RECORDS),
        BenchCommand::Consume(options) => ("consume", options, RECORDS),
        BenchCommand::Latency(options) => ("latency", options, LATENCY_RECORDS),
    };
    // From here on an interruption must not leave the topic behind.
    let interrupt = Interrupt::watch()?;
    let topic = format!("folio-bench-{}", std::process::id());
    let new = NewTopic::new(&topic, 1).setting("durability", &options.durability);
    client.admin().create_topic(new).wait()?;
    let bench = Bench {
        client: &client,
        topic: &topic,
        options,
        records: options.records.unwrap_or(records),
        value: value(options.size),
        interrupt: &interrupt,
    };
    let measured = match command {
        BenchCommand::Produce(_) => bench.produce(),
        BenchCommand::Consume(_) => bench.produce().and_then(|_| bench.consume()),
        BenchCommand::Latency(_) => bench.latency(),
    };
    let deleted = client.admin().delete_topic(&topic).wait();
    let measured = measured?;
    deleted?;
    measured.show(name, options, output)
}

struct Bench<'a> {
    client: &'a Client,
    topic: &'a str,
    options: &'a BenchOptions,
    records: u64,
    value: Vec<u8>,
    interrupt: &'a Interrupt,
}

impl Bench<'_> {
    fn produce(&self) -> Result<Measured, Failure> {
        let config = ProducerConfig::new()
            .acks(self.options.acks.into())
            .compression(self.options.compression)
            .idempotent(!self.options.no_idempotent)
            .batch_bytes(self.options.batch);
        let producer = self.client.producer(config)?;
        let meter = Meter::start(self.client)?;
        let mut latencies = histogram()?;
        let mut watched: Option<(Instant, Delivery)> = None;
        for number in 0..self.records {
            if number % 1024 == 0 {
                self.check()?;
            }
            let delivery = producer.send(self.record())?;
            // One record at a time is watched: what it waits for is what any other one then waits for.
            let known = watched.as_ref().and_then(|(_, first)| first.get());
            if let (Some(result), Some((since, _))) = (&known, &watched) {
                result.clone()?;
                record(&mut latencies, since.elapsed());
            }
            if watched.is_none() || known.is_some() {
                watched = Some((Instant::now(), delivery));
            }
        }
        producer.close()?;
        if let Some((since, last)) = watched {
            last.wait()?;
            record(&mut latencies, since.elapsed());
        }
        let measured = meter.stop(self.client, self.records, self.options.size, latencies)?;
        self.is_all_stored()?;
        Ok(measured)
    }

    /// Records that were refused cost nothing and would count as fast ones.
    fn is_all_stored(&self) -> Result<(), Failure> {
        if Acks::from(self.options.acks) == Acks::None {
            return Ok(()); // nobody promised anything
        }
        let described = self.client.admin().describe_topic(self.topic).wait()?;
        let stored: i64 = described.partitions.iter().map(|one| one.log_end.get()).sum();
        if u64::try_from(stored).unwrap_or(0) < self.records {
            return Err(Failure::failed(format_args!(
                "only {stored} of {} records were stored",
                self.records
            )));
        }
        Ok(())
    }

    fn record(&self) -> ProducerRecord<'_> {
        ProducerRecord::to(self.topic).partition(0).value(&self.value)
    }

    fn consume(&self) -> Result<Measured, Failure> {
        let mut consumer = self.client.consumer(ConsumerConfig::new())?;
        let meter = Meter::start(self.client)?;
        let mut latencies = histogram()?;
        consumer.assign([(TopicPartition::new(self.topic, 0), Position::Earliest)]);
        let mut count = 0;
        while count < self.records {
            self.check()?;
            let since = Instant::now();
            if let Some(records) = consumer.poll(Duration::from_millis(100))? {
                record(&mut latencies, since.elapsed());
                count += records.iter().count() as u64;
            }
        }
        meter.stop(self.client, count, self.options.size, latencies)
    }

    fn latency(&self) -> Result<Measured, Failure> {
        let config =
            ProducerConfig::new().acks(self.options.acks.into()).idempotent(!self.options.no_idempotent);
        let producer = self.client.producer(config)?;
        let meter = Meter::start(self.client)?;
        let mut latencies = histogram()?;
        for _ in 0..self.records {
            self.check()?;
            let since = Instant::now();
            producer.send(self.record())?.wait()?;
            record(&mut latencies, since.elapsed());
        }
        meter.stop(self.client, self.records, self.options.size, latencies)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.interrupt.is_asked() { Err(Failure::interrupted()) } else { Ok(()) }
    }
}

/// What takes longer counts as so long.
const LATENCY_NS_MAX: u64 = 600_000_000_000;
/// How many, if nothing else is said.
const RECORDS: u64 = 1_000_000;
/// One at a time, a million would take minutes on a slow disk.
const LATENCY_RECORDS: u64 = 10_000;

/// Letters without a pattern, so that compression has no easier work than with text.
fn value(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + (state >> 60) as u8
    };
    (0..size).map(letter).collect()
}

struct Meter {
    since: Instant,
    daemon: Option<Duration>,
    own: Duration,
}

struct Measured {
    records: u64,
    bytes: u64,
    took: Duration,
    /// CPU time of the daemon, when it runs on this machine.
    daemon: Option<Duration>,
    /// CPU time of this program.
    own: Duration,
    latencies: Histogram<u64>,
}

impl Meter {
    fn start(client: &Client) -> Result<Self, Failure> {
        Ok(Self { daemon: daemon_cpu(client)?, own: own_cpu(), since: Instant::now() })
    }

    fn stop(
        self,
        client: &Client,
        records: u64,
        size: usize,
        latencies: Histogram<u64>,
    ) -> Result<Measured, Failure> {
        let took = self.since.elapsed();
        let own = own_cpu().saturating_sub(self.own);
        let daemon = daemon_cpu(client)?.zip(self.daemon).map(|(after, before)| after.saturating_sub(before));
        Ok(Measured { records, bytes: records * size as u64, took, daemon, own, latencies })
    }
}

impl Measured {
    fn show(&self, name: &str, options: &BenchOptions, output: Output) -> Result<(), Failure> {
        let seconds = self.took.as_secs_f64().max(1e-9);
        let (per_second, mb) = (self.records as f64 / seconds, self.bytes as f64 / 1e6);
        let us = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        let per_gb = |cpu: Duration| cpu.as_secs_f64() / (mb / 1000.0).max(1e-9);
        let cpu_per_gb = self.daemon.map(per_gb);
        let per_core = self.records as f64 / self.own.as_secs_f64().max(1e-9);
        if output == Output::Json {
            return print_json(&json!({
                "bench": name,
                "records": self.records,
                "value_bytes": options.size,
                "durability": options.durability,
                "seconds": seconds,
                "records_per_second": per_second,
                "mb_per_second": mb / seconds,
                "latency_us": {
                    "p50": us(0.5), "p90": us(0.9), "p99": us(0.99), "p99.9": us(0.999), "max": us(1.0),
                },
                "daemon_cpu_seconds": self.daemon.map(|cpu| cpu.as_secs_f64()),
                "daemon_cpu_seconds_per_gb": cpu_per_gb,
                "client_cpu_seconds": self.own.as_secs_f64(),
                "client_records_per_core_second": per_core,
            }));
        }
        let cpu = cpu_per_gb.map_or_else(
            || "the daemon's CPU is not to be seen from here".to_owned(),
            |cpu| format!("{cpu:.2} s of the daemon's CPU per GB"),
        );
        print(&format!(
            "{name}: {} records of {} bytes, durability {}, in {seconds:.2} s\n\
             {per_second:.0} records/s, {:.1} MB/s, {cpu}\n\
             {per_core:.0} records per second of this program's CPU\n\
             latency p50 {:.0} us, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, most {:.0}\n",
            self.records,
            options.size,
            options.durability,
            mb / seconds,
            us(0.5),
            us(0.9),
            us(0.99),
            us(0.999),
            us(1.0)
        ))
    }
}

fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).map_err(Failure::failed)
}

/// In nanoseconds.
fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
}

/// CPU time of the daemon so far, if the process of that number on this machine is one.
fn daemon_cpu(client: &Client) -> Result<Option<Duration>, Failure> {
    let pid = client.admin().status(false).wait()?.pid;
    let is_daemon =
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "foliod");
    if !is_daemon {
        return Ok(None);
    }
    Ok(cpu_of(&pid.to_string()))
}

fn own_cpu() -> Duration {
    cpu_of("self").unwrap_or_default()
}

/// CPU time of the living threads of a process.
fn cpu_of(process: &str) -> Option<Duration> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let of_task = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Some(Duration::from_nanos(tasks.flatten().filter_map(of_task).sum()))
}
