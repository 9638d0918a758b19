//! Sends and reads a record without a blocking call. Any executor will do; this one is twenty lines.
//!
//! `cargo run -p folio-client --example async` (broker at `FOLIO_BROKER`)

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use folio_client::{
    Client, ClientConfig, ConsumerConfig, ErrorCode, NewTopic, Position, ProducerConfig, ProducerRecord,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let broker = std::env::var("FOLIO_BROKER").unwrap_or_else(|_| "127.0.0.1:9092".to_owned());
    let client = Client::start(ClientConfig::new(&broker))?;
    match client.admin().create_topic(NewTopic::new("example-async", 1)).await {
        Err(error) if error.code() != Some(ErrorCode::TOPIC_EXISTS) => return Err(error.into()),
        _ => {}
    }
    let producer = client.producer(ProducerConfig::new())?;
    let delivered = producer.send_async(ProducerRecord::to("example-async").value("hello")).await?.await?;
    println!("{} {:?}", delivered.topic_partition, delivered.offset);

    let mut consumer = client.consumer(ConsumerConfig::new())?;
    consumer.assign([(delivered.topic_partition, Position::BeforeEnd(1))]);
    for record in &consumer.next_records().await? {
        println!("{} {:?}", record.offset, record.value.map(String::from_utf8_lossy));
    }
    Ok(())
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
