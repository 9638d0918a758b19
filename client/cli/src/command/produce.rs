//! `folio produce`: a line, a record.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use folio_client::{
    Client, Delivery, ErrorCode, Header, NewTopic, Producer, ProducerConfig, ProducerRecord, TopicDescription,
};

use super::connect;
use crate::arguments::ProduceOptions;
use crate::exit::Failure;
use crate::input::{Arrived, Input, Lines};
use crate::interrupt::Interrupt;
use crate::output::human_bytes;

pub(crate) fn run(broker: &str, options: &ProduceOptions) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let client = connect(broker)?;
    let topic = find_topic(&client, options)?;
    if let Some(partition) = options.partition
        && partition as usize >= topic.partitions.len()
    {
        let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        return Err(Failure::no_such_partition(&options.topic, partition, partitions));
    }
    let config = ProducerConfig::new()
        .acks(options.acks.into())
        .compression(options.compression.into())
        .linger(Duration::from_millis(5));
    let producer = client.producer(config)?;
    let headers: Vec<Header<'_>> = options
        .header
        .iter()
        .map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) })
        .collect();
    let mut sending = Sending {
        options,
        headers: &headers,
        producer,
        record_bytes_max: record_bytes_max(&topic, options),
        on_their_way: VecDeque::new(),
        lines: 0,
        bytes: 0,
        progress: Progress::new(),
    };
    let ended = sending.all(&Input::open(&options.files), &interrupt);
    sending.finish(ended)
}

fn find_topic(client: &Client, options: &ProduceOptions) -> Result<TopicDescription, Failure> {
    let admin = client.admin();
    match admin.describe_topic(&options.topic).wait() {
        Err(error) if options.create && error.code() == Some(ErrorCode::UNKNOWN_TOPIC) => {
            match admin.create_topic(NewTopic::new(&options.topic, 1)).wait() {
                Ok(_) => eprintln!("created topic {} with 1 partition", options.topic),
                // Somebody was faster.
                Err(error) if error.code() == Some(ErrorCode::TOPIC_EXISTS) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(admin.describe_topic(&options.topic).wait()?)
        }
        described => described.map_err(|error| Failure::from(error).about(&options.topic)),
    }
}

/// The largest record, without what surrounds it in a batch. Compression may make more of it fit; nobody knows before.
fn record_bytes_max(topic: &TopicDescription, options: &ProduceOptions) -> usize {
    let of_topic = topic.settings.iter().find(|setting| setting.key == "max.message.bytes");
    let batch = of_topic.and_then(|setting| setting.value.parse::<usize>().ok()).unwrap_or(usize::MAX);
    let headers: usize = options.header.iter().map(|(key, value)| key.len() + value.len() + 10).sum();
    batch.saturating_sub(BATCH_OVERHEAD + headers)
}

/// A batch's header, and at most so much for the lengths and deltas of its only record.
const BATCH_OVERHEAD: usize = folio_record::HEADER_SIZE + 35;

struct Sending<'a> {
    options: &'a ProduceOptions,
    headers: &'a [Header<'a>],
    producer: Producer,
    record_bytes_max: usize,
    /// With the numbers of their lines, oldest first.
    on_their_way: VecDeque<(u64, Delivery)>,
    lines: u64,
    bytes: u64,
    progress: Progress,
}

