//! Tells how the broker is, and what topics it has.
//!
//! `cargo run -p folio-client --example admin` (broker at `FOLIO_BROKER`)

use folio_client::{Client, ClientConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = std::env::var("FOLIO_BROKER").unwrap_or_else(|_| "127.0.0.1:9092".to_owned());
    let admin = Client::connect(ClientConfig::new(&broker))?.admin();
    let status = admin.status(false).wait()?;
    println!("version {}, serving for {:?}, data in {}", status.version, status.uptime, status.data_dir);
    for topic in admin.list_topics(false).wait()? {
        for partition in admin.describe_topic(&topic.name).wait()?.partitions {
            let (from, to) = (partition.log_start, partition.high_watermark);
            println!("{}-{} holds {from} to {to}", topic.name, partition.partition);
        }
    }
    Ok(())
}
