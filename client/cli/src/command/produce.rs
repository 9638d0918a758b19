//! `folio produce`: a line, a record.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use folio_client::{
    Admin, Delivery, ErrorCode, Header, NewTopic, Producer, ProducerConfig, ProducerRecord, SendError,
    TopicDescription,
};
use serde_json::json;

use super::connect;
use crate::arguments::{Output, ProduceOptions};
use crate::exit::Failure;
use crate::input::{Arrived, Input, Lines};
use crate::interrupt::Interrupt;
use crate::output::{human_bytes, human_records, print_json, say};
use crate::progress::Progress;

pub(crate) fn run(broker: &str, output: Output, options: &ProduceOptions) -> Result<(), Failure> {
    let client = connect(broker)?;
    let topic = find_topic(&client.admin(), options)?;
    let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    if let Some(partition) = options.partition.filter(|partition| *partition >= partitions) {
        return Err(Failure::no_such_partition(&options.topic, partition, partitions));
    }
    let batch_bytes_max = batch_bytes_max(&topic);
    let config = ProducerConfig::new()
        .acks(options.acks.into())
        .compression(options.compression)
        .idempotent(!options.no_idempotent)
        .linger(Duration::from_millis(5))
        .batch_bytes(BATCH_BYTES.min(batch_bytes_max))
        .batch_bytes_max(batch_bytes_max)
        .buffer_bytes(BUFFER_BYTES.max(2 * batch_bytes_max));
    let producer = client.producer(config)?;
    producer.partition_count(&options.topic)?;
    let headers: Vec<Header<'_>> = options
        .header
        .iter()
        .map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) })
        .collect();
    // From here on an interruption must not lose what is on its way.
    let interrupt = Interrupt::watch()?;
    let mut sending = Sending {
        options,
        headers: &headers,
        interrupt: &interrupt,
        producer,
        record_bytes_max: record_bytes_max(batch_bytes_max, options),
        files: Vec::new(),
        lines: 0,
        on_their_way: VecDeque::new(),
        stored: Amount::default(),
        not_stored: None,
        progress: Progress::new(options.files.is_empty()),
    };
    let ended = sending.all(&Input::open(&options.files));
    sending.finish(ended, output)
}

/// Bytes of a batch, if the topic takes so large ones.
const BATCH_BYTES: usize = 64 << 10;
/// Bytes of a batch with one large record in it, if the topic takes even larger ones: a request must fit into a frame.
const BATCH_BYTES_MAX: usize = 64 << 20;
/// Bytes of records on their way.
const BUFFER_BYTES: usize = 32 << 20;

fn find_topic(admin: &Admin, options: &ProduceOptions) -> Result<TopicDescription, Failure> {
    match admin.describe_topic(&options.topic).wait() {
        Err(error) if options.create && error.code() == Some(ErrorCode::UNKNOWN_TOPIC) => {
            let partitions = options.partition.map_or(1, |last| last.saturating_add(1));
            match admin.create_topic(NewTopic::new(&options.topic, partitions)).wait() {
                Ok(_) => say(format_args!("created topic {}, partitions: {partitions}", options.topic)),
                // Somebody was faster.
                Err(error) if error.code() == Some(ErrorCode::TOPIC_EXISTS) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(admin.describe_topic(&options.topic).wait()?)
        }
        described => described.map_err(|error| Failure::from(error).about(&options.topic)),
    }
}

fn batch_bytes_max(topic: &TopicDescription) -> usize {
    let of_topic = topic.settings.iter().find(|setting| setting.key == "max.message.bytes");
    of_topic.and_then(|setting| setting.value.parse().ok()).unwrap_or(BATCH_BYTES_MAX).min(BATCH_BYTES_MAX)
}

/// The largest record, without what surrounds it in a batch. Compression may make more of it fit; nobody knows before.
fn record_bytes_max(batch_bytes_max: usize, options: &ProduceOptions) -> usize {
    let headers: usize = options.header.iter().map(|(key, value)| key.len() + value.len() + 10).sum();
    batch_bytes_max.saturating_sub(BATCH_OVERHEAD + headers)
}

/// A batch's header, and at most so much for the lengths and deltas of its only record.
const BATCH_OVERHEAD: usize = folio_record::HEADER_SIZE + 35;

struct Sending<'a> {
    options: &'a ProduceOptions,
    headers: &'a [Header<'a>],
    interrupt: &'a Interrupt,
    producer: Producer,
    record_bytes_max: usize,
    /// Each file that was begun, with the lines before it.
    files: Vec<(u64, PathBuf)>,
    /// Lines that were accepted, of all files.
    lines: u64,
    /// Oldest first.
    on_their_way: VecDeque<Line>,
    stored: Amount,
    /// The first line that is known not to be stored.
    not_stored: Option<Failure>,
    progress: Progress,
}

struct Line {
    number: u64,
    bytes: usize,
    delivery: Delivery,
}

#[derive(Default)]
struct Amount {
    records: u64,
    bytes: u64,
}