impl Sending<'_> {
    fn all(&mut self, input: &Input, interrupt: &Interrupt) -> Result<(), Failure> {
        let mut lines = Lines::default();
        loop {
            if interrupt.is_asked() {
                return Err(Failure::interrupted());
            }
            match input.next(LOOK).map_err(Failure::failed)? {
                Arrived::Block(block) => {
                    lines.block(&block, self.record_bytes_max, |line| self.line(line))?;
                }
                Arrived::Nothing => {}
                Arrived::End => return Ok(()),
            }
            self.settle(false)?;
            self.progress.show(self.lines, self.bytes);
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        let number = self.lines + 1;
        if line.len() > self.record_bytes_max {
            return Err(Failure::failed(format_args!(
                "line {number} is longer than the {} bytes that max.message.bytes of topic {} leaves for a record; \
                 the lines before it are stored",
                self.record_bytes_max, self.options.topic
            )));
        }
        let (key, value) = match &self.options.key_separator {
            Some(separator) => split(line, separator.as_bytes()),
            None => (None, line),
        };
        let record = ProducerRecord {
            partition: self.options.partition,
            key,
            value: Some(value),
            headers: self.headers,
            ..ProducerRecord::to(&self.options.topic)
        };
        let delivery = self.producer.send(record)?;
        self.on_their_way.push_back((number, delivery));
        self.lines = number;
        self.bytes += line.len() as u64 + 1;
        Ok(())
    }

    /// Forgets what has been delivered. Reports the first line that was not.
    fn settle(&mut self, wait: bool) -> Result<(), Failure> {
        while let Some((number, delivery)) = self.on_their_way.front() {
            let result = match delivery.get() {
                Some(result) => result,
                None if wait => match delivery.wait_for(LOOK) {
                    Some(result) => result,
                    None => continue,
                },
                None => return Ok(()),
            };
            if let Err(error) = result {
                let failure = Failure::from(error);
                return Err(failure.at(&format!("line {number}")));
            }
            self.on_their_way.pop_front();
        }
        Ok(())
    }

    /// Waits for what is on its way, also after a failure: what was accepted counts.
    fn finish(mut self, ended: Result<(), Failure>) -> Result<(), Failure> {
        drop(self.producer.flush());
        let settled = self.settle(true);
        self.progress.end();
        let undelivered = self.on_their_way.len() as u64;
        let took = self.progress.since.elapsed().as_secs_f64();
        eprintln!(
            "{} records, {} to {} in {took:.2} s ({}/s){}",
            self.lines - undelivered.min(self.lines),
            human_bytes(self.bytes),
            self.options.topic,
            human_bytes((self.bytes as f64 / took.max(1e-9)) as u64),
            if undelivered > 0 {
                format!("; {undelivered} are not known to be stored")
            } else {
                String::new()
            },
        );
        ended.and(settled)
    }
}

/// How often a waiting program looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(100);

/// The key before the first separator and the value behind it; no separator, no key.
fn split<'a>(line: &'a [u8], separator: &[u8]) -> (Option<&'a [u8]>, &'a [u8]) {
    if separator.is_empty() {
        return (None, line);
    }
    match line.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (Some(&line[..at]), &line[at + separator.len()..]),
        None => (None, line),
    }
}

/// One line on a terminal, renewed a few times a second.
struct Progress {
    since: Instant,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self { since: Instant::now(), shown: None, is_terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, records: u64, bytes: u64) {
        let is_due = self.shown.unwrap_or(self.since).elapsed() >= Duration::from_millis(250);
        if self.is_terminal && is_due {
            self.shown = Some(Instant::now());
            eprint!("\r{records} records, {}\x1b[K", human_bytes(bytes));
        }
    }

    fn end(&self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_its_first_separator() {
        let text = |line: &'static str, separator: &str| {
            let (key, value) = split(line.as_bytes(), separator.as_bytes());
            (key.map(<[u8]>::to_vec), value.to_vec())
        };
        assert_eq!(text("k:v:w", ":"), (Some(b"k".to_vec()), b"v:w".to_vec()));
        assert_eq!(text("k=>v", "=>"), (Some(b"k".to_vec()), b"v".to_vec()));
        assert_eq!(text(":v", ":"), (Some(Vec::new()), b"v".to_vec()));
        assert_eq!(text("plain", ":"), (None, b"plain".to_vec()));
        assert_eq!(text("plain", ""), (None, b"plain".to_vec()));
    }
}
