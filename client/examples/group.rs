//! Reads the topic `example` as a member of the group `examples`, and ends when nothing has come for five seconds. Run
//! it twice at the same time: each prints its share. Run it again: it goes on behind what was printed.
//!
//! `cargo run -p folio-client --example group` (broker at `FOLIO_BROKER`; run the example `produce` first)

use std::time::Duration;

use folio_client::{
    Client, ClientConfig, Consumer, ConsumerConfig, GroupConfig, RebalanceListener, TopicPartition,
};

struct Report;

impl RebalanceListener for Report {
    fn assigned(&mut self, consumer: &mut Consumer, partitions: &[TopicPartition]) {
        println!("{} partitions more, {} in all", partitions.len(), consumer.assignment().len());
    }

    fn revoked(&mut self, _: &mut Consumer, partitions: &[TopicPartition]) {
        println!("{} partitions fewer", partitions.len());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = std::env::var("FOLIO_BROKER").unwrap_or_else(|_| "127.0.0.1:9092".to_owned());
    let client = Client::connect(ClientConfig::new(&broker))?;
    let mut consumer = client.consumer(ConsumerConfig::new().group(GroupConfig::new("examples")))?;
    consumer.subscribe_with(["example"], Report)?;
    // The first poll also waits for the group to come together.
    while let Some(records) = consumer.poll(Duration::from_secs(5))? {
        for record in &records {
            let value = String::from_utf8_lossy(record.value.unwrap_or_default());
            println!("{} {} {value}", records.topic_partition(), record.offset);
        }
    }
    consumer.close()?;
    Ok(())
}
