//! Sessions without sockets: the rules one by one, and all of them against a model that looks at everything every time.

use std::time::{Duration, Instant};

use super::cache::{Begin, Cache, SessionError};
use super::*;

fn name(topic: &str) -> TopicKey {
    TopicKey::Name(topic.into())
}

fn terms(offset: i64) -> Terms {
    Terms { offset, max_bytes: 1 << 20, leader_epoch: -1, last_epoch: -1 }
}

fn seen(has_records: bool, high_watermark: i64) -> Seen {
    Seen { has_records, is_held_back: false, high_watermark, log_start: 0, is_odd: false }
}

/// Partitions 0 to `count` of "t", told with nothing but a high watermark of 5, watched, and at rest.
fn at_rest(count: i32) -> Session<()> {
    let mut session = Session::new();
    (0..count).for_each(|partition| session.update(name("t"), partition, terms(5)));
    for number in session.ready() {
        session.slot(number).unwrap().is_watched = true;
        assert!(session.tell(number, seen(false, 5), true), "a full answer has every partition");
    }
    assert!(session.ready().is_empty());
    session
}

#[test]
fn only_partitions_that_have_moved_or_changed_are_looked_at() {
    let mut session = at_rest(1000);
    session.wake(7);
    session.update(name("t"), 3, terms(6));
    session.update(name("u"), 0, terms(0));
    assert_eq!(session.ready(), [3, 7, 1000]);
}

#[test]
fn an_answer_names_records_errors_and_news_and_nothing_else() {
    let mut session = at_rest(4);
    (0..4).for_each(|number| session.wake(number));
    (0..4).for_each(|number| session.slot(number).unwrap().is_watched = true);
    assert!(!session.tell(0, seen(false, 5), false), "nothing is new");
    assert!(session.tell(1, seen(true, 5), false), "records");
    assert!(session.tell(2, seen(false, 6), false), "another high watermark");
    assert!(session.tell(3, Seen { log_start: 1, ..seen(false, 5) }, false), "another log start");
    assert_eq!(session.ready(), [1], "who had records may have more");
    assert!(!session.tell(1, Seen { is_held_back: true, ..seen(false, 5) }, false));
    assert_eq!(session.ready(), [1], "and whoever was held back has");
}

#[test]
fn an_error_is_told_every_time_and_its_end_once() {
    let mut session = at_rest(1);
    session.wake(0);
    let odd = Seen { is_odd: true, ..seen(false, -1) };
    for _ in 0..3 {
        assert_eq!(session.ready(), [0]);
        assert!(session.tell(0, odd, false));
    }
    session.slot(0).unwrap().is_watched = true;
    assert!(session.tell(0, Seen { log_start: 0, ..seen(false, 5) }, false), "it is back");
    session.wake(0);
    assert!(!session.tell(0, seen(false, 5), false));
}

