//! Sealing in its turn: segments that are closed are verified, and get the footers that the next start trusts; one
//! after the other, of all partitions in turn. Whoever comes waits for one segment of each that was there before.
//! Segments whose indexes were found wrong get new ones in the same turn.
//!
//! No faster than others allow would be too slow: what is appended is to be sealed as fast. But it goes in short
//! moments, and between two of them a stop is heard, the space is looked at, and the next segments are made ready.
//!
//! By the time at which it is sealed a segment of records without a time goes one day. So nothing is sealed while
//! nobody knows what time it is, and for an hour after the clock has jumped the one that it told before goes on.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use folio_record::Timestamp;
use folio_storage::{AppendError, Files, Mend, Mended, Seal, Sealed};

use crate::engine::{Disk, Engine};
use crate::partition::{Partition, PartitionKey};

#[derive(Default)]
pub(super) struct Sealer {
    /// Those that had something to seal, or to mend, when they were looked at.
    waiting: Turns<Arc<Partition<Disk>>>,
    current: Option<(Arc<Partition<Disk>>, Job)>,
}

/// What is done about one segment.
enum Job {
    Mend(Mend<Disk>),
    Seal(Box<Seal<Disk>>),
}

impl Sealer {
    /// How long until there is something to do; `None` if nothing waits.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.is_busy().then_some(Duration::ZERO)
    }

    /// Takes in those of `partitions` that have something to seal or to mend and do not wait yet.
    pub(super) fn look<'p>(&mut self, partitions: impl Iterator<Item = &'p Arc<Partition<Disk>>>) {
        let wants_turn =
            |partition: &&Arc<Partition<Disk>>| partition.log.wants_mend() || partition.log.wants_seal();
        for partition in partitions.filter(wants_turn) {
            self.waiting.come(partition.key, partition);
        }
    }

    /// Goes on with what waits, for a moment; whether that has just come to its end.
    pub(super) fn work(&mut self, engine: &Engine) -> bool {
        if !self.is_busy() {
            return false;
        }
        let (time, begun) = (engine.clock.look().steady, Instant::now());
        while begun.elapsed() < MOMENT {
            let Some((partition, mut job)) = self.current.take().or_else(|| self.next(time)) else { break };
            let is_over = match &mut job {
                Job::Mend(mend) => {
                    mend.step(STEP).map(|mended| mended.map(|mended| tell_mended(&partition, mended)))
                }
                Job::Seal(seal) => {
                    let Some(sealed) = go_on(seal, time) else { continue };
                    sealed.map(|sealed| sealed.map(|sealed| tell_sealed(&partition, &sealed)))
                }
            };
            match is_over {
                Ok(None) => self.current = Some((partition, job)),
                Ok(Some(())) => self.waiting.come(partition.key, &partition),
                Err(AppendError::Io { path, source }) => engine.fail_of(&partition, &path, &source),
                // A full disk or no descriptor: later.
                Err(_) => {}
            }
        }
        !self.is_busy()
    }

    fn is_busy(&self) -> bool {
        self.current.is_some() || !self.waiting.is_empty()
    }

    /// What is to be done next. While nobody knows what time it is nothing is sealed, and who has something to seal is
    /// asked again at the next look.
    fn next(&mut self, time: Option<Timestamp>) -> Option<(Arc<Partition<Disk>>, Job)> {
        loop {
            let partition = self.waiting.next()?;
            // An index that leads nowhere keeps readers waiting; a segment that is not sealed keeps nobody.
            let mend = partition.log.mend().map(Job::Mend);
            if let Some(job) =
                mend.or_else(|| time.and_then(|_| partition.log.seal()).map(|seal| Job::Seal(Box::new(seal))))
            {
                return Some((partition, job));
            }
        }
    }
}

/// Goes on with the sealing of a segment. `None`: it is to be begun anew when the time is known, without which nothing
/// goes on but to mark what is rotten.
fn go_on<F: Files>(
    seal: &mut Seal<F>,
    time: Option<Timestamp>,
) -> Option<Result<Option<Sealed>, AppendError>> {
    match time {
        Some(time) => Some(seal.step(STEP, time)),
        None => seal.is_marking().then(|| Ok(seal.mark(STEP))),
    }
}

/// Who waits for a turn: whoever came first, and each once.
struct Turns<T> {
    waiting: VecDeque<(PartitionKey, T)>,
    keys: HashSet<PartitionKey>,
}

