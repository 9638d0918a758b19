//! Carries out the commands of the suite with rskafka: `rskafka-driver HOST:PORT`.
//!
//! The client has no partitioner, no configuration requests and no acknowledgement but all; records stand in one
//! partition that the caller names.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

const LIMIT: Duration = Duration::from_secs(60);
const TIMEOUT_MS: i32 = 30_000;

fn main() -> Result<(), Failure> {
    let broker = std::env::args().nth(1).ok_or("rskafka-driver HOST:PORT")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let backoff = BackoffConfig { deadline: Some(LIMIT), ..BackoffConfig::default() };
    let client = runtime.block_on(ClientBuilder::new(vec![broker]).backoff_config(backoff).build())?;
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?) {
            Ok(command) => runtime.block_on(run(&client, &command)),
            Err(error) => Err(error.into()),
        };
        let answer =
            answer.unwrap_or_else(|error| json!({"error": error.to_string(), "code": code(&*error)}));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// Kafka's number of the error that the broker answered.
fn code(error: &(dyn std::error::Error + 'static)) -> Option<i16> {
    match error.downcast_ref() {
        Some(Error::ServerError { protocol_error, .. }) => {
            (-1..200).find(|&code| ProtocolError::new(code) == Some(*protocol_error))
        }
        _ => None,
    }
}

async fn run(client: &Client, command: &Value) -> Result<Value, Failure> {
    let topic = command["topic"].as_str().unwrap_or_default();
    match command["do"].as_str().unwrap_or_default() {
        "produce" => produce(client, topic, command).await,
        "consume" => {
            let partition = number(&command["p"])?;
            consume(&at(client, topic, partition).await?, partition, command).await
        }
        "offsets" => {
            let partition = at(client, topic, number(&command["p"])?).await?;
            let mut answer = json!({
                "earliest": partition.get_offset(OffsetAt::Earliest).await?,
                "latest": partition.get_offset(OffsetAt::Latest).await?,
            });
            if let Some(millis) = command["time"].as_i64() {
                answer["at"] = partition.get_offset(OffsetAt::Timestamp(time(millis)?)).await?.into();
            }
            Ok(answer)
        }
        "create" => {
            let controller = client.controller_client()?;
            controller.create_topic(topic, number(&command["partitions"])?, 1, TIMEOUT_MS).await?;
            Ok(json!({}))
        }
        "describe" => {
            let topics = client.list_topics().await?;
            let found = topics.iter().find(|found| found.name == topic).ok_or("no such topic")?;
            Ok(json!({"partitions": found.partitions.len()}))
        }
        "topics" => {
            let topics = client.list_topics().await?;
            Ok(json!({"topics": topics.iter().map(|topic| &topic.name).collect::<Vec<_>>()}))
        }
        "truncate" => {
            let partition = at(client, topic, number(&command["p"])?).await?;
            partition.delete_records(number(&command["before"])?, TIMEOUT_MS).await?;
            Ok(json!({"low": partition.get_offset(OffsetAt::Earliest).await?}))
        }
        "delete" => {
            client.controller_client()?.delete_topic(topic, TIMEOUT_MS).await?;
            Ok(json!({}))
        }
        unknown => Err(format!("no such command: {unknown}").into()),
    }
}

async fn at(client: &Client, topic: &str, partition: i32) -> Result<PartitionClient, Failure> {
    Ok(client.partition_client(topic, partition, UnknownTopicHandling::Retry).await?)
}

async fn produce(client: &Client, topic: &str, command: &Value) -> Result<Value, Failure> {
    let compression = match command["codec"].as_str() {
        None | Some("none") => Compression::NoCompression,
        Some("gzip") => Compression::Gzip,
        Some("snappy") => Compression::Snappy,
        Some("lz4") => Compression::Lz4,
        Some("zstd") => Compression::Zstd,
        Some(unknown) => return Err(format!("no such codec: {unknown}").into()),
    };
    let mut partitions: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    for record in command["records"].as_array().into_iter().flatten() {
        partitions.entry(number(&record["p"])?).or_default().push(to_write(record)?);
    }
    let mut offsets = Vec::new();
    for (number, records) in partitions {
        let given = at(client, topic, number).await?.produce(records, compression).await?;
        offsets.extend(given.into_iter().map(|offset| json!([number, offset])));
    }
    Ok(json!({"offsets": offsets}))
}

async fn consume(partition: &PartitionClient, number: i32, command: &Value) -> Result<Value, Failure> {
    let wanted = command["n"].as_u64().ok_or("n says how many")?;
    let mut next = match &command["from"] {
        Value::String(_) => partition.get_offset(OffsetAt::Earliest).await?,
        Value::Object(from) => {
            let millis = from["time"].as_i64().ok_or("a time is in milliseconds")?;
            partition.get_offset(OffsetAt::Timestamp(time(millis)?)).await?
        }
        offset => offset.as_i64().ok_or("an offset is a number")?,
    };
    let limit = command["limit_ms"].as_u64().map_or(LIMIT, Duration::from_millis);
    let deadline = Instant::now() + limit;
    let mut records = Vec::new();
    while (records.len() as u64) < wanted && Instant::now() < deadline {
        let (found, _) = partition.fetch_records(next, 1..8 << 20, 200).await?;
        for read in found {
            next = read.offset + 1;
            if records.len() as u64 == wanted {
                break;
            }
            let headers: Vec<_> = read
                .record
                .headers
                .iter()
                .map(|(name, value)| json!([name, STANDARD.encode(value)]))
                .collect();
            records.push(json!({
                "p": number,
                "o": read.offset,
                "t": read.record.timestamp.timestamp_millis(),
                "k": read.record.key.as_ref().map(|key| STANDARD.encode(key)),
                "v": read.record.value.as_ref().map(|value| STANDARD.encode(value)),
                "h": headers,
            }));
        }
    }
    Ok(json!({"records": records}))
}

fn to_write(record: &Value) -> Result<Record, Failure> {
    let mut headers = BTreeMap::new();
    for header in record["h"].as_array().into_iter().flatten() {
        let name = header[0].as_str().ok_or("a header has a name")?;
        headers.insert(name.to_owned(), bytes(&header[1])?.ok_or("a header cannot be null")?);
    }
    let timestamp = record["t"].as_i64().map_or_else(|| Ok(Utc::now()), time)?;
    Ok(Record { key: bytes(&record["k"])?, value: bytes(&record["v"])?, headers, timestamp })
}

fn bytes(text: &Value) -> Result<Option<Vec<u8>>, Failure> {
    Ok(text.as_str().map(|text| STANDARD.decode(text)).transpose()?)
}

fn time(millis: i64) -> Result<DateTime<Utc>, Failure> {
    Ok(DateTime::from_timestamp_millis(millis).ok_or("no such time")?)
}

fn number<T: TryFrom<i64>>(value: &Value) -> Result<T, Failure> {
    value
        .as_i64()
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| format!("no such number: {value}").into())
}