#[test]
fn who_had_records_goes_to_the_end_so_that_nobody_starves() {
    let mut session = at_rest(3);
    (0..3).for_each(|number| session.wake(number));
    // There is room for one partition's records in each answer.
    let mut served = Vec::new();
    for _ in 0..6 {
        let first = session.ready()[0];
        session.tell(first, seen(true, 9), false);
        served.push(first);
    }
    assert_eq!(served, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_full_answer_leaves_the_order_alone() {
    let mut session: Session<()> = Session::new();
    (0..3).for_each(|partition| session.update(name("t"), partition, terms(0)));
    for number in session.ready() {
        assert!(session.tell(number, seen(number == 0, 1), true));
    }
    assert_eq!(session.ready(), [0, 1, 2]);
}

#[test]
fn forgotten_partitions_are_gone_and_come_back_as_new_ones() {
    let mut session = at_rest(2);
    assert_eq!(session.forget(name("t"), 1).unwrap().0, 1);
    assert!(session.forget(name("t"), 1).is_none());
    assert!(session.forget(name("u"), 0).is_none());
    session.wake(1);
    assert_eq!((session.len(), session.ready()), (1, vec![]));
    session.update(name("t"), 1, terms(5));
    session.slot(1).unwrap().is_watched = true;
    assert!(session.tell(1, seen(false, 5), false), "the client has not been told of this one");
}

#[test]
fn a_partition_that_nobody_watches_is_looked_at_every_time() {
    let mut session = at_rest(2);
    session.wake_all();
    for _ in 0..3 {
        assert_eq!(session.ready(), [0, 1]);
        assert!(!session.tell(0, seen(false, 5), false));
    }
}

fn cache(sessions: usize) -> Cache<&'static str> {
    Cache::new(sessions, 100)
}

/// Numbers that a session's id is made of: 1, 2, 3, ...
fn counting() -> impl FnMut() -> u32 {
    let mut last = 0;
    move || {
        last += 2;
        last
    }
}

#[test]
fn epochs_go_up_by_one_and_wrap_to_one() {
    let (mut cache, now) = (cache(10), Instant::now());
    let id = cache.create(1, false, now, counting(), || "body").0.unwrap();
    for epoch in [1, 2, 3] {
        assert_eq!(cache.begin(id, epoch + 1, false), Err(SessionError::Epoch));
        assert_eq!(cache.begin(id, epoch, true), Err(SessionError::TopicNaming));
        assert_eq!(cache.begin(id + 1, epoch, false), Err(SessionError::NotFound));
        assert_eq!(cache.begin(id, epoch, false), Ok((Begin::GoOn("body"), None)));
        assert_eq!(cache.begin(id, epoch, false), Err(SessionError::Epoch), "it was answered");
        assert_eq!(cache.begin(id, epoch + 1, false), Err(SessionError::Epoch), "it is still lent");
        assert_eq!(cache.give_back(id, "body"), None);
    }
    cache.set_epoch(id, i32::MAX);
    assert!(cache.begin(id, i32::MAX, false).is_ok());
    cache.give_back(id, "body");
    assert!(cache.begin(id, 1, false).is_ok());
}

#[test]
fn a_full_request_closes_the_session_it_names() {
    let (mut cache, now) = (cache(10), Instant::now());
    for (epoch, begin) in [(0, Begin::Full), (-1, Begin::Without)] {
        assert_eq!(cache.begin(0, epoch, true), Ok((begin, None)));
    }
    let id = cache.create(1, false, now, counting(), || "a").0.unwrap();
    assert_eq!(cache.begin(id, 0, true), Ok((Begin::Full, Some("a"))));
    assert_eq!(cache.begin(id, 1, false), Err(SessionError::NotFound));
    let id = cache.create(1, false, now, counting(), || "b").0.unwrap();
    assert_eq!(cache.begin(id, -1, false), Ok((Begin::Without, Some("b"))));

    // One that is being worked on meanwhile goes when that is done.
    let id = cache.create(1, false, now, counting(), || "c").0.unwrap();
    assert_eq!(cache.begin(id, 1, false), Ok((Begin::GoOn("c"), None)));
    assert_eq!(cache.begin(id, 0, false), Ok((Begin::Full, None)));
    assert_eq!(cache.give_back(id, "c"), Some("c"));
}

#[test]
fn a_full_cache_lets_go_who_is_stale_or_older_and_smaller_and_nobody_else() {
    let (mut cache, start) = (cache(2), Instant::now());
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut random = counting();
    let mut create =
        |cache: &mut Cache<_>, size, at, body| cache.create(size, false, at, &mut random, || body);
    let (small, _) = create(&mut cache, 2, after(0), "small");
    let (large, _) = create(&mut cache, 9, after(0), "large");
    assert_eq!(create(&mut cache, 50, after(1), "no"), (None, vec![]), "all are young");

    // They live on, and are not young any more.
    for id in [small, large] {
        assert!(cache.touch(id.unwrap(), if id == small { 2 } else { 9 }, after(121)));
    }
    assert_eq!(create(&mut cache, 2, after(122), "no"), (None, vec![]), "none is smaller");
    let (third, gone) = create(&mut cache, 3, after(122), "third");
    assert_eq!((third.is_some(), gone), (true, vec!["small"]));
    assert_eq!(create(&mut cache, 9, after(123), "no"), (None, vec![]));

    let (fourth, gone) = create(&mut cache, 1, after(242), "fourth");
    assert_eq!((fourth.is_some(), gone), (true, vec!["large"]), "not used for two minutes");
    assert!(!cache.touch(large.unwrap(), 9, after(243)));
}

#[test]
fn sessions_together_hold_no_more_partitions_than_they_may() {
    let (mut cache, now) = (cache(10), Instant::now());
    let mut random = counting();
    let first = cache.create(60, false, now, &mut random, || "first").0.unwrap();
    assert_eq!(cache.create(41, false, now, &mut random, || "second").0, None);
    let second = cache.create(40, false, now, &mut random, || "second").0.unwrap();
    assert!(!cache.touch(second, 41, now), "it has grown too large, and is gone");
    assert!(cache.touch(first, 100, now));
    assert_eq!(cache.begin(second, 1, false), Err(SessionError::NotFound));
}

/// As Kafka tells it: everything is looked at every time.
#[derive(Default)]
struct Model {
    /// In order: partition, offset asked for, and what was told.
    all: Vec<(i32, i64, Option<News>)>,
}

/// High watermark and log start.
type News = (i64, i64);

/// What a partition is at the moment.
#[derive(Clone, Copy, Default)]
struct Real {
    high_watermark: i64,
    log_start: i64,
    is_odd: bool,
}

impl Real {
    fn seen(self, offset: i64) -> Seen {
        if self.is_odd {
            return Seen { log_start: -1, is_odd: true, ..seen(false, -1) };
        }
        Seen { log_start: self.log_start, ..seen(offset < self.high_watermark, self.high_watermark) }
    }
}

impl Model {
    /// The partitions of the next answer, in order; only the first `room` of those with records fit.
    fn answer(&mut self, real: &[Real], room: usize) -> Vec<(i32, bool)> {
        let (mut answer, mut served) = (Vec::new(), Vec::new());
        for (partition, offset, told) in &mut self.all {
            let mut seen = real[*partition as usize].seen(*offset);
            seen.has_records &= served.len() < room;
            let news = (seen.high_watermark, seen.log_start);
            if seen.has_records || seen.is_odd || *told != Some(news) {
                answer.push((*partition, seen.has_records));
            }
            *told = Some((if seen.is_odd { -1 } else { news.0 }, news.1));
            if seen.has_records {
                served.push(*partition);
            }
        }
        for partition in served {
            let at = self.all.iter().position(|(each, ..)| *each == partition).unwrap();
            let moved = self.all.remove(at);
            self.all.push(moved);
        }
        answer
    }
}

#[test]
fn whatever_happens_a_session_answers_as_if_it_had_looked_at_everything() {
    for seed in 1..=300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut real = vec![Real::default(); 8];
        let (mut session, mut model) = (Session::<()>::new(), Model::default());
        for step in 0..60 {
            for _ in 0..random(4) {
                let (partition, offset) = (random(8) as i32, random(5) as i64);
                session.update(name("t"), partition, terms(offset));
                match model.all.iter_mut().find(|(each, ..)| *each == partition) {
                    Some((_, known, _)) => *known = offset,
                    None => model.all.push((partition, offset, None)),
                }
            }
            if random(4) == 0 {
                let partition = random(8) as i32;
                session.forget(name("t"), partition);
                model.all.retain(|(each, ..)| *each != partition);
            }
            for _ in 0..random(3) {
                let moved = random(8);
                match random(4) {
                    0 => real[moved].log_start += 1,
                    1 => real[moved].is_odd = !real[moved].is_odd,
                    _ => real[moved].high_watermark += 1,
                }
                // Whoever watches hears of it, once.
                for number in 0..8 {
                    if session
                        .slot(number)
                        .is_some_and(|slot| slot.partition == moved as i32 && slot.is_watched)
                    {
                        session.wake(number);
                    }
                }
            }
            let room = 1 + random(3);
            let (mut answer, mut served) = (Vec::new(), 0);
            for number in session.ready() {
                let slot = session.slot(number).unwrap();
                let (partition, mut seen) =
                    (slot.partition, real[slot.partition as usize].seen(slot.terms.offset));
                // What is read from the pool is not watched.
                slot.is_watched |= random(4) > 0;
                seen.is_held_back = seen.has_records && served >= room;
                seen.has_records &= served < room;
                served += usize::from(seen.has_records);
                if session.tell(number, seen, false) {
                    answer.push((partition, seen.has_records));
                }
            }
            assert_eq!(answer, model.answer(&real, room), "seed {seed}, step {step}");
        }
    }
}