impl Sending<'_> {
    fn all(&mut self, input: &Input) -> Result<(), Failure> {
        let mut lines = Lines::default();
        loop {
            match input.next(LOOK).map_err(Failure::failed)? {
                Arrived::File(path) => self.files.push((self.lines, path)),
                Arrived::Block(block) => {
                    lines.block(&block, self.record_bytes_max, |line| self.line(line))?;
                }
                Arrived::Nothing => {}
                Arrived::End => return Ok(()),
            }
            self.settle();
            self.may_go_on()?;
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        let number = self.lines + 1;
        if line.len() > self.record_bytes_max {
            let text = format!(
                "longer than the {} bytes that max.message.bytes of topic {} leaves for a record; \
                 it and what follows it were not sent",
                self.record_bytes_max, self.options.topic
            );
            return Err(Failure::failed(text).at(&self.place(number)));
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
        let delivery = loop {
            match self.producer.try_send(record) {
                // The broker is slower than the input, or away.
                Err(SendError::BufferFull { .. }) => {
                    self.wait_a_moment();
                    self.may_go_on()?;
                }
                sent => break sent.map_err(|error| Failure::from(error).at(&self.place(number)))?,
            }
        };
        self.on_their_way.push_back(Line { number, bytes: line.len(), delivery });
        self.lines = number;
        Ok(())
    }

    /// Where a line stands, for people.
    fn place(&self, number: u64) -> String {
        match self.files.iter().rfind(|(before, _)| *before < number) {
            Some((before, path)) => format!("{}, line {}", path.display(), number - before),
            None => format!("line {number}"),
        }
    }

    /// Whether more is to be sent.
    fn may_go_on(&mut self) -> Result<(), Failure> {
        self.show();
        if self.interrupt.is_asked() {
            return Err(Failure::interrupted());
        }
        self.not_stored.take().map_or(Ok(()), Err)
    }

    fn show(&mut self) {
        let Amount { records, bytes } = self.stored;
        let producer = &self.producer;
        self.progress.show(records, bytes, self.on_their_way.len(), || producer.trouble());
    }

    /// Takes note of everything that is known about the oldest lines.
    fn settle(&mut self) {
        while let Some(result) = self.on_their_way.front().and_then(|line| line.delivery.get()) {
            self.note(result.map_err(Failure::from));
        }
    }

    /// Waits for the oldest line, but not for long.
    fn wait_a_moment(&mut self) {
        if let Some(result) = self.on_their_way.front().and_then(|line| line.delivery.wait_for(LOOK)) {
            self.note(result.map_err(Failure::from));
            self.settle();
        }
    }

    /// What became of the oldest line.
    fn note(&mut self, result: Result<folio_client::Delivered, Failure>) {
        self.progress.moved();
        let Some(line) = self.on_their_way.pop_front() else { return };
        match result {
            Ok(_) => {
                self.stored.records += 1;
                self.stored.bytes += line.bytes as u64;
            }
            Err(failure) if self.not_stored.is_none() => {
                self.not_stored = Some(failure.at(&self.place(line.number)));
            }
            Err(_) => {}
        }
    }

    /// Waits for what is on its way, also after a failure: what was accepted counts.
    fn finish(mut self, mut ended: Result<(), Failure>, output: Output) -> Result<(), Failure> {
        drop(self.producer.flush());
        // When all is well, every line is delivered or given up in its time. Who has to stop does not wait for that.
        let mut stop = ended.is_err().then(|| Instant::now() + LAST_WAIT);
        while !self.on_their_way.is_empty() && stop.is_none_or(|stop| Instant::now() < stop) {
            self.wait_a_moment();
            if stop.is_none() {
                self.show();
            }
            if ended.is_ok() && self.interrupt.is_asked() {
                ended = Err(Failure::interrupted());
                stop = Some(Instant::now() + LAST_WAIT);
            }
        }
        self.summary(output)?;
        match (ended, self.not_stored) {
            // It stands before whatever else went wrong.
            (Err(failure), Some(earlier)) if !failure.is_interruption() => Err(earlier),
            (ended @ Err(_), _) => ended,
            (Ok(()), not_stored) => not_stored.map_or(Ok(()), Err),
        }
    }

    fn summary(&self, output: Output) -> Result<(), Failure> {
        self.progress.end();
        let Amount { records, bytes } = self.stored;
        let unknown = self.lines - records;
        let took = self.progress.since().as_secs_f64();
        if output == Output::Json {
            return print_json(&json!({
                "topic": self.options.topic,
                "records": records,
                "bytes": bytes,
                "seconds": took,
                "records_not_known_to_be_stored": unknown,
            }));
        }
        let unknown =
            if unknown > 0 { format!("; {unknown} are not known to be stored") } else { String::new() };
        say(format_args!(
            "{}, {} to {} in {took:.2} s ({}/s){unknown}",
            human_records(records),
            human_bytes(bytes),
            self.options.topic,
            human_bytes((bytes as f64 / took.max(1e-9)) as u64),
        ));
        Ok(())
    }
}

/// How often a waiting program looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(100);
/// How long a program that has to stop waits for what is on its way.
const LAST_WAIT: Duration = Duration::from_secs(5);

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
