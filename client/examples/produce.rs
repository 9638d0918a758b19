//! Sends ten records with keys, and tells where each is.
//!
//! `cargo run -p folio-client --example produce` (topic `example`, broker at `FOLIO_BROKER`)

use folio_client::{Client, ClientConfig, ErrorCode, NewTopic, ProducerConfig, ProducerRecord};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = std::env::var("FOLIO_BROKER").unwrap_or_else(|_| "127.0.0.1:9092".to_owned());
    let client = Client::connect(ClientConfig::new(&broker))?;
    match client.admin().create_topic(NewTopic::new("example", 3)).wait() {
        Err(error) if error.code() != Some(ErrorCode::TOPIC_EXISTS) => return Err(error.into()),
        _ => {}
    }
    let producer = client.producer(ProducerConfig::new())?;
    let mut deliveries = Vec::new();
    for n in 0..10 {
        let (key, value) = (format!("user-{n}"), format!("value {n}"));
        deliveries.push(producer.send(ProducerRecord::to("example").key(&key).value(&value))?);
    }
    for delivery in deliveries {
        let delivered = delivery.wait()?;
        println!("{} {:?}", delivered.topic_partition, delivered.offset);
    }
    producer.close()?;
    Ok(())
}
