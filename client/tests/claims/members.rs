//! Members of groups as claims about them see them: polled in turn, and heard of what they are told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use folio_client::{Consumer, RebalanceListener, TopicPartition};

/// Polls all in turn until `holds`; gives what each was handed out.
pub(crate) fn poll_until(
    what: &str,
    consumers: &mut [&mut Consumer],
    mut holds: impl FnMut(&[&mut Consumer], &[Vec<String>]) -> bool,
) -> Vec<Vec<String>> {
    let mut values = vec![Vec::new(); consumers.len()];
    let deadline = Instant::now() + LIMIT;
    while !holds(consumers, &values) {
        assert!(Instant::now() < deadline, "it never came about: {what}; {values:?}");
        for (consumer, values) in consumers.iter_mut().zip(&mut values) {
            if let Some(records) = consumer.poll(Duration::from_millis(5)).unwrap() {
                let texts = records.iter().map(|one| String::from_utf8_lossy(one.value.unwrap()));
                values.extend(texts.map(String::from));
            }
        }
    }
    values
}

pub(crate) fn numbers(partitions: &[TopicPartition]) -> BTreeSet<u32> {
    partitions.iter().map(|partition| partition.partition).collect()
}

/// What each has, as counts.
pub(crate) fn have(consumers: &[&mut Consumer]) -> Vec<usize> {
    consumers.iter().map(|consumer| consumer.assignment().len()).collect()
}

/// Writes down what it is told.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, what: &str, partitions: &[TopicPartition]) {
        self.0.lock().unwrap().push(format!("{what} {:?}", numbers(partitions)));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl RebalanceListener for Log {
    fn assigned(&mut self, _: &mut Consumer, partitions: &[TopicPartition]) {
        self.note("assigned", partitions);
    }

    fn revoked(&mut self, _: &mut Consumer, partitions: &[TopicPartition]) {
        self.note("revoked", partitions);
    }

    fn lost(&mut self, _: &mut Consumer, partitions: &[TopicPartition]) {
        self.note("lost", partitions);
    }
}

/// Long enough for anything that happens at all.
const LIMIT: Duration = Duration::from_secs(60);
