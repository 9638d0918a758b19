//! Prints everything in the topic `example`, and ends when nothing has come for a second.
//!
//! `cargo run -p folio-client --example consume` (broker at `FOLIO_BROKER`; run the example `produce` first)

use std::time::Duration;

use folio_client::{Client, ClientConfig, ConsumerConfig, Position, TopicPartition};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = std::env::var("FOLIO_BROKER").unwrap_or_else(|_| "127.0.0.1:9092".to_owned());
    let client = Client::connect(ClientConfig::new(&broker))?;
    let mut consumer = client.consumer(ConsumerConfig::new())?;
    consumer.assign((0..3).map(|partition| (TopicPartition::new("example", partition), Position::Earliest)));
    while let Some(records) = consumer.poll(Duration::from_secs(1))? {
        for record in &records {
            let value = String::from_utf8_lossy(record.value.unwrap_or_default());
            println!("{} {} {value}", records.topic_partition(), record.offset);
        }
    }
    Ok(())
}