impl<T: Clone> Turns<T> {
    /// Has its turn after all that wait, unless it waits itself.
    fn come(&mut self, key: PartitionKey, who: &T) {
        if self.keys.insert(key) {
            self.waiting.push_back((key, who.clone()));
        }
    }

    fn next(&mut self) -> Option<T> {
        let (key, who) = self.waiting.pop_front()?;
        self.keys.remove(&key);
        Some(who)
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), keys: HashSet::new() }
    }
}

fn tell_mended(partition: &Partition<Disk>, mended: Mended) {
    if mended == Mended::Anew {
        tracing::warn!(
            topic = &*partition.topic,
            partition = partition.number,
            "the indexes of a segment did not agree with the log and were made anew"
        );
    }
}

fn tell_sealed(partition: &Partition<Disk>, sealed: &Sealed) {
    if let Sealed::Rotten(rotten) = sealed {
        tracing::error!(
            topic = &*partition.topic,
            partition = partition.number,
            %rotten,
            "a segment is damaged: stop the broker and look with `folio log verify`"
        );
    }
}

/// About what one step reads.
const STEP: u64 = 4 * 1024 * 1024;
/// Others have their turn after that.
const MOMENT: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use folio_record::{BatchBuilder, Compression, NewRecord};
    use folio_storage::data_dir::NewTopic;
    use folio_storage::files::SimFiles;
    use folio_storage::{DataDir, DataDirOptions, LogOptions, Mode};

    use super::*;

    #[test]
    fn what_is_rotten_is_marked_though_nobody_knows_the_time_any_more_and_nothing_is_sealed() {
        let (now, files) = (Timestamp::new(1_700_000_000_000), Arc::new(SimFiles::new()));
        let options = DataDirOptions::fixed(1);
        let (dir, _) = DataDir::open(Arc::clone(&files), &options, |_| LogOptions::default(), now).unwrap();
        let (name, uuid) = ("t".to_owned(), uuid::Uuid::from_u128(9));
        let topic = NewTopic { name, uuid, partitions: 1, settings: Vec::new() };
        let log_options = LogOptions { retention_ms: Some(1), ..LogOptions::default() };
        let log = dir.create_topic(topic, &log_options, now).unwrap().remove(0);
        let mut batch = BatchBuilder::new(Compression::None, 1 << 20);
        let record = NewRecord { timestamp: Timestamp::new(1), key: None, value: Some(b"a"), headers: &[] };
        batch.append(&record).unwrap();
        let batch = bytes::BytesMut::from(batch.build().unwrap().as_slice());
        log.writer().append(&mut [batch], Mode::MayBlock, now).unwrap();
        assert!(log.roll_if_expired(now).unwrap());
        dir.flush(std::slice::from_ref(&log), now, Instant::now()).unwrap();

        let mut seal = log.seal().unwrap();
        assert!(go_on(&mut seal, None).is_none());
        let path = log.dir().join("00000000000000000000.log");
        files.tamper(&path, |bytes| bytes[65] ^= 1);
        assert_eq!(go_on(&mut seal, Some(now)).unwrap().unwrap(), None);
        let mut steps = std::iter::repeat_with(|| go_on(&mut seal, None).map(Result::unwrap)).take(9);
        let sealed = steps.find(|sealed| *sealed != Some(None)).flatten().flatten();
        assert!(matches!(sealed, Some(Sealed::Rotten(_))), "{sealed:?}");
        assert_eq!(log.damaged().len(), 1);
        assert!(!log.wants_seal(), "it stays as it is");
    }

    #[test]
    fn who_comes_while_others_have_much_to_do_waits_for_one_segment_of_each() {
        let key = |number: usize| PartitionKey::new(number as u64);
        // So many segments each has to seal.
        let mut left = [100, 100, 100, 0];
        let (mut turns, mut sealed) = (Turns::default(), Vec::new());
        for turn in 0.. {
            if turn == 10 {
                left[3] = 2;
            }
            // They are looked at between any two segments, and come again.
            for number in (0..4).filter(|number| left[*number] > 0) {
                turns.come(key(number), &number);
            }
            let Some(number) = turns.next() else { break };
            if left[number] > 0 {
                left[number] -= 1;
                sealed.push(number);
                turns.come(key(number), &number);
            }
        }
        assert_eq!(left, [0; 4]);
        assert_eq!(sealed.len(), 302);
        let late: Vec<_> = (0..sealed.len()).filter(|turn| sealed[*turn] == 3).collect();
        assert_eq!(late, [13, 17], "{:?}", &sealed[..20]);
    }
}
