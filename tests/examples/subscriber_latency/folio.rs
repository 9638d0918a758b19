//! Folio's daemon, with a topic that is not flushed for anybody.

use folio_client::{
    Acks, Client, ClientConfig, Consumer, ConsumerConfig, NewTopic, Position, ProducerConfig, ProducerRecord,
    TopicPartition,
};
use folio_tests::daemon::Daemon;

use super::{Contender, Outcome, Receiver, Sender, native};

pub(super) struct Folio {
    daemon: Daemon,
    name: &'static str,
    by_client: bool,
    rounds: usize,
    _dir: tempfile::TempDir,
}

impl Folio {
    /// With a producer and a subscriber that speak the protocol by hand.
    pub(super) fn by_hand(arguments: &[&str], name: &'static str) -> Self {
        Self::start(arguments, name, false)
    }

    /// With a producer and a consumer of the client crate.
    pub(super) fn by_client(arguments: &[&str], name: &'static str) -> Self {
        Self::start(arguments, name, true)
    }

    fn start(arguments: &[&str], name: &'static str, by_client: bool) -> Self {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        Self { daemon: Daemon::on(dir.path(), arguments), name, by_client, rounds: 0, _dir: dir }
    }
}

impl Contender for Folio {
    fn name(&self) -> String {
        format!("Folio, {}", self.name)
    }

    fn connect(&mut self) -> Outcome<(Sender, Receiver)> {
        self.rounds += 1;
        let topic = format!("latency-{}", self.rounds);
        let client = Client::connect(ClientConfig::new(self.daemon.address()))?;
        client.admin().create_topic(NewTopic::new(&topic, 1).setting("durability", "os")).wait()?;
        if !self.by_client {
            let [producer, mut subscriber] =
                [native::connect(self.daemon.address())?, native::connect(self.daemon.address())?];
            native::subscribe(&mut subscriber, &topic)?;
            return Ok((native::sender(producer, topic), native::receiver(subscriber)));
        }
        // A connection each, as two programs would have.
        let mut consumer: Consumer = client.consumer(ConsumerConfig::new())?;
        consumer.assign([(TopicPartition::new(topic.as_str(), 0), Position::Earliest)]);
        let client = Client::connect(ClientConfig::new(self.daemon.address()))?;
        let producer = client.producer(ProducerConfig::new().acks(Acks::Leader))?;
        let send: Sender = Box::new(move |number| {
            let value = super::value(number);
            producer.send(ProducerRecord::to(&topic).partition(0).value(&value))?.wait()?;
            Ok(())
        });
        let receive: Receiver = Box::new(move |take| {
            let records = consumer.poll(super::LIMIT)?.ok_or("nothing comes")?;
            for record in &records {
                take(super::number_in(record.value.unwrap_or_default())?);
            }
            Ok(())
        });
        Ok((send, receive))
    }
}
